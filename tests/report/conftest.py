"""Histories made through the command line: a failed trial, a way back, a drift refused, a crash. Made once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine import effects
from steps.actions import RunCommand
from tests.badinput.support import copy, run
from tests.field.support import LAB, advanced, made, reboot

SECRETS = ("orpheus", "eurydice", "S3RIAL99887766", "52:54:00:aa:bb:cc", "10.11.12.13")
"""The host's name, a user, a serial number, a MAC and an IP address, all of them in the files or the log."""


def die_at_update_grub() -> None:
    """Let this process die when it is about to run update-grub: the intent is durable, the outcome is not."""
    carry_out = effects.carry_out

    def dying(host: object, action: object, on_line: object) -> object:
        if isinstance(action, RunCommand) and action.argv[0] == "update-grub":
            os._exit(137)
        return carry_out(host, action, on_line)  # type: ignore[arg-type]  # handed on as it came

    effects.carry_out = dying  # type: ignore[assignment]  # in a child that is about to die


def personal(machine: Path) -> None:
    """Make it somebody's machine."""
    (machine / "etc/hostname").write_text("orpheus\n")
    with (machine / "etc/passwd").open("a") as file:
        file.write("eurydice:x:1000:1000:Eurydice:/home/eurydice:/bin/sh\n")
    grub = machine / "etc/default/grub"
    lines = grub.read_text().splitlines(keepends=True)
    place = next(n for n, line in enumerate(lines) if line.startswith("GRUB_CMDLINE_LINUX_DEFAULT="))
    mine = "# <b>eurydice</b>@orpheus S3RIAL99887766: 52:54:00:aa:bb:cc has 10.11.12.13\n"
    grub.write_text("".join([*lines[:place], mine, *lines[place:]]))


@pytest.fixture(scope="session")
def histories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`failed`: the trial boot hung; `back`: taken back from `bound`; `drift`: a rollback that the user must decide;
    `crash`: killed before update-grub; `refused`: the host cannot be set up so. Only read."""
    base = tmp_path_factory.mktemp("histories")
    machine = made(base, "debian12-lab", *LAB)
    personal(machine)
    run(machine, "advance", "--until", "modules_loaded").is_(0)
    crash = copy(machine, base / "crash")
    run(crash, "advance", prepare=die_at_update_grub).is_(137)
    advanced(machine)
    failed = copy(machine, base / "failed")
    run(failed, "machine", "reboot", "--fails").is_(0)
    run(failed, "advance").is_(5)
    reboot(machine)
    advanced(machine)
    drift = copy(machine, base / "drift")
    place = drift / "etc/default/grub"
    place.write_bytes(place.read_bytes().replace(b"vfio-pci.ids=", b"pci=nomsi vfio-pci.ids="))
    run(drift, "rollback").is_(4)
    advanced(machine)
    run(machine, "rollback").is_(3)
    reboot(machine)
    run(machine, "rollback").is_(0)
    refused = copy(machine, base / "refused")
    config = refused / "etc/vfiostate.toml"
    config.write_text(config.read_text().replace("0000:01:00.1", "0000:09:00.1"))
    run(refused, "advance").is_(5)
    found = {"failed": failed, "back": machine, "drift": drift, "crash": crash, "refused": refused}
    for one in found.values():
        # Each boot makes /sys anew.
        (one / "sys/class/dmi/id").mkdir(parents=True, exist_ok=True)
        (one / "sys/class/dmi/id/board_serial").write_text("S3RIAL99887766\n")
    return found

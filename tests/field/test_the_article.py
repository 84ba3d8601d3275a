"""The article's way on the article's machine, through the command line, and none of the faults of its `pass.sh`.

It appends again at every run, its `sed` breaks on `/` and on a commented line, it overwrites the user's own options, it
has no way back. (The guest it starts: tests/guest; the four answers about the IOMMU: tests/steps/test_iommu.py.)
"""

from __future__ import annotations

from pathlib import Path

import pytest

from steps.base import State
from tests.badinput.support import GRUB, copy, manifest, roll_back, run, unchanged
from tests.field.support import CFG, LAB, Description, advanced, command, driver, made, reboot, refused, replaced, words

DEVICES = ("0000:03:00.0", "0000:03:00.1", "0000:00:12.0", "0000:00:12.2")
MINE = '"quiet splash resume=/dev/sda2 x=a&b|c pci-stub.ids=1002:4383"'
IDS = "10de:1200,10de:0e0c,1002:4397,1002:4396"


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> dict[State, Path]:
    """The article's machine, whose user has options of his own and keeps an old line as a comment, on its way."""
    base = tmp_path_factory.mktemp("article")
    machine = made(base, "article")
    old = '#GRUB_CMDLINE_LINUX_DEFAULT="quiet splash"\nGRUB_CMDLINE_LINUX_DEFAULT='
    replaced(machine / GRUB, 'GRUB_CMDLINE_LINUX_DEFAULT="quiet splash"', old + MINE)
    command(machine, "update-grub")
    run(machine, "init", *(f"--device={one}" for one in DEVICES), "--stub=pci-stub", "--no-guest").is_(0)
    found = {State.NEW: copy(machine, base / "new")}
    for state in (State.CHECKED, State.MODULES_LOADED, State.STUBBED, State.REBOOTED, State.BOUND):
        if state is State.REBOOTED:
            reboot(machine)
        advanced(machine)
        found[state] = copy(machine, base / state.value)
    return found


def _setup(machine: Path) -> str:
    return next(word for word in (machine / CFG).read_text().split() if word.startswith("vfiostate.setup="))


def test_modules_are_added_below_the_users_own_and_his_comments_stay(stages: dict[State, Path]) -> None:
    before, after = ((stages[state] / "etc/modules").read_text() for state in (State.NEW, State.MODULES_LOADED))
    assert after.startswith(before)
    names = [line for line in after.removeprefix(before).splitlines() if not line.startswith("#")]
    assert names == ["vfio", "vfio_iommu_type1", "vfio_pci"]


def test_slashes_the_commented_line_and_the_users_own_options_stay_as_they_are(stages: dict[State, Path]) -> None:
    before, after = ((stages[state] / GRUB).read_bytes() for state in (State.NEW, State.REBOOTED))
    assert (stages[State.STUBBED] / GRUB).read_bytes() == before
    ours = f" {_setup(stages[State.STUBBED])} pci-stub.ids=1002:4383,{IDS}"
    assert after == before.replace(MINE.encode(), (MINE[:-1] + ours + '"').encode())
    line = words(stages[State.REBOOTED])
    assert {"resume=/dev/sda2", "x=a&b|c", "pci-stub.ids=1002:4383"} <= set(line)
    assert line[-2:] == [f"pci-stub.ids=1002:4383,{IDS}", "panic=30"]


def test_a_second_run_adds_nothing(stages: dict[State, Path], tmp_path: Path) -> None:
    machine = copy(stages[State.STUBBED], tmp_path / "m")
    with unchanged(machine):
        run(machine, "advance", "--until", "stubbed").is_(0, "already `stubbed`")
        run(machine, "advance").is_(3, "has not been rebooted")
    files = [machine / name for name in (GRUB, "etc/modules", CFG, "etc/grub.d/42_vfiostate")]
    once = [file.read_bytes() for file in files]
    run(machine, "rollback", "--to", "checked").is_(0)
    assert (machine / GRUB).read_bytes() == (stages[State.NEW] / GRUB).read_bytes()
    run(machine, "advance", "--until", "stubbed").is_(0)
    assert [file.read_bytes() for file in files] == once


def test_the_reboot_shows_what_the_article_looks_for_in_the_log(stages: dict[State, Path]) -> None:
    log = (stages[State.REBOOTED] / "var/log/kern.log").read_text()
    for line in ("pci-stub: add 10DE:1200", *(f"pci-stub {one}: claimed by stub" for one in DEVICES)):
        assert line in log


def test_rc_local_binds_before_its_exit_and_again_at_every_boot(stages: dict[State, Path], tmp_path: Path) -> None:
    lines = (stages[State.BOUND] / "etc/rc.local").read_text().splitlines()
    assert any("vfiostate-bind" in line for line in lines[: lines.index("exit 0")])
    assert lines[-1] == "exit 0"
    machine = copy(stages[State.BOUND], tmp_path / "m")
    reboot(machine)
    assert [driver(machine, one) for one in DEVICES] == ["vfio-pci"] * 4


def test_there_is_a_way_back_byte_for_byte(stages: dict[State, Path], tmp_path: Path) -> None:
    machine = copy(stages[State.BOUND], tmp_path / "m")
    roll_back(machine)
    assert manifest(machine) == manifest(stages[State.NEW])
    assert [driver(machine, one) for one in DEVICES] == ["nouveau", "snd_hda_intel", "ohci-pci", "ehci-pci"]


def test_a_bridge_is_never_bound(tmp_path: Path) -> None:
    machine = made(tmp_path, "debian12-lab", "--device=00:04.0", "--no-guest")
    refused(machine, "bridge", "0000:00:04.0 is a bridge", "class: 0x060400")


def test_without_interrupt_remapping_the_user_decides(tmp_path: Path) -> None:
    def change(description: Description) -> None:
        description["interrupt_remapping"] = False

    machine = made(tmp_path, "debian12-lab", *LAB, change=change)
    run(machine, "init", "--force", *LAB, "--allow-unsafe-interrupts").is_(0)
    run(machine, "advance", "--until", "modules_loaded").is_(0)
    options = "\n".join(file.read_text() for file in (machine / "etc/modprobe.d").iterdir())
    assert "options vfio_iommu_type1 allow_unsafe_interrupts=1" in options
    run(machine, "rollback").is_(0)
    run(machine, "init", "--force", *LAB).is_(0)
    refused(machine, "no-interrupt-remapping", "Interrupts are not remapped")
    run(machine, "init", "--force", *(word for word in LAB if word.startswith("--device")), "--no-guest").is_(0)
    with unchanged(machine):
        advanced(machine, "Interrupts are not remapped", "unsafe_interrupts = true")


def test_qemu_may_not_have_a_device_whose_interrupts_are_not_remapped(tmp_path: Path) -> None:
    machine = made(tmp_path, "debian12-lab", *LAB)
    run(machine, "advance", "--until", "stubbed").is_(0)
    reboot(machine)
    run(machine, "advance", "--until", "bound").is_(0)
    log = machine / "var/log/kern.log"
    log.write_text(log.read_text().replace("Enabled IRQ remapping", "…"))
    run(machine, "advance").is_(1, "Failed to set iommu for container: Operation not permitted")
    (machine / "sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts").write_text("Y\n")
    run(machine, "advance").is_(0, "state: running")

"""Pop!_OS: what is particular of it, beside what is promised of every boot loader."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.hosts.simulated.doubles.base import CALLS
from steps.boot.kernelstub_json import ConfigurationError, read
from steps.insertion import take_out
from tests.badinput.support import At, copy, manifest, roll_back, run, unchanged
from tests.field.support import LAB, command, has_token, made, reboot, words
from tests.loaders.systems.kernelstub import pop

CONFIGURATION = "etc/kernelstub/configuration"
ENTRIES = "boot/efi/loader/entries"
USER = {
    "kernel_options": ["quiet"],
    "esp_path": "/boot/efi",
    "setup_loader": True,
    "live_mode": False,
    "unified_kernel": False,
    "config_rev": 4,
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`new`, `modules_loaded` and `stubbed`; the user's consoles are in an order that counts."""
    base = tmp_path_factory.mktemp("pop")
    machine = made(base, "debian12-lab", *LAB, change=pop)
    command(machine, "kernelstub", "-a", "console=ttyS0 console=tty0")
    found = {"new": copy(machine, base / "new")}
    run(machine, "advance", "--until", "modules_loaded").is_(0)
    found["modules_loaded"] = copy(machine, base / "modules_loaded")
    run(machine, "advance", "--no-trial").is_(0)
    return {**found, "stubbed": machine}


def options(machine: Path) -> list[str]:
    """The user's words in kernelstub's configuration."""
    found: list[str] = json.loads((machine / CONFIGURATION).read_text())["user"]["kernel_options"]
    return found


def change(machine: Path, **keys: object) -> None:
    """Set keys of the user's part."""
    value = json.loads((machine / CONFIGURATION).read_text())
    value["user"].update(keys)
    (machine / CONFIGURATION).write_text(json.dumps(value, indent=2))


def test_kernelstub_is_run_before_and_after_the_initramfs_and_never_to_add_or_delete(at: At) -> None:
    machine = at("stubbed")
    assert (machine / CALLS.lstrip("/")).read_text().splitlines()[-2:] == ["kernelstub", "kernelstub"]
    copied = next((machine / "boot/efi/EFI").rglob("initrd.img"))
    assert copied.read_bytes() == (machine / "boot/initrd.img-6.1.0-56-amd64").read_bytes()
    assert options(machine)[:4] == ["quiet", "splash", "console=ttyS0", "console=tty0"]
    assert not has_token((machine / ENTRIES / "Recovery-1234-ABCD.conf").read_text().split())


def test_the_copy_that_boots_is_as_it_was_after_the_way_back(at: At, places: dict[str, Path]) -> None:
    machine = at("stubbed")
    run(machine, "rollback").is_(0)
    assert manifest(machine) == manifest(places["new"])


def test_words_the_user_added_with_kernelstub_stay_and_the_order_of_all_of_them_too(at: At) -> None:
    machine = at("stubbed")
    command(machine, "kernelstub", "-a", "loglevel=3")
    reboot(machine)
    roll_back(machine)
    assert options(machine) == ["quiet", "splash", "console=ttyS0", "console=tty0", "loglevel=3"]
    reboot(machine)
    assert words(machine)[-2:] == ["console=tty0", "loglevel=3"]


def test_a_configuration_that_a_power_cut_has_emptied_is_put_back(at: At, places: dict[str, Path]) -> None:
    machine = at("stubbed")
    (machine / CONFIGURATION).write_bytes(b"")
    run(machine, "rollback").is_(0)
    assert manifest(machine) == manifest(places["new"])


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"unified_kernel": True}, "unified_kernel is set"),
        ({"setup_loader": False}, "setup_loader is not set"),
        ({"live_mode": True}, "live disk"),
        ({"config_rev": 3}, "config_rev is 3"),
        ({"kernel_options": "quiet splash"}, "no list of words"),
    ],
)
def test_what_kernelstub_does_in_another_way_is_refused(at: At, keys: dict[str, object], said: str) -> None:
    machine = at("modules_loaded")
    change(machine, **keys)
    with unchanged(machine):
        run(machine, "advance", "--no-trial").is_(5, said).with_hint()


@pytest.mark.parametrize("options_before", [[], ["quiet"], ["quiet", 'dyndbg="file x +p"', "ids=a"], ["", "quiet"]])
def test_the_words_are_one_run_of_what_kernelstub_would_write(options_before: list[str]) -> None:
    value = {"default": USER, "user": {**USER, "kernel_options": options_before}}
    found = read("/c", json.dumps(value, indent=2).encode())
    content, inserted = found.with_words(("x=1", "y=quiet"))
    value["user"]["kernel_options"] = [*options_before, "x=1", "y=quiet"]
    assert content == json.dumps(value, indent=2).encode()
    assert take_out(content, inserted) == found.content


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"default": {}}', b"\0\0", b'{"user": {"kernel_options": []}}', b"\xff{}"]
)
def test_what_is_no_configuration_is_named(content: bytes) -> None:
    with pytest.raises(ConfigurationError):
        read("/c", content)

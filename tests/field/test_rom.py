"""`vfiostate rom`: a card's ROM read, looked into and hidden again, whatever happens meanwhile."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from engine import rom as reading
from engine.hosts.simulated.host import SimulatedHost
from journal.events import Kind
from tests.badinput.support import events, run, start, state
from tests.field.support import Description, function, made

GPU = "0000:01:00.0"
ROM = f"sys/bus/pci/devices/{GPU}/rom"
CARD = ("--device=01:00.0", "--device=01:00.1", "--no-guest")


def image(kind: int, *, last: bool, blocks: int = 2, code: bytes = b"") -> bytes:
    """One image: header, PCI data structure, code, and for an x86 BIOS a byte that makes the sum zero."""
    found = bytearray(blocks * 512)
    found[0:3] = bytes((0x55, 0xAA, blocks))
    found[0x18:0x1A] = (0x40).to_bytes(2, "little")
    found[0x40:0x58] = (
        b"PCIR"
        + bytes.fromhex("34121111 0000 1800 00 000003")
        + blocks.to_bytes(2, "little")
        + bytes((0, 0, kind, 0x80 if last else 0, 0, 0))
    )
    found[0x60 : 0x60 + len(code)] = code
    found[-1] = -sum(found) % 256
    return bytes(found)


BIOS, UEFI = image(0, last=False, code=b"bios"), image(3, last=True, blocks=3, code=b"gop")
WHOLE = BIOS + UEFI


def with_rom(
    directory: Path, content: bytes, *init: str, driver: str | None = "bochs-drm", at: int = 0xFE000000
) -> Path:
    """The lab's machine, its card with this ROM in a window of 64 KiB."""

    def change(description: Description) -> None:
        one = function(description, GPU)
        one["rom"] = content.hex()
        lines = [*one.get("resources", []), *[["0x0", "0x0", "0x0"]] * 7][:6]
        one["resources"] = [*lines, [f"{at:#x}", f"{at + 0xFFFF:#x}", "0x212" if at == 0xC0000 else "0x46200"]]
        one["driver"] = driver
        if driver is None:
            del description["kernels"][0]["modules"]["bochs"]

    return made(directory, "debian12-lab", *init, change=change)


def test_the_rom_is_written_up_to_the_end_of_its_last_image_and_hidden_again(tmp_path: Path) -> None:
    machine = with_rom(tmp_path, WHOLE)
    file = tmp_path / "gpu.rom"
    said = ("x86 BIOS for 1234:1111: 1024 bytes\n", "UEFI for 1234:1111: 1536 bytes\n", f"2560 bytes of {GPU}")
    run(machine, "rom", "01:00.0", "-o", str(file)).is_(0, *said)
    assert file.read_bytes() == WHOLE
    assert (machine / ROM).read_bytes() == b""


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    machine, file = with_rom(tmp_path, WHOLE), tmp_path / "gpu.rom"
    file.write_text("mine")
    run(machine, "rom", "01:00.0", "-o", str(file)).is_(1, "is there already").with_hint()
    assert file.read_text() == "mine" and (machine / ROM).read_bytes() == b""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x00" + WHOLE[1:], "no ROM header (55 aa) at 0x0, found 00 aa"),
        (WHOLE.replace(b"PCIR", b"XCIR", 1), "no PCI data structure (PCIR) at 0x40, found 58 43 49 52"),
        (BIOS, "no ROM header (55 aa) at 0x400, found ff ff"),
        (BIOS + image(3, last=True, blocks=200), "the image at 0x400 says it has 102400 bytes"),
        (image(0, last=True, blocks=2)[:0x50] + b"\0" * 16, "says it has 0 bytes"),
    ],
)
def test_what_is_no_whole_rom_is_refused_with_the_place_and_no_file_is_made(
    tmp_path: Path, content: bytes, said: str
) -> None:
    machine, file = with_rom(tmp_path, content), tmp_path / "gpu.rom"
    run(machine, "rom", "01:00.0", "-o", str(file)).is_(1, "no whole ROM", said).with_hint()
    assert not file.exists() and (machine / ROM).read_bytes() == b""


def test_a_wrong_checksum_is_told_of(tmp_path: Path) -> None:
    spoilt = BIOS[:-1] + bytes((BIOS[-1] ^ 1,)) + UEFI
    machine = with_rom(tmp_path, spoilt)
    run(machine, "rom", "01:00.0", "-o", str(tmp_path / "f")).is_(0, "1024 bytes; its checksum is wrong")


def test_the_shadowed_copy_of_the_card_the_firmware_started_is_refused(tmp_path: Path) -> None:
    machine = with_rom(tmp_path, WHOLE, at=0xC0000)
    answer = run(machine, "rom", "01:00.0", "-o", str(tmp_path / "f")).is_(5, "shadowed copy", "0xc0000").with_hint()
    assert "another card primary" in answer.err and not (tmp_path / "f").exists()


def test_a_card_that_does_not_answer_is_told_with_why_that_may_be(tmp_path: Path) -> None:
    machine = with_rom(tmp_path, WHOLE, driver=None)
    said = ("does not answer", f"{GPU}/driver: none", f"{GPU}/enable: 0")
    run(machine, "rom", "01:00.0", "-o", str(tmp_path / "f")).is_(1, *said).with_hint()
    assert (machine / ROM).read_bytes() == b""


def test_a_function_without_a_rom_and_one_that_is_not_there_are_refused(tmp_path: Path) -> None:
    machine, out = with_rom(tmp_path, WHOLE), ("-o", str(tmp_path / "f"))
    run(machine, "rom", "01:00.1", *out).is_(5, "has no expansion ROM").with_hint()
    run(machine, "rom", "09:00.0", *out).is_(5, "no device at 0000:09:00.0").with_hint()
    run(machine, "rom", "nonsense", *out).is_(64, "is not a PCI address")


def test_a_rom_that_somebody_else_shows_is_left_shown(tmp_path: Path) -> None:
    machine = with_rom(tmp_path, WHOLE)
    SimulatedHost(machine).write_attribute(f"/{ROM}", "1\n", timeout=5)
    run(machine, "rom", "01:00.0", "-o", str(tmp_path / "f")).is_(0)
    assert (machine / ROM).read_bytes()[:2] == b"\x55\xaa"


def test_in_a_setup_showing_and_hiding_are_journaled_and_the_state_stays(tmp_path: Path) -> None:
    machine = with_rom(tmp_path, WHOLE, *CARD)
    run(machine, "advance").is_(0)
    run(machine, "rom", "01:00.0", "-o", str(tmp_path / "f")).is_(0)
    told = [one.data["action"] for one in events(machine) if one.kind is Kind.INTENT]
    assert [(one["path"].rpartition("/")[2], one["value"]) for one in told] == [("rom", "1\n"), ("rom", "0\n")]  # type: ignore[index,call-overload,union-attr]
    assert state(machine) == "checked"
    run(machine, "journal", "verify").is_(0)
    run(machine, "rollback").is_(0)


@pytest.mark.parametrize("setup", [False, True])
def test_a_run_that_is_killed_while_the_rom_shows_leaves_it_hidden(tmp_path: Path, setup: bool) -> None:
    machine = with_rom(tmp_path, WHOLE, *CARD)
    if setup:
        run(machine, "advance").is_(0)
    shown = tmp_path / "shown"
    real = reading._shown

    def wait(host: object, path: str) -> bytes:
        content = real(host, path)  # type: ignore[arg-type]
        if content:
            shown.touch()
            time.sleep(60)
        return content

    def slow() -> None:
        reading._shown = wait

    running = start("--simulate", str(machine), "rom", "01:00.0", "-o", str(tmp_path / "f"), prepare=slow)
    _until(shown.exists)
    assert (machine / ROM).read_bytes() != b""
    os.kill(running.pid, signal.SIGKILL)
    os.waitpid(running.pid, 0)
    _until(lambda: (machine / ROM).read_bytes() == b"")
    if setup:
        run(machine, "rom", "01:00.0", "-o", str(tmp_path / "f")).is_(0)
        run(machine, "journal", "verify").is_(0)
        run(machine, "rollback").is_(0)


def _until(true: object) -> None:
    deadline = time.monotonic() + 60
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)

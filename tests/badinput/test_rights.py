"""Without root on a real host, and what root's own files look like to others."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

import engine.hosts.linux  # noqa: F401  # nobody may not be able to read the interpreter's library
from engine.cli import main
from tests.badinput.support import CONFIG, At, copy, events, run, start

NOBODY = 65534


def _nobody() -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


@pytest.mark.parametrize(
    "argv", [("advance",), ("rollback",), ("status",), ("guest", "stop"), ("journal", "show"), ("journal", "verify")]
)
def test_without_root_a_real_host_is_left_alone_and_sudo_named(argv: tuple[str, ...]) -> None:
    answer = start(*argv, prepare=_nobody).end()
    answer.is_(77, "root").with_hint()
    assert "sudo" in answer.err


@pytest.mark.skipif(os.geteuid() != 0, reason="to root alone does the journal belong")
@pytest.mark.parametrize("command", ["show", "explain", "verify", "export"])
def test_a_journal_that_is_roots_is_told_by_every_command_in_the_same_words(loaded: Path, command: str) -> None:
    # pytest's own directory is root's, too.
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        machine = copy(loaded, Path(directory, "machine"))
        argv = ("--simulate", str(machine), "journal", command)

        def become_nobody() -> None:
            main(argv)  # nobody may not be able to read what this imports
            _nobody()

        start(*argv, prepare=become_nobody).end().is_(77, "The journal cannot be read.", "sudo").with_hint()


def test_without_root_nothing_can_be_configured_either() -> None:
    answer = start(
        "init", "--force", "--config", "/etc/vfiostate-of-nobody.toml", "--device", "00:00.0=1234:5678", prepare=_nobody
    ).end()
    assert answer.code in (5, 64, 77), answer.text
    assert not Path("/etc/vfiostate-of-nobody.toml").exists()


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o027])
def test_state_journal_and_script_are_private_whatever_the_umask(new: Path, umask: int) -> None:
    run(new, "advance", "--until", "stubbed", prepare=lambda: os.umask(umask)).is_(0)
    place = new / "var/lib/vfiostate"
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    for one in place.rglob("*"):
        assert stat.S_IMODE(one.stat().st_mode) == (0o700 if one.is_dir() else 0o600), one
    assert stat.S_IMODE((new / "run/lock/vfiostate.lock").stat().st_mode) & 0o077 == 0
    assert stat.S_IMODE((new / "etc/default/grub").stat().st_mode) == 0o644
    assert stat.S_IMODE((new / "etc/modprobe.d/00-vfiostate.conf").stat().st_mode) == 0o644


def test_large_images_are_kept_privately_and_come_back(at: At) -> None:
    machine = at("modules_loaded")
    image = machine / "boot/initrd.img-6.1.0-56-amd64"
    content = image.read_bytes() + b"\n" * (20 << 20)
    image.write_bytes(content)
    run(machine, "advance", prepare=lambda: os.umask(0)).is_(0)
    kept = list((machine / "var/lib/vfiostate/images").iterdir())
    assert kept
    for one in (kept[0].parent, *kept):
        assert stat.S_IMODE(one.stat().st_mode) == (0o700 if one.is_dir() else 0o600)
    run(machine, "rollback", "--to", "modules_loaded").is_(0)
    assert image.read_bytes() == content


@pytest.mark.parametrize(("given", "recorded"), [("1000", "/1000"), ("", ""), ("root; rm", ""), ("-1", "")])
def test_who_called_sudo_is_recorded(new: Path, given: str, recorded: str) -> None:
    run(new, "advance", prepare=lambda: os.environ.__setitem__("SUDO_UID", given)).is_(0)
    assert {event.who for event in events(new)} == {f"{os.getuid()}{recorded}"}


def test_a_configuration_with_a_password_does_not_tell_it(new: Path) -> None:
    place = new / CONFIG
    place.chmod(0o600)
    place.write_text('journal_url = "postgresql://me:geheim@127.0.0.1:9/none"\n' + place.read_text())
    answer = run(new, "advance")
    assert answer.code in (1, 6, 64, 75), answer.text
    assert "geheim" not in answer.text

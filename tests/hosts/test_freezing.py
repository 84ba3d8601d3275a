"""An XFS of its own is frozen and thawed; whatever becomes of us in between, it does not stay frozen."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.hosts import freezing
from engine.hosts.freezing import FIFREEZE, FITHAW, write_in_place
from engine.hosts.mounts import Mount, mount_of

NAMES = {FIFREEZE: "freeze", FITHAW: "thaw"}
ROOT = Path("/")


class Kernel:
    """The two calls, written down with who made them: us or our watcher. `frozen` is what freezing answers."""

    def __init__(self, record: Path, frozen: int = 0) -> None:
        self._record = record
        self._frozen = frozen
        self._ours = os.getpid()
        self.dies = self.waits = False
        record.touch()

    def ioctl(self, descriptor: int, what: int, _: int) -> int:
        """In place of fcntl.ioctl."""
        ours = os.getpid() == self._ours
        if ours and what == FITHAW and self.dies:
            os.kill(os.getpid(), signal.SIGKILL)
        if what == FITHAW and not self.calls:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))  # a watcher that is faster than we are
        with self._record.open("a") as record:
            record.write(f"{'we' if ours else 'watcher'}: {NAMES[what]}\n")
        if what == FIFREEZE and self._frozen:
            raise OSError(self._frozen, os.strerror(self._frozen))
        while what == FIFREEZE and self.waits and not self.calls[1:]:
            time.sleep(0.001)
        return 0

    @property
    def calls(self) -> list[str]:
        """What was asked for so far."""
        return self._record.read_text().splitlines()


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the calls go; /boot is an XFS, and another file system than the root."""
    (tmp_path / "boot").mkdir()
    mounted(monkeypatch, tmp_path, Mount("8:2", "xfs"))
    return tmp_path / "calls"


def mounted(monkeypatch: pytest.MonkeyPatch, root: Path, boot: Mount | None) -> None:
    """What lies where."""
    places = {root / "boot": boot, root: Mount("8:3", "ext4"), ROOT: Mount("8:1", "xfs")}
    monkeypatch.setattr(freezing, "mount_of", places.__getitem__)


def kernel(monkeypatch: pytest.MonkeyPatch, record: Path, frozen: int = 0) -> Kernel:
    """One in whose place ours does nothing."""
    made = Kernel(record, frozen)
    monkeypatch.setattr(fcntl, "ioctl", made.ioctl)
    return made


@pytest.mark.parametrize(
    ("boot", "calls"),
    [
        (Mount("8:2", "xfs"), ["we: freeze", "we: thaw"]),
        (Mount("8:2", "ext4"), []),
        (Mount("8:1", "xfs"), []),
        (Mount("8:3", "xfs"), []),
        (None, []),
    ],
)
def test_only_an_xfs_that_is_no_root_is_frozen(
    record: Path, monkeypatch: pytest.MonkeyPatch, boot: Mount | None, calls: list[str]
) -> None:
    mounted(monkeypatch, record.parent, boot)
    asked = kernel(monkeypatch, record)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    write_in_place(record.parent / "boot", record.parent)
    assert asked.calls == calls
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


@pytest.mark.parametrize("answer", sorted(freezing.REFUSALS))
def test_what_somebody_else_froze_or_we_may_not_is_left(
    record: Path, monkeypatch: pytest.MonkeyPatch, answer: int
) -> None:
    asked = kernel(monkeypatch, record, answer)
    write_in_place(record.parent / "boot", record.parent)
    assert asked.calls == ["we: freeze"]


def test_a_file_system_that_fails_is_told_and_not_left_frozen(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = kernel(monkeypatch, record, errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        write_in_place(record.parent / "boot", record.parent)
    assert asked.calls == ["we: freeze", "watcher: thaw"]


def test_the_watcher_thaws_when_we_are_slow(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freezing, "LONGEST", 0.001)
    asked = kernel(monkeypatch, record)
    asked.waits = True
    write_in_place(record.parent / "boot", record.parent)
    assert asked.calls[:2] == ["we: freeze", "watcher: thaw"]


def killed(directory: Path, root: Path, record: Path, *, real: bool) -> int:
    """A process of which SIGKILL leaves nothing between the two calls; how it ended."""
    child = os.fork()
    if child == 0:
        try:
            asked, ioctl = Kernel(record), fcntl.ioctl
            asked.dies = True

            def both(descriptor: int, what: int, argument: int) -> int:
                asked.ioctl(descriptor, what, argument)
                return ioctl(descriptor, what, argument) if real else 0

            fcntl.ioctl = both  # type: ignore[assignment]  # in a child that ends with this
            write_in_place(directory, root)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def thawed(record: Path) -> bool:
    """Whether the watcher, which nobody can wait for, came to it."""
    deadline = time.monotonic() + freezing.LONGEST / 2
    while time.monotonic() < deadline:
        if record.read_text().splitlines() == ["we: freeze", "watcher: thaw"]:
            return True
        time.sleep(0.005)
    return False


def test_the_watcher_thaws_when_we_are_killed(record: Path) -> None:
    assert killed(record.parent / "boot", record.parent, record, real=False) == -signal.SIGKILL
    assert thawed(record)


@pytest.fixture
def xfs(tmp_path: Path) -> Iterator[Path]:
    """A real XFS, mounted, where that can be had."""
    image, place = tmp_path / "image", tmp_path / "xfs"
    place.mkdir()
    with image.open("wb") as made:
        made.truncate(400 << 20)
    for argv in (["mkfs.xfs", "-q", str(image)], ["mount", "-o", "loop", str(image), str(place)]):
        try:
            subprocess.run(argv, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no XFS can be made and mounted here: {error}")
    yield place
    deadline = time.monotonic() + freezing.LONGEST / 2
    # The watcher, which nobody can wait for, may not have ended yet.
    while subprocess.run(["umount", str(place)], check=False, capture_output=True).returncode:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def in_place(image: Path, name: str) -> bool:
    """Whether a file is found in the image by who does not replay the log, as GRUB does not."""
    asked = ["xfs_db", "-r", "-f", "-c", "path /", "-c", "print", str(image)]
    return name in subprocess.run(asked, check=True, capture_output=True, text=True).stdout


def test_a_real_xfs_has_it_in_place_and_can_be_written_to_afterwards(xfs: Path) -> None:
    found = mount_of(xfs)
    assert found is not None and found.type == "xfs"
    (xfs / "grub.cfg").write_text("x")
    os.sync()
    assert not in_place(xfs.parent / "image", "grub.cfg")
    write_in_place(xfs, ROOT)
    os.sync()
    assert in_place(xfs.parent / "image", "grub.cfg")
    (xfs / "more").write_text("x")


def test_a_real_xfs_is_thawed_when_we_are_killed(xfs: Path, tmp_path: Path) -> None:
    assert killed(xfs, ROOT, tmp_path / "calls", real=True) == -signal.SIGKILL
    assert thawed(tmp_path / "calls")
    (xfs / "more").write_text("x")

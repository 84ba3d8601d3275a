"""A Linux host: this one, or with another root a mounted system whose kernel does not run."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import NoReturn

from engine import log, signals
from engine.hosts.base import OFFLINE, PATH, Attributes, OutcomeUnknown
from engine.hosts.freezing import write_in_place
from engine.hosts.processes import ProcessTree
from steps.base import Completed

# sudo's caller chooses neither the path nor the language of what commands print.
ENVIRONMENT = {"PATH": PATH, "LC_ALL": "C", "HOME": "/root", "TERM": "dumb", "DEBIAN_FRONTEND": "noninteractive"}
TICK = 0.1
# How often it is told, in seconds, that a command without a new line still runs.
BEAT = 1.0
BOOT_LOADER_READS = ("/boot/", "/efi/")
# In a mount namespace of its own, gone with the command: update-grub and update-initramfs need /dev, /proc and /sys of
# the kernel that runs, whether or not the user has mounted them below the root; nothing is left mounted there. Of /run
# only udev's database, by which LVM is found: systemctl must not meet the rescue system's own systemd.
ENTER = """
root=$1
shift
for dir in dev proc sys; do mount --rbind "/$dir" "$root/$dir"; done 2>/dev/null
if mount -t tmpfs -o mode=755 tmpfs "$root/run" && mkdir "$root/run/udev"; then
    mount --bind /run/udev "$root/run/udev"
fi 2>/dev/null
exec chroot "$root" "$@"
"""


class LinuxHost(ProcessTree):
    """See engine.hosts.base.ChangeableHost. With a root other than `/`, commands run in a chroot, nothing is booted.

    Nor is it where vfiostate itself was started in a chroot: the running kernel is the rescue system's then.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        super().__init__(root)
        self.booted = self.root == Path("/") and not _in_chroot()

    @property
    def label(self) -> str:
        """How to name it to the user."""
        return "this host" if self.booted else f"the system in {self.root}"

    @property
    def release(self) -> str:
        """The running kernel's release; of a mounted system the newest of /lib/modules."""
        if self.booted:
            return platform.release()
        with contextlib.suppress(OSError):
            return (*self.list("/lib/modules"),)[-1]
        return ""

    @property
    def boot_id(self) -> str:
        """The kernel's boot id; that of a mounted system is none of its own."""
        found = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return found if self.booted else f"{OFFLINE}{found}"

    def which(self, name: str) -> str | None:
        """The path of a command on the fixed PATH."""
        for directory in PATH.split(":"):
            found = self.resolve(f"{directory}/{name}")
            place = self.root / found.lstrip("/")
            if place.is_file() and os.access(place, os.X_OK):
                return f"{directory}/{name}"
        return None

    def query(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 60.0) -> Completed:
        """Run a command that only reads, in a session of its own as `run` does."""
        try:
            process = subprocess.Popen(
                self._inside(argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=ENVIRONMENT,
                start_new_session=True,
            )
        except FileNotFoundError:
            return Completed(tuple(argv), 127, b"", f"{argv[0]}: not found".encode())
        with process:
            out, err = _communicate(process, stdin, timeout, argv[0])
        log.debug("asked", argv=list(argv), status=process.returncode)
        return Completed(tuple(argv), process.returncode, out, err)

    def _inside(self, argv: Sequence[str]) -> list[str]:
        if self.root == Path("/"):
            return list(argv)
        # chroot(8) exits with 127 where the command is missing, as query and run promise.
        if self._may_mount:
            return ["unshare", "--mount", "sh", "-c", ENTER, "sh", str(self.root), *argv]
        return [shutil.which("chroot", path=PATH) or "chroot", str(self.root), *argv]

    @cached_property
    def _may_mount(self) -> bool:
        """Whether commands can have mounts of their own here: not in every container."""
        try:
            tried = subprocess.run(["unshare", "--mount", "true"], env=ENVIRONMENT, capture_output=True, check=False)
        except FileNotFoundError:
            return False
        return tried.returncode == 0

    def run(self, argv: Sequence[str], *, timeout: float, on_line: Callable[[str], None] | None = None) -> Completed:
        """Run a command that changes the host, in a session of its own so that a Ctrl-C reaches it only through us."""
        try:
            process = subprocess.Popen(
                self._inside(argv),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=ENVIRONMENT,
                start_new_session=True,
            )
        except FileNotFoundError:
            return Completed(tuple(argv), 127, b"", f"{argv[0]}: not found".encode())
        with process:
            output = _follow(process, time.monotonic() + timeout, on_line)
        log.info("ran", argv=list(argv), status=process.returncode)
        return Completed(tuple(argv), process.returncode, output, b"")

    def write_file(self, path: str, content: bytes, attributes: Attributes) -> None:
        """As FileTree's; what the boot loader reads is also where it reads it."""
        super().write_file(path, content, attributes)
        self._reach_boot_loader(path)

    def put_file(self, path: str, source: Path, attributes: Attributes) -> None:
        """As FileTree's; what the boot loader reads is also where it reads it."""
        super().put_file(path, source, attributes)
        self._reach_boot_loader(path)

    def remove_file(self, path: str) -> None:
        """As FileTree's; the boot loader does not find it any more either."""
        super().remove_file(path)
        self._reach_boot_loader(path)

    def sync(self, path: str) -> None:
        """As FileTree's; what the boot loader reads is also where it reads it."""
        super().sync(path)
        self._reach_boot_loader(path)

    def _reach_boot_loader(self, path: str) -> None:
        """Have the file system's own blocks written too, not only its journal.

        GRUB reads ext4 and XFS without replaying the journal (grub-core/fs/ext2.c, xfs.c). After fsync(2) and a power
        cut it would follow the old name to blocks that are free by now, and may hold something else. Of ext4 sync(2)
        writes the metadata in place; of XFS only freezing does, which is not done to that of the root: see there.
        """
        if path.startswith(BOOT_LOADER_READS):
            os.sync()
            write_in_place(self._nearest(path.rpartition("/")[0]), self.root)

    def write_attribute(self, path: str, value: str, *, timeout: float) -> None:
        """Write to a kernel attribute in a child process: a write to sysfs can hang for ever, and then only it does."""
        place = os.fspath(self.local(path))
        child = os.fork()
        if child == 0:
            _write_and_exit(place, value)
        deadline = time.monotonic() + timeout
        while True:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                raise OutcomeUnknown(f"writing {value.strip()!r} to {path} gave no answer within {timeout:g} s")
            time.sleep(0.002)
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            raise OutcomeUnknown(f"writing {value.strip()!r} to {path} was ended by signal {-code}")
        if code:
            raise OSError(code, os.strerror(code), path)

    def request_reboot(self) -> None:
        """Ask the init system to reboot."""
        done = self.query(["systemctl", "reboot"]) if self.which("systemctl") else self.query(["shutdown", "-r", "now"])
        if not done.ok:
            raise OSError(0, f"the reboot was refused: {done.stderr.decode(errors='replace').strip()}")

    def system_log(self, text: str, **fields: str) -> None:
        """One line to the system's log, by systemd's journal where there is one, which keeps the fields."""
        if self.booted:
            from engine.hosts.system_log import log  # needed once in a step, not by what only reads

            log(text, fields)


def _in_chroot() -> bool:
    """Whether our `/` is another than that of process 1, as systemd-detect-virt --chroot tells; root alone can see."""
    try:
        ours, first = os.stat("/"), os.stat("/proc/1/root")
    except OSError:
        return False
    return (ours.st_dev, ours.st_ino) != (first.st_dev, first.st_ino)


def _follow(process: subprocess.Popen[bytes], deadline: float, on_line: Callable[[str], None] | None) -> bytes:
    """Gather a command's output until it ends. Kills it and its children at the deadline or when a signal came."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    output = bytearray()
    shown, told, last_line = 0, time.monotonic(), ""
    try:
        while True:
            ended = process.poll() is not None
            chunk = process.stdout.read() or b""
            output += chunk
            if on_line is not None and b"\n" in chunk:
                last = output.rindex(b"\n")
                last_line = output[shown:last].rsplit(b"\n", 1)[-1].decode(errors="replace")
                shown, told = last + 1, 0.0
            if on_line is not None and time.monotonic() - told >= BEAT:
                on_line(last_line)
                told = time.monotonic()
            if ended:
                return bytes(output)
            signals.check()
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(TICK if not chunk else 0)
    except BaseException:
        _kill(process)
        raise


def _communicate(process: subprocess.Popen[bytes], stdin: bytes, timeout: float, name: str) -> tuple[bytes, bytes]:
    """Feed a command and gather what it says. Kills it and its children after `timeout` s or when a signal came."""
    deadline = time.monotonic() + timeout
    given: bytes | None = stdin
    try:
        while True:
            try:
                return process.communicate(given, timeout=TICK)
            except subprocess.TimeoutExpired:
                given = None
            signals.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name} gave no answer within {timeout:g} s")
    except BaseException:
        _kill(process)
        raise


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The command and all that it started: one that is left would keep our pipes open."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _write_and_exit(place: str, value: str) -> NoReturn:
    """Write, and exit with the errno. The child may hang for ever: it keeps neither our lock nor our pipes open."""
    code = errno.EIO
    try:
        os.closerange(0, os.sysconf("SC_OPEN_MAX"))
        os.write(os.open(place, os.O_WRONLY), value.encode())
        code = 0
    except OSError as error:
        code = error.errno or errno.EIO
    finally:
        os._exit(code)

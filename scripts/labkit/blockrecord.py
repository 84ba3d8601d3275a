"""Recording in the lab: a simulated host on a real ext4 of a real kernel, on a disk whose every write is logged."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from . import bundle, image, observe
from .base import GUEST_PROGRAMS, LabError, limit, need_commands, run, say
from .blocklog import MARK_SIZE
from .machine import Machine, Shape, overlay

DISK_SIZE = 96 << 20  # bytes
# Past the end of the file system, for the notes.
NOTES_AT = DISK_SIZE - (1 << 20)
MOUNT = "/mnt"
HOST = "m"
INIT = ("--device=01:00.0", "--device=01:00.1", "--device=02:00.0", "--accel=tcg", "--cpu=qemu64")
RECORDER = f"{observe.PROGRAMS}/recorder.py"


@dataclass
class RecordedMachine(Machine):
    """The lab's machine with further disks, whose arguments `recorded` has."""

    recorded: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """The whole QEMU command line."""
        return [*super().arguments(), *self.recorded]


@dataclass(frozen=True)
class Recording:
    """One recorded life of a simulated host, in a directory that can be kept."""

    directory: Path

    @property
    def before(self) -> Path:
        """The disk as it was before its first recorded write."""
        return self.directory / "before.img"

    @property
    def log(self) -> Path:
        """The writes."""
        return self.directory / "writes.log"

    @property
    def transcript(self) -> Path:
        """What was run, and what it said: a JSON object a line."""
        return self.directory / "transcript.jsonl"

    def complete(self) -> bool:
        """Whether a recording was made here and came to its end."""
        return self.transcript.exists() and self.log.exists() and self.before.exists()


def make_disk(target: Path) -> None:
    """A disk with an ext4 on all of it but the place for the notes; journalling as mke2fs(8) has it by default."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "wb") as file:
        file.truncate(DISK_SIZE)
    # Initialized at once: a kernel that does it later in the background would write into the log.
    options = "lazy_itable_init=0,lazy_journal_init=0"
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-E", options, target, str(NOTES_AT // 4096)])


def recorded_disk(recording: Recording, disk: Path, number: int) -> list[str]:
    """QEMU's arguments for a disk with a log."""
    address = 0x7 + number
    file, log = (
        json.dumps({"driver": "raw", "node-name": f"{kind}{number}", "file": {"driver": "file", "filename": str(path)}})
        for kind, path in (("file", disk), ("log", recording.log))
    )
    node = {
        "driver": "blklogwrites",
        "node-name": f"recorded{number}",
        "file": f"file{number}",
        "log": f"log{number}",
        "log-sector-size": 512,
    }
    device = f"virtio-blk-pci,drive=recorded{number},bus=pcie.0,addr={address:#x},serial=recorded{number}"
    return ["-blockdev", file, "-blockdev", log, "-blockdev", json.dumps(node), "-device", device]


def record(recordings: dict[Recording, tuple[str, ...]]) -> None:
    """Record one life for each recording, with these options of the recorder, all in one machine. Raises LabError."""
    need_commands(["qemu-system-x86_64", "qemu-img", "mke2fs", "pip"])
    base = image.ensure_image()
    work = Path(tempfile.mkdtemp(prefix="vfiostate-blocks-"))
    try:
        extra: list[str] = []
        for number, recording in enumerate(recordings):
            make_disk(recording.before)
            disk = work / f"recorded{number}.img"
            shutil.copyfile(recording.before, disk)
            recording.log.write_bytes(b"")
            extra += recorded_disk(recording, disk, number)
        tar = bundle.make(work)
        # What is recorded needs no IOMMU; with one, a busy host may have the kernel find that its timer does not work.
        shape = Shape(iommu="none", processors=1)
        machine = RecordedMachine(work, overlay(base.disk, work / "disk.qcow2"), shape, recorded=tuple(extra))
        with machine:
            say("starting a machine with recorded disks")
            machine.start("first boot")
            bundle.install(machine.agent, tar)
            observe.place_programs(machine.agent)
            machine.agent.write(RECORDER, (GUEST_PROGRAMS / "recorder.py").read_bytes())
            for number, (recording, flags) in enumerate(recordings.items()):
                _one_life(machine, number, recording, flags)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _one_life(machine: Machine, number: int, recording: Recording, flags: tuple[str, ...]) -> None:
    say(f"recording {recording.directory.name}")
    started = time.monotonic()
    device = machine.agent.sh(f"readlink -f /dev/disk/by-id/virtio-recorded{number}").strip()
    # A discard says nothing about what a read gives afterwards.
    machine.agent.run(["mount", "-o", "nodiscard", device, MOUNT]).check()
    argv = [f"{bundle.INSTALLED}/bin/python", RECORDER, device, str(NOTES_AT), f"{MOUNT}/{HOST}", *flags, "--", *INIT]
    ran = machine.agent.run(argv, timeout=4 * limit("advance"))
    recording.transcript.write_text(ran.stdout)
    if ran.rc or ran.timed_out:
        recording.transcript.rename(recording.transcript.with_suffix(".failed"))
        raise LabError(f"the recorder ended with {ran.rc}:\n{ran.stdout[-3000:]}{ran.stderr[-3000:]}")
    # A flush has QEMU write the number of entries into the log.
    machine.agent.run(["umount", MOUNT], timeout=limit("command")).check()
    say(f"recorded in {time.monotonic() - started:.0f} s: {recording.log.stat().st_size >> 20} MiB")


assert NOTES_AT % 4096 == 0 and MARK_SIZE <= 4096

"""The lab's disk image: Debian from packages, without a loop device or a mount; cached under a key of what built it.

A root file system is made by mmdebstrap, put on a partition by ``mke2fs -d``, and booted once by QEMU's ``-kernel``;
that boot runs the real ``update-initramfs``, ``grub-install`` and ``update-grub``. From then on it boots by itself.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from . import mirror
from .base import GUEST_PROGRAMS, LabError, cache_directory, limit, need_commands, run, say
from .machine import Machine, Shape

SUITE = "bookworm"
REVISION = 1  # one more whenever the functions below make another image of the same data
PACKAGES = [
    "linux-image-amd64",
    "grub-pc",
    "initramfs-tools",
    "zstd",
    "pciutils",
    "kmod",
    "python3",
    "python3-venv",
    "qemu-system-x86",
    "seabios",
    "ipxe-qemu",
    "iproute2",
    "systemd-sysv",
    "udev",
    "dbus",
    "sudo",
    "busybox",
    "procps",
    "strace",
]
DISK_MIB = 6144
SPACE_NEEDED = 5 << 30  # bytes, while it is built; the finished image has 300 MiB
PARTITION_OFFSET = 1024 * 1024
DISK_ID = "0x76667374"
FILE_SYSTEM = "6c616200-7666-4973-8000-76666c616273"

# Configuration of the lab's image, in place before vfiostate ever sees it. MODULES=dep and a low compression level are
# why an initramfs takes 70 s under emulation and not 600; the serial console is where a boot that fails is read.
FILES = {
    "/etc/hostname": "lab\n",
    "/etc/hosts": "127.0.0.1 localhost\n127.0.1.1 lab\n",
    "/etc/fstab": f"UUID={FILE_SYSTEM} / ext4 errors=remount-ro 0 1\n",
    "/etc/default/grub": (
        "# If you change this file, run 'update-grub' afterwards to update\n"
        "# /boot/grub/grub.cfg.\n\n"
        "GRUB_DEFAULT=0\n"
        "GRUB_TIMEOUT=1\n"
        "GRUB_DISTRIBUTOR=`lsb_release -i -s 2> /dev/null || echo Debian`\n"
        'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n'
        'GRUB_CMDLINE_LINUX="console=ttyS0,115200 ignore_loglevel"\n\n'
        "GRUB_TERMINAL=serial\n"
        'GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"\n'
    ),
    "/etc/sudoers.d/lab": "lab ALL=(ALL) NOPASSWD: ALL\n",
    "/etc/systemd/system/lab-agent.service": (
        "[Unit]\nDescription=The lab's agent\nDefaultDependencies=no\nAfter=systemd-udevd.service local-fs.target\n"
        "Conflicts=shutdown.target\nBefore=shutdown.target\n\n"
        "[Service]\nExecStart=/usr/bin/python3 /usr/local/lib/lab/agent.py\nRestart=always\nRestartSec=1\n"
        "Environment=LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root\n"
        "LimitCORE=0\nTimeoutStopSec=5\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    ),
}
MASKED_UNITS = [
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "man-db.timer",
    "logrotate.timer",
    "getty@tty1.service",
    "systemd-pcrphase.service",
]
FIRST_BOOT = (
    ["sed", "-i", "s/^MODULES=.*/MODULES=dep/; s/^COMPRESS=.*/COMPRESS=zstd/; s/^# *COMPRESSLEVEL=.*/COMPRESSLEVEL=1/",
     "/etc/initramfs-tools/initramfs.conf"],
    ["update-initramfs", "-u", "-k", "all"],
    ["grub-install", "--target=i386-pc", "/dev/vda"],
    ["update-grub"],
    ["sh", "-c", "test -f /boot/grub/i386-pc/core.img && test -f /boot/grub/grub.cfg"],
    ["sync"],
)  # fmt: skip


def recipe_key() -> str:
    """Changes whenever anything changes that the image is made of; not with the layout of the source."""
    agent = ast.dump(ast.parse((GUEST_PROGRAMS / "agent.py").read_text(encoding="utf-8")))
    recipe = [REVISION, SUITE, PACKAGES, DISK_MIB, DISK_ID, FILE_SYSTEM, FILES, MASKED_UNITS, FIRST_BOOT, agent]
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16]


def image_path() -> Path:
    """Where the image of the present recipe is or will be."""
    return cache_directory() / f"{SUITE}-{recipe_key()}.qcow2"


def built_images() -> list[Path]:
    """The images in the cache, of older recipes too."""
    return sorted(cache_directory().glob("*.qcow2"))


def ensure_image(*, rebuild: bool = False) -> Path:
    """The image, from the cache or built now; two processes that both want it build it once."""
    path = image_path()
    with open(cache_directory() / "build.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if rebuild or not path.exists():
            build(path)
    return path


def build(path: Path) -> None:
    """Builds the image at this path; what is half done lies in a directory beside it and is removed."""
    if os.geteuid() != 0:
        raise LabError("building the image needs root (files of every owner, device nodes): sudo scripts/lab build")
    if (free := shutil.disk_usage(cache_directory()).free) < SPACE_NEEDED:
        raise LabError(
            f"{cache_directory()} has {free >> 30} GiB free, building the image takes {SPACE_NEEDED >> 30} GiB\n"
            "  another place: VFIOSTATE_LAB_CACHE=DIR scripts/lab build"
        )
    need_commands(["mmdebstrap", "qemu-system-x86_64", "qemu-img", "mke2fs", "sfdisk"])
    work = path.with_suffix(".building")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        root = work / "root"
        timed("packages", bootstrap, root, work)
        timed("configuration", configure, root)
        timed("disk", make_disk, root, work)
        timed("first boot: initramfs, grub-install, update-grub", first_boot, root, work)
        timed("compression", compress, work, path)
    finally:
        keep_logs(work, path.with_suffix(".log"))
        shutil.rmtree(work, ignore_errors=True)
    say(f"image {path} {path.stat().st_size // 2**20} MiB")


def timed(what: str, function: Callable[..., None], *arguments: Path) -> None:
    """Runs one part of the build and says how long it took."""
    started = time.monotonic()
    say(f"{what} …")
    function(*arguments)
    say(f"{what}: {time.monotonic() - started:.0f} s")


def keep_logs(work: Path, target: Path) -> None:
    """Puts the build's logs into one file that outlives the build."""
    with target.open("w", encoding="utf-8") as out:
        for log in sorted(work.rglob("*.log")):
            out.write(f"==== {log.name}\n{log.read_text(encoding='utf-8', errors='replace')}\n")


def bootstrap(root: Path, work: Path) -> None:
    """Debian in a directory, by its own packages."""
    sources = work / "sources.list"
    sources.write_text("\n".join(mirror.sources_lines(SUITE)) + "\n")
    run(
        ["mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory", f"--include={','.join(PACKAGES)}",
         "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
         "--dpkgopt=path-exclude=/usr/share/locale/*", SUITE, root, sources],
        log=work / "mmdebstrap.log",
    )  # fmt: skip


def configure(root: Path) -> None:
    """The image's own configuration and the agent. No address of a mirror stays in it."""
    for name, text in FILES.items():
        target = root / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(0o440 if "sudoers" in name else 0o644)
    agent = root / "usr/local/lib/lab/agent.py"
    agent.parent.mkdir(parents=True)
    shutil.copyfile(GUEST_PROGRAMS / "agent.py", agent)
    for leftover in (root / "etc/apt/sources.list.d").glob("*"):
        leftover.unlink()
    (root / "etc/apt/sources.list").write_text("# the lab's machine has no network\n")
    chroot = ["chroot", str(root)]
    run([*chroot, "useradd", "--create-home", "--shell", "/bin/bash", "lab"])
    run([*chroot, "systemctl", "enable", "lab-agent.service"])
    run([*chroot, "systemctl", "mask", *MASKED_UNITS])


def make_disk(root: Path, work: Path) -> None:
    """One bootable partition in a plain file."""
    disk = work / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(DISK_MIB * 2**20)
    table = work / "table"
    start = PARTITION_OFFSET // 512
    table.write_text(f"label: dos\nlabel-id: {DISK_ID}\nstart={start}, type=83, bootable\n")
    run(["sh", "-c", 'sfdisk --quiet "$1" <"$2"', "sh", disk, table])
    kib = DISK_MIB * 1024 - PARTITION_OFFSET // 1024
    run(
        ["mke2fs", "-q", "-t", "ext4", "-L", "lab", "-U", FILE_SYSTEM, "-d", root, "-E", f"offset={PARTITION_OFFSET}",
         disk, f"{kib}k"],
        log=work / "mke2fs.log",
    )  # fmt: skip


def first_boot(root: Path, work: Path) -> None:
    """The boot that installs the real GRUB; with the kernel given by QEMU, since there is no boot loader yet."""
    kernel = max((root / "boot").glob("vmlinuz-*"))
    initrd = root / "boot" / kernel.name.replace("vmlinuz-", "initrd.img-")
    shutil.copyfile(kernel, cache_directory() / kernel.name)  # for the question whether KVM works
    machine = Machine(
        work / "machine",
        work / "disk.raw",
        Shape(),
        disk_format="raw",
        direct=(kernel, initrd, f"root=UUID={FILE_SYSTEM} ro console=ttyS0,115200"),
    )
    (work / "machine").mkdir()
    with machine:
        machine.start("first boot")
        for argv in FIRST_BOOT:
            machine.agent.run(argv, timeout=limit("initramfs")).check()
        machine.power_off()
    shutil.copyfile(machine.serial, work / "serial.log")


def compress(work: Path, path: Path) -> None:
    """The finished disk as zstd qcow2, in place by one rename."""
    finished = work / "finished.qcow2"
    run(["qemu-img", "convert", "-O", "qcow2", "-o", "compression_type=zstd", "-c", work / "disk.raw", finished])
    os.replace(finished, path)

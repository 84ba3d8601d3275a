"""A Debian 12 root with real GRUB, initramfs-tools and kernel, kept between runs: `python -m tests.boot.real.root`.

Building needs root, mmdebstrap and the package mirror of this machine's apt, and takes one to two minutes; the tests
only use what is there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = ("linux-image-amd64", "grub-pc-bin", "grub2-common", "initramfs-tools", "kmod", "zstd")
PROGRAMS = ("usr/sbin/update-grub", "usr/sbin/update-initramfs", "usr/bin/lsinitramfs", "usr/sbin/modprobe")


def place() -> Path:
    """Where the root lies: $VFIOSTATE_TEST_ROOT, or the user's cache."""
    given = os.environ.get("VFIOSTATE_TEST_ROOT")
    return Path(given) if given else Path.home() / ".cache" / "vfiostate-tests" / "debian-12"


def missing() -> str | None:
    """Why the tests with real tools cannot run here, None where they can."""
    if os.geteuid() != 0:
        return "needs root (chroot, mounts)"
    if shutil.which("unshare") is None:
        return "needs unshare"
    if not _whole(place()):
        return f"no Debian root in {place()}: make one with `python -m tests.boot.real.root`"
    return None


def _whole(root: Path) -> bool:
    return all((root / program).exists() for program in PROGRAMS)


def build(target: Path) -> None:
    """Make the root where it is not there yet. A build that is cut off leaves only its working directory behind."""
    if _whole(target):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    work = target.with_name(target.name + ".part")
    shutil.rmtree(work, ignore_errors=True)
    sources = [Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list")]
    mirror = [str(path) for path in sources if path.is_file() and path.stat().st_size]
    options = ("--variant=minbase", "--mode=root", f"--include={','.join(PACKAGES)}", '--aptopt=Acquire::Retries "3"')
    # Only the kernel's own modules count: an image of all of them would take a minute to make.
    few = 'echo MODULES=list > "$1/etc/initramfs-tools/conf.d/modules"'
    quick = "--essential-hook=" + 'mkdir -p "$1/etc/initramfs-tools/conf.d"; ' + few
    argv = ["mmdebstrap", *options, quick, "bookworm", str(work), *mirror[:1]]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    default = work / "etc/default/grub"
    if not default.exists():
        shutil.copy(work / "usr/share/grub/default/grub", default)
    (work / "boot/grub").mkdir(exist_ok=True)
    work.rename(target)


if __name__ == "__main__":
    build(place())
    sys.exit(0)

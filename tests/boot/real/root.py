"""Debian 12 roots with real boot tools and a kernel, kept between runs: `python -m tests.boot.real.root`.

One with GRUB and initramfs-tools, one with dracut: the two cannot be installed together. Building needs root,
mmdebstrap and the package mirror of this machine's apt, and takes one to two minutes each; the tests only use what is
there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[3]
# What the tools write to; everything else of a copy shares its blocks with the cached root.
CHANGED = ("boot", "etc", "root", "var")


@dataclass(frozen=True, slots=True)
class Recipe:
    """The packages of a root, the programs that show that it is whole, and a file that is there before any of them.

    Only the kernel's own modules count: an image of all of them would take a minute to make.
    """

    packages: tuple[str, ...]
    programs: tuple[str, ...]
    few: tuple[str, str]


INITRAMFS_TOOLS = "debian-12"
DRACUT = "debian-12-dracut"
RECIPES = {
    INITRAMFS_TOOLS: Recipe(
        ("linux-image-amd64", "grub-pc-bin", "grub2-common", "initramfs-tools", "kmod", "zstd"),
        ("usr/sbin/update-grub", "usr/sbin/update-initramfs", "usr/bin/lsinitramfs", "usr/sbin/modprobe"),
        ("etc/initramfs-tools/conf.d/modules", "MODULES=list"),
    ),
    DRACUT: Recipe(
        ("linux-image-amd64", "dracut", "kmod", "zstd"),
        ("usr/bin/dracut", "usr/bin/lsinitrd", "usr/sbin/modprobe"),
        ("etc/dracut.conf.d/10-few.conf", 'dracutmodules+=" base kernel-modules "; drivers+=" bochs "'),
    ),
}


def place(name: str = INITRAMFS_TOOLS) -> Path:
    """Where a root lies: $VFIOSTATE_TEST_ROOT or the user's cache for the first, beside it for the others."""
    given = os.environ.get("VFIOSTATE_TEST_ROOT")
    first = Path(given) if given else Path.home() / ".cache" / "vfiostate-tests" / INITRAMFS_TOOLS
    return first if name == INITRAMFS_TOOLS else first.with_name(name)


def missing(name: str = INITRAMFS_TOOLS) -> str | None:
    """Why the tests with real tools cannot run here, None where they can."""
    if os.geteuid() != 0:
        return "needs root (chroot, mounts)"
    if shutil.which("unshare") is None:
        return "needs unshare"
    if not _whole(name):
        return f"no Debian root in {place(name)}: make one with `python -m tests.boot.real.root`"
    return None


def _whole(name: str) -> bool:
    return all((place(name) / program).exists() for program in RECIPES[name].programs)


def told_by(module: str, name: str = INITRAMFS_TOOLS, *, timeout: float = 300) -> Any:
    """The JSON that a module prints which is run on a copy of a root, in a mount namespace of its own.

    The copy lies beside the cached root (hard links, but for what the tools write to) and is gone afterwards.
    """
    cached = place(name)
    copy = cached.with_name(f"{cached.name}.copy-{os.getpid()}-{module.rpartition('.')[2]}")
    shutil.rmtree(copy, ignore_errors=True)
    try:
        subprocess.run(("cp", "-al", cached, copy), check=True)
        for changed in CHANGED:
            shutil.rmtree(copy / changed)
            subprocess.run(("cp", "-a", cached / changed, copy / changed), check=True)
        argv = ("unshare", "--mount", sys.executable, "-m", module, str(copy))
        done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, timeout=timeout, check=False)
        assert done.returncode == 0, done.stderr.decode(errors="replace")[-4000:]
        return json.loads(done.stdout)
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def build(name: str) -> None:
    """Make a root where it is not there yet. A build that is cut off leaves only its working directory behind."""
    if _whole(name):
        return
    target, recipe = place(name), RECIPES[name]
    target.parent.mkdir(parents=True, exist_ok=True)
    work = target.with_name(target.name + ".part")
    shutil.rmtree(work, ignore_errors=True)
    sources = [Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list")]
    mirror = [str(path) for path in sources if path.is_file() and path.stat().st_size]
    included = f"--include={','.join(recipe.packages)}"
    options = ("--variant=minbase", "--mode=root", included, '--aptopt=Acquire::Retries "3"')
    path, text = recipe.few
    few = f'--essential-hook=mkdir -p "$1/{path.rpartition("/")[0]}"; echo \'{text}\' > "$1/{path}"'
    argv = ["mmdebstrap", *options, few, "bookworm", str(work), *mirror[:1]]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    if name == INITRAMFS_TOOLS:
        default = work / "etc/default/grub"
        if not default.exists():
            shutil.copy(work / "usr/share/grub/default/grub", default)
        (work / "boot/grub").mkdir(exist_ok=True)
    work.rename(target)


if __name__ == "__main__":
    for each in RECIPES:
        build(each)
    sys.exit(0)

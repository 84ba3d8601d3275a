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
from dataclasses import dataclass
from pathlib import Path

from . import mirror
from .base import GUEST_PROGRAMS, LabError, cache_directory, limit, need_commands, run, say
from .channel import Ran
from .disk import DISK_MIB, make_disk
from .machine import FIRMWARE_VARIABLES, Machine, Shape, firmware, overlay
from .recipe import BASE, LATER, LEFT_OUT, MASKED, ROOT, Recipe

REVISION = 1  # one more whenever the functions below make another image of the same recipe
SPACE_NEEDED = 5 << 30  # bytes, while it is built; the finished image has 300 MiB


@dataclass(frozen=True)
class Image:
    """A finished image, never to be written to: a disk and, with UEFI, what the firmware remembers."""

    disk: Path
    variables: Path | None = None

    def machine(
        self, directory: Path, shape: Shape | None = None, on_run: Callable[[Ran], None] | None = None
    ) -> Machine:
        """A machine in this directory whose disk and firmware begin as the image's."""
        directory.mkdir(parents=True, exist_ok=True)
        if self.variables:
            shutil.copyfile(self.variables, directory / FIRMWARE_VARIABLES)
        disk = overlay(self.disk, directory / "disk.qcow2")
        return Machine(directory, disk, shape or Shape(), on_run=on_run, uefi=self.variables is not None)


def image_path(recipe: Recipe = BASE) -> Path:
    """Where the image of a recipe is or will be."""
    agent = ast.dump(ast.parse((GUEST_PROGRAMS / "agent.py").read_text(encoding="utf-8")))
    made_of = json.dumps([REVISION, recipe.key, agent, DISK_MIB])
    return cache_directory() / f"{recipe.name}-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}.qcow2"


def built_images() -> list[Path]:
    """The images in the cache, of older recipes too."""
    return sorted(cache_directory().glob("*.qcow2"))


def ensure_image(recipe: Recipe = BASE, *, rebuild: bool = False) -> Image:
    """The image, from the cache or built now; two processes that both want it build it once."""
    path = image_path(recipe)
    with open(path.with_suffix(".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if rebuild or not path.exists():
            build(recipe, path)
    return Image(path, path.with_suffix(".vars") if recipe.esp else None)


def build(recipe: Recipe, path: Path) -> None:
    """Builds the image at this path; what is half done lies in a directory beside it and is removed."""
    if os.geteuid() != 0:
        raise LabError("building the image needs root (files of every owner, device nodes): sudo scripts/lab build")
    if (free := shutil.disk_usage(cache_directory()).free) < SPACE_NEEDED:
        raise LabError(
            f"{cache_directory()} has {free >> 30} GiB free, building the image takes {SPACE_NEEDED >> 30} GiB\n"
            "  another place: VFIOSTATE_LAB_CACHE=DIR scripts/lab build"
        )
    need_commands(["mmdebstrap", "qemu-system-x86_64", "qemu-img", "mke2fs", "sfdisk"])
    if recipe.esp:
        need_commands(["mkfs.vfat", "ovmf"])
    # Sockets lie in it, whose paths have to be short (unix(7)).
    work = path.with_name(f"building-{path.stem[-16:]}")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        root = work / "root"
        timed(f"packages of {recipe.name}", bootstrap, recipe, root, work)
        timed("configuration", configure, recipe, root)
        timed("disk", make_disk, root, work, bool(recipe.esp))
        timed("first boot: initramfs and boot loader", first_boot, recipe, root, work)
        timed("compression", compress, work, path)
    finally:
        keep_logs(work, path.with_suffix(".log"))
        shutil.rmtree(work, ignore_errors=True)
    say(f"image {path} {path.stat().st_size // 2**20} MiB")


def timed(what: str, function: Callable[..., None], *arguments: object) -> None:
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


def bootstrap(recipe: Recipe, root: Path, work: Path) -> None:
    """Debian in a directory, by its own packages."""
    sources = work / "sources.list"
    sources.write_text("\n".join(mirror.sources_lines(recipe.suite)) + "\n")
    run(
        ["mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory", *fetching(recipe.later),
         f"--include={','.join(recipe.packages)}", *(f"--dpkgopt=path-exclude={path}/*" for path in LEFT_OUT),
         recipe.suite, root, sources],
        log=work / "mmdebstrap.log",
    )  # fmt: skip


def fetching(packages: tuple[str, ...]) -> list[str]:
    """What has mmdebstrap leave these packages' files in the directory, those of what they need too; none for none."""
    if not packages:
        return []
    place = f'"$1"{LATER}'
    fetch = f"apt-get --yes --download-only --no-install-recommends -o Dir::Cache::archives={place}"
    return [
        f"--customize-hook=mkdir -p {place}/partial",
        f'--customize-hook=APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" {fetch} install {" ".join(packages)}',
        f"--customize-hook=rm -rf {place}/partial {place}/lock",
    ]


def configure(recipe: Recipe, root: Path) -> None:
    """The image's own configuration and the agent. No address of a mirror stays in it."""
    for name, text in recipe.files.items():
        target = root / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(0o440 if "sudoers" in name else 0o644)
    if recipe.esp:
        (root / recipe.esp.lstrip("/")).mkdir(parents=True, exist_ok=True)
    agent = root / "usr/local/lib/lab/agent.py"
    agent.parent.mkdir(parents=True)
    shutil.copyfile(GUEST_PROGRAMS / "agent.py", agent)
    for leftover in (root / "etc/apt/sources.list.d").glob("*"):
        leftover.unlink()
    (root / "etc/apt/sources.list").write_text("# the lab's machine has no network\n")
    chroot = ["chroot", str(root)]
    run([*chroot, "useradd", "--create-home", "--shell", "/bin/bash", "lab"])
    run([*chroot, "systemctl", "enable", "lab-agent.service"])
    run([*chroot, "systemctl", "mask", *MASKED])


def first_boot(recipe: Recipe, root: Path, work: Path) -> None:
    """The boot that installs the real boot loader; with the kernel given by QEMU, since there is no boot loader yet."""
    kernel = max((root / "boot").glob("vmlinuz-*"))
    initrd = root / "boot" / kernel.name.replace("vmlinuz-", "initrd.img-")
    shutil.copyfile(kernel, cache_directory() / kernel.name)  # for the question whether KVM works
    directory = work / "machine"
    directory.mkdir()
    if recipe.esp:
        shutil.copyfile(firmware()[1], directory / FIRMWARE_VARIABLES)
    machine = Machine(
        directory,
        work / "disk.raw",
        Shape(),
        disk_format="raw",
        direct=(kernel, initrd, f"root=UUID={ROOT} ro console=ttyS0,115200"),
        uefi=bool(recipe.esp),
    )
    with machine:
        machine.start("first boot")
        for argv in recipe.first_boot:
            machine.agent.run(list(argv), timeout=limit("initramfs")).check()
        machine.power_off()
    shutil.copyfile(machine.serial, work / "serial.log")


def compress(work: Path, path: Path) -> None:
    """The finished disk as zstd qcow2, in place by one rename."""
    finished = work / "finished.qcow2"
    if (variables := work / "machine" / FIRMWARE_VARIABLES).exists():
        # Before the disk: an image without them is never taken for a finished one.
        shutil.copyfile(variables, path.with_suffix(".vars"))
    run(["qemu-img", "convert", "-O", "qcow2", "-o", "compression_type=zstd", "-c", work / "disk.raw", finished])
    os.replace(finished, path)

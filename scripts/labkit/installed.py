"""A disk of each recipe with vfiostate installed, shut down in order: where rows and lives begin.

Made once for one image and one state of the program, and kept beside the images.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from . import bundle, image, observe, package
from .base import REPOSITORY, cache_directory, need_commands, say
from .image import Image
from .machine import FIRMWARE_VARIABLES
from .recipe import BASE, Recipe

PROGRAM = ("engine", "journal", "steps")
KEPT = 2 * 86400  # seconds; an older one of another program is removed
WAYS = {"wheel": bundle, "deb": package}
REVISION = 2  # one more whenever the functions below install the same program in another way


def ensure(recipe: Recipe = BASE, way: str = "wheel") -> Image:
    """The recipe's image with the present program, installed in this way; from the cache or made now."""
    need_commands(["qemu-system-x86_64", "qemu-img", "pip"])
    base = image.ensure_image(recipe)
    directory = cached("installed", base, (REVISION, recipe.python, way), lambda work: install(base, recipe, way, work))
    return image_in(directory, base)


def cached(kind: str, base: Image, more: object, make: Callable[[Path], None]) -> Path:
    """A directory beside the images, made by the function unless it is there for this image and program."""
    directory = cache_directory() / f"{kind}-{key(base, more)}"
    with open(directory.with_suffix(".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            forget_old(kind)
            work = Path(tempfile.mkdtemp(prefix=f"{directory.name}.", dir=cache_directory()))
            try:
                make(work)
                os.replace(work, directory)
            finally:
                shutil.rmtree(work, ignore_errors=True)
        os.utime(directory)
    return directory


def image_in(directory: Path, base: Image) -> Image:
    """What a machine left in its directory, as an image for others."""
    return Image(directory / "disk.qcow2", directory / FIRMWARE_VARIABLES if base.variables else None)


def key(base: Image, more: object) -> str:
    """Changes with the image, with the program and with what is said besides."""
    digest = hashlib.sha256(f"{base.disk} {more}".encode())
    files = [REPOSITORY / "pyproject.toml", *(REPOSITORY / "scripts/packagekit").iterdir()]
    files += [path for name in PROGRAM for path in (REPOSITORY / name).rglob("*.py")]
    for path in sorted(files):
        digest.update(f"{path.relative_to(REPOSITORY)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def forget_old(kind: str) -> None:
    """Removes disks that nobody has asked for in days."""
    for directory in cache_directory().glob(f"{kind}-*"):
        if directory.stat().st_mtime < time.time() - KEPT:
            shutil.rmtree(directory, ignore_errors=True)


def install(base: Image, recipe: Recipe, way: str, work: Path) -> None:
    """Boots by the image's own boot loader, installs the program as its user would, shuts down."""
    say(f"installing vfiostate ({way}) on {recipe.name} …")
    with base.machine(work) as machine:
        machine.start("first boot")
        observe.place_programs(machine.agent)
        WAYS[way].install(machine.agent, WAYS[way].make(work / "bundle", recipe.python))
        machine.agent.run(["sync"]).check()
        machine.power_off()
    shutil.rmtree(work / "bundle")

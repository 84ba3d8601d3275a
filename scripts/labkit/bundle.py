"""vfiostate as a user would carry it to a machine without network: its wheel and those it needs, in one tar."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

from .base import REPOSITORY, LabError, cache_directory, limit, run, say
from .channel import Agent
from .recipe import BASE

INSTALLED = "/opt/vfiostate"
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux1_x86_64")


def make(scratch: Path, python: str = BASE.python) -> Path:
    """Builds the wheel of this checkout, with what is not committed yet, and returns the tar; for this Python."""
    wheels = scratch / "wheels"
    wheels.mkdir(parents=True)
    source = copy_checkout(scratch / "source")
    pip("wheel", "--quiet", "--no-deps", "--wheel-dir", wheels, source)
    for wheel in wheelhouse(python).glob("*.whl"):
        shutil.copy(wheel, wheels)
    target = scratch / "bundle.tar"
    with tarfile.open(target, "w") as tar:
        tar.add(wheels, arcname="wheels")
    return target


def install(agent: Agent, tar: Path) -> None:
    """What a user without network does in the machine: unpack, a virtual environment, pip, a link on the PATH."""
    agent.send("/run/bundle.tar", tar.read_bytes())
    agent.sh("rm -rf /run/wheels && tar -C /run -xf /run/bundle.tar && rm /run/bundle.tar")
    agent.run(["python3", "-m", "venv", INSTALLED], timeout=limit("install")).check()
    install_command = [f"{INSTALLED}/bin/pip", "install", "--quiet", "--no-index", "--find-links", "/run/wheels"]
    agent.run([*install_command, "vfiostate"], timeout=limit("install")).check()
    agent.run(["ln", "-sf", f"{INSTALLED}/bin/vfiostate", "/usr/local/bin/vfiostate"]).check()
    agent.sh("rm -rf /run/wheels")


def copy_checkout(target: Path) -> Path:
    """The files that git knows or would add, so that a build leaves nothing in the checkout."""
    if not (REPOSITORY / ".git").exists():
        shutil.copytree(REPOSITORY, target, ignore=shutil.ignore_patterns(".venv", "build", "__pycache__"))
        return target
    listed = run(["git", "-C", REPOSITORY, "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
    for name in filter(None, listed.split("\0")):
        if (REPOSITORY / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, target / name)
    return target


def requirements() -> list[str]:
    """What the project needs to run, as pyproject.toml says."""
    with open(REPOSITORY / "pyproject.toml", "rb") as file:
        return [str(word) for word in tomllib.load(file)["project"]["dependencies"]]


def wheelhouse(python: str) -> Path:
    """Wheels of everything that vfiostate needs, for this Python; cached as long as the requirements stay."""
    needed = requirements()
    key = hashlib.sha256("\n".join([python, *needed]).encode()).hexdigest()[:16]
    directory = cache_directory() / f"wheels-{key}"
    if directory.exists():
        return directory
    say("downloading what vfiostate needs")
    work = directory.with_suffix(f".{os.getpid()}")
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    pip("download", "--quiet", "--only-binary=:all:", "--implementation", "cp", "--python-version", python, *platforms,
        "--dest", work, *needed)  # fmt: skip
    os.replace(work, directory)
    return directory


def pip(*arguments: str | Path) -> None:
    """Runs pip: this Python's, or one in a virtual environment of the lab's own where this Python has none."""
    run([*pip_command(), *arguments], timeout=900)


def pip_command() -> list[str]:
    """How to call pip here."""
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0:
        return [sys.executable, "-m", "pip"]
    environment = cache_directory() / "pip"
    if not (environment / "bin/pip").exists():
        try:
            run([sys.executable, "-m", "venv", environment])
        except LabError as error:
            shutil.rmtree(environment, ignore_errors=True)
            raise LabError("python3 has neither pip nor venv here\n  as root: apt-get install python3-venv") from error
    return [str(environment / "bin/python"), "-m", "pip"]

"""What every module of the lab needs: errors, one way to run commands, directories and time limits."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
GUEST_PROGRAMS = Path(__file__).resolve().parent / "guest"

# A limit is five times the nominal duration under emulation: late enough for a busy machine, early enough to notice.
SLACK = 5
NOMINAL_SECONDS = {
    "boot": 45,
    "first boot": 90,
    "command": 60,
    "install": 90,
    "initramfs": 120,
    "advance": 200,
    "shutdown": 30,
}

HOST_COMMANDS = {
    "mmdebstrap": "mmdebstrap",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mke2fs": "e2fsprogs",
    "sfdisk": "fdisk",
    "mkfs.vfat": "dosfstools",
}

# What these commands need besides, and a package manager may have left out as only recommended.
OVMF = Path("/usr/share/OVMF")
FILES_OF = {
    "ovmf": {f"{OVMF}/OVMF_CODE_4M.fd": "ovmf"},
    "mmdebstrap": {"/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring"},
    "pip": {f"{sysconfig.get_path('stdlib')}/ensurepip/__init__.py": "python3-venv"},
}


class LabError(Exception):
    """The lab itself could not do something; the message says what and what to do about it."""


def limit(nominal: str) -> float:
    """The time limit in seconds for something of this name in NOMINAL_SECONDS."""
    return NOMINAL_SECONDS[nominal] * SLACK


def say(text: str) -> None:
    """A line of progress on stderr, with the time of day."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def cache_directory() -> Path:
    """Where images are kept between runs: $VFIOSTATE_LAB_CACHE, or vfiostate-lab in the user's cache directory."""
    chosen = os.environ.get("VFIOSTATE_LAB_CACHE")
    if not chosen:
        chosen = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "vfiostate-lab")
    directory = Path(chosen)
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def run(argv: Sequence[str | Path], *, timeout: float = 1800, log: Path | None = None, cwd: Path | None = None) -> str:
    """Runs a command on this side and returns its standard output; LabError with its last lines if it fails."""
    environment = dict(os.environ, LC_ALL="C.UTF-8")
    environment["PATH"] = environment.get("PATH", "") + ":/usr/sbin:/sbin"
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=environment,
            cwd=cwd,
            check=False,
        )
    except FileNotFoundError as error:
        raise LabError(f"{words[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{words[0]} did not end within {timeout:.0f} s") from error
    if log:
        log.write_text(done.stdout + done.stderr)
    if done.returncode:
        tail = "\n  ".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise LabError(f"{' '.join(words[:4])} … ended with {done.returncode}:\n  {tail}")
    return done.stdout


def need_commands(names: Sequence[str]) -> None:
    """Sees that the commands are there; installs their packages as root, otherwise says the one command that does."""
    search = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = {HOST_COMMANDS[name] for name in names if name in HOST_COMMANDS and not shutil.which(name, path=search)}
    for name in names:
        missing |= {package for path, package in FILES_OF.get(name, {}).items() if not Path(path).exists()}
    packages = sorted(missing)
    if not packages:
        return
    command = ["apt-get", "-o", "DPkg::Lock::Timeout=600", "install", "-y", "--no-install-recommends", *packages]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise LabError(f"missing here: {', '.join(packages)}\n  as root: apt-get install {' '.join(packages)}")
    say(f"installing {' '.join(packages)}")
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    try:
        run(command)
    except LabError:
        run(["apt-get", "update"])
        run(command)

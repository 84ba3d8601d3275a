"""Debian roots to install the package in, kept between runs: `python -m tests.package.root`.

Building needs root, mmdebstrap and the mirror that this machine's own apt uses, and takes about a minute each; the
tests only use what is there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.boot.real import root as real
from tests.lab_unit.labkit import module

SUITES = ("bookworm", "trixie")
PACKAGES = ("python3", "debconf")


def place(suite: str) -> Path:
    """Where the root of that suite lies: beside that of the tests with real boot tools."""
    return real.place().with_name(f"package-{suite}")


def missing(suite: str) -> str | None:
    """Why nothing can be installed there, None where it can."""
    if os.geteuid() != 0:
        return "needs root (chroot)"
    if not (place(suite) / "usr/bin/python3").exists():
        return f"no Debian root in {place(suite)}: make one with `python -m tests.package.root`"
    return None


def build(suite: str) -> None:
    """Make the root where it is not there yet. A build that is cut off leaves only its working directory behind."""
    target = place(suite)
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    work = target.with_name(target.name + ".part")
    shutil.rmtree(work, ignore_errors=True)
    options = ("--variant=minbase", "--mode=root", f"--include={','.join(PACKAGES)}", '--aptopt=Acquire::Retries "3"')
    sources = "".join(f"{line}\n" for line in module("mirror").sources_lines(suite))
    subprocess.run(("mmdebstrap", *options, suite, str(work), "-"), check=True, input=sources, text=True)
    work.rename(target)


if __name__ == "__main__":
    for each in SUITES:
        build(each)
    sys.exit(0)

"""vfiostate as a Debian user installs it: the package of this checkout, by dpkg."""

from __future__ import annotations

from pathlib import Path

from .base import REPOSITORY, LabError, limit, run
from .channel import Agent

KEPT = "/root/vfiostate.deb"


def make(scratch: Path, _python: str) -> Path:
    """Builds the package, one for every release, and returns its file."""
    run([REPOSITORY / "scripts/package", "deb", scratch], timeout=900)
    found = list(scratch.glob("*.deb"))
    if len(found) != 1:
        raise LabError(f"scripts/package deb made {len(found)} packages, not one")
    return found[0]


def install(agent: Agent, package: Path) -> None:
    """What a user does in the machine; the file stays there."""
    agent.send(KEPT, package.read_bytes())
    agent.run(["dpkg", "-i", KEPT], timeout=limit("install")).check()

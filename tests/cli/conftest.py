"""The program run on simulated machines, in this process or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.cli import main

TOP = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Answer:
    """What a command line gave."""

    code: int
    out: str
    err: str


Run = Callable[..., Answer]


@pytest.fixture(autouse=True)
def _plain() -> Iterator[None]:
    """No file of a test may be writable by others: a configuration that is, is refused."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A directory with the article's machine."""
    directory = tmp_path / "machine"
    assert main(["--simulate", str(directory), "machine", "create"]) == 0
    return directory


@pytest.fixture
def run(machine: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command line on that machine, in this process."""
    capfd.readouterr()

    def run(*argv: str) -> Answer:
        code = main(["--simulate", str(machine), *argv])
        said = capfd.readouterr()
        assert "Traceback" not in said.err
        return Answer(code, said.out, said.err)

    return run


def spawn(
    *argv: str, environment: Mapping[str, str] | None = None, stdout: int | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run Python with these arguments in a process of its own, our modules on its path."""
    return subprocess.run(
        [sys.executable, *argv],
        env={**os.environ, "PYTHONPATH": str(TOP), **(environment or {})},
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )

"""What `--help` and its like may cost, and that what they say instead of importing is true."""

from __future__ import annotations

import pytest

from engine.cli import common, init, machine
from engine.cli.parser import COMMANDS, build, command_of
from engine.hosts.simulated.boot import Entry
from steps.base import State
from steps.config import Accel, Persist, Stub
from tests.cli.conftest import spawn

HEAVY = (
    *("sqlalchemy", "structlog", "transitions", "asyncio", "qemu", "dataclasses", "typing", "shutil", "json"),
    "engine.documents",
)


def modules_after(*argv: str) -> set[str]:
    """What is imported when this command line has been run, in a process of its own."""
    script = f"import sys; from engine.cli import main; main({list(argv)!r}); print(); print(*sys.modules)"
    # -S: an editable installation imports some of these by itself.
    loaded = set(spawn("-S", "-c", script).stdout.decode().splitlines()[-1].split())
    assert "engine.cli.parser" in loaded
    return loaded


@pytest.mark.parametrize("argv", [["--help"], ["--version"], [], ["frobnicate"]], ids=str)
def test_nothing_heavy_is_imported_before_a_command_runs(argv: list[str]) -> None:
    assert not modules_after(*argv) & set(HEAVY)


@pytest.mark.parametrize("command", list(COMMANDS))
def test_the_help_of_a_command_imports_no_library(command: str) -> None:
    assert not modules_after(command, "--help") & {"sqlalchemy", "structlog", "transitions", "asyncio", "qemu"}


def test_the_words_that_are_said_without_importing_are_those_of_the_program() -> None:
    assert list(State) == list(common.STATES)
    assert list(Stub) == list(init.STUBS)
    assert list(Persist) == list(init.PERSISTS)
    assert list(Accel) == list(init.ACCELS)
    assert list(Entry) == list(machine.ENTRIES)


def test_the_summaries_of_the_overview_are_those_of_the_commands() -> None:
    short, whole = build("none of them").format_help(), build().format_help()
    assert short == whole


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["advance"], "advance"),
        (["--simulate", "status", "plan", "--all"], "plan"),
        (["-vv", "--root=/mnt", "status", "--json"], "status"),
        (["--config"], ""),
        ([], ""),
    ],
)
def test_the_command_is_found_among_the_options(argv: list[str], command: str) -> None:
    assert command_of(argv) == command

"""The README and its kin say what the program does: whatever the program can contradict is checked here."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from engine.cli.parser import build
from engine.documents.grammar import Command, read
from engine.documents.words import EXITS
from engine.version import VERSION
from steps.base import State
from tests.project.reference import README, with_reference

TOP = README.parent
TEXT = README.read_text(encoding="utf-8")
SCRIPTS = ("scripts/demo", "scripts/test", "scripts/environment.sh", "scripts/bench/run", "scripts/package", ".ci/run")


def test_the_reference_is_that_of_the_program() -> None:
    assert with_reference(TEXT) == TEXT, "run: .venv/bin/python -m tests.project.reference"


@pytest.mark.parametrize("command", list(read().leaves()), ids=lambda command: command.words)
def test_every_command_and_option_is_in_the_readme(command: Command) -> None:
    assert f"`{command.words}`" in TEXT
    for option in command.options:
        assert option.spelling in TEXT


def test_every_state_and_exit_code_is_explained() -> None:
    for state in State:
        assert f"| `{state}` |" in TEXT
    for code, meaning in EXITS.items():
        assert f"| {int(code)} | {meaning} |" in TEXT


def shown_commands() -> list[str]:
    """Every call of the program in the README's blocks."""
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", TEXT, re.DOTALL)
    lines = [line.removeprefix("$ ").partition("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return sorted({line.removeprefix("sudo ") for line in lines if re.match(r"(sudo )?vfiostate ", line)})


@pytest.mark.parametrize("line", shown_commands())
def test_every_command_line_of_the_readme_is_understood(line: str) -> None:
    build().parse_args(line.split()[1:])


def test_every_file_the_readme_names_is_there() -> None:
    for name in set(re.findall(r"(?<![\w./])(scripts/[a-z/]+|\.ci/[\w.]+\w|[A-Z]+\.md|LICENSE)\b", TEXT)):
        assert (TOP / name).exists(), name


def test_every_file_that_contributing_names_is_there() -> None:
    text = (TOP / ".ci/CONTRIBUTING.md").read_text(encoding="utf-8")
    for name in set(re.findall(r"(?<![\w./])((?:scripts|steps|engine|tests|journal|\.ci)/[\w./]*\w)", text)):
        assert (TOP / name).exists(), name


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project.get("version", VERSION) == VERSION
    assert f"vfiostate_{VERSION}_all.deb" in TEXT
    assert f"## {VERSION}\n" in (TOP / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_scripts_are_posix_shell(name: str) -> None:
    assert subprocess.run(["sh", "-n", str(TOP / name)], check=False).returncode == 0
    if not name.endswith(".sh"):
        assert Path(TOP, name).stat().st_mode & 0o111, f"{name} is not executable"

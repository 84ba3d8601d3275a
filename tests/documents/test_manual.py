"""The manual pages say all there is, and groff and mandoc take them without a word."""

from __future__ import annotations

import argparse
import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from engine.cli import status
from engine.cli.parser import build
from engine.config import parse
from engine.config.keys import KEYS
from engine.documents import documents, grammar, keys_manual, words
from engine.documents.grammar import UndocumentedError
from engine.documents.keys import tables
from journal.errors import Exit
from steps.base import State
from steps.config import Config

PAGES = ("man1/vfiostate.1", "man5/vfiostate.toml.5")
DATE = "2026-11-26"
needs_man = pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed (man-db)")


def read(page: Path) -> str:
    """What `man` shows of a page, on lines so long that none is broken."""
    environment = {"PATH": "/usr/bin:/bin", "MANWIDTH": "1000", "LC_ALL": "C.UTF-8", "MANPAGER": "cat"}
    argv = ("man", "--warnings", "-E", "UTF-8", "-l", page)
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0
    assert done.stderr == "", "groff warns"
    return re.sub(r".\x08|\x1b\[[0-9;]*m", "", done.stdout)


@needs_man
@pytest.mark.parametrize("page", PAGES)
def test_groff_has_nothing_to_warn_of(share: Path, page: str) -> None:
    assert "SEE ALSO" in read(share / "man" / page)


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
@pytest.mark.parametrize("page", PAGES)
def test_mandoc_has_nothing_to_warn_of(share: Path, page: str) -> None:
    done = subprocess.run(
        ("mandoc", "-Tlint", "-Wwarning", share / "man" / page), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def spellings(parser: argparse.ArgumentParser) -> set[str]:
    """Every option of a parser and of the parsers below it: asked of argparse, not of what the pages are made with."""
    found: set[str] = set()
    for action in parser._actions:
        found |= set(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            found |= {option for inner in action.choices.values() for option in spellings(inner)}
    return found


@needs_man
def test_every_command_option_state_and_exit_code_is_in_the_manual_page(share: Path) -> None:
    text = read(share / "man" / PAGES[0])
    lines = [line.strip() for line in text.splitlines()]
    for command in grammar.read().leaves():
        assert command.words in lines
    for option in spellings(build()):
        assert re.search(rf"^ +(.*, )?{re.escape(option)}\b", text, re.MULTILINE), option
    for state in State:
        assert re.search(rf"^ +{state.value}( |$)", text, re.MULTILINE), state
    for code in Exit:
        assert re.search(rf"^ +{int(code)} +\S", text, re.MULTILINE), code


@needs_man
def test_every_key_is_in_the_manual_page_below_its_table(share: Path) -> None:
    text = read(share / "man" / PAGES[1])
    for kind, keys in KEYS.items():
        for name, key in keys.items():
            shown = " ".join(key.text.replace("`", "").split())
            assert shown in " ".join(text.split()), name
            table = any(name == known.strip("[]").rpartition(".")[2] for known, _, _ in tables())
            assert table or re.search(rf"^ +{name} \(", text, re.MULTILINE), (kind, name)


def test_every_field_of_the_configuration_is_a_key_with_words() -> None:
    for kind, keys in KEYS.items():
        assert list(keys) == [field.name for field in dataclasses.fields(kind)]
        assert all(key.text.endswith(".") for key in keys.values())
    assert Config in KEYS


def test_every_exit_code_and_state_has_words() -> None:
    assert list(words.EXITS) == list(Exit)
    assert list(words.STATES) == list(State)


def test_the_configuration_of_the_manual_page_is_one() -> None:
    assert len(parse(keys_manual.example().encode()).devices) == 2


def test_an_option_without_words_makes_no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    configure = status.configure

    def with_another(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        configure(subparsers)
        subparsers.choices["status"].add_argument("--brief", action="store_true")

    monkeypatch.setattr(status, "configure", with_another)
    with pytest.raises(UndocumentedError, match=r"--brief of `vfiostate status` has no words"):
        documents(DATE)


def test_a_command_without_words_makes_no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    configure = status.configure

    def with_another(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        configure(subparsers)
        subparsers.add_parser("shrug")

    monkeypatch.setattr(status, "configure", with_another)
    with pytest.raises(UndocumentedError, match="`vfiostate shrug` has no summary"):
        documents(DATE)


def test_the_pages_are_the_same_for_the_same_day() -> None:
    assert documents(DATE) == documents(DATE)

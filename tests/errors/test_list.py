"""Every error, refusal and warning that the program can say, read from its source: one voice, each with what to do."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from engine.documents.words import EXITS
from journal import errors
from journal.errors import Exit, VfiostateError
from tests.errors import listed, voice
from tests.errors.listed import Entry, collected
from tests.errors.sources import SIMULATED, TOP, Place, Program, read_program

ROOMS = ("journal", "steps", "engine")
GOOD = Entry(
    "steps", "no-group", "refusal", "{address} is in no IOMMU group: the IOMMU is off.", "Reboot, then try again.", ""
)
LINE = Entry("engine", "file-gone", "drift", "{where}: it is gone", "put it back, or `vfiostate rollback`", "")
# Each rule with a message, or a hint, that breaks it.
RED: dict[str, Entry] = {
    "a message begins as a sentence": replace(GOOD, message="the IOMMU is off."),
    "a message ends as a sentence": replace(GOOD, message="The IOMMU is off"),
    "a hint begins as a sentence": replace(GOOD, hint="reboot, then try again."),
    "a hint ends as a sentence": replace(GOOD, hint="Reboot, then try again"),
    "a line names its place": replace(LINE, message="it is gone"),
    "a line ends without a full stop": replace(LINE, hint="put it back."),
    "a line's hint begins small": replace(LINE, hint="Put it back"),
    "it says what to do next": replace(GOOD, hint="That is a pity."),
    "no full stop is doubled": replace(GOOD, hint="Reboot, then try again.."),
    "nothing is shouted": replace(GOOD, message="The IOMMU is off!"),
    "nothing is begged": replace(GOOD, hint="Please reboot."),
    "the level is not said twice": replace(GOOD, message="error: the IOMMU is off."),
    "what is wrong is said with what was expected": replace(GOOD, message="Invalid address {address}."),
    "a failure says with what": replace(GOOD, message="The rebuild failed."),
    "commands stand in backticks": replace(GOOD, hint="Run vfiostate devices."),
    "backticks are in pairs": replace(GOOD, hint="Run `vfiostate devices."),
    "numbers are counted": replace(GOOD, message="{n} action(s) are left."),
    "no space is left over": replace(GOOD, message="The IOMMU is  off."),
    "no word is doubled": replace(GOOD, hint="Turn on on AMD boards SVM."),
    "it is told to a person who is tired": replace(GOOD, message=f"The IOMMU is off{' and off' * 30}."),
}


@pytest.fixture(scope="module")
def program() -> Program:
    return read_program()


@pytest.fixture(scope="module")
def every(program: Program) -> tuple[Entry, ...]:
    return collected(program)


def test_every_message_and_hint_is_in_the_one_voice(every: tuple[Entry, ...]) -> None:
    found = [
        f"{entry.at}: {', '.join(rules)}: {entry.message} -> {entry.hint}"
        for entry in every
        if (rules := voice.broken(entry))
    ]
    assert not found, "\n" + "\n".join(found)


def test_everything_says_what_to_do_next(every: tuple[Entry, ...]) -> None:
    assert not [f"{entry.at}: {entry.message}" for entry in every if not entry.hint]


@pytest.mark.parametrize("rule", [*voice.SENTENCES, *voice.LINES, *voice.RULES])
def test_a_rule_of_the_voice_can_be_broken(rule: str) -> None:
    assert rule in voice.broken(RED[rule])
    assert voice.broken(GOOD) == voice.broken(LINE) == []


def test_no_place_where_one_is_made_is_missed_in_the_list(program: Program) -> None:
    names = {
        name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, VfiostateError)
    }
    made = re.compile(rf"\b(?:{'|'.join(names | {'Finding', 'Difference'})})\(")
    seen = {(site.place.module.path, getattr(site.place.node, "lineno", 0)) for site in listed.sites(program)}
    for path in (path for room in ROOMS for path in (TOP / room).rglob("*.py") if SIMULATED not in path.parents):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if made.search(line) and not line.lstrip().startswith(("class ", "#")):
                assert (path, number) in seen or "class ConfigurationError(ValueError)" in path.read_text(), (
                    f"{path}:{number}"
                )


def test_a_text_that_the_reader_cannot_follow_is_no_entry_without_words(every: tuple[Entry, ...]) -> None:
    assert not [entry for entry in every if not re.search("[A-Za-z]", voice.words(entry.message + entry.hint))]
    assert not [entry for entry in every if "{" in entry.code and not entry.code.startswith("host-lost-")]


def test_every_error_of_the_tree_has_a_code_of_its_own_and_an_exit_code_with_words(program: Program) -> None:
    classes = [
        Place(module, node)
        for module in program.modules.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef) and program.is_a(Place(module, node), listed.TREE)
    ]
    codes: dict[str, list[str]] = defaultdict(list)
    for klass in classes:
        code, ends = program.member(klass, "code"), program.member(klass, "exit")
        assert code is not None and isinstance(code.node, ast.Constant)
        assert ends is not None and isinstance(ends.node, ast.Attribute)
        codes[str(code.node.value)].append(klass.shown)
        assert Exit[ends.node.attr] in set(EXITS) - {Exit.DONE, Exit.PENDING}, klass.shown
    assert {code: places for code, places in codes.items() if len(places) > 1} == {}
    assert len(codes) > 20


def test_a_code_is_spelled_as_all_codes_are(every: tuple[Entry, ...]) -> None:
    assert not [entry for entry in every if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*(-\{use\})?", entry.code)]


def test_a_code_means_one_kind_of_thing(every: tuple[Entry, ...]) -> None:
    tree = {
        value.code for value in vars(errors).values() if isinstance(value, type) and issubclass(value, VfiostateError)
    }
    found = {entry.code for entry in every if entry.kind != "error"}
    assert not found & tree, "a finding bears the code of an error"


SAMPLE = """
from journal.errors import UsageError
from steps.base import Finding, Severity

HINT = "Mend that."

def refuse(code, message):
    return Finding(code, Severity.REFUSAL, f"{message}.", (), HINT)

def look(there, name: str):
    if not there:
        hint = "Put it there."
        raise UsageError(f"{name} is gone.", hint=hint if name else "Give its name.")
    return refuse("first", "One is off"), refuse("second", f"Two is {there}")
"""


def test_the_reader_follows_names_branches_and_callers(tmp_path: Path) -> None:
    for room in ROOMS:
        (tmp_path / room).mkdir()
    for name in ("journal/errors.py", "steps/base.py"):
        (tmp_path / name).write_bytes((TOP / name).read_bytes())
    (tmp_path / "engine/sample.py").write_text(SAMPLE)
    said = {(one.code, one.kind, one.message, one.hint) for one in collected(read_program(tmp_path))}
    assert said == {
        ("usage", "error", "{name} is gone.", "Put it there."),
        ("usage", "error", "{name} is gone.", "Give its name."),
        ("first", "refusal", "One is off.", "Mend that."),
        ("second", "refusal", "Two is {there}.", "Mend that."),
    }


def test_the_list_is_printed_as_one_text(every: tuple[Entry, ...]) -> None:
    text = "\n".join(listed.as_text(every))
    assert [line for line in text.splitlines() if line.startswith("== ")] == [f"== {room}/" for room in sorted(ROOMS)]
    assert all(entry.message in text and entry.at in text for entry in every)

"""What bash makes of files that are bash scripts."""

from __future__ import annotations

import pytest

from steps.boot.shell_value import Broken, Script
from steps.initramfs.bash_value import evaluate
from tests.support.memory_host import MemoryHost


def asked(*texts: bytes) -> object:
    scripts = [Script(f"/{number}", text) for number, text in enumerate(texts)]
    found = evaluate(MemoryHost(), scripts, ("A", "B"), {"given": "x y"})
    return found if isinstance(found, Broken) else (found["A"], found["B"])


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        ((b"A=(a b)\n",), (("a", "b"), ())),
        ((b"A=(\n  a # first\n  'b c'\n)\nB=\n",), (("a", "b c"), ("",))),
        ((b"A=(a)\n", b'A+=(b)\nB+=" c "\n'), (("a", "b"), (" c ",))),
        ((b'A="a b"\n', b"A=(new ${A[@]})\n"), (("new", "a", "b"), ())),
        ((b"false\nA=$given\necho loud\nread B\n",), (("x y",), ("",))),
        ((b"A=(caf\xc3\xa9)\r\n"[:-2] + b"\n",), (("café",), ())),
        ((b"A=x; return\nB=1",), (("x",), ("1",))),
        ((b"A='\nB=unset'\n",), (("\nB=unset",), ())),
    ],
)
def test_the_words_of_a_variable_are_those_that_bash_has(texts: tuple[bytes, ...], values: object) -> None:
    assert asked(*texts) == values


@pytest.mark.parametrize("text", [b"A=(a\n", b"A='a\n", b"exit 3\n", b"A=1\0\n", b"fi\n"])
def test_a_file_that_bash_does_not_come_through_is_named(text: bytes) -> None:
    found = asked(b"B=1\n", text)
    assert isinstance(found, Broken)
    assert found.path == "/1"
    assert found.says


def test_a_file_cannot_forge_the_frame_around_a_value() -> None:
    assert asked(b"A=$'2\\0b'\nprintf '\\0007\\0evil\\0vfiostate-end\\0'\n") == (("2",), ())

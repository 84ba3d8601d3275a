"""What sh makes of a configuration file: what sourcing it would, whatever it prints or reads."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.base import Completed
from steps.boot.shell_value import Broken, Script, Values, evaluate, quoted
from tests.support.memory_host import MemoryHost


def of(*contents: bytes) -> Values | Broken:
    scripts = [Script(f"/etc/{number}", content) for number, content in enumerate(contents)]
    return evaluate(MemoryHost(), scripts, ("X", "Y"))


@pytest.mark.parametrize(
    ("contents", "values"),
    [
        ((), (None, None)),
        ((b'X="a b"', b'X="$X c"'), (b"a b c", None)),
        ((b"X=\n",), (b"", None)),
        ((b"X=a\nreturn 0\nX=b\n", b"Y=1"), (b"a", b"1")),
        ((b"X=a\r\n#\r\n",), (b"a\r", None)),
        ((b"X=$(cat; echo done)\n",), (b"done", None)),
        ((b"echo noise; printf '\\000vfiostate-end\\000'; X=a\n",), (b"a", None)),
        ((b"X='\xff\x81\x88\x01'\n",), (b"\xff\x81\x88\x01", None)),
        ((b"X='a\n\n'\n",), (b"a\n\n", None)),
        ((b"X='it'\\''s'\n",), (b"it's", None)),
        ((b"# only a comment, no newline",), (None, None)),
    ],
)
def test_the_values_are_those_after_sourcing(contents: tuple[bytes, ...], values: tuple[bytes | None, ...]) -> None:
    assert of(*contents) == Values(values)


@pytest.mark.parametrize(
    ("contents", "path", "says"),
    [
        ((b"X=1\n", b'X="open\n', b"Y=1\n"), "/etc/1", "nterminated"),
        ((b"exit 0\n",), "/etc/0", "ends the shell"),
        ((b"X=1\n", b"false\n"), "/etc/1", "ends the shell"),
        ((b"nosuchcommand\n",), "/etc/0", "not found"),
        ((b"X=1\0\n",), "/etc/0", "NUL"),
        ((b"fi\n",), "/etc/0", "fi"),
    ],
)
def test_a_script_that_sh_does_not_get_through_is_named(contents: tuple[bytes, ...], path: str, says: str) -> None:
    found = of(*contents)
    assert isinstance(found, Broken)
    assert found.path == path
    assert says in found.says


def test_a_shell_that_hangs_is_an_answer_too() -> None:
    def hangs(argv: tuple[str, ...], stdin: bytes) -> Completed | None:
        raise TimeoutError

    found = evaluate(MemoryHost(answer=hangs), [Script("/etc/0", b"")], ("X",))
    assert isinstance(found, Broken)
    assert "did not come to its end" in found.says


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=80).filter(lambda value: b"\0" not in value))
def test_any_bytes_in_quotes_come_back(value: bytes) -> None:
    assert of(b"X=" + quoted(value)) == Values((value, None))

"""The lines of a boot entry's file: keys and values, and where each value and each line ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.boot import entry_file, systemd_boot_entry
from steps.boot.entry_file import fields


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", []),
        (b"\n \t\r\n# title no\n \t#no\n", []),
        (b"title", [("title", b"", 5, 5)]),
        (b"title \n", [("title", b"", 5, 6)]),
        (b"title A B", [("title", b"A B", 9, 9)]),
        (b"title\t A  # B \r\n", [("title", b"A  # B", 13, 14)]),
        (b" \tlinux /l\t\nquiet\r\n", [("linux", b"/l", 10, 11), ("quiet", b"", 17, 17)]),
        (b"a 1\rb 2\n\na 3", [("a", b"1", 3, 3), ("b", b"2", 7, 7), ("a", b"3", 12, 12)]),
        (b"options x=\xff\xa0\n", [("options", b"x=\xff\xa0", 12, 12)]),
        (b'options "rw quiet"\n', [("options", b'"rw quiet"', 18, 18)]),
        (b"\xff 1\n", [("\ufffd", b"1", 3, 3)]),
    ],
)
def test_a_line_is_a_key_and_the_rest_of_it(content: bytes, found: list[tuple[str, bytes, int, int]]) -> None:
    assert [(each.key, each.value, each.end, each.line_end) for each in fields(content)] == found


@pytest.mark.parametrize(
    ("value", "taken", "before_the_end"),
    [(b'"rw quiet"', b"rw quiet", 1), (b'""', b"", 1), (b'"', b'"', 0), (b'a="b c"', b'a="b c"', 0), (b'"a', b'"a', 0)],
)
def test_quotes_around_a_whole_value_are_no_part_of_it_to_systemd_boot(
    value: bytes, taken: bytes, before_the_end: int
) -> None:
    content = b"options " + value + b" \n"
    (raw,), (found,) = entry_file.fields(content), systemd_boot_entry.fields(content)
    assert (raw.value, found.value) == (value, taken)
    assert found.end == raw.end - before_the_end


@given(st.text('ab# \t\r\n"', max_size=30))
def test_a_value_stands_before_its_end_and_only_blanks_between_that_and_the_end_of_the_line(text: str) -> None:
    content = text.encode()
    for each in fields(content):
        assert content[: each.end].endswith(each.value)
        assert content[each.end : each.line_end].strip(b" \t") == b""
        assert content[each.line_end : each.line_end + 1] in (b"", b"\r", b"\n")

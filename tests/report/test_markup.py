"""No input can be more than text in the page: whatever a file, a command or a journal says."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine.capture.redact import Redactor
from engine.explain.explanation import explain
from engine.pciids import Names
from engine.report.edits import diff
from engine.report.markup import Markup, Own, Writer
from engine.report.material import Material
from engine.report.page import page
from engine.setup import fold
from journal.errors import JournalDamagedError
from journal.events import Event, Kind
from journal.timeline import timeline

SETUP = "0123456789ab"
SHA = "a" * 64
TAGS = set(
    "html head meta title style body header nav main section footer h1 h2 h3 p b ul ol li a code pre span div details "
    "summary figure figcaption svg desc rect text path circle".split()
)
ATTRIBUTES = set(
    "lang charset http-equiv content name class id href role aria-label aria-labelledby tabindex open viewbox x y rx "
    "width height d cx cy r text-anchor".split()
)
ANYTHING = st.text(st.characters(codec=None, exclude_categories=()), min_size=1, max_size=40)
HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</pre></style><style>", "&lt;b&gt;",
           "' onload='", "]]><!--", "\x00\x1b[2J", "\udc80", "`<i>`", "\u202eevil", "javascript:alert(1)")  # fmt: skip


class Reader(HTMLParser):
    """Reads a page as a browser would: its elements, its text, and what an element must not have."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.said: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element is of those that we write, with the attributes that we write."""
        assert tag in TAGS, tag
        for name, value in attrs:
            assert name in ATTRIBUTES, (tag, name)
            assert name != "href" or (value or "").startswith("#"), value
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        """Its text."""
        self.said.append(data)

    def handle_comment(self, data: str) -> None:
        """The only comment is the mark in the second line."""
        assert data == " vfiostate journal report ", data


def life(text: str) -> list[Event]:
    """A setup in which everything that is not fixed by the program is this text."""
    finding: dict[str, Any] = {"severity": "refusal", "code": "x", "message": text, "evidence": [text], "hint": text}
    run: dict[str, Any] = {"type": "run_command", "argv": [text], "why": text, "timeout": 1.0,
                           "undo": {"type": "keep", "reason": text}, "produces": [text]}  # fmt: skip
    edit: dict[str, Any] = {"type": "edit_file", "path": f"/{text}", "content": SHA, "before": None, "why": text,
                            "inserted": "", "mode": 420}  # fmt: skip
    config: dict[str, Any] = {"devices": [{"address": text, "id": text}], "stub": text}
    seen = {"topology": '{"0000:01:00.0": "10de:1200 030000 7 nouveau"}', "boot": text}
    said: list[tuple[Kind, str | None, dict[str, Any]]] = [
        (Kind.SETUP_CREATED, None, {"config": config, "config_sha256": text, "host": text, "state": "new"}),
        (Kind.STEP_STARTED, "checked", {"actions": 0, "findings": [finding], "notes": [text]}),
        (Kind.TRANSITION, "checked", {"from": "new", "to": "checked", "trigger": "check", "remember": seen}),
        (Kind.STEP_STARTED, "modules_loaded", {"actions": 2}),
        (Kind.INTENT, "modules_loaded", {"action": edit, "before": {f"/{text}": {"sha256": None}},
                                         "planned": {f"/{text}": SHA}}),
        (Kind.OUTCOME, "modules_loaded", {"intent": 5, "result": "done", "detail": text, "after": {f"/{text}": SHA},
                                          "output": []}),
        (Kind.INTENT, "modules_loaded", {"action": run, "before": {text: {"sha256": None}}, "planned": {}}),
        (Kind.OUTCOME, "modules_loaded", {"intent": 7, "result": "failed", "detail": text, "after": {text: SHA},
                                          "output": [text, text]}),
        (Kind.STEP_FAILED, "modules_loaded", {"message": text, "evidence": [text], "hint": text}),
        (Kind.STEP_REFUSED, "modules_loaded", {"findings": [finding, finding], "seen": seen}),
        (Kind.DRIFT_FOUND, None, {"path": text, "message": text, "evidence": [text]}),
        (Kind.GUEST, None, {"what": text, "detail": text}),
        (Kind.INTENT, "modules_loaded", {"action": {"type": "merge"}, "undoes": 5, "back": True, "before": {},
                                         "planned": {}, "diff": [text]}),
        (Kind.ROLLBACK_STOPPED, None, {"findings": [finding]}),
    ]  # fmt: skip
    return [
        Event(seq, f"2026-01-01T10:00:{seq:02}.000000+00:00", "boot", "0/1000", kind, SETUP, step, 1, data, "p", "h")
        for seq, (kind, step, data) in enumerate(said, 1)
    ]


def shown(text: str, content: bytes = b"new\n") -> str:
    """The page of that life."""
    events = life(text)
    material = Material(
        events, timeline(events), fold(events)[-1], explain(events, SETUP), lambda digest: content,
        JournalDamagedError(text, evidence=(text,)), Names(), "1", "2026-01-01 10:00:00",
    )  # fmt: skip
    return page(material, Redactor().text)


def structure(text: str) -> list[str]:
    """The elements of a page, but those that backquotes make."""
    return [tag for tag in Reader(text).tags if tag != "code"]


PLAIN = structure(shown("harmless"))


@given(ANYTHING)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_no_text_makes_an_element_or_an_attribute(text: str) -> None:
    assert structure(shown(text)) == PLAIN


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_known_to_break_pages_is_text_in_this_one(text: str) -> None:
    made = shown(text)
    made.encode()
    assert structure(made) == PLAIN
    assert "\x1b" not in made and "\u202e" not in made


@given(st.binary(max_size=200))
@example(b"</pre><script>x</script>\n")
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_no_content_of_a_file_makes_an_element(content: bytes) -> None:
    made = Reader(shown("harmless", content))
    assert "script" not in made.tags
    lines = diff("/harmless", b"", content)
    assert made.tags.count("pre") == PLAIN.count("pre")
    assert made.tags.count("span") == PLAIN.count("span") - len(diff("/harmless", b"", b"new\n")) + len(lines)


@given(ANYTHING)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_text_comes_out_of_the_page_as_it_went_in_but_for_what_cannot_be_printed(text: str) -> None:
    h = Writer(lambda said: said)
    read = "".join(Reader(h.tag("p", text)).said)
    if text.isprintable():
        assert read == text
    assert len(read) >= len(text)


@given(ANYTHING)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_an_attribute_that_is_not_for_people_holds_no_text(text: str) -> None:
    h = Writer(lambda said: said)
    try:
        made = h.tag("p", class_=text)
    except ValueError:
        return
    assert Reader(made).tags == ["p"]
    assert h.tag("p", aria_label=text).count('"') == 2


def test_only_what_is_called_our_own_is_not_redacted() -> None:
    h = Writer(lambda said: said.replace("new", "***"))
    assert h.tag("p", "new ", Own("new "), Markup("<b>new</b>")) == "<p>*** new <b>new</b></p>"
    assert h.marked("to `new`") == "to <code>***</code>"
    assert h.marked(Own("to `new`")) == "to <code>new</code>"

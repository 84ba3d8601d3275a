"""The journal as people read it."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from journal.events import Event, Json, Kind
from journal.timeline import lines, timeline

BOOT = "5e2a2b6c-8c8a-4a53-9d0f-4f0a5f3f6c11"


def event(
    seq: int, kind: Kind, data: dict[str, Json], *, boot: str = BOOT, at: str = "", step: str | None = "stubbed"
) -> Event:
    """An event of the timeline."""
    at = at or f"2026-01-01T10:00:{seq:02}.000000+00:00"
    return Event(seq, at, boot, "0/1000", kind, "0123456789ab", step, 2, data, "p", "h")


EDIT: dict[str, Json] = {"type": "edit_file", "path": "/etc/default/grub", "before": "0", "why": "because"}
RUN: dict[str, Json] = {"type": "run_command", "argv": ["update-grub"], "why": "because"}


def test_a_row_says_when_in_which_boot_who_which_step_what_and_how_it_ended() -> None:
    events = [
        event(1, Kind.SETUP_CREATED, {"state": "new"}, step=None),
        event(2, Kind.STEP_STARTED, {"actions": 2}),
        event(3, Kind.INTENT, {"n": 1, "action": EDIT}),
        event(4, Kind.OUTCOME, {"intent": 3, "result": "done", "detail": ""}),
        event(5, Kind.INTENT, {"n": 2, "action": RUN}),
        event(6, Kind.OUTCOME, {"intent": 5, "result": "not_done", "detail": "exit 1"}),
        event(7, Kind.INTENT, {"n": 0, "action": EDIT, "back": True}, boot="another"),
        event(8, Kind.TRANSITION, {"from": "checked", "to": "stubbed"}),
        event(9, Kind.STEP_REFUSED, {"findings": [{"severity": "note", "message": "n"},
              {"severity": "refusal", "message": "no IOMMU"}]}),
    ]  # fmt: skip
    rows = timeline(events)
    assert [(row.seq, row.boot, row.what, row.result) for row in rows] == [
        (1, "boot 1", "setup 0123456789ab begun", "new"),
        (2, "boot 1", "begun", "2 actions planned"),
        (3, "boot 1", "edit /etc/default/grub", "done"),
        (5, "boot 1", "run update-grub", "not done: exit 1"),
        (7, "boot 2", "undo: edit /etc/default/grub", "no outcome recorded"),
        (8, "boot 1", "state", "checked -> stubbed"),
        (9, "boot 1", "refused", "no IOMMU (and 1 more)"),
    ]
    assert {row.who for row in rows} == {"root (uid 1000)"}
    assert rows[0].when == "2026-01-01 10:00:01"
    assert rows[0].step == ""
    assert rows[1].step == "stubbed"


def test_of_several_differences_the_one_that_is_told_is_not_put_under_the_path_of_another() -> None:
    found: list[Json] = [{"severity": "warning", "message": "/etc/modules: edited."},
             {"severity": "refusal", "message": "/etc/default/grub: gone."}]  # fmt: skip
    (row,) = timeline([event(1, Kind.DRIFT_FOUND, {"path": "/etc/modules", "findings": found})])
    assert (row.what, row.result) == ("drift", "/etc/default/grub: gone. (and 1 more)")


def test_the_lines_are_aligned_under_a_heading_and_none_is_shown_for_nothing() -> None:
    shown = list(lines(timeline([event(1, Kind.GUEST, {"what": "start"}), event(12, Kind.GUEST, {"what": "died"})])))
    assert [line.index("boot 1") for line in shown[1:]] == [shown[0].index("boot")] * 2
    assert list(lines(timeline([]))) == []


def test_a_clock_that_went_back_is_marked_where_it_did() -> None:
    times = ["2026-01-01T10:00:00.000000+00:00", "2025-01-01T10:00:00.000000+00:00", "2025-01-01T10:00:01.000000+00:00"]
    rows = timeline([event(n + 1, Kind.GUEST, {}, at=at) for n, at in enumerate(times)])
    assert [row.when.endswith("(clock set back)") for row in rows] == [False, True, False]


def test_what_an_event_carries_cannot_speak_to_the_terminal() -> None:
    rows = timeline([event(1, Kind.STEP_FAILED, {"message": "\x1b[2Jgone\nforged line\udcff"})])
    (_, line) = lines(rows)
    assert "\x1b" not in line
    assert "\n" not in line
    line.encode()


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "path", "argv", "message", "severity", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = ["from", "to", "action", "intent", "result", "detail", "findings", "message", "differs", "as_before", "changed"]


@settings(deadline=None, max_examples=200)
@given(found=st.lists(st.tuples(st.sampled_from(Kind), st.dictionaries(st.sampled_from(KEYS), anything)), max_size=6))
def test_every_event_has_its_line_whatever_it_carries(found: list[tuple[Kind, dict[str, Json]]]) -> None:
    events = [event(number, kind, data) for number, (kind, data) in enumerate(found, 1)]
    rows = timeline(events)
    joined = sum(kind is Kind.OUTCOME for kind, _ in found)
    assert len(found) - joined <= len(rows) <= len(found)
    assert len(list(lines(rows))) == (len(rows) + 1 if rows else 0)
    json.dumps([row.as_json() for row in rows])

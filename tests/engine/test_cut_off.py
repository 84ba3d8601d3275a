"""What an undo that did not end well left of the files it was to put back, as the events tell it."""

from __future__ import annotations

from collections.abc import Mapping

from engine.setup import Deed, fold
from journal.events import Event, Json, Kind

COMMAND: Json = {"type": "run_command", "argv": ["make"]}
BEFORE: Json = {"a": {"sha256": "before"}, "b": {"sha256": None}}


def _deed(planned: Mapping[str, Json], outcome: Mapping[str, Json] | None) -> Deed:
    """The one deed of a setup, after an undo with these files planned and this outcome."""
    told: list[tuple[Kind, dict[str, Json]]] = [
        (Kind.SETUP_CREATED, {"config": {}, "config_sha256": "", "host": ""}),
        (Kind.INTENT, {"action": COMMAND, "before": BEFORE, "planned": {}, "undoes": None}),
        (Kind.OUTCOME, {"intent": 2, "result": "done", "after": {"a": "ours", "b": "ours"}}),
        (Kind.INTENT, {"action": COMMAND, "before": {}, "planned": dict(planned), "undoes": 2}),
    ]
    if outcome is not None:
        told.append((Kind.OUTCOME, {"intent": 4, "undoes": 2, **outcome}))
    events = [
        Event(seq, "2026-01-01T00:00:00.000000+00:00", "boot", "0", kind, "s", "stubbed", 1, data, "", "")
        for seq, (kind, data) in enumerate(told, 1)
    ]
    return fold(events)[0].deeds[2]


def test_it_is_known_of_the_files_that_were_to_be_put_back_and_of_no_others() -> None:
    for result in ("failed", "unknown", "partly"):
        deed = _deed({"a": "before"}, {"result": result, "after": {"a": "half", "b": "new"}})
        assert deed.standing and dict(deed.cut_off) == {"a": "half"}


def test_a_journal_that_does_not_say_what_was_to_be_put_back_can_be_read() -> None:
    unknown: dict[str, Json] = {"result": "unknown", "after": {}}
    failed: dict[str, Json] = {"result": "failed", "after": {"a": "half"}}
    for outcome in (unknown, failed, None):
        deed = _deed({}, outcome)
        assert deed.standing and dict(deed.cut_off) == {}

"""Bodies of other forms, and bodies that carry a right hash and are no events."""

from __future__ import annotations

import json

import pytest

from journal.chain import FORM, GENESIS, Fields, Record, decoded, upcast
from journal.errors import JournalDamagedError, JournalNewerError

FIELDS: Fields = {
    "form": FORM,
    "seq": 2,
    "at": "2026-01-01T00:00:00.000000+00:00",
    "boot": "b",
    "who": "0",
    "kind": "guest",
    "setup": "s",
    "step": None,
    "attempt": 0,
    "data": {},
}


def record(body: str, seq: int = 2) -> Record:
    """A record with this body."""
    return Record(seq, GENESIS, "f" * 64, body)


def changed(**fields: object) -> str:
    """A body that differs in these fields."""
    return json.dumps(FIELDS | fields)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "1",
        "null",
        "{}",
        '"text"',
        "[" * 100_000,
        "9" * 10_000,
        json.dumps(FIELDS) + "," + json.dumps(FIELDS),
        json.dumps({name: value for name, value in FIELDS.items() if name != "setup"}),
        changed(seq=3),
        changed(seq="2"),
        changed(at=None),
        changed(boot=1),
        changed(who=[]),
        changed(kind=[]),
        changed(step=1),
        changed(attempt="0"),
        changed(attempt=True),
        changed(data=[]),
        changed(data=None),
        changed(form="1"),
        changed(form=0),
        changed(form=None),
    ],
)
def test_what_is_no_event_is_damage_and_the_events_before_it_are_read(body: str) -> None:
    events = decoded([record(changed(seq=1), 1), record(body)])
    assert next(events).seq == 1
    with pytest.raises(JournalDamagedError) as caught:
        next(events)
    assert (caught.value.seq, caught.value.good) == (2, 1)


@pytest.mark.parametrize("body", [changed(form=FORM + 1), changed(kind="teleported")])
def test_an_event_of_a_newer_version_is_not_called_damaged(body: str) -> None:
    with pytest.raises(JournalNewerError):
        list(decoded([record(body)]))


def test_an_older_form_goes_through_every_step_to_the_newest() -> None:
    def to_2(fields: Fields) -> Fields:
        return {**fields, "form": 2, "trail": [2]}

    def to_3(fields: Fields) -> Fields:
        trail = fields["trail"]
        assert isinstance(trail, list)
        return {**fields, "form": 3, "trail": [*trail, 3]}

    assert upcast({"form": 1}, 1, (to_2, to_3)) == {"form": 3, "trail": [2, 3]}
    assert upcast({"form": 2, "trail": []}, 1, (to_2, to_3)) == {"form": 3, "trail": [3]}
    assert upcast({"form": 3}, 1, (to_2, to_3)) == {"form": 3}
    with pytest.raises(JournalNewerError):
        upcast({"form": 4}, 1, (to_2, to_3))

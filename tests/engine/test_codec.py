"""An action survives the journal: what is decoded is what was encoded."""

from __future__ import annotations

import json
from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.codec import decode, describe, encode
from journal.events import Event, Kind
from journal.timeline import timeline
from steps.actions import (
    Action,
    EditFile,
    Inverse,
    Keep,
    PinThreads,
    Regenerate,
    RemoveFile,
    RequestReboot,
    RunCommand,
    Shutdown,
    StartProcess,
    StopProcess,
    Write,
    WriteAttribute,
)
from steps.insertion import sha256

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
ARGV = st.lists(TEXT, min_size=1, max_size=4).map(tuple)
SHA = st.binary(max_size=8).map(sha256)
UNDO = st.one_of(st.builds(Keep, TEXT), st.builds(Inverse, ARGV), st.builds(Regenerate, ARGV))
ACTIONS: st.SearchStrategy[Action] = st.one_of(
    st.builds(EditFile, TEXT, st.binary(max_size=40), st.none() | SHA, TEXT, st.binary(max_size=20)),
    st.builds(RemoveFile, TEXT, SHA, TEXT),
    st.builds(RunCommand, ARGV, TEXT, UNDO, ARGV),
    st.builds(WriteAttribute, TEXT, TEXT, TEXT, st.builds(Write, TEXT, TEXT) | st.builds(Keep, TEXT), tolerate=ARGV),
    st.builds(PinThreads, TEXT, ARGV, TEXT),
    st.builds(StartProcess, TEXT, ARGV, TEXT, st.none() | TEXT, st.none() | st.integers(0, 2**60), ARGV),
    st.builds(StopProcess, TEXT, TEXT),
    st.builds(RequestReboot, TEXT),
)


@settings(deadline=None)
@given(ACTIONS)
def test_an_action_comes_back_from_json_as_it_went(action: Action) -> None:
    blobs = {sha256(action.content): action.content} if isinstance(action, EditFile) else {}
    assert decode(json.loads(json.dumps(encode(action))), blobs.__getitem__) == action


@settings(deadline=None)
@given(ACTIONS)
def test_every_action_is_described_in_words(action: Action) -> None:
    assert describe(action).strip()


EACH: tuple[Action, ...] = (
    EditFile("/etc/modules", b"vfio\n", None, "why", b""),
    EditFile("/etc/modules", b"vfio\n", sha256(b""), "why", b""),
    RemoveFile("/etc/x", sha256(b""), "why"),
    RunCommand(("update-grub",), "why", Keep("why")),
    WriteAttribute("/sys/x", "vfio-pci\n", "why", Keep("why")),
    PinThreads("guest", ("0", "1"), "why"),
    StartProcess("guest", ("qemu",), "why", None, None, ()),
    StopProcess("guest", "why"),
    Shutdown("guest", "why", ("virsh", "list"), "guest", ("virsh", "shutdown", "guest"), ("virsh", "destroy", "guest")),
    RequestReboot("why"),
)


def test_the_timeline_has_an_action_in_the_words_of_the_plan() -> None:
    assert {type(action) for action in EACH} >= set(get_args(Action))
    for action in EACH:
        data = {"action": json.loads(json.dumps(encode(action)))}
        (row,) = timeline([Event(1, "2026-01-01T10:00:00", "b", "0", Kind.INTENT, "s", "stubbed", 1, data, "p", "h")])
        said = describe(action)
        assert said == row.what or said.startswith(f"{row.what}{':' * isinstance(action, PinThreads)} "), row.what

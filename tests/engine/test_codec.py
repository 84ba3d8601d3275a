"""An action survives the journal: what is decoded is what was encoded."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.codec import decode, describe, encode
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

"""The record of the journal: what an event says, and what the engine hands in to have one appended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, TypeAlias

Json: TypeAlias = "None | bool | int | float | str | list[Json] | dict[str, Json]"


class Kind(StrEnum):
    """Every kind of event; the vocabulary of the journal."""

    SETUP_CREATED = "setup_created"
    CONFIG_CHANGED = "config_changed"
    STEP_STARTED = "step_started"
    STEP_REFUSED = "step_refused"
    STEP_FAILED = "step_failed"
    INTENT = "intent"
    OUTCOME = "outcome"
    TRANSITION = "transition"
    HOST_REBOOTED = "host_rebooted"
    DRIFT_FOUND = "drift_found"
    ROLLBACK_STARTED = "rollback_started"
    ROLLBACK_STOPPED = "rollback_stopped"
    ROLLBACK_FINISHED = "rollback_finished"
    GUEST = "guest"
    RESUME = "resume"


@dataclass(frozen=True, slots=True)
class Origin:
    """Who appends: the boot, the user (uid, and sudo's caller where there is one) and the program's version."""

    boot: str
    uid: int
    sudo_uid: int | None
    version: str


@dataclass(frozen=True, slots=True)
class Draft:
    """An event before the journal has numbered, stamped and chained it."""

    kind: Kind
    setup: str
    data: Mapping[str, Json] = field(default_factory=dict)
    step: str | None = None
    attempt: int = 0


class Event(NamedTuple):
    """One record of the journal, as read. `at` is UTC, ISO 8601 with microseconds; `who` is `uid` or `uid/sudo_uid`."""

    seq: int
    at: str
    boot: str
    who: str
    kind: Kind
    setup: str
    step: str | None
    attempt: int
    data: Mapping[str, Json]
    prev: str
    hash: str

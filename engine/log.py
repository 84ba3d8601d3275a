"""The log, for reading along (never the record): structlog on stderr, configured once.

Human lines on a terminal, JSON elsewhere; with a priority prefix where stderr is systemd's journal (sd-daemon(3)).
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from engine.console import is_terminal

_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


def configure(verbose: int = 0) -> None:
    """Set structlog up: warnings only, with -v information, with -vv everything."""
    processors: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    if is_terminal(sys.stderr):
        processors.append(structlog.dev.ConsoleRenderer(colors=not os.environ.get("NO_COLOR")))
    else:
        processors.append(structlog.processors.JSONRenderer(default=str))
    if to_systemd(os.environ.get("JOURNAL_STREAM"), sys.stderr.fileno() if has_descriptor() else -1):
        processors.insert(-1, _note_priority)
        processors.append(_prefix)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[min(verbose, len(_LEVELS) - 1)]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def has_descriptor() -> bool:
    """Whether stderr is a real file: not closed, not replaced by something in memory."""
    try:
        return sys.stderr is not None and sys.stderr.fileno() >= 0
    except (OSError, ValueError):
        return False


def to_systemd(variable: str | None, descriptor: int) -> bool:
    """Whether JOURNAL_STREAM (`device:inode`, systemd.exec(5)) names this descriptor."""
    if variable is None or descriptor < 0:
        return False
    found = os.fstat(descriptor)
    return variable == f"{found.st_dev}:{found.st_ino}"


def _note_priority(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["priority"] = _PRIORITIES.get(str(event.get("level")), 6)
    return event


def _prefix(logger: object, method: str, rendered: str | MutableMapping[str, Any]) -> str:
    return f"<{_PRIORITIES.get(method, 6)}>{rendered}"

"""The log, for reading along (never the record): structlog on stderr, where -v asks for it.

Human lines on a terminal, JSON elsewhere; with a priority prefix where stderr is systemd's journal (sd-daemon(3)).
structlog is imported when the log is asked for: without -v nobody waits for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import TYPE_CHECKING

from engine.console import is_terminal

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

    from structlog.types import FilteringBoundLogger, Processor

_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}

# A terminal that hung up or a pager that was left must not stop a run halfway: what is under way goes on unread.
_READ_BY_NOBODY = contextlib.suppress(OSError, ValueError)

_logger: FilteringBoundLogger | None = None


def info(event: str, **fields: object) -> None:
    """Log what -v shows: what is done to the host and recorded of it."""
    if _logger is not None:
        with _READ_BY_NOBODY:
            _logger.info(event, **fields)


def debug(event: str, **fields: object) -> None:
    """Log what -vv shows: what the host is asked."""
    if _logger is not None:
        with _READ_BY_NOBODY:
            _logger.debug(event, **fields)


def error(event: str, fault: BaseException) -> None:
    """Log a fault with its traceback."""
    if _logger is not None:
        with _READ_BY_NOBODY:
            _logger.error(event, exc_info=fault)


def configure(verbose: int) -> None:
    """Begin to log: with -v what is done, with -vv everything."""
    global _logger
    import structlog

    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    if is_terminal(sys.stderr):
        processors.append(structlog.dev.ConsoleRenderer(colors=not os.environ.get("NO_COLOR")))
    else:
        processors.append(structlog.processors.JSONRenderer(default=str))
    if to_systemd(os.environ.get("JOURNAL_STREAM"), _descriptor()):
        processors.append(_prefix)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[min(verbose, len(_LEVELS) - 1)]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    _logger = structlog.get_logger() if verbose else None


def to_systemd(variable: str | None, descriptor: int) -> bool:
    """Whether JOURNAL_STREAM (`device:inode`, systemd.exec(5)) names this descriptor."""
    if variable is None or descriptor < 0:
        return False
    found = os.fstat(descriptor)
    return variable == f"{found.st_dev}:{found.st_ino}"


def _descriptor() -> int:
    """That of stderr, -1 where it is closed or no real file."""
    try:
        return sys.stderr.fileno() if sys.stderr is not None else -1
    except (OSError, ValueError):
        return -1


def _prefix(logger: object, method: str, rendered: str | MutableMapping[str, Any]) -> str:
    return f"<{_PRIORITIES.get(method, 6)}>{rendered}"

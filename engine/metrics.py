"""What monitoring asks of a setup, in a file for node_exporter's textfile collector, where the configuration names one.

The text exposition format of Prometheus 0.0.4. The collector reads every `*.prom` of its directory at any moment, so
that the file is put in place whole (node_exporter, README: textfile collector).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from engine.hosts.base import Attributes, ChangeableHost
from engine.promises.audit import Audit
from engine.version import VERSION
from steps.base import FileKind, State

if TYPE_CHECKING:
    from engine.target import SessionOptions

# The key, bare or quoted, not commented out.
_KEY = re.compile(rb"""^[ \t]*["']?metrics["']?[ \t]*=""", re.MULTILINE)


def place(host: ChangeableHost, options: SessionOptions) -> str | None:
    """Where the configuration wants the file, None where it wants none. Raises ConfigurationError."""
    try:
        found = host.lstat(host.resolve(options.config))
        if found is None or found.kind is not FileKind.FILE or not _KEY.search(host.read(options.config)):
            return None
    except OSError:
        return None
    from engine import config as configuration  # not where nothing is asked for

    return configuration.load(host, options.config).metrics


def write(host: ChangeableHost, path: str, found: Audit, *, whole: bool, now: float) -> None:
    """Put the file in place; everybody may read it. `whole`: the journal was not damaged; `now`: seconds since 1970.

    Raises OSError.
    """
    host.write_file(path, text(found, whole=whole, now=now).encode(), Attributes(0o644, 0, 0))


def text(found: Audit, *, whole: bool, now: float) -> str:
    """The file. A time that there is none of is left out: 0 would be one of 1970."""
    return "\n".join(_lines(found, whole=whole, now=now)) + "\n"


def _lines(found: Audit, *, whole: bool, now: float) -> Iterator[str]:
    setup = found.setup if found.setup is not None and not found.setup.finished else None
    state = setup.state if setup is not None else State.NEW
    yield from _head("vfiostate_info", "The version that wrote this.")
    yield f'vfiostate_info{{version="{VERSION}"}} 1'
    yield from _head("vfiostate_state", "1 for the state that the setup of this host is in, 0 for every other.")
    yield from (f'vfiostate_state{{state="{each.value}"}} {int(each is state)}' for each in State)
    if setup is not None:
        yield from _head("vfiostate_state_since_timestamp_seconds", "When that state was reached.")
        yield f"vfiostate_state_since_timestamp_seconds {_seconds(setup.since)}"
    if setup is not None and setup.last_failure is not None:
        yield from _head("vfiostate_last_failure_timestamp_seconds", "When something failed last in that state.")
        yield f"vfiostate_last_failure_timestamp_seconds {_seconds(setup.last_failure.at)}"
    yield from _head("vfiostate_drift_differences", "How often the host is not as the journal says.")
    yield f"vfiostate_drift_differences {len(found.differences)}"
    yield from _head("vfiostate_journal_whole", "1 where the journal is not damaged.")
    yield f"vfiostate_journal_whole {int(whole)}"
    yield from _head("vfiostate_audit_timestamp_seconds", "When this was looked at.")
    yield f"vfiostate_audit_timestamp_seconds {now:.3f}"


def _head(name: str, what: str) -> tuple[str, str]:
    return f"# HELP {name} {what}", f"# TYPE {name} gauge"


def _seconds(at: str) -> str:
    return f"{datetime.fromisoformat(at).timestamp():.3f}"

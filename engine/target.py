"""Which host a run is about. Apart from the session, so that what needs no journal does not pay for importing it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.console import err
from engine.hosts.base import ChangeableHost
from journal.errors import UsageError


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """Which host: a simulated machine, a mounted system, or this one; and where its configuration lies in it."""

    simulate: Path | None = None
    root: Path | None = None
    config: str = "/etc/vfiostate.toml"


def open_host(options: SessionOptions) -> ChangeableHost:
    """The host that the options speak of. A simulated machine is made where the directory holds none. Raises UsageError
    where that lies nowhere."""
    if options.simulate is not None:
        from engine.hosts.simulated import SimulatedHost  # the model is needed only here

        if SimulatedHost.is_in(options.simulate):
            return SimulatedHost(options.simulate)
        if not options.simulate.parent.is_dir():
            raise UsageError(
                f"--simulate {options.simulate}: {options.simulate.parent} is no directory.",
                hint="Name a machine made before, or a new directory in one that is there.",
            )
        host = SimulatedHost.create_if_missing(options.simulate)
        name = host.machine.description.name
        err(f"note: {options.simulate} held no machine: `{name}` was made there (`vfiostate machine list`)")
        return host
    from engine.hosts.linux import LinuxHost

    return LinuxHost(options.root or Path("/"))

"""What the generators' models have in common: modules with all they need as files of an image, files of the machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from engine.hosts.simulated import drivers, kmod
from engine.hosts.simulated.kmod import Index, Options
from engine.hosts.simulated.machine import Machine


def modules(index: Index, options: Options, names: Iterable[str], prefix: str = "usr/lib/modules") -> dict[str, str]:
    """The files of these modules and of those that come before and after them."""
    order = [one for name in names for one in kmod.loading_order(index, options, name)]
    return {f"{prefix}/{index.release}/{index.files[one]}": "" for one in order if one in index.files}


def held(machine: Machine) -> frozenset[str]:
    """The modules that hold a device at this moment."""
    registered = drivers.registered(machine)
    found = (registered.get(drivers.driver_of(machine, one) or "") for one in drivers.addresses(machine))
    return frozenset(one for one in found if one is not None)


def below(index: Index, directories: tuple[str, ...], only: Iterable[str] | None = None) -> list[str]:
    """The modules whose files lie below these directories; with `only`, those among them that are named."""
    wanted = None if only is None else set(only)
    return [
        name
        for name, file in index.files.items()
        if file.startswith(directories) and (wanted is None or name in wanted)
    ]


def copied(machine: Machine, paths: Iterable[str]) -> Mapping[str, str]:
    """Files of the machine as they lie in an image, those that are there."""
    return {path.lstrip("/"): machine.text(path) for path in paths if machine.path(path).is_file()}


def confs(machine: Machine, *directories: str) -> list[str]:
    """The paths of the `*.conf` files in directories."""
    return [f"{folder}/{name}" for folder in directories for name in machine.names(folder) if name.endswith(".conf")]

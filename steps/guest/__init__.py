"""The ways to run a guest. Each lies in the module of its name, in `BACKENDS`; nothing is registered anywhere."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any

from steps.config import Guest
from steps.guest.base import Way


@cache
def ways() -> tuple[Way[Any], ...]:
    """Every way that is known, by name."""
    modules = (importlib.import_module(f"{__name__}.{each.name}") for each in pkgutil.iter_modules(__path__))
    known: list[Way[Any]] = [way for module in modules for way in getattr(module, "BACKENDS", ())]
    return tuple(sorted(known, key=lambda way: way.name))


@cache
def way(name: str) -> Way[Any]:
    """The way of that name. Raises LookupError; only its module is imported: a `status` comes here too."""
    try:
        module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    except ImportError as error:
        raise LookupError(f"there is no way to run a guest called {name!r}") from error
    found: list[Way[Any]] = [each for each in getattr(module, "BACKENDS", ()) if each.name == name]
    if not found:
        raise LookupError(f"there is no way to run a guest called {name!r}")
    return found[0]


def way_of(guest: Guest) -> Way[Any]:
    """The way that a configured guest is run."""
    return way(guest.backend)

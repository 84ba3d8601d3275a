"""The initramfs generators. Each module of this package with `GENERATORS` adds some; nothing is registered anywhere."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from functools import cache

from steps.base import Finding, Host, Severity
from steps.initramfs.base import Generator


@dataclass(frozen=True, slots=True)
class Detected:
    """The generator of the host's images and what shows it, or why none can be named."""

    generator: Generator | None
    evidence: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


@cache
def generators() -> tuple[Generator, ...]:
    """Every generator that is known, by name."""
    modules = (importlib.import_module(f"{__name__}.{each.name}") for each in pkgutil.iter_modules(__path__))
    known: list[Generator] = [found for module in modules for found in getattr(module, "GENERATORS", ())]
    return tuple(sorted(known, key=lambda generator: generator.name))


def detect(host: Host, choice: str = "auto") -> Detected:
    """Name the generator by evidence. `choice` other than `auto` picks one among those there is evidence for."""
    found = [(each, evidence) for each in generators() if (evidence := each.detect(host)) is not None]
    if choice != "auto":
        found = [(each, evidence) for each, evidence in found if each.name == choice]
    if not found:
        return Detected(None, findings=(_none(choice),))
    if len(found) > 1:
        return Detected(None, findings=(_several(found),))
    generator, evidence = found[0]
    if generator.supported:
        return Detected(generator, evidence)
    message = f"The initramfs of this host is made by {generator.name}, which vfiostate does not drive yet."
    finding = Finding("initramfs-unsupported", Severity.REFUSAL, message, evidence, generator.manual)
    return Detected(generator, evidence, (finding,))


def _none(choice: str) -> Finding:
    known = ", ".join(generator.name for generator in generators())
    what = "was found" if choice == "auto" else f"called {choice!r}, as the configuration says, was found"
    return Finding(
        "initramfs-not-found",
        Severity.REFUSAL,
        f"No initramfs generator {what}.",
        (f"known: {known}",),
        "Install initramfs-tools, or correct `initramfs` in the configuration, then try again.",
    )


def _several(found: list[tuple[Generator, tuple[str, ...]]]) -> Finding:
    names = " and ".join(generator.name for generator, _ in found)
    return Finding(
        "initramfs-ambiguous",
        Severity.REFUSAL,
        f"Several initramfs generators are installed: {names}.",
        tuple(line for _, evidence in found for line in evidence),
        "Set `initramfs` in the configuration to the one that makes this host's images, then try again.",
    )

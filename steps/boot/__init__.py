"""The boot loaders. Each module of this package with `LOADERS` adds some; nothing is registered anywhere."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from functools import cache

from steps.base import Finding, Host, Severity
from steps.boot.base import BootLoader


@dataclass(frozen=True, slots=True)
class Detected:
    """The boot loader of the host and what shows it, or why none can be named."""

    loader: BootLoader | None
    evidence: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


@cache
def loaders() -> tuple[BootLoader, ...]:
    """Every boot loader that is known, by precedence."""
    modules = (importlib.import_module(f"{__name__}.{each.name}") for each in pkgutil.iter_modules(__path__))
    known: list[BootLoader] = [loader for module in modules for loader in getattr(module, "LOADERS", ())]
    return tuple(sorted(known, key=lambda loader: (loader.precedence, loader.name)))


def detect(host: Host, choice: str = "auto") -> Detected:
    """Name the boot loader by evidence. `choice` other than `auto` picks one among those there is evidence for.

    A loader whose command line we do not edit yet is named and refused, so that the wrong one is never edited.
    """
    found = [(loader, evidence) for loader in loaders() if (evidence := loader.detect(host)) is not None]
    if choice != "auto":
        found = [(loader, evidence) for loader, evidence in found if loader.name == choice]
    if not found:
        return Detected(None, findings=(_none(choice),))
    loader, evidence = found[0]
    if not loader.supported:
        return Detected(loader, evidence, (_unsupported(loader, evidence),))
    return Detected(loader, evidence)


def _none(choice: str) -> Finding:
    known = ", ".join(dict.fromkeys(loader.name for loader in loaders()))
    if choice == "auto":
        return Finding(
            "boot-loader-not-found",
            Severity.REFUSAL,
            "No boot loader was found: none of the files that show one is there.",
            (f"looked for: {known}",),
            "Is /boot mounted? Mount it, or install the boot loader's tools, then run `vfiostate advance` again.",
        )
    return Finding(
        "boot-loader-not-found",
        Severity.REFUSAL,
        f"The configuration says boot_loader = {choice!r}, and nothing on this host shows it.",
        (f"known: {known}",),
        'Set boot_loader = "auto", or correct the name.',
    )


def _unsupported(loader: BootLoader, evidence: tuple[str, ...]) -> Finding:
    return Finding(
        "boot-loader-unsupported",
        Severity.REFUSAL,
        f"This host boots through {loader.name}, whose kernel command line vfiostate does not edit yet.",
        evidence,
        loader.manual,
    )

"""NixOS: the command line is part of the system's configuration, which its user writes; nothing is changed here.

What boots next is the generation that the profile `system` points to, and its words are in its bootspec, `boot.json`
(NixOS RFC 0125), or in `kernel-params`, of which the boot entries are made (nixos/modules/system/activation). Its
initramfs is not looked into: the boot shows what is in it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from steps import cmdline
from steps.base import Finding, Host, Severity
from steps.boot.base import BootFacts, BootLoader, Entry, Trial
from steps.boot.declaration import Declaration
from steps.boot.recognised import Trace
from steps.boot.untried import Unchanged

PROFILES = "/nix/var/nix/profiles"
SYSTEM = f"{PROFILES}/system"
BOOTSPEC = "org.nixos.bootspec.v1"
CONFIGURATION = Declaration(
    "/etc/nixos/configuration.nix",
    "boot.kernelParams = [ {} ];",
    "boot.initrd.kernelModules = [ {} ];",
    "boot.extraModprobeConfig = ''{}'';",
    "nixos-rebuild boot",
)
_TRIAL = Trial(("what boots is the user's to choose on NixOS: `nixos-rebuild test` does not change the command line",))


@dataclass(frozen=True, slots=True)
class NixOs(Unchanged):
    """A system that is built from its configuration."""

    name: str = "nixos"
    precedence: int = 10
    supported: bool = True
    manual: str = (
        "NixOS is declarative: add the words of `vfiostate plan` to boot.kernelParams in configuration.nix yourself."
    )

    def detect(self, host: Host) -> tuple[str, ...] | None:
        """The mark of an installed NixOS, or its name."""
        traces = (Trace("/etc/NIXOS"), Trace("/etc/os-release", (b"\nID=nixos", b'\nID="nixos"')))
        return tuple(seen for trace in traces if (seen := trace.seen(host)) is not None) or None

    def read(self, host: Host, setup: str) -> BootFacts:
        """The words of the generation that boots next, and of the others, which stay in the menu."""
        try:
            entries = _entries(host)
        except (OSError, ValueError) as error:
            return BootFacts(self.name, SYSTEM, generated=SYSTEM, findings=(_unreadable(error),), trial=_TRIAL)
        default = next(entry for entry in entries if entry.ours)
        return BootFacts(
            self.name,
            CONFIGURATION.file,
            default.words,
            entries=entries,
            default=default,
            generated=SYSTEM,
            regenerate=("nixos-rebuild", "boot"),
            trial=_TRIAL,
            besides=f"the generation that {SYSTEM} points to",
            defaulting="`nixos-rebuild boot` builds one",
            declared=CONFIGURATION,
        )


LOADERS: tuple[BootLoader, ...] = (NixOs(),)


def _entries(host: Host) -> tuple[Entry, ...]:
    """The generations, the newest first. Raises OSError and ValueError where the one that boots next cannot be read."""
    coming = host.resolve(SYSTEM)
    found = [_generation(host, "NixOS", coming, ours=True)]
    names = (re.fullmatch(r"system-(\d+)-link", name) for name in host.list(PROFILES))
    for number in sorted((int(match[1]) for match in names if match), reverse=True):
        place = host.resolve(f"{PROFILES}/system-{number}-link")
        if place != coming:
            try:
                found.append(_generation(host, f"NixOS, generation {number}", place, ours=False))
            except (OSError, ValueError):
                continue
    return tuple(found)


def _generation(host: Host, title: str, place: str, *, ours: bool) -> Entry:
    return Entry(title, _release(host, place), _words(host, place), recovery=not ours, ours=ours)


def _words(host: Host, place: str) -> tuple[str, ...]:
    try:
        spec = json.loads(host.read(f"{place}/boot.json"))
    except FileNotFoundError:
        return cmdline.split(host.read(f"{place}/kernel-params"))
    found = spec.get(BOOTSPEC, {}).get("kernelParams") if isinstance(spec, dict) else None
    if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
        raise ValueError(f"{place}/boot.json has no list kernelParams in {BOOTSPEC}")
    return tuple(word for each in found for word in cmdline.split(each.encode("utf-8", "surrogateescape")))


def _release(host: Host, place: str) -> str | None:
    try:
        found = host.list(f"{place}/kernel-modules/lib/modules")
    except OSError:
        return None
    return found[0] if len(found) == 1 else None


def _unreadable(error: OSError | ValueError) -> Finding:
    message = "The system that NixOS boots next cannot be read."
    hint = f"`readlink -f {SYSTEM}` names it; mend that or build it anew (`nixos-rebuild boot`), then try again."
    return Finding("generation-unreadable", Severity.REFUSAL, message, (str(error),), hint)

"""Systems whose configuration is their user's to write: what to add to it is said, and nothing is changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steps.base import Finding, Severity


@dataclass(frozen=True, slots=True)
class Declaration:
    """How such a configuration is written: the file, what sets the kernel's words, the initramfs' modules and the text
    of modprobe.d, each with `{}` for the value, and the command that builds it."""

    file: str
    parameters: str
    modules: str
    modprobe: str
    build: str

    def lines(self, tokens: Sequence[str], modules: Sequence[str], conf: bytes) -> tuple[str, ...]:
        """The lines that are to be added; what is there already may stay beside them, such lists are merged."""
        found = [self.parameters.format(_quoted(tokens))]
        if modules:
            found += [self.modules.format(_quoted(modules)), *self._modprobe(conf)]
        return tuple(found)

    def _modprobe(self, conf: bytes) -> tuple[str, ...]:
        softdeps = [line for line in conf.decode().splitlines() if line and not line.startswith("#")]
        before, _, after = self.modprobe.partition("{}")
        return (before, *(f"  {line}" for line in softdeps), after) if softdeps else ()


def _quoted(words: Sequence[str]) -> str:
    return " ".join(f'"{word}"' for word in words)


def missing(name: str, declared: Declaration, tokens: Sequence[str], lines: Sequence[str]) -> Finding:
    """The configuration lacks what the step would add to another system's."""
    return Finding(
        "declare-first",
        Severity.REFUSAL,
        f"The configuration of {name} is its user's to write, and the system that boots next lacks {' '.join(tokens)}.",
        tuple(lines),
        f"Add these lines to {declared.file}, run `{declared.build}`, then run `vfiostate advance` again: nothing is "
        "changed here.",
    )

"""The README's table of what is supported, made of the systems that the contract suites run over.

A row claims no more than what its suite shows: a system leaves the table with its file, and a suite that fails is red.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from steps import boot
from tests.initramfs.systems import systems as generators
from tests.loaders.systems import systems as loaders


class Proof(StrEnum):
    """What a claim of support rests on."""

    KERNEL = "proven on a real kernel (`scripts/lab run`)"
    DOCUMENTED = "against documented behaviour"
    PRINTS = "prints only"
    REFUSED = "refused by name"


# What `scripts/lab run` goes through; everything else has met doubles of its tools only.
LAB = frozenset({"GRUB on Debian and Ubuntu", "initramfs-tools"})
# Known by a suite of its own: nothing is changed there, so that there is no way back to hold to the contract.
PRINTS = frozenset({"nixos"})


def support_table() -> Iterator[str]:
    """Boot loaders, then generators: each with whether a new command line is tried first, and what that rests on."""
    yield "| boot loader | trial boot | |"
    yield "|---|---|---|"
    for each in loaders():
        yield f"| {each.name} | {'yes' if each.trial else 'no: `--no-trial`'} | {_proof(each.name)} |"
    known = {loader.name: loader for loader in boot.loaders()}
    for name in sorted(PRINTS):
        yield f"| {known[name].name} | | {Proof.PRINTS} |"
    for name in sorted({name for name, loader in known.items() if not loader.supported}):
        yield f"| {name} | | {Proof.REFUSED} |"
    yield ""
    yield "| initramfs | |"
    yield "|---|---|"
    for model in sorted({generator.model for generator in generators()}):
        yield f"| {model.replace('-debian', ' on Debian')} | {_proof(model)} |"


def _proof(name: str) -> Proof:
    return Proof.KERNEL if name in LAB else Proof.DOCUMENTED

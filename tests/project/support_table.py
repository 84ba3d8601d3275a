"""The README's table of what is supported, made of the systems that the contract suites run over.

A row claims no more than what its suite shows: a system leaves the table with its file, and a suite that fails is red.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from steps import boot, initramfs
from steps.boot.untried import Unchanged
from tests.initramfs.systems import systems as generators
from tests.lab_unit.labkit import module
from tests.loaders.systems import systems as loaders


class Proof(StrEnum):
    """What a claim of support rests on."""

    KERNEL = "proven on a real kernel"
    DOCUMENTED = "against documented behaviour"
    PRINTS = "prints only"
    REFUSED = "refused by name"


# What the lab's boot loaders and generators are called here; everything else has met doubles of its tools only.
LAB = {
    "grub-bios": "GRUB on Debian and Ubuntu",
    "grub-uefi": "GRUB on Debian and Ubuntu",
    "systemd-boot": "systemd-boot on Debian, entries (type 1)",
    "uki": "systemd-boot, unified kernel images",
    "initramfs-tools": "initramfs-tools",
    "dracut": "dracut-debian",
}
# Known by a suite of its own: nothing is changed there, so that there is no way back to hold to the contract.
PRINTS = frozenset(each.name for each in boot.loaders() if each.supported and isinstance(each, Unchanged))


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
    for name in sorted(each.name for each in initramfs.generators() if not each.supported):
        yield f"| {name} | {Proof.REFUSED} |"


def _proof(name: str) -> str:
    rows = proving(name)
    return f"{Proof.KERNEL}: {', '.join(f'`{row}`' for row in rows)}" if rows else Proof.DOCUMENTED


def proving(name: str) -> list[str]:
    """The rows of the lab that went the whole way on it, as it is set up now, and of which every check held."""
    rows, matrix = module("rows"), module("matrix")
    found = []
    for row, proof in matrix.proven().items():
        played = next((each for each in rows.hosts.ROWS if each.name == row), None)
        if played is not None and played.recipe.key == proof.recipe:
            used = (LAB[played.recipe.loader], LAB[played.recipe.generator])
            found += [row] if name in used else []
    return found

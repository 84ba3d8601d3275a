"""What of a host can go to a guest: its functions put together to what must go together, each judged by the guards.

A card is everything that has to go with a function: what is in its IOMMU group and, for a graphics card, the functions
beside it. Where there are no groups (yet) it is what sits in one slot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from steps import check
from steps.base import Finding, Host, Severity
from steps.config import Config, Device
from steps.devices import DeviceFacts, read_devices
from steps.iommu import IommuFacts
from steps.pci import Function, Listed, list_functions, sort_key

# Base classes that are part of the machine itself: memory controllers, bridges, system peripherals; and SMBus.
_OF_THE_BOARD = frozenset({0x05, 0x06, 0x08})
_SMBUS = 0x0C05


@dataclass(frozen=True, slots=True)
class Card:
    """Functions that go to a guest together, the one that matters first; what is to be said of taking them; and the
    groups that they are in (none where the IOMMU is not in use)."""

    functions: tuple[Function, ...]
    findings: tuple[Finding, ...]
    groups: tuple[int, ...]

    @property
    def main(self) -> Function:
        """The function that the card is known by."""
        return self.functions[0]

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """Why it cannot be taken; empty when it can."""
        return tuple(finding for finding in self.findings if finding.severity is Severity.REFUSAL)

    @property
    def devices(self) -> tuple[Device, ...]:
        """As the configuration names them, in the order of their addresses."""
        ordered = sorted(self.functions, key=lambda function: sort_key(function.address))
        return tuple(Device(function.address, function.id) for function in ordered)


def read_cards(host: Host, config: Config, found: IommuFacts) -> tuple[Card, ...]:
    """Every card of the host: graphics first, of these what can be taken before what cannot, and what the host boots on
    last. `config` says what is allowed; its devices count for nothing here."""
    offered = [each for each in list_functions(host) if not _of_the_board(each)]
    asked = replace(config, devices=tuple(Device(each.address, each.id) for each in offered))
    facts = read_devices(host, asked)
    cards = [judged(config, facts, found, bundle) for bundle in _bundles(facts.configured(asked))]
    return tuple(sorted(cards, key=_place))


def judged(config: Config, facts: DeviceFacts, found: IommuFacts, functions: Sequence[Function]) -> Card:
    """These functions as a card, with everything that `checked` would say of taking them."""
    own = {function.address for function in functions}
    numbers = {function.group for function in functions if function.group is not None}
    one = replace(config, devices=tuple(Device(function.address, function.id) for function in functions))
    seen = replace(facts, members={group: facts.members[group] for group in sorted(numbers) if group in facts.members})
    said = check.of_devices(one, seen, found)
    # Beside a graphics card's functions, which are all taken, the functions of one slot are the chipset's.
    said = tuple(finding for finding in said if finding.code != "sibling-left-out")
    ordered = sorted((facts.functions[address] for address in own), key=_importance)
    return Card(tuple(ordered), said, tuple(sorted(numbers)))


def fellows(card: Card) -> tuple[Function, ...]:
    """The functions of other cards that have to go along."""
    return tuple(function for function in card.functions if function.slot != card.main.slot)


def why_not(card: Card) -> str:
    """The first reason why a card cannot be taken, as a sentence that its address begins; empty when it can."""
    if not card.refusals:
        return ""
    message = card.refusals[0].message
    other = next((each.address for each in fellows(card) if message.startswith(each.address)), None)
    if other is not None:
        return f"goes only with {other}, which {message.removeprefix(other).strip()}"
    return message.removeprefix(card.main.address).strip()


def _of_the_board(function: Listed) -> bool:
    code = function.class_code
    return code >> 16 in _OF_THE_BOARD or code >> 8 == _SMBUS


def _bundles(functions: Iterable[Function]) -> list[list[Function]]:
    """The functions by what must go together: the same group; the same slot where that is a graphics card's, or where
    there is no group."""
    found = [function for function in functions if not function.is_bridge]
    graphics = {function.slot for function in found if function.is_display}
    root: dict[str, str] = {}
    first: dict[object, str] = {}
    for function in found:
        root[function.address] = function.address
        keys: list[object] = [function.group] if function.group is not None else []
        keys += [function.slot] if function.slot in graphics or function.group is None else []
        for key in keys:
            _join(root, first.setdefault(key, function.address), function.address)
    together: dict[str, list[Function]] = {}
    for function in found:
        together.setdefault(_top(root, function.address), []).append(function)
    return list(together.values())


def _top(root: Mapping[str, str], address: str) -> str:
    while root[address] != address:
        address = root[address]
    return address


def _join(root: dict[str, str], one: str, other: str) -> None:
    root[_top(root, other)] = _top(root, one)


def _importance(function: Function) -> tuple[int, tuple[int, ...]]:
    """A graphics card is known by its display, everything else by its first function."""
    return (0 if function.is_display else 1, sort_key(function.address))


def _place(card: Card) -> tuple[bool, bool, bool, tuple[int, ...]]:
    return (not card.main.is_display, bool(card.refusals), bool(card.main.boot_vga), sort_key(card.main.address))

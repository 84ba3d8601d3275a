"""The dialogue of `vfiostate init` at a terminal: the cards with what goes along, chosen by number."""

from __future__ import annotations

import os
import sys

from engine.cli.common import TYPE_CHECKING
from journal.errors import NotRootError, RefusedError, UsageError, VfiostateError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.hosts.base import ChangeableHost
    from engine.pciids import Names
    from engine.target import SessionOptions
    from steps.base import Finding
    from steps.cards import Card
    from steps.config import Config
    from steps.iommu import IommuFacts
    from steps.pci import Function

# As many cards as one can choose among; a host with hundreds of virtual functions is set up by --device.
MOST = 40

_FLAGS = "`vfiostate devices` lists them all; name them with `vfiostate init --device ADDRESS`."


class NothingChosenError(VfiostateError):
    """The user thought better of it."""

    code = "nothing-chosen"

    def __init__(self) -> None:
        super().__init__("Nothing was chosen, and nothing was written.", hint=_FLAGS)


def at_terminal() -> bool:
    """Whether somebody is there who can be asked."""
    streams = (sys.stdin, sys.stdout)
    return all(stream is not None and stream.isatty() for stream in streams)


def missing(host: ChangeableHost, config: Config) -> UsageError:
    """What a run without a terminal is told that names no device: the flags for each card that can be taken."""
    from steps.cards import read_cards
    from steps.iommu import read_iommu

    free = [card for card in read_cards(host, config, read_iommu(host)) if not card.refusals]
    names = _names(host)
    flags = [f"{_flags(card)}   # {_title(names, card.main)}" for card in free[:MOST]]
    return UsageError(
        "--device is missing: there is no terminal to ask at, and which devices is yours to say.",
        evidence=flags or ("no device of this host can be given to a guest as it is",),
        hint=_FLAGS if flags else "`vfiostate doctor` says why.",
    )


def choose(host: ChangeableHost, config: Config) -> list[str]:
    """Show the cards and ask which. The addresses that go to the guest, in order, none twice.

    Raises NothingChosenError at the end of the input or an empty answer, RefusedError where nothing can be taken.
    """
    from engine.console import out
    from steps.cards import read_cards, why_not
    from steps.iommu import read_iommu

    found = read_iommu(host)
    cards = read_cards(host, config, found)
    free = [card for card in cards if not card.refusals]
    if not free:
        why = [line for card in cards[:MOST] for line in (f"{card.main.address} {why_not(card)}", *_all_the_same(card))]
        raise RefusedError("No device of this host can be given to a guest as it is.", evidence=why, hint=_DOCTOR)
    for line in (*_iommu(found), *_listing(_names(host), cards, free[:MOST])):
        out(line)
    chosen = _ask(len(free[:MOST]))
    return list(dict.fromkeys(device.address for number in chosen for device in free[number - 1].devices))


def refuse_unwritable(host: ChangeableHost, path: str) -> None:
    """See that the answer can be kept, before anybody is asked. Raises NotRootError."""
    folder = host.local(path).parent
    if folder.is_dir() and not os.access(folder, os.W_OK):
        raise NotRootError(f"{path} cannot be written: {folder} belongs to somebody else.", hint="Run it with sudo.")


def end_with_plan(options: SessionOptions, config: Config) -> int:
    """The plan in short, and the next command. The configuration is written: what the plan refuses is no failure."""
    from engine.cli.common import show_findings
    from engine.console import out
    from engine.plan import preview
    from engine.planview import findings_now, plan_lines, summary_lines
    from engine.progress import reporter
    from steps.base import Severity

    if config.guest is not None:
        count = len(config.guest.disks)
        disks = f"{count or 'no'} disk{'s' * (count > 1)}"
        out(f"the guest has {config.guest.memory} MiB and {disks}: see [guest] in {options.config}")
    try:
        previews = preview(options, reporter(), all_steps=True)
    except NotRootError:
        out("next: sudo vfiostate plan")
        return 0
    out("\nthe plan:")
    for one in previews.steps:
        for line in plan_lines(previews, one, brief=True):
            out(line)
    for line in summary_lines(previews):
        out(line)
    found = [finding for one in previews.steps for finding in findings_now(one)]
    show_findings(found)
    refused = any(finding.severity is Severity.REFUSAL for finding in found)
    out(
        "next: follow the hints above, then vfiostate doctor" if refused else "next: vfiostate plan --all, then advance"
    )
    return 0


_DOCTOR = "`vfiostate doctor` says what can be done about each."


def _iommu(found: IommuFacts) -> list[str]:
    """What is to be known before one chooses: without an IOMMU nothing will go, and groups cannot be seen."""
    from engine.cli.common import finding_lines
    from steps.iommu import IommuState, findings, judge

    if judge(found) is IommuState.ON:
        return []
    return [line for each in findings(found, allow_unsafe=True, guest=True) for line in (*finding_lines(each), "")]


def _names(host: ChangeableHost) -> Names:
    from engine import pciids

    return pciids.load(host)


def _listing(names: Names, cards: Sequence[Card], free: Sequence[Card]) -> list[str]:
    from engine.console import BOLD, DIM, YELLOW, clean, paint
    from steps.base import Severity
    from steps.cards import why_not

    lines = [paint("These can go to a guest:", BOLD)]
    for number, card in enumerate(free, 1):
        lines += ["", f"{number:3}) {paint(_title(names, card.main), BOLD)}"]
        lines.append(f"       {_place(card.main)}")
        lines += [f"       with {_companion(names, each)}" for each in card.functions[1:]]
        warnings = [finding for finding in card.findings if finding.severity is not Severity.REFUSAL]
        lines += [f"       {paint(_short(each), YELLOW)}" for each in _distinct(warnings)]
    held = [card for card in cards if card.refusals]
    lines += ["", paint("These cannot:", BOLD)] if held else []
    for card in held[:MOST]:
        lines += ["", f"  -  {_title(names, card.main)}", f"       {_place(card.main)}"]
        lines.append(f"       {paint(clean(f'{card.main.address} {why_not(card)}'), DIM)}")
        lines += [f"       {line}" for line in _all_the_same(card)]
    more = len(cards) - len(free) - len(held[:MOST])
    return [*lines, "", *([f"and {more} more: {_FLAGS}", ""] if more > 0 else [])]


def _all_the_same(card: Card) -> list[str]:
    """How to take a card that is held back only because the host boots on it."""
    if {finding.code for finding in card.refusals} != {"boot-vga"}:
        return []
    return [f"all the same: vfiostate init --allow-boot-vga {card.main.address}"]


def _distinct(findings: Sequence[Finding]) -> list[Finding]:
    return list({finding.message: finding for finding in findings}.values())


def _short(finding: Finding) -> str:
    from engine.console import clean

    return clean(f"{finding.severity.value}: {finding.message}")


def _title(names: Names, function: Function) -> str:
    """What a person calls it."""
    from engine.console import clean

    vendor, name = names.vendor(function.vendor), names.device(function.vendor, function.device)
    return clean(" ".join(filter(None, (vendor, name)))) or f"unknown device {function.id}"


def _kind(names: Names, function: Function) -> str:
    from engine.console import clean

    return clean(names.class_name(function.class_code) or f"class {function.class_code >> 8:04x}")


def _place(function: Function) -> str:
    group = f"IOMMU group {function.group}" if function.group is not None else "in no IOMMU group yet"
    return f"{function.address} [{function.id}], driver {function.driver or 'none'}, {group}"


def _companion(names: Names, function: Function) -> str:
    return f"{function.address} [{function.id}] {_kind(names, function)}: {_title(names, function)}"


def _flags(card: Card) -> str:
    return " ".join(f"--device {device.address.removeprefix('0000:')}" for device in card.devices)


def _ask(most: int) -> list[int]:
    """Numbers from 1 to `most`, asked for until they are."""
    from engine.console import out

    range_ = f"Number, or several (1-{most})" if most > 1 else "1"
    while True:
        numbers, wrong = _numbers(_line(f"Which? {range_}, Enter for none: "), most)
        if wrong is None:
            return numbers
        out(wrong)


def _line(prompt: str) -> str:
    """One line from the terminal. Raises NothingChosenError at the end of the input."""
    sys.stdout.write(prompt)
    sys.stdout.flush()
    try:
        line = sys.stdin.readline()
    except (UnicodeDecodeError, OSError):
        # Bytes that are no text are no number either; a terminal that went away answers with the end of the input.
        return "?"
    if not line:
        sys.stdout.write("\n")
        raise NothingChosenError
    return line


def _numbers(text: str, most: int) -> tuple[list[int], str | None]:
    """What was typed, as numbers; or what is wrong with it. Raises NothingChosenError for an empty line."""
    from engine.console import clean

    words = text.replace(",", " ").split()
    if not words:
        raise NothingChosenError
    for word in words:
        # int() knows other digits than these, and would take as many as there are.
        if not (word.isascii() and word.isdecimal() and len(word) < 5 and 1 <= int(word) <= most):
            return [], f"{clean(word)[:40]!r}: expected a number from 1 to {most}"
    return [int(word) for word in words], None

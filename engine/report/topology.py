"""The PCI functions in their IOMMU groups as pictures, from what the steps remembered of them in the journal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.report.markup import Markup, Own, Writer
from engine.report.material import Material
from journal.events import Event, Kind
from steps import topology
from steps.base import State
from steps.pci import VIABLE_DRIVERS, Listed

WIDTH, HEAD, ROW, GAP = 360, 26, 42, 10
# Characters of a name that fit beside nothing.
LONGEST = 44


@dataclass(frozen=True, slots=True)
class View:
    """The functions as one event tells them."""

    event: int
    caption: str
    functions: tuple[Listed, ...]
    bound: bool = False


def views(material: Material) -> tuple[View, ...]:
    """What is recorded, in order: before anything was changed, and what became of it."""
    found: list[View] = []
    for event in material.events:
        view = _view(event, material, found)
        if view is not None and view.functions:
            found.append(view)
    return tuple(found)


def _view(event: Event, material: Material, before: Sequence[View]) -> View | None:
    data: Mapping[str, Any] = event.data
    if event.kind is Kind.TRANSITION and data.get("to") == State.BOUND.value and before:
        functions = topology.bound(before[-1].functions, material.own, "vfio-pci")
        return View(event.seq, "when `bound` was reached: vfio-pci has them", functions, bound=True)
    if event.kind is Kind.TRANSITION and data.get("remember"):
        return View(event.seq, f"when `{data.get('to')}` was reached", _functions(data["remember"]))
    if event.kind is Kind.STEP_REFUSED and data.get("seen"):
        return View(event.seq, f"when the step to `{event.step}` was refused", _functions(data["seen"]))
    if event.kind is Kind.ROLLBACK_FINISHED:
        return View(event.seq, "when the rollback was finished", topology.decode(str(data.get(topology.KEY, ""))))
    return None


def _functions(remembered: Mapping[str, Any]) -> tuple[Listed, ...]:
    """Those of the topology; of a journal that is older than it, the devices that `checked` saw."""
    if topology.KEY in remembered:
        return topology.decode(str(remembered[topology.KEY]))
    try:
        seen = json.loads(remembered.get("devices", "{}"))
        return tuple(_seen(address, one) for address, one in seen.items())
    except (ValueError, KeyError, TypeError, AttributeError):
        return ()


def _seen(address: str, one: Mapping[str, Any]) -> Listed:
    vendor, _, device = one["id"].partition(":")
    return Listed(address, vendor, device, 0, one["driver"], one["group"])


def pictures(h: Writer, material: Material) -> Iterator[Markup]:
    """Before and after, side by side where there is room; the groups that are not ours folded."""
    found = views(material)
    if not found:
        yield h.tag("p", Own("No step has recorded the devices of this host yet."))
        return
    own = material.own
    concerned = {one.group for view in found for one in view.functions if one.address in own and one.group is not None}
    figures = [
        _figure(
            h, material, view, place, [one for one in view.functions if one.address in own or one.group in concerned]
        )
        for place, view in _shown(found)
    ]
    yield h.tag("div", *figures, class_="pair")
    if len(found) == 1:
        yield h.tag("p", Own("Nothing later is recorded: no step has looked at them since."), class_="soft")
    rest = [one for one in found[0].functions if one.address not in own and one.group not in concerned]
    if rest:
        yield h.tag(
            "details",
            h.tag("summary", Own(f"The rest of the host: {len(rest)} functions, before")),
            _figure(h, material, found[0], "The rest", rest),
        )


def _shown(found: Sequence[View]) -> Iterator[tuple[str, View]]:
    """Before and after; and, where that came between, how it was when vfio-pci had them."""
    yield "Before", found[0]
    if len(found) > 2 and (meanwhile := next((view for view in reversed(found[1:-1]) if view.bound), None)):
        yield "Meanwhile", meanwhile
    if len(found) > 1:
        yield "After", found[-1]


def _figure(h: Writer, material: Material, view: View, place: str, functions: Sequence[Listed]) -> Markup:
    name = f"{place.lower().replace(' ', '-')}-{view.event}"
    caption = h.tag("figcaption", h.tag("b", Own(place)), h.marked(Own(f", {view.caption} (event {view.event})")))
    return h.tag("figure", caption, _svg(h, material, functions, name, f"{place}: {view.caption}"))


def _svg(h: Writer, material: Material, functions: Sequence[Listed], name: str, title: str) -> Markup:
    groups: dict[int | None, list[Listed]] = {}
    for one in sorted(functions, key=lambda one: (one.group is None, one.group or 0)):
        groups.setdefault(one.group, []).append(one)
    parts: list[Markup] = []
    y = 1
    for number, members in groups.items():
        parts += _group(h, material, number, members, y)
        y += HEAD + ROW * len(members) + GAP
    words = (f"{_group_name(one.group)}: {one.address}, {one.driver or 'no driver'}." for one in functions)
    return h.tag(
        "svg",
        h.tag("title", Own(title), id=f"{name}-title"),
        h.tag("desc", " ".join(words), id=f"{name}-words"),
        *parts,
        viewBox=f"0 0 {WIDTH} {y}",
        role="img",
        aria_labelledby=f"{name}-title {name}-words",
    )


def _group(h: Writer, material: Material, number: int | None, members: Sequence[Listed], y: int) -> Iterator[Markup]:
    high = HEAD + ROW * len(members)
    yield h.tag("rect", x=1, y=y, width=WIDTH - 2, height=high, rx=6, class_="box")
    yield h.tag("text", Own(_group_name(number)), x=12, y=y + 18, class_="small")
    for place, one in enumerate(members):
        yield from _row(h, material, one, y + HEAD + ROW * place)


def _row(h: Writer, material: Material, one: Listed, y: int) -> Iterator[Markup]:
    ours = one.address in material.own
    if ours:
        yield h.tag("rect", x=4, y=y + 1, width=4, height=ROW - 6, class_="ours")
    yield h.tag("text", one.address, x=14, y=y + 14, class_="bold" if ours else None)
    yield h.tag("text", _cut(_name(material, one), LONGEST), x=14, y=y + 31, class_="small")
    driver = _cut(one.driver or "no driver", 18)
    wide = 8 * len(driver) + 14
    kind = "pill vfio" if one.driver in VIABLE_DRIVERS else "pill"
    yield h.tag("rect", x=WIDTH - 10 - wide, y=y, width=wide, height=20, rx=10, class_=kind)
    yield h.tag("text", driver, x=WIDTH - 10 - wide // 2, y=y + 14, text_anchor="middle")


def _name(material: Material, one: Listed) -> str:
    known = material.names.device(one.vendor, one.device) or material.names.class_name(one.class_code) or "device"
    return f"[{one.id}] {known}"


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _group_name(number: int | None) -> str:
    return "in no IOMMU group" if number is None else f"IOMMU group {number}"

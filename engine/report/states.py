"""The state machine as a picture, with the way that a setup took through it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.explain.account import FAILURES
from engine.report.markup import Markup, Own, Writer
from engine.setup import Setup
from engine.states import FORWARD
from journal.events import Event, Kind
from journal.waiting import waits
from steps.base import State

WIDTH, HIGH, GAP = 360, 34, 40
LEFT, BOX = 8, 170
TOP = 10

Moves = dict[tuple[State, State], list[int]]


def states(h: Writer, setup: Setup, events: Sequence[Event]) -> Markup:
    """The states from top to bottom; the way there on the left, ways back on the right, what stopped it in between."""
    there, back = _moves(events)
    reached = {State.NEW} | {state for pair in (*there, *back) for state in pair}
    stops = _stops(events)
    lanes = sorted(back, key=lambda pair: pair[0].rank - pair[1].rank)
    height = TOP * 2 + HIGH * len(State) + GAP * (len(State) - 1)
    width = max(WIDTH, LEFT + BOX + 40 + 30 * len(lanes) + 60)
    parts = [
        *(part for move in FORWARD for part in _forward(h, move.source, move.target, there, stops)),
        *(part for lane, pair in enumerate(lanes) for part in _backward(h, pair, back[pair], lane)),
        *(part for state in State for part in _box(h, state, setup.state, reached)),
    ]
    said = h.tag("title", Own("The states, and the way this setup took"), id="way-title")
    told = h.tag("desc", Own(" ".join(_words(there, back, stops, setup.state))), id="way-words")
    return h.tag(
        "svg", said, told, *parts, viewBox=f"0 0 {width} {height}", role="img", aria_labelledby="way-title way-words",
    )  # fmt: skip


def _moves(events: Sequence[Event]) -> tuple[Moves, Moves]:
    there: Moves = {}
    back: Moves = {}
    for event in events:
        if event.kind in (Kind.TRANSITION, Kind.HOST_REBOOTED):
            pair = State(str(event.data["from"])), State(str(event.data["to"]))
            way = there if pair[1].rank > pair[0].rank else back
            if pair[0] is not pair[1]:
                way.setdefault(pair, []).append(event.seq)
    return there, back


def _stops(events: Sequence[Event]) -> dict[State, int]:
    """The last event that stopped the step to a state."""
    return {
        State(event.step): event.seq for event in events if event.kind in FAILURES and event.step and not waits(event)
    }


def _words(there: Moves, back: Moves, stops: dict[State, int], now: State) -> Iterator[str]:
    for (source, target), seqs in there.items():
        yield f"{source.value} to {target.value}: event {_numbers(seqs)}."
    for state, seq in stops.items():
        yield f"The step to {state.value} was stopped: event {seq}."
    for (source, target), seqs in back.items():
        yield f"Back from {source.value} to {target.value}: event {_numbers(seqs)}."
    yield f"Now: {now.value}."


def _numbers(seqs: Sequence[int]) -> str:
    return ", ".join(map(str, seqs)) if len(seqs) <= 3 else f"{seqs[0]}, … {seqs[-1]} ({len(seqs)} times)"


def _y(state: State) -> int:
    return TOP + state.rank * (HIGH + GAP)


def _box(h: Writer, state: State, now: State, reached: set[State]) -> Iterator[Markup]:
    kind = "here" if state is now else "reached" if state in reached else "never"
    y = _y(state)
    yield h.tag("rect", x=LEFT, y=y, width=BOX, height=HIGH, rx=6, class_=f"box {kind}")
    yield h.tag("text", Own(state.value), x=LEFT + 10, y=y + 22, class_="bold" if kind == "here" else None)
    if kind == "here":
        yield h.tag("text", Own("now"), x=LEFT + BOX - 10, y=y + 22, text_anchor="end", class_="small")


def _forward(h: Writer, source: State, target: State, there: Moves, stops: dict[State, int]) -> Iterator[Markup]:
    x, start, end = LEFT + 24, _y(source) + HIGH, _y(target)
    seqs = there.get((source, target))
    kind = "" if seqs else " open"
    yield h.tag("path", d=f"M {x} {start} L {x} {end - 7}", class_=f"way{kind}")
    yield h.tag("path", d=f"M {x - 5} {end - 8} L {x + 5} {end - 8} L {x} {end}", class_=f"tip{kind}")
    middle = (start + end) // 2
    if seqs:
        yield h.tag("text", Own(f"event {_numbers(seqs)}"), x=x + 12, y=middle - 1, class_="fore-word")
    if target in stops:
        y = middle + (12 if seqs else 4)
        yield h.tag("circle", cx=x, cy=middle + 2, r=5, class_="stop")
        yield h.tag("text", Own(f"stopped: event {stops[target]}"), x=x + 12, y=y, class_="stop-word")


def _backward(h: Writer, pair: tuple[State, State], seqs: Sequence[int], lane: int) -> Iterator[Markup]:
    """A bracket at the right, each in a lane of its own, the long ones outside."""
    source, target = pair
    edge, x = LEFT + BOX, LEFT + BOX + 26 + 30 * lane
    start, end = _y(source) + HIGH // 2 + 6, _y(target) + HIGH // 2 + 6
    yield h.tag("path", d=f"M {edge} {start} L {x} {start} L {x} {end} L {edge + 8} {end}", class_="way back")
    yield h.tag("path", d=f"M {edge + 9} {end - 5} L {edge + 9} {end + 5} L {edge} {end}", class_="tip back")
    yield h.tag("text", Own(f"event {_numbers(seqs)}"), x=x + 5, y=start - 6, class_="back-word")

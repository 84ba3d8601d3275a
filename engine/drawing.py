"""The state machine as a picture, made from its table. The ways back are many and all alike: they are drawn as one."""

from __future__ import annotations

from collections.abc import Iterator

from engine.states import BACK, FORWARD, LOST, Move
from steps.base import State


def mermaid() -> str:
    """A Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.NEW}"]
    lines += [f"    {move.source} --> {move.target}: {label}" for move, label in _edges()]
    return "\n".join(lines)


def dot() -> str:
    """A graph for graphviz."""
    lines = ["digraph vfiostate {", "    rankdir=LR;", "    node [shape=box, style=rounded];"]
    lines += [f"    {state};" for state in State]
    for move, label in _edges():
        style = "" if move in FORWARD else ", style=dashed, constraint=false"
        lines.append(f'    {move.source} -> {move.target} [label="{label}"{style}];')
    return "\n".join([*lines, "}"])


def _edges() -> Iterator[tuple[Move, str]]:
    """Every move of the table, except that a rollback is drawn to the state before and to `new` only."""
    for move in (*FORWARD, *LOST):
        yield move, move.trigger
    for move in BACK:
        distance = move.source.rank - move.target.rank
        if distance == 1 or (distance > 1 and move.target is State.NEW):
            yield move, "rollback" if move.target is State.NEW else f"rollback --to {move.target}"

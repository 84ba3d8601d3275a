"""The list of all errors: `python -m tests.errors.listed` prints what the program can say of what went wrong."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from tests.errors.sources import Function, Place, Program, read_program
from tests.errors.templates import Reader, Texts, arguments, has_words, is_value, rows, unique

TREE = "journal.errors.VfiostateError"
FINDING = "steps.base.Finding"
DIFFERENCE = "engine.promises.difference.Difference"
DECISION = "engine.back.decision.Decision"
# Where a note becomes one: said, and nothing to be done about it.
SILENT = {"note"}
DEPTH = 4


@dataclass(frozen=True, order=True)
class Entry:
    """One thing that the program can say: a stable code, what it is (`error`, `refusal`, `warning`, …), the message
    and what to do next, as templates, and where it is said (FILE:LINE)."""

    room: str
    code: str
    kind: str
    message: str
    hint: str
    at: str


def collected(program: Program | None = None) -> tuple[Entry, ...]:
    """Everything that is said, sorted by room and code."""
    program = program or read_program()
    found = {entry for site in sites(program) for entry in entries(program, site)}
    return tuple(sorted(found))


@dataclass(frozen=True)
class Site:
    """Where one is made: the call, and what its fields are made of."""

    place: Place
    kind: str
    fields: Mapping[str, ast.expr]
    code: str = ""


def sites(program: Program) -> Iterator[Site]:
    """Every call in the program that makes an error, a finding, a difference or a decision that stops."""
    for module in program.modules.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call):
                yield from _site(program, Place(module, node), node)


def _site(program: Program, place: Place, node: ast.Call) -> Iterator[Site]:
    if ast.unparse(node.func) == "super().__init__":
        klass = place.module.klass(node)
        known = Place(place.module, klass) if klass else None
        if known and program.is_a(known, TREE) and not _passes_on(known):
            yield Site(place, "error", _given(program, known, node), _code(program, known))
        return
    known = program.of(Place(place.module, node.func))
    if known is None or not isinstance(known.node, ast.ClassDef):
        return
    if program.is_a(known, TREE):
        init = program.member(known, "__init__")
        if init is not None and _takes_message(init.node):
            yield Site(place, "error", _given(program, known, node), _code(program, known))
        return
    name = f"{known.module.name}.{known.node.name}"
    fields = dict(zip(_fields(known.node), node.args, strict=False))
    fields |= {one.arg: one.value for one in node.keywords if one.arg}
    if name == FINDING:
        yield Site(place, "finding", fields)
    elif name == DIFFERENCE:
        yield Site(place, "drift", fields)
    elif name == DECISION and ast.unparse(fields["way"]) == "Way.CONFLICT":
        yield Site(place, "refusal", {"message": fields["detail"], "hint": fields["hint"]}, "cannot-tell-apart")


def _passes_on(klass: Place) -> bool:
    """Whether its `__init__` takes the message it hands up: then the text is where one is made."""
    assert isinstance(klass.node, ast.ClassDef)
    inits = [node for node in klass.node.body if isinstance(node, Function) and node.name == "__init__"]
    return any(map(_takes_message, inits))


def _takes_message(node: ast.AST) -> bool:
    return isinstance(node, Function) and any(one.arg == "message" for one in node.args.args)


def _given(program: Program, klass: Place, node: ast.Call) -> Mapping[str, ast.expr]:
    init = next(one for one in _inits(program, klass) if _takes_message(one))
    return arguments(node, init)


def _inits(program: Program, klass: Place) -> Iterator[Function]:
    assert isinstance(klass.node, ast.ClassDef)
    yield from (node for node in klass.node.body if isinstance(node, Function) and node.name == "__init__")
    for base in program.bases(klass):
        yield from _inits(program, base)


def _code(program: Program, klass: Place) -> str:
    known = program.member(klass, "code")
    assert known is not None and isinstance(known.node, ast.Constant)
    return str(known.node.value)


def _fields(klass: ast.ClassDef) -> list[str]:
    return [one.target.id for one in klass.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)]


def entries(program: Program, site: Site) -> Iterator[Entry]:
    """What is said at one place: several where callers give the words, none where it is passed on or only noted."""
    function = site.place.module.function(site.place.node)
    for place, bound in contexts(program, site, function):
        reader = Reader(program, function, bound)
        said = {
            name: reader.texts(Place(site.place.module, node))
            for name, node in site.fields.items()
            if name not in ("evidence", "deed", "seq", "good", "exit", "since", "diff")
        }
        kinds = _kinds(site, said)
        if set(kinds) <= SILENT:
            continue
        messages = _messages(site, said) or ("",)
        hints = said.get("hint") or ("",)
        codes = said.get("code", (site.code,)) if not site.code else (site.code,)
        room = place.module.name.partition(".")[0]
        for way in range(max(len(messages), len(hints), len(codes))):
            message, hint = messages[way % len(messages)], hints[way % len(hints)]
            if passed_on(message, hint):
                continue
            yield Entry(
                room, codes[way % len(codes)], "/".join(k for k in kinds if k not in SILENT), message, hint, place.shown
            )


def passed_on(message: str, hint: str) -> bool:
    """Whether all of it is another's, who stands in the list himself."""
    return not has_words(message) and not has_words(hint) and "." in message


def _messages(site: Site, said: Mapping[str, Texts]) -> Texts:
    if "found" not in said:
        return said["message"]
    return unique(f"{{where}}: {text}" for text in said["found"])


def _kinds(site: Site, said: Mapping[str, Texts]) -> Texts:
    if site.kind != "finding":
        return ("note",) if said.get("note") == ("{True}",) else (site.kind,)
    return unique(text.rpartition(".")[2].strip("}") for text in said["severity"])


def contexts(program: Program, site: Site, function: Function | None) -> Iterator[tuple[Place, Mapping[str, Texts]]]:
    """The calls that give a function the words it makes something of, and those words."""
    reader = Reader(program, function)
    said = {
        name: reader.texts(Place(site.place.module, node))
        for name, node in site.fields.items()
        if name in ("code", "severity", "message", "hint", "found")
    }
    own = any(has_words(text) for name in ("message", "found") for text in said.get(name, ()))
    table = rows(site.place, function) if function else []
    for place, bound in _callers(program, function, reader.asked, DEPTH):
        for row in table or [{}]:
            inner = Reader(program, function, bound)
            cells = {name: inner.texts(cell) for name, cell in row.items()}
            yield (site.place if own or place is None else place), {**bound, **cells}


def _callers(
    program: Program, function: Function | None, asked: Iterable[str], depth: int
) -> Iterator[tuple[Place | None, Mapping[str, Texts]]]:
    calls = program.calls.get(function, []) if function and asked and depth else []
    told = False
    for call in calls:
        assert function is not None and isinstance(call.node, ast.Call)
        given = {name: node for name, node in arguments(call.node, function).items() if name in set(asked)}
        outer = call.module.function(call.node)
        reader = Reader(program, outer)
        for node in given.values():
            reader.texts(Place(call.module, node))
        for _, bound in _callers(program, outer, reader.asked, depth - 1):
            inner = Reader(program, outer, bound)
            texts = {name: inner.texts(Place(call.module, node)) for name, node in given.items()}
            texts = {name: found for name, found in texts.items() if not all(map(is_value, found))}
            if texts:
                told = True
                yield call, texts
    if not told:
        yield None, {}


def as_text(found: Iterable[Entry]) -> Iterator[str]:
    """The list as a person reads it."""
    for room, of_room in groupby(found, key=lambda entry: entry.room):
        yield f"== {room}/"
        for code, of_code in groupby(of_room, key=lambda entry: entry.code):
            yield f"\n{code}"
            for entry in of_code:
                yield f"  [{entry.kind}] {entry.message}"
                yield f"      -> {entry.hint}"
                yield f"      {entry.at}"
        yield ""


if __name__ == "__main__":
    every = collected()
    sys.stdout.write("\n".join(as_text(every)))
    sys.stdout.write(f"{len(every)} texts at {len({entry.at for entry in every})} places\n")

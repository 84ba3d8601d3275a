"""What an expression in the source can be as text: every way it may turn out, with {…} where a value comes in."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from tests.errors.sources import Function, Place, Program

Texts: TypeAlias = tuple[str, ...]
STRIPS = {"rstrip", "lstrip", "strip", "removesuffix", "removeprefix", "capitalize", "replace", "lower"}
DEPTH = 12


def is_value(text: str) -> bool:
    """Whether a template is nothing but a value that comes in."""
    return re.fullmatch(r"\{[^{}]*\}", text) is not None


def has_words(text: str) -> bool:
    """Whether a template says something itself."""
    return re.search(r"[A-Za-z]", re.sub(r"\{[^{}]*\}", "", text)) is not None


def shown(node: ast.expr) -> str:
    """The place of a value in a template."""
    text = ast.unparse(node)
    return f"{{{text}}}" if len(text) <= 40 and not set("{}\n") & set(text) else "{…}"


def side_by_side(parts: Sequence[Texts]) -> Texts:
    """Parts one after the other. Each way of each part appears, not each with each: nobody would read that."""
    ways = max(map(len, parts), default=0) if all(parts) else 0
    return unique("".join(part[way % len(part)] for part in parts) for way in range(ways))


def unique(texts: Iterable[str]) -> Texts:
    """The texts in order, each once."""
    return tuple(dict.fromkeys(texts))


def parameters(function: Function) -> list[str]:
    """The names of what a function takes, in order."""
    taken = function.args
    return [one.arg for one in (*taken.posonlyargs, *taken.args, *taken.kwonlyargs)]


@dataclass
class Reader:
    """Reads expressions at one place of the program. `bound` is what the function's parameters are; one that is read
    and not bound is put down in `asked`."""

    program: Program
    function: Function | None
    bound: Mapping[str, Texts] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    depth: int = DEPTH

    def texts(self, place: Place) -> Texts:
        """Every way the expression at a place may turn out."""
        node = place.node
        assert isinstance(node, ast.expr)
        if self.depth == 0:
            return (shown(node),)
        inner = Reader(self.program, self.function, self.bound, self.asked, self.depth - 1)
        return tuple(inner._texts(place, node))

    def _at(self, place: Place, node: ast.expr) -> Texts:
        return self.texts(Place(place.module, node))

    def _texts(self, place: Place, node: ast.expr) -> Iterable[str]:
        match node:
            case ast.Constant(value=value):
                return (value if isinstance(value, str) else shown(node),)
            case ast.JoinedStr(values=values):
                return side_by_side([self._part(place, one) for one in values] or [("",)])
            case ast.BinOp(op=ast.Add()):
                return side_by_side([self._at(place, node.left), self._at(place, node.right)])
            case ast.IfExp():
                return (*self._at(place, node.body), *self._at(place, node.orelse))
            case ast.BoolOp(op=ast.Or()):
                ways = [one for value in node.values for one in self._at(place, value)]
                return [one for one in ways if one] or ("",)
            case ast.NamedExpr():
                return self._at(place, node.value)
            case ast.Name(id=name):
                return self._name(place, node, name)
            case ast.Call():
                return self._call(place, node)
            case ast.Attribute(attr="value") if isinstance(node.value, ast.Attribute):
                return self._at(place, node.value)
            case ast.Attribute():
                return self._known(place, node)
            case ast.Subscript():
                return self._item(place, node)
        return (shown(node),)

    def _part(self, place: Place, node: ast.expr) -> Texts:
        if isinstance(node, ast.FormattedValue):
            if node.conversion != -1 or node.format_spec is not None:
                return (shown(node.value),)
            found = self._at(place, node.value)
            return found if any(map(has_words, found)) or found in ((), ("",)) else (shown(node.value),)
        return self._at(place, node)

    def _name(self, place: Place, node: ast.Name, name: str) -> Iterable[str]:
        if name in self.bound and name not in (parameters(self.function) if self.function else ()):
            return self.bound[name]
        if self.function is not None:
            found = list(definitions(place, name, self.function))
            if found:
                return [text for one in found for text in (self.texts(one) if one else self._parameter(node, name))]
            if name in parameters(self.function):
                return self._parameter(node, name)
        return self._known(place, node)

    def _parameter(self, node: ast.Name, name: str) -> Texts:
        assert self.function is not None
        if name not in parameters(self.function):
            return (shown(node),)
        self.asked.add(name)
        return self.bound.get(name, (shown(node),))

    def _known(self, place: Place, node: ast.Name | ast.Attribute) -> Iterable[str]:
        known = self.program.of(place)
        if known is None or isinstance(known.node, ast.ClassDef):
            return (shown(node),)
        if isinstance(known.node, Function):
            is_property = any(ast.unparse(one) == "property" for one in known.node.decorator_list)
            return self._returned(known, {}) if is_property else (shown(node),)
        found = Reader(self.program, None, depth=self.depth).texts(known)
        return found if any(map(has_words, found)) else (shown(node),)

    def _call(self, place: Place, node: ast.Call) -> Iterable[str]:
        if isinstance(node.func, ast.Attribute) and node.func.attr in STRIPS:
            return self._stripped(place, node, node.func)
        if isinstance(node.func, ast.Name) and node.func.id == "str" and len(node.args) == 1:
            found = self._at(place, node.args[0])
            return found if any(map(has_words, found)) else (shown(node.args[0]),)
        known = self.program.of(Place(place.module, node.func))
        if known is None or not isinstance(known.node, Function):
            return (shown(node),)
        if known.node.name == "sentence":
            return [
                f"{text[:1].upper()}{text[1:]}" + "." * (text[-1:] != ".") for text in self._at(place, node.args[0])
            ]
        given = {name: self._at(place, value) for name, value in arguments(node, known.node).items()}
        found = unique(self._returned(known, given))
        return found if any(map(has_words, found)) else (shown(node),)

    def _stripped(self, place: Place, node: ast.Call, method: ast.Attribute) -> Iterable[str]:
        given = [one.value for one in node.args if isinstance(one, ast.Constant)]
        found = self._at(place, method.value)
        if len(given) != len(node.args) or not any(map(has_words, found)):
            return (shown(node),)
        return [str(getattr(text, method.attr)(*given)) for text in found]

    def _returned(self, known: Place, given: Mapping[str, Texts]) -> Iterator[str]:
        assert isinstance(known.node, Function)
        inner = Reader(self.program, known.node, given, depth=self.depth)
        for node in ast.walk(known.node):
            if isinstance(node, ast.Return) and node.value is not None:
                yield from filter(None, inner.texts(Place(known.module, node.value)))

    def _item(self, place: Place, node: ast.Subscript) -> Iterable[str]:
        if isinstance(node.value, ast.IfExp):
            tables = (node.value.body, node.value.orelse)
            return [text for one in tables for text in self._at(place, ast.Subscript(one, node.slice, ast.Load()))]
        known = self.program.of(Place(place.module, node.value))
        if known is not None and isinstance(known.node, ast.Dict):
            inner = Reader(self.program, None, depth=self.depth)
            keys = [inner.texts(Place(known.module, key)) if key else () for key in known.node.keys]
            wanted = self._at(place, node.slice)
            values = [value for key, value in zip(keys, known.node.values, strict=True) if key == wanted]
            if not values and "{" in "".join(wanted):
                values = list(known.node.values)
            return [text for one in values for text in inner.texts(Place(known.module, one))]
        return (shown(node),)


def arguments(call: ast.Call, function: Function) -> dict[str, ast.expr]:
    """What a call gives to the parameters of a function."""
    names = [name for name in parameters(function) if name not in ("self", "cls")]
    given = dict(zip(names, (one for one in call.args if not isinstance(one, ast.Starred)), strict=False))
    return given | {one.arg: one.value for one in call.keywords if one.arg in names}


def definitions(place: Place, name: str, function: Function) -> Iterator[Place | None]:
    """What a local name was given last before a place: several where ways join, None where it is the parameter."""
    node: ast.AST = place.node
    for parent in place.module.above(place.node):
        for block in blocks(parent):
            if node in block:
                found = _last(place, name, block[: block.index(node)])
                yield from found[0]
                if found[1]:
                    return
        if name in _bound_by(parent):
            return
        if parent is function:
            if name in parameters(function):
                yield None
            return
        node = parent


def _bound_by(node: ast.AST) -> set[str]:
    targets: list[ast.AST] = []
    match node:
        case ast.For():
            targets = [node.target]
        case ast.With():
            targets = [one.optional_vars for one in node.items if one.optional_vars]
        case ast.GeneratorExp() | ast.ListComp() | ast.DictComp():
            targets = [one.target for one in node.generators]
    return {one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)}


def rows(place: Place, function: Function) -> list[dict[str, Place]]:
    """What the names of the loop around a place are, row by row, where a table that is written down is gone through."""
    for loop in place.module.above(place.node):
        for way in [loop] if isinstance(loop, ast.For) else getattr(loop, "generators", ()):
            targets = way.target.elts if isinstance(way.target, ast.Tuple) else [way.target]
            names = [one.id for one in targets if isinstance(one, ast.Name)]
            table: ast.AST | None = way.iter
            if isinstance(table, ast.Name):
                table = next(
                    (one.node for one in definitions(Place(place.module, loop), table.id, function) if one), None
                )
            if isinstance(table, ast.Tuple) and all(isinstance(row, ast.Tuple) for row in table.elts):
                cells = [row.elts for row in table.elts if isinstance(row, ast.Tuple)]
                return [{n: Place(place.module, c) for n, c in zip(names, row, strict=False)} for row in cells]
    return []


def blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """The lists of statements of a compound statement."""
    for _, value in ast.iter_fields(node):
        if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
            yield value
    for inner in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
        yield from blocks(inner)


def _last(place: Place, name: str, block: Sequence[ast.stmt]) -> tuple[list[Place | None], bool]:
    """The last definitions in a run of statements, and whether one of them is met on every way through it."""
    found: list[Place | None] = []
    for statement in reversed(block):
        value = _assigned(statement, name)
        if value is not None:
            return [*found, Place(place.module, value)], True
        inner = [one for one in blocks(statement) if not isinstance(one[-1], ast.Return | ast.Raise | ast.Continue)]
        if isinstance(statement, Function) or not inner:
            continue
        ways = [_last(place, name, one) for one in inner]
        found += [one for way in ways for one in way[0]]
        if _complete(statement) and all(way[1] for way in ways):
            return found, True
    return found, False


def _complete(statement: ast.stmt) -> bool:
    match statement:
        case ast.If(orelse=orelse):
            return bool(orelse)
        case ast.Match(cases=cases):
            return isinstance(cases[-1].pattern, ast.MatchAs) and cases[-1].pattern.pattern is None
        case ast.With() | ast.Try():
            return True
    return False


def _assigned(statement: ast.stmt, name: str) -> ast.expr | None:
    match statement:
        case ast.Assign(targets=[ast.Name(id=found)], value=value) if found == name:
            return value
        case ast.AnnAssign(target=ast.Name(id=found), value=value) if found == name:
            return value
        case ast.Assign(targets=[ast.Tuple(elts=targets)], value=value):
            for at, target in enumerate(targets):
                if isinstance(target, ast.Name) and target.id == name:
                    if isinstance(value, ast.Tuple):
                        return value.elts[at]
                    return ast.Name(f"{name} of {ast.unparse(value)}"[:38])
    return None

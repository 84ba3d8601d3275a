"""The program's source as trees: its modules, what a name stands for in one, and who calls a function."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

TOP = Path(__file__).resolve().parents[2]
# Its own commands talk as those they are doubles of; what it says as a host, the list below has of the real one.
SIMULATED = TOP / "engine/hosts/simulated"

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Meaning: TypeAlias = Function | ast.ClassDef | ast.expr


@dataclass(frozen=True, eq=False)
class Module:
    """One file: its tree, the parent of every node, and its names at the top (imports: of any place in it)."""

    name: str
    path: Path
    shown: str
    tree: ast.Module
    parents: Mapping[ast.AST, ast.AST]
    names: Mapping[str, Meaning]
    imports: Mapping[str, tuple[str, str]]

    def above(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes around a node, innermost first."""
        while (parent := self.parents.get(node)) is not None:
            yield parent
            node = parent

    def function(self, node: ast.AST) -> Function | None:
        """The function that a node lies in."""
        return next((one for one in self.above(node) if isinstance(one, Function)), None)

    def klass(self, node: ast.AST) -> ast.ClassDef | None:
        """The class that a node lies in."""
        return next((one for one in self.above(node) if isinstance(one, ast.ClassDef)), None)


class Spelled(ast.NodeTransformer):
    """Writes `text += more` as `text = text + more`, so that what is read of a name is all of it."""

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.stmt:
        """The assignment that it stands for."""
        if not isinstance(node.target, ast.Name):
            return node
        read = ast.copy_location(ast.Name(node.target.id, ast.Load()), node)
        value = ast.copy_location(ast.BinOp(read, node.op, node.value), node)
        return ast.copy_location(ast.Assign([node.target], value), node)


def read_module(path: Path, top: Path = TOP) -> Module:
    """The module of a file below `top`."""
    tree = ast.fix_missing_locations(Spelled().visit(ast.parse(path.read_text(encoding="utf-8"))))
    name = ".".join(path.relative_to(top).with_suffix("").parts).removesuffix(".__init__")
    names: dict[str, Meaning] = {}
    for node in tree.body:
        if isinstance(node, Function | ast.ClassDef):
            names[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id: node.value for target in targets if isinstance(target, ast.Name)}
    imports: dict[str, tuple[str, str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            imports |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            imports |= {alias.asname: (alias.name, "") for alias in node.names if alias.asname}
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    return Module(name, path, str(path.relative_to(top)), tree, parents, names, imports)


@dataclass(frozen=True, eq=False)
class Place:
    """A node in a module: where a name is read, or a call is made."""

    module: Module
    node: ast.AST

    @property
    def shown(self) -> str:
        """As FILE:LINE."""
        return f"{self.module.shown}:{getattr(self.node, 'lineno', 0)}"


@dataclass(frozen=True)
class Program:
    """All modules, and the calls of every function of ours."""

    modules: Mapping[str, Module]
    calls: dict[ast.AST, list[Place]] = field(default_factory=lambda: defaultdict(list))

    def meaning(self, module: Module, name: str) -> Place | None:
        """What a name at the top of a module stands for, imports followed: a function, a class or an expression."""
        if name in module.names:
            return Place(module, module.names[name])
        home, attribute = module.imports.get(name, ("", ""))
        if attribute and home in self.modules and self.modules[home] is not module:
            return self.meaning(self.modules[home], attribute)
        return None

    def of(self, place: Place) -> Place | None:
        """What a name, an attribute of a module, or of `self` or a class, stands for."""
        module, node = place.module, place.node
        if isinstance(node, ast.Name):
            return self.meaning(module, node.id)
        if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
            return None
        owner = node.value.id
        if owner in ("self", "cls"):
            klass = module.klass(node)
            return self.member(Place(module, klass), node.attr) if klass else None
        home, attribute = module.imports.get(owner, ("", ""))
        inner = self.modules.get(f"{home}.{attribute}" if attribute else home)
        if inner is not None:
            return self.meaning(inner, node.attr)
        known = self.meaning(module, owner)
        return self.member(known, node.attr) if known else None

    def member(self, klass: Place, name: str) -> Place | None:
        """An attribute that a class, or one it is made from, gives a value or a function."""
        if not isinstance(klass.node, ast.ClassDef):
            return None
        for node in klass.node.body:
            if isinstance(node, Function) and node.name == name:
                return Place(klass.module, node)
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                    return Place(klass.module, node.value)
        found = (self.member(base, name) for base in self.bases(klass))
        return next((one for one in found if one), None)

    def bases(self, klass: Place) -> Iterator[Place]:
        """The classes of ours that a class is made from."""
        for base in getattr(klass.node, "bases", ()):
            known = self.of(Place(klass.module, base))
            if known is not None and isinstance(known.node, ast.ClassDef):
                yield known

    def is_a(self, klass: Place, name: str) -> bool:
        """Whether a class is, or is made from, the class with that qualified name."""
        if f"{klass.module.name}.{getattr(klass.node, 'name', '')}" == name:
            return True
        return any(self.is_a(base, name) for base in self.bases(klass))


def read_program(top: Path = TOP, rooms: tuple[str, ...] = ("journal", "steps", "engine")) -> Program:
    """The program as its source is now, without the simulated machine."""
    files = (path for room in rooms for path in sorted((top / room).rglob("*.py")))
    modules = [read_module(path, top) for path in files if SIMULATED not in path.parents]
    program = Program({module.name: module for module in modules})
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call):
                known = program.of(Place(module, node.func))
                if known is not None:
                    program.calls[known.node].append(Place(module, node))
    return program

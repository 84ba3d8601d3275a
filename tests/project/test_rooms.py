"""The rooms of the house: arrows run down only, and no module grows beyond what one can hold."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
MODULES = sorted(path for room in ("engine", "steps", "journal") for path in (TOP / room).rglob("*.py"))
ALLOWED = {"engine": {"engine", "steps", "journal"}, "steps": {"steps", "journal"}, "journal": {"journal"}}
# What steps may know of the journal: the errors that everybody raises.
OF_THE_JOURNAL = {"journal.errors"}


def imports(path: Path) -> Iterator[str]:
    """The modules of ours that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        yield from (name for name in names if name.partition(".")[0] in ALLOWED)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(TOP)))
def test_a_module_imports_only_what_is_below_it(path: Path) -> None:
    room = path.relative_to(TOP).parts[0]
    for name in imports(path):
        assert name.partition(".")[0] in ALLOWED[room], f"{path} imports {name}"
        if room == "steps" and name.startswith("journal"):
            assert name in OF_THE_JOURNAL, f"{path} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(TOP)))
def test_every_module_and_everything_public_in_it_is_explained(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if path.name != "__init__.py" or tree.body:
        assert ast.get_docstring(tree), path
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path}: {node.name}"

"""The lab's modules, which lie under scripts/ and not in the installed packages."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType


def module(name: str) -> ModuleType:
    """One module of scripts/labkit."""
    scripts = str(Path(__file__).resolve().parents[2] / "scripts")
    if scripts not in sys.path:
        sys.path.append(scripts)
    return importlib.import_module(f"labkit.{name}")

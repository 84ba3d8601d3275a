"""The build backend of pyproject.toml: setuptools, which finds the manual pages and the completion made before it.

A source archive carries what makes them, not them. They are data of the wheel (`[tool.setuptools.data-files]`), so they
land in PREFIX/share, where `man` and the shells look. See PEP 517 (in-tree backends) and PEP 660.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from setuptools import build_meta

from engine.documents.__main__ import write

if TYPE_CHECKING:
    from typing import Any

# Where data-files looks; the build runs in the directory of pyproject.toml.
PLACE = Path("build/documents")

get_requires_for_build_editable = build_meta.get_requires_for_build_editable
get_requires_for_build_sdist = build_meta.get_requires_for_build_sdist
get_requires_for_build_wheel = build_meta.get_requires_for_build_wheel
prepare_metadata_for_build_editable = build_meta.prepare_metadata_for_build_editable
prepare_metadata_for_build_wheel = build_meta.prepare_metadata_for_build_wheel
build_editable = build_meta.build_editable
build_sdist = build_meta.build_sdist


def build_wheel(
    wheel_directory: str, config_settings: dict[str, Any] | None = None, metadata_directory: str | None = None
) -> str:
    """A wheel."""
    write(PLACE)
    return str(build_meta.build_wheel(wheel_directory, config_settings, metadata_directory))

"""The wheel that is built of a source archive carries the documents."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from engine.documents import documents

TOP = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def pip(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run pip of this environment."""
    argv = (sys.executable, "-m", "pip", "--disable-pip-version-check", *words)
    return subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel made of a source archive, as pipx and `uv tool` make one; skips without a package index."""
    scratch = tmp_path_factory.mktemp("build")
    if pip("download", "--quiet", "--no-deps", "--dest", scratch / "tools", "setuptools").returncode != 0:
        pytest.skip("no package index can be reached: the build needs setuptools from one")
    source = scratch / "source"
    for name in ("engine", "steps", "journal"):
        shutil.copytree(TOP / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(TOP / name, source)
    call = "from engine.documents.backend import build_sdist; build_sdist('dist')"
    done = subprocess.run((sys.executable, "-c", call), cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (archive,) = (source / "dist").glob("*.tar.gz")
    fetched = ("--no-index", "--find-links", scratch / "tools")  # the index is asked once
    done = pip("wheel", "--quiet", "--no-deps", *fetched, "--wheel-dir", scratch / "wheels", archive)
    assert done.returncode == 0, done.stderr
    (made,) = (scratch / "wheels").glob("*.whl")
    return made


def test_the_wheel_puts_the_documents_where_man_and_the_shells_look(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        found = {name.partition(".data/data/")[2] for name in archive.namelist() if ".data/data/" in name}
    assert found == set(documents(""))


def test_the_wheel_carries_what_the_program_reads_beside_its_modules(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for path in (*(TOP / "engine").rglob("*.json"), *(TOP / "engine").rglob("*.toml"), *(TOP / "engine").rglob("*.py")):
        assert str(path.relative_to(TOP)) in names

"""The lab takes its packages from where this machine takes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab_unit.labkit import module

mirror = module("mirror")
base = module("base")

DEB822 = """\
# a comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: trixie trixie-updates
Components: main

Types: deb
URIs: http://mirror.example/debian-security
Suites: trixie-security
Components: main

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: sid
"""


def apt(directory: Path, **files: str) -> Path:
    (directory / "sources.list.d").mkdir()
    for name, text in files.items():
        target = directory / "sources.list" if name == "main" else directory / "sources.list.d" / name.replace("_", ".")
        target.write_text(text)
    return directory


def test_deb822_sources_give_archive_updates_and_security(tmp_path: Path) -> None:
    assert mirror.sources_lines("bookworm", apt(tmp_path, debian_sources=DEB822)) == [
        "deb http://mirror.example/debian bookworm main",
        "deb http://mirror.example/debian bookworm-updates main",
        "deb http://mirror.example/debian-security bookworm-security main",
    ]


def test_one_line_sources_with_options_are_understood(tmp_path: Path) -> None:
    text = "# deb http://no.example/debian x\ndeb [signed-by=/k arch=amd64] http://yes.example/debian/ x main\n"
    assert mirror.configured_uris(apt(tmp_path, main=text)) == ["http://yes.example/debian/"]


def test_other_archives_and_files_that_apt_ignores_are_passed_over(tmp_path: Path) -> None:
    files = {"other_list": "deb https://packages.example/cloud x main\n", "debian_sources_off": DEB822}
    with pytest.raises(base.LabError, match="VFIOSTATE_LAB_MIRROR"):
        mirror.sources_lines("bookworm", apt(tmp_path, **files))


def test_the_mirror_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VFIOSTATE_LAB_MIRROR", "http://named.example/deb")
    lines = mirror.sources_lines("bookworm", apt(tmp_path))
    assert lines[0] == "deb http://named.example/deb bookworm main"

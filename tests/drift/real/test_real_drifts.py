"""Drift by dpkg, ucf, ln, chown, update-grub, update-initramfs in a Debian root: each named, clean when taken back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.boot.real import root
from tests.boot.real.test_debian_root import CHANGED, REPOSITORY
from tests.drift.real.inside import NAMES

pytestmark = [pytest.mark.real, pytest.mark.skipif(root.missing() is not None, reason=root.missing() or "")]


@pytest.fixture(scope="module")
def told() -> Iterator[dict[str, Any]]:
    """What was seen, once for all tests, in a copy of the cached root beside it (hard links)."""
    cached = root.place()
    copy = cached.with_name(f"{cached.name}.drift-{os.getpid()}")
    shutil.rmtree(copy, ignore_errors=True)
    subprocess.run(("cp", "-al", cached, copy), check=True)
    for name in (*CHANGED, "root"):
        shutil.rmtree(copy / name)
        subprocess.run(("cp", "-a", cached / name, copy / name), check=True)
    try:
        argv = ("unshare", "--mount", sys.executable, "-m", "tests.drift.real.inside", str(copy))
        done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, timeout=900, check=False)
        assert done.returncode == 0, done.stderr.decode(errors="replace")[-4000:]
        yield json.loads(done.stdout)
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def test_what_the_real_tools_made_is_as_the_journal_says(told: dict[str, Any]) -> None:
    code, said = told["before"]
    assert code == 0, said


@pytest.mark.parametrize("name", NAMES)
def test_a_drift_by_real_tools_is_named_and_clean_when_taken_back(told: dict[str, Any], name: str) -> None:
    seen = told[name]
    code, said = seen["audit"]
    assert code == 4 and f"({seen['code']})" in said, said
    code, said = seen["again"]
    assert code == 0, said

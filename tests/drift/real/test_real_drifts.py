"""Drift by dpkg, ucf, ln, chown, update-grub, update-initramfs in a Debian root: each named, clean when taken back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.boot.real import root
from tests.drift.real.inside import NAMES

pytestmark = [pytest.mark.real, pytest.mark.skipif(root.missing() is not None, reason=root.missing() or "")]


@pytest.fixture(scope="module")
def told() -> Any:
    """What was seen, once for all tests."""
    return root.told_by("tests.drift.real.inside", timeout=900)


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

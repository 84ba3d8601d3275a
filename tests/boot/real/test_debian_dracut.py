"""The initramfs part of `stubbed` with real dracut and lsinitrd, in a Debian root whose dracut takes in few modules."""

from __future__ import annotations

from typing import Any

import pytest

from tests.boot.real import root
from tests.boot.real.inside_dracut import WAYS

WHY = root.missing(root.DRACUT)
pytestmark = [pytest.mark.real, pytest.mark.skipif(WHY is not None, reason=WHY or "")]


@pytest.fixture(scope="module")
def told() -> Any:
    """What was seen in both modes, once for all tests."""
    return root.told_by("tests.boot.real.inside_dracut", root.DRACUT)


@pytest.mark.parametrize("way", WAYS)
def test_the_real_image_holds_the_module_its_softdep_and_the_script_after_the_edits_alone(
    told: dict[str, Any], way: str
) -> None:
    seen = told[way]
    assert seen["trouble"] == ["", ""]
    assert seen["commands"] == ["dracut -f --regenerate-all"]
    assert seen["image"].startswith("/boot/initrd.img-")
    assert (seen["module"], seen["softdeps"], seen["script"]) == ([False, True],) * 3
    assert seen["forced"] == ["rd.driver.pre=vfio_pci"]
    assert seen["hook"]


@pytest.mark.parametrize("way", WAYS)
def test_a_second_plan_edits_nothing_and_the_way_back_makes_the_image_of_before(told: dict[str, Any], way: str) -> None:
    assert told[way]["again"] == 0
    assert told[way]["differs"] == []

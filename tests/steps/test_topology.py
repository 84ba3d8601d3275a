"""Functions as a step remembers them: what goes in comes out, and never more than can be kept."""

from __future__ import annotations

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steps import topology
from steps.pci import Listed

GPU = Listed("0000:03:00.0", "10de", "1200", 0x030000, "nouveau", 11)
BARE = Listed("10000:e1:00.0", "8086", "2668", 0x040300, None, None)


def test_what_is_remembered_is_read_back_in_order() -> None:
    assert topology.decode(topology.encode([BARE, GPU])) == (GPU, BARE)


def test_of_thousands_of_functions_ours_and_their_group_are_kept() -> None:
    many = [
        Listed(f"0000:{16 + (n >> 5):02x}:{n & 31:02x}.0", "8086", "154c", 0x020000, None, n + 100) for n in range(3000)
    ]
    sibling = Listed("0000:ff:00.1", "10de", "0e0c", 0x040300, None, 11)
    kept = topology.decode(topology.encode([*many, sibling, GPU], {GPU.address}))
    assert len(kept) == topology.MOST
    assert {GPU, sibling} <= set(kept)


@given(st.text() | st.dictionaries(st.text(), st.text() | st.integers()).map(json.dumps))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_no_step_wrote_is_left_out(text: str) -> None:
    assert topology.decode(text) == ()

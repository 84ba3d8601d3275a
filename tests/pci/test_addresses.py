"""PCI addresses and ids as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal.errors import UsageError
from steps.pci import parse_address, parse_id, slot_of, sort_key

WRONG = [
    "",
    "03:00",
    "03:00.8",
    "3:00.0",
    "03:20.0",
    "003:03:00.0",
    "000000:03:00.0",
    "0000:03:00.0.0",
    "0000-03-00.0",
    "gg:00.0",
    "03:00.0; reboot",
    "../03:00.0",
    "03:00.0\n04:00.0",
    "٠٣:00.0",
]


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("03:00.0", "0000:03:00.0"),
        ("0000:03:00.0", "0000:03:00.0"),
        ("10000:E1:1F.7", "10000:e1:1f.7"),
        (" AB:1f.7 \n", "0000:ab:1f.7"),
    ],
)
def test_an_address_is_completed_and_lower_case(text: str, full: str) -> None:
    assert parse_address(text) == full


@pytest.mark.parametrize("text", WRONG)
def test_a_malformed_address_is_a_usage_error_that_shows_it_and_the_form(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_address(text)
    assert repr(text) in caught.value.message and "DDDD:BB:DD.F" in caught.value.message
    assert "vfiostate devices" in caught.value.hint


@given(st.text())
def test_any_text_is_an_address_or_a_usage_error(text: str) -> None:
    try:
        full = parse_address(text)
    except UsageError:
        return
    assert parse_address(full) == full and full.isascii()


@given(st.integers(0, 0xFFFFF), st.integers(0, 255), st.integers(0, 31), st.integers(0, 7))
def test_every_address_the_kernel_writes_is_taken_as_it_is(domain: int, bus: int, device: int, function: int) -> None:
    address = f"{domain:04x}:{bus:02x}:{device:02x}.{function:x}"
    assert parse_address(address) == address
    assert sort_key(address) == (domain, bus, device, function)
    assert slot_of(address) == address[:-2]


@pytest.mark.parametrize("text", ["10de", "10de:120", "10de:1200:1", "0x10de:0x1200", "10de-1200", ""])
def test_a_malformed_id_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse_id(text)


def test_an_id_is_lower_case() -> None:
    assert parse_id("10DE:1200") == "10de:1200"


def test_a_five_digit_domain_comes_after_the_four_digit_ones() -> None:
    assert sorted(["10000:00:00.0", "ffff:00:00.0", "0000:00:02.0"], key=sort_key) == [
        "0000:00:02.0",
        "ffff:00:00.0",
        "10000:00:00.0",
    ]

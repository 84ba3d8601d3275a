"""What the host needs for itself: the network card of its default route, the graphics cards that stay with it, and the
devices that have a twin which goes.

A boot after which one of them has no driver any more is no success, even if every guest's device is where it should be.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from steps.base import Finding, Host, Severity
from steps.nics import default_interfaces, network_uses
from steps.pci import list_functions, read_function

NETWORK, DISPLAY, TWIN = "network.", "display.", "twin."
ROUTED = "default_route"
_NAMES = {NETWORK: "network card", DISPLAY: "graphics card", TWIN: "device of the same id as a guest's"}


@dataclass(frozen=True, slots=True)
class OwnDevices:
    """The drivers of the host's own devices (address -> driver, None: none any more), and whether there is a default
    route."""

    drivers: Mapping[str, str | None]
    routed: bool


def remembered(host: Host, configured: Collection[str], twins: Collection[str] = ()) -> dict[str, str]:
    """What is to be found again after the reboot: `network.ADDRESS`, `display.ADDRESS` and, of `twins` that stay while
    their likes go, `twin.ADDRESS` -> driver; `default_route` -> the interfaces that had one, whatever carries them."""
    routed = {address for address, uses in network_uses(host).items() if any(use.via for use in uses)}
    found = {ROUTED: " ".join(tops)} if (tops := default_interfaces(host)) else {}
    for function in list_functions(host):
        if function.address in configured or function.driver is None:
            continue
        if function.address in routed:
            found[f"{NETWORK}{function.address}"] = function.driver
        if function.is_display:
            found[f"{DISPLAY}{function.address}"] = function.driver
        elif function.address in twins:
            found[f"{TWIN}{function.address}"] = function.driver
    return found


def read(host: Host, kept: Mapping[str, str]) -> OwnDevices:
    """Look for them again."""
    addresses = dict.fromkeys(key.partition(".")[2] for key in kept if key.startswith(tuple(_NAMES)))
    functions = ((address, read_function(host, address)) for address in addresses)
    drivers = {address: function.driver if function is not None else None for address, function in functions}
    return OwnDevices(drivers, bool(default_interfaces(host)))


def judge(kept: Mapping[str, str], now: OwnDevices) -> Iterator[Finding]:
    """What the host had and has not any more."""
    for key, driver in kept.items():
        use, _, address = key.partition(".")
        if f"{use}." not in _NAMES or now.drivers.get(address) == driver:
            continue
        what = _NAMES[f"{use}."]
        found = now.drivers.get(address) or "no driver"
        yield _refusal(
            f"host-lost-{use}",
            f"The host's own {what} {address} was under {driver} and is under {found} now.",
            (f"{address}: {driver} before, {found} after the reboot",),
            "Does it have the same id as a device of the guest? Take it back: `vfiostate rollback`, reboot, and name "
            "the devices otherwise.",
        )
    # A journal of before ROUTED has only the card.
    if any(key == ROUTED or key.startswith(NETWORK) for key in kept) and not now.routed:
        yield _refusal(
            "host-lost-network",
            "The host had a default route before the reboot and has none now.",
            ("/proc/net/route, /proc/net/ipv6_route: no default route",),
            "If the network is still coming up, wait and run `vfiostate advance` again; if it does not come, "
            "`vfiostate rollback`.",
        )


def _refusal(code: str, message: str, evidence: tuple[str, ...], hint: str) -> Finding:
    return Finding(code, Severity.REFUSAL, message, evidence, hint)

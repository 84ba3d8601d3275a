"""The host's side of passing functions through: their drivers, their IOMMU groups, the nodes in /dev/vfio.

Source: Documentation/driver-api/vfio.rst in the kernel's tree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from steps.base import Finding, Host, Severity
from steps.config import Device
from steps.guest.access import READ, WRITE, Account, allows
from steps.pci import DEVICES, group_members, read_function

VFIO = "/dev/vfio"
CONTAINER = f"{VFIO}/vfio"
DRIVER = "vfio-pci"
VGA = 0x0300


@dataclass(frozen=True, slots=True)
class PassedFact:
    """A function to pass through, as the host has it: None for what is not there. `spoilers` are the members of its
    group that keep it from being used, as (address, driver); `node` whether /dev/vfio/GROUP exists."""

    device: Device
    id: str | None
    driver: str | None
    class_code: int
    group: int | None
    node: bool
    spoilers: tuple[tuple[str, str], ...] = ()

    @property
    def path(self) -> str:
        """The node of its group."""
        return f"{VFIO}/{self.group}"


def look(host: Host, device: Device) -> PassedFact:
    """A function as the host has it."""
    found = read_function(host, device.address)
    if found is None:
        return PassedFact(device, None, None, 0, None, False)
    members = () if found.group is None else group_members(host, found.group)
    others = [other for address in members if (other := read_function(host, address)) is not None]
    spoilers = tuple((other.address, other.driver or "") for other in others if other.spoils_group)
    node = found.group is not None and host.lstat(f"{VFIO}/{found.group}") is not None
    return PassedFact(device, found.id, found.driver, found.class_code, found.group, node, spoilers)


def container_closed(host: Host, account: Account | None) -> bool:
    """Whether the account may not open /dev/vfio/vfio (0666 where udev does as it should)."""
    found = host.lstat(CONTAINER)
    return found is not None and account is not None and not allows(account, found, READ | WRITE)


def findings(fact: PassedFact) -> Iterator[Finding]:
    """What keeps it from being passed through."""
    device = fact.device
    where = f"{DEVICES}/{device.address}"
    if fact.id is None:
        yield _refusal(
            "device-missing",
            f"There is no device at {device.address}.",
            "`vfiostate devices` lists what is there; correct the configuration.",
            where,
        )
        return
    if fact.driver != DRIVER:
        message = f"{device.address} is not under vfio-pci, but under {fact.driver or 'no driver'}."
        hint = "Run `vfiostate rollback --to rebooted`, then `vfiostate advance`."
        yield _refusal("vfio-driver", message, hint, f"{where}/driver")
    if fact.spoilers:
        others = tuple(f"{address} is under {driver}" for address, driver in fact.spoilers)
        message = f"IOMMU group {fact.group} of {device.address} is not viable: some of it is under native drivers."
        yield _refusal("group-not-viable", message, "Add what is listed above to [[devices]], or unbind it.", *others)
    if fact.driver == DRIVER and not fact.node:
        message = f"{fact.path} does not exist, though {device.address} is under vfio-pci."
        yield _refusal(
            "vfio-node",
            message,
            "Is the module vfio loaded, and devtmpfs on /dev? Mend that, then try again.",
            fact.path,
        )
    yield from not_vga(device, fact.class_code)


def not_vga(device: Device, class_code: int) -> Iterator[Finding]:
    """That `x_vga` is set for a function of another class: QEMU does not start with it."""
    if device.x_vga and class_code >> 8 != VGA:
        message = f"`x_vga` is set for {device.address}, which is no VGA card (class {class_code >> 8:04x})."
        where = f"{DEVICES}/{device.address}/class"
        yield _refusal("x-vga", message, "Set `x_vga` for a graphics card only, or leave it out.", where)


def _refusal(code: str, message: str, hint: str, *evidence: str) -> Finding:
    return Finding(code, Severity.REFUSAL, message, evidence, hint)

"""The guest for other tools: as libvirt's domain, as a command for QEMU. Reads only; whichever way `backend` says."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.guests.guest import guest_of
from steps.base import Finding, Host
from steps.config import Config
from steps.guest import capabilities, flash, libvirt_xml, needs, qemu, qemu_command
from steps.guest.base import Order
from steps.guest.capabilities import Capabilities

if TYPE_CHECKING:
    from engine.setup import Setup

Exported = tuple[str, tuple[Finding, ...]]


def as_domain(host: Host, config: Config, setup: Setup | None) -> Exported:
    """The domain's XML, and what stands against it as far as it is told without libvirt: it may run elsewhere."""

    def text(order: Order, found: Capabilities) -> str:
        return libvirt_xml.exported(order, found.binary or order.guest.binary).decode().rstrip("\n")

    return _exported(host, config, setup, text, form_only=True)


def as_command(host: Host, config: Config, setup: Setup | None) -> Exported:
    """The command line for the QEMU installed here, one option a line, and what this QEMU has not of what it needs."""

    def text(order: Order, found: Capabilities) -> str:
        return qemu.shown(qemu_command.exported(order, found))

    return _exported(host, config, setup, text, form_only=False)


def _exported(
    host: Host, config: Config, setup: Setup | None, text: Callable[[Order, Capabilities], str], *, form_only: bool
) -> Exported:
    guest = guest_of(config)
    order = Order(guest, config.devices, "" if setup is None else setup.id, qcow2=flash.qcow2(host, guest))
    found = capabilities.ask(host, order)
    return text(order, found), tuple(needs.form(order)) if form_only else needs.missing(order, found)

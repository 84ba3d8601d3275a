"""The step `rebooted`: nothing to do but to see what the new boot made of it.

Proof that it happened is a new boot id and our token on the kernel's command line; proof that it worked is every device
under a stub driver. Each way it can go wrong has an answer of its own (steps.reboot_checks).
"""

from __future__ import annotations

from dataclasses import dataclass

from steps import boot, cmdline, initramfs, kmod, reboot_checks
from steps.base import Brief, Finding, Host, Plan, State
from steps.boot.base import BootFacts
from steps.initramfs.base import InitramfsFacts
from steps.pci import group_members, list_functions, read_function, read_groups
from steps.reboot_checks import Placed, RebootFacts


@dataclass(frozen=True, slots=True)
class RebootStep:
    """From `stubbed` to `rebooted`."""

    name: str = "rebooted"
    source: State = State.STUBBED
    target: State = State.REBOOTED

    def probe(self, host: Host, brief: Brief) -> RebootFacts:
        """Read what the present boot is; the boot configuration and the initramfs only where they explain something."""
        again = host.boot_id == brief.boot
        devices = tuple(_placed(host, each.address, each.id) for each in brief.config.devices)
        late = any(reboot_checks.is_native(device) for device in devices)
        groups = {each.function.group for each in devices if each.function is not None}
        members = (member for group in groups if group is not None for member in group_members(host, group))
        found = (read_function(host, member) for member in members)
        return RebootFacts(
            boot_id=host.boot_id,
            release=host.release,
            words=cmdline.split(host.read("/proc/cmdline")),
            devices=devices,
            members=tuple(member for member in found if member is not None),
            groups=len(read_groups(host)),
            boot=None if again else _boot(host, brief),
            image=_image(host, brief) if late and not again else None,
        )

    def plan(self, brief: Brief, facts: RebootFacts) -> Plan:
        """No action: the findings say what this boot is and what to do next."""
        findings = reboot_checks.judge(brief, facts)
        notes = tuple(
            f"{each.address} [{each.id}] is under {each.function.driver}"
            for each in facts.devices
            if each.function is not None and reboot_checks.is_stubbed(each)
        )
        return Plan(notes=notes, findings=findings, remember={"boot": facts.boot_id, "release": facts.release})

    def verify(self, brief: Brief, facts: RebootFacts) -> tuple[Finding, ...]:
        """The same question again, on new facts."""
        return reboot_checks.judge(brief, facts)


STEP = RebootStep()


def _placed(host: Host, address: str, ident: str) -> Placed:
    function = read_function(host, address)
    elsewhere: tuple[str, ...] = ()
    if function is None or function.id != ident:
        elsewhere = tuple(each.address for each in list_functions(host) if each.id == ident)
    driver = function.driver if function is not None else None
    module = kmod.module_of_driver(host, driver) if driver is not None else None
    return Placed(address, ident, function, elsewhere, module)


def _boot(host: Host, brief: Brief) -> BootFacts | None:
    found = boot.detect(host, brief.config.boot_loader)
    return None if found.loader is None or found.findings else found.loader.read(host, brief.setup)


def _image(host: Host, brief: Brief) -> InitramfsFacts | None:
    found = initramfs.detect(host, brief.config.initramfs)
    return None if found.generator is None or found.findings else found.generator.read(host, host.release, look=True)

"""A script of ours in an initramfs, run by the real sh before udev; it writes to sysfs in the machine's tree."""

from __future__ import annotations

import shlex
import subprocess

from engine.hosts.simulated import drivers
from engine.hosts.simulated.machine import Machine

CALL = "vfiostate_early /sys /proc\n"
PROBE = "/sys/bus/pci/drivers_probe"


def run(machine: Machine, text: str) -> None:
    """Run it, if it is one of ours; then the kernel does what was written to drivers_probe."""
    if CALL not in text:
        return
    before = {address: drivers.override_of(machine, address) for address in drivers.addresses(machine)}
    roots = " ".join(shlex.quote(str(machine.path(root))) for root in ("/sys", "/proc"))
    script = text.replace(CALL, f"vfiostate_early {roots}\n")
    # No PATH: an image holds what its generator puts there, and the script is to do with a shell's own words.
    clean = {"PATH": "/nonexistent", "LC_ALL": "C"}
    subprocess.run(["/bin/sh"], input=script.encode(), capture_output=True, timeout=30, env=clean, check=False)
    probed = machine.text(PROBE).strip()
    machine.put(PROBE, "", 0o200)
    if not probed:
        return
    for address, override in before.items():
        if drivers.override_of(machine, address) != override:
            drivers.attach_device(machine, address)

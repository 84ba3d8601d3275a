"""The keyboards of the simulated machine, as /proc/bus/input/devices names them while their controllers work.

Source: input_seq_print_bitmap and input_devices_seq_show in drivers/input/input.c; the bits are those of a keyboard
with 104 keys, seen on a real one.
"""

from __future__ import annotations

from engine.hosts.simulated import sysfs
from engine.hosts.simulated.machine import STUBS, Machine

DEVICES = "/sys/bus/pci/devices"
KEYS = "1000000000007 ff9f207ac14057ff febeffdfffefffff fffffffffffffffe"


def show(machine: Machine) -> None:
    """Write the list: a keyboard is there while the native driver has its controller."""
    blocks = []
    for n, one in enumerate(machine.description.keyboards):
        if one.function is not None and _driver(machine, one.function) in (None, *STUBS):
            continue
        above = "/devices/platform/i8042/serio0"
        if one.function is not None:
            base = sysfs.device_path(machine.description, one.function).removeprefix("/sys")
            above = f"{base}/usb1/1-{n + 1}/1-{n + 1}:1.0/0003:046D:C31C.0001"
        blocks.append(
            f"I: Bus={'0003' if one.function else '0011'} Vendor=0001 Product=0001 Version=0110\n"
            f'N: Name="{one.name}"\nP: Phys=\nS: Sysfs={above}/input/input{n + 3}\nU: Uniq=\n'
            f"H: Handlers=sysrq kbd event{n + 3} leds \nB: PROP=0\nB: EV=120013\nB: KEY={KEYS}\nB: MSC=10\nB: LED=7\n\n"
        )
    machine.put("/proc/bus/input/devices", "".join(blocks), 0o444)


def _driver(machine: Machine, address: str) -> str | None:
    try:
        return machine.tree.readlink(f"{DEVICES}/{address}/driver").rpartition("/")[2]
    except OSError:
        return None

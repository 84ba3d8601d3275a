"""The script that takes devices by their addresses in the initramfs: those with a twin that stays with the host.

An id on the command line takes every device that has it. So the script writes driver_override (sysfs-bus-pci, kernels
from 3.16 on) before udev loads drivers: no driver but the stub matches such a device from then on. It is sourced by
some generators and run by others, with nothing but a shell's own words at hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import indent

from steps import cmdline, twins
from steps.config import Device, Stub
from steps.pci import parse_address, parse_id

# What runs it: the roots of sysfs and proc.
CALL = b"vfiostate_early /sys /proc\n"


def script(setup: str, stub: Stub, devices: Sequence[Device], subsystems: Mapping[str, str] = {}) -> bytes:
    """The function; it does nothing in a boot without the setup's token, and nothing to a device that is another one,
    by its id or, where `subsystems` has its address, by its subsystem.

    Raises UsageError for a device that is no address or id: nothing else may stand in a script run by root.
    """
    named = " ".join(f"{parse_address(device.address)}={parse_id(device.id)}" for device in devices)
    check = indent(twins.check(subsystems, 'say "$1"'), "    ")
    text = _SCRIPT.replace("@CHECK@", check).replace("@TOKEN@", f"{cmdline.SETUP}={setup}").replace("@SETUP@", setup)
    return text.replace("@STUB@", stub.value).replace("@DEVICES@", named).encode()


_SCRIPT = """\
# Reserves PCI functions for @STUB@ by their addresses, before udev loads drivers.
# Made by vfiostate, setup @SETUP@; `vfiostate rollback` removes it.

# vfiostate_early SYSFS PROC: in a shell of its own, so that nothing of it is left in the one that sources this.
vfiostate_early() (
    pci=$1/bus/pci
    words=
    read -r words <"$2/cmdline" || [ -n "$words" ] || exit 0
    case " $words " in
    *" @TOKEN@ "*) ;;
    *) exit 0 ;;
    esac
    say() {
        if [ "$1" = /sys ] && [ -w /dev/kmsg ]; then
            echo "<4>vfiostate: $2" >/dev/kmsg
        fi
    }
    for device in @DEVICES@; do
        address=${device%%=*}
        id=${device#*=}
        place=$pci/devices/$address
        vendor=
        product=
        if [ -e "$place/driver_override" ]; then
            read -r vendor <"$place/vendor"
            read -r product <"$place/device"
        fi
        if [ "${vendor#0x}:${product#0x}" != "$id" ]; then
            say "$1" "$address is ${vendor#0x}:${product#0x}, expected $id: left alone"
            continue
        fi
@CHECK@        # A driver that is built in has it already: it is unbound later.
        if [ -e "$place/driver" ]; then
            say "$1" "$address has a driver already: left alone"
            continue
        fi
        echo @STUB@ >"$place/driver_override"
        # One that is built in is not offered the device again by itself.
        if [ -d "$pci/drivers/@STUB@" ]; then
            echo "$address" >"$pci/drivers_probe"
        fi
    done
    exit 0
)
"""

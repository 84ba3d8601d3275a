"""The texts of what binds the devices again at every boot: a POSIX script, and the systemd unit that runs it.

Sources: systemd.unit(5), systemd.service(5), systemd.exec(5), udevadm(8); sysfs-bus-pci for what the script writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from steps import twins
from steps.config import Device
from steps.pci import parse_address, parse_id

SCRIPT = "/usr/local/sbin/vfiostate-bind"
SETTLE = 30  # seconds that udev may need for its events, where a device is not there yet


def script(setup: str, devices: Sequence[Device], patience: float, subsystems: Mapping[str, str] = {}) -> bytes:
    """The script. It checks address, id and, where `subsystems` has the address, the subsystem before it touches
    anything, says what is wrong, and never fails the boot.

    Raises UsageError for a device that is no address or id: nothing else may stand in a script run by root.
    """
    lines = "\n".join(f"{parse_address(device.address)}={parse_id(device.id)}" for device in devices)
    check = twins.check(subsystems, "say")
    place = "    place=$pci/devices/$address\n" if check else ""
    text = (
        _SCRIPT.replace("@CHECK@", place + check)
        .replace("@SETUP@", setup)
        .replace("@DEVICES@", lines)
        .replace("@SETTLE@", str(SETTLE))
    )
    return text.replace("@PATIENCE@", str(max(1, round(patience)))).encode()


def unit(setup: str, count: int, patience: float) -> bytes:
    """The unit; it gives up where the script, which waits `patience` seconds for each write, should long have ended."""
    seconds = round(60 + SETTLE + 3 * count * max(1.0, patience))
    return _UNIT.replace("@SETUP@", setup).replace("@SECONDS@", str(seconds)).encode()


_UNIT = """\
# Made by vfiostate, setup @SETUP@; `vfiostate rollback` removes it.
[Unit]
Description=Give PCI functions to vfio-pci (vfiostate)
ConditionPathIsDirectory=/sys/bus/pci
After=systemd-modules-load.service sysfsutils.service
Before=display-manager.service libvirtd.service virtqemud.service libvirt-guests.service pve-guests.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/vfiostate-bind
TimeoutStartSec=@SECONDS@
# It writes to /sys, and to /dev/kmsg what is wrong; it may load vfio-pci.
CapabilityBoundingSet=CAP_SYS_MODULE
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateNetwork=yes
RestrictAddressFamilies=AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
ProtectControlGroups=yes
ProtectHostname=yes
IPAddressDeny=any
SystemCallArchitectures=native
# What is denied: a systemd before 231 knows no such sets, and would take a list of what is allowed for an empty one.
SystemCallFilter=~@clock @cpu-emulation @debug @mount @obsolete @raw-io @reboot @resources @swap
SystemCallErrorNumber=EPERM
KeyringMode=private
UMask=0077

[Install]
WantedBy=multi-user.target
"""

_SCRIPT = r"""#!/bin/sh
# Gives PCI functions to vfio-pci at boot. Usage: vfiostate-bind [SYSFS]
# Made by vfiostate, setup @SETUP@; `vfiostate rollback` removes it.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
sysfs=${1:-/sys}
pci=$sysfs/bus/pci
patience=@PATIENCE@
devices='
@DEVICES@
'

say() {
    echo "vfiostate-bind: $*" >&2
    if [ "$sysfs" = /sys ] && [ -w /dev/kmsg ]; then
        echo "<4>vfiostate-bind: $*" >/dev/kmsg
    fi
}

# put VALUE FILE: a write to sysfs may hang for ever when the device is in use, so a child does it. The child has
# none of our files open: whoever waits for our output does not wait for it.
put() {
    (echo "$1" >"$2") </dev/null >/dev/null 2>&1 &
    child=$!
    tenths=0
    while kill -0 "$child" 2>/dev/null; do
        if [ "$tenths" -ge "$((patience * 10))" ]; then
            say "writing $1 to $2 hangs"
            return 1
        fi
        if sleep 0.1 2>/dev/null; then
            tenths=$((tenths + 1))
        else
            sleep 1
            tenths=$((tenths + 10))
        fi
    done
    wait "$child"
}

driver_of() {
    link=$(readlink "$pci/devices/$1/driver") && echo "${link##*/}"
}

missing() {
    for device in $devices; do
        [ -d "$pci/devices/${device%%=*}" ] || return 0
    done
    return 1
}

# A virtual function is made by a rule, while udev is still at work; where everything is there nothing is waited for.
if [ "$sysfs" = /sys ] && missing && command -v udevadm >/dev/null; then
    udevadm settle --timeout=@SETTLE@ || say 'udev is not done with its events after @SETTLE@ s'
fi

todo=
for device in $devices; do
    address=${device%%=*}
    id=${device#*=}
    vendor=
    product=
    if [ ! -d "$pci/devices/$address" ]; then
        say "$address is not there, expected $id: left alone"
        continue
    fi
    read -r vendor <"$pci/devices/$address/vendor"
    read -r product <"$pci/devices/$address/device"
    if [ "${vendor#0x}:${product#0x}" != "$id" ]; then
        say "$address is ${vendor#0x}:${product#0x}, expected $id: left alone"
        continue
    fi
@CHECK@    if [ "$(driver_of "$address")" != vfio-pci ]; then
        todo="$todo $device"
    fi
done
[ -n "$todo" ] || exit 0

if [ ! -d "$pci/drivers/vfio-pci" ]; then
    modprobe vfio-pci || say 'vfio-pci cannot be loaded'
fi

# All are unbound before any is bound: a group is given to vfio-pci as a whole.
free=
for device in $todo; do
    address=${device%%=*}
    driver=$(driver_of "$address")
    if [ -z "$driver" ] || put "$address" "$pci/drivers/$driver/unbind"; then
        free="$free $device"
    else
        # Its lock may be held by what hangs: every further write to it would hang too.
        say "$driver does not let go of $address"
    fi
done

for device in $free; do
    address=${device%%=*}
    id=${device#*=}
    if [ -e "$pci/devices/$address/driver_override" ]; then
        put vfio-pci "$pci/devices/$address/driver_override" && put "$address" "$pci/drivers_probe"
    else
        # Before 3.16; an id that is known already is no failure.
        put "${id%%:*} ${id#*:}" "$pci/drivers/vfio-pci/new_id"
        [ "$(driver_of "$address")" = vfio-pci ] || put "$address" "$pci/drivers/vfio-pci/bind"
    fi
    [ "$(driver_of "$address")" = vfio-pci ] || say "vfio-pci did not take $address"
done
exit 0
"""

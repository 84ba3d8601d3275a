"""The way back without a running system: a machine that does not boot any more, and what gets it back.

A machine is made unbootable on purpose at `stubbed`: by a bad word that lay unused in /etc/default/grub and came into
force with ours (`pending`), or by one that somebody put on top by hand, in grub.cfg or in both. It does not come up.
Then its disk is attached to a rescue machine, or its own initramfs' shell is all there is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from . import compare, observe
from .base import LabError, limit
from .bench import Bench, try_each
from .channel import Ran
from .console import Console
from .lab import DEVICES
from .machine import Machine
from .prepared import vfiostate
from .report import Report
from .scenario import LEFT_BEHIND, REBOOT_FIRST, told

NOWHERE = "root=UUID=00000000-dead-dead-dead-000000000000"
# Words of the kernel command line go on top: the last root= counts (initramfs-tools' init reads them in order).
PENDING = f"""sed -i 's|^GRUB_CMDLINE_LINUX_DEFAULT="quiet|& {NOWHERE}|' /etc/default/grub
grep -q dead-dead /etc/default/grub && sync"""
BY_HAND = f"""sed -i '/^[[:space:]]*linux[[:space:]]/s|$| {NOWHERE}|' /boot/grub/grub.cfg
grep -q dead-dead /boot/grub/grub.cfg && sync"""
EDITED_TOO = f"""sed -i 's|^GRUB_CMDLINE_LINUX_DEFAULT="quiet |&{NOWHERE} |' /etc/default/grub
grep -q dead-dead /etc/default/grub && sync"""

MOUNT = "mount /dev/sda1 /mnt"
MOUNT_CHROOT = "for dir in dev proc sys; do mount --rbind /$dir /mnt/$dir; mount --make-rslave /mnt/$dir; done"
# A PATH with nothing but busybox in it, as in a rescue shell without Python.
BUSYBOX = """mkdir -p /run/bare && ln -sf /usr/bin/busybox /run/bare/ && cd /run/bare &&
for name in $(./busybox --list); do ln -sf busybox $name; done"""


@dataclass
class Broken:
    """A machine that does not boot: its disk as it was then, and what it was before the first `advance`."""

    disk: Path
    before: observe.Sight


def main_job(*, output: Path | None = None, keep: bool = False, only: str = "") -> int:
    """All cases; prints the table; 0 if every check held."""
    cases = {name: partial(case, breaking=breaking, way=way, after=after) for name, breaking, way, after in CASES}
    return try_each("rescue", cases, output=output, keep=keep, only=only)


Breaking = Callable[[Bench], Broken]
Way = Callable[[Bench, Machine], None]


def case(
    bench: Bench, name: str, breaking: Breaking, way: Way, after: Callable[[Bench, Machine, Broken], None]
) -> None:
    """One broken machine, one way back, and what the machine is then."""
    broken = breaking(bench)
    machine = bench.machine(name, broken.disk)
    with machine:
        with bench.report.phase(f"{name}: the way back"):
            way(bench, machine)
        with bench.report.phase(f"{name}: boot"):
            machine.start()
            words = observe.cmdline(machine.agent)
            bench.report.check("it boots", True, machine.boots[-1])
            bench.report.equal("on its old command line", words, broken.before.cmdline)
        after(bench, machine, broken)
        with bench.report.phase(f"{name}: as before?"):
            as_before(bench.report, machine, broken.before)


def break_pending(bench: Bench) -> Broken:
    """Our update-grub made a bad word effective that the user had left in /etc/default/grub."""
    return once(bench, "pending", PENDING, "")


def break_by_hand(bench: Bench) -> Broken:
    """Somebody edited grub.cfg itself after `stubbed`."""
    return once(bench, "by-hand", "", BY_HAND)


def break_both(bench: Bench) -> Broken:
    """Somebody edited /etc/default/grub and grub.cfg after `stubbed`."""
    return once(bench, "both", "", f"{BY_HAND}\n{EDITED_TOO}")


def once(bench: Bench, name: str, first: str, then: str) -> Broken:
    """Breaks a machine in this way, the first time it is asked for; shows that it does not come up."""
    directory = bench.work / f"broken-{name}"
    before = bench.prepared.before
    if not directory.exists():
        machine = bench.machine(directory.name, bench.prepared.disk)
        with machine, bench.report.phase(f"a machine that does not boot ({name})"):
            machine.start()
            if first:
                machine.agent.sh(first)
                (directory / "grub").write_bytes(machine.agent.read("/etc/default/grub"))
            done = vfiostate(machine, "advance", "--until", "stubbed", *bench.no_trial)
            bench.report.check("advance --until stubbed", done.rc == 0, told(done))
            if then:
                machine.agent.sh(then)
            machine.power_off()
            shows_dead(bench.report, machine)
    if first:
        before = with_file(before, "/etc/default/grub", (directory / "grub").read_bytes())
    return Broken(directory / "disk.qcow2", before)


def with_file(sight: observe.Sight, path: str, content: bytes) -> observe.Sight:
    """What was seen, with another content of one file."""
    import hashlib

    entry = {**sight.files[path], "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return observe.Sight(sight.cmdline, sight.functions, {**sight.files, path: entry})


def shows_dead(report: Report, machine: Machine) -> None:
    """Boots the machine and sees where it stops; its initramfs' shell is at the console then. Cuts the power."""
    console = boot_to_shell(machine)
    said = console.said()
    try:
        machine.agent.wait(2)
        up = True
    except LabError:
        up = False
    report.check("it does not come up: no root file system, the initramfs' shell", not up, said[-200:].strip())
    machine.cut_power()


def boot_to_shell(machine: Machine) -> Console:
    """Boots a machine whose root file system is nowhere; returns its console when the shell is there."""
    machine.power_on()
    deadline = time.monotonic() + 30
    while not (machine.directory / "console.sock").exists():
        if time.monotonic() > deadline:
            raise LabError(f"QEMU does not start\n{machine.last_words()}")
        time.sleep(0.1)
    console = Console(machine)
    console.wait(r"does not exist\.", limit("first boot"))  # it waits half a minute for the disk first
    console.wait(r"\(initramfs\)", limit("command"))
    return console


# --- the ways back


def rescue(bench: Bench, patient: Machine, script: Callable[[Machine], list[Ran]]) -> None:
    """Attaches the disk to a rescue machine, as a person would by a USB adapter, runs there, detaches it."""
    with bench.machine(f"rescue-of-{patient.directory.name}", bench.prepared.disk) as machine:
        machine.start()
        qmp = machine.qmp()
        file = {"driver": "file", "filename": str(patient.disk.resolve())}
        qmp.command("blockdev-add", **{"driver": "qcow2", "node-name": "patient", "file": file})
        qmp.command("device_add", driver="usb-storage", id="patient-usb", drive="patient", bus="usb-bus.0")
        machine.agent.sh("for i in $(seq 120); do [ -e /dev/sda1 ] && exit; sleep 0.5; done; dmesg | tail; exit 1")
        machine.agent.sh(MOUNT)
        for ran in script(machine):
            bench.report.check(" ".join(ran.argv[:6]), ran.rc in (0, REBOOT_FIRST), told(ran))
        machine.agent.sh("umount -R /mnt && sync")
        qmp.close()
        machine.power_off()


def by_root_option(bench: Bench, patient: Machine) -> None:
    """`vfiostate --root /mnt rollback`, of the rescue system's own vfiostate."""

    def script(machine: Machine) -> list[Ran]:
        said = vfiostate(machine, "--root", "/mnt", "status")
        verify = vfiostate(machine, "--root", "/mnt", "journal", "verify")
        return [said, verify, vfiostate(machine, "--root", "/mnt", "rollback")]

    rescue(bench, patient, script)


def by_chroot(bench: Bench, patient: Machine) -> None:
    """`chroot /mnt vfiostate rollback`, with /dev, /proc and /sys mounted in it."""

    def script(machine: Machine) -> list[Ran]:
        machine.agent.sh(MOUNT_CHROOT)
        ran = machine.agent.run(["chroot", "/mnt", "vfiostate", "rollback"], timeout=limit("advance"))
        return [ran]

    rescue(bench, patient, script)


def by_bare_script(bench: Bench, patient: Machine) -> None:
    """`sh /mnt/var/lib/vfiostate/restore.sh` with busybox alone on the PATH."""

    def script(machine: Machine) -> list[Ran]:
        machine.agent.sh(BUSYBOX)
        argv = ["env", "-i", "PATH=/run/bare", "/run/bare/sh", "/mnt/var/lib/vfiostate/restore.sh"]
        return [machine.agent.run(argv, timeout=limit("command"))]

    rescue(bench, patient, script)


def by_own_shell(bench: Bench, patient: Machine) -> None:
    """restore.sh in the shell where the machine itself stopped: its own initramfs, no rescue disk at all."""
    console = boot_to_shell(patient)
    for line in ("mkdir -p /root", "mount -t ext4 /dev/vda1 /root", "! command -v python3"):
        status, said = console.command(line, limit("command"))
        bench.report.check(line, status == 0, "" if status == 0 else said)
    status, said = console.command("sh /root/var/lib/vfiostate/restore.sh", limit("command"))
    bench.report.check("sh /root/var/lib/vfiostate/restore.sh", status == 0, said[-1500:] if status else "")
    status, said = console.command("umount /root", limit("command"))
    bench.report.check("umount /root", status == 0, said if status else "")
    patient.cut_power()


# --- what comes then


def finish_after_rollback(bench: Bench, machine: Machine, _broken: Broken) -> None:
    """The rollback was carried out from outside: it is finished here."""
    with bench.report.phase("… rollback, to finish it"):
        done = vfiostate(machine, "rollback")
        bench.report.check("rollback is finished", done.rc == 0 and "state: new" in done.stdout, told(done))


def finish_after_script(bench: Bench, machine: Machine, _broken: Broken) -> None:
    """restore.sh knows nothing of the journal: what vfiostate says of that, and the rollback that settles it."""
    with bench.report.phase("… what vfiostate says then"):
        status = vfiostate(machine, "status")
        bench.report.check("status sees what restore.sh did", "drift" in status.stdout.lower(), status.stdout.strip())
        advance = vfiostate(machine, "advance")
        bench.report.check("advance does not go on", advance.rc not in (0, 1), told(advance))
        done = vfiostate(machine, "rollback")
        bench.report.check("rollback settles it", done.rc == 0 and "state: new" in done.stdout, told(done))
        machine.agent.sh("rm -rf /var/lib/vfiostate/replaced")


def as_before(report: Report, machine: Machine, before: observe.Sight) -> None:
    """Every file, every PCI function, the journal."""
    after = observe.look(machine.agent)
    changed = compare.differences(before.files, after.files)
    report.check(
        "every file: content, mode, owner", not changed, "\n".join(changed[:30]) or f"{len(after.files)} paths"
    )
    moved = [
        f"{address}: {before.functions.get(address)} -> {one}"
        for address, one in after.functions.items()
        if one != before.functions.get(address)
    ]
    report.check("drivers and driver_override of all PCI functions", not moved, "\n".join(moved) or len(DEVICES))
    verify = vfiostate(machine, "journal", "verify")
    report.check("journal verify", verify.rc == 0, told(verify))
    report.equal("nothing of ours is left running or installed", machine.agent.sh(LEFT_BEHIND).split(), [])


CASES: tuple[tuple[str, Breaking, Way, Callable[[Bench, Machine, Broken], None]], ...] = (
    ("1. --root rollback", break_pending, by_root_option, finish_after_rollback),
    ("2. rollback in a chroot", break_pending, by_chroot, finish_after_rollback),
    ("3. --root rollback, grub.cfg edited", break_by_hand, by_root_option, finish_after_rollback),
    ("4. rollback in a chroot, grub.cfg edited", break_by_hand, by_chroot, finish_after_rollback),
    ("5. restore.sh in the initramfs' own shell", break_both, by_own_shell, finish_after_script),
    ("6. restore.sh in a rescue system, busybox alone", break_pending, by_bare_script, finish_after_script),
)

"""Drift on a real machine: each produced with the real tools, named by `audit`, taken back, and clean again.

Nothing is asked of the program but its command line. The table at the end has a row for each drift.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import prepared
from .base import REPOSITORY, LabError, limit, say
from .bench import Bench
from .channel import Ran
from .lab import STATES
from .machine import Machine
from .prepared import vfiostate
from .report import Report
from .scenario import REBOOT_FIRST, told, told_state

DRIFTED = 4
GRUB = "/etc/default/grub"
CONF = "/etc/modprobe.d/00-vfiostate.conf"
UNIT = "vfiostate-bind.service"
OVERRIDE = "/sys/bus/pci/devices/0000:01:00.0/driver_override"
NEWER = "6.1.0-999-amd64"
SAVE = f"cp -a {GRUB} /root/grub.kept"
BACK = f"cp -a /root/grub.kept {GRUB}.back && mv {GRUB}.back {GRUB}"
# A package with a conffile that is ours: dpkg moves its own over it, as an upgrade with --force-confnew does.
PACKAGE = f"""{SAVE} && mkdir -p /root/theirs/DEBIAN /root/theirs/etc/default
printf 'GRUB_DEFAULT=0\\nGRUB_TIMEOUT=5\\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\\n' >/root/theirs{GRUB}
printf 'Package: theirs\\nVersion: 1\\nArchitecture: all\\nMaintainer: nobody\\nDescription: x\\n' \
    >/root/theirs/DEBIAN/control
echo {GRUB} >/root/theirs/DEBIAN/conffiles
dpkg-deb --build /root/theirs /root/theirs.deb && dpkg --force-confnew --force-overwrite -i /root/theirs.deb"""
# As ucf does for the conffile of a package that is not dpkg's own: a new file beside it, moved over it.
UCF = f"""{SAVE} && printf 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\\n' >/root/theirs.cfg
if command -v ucf >/dev/null; then UCF_FORCE_CONFFNEW=1 ucf --debconf-ok /root/theirs.cfg {GRUB}
else cp /root/theirs.cfg {GRUB}.ucf-new && mv {GRUB}.ucf-new {GRUB}; fi"""
# A second kernel: the installed one under a higher name, with its modules and its initramfs.
KERNEL = f"""now=$(uname -r) && cp -al /lib/modules/$now /lib/modules/{NEWER}
for name in vmlinuz config initrd.img; do cp -a /boot/$name-$now /boot/$name-{NEWER}; done
update-grub"""
NO_KERNEL = f"rm -rf /lib/modules/{NEWER} /boot/*-{NEWER} && update-grub"
# Rebuilt while our files are away, which then are back as they were.
WITHOUT_US = f"""cp -a /boot/initrd.img-$(uname -r) /root/ && mv {CONF} /root/conf.away
cp -a /etc/initramfs-tools/modules /root/modules.away && : >/etc/initramfs-tools/modules
update-initramfs -u -k $(uname -r) && mv /root/conf.away {CONF}
cp -a /root/modules.away /etc/initramfs-tools/modules"""
WITH_US = "cp -a /root/initrd.img-$(uname -r) /boot/"
# The command that vfiostate itself shows, typed in: its standard input is a listening socket, as launch(8) gives it.
BY_HAND = r"""cat >/root/by-hand.py <<'END'
import shlex, socket, subprocess, sys
text = subprocess.run(["vfiostate", "guest", "command"], capture_output=True, text=True, check=True).stdout
listening = socket.socket(socket.AF_UNIX)
listening.bind("\0by-hand")
listening.listen()
log = open("/root/by-hand.log", "wb")
argv = shlex.split(text.replace("\\\n", " "))
child = subprocess.Popen(argv, stdin=listening, stdout=log, stderr=log, start_new_session=True)
print(child.pid)
END
python3 /root/by-hand.py >/root/by-hand.pid
for i in $(seq 60); do ls -l /proc/$(cat /root/by-hand.pid)/fd | grep -q '/dev/vfio/[0-9]' && exit 0; sleep 1; done
cat /root/by-hand.log; exit 1"""
NOT_BY_HAND = "kill $(cat /root/by-hand.pid); while kill -0 $(cat /root/by-hand.pid) 2>/dev/null; do sleep 0.2; done"
STOPPED = """kill -9 $(cut -d' ' -f1 /run/vfiostate/guest.pid)
while kill -0 $(cut -d' ' -f1 /run/vfiostate/guest.pid) 2>/dev/null; do sleep 0.2; done"""


@dataclass(frozen=True)
class Drift:
    """A drift: how it is produced and taken back in the machine (shell), and by which code `audit` must name it."""

    name: str
    how: str
    produce: str
    back: str
    code: str
    nominal: str = "command"


@dataclass
class Rows:
    """The rows of the table at the end."""

    rows: list[tuple[str, str, str, int]] = field(default_factory=list)

    def table(self) -> str:
        """As aligned text: drift, how it was produced, by which code it was named, exit code."""
        head = ("drift", "produced by", "audit names it", "exit")
        cells = [head, *((name, how, code, str(number)) for name, how, code, number in self.rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(3)]
        return "\n".join(
            "  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3])) for row in cells
        )


RUNNING = [
    Drift(
        "a guest stopped by hand",
        "kill -9",
        STOPPED,
        "vfiostate advance",
        "guest-stopped",
        "advance",
    ),
    Drift(
        "the file edited",
        "sed",
        f"{SAVE} && sed -i 's/^GRUB_TIMEOUT=.*/GRUB_TIMEOUT=9/' {GRUB} && echo '# mine' >>{GRUB}",
        BACK,
        "file-edited",
    ),
    Drift("replaced by a package", "dpkg -i --force-confnew", PACKAGE, f"dpkg --purge theirs; {BACK}", "file-replaced"),
    Drift("replaced through ucf", "ucf, or mv as it does", UCF, BACK, "file-replaced"),
    Drift(
        "turned into a symlink",
        "mv, ln -s",
        f"mv {GRUB} {GRUB}.theirs && ln -s grub.theirs {GRUB}",
        f"mv {GRUB}.theirs {GRUB}",
        "file-symlink",
    ),
    Drift("another owner", "chown", f"chown daemon:adm {GRUB}", f"chown root:root {GRUB}", "file-attributes"),
    Drift("another mode", "chmod", f"chmod 600 {GRUB}", f"chmod 644 {GRUB}", "file-attributes"),
    Drift("removed", "rm", f"mv {CONF} /root/", f"mv /root/00-vfiostate.conf {CONF}", "file-gone"),
    Drift(
        "a drop-in that overrides us",
        "grub.d/99-theirs.cfg, update-grub",
        "echo 'GRUB_CMDLINE_LINUX_DEFAULT=\"quiet splash\"' >/etc/default/grub.d/99-theirs.cfg && update-grub",
        "rm /etc/default/grub.d/99-theirs.cfg && update-grub",
        "command-line-overridden",
        "initramfs",
    ),
    Drift("a new kernel", "a second vmlinuz, update-grub", KERNEL, NO_KERNEL, "new-kernel", "initramfs"),
    Drift(
        "an initramfs rebuilt without us",
        "update-initramfs -u",
        WITHOUT_US,
        WITH_US,
        "initramfs-incomplete",
        "initramfs",
    ),
    Drift(
        "another tool's driver_override",
        "echo bochs-drm >driver_override",
        f"cat {OVERRIDE} >/root/override; echo bochs-drm >{OVERRIDE}",
        f"grep -qx '(null)' /root/override && echo >{OVERRIDE} || cat /root/override >{OVERRIDE}",
        "driver-override",
    ),
    Drift(
        "the boot-time unit disabled",
        "systemctl disable",
        f"systemctl disable {UNIT}",
        f"systemctl enable {UNIT}",
        "not-permanent",
    ),
    Drift(
        "restore.sh gone",
        "mv",
        "mv /var/lib/vfiostate/restore.sh /root/",
        "mv /root/restore.sh /var/lib/vfiostate/",
        "restore-script",
    ),
]
BOUND = [
    Drift("a guest started by hand", "the command of `guest command`", BY_HAND, NOT_BY_HAND, "guest-by-hand", "advance")
]


def main_job(*, output: Path | None = None, keep: bool = False, only: Sequence[str] = ()) -> int:
    """All drifts on one machine; prints the tables; 0 if every check held."""
    report = Report(output or REPOSITORY / "build" / "lab" / "drift")
    with report.phase("image and prepared disk"):
        disk = prepared.ensure()
    work = Path(tempfile.mkdtemp(prefix="vfiostate-drift-"))
    rows = Rows()
    try:
        with Bench(report, disk, work).machine("drift", disk.disk) as machine:
            try:
                life(report, machine, rows, only)
            except (LabError, LookupError, ValueError) as error:
                report.check("the run came to its end", False, f"{type(error).__name__}: {error}")
                report.save("last-words.txt", machine.last_words())
    finally:
        report.write()
        if not keep:
            shutil.rmtree(work, ignore_errors=True)
    print(report.table())
    print(rows.table())
    say(f"logs and transcripts: {report.directory}")
    return 0 if report.passed else 1


def wanted(drift: Drift, only: Sequence[str]) -> bool:
    """Whether a drift is among those asked for; all are where none is named."""
    return not only or any(words in drift.name for words in only)


def life(report: Report, machine: Machine, rows: Rows, only: Sequence[str]) -> None:
    """To `running`, every drift there, those of `bound`, and those that need another machine; then the way back."""
    machine.start()
    for state in STATES:
        advance_to(report, machine, state)
    for drift in RUNNING:
        if wanted(drift, only):
            one(report, machine, rows, drift)
    with report.phase("guest stop"):
        vfiostate(machine, "guest", "stop").check()
        clean(report, machine, "without the guest")
    for drift in BOUND:
        if wanted(drift, only):
            one(report, machine, rows, drift)
    changed_hardware(report, machine, rows, only)
    gives_back(report, machine)


def advance_to(report: Report, machine: Machine, wanted: str) -> None:
    """`advance` until a state is reached, over the reboots that it asks for; without drift it is clean there."""
    with report.phase(f"to {wanted}"):
        while wanted != "new":
            done = vfiostate(machine, "advance")
            if done.rc == REBOOT_FIRST:
                clean(report, machine, "before the reboot")
                machine.reboot()
            elif done.rc:
                raise LabError(f"advance to {wanted}: {told(done)}")
            elif told_state(done) == wanted:
                break
        clean(report, machine, f"in {wanted}")


def audited(machine: Machine) -> tuple[Ran, dict[str, str]]:
    """What `audit` answers, and the lines of the differences by code. Asked once: it is seconds under emulation."""
    done = vfiostate(machine, "audit")
    lines = [line for line in done.stdout.splitlines() if line.startswith("drift ")]
    return done, {match[1]: line for line in lines if (match := re.search(r"\(([a-z-]+)\) -> ", line))}


def clean(report: Report, machine: Machine, when: str) -> None:
    """No difference, exit code 0."""
    done = vfiostate(machine, "audit")
    report.check(f"audit is clean {when}", done.rc == 0, told(done))


def one(report: Report, machine: Machine, rows: Rows, drift: Drift) -> None:
    """A drift produced, named, shown, taken back; and clean again."""
    with report.phase(drift.name):
        machine.agent.sh(drift.produce, timeout=limit(drift.nominal))
        named(report, machine, rows, drift)
        machine.agent.sh(drift.back, timeout=limit(drift.nominal))
        clean(report, machine, "again")


def named(report: Report, machine: Machine, rows: Rows, drift: Drift) -> None:
    """`audit` names it on a line of its own and exits 4."""
    done, found = audited(machine)
    line = found.get(drift.code, "")
    report.check(f"audit: {drift.code}", done.rc == DRIFTED and bool(line), line or told(done))
    rows.rows.append((drift.name, drift.how, ", ".join(found), done.rc))
    report.save("drifts.txt", rows.table() + "\n")


def changed_hardware(report: Report, machine: Machine, rows: Rows, only: Sequence[str]) -> None:
    """The card in another slot, and a card with another id in its place: another machine around the same disk."""
    shape = machine.shape
    for drift, other in (
        (Drift("the card moved", "USB controller in another slot", "", "", "device-absent"), {"usb_port": 5}),
        (Drift("another id", "USB controller nec-usb-xhci", "", "", "device-id"), {"usb": "nec-usb-xhci"}),
    ):
        if not wanted(drift, only):
            continue
        with report.phase(drift.name):
            machine.power_off()
            machine.shape = replace(shape, **other)
            machine.start()
            named(report, machine, rows, drift)
            refused = vfiostate(machine, "advance")
            report.check("advance refuses", refused.rc in (4, 5), told(refused, 6))
            machine.power_off()
            machine.shape = shape
            machine.start()
            done = vfiostate(machine, "advance")
            report.check("the card back: advance goes on", done.rc == 0, told(done))
            clean(report, machine, "again")


def gives_back(report: Report, machine: Machine) -> None:
    """The way back over its reboot; afterwards nothing is promised."""
    with report.phase("rollback"):
        done = vfiostate(machine, "rollback")
        report.check("rollback asks for the reboot that ends it", done.rc == REBOOT_FIRST, told(done))
        machine.reboot()
        done = vfiostate(machine, "rollback")
        report.check("rollback is finished", done.rc == 0 and "differs" not in done.stdout, told(done))
        clean(report, machine, "where nothing is promised")

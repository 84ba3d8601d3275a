"""Trial boots on a real GRUB: a good one, one that panics, one that hangs; and the way out of a bad default.

The bad word goes into the trial's entry of grub.cfg by hand, as a command line that is bad on just this machine would:
nobody but the kernel that boots it notices.
"""

from __future__ import annotations

from pathlib import Path

from . import observe, rescue
from .base import LabError, limit
from .bench import Bench, Case, try_each
from .console import Console
from .machine import Machine
from .prepared import vfiostate
from .report import Report
from .scenario import REBOOT_FIRST, told

REFUSED = 5
DEFAULT = "/etc/default/grub"
GENERATED = "/boot/grub/grub.cfg"
SCRIPT = "/etc/grub.d/42_vfiostate"
# rdinit= names what the kernel starts from the initramfs. Nothing: it mounts the root itself, cannot, and panics.
PANICS = "rdinit=/nonexistent"
# A shell that waits for somebody to type: the machine stands still for ever.
HANGS = "rdinit=/bin/sh"


def main_job(*, output: Path | None = None, keep: bool = False, only: str = "") -> int:
    """All cases; prints the table; 0 if every check held."""
    return try_each("trial", CASES, output=output, keep=keep, only=only)


def good(bench: Bench, name: str) -> None:
    """The trial comes up, becomes the default, and is taken back."""
    report = bench.report
    with bench.machine("good", bench.prepared.disk) as machine:
        staged(bench, machine, name)
        with report.phase(f"{name}: the trial boot"):
            machine.reboot()
            token = "vfiostate.setup=" in observe.cmdline(machine.agent)
            report.check("the next boot has the new command line", token, observe.cmdline(machine.agent))
        makes_default(report, machine, name)
        gives_back(bench, machine, name)


def bad(bench: Bench, name: str) -> None:
    """The trial's kernel panics; staged again it hangs; mended and staged again it comes up; all is taken back."""
    report = bench.report
    with bench.machine("bad", bench.prepared.disk) as machine:
        staged(bench, machine, name)
        with report.phase(f"{name}: the trial boot panics"):
            machine.agent.sh(add(PANICS))
            console = shut_down_and_boot(machine)
            said = console.wait(r"Kernel panic[^\r\n]*", limit("boot"))
            report.check("the trial boot panics", True, said.splitlines()[-1].strip())
            report.check("panic=30 resets the machine", machine.wait_off(limit("boot")), "")
        old_again(report, machine, f"{name}: after the panic")
        fails(report, machine, f"{name}: after the panic")
        with report.phase(f"{name}: staged again, it hangs"):
            machine.agent.sh(f"sed -i 's| {PANICS}$||' {GENERATED}\n{add(HANGS)}")
            again(report, machine)
            hangs(report, machine)
        old_again(report, machine, f"{name}: after the hang")
        fails(report, machine, f"{name}: after the hang")
        with report.phase(f"{name}: mended, staged again"):
            machine.agent.sh("update-grub", timeout=limit("initramfs"))  # takes the bad word out of the entry
            again(report, machine)
            machine.reboot()
            words = observe.cmdline(machine.agent)
            report.check("the next boot has the new command line", "vfiostate.setup=" in words, words)
        makes_default(report, machine, name)
        gives_back(bench, machine, name)


def no_trial(bench: Bench, name: str) -> None:
    """Without a trial the bad command line is the default: restore.sh in the initramfs' own shell is the way out."""
    rescue.case(bench, name, rescue.break_both, rescue.by_own_shell, rescue.finish_after_script)


CASES: dict[str, Case] = {
    "1. a good trial": good,
    "2. trials that panic and hang": bad,
    "3. --no-trial and restore.sh": no_trial,
}


def staged(bench: Bench, machine: Machine, name: str) -> None:
    """`advance --until stubbed`, and that the default is what it was."""
    with bench.report.phase(f"{name}: advance --until stubbed"):
        machine.start()
        done = vfiostate(machine, "advance", "--until", "stubbed")
        bench.report.check("advance --until stubbed", done.rc == 0, told(done))
        untouched(bench.report, machine)
        env = machine.agent.sh("grub-editenv /boot/grub/grubenv list")
        bench.report.check("the trial is chosen for the next boot", "next_entry=vfiostate-trial" in env, env.strip())
        asked = vfiostate(machine, "advance")
        bench.report.check("advance asks for the reboot", asked.rc == REBOOT_FIRST, told(asked))


def untouched(report: Report, machine: Machine) -> None:
    """The default is what it was: the file that is edited, and the default entry."""
    count = machine.agent.sh(f"grep -c vfiostate {DEFAULT} || true").strip()
    report.equal(f"{DEFAULT} is untouched", count, "0")
    lines = [line for line in machine.agent.read(GENERATED).decode().splitlines() if line.lstrip().startswith("linux")]
    ours = [line for line in lines if "vfiostate.setup=" in line]
    report.check("one entry more, none other changed", len(ours) == 1 and ours[0] == lines[-1], f"{len(lines)} entries")


def add(words: str) -> str:
    """A shell script that adds words to the trial's entry."""
    return (
        f"sed -i '/--id vfiostate-trial/,/^}}/s|^[[:space:]]*linux[[:space:]].*|& {words}|' {GENERATED}\n"
        f"test $(grep -c ' {words}$' {GENERATED}) = 1 && sync"
    )


def shut_down_and_boot(machine: Machine) -> Console:
    """A reboot in order into a boot that will not answer; returns its console."""
    console = Console(machine)
    machine.power_off()
    machine.power_on()
    return console


def again(report: Report, machine: Machine) -> None:
    """`advance --again`, which stages the trial once more."""
    done = vfiostate(machine, "advance", "--again")
    report.check("advance --again stages it once more", done.rc in (0, REBOOT_FIRST), told(done))
    env = machine.agent.sh("grub-editenv /boot/grub/grubenv list")
    report.check("the trial is chosen for the next boot", "next_entry=vfiostate-trial" in env, env.strip())


def hangs(report: Report, machine: Machine) -> None:
    """Boots into the trial that hangs, sees that it stands still, and cuts the power."""
    console = shut_down_and_boot(machine)
    said = console.wait(r"built-in shell[^\r\n]*", limit("boot"))
    report.check("it stands still before anything is mounted", True, said.splitlines()[-1].strip())
    try:
        machine.agent.wait(15)
        up = True
    except LabError:
        up = False
    report.check("it does not come up; the power is cut", not up, "")
    machine.cut_power()


def old_again(report: Report, machine: Machine, name: str) -> None:
    """After the power cycle: the old command line, without anybody's help."""
    with report.phase(f"{name}: after the power cycle"):
        machine.start()
        words = observe.cmdline(machine.agent)
        report.check("it boots on its old command line", "vfiostate.setup=" not in words, words)
        untouched(report, machine)


def fails(report: Report, machine: Machine, name: str) -> None:
    """`advance` says that the trial failed, and what to try next."""
    with report.phase(f"{name}: advance after the failed trial"):
        done = vfiostate(machine, "advance")
        said = done.stdout + done.stderr
        report.check("advance exits 5", done.rc == REFUSED, told(done))
        report.check("it says what to try next", "--again" in said and "rollback" in said, said.strip())


def makes_default(report: Report, machine: Machine, name: str) -> None:
    """`advance` makes the trial's command line the default; the next boot has it without being told."""
    with report.phase(f"{name}: advance to rebooted"):
        done = vfiostate(machine, "advance")
        report.check("advance to rebooted", done.rc == 0 and "state: rebooted" in done.stdout, told(done))
        gone = machine.agent.sh(f"ls {SCRIPT} 2>/dev/null; grep -c vfiostate-trial {GENERATED}; true").split()
        report.equal("the trial's entry is gone", gone, ["0"])
        count = machine.agent.sh(f"grep -c vfiostate.setup= {DEFAULT}; true").strip()
        report.equal(f"its words are in {DEFAULT}", count, "1")
        machine.reboot()
        words = observe.cmdline(machine.agent)
        report.check("the boot after has it too", "vfiostate.setup=" in words and "panic=30" not in words, words)


def gives_back(bench: Bench, machine: Machine, name: str) -> None:
    """`rollback`, over the reboot that ends it, and all is as before."""
    with bench.report.phase(f"{name}: rollback"):
        done = vfiostate(machine, "rollback")
        bench.report.check(f"rollback exits {REBOOT_FIRST}", done.rc == REBOOT_FIRST, told(done))
        machine.reboot()
        done = vfiostate(machine, "rollback")
        bench.report.check("rollback is finished", done.rc == 0, told(done))
    with bench.report.phase(f"{name}: as before?"):
        bench.report.equal("/proc/cmdline", observe.cmdline(machine.agent), bench.prepared.before.cmdline)
        rescue.as_before(bench.report, machine, bench.prepared.before)

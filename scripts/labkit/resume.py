"""`advance --resume` on a real systemd: kept off by its word, parked by a failed trial, and by itself up to a guest.

From the reboot on nobody calls vfiostate but systemd: the lab only looks, past vfiostate where it can.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

from . import observe, prepared, trial
from .base import REPOSITORY, LabError, limit, say
from .bench import Bench
from .lab import DEVICES
from .machine import Machine
from .prepared import vfiostate
from .report import Report
from .scenario import REBOOT_FIRST, told

UNIT = "vfiostate-resume.service"
FILE = f"/etc/systemd/system/{UNIT}"
OFF = "vfiostate.resume=off"
GUEST_PID = "cut -d' ' -f1 /run/vfiostate/guest.pid 2>/dev/null; true"


def main_job(*, output: Path | None = None, keep: bool = False) -> int:
    """The whole life of the service; prints the table; 0 if every check held."""
    report = Report(output or REPOSITORY / "build" / "lab" / "resume")
    with report.phase("image and prepared disk"):
        disk = prepared.ensure()
    work = Path(tempfile.mkdtemp(prefix="vfiostate-resume-"))
    bench = Bench(report, disk, work)
    try:
        with bench.machine("resume", disk.disk) as machine:
            try:
                life(bench, machine)
            except (LabError, LookupError, ValueError) as error:
                report.check("the run came to its end", False, f"{type(error).__name__}: {error}")
                report.save("last-words.txt", machine.last_words())
            keep_logs(report, machine)
    finally:
        report.write()
        if not keep:
            shutil.rmtree(work, ignore_errors=True)
    print(report.table())
    say(f"logs and transcripts: {report.directory}")
    return 0 if report.passed else 1


def life(bench: Bench, machine: Machine) -> None:
    """All phases, in order."""
    asked(bench.report, machine)
    kept_off(bench.report, machine)
    parked(bench.report, machine)
    by_itself(bench.report, machine)
    trial.gives_back(bench, machine, "the way back")


def asked(report: Report, machine: Machine) -> None:
    """`advance --resume`: the unit is there, enabled, and systemd has nothing against it."""
    with report.phase("advance --resume"):
        machine.start()
        done = vfiostate(machine, "advance", "--resume")
        report.check("advance --resume asks for the reboot", done.rc == REBOOT_FIRST, told(done))
        report.equal(
            "the unit is enabled", machine.agent.run(["systemctl", "is-enabled", UNIT]).stdout.strip(), "enabled"
        )
        found = machine.agent.run(["systemd-analyze", "verify", "--man=no", FILE])
        about = [line for line in (found.stdout + found.stderr).splitlines() if UNIT in line]
        report.check("systemd-analyze verify has nothing to say", not about, "\n".join(about))
        report.save(UNIT, machine.agent.read(FILE).decode())


def kept_off(report: Report, machine: Machine) -> None:
    """The word in the trial's entry, as typed at the boot menu: the trial boot comes up and nothing goes on."""
    with report.phase(f"a boot with {OFF}"):
        machine.agent.sh(trial.add(OFF))
        machine.reboot()
        words = observe.cmdline(machine.agent)
        report.check("the word is on the command line", OFF in words and "vfiostate.setup=" in words, words)
        booted(report, machine)
        shown = show(machine, "ActiveState", "ConditionResult")
        report.equal("systemd did not start it", shown, {"ActiveState": "inactive", "ConditionResult": "no"})
        status = vfiostate(machine, "status").stdout
        report.check(
            "the state is what it was", "stubbed" in status and "goes on after the next boot" in status, status
        )


def parked(report: Report, machine: Machine) -> None:
    """The trial was not used: the next boot is the old command line's, the service says so and parks."""
    with report.phase("the old command line again"):
        machine.reboot()
        booted(report, machine)
        ended(machine)
        shown = show(machine, "ActiveState", "Result", "ExecMainStatus")
        wanted = {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "5"}
        report.equal("the service failed with 5", shown, wanted)
        status = vfiostate(machine, "status").stdout
        report.check("it is parked, and says why", "parked" in status and "trial" in status, status)
        log = machine.agent.sh("journalctl -b -t vfiostate -o cat --no-pager")
        report.check("the system's log says so too", "is parked" in log, log)
        env = machine.agent.sh("grub-editenv /boot/grub/grubenv list")
        report.check("nothing is staged again", "next_entry=vfiostate" not in env, env.strip())


def by_itself(report: Report, machine: Machine) -> None:
    """Staged and asked for again; from then on systemd alone."""
    with report.phase("advance --again --resume"):
        machine.agent.sh("update-grub", timeout=limit("initramfs"))  # takes the word out of the entry
        done = vfiostate(machine, "advance", "--again", "--resume")
        report.check("it asks for the reboot", done.rc == REBOOT_FIRST, told(done))
    with report.phase("after the reboot, by itself"):
        machine.reboot()
        # The boot is over while the service may be at work: it does not belong to it.
        booted(report, machine)
        report.save("at-boot.txt", machine.agent.sh(f"systemctl status {UNIT} --no-pager || true; systemctl list-jobs"))
        begun = time.monotonic()
        ended(machine)
        report.check("it ended by itself", True, f"{time.monotonic() - begun:.0f} s after the boot was over")
        log = machine.agent.sh(f"journalctl -b -u {UNIT} -o cat --no-pager")
        report.save("service.log", log)
        report.check("it says what it did", "state: running" in log, log[-600:])
    with report.phase("the guest"):
        pid = machine.agent.sh(GUEST_PID).strip()
        report.check(
            "the guest outlived the service", bool(pid) and machine.agent.run(["kill", "-0", pid]).rc == 0, pid
        )
        machine.agent.sh("systemctl daemon-reload")
        alive = machine.agent.run(["kill", "-0", pid]).rc == 0
        report.check("and lives on when systemd reads its units anew", alive, pid)
        left = machine.agent.sh(f"find /etc/systemd /run/systemd -name '*{UNIT}*'; true").split()
        report.equal("the unit is gone", left, [])
        status = vfiostate(machine, "status").stdout
        report.check("the state is running", "running" in status and "resume" not in status, status)
        drivers = {
            address: one.driver for address, one in observe.functions(machine.agent).items() if address in DEVICES
        }
        report.equal("every device is under vfio-pci", drivers, dict.fromkeys(DEVICES, "vfio-pci"))
        told_of = vfiostate(machine, "journal", "show").stdout
        report.check("the journal tells of it", "resume begun" in told_of and "resume over" in told_of, "")


def booted(report: Report, machine: Machine) -> None:
    """Wait until systemd calls the boot finished, however well."""
    said = machine.agent.run(["systemctl", "is-system-running", "--wait"], timeout=limit("boot")).stdout.strip()
    report.check("the boot is over", said in ("running", "degraded"), said)


def ended(machine: Machine) -> None:
    """Wait until the service has begun and ended."""
    deadline = time.monotonic() + limit("advance")
    while time.monotonic() < deadline:
        state = show(machine, "ActiveState", "ExecMainExitTimestampMonotonic")
        if state["ActiveState"] in ("inactive", "failed") and state["ExecMainExitTimestampMonotonic"] not in ("", "0"):
            return
        # It is forgotten when it has removed itself and ended.
        if state["ActiveState"] == "inactive" and machine.agent.run(["test", "-e", FILE]).rc != 0:
            return
        time.sleep(3)
    raise LabError(f"{UNIT} does not end: {show(machine, 'ActiveState', 'SubState', 'Result')}")


def show(machine: Machine, *names: str) -> dict[str, str]:
    """What systemd says of the unit."""
    asked_for = [word for name in names for word in ("-p", name)]
    lines = machine.agent.run(["systemctl", "show", UNIT, *asked_for]).stdout.splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def keep_logs(report: Report, machine: Machine) -> None:
    """What is needed to understand a failure."""
    if machine.pid() is None:
        return
    try:
        report.save("system.log", machine.agent.sh("journalctl --no-pager -o short-precise"))
        report.save("journal.txt", vfiostate(machine, "journal", "show").stdout)
    except LabError as error:
        say(f"the last words could not be had: {error}")

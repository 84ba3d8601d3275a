"""The whole way on a real kernel: from `new` over a real reboot to `running`, back, and: is everything as before?

vfiostate is used as its users use it: installed from wheels or by dpkg, by an ordinary account through sudo, by its
command line. What is true is asked of the machine itself (see observe.py).
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import time
from pathlib import Path

from . import bundle, compare, held, installed, observe
from .base import REPOSITORY, LabError, limit, need_commands, say
from .channel import Gone, Ran
from .lab import GUEST, STATES, Lab, Row
from .report import Report

REBOOT_FIRST = 3
WHO_RUNS_QEMU = """
for p in $(pidof qemu-system-x86_64); do
    stat -c %U /proc/$p
    ls -l /proc/$p/fd | grep -o '/dev/vfio/[0-9]*' | sort -u
    grep Seccomp: /proc/$p/status
done
"""
OF_THE_WHEEL = r"-mindepth 1 -name 'vfiostate*' -o -path '*/site-packages/engine*' -o -path '*/site-packages/steps*'"
LEFT_BEHIND = "ls -d /run/vfiostate/* /etc/systemd/system/*vfio* /etc/modprobe.d/*vfio* 2>/dev/null; true"


def play(row: Row, *, output: Path | None = None, keep: bool = False) -> Report:
    """Plays the row's story on a machine of its own; the report says what held."""
    need_commands(["qemu-system-x86_64", "qemu-img", "pip"])
    report = Report(output or REPOSITORY / "build" / "lab" / row.name)
    with report.phase("image with vfiostate installed"):
        base = installed.ensure(row.recipe, row.installed_by)
    work = Path(tempfile.mkdtemp(prefix="vfiostate-lab-"))
    lab = Lab(row, base.machine(work, row.shape, report.ran), report)
    try:
        boot(lab)
        row.story(lab)
    except (LabError, LookupError, ValueError) as error:
        report.check("the run came to its end", False, f"{type(error).__name__}: {error}")
    finally:
        finish(lab, keep)
    say(f"logs and transcripts: {report.directory}")
    return report


def way_there_and_back(lab: Lab) -> None:
    """All phases, in order."""
    before = configure(lab)
    if not advance_to_running(lab):
        raise LabError(f"advance did not come to running: state {lab.state()}")
    running(lab)
    again_after_reboot(lab)
    roll_back(lab)
    as_before(lab, before)


def boot(lab: Lab) -> None:
    """The first boot, by the image's own boot loader, and that the machine is what the lab promises."""
    with lab.report.phase("first boot"):
        lab.machine.start("first boot")
        if lab.row.given is not None:
            lab.row.given(lab)
        lab.settled()
        lab.report.equal("native drivers hold the devices", lab.drivers(), lab.native)
        groups = {function.group for function in observe.functions(lab.agent).values()} - {""}
        has = lab.row.shape.iommu != "none"
        lab.report.check("IOMMU groups, where there is an IOMMU", (len(groups) > 5) == has, f"{len(groups)} groups")
        version = lab.vfiostate("--version")
        lab.report.check("vfiostate runs through sudo", version.rc == 0, first_line(version))


def init(lab: Lab, *words: str) -> Ran:
    """`init` for the row's devices."""
    devices = [word for address, (ids, _) in lab.row.devices.items() for word in ("--device", f"{address}={ids}")]
    return lab.vfiostate("init", *devices, "--stub", lab.row.stub, *GUEST, *lab.row.options, *words)


def configure(lab: Lab) -> observe.Sight:
    """`init` and `plan`, and what the machine was before the first `advance`."""
    with lab.report.phase("init, plan"):
        done = init(lab)
        lab.report.check("init writes the configuration", done.rc == 0, done.stderr.strip() if done.rc else "")
        for line in lab.row.settings:
            key = line.partition(" = ")[0]
            lab.agent.run(["sed", "-i", f"s/^\\(# \\)\\?{key} = .*/{line}/", held.PLACE]).check()
        plan = lab.vfiostate("plan", "--all")
        lab.report.check("plan --all shows the whole way", plan.rc == 0, plan.stderr.strip() if plan.rc else "")
        captured(lab)
        lab.report.save(held.CONFIGURATION, lab.agent.read(held.PLACE).decode())
    with lab.report.phase("look at every file, before"):
        return observe.look(lab.agent)


def captured(lab: Lab) -> None:
    """`capture` of a real machine, kept with the report; it must not tell who and where the machine is."""
    done = lab.vfiostate("capture")
    lab.report.save(held.DESCRIPTION, done.stdout)
    told_on = [word for word in ("52:54:00", "6c616200", '"lab"') if word in done.stdout]
    lab.report.check(
        "capture, without MAC, UUID and host name",
        done.rc == 0 and not told_on,
        told_on or f"{len(done.stdout)} characters",
    )


def advance_to_running(lab: Lab, phase: str = "advance", wanted: str = "running") -> bool:
    """`advance` until the state is reached, through as many reboots as it asks for (one)."""
    state = lab.state()
    for _ in range(2 * len(STATES)):
        with lab.report.phase(f"{phase}: from {state}"):
            done = lab.vfiostate("advance")
            if done.rc == REBOOT_FIRST:
                lab.report.check("without a reboot it says so and exits 3", True, done.stderr.strip())
                reboot_by_advance(lab)
                state = lab.state()
                continue
            reached = told_state(done) or lab.state()
            if not lab.report.check(f"{state} -> {reached}", done.rc == 0, told(done)):
                return False
            state = reached
        if state == wanted:
            return True
    return lab.report.check(f"{wanted} is reached", False, f"still {state}")


def told_state(ran: Ran) -> str:
    """The state that a command named at its end; asking `status` each time would cost five seconds of emulation."""
    return next((line.split()[1] for line in reversed(ran.stdout.splitlines()) if line.startswith("state: ")), "")


def told(ran: Ran, lines: int = 25) -> str:
    """How a command ended, and what it said last; of one that succeeded only the first line."""
    if ran.rc == 0:
        return first_line(ran)
    return f"exit {ran.rc}\n" + "\n".join((ran.stdout + ran.stderr).strip().splitlines()[-lines:])


def first_line(ran: Ran) -> str:
    """The first line of what a command said."""
    return next(iter((ran.stdout + ran.stderr).strip().splitlines()), "")


def reboot_by_advance(lab: Lab) -> None:
    """`advance --reboot`, the next boot, and what must be true then."""
    old = lab.machine.boots[-1]
    with contextlib.suppress(Gone):  # it may reboot before the answer comes
        lab.vfiostate("advance", "--reboot")
    new = lab.machine.come_back()
    lab.settled()
    lab.report.check("advance --reboot boots anew", new != old, new)
    words = observe.cmdline(lab.agent)
    lab.report.check("our words in /proc/cmdline", "vfiostate.setup=" in words, words)
    lab.host_keeps()
    if lab.row.late:
        lab.report.equal("the devices, which come late, are as they come", lab.drivers(), lab.native)
    else:
        stub = lab.row.stub
        lab.report.equal(f"every device is under {stub} from boot on", lab.drivers(), lab.all_under(stub))


def running(lab: Lab, phase: str = "the guest") -> None:
    """The guest, asked by vfiostate and past it."""
    with lab.report.phase(phase):
        lab.report.equal("every device is under vfio-pci", lab.drivers(), lab.all_under("vfio-pci"))
        lab.host_keeps()
        status = lab.vfiostate("guest", "status", "--json")
        said = json.loads(status.stdout or "{}")
        lab.report.check("guest status --json says running", said.get("status") == "running", told(status))
        lab.row.guest(lab.agent, lab.report, {ids for ids, _ in lab.row.devices.values()})
        who = lab.agent.sh(WHO_RUNS_QEMU).split()
        groups = {observe.functions(lab.agent)[address].group for address in lab.row.devices}
        lab.report.check("QEMU holds the groups", {f"/dev/vfio/{group}" for group in groups} <= set(who), who)
        lab.report.check("QEMU does not run as root, and in a sandbox", "root" not in who and who[-1:] == ["2"], who)


def again_after_reboot(lab: Lab) -> None:
    """A reboot takes runtime state away; `advance` says so and comes back by itself."""
    with lab.report.phase("reboot while running"):
        lab.reboot()
        status = lab.vfiostate("status")
        lab.report.check("status tells of the reboot", status.rc == 0 and "reboot" in status.stdout, told(status))
    if advance_to_running(lab, "after the reboot, advance"):
        running(lab, "the guest again")


def roll_back(lab: Lab) -> None:
    """The way back over the reboot that ends it."""
    with lab.report.phase("rollback"):
        done = lab.vfiostate("rollback")
        lab.report.check("rollback asks for the reboot that ends it", done.rc == REBOOT_FIRST, first_line(done))
    with lab.report.phase("reboot"):
        lab.reboot()
    with lab.report.phase("rollback, after the reboot"):
        done = lab.vfiostate("rollback")
        lab.report.check("rollback is finished", done.rc == 0, told(done))
        lab.report.equal("state", lab.state(), "new")


def as_before(lab: Lab, before: observe.Sight, anew: tuple[str, ...] = ()) -> None:
    """The comparison with what was there before the first `advance`; `anew` are files that somebody else made anew
    since, so that the way back could but make them once more of what they are made of."""
    with lab.report.phase("look at every file, after"):
        after = observe.look(lab.agent)
    with lab.report.phase("as before?"):
        allowed = tuple(f"{path}: " for path in anew)
        changed = [one for one in compare.differences(before.files, after.files) if not one.startswith(allowed)]
        hashed = sum("sha256" in entry for entry in before.files.values())
        lab.report.check(
            "every file: content, mode, owner",
            not changed,
            "\n".join(changed[:40]) or f"{len(before.files)} paths, {hashed} by sha256",
        )
        left_out = "".join(f"{path}: {reason}\n" for path, reason in compare.LEFT_OUT.items())
        lab.report.save("left-out.txt", left_out)
        lab.report.equal("/proc/cmdline", after.cmdline, before.cmdline)
        lab.report.equal("native drivers hold the devices again", lab.drivers(), lab.native)
        moved = [
            f"{address}: {before.functions.get(address)} -> {one}"
            for address, one in after.functions.items()
            if one != before.functions.get(address)
        ]
        found = "\n".join(moved) or f"{len(after.functions)} functions"
        lab.report.check("drivers, driver_override and groups of all PCI functions", not moved, found)
        verify = lab.vfiostate("journal", "verify")
        lab.report.check("journal verify", verify.rc == 0, told(verify))
        left = lab.agent.sh(LEFT_BEHIND).split()
        lab.report.equal("nothing of ours is left running or installed", left, [])


def removed(lab: Lab) -> None:
    """pip takes away what it has brought; the configuration and the journal are not its own, and stay."""
    with lab.report.phase("removed by pip"):
        pip = lab.agent.run(
            [f"{bundle.INSTALLED}/bin/pip", "uninstall", "--yes", "vfiostate"], timeout=limit("install")
        )
        lab.report.check("pip uninstall", pip.rc == 0, told(pip))
        brought = lab.agent.sh(f"find {bundle.INSTALLED} {OF_THE_WHEEL}").split()
        lab.report.equal("nothing of the wheel is left", brought, [])


def finish(lab: Lab, keep: bool) -> None:
    """Everything needed after a failure goes to the report's directory; the machine goes away, or stays."""
    report, machine = lab.report, lab.machine
    if machine.pid() is not None:
        try:
            report.save(held.STORY, json.dumps(lab.told, indent=1) + "\n")
            report.save(held.JOURNAL, lab.vfiostate("journal", "export").stdout)
            report.save("journal.txt", lab.vfiostate("journal", "show").stdout)
            report.save("kernel.log", lab.agent.sh("dmesg"))
            report.save("system.log", lab.agent.sh("journalctl --no-pager -o short-precise"))
            if lab.row.installed_by == "wheel" and not keep:
                removed(lab)
        except LabError as error:
            say(f"the last words could not be had: {error}")
    report.write()
    for log in machine.directory.glob("*.log"):
        shutil.copy(log, report.directory)
    if keep:
        say(f"the machine stays: {machine.directory}, process {machine.pid()}")
        return
    machine.cut_power()
    time.sleep(0.2)
    shutil.rmtree(machine.directory, ignore_errors=True)

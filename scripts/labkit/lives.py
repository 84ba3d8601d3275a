"""Power cuts of a real machine: SIGKILL to QEMU at random moments of every step of `advance` and of `rollback`.

A machine lives lives: there to some state, back again, byte for byte as before, and anew. On the way each step is cut a
few times. After each cut the machine has to boot by itself, the journal has to be whole, and everything that vfiostate
had told before the cut (streamed to the serial console) has to be in it; then the same command goes on, or `rollback`
goes back.
"""

from __future__ import annotations

import json
import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import compare, observe
from .acknowledged import Event, missing, state_after, what_is_found
from .base import LabError, limit, say
from .channel import Agent, Ran
from .console import Console
from .lab import STATES
from .machine import Machine
from .prepared import Prepared, vfiostate
from .quota import BACK, BOOT, FINISH, Cut, Quota
from .scenario import LEFT_BEHIND, REBOOT_FIRST, told, told_state

REFUSED = 5
TURNED_BACK = 0.08  # of the cuts on the way there, how many are followed by `rollback`
CUTS_IN_A_ROW = 3
STARTING_UP = 0.15  # of the cuts, how many may fall before the program holds its lock
# Each line that vfiostate says goes to the console at once: what is seen there was told, and must not be lost.
# That it holds its lock, after some seconds of starting up under emulation, goes there as well.
STREAM = """set -o pipefail
held() { grep -q "FLOCK .*:$(stat -c %i /run/lock/vfiostate.lock || echo none) 0 EOF" /proc/locks; }
(until held 2>/dev/null; do sleep 0.3; done; echo BEGUN >/dev/ttyS0) &
vfiostate "$@" 2>&1 | sed -u "s/^/TOLD:/" >/dev/ttyS0
kill %1"""
EXAMINE = f"""vfiostate journal verify >/run/verify 2>&1; echo $? >/run/verify.rc
python3 {observe.PROGRAMS}/events.py "$1" """


class Broken(LabError):
    """A promise was not kept."""


@dataclass
class Lives:
    """One machine and all its lives."""

    number: int
    prepared: Prepared
    quota: Quota
    directory: Path
    rng: random.Random
    machine: Machine = field(init=False)
    life: int = 0
    lives: list[str] = field(default_factory=list)
    state: str = "new"
    head: tuple[int, str] = (0, "")
    finished: bool = True
    told_before: str = ""
    pending: list[Cut] = field(default_factory=list)
    turn_back: bool = False

    def __post_init__(self) -> None:
        self.machine = self.prepared.machine(self.directory, processors=1)
        self.machine.on_run = self.transcribe

    def transcribe(self, ran: Ran) -> None:
        """Adds a command and what it said to the machine's transcript."""
        with open(self.directory / "transcript.txt", "a", encoding="utf-8") as file:
            words = " ".join(ran.argv)
            file.write(f"{time.strftime('%H:%M:%S')} # {words[:2000]}\n{ran.stdout[:20000]}{ran.stderr[:4000]}")
            file.write(f"---- {ran.rc} after {ran.seconds} s\n\n")

    def note(self, text: str) -> None:
        """A line of progress, in the transcript too."""
        say(f"machine {self.number}, life {self.life}: {text}")
        with open(self.directory / "transcript.txt", "a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%H:%M:%S')} == {text}\n\n")

    # --- a life

    def live(self) -> None:
        """Lives until every cut is made."""
        with self.machine:
            self.machine.start()
            while self.quota.all_left():
                self.one_life(self.quota.turn())

    def one_life(self, turn: str) -> None:
        """There to the state, with cuts, and back, with cuts, as before."""
        self.life += 1
        self.turn_back = False
        self.note(f"to {turn} and back; {self.quota.all_left()} cuts left")
        for target in STATES[1 : STATES.index(turn) + 1]:
            self.reach(target)
            if self.turn_back:
                break
        if self.state == "running" and not self.turn_back:
            said = json.loads(vfiostate(self.machine, "guest", "status", "--json").stdout or "{}")
            if said.get("status") != "running":
                raise Broken(f"the guest does not run: {said}")
        self.go_back(turn)
        self.as_before()
        self.lives.append(f"{turn}, as before" if not self.turn_back else "turned back on the way, as before")

    def reach(self, target: str) -> None:
        """One step, cut a few times and then taken."""
        before = STATES[STATES.index(target) - 1]
        for _ in range(CUTS_IN_A_ROW):
            self.complete(before)
            if self.state != before or not self.quota.left(target):
                break
            if target == "rebooted":
                self.into_new_boot()
            if (moment := self.quota.claim(target)) is None:
                break
            self.cut(target, moment, "advance")
            if self.rng.random() < TURNED_BACK:
                self.turn_back = True
                self.pending_then("went back")
                return
            self.pending_then("went on")
        self.complete(target)

    def complete(self, target: str) -> None:
        """`advance` until the state is reached, rebooting where it says so, trying again where a trial was used up."""
        extra: tuple[str, ...] = ()
        for _ in range(16):
            if STATES.index(self.state) >= STATES.index(target):
                return
            before = self.state
            self.finished = False
            ran = vfiostate(self.machine, "advance", *extra)
            if ran.rc:
                extra = self.after_refusal(ran)
                continue
            extra, self.state = (), told_state(ran)
            if STATES.index(self.state) == STATES.index(before) + 1:
                self.quota.measured(self.state, ran.seconds)
        raise Broken(f"{target} is not reached: still {self.state}")

    def into_new_boot(self) -> None:
        """At `stubbed`: boots with the new command line, so that `advance` is the step to `rebooted`."""
        extra: tuple[str, ...] = ()
        for _ in range(6):
            if "vfiostate.setup=" in observe.cmdline(self.machine.agent):
                return
            ran = vfiostate(self.machine, "advance", *extra)
            if ran.rc == 0:
                raise Broken(f"advance at stubbed, without the new command line: {told(ran)}")
            extra = self.after_refusal(ran)
        raise Broken("the new command line does not come into force")

    def after_refusal(self, ran: Ran) -> tuple[str, ...]:
        """Does what `advance` asks for: a reboot, or the trial once more. Returns what it is to be told then."""
        said = ran.stdout + ran.stderr
        if ran.rc == REBOOT_FIRST:
            self.reboot()
            return ()
        if ran.rc == REFUSED and "advance --again" in said:
            return ("--again",)
        if ran.rc == REFUSED and "still chosen" in said:
            # GRUB reads an ext4 without its journal: after a cut it may not see yet what it was told.
            self.note("the boot after the cut had not seen that the trial was chosen")
            self.reboot()
            return ()
        raise Broken(f"advance from {self.state}: {told(ran)}")

    def reboot(self) -> None:
        """A reboot in order, which takes runtime state away."""
        self.machine.reboot()
        self.forget_runtime()

    def forget_runtime(self) -> None:
        """What the boot took away: the next `advance` says so too."""
        if self.state in ("bound", "running"):
            self.state = "rebooted"

    def go_back(self, turn: str) -> None:
        """`rollback`, cut a few times, or its end is, and then finished."""
        label = BACK[turn]
        late = STATES.index(turn) >= STATES.index("rebooted") and self.quota.left(FINISH) > self.quota.left(label)
        if not self.turn_back and not late:
            for _ in range(CUTS_IN_A_ROW + 1):
                if self.finished or (moment := self.quota.claim(label)) is None:
                    break
                self.cut(label, moment, "rollback")
                self.pending_then("went on")
        undisturbed = late and not self.turn_back
        for _ in range(6):
            ran = vfiostate(self.machine, "rollback")
            if ran.rc == 0:
                return
            if ran.rc != REBOOT_FIRST:
                raise Broken(f"rollback: {told(ran)}")
            if undisturbed:
                self.quota.measured(label, ran.seconds)
            undisturbed = False
            self.reboot()
            while late and not self.finished and (moment := self.quota.claim(FINISH)) is not None:
                self.cut(FINISH, moment, "rollback")
                self.pending_then("went on")
        raise Broken("rollback does not come to its end")

    def pending_then(self, then: str) -> None:
        """What came after the last cut."""
        for cut in self.pending:
            cut.then = then
        self.pending.clear()

    def as_before(self) -> None:
        """Every file, every PCI function, the command line: as before the first `advance`."""
        agent = self.machine.agent
        after = observe.look(agent)
        wrong = compare.differences(self.prepared.before.files, after.files)
        before = self.prepared.before.functions
        wrong += [f"{address}: {before.get(address)} -> {one}" for address, one in after.functions.items()
                  if one != before.get(address)]  # fmt: skip
        if after.cmdline != self.prepared.before.cmdline:
            wrong.append(f"/proc/cmdline: {after.cmdline}")
        wrong += [f"{name}: left behind" for name in agent.sh(LEFT_BEHIND).split()]
        if wrong:
            raise Broken("not as before:\n" + "\n".join(wrong[:40]))
        self.state, self.finished = "new", True
        self.note("as before, byte for byte")

    # --- a cut

    def cut(self, label: str, moment: float, command: str) -> None:
        """Runs the command and cuts the power at the moment, however far it is; boots and looks at what is left."""
        events = self.events(self.machine.agent, self.head[0])
        self.head = (events[-1].seq, events[-1].digest) if events else (0, "")
        console = Console(self.machine)
        agent = self.machine.agent
        running = threading.Thread(target=ignore_end, args=(agent, command), daemon=True)
        cut = self.quota.record(label, self.number, self.life, round(moment, 2))
        cut.head = self.head[0]
        running.start()
        self.wait_for(moment, cut.nominal, running, console)
        self.machine.cut_power()
        said = console.said()
        running.join(10)
        self.pending.append(cut)
        self.boot_after_cut()
        self.examine(cut, said)

    def wait_for(self, moment: float, nominal: float, running: threading.Thread, console: Console) -> None:
        """Waits for the moment: so far in the whole command, or mostly in what it does after it has taken its lock."""
        started = time.monotonic()
        if self.rng.random() >= STARTING_UP:
            while running.is_alive() and "BEGUN" not in console.said() and time.monotonic() < started + nominal * 5:
                time.sleep(0.1)
            begun = time.monotonic() - started
            moment *= max(0.3, 1 - begun / nominal)
        running.join(moment)

    def boot_after_cut(self) -> None:
        """Boots; now and then the boot is cut too."""
        while self.rng.random() < self.quota.boot_chance():
            if (moment := self.quota.claim(BOOT)) is None:
                break
            cut = self.quota.record(BOOT, self.number, self.life, round(moment, 2))
            cut.head = self.head[0]
            self.machine.power_on()
            time.sleep(moment)
            self.machine.cut_power()
            self.pending.append(cut)
        started = time.monotonic()
        try:
            self.machine.start()
        except LabError as error:
            for cut in self.pending:
                cut.unbootable = cut.examined = True
            raise Broken(f"UNBOOTABLE after a cut: {error}") from error
        seconds = round(time.monotonic() - started, 1)
        for cut in self.pending:
            cut.booted, cut.boot_seconds = True, seconds
        self.quota.measured(BOOT, seconds)

    def examine(self, cut: Cut, said: str) -> None:
        """After the boot: is the journal whole, and is everything in it that was told?"""
        agent = self.machine.agent
        ran = agent.run(["sh", "-c", EXAMINE, "sh", str(self.head[0])], timeout=limit("command")).check()
        rc = agent.read("/run/verify.rc").decode().strip()
        events = [Event(*one) for one in json.loads(ran.stdout)]
        whole = rc == "0" or not (events or self.head[0])
        lost = missing(self.head, events, said)
        found = what_is_found(events[1:] if self.head[0] else events)
        for one in self.pending:
            one.whole, one.lost, one.found, one.kept = whole, lost, found, len(events) - bool(self.head[0])
            one.examined = True
        cut.told = said.count("TOLD:")
        self.note(f"cut {cut.number} in {cut.label} at {cut.moment:.1f} of {cut.nominal:.0f} s: {found}; "
                  f"{cut.told} lines told, booted in {cut.boot_seconds:.0f} s")  # fmt: skip
        if not whole:
            raise Broken(f"journal verify: {agent.read('/run/verify').decode(errors='replace')}")
        if lost:
            raise Broken("LOST: " + "; ".join(lost))
        self.state, self.finished = state_after(self.state, self.finished, events)
        self.forget_runtime()

    @staticmethod
    def events(agent: Agent, since: int) -> list[Event]:
        """The journal's events from this one on."""
        ran = agent.run(["python3", f"{observe.PROGRAMS}/events.py", str(since)], timeout=limit("command")).check()
        return [Event(*one) for one in json.loads(ran.stdout)]


def ignore_end(agent: Agent, command: str) -> None:
    """Runs vfiostate in the machine, streaming what it says; the machine may go away meanwhile."""
    try:
        agent.run(["bash", "-c", STREAM, "vfiostate", command], timeout=limit("advance"))
    except (LabError, OSError, ValueError):
        return

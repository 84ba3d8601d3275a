"""Any life of a machine: steps, crashes, power cuts, reboots, the user's edits, ways back, in any order.

After every step the user's files hold only what the user or the journal put there, and at the end of every life the way
back leads to byte for byte what it was, or to the user's own edits and nothing else.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.kill.crash import KILLED, Run, manifest, run
from tests.kill.test_kill_matrix import FAILED

DEVICES = ("--device=01:00.0", "--device=01:00.1", "--device=02:00.0", "--accel=tcg")
GRUB = "etc/default/grub"
COMMANDS = st.sampled_from(
    [
        ("advance",),
        ("advance", "--again"),
        ("advance", "--until", "running"),
        ("rollback",),
        ("rollback", "--to", "checked"),
    ]
)


class AnyLife(RuleBasedStateMachine):
    """The program against a machine that is crashed, cut off, rebooted and edited."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp(prefix="life-"))
        self.machine = self.base / "m"
        self.edits: list[bytes] = []

    def vfiostate(self, *argv: str) -> Run:
        """Run it; whatever it answers, it is never a traceback."""
        result = run(self.machine, *argv)
        assert "Traceback" not in result.output and "internal error" not in result.output, result.output
        # A boot that was cut short may have been the trial: then the old command line is back.
        assert result.code in (0, 3) or FAILED in result.output, (argv, result.code, result.output)
        return result

    @initialize()
    def begin(self) -> None:
        """A machine as it comes, configured."""
        self.vfiostate("machine", "create", "--from", "debian12-lab")
        self.vfiostate("init", *DEVICES)
        self.before = manifest(self.machine)

    @rule(command=COMMANDS)
    def whole(self, command: tuple[str, ...]) -> None:
        """A run that is left alone."""
        if command[-1] == "checked" and self.state() in ("new",):
            return
        if command[0] == "advance" and self.half_rolled_back():
            return
        if command[-1] == "--again" and self.state() != "stubbed":
            return
        if command[0] == "rollback" and not self.begun():
            return
        self.vfiostate(*command)

    @rule(command=COMMANDS, at=st.integers(0, 150), cut=st.booleans(), seed=st.integers(0, 2**32))
    def cut_short(self, command: tuple[str, ...], at: int, cut: bool, seed: int) -> None:
        """A run that is killed, by a signal or by a power cut that takes the machine with it."""
        result = run(self.machine, *command, kill_at=at, lose=Random(seed) if cut else None)
        assert "Traceback" not in result.output and "internal error" not in result.output, result.output
        if cut and result.code == KILLED:
            self.vfiostate("machine", "reboot")

    @rule()
    def reboot(self) -> None:
        """The machine is rebooted."""
        self.vfiostate("machine", "reboot")

    @rule(word=st.from_regex(r"[a-z]{4,8}", fullmatch=True))
    def edit(self, word: str) -> None:
        """The user adds a line to GRUB's configuration."""
        line = f"# {word}\n".encode()
        with (self.machine / GRUB).open("ab") as stream:
            stream.write(line)
        self.edits.append(line)

    def begun(self) -> bool:
        """Whether there is a journal."""
        return (self.machine / "var/lib/vfiostate/journal.db").exists()

    def state(self) -> str:
        """The state that `status` tells."""
        found = re.search(r"^state\s+(\w+)", run(self.machine, "status").output, re.MULTILINE)
        return found[1] if found else "new"

    def half_rolled_back(self) -> bool:
        """Whether a way back was begun and not finished: then only `rollback` goes on."""
        return "rollback" in run(self.machine, "status").output

    @invariant()
    def the_users_lines_stand(self) -> None:
        """GRUB's configuration is whole and has every line that the user wrote, in order."""
        if not (self.machine / GRUB).exists():
            return
        content = (self.machine / GRUB).read_bytes()
        original = bytes.fromhex(self.before[GRUB][1])
        taken_out = re.sub(rb' ?(vfiostate\.setup=|vfio-pci\.ids=)[^ "]*', b"", content)
        assert taken_out == original + b"".join(self.edits)

    @invariant()
    def the_journal_is_whole(self) -> None:
        """Chain, numbers and states fit."""
        if self.begun():
            self.vfiostate("journal", "verify")

    def teardown(self) -> None:
        """Whatever happened, the way back leads home."""
        try:
            if self.begun():
                for _ in range(4):
                    if self.vfiostate("rollback").code == 0:
                        break
                    self.vfiostate("machine", "reboot")
                after = manifest(self.machine)
                mode, content = self.before[GRUB]
                expected = {**self.before, GRUB: (mode, content + b"".join(self.edits).hex())}
                if self.edits:
                    # What is generated was generated anew, of the user's edited file.
                    for name in [name for name in after if name.startswith("boot/")]:
                        expected.pop(name, None), after.pop(name)
                assert after == expected
        finally:
            shutil.rmtree(self.base)


TestAnyLife = pytest.mark.slow(AnyLife.TestCase)
TestAnyLife.settings = settings(
    max_examples=int(os.environ.get("VFIOSTATE_LIVES", "8")),
    stateful_step_count=10,
    deadline=None,
    # A life takes a second: shrinking one that fails would take many minutes, and its steps tell enough.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)

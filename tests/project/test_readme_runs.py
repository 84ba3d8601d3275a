"""What the README shows is run: each block, line by line, on a simulated machine that has come as far as it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from engine.cli import main
from journal.errors import Exit
from tests.project.reference import README

INIT = "init --device 03:00.0 --device 03:00.1 --stub pci-stub"
# What comes before a block, by its first line, and on which machine; every other begins where all is set up.
BEFORE = {
    "vfiostate plan": ("article", (INIT, "advance --until modules_loaded")),
    "vfiostate doctor": ("article", ()),
    "vfiostate advance --resume --reboot": (
        "debian12-lab",
        ("init --accel tcg --device 01:00.0 --device 01:00.1", "advance"),
    ),
    "vfiostate machine list": (None, ()),
}
RUNNING = ("article", (INIT, "advance --until stubbed", "machine reboot", "advance --until running"))
# What a person types at the terminal where these ask.
CHOSEN = {"init": INIT}
# 3: what comes next is a reboot.
GOOD = (Exit.DONE, Exit.REBOOT)


def blocks() -> list[list[str]]:
    """The command lines of each block that calls the program, without sudo and comments."""
    found = []
    for kind, block in re.findall(r"```(sh|console)\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL):
        shown = [line for line in block.splitlines() if kind == "sh" or line.startswith("$ ")]
        lines = [line.removeprefix("$ ").partition("  #")[0].strip().removeprefix("sudo ") for line in shown]
        if any(line.startswith("vfiostate ") for line in lines):
            found.append(lines)
    return found


@pytest.mark.parametrize("lines", blocks(), ids=lambda lines: lines[0])
def test_every_block_of_the_readme_runs(
    lines: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where what the lines write comes to lie
    where = str(tmp_path / "m")

    def run(line: str) -> None:
        words = shlex.split(line.replace("/tmp/m", where))
        code = main(words if "--simulate" in words else ["--simulate", where, *words])
        assert code in GOOD, (line, code, capfd.readouterr().err)

    source, before = BEFORE.get(lines[0], RUNNING)
    for line in ((f"machine create --from {source}",) if source else ()) + before:
        run(line)
    for line in lines:
        words = line.removeprefix("vfiostate ")
        run("machine reboot" if line == "reboot" else CHOSEN.get(words, words))
    main(["--simulate", where, "guest", "stop"])  # no guest outlives its test


def test_every_preparation_is_that_of_a_block() -> None:
    assert BEFORE.keys() <= {lines[0] for lines in blocks()}

#!/usr/bin/env python3
"""Start-up: `--help` as a multiple of a bare interpreter (budget 2.5), `status` as one of `import sqlalchemy` (1.2).

Fresh processes of an interpreter in a virtual environment of its own, without what an editable installation adds to the
start of each process: that would flatter us. They take turns; what counts is the median of their CPU time, which a
noisy machine troubles least. `status` runs on a directory as a mounted system (as root; else on it as a simulated one).
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from statistics import median

ROUNDS = 25
BUDGETS = {"help": 2.5, "status": 1.2}
# What the console script does that an installation makes.
PROGRAM = ("-c", "import sys; from engine.__main__ import main; sys.exit(main())")
TOP = Path(__file__).resolve().parents[2]


class Interpreter:
    """A Python with our modules and our dependencies on its path, and nothing else."""

    def __init__(self, directory: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory / "venv")], check=True)
        self.path = str(directory / "venv/bin/python")
        self.environment = {**os.environ, "PYTHONPATH": f"{TOP}{os.pathsep}{sysconfig.get_path('purelib')}"}
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def seconds(self, *arguments: str) -> float:
        """The CPU time of one process, from start to end."""
        process = subprocess.Popen(
            [self.path, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise SystemExit(f"{' '.join(arguments)} exited with {process.returncode}")
        return usage.ru_utime + usage.ru_stime


def prepare(python: Interpreter, directory: Path) -> list[str]:
    """A host with a setup in its journal; how `status` is asked about it."""
    machine = str(directory / "machine")
    for command in (["machine", "create"], ["init", "--device", "03:00.0", "--device", "03:00.1"], ["advance"]):
        python.seconds(*PROGRAM, "--simulate", machine, *command)
    return [*PROGRAM, "--root" if os.geteuid() == 0 else "--simulate", machine, "status"]


def main() -> int:
    """Print the two ratios; 1 when one is over its budget."""
    os.umask(0o022)
    with tempfile.TemporaryDirectory() as name:
        python = Interpreter(Path(name))
        series = {
            "bare": ["-c", "pass"],
            "help": [*PROGRAM, "--help"],
            "sqlalchemy": ["-c", "import sqlalchemy"],
            "status": prepare(python, Path(name)),
        }
        taken: dict[str, list[float]] = {name: [] for name in series}
        for number in range(ROUNDS + 2):
            for name, arguments in series.items():
                one = python.seconds(*arguments)
                if number >= 2:
                    taken[name].append(one)
    found = {name: median(times) for name, times in taken.items()}
    over = 0
    for name, against in (("help", "bare"), ("status", "sqlalchemy")):
        ratio = found[name] / found[against]
        over += ratio > BUDGETS[name]
        print(
            f"start-up, {name}: {found[name] * 1e3:.0f} ms, {against} {found[against] * 1e3:.0f} ms, "
            f"ratio {ratio:.2f} (budget {BUDGETS[name]})"
        )
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())

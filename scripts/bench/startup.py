#!/usr/bin/env python3
"""Start-up: `--help` as a multiple of a bare interpreter (budget 2.5), `status` as one of `import sqlalchemy` (1.2).

Fresh processes, taking turns, so that a noisy machine troubles all alike; medians.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from statistics import median

ROUNDS = 25
BUDGETS = {"help": 2.5, "status": 1.2}
# The interpreter without what an editable installation adds to the start of each process, which would flatter us.
PYTHON = os.path.realpath(sys.executable)
TOP = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{TOP}{os.pathsep}{sysconfig.get_path('purelib')}"}
ENVIRONMENT.pop("PYTHONDONTWRITEBYTECODE", None)


def seconds(argv: list[str]) -> float:
    """What one process takes, from start to end."""
    start = time.perf_counter()
    done = subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=ENVIRONMENT, check=False)
    taken = time.perf_counter() - start
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(argv)} exited with {done.returncode}: {done.stderr.decode(errors='replace')}")
    return taken


def machine(directory: Path) -> list[str]:
    """The program on a simulated machine with a setup in its journal."""
    program = [PYTHON, "-m", "engine", "--simulate", str(directory / "machine")]
    for command in (["machine", "create"], ["init", "--device", "03:00.0", "--device", "03:00.1"], ["advance"]):
        seconds([*program, *command])
    return program


def main() -> int:
    """Print the two ratios; 1 when one is over its budget."""
    os.umask(0o022)
    with tempfile.TemporaryDirectory() as directory:
        program = machine(Path(directory))
        series = {
            "bare": [PYTHON, "-c", "pass"],
            "help": [PYTHON, "-m", "engine", "--help"],
            "sqlalchemy": [PYTHON, "-c", "import sqlalchemy"],
            "status": [*program, "status"],
        }
        taken: dict[str, list[float]] = {name: [] for name in series}
        for number in range(ROUNDS + 2):
            for name, argv in series.items():
                one = seconds(argv)
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

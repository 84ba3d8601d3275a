"""Where cases are tried, one after another: each on machines of its own that begin as the prepared disk."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import prepared
from .base import REPOSITORY, LabError, say
from .machine import Machine, overlay
from .prepared import Prepared
from .report import Report


@dataclass
class Bench:
    """The report, the prepared disk, and a directory for each machine."""

    report: Report
    prepared: Prepared
    work: Path
    no_trial: tuple[str, ...] = ("--no-trial",)

    def machine(self, name: str, disk: Path) -> Machine:
        """A machine of its own on an overlay of this disk."""
        directory = self.work / re.sub(r"[^a-z0-9-]+", "-", name)  # a comma would end an option of QEMU's
        directory.mkdir(parents=True)
        return Machine(directory, overlay(disk, directory / "disk.qcow2"), on_run=self.report.ran)


Case = Callable[[Bench, str], None]


def try_each(kind: str, cases: Mapping[str, Case], *, output: Path | None, keep: bool, only: str) -> int:
    """All cases with these words in their names; prints the table; 0 if every check held."""
    report = Report(output or REPOSITORY / "build" / "lab" / kind)
    with report.phase("image and prepared disk"):
        disk = prepared.ensure()
    work = Path(tempfile.mkdtemp(prefix=f"vfiostate-{kind}-"))
    bench = Bench(report, disk, work)
    failed = False
    try:
        for name, case in cases.items():
            if only in name:
                try:
                    case(bench, name)
                except (LabError, LookupError, ValueError) as error:
                    failed = not report.check("the case came to its end", False, f"{type(error).__name__}: {error}")
    finally:
        report.write()
        if keep or failed:
            say(f"the machines' directories stay: {work}")
        else:
            shutil.rmtree(work, ignore_errors=True)
    print(report.table())
    say(f"logs and transcripts: {report.directory}")
    return 0 if report.passed else 1

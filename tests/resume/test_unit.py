"""The unit: what systemd itself says of it, and which paths can stand in it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steps import resume_service
from steps.base import Severity
from steps.resume_service import UNIT_NAME, Order, ServiceFacts

ORDER = Order("0123456789ab", "/bin/true", "/etc/vfiostate.toml", "/var/lib/vfiostate/journal.db")
NOTHING = ServiceFacts(systemd=True, folder=True, unit=None, enabled=False)
SYSTEM = Path("/usr/lib/systemd/system")

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None or not (SYSTEM / "multi-user.target").exists(), reason="needs systemd"
)


def verify(directory: Path, *units: str) -> str:
    """What `systemd-analyze verify` finds, with the unit enabled in a directory that is searched first."""
    (directory / UNIT_NAME).write_bytes(resume_service.text(ORDER))
    for target in ("multi-user.target.wants",):
        (directory / target).mkdir()
        (directory / target / UNIT_NAME).symlink_to(directory / UNIT_NAME)
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{directory}:{SYSTEM}"}
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


@needs_systemd
def test_systemd_has_nothing_to_say_against_the_unit(tmp_path: Path) -> None:
    assert UNIT_NAME not in verify(tmp_path, str(tmp_path / UNIT_NAME))


@needs_systemd
@pytest.mark.parametrize("target", ["multi-user.target", "graphical.target"])
def test_it_is_in_no_ordering_cycle(tmp_path: Path, target: str) -> None:
    said = verify(tmp_path, target)
    assert "cycle" not in said
    assert UNIT_NAME not in said


def test_it_neither_restarts_nor_waits_nor_holds_the_boot_up() -> None:
    lines = dict(
        line.split("=", 1) for line in resume_service.text(ORDER).decode().splitlines() if re.match(r"[A-Za-z]+=", line)
    )
    assert "Restart" not in lines
    assert lines["Type"] == "exec"  # a oneshot would keep the boot unfinished for as long as it runs
    assert not {"Wants", "Requires", "Before", "BindsTo"} & lines.keys()
    assert lines["KillMode"] == "process"  # the guest lives on
    assert "RuntimeMaxSec" in lines
    assert lines["ConditionKernelCommandLine"] == "!vfiostate.resume=off"


plain = st.from_regex(r"(/[A-Za-z0-9_@:.,+=~-]{1,12}){1,4}", fullmatch=True)


@settings(deadline=None)
@given(program=plain, config=plain)
def test_a_plain_path_stands_in_it_as_it_is(program: str, config: str) -> None:
    order = Order("0123456789ab", program, config, "/var/lib/vfiostate")
    lines = resume_service.text(order).decode().splitlines()
    assert f"ExecStart={program} --config {config} resume" in lines
    assert f"ConditionFileIsExecutable={program}" in lines


@settings(deadline=None)
@given(path=st.text(min_size=1, max_size=20).filter(lambda text: re.search(r"[^A-Za-z0-9_@:.,+/=~-]", text)))
def test_a_path_that_systemd_could_read_as_something_else_is_refused(path: str) -> None:
    order = Order("0123456789ab", f"/opt/{path}", "/etc/vfiostate.toml", "/var/lib/vfiostate")
    (found,) = resume_service.findings(order, NOTHING)
    assert found.severity is Severity.REFUSAL
    assert found.code == "path-not-plain"


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        (ServiceFacts(False, False, None, False), "no-systemd"),
        (ServiceFacts(True, False, None, False), "folder-missing"),
        (ServiceFacts(True, True, b"[Unit]\nDescription=mine\n", True), "resume-file-in-the-way"),
    ],
)
def test_where_it_cannot_be_installed_the_reason_is_named(facts: ServiceFacts, code: str) -> None:
    (found,) = resume_service.findings(ORDER, facts)
    assert (found.code, found.severity) == (code, Severity.REFUSAL)
    assert found.hint


def test_a_second_installation_has_nothing_to_do() -> None:
    there = ServiceFacts(True, True, resume_service.text(ORDER), True)
    assert resume_service.findings(ORDER, there) == ()
    assert resume_service.plan(ORDER, there) == ()

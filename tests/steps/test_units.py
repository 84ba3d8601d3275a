"""The systemd units, looked at by systemd itself: it understands every line, and how open each is."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from steps.bind_script import unit
from steps.resume_service import Order, text

KIT = Path(__file__).resolve().parents[2] / "scripts/packagekit"
UNITS = {
    "vfiostate-bind.service": unit("0123456789ab", 2, 30.0),
    "vfiostate-resume.service": text(Order("0123456789ab", "/bin/true", "/etc/vfiostate.toml", "/var/lib/journal.db")),
    "vfiostate-audit.service": (KIT / "vfiostate-audit.service").read_bytes(),
    "vfiostate-audit.timer": (KIT / "vfiostate-audit.timer").read_bytes(),
}
# The exposure that systemd-analyze tells, 0 to 10, and no more. vfiostate-resume.service runs `advance`, which runs the
# boot loader's and the initramfs' tools and starts the guest, all of which would be in its sandbox.
OPEN = {"vfiostate-bind.service": 3.0, "vfiostate-audit.service": 3.5}
pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@pytest.mark.parametrize("name", UNITS)
def test_systemd_understands_every_line(name: str, tmp_path: Path) -> None:
    for each, content in UNITS.items():
        # A program that is not installed here is no mistake of the unit.
        here = re.sub(rb"(?m)^ExecStart=\S+", b"ExecStart=/bin/true", content)
        (tmp_path / each).write_bytes(re.sub(rb"(?m)^Documentation=.*\n", b"", here))
    argv = ("systemd-analyze", "verify", "--man=no", tmp_path / name)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert [line for line in done.stderr.splitlines() if "vfiostate" in line] == []


@pytest.mark.parametrize("name", OPEN)
def test_a_unit_is_no_more_open_than_it_must_be(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(UNITS[name])
    argv = ("systemd-analyze", "security", "--offline=yes", "--no-pager", tmp_path / name)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    if "offline" in done.stderr:
        pytest.skip("this systemd-analyze has no --offline (it came with 250)")
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found is not None, done.stderr
    assert float(found[1]) <= OPEN[name]

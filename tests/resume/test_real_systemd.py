"""The unit under a real systemd (a user manager in a mount namespace of its own): what it starts outlives it.

Skipped where no such manager comes up: it needs root, systemd and a cgroup hierarchy that may be written to.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from steps.resume_service import UNIT_NAME, Order, text

CGROUPS = Path("/sys/fs/cgroup/systemd")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.geteuid() != 0
        or not Path("/lib/systemd/systemd").exists()
        or shutil.which("unshare") is None
        or Path("/run/systemd/system").exists()
        or not os.access(CGROUPS, os.W_OK),
        reason="needs root, systemd that is not at work, and a cgroup hierarchy of its own",
    ),
]

# As the program does: starts something that outlives it, disables and removes its unit, ends.
PROGRAM = """#!/bin/sh
setsid sleep 120 </dev/null >/dev/null 2>&1 &
echo $! >{top}/pid
systemctl --user disable {unit}
rm {top}/units/{unit}
{then}
exit 0
"""
SCRIPT = """
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system /run/user
export XDG_RUNTIME_DIR=/run/user HOME={top} SYSTEMD_UNIT_PATH={top}/units:/usr/lib/systemd/user
mkdir -p {cgroup} && echo $$ >{cgroup}/cgroup.procs || exit 77
/lib/systemd/systemd --user --unit=basic.target >{top}/log 2>&1 &
manager=$!
for _ in 1 2 3 4 5 6 7 8 9 10; do
    sleep 1
    state=$(systemctl --user is-system-running 2>/dev/null)
    case $state in running | degraded) break ;; esac
done
case $state in running | degraded) ;; *) kill $manager; exit 77 ;; esac
systemctl --user enable {unit}
timeout 30 systemctl --user start {unit} || echo not started
for _ in 1 2 3 4 5 6 7 8 9 10; do
    sleep 1
    [ "$(systemctl --user is-active {unit})" = active ] || break
done
sleep 1
kill -0 "$(cat {top}/pid)" && echo alive
systemctl --user daemon-reload
sleep 1
kill -0 "$(cat {top}/pid)" && echo alive after a reload
kill "$(cat {top}/pid)"
kill $manager
wait $manager
"""


def under_systemd(directory: Path, then: str) -> str:
    """What is said of the child when the unit's program has removed the unit, done something more, and ended."""
    (directory / "units").mkdir()
    (directory / "units" / "multi-user.target").write_text("[Unit]\nDescription=Stands for the boot\n")
    program = directory / "vfiostate"
    program.write_text(PROGRAM.format(top=directory, unit=UNIT_NAME, then=then))
    program.chmod(0o755)
    (directory / "units" / UNIT_NAME).write_bytes(text(Order("0123456789ab", str(program), "/etc/x", str(directory))))
    cgroup = CGROUPS / f"vfiostate-test-{os.getpid()}"
    script = SCRIPT.format(top=directory, unit=UNIT_NAME, cgroup=cgroup)
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    for place, _, _ in os.walk(cgroup, topdown=False):
        os.rmdir(place)
    if done.returncode == 77:
        pytest.skip("no user manager comes up here")
    return done.stdout


def test_what_it_started_outlives_it_when_it_has_removed_itself(tmp_path: Path) -> None:
    said = under_systemd(tmp_path, ":").splitlines()
    assert said == ["alive", "alive after a reload"]


def test_a_reload_without_the_file_would_kill_it_so_none_is_made(tmp_path: Path) -> None:
    """The control: why nothing of ours reads the units anew between the file's end and the program's."""
    assert under_systemd(tmp_path, "systemctl --user daemon-reload") == ""

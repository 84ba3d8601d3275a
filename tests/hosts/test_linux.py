"""What only the running system can show: commands that hang, their environment, attributes that never return."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.hosts import linux
from engine.hosts.base import PATH, Attributes, OutcomeUnknown
from engine.hosts.linux import LinuxHost

HOST = LinuxHost()


def _is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):  # the latter where it ends between open(2) and read(2)
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def test_reading_the_real_root_is_plain_reading() -> None:
    assert HOST.booted and HOST.label == "this host"
    assert HOST.read("/proc/self/comm")
    assert HOST.release == os.uname().release
    assert HOST.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert HOST.list("/") == tuple(sorted(os.listdir("/")))
    assert HOST.which("sh") is not None
    assert HOST.lstat("/no/such/path") is None
    assert HOST.resolve("/proc/self/..").startswith("/proc")


def test_a_file_that_opens_and_cannot_be_read_is_named() -> None:
    # proc(5): what is at address 0 of a process cannot be read. read(2) names no file.
    with pytest.raises(OSError, match="Input/output error: '/proc/self/mem'"):
        LinuxHost(Path("/")).read("/proc/self/mem")


def test_a_mounted_system_has_no_boot_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "lib/modules/6.1.0-1").mkdir(parents=True)
    host = LinuxHost(tmp_path)
    assert not host.booted
    assert host.boot_id.startswith("offline:")
    assert host.release == "6.1.0-1"


def test_a_command_has_a_fixed_path_and_a_clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "uname").write_text("#!/bin/sh\necho not the real one\n")
    (tmp_path / "uname").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("LD_PRELOAD", "/tmp/evil.so")
    monkeypatch.setenv("BASH_ENV", "/tmp/evil")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    for done in (HOST.query(["env"]), HOST.run(["env"], timeout=10)):
        lines = dict(line.split("=", 1) for line in done.text.splitlines())
        assert lines["PATH"] == PATH
        assert lines["LC_ALL"] == "C"
        assert not {"LD_PRELOAD", "BASH_ENV", "LANG", "SUDO_UID"} & lines.keys()
    assert b"not the real one" not in HOST.query(["uname"]).stdout
    assert b"not the real one" not in HOST.run(["uname"], timeout=10).stdout
    assert HOST.which("uname") != str(tmp_path / "uname")


def test_input_and_both_outputs_arrive_whole() -> None:
    big = os.urandom(300_000)
    assert HOST.query(["cat"], stdin=big).stdout == big
    done = HOST.query(["sh"], stdin=b"echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr, done.status) == (b"out\n", b"err\n", 7)
    ran = HOST.run(["sh", "-c", "echo out; echo err >&2; kill -9 $$"], timeout=10)
    assert ran.status == -9
    assert sorted(ran.stdout.splitlines()) == [b"err", b"out"]


def test_a_command_that_changes_the_host_gets_no_input() -> None:
    assert HOST.run(["cat"], timeout=10).stdout == b""


@pytest.mark.parametrize("way", ["query", "run"])
def test_a_command_that_hangs_is_killed_with_its_children(way: str, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    file.touch()
    script = f"sleep 300 & echo $! > {file}; wait"
    patience = 0.25
    while not file.read_text():  # a busy machine may not let it come so far in so short a time
        patience *= 2
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            if way == "query":
                HOST.query(["sh"], stdin=script.encode(), timeout=patience)
            else:
                HOST.run(["sh", "-c", script], timeout=patience)
        assert time.monotonic() - began < patience + 30
    assert _is_gone(int(file.read_text()))


def test_a_command_that_leaves_a_daemon_behind_is_not_waited_for() -> None:
    began = time.monotonic()
    done = HOST.run(["sh", "-c", "echo done; sleep 60 &"], timeout=45)
    assert done.stdout == b"done\n"
    assert time.monotonic() - began < 45


def _until_there(path: Path) -> str:
    """In a shell: wait for a file."""
    return f"until [ -e {path} ]; do sleep 0.02; done"


def test_output_is_told_line_by_line_as_it_comes(tmp_path: Path) -> None:
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        (tmp_path / line).touch()

    script = f"echo one; {_until_there(tmp_path / 'one')}; printf 'two\\377\\n'; printf tail"
    done = HOST.run(["sh", "-c", script], timeout=60, on_line=tell)
    # A second in which there is nothing new is told, too.
    assert [line for line in dict.fromkeys(told) if line] == ["one", "two\ufffd"]
    assert done.stdout == b"one\ntwo\xff\ntail"


def test_a_command_that_says_nothing_new_is_told_again_so_that_its_time_is_seen(tmp_path: Path) -> None:
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        (tmp_path / f"{line}{told.count(line)}").touch()

    script = f"{_until_there(tmp_path / '1')}; echo one; {_until_there(tmp_path / 'one2')}"
    HOST.run(["sh", "-c", script], timeout=60, on_line=tell)
    assert told[0] == ""
    assert told.count("one") >= 2


@pytest.mark.parametrize("way", ["query", "run"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_that_runs_and_says_so(way: str, number: signal.Signals, tmp_path: Path) -> None:
    program = f"""
import os, sys
from engine import signals
from engine.hosts.linux import LinuxHost
signals.listen()
script = "echo $$ > {tmp_path}/pid; sleep 300 & wait; echo survived"
try:
    if {way!r} == "query":
        LinuxHost().query(["sh"], stdin=script.encode(), timeout=100)
    else:
        LinuxHost().run(["sh", "-c", script], timeout=100)
except signals.InterruptedByUser as error:
    sys.exit(128 + error.number)
"""
    process = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[2])
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert _is_gone(int((tmp_path / "pid").read_text()))


def test_a_write_is_taken_by_an_attribute_and_refused_with_its_errno(tmp_path: Path) -> None:
    host = LinuxHost(tmp_path)
    (tmp_path / "attribute").write_bytes(b"")
    host.write_attribute("/attribute", "0000:01:00.0\n", timeout=5)
    assert (tmp_path / "attribute").read_bytes() == b"0000:01:00.0\n"
    with pytest.raises(FileNotFoundError) as missing:
        host.write_attribute("/none", "1", timeout=5)
    assert missing.value.filename == "/none"
    with pytest.raises(OSError, match="No space left"):
        HOST.write_attribute("/dev/full", "1", timeout=5)


def test_a_write_that_hangs_is_given_up_and_holds_neither_lock_nor_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "hangs")
    lock = (tmp_path / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    reader, writer = os.pipe()
    began = time.monotonic()
    with pytest.raises(OutcomeUnknown, match="gave no answer within"):
        LinuxHost(tmp_path).write_attribute("/hangs", "1", timeout=0.3)
    assert time.monotonic() - began < 30
    # The run that was given up ends: all it held is free although its child still hangs, as soon as that has begun.
    lock.close()
    os.close(writer)
    assert select.select([reader], [], [], 30)[0]
    assert os.read(reader, 1) == b""
    os.close(reader)
    with (tmp_path / "lock").open("w") as again:
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(os.open(tmp_path / "hangs", os.O_RDONLY | os.O_NONBLOCK))  # lets the child go


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot(2) needs root")
def test_commands_of_a_mounted_system_are_its_own(tmp_path: Path) -> None:
    assert LinuxHost(tmp_path).query(["sh", "-c", "exit 0"]).status == 127


@pytest.mark.parametrize(("path", "times"), [("/boot/grub/grub.cfg", 4), ("/etc/default/grub", 0)])
def test_what_the_boot_loader_reads_is_written_past_the_file_systems_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, times: int
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(os, "sync", lambda: calls.append("sync"))
    monkeypatch.setattr(linux, "write_in_place", lambda directory, root: calls.append(f"{directory} of {root}"))
    place = tmp_path / path[1:]
    place.parent.mkdir(parents=True)
    host, mine = LinuxHost(tmp_path), Attributes(0o600, os.getuid(), os.getgid())
    host.write_file(path, b"x", mine)
    host.put_file(path, place, mine)
    host.sync(path)
    host.remove_file(path)
    assert calls == ["sync", f"{place.parent} of {tmp_path}"] * times

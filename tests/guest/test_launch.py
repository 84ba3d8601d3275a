"""A process that outlives us: found again, confined, its files private, what it was given given back."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import pwd
import shutil
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.guests import launch
from engine.guests.qmp import query_qmp
from steps.actions import StartProcess

AS_ROOT = os.geteuid() == 0
NOBODY = "nobody"
root_only = pytest.mark.skipif(not AS_ROOT, reason="only root may become another user")
SLEEP = (str(shutil.which("sleep")), "60")


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Path]:
    """A runtime directory; what was started in it is ended."""
    place = tmp_path / "run"
    yield place
    if place.exists():
        for name in ("g", "h"):
            launch.end(name, place, timeout=5.0)


def sleeper(name: str = "g") -> StartProcess:
    """A process that waits, with its monitor socket as standard input."""
    return StartProcess(name, SLEEP, "a test", inherit_socket=True)


def mode(path: Path) -> int:
    """The permission bits."""
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_started_process_is_found_by_its_name_and_ended(runtime: Path) -> None:
    pid = launch.launch(sleeper(), runtime)
    assert launch.alive("g", runtime) == pid
    assert launch.alive("h", runtime) is None
    assert os.getsid(pid) == pid
    launch.end("g", runtime, timeout=5.0)
    assert launch.alive("g", runtime) is None


def test_what_cannot_be_read_is_no_process_that_has_ended(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = launch.launch(sleeper(), runtime)
    for lost in (runtime / "g.pid", Path(f"/proc/{pid}/stat")):
        with monkeypatch.context() as patched:
            _lose(patched, lost)
            with pytest.raises(OSError, match="EIO"):
                launch.end("g", runtime, timeout=1.0)
    assert launch.alive("g", runtime) == pid


def _lose(patched: pytest.MonkeyPatch, lost: Path) -> None:
    for name in ("read_text", "read_bytes"):
        read = getattr(Path, name)

        def spoilt(place: Path, *words: str, read: Callable[..., object] = read) -> object:
            if place == lost:
                raise OSError(errno.EIO, "EIO", str(place))
            return read(place, *words)

        patched.setattr(Path, name, spoilt)


def test_its_directory_and_files_are_private_whatever_the_umask(runtime: Path) -> None:
    before = os.umask(0)
    try:
        launch.launch(sleeper(), runtime)
    finally:
        os.umask(before)
    assert mode(runtime) == 0o700
    assert {path.name: mode(path) for path in runtime.iterdir()} == {"g.log": 0o600, "g.pid": 0o600, "g.qmp": 0o600}


def test_a_directory_that_others_may_enter_is_closed(runtime: Path) -> None:
    runtime.mkdir(mode=0o755)
    launch.launch(sleeper(), runtime)
    assert mode(runtime) == 0o700


def test_a_runtime_directory_that_is_a_symlink_is_refused(runtime: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    runtime.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError):
        launch.launch(sleeper(), runtime)
    runtime.unlink()


def test_a_log_that_is_a_symlink_is_not_followed(runtime: Path, tmp_path: Path) -> None:
    runtime.mkdir(mode=0o700)
    (runtime / "g.log").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError) as caught:
        launch.launch(sleeper(), runtime)
    assert caught.value.errno == errno.ELOOP and not (tmp_path / "victim").exists()


@pytest.mark.parametrize("name", ["../g", "", "a/b", ".x", "-x"])
def test_a_name_cannot_leave_the_directory(name: str, runtime: Path) -> None:
    with pytest.raises(ValueError, match="cannot name a process"):
        launch.launch(sleeper(name), runtime)
    with pytest.raises(ValueError, match="cannot name a process"):
        launch.alive(name, runtime)


def test_another_process_with_its_pid_is_not_taken_for_it(runtime: Path) -> None:
    runtime.mkdir(mode=0o700)
    (runtime / "g.pid").write_text(f"{os.getpid()} 1\n")
    assert launch.alive("g", runtime) is None
    launch.end("g", runtime, timeout=1.0)  # and above all is not ended


@pytest.mark.parametrize("content", ["", "x", "1", "-1 2 3", "\0"])
def test_a_broken_pid_file_names_nobody(content: str, runtime: Path) -> None:
    runtime.mkdir(mode=0o700)
    (runtime / "g.pid").write_text(content)
    assert launch.alive("g", runtime) is None


def test_a_process_that_has_ended_is_not_alive_though_it_is_our_zombie(runtime: Path) -> None:
    launch.launch(dataclasses.replace(sleeper(), argv=(SLEEP[0], "0")), runtime)
    assert launch.gone("g", runtime, 5.0)


def test_one_that_ignores_sigterm_is_ended_all_the_same(runtime: Path) -> None:
    stubborn = "import signal,time;signal.signal(15,signal.SIG_IGN);print('up',flush=True);time.sleep(60)"
    pid = launch.launch(dataclasses.replace(sleeper(), argv=(sys.executable, "-c", stubborn)), runtime)
    wait_for(lambda: "up" in (runtime / "g.log").read_text())
    launch.end("g", runtime, timeout=0.2)
    assert not Path(f"/proc/{pid}").exists() or launch.alive("g", runtime) is None


def wait_for(what: Callable[[], bool]) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + 10
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_missing_program_is_told_and_leaves_nothing_running(runtime: Path) -> None:
    with pytest.raises(FileNotFoundError):
        launch.launch(dataclasses.replace(sleeper(), argv=("/nonexistent",)), runtime)
    assert launch.alive("g", runtime) is None


def test_its_environment_is_ours_and_not_the_callers(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setenv("SECRET", "x")
    show = "import os;print(sorted(os.environ), os.getcwd())"
    launch.launch(dataclasses.replace(sleeper(), argv=(sys.executable, "-c", show)), runtime)
    assert launch.gone("g", runtime, 10.0)
    said = (runtime / "g.log").read_text()
    assert "SECRET" not in said and "LD_PRELOAD" not in said and said.rstrip().endswith(" /")


def test_the_monitor_socket_ends_with_the_process(runtime: Path) -> None:
    launch.launch(sleeper(), runtime)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(runtime / "g.qmp"))
    pid = launch.alive("g", runtime)
    assert pid is not None
    os.kill(pid, 9)
    assert launch.gone("g", runtime, 5.0)
    with pytest.raises(ConnectionError):
        query_qmp(runtime / "g.qmp", "query-status")


def test_who_makes_its_socket_itself_is_started_when_it_listens_there(runtime: Path) -> None:
    make = (
        "import socket, sys, time; made = socket.socket(socket.AF_UNIX); made.bind(sys.argv[1]);"
        "time.sleep(0.5); made.listen(1); time.sleep(60)"
    )
    monitor = str(runtime / "g.qmp")
    launch.launch(StartProcess("g", (sys.executable, "-c", make, monitor), "a test"), runtime)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(monitor)


def test_who_ends_before_it_listens_is_not_waited_for(runtime: Path) -> None:
    began = time.monotonic()
    launch.launch(StartProcess("g", (sys.executable, "-c", ""), "a test"), runtime)
    assert time.monotonic() - began < launch.SOCKET_WAIT
    assert launch.alive("g", runtime) is None


@root_only
def test_it_runs_as_its_account_with_no_group_but_those_named(runtime: Path) -> None:
    account = pwd.getpwnam(NOBODY)
    pid = launch.launch(dataclasses.replace(sleeper(), user=NOBODY, groups=("kvm",) if has_kvm() else ()), runtime)
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    assert set(fields["Uid"].split()) == {str(account.pw_uid)}
    assert set(fields["Gid"].split()) == {str(account.pw_gid)}
    assert len(fields["Groups"].split()) == (1 if has_kvm() else 0)


def has_kvm() -> bool:
    """Whether this host has a group kvm."""
    import grp

    return any(entry.gr_name == "kvm" for entry in grp.getgrall())


@root_only
@pytest.mark.parametrize("fields", [{"user": "no-such-user"}, {"user": NOBODY, "groups": ("no-such-group",)}])
def test_an_unknown_account_or_group_is_told_before_anything_runs(fields: dict[str, object], runtime: Path) -> None:
    process = dataclasses.replace(sleeper(), **fields)  # type: ignore[arg-type]  # the fields are the test's
    with pytest.raises(FileNotFoundError, match="no such"):
        launch.launch(process, runtime)
    assert launch.alive("g", runtime) is None


def device_node(directory: Path) -> Path:
    """A device node of root's."""
    node = directory / "node"
    try:
        os.mknod(node, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("this container may not make device nodes")
    return node


@root_only
def test_device_nodes_are_its_own_only_as_long_as_it_runs(runtime: Path, tmp_path: Path) -> None:
    node = device_node(tmp_path)
    process = dataclasses.replace(sleeper(), user=NOBODY, devices=(str(node),))
    launch.launch(process, runtime)
    assert node.stat().st_uid == pwd.getpwnam(NOBODY).pw_uid
    launch.end("g", runtime, timeout=5.0)
    assert (node.stat().st_uid, mode(node)) == (0, 0o600)
    os.kill(launch.launch(process, runtime), 9)
    assert launch.gone("g", runtime, 5.0)
    assert node.stat().st_uid == 0


@root_only
@pytest.mark.parametrize(
    "fields", [{"groups": ("no-such-group",)}, {"argv": ("/no/such/program",)}, {"cpus": "1023"}], ids=str
)
def test_a_start_that_fails_gives_device_nodes_back(fields: dict[str, object], runtime: Path, tmp_path: Path) -> None:
    node = device_node(tmp_path)
    process = dataclasses.replace(sleeper(), user=NOBODY, devices=(str(node),), **fields)  # type: ignore[arg-type]  # the fields are the test's
    with pytest.raises(OSError, match=r"no such|No such|Invalid"):
        launch.launch(process, runtime)
    assert node.stat().st_uid == 0


@root_only
def test_only_device_nodes_are_given_away(runtime: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(PermissionError, match="not a device node"):
        launch.launch(dataclasses.replace(sleeper(), user=NOBODY, devices=(str(file),)), runtime)
    assert file.stat().st_uid == 0


def test_the_memory_limit_is_raised_for_the_child_alone(runtime: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    wanted = (hard if hard != resource.RLIM_INFINITY else 1 << 30) - 4096
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (4096, hard))
        pid = launch.launch(dataclasses.replace(sleeper(), memlock=wanted), runtime)
        assert resource.getrlimit(resource.RLIMIT_MEMLOCK) == (4096, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (soft, hard))
    assert resource.prlimit(pid, resource.RLIMIT_MEMLOCK)[0] == wanted


def test_a_limit_that_may_not_be_raised_is_told_before_anything_runs(runtime: Path) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if before[1] == resource.RLIM_INFINITY:
        pytest.skip("any limit may be raised here")
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (before[1] + 4096, before[1] + 4096))
    except (ValueError, PermissionError):
        with pytest.raises(PermissionError, match="RLIMIT_MEMLOCK"):
            launch.launch(dataclasses.replace(sleeper(), memlock=before[1] + 4096), runtime)
        assert launch.alive("g", runtime) is None
    else:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, before)


def serve(path: Path, *replies: bytes) -> socket.socket:
    """A server that says these, one at the greeting and one for each message it gets."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    threading.Thread(target=speak, args=(listener, *replies), daemon=True).start()
    return listener


def speak(listener: socket.socket, *replies: bytes) -> None:
    """Say these to who comes first."""
    client, _ = listener.accept()
    with client:
        for reply in replies:
            client.sendall(reply)
            if not client.recv(4096):
                return


def test_no_socket_nobody_listening_and_no_directory_are_connection_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "none.qmp", tmp_path / "none" / "none.qmp"):
        with pytest.raises(ConnectionError, match="none"):
            query_qmp(path, "query-status")


def test_a_silent_server_is_a_timeout(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with pytest.raises(TimeoutError, match="query-status"):
            query_qmp(tmp_path / "s", "query-status", timeout=0.3)


def test_a_server_with_a_full_queue_is_waited_for(tmp_path: Path) -> None:
    place = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as stack:
        listener.bind(str(place))
        listener.listen(1)
        waiting = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(2)]
        for one in waiting:
            one.connect(str(place))
        with pytest.raises(TimeoutError, match="query-status"):
            query_qmp(place, "query-status", timeout=0.3)

        def takes_them_all() -> None:
            for _ in waiting:
                listener.accept()
            speak(listener, b"hello\n")

        timer = threading.Timer(0.3, takes_them_all)
        timer.start()
        with pytest.raises(ConnectionError, match="hello"):
            query_qmp(place, "query-status", timeout=60.0)
        timer.join()


@pytest.mark.parametrize(
    "greeting", [b"hello\n", b"{}\n", b'{"QMP": 3}\n', b"\xff\xfe\n", b'{"QMP": {"version": {}, "capabilities": []}}\n']
)
def test_a_server_that_speaks_something_else_is_a_connection_error(greeting: bytes, tmp_path: Path) -> None:
    with serve(tmp_path / "s", greeting, b"rubbish\n"), pytest.raises((ConnectionError, TimeoutError)):
        query_qmp(tmp_path / "s", "query-status", timeout=3.0)

"""Output that any terminal, locale and pipe can take, and what a user is told when something goes wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import console
from engine.cli import main
from engine.progress import Plain, Terminal
from journal import errors
from journal.errors import Exit, VfiostateError
from tests.cli.conftest import TOP, spawn

# A program whose only command does what is filled in.
PROGRAM = """
import argparse, os, signal, sys, time
from engine import cli, console
from journal.errors import DriftError
def run(args):
    {body}
    return 0
class Parser:
    def parse_args(self, argv):
        return argparse.Namespace(run=run, verbose={verbose}, repeatable=True)
cli.build = lambda *wanted: Parser()
sys.exit(cli.main(["x"]))
"""


def do(body: str, *, verbose: int = 0, stdout: int | None = None) -> subprocess.CompletedProcess[bytes]:
    """What the program answers when its command does this."""
    return spawn("-c", PROGRAM.format(body=body, verbose=verbose), stdout=stdout)


@pytest.mark.parametrize(
    ("signal", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)], ids=["ctrl-c", "term", "hup"]
)
def test_a_signal_ends_with_one_clean_line_and_its_exit_code(signal: str, code: int) -> None:
    done = do(f"os.kill(os.getpid(), signal.{signal}); time.sleep(10)")
    assert done.returncode == code
    assert f"Ended by {signal}" in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_ctrl_c_while_the_program_is_being_read_ends_as_cleanly() -> None:
    early = """
import signal, sys
from engine.__main__ import main
class Reading:
    def find_spec(self, name, *rest):
        if name == "engine.cli.parser":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Reading())
sys.exit(main())
"""
    done = spawn("-c", early)
    assert (done.returncode, done.stdout) == (130, b"")
    assert done.stderr.decode() == "vfiostate: Ended by SIGINT.\n"


def test_a_fault_of_ours_is_one_line_with_its_place_and_no_traceback() -> None:
    done = do("return {}['x']")
    assert done.returncode == Exit.FAILED
    assert "internal error: KeyError: 'x' (<string>:" in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_with_v_the_traceback_of_a_fault_is_in_the_log() -> None:
    assert b"Traceback" in do("return {}['x']", verbose=1).stderr


def test_an_error_says_what_the_evidence_and_what_next() -> None:
    done = do("raise DriftError('it changed', evidence=['/etc/x: 1', 'two'], hint='look at it')")
    assert done.returncode == Exit.DRIFT
    assert done.stderr.decode().splitlines() == ["vfiostate: it changed", "  /etc/x: 1", "  two", "  -> look at it"]


@pytest.mark.parametrize("kind", [kind for kind in vars(errors).values() if isinstance(kind, type)])
def test_every_error_has_an_exit_code_of_the_vocabulary(kind: type) -> None:
    if issubclass(kind, VfiostateError):
        assert kind.exit in list(Exit) and kind.exit is not Exit.DONE
        assert kind.code


def test_an_error_of_the_system_is_named_with_its_file() -> None:
    done = do("open('/nowhere/at/all')")
    assert done.returncode == Exit.FAILED
    assert b"No such file or directory" in done.stderr and b"/nowhere/at/all" in done.stderr
    denied = do("raise PermissionError(13, 'Permission denied', '/x')").returncode
    assert denied == (Exit.FAILED if os.geteuid() == 0 else Exit.NOT_ROOT)


def test_a_reader_that_goes_away_is_no_failure_and_stops_nothing() -> None:
    body = "[console.out('x' * 100) for _ in range(10000)]; console.err('done all')"
    argv = [sys.executable, "-c", PROGRAM.format(body=body, verbose=0)]
    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(TOP)}
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), said) == (0, b"done all\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_output_that_cannot_be_written_is_a_failure() -> None:
    with open("/dev/full", "wb") as full:
        done = do("console.out('x')", stdout=full.fileno())
    assert done.returncode == Exit.FAILED
    assert b"could not be written: No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr and b"Exception" not in done.stderr


def test_output_that_the_caller_closed_is_a_failure_where_there_was_something_to_say() -> None:
    closed = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-c"]
    for body, code in (("console.out('x')", Exit.FAILED), ("pass", Exit.DONE)):
        program = PROGRAM.format(body=body, verbose=0)
        done = subprocess.run(
            [*closed, program],
            env={**os.environ, "PYTHONPATH": str(TOP)},
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
        assert done.returncode == code
        assert (b"could not be written: Bad file descriptor" in done.stderr) is bool(code)
        assert b"Traceback" not in done.stderr and b"Exception" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("argv", [["--help"], ["plan", "--help"], ["--version"]], ids=" ".join)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_help_that_cannot_be_written_is_a_failure_too(argv: list[str], unbuffered: str) -> None:
    with open("/dev/full", "wb") as full:
        done = spawn("-m", "engine", *argv, stdout=full.fileno(), environment={"PYTHONUNBUFFERED": unbuffered})
    assert done.returncode == Exit.FAILED
    assert b"could not be written: No space left on device" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_what_changed_something_is_not_to_be_run_again_for_its_output(machine: Path) -> None:
    assert main(["--simulate", str(machine), "init", "--device", "03:00.0", "--device", "03:00.1"]) == Exit.DONE
    for command, again in ((["status"], True), (["advance"], False), (["rollback"], False)):
        with open("/dev/full", "wb") as full:
            done = spawn("-m", "engine", "--simulate", str(machine), *command, stdout=full.fileno())
        assert done.returncode == Exit.FAILED
        assert (b"run the command again" in done.stderr) is again
        assert (b"see `vfiostate status`" in done.stderr) is not again


@pytest.mark.parametrize("locale", ["C", "POSIX", "en_US.ISO-8859-1"])
def test_no_locale_makes_output_fail(locale: str) -> None:
    environment = {"LC_ALL": locale, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    body = "console.out('caf\\u00e9 \\U0001f600'); console.err('\\udcff')"
    done = spawn("-c", PROGRAM.format(body=body, verbose=0), environment=environment)
    assert (done.returncode, done.stdout) == (0, b"caf\\xe9 \\U0001f600\n")


@settings(deadline=None)
@given(st.text())
def test_cleaned_text_cannot_steer_a_terminal(text: str) -> None:
    cleaned = console.clean(text)
    assert all(character.isprintable() or character in "\n\t" for character in cleaned)
    if text.isprintable():
        assert cleaned == text


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.text("ab ", max_size=5), st.text("ab", max_size=5), st.text("ab", max_size=5)), min_size=1)
)
def test_columns_line_up(rows: list[tuple[str, ...]]) -> None:
    width = max(len(row[0]) for row in rows)
    for row, line in zip(rows, console.columns(rows), strict=True):
        assert line == f"{row[0]:<{width}}  {row[1]:<{max(len(r[1]) for r in rows)}}  {row[2]}".rstrip()


def test_colours_are_for_terminals_without_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert console.paint("x", console.RED) == "\x1b[31mx\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert console.paint("x", console.RED) == "x"


def test_progress_is_plain_lines_away_from_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Plain()
    reporter.step("stubbed")
    reporter.action("run update-grub")
    reporter.line("Found linux image")
    reporter.done("done")
    reporter.action("run update-initramfs")
    reporter.done("failed")
    assert capsys.readouterr().err.splitlines() == [
        "stubbed:",
        "  run update-grub",
        "  run update-initramfs",
        "    failed",
    ]


def test_progress_on_a_terminal_shows_how_long_and_the_last_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setenv("COLUMNS", "200")
    reporter = Terminal()
    reporter.action("run update-initramfs")
    now[0] += 12
    reporter.line("")
    assert capsys.readouterr().err.endswith("  run update-initramfs (12 s)")
    now[0] += 60
    reporter.line("update-initramfs: Generating\t/boot/initrd.img\x1b[2J")
    shown = capsys.readouterr().err
    assert "run update-initramfs (1:12 min) | update-initramfs: Generating /boot/initrd.img" in shown
    assert "\x1b[2J" not in shown
    reporter.done("done")
    assert capsys.readouterr().err.endswith("done (1:12 min)\n")

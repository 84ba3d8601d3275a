"""The commands on the article's simulated machine: what they say and how they end."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import sqlite3
from pathlib import Path

import pytest

from engine.cli import main
from engine.cli.parser import build
from engine.config import parse
from engine.documents.grammar import read
from journal.errors import Exit
from tests.cli.conftest import Run, spawn

INIT = ("init", "--device", "03:00.0", "--device", "03:00.1=10de:0e0c", "--stub", "pci-stub")


def test_a_mistyped_name_is_answered_with_the_nearest(run: Run) -> None:
    said = run("advnce")
    assert said.code == 64
    assert said.err.endswith("  -> Did you mean `advance`? `vfiostate --help` explains it.\n")
    assert "Did you mean" not in run("xyzzy").err


@pytest.mark.parametrize(
    ("words", "meant"), [("advance --agian", "--again"), ("journal show --setpu=1 --last 2", "--setup")]
)
def test_a_mistyped_option_is_answered_by_its_command_with_the_nearest(run: Run, words: str, meant: str) -> None:
    said = run(*words.split())
    assert said.code == 64
    command = words.partition(" -")[0]
    assert said.err.startswith(f"usage: vfiostate {command} ")
    assert said.err.endswith(f"  -> Did you mean `{meant}`? `vfiostate {command} --help` explains it.\n")


@pytest.mark.parametrize("words", [[], ["journal"], ["machine"], ["guest"]])
def test_the_help_of_what_has_commands_describes_them_in_words_of_ours_or_not_at_all(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--help"]) == 0
    assert "None" not in capsys.readouterr().out


@pytest.mark.parametrize("words", [command.words for command in read().leaves()])
def test_every_command_has_help_with_an_example(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words.split()[1:], "--help"]) == 0
    shown = capsys.readouterr().out
    assert "example:" in shown
    assert words.split()[1] in shown.partition("example:")[2]


@pytest.mark.parametrize("words", ["", *(command.words for command in read().leaves())])
def test_help_fits_a_narrow_terminal(
    words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    main([*words.split()[1:], "--help"])
    shown = capsys.readouterr().out
    assert [line for line in shown.splitlines() if len(line) > 80 and not line.startswith("  ")] == []
    assert shown.isascii()


@pytest.mark.parametrize("words", [command.words for command in read().leaves()])
def test_the_example_of_every_command_is_understood(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    main([*words.split()[1:], "--help"])
    for line in capsys.readouterr().out.partition("example:")[2].splitlines():
        argv = line.partition(" > ")[0].removeprefix("  ").removeprefix("sudo ").split()
        if argv[:1] == ["vfiostate"]:
            build().parse_args(argv[1:])


WRONG = [
    ([], "COMMAND"),
    (["frobnicate"], "frobnicate"),
    (["advance", "--until", "nowhere"], "modules_loaded"),
    (["advance", "--unt", "bound"], "--unt"),
    (["init"], "--device"),
    (["--simulate", "/tmp/x", "--root", "/", "status"], "not allowed with"),
    (["--root", "/nowhere/at/all", "status"], "not a directory"),
    (["--simulate", "/tmp/x", "--config", "relative", "status"], "absolute path"),
    (["journal", "show", "--last", "0"], "number from 1"),
]


@pytest.mark.parametrize(("argv", "said"), WRONG, ids=[" ".join(argv) or "nothing" for argv, _ in WRONG])
def test_wrong_usage_ends_with_64_and_says_what_is_wrong(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == Exit.USAGE
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.out == ""


@pytest.mark.parametrize("command", [["rollback"], ["status"], ["journal", "verify"], ["devices"]])
def test_an_empty_directory_is_no_system(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--root", str(tmp_path), *command]) == Exit.USAGE
    shown = capsys.readouterr()
    assert "expected a system, found no etc/ in it" in shown.err
    assert shown.out == ""
    assert list(tmp_path.iterdir()) == []


def test_init_writes_a_configuration_that_says_what_was_asked_for(run: Run, machine: Path) -> None:
    answer = run(*INIT, "--x-vga", "03:00.0", "--memory", "4096", "--tap", "tap0,bridge=br0")
    assert answer.code == 0
    config = parse((machine / "etc/vfiostate.toml").read_bytes())
    assert [(device.address, device.id, device.x_vga) for device in config.devices] == [
        ("0000:03:00.0", "10de:1200", True),
        ("0000:03:00.1", "10de:0e0c", False),
    ]
    assert config.guest is not None
    assert (config.stub, config.guest.memory, config.guest.networks[0].bridge) == ("pci-stub", 4096, "br0")
    assert (machine / "etc/vfiostate.toml").stat().st_mode & 0o777 == 0o644


def test_init_names_what_must_go_along(run: Run) -> None:
    answer = run("init", "--device", "03:00.0")
    assert "0000:03:00.1 [10de:0e0c] is in IOMMU group" in answer.err


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("00:11.0", "holds disks that the host uses"),
        ("00:00.0", "is a bridge"),
        ("00:00.2", "IOMMU group"),
        ("01:00.0", "the graphics card the host boots on"),
    ],
)
def test_init_warns_of_what_checked_refuses(run: Run, device: str, said: str) -> None:
    answer = run("init", "--device", device)
    assert answer.code == 0
    assert re.search(rf"^warning: .*{said}", answer.err, re.MULTILINE)
    assert run("plan").code == Exit.REFUSED


def test_init_warns_of_nothing_that_can_go(run: Run) -> None:
    assert run(*INIT).err == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--disk", "/x,bootindex=-1"), "expected 0 to 1000, found a whole number (-1)"),
        (("--disk", "/x,bootindex=99999999999"), "expected 0 to 1000, found a whole number (99999999999)"),
        (("--no-guest", "--memory", "5"), "--no-guest and --memory exclude each other."),
        (("--no-guest", "--localtime"), "--no-guest and --localtime exclude each other."),
        (("--no-guest", "--disk", "/x"), "--no-guest and --disk exclude each other."),
    ],
)
def test_init_refuses_what_cannot_be_meant(run: Run, machine: Path, options: tuple[str, ...], said: str) -> None:
    answer = run(*INIT, *options)
    assert answer.code == Exit.USAGE
    assert said in answer.err
    assert not (machine / "etc/vfiostate.toml").exists()


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("/etc/none/x.toml", "No such file or directory (ENOENT): {machine}/etc/none."),
        ("/etc", "Is a directory (EISDIR): {machine}/etc."),
        (f"/etc/{'x' * 300}", "File name too long (ENAMETOOLONG): {machine}/etc/xxx"),
    ],
)
def test_init_says_where_it_cannot_write(run: Run, machine: Path, place: str, said: str) -> None:
    answer = run(*INIT, "--force", "--config", place)
    assert answer.code == Exit.FAILED
    assert f"cannot be written: {said.format(machine=machine)}" in answer.err
    assert ".tmp" not in answer.err
    assert "-> Name a file in a directory that is there" in answer.err


def test_before_images_that_have_no_place_are_refused_in_words(run: Run, tmp_path: Path) -> None:
    assert run(*INIT).code == 0
    assert run("advance").code == 0
    answer = run("journal", "export", "--before-images", f"{tmp_path}/no/where")
    assert answer.code == Exit.FAILED
    assert answer.err.startswith(f"vfiostate: --before-images {tmp_path}/no/where cannot be made: No such file")
    assert "-> Name a new directory" in answer.err


@pytest.mark.parametrize("command", [["plan"], ["advance"], ["status"], ["audit"], ["journal", "show"]])
def test_a_pipe_as_configuration_keeps_nobody_waiting(machine: Path, command: list[str]) -> None:
    os.mkfifo(machine / "etc/vfiostate.toml", 0o600)
    done = spawn("-m", "engine", "--simulate", str(machine), *command)
    if command[0] in ("plan", "advance"):
        assert done.returncode == Exit.USAGE
        assert b"is not a configuration: it is no regular file." in done.stderr
    else:
        assert done.returncode in (Exit.DONE, Exit.FAILED)


def test_the_exit_codes_of_the_help_are_all_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    said = capsys.readouterr().out.partition("exit codes:")[2]
    numbers = {int(number) for number in re.findall(r"\b\d+\b", said)}
    assert numbers == {*Exit, 128 + signal.SIGHUP, 128 + signal.SIGINT, 128 + signal.SIGTERM}


def test_init_replaces_nothing_without_force(run: Run, machine: Path) -> None:
    run(*INIT)
    (machine / "etc/vfiostate.toml").write_text("mine")
    answer = run(*INIT)
    assert (answer.code, (machine / "etc/vfiostate.toml").read_text()) == (Exit.REFUSED, "mine")
    assert "--force" in answer.err
    assert run(*INIT, "--force").code == 0


REFUSED = [
    (["--device", "05:00.0"], Exit.REFUSED, "no device at 0000:05:00.0"),
    (["--device", "03:00.0=10de:ffff"], Exit.REFUSED, "found 10de:1200"),
    (["--device", "03:00"], Exit.USAGE, "not a PCI address"),
    (["--device", "03:00.0=10de"], Exit.USAGE, "not a PCI id"),
    (["--device", "03:00.0", "--device", "0000:03:00.0"], Exit.USAGE, "twice"),
    (["--device", "03:00.0", "--memory", "1"], Exit.USAGE, "16"),
    (["--device", "03:00.0", "--vnc", "0.0.0.0:0"], Exit.USAGE, "loopback"),
    (["--device", "03:00.0", "--disk", "/a,size=3"], Exit.USAGE, "guest.disks.size: unknown key"),
    (["--device", "03:00.0", "--disk", "/a,b"], Exit.USAGE, "KEY=VALUE"),
    (["--device", "03:00.0", "--x-vga", "01:00.0"], Exit.USAGE, "--x-vga"),
    (["--device", "03:00.1", "--x-vga", "03:00.1"], Exit.REFUSED, "is no VGA card (class 0403)"),
]


@pytest.mark.parametrize(("argv", "code", "said"), REFUSED, ids=[" ".join(argv) for argv, _, _ in REFUSED])
def test_init_writes_nothing_that_is_wrong(run: Run, machine: Path, argv: list[str], code: Exit, said: str) -> None:
    answer = run("init", *argv)
    assert answer.code == code
    assert said in answer.err
    assert not (machine / "etc/vfiostate.toml").exists()


def test_devices_are_listed_by_group_with_driver_and_neighbours(run: Run) -> None:
    shown = run("devices").out
    after = shown[shown.index("0000:03:00.0 [10de:1200]") :]
    assert "driver nouveau" in after.splitlines()[1]
    assert "shares its group with 0000:03:00.1" in after.splitlines()[1]
    only = run("devices", "03:00.1").out
    assert "0000:03:00.0" in only and "0000:01:00.0" not in only
    assert run("devices", "05:00.0").code == Exit.REFUSED


def test_devices_for_programs_say_the_same(run: Run) -> None:
    data = json.loads(run("devices", "--json").out)
    assert data["schema"] == "vfiostate.devices/1"
    by_address = {device["address"]: device for device in data["devices"]}
    card = by_address["0000:03:00.0"]
    assert (card["id"], card["driver"], card["class"]) == ("10de:1200", "nouveau", "030000")
    assert card["shares_group_with"] == ["0000:03:00.1"]


def test_without_a_configuration_every_command_leads_to_init(run: Run) -> None:
    for command in ("plan", "advance"):
        answer = run(command)
        assert answer.code == Exit.USAGE
        assert "vfiostate init" in answer.err


def test_status_before_anything_says_what_comes_first(run: Run) -> None:
    answer = run("status")
    assert answer.code == 0
    assert "new (nothing was set up on this host yet)" in answer.out
    assert json.loads(run("status", "--json").out)["state"] == "new"


def test_a_plan_shows_diffs_commands_and_how_they_are_undone_and_changes_nothing(run: Run, machine: Path) -> None:
    run(*INIT)
    before = {path: path.read_bytes() for path in (machine / "etc").rglob("*") if path.is_file()}
    answer = run("plan", "--all")
    assert answer.code == 0
    assert "+menuentry 'vfiostate: trial boot of setup " in answer.out
    assert "run grub-editenv /boot/grub/grubenv set next_entry=vfiostate-trial" in answer.out
    assert "GRUB_CMDLINE_LINUX_DEFAULT" not in answer.out
    assert "run update-grub" in answer.out
    default = run("plan", "--all", "--no-trial")
    assert '+GRUB_CMDLINE_LINUX_DEFAULT="quiet splash vfiostate.setup=' in default.out
    assert "menuentry" not in default.out
    assert "undone: from its before-image" in answer.out
    assert before == {path: path.read_bytes() for path in (machine / "etc").rglob("*") if path.is_file()}
    assert not (machine / "var/lib/vfiostate/journal.db").exists()
    assert run("plan", "--detailed-exitcode").code == Exit.PENDING
    data = json.loads(run("plan", "--all", "--json").out)
    assert [step["step"] for step in data["steps"]][:3] == ["checked", "modules_loaded", "stubbed"]


def test_the_whole_way_and_back_by_the_commands_alone(run: Run, machine: Path) -> None:
    grub = (machine / "etc/default/grub").read_bytes()
    run(*INIT)
    assert "state: checked" in run("advance").out.splitlines()
    assert run("advance", "--until", "stubbed").code == 0
    answer = run("advance")
    assert (answer.code, "rebooted since" in answer.err) == (Exit.REBOOT, True)
    assert (machine / "etc/default/grub").read_bytes() == grub
    assert run("machine", "reboot").code == 0
    assert run("advance").code == 0
    assert "vfiostate.setup=" in (machine / "etc/default/grub").read_text()
    assert "state: running" in run("advance", "--until", "running").out.splitlines()
    assert json.loads(run("status", "--json").out)["state"] == "running"
    assert run("rollback").code == Exit.REBOOT
    run("machine", "reboot")
    answer = run("rollback")
    assert answer.code == 0
    assert "as before: /etc/default/grub" in answer.out
    assert "gone again: /usr/local/sbin/vfiostate-bind" in answer.out
    assert (machine / "etc/default/grub").read_bytes() == grub
    assert run("journal", "verify").code == 0


def test_drift_is_shown_by_status_with_its_exit_code(run: Run, machine: Path) -> None:
    run(*INIT)
    run("advance", "--until", "modules_loaded")
    with open(machine / "etc/modules", "a") as modules:
        modules.write("mine\n")
    answer = run("status")
    assert answer.code == Exit.DRIFT
    assert "/etc/modules: changed since we wrote it" in answer.out
    assert json.loads(run("status", "--json").out)["drift"][0]["path"] == "/etc/modules"


def test_the_journal_is_shown_checked_and_exported(run: Run, machine: Path) -> None:
    assert run("journal", "show").code == Exit.FAILED
    run(*INIT)
    run("advance", "--until", "modules_loaded")
    shown = run("journal", "show").out
    assert "edit /etc/modules" in shown
    assert run("journal", "show", "--last", "1").out.splitlines()[-1].endswith("checked -> modules_loaded")
    lines = [json.loads(line) for line in run("journal", "show", "--json").out.splitlines()]
    assert {line["schema"] for line in lines} == {"vfiostate.journal-event/1"}
    assert json.loads(run("journal", "verify", "--json").out)["ok"] is True
    events = [json.loads(line) for line in run("journal", "export", "--complete").out.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))


def test_an_export_names_nobody_unless_it_is_complete(run: Run, machine: Path) -> None:
    run(*INIT, "--disk", "/home/marvin/win7.img", "--tap", "tap0,mac=52:54:00:ab:cd:ef")
    with open(machine / "etc/passwd", "a") as passwd:
        passwd.write("marvin:x:1000:1000::/home/marvin:/bin/sh\n")
    run("advance")
    secret = ("marvin", "52:54:00:ab:cd:ef")
    exported, complete = run("journal", "export").out, run("journal", "export", "--complete").out
    assert not any(word in exported for word in secret)
    assert all(word in complete for word in secret)
    hashes = [[json.loads(line)["hash"] for line in text.splitlines()] for text in (exported, complete)]
    assert hashes[0] == hashes[1]


def test_a_damaged_journal_is_shown_up_to_the_damage_and_nothing_is_written_to_it(run: Run, machine: Path) -> None:
    run(*INIT)
    run("advance", "--until", "modules_loaded")
    place = machine / "var/lib/vfiostate/journal.db"
    with sqlite3.connect(place) as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f'DROP TRIGGER "{name}"')
        database.execute("UPDATE events SET body = replace(body, 'checked', 'chicked') WHERE seq = 3")
    database.close()
    before = place.read_bytes()
    shown = run("journal", "show")
    assert shown.code == Exit.DAMAGED
    assert "setup" in shown.out
    for command in (["journal", "verify"], ["status"], ["advance"], ["rollback"]):
        assert run(*command).code == Exit.DAMAGED, command
    assert place.read_bytes() == before


def test_a_mistake_in_the_configuration_keeps_nobody_from_the_way_back(run: Run, machine: Path) -> None:
    run(*INIT)
    run("advance", "--until", "modules_loaded")
    (machine / "etc/vfiostate.toml").write_text("nonsense =")
    assert run("status").code == 0
    assert run("journal", "show").code == 0
    assert run("rollback").code == 0


def test_the_machine_is_drawn_as_mermaid_and_dot(run: Run) -> None:
    mermaid = run("graph").out
    assert "modules_loaded --> stubbed: stub" in mermaid
    assert run("graph", "--format", "dot").out.startswith("digraph")


def test_svg_without_graphviz_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if shutil.which("dot"):
        assert "<svg" in run("graph", "--format", "svg").out
    monkeypatch.setenv("PATH", str(tmp_path))
    answer = run("graph", "--format", "svg")
    assert (answer.code, "graphviz" in answer.err) == (Exit.FAILED, True)


def test_a_second_run_at_the_same_time_is_told_who_works(run: Run, machine: Path) -> None:
    run(*INIT)
    run("advance")
    with open(machine / "run/lock/vfiostate.lock", "rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        answer = run("advance")
    assert answer.code == Exit.LOCKED
    assert run("status").code == 0


@pytest.mark.parametrize("umask", [0o002, 0o077, 0o000])
def test_the_callers_umask_decides_nothing(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        simulated = ["--simulate", str(tmp_path / "m")]
        assert main([*simulated, "machine", "create"]) == 0
        assert main([*simulated, *INIT]) == 0
        assert main([*simulated, "advance"]) == 0
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert (tmp_path / "m/etc/vfiostate.toml").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "m/etc").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "m/var/lib/vfiostate").stat().st_mode & 0o777 == 0o700

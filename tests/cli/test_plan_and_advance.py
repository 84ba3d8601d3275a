"""What a person reads of a plan before, and of a step while and after it is taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.planview import rights
from engine.status import BACK, NEXT
from steps.actions import StartProcess
from steps.base import State
from tests.cli.conftest import Run
from tests.support.terminal import at_terminal

DEVICES = ("--device", "03:00.0", "--device", "03:00.1", "--stub", "pci-stub")


@pytest.fixture
def configured(run: Run) -> Run:
    """The article's machine with its graphics card in the configuration."""
    assert run("init", *DEVICES).code == 0
    return run


def test_the_whole_plan_says_where_the_reboot_comes_and_refuses_nothing_for_it(configured: Run) -> None:
    said = configured("plan", "--all")
    assert said.code == 0
    assert "rebooted: after a reboot\n" in said.out
    assert "refusal" not in said.err, said.err
    assert "cannot be planned before that boot: 0000:03:00.0 is not under vfio-pci" in said.out
    assert "reboot: once, before `rebooted`" in said.out


def test_after_the_reboot_the_whole_plan_refuses_nothing_for_devices_that_bound_will_have(configured: Run) -> None:
    assert configured("advance", "--until", "stubbed").code == 0
    assert configured("machine", "reboot").code == 0
    said = configured("plan", "--all")
    assert said.code == 0
    assert "refusal" not in said.err, said.err
    assert "cannot be planned before `bound`: 0000:03:00.0 is not under vfio-pci" in said.out
    steps = json.loads(configured("plan", "--all", "--json").out)["steps"]
    assert [(step["step"], step["awaits"]) for step in steps] == [
        ("rebooted", None),
        ("bound", None),
        ("running", "bound"),
    ]
    assert configured("advance", "--until", "running").code == 0


def test_the_plan_ends_with_what_there_is_of_it_and_what_stays_after_a_rollback(configured: Run) -> None:
    end = configured("plan", "--all").out.splitlines()[-6:]
    assert end[0].startswith("in all: 2 files made, 2 files edited, 8 commands, 6 kernel attributes written")
    assert end[2] == "undone: all of it, by `vfiostate rollback`, except"
    assert end[3].startswith("  run modprobe vfio-pci: a loaded module holds nothing by itself")
    assert end[4] == "setup: 000000000000 stands for the number that it gets at the first `advance`"
    assert end[5] == "next: vfiostate advance"


def test_a_plan_that_waits_for_the_reboot_still_says_so_with_its_exit_code(configured: Run) -> None:
    assert configured("advance", "--until", "stubbed").code == 0
    said = configured("plan")
    assert said.code == 3
    assert "has not been rebooted" in said.err and "rebooted: after a reboot" in said.out


def test_what_a_step_leaves_alone_is_told_under_it_and_not_at_the_end(configured: Run) -> None:
    said = configured("advance", "--until", "stubbed")
    checked, _, rest = said.err.partition("modules_loaded:\n")
    assert checked.startswith("checked:\n  - IOMMU: on\n")
    loaded, _, stubbed = rest.partition("stubbed:\n")
    assert "  - vfio_virqfd is part of another module in this kernel\n  run modprobe vfio\n" in loaded
    assert "  - trial boot: the next boot, and only that one" in stubbed.partition("  make ")[0]
    assert "trial boot" not in said.out


def test_the_plan_for_programs_has_the_reboot_and_the_expected_seconds(configured: Run) -> None:
    assert configured("advance", "--until", "stubbed").code == 0
    assert configured("rollback").code == 0
    steps = json.loads(configured("plan", "--all", "--json").out)["steps"]
    assert [step["step"] for step in steps if step["after_reboot"]] == ["rebooted"]
    seconds = {action["what"]: action["expected_seconds"] for step in steps for action in step["actions"]}
    assert isinstance(seconds["run update-grub"], float)
    assert seconds["edit /etc/modules"] is None


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_diff_is_coloured_at_a_terminal_unless_no_color_is_set(configured: Run, machine: Path, no_color: str) -> None:
    assert configured("advance").code == 0
    code, screen = at_terminal("--simulate", str(machine), "plan", environment={"NO_COLOR": no_color})
    assert code == 0
    assert ("\x1b[32m+vfio\x1b[0m" in screen) is (not no_color)
    assert ("\x1b" in screen) is (not no_color)


def test_advance_ends_with_where_one_is_what_comes_next_and_how_to_go_back(configured: Run) -> None:
    said = configured("advance", "--until", "stubbed")
    state, after, back = said.out.splitlines()[-3:]
    assert state == "state: stubbed"
    assert after == "next: reboot, then vfiostate advance (or vfiostate advance --reboot)"
    assert back == "back: vfiostate rollback (needs a reboot only where the new command line was booted)"


def test_a_step_that_waits_is_refused_or_fails_says_the_same(
    configured: Run, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert configured("advance", "--until", "modules_loaded").code == 0
    monkeypatch.setattr("engine.hosts.simulated.host.SimulatedHost.write_file", _full)
    failed = configured("advance")
    assert failed.code == 1
    assert failed.out.splitlines()[-3] == "state: modules_loaded"
    assert failed.out.splitlines()[-1].startswith("back: vfiostate rollback")
    monkeypatch.undo()
    assert configured("advance").code == 0
    waits = configured("advance")
    assert waits.code == 3
    assert waits.out.splitlines()[-2].startswith("next: reboot, then vfiostate advance")


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device", "/etc/x")


def test_at_a_terminal_the_step_and_its_actions_stay_on_the_screen(configured: Run, machine: Path) -> None:
    code, screen = at_terminal(
        "--simulate", str(machine), "advance", "--until", "stubbed", environment={"NO_COLOR": "1", "COLUMNS": "200"}
    )
    assert code == 0
    assert "stubbed:\n" in screen
    assert "  run update-grub  done\n" in screen.replace("\r\x1b[K", "")
    assert screen.rstrip().splitlines()[-1].startswith("back: ")


def test_a_setup_is_explained_in_lines_that_fit_the_terminal(configured: Run, machine: Path) -> None:
    assert configured("advance").code == 0
    for width in (50, 80):
        environment = {"NO_COLOR": "1", "COLUMNS": str(width)}
        code, screen = at_terminal("--simulate", str(machine), "journal", "explain", environment=environment)
        assert code == 0
        assert width - 15 < max(len(line.rstrip()) for line in screen.splitlines()) <= width


def test_after_a_trial_that_failed_status_offers_one_more(configured: Run) -> None:
    assert configured("advance", "--until", "stubbed").code == 0
    assert configured("machine", "reboot", "--fails").code == 0
    assert "next   vfiostate advance (looks whether the reboot took)" in configured("status").out
    assert configured("advance").code == 5
    assert "vfiostate advance --again (one more trial boot)" in configured("status").out


def test_without_a_guest_the_way_ends_when_the_devices_are_bound(run: Run) -> None:
    assert run("init", *DEVICES, "--no-guest").code == 0
    assert run("advance", "--until", "stubbed").code == 0
    assert run("machine", "reboot").code == 0
    said = run("advance", "--until", "bound")
    assert said.code == 0
    assert "next: nothing: the configuration has no [guest]" in said.out
    assert "the configuration has no [guest]" in run("status").out


def test_status_for_programs_has_the_same_keys_whatever_was_done_and_each_hint(configured: Run) -> None:
    def told() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(configured("status", "--json").out)
        return found

    fresh = told()
    assert (fresh["setup"], fresh["boot"], fresh["drift"], fresh["failures"]) == (None, None, [], [])
    assert configured("advance", "--until", "stubbed").code == 0
    assert told().keys() == fresh.keys()
    assert configured("machine", "reboot", "--fails").code == 0
    assert configured("advance").code == 5
    failed = told()
    assert failed.keys() == fresh.keys()
    assert [one["message"] for one in failed["failures"]] == [failed["last_failure"]]
    assert "`vfiostate advance --again`" in failed["failures"][0]["hint"]


def test_status_tells_programs_where_the_hint_is_that_comes_next(configured: Run, machine: Path) -> None:
    grub = machine / "etc/default/grub"
    grub.write_text(grub.read_text() + 'GRUB_CMDLINE_LINUX="quiet\n')
    assert configured("advance").code == 5
    assert "next          follow the hint above, then vfiostate advance" in configured("status").out
    told = json.loads(configured("status", "--json").out)
    assert told["next"] == "follow the hint in `failures`, then vfiostate advance" and told["failures"][0]["hint"]


def test_status_names_no_step_that_would_stop_at_what_differs(configured: Run, machine: Path) -> None:
    assert configured("advance", "--until", "modules_loaded").code == 0
    modules = machine / "etc/modules"
    modules.write_text(modules.read_text().replace("vfio_iommu_type1\n", "# taken out\n"))
    said = configured("status")
    assert (said.code, "cannot be told apart" in said.out) == (4, True)
    assert "next   mend what differs (vfiostate audit says how), then vfiostate advance" in said.out
    hints = [line.partition("->")[2] for line in configured("audit").out.splitlines() if "->" in line]
    assert any("rollback --to checked" in hint for hint in hints)
    assert all("what is said of /etc/modules comes first" in hint for hint in hints if "rollback --to" in hint)
    assert configured("advance").code == 4


def test_a_state_that_lies_behind_is_called_so(configured: Run) -> None:
    assert configured("advance", "--until", "modules_loaded").code == 0
    said = configured("advance", "--until", "checked")
    assert (said.code, "already `modules_loaded`: `checked` lies behind\n" in said.out) == (0, True)
    said = configured("advance", "--until", "modules_loaded")
    assert (said.code, "already `modules_loaded`\n" in said.out) == (0, True)


def test_a_host_that_was_asked_to_reboot_need_not_be_asked_again(configured: Run) -> None:
    assert configured("advance", "--until", "stubbed").code == 0
    said = configured("advance", "--reboot")
    assert said.code == 3
    assert "the host was asked to reboot\nstate: stubbed\nnext: vfiostate advance after the boot\n" in said.out


def test_where_nothing_was_begun_the_first_command_is_named(run: Run) -> None:
    assert "vfiostate doctor (what stands in the way), then vfiostate init" in run("status").out
    assert run("init", *DEVICES).code == 0
    assert "next   vfiostate advance (checks the host; changes nothing)" in run("status").out


def test_every_state_says_how_to_go_back() -> None:
    assert set(BACK) == set(NEXT) == set(State)


def test_a_configuration_mended_after_a_refusal_is_planned_as_advance_will_take_it(run: Run) -> None:
    assert run("init", "--device", "03:00.0").code == 0
    assert run("advance").code == 5
    assert run("init", "--force", *DEVICES).code == 0
    said = run("plan")
    assert said.code == 0, said.err
    assert "next: vfiostate advance\n" in said.out
    assert run("advance").code == 0


def test_a_configuration_changed_after_checked_is_refused_by_plan_as_by_advance(configured: Run) -> None:
    assert configured("advance").code == 0
    assert configured("init", "--force", "--device", "03:00.0").code == 0
    for command in ("plan", "advance"):
        said = configured(command)
        assert said.code == 5, said
        assert "The configuration changed after `checked`: devices, stub." in said.err


def test_what_only_the_start_of_the_guest_goes_by_may_change_after_checked(configured: Run, machine: Path) -> None:
    config = machine / "etc/vfiostate.toml"
    assert configured("advance").code == 0
    text = config.read_text()
    config.write_text(text.replace("# x_vga = false", "x_vga = true", 1).replace("# romfile =", "romfile =", 1))
    assert text.count("# x_vga = false") and text.count("# romfile =")
    assert configured("plan").code == 0
    assert configured("advance").code == 0
    told = configured("journal", "explain").out
    assert "The configuration was changed: devices." in told
    config.write_text(config.read_text().replace('id = "10de:1200"', 'id = "10de:1201"'))
    said = configured("advance")
    assert said.code == 5 and "The configuration changed after `checked`: devices." in said.err


@pytest.mark.parametrize(
    ("user", "words", "said"),
    [
        ("nobody", (), "runs as nobody"),
        (None, ("-runas", "kvmguest"), "starts as root and becomes kvmguest"),
        (None, (), "runs as whoever runs vfiostate"),
    ],
)
def test_a_plan_says_whose_the_guests_process_will_be(user: str | None, words: tuple[str, ...], said: str) -> None:
    assert rights(StartProcess("win7", ("qemu", *words), "the test", user=user)) == said

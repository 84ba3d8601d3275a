"""The trial boot, step by step: what stands against one, the entry that is made for it, and every answer after it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journal.errors import Exit
from steps import boot_log, own_devices, trial
from steps.actions import EditFile, RemoveFile, RunCommand
from steps.base import Brief, Completed, Finding, Plan, Severity
from steps.boot import grub_cfg, grub_trial
from steps.boot.base import BootFacts, Trial
from steps.boot.grub import CFG, Grub
from steps.boot.grub_default import DEFAULT
from steps.own_devices import OwnDevices
from steps.reboot import STEP as REBOOT
from steps.stub import STEP as STUB
from tests.boot.machine import AUDIO, GPU, NEXT_BOOT, RELEASE, SETUP, USB, Card, Machine, brief
from tests.support.memory_host import Link, MemoryHost, completed

ENV = grub_trial.ENV
SCRIPT = grub_trial.SCRIPT
TOKENS = (f"vfiostate.setup={SETUP}", "vfio-pci.ids=10de:1200,10de:0e0c,1002:4397")
OURS = " ".join(TOKENS)
UBUNTU = (Path(__file__).parent / "data" / "ubuntu-grub.cfg").read_bytes()
PROBED: dict[tuple[str, ...] | str, str | Completed] = {
    ("grub-probe", "--target=abstraction", "/boot/grub"): "",
    ("grub-probe", "--target=fs", "/boot/grub"): "ext2\n",
}


def block(*lines: str) -> bytes:
    """An environment block as grub-editenv writes it."""
    text = "".join(f"{line}\n" for line in ("# GRUB Environment Block", *lines))
    return (text + "#" * (1024 - len(text))).encode()


class Tried(Machine):
    """A machine whose GRUB can boot an entry once."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.host.commands |= {"grub-editenv", "grub-probe"}
        self.host.answers = dict(PROBED)
        self.host.tree[ENV] = block()

    def update_grub(self) -> None:
        """With what our script prints."""
        super().update_grub()
        script = self.host.tree.get(SCRIPT)
        if isinstance(script, bytes):
            section = f"### BEGIN {SCRIPT} ###\n".encode() + b"".join(script.splitlines(keepends=True)[3:])
            content = self.host.tree[CFG]
            assert isinstance(content, bytes)
            self.host.tree[CFG] = content + section

    def carry_out(self, plan: Plan) -> None:
        """A plan's actions, also those that the machine without a trial does not know."""
        for action in plan.actions:
            if isinstance(action, RemoveFile):
                del self.host.tree[action.path]
            elif isinstance(action, RunCommand) and action.argv[0] == "grub-editenv":
                self.host.tree[ENV] = block(action.argv[3])
            else:
                self.apply([action])

    def power_cycle(self) -> None:
        """GRUB has taken its choice, and the old command line is booted."""
        self.host.tree[ENV] = block("next_entry=")
        self.boot("root=/dev/sda1 ro quiet splash", driver=None)

    def trial_boot(self, release: str = RELEASE) -> None:
        """The trial comes up."""
        self.host.tree[ENV] = block("next_entry=")
        self.boot(f"root=/dev/sda1 ro quiet splash {OURS} panic=30", driver="vfio-pci", release=release)


def staged(**more: object) -> tuple[Tried, Brief]:
    """A machine on which a trial is staged, and the brief of the next step."""
    machine = Tried(**more)  # type: ignore[arg-type]
    told = brief(trial=True)
    plan = STUB.plan(told, STUB.probe(machine.host, told))
    machine.carry_out(plan)
    assert STUB.verify(told, STUB.probe(machine.host, told)) == ()
    return machine, brief(remembered=plan.remember, trial=True)


def planned(machine: Machine, told: Brief) -> Plan:
    """What `rebooted` would do."""
    return REBOOT.plan(told, REBOOT.probe(machine.host, told))


def only(machine: Machine, told: Brief) -> Finding:
    """The one answer of the step `rebooted`; nothing is done."""
    plan = planned(machine, told)
    (finding,) = plan.findings
    assert plan.actions == () and finding.severity is Severity.REFUSAL and finding.hint and finding.evidence
    return finding


# --- what is staged


def test_the_default_is_not_touched_and_the_choice_for_the_next_boot_comes_last() -> None:
    machine = Tried()
    default = machine.host.tree[DEFAULT]
    told = brief(trial=True)
    plan = STUB.plan(told, STUB.probe(machine.host, told))
    assert [action.path for action in plan.actions if isinstance(action, EditFile)][-1] == SCRIPT
    ran = [action.argv for action in plan.actions if isinstance(action, RunCommand)]
    assert ran[-2:] == [("update-grub",), ("grub-editenv", ENV, "set", "next_entry=vfiostate-trial")]
    machine.carry_out(plan)
    assert machine.host.tree[DEFAULT] == default
    facts = Grub().read(machine.host, SETUP)
    assert facts.trial.pending and facts.trial.words is not None
    assert facts.default is not None and not set(TOKENS) & set(facts.default.words)
    assert facts.trial.words == (*facts.default.words, *TOKENS, "panic=30")
    assert any("trial boot" in note for note in plan.notes)


def test_without_a_trial_the_default_is_edited_and_nothing_else_is_made() -> None:
    machine = Tried()
    told = brief()
    plan = STUB.plan(told, STUB.probe(machine.host, told))
    paths = [action.path for action in plan.actions if isinstance(action, EditFile)]
    assert DEFAULT in paths and SCRIPT not in paths
    assert any("no trial boot" in note for note in plan.notes)


def refusals(machine: Tried) -> list[Finding]:
    """What refuses the step `stubbed`."""
    told = brief(trial=True)
    plan = STUB.plan(told, STUB.probe(machine.host, told))
    found = [each for each in plan.findings if each.severity is Severity.REFUSAL]
    assert (plan.actions == ()) is bool(found)
    return found


def _abstraction(machine: Tried, said: str) -> None:
    machine.host.answers = {**PROBED, ("grub-probe", "--target=abstraction", "/boot/grub"): said}


def _file_system(machine: Tried, said: str) -> None:
    machine.host.answers = {**PROBED, ("grub-probe", "--target=fs", "/boot/grub"): said}


def _fails(machine: Tried) -> None:
    argv = ("grub-probe", "--target=fs", "/boot/grub")
    machine.host.answers = {**PROBED, argv: completed(argv, status=1, stderr="grub-probe: error: no device.\n")}


def _old_grub(machine: Tried) -> None:
    content = machine.host.tree[CFG]
    assert isinstance(content, bytes)
    machine.host.tree[CFG] = content.replace(b"next_entry", b"prev_entry")


OBSTACLES = {
    "old GRUB": (_old_grub, "does not look at next_entry"),
    "somebody else's choice": (lambda m: m.host.tree.update({ENV: block("next_entry=Windows")}), "'Windows'"),
    "no grub-editenv": (lambda m: m.host.commands.discard("grub-editenv"), "grub-editenv not found"),
    "no grub-probe": (lambda m: m.host.commands.discard("grub-probe"), "grub-probe not found"),
    "no tools": (lambda m: m.host.commands.difference_update({"grub-editenv", "grub-probe"}), "and grub-probe not"),
    "lvm": (lambda m: _abstraction(m, "lvm\n"), "lies on lvm"),
    "md": (lambda m: _abstraction(m, "diskfilter mdraid1x\n"), "lies on diskfilter, mdraid1x"),
    "btrfs": (lambda m: _file_system(m, "btrfs\n"), "is on btrfs"),
    "zfs": (lambda m: _file_system(m, "zfs\n"), "is on zfs"),
    "grub-probe says nothing": (lambda m: _file_system(m, "\n"), "an unknown file system"),
    "grub-probe fails": (_fails, "grub-probe: error: no device."),
}


CURES = {
    "somebody else's choice": f"`grub-editenv {ENV} unset next_entry`",
    "no grub-editenv": "install the package",
    "no tools": "install the package",
    "btrfs": None,
}


@pytest.mark.parametrize("name", list(CURES))
def test_what_the_user_can_take_away_is_advised_before_doing_without_a_trial(name: str) -> None:
    machine, cure = Tried(), CURES[name]
    OBSTACLES[name][0](machine)
    (finding,) = refusals(machine)
    before, _, _ = finding.hint.partition("`vfiostate advance --no-trial`")
    assert before.startswith("The choice is yours") if cure is None else cure in before


def test_where_one_obstacle_would_stay_nobody_is_sent_to_take_away_another() -> None:
    machine = Tried()
    machine.host.tree[ENV] = block("next_entry=Windows")
    _file_system(machine, "btrfs\n")
    (finding,) = refusals(machine)
    assert "unset" not in finding.hint and len(finding.evidence) == 2


@pytest.mark.parametrize("name", list(OBSTACLES))
def test_where_the_choice_would_not_be_cleared_at_boot_no_trial_is_attempted(name: str) -> None:
    machine = Tried()
    spoil, said = OBSTACLES[name]
    spoil(machine)
    (finding,) = refusals(machine)
    assert finding.code == "trial-impossible"
    assert finding.exit is Exit.REFUSED
    assert any(said in each for each in finding.evidence)
    assert "vfiostate advance --no-trial" in finding.hint
    told = brief()
    plan = STUB.plan(told, STUB.probe(machine.host, told))
    assert plan.actions and not any(each.severity is Severity.REFUSAL for each in plan.findings)


@pytest.mark.parametrize("kind", ["ext2", "xfs", "fat"])
def test_file_systems_that_grub_writes_to_are_no_obstacle(kind: str) -> None:
    machine = Tried()
    _file_system(machine, f"{kind}\n")
    assert refusals(machine) == []


ROOT_XFS = "22 1 8:1 / / rw - xfs /dev/sda1 rw"


@pytest.mark.parametrize(
    ("lines", "warned"),
    [
        ((ROOT_XFS,), True),
        ((ROOT_XFS, "23 22 8:2 / /boot2 rw - xfs /dev/sda2 rw"), True),
        ((ROOT_XFS, "23 22 8:2 / /boot rw - xfs /dev/sda2 rw"), False),
        ((ROOT_XFS, "23 22 0:30 / / rw - overlay overlay rw"), False),
        (("22 1 8:1 / / rw - ext4 /dev/sda1 rw",), False),
        ((), False),
    ],
)
def test_a_boot_configuration_on_the_roots_xfs_is_warned_of(lines: tuple[str, ...], warned: bool) -> None:
    machine = Tried()
    machine.host.tree["/proc/self/mountinfo"] = "".join(f"{line}\n" for line in lines).encode()
    told = brief()
    plan = STUB.plan(told, STUB.probe(machine.host, told))
    assert [each.code for each in plan.findings if each.code == "boot-on-xfs-root"] == ["boot-on-xfs-root"] * warned
    assert plan.actions


@pytest.mark.parametrize("lines", [(), ("next_entry=",), ("saved_entry=0",)])
def test_an_environment_block_without_a_choice_is_no_obstacle(lines: tuple[str, ...]) -> None:
    machine = Tried()
    machine.host.tree[ENV] = block(*lines)
    assert refusals(machine) == []
    del machine.host.tree[ENV]
    assert refusals(machine) == []


@pytest.mark.parametrize("node", [b"#!/bin/sh\n", Link("/elsewhere"), None])
def test_a_script_in_the_place_of_ours_is_left_alone(node: bytes | Link | None) -> None:
    machine = Tried()
    machine.host.tree[SCRIPT] = node
    assert [finding.code for finding in refusals(machine)] == ["trial-entry-exists"]


def test_a_kernel_that_grub_cfg_does_not_know_yet_comes_first() -> None:
    machine = Tried()
    machine.host.tree["/boot/vmlinuz-6.9.0-new"] = b"kernel"
    (finding,) = refusals(machine)
    assert finding.code == "generated-outdated"
    assert "update-grub" in finding.hint


def test_what_was_generated_is_looked_at() -> None:
    machine, told = staged()
    facts = Grub().read(machine.host, SETUP)
    assert list(trial.check(facts, TOKENS)) == []
    assert facts.default is not None

    def codes(changed: BootFacts) -> list[str]:
        return [each.code for each in trial.check(changed, TOKENS)]

    assert codes(replace(facts, trial=replace(facts.trial, words=("quiet", *TOKENS[1:])))) == ["trial-entry-incomplete"]
    assert codes(replace(facts, trial=replace(facts.trial, words=None))) == ["trial-entry-incomplete"]
    assert codes(replace(facts, default=replace(facts.default, words=TOKENS))) == ["default-entry-changed"]
    assert codes(replace(facts, trial=replace(facts.trial, pending=False))) == ["trial-not-chosen"]
    assert told.remembered["stubbed"]["trial"] == "staged"


# --- the script

SHAPES: Mapping[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "simple": (
        (
            "menuentry 'Debian GNU/Linux' --class debian --class os $menuentry_id_option 'gnulinux-simple-1' {",
            "\tload_video",
            "\tlinux\t/boot/vmlinuz-6.1 root=UUID=1 ro  quiet",
            "\tinitrd\t/boot/initrd.img-6.1",
            "}",
        ),
        f"menuentry 'vfiostate: trial boot of setup {SETUP}' --class debian --class os --id vfiostate-trial {{",
        ("\tload_video", f"\tlinux\t/boot/vmlinuz-6.1 root=UUID=1 ro  quiet {OURS} panic=30"),
    ),
    "in a submenu": (
        (
            "\tmenuentry 'Debian, with Linux 6.1' --class debian $menuentry_id_option 'gnulinux-6.1-advanced-1' {",
            "\t\tlinux\t/boot/vmlinuz-6.1 root=UUID=1 ro quiet ",
            "\t}",
        ),
        f"menuentry 'vfiostate: trial boot of setup {SETUP}' --class debian --id vfiostate-trial {{",
        (f"\t\tlinux\t/boot/vmlinuz-6.1 root=UUID=1 ro quiet {OURS} panic=30", "\t}"),
    ),
    "with users": (
        (
            "menuentry 'Locked' --unrestricted --users root,me --hotkey=x --id=locked {",
            "\tlinux16 /vmlinuz-6.1 root=/dev/sda1",
            "}",
        ),
        f"menuentry 'vfiostate: trial boot of setup {SETUP}' --unrestricted --users root,me --id vfiostate-trial {{",
        (f"\tlinux16 /vmlinuz-6.1 root=/dev/sda1 {OURS} panic=30",),
    ),
    "Ubuntu": (
        (
            "menuentry 'Ubuntu' --class ubuntu $menuentry_id_option 'gnulinux-simple-1' {",
            "\trecordfail",
            "\tif [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi",
            "\tlinux\t/boot/vmlinuz-6.1 root=UUID=1 ro  quiet splash $vt_handoff",
            "}",
        ),
        f"menuentry 'vfiostate: trial boot of setup {SETUP}' --class ubuntu --id vfiostate-trial {{",
        ("\trecordfail", f"\tlinux\t/boot/vmlinuz-6.1 root=UUID=1 ro  quiet splash $vt_handoff {OURS} panic=30"),
    ),
    "double quotes": (
        (
            'menuentry "Bob\'s \\"$system\\"" --class "a b" --class os {',
            '  linuxefi /vmlinuz-6.1 root=/dev/sda1 dyndbg="file a.c +p"',
            "}",
        ),
        f"menuentry 'vfiostate: trial boot of setup {SETUP}' --class os --id vfiostate-trial {{",
        (f'  linuxefi /vmlinuz-6.1 root=/dev/sda1 dyndbg="file a.c +p" {OURS} panic=30',),
    ),
}


@pytest.mark.parametrize("shape", list(SHAPES))
def test_the_script_is_the_default_entry_with_our_words_and_a_name_of_its_own(shape: str) -> None:
    template, head, kept = SHAPES[shape]
    written = grub_trial.script(SETUP, template, TOKENS).decode()
    lines = written.splitlines()
    assert lines[0] == "#!/bin/sh"
    assert f"vfiostate.setup={SETUP}" in lines[1]
    assert lines[2] == 'exec tail -n +4 "$0"'
    assert lines[3] == head
    assert len(lines) == 3 + len(template)
    assert set(kept) <= set(lines)
    changed = [old for old, new in zip(template[1:], lines[4:], strict=True) if old != new]
    assert len(changed) == 1
    (entry,) = grub_cfg.entries("\n".join(lines[3:]).encode())
    assert entry.ids == ("vfiostate-trial",)


def test_a_trial_that_is_taken_from_the_menu_by_hand_is_not_saved_as_the_default() -> None:
    head, *body = SHAPES["simple"][0]
    template = (head, "\tsavedefault", *body)
    assert grub_trial.script(SETUP, template, TOKENS) == grub_trial.script(SETUP, SHAPES["simple"][0], TOKENS)


def test_the_script_prints_its_entry_and_nothing_else(tmp_path: Path) -> None:
    script = tmp_path / "42_vfiostate"
    script.write_bytes(grub_trial.script(SETUP, SHAPES["Ubuntu"][0], TOKENS))
    done = subprocess.run(["/bin/sh", str(script)], capture_output=True, check=True)
    assert done.stderr == b""
    assert done.stdout == b"".join(script.read_bytes().splitlines(keepends=True)[3:])


@pytest.mark.parametrize("tokens", [("a b",), ("x=$y",), ("x='y'",), ("é",)])
def test_a_token_that_needs_quoting_is_never_written(tokens: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="no entry for a trial boot"):
        grub_trial.script(SETUP, SHAPES["simple"][0], tokens)


def test_an_entry_that_boots_no_linux_is_no_template() -> None:
    with pytest.raises(ValueError, match="no entry for a trial boot"):
        grub_trial.script(SETUP, ("menuentry 'Windows' {", "\tchainloader +1", "}"), TOKENS)


WORD = st.from_regex(r"[A-Za-z0-9_.$=/,:-]{1,12}", fullmatch=True)
QUOTED = st.from_regex(r'[a-z]{1,6}="[a-z +.]{0,8}"', fullmatch=True)
BODY = st.sampled_from(
    ["load_video", "insmod gzio", "\tif [ x = y ]; then insmod a; fi", "# linux not", "echo 'linux'", "recordfail", ""]
)


@settings(deadline=None, max_examples=200)
@given(
    words=st.lists(WORD | QUOTED, min_size=1, max_size=8),
    before=st.lists(BODY, max_size=4),
    after=st.lists(BODY, max_size=3),
    title=st.from_regex(r"[^'\"\\{}$\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]{1,20}", fullmatch=True),
    command=st.sampled_from(sorted(grub_cfg.LINUX)),
    indent=st.sampled_from(["", "\t", "    "]),
    spare=st.sampled_from(["", " ", "\t "]),
)
def test_the_trials_words_are_the_defaults_ours_and_panic(
    words: list[str], before: list[str], after: list[str], title: str, command: str, indent: str, spare: str
) -> None:
    line = f"{indent}{command}\t/boot/vmlinuz-6.1 {' '.join(words)}{spare}"
    body = "\n".join([f"menuentry '{title}' --class os {{", *before, line, *after, "}", ""])
    (default,) = grub_cfg.entries(body.encode())
    written = grub_trial.script(SETUP, default.lines, TOKENS)
    (entry,) = grub_cfg.entries(b"".join(written.splitlines(keepends=True)[3:]))
    assert entry.kernel == default.kernel
    assert entry.arguments == (*default.arguments, *TOKENS, "panic=30")
    assert entry.ids == ("vfiostate-trial",)


def test_the_lines_of_a_real_default_entry_are_its_template() -> None:
    host = MemoryHost({CFG: UBUNTU, DEFAULT: b'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n'})
    facts = Grub().read(host, SETUP)
    assert facts.template[0].startswith("menuentry 'Ubuntu'")
    assert facts.template[-1] == "}"
    assert facts.default is not None
    (entry,) = grub_cfg.entries(grub_trial.script(SETUP, facts.template, TOKENS).split(b"\n", 3)[3])
    assert entry.arguments == (*facts.default.words, *TOKENS, "panic=30")


# --- after the boot


def test_a_trial_that_proved_itself_becomes_the_default_and_its_entry_goes() -> None:
    machine, told = staged()
    before = machine.host.tree[DEFAULT]
    assert isinstance(before, bytes)
    machine.trial_boot()
    plan = planned(machine, told)
    assert plan.findings == ()
    assert [type(action) for action in plan.actions] == [EditFile, RemoveFile, RunCommand]
    machine.carry_out(plan)
    assert SCRIPT not in machine.host.tree
    assert machine.host.tree[DEFAULT] == before.replace(b"splash", f"splash {OURS}".encode())
    content = machine.host.tree[CFG]
    assert isinstance(content, bytes) and b"vfiostate-trial" not in content
    assert REBOOT.verify(told, REBOOT.probe(machine.host, told)) == ()


def test_a_generated_configuration_that_did_not_change_is_not_believed() -> None:
    machine, told = staged()
    machine.trial_boot()
    content = machine.host.tree[CFG]
    machine.carry_out(planned(machine, told))
    machine.host.tree[CFG] = content
    found = REBOOT.verify(told, REBOOT.probe(machine.host, told))
    assert found and all(each.severity is Severity.REFUSAL for each in found)


def test_before_the_reboot_it_says_so() -> None:
    machine, told = staged()
    finding = only(machine, told)
    assert (finding.code, finding.exit) == ("not-rebooted", Exit.REBOOT)


def test_a_boot_that_did_not_come_up_is_named_with_what_it_left() -> None:
    machine, told = staged()
    machine.power_cycle()
    finding = only(machine, told)
    assert (finding.code, finding.exit) == ("trial-failed", Exit.REFUSED)
    assert "still the default" in finding.message
    assert "left nothing in the system's log" in finding.evidence[0]
    assert "vfiostate advance --again" in finding.hint
    assert "rollback --to modules_loaded" in finding.hint
    assert planned(machine, told).before_reboot == ()


def test_it_is_made_once_more_when_asked_for() -> None:
    machine, told = staged()
    machine.power_cycle()
    told = replace(told, again=True)
    finding = only(machine, told)
    assert (finding.code, finding.exit) == ("trial-again", Exit.REBOOT)
    (choice,) = planned(machine, told).before_reboot
    assert choice == grub_trial.chosen()
    machine.host.tree[ENV] = block("next_entry=vfiostate-trial")
    finding = only(machine, replace(told, acted=NEXT_BOOT))
    assert (finding.code, finding.exit) == ("not-rebooted", Exit.REBOOT)
    assert planned(machine, replace(told, acted=NEXT_BOOT)).before_reboot == ()


def test_a_choice_that_is_still_there_after_a_reboot_means_another_boot_loader() -> None:
    machine, told = staged()
    machine.boot("root=/dev/sda1 ro quiet splash", driver=None)
    finding = only(machine, told)
    assert finding.code == "trial-not-taken"
    assert "efibootmgr -v" in finding.hint


def test_an_entry_that_is_gone_is_named() -> None:
    machine, told = staged()
    del machine.host.tree[SCRIPT]
    machine.update_grub()
    machine.power_cycle()
    assert only(machine, told).code == "trial-entry-gone"
    assert only(machine, replace(told, again=True)).code == "trial-entry-gone"
    del machine.host.tree[CFG]
    finding = only(machine, told)
    assert finding.code == "trial-unseen" and f"{CFG} cannot be read" in finding.message


def test_a_trial_that_had_proved_itself_and_was_cut_short_is_made_again_by_itself() -> None:
    machine, told = staged()
    machine.power_cycle()
    told = replace(told, begun={"rebooted": "00000000-0000-0000-0000-00000000000a"})
    finding = only(machine, told)
    assert (finding.code, finding.exit) == ("trial-interrupted", Exit.REBOOT)
    assert planned(machine, told).before_reboot == (grub_trial.chosen(),)


def test_the_recovery_entry_and_another_kernel_from_the_menu_are_no_failed_trials() -> None:
    machine, told = staged(releases=(RELEASE, "5.10.0-old"))
    machine.power_cycle()
    machine.boot("root=/dev/sda1 ro single", driver=None)
    finding = only(machine, told)
    assert finding.code == "recovery-entry-booted"
    assert "advance --again" in finding.hint
    machine.boot("root=/dev/sda1 ro quiet splash", driver=None, release="5.10.0-old")
    finding = only(machine, told)
    assert finding.code == "other-kernel-booted"
    assert "advance --again" in finding.hint
    assert only(machine, replace(told, again=True)).code == "trial-again"


def test_a_trial_entry_that_was_edited_in_the_menu_is_named() -> None:
    machine, told = staged()
    machine.trial_boot()
    machine.boot(f"root=/dev/sda1 ro quiet splash {TOKENS[0]} panic=30", driver=None)
    finding = only(machine, told)
    assert finding.code == "token-missing"
    assert "was not booted as it was made" in finding.message
    assert "advance --again" in finding.hint


def test_a_line_that_was_changed_since_is_not_made_the_default_untried() -> None:
    machine, told = staged()
    machine.host.tree[DEFAULT] = b'GRUB_CMDLINE_LINUX_DEFAULT="quiet nosmt"\n'
    machine.trial_boot()
    finding = only(machine, told)
    assert finding.code == "line-changed-since-trial"
    assert finding.evidence == ("tried with 'quiet splash'", "now 'quiet nosmt'")


def test_a_boot_configuration_that_cannot_be_read_is_named() -> None:
    machine, told = staged()
    machine.trial_boot()
    for path in [path for path in machine.host.tree if path.startswith(("/boot/grub", "/etc/default/grub"))]:
        del machine.host.tree[path]
    plan = planned(machine, told)
    assert plan.actions == ()
    assert [finding.code for finding in plan.findings] == ["boot-configuration-unreadable"]


def test_a_trial_in_which_a_native_driver_won_is_not_made_the_default_and_can_be_made_again() -> None:
    machine, told = staged()
    machine.trial_boot()
    machine.cards[GPU].driver = "nouveau"
    machine.plug()
    assert only(machine, told).code == "native-driver-won"
    assert only(machine, replace(told, again=True)).code == "trial-again"


def test_a_trial_that_is_good_is_not_made_again_even_if_asked_for() -> None:
    machine, told = staged()
    machine.trial_boot()
    plan = planned(machine, replace(told, again=True))
    assert plan.findings == () and plan.actions and plan.before_reboot == ()


def test_a_default_entry_with_another_kernel_than_the_trials_is_named() -> None:
    machine, told = staged()
    machine.releases = ("6.9.0-new", RELEASE)
    machine.update_grub()
    machine.update_initramfs()
    machine.trial_boot()
    plan = planned(machine, told)
    (finding,) = plan.findings
    assert (finding.code, finding.severity) == ("kernel-not-tried", Severity.WARNING)
    assert finding.message == f"The default entry boots 6.9.0-new; the trial was made with {RELEASE}."
    assert "Reboot once more" in finding.hint
    assert plan.actions
    machine.images["/boot/initrd.img-6.9.0-new"] = ["."]
    plan = planned(machine, told)
    assert plan.actions == ()
    assert [each.code for each in plan.findings] == ["initramfs-incomplete", "kernel-not-tried"]


# --- the host's own devices

NIC, HOST_CARD = "0000:05:00.0", "0000:06:00.0"
ROUTE = (
    b"Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
    b"eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
)


def own() -> tuple[Tried, Brief]:
    """A machine with a network card and a graphics card of its own, and a trial staged."""
    machine = Tried()
    machine.cards[NIC] = Card("8086:10d3", 20, "e1000e", "e1000e", "0x020000")
    machine.cards[HOST_CARD] = Card("1002:6779", 21, "radeon", "radeon")
    machine.plug()
    machine.host.tree["/proc/net/route"] = ROUTE
    machine.host.tree["/sys/class/net/eth0"] = Link(f"../../devices/pci0000:00/{NIC}/net/eth0")
    told = brief(trial=True)
    plan = STUB.plan(told, STUB.probe(machine.host, told))
    machine.carry_out(plan)
    told = brief(remembered=plan.remember, trial=True)
    machine.trial_boot()
    return machine, told


def test_the_hosts_own_network_and_graphics_cards_are_remembered_and_the_guests_are_not() -> None:
    machine, told = own()
    kept = told.remembered["stubbed"]
    assert kept[f"network.{NIC}"] == "e1000e"
    assert kept[f"display.{HOST_CARD}"] == "radeon"
    assert not [key for key in kept if key in {f"display.{each}" for each in (GPU, AUDIO, USB)}]
    assert planned(machine, told).findings == ()


@pytest.mark.parametrize(
    ("address", "driver", "code"),
    [
        (NIC, "vfio-pci", "host-lost-network"),
        (NIC, None, "host-lost-network"),
        (HOST_CARD, "vfio-pci", "host-lost-display"),
        (HOST_CARD, None, "host-lost-display"),
    ],
)
def test_a_boot_that_took_the_hosts_own_card_is_not_made_the_default(
    address: str, driver: str | None, code: str
) -> None:
    machine, told = own()
    machine.cards[address].driver = driver
    machine.plug()
    finding = only(machine, told)
    assert finding.code == code
    assert address in finding.message
    assert (driver or "no driver") in finding.message


def test_a_card_that_is_gone_is_lost_too() -> None:
    machine, told = own()
    del machine.cards[HOST_CARD]
    machine.plug()
    assert only(machine, told).code == "host-lost-display"


def test_a_host_without_its_default_route_is_not_called_good() -> None:
    machine, told = own()
    machine.host.tree["/proc/net/route"] = ROUTE.splitlines(keepends=True)[0]
    finding = only(machine, told)
    assert finding.code == "host-lost-network"
    assert "wait and run `vfiostate advance` again" in finding.hint


def test_where_there_was_no_default_route_none_is_missed() -> None:
    assert list(own_devices.judge({"display.0000:06:00.0": "radeon"}, OwnDevices({HOST_CARD: "radeon"}, False))) == []


def test_a_default_route_that_no_known_card_carried_is_missed_too() -> None:
    machine = Machine()
    machine.host.tree["/proc/net/route"] = ROUTE.replace(b"eth0", b"wg0")
    kept = own_devices.remembered(machine.host, ())
    assert kept[own_devices.ROUTED] == "wg0" and not [key for key in kept if key.startswith(own_devices.NETWORK)]
    assert list(own_devices.judge(kept, own_devices.read(machine.host, kept))) == []
    machine.host.tree["/proc/net/route"] = b""
    lost = own_devices.judge(kept, own_devices.read(machine.host, kept))
    assert [one.code for one in lost] == ["host-lost-network"]


# --- what a boot left in the log

FIRST, LOST, NOW = "a" * 32, "b" * 32, "c" * 32
PLAIN = (
    f"-2 {FIRST} Sun 2026-11-22 10:00:00 UTC—Sun 2026-11-22 11:00:00 UTC\n"
    f"-1 {LOST} Sun 2026-11-22 11:01:00 UTC—Sun 2026-11-22 11:02:00 UTC\n"
    f" 0 {NOW} Sun 2026-11-22 11:03:00 UTC—Sun 2026-11-22 11:05:00 UTC\n"
)
HEADED = (
    "IDX BOOT ID                          FIRST ENTRY                 LAST ENTRY\n"
    f" -2 {FIRST} Sun 2026-11-22 10:00:00 UTC Sun 2026-11-22 11:00:00 UTC\n"
    f" -1 {LOST} Sun 2026-11-22 11:01:00 UTC Sun 2026-11-22 11:02:00 UTC\n"
    f"  0 {NOW} Sun 2026-11-22 11:03:00 UTC Sun 2026-11-22 11:05:00 UTC\n"
)
SAID = "[    2.1] host kernel: vfio_pci: add [10de:1200]\n\n[    9.9] host kernel: nouveau: unhandled\n"


def left(listed: str | None, files: Mapping[str, bytes] | None = None) -> tuple[str, ...]:
    """What is told of the boots since the first one."""

    def answer(argv: tuple[str, ...], stdin: bytes) -> object:
        if argv[0] != "journalctl" or listed is None:
            return completed(argv, status=127)
        if "--list-boots" in argv:
            return completed(argv, listed)
        return completed(argv, SAID if argv[argv.index("-b") + 1] == LOST else "wrong boot\n")

    host = MemoryHost(dict(files or {}), boot_id=str(_uuid(NOW)), answer=answer)  # type: ignore[arg-type]
    return boot_log.left_since(host, str(_uuid(FIRST)))


def _uuid(text: str) -> str:
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


@pytest.mark.parametrize("listed", [PLAIN, HEADED])
def test_the_last_lines_of_the_boot_in_between_are_shown(listed: str) -> None:
    assert left(listed) == (
        "the last lines of boot bbbbbbbb in the system's log:",
        "  [    2.1] host kernel: vfio_pci: add [10de:1200]",
        "  [    9.9] host kernel: nouveau: unhandled",
    )


@pytest.mark.parametrize("listed", [f" 0 {NOW} Sun 2026-11-22 11:03:00 UTC\n", "", None])
def test_a_log_that_lasts_only_until_the_reboot_and_one_that_is_not_there_say_nothing(listed: str | None) -> None:
    (said,) = left(listed)
    assert said.startswith("the boot left nothing in the system's log")


def test_what_the_firmware_kept_of_a_panic_is_named() -> None:
    (said,) = left(None, {"/sys/fs/pstore/dmesg-efi-1": b"Kernel panic"})
    assert said == "/sys/fs/pstore/dmesg-efi-1 was kept by the firmware"


def test_a_boot_loader_that_cannot_try_says_so_by_itself() -> None:
    (finding,) = trial.objections(BootFacts("other", "/etc/x"), "and nothing else")
    assert finding.code == "trial-impossible"
    assert "it cannot boot an entry once" in finding.message
    assert list(trial.objections(BootFacts("other", "/etc/x", trial=Trial()), "")) == []

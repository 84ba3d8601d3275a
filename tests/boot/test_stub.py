"""The step `stubbed`: what it changes, what it leaves, what it refuses, and what it finds out afterwards."""

from __future__ import annotations

from dataclasses import replace

import pytest

from steps import cmdline
from steps.actions import EditFile, Regenerate, RunCommand
from steps.base import Brief, Finding, Plan, Severity
from steps.boot.grub import CFG
from steps.boot.grub_default import DEFAULT
from steps.config import Allow, Stub
from steps.initramfs.initramfs_tools import EARLY
from steps.insertion import sha256
from steps.stub import STEP
from tests.boot.machine import AUDIO, CONF, GPU, MODULES, RELEASE, SETUP, USB, Card, Machine, brief

IDS = "10de:1200,10de:0e0c,1002:4397"
TOKEN = f"vfiostate.setup={SETUP}"
GRUB, IMAGES = ("update-grub",), ("update-initramfs", "-u", "-k", "all")


def planned(machine: Machine, told: Brief) -> Plan:
    return STEP.plan(told, STEP.probe(machine.host, told))


def verified(machine: Machine, told: Brief) -> tuple[Finding, ...]:
    return STEP.verify(told, STEP.probe(machine.host, told))


def refusals(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.code for finding in findings if finding.severity is Severity.REFUSAL]


@pytest.mark.parametrize("stub", list(Stub))
def test_the_article_s_machine_gets_its_words_its_softdeps_and_one_run_of_each_command(stub: Stub) -> None:
    machine, told = Machine(), brief(stub)
    plan = planned(machine, told)
    assert refusals(plan.findings) == []
    assert [type(action) for action in plan.actions] == [EditFile, EditFile, EditFile, RunCommand, RunCommand]
    machine.apply(plan.actions)
    module = stub.value.replace("-", "_")
    listed = machine.host.read(MODULES).decode()
    assert listed.count(SETUP) == 2
    assert listed.splitlines()[-2] == module
    assert machine.host.read(CONF).decode().splitlines()[1:] == [
        f"softdep nouveau pre: {module}",
        f"softdep snd_hda_intel pre: {module}",
        f"softdep ohci_pci pre: {module}",
    ]
    value = f'GRUB_CMDLINE_LINUX_DEFAULT="quiet splash {TOKEN} {stub.value}.ids={IDS}"'
    assert value in machine.host.read(DEFAULT).decode()
    assert machine.ran == [IMAGES, GRUB]
    assert verified(machine, told) == ()


def test_a_second_plan_has_nothing_to_do_and_says_why() -> None:
    machine, told = Machine(), brief()
    machine.apply(planned(machine, told).actions)
    plan = planned(machine, replace(told, written={DEFAULT: sha256(machine.host.read(DEFAULT))}))
    assert plan.actions == ()
    assert refusals(plan.findings) == []
    assert any("not rebuilt" in note for note in plan.notes)
    assert any("not generated anew" in note for note in plan.notes)


def test_every_edit_is_one_run_more_than_what_was_there() -> None:
    machine, told = Machine(), brief()
    for action in planned(machine, told).actions:
        if isinstance(action, EditFile):
            before = machine.host.tree.get(action.path, b"")
            assert isinstance(before, bytes)
            assert action.content.replace(action.inserted, b"", 1) == before
            assert SETUP.encode() in action.inserted


def test_the_boot_configuration_is_written_last_and_undone_by_being_made_anew() -> None:
    plan = planned(Machine(), brief())
    *_, image, line = plan.actions
    assert isinstance(image, RunCommand)
    assert isinstance(line, RunCommand)
    assert isinstance(line.undo, Regenerate)
    assert isinstance(image.undo, Regenerate)
    assert CFG in line.produces
    assert f"/boot/initrd.img-{RELEASE}" in image.produces


def test_the_time_before_is_remembered() -> None:
    kept = planned(Machine(), brief()).remember
    assert kept["release"] == RELEASE
    assert kept["tokens"] == f"{TOKEN} vfio-pci.ids={IDS}"
    assert kept["value_before"] == "quiet splash"
    assert {key: kept[key] for key in kept if key.startswith("driver.")} == {
        f"driver.{GPU}": "nouveau",
        f"driver.{AUDIO}": "snd_hda_intel",
        f"driver.{USB}": "ohci-pci",
    }


def test_a_stub_that_is_built_in_needs_no_softdep_and_no_initramfs() -> None:
    machine, told = Machine(built_in={"pci_stub"}), brief(Stub.PCI_STUB)
    plan = planned(machine, told)
    machine.apply(plan.actions)
    assert machine.ran == [GRUB]
    assert CONF not in machine.host.tree
    assert any("built into" in note for note in plan.notes)
    assert verified(machine, told) == ()


def test_a_built_in_native_driver_gets_no_softdep_and_a_warning() -> None:
    machine, told = Machine(built_in={"ohci_pci"}), brief()
    plan = planned(machine, told)
    assert [finding.code for finding in plan.findings] == ["native-driver-built-in"]
    assert plan.remember[f"built_in.{USB}"] == "ohci-pci"
    machine.apply(plan.actions)
    assert b"ohci" not in machine.host.read(CONF)
    assert verified(machine, told) == ()


def test_intel_iommu_is_switched_on_only_where_it_is_needed() -> None:
    def tokens(machine: Machine) -> str:
        del machine.host.tree["/sys/firmware/acpi/tables/IVRS"]
        machine.host.tree["/sys/firmware/acpi/tables/DMAR"] = b"DMAR"
        return planned(machine, brief()).remember["tokens"]

    off = Machine()
    for card in off.cards.values():
        card.group = -1
    off.plug()
    assert "intel_iommu=on" in tokens(off)
    assert "intel_iommu=on" not in tokens(Machine())
    running = Machine()
    running.host.tree["/proc/cmdline"] = b"quiet intel_iommu=on,sm_on\n"
    assert "intel_iommu=on" in tokens(running)
    for line in (b"CONFIG_INTEL_IOMMU_DEFAULT_ON=y\n", b"CONFIG_INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF=y\n"):
        built = Machine()
        built.cards = off.cards
        built.plug()
        built.host.tree[f"/boot/config-{RELEASE}"] = b"CONFIG_X=y\n" + line
        assert "intel_iommu=on" not in tokens(built)


def test_words_the_user_had_are_adopted_and_his_other_ids_carried_along() -> None:
    machine = Machine()
    machine.host.tree[DEFAULT] = b'GRUB_CMDLINE_LINUX_DEFAULT="quiet vfio-pci.ids=8086:10d3"\n'
    kept = planned(machine, brief()).remember
    assert kept["tokens"] == f"{TOKEN} vfio-pci.ids=8086:10d3,{IDS}"
    machine.host.tree[DEFAULT] = f'GRUB_CMDLINE_LINUX="vfio-pci.ids={IDS}"\n'.encode()
    plan = planned(machine, brief())
    assert plan.remember["tokens"] == TOKEN
    assert any("there already" in note for note in plan.notes)


def test_ids_in_modprobe_d_are_carried_along_because_the_command_line_wins_over_them() -> None:
    machine = Machine()
    machine.host.tree["/etc/modprobe.d/vfio.conf"] = b"options vfio_pci ids=8086:10d3 disable_vga=1\n"
    assert planned(machine, brief()).remember["tokens"] == f"{TOKEN} vfio-pci.ids=8086:10d3,{IDS}"


def test_modules_the_user_had_listed_are_not_listed_again() -> None:
    machine = Machine()
    machine.host.tree[MODULES] = b"vfio\nvfio-iommu-type1 allow_unsafe_interrupts=1 # mine\nvfio_pci"
    edited = [action.path for action in planned(machine, brief()).actions if isinstance(action, EditFile)]
    assert MODULES not in edited


def test_the_kernel_that_will_boot_is_asked_not_the_one_that_runs() -> None:
    machine = Machine(releases=("6.9.0-new", RELEASE))
    assert planned(machine, brief()).remember["release"] == "6.9.0-new"


def test_a_kernel_that_grub_cfg_does_not_know_yet_is_the_one_that_will_boot() -> None:
    machine = Machine()
    machine.host.tree["/boot/vmlinuz-6.10.0-1"] = b"kernel"
    assert planned(machine, brief()).remember["release"] == "6.10.0-1"


@pytest.mark.parametrize(
    ("path", "content", "code"),
    [
        (DEFAULT, b'GRUB_CMDLINE_LINUX="iommu=off"\n', "iommu-off-on-command-line"),
        (DEFAULT, b'GRUB_CMDLINE_LINUX_DEFAULT="quiet --"\n', "command-line-ends"),
        (DEFAULT, b'GRUB_CMDLINE_LINUX_DEFAULT="vfiostate.setup=ffff00001111"\n', "foreign-setup-token"),
        (DEFAULT, b'GRUB_CMDLINE_LINUX_DEFAULT="' + b"x=1 " * 500 + b'"\n', "command-line-too-long"),
        (DEFAULT, b"\0", "grub-default-binary"),
        (CONF, b"options vfio-pci disable_vga=1\n", "modprobe-conf-exists"),
        (MODULES, b"a\0b", "initramfs-modules-binary"),
        ("/etc/initramfs-tools/update-initramfs.conf", b"update_initramfs=no\n", "initramfs-updates-off"),
        ("/etc/default/limine", b'KERNEL_CMDLINE[default]="x"\n', "boot-loader-unsupported"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_changed(path: str, content: bytes, code: str) -> None:
    machine = Machine()
    machine.host.tree[path] = content
    plan = planned(machine, brief())
    assert refusals(plan.findings) == [code]
    assert plan.actions == ()
    assert all(finding.hint for finding in plan.findings)


def test_a_softdep_of_a_native_module_is_taken_over_since_ours_hides_it() -> None:
    machine, told = Machine(), brief()
    machine.host.tree[f"/lib/modules/{RELEASE}/modules.softdep"] = b"softdep ohci_pci pre: ehci_pci\n"
    machine.host.tree["/etc/modprobe.d/n.conf"] = b"softdep nouveau pre: vfio-pci post: nvidia-uvm\n"
    machine.apply(planned(machine, told).actions)
    assert machine.host.read(CONF).decode().splitlines()[1:] == [
        "softdep nouveau pre: vfio_pci post: nvidia-uvm",
        "softdep snd_hda_intel pre: vfio_pci",
        "softdep ohci_pci pre: vfio_pci ehci_pci",
    ]
    assert verified(machine, told) == ()


def test_the_words_of_the_trial_have_to_fit_too() -> None:
    machine, told = Machine(), brief()
    tokens = planned(machine, told).remember["tokens"].split()
    room = next(each for each in range(2000, 0, -1) if cmdline.fits(("x" * each,), tokens))
    machine.host.tree[DEFAULT] = f'GRUB_CMDLINE_LINUX_DEFAULT="{"x" * room}"\n'.encode()
    assert "command-line-too-long" not in refusals(planned(machine, told).findings)
    assert "command-line-too-long" in refusals(planned(machine, replace(told, trial=True)).findings)


@pytest.mark.parametrize(
    ("folder", "advice"), [("/etc", "Give it a name"), ("/usr/lib", "Copy it to /etc/modprobe.d/00")]
)
def test_a_softdep_that_would_hide_ours_is_refused_unless_it_names_the_stub(folder: str, advice: str) -> None:
    machine, path = Machine(), f"{folder}/modprobe.d/00-a.conf"
    machine.host.tree[path] = b"softdep nouveau pre: vfio-pci\n"
    assert refusals(planned(machine, brief()).findings) == []
    machine.host.tree[path] = b"softdep nouveau post: nvidia-uvm\n"
    (finding,) = planned(machine, brief()).findings
    assert finding.code == "softdep-hidden" and path in finding.message and CONF in finding.message
    assert finding.hint.startswith(advice)


@pytest.mark.parametrize(("name", "path"), [("z", None), ("00-a", "/etc/modprobe.d/00-a.conf"), (None, "no softdep")])
def test_a_softdep_that_comes_since_is_found_where_it_hides_ours(name: str | None, path: str | None) -> None:
    machine, told = Machine(), brief()
    machine.apply(planned(machine, told).actions)
    if name is not None:
        machine.host.tree[f"/etc/modprobe.d/{name}.conf"] = b"softdep nouveau post: nvidia-uvm\n"
    else:
        machine.host.tree[CONF] = machine.host.read(CONF).replace(b"softdep nouveau", b"#")
    found = verified(machine, told)
    assert refusals(found) == ([] if path is None else ["modprobe-conf-differs"])
    assert all("nouveau without vfio_pci" in each.message and path in each.evidence[0] for each in found if path)


def test_a_kernel_without_the_stub_is_refused_and_the_other_stub_is_named() -> None:
    (finding,) = planned(Machine(absent={"vfio_pci"}), brief()).findings
    assert finding.code == "stub-absent"
    assert "pci-stub" in finding.hint


def test_a_card_with_a_twin_is_taken_by_its_address_unless_both_are_allowed() -> None:
    machine = Machine()
    machine.cards["0000:04:00.0"] = Card("10de:1200", 14, "nouveau", "nouveau")
    machine.plug()
    plan = planned(machine, brief())
    assert plan.findings == ()
    assert plan.remember["by_address"] == GPU
    assert plan.remember["tokens"].endswith("vfio-pci.ids=10de:0e0c,1002:4397")
    (script,) = (each for each in plan.actions if isinstance(each, EditFile) and each.path == EARLY)
    assert f"{GPU}=10de:1200".encode() in script.content and b"0000:04:00.0" not in script.content
    assert script.mode == 0o755
    allowed = planned(machine, brief(allow=Allow(identical_ids=("10de:1200",))))
    assert [finding.code for finding in allowed.findings] == ["identical-ids"]
    assert allowed.remember["tokens"].endswith(IDS) and allowed.remember["by_address"] == ""


def test_a_card_with_a_twin_is_refused_where_it_cannot_be_told_apart() -> None:
    machine = Machine()
    machine.cards["0000:04:00.0"] = Card("10de:1200", 14, "nouveau", "nouveau")
    machine.plug()
    del machine.host.tree[f"/sys/bus/pci/devices/{GPU}/driver_override"]
    assert refusals(planned(machine, brief()).findings) == ["identical-ids"]


def test_an_id_on_the_command_line_that_takes_the_twin_too_is_refused() -> None:
    machine = Machine()
    machine.cards["0000:04:00.0"] = Card("10de:1200", 14, "nouveau", "nouveau")
    machine.plug()
    line = b'GRUB_CMDLINE_LINUX_DEFAULT="quiet vfio-pci.ids=10de:1200"\n'
    machine.host.tree[DEFAULT] = line
    machine.update_grub()
    assert refusals(planned(machine, brief()).findings) == ["identical-ids-given"]


def test_a_device_that_is_gone_or_another_one_is_refused() -> None:
    machine = Machine()
    del machine.cards[GPU]
    machine.cards[USB].id = "1002:ffff"
    machine.plug()
    assert refusals(planned(machine, brief()).findings) == ["device-not-as-expected"] * 2


def after(machine: Machine, told: Brief) -> list[str]:
    return refusals(verified(machine, told))


def test_a_generated_configuration_without_our_words_is_found_out() -> None:
    machine, told = Machine(), brief()
    plan = planned(machine, told)
    machine.apply([action for action in plan.actions if getattr(action, "argv", None) != GRUB])
    assert after(machine, told) == ["entry-without-tokens", "default-entry-without-tokens"]


def test_an_initramfs_without_the_stub_is_found_out() -> None:
    machine, told = Machine(), brief()
    machine.apply(planned(machine, told).actions)
    machine.images[f"/boot/initrd.img-{RELEASE}"] = ["etc/modprobe.d/00-vfiostate.conf"]
    assert after(machine, told) == ["initramfs-incomplete"]
    machine.images.clear()
    assert after(machine, told) == ["initramfs-not-readable"]


def test_a_default_entry_of_the_user_s_own_is_found_out() -> None:
    machine, told = Machine(), brief()
    machine.apply(planned(machine, told).actions)
    own = b"### BEGIN /etc/grub.d/40_custom ###\nmenuentry 'mine' --id mine {\n linux /boot/vmlinuz-6.1.0-test ro\n}\n"
    cfg = machine.host.read(CFG)
    machine.host.tree[CFG] = cfg.replace(b'set default="0"', b'set default="mine"') + own
    assert after(machine, told) == ["default-entry-without-tokens"]


def test_a_default_entry_of_the_user_s_own_is_refused_before_anything_is_changed() -> None:
    machine = Machine()
    own = b"### BEGIN /etc/grub.d/40_custom ###\nmenuentry 'mine' --id mine {\n linux /boot/vmlinuz-6.1.0-test ro\n}\n"
    machine.host.tree[CFG] = machine.host.read(CFG).replace(b'set default="0"', b'set default="mine"') + own
    assert refusals(planned(machine, brief()).findings) == ["default-entry-not-generated"]


def test_a_value_that_was_changed_in_between_is_found_out() -> None:
    machine, told = Machine(), brief()
    machine.apply(planned(machine, told).actions)
    before = machine.host.read(DEFAULT)
    machine.host.tree[DEFAULT] = before.replace(IDS.encode(), b"10de:1200")
    assert after(machine, told) == ["value-changed-otherwise"]
    machine.host.tree[DEFAULT] = b""
    assert after(machine, told) == ["token-not-in-value"]


def test_recovery_entries_that_got_our_words_are_found_out() -> None:
    machine, told = Machine(), brief()
    machine.apply(planned(machine, told).actions)
    machine.host.tree[CFG] = machine.host.read(CFG).replace(b" single ", f" single {TOKEN} ".encode())
    assert after(machine, told) == ["recovery-entry-changed"]

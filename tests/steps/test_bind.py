"""The step `bound`: the order of what is written, the way back, what is adopted, and what makes it permanent."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from steps import bind, bind_script, bind_service
from steps.actions import EditFile, Inverse, Keep, RunCommand, Write, WriteAttribute
from steps.base import Brief, Finding, Plan, Severity
from steps.config import Config, Device, Stub
from steps.insertion import take_out
from steps.pci import read_function
from steps.start_script import LOCAL_START
from tests.support.memory_host import Link, MemoryHost, Node
from tests.support.pci_tree import Card, sysfs
from tests.support.simulated import do, files, machine, undo

SETUP = "0123456789ab"
GPU = Card("0000:03:00.0", "10de:1200", "030000", "pci-stub", 11)
AUDIO = Card("0000:03:00.1", "10de:0e0c", "040300", "snd_hda_intel", 11)
HOST_GPU = Card("0000:01:00.0", "1002:68f9", "030000", "radeon", 5, boot_vga="1")
BOTH = (Device(GPU.address, GPU.id), Device(AUDIO.address, AUDIO.id))
SYSTEMD: dict[str, Node] = {
    "/run/systemd/system": None,
    "/etc/systemd/system": None,
    "/usr/local/sbin": None,
    "/sys/bus/pci/drivers/vfio-pci": None,
}
NO_SYSTEMD: dict[str, Node] = {"/usr/local/sbin": None, "/sys/bus/pci/drivers/vfio-pci": None, "/etc/hosts": b""}


def brief(stub: Stub = Stub.PCI_STUB, devices: tuple[Device, ...] = BOTH, seconds: float = 7.0) -> Brief:
    return Brief(Config(devices, stub=stub, unbind_timeout=seconds), SETUP, "boot")


def host(*cards: Card, tree: dict[str, Node] | None = None) -> MemoryHost:
    return MemoryHost(sysfs(*cards, HOST_GPU) | (SYSTEMD if tree is None else tree))


def plan(on: MemoryHost, told: Brief | None = None) -> Plan:
    told = told or brief()
    return bind.STEP.plan(told, bind.STEP.probe(on, told))


def writes(of: Plan) -> list[tuple[str, str]]:
    """What is written to sysfs, in order, with short paths."""
    actions = [action for action in of.actions if isinstance(action, WriteAttribute)]
    return [(action.path.removeprefix("/sys/bus/pci/"), action.value) for action in actions]


def way_back(of: Plan) -> list[tuple[str, str]]:
    """What the undo of these writes, in its order."""
    undos = [action.undo for action in reversed(of.actions) if isinstance(action, WriteAttribute)]
    return [(each.path.removeprefix("/sys/bus/pci/"), each.value) for each in undos if isinstance(each, Write)]


def refusals(found: tuple[Finding, ...]) -> list[str]:
    return [finding.code for finding in found if finding.severity is Severity.REFUSAL]


OVERRIDE = f"devices/{GPU.address}/driver_override"
AUDIO_OVERRIDE = f"devices/{AUDIO.address}/driver_override"


def test_all_members_are_unbound_before_any_is_bound() -> None:
    assert writes(plan(host(GPU, AUDIO))) == [
        ("drivers/pci-stub/unbind", GPU.address),
        ("drivers/snd_hda_intel/unbind", AUDIO.address),
        (OVERRIDE, "vfio-pci"),
        (AUDIO_OVERRIDE, "vfio-pci"),
        ("drivers_probe", GPU.address),
        ("drivers_probe", AUDIO.address),
    ]


def test_the_way_back_takes_from_vfio_clears_the_override_and_gives_to_the_former_driver() -> None:
    assert way_back(plan(host(GPU, AUDIO))) == [
        ("drivers/vfio-pci/unbind", AUDIO.address),
        ("drivers/vfio-pci/unbind", GPU.address),
        (AUDIO_OVERRIDE, "\n"),
        (OVERRIDE, "\n"),
        ("drivers/snd_hda_intel/bind", AUDIO.address),
        ("drivers/pci-stub/bind", GPU.address),
    ]


def test_an_unbind_has_the_time_that_the_configuration_gives_it() -> None:
    found = [action for action in plan(host(GPU, AUDIO)).actions if isinstance(action, WriteAttribute)]
    assert {action.timeout for action in found if action.path.endswith("/unbind")} == {7.0}


def test_what_vfio_pci_holds_already_is_left_alone_with_a_word() -> None:
    held = [Card(card.address, card.id, card.class_code, "vfio-pci", 11) for card in (GPU, AUDIO)]
    found = plan(host(*held), brief(Stub.VFIO_PCI))
    assert writes(found) == [] and f"{GPU.address} is under vfio-pci already" in found.notes


def test_a_device_without_driver_is_only_bound() -> None:
    bare = Card(GPU.address, GPU.id, "030000", None, 11)
    found = plan(host(bare), brief(devices=BOTH[:1]))
    assert writes(found) == [(OVERRIDE, "vfio-pci"), ("drivers_probe", GPU.address)]
    assert way_back(found)[-1] == (OVERRIDE, "\n")


def test_an_override_of_somebody_else_to_vfio_pci_is_kept_with_a_warning() -> None:
    theirs = Card(GPU.address, GPU.id, "030000", "nouveau", 11, override="vfio-pci")
    found = plan(host(theirs), brief(devices=BOTH[:1]))
    assert (OVERRIDE, "vfio-pci") not in writes(found) and (OVERRIDE, "\n") not in way_back(found)
    assert [finding.code for finding in found.findings] == ["override-adopted"]


def test_an_override_of_somebody_else_to_another_driver_comes_back() -> None:
    theirs = Card(GPU.address, GPU.id, "030000", None, 11, override="nvidia")
    assert (OVERRIDE, "nvidia") in way_back(plan(host(theirs), brief(devices=BOTH[:1])))


def test_on_a_kernel_without_driver_override_ids_are_used_and_taken_back() -> None:
    old = [Card(card.address, card.id, card.class_code, card.driver, 11, override=None) for card in (GPU, AUDIO)]
    found = plan(host(*old))
    assert writes(found)[2:] == [
        ("drivers/vfio-pci/new_id", "10de 1200"),
        ("drivers/vfio-pci/bind", GPU.address),
        ("drivers/vfio-pci/new_id", "10de 0e0c"),
        ("drivers/vfio-pci/bind", AUDIO.address),
    ]
    assert ("drivers/vfio-pci/remove_id", "10de 1200") in way_back(found)
    actions = [action for action in found.actions if isinstance(action, WriteAttribute)]
    tolerated = [action.tolerate for action in actions if action.path.endswith("/new_id")]
    assert tolerated == [("EEXIST",)] * 2


def test_there_a_free_twin_that_new_id_would_take_too_is_refused() -> None:
    old = Card(GPU.address, GPU.id, "030000", "pci-stub", 11, override=None)
    twin = Card("0000:04:00.0", GPU.id, "030000", None, 12, override=None)
    assert "new-id-takes-more" in refusals(plan(host(old, twin), brief(devices=BOTH[:1])).findings)
    assert refusals(plan(host(replace(old, override="(null)"), twin), brief(devices=BOTH[:1])).findings) == []


def test_a_missing_driver_is_loaded_first_and_left() -> None:
    tree = {path: node for path, node in SYSTEMD.items() if "vfio-pci" not in path}
    first = plan(host(GPU, AUDIO, tree=tree)).actions[0]
    assert isinstance(first, RunCommand) and first.argv == ("modprobe", "vfio-pci") and isinstance(first.undo, Keep)


@pytest.mark.parametrize(
    ("cards", "code"),
    [
        ((AUDIO,), "device-absent"),
        ((replace(GPU, id="10de:1b80"), AUDIO), "device-id"),
        ((GPU, AUDIO, Card("0000:00:11.0", "1002:4391", "010601", "ahci", 11)), "group-not-viable"),
        ((replace(GPU, group=None), replace(AUDIO, group=None)), "no-group"),
    ],
)
def test_what_changed_since_the_check_stops_it_before_anything_is_written(cards: tuple[Card, ...], code: str) -> None:
    found = plan(host(*cards))
    assert code in refusals(found.findings) and found.actions == ()


def installed(tree: dict[str, Node], told: Brief) -> dict[str, Node]:
    config = told.config
    tree = tree | {bind_script.SCRIPT: bind_script.script(SETUP, config.devices, config.unbind_timeout)}
    tree[bind_service.UNIT] = bind_script.unit(SETUP, len(config.devices), config.unbind_timeout)
    return tree | {bind_service.LINK: b""}


def test_after_a_boot_that_our_unit_bound_the_journal_learns_the_way_back_anew() -> None:
    held = [Card(card.address, card.id, card.class_code, "vfio-pci", 11, override="vfio-pci") for card in (GPU, AUDIO)]
    found = plan(host(*held, tree=installed(SYSTEMD, brief())))
    assert set(writes(found)) == {(OVERRIDE, "vfio-pci"), (AUDIO_OVERRIDE, "vfio-pci")}
    assert way_back(found)[3:] == [
        ("drivers/vfio-pci/unbind", GPU.address),
        (OVERRIDE, "\n"),
        ("drivers/pci-stub/bind", GPU.address),
    ]
    assert found.findings == () and not any(isinstance(action, EditFile) for action in found.actions)
    old = [replace(card, override=None) for card in held]
    assert way_back(plan(host(*old, tree=installed(SYSTEMD, brief()))))[3:] == [
        ("drivers/vfio-pci/unbind", GPU.address),
        ("drivers/vfio-pci/remove_id", "10de 1200"),
        ("drivers/pci-stub/bind", GPU.address),
    ]
    told = brief(Stub.VFIO_PCI)
    again = plan(host(*held, tree=installed(SYSTEMD, told)), told)
    assert way_back(again) == [(AUDIO_OVERRIDE, "\n"), (OVERRIDE, "\n")]


def test_a_script_that_does_not_tell_twins_apart_stays_where_it_is_there() -> None:
    seen = json.dumps({GPU.address: {"subsystem": "1462:aaaa"}})
    told = replace(brief(), remembered={"checked": {"devices": seen}, "stubbed": {"by_address": GPU.address}})
    (made, *_) = (action for action in plan(host(GPU, AUDIO), told).actions if isinstance(action, EditFile))
    assert b"1462:aaaa" in made.content
    found = plan(host(GPU, AUDIO, tree=installed(SYSTEMD, told)), told)
    assert refusals(found.findings) == [] and not any(isinstance(action, EditFile) for action in found.actions)


def test_a_systemd_host_gets_script_and_unit_and_loses_them_in_reverse() -> None:
    tail = plan(host(GPU, AUDIO)).actions[6:]
    shown = [action.path if isinstance(action, EditFile) else " ".join(getattr(action, "argv", ())) for action in tail]
    assert shown == [
        bind_script.SCRIPT,
        "systemctl daemon-reload",
        bind_service.UNIT,
        "systemctl enable vfiostate-bind.service",
    ]
    script, reload, unit, enable = tail
    assert isinstance(script, EditFile) and script.mode == 0o755 and script.before is None
    assert isinstance(unit, EditFile) and unit.mode == 0o644 and SETUP.encode() in unit.content
    assert isinstance(enable, RunCommand) and enable.produces == (bind_service.LINK,)
    assert enable.undo == Inverse(("systemctl", "disable", "vfiostate-bind.service"))
    assert isinstance(reload, RunCommand) and reload.undo == Inverse(("systemctl", "daemon-reload"))


@pytest.mark.parametrize("path", [bind_script.SCRIPT, bind_service.UNIT])
def test_a_file_of_somebody_else_in_the_place_of_ours_is_refused(path: str) -> None:
    found = plan(host(GPU, AUDIO, tree=SYSTEMD | {path: b"#!/bin/sh\necho mine\n"}))
    assert refusals(found.findings) == ["bind-file-in-the-way"] and found.actions == ()


def test_a_missing_folder_is_refused_with_the_command_that_makes_it() -> None:
    tree = {path: node for path, node in SYSTEMD.items() if path != "/usr/local/sbin"}
    (finding,) = plan(host(GPU, AUDIO, tree=tree)).findings
    assert finding.code == "folder-missing" and "mkdir -p /usr/local/sbin" in finding.hint


BLOCK = bind_service.block(SETUP)
UBUNTU = (
    b"#!/bin/sh -e\n#\n# rc.local\n#\n"
    b'# Make sure that the script will "exit 0" on success or any other\n# value on error.\n'
)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (UBUNTU + b"exit 0\n", UBUNTU + BLOCK + b"exit 0\n"),
        (UBUNTU + b"exit 0", UBUNTU + BLOCK + b"exit 0"),
        (UBUNTU + b"exit 0 \t\n\n\n", UBUNTU + BLOCK + b"exit 0 \t\n\n\n"),
        (UBUNTU + b"exit 0\r\n", UBUNTU + BLOCK + b"exit 0\r\n"),
        (b"#!/bin/sh\nif x; then\n  exit 0\nfi\ntrue\n", b"#!/bin/sh\nif x; then\n  exit 0\nfi\ntrue\n" + BLOCK),
        (b"#!/bin/sh\ntrue", b"#!/bin/sh\ntrue\n" + BLOCK),
        (b"exit 0\nexit 0\n", b"exit 0\n" + BLOCK + b"exit 0\n"),
        (b"# exit 0\nexit 00\n", b"# exit 0\nexit 00\n" + BLOCK),
        (b"", BLOCK),
    ],
)
def test_without_systemd_the_block_stands_before_the_exit_that_ends_rc_local(before: bytes, after: bytes) -> None:
    on = host(GPU, AUDIO, tree=NO_SYSTEMD | {"/etc/rc.local": before})
    on.modes["/etc/rc.local"] = 0o755
    (edit,) = [each for each in plan(on).actions if isinstance(each, EditFile) and each.path == "/etc/rc.local"]
    assert edit.content == after and take_out(edit.content, edit.inserted) == before
    on.tree["/etc/rc.local"] = after
    assert not any(isinstance(each, EditFile) and each.path == "/etc/rc.local" for each in plan(on).actions)


def test_a_missing_rc_local_is_made_executable() -> None:
    edits = [each for each in plan(host(GPU, AUDIO, tree=NO_SYSTEMD)).actions if isinstance(each, EditFile)]
    assert edits[1].path == "/etc/rc.local" and edits[1].mode == 0o755 and edits[1].before is None
    assert edits[1].content == b"#!/bin/sh\n" + BLOCK + b"exit 0\n"


def test_an_rc_local_that_nobody_runs_is_refused() -> None:
    assert refusals(plan(host(GPU, AUDIO, tree=NO_SYSTEMD | {"/etc/rc.local": b"exit 0\n"})).findings) == [
        "rc-local-not-executable"
    ]


OPENRC: dict[str, Node] = NO_SYSTEMD | {"/run/openrc": None, "/etc/local.d": None}
LOCAL: dict[str, Node] = {"/etc/runlevels/default/local": Link("/etc/init.d/local")}


@pytest.mark.parametrize("sign", ["/run/openrc", "/sbin/openrc-run"])
def test_openrc_runs_a_script_of_local_d_and_no_rc_local(sign: str) -> None:
    tree = NO_SYSTEMD | LOCAL | {sign: None, "/etc/local.d": None, "/etc/rc.local": b"exit 0\n"}
    planned = plan(host(GPU, AUDIO, tree=tree))
    edits = [each for each in planned.actions if isinstance(each, EditFile)]
    assert planned.findings == () and [each.path for each in edits] == [bind_script.SCRIPT, LOCAL_START]
    assert edits[1].mode == 0o755 and edits[1].content == b"#!/bin/sh\n" + BLOCK + b"exit 0\n"


def test_openrc_without_local_in_a_runlevel_is_refused_with_the_command_that_puts_it_there() -> None:
    (finding,) = plan(host(GPU, AUDIO, tree=OPENRC)).findings
    assert finding.code == "openrc-local-off" and "`rc-update add local default`" in finding.hint


def test_openrc_without_local_d_is_refused_with_the_command_that_makes_it() -> None:
    (finding,) = plan(host(GPU, AUDIO, tree=NO_SYSTEMD | LOCAL | {"/run/openrc": None})).findings
    assert finding.code == "folder-missing" and "mkdir -p /etc/local.d" in finding.hint


def test_what_local_no_longer_runs_is_not_installed() -> None:
    there: dict[str, Node] = {
        bind_script.SCRIPT: bind_script.script(SETUP, BOTH, 7.0),
        LOCAL_START: b"#!/bin/sh\n" + BLOCK,
    }
    on = MemoryHost(OPENRC | there, modes={LOCAL_START: 0o755})
    facts = bind_service.read(on)
    assert not bind_service.installed(SETUP, facts)
    assert "in no runlevel" in "".join(bind_service.missing(SETUP, BOTH, 7.0, facts))
    facts = bind_service.read(MemoryHost(OPENRC | there | LOCAL, modes={LOCAL_START: 0o755}))
    assert bind_service.installed(SETUP, facts) and bind_service.missing(SETUP, BOTH, 7.0, facts) == ()


def verified(*cards: Card, tree: dict[str, Node]) -> list[str]:
    return refusals(bind.STEP.verify(brief(), bind.STEP.probe(host(*cards, tree=tree), brief())))


def test_bound_means_every_device_a_viable_group_its_node_and_what_binds_at_boot() -> None:
    tree = installed(SYSTEMD, brief()) | {"/dev/vfio/11": b"", "/dev/vfio/vfio": b""}
    held = [Card(card.address, card.id, card.class_code, "vfio-pci", 11) for card in (GPU, AUDIO)]
    assert verified(*held, tree=tree) == []
    assert verified(held[0], AUDIO, tree=tree) == ["not-bound"]
    assert verified(*held, Card("0000:00:11.0", "1002:4391", "010601", "ahci", 11), tree=tree) == ["group-not-viable"]
    without_node = {path: node for path, node in tree.items() if path != "/dev/vfio/11"}
    assert verified(*held, tree=without_node) == ["no-vfio-node"] * 2
    without_link = {path: node for path, node in tree.items() if path != bind_service.LINK}
    assert verified(*held, tree=without_link) == ["not-permanent"]


CASES = [
    (
        "article",
        [
            ("0000:03:00.0", "10de:1200"),
            ("0000:03:00.1", "10de:0e0c"),
            ("0000:00:12.0", "1002:4397"),
            ("0000:00:12.2", "1002:4396"),
        ],
    ),
    ("debian12-lab", [("0000:01:00.0", "1234:1111"), ("0000:01:00.1", "8086:2668"), ("0000:02:00.0", "1b36:000d")]),
]


@pytest.mark.parametrize(("name", "ids"), CASES)
@pytest.mark.parametrize("stub", list(Stub))
def test_on_a_machine_the_step_comes_true_and_its_way_back_gives_every_device_to_its_driver(
    tmp_path: Path, name: str, ids: list[tuple[str, str]], stub: Stub
) -> None:
    simulated = machine(tmp_path / "machine", name)
    told = brief(stub, tuple(Device(address, id_) for address, id_ in ids))
    assert simulated.run(("modprobe", "vfio_iommu_type1"), timeout=60).ok
    before = files(tmp_path / "machine"), [read_function(simulated, address) for address, _ in ids]
    done = do(simulated, bind.STEP.plan(told, bind.STEP.probe(simulated, told)).actions)
    after = bind.STEP.probe(simulated, told)
    assert bind.STEP.verify(told, after) == ()
    assert {function.driver for function in after.devices.configured(told.config)} == {"vfio-pci"}
    undo(simulated, done)
    assert (files(tmp_path / "machine"), [read_function(simulated, address) for address, _ in ids]) == before


def test_after_a_reboot_that_bound_them_again_the_way_back_still_ends_at_the_stub(tmp_path: Path) -> None:
    for name, ids in CASES:
        simulated = machine(tmp_path / name, name)
        told = brief(Stub.PCI_STUB, tuple(Device(address, id_) for address, id_ in ids))
        assert simulated.run(("modprobe", "pci_stub"), timeout=60).ok
        done = do(simulated, bind.STEP.plan(told, bind.STEP.probe(simulated, told)).actions)
        simulated.reboot()
        assert simulated.run(("modprobe", "pci_stub"), timeout=60).ok
        again = bind.STEP.plan(told, bind.STEP.probe(simulated, told))
        assert not any(isinstance(action, EditFile) for action in again.actions)
        for _, id_ in ids:
            simulated.write_attribute("/sys/bus/pci/drivers/pci-stub/new_id", id_.replace(":", " "), timeout=5)
        undo(simulated, do(simulated, again.actions))
        drivers = [read_function(simulated, address) for address, _ in ids]
        assert {(each.driver, each.driver_override) for each in drivers if each} == {("pci-stub", None)}
        assert done


def test_a_folder_of_units_in_the_nix_store_is_named_before_anything_is_bound() -> None:
    folder = "/nix/store/0123-etc/etc/systemd/system"
    tree: dict[str, Node] = {
        "/run/systemd/system": None,
        "/usr/local/sbin": None,
        "/etc/systemd": Link("/nix/store/0123-etc/etc/systemd"),
        folder: None,
    }
    (found,) = bind_service.in_the_way(SETUP, BOTH, 30.0, bind_service.read(MemoryHost(tree, {"systemctl"})))
    assert found.code == "units-declared" and folder in found.evidence[0]

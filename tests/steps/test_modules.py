"""The step `modules_loaded`: what is loaded and written down, what stays, and what stands against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps import modules
from steps.actions import EditFile, Inverse, RunCommand, Write, WriteAttribute
from steps.base import Brief, Finding, Plan, Severity
from steps.config import Accel, Allow, Config, Device, Guest, Persist, Stub
from steps.insertion import take_out
from steps.kmod import loaded
from steps.module_file import ModuleFile, edit, findings, names_in, read_module_file
from tests.support.memory_host import Link, MemoryHost, Node, completed
from tests.support.simulated import do, files, machine, undo

SETUP = "0123456789ab"
DEVICES = (Device("0000:03:00.0", "10de:1200"),)
AMD = b"vendor_id : AuthenticAMD\nflags : svm\n"
DEBIAN = b"# /etc/modules is obsolete ...\n# comment\n\nloop max_loop=8\n"


def brief(**changes: object) -> Brief:
    return Brief(replace(Config(DEVICES), **changes), SETUP, "boot")  # type: ignore[arg-type]


def host(
    *,
    absent: tuple[str, ...] = (),
    builtin: tuple[str, ...] = (),
    present: tuple[str, ...] = (),
    tree: Mapping[str, Node] | None = None,
) -> MemoryHost:
    """A host whose kernel has every module, but for these."""

    def answer(argv: tuple[str, ...], stdin: bytes) -> object:
        if argv[0] != "modprobe":
            return None
        name = argv[-1]
        if name in absent:
            return completed(argv, status=1)
        return completed(
            argv, f"builtin {name}\n" if name in builtin else f"insmod /lib/modules/6.1.0-test/{name}.ko \n"
        )

    files: dict[str, Node] = {
        "/proc/cpuinfo": AMD,
        "/proc/cmdline": b"quiet\n",
        "/proc/modules": "".join(f"{name} 1 0 - Live 0x0\n" for name in present).encode(),
        "/lib/modules/6.1.0-test": None,
        "/etc/modules": DEBIAN,
        "/etc/modprobe.d": None,
    }
    return MemoryHost(files | dict(tree or {}), commands={"modprobe"}, answer=answer)  # type: ignore[arg-type]


def plan(on: MemoryHost, **changes: object) -> Plan:
    told = brief(**changes)
    return modules.STEP.plan(told, modules.STEP.probe(on, told))


def commands(of: Plan) -> list[str]:
    return [" ".join(action.argv) for action in of.actions if isinstance(action, RunCommand)]


def edits(of: Plan) -> dict[str, bytes]:
    return {action.path: action.content for action in of.actions if isinstance(action, EditFile)}


def codes(found: tuple[Finding, ...]) -> list[str]:
    return [finding.code for finding in found if finding.severity is Severity.REFUSAL]


VFIO = ["vfio", "vfio_iommu_type1", "vfio_virqfd", "vfio_pci"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, VFIO),
        ({"stub": Stub.PCI_STUB}, ["pci_stub", *VFIO]),
        ({"guest": Guest()}, [*VFIO, "kvm", "kvm_amd"]),
        ({"guest": Guest(accel=Accel.TCG)}, VFIO),
        ({"extra_modules": ("tun", "vhost-net", "vfio-pci")}, [*VFIO, "tun", "vhost_net"]),
    ],
)
def test_what_the_configuration_needs_is_loaded_and_listed_in_order(
    changes: dict[str, object], expected: list[str]
) -> None:
    found = plan(host(), **changes)
    assert commands(found) == [f"modprobe {name}" for name in expected]
    assert list(edits(found)) == ["/etc/modules"]
    lines = edits(found)["/etc/modules"].decode().splitlines()
    assert [line for line in lines[4:] if not line.startswith("#")] == expected
    assert found.findings == ()


def test_a_module_that_is_gone_since_6_2_is_not_asked_for() -> None:
    found = plan(host(absent=("vfio_virqfd",)))
    assert "modprobe vfio_virqfd" not in commands(found)
    assert b"vfio_virqfd" not in edits(found)["/etc/modules"]
    assert any("vfio_virqfd is part of another module" in note for note in found.notes)


def test_what_is_built_in_is_neither_loaded_nor_listed() -> None:
    found = plan(host(builtin=tuple(VFIO)))
    assert found.actions == () and any("vfio_pci is built into 6.1.0-test" in note for note in found.notes)


def test_what_was_loaded_before_stays_and_nothing_beside_it_is_removed_with_a_module() -> None:
    found = plan(host(present=("vfio",)))
    assert "modprobe vfio" not in commands(found)
    undos = {action.undo for action in found.actions if isinstance(action, RunCommand)}
    assert {each.argv[0] for each in undos if isinstance(each, Inverse)} == {"rmmod"}
    assert any("vfio is loaded already and stays" in note for note in found.notes)


def test_a_needed_module_that_the_kernel_lacks_is_refused_and_nothing_is_done() -> None:
    found = plan(host(absent=("vfio_pci", "pci_stub")), stub=Stub.PCI_STUB)
    assert codes(found.findings) == ["module-absent"] and found.actions == ()
    assert "pci_stub, vfio_pci" in found.findings[0].message


def test_an_upgraded_kernel_whose_modules_are_gone_is_told_to_reboot() -> None:
    on = host(absent=tuple(VFIO))
    del on.tree["/lib/modules/6.1.0-test"]
    hint = plan(on).findings[0].hint
    assert hint.startswith("Reboot first if it was upgraded since the boot")


def test_a_second_run_does_nothing() -> None:
    once = host()
    once.tree["/etc/modules"] = edits(plan(once))["/etc/modules"]
    once.tree["/proc/modules"] = "".join(f"{name} 1 0\n" for name in VFIO).encode()
    again = plan(once)
    assert again.actions == ()
    assert modules.STEP.verify(brief(), modules.STEP.probe(once, brief())) == ()


def test_names_that_the_user_listed_are_adopted_in_either_spelling() -> None:
    found = plan(host(tree={"/etc/modules": b"vfio-pci ids=10de:1200\n# vfio\n;kvm\n vfio \r\n"}))
    ours = edits(found)["/etc/modules"].split(b"vfiostate", 1)[1]
    assert b"\nvfio_pci\n" not in ours and b"\nvfio\n" not in ours and b"\nvfio_iommu_type1\n" in ours


def test_a_drop_in_is_made_on_request() -> None:
    found = plan(host(tree={"/etc/modules-load.d": None}), persist=Persist.MODULES_LOAD_D)
    assert list(edits(found)) == ["/etc/modules-load.d/vfiostate.conf"]


def test_a_missing_file_is_made_and_an_edit_goes_to_the_file_behind_a_symlink() -> None:
    on = host()
    del on.tree["/etc/modules"]
    (made,) = [action for action in plan(on).actions if isinstance(action, EditFile)]
    assert made.before is None and made.inserted == made.content
    on = host(tree={"/etc/modules": Link("../srv/modules"), "/srv/modules": b"loop\n"})
    assert list(edits(plan(on))) == ["/srv/modules"]


@pytest.mark.parametrize("content", [b"loop\n\0\x01", None])
def test_a_file_that_is_no_list_is_refused(content: bytes | None) -> None:
    found = plan(host(tree={"/etc/modules": content}))
    assert codes(found.findings) == ["modules-file"] and found.actions == ()


def test_that_nothing_reads_the_file_at_boot_is_said() -> None:
    tree: dict[str, Node] = {"/run/systemd/system": None, "/etc/modules-load.d": None}
    assert [finding.code for finding in plan(host(tree=tree)).findings] == ["modules-file-not-read"]
    tree["/etc/modules-load.d/modules.conf"] = Link("../modules")
    assert plan(host(tree=tree)).findings == ()


@given(
    st.binary(max_size=80).filter(lambda content: b"\0" not in content), st.lists(st.sampled_from(VFIO), unique=True)
)
def test_an_edit_is_one_insertion_that_can_be_taken_out_again_and_adds_what_was_missing(
    content: bytes, names: list[str]
) -> None:
    found = edit(ModuleFile("/etc/modules", content), SETUP, names)
    missing = set(names) - names_in(content)
    if found is None:
        assert not missing
        return
    assert found.content.startswith(content) and take_out(found.content, found.inserted) == content
    assert names_in(found.content) >= set(names)
    assert names_in(found.content) - names_in(content) == missing
    assert edit(ModuleFile("/etc/modules", found.content), SETUP, names) is None
    assert SETUP.encode() in found.inserted


def test_without_its_folder_the_file_is_refused() -> None:
    file = read_module_file(MemoryHost({}), Persist.MODULES_LOAD_D)
    assert codes(findings(file)) == ["modules-file"]


UNSAFE = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"
REMAPPED: dict[str, Node] = {"/proc/cmdline": b"quiet\n"}


def test_unsafe_interrupts_are_allowed_only_where_the_user_says_so() -> None:
    assert "/etc/modprobe.d/vfiostate-iommu.conf" not in edits(plan(host()))
    found = plan(host(), allow=Allow(unsafe_interrupts=True))
    content = edits(found)["/etc/modprobe.d/vfiostate-iommu.conf"].decode()
    assert "options vfio_iommu_type1 allow_unsafe_interrupts=1\n" in content and SETUP in content
    assert isinstance(found.actions[0], EditFile), "modprobe must find the option when it loads the module"


def test_a_module_that_is_loaded_already_is_told_and_told_back() -> None:
    found = plan(host(tree={UNSAFE: b"N\n"}), allow=Allow(unsafe_interrupts=True))
    assert (
        WriteAttribute(UNSAFE, "Y", "allow it in the module that is loaded already", Write(UNSAFE, "N"))
        in found.actions
    )
    kept = plan(host(tree={UNSAFE: b"Y\n"}), allow=Allow(unsafe_interrupts=True))
    assert not any(isinstance(action, WriteAttribute) for action in kept.actions)


def test_a_file_of_somebody_else_in_its_place_is_refused() -> None:
    tree: dict[str, Node] = {"/etc/modprobe.d/vfiostate-iommu.conf": b"options foo\n"}
    found = plan(host(tree=tree), allow=Allow(unsafe_interrupts=True))
    assert codes(found.findings) == ["unsafe-interrupts-file"]


def test_a_module_that_did_not_come_and_a_list_that_was_not_kept_are_noticed() -> None:
    found = modules.STEP.verify(brief(), modules.STEP.probe(host(present=("vfio",)), brief()))
    assert codes(found) == ["module-not-loaded"] * 3 + ["module-not-listed"]


@pytest.mark.parametrize("name", ["article", "debian12-lab", "intel-twins"])
def test_on_a_machine_the_step_comes_true_and_its_way_back_restores_every_file(tmp_path: Path, name: str) -> None:
    simulated = machine(tmp_path / "machine", name)
    told = brief(stub=Stub.PCI_STUB, guest=Guest(accel=Accel.TCG))
    before, loaded_before = files(tmp_path / "machine"), loaded(simulated)
    done = do(simulated, modules.STEP.plan(told, modules.STEP.probe(simulated, told)).actions)
    assert done
    after = modules.STEP.probe(simulated, told)
    assert modules.STEP.verify(told, after) == () and modules.STEP.plan(told, after).actions == ()
    undo(simulated, done)
    assert files(tmp_path / "machine") == before
    named = set(modules.wanted_modules(told.config, None))
    assert loaded(simulated) & named == loaded_before & named and loaded(simulated) >= loaded_before

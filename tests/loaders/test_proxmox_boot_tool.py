"""proxmox-boot-tool: partitions that are not mounted are looked into on their devices, and written by its refresh."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from steps.base import Completed, Severity
from steps.boot.base import BootFacts
from steps.boot.esp_image import EspImage, EspUnreadable
from steps.boot.proxmox import ESP_LIST, ProxmoxBootTool
from tests.badinput.support import roll_back, run
from tests.field.support import command, has_token, made, refused
from tests.loaders.system import System
from tests.loaders.systems.proxmox_boot_tool import SYSTEMS, UUIDS
from tests.support.memory_host import MemoryHost, Node, completed

SETUP = "0123456789ab"
CONF = b"timeout 3\ndefault proxmox-*\n"
LINE = b"root=ZFS=rpool/ROOT/pve-1 boot=zfs quiet\n"
Files = dict[str, dict[str, bytes]]


def entry(release: str, line: bytes = LINE) -> bytes:
    return b"title Proxmox\nversion %s\noptions %slinux /l\ninitrd /i\n" % (release.encode(), line)


def esp(*releases: str) -> dict[str, bytes]:
    return {"/loader/loader.conf": CONF, **{f"/loader/entries/proxmox-{each}.conf": entry(each) for each in releases}}


def host(files: Files, *, uefi: bool = True, tree: dict[str, Node] | None = None) -> MemoryHost:
    """A host with these partitions, whose files grub-fstest finds on their devices."""
    found: dict[str, Node] = {
        ESP_LIST: "".join(f"{uuid}\n" for uuid in files).encode(),
        "/etc/kernel/cmdline": LINE,
        "/boot": None,
        **{f"/dev/disk/by-uuid/{uuid}": b"" for uuid in files},
    }
    if uefi:
        found["/sys/firmware/efi"] = None

    def answer(argv: tuple[str, ...], stdin: bytes) -> Completed | None:
        if argv[0] != "grub-fstest":
            return None
        content = files[argv[1].rpartition("/")[2]]
        if argv[2] == "ls":
            return completed(argv, " ".join(path.removeprefix(argv[3]) for path in content if path.startswith(argv[3])))
        if argv[3] in content:
            return Completed(argv, 0, content[argv[3]], b"")
        text = f"error: cannot open `{argv[3]}': file `{argv[3]}' not found.\n" if content else "unknown filesystem.\n"
        return completed(argv, status=1, stderr=text)

    return MemoryHost({**found, **(tree or {})}, commands={"proxmox-boot-tool", "grub-fstest"}, answer=answer)


def read(host: MemoryHost) -> BootFacts:
    return ProxmoxBootTool().read(host, SETUP)


def codes(facts: BootFacts, severity: Severity = Severity.REFUSAL) -> list[str]:
    assert all(each.evidence and each.hint for each in facts.findings)
    return [each.code for each in facts.findings if each.severity is severity]


def test_all_entries_of_all_partitions_count_and_the_newest_of_the_first_is_the_default() -> None:
    facts = read(host({"AAAA-0001": esp("6.8.12-9-pve", "6.8.12-11-pve"), "AAAA-0002": esp("6.8.12-11-pve")}))
    assert facts.findings == ()
    assert facts.entries is not None and len(facts.entries) == 3
    assert all(each.ours and not each.recovery for each in facts.entries)
    assert facts.default is not None and facts.default.release == facts.release == "6.8.12-11-pve"
    assert facts.words == ("root=ZFS=rpool/ROOT/pve-1", "boot=zfs", "quiet")
    assert facts.trial.obstacles


def test_an_entry_of_the_users_is_not_ours_and_a_file_that_starts_nothing_is_no_entry() -> None:
    files = {"AAAA-0001": esp("6.8.12-9-pve")}
    files["AAAA-0001"]["/loader/entries/Memtest.conf"] = b"title Memtest\nefi /memtest.efi\n"
    files["AAAA-0001"]["/loader/entries/proxmox-9.conf"] = b"title Proxmox\nversion 9\n"
    facts = read(host(files))
    assert facts.entries is not None
    assert [(each.title, each.ours) for each in facts.entries] == [
        ("Proxmox (6.8.12-9-pve)", True),
        ("Memtest", False),
    ]


def test_a_pinned_kernel_is_the_default() -> None:
    files = esp("6.8.12-9-pve", "6.8.12-11-pve")
    files["/loader/loader.conf"] = b"default proxmox-6.8.12-9-pve.conf\n"
    assert read(host({"AAAA-0001": files})).release == "6.8.12-9-pve"


def test_where_grub_boots_the_partitions_the_line_of_systemd_boot_is_not_touched() -> None:
    cfg = b"menuentry 'Proxmox' {\n\tlinux\t/vmlinuz-6.8.12-9-pve root=ZFS=x ro quiet\n}\n"
    default: dict[str, Node] = {"/etc/default/grub": b'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n'}
    grub = {"/grub/grub.cfg": cfg, "/EFI/proxmox/grubx64.efi": b"MZ"}
    for uefi in (True, False):
        facts = read(host({"AAAA-0001": grub}, uefi=uefi, tree=default))
        assert facts.findings == ()
        assert (facts.where, facts.words, facts.release) == ("/etc/default/grub", ("quiet",), "6.8.12-9-pve")
    beside = read(host({"AAAA-0001": grub}, tree={**default, "/etc/kernel/cmdline": b"quiet\n"}))
    assert codes(beside) == ["kernel-cmdline-without-root"]


def _without_tool(made: MemoryHost) -> None:
    made.commands.discard("proxmox-boot-tool")


def _without_fstest(made: MemoryHost) -> None:
    made.answer = None
    made.commands.discard("grub-fstest")


def _holding(path: str, content: Node) -> Callable[[MemoryHost], None]:
    return lambda made: made.tree.update({path: content})


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (_without_tool, "proxmox-boot-tool-missing"),
        (_without_fstest, "esp-unreadable"),
        (_holding(ESP_LIST, b"\n"), "esp-list-empty"),
        (_holding(ESP_LIST, None), "esp-list-unreadable"),
        (_holding(ESP_LIST, b"FFFF-0009\n"), "esp-missing"),
        (_holding("/etc/kernel/cmdline", b"quiet splash\n"), "kernel-cmdline-without-root"),
        (_holding("/etc/kernel/cmdline", b"\n" + LINE), "kernel-cmdline-empty"),
    ],
)
def test_what_stands_against_it_is_refused_by_name(spoil: Callable[[MemoryHost], None], code: str) -> None:
    found = host({"AAAA-0001": esp("6.8.12-9-pve")})
    spoil(found)
    assert codes(read(found)) == [code]


def test_a_partition_without_a_file_system_is_refused_also_beside_a_good_one() -> None:
    assert codes(read(host({"AAAA-0001": esp("6.8"), "AAAA-0002": {}}))) == ["esp-unreadable"]


def test_partitions_that_are_booted_by_different_loaders_are_refused() -> None:
    grub = {"/grub/grub.cfg": b"menuentry 'x' {\n}\n", "/EFI/proxmox/grubx64.efi": b"MZ"}
    assert codes(read(host({"AAAA-0001": esp("6.8"), "AAAA-0002": grub}))) == ["esps-unlike"]


def test_a_disk_that_was_taken_out_is_a_warning_beside_one_that_is_there() -> None:
    found = host({"AAAA-0001": esp("6.8"), "AAAA-0002": esp("6.8")})
    del found.tree["/dev/disk/by-uuid/AAAA-0002"]
    facts = read(found)
    assert codes(facts) == []
    assert codes(facts, Severity.WARNING) == ["esp-missing"]
    assert facts.entries is not None and len(facts.entries) == 1


def esps(machine: Path) -> dict[str, bytes]:
    """What lies on the partitions of a simulated machine."""
    return {str(path.relative_to(machine)): path.read_bytes() for path in (machine / ".esp").rglob("*.c*")}


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_the_way_back_writes_every_partition_as_it_was(system: System, tmp_path: Path) -> None:
    machine = made(tmp_path, "debian12-lab", *system.init, change=system.change)
    before = esps(machine)
    assert before
    run(machine, "advance", "--until", "modules_loaded").is_(0)
    run(machine, "advance", "--no-trial").is_(0)
    after = esps(machine)
    assert after.keys() == before.keys()
    assert all(has_token(text.decode().split()) for path, text in after.items() if "loader.conf" not in path)
    roll_back(machine)
    assert esps(machine) == before


def test_the_way_back_without_us_says_what_is_left_to_be_done(tmp_path: Path) -> None:
    system = SYSTEMS[0]
    machine = made(tmp_path, "debian12-lab", *system.init, change=system.change)
    before = esps(machine)
    run(machine, "advance", "--until", "modules_loaded").is_(0)
    run(machine, "advance", "--no-trial").is_(0)
    script = machine / "var/lib/vfiostate/restore.sh"
    done = subprocess.run(
        ["/bin/sh", script], check=True, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}
    )
    assert "  proxmox-boot-tool refresh\n" in done.stdout
    assert esps(machine) != before
    command(machine, "proxmox-boot-tool", "refresh")
    assert esps(machine) == before


def test_a_refresh_that_fails_takes_the_edit_back_and_leaves_the_partitions_alone(tmp_path: Path) -> None:
    system = SYSTEMS[0]
    machine = made(tmp_path, "debian12-lab", *system.init, change=system.change)
    before, line = esps(machine), (machine / system.where).read_bytes()
    run(machine, "advance", "--until", "modules_loaded").is_(0)
    faulty = json.loads((machine / "machine.json").read_text())
    faulty["faults"] = {"commands": {"proxmox-boot-tool": {"status": 1, "stderr": "mount failed\n", "times": 1}}}
    (machine / "machine.json").write_text(json.dumps(faulty))
    run(machine, "advance", "--no-trial").is_(1, "mount failed")
    assert (machine / system.where).read_bytes() == line
    assert esps(machine) == before


def test_a_partition_that_is_gone_is_refused_before_anything_is_changed(tmp_path: Path) -> None:
    system = SYSTEMS[0]
    machine = made(tmp_path, "debian12-lab", *system.init, change=system.change)
    run(machine, "advance", "--until", "modules_loaded").is_(0)
    for uuid in UUIDS:
        (machine / "dev/disk/by-uuid" / uuid).unlink()
    refused(machine, "esp-missing", "proxmox-boot-tool clean")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A real FAT file system with an entry in it."""
    tools = [shutil.which(name) for name in ("mkfs.vfat", "mmd", "mcopy", "grub-fstest")]
    if not all(tools):
        pytest.skip("needs dosfstools, mtools and grub-common")
    place, file = tmp_path / "esp.img", tmp_path / "entry"
    file.write_bytes(entry("6.8"))
    place.write_bytes(bytes(40 << 20))
    for argv in (
        ("mkfs.vfat", "-F", "32", str(place)),
        ("mmd", "-i", str(place), "::/loader", "::/loader/entries"),
        ("mcopy", "-i", str(place), str(file), "::/loader/entries/proxmox-6.8.12-9-pve.conf"),
    ):
        subprocess.run(argv, check=True, capture_output=True)
    return place


def test_the_real_grub_fstest_reads_a_file_system_that_is_not_mounted(image: Path) -> None:
    found = EspImage(Real(), str(image))
    assert found.names("/loader/entries") == ("proxmox-6.8.12-9-pve.conf",)
    assert found.names("/nowhere") == ()
    assert found.read("/loader/entries/proxmox-6.8.12-9-pve.conf") == entry("6.8")
    assert found.read("/LOADER/entries/PROXMOX-6.8.12-9-pve.conf") == entry("6.8")
    assert found.read("/loader/loader.conf") is None and found.read("/nowhere/x") is None
    image.write_bytes(bytes(1 << 20))
    with pytest.raises(EspUnreadable):
        found.read("/loader/loader.conf")
    with pytest.raises(EspUnreadable):
        EspImage(Real(), str(image.parent / "gone")).names("/")


class Real(MemoryHost):
    """A host whose commands are this machine's."""

    def query(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 60.0) -> Completed:
        done = subprocess.run(argv, input=stdin, capture_output=True, timeout=timeout, check=False)
        return Completed(tuple(argv), done.returncode, done.stdout, done.stderr)

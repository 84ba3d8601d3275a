"""The command doubles, held against what the real commands printed in the lab or document."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from engine.hosts.base import OutcomeUnknown
from engine.hosts.simulated import drivers, initramfs
from engine.hosts.simulated.host import SimulatedHost
from engine.hosts.simulated.machine import kernels_in_boot
from engine.hosts.simulated.parts import Disk, Mount
from journal.events import Json
from steps.actions import StartProcess
from steps.boot import grub_cfg
from tests.simulated.conftest import Fresh

BASE = "/lib/modules/6.1.0-56-amd64"


@pytest.fixture
def lab(fresh: Fresh) -> SimulatedHost:
    return fresh("debian12-lab")


@pytest.mark.parametrize(
    ("argv", "status", "out", "err"),
    [
        (["uname", "-r"], 0, "6.1.0-56-amd64\n", ""),
        (
            ["modprobe", "-n", "--show-depends", "vfio-virqfd"],
            0,
            f"insmod {BASE}/kernel/drivers/vfio/vfio_virqfd.ko \n",
            "",
        ),
        (["modprobe", "-n", "--show-depends", "virtio"], 0, "builtin virtio\n", ""),
        (
            ["modprobe", "-S", "5.0.0", "-n", "-D", "vfio"],
            1,
            "",
            "modprobe: FATAL: Module vfio not found in directory /lib/modules/5.0.0\n",
        ),
        (["modprobe", "-n", "-q", "--show-depends", "nosuch"], 1, "", ""),
        (["modprobe", "-R", "pci:v00001B36d0000000Dsv00001AF4sd00001100bc0Csc03i30"], 0, "xhci_pci\n", ""),
        (["modprobe", "kvm_amd"], 1, "", "modprobe: ERROR: could not insert 'kvm_amd': Operation not supported\n"),
        (["modprobe", "-r", "virtio"], 1, "", "modprobe: FATAL: Module virtio is builtin.\n"),
        (["modprobe", "-r", "drm"], 1, "", "modprobe: FATAL: Module drm is in use.\n"),
        (["modinfo", "-F", "filename", "vfio_pci"], 0, f"{BASE}/kernel/drivers/vfio/pci/vfio-pci.ko\n", ""),
        (["modinfo", "-F", "filename", "nosuch"], 1, "", "modinfo: ERROR: Module nosuch not found.\n"),
        (
            ["systemctl", "is-enabled", "nosuch"],
            1,
            "",
            "Failed to is-enabled unit: Unit file nosuch.service does not exist.\n",
        ),
        (["ip", "link", "show", "dev", "tap0"], 1, "", 'Cannot find device "tap0"\n'),
        (["getent", "passwd", "nobody"], 0, "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n", ""),
        (["nosuch"], 127, "", "nosuch: not found\n"),
        (["sh", "-c", "echo no"], 126, "", "sh: the simulated machine's sh reads standard input only\n"),
    ],
)
def test_a_command_answers_as_the_real_one(
    lab: SimulatedHost, argv: list[str], status: int, out: str, err: str
) -> None:
    done = lab.query(argv)
    assert (done.status, done.text, done.stderr.decode()) == (status, out, err)


def test_showing_dependencies_names_them_in_loading_order_whether_loaded_or_not(lab: SimulatedHost) -> None:
    before = lab.query(["modprobe", "-n", "--show-depends", "vfio_pci"]).text
    names = [line.split()[1].rpartition("/")[2] for line in before.splitlines()]
    assert names[-1] == "vfio-pci.ko" and names.index("vfio.ko") < names.index("vfio-pci-core.ko")
    lab.run(["modprobe", "vfio-pci"], timeout=5)
    assert lab.query(["modprobe", "-n", "--show-depends", "vfio_pci"]).text == before


def test_sh_is_the_real_one_and_reaches_no_command(lab: SimulatedHost) -> None:
    assert lab.query(["sh", "-e"], stdin=b'X=1; X="$X more"; printf %s "$X"').text == "1 more"
    assert lab.query(["sh"], stdin=b"ls /").status == 127


def test_grub_mkconfig_writes_what_grub_reads(lab: SimulatedHost) -> None:
    lab.install_kernel("6.1.0-60-amd64")
    place = lab.machine.path("/etc/default/grub")
    place.write_text(place.read_text() + 'GRUB_CMDLINE_LINUX="console=ttyS0"\nGRUB_CMDLINE_LINUX_DEFAULT=\'a "b" c\'\n')
    lab.machine.put("/etc/default/grub.d/50.cfg", 'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT d"\n')
    assert lab.run(["update-grub"], timeout=5).ok
    found = grub_cfg.entries(lab.read("/boot/grub/grub.cfg"))
    assert [(one.release, one.recovery) for one in found] == [
        ("6.1.0-60-amd64", False),
        ("6.1.0-60-amd64", False),
        ("6.1.0-60-amd64", True),
        ("6.1.0-56-amd64", False),
        ("6.1.0-56-amd64", True),
    ]
    assert found[0].arguments[1:] == ("ro", "console=ttyS0", "a", "b", "c", "d")
    assert "a" not in found[2].arguments and found[2].arguments[-1] == "console=ttyS0"
    assert lab.query(["grub-script-check", "/boot/grub/grub.cfg"]).ok


@pytest.mark.parametrize(
    ("mounts", "slaves", "below", "kind"),
    [
        ((), (), "", "ext2"),
        ((("/dev/sda1", "/", "ext4"),), (), "", "ext2"),
        ((("/dev/sda1", "/", "ext4"), ("/dev/sda2", "/boot", "vfat")), (), "", "fat"),
        ((("/dev/sda1", "/", "btrfs"),), (), "", "btrfs"),
        ((("/dev/mapper/vg-root", "/", "ext4"),), (), "lvm", "ext2"),
        ((("/dev/dm-0", "/", "xfs"),), ("sda1",), "lvm", "xfs"),
        ((("/dev/md0", "/boot", "ext4"),), (), "diskfilter mdraid1x", "ext2"),
    ],
)
def test_grub_probe_says_what_boot_lies_on(
    lab: SimulatedHost, mounts: tuple[tuple[str, str, str], ...], slaves: tuple[str, ...], below: str, kind: str
) -> None:
    disks = (Disk("dm-0", None, 8, (), slaves),)
    found = tuple(Mount(*each) for each in mounts)
    lab.machine.description = replace(lab.machine.description, mounts=found, disks=disks)
    assert lab.query(["grub-probe", "--target=abstraction", "/boot/grub"]).text.strip() == below
    assert lab.query(["grub-probe", "--target=fs", "/boot/grub"]).text.strip() == kind
    missing = lab.query(["grub-probe", "--target=fs", "/nowhere"])
    assert missing.status == 1 and b"failed to get canonical path of `/nowhere'" in missing.stderr


def test_grub_editenv_sets_lists_and_unsets_and_gives_the_block_back(lab: SimulatedHost) -> None:
    env = "/boot/grub/grubenv"
    before = lab.read(env)
    assert lab.run(["grub-editenv", env, "set", "next_entry=a", "b=c d"], timeout=5).ok
    assert lab.query(["grub-editenv", env, "list"]).text == "next_entry=a\nb=c d\n"
    assert len(lab.read(env)) == 1024
    assert lab.run(["grub-editenv", env, "unset", "next_entry", "b"], timeout=5).ok
    assert lab.read(env) == before
    lab.machine.path(env).unlink()
    assert lab.run(["grub-editenv", env, "set", "next_entry=a"], timeout=5).ok
    assert len(lab.read(env)) == 1024


def test_settings_that_sh_cannot_read_leave_the_old_configuration(lab: SimulatedHost) -> None:
    before = lab.read("/boot/grub/grub.cfg")
    lab.machine.put("/etc/default/grub", 'GRUB_CMDLINE_LINUX_DEFAULT="quiet\n')
    done = lab.run(["update-grub"], timeout=5)
    assert not done.ok and b"nterminated" in done.stdout
    assert lab.read("/boot/grub/grub.cfg") == before


def test_the_initramfs_carries_what_was_asked_for_and_its_modprobe_files(lab: SimulatedHost) -> None:
    names = set(lab.query(["lsinitramfs", "/boot/initrd.img-6.1.0-56-amd64"]).text.split())
    ours = "usr/lib/modules/6.1.0-56-amd64/kernel/drivers/pci/pci-stub.ko"
    assert ours not in names and not any("snd-hda" in name for name in names)
    assert any(name.endswith("/bochs.ko") for name in names)
    lab.machine.put("/etc/initramfs-tools/modules", "# a comment\npci-stub\n")
    lab.machine.put("/etc/modprobe.d/ours.conf", "softdep bochs pre: pci-stub\n")
    first = lab.read("/boot/initrd.img-6.1.0-56-amd64")
    assert lab.run(["update-initramfs", "-u"], timeout=5).ok
    names = set(lab.query(["lsinitramfs", "/boot/initrd.img-6.1.0-56-amd64"]).text.split())
    assert {ours, "etc/modprobe.d/ours.conf"} <= names
    second = lab.read("/boot/initrd.img-6.1.0-56-amd64")
    assert first != second
    lab.run(["update-initramfs", "-u"], timeout=5)
    third = lab.read("/boot/initrd.img-6.1.0-56-amd64")
    # Made at another time it is another file with the same in it, as with the real one.
    assert third != second and initramfs.parse(third) == initramfs.parse(second)


def test_modules_dep_packs_what_holds_a_device_at_that_moment(lab: SimulatedHost) -> None:
    image = "/boot/initrd.img-6.1.0-56-amd64"
    lab.machine.put("/etc/initramfs-tools/conf.d/dep", "MODULES=dep\n")
    lab.run(["update-initramfs", "-u"], timeout=5)
    assert "bochs.ko" in lab.query(["lsinitramfs", image]).text
    lab.write_attribute("/sys/bus/pci/drivers/bochs-drm/unbind", "0000:01:00.0", timeout=5)
    lab.run(["update-initramfs", "-u"], timeout=5)
    assert "bochs.ko" not in lab.query(["lsinitramfs", image]).text


def test_update_grub_writes_in_place_and_says_the_same_twice(lab: SimulatedHost) -> None:
    place = lab.machine.path("/boot/grub/grub.cfg")
    lab.run(["update-grub"], timeout=5)
    before = (place.read_bytes(), place.stat().st_ino, place.stat().st_mode)
    lab.run(["update-grub"], timeout=5)
    assert (place.read_bytes(), place.stat().st_ino, place.stat().st_mode) == before


def test_an_initramfs_that_is_not_there_cannot_be_updated(lab: SimulatedHost) -> None:
    done = lab.run(["update-initramfs", "-u", "-k", "5.0.0"], timeout=5)
    assert done.status == 1 and b"does not exist. Cannot update." in done.stdout


def test_systemctl_links_a_unit_into_its_target_and_takes_it_out_again(lab: SimulatedHost) -> None:
    wants = "/etc/systemd/system/multi-user.target.wants"
    lab.machine.put(
        "/etc/systemd/system/one.service", "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"
    )
    assert lab.query(["systemctl", "is-enabled", "one"]).status == 1
    assert lab.run(["systemctl", "enable", "one.service"], timeout=5).ok
    assert lab.readlink(f"{wants}/one.service") == "/etc/systemd/system/one.service"
    assert lab.query(["systemctl", "is-enabled", "one"]).text == "enabled\n"
    assert lab.run(["systemctl", "disable", "one"], timeout=5).ok
    assert lab.lstat(f"{wants}/one.service") is None


def test_ip_makes_a_tap_in_a_bridge_and_takes_both_away(fresh: Fresh) -> None:
    host = fresh("article")
    for argv in (
        "tuntap add dev tap0 mode tap user nobody",
        "link set tap0 master br0",
        "link set dev tap0 promisc on up",
        "link add name br1 type bridge",
    ):
        assert host.run(["ip", *argv.split()], timeout=5).ok, argv
    assert host.read("/sys/class/net/tap0/owner") == b"65534\n"
    assert set(host.list("/sys/class/net/br0/brif")) == {"eth0", "tap0"}
    one = json.loads(host.query(["ip", "-j", "-d", "link", "show", "dev", "tap0"]).text)[0]
    assert (one["master"], one["linkinfo"]["info_kind"], one["operstate"]) == ("br0", "tun", "UP")
    assert "PROMISC" in one["flags"]
    assert json.loads(host.query(["ip", "-j", "route", "show"]).text)[0]["dev"] == "br0"
    assert not host.run(["ip", "tuntap", "add", "dev", "tap0", "mode", "tap"], timeout=5).ok
    assert not host.run(["ip", "link", "add", "name", "br0", "type", "bridge"], timeout=5).ok
    assert not host.run(["ip", "link", "del", "eth0"], timeout=5).ok
    for name in ("tap0", "br1"):
        assert host.run(["ip", "link", "del", name], timeout=5).ok
        assert name not in host.list("/sys/class/net")
    assert host.list("/sys/class/net/br0/brif") == ("eth0",)


def spoilt(host: SimulatedHost, faults: dict[str, Json]) -> SimulatedHost:
    host.machine.describe(replace(host.machine.description, faults=faults))
    return SimulatedHost(host.root)


def test_faults_are_what_the_description_says(lab: SimulatedHost) -> None:
    host = spoilt(
        lab,
        {
            "commands": {
                "update-grub": {"status": 1, "stderr": "no space", "times": 1},
                "lsinitramfs": {"stdout": "\ufffdrubbish"},
                "modprobe": {"hangs": True, "matching": "vfio_pci"},
            },
            "read_only": ["/etc/modprobe.d/"],
            "space": 100,
        },
    )
    assert host.run(["update-grub"], timeout=5).status == 1
    assert host.run(["update-grub"], timeout=5).status == 0
    assert host.query(["lsinitramfs", "/boot/initrd.img-6.1.0-56-amd64"]).text == "\ufffdrubbish"
    with pytest.raises(TimeoutError):
        host.query(["modprobe", "vfio_pci"])
    assert host.query(["modprobe", "-n", "vfio"]).ok
    mine = host.attributes("/etc/modules")
    with pytest.raises(OSError, match="Read-only"):
        host.write_file("/etc/modprobe.d/x.conf", b"x", mine)
    host.write_file("/etc/modules", b"x" * 60, mine)
    assert host.free("/etc") == 40
    with pytest.raises(OSError, match="No space"):
        host.write_file("/etc/modules", b"x" * 60, mine)


def test_a_device_that_a_guest_has_is_not_let_go(lab: SimulatedHost) -> None:
    usb, unbind = "0000:02:00.0", "/sys/bus/pci/drivers/vfio-pci/unbind"
    lab.run(["modprobe", "vfio-pci"], timeout=5)
    lab.write_attribute(f"/sys/bus/pci/devices/{usb}/driver_override", "vfio-pci", timeout=5)
    lab.write_attribute("/sys/bus/pci/drivers/xhci_hcd/unbind", usb, timeout=5)
    lab.write_attribute("/sys/bus/pci/drivers_probe", usb, timeout=5)
    place = lab.machine.path("/run") / "vfiostate"
    place.mkdir(mode=0o700)
    # As QEMU's command line looks to the model, in a process that only waits.
    words = (sys.executable, "-c", "input(1)", str(lab.root), "-device", f"vfio-pci,host={usb},id=hd0")
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as guest:
        # Only once it runs does /proc show its command line.
        assert guest.stdout is not None and guest.stdout.read(1) == b"1"
        (place / "guest.pid").write_text(f"{guest.pid} 1\n")
        with pytest.raises(OutcomeUnknown):
            lab.write_attribute(unbind, usb, timeout=5)
        assert b"in use" in lab.run(["modprobe", "-r", "vfio_pci"], timeout=5).stdout
        guest.kill()
    lab.write_attribute(unbind, usb, timeout=5)
    assert drivers.driver_of(lab.machine, usb) is None


def test_only_qemu_can_be_started(lab: SimulatedHost) -> None:
    with pytest.raises(FileNotFoundError):
        lab.start(StartProcess("x", ("/usr/bin/sleep", "1"), "try"))
    lab.machine.unlink("/usr/bin/qemu-system-x86_64")
    with pytest.raises(FileNotFoundError):
        lab.start(StartProcess("x", ("qemu-system-x86_64",), "try"))


def test_kernels_stand_in_the_menu_as_sort_v_has_them_the_newest_first(lab: SimulatedHost) -> None:
    """version_sort in grub-mkconfig_lib; the lab's menu has Debian's rt flavour before the plain one of its version."""
    for release in ("6.1.0-56-rt-amd64", "6.1.0-9-amd64", "6.12.118+deb13-amd64"):
        lab.install_kernel(release)
    found = kernels_in_boot(lab.machine)
    assert found == ("6.12.118+deb13-amd64", "6.1.0-56-rt-amd64", "6.1.0-56-amd64", "6.1.0-9-amd64")
    asked = subprocess.run(("sort", "-V", "-r"), input="\n".join(found), capture_output=True, text=True, check=True)
    assert tuple(asked.stdout.split()) == found

"""Who holds the devices after a boot: the race of stub and native driver as the lab saw it, and the entries of GRUB."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.hosts.simulated import description, drivers
from engine.hosts.simulated.boot import DoesNotBootError, Entry
from engine.hosts.simulated.host import SimulatedHost
from engine.hosts.simulated.parts import Init
from journal.errors import ConfigurationError
from tests.simulated.conftest import Fresh

GPU, AUDIO, USB = "0000:01:00.0", "0000:01:00.1", "0000:02:00.0"
IDS = "1234:1111,8086:2668"


def append(host: SimulatedHost, path: str, text: str) -> None:
    place = host.machine.path(path)
    before = place.read_text() if place.exists() else ""
    place.write_text(before + text)


def words(host: SimulatedHost, text: str) -> None:
    """Put words onto the default command line and regenerate."""
    place = host.machine.path("/etc/default/grub")
    place.write_text(place.read_text().replace('DEFAULT="quiet', f'DEFAULT="quiet {text}'))
    assert host.run(["update-grub"], timeout=9).ok


def rebuilt(host: SimulatedHost) -> None:
    assert host.run(["update-initramfs", "-u", "-k", "all"], timeout=9).ok


def holders(host: SimulatedHost) -> tuple[str | None, str | None]:
    return drivers.driver_of(host.machine, GPU), drivers.driver_of(host.machine, AUDIO)


@pytest.mark.parametrize(
    ("modules", "softdeps", "expected"),
    [
        # The stub is nowhere: the native drivers have both.
        ("", "", ("bochs-drm", "snd_hda_intel")),
        # What the lab saw first: udev loads bochs before the stub comes; the audio driver is not in the initramfs.
        ("pci_stub\n", "", ("bochs-drm", "pci-stub")),
        # A softdep for one native driver brings the stub early, and it takes both.
        ("pci_stub\n", "softdep bochs pre: pci_stub\n", ("pci-stub", "pci-stub")),
        ("pci_stub\n", "softdep bochs pre: pci_stub\nsoftdep snd_hda_intel pre: pci_stub\n", ("pci-stub", "pci-stub")),
        # The softdep pulls the module into the initramfs with bochs, even where nobody lists it.
        ("", "softdep bochs pre: pci-stub\n", ("pci-stub", "pci-stub")),
        # Only the audio driver's: on the root, too late for the card.
        ("", "softdep snd_hda_intel pre: pci_stub\n", ("bochs-drm", "pci-stub")),
        # A blacklist works too.
        ("pci_stub\n", "blacklist bochs\n", ("pci-stub", "pci-stub")),
    ],
)
def test_the_race_ends_as_on_a_real_kernel(
    fresh: Fresh, modules: str, softdeps: str, expected: tuple[str, str]
) -> None:
    host = fresh("debian12-lab")
    append(host, "/etc/initramfs-tools/modules", modules)
    append(host, "/etc/modprobe.d/stub.conf", softdeps)
    rebuilt(host)
    words(host, f"pci-stub.ids={IDS}")
    host.reboot()
    assert holders(host) == expected


def test_a_softdep_that_is_not_in_the_initramfs_does_not_help(fresh: Fresh) -> None:
    host = fresh("debian12-lab")
    append(host, "/etc/initramfs-tools/modules", "pci_stub\n")
    rebuilt(host)
    append(host, "/etc/modprobe.d/stub.conf", "softdep bochs pre: pci_stub\n")
    words(host, f"pci-stub.ids={IDS}")
    host.reboot()
    assert holders(host) == ("bochs-drm", "pci-stub")


@pytest.mark.parametrize(
    ("ours", "other", "expected"),
    [
        ("a", "etc/modprobe.d/b.conf", "pci-stub"),
        ("b", "etc/modprobe.d/a.conf", "bochs-drm"),
        ("m", "lib/modules/6.1.0-56-amd64/modules.softdep", "pci-stub"),
        ("n", "lib/modules/6.1.0-56-amd64/modules.softdep", "bochs-drm"),
    ],
)
def test_of_two_softdeps_the_one_in_the_first_file_counts_alone(
    fresh: Fresh, ours: str, other: str, expected: str
) -> None:
    host = fresh("debian12-lab")
    append(host, "/etc/initramfs-tools/modules", "pci_stub\n")
    append(host, f"/etc/modprobe.d/{ours}.conf", "softdep bochs pre: pci_stub\n")
    append(host, f"/{other}", "softdep bochs post: usbhid\n")
    rebuilt(host)
    words(host, f"pci-stub.ids={IDS}")
    host.reboot()
    assert drivers.driver_of(host.machine, GPU) == expected


def test_vfio_pci_as_the_stub_wins_with_softdeps_too(fresh: Fresh) -> None:
    host = fresh("debian12-lab")
    append(host, "/etc/modprobe.d/stub.conf", "softdep bochs pre: vfio-pci\nsoftdep xhci_pci pre: vfio-pci\n")
    rebuilt(host)
    words(host, f"vfio-pci.ids={IDS},1b36:000d")
    host.reboot()
    assert (*holders(host), drivers.driver_of(host.machine, USB)) == ("vfio-pci",) * 3
    assert host.list("/dev/vfio") == ("7", "8", "vfio")
    assert "vfio_pci: add [1b36:000d[ffffffff:ffffffff]] class 0x000000/00000000" in host.query(["dmesg"]).text


def test_a_built_in_stub_needs_no_help_and_logs_what_the_article_shows(fresh: Fresh) -> None:
    host = fresh("article")
    place = host.machine.path("/etc/default/grub")
    place.write_text(place.read_text().replace("quiet splash", "quiet splash pci-stub.ids=10de:1200,10de:0e0c"))
    host.run(["update-grub"], timeout=9)
    host.reboot()
    assert drivers.driver_of(host.machine, "0000:03:00.0") == "pci-stub"
    log = host.query(["dmesg"]).text
    for line in (
        "pci-stub: add 10DE:1200 sub=FFFFFFFF:FFFFFFFF cls=00000000/00000000",
        "pci-stub 0000:03:00.0: claimed by stub",
        "AMD-Vi: Found IOMMU at 0000:00:00.2 cap 0x40",
    ):
        assert line in log


@pytest.mark.parametrize(
    ("name", "line", "groups"),
    [
        ("debian12-lab", "", 10),
        ("debian12-lab", "intel_iommu=on", 10),
        ("debian12-lab", "intel_iommu=on,sm_on iommu=pt", 10),
        ("debian12-lab", "intel_iommu=off", 0),
        ("debian12-lab", "intel_iommu=off intel_iommu=on", 10),
        ("debian12-lab", "iommu=off", 0),
        ("debian12-lab", "amd_iommu=off", 10),
        ("iommu-off", "amd_iommu=on", 0),
        ("iommu-off", "intel_iommu=on", 0),
    ],
)
def test_the_iommu_is_on_by_firmware_and_command_line_together(fresh: Fresh, name: str, line: str, groups: int) -> None:
    host = fresh(name)
    words(host, line)
    host.reboot()
    assert len(host.list("/sys/kernel/iommu_groups")) == groups


def test_an_intel_kernel_not_built_with_it_needs_the_option(fresh: Fresh) -> None:
    host = fresh("debian12-lab")
    place = host.machine.path("/machine.json")
    place.write_text(place.read_text().replace("CONFIG_INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF", "CONFIG_NOTHING"))
    host = SimulatedHost(host.root)
    host.reboot()
    assert host.list("/sys/kernel/iommu_groups") == ()
    words(host, "intel_iommu=on")
    host.reboot()
    assert "DMAR: IOMMU enabled" in host.query(["dmesg"]).text
    assert len(host.list("/sys/kernel/iommu_groups")) == 10


def test_every_boot_has_its_own_id_and_forgets_the_runtime(fresh: Fresh) -> None:
    host = fresh("debian12-lab")
    before = host.boot_id
    host.write_attribute(f"/sys/bus/pci/devices/{GPU}/driver_override", "vfio-pci", timeout=5)
    host.run(["modprobe", "vfio-pci"], timeout=5)
    host.run(["ip", "tuntap", "add", "dev", "tap0", "mode", "tap"], timeout=5)
    host.request_reboot()
    assert host.boot_id != before
    assert host.read(f"/sys/bus/pci/devices/{GPU}/driver_override") == b"(null)\n"
    assert "tap0" not in host.list("/sys/class/net")
    assert b"vfio_pci" not in host.read("/proc/modules")


def test_the_recovery_entry_has_neither_our_words_nor_our_service(fresh: Fresh) -> None:
    host = fresh("debian12-lab")
    append(host, "/etc/modules", "vfio_pci\n")
    host.machine.put("/usr/local/sbin/vfiostate-bind", f"#!/bin/sh\ndevices='\n{USB}=1b36:000d\n'\n", 0o755)
    host.machine.put(
        "/etc/systemd/system/vfiostate-bind.service",
        "[Service]\nExecStart=/usr/local/sbin/vfiostate-bind\n[Install]\nWantedBy=multi-user.target\n",
    )
    assert host.run(["systemctl", "enable", "vfiostate-bind.service"], timeout=5).ok
    words(host, "vfiostate.setup=0123456789ab")
    host.reboot()
    assert b"vfiostate.setup=0123456789ab" in host.read("/proc/cmdline")
    assert drivers.driver_of(host.machine, USB) == "vfio-pci"
    host.reboot(Entry.RECOVERY)
    assert b"vfiostate" not in host.read("/proc/cmdline")
    assert b"single" in host.read("/proc/cmdline")
    assert drivers.driver_of(host.machine, USB) == "xhci_hcd"


def test_the_binding_script_leaves_a_device_with_another_id_alone(fresh: Fresh) -> None:
    host = fresh("article")
    host.machine.put(
        "/usr/local/sbin/vfiostate-bind", "#!/bin/sh\n0000:00:12.0=1002:4397 0000:00:12.2=dead:beef\n", 0o755
    )
    place = host.machine.path("/etc/rc.local")
    place.write_text(place.read_text().replace("\nexit 0", "\n/usr/local/sbin/vfiostate-bind || true\nexit 0"))
    host.reboot()
    assert drivers.driver_of(host.machine, "0000:00:12.0") == "vfio-pci"
    assert drivers.driver_of(host.machine, "0000:00:12.2") == "ehci-pci"


@pytest.mark.parametrize(
    ("script", "mode", "level", "driver"),
    [
        ("/etc/local.d/mine.start", 0o755, "default", "vfio-pci"),
        ("/etc/local.d/mine.start", 0o644, "default", "ohci-pci"),
        ("/etc/local.d/mine.start", 0o755, None, "ohci-pci"),
        ("/etc/local.d/mine", 0o755, "default", "ohci-pci"),
        ("/etc/rc.local", 0o755, "default", "ohci-pci"),
    ],
)
def test_openrc_runs_the_executable_start_scripts_where_local_is_in_a_runlevel_and_no_rc_local(
    tmp_path: Path, script: str, mode: int, level: str | None, driver: str
) -> None:
    found = replace(description.find("article"), init=Init.OPENRC)
    host = SimulatedHost.create(tmp_path / "machine", found)
    host.machine.put("/usr/local/sbin/vfiostate-bind", "#!/bin/sh\n0000:00:12.0=1002:4397\n", 0o755)
    host.machine.put(script, "#!/bin/sh\n/usr/local/sbin/vfiostate-bind || true\nexit 0\n", mode)
    if level is not None:
        host.machine.link(f"/etc/runlevels/{level}/local", "/etc/init.d/local")
    host.reboot()
    assert drivers.driver_of(host.machine, "0000:00:12.0") == driver


def test_an_installed_kernel_boots_next_and_the_old_one_is_previous(fresh: Fresh) -> None:
    host = fresh("debian12-lab")
    old = host.release
    with pytest.raises(DoesNotBootError, match="no previous entry"):
        host.reboot(Entry.PREVIOUS)
    host.install_kernel("6.1.0-60-amd64")
    host.reboot()
    assert host.release == "6.1.0-60-amd64"
    host.reboot(Entry.PREVIOUS)
    assert host.release == old
    with pytest.raises(ConfigurationError):
        host.install_kernel(old)


def test_grub_reboot_names_the_entry_of_one_boot_only(fresh: Fresh) -> None:
    host = fresh("debian12-lab")
    host.run(["grub-reboot", "1>1"], timeout=5)
    host.reboot()
    assert b"single" in host.read("/proc/cmdline")
    host.reboot()
    assert b"single" not in host.read("/proc/cmdline")
    block = host.read("/boot/grub/grubenv")
    assert block.startswith(b"# GRUB Environment Block\nnext_entry=\n#") and len(block) == 1024


@pytest.mark.parametrize("entry", [Entry.DEFAULT, Entry.RECOVERY])
def test_the_choice_for_one_boot_is_used_up_whatever_is_taken_from_the_menu(fresh: Fresh, entry: Entry) -> None:
    host = fresh("debian12-lab")
    host.run(["grub-reboot", "1>1"], timeout=5)
    host.reboot(entry)
    assert b"next_entry=\n" in host.read("/boot/grub/grubenv")


def test_a_boot_that_hangs_uses_the_choice_up_and_the_default_comes_after_it(fresh: Fresh) -> None:
    host = fresh("debian12-lab")
    before = host.boot_id
    host.run(["grub-reboot", "1>1"], timeout=5)
    host.reboot(fails=True)
    assert b"single" not in host.read("/proc/cmdline")
    assert host.boot_id != before
    host.reboot(Entry.RECOVERY, fails=True)
    assert b"single" not in host.read("/proc/cmdline")


@pytest.mark.parametrize(
    "broken", ["/boot/grub/grub.cfg", "/boot/initrd.img-6.1.0-56-amd64", "/boot/vmlinuz-6.1.0-56-amd64"]
)
def test_a_machine_that_would_not_boot_says_so_and_stays_as_it_is(fresh: Fresh, broken: str) -> None:
    host = fresh("debian12-lab")
    before = host.boot_id
    host.machine.path(broken).unlink()
    with pytest.raises(DoesNotBootError):
        host.reboot()
    assert host.boot_id == before


def test_a_boot_that_was_cut_short_is_finished_by_whoever_opens_the_machine(
    fresh: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = fresh("debian12-lab")

    class PowerCut(BaseException):
        pass

    def cut(*_: object) -> None:
        raise PowerCut

    monkeypatch.setattr("engine.hosts.simulated.loading.probe", cut)
    with pytest.raises(PowerCut):
        host.reboot()
    monkeypatch.undo()
    again = SimulatedHost(host.root)
    assert holders(again) == ("bochs-drm", "snd_hda_intel")
    assert again.lstat("/.booting") is None

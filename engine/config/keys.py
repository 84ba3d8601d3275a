"""Every key of the configuration: what it means, an example, and what its values must be. The one place for all three;
the file that `init` writes, the README and the parser are made from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from engine.config import checks
from engine.config.checks import Check
from steps.config import Allow, Cdrom, Config, Device, Disk, Guest, Network


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its meaning, an example value in TOML for a key that is not set by default, and the check of its value
    (of each element, where it is a list)."""

    text: str
    example: str = ""
    check: Check = checks.anything


# Imported here: a configuration that leaves the choice to us needs none of their modules.
def _boot_loaders() -> Iterable[str]:
    from steps import boot

    return (loader.name for loader in boot.loaders() if loader.supported)


def _generators() -> Iterable[str]:
    from steps import initramfs

    return (generator.name for generator in initramfs.generators() if generator.supported)


def _backends() -> Iterable[str]:
    from steps import guest

    return (way.name for way in guest.ways())


_CONFIG = {
    "devices": Key("The PCI functions to pass through; all functions of an IOMMU group go together."),
    "stub": Key("The driver that keeps the native drivers off the devices from early boot on."),
    "persist": Key("Where the modules to load at boot are written down: /etc/modules, or a drop-in of modules-load.d."),
    "boot_loader": Key(
        "The boot loader whose command line is edited; auto: found by evidence.", check=checks.known(_boot_loaders)
    ),
    "initramfs": Key("What makes the initramfs; auto: found by evidence.", check=checks.known(_generators)),
    "unbind_timeout": Key(
        "Seconds to wait for a driver to let go of a device before the result counts as unknown.",
        check=checks.between(1, 3600, "seconds"),
    ),
    "extra_modules": Key("Further kernel modules to load.", '["kvm_amd"]', checks.module),
    "iommu_pt": Key("Add iommu=pt to the kernel command line (tuning for the host's own devices)."),
    "guest": Key("The virtual machine; without this table the way ends at `bound`."),
    "allow": Key("What is refused unless it is said here."),
    "journal_url": Key(
        "An SQLAlchemy URL for the journal, instead of the file in /var/lib/vfiostate: of PostgreSQL, or of SQLite "
        "with an absolute path; each host needs a database, or a schema, of its own. A password is not journaled.",
        '"postgresql+psycopg://db.example/vfiostate_host1"',
        checks.url,
    ),
    "metrics": Key(
        "A file (*.prom) that `vfiostate audit` writes for the textfile collector of Prometheus' node_exporter.",
        '"/var/lib/prometheus/node-exporter/vfiostate.prom"',
        checks.metrics,
    ),
}

_DEVICE = {
    "address": Key("Where it is: domain:bus:device.function.", '"0000:03:00.0"', checks.address),
    "id": Key("What must be found there: vendor:device.", '"10de:1200"', checks.device_id),
    "x_vga": Key("QEMU's x-vga: hand the legacy VGA ranges to this graphics card."),
    "romfile": Key("A file with the card's ROM, where its own cannot be read.", '"/var/lib/roms/gpu.rom"', checks.path),
}

_DISK = {
    "path": Key("A block device or an image file.", '"/dev/vg0/win7"', checks.path),
    "format": Key("QEMU's name of the image format.", check=checks.one_of("raw", "qcow2", "vmdk", "vdi", "vhdx")),
    "interface": Key("How the guest sees it."),
    "bootindex": Key("Place in the boot order, 0 first; not set: not booted from.", "0", checks.between(0, 1000)),
    "readonly": Key("The guest may not write to it."),
}

_CDROM = {
    "path": Key("An ISO image.", '"/srv/iso/virtio-win.iso"', checks.path),
    "bootindex": Key("Place in the boot order, 0 first; not set: not booted from.", "1", checks.between(0, 1000)),
}

_NETWORK = {
    "tap": Key("The tap interface; made where missing.", '"tap0"', checks.interface),
    "bridge": Key("The bridge it is a port of; made where missing. Not set: no bridge.", '"br0"', checks.interface),
    "mac": Key("The guest's MAC address; not set: one made from the setup's id.", '"52:54:00:12:34:56"', checks.mac),
    "model": Key("QEMU's name of the network card.", check=checks.name),
}

_GUEST = {
    "name": Key("Its name; names its files in /run/vfiostate.", check=checks.name),
    "backend": Key(
        "The way to run it: QEMU, started directly, or a domain of libvirt's system daemon (`libvirt`).",
        check=checks.known(_backends, "qemu"),
    ),
    "binary": Key("The QEMU to run: a command on the fixed PATH or an absolute path."),
    "accel": Key("QEMU's accelerator; tcg emulates and is slow."),
    "machine": Key("QEMU's machine type.", check=checks.name),
    "cpu": Key("QEMU's CPU model, with flags; `host` needs kvm: under tcg the best that QEMU emulates is taken."),
    "memory": Key("Memory in MiB.", check=checks.between(16, 16 * 1024 * 1024, "MiB")),
    "sockets": Key("CPU sockets.", check=checks.between(1, 64)),
    "cores": Key("Cores per socket.", check=checks.between(1, 1024)),
    "threads": Key("Threads per core.", check=checks.between(1, 16)),
    "vcpupin": Key(
        "The host's CPUs for each vCPU, as many lists as there are vCPUs; the vCPUs of a core follow one another.",
        '["2", "3", "4", "5"]',
        checks.cpus,
    ),
    "emulatorpin": Key("The host's CPUs for the guest's other threads: disks, network, display.", '"0-1"', checks.cpus),
    "isolated_cpus": Key(
        "CPUs that the host's kernel keeps free of everything but what is pinned there: isolcpus=, nohz_full= and "
        "rcu_nocbs= on its command line.",
        '"2-5"',
        checks.cpus,
    ),
    "hugepages": Key(
        "The guest's memory in huge pages: of 2M, made before its start, or of 1G, set aside at boot by hugepages= on "
        "the kernel's command line.",
        '"2M"',
    ),
    "rtc": Key("What the guest's clock shows; Windows wants localtime.", check=checks.one_of("utc", "localtime")),
    "boot_menu": Key("Show the firmware's boot menu."),
    "balloon": Key("Give the guest a memory balloon."),
    "firmware": Key("A BIOS image instead of QEMU's own.", '"/usr/share/seabios/bios.bin"', checks.path),
    "ovmf_code": Key(
        "UEFI instead of BIOS: the firmware's code; needs ovmf_vars.", '"/usr/share/OVMF/OVMF_CODE.fd"', checks.path
    ),
    "ovmf_vars": Key(
        "UEFI: this guest's own copy of the variables.", '"/var/lib/vfiostate/guest_VARS.fd"', checks.path
    ),
    "disks": Key("Disks."),
    "cdroms": Key("CD images."),
    "networks": Key("Network cards."),
    "display": Key("Where the guest's own display goes, besides a passed-through card."),
    "vnc": Key('The VNC display: of display = "vnc" and of `guest start --install`.', check=checks.vnc),
    "user": Key(
        "The account QEMU runs as; root only when said here. libvirt has one of its own (qemu.conf).",
        check=checks.account,
    ),
    "sandbox": Key("Run QEMU with -sandbox on. libvirt decides that by itself (qemu.conf)."),
    "start_timeout": Key("Seconds until QMP must say that the guest runs.", check=checks.between(1, 3600, "seconds")),
    "stop_timeout": Key(
        "Seconds the guest gets to shut down before it is ended by force.", check=checks.between(1, 86400, "seconds")
    ),
    "args": Key("Further arguments for QEMU, as they are.", '["-device", "usb-tablet"]'),
}

_ALLOW = {
    "boot_vga": Key(
        "Addresses of graphics cards that may be taken although the host boots on them.",
        '["0000:01:00.0"]',
        checks.address,
    ),
    "identical_ids": Key(
        "Ids that may be stubbed although the host has another, unlisted device of the same id.",
        '["10de:1200"]',
        checks.device_id,
    ),
    "keyboard": Key(
        "Addresses of USB controllers that may be taken although the host's last keyboard hangs on them.",
        '["0000:00:14.0"]',
        checks.address,
    ),
    "unsafe_interrupts": Key(
        "Pass devices through without interrupt remapping (vfio_iommu_type1.allow_unsafe_interrupts=1): the guest can "
        "then attack the host by forged interrupts."
    ),
}

KEYS: Mapping[type, Mapping[str, Key]] = {
    Config: _CONFIG,
    Device: _DEVICE,
    Guest: _GUEST,
    Disk: _DISK,
    Cdrom: _CDROM,
    Network: _NETWORK,
    Allow: _ALLOW,
}

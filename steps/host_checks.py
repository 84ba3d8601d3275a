"""What the host must have besides the devices: commands, space, KVM; and what should be known of it (lockdown)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from steps import module_file, start_script
from steps.base import FileKind, Finding, Host, Severity
from steps.boot.base import BootFacts
from steps.config import Accel, Config
from steps.cpu import CpuVendor
from steps.firmware import Switch, named
from steps.guest import opened
from steps.guest.access import FileFact
from steps.module_file import ModuleFile
from steps.start_script import StartScript

STATE_DIR = "/var/lib/vfiostate"
SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
LOCKDOWN = "/sys/kernel/security/lockdown"

# What the journal and its before-images need besides the images of the initramfs.
MARGIN = 16 << 20


@dataclass(frozen=True, slots=True)
class Space:
    """Room on a file system: bytes free and bytes that will be written, and what for."""

    path: str
    free: int
    needed: int
    what: str


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What the host has. `commands` maps each needed command to its path (None: missing); `kvm_device` is /dev/kvm;
    `lockdown` the mode in force, `secure_boot` as the firmware says (None: not known); `start` what runs a script
    at boot (None: systemd is there); `absent` the files of the guest that are not there yet."""

    commands: Mapping[str, str | None]
    space: tuple[Space, ...]
    lockdown: str | None
    secure_boot: bool | None
    kvm_device: bool
    kvm_loaded: bool
    module_file: ModuleFile
    start: StartScript | None
    absent: tuple[FileFact, ...] = ()


def has_systemd(host: Host) -> bool:
    """Whether systemd runs the host, or is installed to."""
    return host.lstat("/run/systemd/system") is not None or host.which("systemctl") is not None


def read_host(host: Host, config: Config, boot: BootFacts | None, loaded: frozenset[str]) -> HostFacts:
    """Read it all. `loaded` are the modules loaded now."""
    names = needed_commands(config, boot, systemd=has_systemd(host))
    return HostFacts(
        {name: host.which(name) for name in names},
        _space(host),
        _lockdown(host),
        _secure_boot(host),
        host.lstat("/dev/kvm") is not None,
        bool(loaded & {"kvm_intel", "kvm_amd"}),
        module_file.read_module_file(host, config.persist),
        None if has_systemd(host) else start_script.look(host),
        opened.absent(host, config.guest, config.devices) if config.guest is not None else (),
    )


def needed_commands(config: Config, boot: BootFacts | None, *, systemd: bool) -> tuple[str, ...]:
    """The commands that the steps to come will run; those of the initramfs are its generator's evidence."""
    names = ["sh", "modprobe"]
    names += [boot.regenerate[0]] if boot is not None and boot.regenerate else []
    names += ["systemctl"] if systemd else []
    if config.guest is not None:
        names.append(config.guest.binary)
        names += ["ip"] if config.guest.networks else []
    return tuple(dict.fromkeys(names))


def findings(
    config: Config, facts: HostFacts, virtualization: str | None, vendor: CpuVendor = CpuVendor.OTHER
) -> tuple[Finding, ...]:
    """Everything that is to be said, all at once. `virtualization` is the CPU's flag, `vendor` whose CPU it is."""
    return (
        *_commands(facts),
        *_full(facts.space),
        *_kvm(config, facts, virtualization, vendor),
        *_notes(facts),
        *module_file.findings(facts.module_file),
        *(start_script.findings(facts.start) if facts.start is not None else ()),
        *(opened.missing(file, Severity.WARNING) for file in facts.absent),
    )


_PACKAGES = {"modprobe": "kmod", "ip": "iproute2", "update-grub": "grub2-common", "lsinitramfs": "initramfs-tools"}


def _commands(facts: HostFacts) -> list[Finding]:
    missing = [name for name, path in facts.commands.items() if path is None]
    if not missing:
        return []
    packages = [_PACKAGES.get(name, "qemu-system-x86" if name.startswith("qemu-") else name) for name in missing]
    return [
        Finding(
            "command-missing",
            Severity.REFUSAL,
            f"Commands that are needed were not found: {', '.join(missing)}.",
            tuple(f"{name}: not in the fixed PATH" for name in missing),
            f"Install what brings them (on Debian: {' '.join(packages)}), then run `vfiostate advance` again.",
        )
    ]


def _full(spaces: Sequence[Space]) -> list[Finding]:
    return [
        Finding(
            "no-space",
            Severity.REFUSAL,
            f"{space.path} has too little room for {space.what}.",
            (f"{space.path}: {_mib(space.free)} free, {_mib(space.needed)} needed",),
            f"Make room on the file system of {space.path} (old kernels are the usual guests of /boot).",
        )
        for space in spaces
        if space.free < space.needed
    ]


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"


def _kvm(config: Config, facts: HostFacts, virtualization: str | None, vendor: CpuVendor) -> list[Finding]:
    if config.guest is None or config.guest.accel is not Accel.KVM or facts.kvm_device:
        return []
    if virtualization is not None and not facts.kvm_loaded:
        return []  # The modules are still to be loaded, and make the device.
    why = "its module is loaded and made no device" if virtualization else "the CPU shows neither vmx nor svm"
    return [
        Finding(
            "kvm-missing",
            Severity.REFUSAL,
            f"The guest is to run with KVM and /dev/kvm is not there: {why}.",
            ("/dev/kvm does not exist", f"/proc/cpuinfo: {virtualization or 'neither vmx nor svm'}"),
            f"In the firmware's setup turn on {named(Switch.VIRTUALIZATION, vendor)}; or set"
            ' accel = "tcg" in [guest] for a slow guest without it.',
        )
    ]


def forbidden(log: Sequence[str], vendor: CpuVendor) -> Finding:
    """The CPU can, and the firmware has it switched off: KVM will not load."""
    return Finding(
        "kvm-forbidden",
        Severity.REFUSAL,
        "The firmware has the CPU's virtualization switched off: there will be no /dev/kvm.",
        tuple(f"kernel log: {line}" for line in log),
        f"In the firmware's setup turn on {named(Switch.VIRTUALIZATION, vendor)}.",
    )


def _notes(facts: HostFacts) -> list[Finding]:
    found = []
    if facts.lockdown not in (None, "none"):
        found.append(
            Finding(
                "lockdown",
                Severity.NOTE,
                f"The kernel is locked down ({facts.lockdown}): only signed modules are loaded.",
                (f"{LOCKDOWN}: {facts.lockdown}",),
            )
        )
    if facts.secure_boot:
        found.append(
            Finding(
                "secure-boot",
                Severity.NOTE,
                "Secure Boot is on: kernel, initramfs tools and modules have to be the distribution's signed ones.",
                (SECURE_BOOT,),
            )
        )
    return found


def _space(host: Host) -> tuple[Space, ...]:
    sizes = _initrds(host)
    # An image is made beside the old one and renamed over it, one kernel after the other; modules make it larger.
    grown = max(sizes, default=0) * 5 // 4 + (1 << 20)
    before = sum(sizes) + MARGIN
    return (
        Space("/boot", host.free("/boot"), grown, "a new initramfs beside the old one"),
        Space(STATE_DIR, host.free(STATE_DIR), before, "the journal and the before-images"),
        Space("/etc", host.free("/etc"), 1 << 20, "the edited files"),
    )


def _initrds(host: Host) -> tuple[int, ...]:
    try:
        names = [name for name in host.list("/boot") if re.match(r"initrd\.img-|initramfs-", name)]
    except OSError:
        return ()
    stats = (host.lstat(f"/boot/{name}") for name in names)
    return tuple(stat.size for stat in stats if stat is not None and stat.kind is FileKind.FILE)


def _lockdown(host: Host) -> str | None:
    """The mode in brackets: `none [integrity] confidentiality`."""
    try:
        match = re.search(rb"\[(\w+)\]", host.read(LOCKDOWN))
    except OSError:
        return None
    return match[1].decode() if match else None


def _secure_boot(host: Host) -> bool | None:
    """An EFI variable in efivarfs: four bytes of attributes, then the value."""
    try:
        content = host.read(SECURE_BOOT)
    except OSError:
        return None
    return content[4] == 1 if len(content) >= 5 else None

"""A machine's description read from a host: the JSON from which the simulated machine can be made again.

Nothing but reading, through the read-only protocol, so that it serves a real host, a mounted one and a simulated one.
What names the machine or its people is taken out by engine.capture.redact.
"""

from __future__ import annotations

import fnmatch
import re
from pathlib import PurePosixPath

from engine.capture import attached, kernel, redact
from engine.capture.kernel import names_in, text_of
from engine.hosts.simulated import description, generators, loaders
from engine.hosts.simulated.modelled import Modelled, Place
from engine.hosts.simulated.parts import (
    Description,
    Function,
    Init,
    Iommu,
    TextFile,
)
from steps import boot, initramfs, sriov
from steps.base import FileKind, Host
from steps.iommu import read_log
from steps.tuning import cpus

DEVICES = "/sys/bus/pci/devices"
ADDRESS = re.compile(r"[0-9a-f]{4,5}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")
TABLES = ("APIC", "DMAR", "FACP", "HPET", "IVRS", "MCFG", "WAET")
# Beside those of the boot loaders and generators that there is a model of.
COMMANDS = [
    "depmod",
    "dmesg",
    "getent",
    "ip",
    "journalctl",
    "lsmod",
    "lsb_release",
    "logger",
    "mkinitramfs",
    "modinfo",
    "mkdir",
    "modprobe",
    "mokutil",
    "qemu-system-x86_64",
    "reboot",
    "rm",
    "systemctl",
    "touch",
    "udevadm",
    "ukify",
    "uname",
    "virsh",
    "mount",
    "umount",
]
# Beside what the models of boot loaders and generators call their settings.
FILES: tuple[Place, ...] = (
    ("/etc/os-release", ""),
    ("/etc/modules", ""),
    ("/etc/modules-load.d", ".conf"),
    ("/etc/modprobe.d", ".conf"),
    ("/usr/lib/modprobe.d", ".conf"),
    ("/etc/rc.local", ""),
    ("/etc/local.d", ".start"),
    ("/etc/runlevels/default/local", ""),
)
LARGEST = 64 << 10


def capture(host: Host) -> Description:
    """Describe a host, with nothing in it that names the machine or its people."""
    raw = description.dump(_describe(host))
    found = redact.for_host(host).json(raw, leave=frozenset(("modules", "functions", "format", "cpu_flags")))
    return description.parse(found)


def commands() -> tuple[str, ...]:
    """The commands that are looked for; a double that is called by its path is no command."""
    theirs = (name for model in _models() for name in model.doubles if "/" not in name)
    return tuple(sorted({*COMMANDS, *theirs}))


def _models() -> tuple[Modelled, ...]:
    return (*loaders.known().values(), *generators.known().values())


def _describe(host: Host) -> Description:
    addresses = [address for address in names_in(host, DEVICES) if ADDRESS.fullmatch(address)]
    # Shown since 4.13, for PCI Express only.
    links = any(host.lstat(f"{DEVICES}/{address}/max_link_speed") is not None for address in addresses)
    functions = tuple(_function(host, address, links) for address in addresses)
    cpu, processors = _cpu(host), cpus.read(host)
    tables = tuple(name for name in TABLES if host.lstat(f"/sys/firmware/acpi/tables/{name}") is not None)
    kernels = kernel.kernels(host, functions)
    words = text_of(host, "/proc/cmdline").split()
    return Description(
        name="captured",
        kernels=kernels,
        functions=functions,
        cpu_vendor=cpu.get("vendor_id", "unknown"),
        cpu_model=cpu.get("model name", "unknown"),
        cpu_flags=tuple(cpu.get("flags", "").split()),
        threads=len(re.findall(r"^processor\s*:", text_of(host, "/proc/cpuinfo"), re.MULTILINE)) or 1,
        smt=len(processors.siblings.get(0, (0,))),
        nodes=max(1, len(processors.nodes)),
        memory=_memory(host),
        iommu=_iommu(tables, cpu),
        acpi_tables=tables,
        interrupt_remapping=_remapping(host),
        framebuffer=_framebuffer(host, functions),
        uefi=host.lstat("/sys/firmware/efi") is not None,
        secure_boot=_secure_boot(host),
        distribution=_distribution(host),
        boot_loader=_boot_loader(host),
        initramfs=_initramfs(host),
        init=_init(host),
        usrmerge=_is(host, "/lib", FileKind.SYMLINK),
        root=next((word[5:] for word in words if word.startswith("root=")), "/dev/unknown"),
        cmdline=" ".join(words),
        autoload=kernel.autoload(host, kernels),
        disks=attached.disks(host),
        mounts=attached.mounts(host),
        swaps=attached.swaps(host),
        interfaces=attached.interfaces(host),
        keyboards=attached.keyboards(host),
        commands=tuple(path for path in (host.which(name) for name in commands()) if path is not None),
        qemu=_qemu(host),
        files=_files(host),
    )


# --- PCI


def _function(host: Host, address: str, links: bool) -> Function:
    base = f"{DEVICES}/{address}"
    config = _bytes(host, f"{base}/config")
    real = PurePosixPath(host.resolve(base))
    vga = text_of(host, f"{base}/boot_vga").strip()
    # Before 5.15 only that there is a way to reset was shown, not which.
    reset = text_of(host, f"{base}/reset_method").strip() or ("bus" if host.lstat(f"{base}/reset") else "")
    return Function(
        address=address,
        vendor=_hex(host, f"{base}/vendor", 4),
        device=_hex(host, f"{base}/device", 4),
        device_class=_hex(host, f"{base}/class", 6),
        subsystem_vendor=_hex(host, f"{base}/subsystem_vendor", 4),
        subsystem_device=_hex(host, f"{base}/subsystem_device", 4),
        revision=f"{config[8]:02x}" if len(config) > 8 else _hex(host, f"{base}/revision", 2),
        parent=real.parent.name if ADDRESS.fullmatch(real.parent.name) else None,
        group=_group(host, base),
        driver=_link_name(host, f"{base}/driver"),
        boot_vga=vga == "1" if vga else None,
        reset_method=reset or None,
        numa_node=int(text_of(host, f"{base}/numa_node").strip() or -1),
        resources=_resources(text_of(host, f"{base}/resource")),
        conventional=links and host.lstat(f"{base}/max_link_speed") is None,
        physfn=_link_name(host, f"{base}/physfn"),
        total_vfs=int(text_of(host, f"{base}/sriov_totalvfs").strip() or 0),
        vfs_autoprobe=text_of(host, f"{base}/sriov_drivers_autoprobe").strip() != "0",
    )


def _group(host: Host, base: str) -> int | None:
    name = _link_name(host, f"{base}/iommu_group")
    return int(name) if name is not None and name.isdecimal() else None


def _resources(text: str) -> tuple[tuple[int, int, int], ...]:
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3:
            found.append((int(words[0], 16), int(words[1], 16), int(words[2], 16)))
    while found and found[-1] == (0, 0, 0):
        found.pop()
    return tuple(found)


def _hex(host: Host, path: str, digits: int) -> str:
    match = re.fullmatch(r"0x([0-9a-f]+)", text_of(host, path).strip().lower())
    return f"{int(match[1], 16):0{digits}x}"[-digits:] if match else "0" * digits


def _bytes(host: Host, path: str) -> bytes:
    try:
        return host.read(path)
    except OSError:
        return b""


def _link_name(host: Host, path: str) -> str | None:
    try:
        return host.readlink(path).rstrip("/").rpartition("/")[2]
    except OSError:
        return None


def _is(host: Host, path: str, kind: FileKind) -> bool:
    found = host.lstat(path)
    return found is not None and found.kind is kind


# --- firmware, CPU, system


def _boot_loader(host: Host) -> str:
    """What boots it, by the name of its model; the simulated machine's own where there is none of it."""
    loader = boot.detect(host).loader
    name = loader.name if loader is not None else ""
    if name == "grub" and host.which("grub2-mkconfig") is not None:
        name = "grub2"
    return name if name in description.modelled("loaders") else "grub"


def _init(host: Host) -> Init:
    if host.lstat("/run/systemd/system") is not None:
        return Init.SYSTEMD
    return Init.OPENRC if host.lstat("/run/openrc") is not None else Init.RC_LOCAL


def _initramfs(host: Host) -> str:
    """What makes its initramfs, by the name of its model."""
    generator = initramfs.detect(host).generator
    name = generator.name if generator is not None else ""
    if name == "dracut" and any(file.startswith("initrd.img-") for file in names_in(host, "/boot")):
        name = "dracut-debian"  # which has Debian's names for what it makes
    return name if name in description.modelled("generators") else "initramfs-tools"


def _cpu(host: Host) -> dict[str, str]:
    first = text_of(host, "/proc/cpuinfo").split("\n\n")[0]
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}


def _memory(host: Host) -> int:
    match = re.search(r"^MemTotal:\s*(\d+) kB", text_of(host, "/proc/meminfo"), re.MULTILINE)
    return max(1, int(match[1]) // 1024) if match else 1024


def _iommu(tables: tuple[str, ...], cpu: dict[str, str]) -> Iommu:
    flags = cpu.get("flags", "").split()
    if "DMAR" in tables or "vmx" in flags:
        return Iommu.INTEL
    return Iommu.AMD if "IVRS" in tables or "svm" in flags else Iommu.NONE


def _remapping(host: Host) -> bool:
    """False only where the kernel's log tells of an IOMMU and not of interrupt remapping."""
    log = _asked(host, "dmesg")
    units = "AMD-Vi: Found IOMMU" in log or "DMAR: Intel(R) Virtualization Technology" in log
    return not units or re.search(r"Interrupt remapping enabled|Enabled IRQ remapping", log) is not None


def _asked(host: Host, *argv: str) -> str:
    try:
        return host.query(argv, timeout=30.0).text
    except (OSError, TimeoutError):
        return ""


def _framebuffer(host: Host, functions: tuple[Function, ...]) -> tuple[str, str] | None:
    """The firmware's framebuffer and whose memory it is in: now, or by the log until a graphics driver threw it out."""
    held = r"^\s*([0-9a-f]+)-[0-9a-f]+ : (efifb|efidrm|simplefb|simpledrm|BOOTFB|vesafb|vesadrm)"
    said = r"\b(efifb|vesafb): framebuffer at 0x([0-9a-f]+)"
    now = [(one[2], one[1]) for one in re.finditer(held, text_of(host, "/proc/iomem"), re.MULTILINE)]
    log = "\n".join(read_log(host) or ())
    # A bridge has the memory of what is behind it in its window.
    functions = tuple(one for one in functions if not one.device_class.startswith("06"))
    for name, start in (*now, *((one[1], one[2]) for one in re.finditer(said, log))):
        for one in functions:
            if int(start, 16) and any(low <= int(start, 16) <= high for low, high, _ in one.resources):
                return name, one.address
    return None


def _secure_boot(host: Host) -> bool:
    place = "/sys/firmware/efi/efivars"
    name = next((one for one in names_in(host, place) if one.startswith("SecureBoot-")), None)
    return name is not None and _bytes(host, f"{place}/{name}")[-1:] == b"\x01"


def _distribution(host: Host) -> str:
    match = re.search(r'^NAME="?([A-Za-z]+)', text_of(host, "/etc/os-release"), re.MULTILINE)
    return match[1] if match else "Linux"


def _qemu(host: Host) -> str | None:
    if host.which("qemu-system-x86_64") is None:
        return None
    match = re.search(r"version (\d+\.\d+(?:\.\d+)?)", _asked(host, "qemu-system-x86_64", "--version"))
    return match[1] if match else None


# --- files


def _files(host: Host) -> dict[str, TextFile]:
    found: dict[str, TextFile] = {}
    for place, ending in dict.fromkeys((*FILES, *(one for model in _models() for one in model.captured))):
        inside = [f"{place}/{name}" for name in names_in(host, place) if name.endswith(ending) and name[0] != "."]
        for path in inside or [place]:
            one = _file(host, path)
            if one is not None:
                found[path] = one
    # Of all that can make virtual functions at boot, the simulated machine follows udev's rules.
    for path in fnmatch.filter(sriov.makers(host), "/etc/udev/rules.d/*.rules"):
        one = _file(host, path)
        if one is not None:
            found[path] = one
    return found


def _file(host: Host, path: str) -> TextFile | None:
    what = host.lstat(path)
    if what is not None and what.kind is FileKind.SYMLINK and path != "/etc/os-release":
        return TextFile(link=host.readlink(path))
    what = host.lstat(host.resolve(path))
    if what is None or what.kind is not FileKind.FILE or what.size > LARGEST:
        return None
    content = _bytes(host, path)
    return None if b"\0" in content else TextFile(content.decode("utf-8", errors="replace"), what.mode & 0o777)

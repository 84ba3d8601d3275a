"""The kernels of a host as its description has them: of each, the modules that passthrough has to do with."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from engine.hosts.simulated.drivers import KNOWN_DRIVERS
from engine.hosts.simulated.kmod import name_of, normal
from engine.hosts.simulated.parts import Function, Kernel, Module
from steps.base import Host

# Modules that matter to us whether a device asks for them or not.
WANTED = [
    "vfio",
    "vfio_pci",
    "vfio_pci_core",
    "vfio_iommu_type1",
    "vfio_virqfd",
    "pci_stub",
    "irqbypass",
    "kvm",
    "kvm_amd",
    "kvm_intel",
    "tun",
    "tap",
    "bridge",
    "macvtap",
    "vhost_net",
]
CONFIG = re.compile(
    r"CONFIG_(?:PCI_STUB|VFIO\w*|IOMMU_DEFAULT\w*|INTEL_IOMMU\w*|AMD_IOMMU\w*|KVM|KVM_AMD|KVM_INTEL|FB_EFI|SYSFB_SIMPLEFB|"
    r"DRM_SIMPLEDRM|USB_XHCI_PCI|DRM_BOCHS)"
)
NEWEST = 4


def text_of(host: Host, path: str) -> str:
    """A file as text, empty where it cannot be read."""
    try:
        return host.read(path).decode("utf-8", errors="replace")
    except OSError:
        return ""


def names_in(host: Host, path: str) -> tuple[str, ...]:
    """The names in a directory, none where there is none."""
    with contextlib.suppress(OSError):
        return host.list(path)
    return ()


def kernels(host: Host, functions: Iterable[Function]) -> tuple[Kernel, ...]:
    """The installed kernels, the running one and at most three more, each with the modules of these functions."""
    bootable = {name.removeprefix("vmlinuz-") for name in names_in(host, "/boot") if name.startswith("vmlinuz-")}
    found = [one for one in names_in(host, "/lib/modules") if one in bootable or one == host.release]
    found = [one for one in found if host.lstat(f"/lib/modules/{one}/modules.dep") is not None or one == host.release]
    if host.release and host.release not in found:
        found.append(host.release)
    others = [one for one in found if one != host.release][-(NEWEST - 1) :]
    chosen = [one for one in found if one == host.release or one in others]
    aliases = tuple(dict.fromkeys(one.modalias for one in functions))
    held = _drivers(host)
    return tuple(_kernel(host, release, aliases, held, tuple(functions)) for release in chosen)


def _drivers(host: Host) -> Mapping[str, tuple[str, ...]]:
    """The PCI drivers that each module has registered in the running kernel."""
    found: dict[str, tuple[str, ...]] = {}
    for driver in names_in(host, "/sys/bus/pci/drivers"):
        try:
            module = host.readlink(f"/sys/bus/pci/drivers/{driver}/module").rpartition("/")[2]
        except OSError:
            continue
        found[module] = (*found.get(module, ()), driver)
    return found


def _kernel(
    host: Host,
    release: str,
    aliases: tuple[str, ...],
    held: Mapping[str, tuple[str, ...]],
    functions: tuple[Function, ...],
) -> Kernel:
    base = f"/lib/modules/{release}"
    lines = [line.partition(":") for line in text_of(host, f"{base}/modules.dep").splitlines()]
    files = {name_of(file): file for file, _, _ in lines}
    depends = {name_of(file): tuple(sorted({name_of(one) for one in rest.split()})) for file, _, rest in lines}
    builtin = {name_of(line): line.strip() for line in text_of(host, f"{base}/modules.builtin").splitlines()}
    patterns = _patterns(host, base, aliases)
    soft = _softdeps(text_of(host, f"{base}/modules.softdep"))
    wanted = [*patterns, *WANTED]
    for name in list(wanted):
        wanted += [*depends.get(name, ()), *soft.get(name, ())]
    for name in list(wanted):
        wanted += depends.get(name, ())
    modules: dict[str, Module] = {}
    for name in sorted(set(wanted)):
        if name in files or name in builtin:
            modules[name] = Module(
                file=files.get(name) or builtin[name],
                builtin=name not in files,
                depends=() if name in builtin else depends[name],
                aliases=patterns.get(name, ()),
                drivers=_registered(name, patterns, held),
                pre=() if name in builtin else tuple(one for one in soft.get(name, ()) if one in files),
            )
    modules |= _nameless(functions, modules)
    # modules.builtin is in link order, which is the order in which built-in drivers register.
    rank = {name: n for n, name in enumerate(builtin)}
    order = sorted(modules, key=lambda name: (not modules[name].builtin, rank.get(name, -1), name))
    return Kernel(release, {name: modules[name] for name in order}, _config(host, release))


def _registered(
    name: str, patterns: Mapping[str, tuple[str, ...]], held: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """The drivers a module registers: as seen, as known, or by the module's own name where it has PCI aliases."""
    if name in KNOWN_DRIVERS:
        return KNOWN_DRIVERS[name]
    return held.get(name) or ((name,) if patterns.get(name) else ())


def _nameless(functions: Iterable[Function], modules: Mapping[str, Module]) -> dict[str, Module]:
    """Drivers that hold functions and belong to no module, such as pcieport: written down as built-in modules."""
    named = {driver for one in modules.values() for driver in one.drivers}
    found: dict[str, Module] = {}
    for one in functions:
        if one.driver is None or one.driver in named:
            continue
        name = normal(one.driver)
        before = found.get(name, Module(f"kernel/builtin/{name}.ko", builtin=True, drivers=(one.driver,)))
        aliases = tuple(sorted({*before.aliases, one.modalias}))
        found[name] = Module(before.file, builtin=True, aliases=aliases, drivers=before.drivers)
    return found


def _patterns(host: Host, base: str, aliases: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """For each module the alias patterns that match one of these functions."""
    pairs: list[tuple[str, str]] = []
    for line in text_of(host, f"{base}/modules.alias").splitlines():
        words = line.split()
        if len(words) == 3 and words[1].startswith("pci:"):
            pairs.append((words[1], normal(words[2])))
    for one in text_of(host, f"{base}/modules.builtin.modinfo").split("\0"):
        key, _, value = one.partition("=")
        if key.endswith(".alias") and value.startswith("pci:"):
            pairs.append((value, normal(key.removesuffix(".alias"))))
    # The vendor decides most of the ten thousand patterns at once.
    vendors = {alias[:13] for alias in aliases}
    found: dict[str, list[str]] = {}
    for pattern, name in pairs:
        if pattern[5] != "*" and pattern[:13] not in vendors:
            continue
        if any(fnmatchcase(alias, pattern) for alias in aliases):
            found.setdefault(name, []).append(pattern)
    return {name: tuple(sorted(set(some))) for name, some in found.items()}


def _softdeps(text: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) > 3 and words[0] == "softdep" and words[2] == "pre:":
            before = words[3 : words.index("post:")] if "post:" in words else words[3:]
            found[normal(words[1])] = tuple(normal(one) for one in before)
    return found


def _config(host: Host, release: str) -> dict[str, str]:
    found = {}
    for line in text_of(host, f"/boot/config-{release}").splitlines():
        key, equals, value = line.partition("=")
        if equals and CONFIG.fullmatch(key) and re.fullmatch(r"[ymn]", value):
            found[key] = value
    return dict(sorted(found.items()))


def autoload(host: Host, described: tuple[Kernel, ...]) -> tuple[str, ...]:
    """The modules of ours that are loaded and that no device asks for: something else loads them at every boot."""
    running = next((one for one in described if one.release == host.release), None)
    loaded = {line.split()[0] for line in text_of(host, "/proc/modules").splitlines() if line.strip()}
    return tuple(sorted(one for one in loaded if one in WANTED and running is not None and one in running.modules))

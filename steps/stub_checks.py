"""What stands against the step `stubbed`, or should be known before: about the kernel, the devices, the files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from steps import cmdline, softdeps
from steps.base import Brief, Finding, Host, Severity
from steps.boot.base import BootFacts
from steps.config import Config, Stub
from steps.initramfs.base import InitramfsFacts
from steps.kmod import ModuleState
from steps.modprobe_d import Softdep
from steps.pci import GROUPS, Function, list_functions, read_function
from steps.softdeps import Native, stub_module

STUB_DRIVERS = frozenset(stub.value for stub in Stub)
_TABLES = {"DMAR": "intel", "IVRS": "amd"}
_ON = (b"\nCONFIG_INTEL_IOMMU_DEFAULT_ON=y\n", b"\nCONFIG_INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF=y\n")


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """A device of the configuration as it is found: the function (None: nothing at that address), its native modules,
    and what else in the host has its id."""

    address: str
    id: str
    function: Function | None
    natives: tuple[Native, ...] = ()
    twins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KernelFacts:
    """Whose IOMMU the firmware describes (`intel`, `amd`, None), whether IOMMU groups exist now, whether the running
    kernel was told intel_iommu=on, and what the build of the one that will boot says (None: not known); `build` is its
    configuration."""

    vendor: str | None
    groups: bool
    told_on: bool
    default_on: bool | None
    default_on_but_graphics: bool = False
    build: bytes | None = None

    def needs_intel_iommu(self, devices: Sequence[DeviceFacts]) -> bool:
        """Whether intel_iommu=on is needed. Built "on but for integrated graphics" leaves just that device out."""
        if self.vendor != "intel":
            return False
        if self.default_on:
            return self.default_on_but_graphics and any(_integrated_graphics(device.function) for device in devices)
        return not self.groups or self.told_on

    def why_not_needed(self) -> str:
        """The reason in words, for an Intel machine that does without."""
        return "the kernel is built with it on" if self.default_on else "the IOMMU is in use without it"


def _integrated_graphics(function: Function | None) -> bool:
    return function is not None and function.is_display and function.vendor == "8086"


def read_kernel(host: Host, release: str) -> KernelFacts:
    """Read what decides over intel_iommu=on."""
    config = _first(host, f"/boot/config-{release}", f"/lib/modules/{release}/config")
    words = cmdline.split(_first(host, "/proc/cmdline") or b"")
    tables = (table for table in _TABLES if host.lstat(f"/sys/firmware/acpi/tables/{table}") is not None)
    on = None if config is None else any(line in b"\n" + config + b"\n" for line in _ON)
    return KernelFacts(
        vendor=next((_TABLES[table] for table in tables), None),
        groups=host.lstat(GROUPS) is not None and bool(host.list(GROUPS)),
        told_on="on" in cmdline.options(words, "intel_iommu"),
        default_on=on,
        default_on_but_graphics=config is not None and _ON[1] in b"\n" + config + b"\n",
        build=config,
    )


def _first(host: Host, *paths: str) -> bytes | None:
    for path in paths:
        try:
            return host.read(path)
        except OSError:
            continue
    return None


def read_devices(host: Host, config: Config, release: str) -> tuple[DeviceFacts, ...]:
    """Read every configured device, its native modules in the kernel `release`, and its twins."""
    configured = {device.address for device in config.devices}
    everything = list_functions(host)
    found = []
    for device in config.devices:
        function = read_function(host, device.address)
        twins = [other.address for other in everything if other.id == device.id and other.address not in configured]
        native = softdeps.natives(host, function, release) if function else ()
        found.append(DeviceFacts(device.address, device.id, function, native, tuple(twins)))
    return tuple(found)


def wins_anyway(stub: Stub, modules: Mapping[str, ModuleState], device: DeviceFacts) -> bool:
    """Whether a built-in native driver takes the device before a stub driver that is a module can be loaded."""
    is_module = softdeps.loadable(modules.get(softdeps.stub_module(stub), ModuleState.ABSENT))
    return is_module and any(native.state is ModuleState.BUILT_IN for native in device.natives)


def about_devices(config: Config, devices: Sequence[DeviceFacts]) -> Iterator[Finding]:
    """Devices that are not there, are others than expected, or share their id with one that is not meant."""
    for device in devices:
        function = device.function
        if function is None or function.id != device.id:
            found = "there is nothing" if function is None else f"there is {function.id}"
            yield _refusal(
                "device-not-as-expected",
                f"The configuration expects {device.id} at {device.address}; {found}.",
                (),
                "`vfiostate devices` lists what is there; correct the configuration.",
            )
        if device.twins and twins_allowed(config, device):
            yield _twins(config, device)


def twins_allowed(config: Config, device: DeviceFacts) -> bool:
    """Whether the user has said that the host can do without the other devices of the same id."""
    allowed = set(config.allow.identical_ids)
    return not allowed.isdisjoint((device.id, device.address)) or set(device.twins) <= allowed


def _twins(config: Config, device: DeviceFacts) -> Finding:
    others = ", ".join(device.twins)
    return Finding(
        "identical-ids",
        Severity.WARNING,
        f"{config.stub.value} takes every device with the id {device.id}: {others} would be taken too.",
        (f"{device.address} and {others} are all {device.id}",),
        f"Take {device.id} out of identical_ids under [allow], if the host is to keep {others}.",
    )


def about_modules(stub: Stub, modules: Mapping[str, ModuleState], release: str) -> Iterator[Finding]:
    """A stub driver that the kernel does not have."""
    module = softdeps.stub_module(stub)
    if modules.get(module, ModuleState.ABSENT) is not ModuleState.ABSENT:
        return
    other = next(each for each in Stub if each is not stub)
    yield _refusal(
        "stub-absent",
        f"The kernel {release} has no {stub.value}, neither built in nor as a module.",
        (f"modprobe --show-depends {module}: not found",),
        f'Set stub = "{other.value}", or install the kernel\'s full set of modules (not the cloud kernel).',
    )


def about_natives(stub: Stub, modules: Mapping[str, ModuleState], devices: Sequence[DeviceFacts]) -> Iterator[Finding]:
    """Native drivers that no softdep can hold back."""
    for device in devices:
        if wins_anyway(stub, modules, device):
            names = ", ".join(native.module for native in device.natives if native.state is ModuleState.BUILT_IN)
            yield Finding(
                "native-driver-built-in",
                Severity.WARNING,
                f"{names} is built into the kernel and {stub.value} is a module: {names} will take {device.address} at "
                "boot, and it is unbound from it afterwards.",
                (f"{device.address} [{device.id}]: {names} built in",),
                "Nothing to do for a USB or sound controller; a graphics card may need a reset that it does not have.",
            )


def about_words(brief: Brief, facts: BootFacts) -> Iterator[Finding]:
    """Words on the command line that come from another setup or hand devices to the other stub driver."""
    foreign = [setup for setup in cmdline.setups(facts.in_force) if setup != brief.setup]
    if foreign:
        words = ", ".join(f"{cmdline.SETUP}={setup}" for setup in foreign)
        yield _refusal(
            "foreign-setup-token",
            f"{facts.where} carries {words}: it was set up before, and not taken back.",
            (cmdline.shown(facts.in_force),),
            f"Take that setup back with its own journal, or take its words out of {facts.where}, then try again.",
        )
    own = (*facts.in_force, *(facts.trial.words or ()))
    known = facts.declared is not None or not brief.written.keys().isdisjoint((facts.where, facts.trial.place))
    if brief.setup in cmdline.setups(own) and not known:
        yield _refusal(
            "own-setup-token",
            f"{facts.where} or the trial's entry carries {cmdline.SETUP}={brief.setup}, and the journal does not know "
            "of it.",
            (cmdline.shown(own),),
            "Was an older copy of the journal put back? `vfiostate journal verify` tells; put the newer one back. Where"
            " it is lost, take those words out, and begin anew.",
        )
    if facts.default is not None and (facts.default.recovery or not facts.default.ours):
        yield _refusal(
            "default-entry-not-generated",
            f"The default boot entry, {facts.default.title!r}, is not made from {facts.where}: our words would not be "
            "on it.",
            (f"default entry: {cmdline.shown(facts.default.words)}",),
            f"The default has to be a normal entry of this system: {facts.defaulting or 'choose one'}, then try again.",
        )
    for other in Stub:
        both = set(cmdline.ids_in_force(facts.in_force, other) or ()) & {each.id for each in brief.config.devices}
        if other is not brief.config.stub and both:
            yield Finding(
                "other-stub-takes",
                Severity.WARNING,
                f"{other.value}.ids= on the command line names {', '.join(sorted(both))} too: it may come first.",
                (cmdline.shown(facts.in_force),),
                f'Set stub = "{other.value}", or take the ids out of {facts.where}.',
            )


def check_image(
    facts: InitramfsFacts | None, modules: Sequence[str], conf: str, *, early: bool = False
) -> tuple[Finding, ...]:
    """Whether the image that will boot holds the stub driver's modules, our file in modprobe.d (`conf`, empty for none)
    and, with `early`, our script."""
    if facts is None or facts.names is None:
        image = facts.image if facts else "the initramfs"
        trouble = (facts.trouble if facts else "") or f"{image} was not looked into"
        hint = f"Is {image} there and whole? Rebuild it{_by(facts)}, then try again."
        return (
            _refusal(
                "initramfs-not-readable", f"{image[0].upper()}{image[1:]} cannot be looked into.", (trouble,), hint
            ),
        )
    missing = [module for module in modules if not facts.has_module(module)]
    missing += [] if not conf or facts.has_conf() or not facts.takes_conf else [conf]
    missing += [facts.early] if early and not facts.has_early() else []
    if not missing:
        return ()
    hint = f"Look at the output of the rebuild{_by(facts)}, then try again."
    evidence = (f"in {facts.image}: {len(facts.names)} names, without {', '.join(missing)}",)
    return (_refusal("initramfs-incomplete", f"{facts.image} lacks {', '.join(missing)}.", evidence, hint),)


def _by(facts: InitramfsFacts | None) -> str:
    return f" (`{' '.join(facts.rebuild)}`)" if facts is not None and facts.rebuild else ""


def conf_in_the_way(path: str, content: bytes) -> Finding:
    """Our file in modprobe.d is there with something else in it."""
    first = content.decode(errors="replace").splitlines()[:3]
    hint = f"Move {path} away (it may be left from an earlier setup), then try again."
    return _refusal("modprobe-conf-exists", f"{path} is there and not from this setup.", tuple(first), hint)


def conf_differs(stub: Stub, modules: Sequence[str], heeded: Mapping[str, Softdep]) -> Finding:
    """What our file in modprobe.d is for is not so: it lacks a module, or another softdep hides its own."""
    message = f"modprobe loads {', '.join(modules)} without {stub_module(stub)} before it."
    evidence = tuple(
        f"{heeded[each].path}: softdep {each} without pre: {stub_module(stub)}"
        if each in heeded
        else f"{each} has no softdep"
        for each in modules
    )
    hint = "Run `vfiostate rollback --to modules_loaded`, then `vfiostate advance`."
    return _refusal("modprobe-conf-differs", message, evidence, hint)


def too_long(facts: BootFacts) -> Finding:
    """The kernel would cut the command line off."""
    message = f"With our words the command line is longer than the {cmdline.COMMAND_LINE_SIZE} bytes the kernel takes."
    hint = f"Take words that are not needed out of {facts.where}, then try again."
    return _refusal("command-line-too-long", message, (cmdline.shown(facts.in_force),), hint)


def token_lost(facts: BootFacts) -> Finding:
    """The edit is done, and sh's value does not have the setup's token."""
    evidence = (f"its value is {cmdline.shown(facts.words)!r}",)
    return _refusal("token-not-in-value", f"{facts.where} was edited, and its value lacks our words.", evidence, _RETRY)


def value_differs(facts: BootFacts, found: Sequence[str], expected: Sequence[str]) -> Finding:
    """The words from the setup's token on are not those that were planned."""
    evidence = (f"expected {cmdline.shown(expected)!r}", f"found {cmdline.shown(found)!r}")
    return _refusal("value-changed-otherwise", f"The value in {facts.where} is not what was planned.", evidence, _RETRY)


_RETRY = "Did something else edit the file at the same time? Run `vfiostate advance` again."


def _refusal(code: str, message: str, evidence: tuple[str, ...], hint: str) -> Finding:
    return Finding(code, Severity.REFUSAL, message, evidence, hint)

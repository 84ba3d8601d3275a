"""The answers after a reboot: what kind of boot this is, and whether the devices are where they should be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from journal.errors import Exit
from steps import by_address, cmdline, own_devices, sriov, trial, twins
from steps.base import Brief, Finding, Severity, State
from steps.boot.base import BootFacts, BootLoader
from steps.config import Config, Stub
from steps.initramfs.base import InitramfsFacts
from steps.next_kernel import NextKernel
from steps.own_devices import OwnDevices
from steps.pci import Function
from steps.softdeps import CONF, stub_module
from steps.sriov import Physical
from steps.tuning import after_boot
from steps.tuning.check import TuningFacts

STUB_DRIVERS = frozenset(stub.value for stub in Stub)
AGAIN = "Reboot once more into the default entry (`vfiostate advance --reboot`), without touching the menu."
BACK = "Or take it back: `vfiostate rollback --to modules_loaded`, then `vfiostate advance`."


@dataclass(frozen=True, slots=True)
class Placed:
    """A configured device as it is found now: the function at its address (None: nothing there), where else its id is
    when that is not it, the module of the driver that has it, and the physical function that would make it as a virtual
    one."""

    address: str
    id: str
    function: Function | None
    elsewhere: tuple[str, ...] = ()
    module: str | None = None
    maker: Physical | None = None


@dataclass(frozen=True, slots=True)
class RebootFacts:
    """What the step read: the boot, its kernel and command line, the devices, all members of their IOMMU groups, the
    number of groups in the host, its own devices, and, where they explain something, the boot configuration with its
    loader, the initramfs, what a boot that failed left in the log, and the kernel that boots next by default, where it
    is another one than a trial was made with; what the guest asks of a boot; and where devices are whose addresses are
    their twins' now."""

    boot_id: str
    release: str
    words: tuple[str, ...]
    devices: tuple[Placed, ...]
    members: tuple[Function, ...]
    groups: int
    own: OwnDevices = field(default_factory=lambda: OwnDevices({}, True))
    loader: BootLoader | None = None
    boot: BootFacts | None = None
    log: tuple[str, ...] = ()
    image: InitramfsFacts | None = None
    following: NextKernel | None = None
    tuning: TuningFacts = field(default_factory=TuningFacts)
    moved: Mapping[str, str] = field(default_factory=dict)


def is_stubbed(device: Placed) -> bool:
    """Whether the device expected at the address is there and under a stub driver."""
    function = device.function
    return function is not None and function.id == device.id and function.driver in STUB_DRIVERS


def is_native(device: Placed) -> bool:
    """Whether the device expected at the address is there and under a driver that is no stub."""
    function = device.function
    return function is not None and function.id == device.id and function.driver not in {*STUB_DRIVERS, None}


def judge(brief: Brief, facts: RebootFacts) -> tuple[Finding, ...]:
    """Everything to be said of this boot. Of a wrong boot nothing more is said: the rest would only follow from it."""
    if facts.boot_id == brief.boot:
        return (_not_rebooted(facts),)
    found = _judge(brief, facts)
    if brief.again and trial.staged(brief) and any(finding.severity is Severity.REFUSAL for finding in found):
        # However the last boot went: the user wants another one.
        return (trial.judge(brief, facts.boot_id, facts.boot, facts.log),)
    return found


def _judge(brief: Brief, facts: RebootFacts) -> tuple[Finding, ...]:
    kept = brief.remembered.get(State.STUBBED.value, {})
    boot = tuple(_about_boot(brief, kept, facts))
    if any(finding.severity is Severity.REFUSAL for finding in boot):
        return boot
    twin = tuple(twins.findings(brief, facts.moved))
    placed = (*boot, *_about_addresses(facts), *twin, *_about_iommu(facts, tried=trial.staged(brief)))
    if any(finding.code == "iommu-off" for finding in placed):
        # Without an IOMMU vfio-pci takes nothing: that the native drivers have the devices only follows.
        return placed
    own = own_devices.judge(kept, facts.own)
    tuned = after_boot.findings(brief.config.guest, facts.tuning)
    return (*placed, *_about_drivers(kept, facts, brief.config), *_about_groups(brief.config, facts), *own, *tuned)


def unreadable_boot() -> Finding:
    """The trial was good, and the boot configuration cannot be read to make it the default."""
    return _refusal(
        "boot-configuration-unreadable",
        "The trial boot has proved itself, and the boot configuration cannot be read now to make it the default.",
        (),
        "Is /boot mounted, and is the boot loader's configuration where it was? Mend that, then try again.",
    )


def _not_rebooted(facts: RebootFacts) -> Finding:
    return Finding(
        "not-rebooted",
        Severity.REFUSAL,
        "The host has not been rebooted since the command line was changed.",
        (f"boot id {facts.boot_id} is still the one of that time",),
        "Reboot, then run `vfiostate advance` again; or let it reboot: `vfiostate advance --reboot`.",
        exit=Exit.REBOOT,
    )


def _about_boot(brief: Brief, kept: Mapping[str, str], facts: RebootFacts) -> Iterator[Finding]:
    token = f"{cmdline.SETUP}={brief.setup}"
    expected = kept.get("tokens", "").split() or [token]
    missing = [word for word in dict.fromkeys((token, *expected)) if word not in facts.words]
    if token in missing and _recovery(facts):
        yield _refusal(
            "recovery-entry-booted",
            "The recovery entry was booted; it keeps the old command line on purpose.",
            (f"/proc/cmdline: {cmdline.shown(facts.words)}",),
            trial.RETRY if trial.staged(brief) else AGAIN,
        )
        return
    if token in missing and trial.staged(brief) and (finding := _from_the_menu(kept, facts)):
        yield finding
    elif token in missing and trial.staged(brief):
        yield trial.judge(brief, facts.boot_id, facts.boot, facts.log)
    elif finding := _other_kernel(kept, facts, lost=bool(missing)):
        yield finding
    elif missing:
        yield _token_missing(kept, facts, missing)


def _recovery(facts: RebootFacts) -> bool:
    """Whether a recovery entry was booted: by the words 10_linux puts on it, or by all the words of one."""
    if cmdline.says_recovery(facts.words):
        return True
    entries = (facts.boot.entries or ()) if facts.boot else ()
    recovery = [set(entry.words) for entry in entries if entry.recovery and entry.words]
    normal = [set(entry.words) for entry in entries if not entry.recovery]
    booted = set(facts.words)
    return any(words <= booted for words in recovery) and not any(words <= booted for words in normal)


def _other_kernel(kept: Mapping[str, str], facts: RebootFacts, *, lost: bool) -> Finding | None:
    """Another kernel than planned. The default entry's has come by an update since: it will do if the rest does."""
    planned = kept.get("release")
    if planned is None or planned == facts.release:
        return None
    default = facts.boot.release if facts.boot else None
    evidence = (f"planned for {planned}", f"running {facts.release}", f"default entry boots {default or 'unknown'}")
    message = f"Another kernel was booted: {facts.release} instead of {planned}."
    if default == facts.release and not lost:
        hint = "Nothing is to be done: it is the default one now."
        return Finding("other-kernel-booted", Severity.WARNING, message, evidence, hint)
    if default == facts.release:
        return _refusal("other-kernel-booted", f"{message} It lacks our words.", evidence, BACK)
    return _refusal("other-kernel-booted", message, evidence, f"{AGAIN} {BACK}")


def _from_the_menu(kept: Mapping[str, str], facts: RebootFacts) -> Finding | None:
    """A kernel in the place of the trial's that is not the default entry's either: no boot that failed led to it."""
    default = facts.boot.default.release if facts.boot is not None and facts.boot.default is not None else None
    if facts.boot is None or facts.boot.trial.pending or facts.release in (kept.get("release"), default):
        return None
    evidence = (f"planned for {kept.get('release')}", f"running {facts.release}", f"default entry boots {default}")
    message = f"Another kernel was booted: {facts.release} instead of {kept.get('release')}, and not the trial."
    return _refusal("other-kernel-booted", message, evidence, trial.RETRY)


def _token_missing(kept: Mapping[str, str], facts: RebootFacts, missing: list[str]) -> Finding:
    words = cmdline.shown(missing)
    evidence = [f"/proc/cmdline: {cmdline.shown(facts.words)}"]
    boot = facts.boot
    if kept.get(trial.STAGED):
        where = "the trial's entry was not booted as it was made"
        hint = f"Was it edited in the boot menu, or by somebody? {trial.RETRY}"
    elif boot is None:
        where = "the boot configuration cannot be read now"
        hint = f"Look at the boot configuration ({kept.get('where') or 'unknown'}). {BACK}"
    elif not set(missing) <= set(boot.words) | set(boot.fixed):
        where = f"{boot.where} does not have them any more: something has overwritten it"
        hint = f"See what wrote {boot.where} (a package, a tool, a restored backup). {BACK}"
        evidence.append(f"{boot.where}: its value is {cmdline.shown(boot.words)!r}")
    elif boot.default is None or not set(missing) <= set(boot.default.words):
        where = f"{boot.where} has them, the default entry of {boot.generated} does not"
        hint = f"Look at the default entry, {boot.remake}, and reboot. {BACK}"
        evidence.append(f"default entry: {cmdline.shown(boot.default.words) if boot.default else 'none'}")
    else:
        where = (
            f"{boot.where} and the default entry of {boot.generated} have them: another entry, or another boot loader"
        )
        hint = f"{AGAIN} If that changes nothing, another boot loader or another {boot.generated} is used. {BACK}"
        evidence.append(f"default entry: {boot.default.title}")
    message = f"The kernel was started without {words}; {where}."
    return _refusal("token-missing", message, tuple(evidence), hint)


def _about_addresses(facts: RebootFacts) -> Iterator[Finding]:
    for device in facts.devices:
        if device.function is not None and device.function.id == device.id:
            continue
        if device.function is None and device.maker is not None:
            yield sriov.gone(device.address, device.id, device.maker)
            continue
        found = f"there is {device.function.id}" if device.function else "there is nothing"
        now = f"{device.id} is at {', '.join(device.elsewhere)} now" if device.elsewhere else f"no {device.id} is left"
        yield _refusal(
            "devices-renumbered",
            f"{device.address} is not {device.id} any more: {found}, and {now}.",
            (f"expected {device.address} [{device.id}]", f"{found}; {now}"),
            "Was a card added or taken out, or the firmware updated? `vfiostate rollback`, correct the addresses in "
            "the configuration, and begin anew.",
        )


def _about_iommu(facts: RebootFacts, *, tried: bool) -> Iterator[Finding]:
    present = [device for device in facts.devices if device.function is not None and device.function.id == device.id]
    without = [device.address for device in present if device.function is not None and device.function.group is None]
    if facts.groups and not without:
        return
    message = (
        "The kernel has no IOMMU groups: the IOMMU is off."
        if not facts.groups
        else (f"{', '.join(without)} is in no IOMMU group.")
    )
    then = trial.RETRY if tried else "Then reboot."
    yield _refusal(
        "iommu-off",
        message,
        (f"/sys/kernel/iommu_groups: {facts.groups} groups", f"/proc/cmdline: {cmdline.shown(facts.words)}"),
        f"Turn VT-d or AMD-Vi (IOMMU) on in the firmware, take iommu=off and its like off the command line. {then}",
    )


def _about_drivers(kept: Mapping[str, str], facts: RebootFacts, config: Config) -> Iterator[Finding]:
    for device in facts.devices:
        if device.function is None or device.function.id != device.id or device.address in facts.moved:
            continue
        if is_native(device):
            yield _native_won(kept, facts, config, device, device.function.driver or "")
        elif device.function.driver is None:
            yield Finding(
                "device-without-driver",
                Severity.WARNING,
                f"{device.address} has no driver: {config.stub.value} did not take it, and neither did another.",
                (f"{device.address} [{device.id}]: no driver",),
                "Nothing stands in the way: it is bound in the next step.",
            )


def _native_won(kept: Mapping[str, str], facts: RebootFacts, config: Config, device: Placed, driver: str) -> Finding:
    evidence = [f"{device.address} [{device.id}] is under {driver}"]
    if f"built_in.{device.address}" in kept:
        evidence.append(f"{driver} is built into the kernel, as was said before")
        message = f"{driver} has {device.address}: it is built in, and is unbound in the next step."
        return Finding("native-driver-won", Severity.WARNING, message, tuple(evidence), "Nothing to do.")
    if device.function is not None and device.function.physfn is not None:
        message = f"{driver} has the virtual function {device.address}: it came after the stub driver's turn."
        hint = "Nothing to do: it is unbound in the next step."
        return Finding("native-driver-won", Severity.WARNING, message, tuple(evidence), hint)
    module = device.module or driver.replace("-", "_")
    stub = stub_module(config.stub)
    image = facts.image
    hint = f"Does {CONF} name {module}, and is it in the initramfs? {BACK}"
    if image is not None and image.names is not None:
        evidence += [
            f"{image.image}: {name} is {'in it' if held else 'not in it'}"
            for name, held in (
                (module, image.has_module(module)),
                (stub, image.has_module(stub)),
                (CONF, image.has_conf()),
            )
        ]
        if not image.has_conf() or not image.has_module(stub):
            hint = f"The initramfs was rebuilt without {stub} or {CONF}: something else has changed it. {BACK}"
        evidence += by_address.evidence(kept, device.address, image)
    elif image is not None:
        evidence.append(image.trouble)
    return _refusal(
        "native-driver-won",
        f"The native driver {driver} took {device.address} before {config.stub.value} could.",
        tuple(evidence),
        hint,
    )


def _about_groups(config: Config, facts: RebootFacts) -> Iterator[Finding]:
    configured = {device.address for device in config.devices}
    for member in facts.members:
        if member.address not in configured and member.spoils_group:
            yield _refusal(
                "group-not-accounted",
                f"{member.address} [{member.id}] shares IOMMU group {member.group} and is held by {member.driver}.",
                (f"group {member.group}: {member.address} under {member.driver}",),
                "The group goes to the guest as a whole: `vfiostate rollback`, name this function in the configuration "
                "too, and begin anew; or move the card to another slot.",
            )


def _refusal(code: str, message: str, evidence: tuple[str, ...], hint: str) -> Finding:
    return Finding(code, Severity.REFUSAL, message, evidence, hint)

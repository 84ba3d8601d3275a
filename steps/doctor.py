"""What stands in the way of passthrough on a host, asked of everything that `checked` asks, before anything is set up.

An area that cannot be looked at without root says so and keeps nothing else from being looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from journal.errors import VfiostateError, sentence
from steps import bars, boot, cards, check, devices, host_checks, initramfs, iommu, kmod, modules, softdeps, trial
from steps.base import Brief, Finding, Host, Severity, State
from steps.boot.base import BootFacts
from steps.cards import Card
from steps.config import Accel
from steps.denied import WatchedHost
from steps.firmware import Switch, named
from steps.guards import ADOPTED
from steps.iommu import IommuFacts, IommuState
from steps.pci import DEVICES, Function


class Standing(StrEnum):
    """How an area stands."""

    OK = "ok"
    LOOK = "look"
    BLOCKS = "blocks"
    UNSEEN = "needs root"


@dataclass(frozen=True, slots=True)
class Area:
    """One thing that passthrough needs: how it stands, in a few words, what was found, and what could not be looked at
    without root (empty: all was)."""

    name: str
    said: str
    findings: tuple[Finding, ...] = ()
    unseen: tuple[str, ...] = ()

    @property
    def standing(self) -> Standing:
        """The gravest that was found."""
        weights = {finding.severity for finding in self.findings}
        if Severity.REFUSAL in weights:
            return Standing.BLOCKS
        if not self.said:
            return Standing.UNSEEN
        return Standing.LOOK if Severity.WARNING in weights else Standing.OK


def examine(host: Host, brief: Brief) -> tuple[Area, ...]:
    """Look at everything. A configuration without devices stands for none: then every card of the host is judged.

    Reads only; raises nothing of what keeps one area from being read.
    """
    watched = WatchedHost(host)
    seen = _Seen(watched, brief, iommu.read_iommu(watched))
    # In this order: what the boot loader says is the next kernel is asked for its modules.
    looks: Sequence[tuple[str, Callable[[_Seen], Area]]] = (
        ("IOMMU", _iommu),
        ("boot loader", _boot),
        ("initramfs", _initramfs),
        ("modules", _modules),
        ("virtualization", _virtualization),
        ("tools and room", _tools),
        ("devices", _devices),
    )
    return tuple(_looked(name, seen, look) for name, look in looks)


@dataclass(slots=True)
class _Seen:
    """What the areas share: the host, what is wanted of it, and what was read of it so far."""

    host: WatchedHost
    brief: Brief
    iommu: IommuFacts
    boot: BootFacts | None = None
    judged: tuple[Finding, ...] | None = None

    @property
    def release(self) -> str:
        """The kernel that boots next, as far as it is known."""
        return (self.boot.release if self.boot else None) or self.host.release

    @property
    def of_host(self) -> tuple[Finding, ...]:
        """What is said of commands, room and KVM; read once."""
        if self.judged is None:
            config, cpu = self.brief.config, self.iommu
            facts = host_checks.read_host(self.host, config, self.boot, kmod.loaded(self.host))
            self.judged = host_checks.findings(config, facts, cpu.virtualization, cpu.vendor)
        return self.judged


def _looked(name: str, seen: _Seen, look: Callable[[_Seen], Area]) -> Area:
    with seen.host.watching() as denied:
        try:
            area = look(seen)
        except PermissionError as error:
            area = Area(name, "", unseen=() if denied() else (f"{error.filename or name} may be read by root only",))
        except (OSError, VfiostateError) as error:
            hint = getattr(error, "hint", "") or "Mend that, then look again."
            area = Area(
                name, "cannot be read", (_stopped(sentence(str(error)), tuple(getattr(error, "evidence", ())), hint),)
            )
        unseen = tuple(f"{path} may be read by root only" for path in denied())
    if not unseen:
        return area
    if area.standing is Standing.BLOCKS:
        # What is missing may be what could not be read.
        return Area(name, "", unseen=(*area.unseen, *unseen))
    return replace(area, unseen=(*area.unseen, *unseen))


def _stopped(message: str, evidence: tuple[str, ...], hint: str) -> Finding:
    return Finding("cannot-look", Severity.REFUSAL, message, evidence, hint)


def _iommu(seen: _Seen) -> Area:
    found, state = seen.iommu, iommu.judge(seen.iommu)
    said = f"{state.value}, {found.groups} groups" if state is IommuState.ON else state.value
    dark = ("the kernel log: whether interrupts are remapped, and what the firmware has switched off",)
    config = seen.brief.config
    # Before anything is configured: the guest that nearly everybody wants.
    guest = config.guest is not None or not config.devices
    findings = iommu.findings(found, allow_unsafe=config.allow.unsafe_interrupts, guest=guest)
    return Area("IOMMU", said, findings, dark if found.log is None else ())


def _boot(seen: _Seen) -> Area:
    detected = boot.detect(seen.host, seen.brief.config.boot_loader)
    if detected.loader is None or detected.findings:
        return Area("boot loader", detected.loader.name if detected.loader else "not found", detected.findings)
    facts = detected.loader.read(seen.host, seen.brief.setup)
    seen.boot = facts
    to_come = State.STUBBED.value not in seen.brief.remembered
    against = tuple(trial.objections(facts, "for every boot from then on")) if to_come else ()
    if trial.hopeless(facts):
        # Nothing can be mended: what `advance` waits for is the user's word, and that is for when it is asked.
        against = tuple(replace(each, severity=Severity.WARNING) for each in against)
    acs = check.acs_override(facts, seen.iommu)
    tried = "" if trial.untold(facts) else f", {'without' if facts.trial.obstacles else 'with'} a trial boot"
    said = f"{detected.loader.name}{tried}"
    return Area("boot loader", said, (*facts.findings, *check.objections(facts, seen.iommu), *acs, *against))


def _initramfs(seen: _Seen) -> Area:
    config = seen.brief.config
    asked = seen.host.which("modprobe") is not None
    stub = kmod.ask(seen.host, softdeps.stub_module(config.stub), seen.release) if asked else None
    detected = check.made_by(seen.host, config, seen.boot, stub, seen.release)
    if detected == initramfs.Detected(None):
        return Area("initramfs", "none is needed")
    name = detected.generator.name if detected.generator else "not found"
    if detected.generator is None or detected.findings:
        return Area("initramfs", name, detected.findings)
    return Area("initramfs", name, detected.generator.read(seen.host, seen.release, look=False).findings)


def _modules(seen: _Seen) -> Area:
    if seen.host.which("modprobe") is None:
        return Area("modules", "not asked: there is no modprobe")
    states = modules.read_states(seen.host, seen.brief.config, seen.iommu.virtualization, seen.release)
    releases = " and ".join(dict.fromkeys((states.release, states.next_release)))
    missing = modules.absent(states)
    return Area("modules", f"{'some missing' if missing else 'all there'} in {releases}", missing)


def _virtualization(seen: _Seen) -> Area:
    cpu, guest = seen.iommu, seen.brief.config.guest
    findings = tuple(finding for finding in seen.of_host if finding.code == "kvm-missing")
    wanted = guest is not None and guest.accel is Accel.KVM
    if cpu.forbidden and wanted and not findings and seen.host.lstat("/dev/kvm") is None:
        findings = (host_checks.forbidden(cpu.forbidden, cpu.vendor),)
    needless = "" if wanted else f"; not needed {'by accel = tcg' if guest else 'without [guest]'}"
    return Area("virtualization", cpu.virtualization or f"neither vmx nor svm{needless}", findings)


def _tools(seen: _Seen) -> Area:
    rest = tuple(finding for finding in seen.of_host if finding.code != "kvm-missing")
    lacking = any(finding.severity is Severity.REFUSAL or finding.code == "file-missing" for finding in rest)
    return Area("tools and room", "something is missing" if lacking else "all there", rest)


def _devices(seen: _Seen) -> Area:
    host, config = seen.host, seen.brief.config
    if not config.devices:
        return _offered(seen, cards.read_cards(host, config, seen.iommu))
    facts = devices.read_devices(host, config)
    names = ", ".join(device.address for device in config.devices)
    said = check.of_devices(config, facts, seen.iommu)
    if State.CHECKED.value in seen.brief.remembered:
        # What holds them now is this setup's doing; what was there before it, `checked` has noted.
        said = tuple(finding for finding in said if finding.code != ADOPTED)
    return Area("devices", f"{names} (configured)", (*said, *_homeless(seen, facts.configured(config))))


def _offered(seen: _Seen, all_: Sequence[Card]) -> Area:
    """What can be taken. It blocks where nothing can, and where of several graphics cards none can."""
    if not all_:
        return Area("devices", "none", (_no_pci(),))
    free = [card for card in all_ if not card.refusals]
    graphics = [card for card in all_ if card.main.is_display]
    usable = sum(card in free for card in graphics)
    said = f"{len(free)} of {len(all_)} can be taken"
    said += f", {usable} of {len(graphics)} graphics cards" if graphics else ""
    said += "" if seen.iommu.groups else "; none before the IOMMU is on"
    found: list[Finding] = []
    if not free or (len(graphics) > 1 and not usable):
        found = [_none_free(seen, graphics or all_, Severity.REFUSAL)]
    elif graphics and not usable:
        found = [_none_free(seen, graphics, Severity.WARNING)]
    return Area("devices", said, (*found, *_homeless(seen, [each for card in free for each in card.functions])))


def _none_free(seen: _Seen, held: Sequence[Card], severity: Severity) -> Finding:
    """One answer for all of them: the cures that fit each would contradict one another."""
    what = "graphics card" if held[0].main.is_display else "device"
    ways = []
    if any(cards.fellows(card) for card in held):
        ways.append("Put the card into another slot: its IOMMU group changes with the slot.")
    if any(finding.code == "boot-vga" for card in held for finding in card.refusals):
        name = named(Switch.PRIMARY_DISPLAY, seen.iommu.vendor)
        ways.append(
            f"Let the host boot on another card (in the firmware's setup: {name}), or accept a host without a console:"
            " vfiostate init --allow-boot-vga ADDRESS."
        )
    return Finding(
        "nothing-to-take",
        severity,
        f"No {what} of this host can be given to a guest as it is.",
        tuple(f"{card.main.address} {cards.why_not(card)}" for card in held),
        " ".join(ways) or "Leave these with the host and put in a card for the guest.",
    )


def _no_pci() -> Finding:
    return Finding(
        "no-pci",
        Severity.REFUSAL,
        "This host shows no PCI function that could be given to a guest.",
        (f"{DEVICES} lists none that is not part of the board",),
        "Run it on the host itself, not in a container or in a guest without devices.",
    )


def _homeless(seen: _Seen, functions: Sequence[Function]) -> list[Finding]:
    found = ((function, bars.homeless(seen.host, function.address)) for function in functions)
    return [bars.finding(function, unplaced, seen.iommu.vendor) for function, unplaced in found if unplaced]

"""bound -> running: the guest from the configuration, with the devices in it. Success is QMP's word."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from steps import disks
from steps.actions import Action, RunCommand
from steps.base import Brief, Finding, Host, Plan, Severity, State
from steps.config import Accel, Guest
from steps.guest import access, flash, last_words, monitor, network, opened, tuned, vfio, way_of
from steps.guest.access import Account, FileFact
from steps.guest.base import Given, Order, called
from steps.guest.network import NetworkFact
from steps.guest.seen import Seen, Silence
from steps.guest.tuned import Placed, Tuned
from steps.guest.vfio import PassedFact

MIB = 1 << 20
KVM = "/dev/kvm"


@dataclass(frozen=True, slots=True)
class KvmFact:
    """/dev/kvm: whether it is there, whether the guest's account may open it, and by which further group it might."""

    exists: bool
    open: bool
    group: str | None


@dataclass(frozen=True, slots=True)
class Facts:
    """All about the guest and what it needs. `order` is None where the configuration has no guest; `installed` is what
    the way to run it has to say of what is installed, which is not asked again while it runs. `memory` is the host's
    in bytes, total and available, where it says; `tuned` what its placement can count on, `placed` how it runs."""

    order: Order | None
    seen: Seen | Silence | None = None
    log: tuple[str, ...] = ()
    installed: object = None
    account: Account | None = None
    passed: tuple[PassedFact, ...] = ()
    container_closed: bool = False
    files: tuple[FileFact, ...] = ()
    used: tuple[tuple[str, tuple[disks.Use, ...]], ...] = ()
    networks: tuple[NetworkFact, ...] = ()
    has_ip: bool = True
    kvm: KvmFact | None = None
    memory: tuple[int, int] | None = None
    tuned: Tuned | None = None
    placed: Placed | None = None


@dataclass(frozen=True, slots=True)
class RunStep:
    """See steps.base.Step. With `install` the guest is started without the devices, on VNC, and no state is reached."""

    install: bool = False
    name: str = "run"
    source: State = State.BOUND
    target: State = State.RUNNING

    def probe(self, host: Host, brief: Brief) -> Facts:
        """Ask the guest, if one was started; otherwise all about what it takes to start it."""
        order = order_of(brief, self.install)
        if order is None:
            return Facts(None)
        running = way_of(order.guest)
        seen = running.look(host, order)
        log = monitor.last_lines(host, running.log(order.guest.name)) if isinstance(seen, Silence) else ()
        if isinstance(seen, Seen):
            return Facts(order, seen, placed=tuned.asked(host, order, running))
        return _ground(host, order, seen, log)

    def plan(self, brief: Brief, facts: Facts) -> Plan:
        """The network, then the guest; nothing where it runs already."""
        order = facts.order
        if order is None:
            return Plan(findings=(_no_guest(),))
        if isinstance(facts.seen, Seen):
            return _plan_running(order, facts.seen, facts.placed)
        findings = tuple(_findings(order, facts))
        if any(finding.severity is Severity.REFUSAL for finding in findings):
            return Plan(findings=findings)
        return Plan(tuple(_actions(order, facts)), findings=findings)

    def verify(self, brief: Brief, facts: Facts) -> tuple[Finding, ...]:
        """The guest says that it is `running`, and every device is there."""
        order = facts.order
        if order is None:
            return (_no_guest(),)
        if isinstance(facts.seen, Seen):
            return tuple(_wrong(order, facts.seen, facts.placed))
        hint = last_words.hint(facts.log)
        if facts.seen is None or facts.seen.ended:
            message = f"The {called(order.guest.name)} does not run: it has ended."
            # Without last words, how that is known is all there is to go by.
            unsaid = ("it printed nothing", *((facts.seen.why,) if facts.seen is not None else ()))
            return (_refusal("guest-died", message, hint, *(facts.log or unsaid)),)
        message = f"The {called(order.guest.name)} was started and does not answer over {way_of(order.guest).voice}."
        return (_refusal("guest-silent", message, hint, facts.seen.why, *facts.log),)


def order_of(brief: Brief, install: bool = False) -> Order | None:
    """The guest the configuration asks for, None where it asks for none."""
    guest = brief.config.guest
    if guest is None:
        return None
    left = {**brief.produced, **brief.written}
    return Order(guest, () if install else brief.config.devices, brief.setup, install, left)


def _ground(host: Host, order: Order, seen: Silence | None, log: tuple[str, ...]) -> Facts:
    guest, running = order.guest, way_of(order.guest)
    order = replace(order, qcow2=flash.qcow2(host, guest))
    installed = running.ask(host, order)
    account = access.read_account(host, running.user(guest))
    opener = None if running.opens_as_root(order, installed) else account
    files = tuple(
        access.look(host, opener, path, why, write=write) for path, why, write in opened.by(guest, order.devices)
    )
    written = [disk.path for disk in guest.disks if not disk.readonly]
    return Facts(
        order,
        seen,
        log,
        installed,
        account,
        tuple(vfio.look(host, device) for device in order.devices),
        bool(order.devices) and vfio.container_closed(host, opener),
        files,
        tuple((path, uses) for path in written if (uses := disks.uses_of(host, path))),
        tuple(network.look(host, one) for one in guest.networks),
        host.which("ip") is not None,
        _kvm(host, opener) if guest.accel is Accel.KVM else None,
        _memory(host),
        tuned.look(host, order),
    )


def _kvm(host: Host, account: Account | None) -> KvmFact:
    found = host.lstat(KVM)
    if found is None:
        return KvmFact(False, False, None)
    both = access.READ | access.WRITE
    if account is None or access.allows(account, found, both):
        return KvmFact(True, True, None)
    group = access.group_name(host, found.gid) if found.gid != 0 and found.mode >> 3 & both == both else None
    return KvmFact(True, False, group)


def _memory(host: Host) -> tuple[int, int] | None:
    try:
        lines = host.read("/proc/meminfo").decode("ascii", errors="replace").splitlines()
    except OSError:
        return None
    values = {key: rest.split()[0] for key, _, rest in (line.partition(":") for line in lines) if rest.split()}
    total, available = values.get("MemTotal", ""), values.get("MemAvailable", "")
    if not total.isdecimal():
        return None
    return int(total) * 1024, (int(available) if available.isdecimal() else int(total)) * 1024


def _no_guest() -> Finding:
    hint = "Add [guest] to /etc/vfiostate.toml; without one, `bound` is the end of the way."
    return _refusal("no-guest", "The configuration has no guest to run.", hint)


def _refusal(code: str, message: str, hint: str, *evidence: str) -> Finding:
    return Finding(code, Severity.REFUSAL, message, evidence, hint)


def _plan_running(order: Order, seen: Seen, placed: Placed | None) -> Plan:
    wrong = tuple(_wrong(order, seen, placed))
    return Plan(findings=wrong) if wrong else Plan(notes=(f"the {called(order.guest.name)} runs already",))


def _wrong(order: Order, seen: Seen, placed: Placed | None) -> Iterator[Finding]:
    name = order.guest.name
    if seen.status != "running":
        hint = "`vfiostate guest stop` ends it."
        yield _refusal("guest-not-running", f"The {called(name)} is {seen.status}, not running.", hint, "query-status")
    elif missing := monitor.absent(order, seen):
        shown = ", ".join(sorted(seen.ids)) or "none with an id"
        message = f"The {called(name)} runs, and does not show {', '.join(missing)}."
        hint = "`vfiostate guest stop` ends it (was it started with --install?), then run `vfiostate advance` again."
        yield _refusal("device-not-in-guest", message, hint, f"query-pci shows: {shown}")
    elif placed is not None:
        yield from tuned.misplaced(order, placed)


def _findings(order: Order, facts: Facts) -> Iterator[Finding]:
    guest = order.guest
    if isinstance(facts.seen, Silence) and not facts.seen.ended and not facts.seen.unasked:
        message = f"A guest called {guest.name} was started and does not answer over {way_of(order.guest).voice}."
        yield _refusal("guest-silent", message, "`vfiostate guest stop` ends it.", facts.seen.why)
    if facts.installed is not None:
        yield from way_of(order.guest).missing(order, facts.installed)
    if facts.account is None:
        hint = "Name another by `user` in [guest], or make it: `useradd --system --shell /usr/sbin/nologin NAME`."
        yield _refusal("guest-user", f"There is no account {guest.user} for the guest to run as.", hint, "/etc/passwd")
    for passed in facts.passed:
        yield from vfio.findings(passed)
    for file in facts.files:
        yield from _file_findings(guest, file)
    for path, uses in facts.used:
        found = [f"{use.name} {use.what}" for use in uses]
        message = f"The disk {path} is in use on this host ({found[0]}): both would write to it."
        yield _refusal("disk-in-use", message, "Unmount it, or give the guest another disk.", *found)
    for fact in facts.networks:
        yield from network.findings(fact, facts.account, facts.has_ip)
    yield from _kvm_findings(guest, facts.kvm)
    yield from _memory_findings(guest, facts)
    if facts.tuned is not None:
        yield from tuned.findings(order, facts.tuned, facts.account)


def _file_findings(guest: Guest, file: FileFact) -> Iterator[Finding]:
    if file.kind is None:
        yield opened.missing(file)
    elif file.barrier is not None and not file.is_node:
        message = f"The guest runs as {guest.user}, who may not open its {file.why} {file.path}."
        hint = f"Give {guest.user} access (owner, mode, or `setfacl`), or name another account by `user` in [guest]."
        yield _refusal("file-denied", message, hint, f"{file.barrier} does not let it in")


def _kvm_findings(guest: Guest, kvm: KvmFact | None) -> Iterator[Finding]:
    if kvm is None or kvm.open or kvm.group is not None:
        return
    if not kvm.exists:
        hint = 'Load kvm_amd or kvm_intel, switch SVM or VT-x on in the firmware, or set `accel = "tcg"` in [guest].'
        yield _refusal("kvm-missing", f"{KVM} does not exist: this host's kernel offers no KVM.", hint, KVM)
        return
    hint = f"`chgrp kvm {KVM}; chmod 660 {KVM}` (udev's rule does it), or name another account by `user` in [guest]."
    yield _refusal("kvm-denied", f"The guest runs as {guest.user}, who may not open {KVM}.", hint, KVM)


def _memory_findings(guest: Guest, facts: Facts) -> Iterator[Finding]:
    if facts.memory is None:
        return
    total, available = (part // MIB for part in facts.memory)
    evidence = (f"the guest: {guest.memory} MiB", f"the host: {total} MiB, {available} MiB available", "/proc/meminfo")
    if guest.memory > total:
        message = "The guest has more memory than the host: all of it is pinned when devices are passed through."
        yield _refusal("memory", message, "Give the guest less `memory` in [guest].", *evidence)
    elif guest.memory > available and (facts.tuned is None or facts.tuned.facts.pool is None):
        message = "The guest's memory is more than what is free on the host."
        yield Finding(
            "memory",
            Severity.WARNING,
            message,
            evidence,
            "End what uses it, or give the guest less `memory` in [guest].",
        )


def _actions(order: Order, facts: Facts) -> Iterator[Action]:
    running = way_of(order.guest)
    user = running.user(order.guest)
    yield from _once(command for fact in facts.networks for command in network.actions(fact, user))
    groups = () if facts.kvm is None or facts.kvm.group is None else (facts.kvm.group,)
    if facts.tuned is not None:
        yield from tuned.actions(order, facts.tuned, facts.account, mount=running.mounts)
    yield from running.actions(order, facts.installed, Given(tuple(_given(facts)), groups))


def _once(commands: Iterable[RunCommand]) -> Iterator[RunCommand]:
    """Two networks may share a bridge: it is made once."""
    yield from dict.fromkeys(commands)


def _given(facts: Facts) -> Iterator[str]:
    """The device nodes that become the guest's account's while it runs: its VFIO groups, and its disks among nodes."""
    yield from dict.fromkeys(passed.path for passed in facts.passed)
    if facts.container_closed:
        yield vfio.CONTAINER
    yield from (file.resolved for file in facts.files if file.barrier is not None and file.is_node)


STEP = RunStep()

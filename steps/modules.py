"""The step `modules_loaded`: the modules that VFIO, the stub and the guest need are loaded, now and at every boot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from steps import boot, iommu, kmod, module_file, unsafe_interrupts
from steps.actions import Action, Inverse, RunCommand
from steps.base import Brief, Finding, Host, Plan, Severity, State
from steps.config import Accel, Config, Stub
from steps.iommu import IommuFacts
from steps.kmod import ModuleState, normal
from steps.module_file import ModuleFile
from steps.unsafe_interrupts import UnsafeFacts

# Part of vfio since 6.2: asked for only where the kernel has it.
OPTIONAL = frozenset({"vfio_virqfd"})


@dataclass(frozen=True, slots=True)
class ModuleStates:
    """What each wanted module is in the running kernel and in the one that boots next, and whether /lib/modules has the
    running kernel's at all."""

    release: str
    next_release: str
    now: Mapping[str, ModuleState]
    next: Mapping[str, ModuleState]
    has_tree: bool

    @property
    def wanted(self) -> tuple[str, ...]:
        """The modules that are needed and there, in order; optional ones only where there are any."""
        return tuple(name for name in self.now if name not in OPTIONAL or self._there(name))

    def _there(self, name: str) -> bool:
        return ModuleState.ABSENT not in (self.now[name], self.next[name])

    @property
    def to_load(self) -> tuple[str, ...]:
        """The modules that have to be loaded now."""
        return tuple(name for name in self.wanted if self.now[name] is ModuleState.LOADABLE)

    @property
    def to_persist(self) -> tuple[str, ...]:
        """The modules that the next boot has to load: all that are not part of that kernel."""
        return tuple(name for name in self.wanted if self.next[name] is not ModuleState.BUILT_IN)


@dataclass(frozen=True, slots=True)
class ModulesFacts:
    """What the step read."""

    states: ModuleStates
    file: ModuleFile
    unsafe: UnsafeFacts
    iommu: IommuFacts


@dataclass(frozen=True, slots=True)
class ModulesStep:
    """From `checked` to `modules_loaded`."""

    name: str = "modules_loaded"
    source: State = State.CHECKED
    target: State = State.MODULES_LOADED

    def probe(self, host: Host, brief: Brief) -> ModulesFacts:
        """Ask kmod for every module, and read the file they are written to."""
        facts = iommu.read_iommu(host)
        states = read_states(host, brief.config, facts.virtualization, next_release(host, brief))
        file = module_file.read_module_file(host, brief.config.persist)
        return ModulesFacts(states, file, unsafe_interrupts.read(host), facts)

    def plan(self, brief: Brief, facts: ModulesFacts) -> Plan:
        """First what modprobe reads, then the loading, then the list for the next boots."""
        findings = (*absent(facts.states), *module_file.findings(facts.file))
        unsafe = unsafe_interrupts.plan(brief, facts.unsafe, facts.iommu.remapping)
        findings += unsafe.findings
        if any(finding.severity is Severity.REFUSAL for finding in findings):
            return Plan(findings=findings)
        actions: list[Action] = [*unsafe.actions, *(_load(name, facts.states) for name in facts.states.to_load)]
        edit = module_file.edit(facts.file, brief.setup, facts.states.to_persist)
        if edit is not None:
            actions.append(edit)
        notes = (*_notes(facts), *unsafe.notes)
        return Plan(tuple(actions), notes, findings, {"modules": " ".join(facts.states.wanted)})

    def verify(self, brief: Brief, facts: ModulesFacts) -> tuple[Finding, ...]:
        """Whether every module is in the kernel now and written down."""
        missing = [*facts.states.to_load, *(name for name in facts.states.wanted if _absent(facts.states.now[name]))]
        found = [_not_loaded(name, facts.states) for name in missing]
        lost = [name for name in facts.states.to_persist if normal(name) not in facts.file.names]
        if lost:
            found.append(
                Finding(
                    "module-not-listed",
                    Severity.REFUSAL,
                    f"{facts.file.path} does not list {', '.join(lost)}, although it was written.",
                    (facts.file.path,),
                    "Find out what else writes this file, then run `vfiostate advance` again.",
                )
            )
        return tuple(found)


STEP = ModulesStep()


def wanted_modules(config: Config, virtualization: str | None) -> tuple[str, ...]:
    """The modules this configuration needs, in the order they are loaded. `virtualization` is the CPU's flag."""
    names = ["pci_stub"] if config.stub is Stub.PCI_STUB else []
    names += ["vfio", "vfio_iommu_type1", "vfio_virqfd", "vfio_pci"]
    if config.guest is not None and config.guest.accel is Accel.KVM:
        own = {"svm": ["kvm_amd"], "vmx": ["kvm_intel"]}
        names += ["kvm", *own.get(virtualization or "", [])]
    return tuple(dict.fromkeys((*names, *(normal(name) for name in config.extra_modules))))


def read_states(host: Host, config: Config, virtualization: str | None, next_: str) -> ModuleStates:
    """Ask kmod what every wanted module is, in the running kernel and in the next. Raises as kmod.ask."""
    names = wanted_modules(config, virtualization)
    now = {name: kmod.ask(host, name, host.release) for name in names}
    later = now if next_ == host.release else {name: kmod.ask(host, name, next_) for name in names}
    trees = (f"/lib/modules/{host.release}", f"/usr/lib/modules/{host.release}")
    has_tree = any(host.lstat(tree) is not None for tree in trees)
    return ModuleStates(host.release, next_, now, later, has_tree)


def next_release(host: Host, brief: Brief) -> str:
    """The kernel that boots next, as the boot loader says; the running one where it does not say."""
    found = boot.detect(host, brief.config.boot_loader)
    if found.loader is None or found.findings:
        return host.release
    return found.loader.read(host, brief.setup).release or host.release


def absent(states: ModuleStates) -> tuple[Finding, ...]:
    """Which needed modules a kernel does not have."""
    found = []
    for release, asked in {states.release: states.now, states.next_release: states.next}.items():
        names = [name for name, state in asked.items() if _absent(state) and name not in OPTIONAL]
        if not names:
            continue
        gone = release == states.release and not states.has_tree
        found.append(
            Finding(
                "module-absent",
                Severity.REFUSAL,
                f"The kernel {release} has no {', '.join(names)}.",
                tuple(f"modprobe -S {release} -n --show-depends {name}: not found" for name in names),
                "Reboot first if it was upgraded since the boot: /lib/modules has nothing for the running kernel. If "
                "it was not, install a kernel together with its modules."
                if gone
                else "Install the distribution's standard kernel: a cloud kernel lacks some of them.",
            )
        )
    return tuple(found)


def _absent(state: ModuleState) -> bool:
    return state is ModuleState.ABSENT


def _load(name: str, states: ModuleStates) -> RunCommand:
    # Loading twice does nothing, and removing what is not loaded neither: a crash in between is harmless.
    # `modprobe -r` also removes unused modules that it depends on; what was loaded before us must stay, so then rmmod.
    family = ("kvm",) if name.startswith("kvm") else ("vfio", "vfio_iommu_type1")
    adopted = any(states.now.get(base) is ModuleState.LOADED for base in family)
    undo = ("rmmod", name) if adopted else ("modprobe", "-r", name)
    return RunCommand(("modprobe", name), f"load {name} now", Inverse(undo), timeout=120.0)


def _notes(facts: ModulesFacts) -> tuple[str, ...]:
    states = facts.states
    notes = [
        f"{name} is built into {states.release}" for name in states.wanted if states.now[name] is ModuleState.BUILT_IN
    ]
    notes += [f"{name} is loaded already and stays" for name in states.wanted if states.now[name] is ModuleState.LOADED]
    notes += [f"{facts.file.path} lists {name} already" for name in states.to_persist if name in facts.file.names]
    notes += [f"{name} is part of another module in this kernel" for name in states.now if name not in states.wanted]
    return tuple(notes)


def _not_loaded(name: str, states: ModuleStates) -> Finding:
    return Finding(
        "module-not-loaded",
        Severity.REFUSAL,
        f"{name} is not in the kernel, although modprobe said that it loaded it.",
        (f"/proc/modules has no {name}", f"kernel {states.release}"),
        "Look at `dmesg` for why, then run `vfiostate advance` again.",
    )

"""A guest of libvirt: its domain written by us, defined, started; taken away by the way back.

What libvirt makes of the domain is its own file, which the user may edit by `virsh edit`: from then on it is theirs,
and is neither defined over nor removed. Sources: virsh(1); libvirt's formatdomain and drvqemu.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from journal.errors import Exit
from steps.actions import Action, EditFile, Inverse, Keep, RunCommand, Shutdown
from steps.base import Finding, Host, Severity
from steps.config import Guest
from steps.guest import access, libvirt_cpu, needs, virsh
from steps.guest.base import Given, Order, called
from steps.guest.libvirt_xml import domain, uuid_of
from steps.guest.seen import Seen, Silence
from steps.guest.virsh import FILES, PROFILES, VIRSH, Installed, definition_of, file_of
from steps.insertion import sha256

# <target managed='no'> came with 5.7, mode='maximum' with 7.1, <qemu:override> with 8.2, firmware in qcow2 with
# 9.2 (libvirt's NEWS).
OLDEST = (7, 1, 0)
OVERRIDES = (8, 2, 0)
FORMATS = (9, 2, 0)
DEFINE_WAIT = 120.0


class Libvirt:
    """The way of libvirt's system daemon. See steps.guest.base.Way."""

    name = "libvirt"
    voice = "virsh"
    mounts = False

    def look(self, host: Host, order: Order) -> Seen | Silence | None:
        """`virsh domstate`, and the devices in the XML of what runs."""
        return virsh.look(host, order)

    def process(self, host: Host, name: str) -> int | None:
        """libvirt's QEMU."""
        return virsh.process(host, name)

    def threads(self, host: Host, order: Order) -> tuple[int, Mapping[int, int]]:
        """libvirt's QEMU, whose threads bear the names of their vCPUs."""
        pid = virsh.process(host, order.guest.name) or 0
        return pid, virsh.threads(host, pid)

    def log(self, name: str) -> str:
        """Where libvirt writes what QEMU says."""
        return f"/var/log/libvirt/qemu/{name}.log"

    def user(self, guest: Guest) -> str:
        """libvirt opens taps, and gives files to the account of its own configuration."""
        return access.ROOT

    def ask(self, host: Host, order: Order) -> Installed:
        """What there is of libvirt, and of our domain in it."""
        return virsh.ask(host, order)

    def missing(self, order: Order, found: Installed) -> tuple[Finding, ...]:
        """What is missing or in the way."""
        return tuple(_missing(order, found))

    def opens_as_root(self, order: Order, found: Installed) -> bool:
        """libvirt does."""
        return True

    def actions(self, order: Order, found: Installed, given: Given) -> Iterator[Action]:
        """The domain, where it is not there as it must be, and its start."""
        wanted = domain(order, found.binary or order.guest.binary)
        yield from _defined(order, found, wanted)
        uuid = uuid_of(order.setup, order.guest.name)
        # virt-aa-helper makes these at the start, and leaves at least the first behind.
        profiles = (f"{PROFILES}/libvirt-{uuid}", f"{PROFILES}/libvirt-{uuid}.files") if found.profiles else ()
        start = (*VIRSH, "start", uuid)
        why = f"the {called(order.guest.name)}" + (", without the devices, to be installed" if order.install else "")
        yield RunCommand(start, why, self.stop(order, f"undo: {why}"), profiles, timeout=order.guest.start_timeout)

    def stop(self, order: Order, why: str) -> Shutdown:
        """By its power button, then by force; always by its UUID, so that another's of that name is left alone."""
        uuid = uuid_of(order.setup, order.guest.name)
        ask, force = (*VIRSH, "shutdown", uuid, "--mode", "acpi"), (*VIRSH, "destroy", uuid)
        look = (*VIRSH, "list", "--uuid")
        return Shutdown(order.guest.name, why, look, uuid, ask, force, order.guest.stop_timeout)

    def shown(self, order: Order, found: Installed) -> str:
        """The domain's XML."""
        return domain(order, found.binary or order.guest.binary).decode().rstrip("\n")


def _defined(order: Order, found: Installed, wanted: bytes) -> Iterator[Action]:
    name, file = order.guest.name, file_of(order.guest.name)
    uuid, produced = uuid_of(order.setup, name), (definition_of(name),)
    # What is undefined with a managed save image or snapshots would lose them: virsh refuses without further words.
    undefine = (*VIRSH, "undefine", uuid, "--keep-nvram")
    define = (*VIRSH, "define", file)
    if found.uuid is not None and found.file == wanted:
        return
    if found.uuid is not None:
        undo: Inverse | Keep = Inverse(define, DEFINE_WAIT, unchanged=True)
        if found.file is None:
            undo = Keep(f"{file}, which it was defined from, is gone")
        yield RunCommand(undefine, f"the domain {name} as it was defined before", undo, produced, DEFINE_WAIT)
    if found.file != wanted:
        before = None if found.file is None else sha256(found.file)
        yield EditFile(file, wanted, before, f"the domain {name} for libvirt", mode=0o600)
    back = Inverse(undefine, DEFINE_WAIT, unchanged=True)
    yield RunCommand(define, f"libvirt knows the domain {name}", back, produced, DEFINE_WAIT)


def _refusal(code: str, message: str, hint: str, *evidence: str) -> Finding:
    return Finding(code, Severity.REFUSAL, message, evidence, hint)


def _missing(order: Order, found: Installed) -> Iterator[Finding]:
    if not found.virsh:
        hint = "Install it (Debian and Ubuntu: `apt install libvirt-daemon-system libvirt-clients`), or set `backend"
        yield _refusal("libvirt-missing", "virsh is not installed.", f'{hint} = "qemu"` in [guest].')
        return
    if found.silence is not None:
        hint = "`systemctl status libvirtd` (or virtqemud) tells why; start it, then try again."
        yield _refusal("libvirt-silent", f"{found.silence}.", hint, " ".join((*VIRSH, "list")))
        return
    if found.binary is None:
        hint = "Install QEMU (Debian and Ubuntu: `apt install qemu-system-x86`), or name it by `binary` in [guest]."
        yield _refusal("qemu-missing", f"{order.guest.binary} is not installed.", hint)
    yield from needs.form(order)
    yield from _unspeakable(order, found)
    if found.incapable is not None:
        hint = "Change [guest] (machine, accel, binary), or mend what it names."
        message = "libvirt cannot run such a guest with this QEMU."
        yield _refusal("libvirt-incapable", message, hint, found.incapable, "virsh domcapabilities")
    if not found.keeps:
        message = f"libvirt does not keep its domains in {virsh.DEFINITIONS}, as its system daemon does."
        hint = "Install libvirt's QEMU driver (Debian and Ubuntu: libvirt-daemon-system), then try again."
        yield _refusal("libvirt-layout", message, hint, virsh.DEFINITIONS)
    yield from _in_the_way(order, found)
    yield from _not_ours_to_say(order.guest)


def _unspeakable(order: Order, found: Installed) -> Iterator[Finding]:
    """What this libvirt has no words for."""
    guest = order.guest
    version = ".".join(str(part) for part in found.version or ("?",))
    if found.version is None or found.version < OLDEST:
        oldest = ".".join(str(part) for part in OLDEST)
        hint = 'Install a newer one, or set `backend = "qemu"` in [guest].'
        yield _refusal("libvirt-old", f"libvirt must be of {oldest} or later.", hint, f"it is {version}")
    elif found.version < OVERRIDES and any(device.x_vga for device in order.devices):
        hint = "Take `x_vga` out of [[devices]] and boot the guest by UEFI (`ovmf_code`)."
        yield _refusal("libvirt-x-vga", "This libvirt cannot give a device x-vga (8.2 can).", hint, f"it is {version}")
    if found.version is not None and found.version < FORMATS and order.qcow2:
        hint = 'Convert them, `qemu-img convert -O raw`, and name the new files in [guest]; or set `backend = "qemu"`.'
        message = "This libvirt takes no UEFI images in qcow2 (9.2 does)."
        yield _refusal("libvirt-firmware", message, hint, f"it is {version}", *sorted(order.qcow2))
    for device in order.devices:
        if len(device.address.partition(":")[0]) > 4:
            message = f"{device.address}: libvirt knows PCI domains of four digits only."
            yield _refusal("libvirt-domain", message, 'Set `backend = "qemu"` in [guest].', device.address)
    if unspoken := libvirt_cpu.unspoken(guest):
        hint = "Take it out of `cpu`, or say the whole of it in `args`: `-cpu`, and QEMU's words."
        yield _refusal("libvirt-cpu", f"libvirt has no words for {', '.join(unspoken)}.", hint, f"cpu = {guest.cpu!r}")


def _in_the_way(order: Order, found: Installed) -> Iterator[Finding]:
    name = order.guest.name
    ours, definition = uuid_of(order.setup, name), definition_of(name)
    if found.uuid is None:
        return
    if found.uuid != ours:
        hint = f"Give the guest another `name` in [guest], or rename that one: `virsh domrename {name} NEW`."
        message = f"libvirt has a domain {name} already, and it is not vfiostate's."
        yield _refusal("domain-exists", message, hint, f"its UUID is {found.uuid}")
        return
    if not order.setup or found.definition == order.left.get(definition):
        return
    # Ours is what the setup made and nobody has touched; everything else is left to the user.
    if found.file == domain(order, found.binary or order.guest.binary):
        message = f"The domain {name} was edited since vfiostate defined it: it is started as it is now."
        hint = "Nothing is to be done; a rollback stops before it removes it."
        yield Finding("domain-edited", Severity.WARNING, message, (definition,), hint)
        return
    message = f"The configuration of {name} changed, and its domain was edited since vfiostate defined it."
    hint = f"Keep a copy (`virsh dumpxml {name}`), run `virsh undefine {name} --keep-nvram`, then try again."
    yield Finding("domain-edited", Severity.REFUSAL, message, (definition, f"{FILES}/{name}.xml"), hint, Exit.DRIFT)


def _not_ours_to_say(guest: Guest) -> Iterator[Finding]:
    usual = Guest()
    said = [key for key in ("user", "sandbox") if getattr(guest, key) != getattr(usual, key)]
    if said:
        message = f"{' and '.join(f'`{key}`' for key in said)} in [guest] are not obeyed: libvirt decides that."
        hint = "See `user` and `seccomp_sandbox` in /etc/libvirt/qemu.conf."
        yield Finding("libvirt-decides", Severity.WARNING, message, (), hint)


BACKENDS = (Libvirt(),)

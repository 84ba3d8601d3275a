"""GRUB with entries of the Boot Loader Specification on the simulated machine, as Fedora has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.hosts.simulated import generators, grub_mkconfig
from engine.hosts.simulated.doubles.base import Double, answer
from engine.hosts.simulated.doubles.grubby import CMDLINE, DEFAULT, ENTRIES, ENVIRONMENT, entries, grubby
from engine.hosts.simulated.loaders import Item, Loader
from engine.hosts.simulated.loaders.grub import SETTINGS, SIGNATURE, grub_editenv, grub_probe, next_entry_used
from engine.hosts.simulated.machine import Machine
from engine.hosts.simulated.modelled import Place
from engine.hosts.simulated.parts import TextFile
from journal.errors import ConfigurationError, sentence
from steps.base import Completed
from steps.boot import grub_cfg
from steps.boot.bls_entry import EntryFile

CONFIG = "/boot/grub2/grub.cfg"
VENDOR = "/usr/lib/kernel/cmdline"
_CONFIG = """\
### BEGIN /etc/grub.d/00_header ###
if [ -f ${config_directory}/grubenv ]; then
  load_env -f ${config_directory}/grubenv
elif [ -s $prefix/grubenv ]; then
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="${saved_entry}"
fi
### END /etc/grub.d/00_header ###
### BEGIN /etc/grub.d/10_linux ###
insmod blscfg
blscfg
### END /etc/grub.d/10_linux ###
"""


def kernel_install(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """`add RELEASE IMAGE`: an entry with the words of /etc/kernel/cmdline, else those of /usr/lib/kernel/cmdline, else
    those of the running kernel; it becomes the default where one is saved (20-grub.install with UPDATEDEFAULT=yes)."""
    release = argv[2]
    words = _template(machine)
    # As RHEL 8's bls.conf has it: the words of the block are in all of them.
    if "kernelopts" in _environment(machine):
        words = ["$kernelopts", "$tuned_params"]
    path = _write(machine, release, " ".join(words))
    if _environment(machine).get("saved_entry"):
        ident = path.rpartition("/")[2].removesuffix(".conf")
        grub_editenv(machine, ("grub2-editenv", ENVIRONMENT, "set", f"saved_entry={ident}"), b"")
    return answer(argv)


def _template(machine: Machine) -> Sequence[str]:
    if machine.exists(CMDLINE):
        _synchronise(machine)
        return machine.text(CMDLINE).split()
    if machine.exists(VENDOR):
        return machine.text(VENDOR).split()
    return [word for word in machine.cmdline if not word.startswith(("BOOT_IMAGE=", "initrd="))]


def _synchronise(machine: Machine) -> None:
    """20-grub.install has grub2-mkconfig do it (Fedora's 10_linux) where somebody edited /etc/default/grub by hand."""
    ages = [machine.path(path).stat().st_mtime_ns for path in (CMDLINE, DEFAULT) if machine.exists(path)]
    if len(ages) == 2 and ages[0] < ages[1]:
        found = grub_mkconfig.settings(machine)
        words = f"{found['GRUB_CMDLINE_LINUX']} {found['GRUB_CMDLINE_LINUX_DEFAULT']}".split()
        machine.put(CMDLINE, f"root={machine.description.root} ro {' '.join(words)}\n")


def _write(machine: Machine, release: str, words: str, *, rescue: bool = False) -> str:
    ident = machine.text("/etc/machine-id").strip()
    # Named and titled as 51-dracut-rescue.install does it; the kernel is a copy on a real system.
    path = f"{ENTRIES}/{ident}-{'0-rescue' if rescue else release}.conf"
    version = f"0-rescue-{ident}" if rescue else release
    title = f"{machine.description.distribution} ({version})"
    image = generators.of(machine).image(release)
    lines = (f"title {title}", f"version {version}", f"linux /boot/vmlinuz-{release}", f"initrd {image}")
    more = (f"options {words}", "grub_users $grub_users", "grub_arg --unrestricted", "grub_class fedora")
    machine.put(path, "".join(f"{line}\n" for line in (*lines, *more)))
    return path


def _environment(machine: Machine) -> Mapping[str, str]:
    return grub_cfg.environment(machine.text(ENVIRONMENT).encode())


@dataclass(frozen=True, slots=True)
class Bls:
    """See loaders.Loader."""

    name: str = "bls"
    captured: tuple[Place, ...] = (*SETTINGS, ("/etc/kernel/cmdline", ""))

    @property
    def doubles(self) -> Mapping[str, Double]:
        """Its commands on Fedora."""
        return {
            "grubby": grubby,
            "grub2-editenv": grub_editenv,
            "grub2-probe": grub_probe,
            "kernel-install": kernel_install,
        }

    @property
    def files(self) -> Mapping[str, TextFile]:
        """The environment block, and a grub.cfg that takes its entries from elsewhere."""
        return {ENVIRONMENT: TextFile(SIGNATURE + "#" * (1024 - len(SIGNATURE))), CONFIG: TextFile(_CONFIG, 0o600)}

    def install(self, machine: Machine) -> None:
        """An entry for each kernel, and one for rescue. Raises ConfigurationError where sh cannot read the settings."""
        try:
            words = grub_mkconfig.settings(machine)["GRUB_CMDLINE_LINUX"]
        except grub_mkconfig.SettingsError as error:
            raise ConfigurationError(
                f"sh cannot carry out the settings of GRUB in the description: {sentence(str(error))}",
                hint="Repair its /etc/default/grub.",
            ) from None
        line = f"root={machine.description.root} ro {words}".strip()
        kernels = machine.description.kernels
        _write(machine, kernels[0].release, line, rescue=True)
        shared = "kernelopts" in machine.text(ENVIRONMENT)
        if not shared:
            machine.put(CMDLINE, f"{line}\n")
        for kernel in kernels:
            _write(machine, kernel.release, "$kernelopts $tuned_params" if shared else line)

    def kernel_installed(self, release: str) -> tuple[str, ...]:
        """As the kernel's package does it."""
        return ("kernel-install", "add", release, f"/lib/modules/{release}/vmlinuz")

    def menu(self, machine: Machine) -> tuple[Item, ...]:
        """Every entry, the newest first."""
        return tuple(_item(machine, each) for each in entries(machine))

    def next(self, machine: Machine) -> Item | None:
        """By next_entry or saved_entry: an id, a title or a number; else the first."""
        found, env = entries(machine), _environment(machine)
        chosen = env.get("next_entry") or env.get("saved_entry", "")
        named = [each for n, each in enumerate(found) if chosen in (each.id, each.title, str(n))]
        taken = (named or list(found))[:1]
        return _item(machine, taken[0]) if taken else None

    def taken(self, machine: Machine) -> None:
        """The choice for one boot is used up."""
        next_entry_used(machine, ENVIRONMENT)


def _item(machine: Machine, entry: EntryFile) -> Item:
    env = _environment(machine)
    words = tuple(
        part for word in entry.options for part in (env.get(word[1:], "").split() if word[0] == "$" else [word])
    )
    rescue = entry.id.endswith("-0-rescue")
    added = (f"BOOT_IMAGE=(hd0,gpt1){entry.linux}",)
    return Item(entry.title, entry.linux or None, entry.release or "", words, entry.initrd, rescue, added)


LOADER: Loader = Bls()

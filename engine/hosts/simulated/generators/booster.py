"""booster on the simulated machine: what it packs, `booster build` and `ls`, and its script that makes all images anew.

Sources: booster(1) (docs/manpage.md), generator/*.go, packaging/arch/regenerate_images. The model's init has loaded
what is forced before it looks at the devices; the real one only begins with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.hosts.simulated import initramfs, kmod, packing
from engine.hosts.simulated.doubles.base import Double, answer
from engine.hosts.simulated.generators import Generator
from engine.hosts.simulated.initramfs import Archive
from engine.hosts.simulated.kmod import Index, Options
from engine.hosts.simulated.machine import Machine
from engine.hosts.simulated.modelled import Place
from engine.hosts.simulated.parts import TextFile
from steps.base import Completed

CONFIG = "/etc/booster.yaml"
REGENERATE = "/usr/lib/booster/regenerate_images"
INSTALL = "/usr/share/libalpm/scripts/booster-install"
INIT = "etc/booster.init.yaml"
DEFAULT = (
    "kernel/fs/",
    "kernel/drivers/md/",
    "kernel/drivers/usb/host/",
    "kernel/drivers/hid/",
    "kernel/drivers/ata/",
    "kernel/drivers/scsi/",
    "kernel/drivers/nvme/",
    "kernel/drivers/virtio/",
)


class MissingError(Exception):
    """A module that is asked for by name is not there; the text is what booster says."""


def image(package: str) -> str:
    """The path of the image of a kernel's package."""
    return f"/boot/booster-{package}.img"


def _lists(machine: Machine) -> Mapping[str, list[str]]:
    """The comma-separated values of a configuration that is one plain block mapping."""
    found = {}
    for line in machine.text(CONFIG).splitlines():
        key, colon, value = line.partition(":")
        if colon and not line.startswith((" ", "\t", "#")):
            plain = value.partition(" #")[0].strip().strip("\"'")
            found[key.strip()] = [word.strip() for word in plain.split(",") if word.strip()]
    return found


def generate(machine: Machine, index: Index, *, installing: bool = False) -> Archive:
    """What booster would pack for a kernel now. Raises MissingError."""
    found = _lists(machine)
    only = packing.held(machine) if found.get("universal") != ["true"] and not installing else None
    forced = [kmod.normal(name) for name in found.get("modules_force_load", ())]
    named = [*(kmod.normal(name) for name in found.get("modules", ()) if name[0] != "-"), *forced]
    for name in named:
        if name not in index.files and name not in index.builtin:
            raise MissingError(f"module {name} does not exist\n")
    names = [*packing.below(index, DEFAULT, only), *named]
    # Dependencies of modules.dep and modules.softdep; modprobe.d gives options only.
    packed = packing.modules(index, Options(), names)
    dropped = {kmod.normal(name[1:]) for name in found.get("modules", ()) if name[0] == "-"}
    modules = {kmod.name_of(path): text for path, text in packed.items() if kmod.name_of(path) not in dropped}
    files = {f"usr/lib/modules/{name}.ko": text for name, text in modules.items()}
    files[INIT] = "modulesforceload:\n" + "".join(f"- {name}\n" for name in forced if name in index.files)
    files |= {"init": "", "etc/initrd-release": ""}
    return Archive(index.release, dict(sorted(files.items())))


def booster(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """build --force --kernel-version RELEASE IMAGE, and ls IMAGE."""
    if "ls" in argv[1:2]:
        return _ls(machine, argv)
    release, place = argv[argv.index("--kernel-version") + 1], argv[-1]
    index = kmod.read_index(machine, release)
    if index is None:
        return answer(argv, stderr=f"open /usr/lib/modules/{release}: no such file or directory\n", status=1)
    try:
        content = initramfs.render(generate(machine, index))
    except MissingError as error:
        return answer(argv, stderr=str(error), status=1)
    draft = machine.path(f"{place}.new")
    draft.write_bytes(content)
    draft.chmod(0o644)
    draft.rename(machine.path(place))
    return answer(argv)


def _ls(machine: Machine, argv: Sequence[str]) -> Completed:
    try:
        archive = initramfs.parse(machine.path(argv[-1]).read_bytes())
    except OSError:
        return answer(argv, stderr=f"open {argv[-1]}: no such file or directory\n", status=1)
    except ValueError:
        return answer(argv, stderr="unexpected EOF\n", status=1)
    return answer(argv, "usr/lib/\nlib -> usr/lib\n" + "".join(f"{name}\n" for name in archive.files))


def regenerate(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """Each kernel of a package: its image and a copy of itself. The builds run in the background: that one failed shows
    in what they say only."""
    said = ""
    for release in machine.names("/usr/lib/modules"):
        package = machine.text(f"/usr/lib/modules/{release}/pkgbase").strip()
        if package:
            built = booster(machine, ("booster", "build", "--force", "--kernel-version", release, image(package)), b"")
            said += built.stderr.decode()
    return answer(argv, stderr=said)


def install(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """What comes with a kernel's package: its name beside its modules, and the image."""
    release = argv[-1]
    machine.put(f"/usr/lib/modules/{release}/pkgbase", f"{release}\n")
    return booster(machine, ("booster", "build", "--force", "--kernel-version", release, image(release)), b"")


@dataclass(frozen=True, slots=True)
class Booster:
    """See generators.Generator. The model calls a kernel's package as the kernel."""

    name: str = "booster"
    mode: int = 0o644
    captured: tuple[Place, ...] = ((CONFIG, ""),)

    @property
    def doubles(self) -> Mapping[str, Double]:
        """booster, its script, and what pacman runs for a new kernel."""
        return {"booster": booster, "regenerate_images": regenerate, "booster-install": install}

    @property
    def files(self) -> Mapping[str, TextFile]:
        """What its package has."""
        command = TextFile("#!/bin/sh\n# answered by the simulated machine\n", 0o755)
        return {CONFIG: TextFile(""), REGENERATE: command, INSTALL: command}

    def image(self, release: str) -> str:
        """The path of a kernel's image."""
        return image(release)

    def kernel_installed(self, release: str) -> tuple[str, ...]:
        """As pacman's hook does it."""
        return (INSTALL, release)

    def early(self, archive: Archive) -> tuple[str, ...]:
        """What is forced."""
        return tuple(line[2:] for line in archive.files.get(INIT, "").splitlines() if line.startswith("- "))

    def script(self, archive: Archive) -> str:
        """None: there is no shell."""
        return ""

    def generate(self, machine: Machine, index: Index, *, installing: bool = False) -> Archive:
        """See `generate`."""
        return generate(machine, index, installing=installing)


GENERATOR: Generator = Booster()

"""mkinitcpio on the simulated machine: what it packs, `mkinitcpio` and `lsinitcpio` (37).

Sources: mkinitcpio(8), mkinitcpio.conf(5), lsinitcpio(1), its script and the hooks base, udev, systemd and modconf.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.hosts.simulated import initramfs, kmod, packing, sourced
from engine.hosts.simulated.doubles.base import Double, answer
from engine.hosts.simulated.generators import Generator
from engine.hosts.simulated.initramfs import Archive
from engine.hosts.simulated.kmod import Index
from engine.hosts.simulated.machine import Machine
from engine.hosts.simulated.modelled import Place
from engine.hosts.simulated.parts import TextFile
from engine.hosts.simulated.sourced import SourceError
from steps.base import Completed

MAIN = "/etc/mkinitcpio.conf"
FOLDER = "/etc/mkinitcpio.conf.d"
PRESETS = "/etc/mkinitcpio.d"
INSTALL = "/usr/share/libalpm/scripts/mkinitcpio-install"
VERSION = "37.3"
# What each hook takes in (install/block, kms, filesystems, keyboard).
HOOKS = {
    "block": ("ata/", "block/", "md/", "mmc/", "nvme/", "scsi/", "usb/host/", "usb/storage/", "virtio/"),
    "keyboard": ("hid/", "usb/host/"),
    "kms": ("gpu/",),
}
# Those of the package.
KNOWN = frozenset(
    "autodetect base block consolefont encrypt filesystems fsck keyboard keymap kms microcode modconf "
    "sd-encrypt sd-vconsole systemd udev".split()
)
DEFAULT = """\
MODULES=()
BINARIES=()
FILES=()
HOOKS=(base udev autodetect microcode modconf kms keyboard keymap consolefont block filesystems fsck)
"""
CONFIG = "config"


def preset(release: str) -> str:
    """A preset as a kernel's package has it; the model calls the package as the kernel."""
    return (
        f"ALL_kver='/boot/vmlinuz-{release}'\n\nPRESETS=('default' 'fallback')\n\n"
        f'default_image="{image(release)}"\n\nfallback_image="/boot/initramfs-{release}-fallback.img"\n'
        'fallback_options="-S autodetect"\n'
    )


def image(release: str) -> str:
    """The path of a kernel's image."""
    return f"/boot/initramfs-{release}.img"


class MissingError(Exception):
    """A module or file that is to be taken in is not there; the text is what mkinitcpio says."""


def generate(
    machine: Machine, index: Index, *, config: str = "", skipped: Sequence[str] = (), installing: bool = False
) -> Archive:
    """What mkinitcpio would pack for a kernel now. Raises SourceError, MissingError."""
    drop_ins = [] if config else packing.confs(machine, FOLDER)
    files = [machine.path(config or MAIN), *(machine.path(path) for path in drop_ins)]
    raw = sourced.arrays(files, ("MODULES", "FILES", "HOOKS"))
    found = {name: " ".join(words).split() for name, words in raw.items()}
    hooks = [hook for hook in found["HOOKS"] if hook not in skipped]
    directories = tuple(f"kernel/drivers/{part}" for hook in hooks for part in HOOKS.get(hook, ()))
    directories += ("kernel/fs/",) if "filesystems" in hooks else ()
    only = packing.held(machine) if "autodetect" in hooks and not installing else None
    wanted = [kmod.normal(name.removesuffix("?")) for name in found["MODULES"]]
    missing = [name for name in wanted if name not in index.files and name not in index.builtin]
    missing += [path for path in found["FILES"] if not machine.exists(path)]
    own = {hook: f"/etc/initcpio/hooks/{hook}" for hook in hooks if hook not in KNOWN}
    missing += [hook for hook in own if not machine.exists(f"/etc/initcpio/install/{hook}")]
    if missing:
        raise MissingError("".join(f"==> ERROR: '{one}' not found\n" for one in missing))
    names = packing.below(index, directories, only) if directories else []
    contents = packing.modules(index, kmod.root_options(machine), [*names, *wanted])
    modprobe_d = packing.confs(machine, "/etc/modprobe.d", "/usr/lib/modprobe.d") if "modconf" in hooks else []
    contents.update(packing.copied(machine, [*modprobe_d, *found["FILES"]]))
    contents[CONFIG] = f'MODULES="{" ".join(wanted)}"\nHOOKS="{" ".join(hooks)}"\n'
    for name in ("init", "init_functions", "usr/bin/busybox", "VERSION", *(f"hooks/{hook}" for hook in hooks)):
        place = own.get(name.removeprefix("hooks/"))
        contents[name] = machine.text(place) if place else ""
    return Archive(index.release, dict(sorted(contents.items())))


def mkinitcpio(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """-V, -P, -p PRESET."""
    if "-V" in argv:
        return answer(argv, f"mkinitcpio {VERSION}\n")
    names = [name.removesuffix(".preset") for name in machine.names(PRESETS) if name.endswith(".preset")]
    if "-P" not in argv:
        names = [argv[argv.index("-p") + 1]]
    status, said = 0, ""
    for name in names:
        code, text = _preset(machine, name)
        status, said = status or code, said + text
    return answer(argv, stderr=said, status=status)


def _preset(machine: Machine, name: str) -> tuple[int, str]:
    path = machine.path(f"{PRESETS}/{name}.preset")
    try:
        presets = sourced.arrays([path], ("PRESETS", "ALL_kver", "ALL_config"))
        status, said = 0, ""
        for one in presets["PRESETS"]:
            asked = [f"{one}_{what}" for what in ("image", "options", "kver", "config")]
            image, options, kver, config = sourced.arrays([path], asked).values()
            said += f"==> Building image from preset: {path.name}: '{one}'\n"
            kernel = "".join(kver or presets["ALL_kver"])
            words = " ".join(options).split()
            skipped = words[words.index("-S") + 1].split(",") if "-S" in words else []
            code, text = _build(machine, kernel, "".join(image), "".join(config or presets["ALL_config"]), skipped)
            status, said = status or code, said + text
    except SourceError as error:
        return 1, f"==> ERROR: Failed to load preset: `{path.name}': {error}"
    return status, said


def _build(machine: Machine, kernel: str, place: str, config: str, skipped: Sequence[str]) -> tuple[int, str]:
    if not kernel or not place:
        return 0, "==> WARNING: No kernel version or image file specified. Skipping\n"
    if kernel.startswith("/") and not machine.exists(kernel):
        return 1, f"==> ERROR: specified kernel image does not exist: `{kernel}'\n"
    release = kernel.rpartition("/")[2].removeprefix("vmlinuz-")
    index = kmod.read_index(machine, release)
    if index is None:
        return 1, f"==> ERROR: '/lib/modules/{release}' is not a valid kernel module directory\n"
    try:
        content = initramfs.render(generate(machine, index, config=config, skipped=skipped))
    except (SourceError, MissingError) as error:
        return 1, f"{error}==> WARNING: errors were encountered during the build. The image may not be complete.\n"
    # In place: a crash in the middle leaves half an image.
    machine.path(place).write_bytes(content)
    return 0, "==> Image generation successful\n"


def lsinitcpio(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """The names in an image."""
    place = argv[-1]
    if not machine.path(place).is_file():
        return answer(argv, stderr=f"==> ERROR: No such file: {place}\n", status=1)
    try:
        archive = initramfs.parse(machine.path(place).read_bytes())
    except ValueError:
        return answer(argv, stderr="bsdtar: Error opening archive: Unrecognized archive format\n")
    return answer(argv, "".join(f"{name}\n" for name in archive.files))


def install(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """What comes with a kernel's package: its name beside its modules, its preset, and the images."""
    release = argv[-1]
    machine.put(f"/usr/lib/modules/{release}/pkgbase", f"{release}\n")
    machine.put(f"{PRESETS}/{release}.preset", preset(release))
    return mkinitcpio(machine, ("mkinitcpio", "-p", release), b"")


@dataclass(frozen=True, slots=True)
class Mkinitcpio:
    """See generators.Generator."""

    name: str = "mkinitcpio"
    mode: int = 0o644
    captured: tuple[Place, ...] = (
        ("/etc/mkinitcpio.conf", ""),
        ("/etc/mkinitcpio.conf.d", ".conf"),
        ("/etc/mkinitcpio.d", ".preset"),
    )

    @property
    def doubles(self) -> Mapping[str, Double]:
        """mkinitcpio, lsinitcpio, and what pacman runs for a new kernel."""
        return {"mkinitcpio": mkinitcpio, "lsinitcpio": lsinitcpio, "mkinitcpio-install": install}

    @property
    def files(self) -> Mapping[str, TextFile]:
        """Its configuration as the package has it; it is a bash script, as its configuration is."""
        command = TextFile("#!/bin/sh\n# answered by the simulated machine\n", 0o755)
        return {MAIN: TextFile(DEFAULT), "/usr/bin/bash": command, INSTALL: command}

    def image(self, release: str) -> str:
        """The path of a kernel's image."""
        return image(release)

    def kernel_installed(self, release: str) -> tuple[str, ...]:
        """As pacman's hook does it."""
        return (INSTALL, release)

    def early(self, archive: Archive) -> tuple[str, ...]:
        """MODULES in its own configuration, between the early hooks and the one in which udev sees the devices."""
        line = next((line for line in archive.files.get(CONFIG, "").splitlines() if line.startswith("MODULES=")), "")
        return tuple(line.removeprefix("MODULES=").strip('"').split())

    def script(self, archive: Archive) -> str:
        """Our hook, as its early hook is run."""
        return f"{archive.files.get('hooks/vfiostate', '')}\nrun_earlyhook\n"

    def generate(self, machine: Machine, index: Index, *, installing: bool = False) -> Archive:
        """See `generate`."""
        return generate(machine, index, installing=installing)


GENERATOR: Generator = Mkinitcpio()

"""dracut on the simulated machine: what it packs, `dracut` and `lsinitrd` (dracut 059 and later).

Sources: dracut(8), dracut.conf(5), dracut.cmdline(7), lsinitrd(1), dracut.sh.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.hosts.simulated import initramfs, kmod, packing, sourced
from engine.hosts.simulated.doubles.base import Double, answer
from engine.hosts.simulated.generators import Generator, of
from engine.hosts.simulated.generators.initramfs_tools import run_hooks
from engine.hosts.simulated.initramfs import Archive
from engine.hosts.simulated.kmod import Index
from engine.hosts.simulated.machine import Machine
from engine.hosts.simulated.modelled import Place
from engine.hosts.simulated.parts import TextFile
from engine.hosts.simulated.sourced import SourceError
from steps.base import Completed

FOLDERS = ("/etc/dracut.conf.d", "/usr/lib/dracut/dracut.conf.d")
MODULES = "/usr/lib/dracut/modules.d"
FORCED = "etc/cmdline.d/20-force_drivers.conf"
CHOSEN = ("dracutmodules", "add_dracutmodules", "force_add_dracutmodules")
LISTS = ("force_drivers", "add_drivers", "install_items", "install_optional_items", "hostonly", *CHOSEN)
# kernel-modules, and drm, which plymouth asks for.
GENERIC = (
    "kernel/drivers/ata/",
    "kernel/drivers/block/",
    "kernel/drivers/gpu/",
    "kernel/drivers/hid/",
    "kernel/drivers/md/",
    "kernel/drivers/mmc/",
    "kernel/drivers/nvme/",
    "kernel/drivers/scsi/",
    "kernel/drivers/usb/host/",
    "kernel/drivers/usb/storage/",
    "kernel/drivers/virtio/",
    "kernel/fs/",
)


def settings(machine: Machine, release: str) -> Mapping[str, list[str]]:
    """The lists of words that the configuration makes. Raises SourceError."""
    files: dict[str, str] = {}
    for path in packing.confs(machine, *FOLDERS):
        files.setdefault(path.rpartition("/")[2], path)
    paths = [machine.path(one) for one in ("/etc/dracut.conf", *(files[name] for name in sorted(files)))]
    found = sourced.arrays([one for one in paths if one.is_file()], LISTS, {"kernel": release})
    return {name: " ".join(value).split() for name, value in found.items()}


def generate(machine: Machine, index: Index, *, installing: bool = False) -> Archive:
    """What dracut would pack for a kernel now. Raises SourceError."""
    found = settings(machine, index.release)
    options = kmod.root_options(machine)
    hostonly = found["hostonly"] == ["yes"]
    only = packing.held(machine) if hostonly and not installing else None
    forced = [kmod.normal(name) for name in found["force_drivers"]]
    names = [*packing.below(index, GENERIC, only), *forced, *map(kmod.normal, found["add_drivers"])]
    files = packing.modules(index, options, names)
    configs = packing.confs(machine, "/usr/lib/modprobe.d", *(["/etc/modprobe.d"] if hostonly else []))
    items = [*configs, *found["install_items"], *found["install_optional_items"]]
    files.update(packing.copied(machine, items))
    files.update(_hooks(machine, found))
    if forced:
        files[FORCED] = "".join(f"rd.driver.pre={name}\n" for name in forced)
    for name in ("init", "usr/bin/systemctl", "usr/lib/dracut/modules.txt", "usr/lib/systemd/systemd-udevd"):
        files[name] = ""
    return Archive(index.release, dict(sorted(files.items())))


def _hooks(machine: Machine, settings: Mapping[str, list[str]]) -> dict[str, str]:
    """What the modules that are not dracut's own install with inst_hook (dracut.modules(7)): all of them, unless
    `dracutmodules` names a few (check_module in dracut-init.sh)."""
    every = settings["dracutmodules"] in ([], ["auto"], ["all"])
    chosen = {name for key in CHOSEN for name in settings[key]}
    found = {}
    for module in machine.names(MODULES):
        if not every and module[2:] not in chosen:
            continue
        text = machine.text(f"{MODULES}/{module}/module-setup.sh")
        for kind, order, name in re.findall(r'^\s*inst_hook (\S+) (\d+) "\$moddir/(\S+)"', text, re.MULTILINE):
            found[f"usr/lib/dracut/hooks/{kind}/{order}-{name}"] = machine.text(f"{MODULES}/{module}/{name}")
    return found


def dracut(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """-f with --regenerate-all, or --kver RELEASE, or IMAGE RELEASE."""
    words = [word for word in argv[1:] if word not in ("-f", "--force", "-q", "--quiet")]
    force = len(words) < len(argv) - 1
    status, said = 0, ""
    if "--regenerate-all" in words:
        for release in machine.names("/lib/modules"):
            if machine.exists(f"/lib/modules/{release}/modules.dep"):
                code, text = _build(machine, _place(machine, release), release, force=force)
                status, said = status + code, said + text
        return answer(argv, stderr=said, status=status)
    if words[:1] == ["--kver"]:
        words = [_place(machine, words[1]), words[1]]
    place, release = words if len(words) == 2 else (_place(machine, machine.release), machine.release)
    status, said = _build(machine, place, release, force=force)
    return answer(argv, stderr=said, status=status)


def _place(machine: Machine, release: str) -> str:
    """Where an image goes when nobody says where: below the machine's id, where there are boot loader entries."""
    own = machine.text("/etc/machine-id").strip()
    for boot in ("/efi", "/boot", "/boot/efi"):
        if machine.exists(f"{boot}/loader/entries") and machine.exists(f"{boot}/{own}/{release}"):
            return f"{boot}/{own}/{release}/initrd"
    return of(machine).image(release)


def _build(machine: Machine, place: str, release: str, *, force: bool) -> tuple[int, str]:
    if machine.exists(place) and not force:
        return 1, f"dracut[F]: Will not override existing initramfs ({place}) without --force\n"
    index = kmod.read_index(machine, release)
    if index is None:
        return 1, f"dracut[F]: Cannot find module directory /lib/modules/{release}/\n"
    try:
        content = initramfs.render(generate(machine, index))
    except SourceError as error:
        return 1, str(error)
    # cp over what is there: a crash in the middle leaves half an image.
    there = machine.exists(place)
    machine.path(place).write_bytes(content)
    if not there:
        machine.path(place).chmod(of(machine).mode)
    # Debian's dracut runs the hooks of a boot loader as initramfs-tools does.
    hooks = run_hooks(machine, release, place)
    said = f"dracut[I]: *** Creating initramfs image file '{place}' done ***\n"
    return hooks.status, said + hooks.text + hooks.stderr.decode()


def lsinitrd(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """The whole listing of one image, as `ls -l` has it."""
    place = argv[-1]
    if not machine.path(place).is_file():
        return answer(
            argv, stderr=f"{place} does not exist\n\nUsage: lsinitrd [options] [<initramfs file>]\n", status=1
        )
    head = f"Image: {place}: 30M\n{'=' * 72}\n"
    try:
        archive = initramfs.parse(machine.path(place).read_bytes())
    except ValueError:
        return answer(argv, f"{head}Version: \n\nArguments: \n{'=' * 72}\n{'=' * 72}\n", stderr="cpio: premature end\n")
    names = set(archive.files)
    folders = {name.rpartition("/")[0] for name in names if "/" in name}
    rows = [(name, "drwxr-xr-x   2 root     root            0") for name in folders]
    rows += [(name, f"-rw-r--r--   1 root     root     {len(archive.files[name]):8}") for name in names]
    rows += [("bin", "lrwxrwxrwx   1 root     root            7")]
    lines = "".join(
        f"{row} Jan  1  1970 {name}{' -> usr/bin' if name == 'bin' else ''}\n" for name, row in sorted(rows)
    )
    return answer(
        argv, f"{head}Version: dracut-059-4\n\nArguments: -f\n\ndracut modules:\nbase\n{'=' * 72}\n{lines}{'=' * 72}\n"
    )


@dataclass(frozen=True, slots=True)
class Dracut:
    """See generators.Generator. `pattern` is what the distribution calls an image, `hostonly` whether its configuration
    asks for images that fit this host alone."""

    name: str = "dracut"
    pattern: str = "/boot/initramfs-{}.img"
    hostonly: bool = True
    mode: int = 0o600
    captured: tuple[Place, ...] = (
        ("/etc/dracut.conf", ""),
        ("/etc/dracut.conf.d", ".conf"),
        ("/etc/kernel/postinst.d/dracut", ""),
    )

    @property
    def doubles(self) -> Mapping[str, Double]:
        """dracut and lsinitrd."""
        return {"dracut": dracut, "lsinitrd": lsinitrd}

    @property
    def files(self) -> Mapping[str, TextFile]:
        """Its configuration as the package has it; it is a bash script, as its configuration is."""
        found = {
            "/etc/dracut.conf": TextFile(
                '# PUT YOUR CONFIG IN separate files\n# in /etc/dracut.conf.d named "<name>.conf"\n'
            ),
            "/etc/dracut.conf.d/local.conf": TextFile('add_drivers+=" loop "\n'),
            "/usr/bin/bash": TextFile("#!/bin/sh\n# answered by the simulated machine\n", 0o755),
        }
        if self.hostonly:
            found["/usr/lib/dracut/dracut.conf.d/01-dist.conf"] = TextFile('hostonly="yes"\n')
        else:
            found["/etc/kernel/postinst.d/dracut"] = TextFile("#!/bin/sh\n# answered by the simulated machine\n", 0o755)
        return found

    def image(self, release: str) -> str:
        """The path of a kernel's image."""
        return self.pattern.format(release)

    def kernel_installed(self, release: str) -> tuple[str, ...]:
        """As the hook of kernel-install and Debian's /etc/kernel/postinst.d/dracut do it."""
        return ("dracut", "-f", "-q", self.image(release), release)

    def early(self, archive: Archive) -> tuple[str, ...]:
        """What rd.driver.pre= in its own command line says: the pre-udev hook."""
        words = " ".join(text for path, text in archive.files.items() if path.startswith("etc/cmdline.d/")).split()
        return tuple(word.removeprefix("rd.driver.pre=") for word in words if word.startswith("rd.driver.pre="))

    def script(self, archive: Archive) -> str:
        """The pre-udev hooks."""
        return "".join(text for path, text in archive.files.items() if "/hooks/pre-udev/" in path)

    def generate(self, machine: Machine, index: Index, *, installing: bool = False) -> Archive:
        """See `generate`."""
        return generate(machine, index, installing=installing)


GENERATOR: Generator = Dracut()

"""initramfs-tools on the simulated machine: what mkinitramfs packs; update-initramfs and lsinitramfs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.hosts.simulated import drivers, early, initramfs, kmod, loaders
from engine.hosts.simulated.doubles.base import Double, answer
from engine.hosts.simulated.generators import Generator
from engine.hosts.simulated.initramfs import Archive, module_lines
from engine.hosts.simulated.kmod import Index
from engine.hosts.simulated.machine import Machine, kernels_in_boot
from engine.hosts.simulated.modelled import Place
from engine.hosts.simulated.parts import TextFile
from steps.base import Completed

HOOKS = "/etc/initramfs/post-update.d"
# What MODULES=most takes in (hook-functions, auto_add_modules): disks, networks, USB, input, and with udev, graphics.
MOST = (
    "kernel/drivers/ata/",
    "kernel/drivers/block/",
    "kernel/drivers/gpu/",
    "kernel/drivers/hid/",
    "kernel/drivers/md/",
    "kernel/drivers/mmc/",
    "kernel/drivers/net/ethernet/",
    "kernel/drivers/nvme/",
    "kernel/drivers/scsi/",
    "kernel/drivers/usb/host/",
    "kernel/drivers/usb/storage/",
    "kernel/drivers/virtio/",
    "kernel/drivers/video/",
    "kernel/fs/",
)
INIT_TOP = "scripts/init-top/"
# Those that the package leaves empty.
DIRECTORIES = (
    "conf.d",
    "hooks",
    *(f"scripts/{name}-{when}" for name in ("init", "local", "nfs") for when in ("top", "premount", "bottom")),
    "scripts/panic",
)


def image(release: str) -> str:
    """The path of a kernel's image."""
    return f"/boot/initrd.img-{release}"


def generate(machine: Machine, index: Index, *, installing: bool = False) -> Archive:
    """What mkinitramfs would pack for a kernel on this machine, now; `installing`: no device has its driver yet.

    With MODULES=dep that is what holds a device at this moment: a card on a stub leaves its native driver out.
    """
    prefix = "usr/lib/modules" if machine.description.usrmerge else "lib/modules"
    options = kmod.root_options(machine)
    wanted = module_lines(machine.text("/etc/initramfs-tools/modules"))
    setting = _setting(machine)
    held = {
        drivers.registered(machine).get(drivers.driver_of(machine, one) or "") for one in drivers.addresses(machine)
    }
    names: list[str] = []
    for name, file in index.files.items():
        if file.startswith(MOST) and (setting != "dep" or installing or name in held):
            names.append(name)
    names.extend(kmod.normal(line.split()[0]) for line in wanted)
    order = [one for name in names for one in kmod.loading_order(index, options, name)]
    files = {f"{prefix}/{index.release}/{index.files[one]}": "" for one in order if one in index.files}
    for directory in kmod.CONFIG_DIRECTORIES:
        for name in machine.names(directory):
            if name.endswith(".conf"):
                files[f"{directory.lstrip('/')}/{name}"] = machine.text(f"{directory}/{name}")
    scripts = f"/etc/initramfs-tools/{INIT_TOP.rstrip('/')}"
    for name in machine.names(scripts):
        # One that is not executable is ignored (hook-functions, set_initlist).
        if machine.path(f"{scripts}/{name}").stat().st_mode & 0o111:
            files[f"{INIT_TOP}{name}"] = machine.text(f"{scripts}/{name}")
    if wanted:
        files["conf/modules"] = "".join(line + " \n" for line in wanted)
    for name in ("init", "bin/busybox", "sbin/modprobe", "scripts/init-top/udev"):
        files[name] = ""
    return Archive(index.release, dict(sorted(files.items())))


def _setting(machine: Machine) -> str:
    """The value of MODULES= (initramfs.conf(5)); a later file wins."""
    texts = [machine.text("/etc/initramfs-tools/initramfs.conf")]
    for name in machine.names("/etc/initramfs-tools/conf.d"):
        texts.append(machine.text(f"/etc/initramfs-tools/conf.d/{name}"))
    values = [line[8:].strip() for text in texts for line in text.splitlines() if line.startswith("MODULES=")]
    return values[-1] if values else "most"


def update_initramfs(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """-u, -c or -d, with -k RELEASE or -k all (update-initramfs(8))."""
    words = list(argv[1:])
    mode = next((one for one in ("-u", "-c", "-d") if one in words), "")
    if not mode:
        return answer(argv, stderr="You must specify at least one of -c, -u, or -d.\n", status=1)
    which = words[words.index("-k") + 1] if "-k" in words[:-1] else None
    made = tuple(one for one in kernels_in_boot(machine) if machine.exists(image(one)))
    installed = kernels_in_boot(machine)
    releases = (made if mode == "-u" else installed) if which == "all" else ((which,) if which else installed[:1])
    said = ""
    for release in releases:
        place = image(release)
        if mode == "-u" and release not in made:
            return answer(argv, said + f"{place} does not exist. Cannot update.\n", status=1)
        said += f"update-initramfs: {'Deleting' if mode == '-d' else 'Generating'} {place}\n"
        if mode == "-d":
            machine.unlink(place)
            continue
        index = kmod.read_index(machine, release)
        if index is None:
            text = f"W: missing /lib/modules/{release}\nE: no kernel modules: failed for {place}\n"
            return answer(argv, said, stderr=text, status=1)
        content = initramfs.render(generate(machine, index))
        # Beside its place and renamed, as mkinitramfs and update-initramfs do it; a crash leaves the .new.
        draft = machine.path(f"{place}.new")
        draft.write_bytes(content)
        draft.chmod(0o644)
        draft.rename(machine.path(place))
        # Versions before 0.142 keep a checksum of each image there.
        if machine.exists("/var/lib/initramfs-tools"):
            checksum = hashlib.sha1(content, usedforsecurity=False).hexdigest()
            machine.put(f"/var/lib/initramfs-tools/{release}", f"{checksum}  {place}\n")
        hooked = run_hooks(machine, release, place)
        said += hooked.text
        if not hooked.ok:
            return answer(argv, said, stderr=hooked.stderr.decode(), status=1)
    return answer(argv, said)


def run_hooks(machine: Machine, release: str, image: str) -> Completed:
    """What run_bootloader() runs for each image: a loader's doubles name its hook by the path it lies at."""
    said = ""
    for name in machine.names(HOOKS):
        double = loaders.of(machine).doubles.get(f"{HOOKS}/{name}")
        done = double(machine, (f"{HOOKS}/{name}", release, image), b"") if double is not None else None
        said += done.text if done is not None else ""
        if done is not None and not done.ok:
            text = f"run-parts: {HOOKS}/{name} exited with return code {done.status}\n"
            return answer((name,), said, stderr=done.stderr.decode() + text, status=1)
    return answer((HOOKS,), said)


def lsinitramfs(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """The names in an initramfs, one a line."""
    files = [word for word in argv[1:] if not word.startswith("-")]
    out = ""
    for file in files:
        try:
            archive = initramfs.parse(machine.path(file).read_bytes())
        except FileNotFoundError:
            return answer(argv, out, stderr=f"Specified file could not be read: {file}\n", status=1)
        except ValueError:
            return answer(argv, out, stderr=f"cpio: {file}: premature end of archive\n", status=1)
        names = set(archive.files)
        names |= {name.rpartition("/")[0] for name in names if "/" in name}
        out += "".join(f"{name}\n" for name in [".", *sorted(names)])
    return answer(argv, out)


@dataclass(frozen=True, slots=True)
class InitramfsTools:
    """See generators.Generator."""

    name: str = "initramfs-tools"
    mode: int = 0o644
    captured: tuple[Place, ...] = (
        ("/etc/initramfs-tools/initramfs.conf", ""),
        ("/etc/initramfs-tools/modules", ""),
        ("/etc/initramfs-tools/conf.d", ""),
    )

    @property
    def doubles(self) -> Mapping[str, Double]:
        """update-initramfs and lsinitramfs."""
        return {"update-initramfs": update_initramfs, "lsinitramfs": lsinitramfs}

    @property
    def files(self) -> Mapping[str, TextFile]:
        """Its configuration as the package has it."""
        return {
            "/etc/initramfs-tools/initramfs.conf": TextFile("MODULES=most\nBUSYBOX=auto\nCOMPRESS=zstd\n"),
            "/etc/initramfs-tools/modules": TextFile(
                "# List of modules that you want to include in your initramfs.\n"
                "# They will be loaded at boot time in the order below.\n#\n# Syntax:  module_name [args ...]\n"
            ),
            **{f"/etc/initramfs-tools/{name}/": TextFile() for name in DIRECTORIES},
        }

    def image(self, release: str) -> str:
        """The path of a kernel's image."""
        return image(release)

    def kernel_installed(self, release: str) -> tuple[str, ...]:
        """As /etc/kernel/postinst.d/initramfs-tools does it."""
        return ("update-initramfs", "-c", "-k", release)

    def early(self, archive: Archive) -> tuple[str, ...]:
        """None: its init loads conf/modules after scripts/init-top, where udev is started."""
        return ()

    def script(self, archive: Archive) -> str:
        """One in scripts/init-top that comes before the one which starts udev: by the name, without prerequisites."""
        names = (name for name in archive.files if name.startswith(INIT_TOP) and name < f"{INIT_TOP}udev")
        return next((archive.files[name] for name in names if early.CALL in archive.files[name]), "")

    def generate(self, machine: Machine, index: Index, *, installing: bool = False) -> Archive:
        """See `generate`."""
        return generate(machine, index, installing=installing)


GENERATOR: Generator = InitramfsTools()

"""update-grub and its kin, update-initramfs, lsinitramfs: as on Debian and Ubuntu."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from engine.hosts.simulated import grub, initramfs, kmod
from engine.hosts.simulated.doubles.base import Double, answer
from engine.hosts.simulated.machine import Machine
from steps.base import Completed

ENVIRONMENT = "/boot/grub/grubenv"
SIGNATURE = "# GRUB Environment Block\n"


def update_grub(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """Write /boot/grub/grub.cfg anew."""
    return grub_mkconfig(machine, [argv[0], "-o", grub.CONFIG], stdin)


def grub_mkconfig(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """Make a grub.cfg: to `-o FILE` or to standard output. A failure leaves the old file alone."""
    try:
        text = grub.configuration(machine)
    except grub.SettingsError as error:
        return answer(argv, stderr=str(error), status=2)
    target = argv[argv.index("-o") + 1] if "-o" in argv[:-1] else None
    said = "Generating grub configuration file ...\n"
    for release in grub.releases(machine):
        said += f"Found linux image: /boot/vmlinuz-{release}\n"
        if machine.exists(f"/boot/initrd.img-{release}"):
            said += f"Found initrd image: /boot/initrd.img-{release}\n"
    said += "done\n"
    if target is None:
        return answer(argv, text, stderr=said)
    # In place, as grub-mkconfig does it: inode and mode stay, and nothing is synced.
    place = machine.path(target)
    machine.put(target, text, place.stat().st_mode & 0o777 if place.exists() else 0o600)
    return answer(argv, stderr=said)


def grub_reboot(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """Name the entry of the next boot only."""
    return _set_environment(machine, argv, {"next_entry": argv[-1]})


def grub_set_default(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """Name the saved entry."""
    return _set_environment(machine, argv, {"saved_entry": argv[-1]})


def grub_editenv(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """list, set and unset, on `-` or a file."""
    words = [word for word in argv[1:] if word != "-"]
    if words and words[0].startswith("/"):
        words = words[1:]
    if machine.exists(ENVIRONMENT) and not machine.text(ENVIRONMENT).startswith(SIGNATURE):
        return answer(argv, stderr="grub-editenv: error: invalid environment block.\n", status=1)
    if words[:1] == ["list"] or not words:
        lines = [line for line in machine.text(ENVIRONMENT).splitlines() if "=" in line and not line.startswith("#")]
        return answer(argv, "".join(line + "\n" for line in lines))
    if words[0] == "unset":
        return _set_environment(machine, argv, dict.fromkeys(words[1:]))
    return _set_environment(machine, argv, {k: v for k, _, v in (word.partition("=") for word in words[1:])})


def _set_environment(machine: Machine, argv: Sequence[str], changes: Mapping[str, str | None]) -> Completed:
    lines = [line for line in machine.text(ENVIRONMENT).splitlines() if "=" in line and not line.startswith("#")]
    values: dict[str, str | None] = {key: value for key, _, value in (line.partition("=") for line in lines)}
    values.update(changes)
    text = SIGNATURE + "".join(f"{k}={v}\n" for k, v in values.items() if v is not None)
    # The block is 1024 bytes, filled up with #, so that GRUB can write it without allocating (GRUB manual, 16.1).
    # Truncated and written, as grub-editenv does it: cut short, it is empty.
    machine.put(ENVIRONMENT, text + "#" * (1024 - len(text)))
    return answer(argv)


FS = {"ext3": "ext2", "ext4": "ext2", "vfat": "fat"}


def grub_probe(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """--target=fs and --target=abstraction of a path, by the description's mounts and disks."""
    target = next((word.removeprefix("--target=") for word in argv if word.startswith("--target=")), "fs")
    path = argv[-1]
    if not machine.exists(path):
        text = f"grub-probe: error: failed to get canonical path of `{path}'.\n"
        return answer(argv, stderr=text, status=1)
    mounts = [one for one in machine.description.mounts if f"{path}/".startswith(one.target.rstrip("/") + "/")]
    mount = max(mounts, key=lambda one: len(one.target), default=None)
    if target == "fs":
        return answer(argv, f"{FS.get(mount.type, mount.type) if mount else 'ext2'}\n")
    name = mount.source.rpartition("/")[2] if mount else ""
    if name.startswith("md"):
        return answer(argv, "diskfilter mdraid1x\n")
    virtual = any(one.slaves and one.name == name for one in machine.description.disks)
    return answer(argv, "lvm\n" if virtual or "/mapper/" in (mount.source if mount else "") else "")


def grub_script_check(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """Whether the braces of a script close; more of the syntax is not looked at."""
    text = machine.text(argv[-1]) if len(argv) > 1 else stdin.decode(errors="replace")
    depth = 0
    for n, line in enumerate(text.splitlines(), 1):
        depth += line.rstrip().endswith("{")
        depth -= line.strip() == "}"
        if depth < 0:
            return answer(argv, stderr=f"error: syntax error.\nSyntax error at line {n}\n", status=1)
    return answer(argv, stderr="Syntax error at end\n" if depth else "", status=1 if depth else 0)


def update_initramfs(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """-u, -c or -d, with -k RELEASE or -k all (update-initramfs(8))."""
    words = list(argv[1:])
    mode = next((one for one in ("-u", "-c", "-d") if one in words), "")
    if not mode:
        return answer(argv, stderr="You must specify at least one of -c, -u, or -d.\n", status=1)
    which = words[words.index("-k") + 1] if "-k" in words[:-1] else None
    made = tuple(one for one in grub.releases(machine) if machine.exists(f"/boot/initrd.img-{one}"))
    installed = grub.releases(machine)
    releases = (made if mode == "-u" else installed) if which == "all" else ((which,) if which else installed[:1])
    said = ""
    for release in releases:
        place = f"/boot/initrd.img-{release}"
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
        content = initramfs.render(initramfs.generate(machine, index))
        # Beside its place and renamed, as mkinitramfs and update-initramfs do it; a crash leaves the .new.
        draft = machine.path(f"{place}.new")
        draft.write_bytes(content)
        draft.chmod(0o644)
        draft.rename(machine.path(place))
        # Versions before 0.142 keep a checksum of each image there.
        if machine.exists("/var/lib/initramfs-tools"):
            checksum = hashlib.sha1(content, usedforsecurity=False).hexdigest()
            machine.put(f"/var/lib/initramfs-tools/{release}", f"{checksum}  {place}\n")
    return answer(argv, said)


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


DOUBLES: dict[str, Double] = {
    "update-grub": update_grub,
    "grub-mkconfig": grub_mkconfig,
    "grub-probe": grub_probe,
    "grub-reboot": grub_reboot,
    "grub-set-default": grub_set_default,
    "grub-editenv": grub_editenv,
    "grub-script-check": grub_script_check,
    "update-initramfs": update_initramfs,
    "lsinitramfs": lsinitramfs,
}

"""kernel-install on the simulated machine: `add` and `remove`, with the layouts `bls` and `uki`.

Sources: kernel-install(8); src/kernel-install of systemd: kernel-install.in and 90-loaderentry.install.in as of 252,
60-ukify.install.in and 90-uki-copy.install.in as of 257; 85-initrd.install of Debian's package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.hosts.simulated.doubles.base import answer
from engine.hosts.simulated.machine import Machine
from engine.hosts.simulated.unified_image import build
from steps.base import Completed
from steps.boot.pe import settings

PLACES = ("/efi", "/boot", "/boot/efi")


@dataclass(frozen=True, slots=True)
class Layout:
    """What kernel-install found out before it runs its plugins."""

    root: str
    token: str
    kind: str
    machine_id: str

    def folder(self, release: str) -> str:
        """Where a kernel goes in the layout bls."""
        return f"{self.root}/{self.token}/{release}"


def layout(machine: Machine) -> Layout:
    """The partition, the token that names everything, and the layout: configured, or by what is there."""
    conf = settings(machine.text("/etc/kernel/install.conf").encode())
    machine_id = machine.text("/etc/machine-id").strip()
    release = settings(machine.text("/etc/os-release").encode())
    token = machine.text("/etc/kernel/entry-token").strip()
    guessed = [each for each in (machine_id, release.get("IMAGE_ID"), release.get("ID"), "Default") if each]
    tokens = [token] if token else guessed
    pairs = [(root, each) for root in ((conf["BOOT_ROOT"],) if "BOOT_ROOT" in conf else PLACES) for each in tokens]
    with_token = next((pair for pair in pairs if machine.exists("/".join(pair))), None)
    root = (
        with_token[0] if with_token else next((r for r, _ in pairs if machine.exists(f"{r}/loader/entries")), "/boot")
    )
    chosen = with_token[1] if with_token else (token or machine_id)
    srel = machine.text(f"{root}/loader/entries.srel").strip()
    guess = "bls" if srel == "type1" or (not srel and machine.exists(f"{root}/{chosen}")) else "other"
    return Layout(root, chosen, conf.get("layout", guess), machine_id)


def run(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """add RELEASE IMAGE [INITRD…], remove RELEASE."""
    words = [word for word in argv[1:] if word not in ("-v", "--verbose")]
    if words == ["--version"]:
        return answer(argv, "kernel-install 252 (252.39-1~deb12u2)\n")
    if len(words) < 2:
        return answer(argv, stderr="Error: not enough arguments\n", status=1)
    verb, release, *rest = words
    if verb == "remove":
        return _remove(machine, argv, layout(machine), release)
    if verb != "add":
        return answer(argv, stderr=f"Error: unknown command '{verb}'\n", status=1)
    if not rest:
        return answer(argv, stderr="Error: command 'add' requires a kernel image\n", status=1)
    missing = next((path for path in rest if not machine.path(path).is_file()), None)
    if missing is not None:
        what = "kernel image argument" if missing == rest[0] else "initrd"
        return answer(argv, stderr=f"Error: {what} {missing} not a file\n", status=1)
    found = layout(machine)
    # Debian's plugin: where no initrd is given, the one that belongs to the kernel is taken.
    staged = f"/boot/initrd.img-{release}"
    initrds = rest[1:] or ([staged] if machine.exists(staged) else [])
    if found.kind == "bls":
        _bls(machine, found, release, rest[0], initrds)
    elif found.kind == "uki":
        _uki(machine, found, release, rest[0], initrds)
    return answer(argv)


def _options(machine: Machine, found: Layout) -> str:
    source = next((path for path in ("/etc/kernel/cmdline", "/usr/lib/kernel/cmdline") if machine.exists(path)), None)
    words = machine.text(source or "/proc/cmdline").split()
    if source is None:
        words = [word for word in words if not word.startswith(("BOOT_IMAGE=", "initrd="))]
    if found.token == found.machine_id and not any(word.startswith("systemd.machine_id=") for word in words):
        words.append(f"systemd.machine_id={found.machine_id}")
    return " ".join(words)


def _tries(machine: Machine) -> str:
    tries = machine.text("/etc/kernel/tries").strip()
    return f"+{tries}" if tries else ""


def _bls(machine: Machine, found: Layout, release: str, kernel: str, initrds: Sequence[str]) -> None:
    folder = found.folder(release)
    _copy(machine, kernel, f"{folder}/linux")
    for initrd in initrds:
        _copy(machine, initrd, f"{folder}/{initrd.rpartition('/')[2]}")
    inside = folder.removeprefix(_mount(machine, found.root))
    system = settings(machine.text("/etc/os-release").encode())
    lines = [f"title      {system.get('PRETTY_NAME', f'Linux {release}')}", f"version    {release}"]
    lines += [f"machine-id {found.machine_id}"] if found.token == found.machine_id else []
    key = system.get("IMAGE_ID") or system.get("ID")
    lines += [f"sort-key   {key}"] if key else []
    lines += [f"options    {_options(machine, found)}", f"linux      {inside}/linux"]
    lines += [f"initrd     {inside}/{initrd.rpartition('/')[2]}" for initrd in initrds]
    # In place, as the shell's `>` does it: cut short, an entry is left that starts nothing.
    machine.put(
        f"{found.root}/loader/entries/{found.token}-{release}{_tries(machine)}.conf",
        "".join(f"{line}\n" for line in lines),
    )


def _mount(machine: Machine, root: str) -> str:
    targets = {one.target for one in machine.description.mounts}
    return root if root in targets else ""


def _uki(machine: Machine, found: Layout, release: str, kernel: str, initrds: Sequence[str]) -> None:
    sections = {
        ".osrel": machine.path("/etc/os-release").read_bytes(),
        # ukify.py ends the text with a NUL; 60-ukify.install puts a space before it.
        ".cmdline": f" {_options(machine, found)}\0".encode(),
        ".uname": release.encode(),
        ".initrd": b"".join(machine.path(path).read_bytes() for path in initrds),
        ".linux": machine.path(kernel).read_bytes(),
    }
    place = machine.path(f"{found.root}/EFI/Linux/{found.token}-{release}{_tries(machine)}.efi")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    place.write_bytes(build(sections))
    place.chmod(0o644)


def _copy(machine: Machine, source: str, target: str) -> None:
    # As install(1): what was there is unlinked first.
    place = machine.path(target)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    place.write_bytes(machine.path(source).read_bytes())
    place.chmod(0o644)


def _remove(machine: Machine, argv: Sequence[str], found: Layout, release: str) -> Completed:
    for folder, suffix in (("loader/entries", ".conf"), ("EFI/Linux", ".efi")):
        for name in machine.names(f"{found.root}/{folder}"):
            stem = f"{found.token}-{release}"
            if name == stem + suffix or (name.startswith(f"{stem}+") and name.endswith(suffix)):
                machine.unlink(f"{found.root}/{folder}/{name}")
    machine.remove_tree(found.folder(release))
    return answer(argv)

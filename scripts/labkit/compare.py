"""Whether two manifests of the machine's files say the same; pure."""

from __future__ import annotations

from collections.abc import Mapping

Entry = Mapping[str, object]
Manifest = Mapping[str, Entry]

# Read and hashed: everything that vfiostate, a boot loader or an initramfs generator may write to, and more.
HASHED = (
    "/etc", "/boot", "/usr/local", "/root", "/home", "/srv", "/usr/lib/modprobe.d", "/usr/lib/modules-load.d",
    "/usr/lib/systemd", "/usr/lib/udev", "/usr/lib/sysusers.d", "/usr/lib/tmpfiles.d", "/usr/share/initramfs-tools",
    "/usr/share/grub", "/var/lib/dpkg", "/var/spool",
)  # fmt: skip
# Mode, owner, size and time of change; that is all of the rest.
LOOKED_AT = ("/usr", "/opt", "/var")

# Left out, each with its reason. Nothing else is.
LEFT_OUT = {
    "/var/lib/vfiostate": "the journal, which a rollback keeps",
    "/var/log": "the system's log goes on",
    "/var/tmp": "temporary files of others",
    "/var/cache": "caches of others",
    "/var/lib/systemd": "the system's random seed, clock and timers change with every boot",
}
BY_CONTENTS = {"/boot/initrd.img-": "rebuilt, and the generator writes the present time into it: compared by contents"}


def by_contents(path: str) -> bool:
    """Whether the file is one whose bytes differ with every build of the same contents."""
    return any(path.startswith(prefix) for prefix in BY_CONTENTS)


def differences(before: Manifest, after: Manifest) -> list[str]:
    """A line for each path that is not as it was, sorted by path."""
    found = []
    for path in sorted(before.keys() | after.keys()):
        if path not in after:
            found.append(f"{path}: is gone")
        elif path not in before:
            found.append(f"{path}: is new ({after[path].get('kind')})")
        elif changed := changed_fields(path, before[path], after[path]):
            found.append(f"{path}: {', '.join(changed)}")
    return found


def changed_fields(path: str, before: Entry, after: Entry) -> list[str]:
    """What of one path differs, as `mode 0o644 -> 0o600`."""
    passed_over = {"sha256", "size"} if by_contents(path) else set()
    names = sorted((before.keys() | after.keys()) - passed_over)
    return [
        f"{name} {short(before.get(name))} -> {short(after.get(name))}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def short(value: object) -> str:
    """A value in a few characters."""
    text = "absent" if value is None else str(value)
    return text if len(text) <= 20 else text[:12] + "…"


def contents(manifest: Manifest, top: str) -> dict[str, Entry]:
    """A manifest of an unpacked archive with the paths in the archive, and without times."""
    timeless = {
        path: {name: value for name, value in entry.items() if name not in ("mtime", "hardlinks")}
        for path, entry in manifest.items()
    }
    return {path.removeprefix(top) or "/": entry for path, entry in timeless.items()}

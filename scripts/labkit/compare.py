"""Whether two manifests of the machine's files say the same; pure."""

from __future__ import annotations

from collections.abc import Mapping

Entry = Mapping[str, object]
Manifest = Mapping[str, Entry]

# Read and hashed: everything that vfiostate, a boot loader or an initramfs generator may write to, and more. What is
# mounted has a name of its own here; kernel-install has depmod write its files anew, with the same content.
HASHED = (
    "/etc", "/boot", "/boot/efi", "/efi", "/usr/lib/modules/*/modules.*",
    "/usr/local", "/root", "/home", "/srv", "/usr/lib/modprobe.d", "/usr/lib/modules-load.d",
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
    "/boot/efi/loader/random-seed": "systemd-boot makes another with every boot",
    "/efi/loader/random-seed": "systemd-boot makes another with every boot",
}


def differences(before: Manifest, after: Manifest) -> list[str]:
    """A line for each path that is not as it was, sorted by path."""
    found = []
    for path in sorted(before.keys() | after.keys()):
        if path not in after:
            found.append(f"{path}: is gone")
        elif path not in before:
            found.append(f"{path}: is new ({after[path].get('kind')})")
        elif changed := changed_fields(before[path], after[path]):
            found.append(f"{path}: {', '.join(changed)}")
    return found


def changed_fields(before: Entry, after: Entry) -> list[str]:
    """What of one path differs, as `mode 0o644 -> 0o600`."""
    return [
        f"{name} {short(before.get(name))} -> {short(after.get(name))}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def short(value: object) -> str:
    """A value in a few characters."""
    text = "absent" if value is None else str(value)
    return text if len(text) <= 20 else text[:12] + "…"

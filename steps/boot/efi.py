"""The EFI variables of the Boot Loader Interface, as efivarfs shows them: four bytes of attributes, then UTF-16.

Sources: systemd.io/BOOT_LOADER_INTERFACE, Documentation/filesystems/efivarfs.rst.
"""

from __future__ import annotations

from steps.reading import Files

EFIVARS = "/sys/firmware/efi/efivars"
LOADER = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
SECURE_BOOT = f"{EFIVARS}/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
# What a loader can do: EFI_LOADER_FEATURE_ENTRY_ONESHOT.
ONESHOT = 1 << 3


def variable(host: Files, name: str) -> str:
    """The text of a variable of the boot loader; empty where it is not set."""
    return _value(host, name).decode("utf-16-le", "replace").partition("\0")[0]


def features(host: Files) -> int | None:
    """The bits of LoaderFeatures, None where the loader does not say."""
    value = _value(host, "LoaderFeatures")
    return int.from_bytes(value[:8], "little") if value else None


def secure_boot(host: Files) -> bool:
    """Whether the firmware says that Secure Boot is on."""
    return _read(host, SECURE_BOOT)[-1:] == b"\1"


def _value(host: Files, name: str) -> bytes:
    return _read(host, f"{EFIVARS}/{name}-{LOADER}")[4:]


def _read(host: Files, path: str) -> bytes:
    try:
        return host.read(path)
    except OSError:
        return b""

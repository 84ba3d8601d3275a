"""openSUSE with sdbootutil: systemd-boot, and GRUB that shows the same entries (grub2-bls)."""

from __future__ import annotations

from tests.field.support import Description
from tests.initramfs.system import COMMANDS as TOOLS
from tests.initramfs.system import HOOK
from tests.loaders.system import System
from tests.loaders.systems.systemd_boot import without_grub

ROOT = "UUID=00000000-0000-4000-8000-000000000001"
LINE = f"quiet root={ROOT} rootflags=subvol=@/.snapshots/1/snapshot systemd.machine_id="
RELEASE = (
    'NAME="openSUSE Tumbleweed"\nID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"\nVERSION_ID="20260101"\n'
    'PRETTY_NAME="openSUSE Tumbleweed"\n'
)
COMMANDS = ("/usr/bin/sdbootutil", "/usr/bin/bootctl", "/usr/sbin/btrfs", "/usr/bin/dracut", "/usr/bin/lsinitrd")


def systemd_boot(description: Description) -> None:
    """The lab's machine, with openSUSE Tumbleweed's boot set-up and dracut."""
    without_grub(description)
    description["boot_loader"] = description["initramfs"] = "sdbootutil"
    description["distribution"] = "openSUSE Tumbleweed"
    description["root"] = ROOT
    kept = [path for path in description["commands"] if path not in TOOLS and "kernel-install" not in path]
    description["commands"] = list(dict.fromkeys((*kept, *COMMANDS)))
    files = description["files"]
    files.pop(HOOK, None)
    files["/etc/os-release"] = {"text": RELEASE}
    files["/etc/kernel/entry-token"] = {"text": "opensuse-tumbleweed\n"}
    files["/etc/kernel/cmdline"] = {"text": f"{LINE}\n"}


def grub(description: Description) -> None:
    """The same with GRUB, which sdbootutil knows by its package's image."""
    systemd_boot(description)
    description["files"]["/usr/share/grub2/x86_64-efi/grubbls.efi"] = {"text": ""}


def _edit(content: bytes) -> bytes:
    return content.replace(b"quiet ", b"nosmt quiet ")


TIDY = ("bootctl", "cleanup")
SYSTEMS = tuple(
    System(name, change, "etc/kernel/cmdline", _edit, trial=False, tidy=TIDY)
    for name, change in (
        ("systemd-boot on openSUSE, by sdbootutil", systemd_boot),
        ("GRUB on openSUSE, by sdbootutil (grub2-bls)", grub),
    )
)

"""rEFInd in front of the boot loader that is driven: it may start the kernels itself, by a command line of its own.

Sources: rodsbooks.com/refind (refind_linux.conf; `write_systemd_vars`, by which it says its name); the UEFI
specification, 3.3 (BootCurrent, Boot####: two bytes, and a load option with the file's path).
"""

from __future__ import annotations

from steps.base import Finding, Host, Severity
from steps.boot.recognised import LOADER_INFO, Trace, utf16
from steps.reading import content_of

REFIND_SPOKE = Trace(LOADER_INFO, (utf16("rEFInd"),))
EFIVARS = "/sys/firmware/efi/efivars"
GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
LINUX_CONF = "/boot/refind_linux.conf"


def warning(host: Host, where: str) -> tuple[Finding, ...]:
    """What to heed where rEFInd was started at this boot, and the command line is edited in `where`."""
    # Who said its name last started the kernel: a GRUB that did was started by rEFInd.
    seen = REFIND_SPOKE.seen(host) if host.lstat(LOADER_INFO) is not None else _started(host)
    if seen is None:
        return ()
    return (
        Finding(
            "refind-in-front",
            Severity.WARNING,
            f"This host was started by rEFInd; where that starts the kernel itself, nothing of {where} counts.",
            (seen, *([f"{LINUX_CONF} is there"] if host.lstat(LINUX_CONF) is not None else ())),
            f"Choose the boot loader that reads {where} in rEFInd's menu (its `default_selection`), or put it in front"
            " by `efibootmgr -o`; a kernel that rEFInd starts itself has its command line in refind_linux.conf beside"
            " it, which vfiostate does not edit.",
        ),
    )


def _started(host: Host) -> str | None:
    """What the firmware started, where that is rEFInd. In efivarfs four bytes of attributes come first."""
    current = content_of(host, f"{EFIVARS}/BootCurrent-{GLOBAL}")[4:6]
    if len(current) < 2:
        return None
    name = f"Boot{int.from_bytes(current, 'little'):04X}"
    option = content_of(host, f"{EFIVARS}/{name}-{GLOBAL}")[4:].lower()
    return f"{name}, which the firmware started, is rEFInd" if utf16("refind") in option else None

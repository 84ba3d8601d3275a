"""A boot configuration on the root's XFS: GRUB does not replay its log, and the root is not frozen to empty it."""

from __future__ import annotations

from steps.base import Finding, Host, Severity
from steps.disks import mounts


def warning(host: Host, path: str) -> tuple[Finding, ...]:
    """What to heed after a change of `path`, the generated configuration, where it lies on such a root.

    A boot loader that reads none but the ESP's file system has it elsewhere. What an XFS logged is written in place
    within two rounds of its log worker, 30 s each (fs.xfs.xfssyncd_centisecs; Documentation/admin-guide/xfs.rst).
    """
    if not path.startswith("/boot/"):
        return ()
    real = f"{host.resolve(path)}/"
    # Of two mounts in one place the later one is seen.
    holds = [mount for mount in mounts(host) if real.startswith(f"{mount.target.rstrip('/')}/")]
    if not holds:
        return ()
    nearest = max(reversed(holds), key=lambda mount: len(mount.target))
    if (nearest.target, nearest.type) != ("/", "xfs"):
        return ()
    return (
        Finding(
            "boot-on-xfs-root",
            Severity.WARNING,
            f"{path} lies on the root's XFS, whose log GRUB does not replay: after a power cut in the minute after a "
            "change GRUB may not find it whole.",
            ("/ is an XFS, and /boot no file system of its own",),
            "End this host by `reboot` or `poweroff`, which write all of it in place; not by its switch.",
        ),
    )

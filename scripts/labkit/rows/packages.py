"""The package for Debian on both releases: installed, used the whole way, removed under an active setup, purged."""

from __future__ import annotations

from ..base import limit
from ..lab import Lab, Row
from ..recipe import BASE, LEFT_OUT, Recipe
from ..scenario import LEFT_BEHIND, told, way_there_and_back

RESTORE = "/var/lib/vfiostate/restore.sh"
LEFT_BY_PACKAGE = "ls -d /usr/lib/vfiostate /usr/bin/vfiostate /usr/share/man/man1/vfiostate* /etc/vfiostate.toml"


def packaged(lab: Lab) -> None:
    """There and back as from a wheel; then the package goes while a setup is active, and in the end for good."""
    with lab.report.phase("what dpkg has installed"):
        verified = lab.agent.run(["dpkg", "--verify", "vfiostate"])
        amiss = [line for line in verified.stdout.splitlines() if not line.split()[-1].startswith(LEFT_OUT)]
        lab.report.check("dpkg --verify finds nothing amiss", not amiss and not verified.stderr, told(verified))
        where = lab.agent.sh("readlink -f $(command -v vfiostate)").strip()
        lab.report.equal("vfiostate is the package's", where, "/usr/bin/vfiostate")
    way_there_and_back(lab)
    removed_while_active(lab)
    purged(lab)


def removed_while_active(lab: Lab) -> None:
    """The package warns and leaves the way back, and that works without it."""
    with lab.report.phase("removed while a setup is active"):
        before = lab.agent.read("/etc/modules")
        done = lab.vfiostate("advance", "--until", "modules_loaded")
        lab.report.check("modules_loaded is reached again", done.rc == 0, told(done))
        changed = lab.agent.read("/etc/modules")
        lab.report.check("/etc/modules is changed", changed != before, changed.decode(errors="replace"))
        removed = lab.agent.run(["dpkg", "-r", "vfiostate"], timeout=limit("install"))
        said = removed.stdout + removed.stderr
        lab.report.check("dpkg -r warns", removed.rc == 0 and "a setup is active" in said and RESTORE in said, said)
    with lab.report.phase("restore.sh, without vfiostate"):
        back = lab.agent.run(["sh", RESTORE], timeout=limit("initramfs"))
        lab.report.check("restore.sh goes back", back.rc == 0, told(back))
        lab.report.equal("/etc/modules is as before", lab.agent.read("/etc/modules"), before)


def purged(lab: Lab) -> None:
    """The journal tells a setup that restore.sh took back: the package, installed again, sees it, ends it, and goes."""
    with lab.report.phase("installed again, rolled back, purged"):
        lab.agent.run(["dpkg", "-i", "/root/vfiostate.deb"], timeout=limit("install")).check()
        done = lab.vfiostate("rollback")
        lab.report.check("rollback ends what restore.sh took back", done.rc == 0, told(done))
        purge = lab.agent.run(["dpkg", "-P", "vfiostate"], timeout=limit("install"))
        said = purge.stdout + purge.stderr
        lab.report.check("a purge keeps the journal, and says so", purge.rc == 0 and "journal is kept" in said, said)
        left = lab.agent.sh(f"{LEFT_BY_PACKAGE} 2>/dev/null; {LEFT_BEHIND}").split()
        lab.report.equal("nothing else is left", left, [])


ROWS = (
    Row("debian12-deb", "the package on Debian 12", packaged, BASE, installed_by="deb"),
    Row(
        "debian13-deb",
        "the package on Debian 13",
        packaged,
        Recipe("trixie", "grub-uefi", "initramfs-tools"),
        installed_by="deb",
    ),
)

"""What runs a line of ours at the end of a boot without systemd: /etc/rc.local, or OpenRC's service `local`.

Source: init.d/local.in of OpenRC, which runs the executable files /etc/local.d/*.start, and no rc.local.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from steps.base import Finding, Host, Severity
from steps.reading import matching, names_in

RC_LOCAL = "/etc/rc.local"
LOCAL_D = "/etc/local.d"
LOCAL_START = f"{LOCAL_D}/vfiostate.start"
OPENRC = ("/run/openrc", "/sbin/openrc-run")
IN_RUNLEVEL = "/etc/runlevels/*/local"


@dataclass(frozen=True, slots=True)
class StartScript:
    """The script: its path, links followed; whether it is executable, or will be; and whether what runs it is started
    (False: OpenRC's `local` is in no runlevel)."""

    path: str
    executable: bool
    started: bool


def look(host: Host) -> StartScript:
    """Which it is, on a host without systemd."""
    openrc = any(host.lstat(sign) is not None for sign in OPENRC)
    path = host.resolve(LOCAL_START if openrc else RC_LOCAL)
    stat = host.lstat(path)
    started = not openrc or bool(matching(host, IN_RUNLEVEL, names_in))
    return StartScript(path, stat is None or bool(stat.mode & 0o111), started)


def findings(script: StartScript) -> Iterator[Finding]:
    """Why nothing would run it."""
    if not script.executable:
        yield Finding(
            "rc-local-not-executable",
            Severity.REFUSAL,
            f"{script.path} is there and not executable, so it is not run at boot, and nothing would bind the devices.",
            (f"{script.path}: no execute permission",),
            f"Look at what is in it, then `chmod 755 {script.path}`.",
        )
    if not script.started:
        yield Finding(
            "openrc-local-off",
            Severity.REFUSAL,
            f"OpenRC's service `local`, which runs {script.path} at boot, is in no runlevel: nothing would bind the"
            " devices.",
            (f"{IN_RUNLEVEL}: none",),
            "Look at what else is in /etc/local.d, then `rc-update add local default`.",
        )

"""What goes on by itself after the boot, installed: the systemd unit that calls `vfiostate resume`.

How it stays out of the boot's way (systemd 252: systemd.service(5), systemd.target(5), systemd.unit(5)):

- `Type=exec`: the start job ends when the program was executed. A `oneshot` would keep the boot unfinished, and the
  getty, which is `Type=idle`, waiting, until all is done.
- `After=` the targets: it begins when the host is up. A target orders itself after what it wants, but not where that
  is ordered after the target (`unit_add_default_target_dependency` in systemd's unit.c), and nothing is ordered after
  this unit, so it is in no cycle. None of the targets is pulled in by it: a network that nobody waits for is not waited
  for.
- `RuntimeMaxSec=`, since `TimeoutStartSec=` ends with the execution. No `Restart=`.
- `KillMode=process`: the guest it starts lives on when it ends. For the same reason it is installed without a
  `daemon-reload` of its own: `systemctl enable` and `disable` do one, both while the file is there, and a reload
  without the file would give the unit that is at work the default mode, which is to kill the guest.
- No file system or system call sandbox: it runs what `advance` runs, mkinitramfs and the guest included, and the guest
  would inherit it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from steps.actions import Action, Inverse, RunCommand
from steps.base import Finding, Host, Severity
from steps.host_checks import has_systemd
from steps.insertion import new_file

UNIT_NAME = "vfiostate-resume.service"
UNIT = f"/etc/systemd/system/{UNIT_NAME}"
LINK = f"/etc/systemd/system/multi-user.target.wants/{UNIT_NAME}"
FOLDER = "/etc/systemd/system"
# The word on the kernel command line that keeps it from doing anything in that boot.
OFF = "vfiostate.resume=off"

# What needs no quoting in a unit: neither specifiers (%) nor variables ($), quotes, backslashes, spaces.
_PLAIN = re.compile(r"/[A-Za-z0-9_@:.,+/=~-]+")


@dataclass(frozen=True, slots=True)
class Order:
    """What the unit is made of: the setup, the program and the configuration by their true paths, and the path without
    which there is nothing to go on with."""

    setup: str
    program: str
    config: str
    journal: str


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """What is installed; `unit` is None where there is no such file. `folder` is whether systemd's directory is."""

    systemd: bool
    folder: bool
    unit: bytes | None
    enabled: bool


def read(host: Host) -> ServiceFacts:
    """Read what is installed."""
    try:
        unit: bytes | None = host.read(UNIT)
    except FileNotFoundError:
        unit = None
    return ServiceFacts(has_systemd(host), host.lstat(FOLDER) is not None, unit, host.lstat(LINK) is not None)


def text(order: Order) -> bytes:
    """The unit. Raises ValueError for a path that cannot stand in one as it is."""
    for path in (order.program, order.config, order.journal):
        if not _PLAIN.fullmatch(path):
            raise ValueError(path)
    return (
        _UNIT.replace("@SETUP@", order.setup)
        .replace("@PROGRAM@", order.program)
        .replace("@CONFIG@", order.config)
        .replace("@JOURNAL@", order.journal)
        .replace("@OFF@", OFF)
        .encode()
    )


def findings(order: Order, facts: ServiceFacts) -> tuple[Finding, ...]:
    """Why it cannot be installed; nothing where it can, or is."""
    if not facts.systemd:
        return (
            _refusal(
                "no-systemd",
                "`--resume` needs systemd, which starts what goes on after the boot, and this host has none.",
                ("/run/systemd/system: not there", "systemctl: not in the fixed PATH"),
                "Run `vfiostate advance`, and once more after the reboot.",
            ),
        )
    if not facts.folder:
        return (_refusal("folder-missing", f"{FOLDER} does not exist.", (), f"`mkdir -p {FOLDER}`, then try again."),)
    try:
        ours = text(order)
    except ValueError as error:
        return (
            _refusal(
                "path-not-plain",
                f"{error} cannot stand in a systemd unit as it is.",
                ("expected letters, digits and _@:.,+/=~-",),
                "Install vfiostate, and keep its configuration, under a plain path such as /opt/vfiostate.",
            ),
        )
    if facts.unit not in (None, ours):
        return (
            _refusal(
                "resume-file-in-the-way",
                f"{UNIT} is there and is not what vfiostate would write now.",
                tuple(facts.unit.decode("utf-8", "backslashreplace").splitlines()[:5]) if facts.unit else (),
                "It is another setup's or was edited: move it away, then run `vfiostate advance --resume` again.",
            ),
        )
    return ()


def plan(order: Order, facts: ServiceFacts) -> tuple[Action, ...]:
    """What installs it; nothing where all of it is there."""
    actions: list[Action] = []
    if facts.unit is None:
        actions.append(new_file(UNIT, text(order), "go on by itself after the boot"))
    if not facts.enabled:
        undo = Inverse(("systemctl", "disable", UNIT_NAME))
        enable = ("systemctl", "enable", UNIT_NAME)
        actions.append(RunCommand(enable, "start the unit at every boot", undo, produces=(LINK,), timeout=120.0))
    return tuple(actions)


def _refusal(code: str, message: str, evidence: tuple[str, ...], hint: str) -> Finding:
    return Finding(code, Severity.REFUSAL, message, evidence, hint)


_UNIT = """\
# Made by vfiostate, setup @SETUP@. It removes itself when it has come as far as it was asked to; `vfiostate rollback`
# and `vfiostate resume --off` remove it too. The word @OFF@ on the kernel command line keeps it off for one boot.
[Unit]
Description=Go on with the PCI passthrough set-up after the boot (vfiostate)
ConditionKernelCommandLine=!@OFF@
ConditionPathExists=@JOURNAL@
ConditionFileIsExecutable=@PROGRAM@
After=multi-user.target graphical.target network-online.target vfiostate-bind.service

[Service]
Type=exec
ExecStart=@PROGRAM@ --config @CONFIG@ resume
# 3: it has to wait for another boot. 75: somebody is at work with vfiostate.
SuccessExitStatus=3 75
RuntimeMaxSec=1h
KillMode=process
StandardOutput=journal
StandardError=journal
SyslogIdentifier=vfiostate
# Neither it nor the guest that it may start has any use for these.
CapabilityBoundingSet=~CAP_SYS_BOOT CAP_SYS_TIME CAP_WAKE_ALARM CAP_BLOCK_SUSPEND
KeyringMode=private
LockPersonality=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
"""

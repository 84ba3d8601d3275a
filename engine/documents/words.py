"""What the documents say beside the program's own words: states, exit codes, files, environment."""

from __future__ import annotations

from collections.abc import Mapping

from journal.errors import Exit
from steps.base import State

STATES: Mapping[State, str] = {
    State.NEW: "nothing was done",
    State.CHECKED: "the IOMMU is on, the devices are there with the ids you expect, their whole IOMMU groups can go, "
    "nothing the host needs hangs on them; nothing was changed for it",
    State.MODULES_LOADED: "the VFIO modules are loaded, or built in, and written down for the next boot",
    State.STUBBED: "the next boot, and only that one, will give the devices to the stub driver, by its command line "
    "and, where it is needed, the initramfs; what was generated was looked into",
    State.REBOOTED: "another boot id, our token on `/proc/cmdline`, every device under the stub driver, the host's own "
    "network and graphics cards under theirs; then the command line became the default",
    State.BOUND: "every device of the groups is under vfio-pci and `/dev/vfio/N` is there; again at every boot",
    State.RUNNING: "QEMU says over QMP that the guest runs and has the devices",
}

EXITS: Mapping[Exit, str] = {
    Exit.DONE: "done",
    Exit.FAILED: "failed",
    Exit.PENDING: "`plan --detailed-exitcode`: a step is left to take",
    Exit.REBOOT: "reboot first",
    Exit.DRIFT: "drift: the host is not as the journal says, and it was not us",
    Exit.REFUSED: "refused: the host cannot or must not be set up so; nothing was changed",
    Exit.DAMAGED: "the journal is damaged or cannot be used; nothing was written to it",
    Exit.USAGE: "wrong usage, or a mistake in the configuration",
    Exit.LOCKED: "another vfiostate, or a package manager, is at work on this host",
    Exit.NOT_ROOT: "needs root",
}
# 128 and the signal's number, as a shell tells it.
ENDED = ("130, 143, 129", "ended by Ctrl-C, SIGTERM, SIGHUP: between two actions, never within one")

FILES: Mapping[str, str] = {
    "/etc/vfiostate.toml": "The configuration; see vfiostate.toml(5).",
    "/var/lib/vfiostate/journal.db": "The journal: what was done, and what it takes to undo it.",
    "/var/lib/vfiostate/restore.sh": "The way back in a rescue system without Python: a POSIX shell script with the "
    "files as they were. There from the first change on.",
    "/run/lock/vfiostate.lock": "Held by a run that changes something.",
    "/run/vfiostate/": "The monitor and the output of a guest that is run by QEMU itself.",
    "/etc/systemd/system/vfiostate-bind.service": "Made in `bound`: gives the devices to vfio-pci at every boot.",
    "/etc/systemd/system/vfiostate-resume.service": "Made by `advance --resume`: goes on after the next boot.",
}

ENVIRONMENT: Mapping[str, str] = {
    "NO_COLOR": "Set to anything: no colour.",
    "COLUMNS": "How wide the help is.",
    "SUDO_UID": "Recorded in the journal, beside the user id, as who asked.",
}

"""uname, dmesg, systemctl, reboot and the few others that ask or tell the system something."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from engine.hosts.simulated import boot, hugepages, services
from engine.hosts.simulated.doubles.base import Double, answer, silent
from engine.hosts.simulated.machine import Machine
from steps.base import Completed

SYSTEM = "/etc/systemd/system"
MOUNTS = "/proc/self/mounts"


def uname(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """-r, -s, -m, -n, -a."""
    values = {"s": "Linux", "n": "simulated", "r": machine.release, "v": "#1 SMP", "m": "x86_64"}
    letters = "".join(word[1:] for word in argv[1:] if re.fullmatch(r"-[a-z]+", word)) or "s"
    chosen = values if "a" in letters else {key: value for key, value in values.items() if key in letters}
    return answer(argv, " ".join(chosen.values()) + "\n")


def dmesg(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """The kernel's log of this boot."""
    text = machine.text("/var/log/kern.log")
    if any(word in ("-t", "--notime") for word in argv[1:]):
        text = re.sub(r"^\[ *\d+\.\d+\] ", "", text, flags=re.MULTILINE)
    return answer(argv, text)


def journalctl(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """-k: the kernel's log; the model has no other."""
    kernel = any(word in ("-k", "--dmesg") for word in argv[1:])
    return dmesg(machine, [argv[0], "-t"], stdin) if kernel else answer(argv, "-- No entries --\n")


def systemctl(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """enable, disable, start, stop, daemon-reload, is-enabled, is-active, is-system-running, cat, reboot."""
    words = [word for word in argv[1:] if not word.startswith("-")]
    verb, units = (words[0], [_unit(one) for one in words[1:]]) if words else ("", [])
    if "--version" in argv:
        return answer(argv, "systemd 252 (252.22-1~deb12u1)\n")
    if verb == "reboot":
        boot.reboot(machine)
        return answer(argv)
    if verb in ("is-system-running", "daemon-reload"):
        return answer(argv, "running\n" if verb == "is-system-running" else "")
    missing = [one for one in units if services.unit_text(machine, one) is None]
    if missing and verb not in ("is-active", "disable"):
        text = f"Failed to {verb} unit: Unit file {missing[0]} does not exist.\n"
        return answer(argv, stderr=text, status=1 if verb in ("enable", "is-enabled", "cat") else 5)
    said, status = "", 0
    for unit in units:
        one, code = _verb(machine, verb, unit)
        said, status = said + one, status or code
    if "--now" in argv and verb == "enable":
        for unit in units:
            services.start(machine, unit)
    output = verb in ("is-enabled", "is-active", "cat")
    return answer(argv, said if output else "", stderr="" if output else said, status=status)


def _unit(name: str) -> str:
    return name if "." in name else f"{name}.service"


def _verb(machine: Machine, verb: str, unit: str) -> tuple[str, int]:
    if verb == "enable":
        return _enable(machine, unit), 0
    if verb == "disable":
        return _disable(machine, unit), 0
    if verb == "is-enabled":
        links = _links(machine, unit)
        return ("enabled\n", 0) if links else ("disabled\n", 1)
    if verb == "is-active":
        active = machine.exists(f"/run/systemd/active/{unit}")
        return ("active\n", 0) if active else ("inactive\n", 3)
    if verb in ("start", "restart"):
        services.start(machine, unit)
        return "", 0
    if verb == "stop":
        machine.unlink(f"/run/systemd/active/{unit}")
        return "", 0
    if verb == "cat":
        return services.unit_text(machine, unit) or "", 0
    return f"Unknown command verb {verb}.\n", 1


def _wanted(machine: Machine, unit: str) -> list[str]:
    found = []
    for line in (services.unit_text(machine, unit) or "").splitlines():
        key, _, value = line.partition("=")
        kind = {"WantedBy": "wants", "RequiredBy": "requires"}.get(key.strip())
        found += [f"{SYSTEM}/{target}.{kind}/{unit}" for target in value.split()] if kind else []
    return found


def _links(machine: Machine, unit: str) -> list[str]:
    found = []
    for name in machine.names(SYSTEM):
        if name.endswith((".wants", ".requires")) and unit in machine.names(f"{SYSTEM}/{name}"):
            found.append(f"{SYSTEM}/{name}/{unit}")
    return found


def _enable(machine: Machine, unit: str) -> str:
    said = ""
    source = next(f"{one}/{unit}" for one in services.UNITS if machine.path(f"{one}/{unit}").is_file())
    for link in _wanted(machine, unit):
        if link not in _links(machine, unit):
            machine.link(link, source)
            said += f"Created symlink {link} -> {source}.\n"  # as in the locale C
    return said


def _disable(machine: Machine, unit: str) -> str:
    said = ""
    for link in _links(machine, unit):
        machine.unlink(link)
        said += f'Removed "{link}".\n'
        # systemctl removes a .wants directory that it leaves empty.
        directory = machine.tree.local(link).parent
        if not any(directory.iterdir()):
            directory.rmdir()
    return said


def reboot(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """Reboot at once, by the default entry."""
    boot.reboot(machine)
    return answer(argv)


def mkdir(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """-p DIRECTORY."""
    machine.path(argv[-1]).mkdir(0o755, parents=True, exist_ok=True)
    return answer(argv)


def rm(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """-df DIRECTORY: one that is empty, or not there."""
    place = machine.path(argv[-1])
    if place.is_dir() and any(place.iterdir()):
        return answer(argv, stderr=f"rm: cannot remove '{argv[-1]}': Directory not empty\n", status=1)
    if place.is_dir():
        place.rmdir()
    return answer(argv)


def touch(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """-c FILE."""
    if machine.exists(argv[-1]):
        os.utime(machine.path(argv[-1]))
    return answer(argv)


def mount(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """-t hugetlbfs -o OPTIONS SOURCE DIRECTORY; the kernel shows the options it was given, but for the defaults."""
    if len(argv) != 7 or tuple(argv[1:3]) != ("-t", "hugetlbfs"):
        return answer(argv, stderr="mount: the simulated machine mounts hugetlbfs only\n", status=32)
    *_, options, source, place = argv
    given = dict(one.split("=", 1) for one in options.split(","))
    if not machine.path(place).is_dir():
        return answer(argv, stderr=f"mount: {place}: mount point does not exist.\n", status=32)
    if not machine.exists(f"{hugepages.POOLS}/hugepages-{hugepages.SIZES[given['pagesize']]}kB"):
        return answer(argv, stderr=f"mount: {place}: wrong fs type, bad option, bad superblock on none.\n", status=32)
    shown = {"pagesize": "1024M"} if given["pagesize"] == "1G" else {}
    text = ",".join(f"{key}={value}" for key, value in (given | shown).items() if (key, value) != ("gid", "0"))
    machine.put(MOUNTS, f"{machine.text(MOUNTS)}{source} {place} hugetlbfs rw,relatime,{text} 0 0\n")
    return answer(argv)


def umount(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """DIRECTORY."""
    lines = machine.text(MOUNTS).splitlines()
    kept = [line for line in lines if line.split()[1] != argv[-1]]
    if kept == lines:
        return answer(argv, stderr=f"umount: {argv[-1]}: not mounted.\n", status=32)
    machine.put(MOUNTS, "".join(f"{line}\n" for line in kept))
    return answer(argv)


def getent(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """passwd and group, from the machine's own files."""
    if len(argv) < 2 or argv[1] not in ("passwd", "group"):
        return answer(argv, status=1)
    lines = machine.text(f"/etc/{argv[1]}").splitlines()
    chosen = [line for line in lines if len(argv) < 3 or argv[2] in (line.split(":")[0], line.split(":")[2])]
    return answer(argv, "".join(line + "\n" for line in chosen), status=0 if chosen else 2)


def mokutil(machine: Machine, argv: Sequence[str], stdin: bytes) -> Completed:
    """--sb-state."""
    if not machine.description.uefi:
        return answer(argv, stderr="EFI variables are not supported on this system\n", status=255)
    return answer(argv, f"SecureBoot {'enabled' if machine.description.secure_boot else 'disabled'}\n")


DOUBLES: dict[str, Double] = {
    "uname": uname,
    "dmesg": dmesg,
    "journalctl": journalctl,
    "systemctl": systemctl,
    "reboot": reboot,
    "getent": getent,
    "mkdir": mkdir,
    "mount": mount,
    "umount": umount,
    "rm": rm,
    "touch": touch,
    "mokutil": mokutil,
    "udevadm": silent,
    "logger": silent,
    "sync": silent,
    "true": silent,
}

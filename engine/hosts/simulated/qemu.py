"""QEMU on the simulated machine: a real process that checks its command line as QEMU does and speaks QMP.

`python -m engine.hosts.simulated.qemu --machine DIR CPUS QEMU ARGUMENT…`; CPUS is what it begins on (empty: the usual).
Its version is that of machine.json. It ends when the machine under it reboots or its directory goes. `faults` in
machine.json may hold `qemu`: `{"dies": TEXT}` (it prints the text and ends at once), `{"ignores_powerdown": true}`,
`{"status": "paused"}`, `{"mute": true}` (it listens and never speaks).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from engine.hosts.simulated import threads
from engine.hosts.simulated.machine import Machine
from engine.hosts.simulated.qemu_guest import Guest, QemuError, build, early
from engine.hosts.simulated.qemu_help import Said, Version, parse_version
from engine.hosts.simulated.qemu_monitor import TICK, Monitor
from journal.events import Json

BOOT_ID = "proc/sys/kernel/random/boot_id"


def answer(argv: Sequence[str], version: Version) -> Said | None:
    """What it prints where it is only asked (`-version`, `-device help`, …), None where it is to run a guest."""
    try:
        return early(argv[1:], version)
    except QemuError as error:
        return _last_words(argv[0], error)


def _last_words(program: str, error: QemuError) -> Said:
    return Said(1, "", f"{program.rpartition('/')[2]}: {error}\n")


def main(arguments: Sequence[str]) -> int:
    """Answer, or run the guest until it ends; the exit status. Raises SystemExit on SIGTERM, as QEMU ends on it."""
    flag, directory, cpus, *argv = arguments
    if flag != "--machine" or not argv:
        raise SystemExit("usage: --machine DIR CPUS QEMU [ARGUMENT...]")
    root = Path(directory)
    found = _described(root)
    version = parse_version(str(found.get("qemu") or ""))
    said = answer(argv, version)
    if said is None:
        try:
            _run(root, build(root, argv[1:], version), version, _faults(found), cpus)
            return 0
        except QemuError as error:
            said = _last_words(argv[0], error)
    sys.stdout.write(said.stdout)
    sys.stderr.write(said.stderr)
    return said.status


def _described(root: Path) -> Mapping[str, Json]:
    found = json.loads((root / "machine.json").read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}


def _faults(found: Mapping[str, Json]) -> Mapping[str, Json]:
    faults = found.get("faults")
    wanted = faults.get("qemu") if isinstance(faults, dict) else None
    return wanted if isinstance(wanted, dict) else {}


def _run(root: Path, guest: Guest, version: Version, faults: Mapping[str, Json], cpus: str) -> None:
    if "dies" in faults:
        raise QemuError(str(faults["dies"]))
    signal.signal(signal.SIGTERM, _end)
    gone = _watch(root)
    with threads.shown(Machine(root), guest, cpus), _listener(root, guest) as listener:
        if faults.get("mute"):
            while not gone():
                time.sleep(TICK)
            return
        Monitor(listener, guest, version, faults).serve(gone)


def _listener(root: Path, guest: Guest) -> socket.socket:
    """The socket it inherited as its standard input, or one it makes at the path it was given."""
    if guest.socket is None:
        return socket.socket(fileno=os.dup(0))
    place = root / guest.socket.lstrip("/")
    directory = os.open(place.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.bind(f"/proc/self/fd/{directory}/{place.name}")
        made.listen(1)
        return made
    except OSError as error:
        raise QemuError(f"-chardev socket: Failed to bind socket to {guest.socket}: {error.strerror}") from None
    finally:
        os.close(directory)


def _watch(root: Path) -> Callable[[], bool]:
    def boot() -> bytes | None:
        try:
            return (root / BOOT_ID).read_bytes()
        except OSError:
            return None

    begun = boot()
    return lambda: boot() != begun or not root.exists()


def _end(number: int, frame: object) -> None:
    sys.stderr.write(f"qemu-system-x86_64: terminating on signal {number}\n")
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

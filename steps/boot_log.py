"""What boots in between left in the system's log, for a boot that nobody saw."""

from __future__ import annotations

import re

from steps.base import Host
from steps.reading import names_in

LINES = 12
_BOOT = re.compile(r"\s*-?\d+\s+([0-9a-f]{32})\s")
# Where a panic's last lines survive a reset, if the firmware keeps them (Documentation/ABI/testing/pstore).
PSTORE = ("/sys/fs/pstore", "/var/lib/systemd/pstore")


def left_since(host: Host, boot: str) -> tuple[str, ...]:
    """The last lines of every boot that was begun after `boot` and is not the present one, as evidence."""
    found: list[str] = []
    for each in _boots_between(host, boot):
        asked = ("journalctl", "--quiet", "--no-pager", "-o", "short-monotonic", "-b", each, "-n", str(LINES))
        said = host.query(asked)
        lines = [line for line in said.text.splitlines() if line.strip()] if said.ok else []
        found += [f"the last lines of boot {each[:8]} in the system's log:", *(f"  {line}" for line in lines)]
    for folder in PSTORE:
        found += [f"{folder}/{name} was kept by the firmware" for name in names_in(host, folder)]
    return tuple(found) or ("the boot left nothing in the system's log (`journalctl --list-boots`, /sys/fs/pstore)",)


def _boots_between(host: Host, boot: str) -> list[str]:
    """The boots that the system's log knows of after one, the present one excepted. A log that lasts only until the
    reboot knows of none."""
    listed = host.query(("journalctl", "--list-boots", "--quiet", "--no-pager"))
    ids = [match.group(1) for line in listed.text.splitlines() if (match := _BOOT.match(line))] if listed.ok else []
    first, last = boot.replace("-", ""), host.boot_id.replace("-", "")
    after = ids[ids.index(first) + 1 :] if first in ids else []
    return [each for each in after if each != last]

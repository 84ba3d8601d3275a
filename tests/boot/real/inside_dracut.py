"""The initramfs part of `stubbed` on a Debian root with dracut: there by the real tools and back; told as JSON.

Runs in a mount namespace of its own: `unshare -m python -m tests.boot.real.inside_dracut ROOT`. See inside.py.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from steps.actions import EditFile, RunCommand
from steps.base import Host
from steps.config import Device, Stub
from steps.early_script import script
from steps.initramfs.base import InitramfsFacts
from steps.initramfs.dracut import FOLDERS, MODULE, Dracut
from steps.insertion import new_file
from steps.softdeps import CONF
from tests.boot.real.inside import ADDRESS, SETUP, Layered, apply, mounted, undo

WAYS = {"generic": "no", "host-only": "yes"}
"""dracut copies /etc/modprobe.d by itself in host-only mode alone. This root's `dracutmodules` names a few modules."""


def there_and_back(root: Path, hostonly: str) -> dict[str, object]:
    """What the real dracut makes of the edits, and what is left of them when they were taken back."""
    host = Layered(root, next(path.name for path in sorted((root / "lib/modules").iterdir())))
    host.local(f"{FOLDERS[0]}/20-mode.conf").write_text(f'hostonly="{hostonly}"\n')
    generator = Dracut()
    apply(host, generator.commit(generator.read(host, host.release, look=False))[0])
    before = generator.read(host, host.release, look=True)
    early = script(SETUP, Stub.VFIO_PCI, [Device(ADDRESS, "1234:1111")])
    conf = new_file(CONF, b"softdep bochs pre: vfio_pci\n", "load the stub first")
    edits = (conf, *generator.edits(before, ("vfio_pci",), SETUP, early))
    commit = generator.commit(before)
    for action in (*edits, *commit):
        apply(host, action)
    facts = generator.read(host, host.release, look=True)
    seen = {
        "trouble": [before.trouble, facts.trouble],
        "image": facts.image,
        "commands": [" ".join(action.argv) for action in commit if isinstance(action, RunCommand)],
        "module": [before.has_module("vfio_pci"), facts.has_module("vfio_pci")],
        "softdeps": [before.has_file(CONF), facts.has_file(CONF)],
        "script": [before.has_early(), facts.has_early()],
        "forced": _content(host, facts, "20-force_drivers.conf").split(),
        "hook": _content(host, facts, facts.early).count(SETUP),
        "again": len(generator.edits(facts, ("vfio_pci",), SETUP, early)),
    }
    undo(host, [edit for edit in edits if isinstance(edit, EditFile)])
    host.local(MODULE).rmdir()
    undo(host, commit)
    after = generator.read(host, host.release, look=True)
    return {**seen, "differs": sorted((before.names or frozenset()) ^ (after.names or frozenset()))}


def _content(host: Host, facts: InitramfsFacts, end: str) -> str:
    """The file in the image whose name ends so."""
    (name,) = (name for name in facts.names or () if name.endswith(end))
    return host.query(("lsinitrd", facts.image, "-f", name)).text


def main(root: Path) -> None:
    """Both modes of dracut."""
    mounted(root)
    print(json.dumps({way: there_and_back(root, value) for way, value in WAYS.items()}))  # noqa: T201 - the parent reads it


if __name__ == "__main__":
    os.umask(0o022)
    main(Path(sys.argv[1]).resolve())

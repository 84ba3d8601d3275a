"""booster as Arch has it: its configuration empty, and with modules that the user forces."""

from __future__ import annotations

from tests.field.support import KERNEL
from tests.initramfs.system import System, more

COMMANDS = ("/usr/bin/booster",)
PACKAGE = {f"/usr/lib/modules/{KERNEL}/pkgbase": f"{KERNEL}\n"}
THEIRS = "universal: false\nmodules_force_load: tun # the user's\n"
SHAPES = {"booster": PACKAGE, "booster that forces modules": {**PACKAGE, "/etc/booster.yaml": THEIRS}}
SYSTEMS = tuple(
    System(
        name,
        "booster",
        COMMANDS,
        "etc/booster.yaml",
        more,
        "boot/booster-{}.img",
        "regenerate_images",
        spoilt=b"modules_force_load: [tun]\n",
        files=files,
        conf=False,
    )
    for name, files in SHAPES.items()
)

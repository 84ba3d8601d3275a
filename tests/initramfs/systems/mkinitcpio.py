"""mkinitcpio as Arch has it: with drop-ins; with presets that name their configuration; without modconf."""

from __future__ import annotations

from engine.hosts.simulated.generators.mkinitcpio import DEFAULT, preset
from tests.field.support import KERNEL
from tests.initramfs.system import System, more

COMMANDS = ("/usr/bin/mkinitcpio", "/usr/bin/lsinitcpio")
PRESET = f"/etc/mkinitcpio.d/{KERNEL}.preset"
DROP_IN = "etc/mkinitcpio.conf.d/zz-vfiostate.conf"
NAMED = preset(KERNEL).replace("ALL_kver", 'ALL_config="/etc/mkinitcpio.conf"\nALL_kver')
THEIRS = "/etc/mkinitcpio.conf.d/mine.conf"
SHAPES = {
    "mkinitcpio with drop-ins": (DROP_IN, {PRESET: preset(KERNEL), THEIRS: "MODULES+=(tun)\n"}),
    "mkinitcpio with a named configuration": ("etc/mkinitcpio.conf", {PRESET: NAMED}),
    "mkinitcpio without modconf": (
        "etc/mkinitcpio.conf",
        {PRESET: preset(KERNEL), "/etc/mkinitcpio.conf": DEFAULT.replace("modconf ", "")},
    ),
}
SYSTEMS = tuple(
    System(name, "mkinitcpio", COMMANDS, where, more, "boot/initramfs-{}.img", "mkinitcpio", files=files)
    for name, (where, files) in SHAPES.items()
)

"""dracut as Fedora has it, in host-only mode, and as Debian has it, with images for every host."""

from __future__ import annotations

from tests.initramfs.system import System, more

COMMANDS = ("/usr/bin/dracut", "/usr/bin/lsinitrd")
DROP_IN = "etc/dracut.conf.d/zz-vfiostate.conf"
SYSTEMS = (
    System("dracut on Fedora", "dracut", COMMANDS, DROP_IN, more, "boot/initramfs-{}.img", "dracut"),
    System("dracut on Debian", "dracut-debian", COMMANDS, DROP_IN, more, "boot/initrd.img-{}", "dracut"),
)

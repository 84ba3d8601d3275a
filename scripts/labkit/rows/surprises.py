"""What happens between `stubbed` and the reboot, or wins a race at boot: each is noticed and named."""

from __future__ import annotations

from ..base import LabError, limit
from ..lab import Lab, Row
from ..scenario import advance_to_running, as_before, configure, roll_back, told

REBOOT_FIRST = 3
KERNEL = "/boot/vmlinuz-*"
# A second kernel as its package leaves it: image, configuration, modules, initramfs, the boot loader's entries.
UPGRADE = """
old=$(uname -r); new=6.1.999-lab-amd64
for name in vmlinuz config System.map; do cp -a /boot/$name-$old /boot/$name-$new; done
cp -a /lib/modules/$old /lib/modules/$new
depmod $new
update-initramfs -c -k $new
run-parts --arg=$new --arg=/boot/vmlinuz-$new /etc/kernel/postinst.d
"""
DOWNGRADE = """
new=6.1.999-lab-amd64
rm -rf /lib/modules/$new /boot/*-$new /var/lib/initramfs-tools/$new
run-parts --arg=$new --arg=/boot/vmlinuz-$new /etc/kernel/postrm.d
"""


def to_stubbed(lab: Lab) -> None:
    """`advance` up to the state before the reboot."""
    with lab.report.phase("advance to stubbed"):
        done = lab.vfiostate("advance", "--until", "stubbed")
        lab.report.check("stubbed is reached", done.rc == 0 and "state: stubbed" in done.stdout, told(done))


def upgraded(lab: Lab) -> None:
    """A kernel is installed between `stubbed` and the reboot."""
    before = configure(lab)
    to_stubbed(lab)
    with lab.report.phase("a kernel is installed"):
        lab.agent.sh(UPGRADE, timeout=2 * limit("initramfs"))
        noticed(lab, "6.1.999-lab-amd64")
    with lab.report.phase("advance goes on, with what the answer says"):
        if not advance_to_running(lab):
            raise LabError(f"advance did not come to running: state {lab.state()}")
    roll_back(lab)
    with lab.report.phase("the kernel is removed again"):
        lab.agent.sh(DOWNGRADE, timeout=limit("initramfs"))
    as_before(lab, before)


def noticed(lab: Lab, *words: str) -> None:
    """`status` names it."""
    ran = lab.vfiostate("status")
    said = ran.stdout + ran.stderr
    for word in words:
        lab.report.check(f"status names {word}", word in said, said)


def native_wins(lab: Lab) -> None:
    """What keeps the native drivers off is gone from the initramfs: they win there, and `advance` says so."""
    before = configure(lab)
    to_stubbed(lab)
    with lab.report.phase("the softdeps and early files are taken out by hand, the initramfs is rebuilt"):
        lab.agent.sh(
            "mkdir /root/away && mv /etc/modprobe.d/*vfio* /root/away/"
            " && sed -i.user '/vfio/d' /etc/initramfs-tools/modules && update-initramfs -u",
            timeout=limit("initramfs"),
        )
        ran = lab.vfiostate("status")
        lab.report.check("status names what is gone", "/etc/modprobe.d" in ran.stdout, ran.stdout)
    with lab.report.phase("the reboot, nevertheless"):
        lab.reboot()
        found = lab.drivers()
        lab.report.check("a native driver has won", found["0000:01:00.0"] == "bochs-drm", found)
        ran = lab.vfiostate("advance")
        said = ran.stdout + ran.stderr
        lab.report.check("advance does not go on", ran.rc != 0, said)
        for word in ("bochs-drm", "0000:01:00.0"):
            lab.report.check(f"the answer names {word}", word in said, said)
    with lab.report.phase("put back by hand"):
        lab.agent.sh(
            "mv /root/away/* /etc/modprobe.d/ && rmdir /root/away && mv /etc/initramfs-tools/modules.user "
            "/etc/initramfs-tools/modules"
        )
    roll_back(lab)
    image = f"/boot/initrd.img-{lab.agent.sh('uname -r').strip()}"
    with lab.report.phase("the initramfs that was rebuilt by hand"):
        ran = lab.vfiostate("journal", "explain")
        lab.report.check("it is named as made anew", image in ran.stdout, told(ran))
        held = lab.agent.sh(f"lsinitramfs {image}", timeout=limit("initramfs")).splitlines()
        ours = [name for name in held if "vfio" in name]
        lab.report.check(f"nothing of ours is in it, of {len(held)} files", len(held) > 100 and not ours, ours)
    as_before(lab, before, anew=(image,))


ROWS = (
    Row("kernel-upgraded", "a kernel installed between `stubbed` and the reboot", upgraded),
    Row("native-driver-wins", "the native drivers win in an initramfs rebuilt without us", native_wins),
)

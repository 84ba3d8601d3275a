"""What happens between `stubbed` and the reboot, or wins a race at boot: each is noticed and named."""

from __future__ import annotations

from ..base import LabError, limit
from ..lab import Lab, Row
from ..recipe import LATER, Recipe
from ..scenario import advance_to_running, as_before, configure, roll_back, running, told

REBOOT_FIRST = 3
# Debian's own kernel of another flavour: it has every driver, and sorts after the one that runs.
OTHER = "linux-image-rt-amd64"
UPGRADE = f"dpkg -i {LATER}/*.deb && ls /boot/vmlinuz-*-rt-amd64"
# It runs, and its package asks before it goes from under itself.
DOWNGRADE = """
echo linux-base linux-base/removing-running-kernel boolean false | debconf-set-selections
DEBIAN_FRONTEND=noninteractive dpkg -P $(dpkg-query -W -f '${Package}\\n' 'linux-image*-rt-amd64')
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
        installed = lab.agent.run(["sh", "-ec", UPGRADE], timeout=4 * limit("initramfs")).check()
        release = installed.stdout.split()[-1].rpartition("vmlinuz-")[2]
        lab.told.append(("machine", "install-kernel", release))
        noticed(lab, f"a new kernel was installed: {release} boots next")
    with lab.report.phase("advance goes on, with what the answer says"):
        if not advance_to_running(lab):
            raise LabError(f"advance did not come to running: state {lab.state()}")
        lab.report.check("the trial was made with the kernel that was there", *runs(lab, release, wanted=False))
    with lab.report.phase("the next boot takes the new kernel"):
        lab.reboot()
        lab.report.check("the new kernel runs", *runs(lab, release))
        lab.report.equal("every device is under the stub from boot on", lab.drivers(), lab.all_under(lab.row.stub))
        lab.host_keeps()
    if advance_to_running(lab, "with the new kernel, advance"):
        running(lab)
    roll_back(lab)
    with lab.report.phase("after the rollback"):
        lab.report.check("the new kernel runs", *runs(lab, release))
        lab.report.equal("native drivers hold the devices", lab.drivers(), lab.native)
        held = lab.agent.sh(f"lsinitramfs /boot/initrd.img-{release} | grep vfio; true", timeout=limit("initramfs"))
        lab.report.equal("nothing of ours is in the new kernel's initramfs", held.split(), [])
    with lab.report.phase("the kernel is removed again"):
        lab.agent.sh(DOWNGRADE, timeout=2 * limit("initramfs"))
        lab.reboot()
    as_before(lab, before, anew=("/var/lib/dpkg/status-old",))


def runs(lab: Lab, release: str, *, wanted: bool = True) -> tuple[bool, str]:
    """Whether this kernel runs, as it is wanted; and which does."""
    found = lab.agent.sh("uname -r").strip()
    return (found == release) is wanted, found


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
    Row("kernel-upgraded", "a kernel installed between `stubbed` and the reboot", upgraded, Recipe(later=(OTHER,))),
    Row("native-driver-wins", "the native drivers win in an initramfs rebuilt without us", native_wins),
)

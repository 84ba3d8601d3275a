"""Whether KVM works here. That /dev/kvm exists proves nothing: it may not run a stock kernel. So one is booted."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from .base import cache_directory, say

SECONDS = 20


def usable() -> bool:
    """True if a stock Debian kernel was seen to start under KVM on this boot of this machine; probed once."""
    choice = os.environ.get("VFIOSTATE_LAB_ACCEL")
    if choice in ("kvm", "tcg"):
        return choice == "kvm"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    answer = cache_directory() / f"kvm-{boot_id()}"
    if answer.exists():
        return answer.read_text() == "yes\n"
    kernel = probe_kernel()
    if kernel is None:
        return False
    works = boots_under_kvm(kernel)
    answer.write_text("yes\n" if works else "no\n")
    say("KVM works here" if works else "/dev/kvm is there, but does not run a kernel: software emulation it is")
    return works


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def probe_kernel() -> Path | None:
    """A stock kernel to try: the lab's own from the cache, or this machine's."""
    for path in [*sorted(cache_directory().glob("vmlinuz-*")), Path(f"/boot/vmlinuz-{platform.release()}")]:
        if path.exists():
            return path
    return None


def boots_under_kvm(kernel: Path) -> bool:
    """Starts the kernel with no root file system: that it comes as far as missing it is the proof."""
    argv = ["qemu-system-x86_64", "-M", "q35,kernel_irqchip=split", "-accel", "kvm", "-cpu", "host", "-smp", "2",
            "-m", "512", "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio", "-kernel", str(kernel),
            "-append", "console=ttyS0 panic=-1"]  # fmt: skip
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False)
        said = done.stdout
    except subprocess.TimeoutExpired as expired:
        said = expired.stdout or b""
    return b"Unable to mount root" in said

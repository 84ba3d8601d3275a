#!/usr/bin/env python3
"""The listing of a machine with 10,000 functions, as a multiple of `lspci -nnk` on the same tree (budget 1).

Both read the same sysfs tree: lspci through `-O sysfs.path=DIR`, ours as a host with its root there.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

FUNCTIONS = 10_000
ROUNDS = 5
BUDGET = 1.0
IDS = ((0x10DE, 0x1200, 0x030000), (0x10DE, 0x0E0C, 0x040300), (0x8086, 0x10D3, 0x020000), (0x1B36, 0x000D, 0x0C0330))
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
LISTED = re.compile(rb"\[(?:10de:1200|10de:0e0c|8086:10d3|1b36:000d)\]")
DRIVERS = ("nouveau", "snd_hda_intel", "e1000e", "xhci_hcd")


def make_tree(root: Path) -> None:
    """A sysfs with that many functions, over several domains, four to an IOMMU group, half of them with a driver."""
    bus = root / "sys/bus/pci"
    (bus / "devices").mkdir(parents=True)
    (bus / "slots").mkdir()
    (root / "etc").mkdir()  # without it, it is no system's root
    for driver in DRIVERS:
        (bus / "drivers" / driver).mkdir(parents=True)
    for number in range(FUNCTIONS):
        _make_function(root, number)
    _copy_names(root)


def _make_function(root: Path, number: int) -> None:
    vendor, device, code = IDS[number % 4]
    domain, rest = divmod(number, 4096)
    address = f"{domain:04x}:{rest >> 6:02x}:{rest >> 3 & 7:02x}.{rest & 7}"
    place = root / f"sys/devices/pci{domain:04x}:00/{address}"
    group = root / f"sys/kernel/iommu_groups/{number // 4}/devices"
    place.mkdir(parents=True)
    group.mkdir(parents=True, exist_ok=True)
    texts = {
        "vendor": f"0x{vendor:04x}\n",
        "device": f"0x{device:04x}\n",
        "class": f"0x{code:06x}\n",
        "subsystem_vendor": "0x1043\n",
        "subsystem_device": "0x8508\n",
        "revision": "0xa1\n",
        "irq": "16\n",
        "resource": "0x0000000000000000 0x0000000000000000 0x0000000000000000\n" * 13,
        "modalias": f"pci:v{vendor:08X}d{device:08X}sv00001043sd00008508bc{code >> 16:02X}sc{code >> 8 & 255:02X}i00\n",
        "reset_method": "flr bus\n",
        "uevent": f"PCI_CLASS={code:X}\nPCI_ID={vendor:04X}:{device:04X}\nPCI_SUBSYS_ID=1043:8508\n",
    }
    if number % 2 == 0:
        texts["uevent"] = f"DRIVER={DRIVERS[number % 4]}\n" + texts["uevent"]
    for name, text in texts.items():
        (place / name).write_text(text)
    (place / "config").write_bytes(_config(vendor, device, code))
    (place / "iommu_group").symlink_to(f"../../../kernel/iommu_groups/{number // 4}")
    if number % 2 == 0:
        (place / "driver").symlink_to(f"../../../bus/pci/drivers/{DRIVERS[number % 4]}")
    (root / f"sys/bus/pci/devices/{address}").symlink_to(f"../../../devices/pci{domain:04x}:00/{address}")
    (group / address).symlink_to(f"../../../../devices/pci{domain:04x}:00/{address}")


def _config(vendor: int, device: int, code: int) -> bytes:
    """A PCI configuration space with a type 0 header (PCI Local Bus Specification 3.0, 6.1)."""
    head = struct.pack(
        "<HHHHBBBBBBBB", vendor, device, 0x0006, 0x0010, 0xA1, 0, code >> 8 & 255, code >> 16, 0, 0, 0, 0
    )
    return (head + b"\0" * 28 + struct.pack("<HH", 0x1043, 0x8508)).ljust(256, b"\0")


def _copy_names(root: Path) -> None:
    """lspci reads this machine's pci.ids; ours reads the host's: the same file, where there is one."""
    source = Path("/usr/share/misc/pci.ids")
    if source.exists():
        (root / "usr/share/misc").mkdir(parents=True)
        shutil.copyfile(source, root / "usr/share/misc/pci.ids")


def seconds(argv: list[str]) -> float:
    """What one process takes; what it says must speak of every function."""
    start = time.perf_counter()
    done = subprocess.run(argv, capture_output=True, env=ENVIRONMENT, check=False)
    taken = time.perf_counter() - start
    found = sum(1 for line in done.stdout.splitlines() if LISTED.search(line))
    if done.returncode != 0 or found < FUNCTIONS:
        raise SystemExit(f"{argv[0]} listed {found} of {FUNCTIONS}: {done.stderr.decode(errors='replace')[:400]}")
    return taken


def main() -> int:
    """Print the ratio of the medians; 1 when it is over the budget."""
    if shutil.which("lspci") is None:
        print("listing: skipped, there is no lspci here (package pciutils)")
        return 0
    os.umask(0o022)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as directory:
        root = Path(directory)
        make_tree(root)
        ours = [sys.executable, "-m", "engine", "--root", str(root), "devices"]
        theirs = ["lspci", "-nnk", "-D", "-A", "linux-sysfs", "-O", f"sysfs.path={root}/sys/bus/pci"]
        taken: dict[str, list[float]] = {"ours": [], "lspci": []}
        for _ in range(ROUNDS):
            taken["ours"].append(seconds(ours))
            taken["lspci"].append(seconds(theirs))
    mine, lspci = median(taken["ours"]), median(taken["lspci"])
    ratio = mine / lspci
    print(
        f"listing of {FUNCTIONS}: {mine / FUNCTIONS * 1e6:.0f} us a function, lspci -nnk "
        f"{lspci / FUNCTIONS * 1e6:.0f} us, ratio {ratio:.2f} (budget {BUDGET})"
    )
    return 0 if ratio <= BUDGET else 1


if __name__ == "__main__":
    sys.exit(main())

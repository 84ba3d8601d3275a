"""The article's machine in memory; its update-grub and update-initramfs make of the files what Debian's do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from steps.actions import Action, EditFile, RunCommand
from steps.base import Brief, Completed
from steps.boot.grub import CFG
from steps.boot.grub_default import DEFAULT
from steps.boot.shell_value import Script, Values, evaluate
from steps.config import Config, Device, Stub
from steps.insertion import sha256
from tests.support.memory_host import Link, MemoryHost, completed

SETUP = "0123456789ab"
RELEASE = "6.1.0-test"
BOOT = "00000000-0000-0000-0000-000000000001"
NEXT_BOOT = "00000000-0000-0000-0000-000000000002"
GPU, AUDIO, USB, DISK = "0000:03:00.0", "0000:03:00.1", "0000:00:12.0", "0000:00:11.0"
MODULES = "/etc/initramfs-tools/modules"
CONF = "/etc/modprobe.d/00-vfiostate.conf"


@dataclass
class Card:
    """A PCI function of the machine."""

    id: str
    group: int
    driver: str | None
    module: str
    class_code: str = "0x030000"


def cards() -> dict[str, Card]:
    """The article's devices, and a disk controller that stays with the host."""
    return {
        GPU: Card("10de:1200", 13, "nouveau", "nouveau"),
        AUDIO: Card("10de:0e0c", 13, "snd_hda_intel", "snd_hda_intel", "0x040300"),
        USB: Card("1002:4397", 4, "ohci-pci", "ohci_pci", "0x0c0310"),
        DISK: Card("1002:4391", 3, "ahci", "ahci", "0x010601"),
    }


@dataclass
class Machine:
    """The host, and what its kernels are made of. `built_in` and `absent` are modules that are no files."""

    cards: dict[str, Card] = field(default_factory=cards)
    built_in: set[str] = field(default_factory=set)
    absent: set[str] = field(default_factory=set)
    releases: tuple[str, ...] = (RELEASE,)
    in_image: set[str] = field(default_factory=lambda: {"nouveau", "ahci"})
    host: MemoryHost = field(default_factory=MemoryHost)
    images: dict[str, list[str]] = field(default_factory=dict)
    ran: list[tuple[str, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.host.commands |= {"update-grub", "update-initramfs", "mkinitramfs", "lsinitramfs", "modprobe"}
        self.host.answer = self.answer
        self.host.boot_id = BOOT
        tree = self.host.tree
        tree[DEFAULT] = b'GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX_DEFAULT="quiet splash"\nGRUB_CMDLINE_LINUX=""\n'
        tree[MODULES] = b"# List of modules that you want to include in your initramfs.\n"
        tree["/etc/modprobe.d"] = None
        tree["/proc/cmdline"] = b"BOOT_IMAGE=/boot/vmlinuz root=/dev/sda1 ro quiet splash\n"
        tree["/sys/firmware/acpi/tables/IVRS"] = b"IVRS"
        for release in self.releases:
            tree[f"/boot/vmlinuz-{release}"] = b"kernel"
            tree[f"/boot/initrd.img-{release}"] = b"image"
        self.plug()
        self.update_grub()
        self.update_initramfs()
        self.ran.clear()

    def plug(self) -> None:
        """Write sysfs for the cards as they are now."""
        tree = self.host.tree
        for path in [path for path in tree if path.startswith(("/sys/bus/pci", "/sys/kernel"))]:
            del tree[path]
        for address, card in self.cards.items():
            base = f"/sys/bus/pci/devices/{address}"
            vendor, device = card.id.split(":")
            tree[f"{base}/vendor"] = f"0x{vendor}\n".encode()
            tree[f"{base}/device"] = f"0x{device}\n".encode()
            tree[f"{base}/class"] = f"{card.class_code}\n".encode()
            tree[f"{base}/modalias"] = f"pci:{address}\n".encode()
            tree[f"{base}/driver_override"] = b"(null)\n"
            if card.group >= 0:
                tree[f"{base}/iommu_group"] = Link(f"../../../kernel/iommu_groups/{card.group}")
                tree[f"/sys/kernel/iommu_groups/{card.group}/devices/{address}"] = Link(base)
            if card.driver:
                tree[f"{base}/driver"] = Link(f"../../../bus/pci/drivers/{card.driver}")
                if card.module not in self.built_in:
                    module = {"vfio-pci": "vfio_pci", "pci-stub": "pci_stub"}.get(card.driver, card.module)
                    tree[f"/sys/bus/pci/drivers/{card.driver}/module"] = Link(f"../../../../module/{module}")

    def answer(self, argv: tuple[str, ...], stdin: bytes) -> Completed | None:
        """kmod and lsinitramfs."""
        if argv[0] == "lsinitramfs":
            names = self.images.get(argv[1])
            return completed(argv, "\n".join(names)) if names else completed(argv, status=1, stderr="no such image")
        if argv[0] != "modprobe":
            return None
        if "--resolve-alias" in argv:
            address = argv[-1].removeprefix("pci:")
            module = self.cards[address].module if address in self.cards else ""
            return completed(argv, f"{module}\n") if module not in self.built_in else completed(argv, status=1)
        if argv[-1] in self.absent:
            return completed(argv, status=1)
        kind = f"builtin {argv[-1]}" if argv[-1] in self.built_in else f"insmod /lib/modules/x/{argv[-1]}.ko "
        return completed(argv, f"{kind}\n")

    def update_grub(self) -> None:
        """Write grub.cfg as 10_linux does."""
        names = sorted(path for path in self.host.tree if path.startswith("/etc/default/grub.d/"))
        scripts = [Script(path, self.host.read(path)) for path in (DEFAULT, *names)]
        found = evaluate(self.host, scripts, ("GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT", "GRUB_DEFAULT"))
        assert isinstance(found, Values)
        fixed, default, chosen = ((value or b"").decode() for value in found.values)
        self.host.tree[CFG] = grub_cfg(self.releases, fixed, default, chosen or "0").encode()

    def update_initramfs(self) -> None:
        """Rebuild all images: what is always in, the listed modules, and modprobe.d."""
        listed = [line.partition("#")[0].split() for line in self.host.read(MODULES).decode().splitlines()]
        modules = sorted(self.in_image | {words[0] for words in listed if words})
        for release in self.releases:
            self.images[f"/boot/initrd.img-{release}"] = [
                ".",
                "etc/modprobe.d",
                *(f"etc/modprobe.d/{name}" for name in self.host.list("/etc/modprobe.d")),
                *(f"usr/lib/modules/{release}/kernel/x/{module.replace('_', '-')}.ko" for module in modules),
            ]

    def apply(self, actions: Sequence[Action]) -> None:
        """Carry out a plan."""
        for action in actions:
            if isinstance(action, EditFile):
                old = self.host.tree.get(action.path)
                assert (sha256(old) if isinstance(old, bytes) else None) == action.before
                self.host.tree[action.path] = action.content
            elif isinstance(action, RunCommand):
                self.ran.append(action.argv)
                self.update_grub() if action.argv[0] == "update-grub" else self.update_initramfs()
            else:
                raise AssertionError(f"unexpected action: {action}")

    def boot(self, words: str, *, driver: str | None, release: str = RELEASE) -> None:
        """Start anew: with these words, this release, and the configured devices under `driver` (None: as they are)."""
        self.host.boot_id = NEXT_BOOT
        self.host.release = release
        self.host.tree["/proc/cmdline"] = f"BOOT_IMAGE=/boot/vmlinuz-{release} {words}\n".encode()
        for address in (GPU, AUDIO, USB):
            if driver is not None and address in self.cards:
                self.cards[address].driver = driver
        self.plug()


def grub_cfg(releases: Sequence[str], fixed: str, default: str, chosen: str) -> str:
    """A grub.cfg of Debian's shape: the simple entry, and a submenu with a normal and a recovery entry per kernel."""

    def entry(title: str, ident: str, release: str, words: str, indent: str) -> str:
        return (
            f"{indent}menuentry '{title}' --class debian --class gnu-linux $menuentry_id_option '{ident}' {{\n"
            f"{indent}\tload_video\n{indent}\tif [ x$grub_platform = xxen ]; then insmod xzio; fi\n"
            f"{indent}\tlinux\t/boot/vmlinuz-{release} root=/dev/sda1 ro {words}\n"
            f"{indent}\tinitrd\t/boot/initrd.img-{release}\n{indent}}}\n"
        )

    inner = "".join(
        entry(f"Debian, with Linux {each}", f"gnulinux-{each}-advanced-1", each, f"{fixed} {default}", "\t")
        + entry(
            f"Debian, with Linux {each} (recovery mode)", f"gnulinux-{each}-recovery-1", each, f"single {fixed}", "\t"
        )
        for each in releases
    )
    return (
        '### BEGIN /etc/grub.d/00_header ###\nif [ "${next_entry}" ] ; then\n   set default="${next_entry}"\n'
        f'   set next_entry=\n   save_env next_entry\nelse\n   set default="{chosen}"\nfi\n'
        "function savedefault {\n  if [ -z x ]; then\n    save_env saved_entry\n  fi\n}\n"
        "### END /etc/grub.d/00_header ###\n\n### BEGIN /etc/grub.d/10_linux ###\n"
        + entry("Debian GNU/Linux", "gnulinux-simple-1", releases[0], f"{fixed} {default}", "")
        + "submenu 'Advanced options for Debian' $menuentry_id_option 'gnulinux-advanced-1' {\n"
        + inner
        + "}\n### END /etc/grub.d/10_linux ###\n"
    )


def brief(
    stub: Stub = Stub.VFIO_PCI, *, remembered: Mapping[str, str] | None = None, trial: bool = False, **more: object
) -> Brief:
    """What the article wants: the card with its audio, and a USB controller. Without a trial boot unless asked for."""
    devices = (Device(GPU, "10de:1200"), Device(AUDIO, "10de:0e0c"), Device(USB, "1002:4397"))
    config = Config(devices, stub, **more)  # type: ignore[arg-type]
    return Brief(config, SETUP, BOOT, {"stubbed": remembered} if remembered is not None else {}, trial=trial)

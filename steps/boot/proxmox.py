"""Proxmox VE and its kin where proxmox-boot-tool keeps the EFI system partitions of all disks alike.

On a partition with GRUB the command line is /etc/default/grub's, on one with systemd-boot it is the first line of
/etc/kernel/cmdline; `proxmox-boot-tool refresh` writes both (proxmox-kernel-helper: zz-proxmox-boot, functions). The
partitions are mounted only while it does, in a mount namespace of its own, and /boot/grub/grub.cfg is nobody's. So what
was generated is read from the device (`esp_image`), and no entry of ours can be put there for one boot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from steps import cmdline
from steps.actions import Action, Regenerate, RunCommand
from steps.base import Finding, Host, Severity
from steps.boot import grub_cfg, grub_default, grub_menu, kernel_cmdline, systemd_boot_order
from steps.boot.base import BootFacts, BootLoader, Entry, Trial
from steps.boot.esp_image import COMMAND, EspImage, EspUnreadable
from steps.boot.grub import insertion
from steps.boot.grub_names import GRUB
from steps.boot.systemd_boot_entry import ENTRIES, MenuEntry, type1
from steps.boot.untried import Untried

ESP_LIST = "/etc/kernel/proxmox-boot-uuids"
REFRESH = ("proxmox-boot-tool", "refresh")
_TRIAL = Trial(
    (
        "proxmox-boot-tool mounts the EFI system partitions only while it writes its own entries to them, and one that "
        "is booted once is not among those",
        "`proxmox-boot-tool kernel pin --next-boot` chooses a kernel for one boot, not a command line",
    )
)


class Kind(StrEnum):
    """What boots a partition."""

    GRUB = "GRUB"
    SYSTEMD_BOOT = "systemd-boot"


@dataclass(frozen=True, slots=True)
class Partition:
    """An EFI system partition of the list, with what it boots."""

    device: str
    kind: Kind
    entries: tuple[Entry, ...]
    default: Entry | None


@dataclass(frozen=True, slots=True)
class ProxmoxBootTool(Untried):
    """The boot loaders that proxmox-boot-tool takes care of."""

    name: str = "proxmox-boot-tool"
    precedence: int = 12
    supported: bool = True
    manual: str = (
        "The command line is the one line of /etc/kernel/cmdline (systemd-boot) or GRUB_CMDLINE_LINUX_DEFAULT in "
        "/etc/default/grub (GRUB); `proxmox-boot-tool refresh` makes it effective."
    )

    def detect(self, host: Host) -> tuple[str, ...] | None:
        """The list of partitions that it takes care of: without one it does nothing."""
        return (f"{ESP_LIST} is there",) if host.lstat(ESP_LIST) is not None else None

    def read(self, host: Host, setup: str) -> BootFacts:
        """The file that decides, and the entries of all partitions; the default is that of the first one."""
        partitions, findings = _partitions(host)
        kinds = {each.kind for each in partitions}
        if not partitions or len(kinds) > 1:
            found = findings if not partitions else (*findings, _unlike(partitions))
            return BootFacts(self.name, ESP_LIST, regenerate=REFRESH, findings=found)
        several = len(partitions) > 1
        entries = tuple(_named(each, part.device if several else "") for part in partitions for each in part.entries)
        from_line = kernel_cmdline.read(host, setup, command=" ".join(REFRESH))
        settings = grub_default.read(host, setup, GRUB)
        grub = Kind.GRUB in kinds
        source = settings if grub else from_line
        return BootFacts(
            self.name,
            settings.where if grub else from_line.path,
            source.words,
            settings.fixed if grub else (),
            source.site,
            source.content,
            entries,
            partitions[0].default,
            None,
            f"what boots on {' and '.join(each.device for each in partitions)}",
            REFRESH,
            (*_tools(host), *findings, *source.findings, *_rootless(from_line, grub=grub)),
            _TRIAL,
            later=settings.later if grub else (),
            besides="scripts in /etc/grub.d, GRUB_DEFAULT" if grub else "`proxmox-boot-tool status`",
            defaulting="`proxmox-boot-tool kernel pin RELEASE` chooses one",
        )

    def edits(self, facts: BootFacts, tokens: Sequence[str]) -> tuple[Action, ...]:
        """One insertion of all tokens. Raises ValueError for a token that needs quoting."""
        return insertion(facts, tokens, facts.where)

    def commit(self, facts: BootFacts) -> tuple[Action, ...]:
        """Write the entries of all partitions anew. None of them can be seen here: the way back writes them again."""
        why = "write the boot entries of all EFI system partitions with the new kernel command line"
        return (RunCommand(REFRESH, why, Regenerate(REFRESH, unseen=True), timeout=900.0),)


LOADERS: tuple[BootLoader, ...] = (ProxmoxBootTool(),)


def _tools(host: Host) -> Iterator[Finding]:
    if host.which(REFRESH[0]) is None:
        hint = "Install the package proxmox-kernel-helper, then try again."
        yield _refusal("proxmox-boot-tool-missing", f"{REFRESH[0]} was not found.", (f"{ESP_LIST} is there",), hint)


def _rootless(line: kernel_cmdline.Line, *, grub: bool) -> Iterator[Finding]:
    """The refresh stops at a line without root=, whatever boots the partitions (`update_esps`)."""
    unused = grub and any(each.code == "kernel-cmdline-missing" for each in line.findings)
    if not unused and not any("root=" in word for word in line.words) and (grub or not line.findings):
        yield _refusal(
            "kernel-cmdline-without-root",
            f"{line.path} has no root=, with which `{' '.join(REFRESH)}` does nothing at all.",
            (f"its first line: {cmdline.shown(line.words)!r}",),
            "Put the root= of /proc/cmdline there, run the refresh, then try again.",
        )


def _partitions(host: Host) -> tuple[tuple[Partition, ...], tuple[Finding, ...]]:
    """Those of the list that can be looked into, and what stands against the others."""
    try:
        lines = host.read(ESP_LIST).decode(errors="replace").splitlines()
    except OSError as error:
        hint = f"Make {ESP_LIST} a readable text file (`proxmox-boot-tool init` writes it), then try again."
        return (), (_refusal("esp-list-unreadable", f"{ESP_LIST} cannot be read.", (str(error),), hint),)
    devices = [f"/dev/disk/by-uuid/{uuid}" for uuid in (line.strip() for line in lines) if uuid]
    there = [device for device in devices if host.lstat(device) is not None]
    found: list[Finding] = [_absent(device, alone=not there) for device in devices if device not in there]
    if not devices:
        hint = "`proxmox-boot-tool init /dev/PARTITION` puts one into the list; then try again."
        found.append(_refusal("esp-list-empty", f"{ESP_LIST} names no partition.", ("it is empty",), hint))
    partitions: list[Partition] = []
    for device in there:
        try:
            partitions.append(_partition(host, EspImage(host, device)))
        except EspUnreadable as error:
            found.append(_unreadable(device, str(error)))
    return tuple(partitions), tuple(found)


def _partition(host: Host, image: EspImage) -> Partition:
    """By the tool's own rule: GRUB where its loader of Proxmox lies, systemd-boot by UEFI, else GRUB."""
    grub = image.read("/EFI/proxmox/grubx64.efi") is not None or host.lstat("/sys/firmware/efi") is None
    return _by_grub(host, image) if grub else _by_systemd_boot(host, image)


def _by_grub(host: Host, image: EspImage) -> Partition:
    content = image.read("/grub/grub.cfg")
    if content is None:
        raise EspUnreadable("it holds no grub/grub.cfg")
    menu = grub_menu.read(host, content, grub_cfg.environment(image.read("/grub/grubenv") or b""))
    return Partition(image.device, Kind.GRUB, menu.entries, menu.default)


def _by_systemd_boot(host: Host, image: EspImage) -> Partition:
    conf = image.read("/loader/loader.conf")
    if conf is None:
        raise EspUnreadable("it holds no loader/loader.conf")
    names = [name for name in image.names(f"/{ENTRIES}") if name.endswith(".conf")]
    read = (type1(image.device, name, image.read(f"/{ENTRIES}/{name}") or b"") for name in names)
    listed = systemd_boot_order.ordered([each for each in read if each is not None])
    default = systemd_boot_order.default(listed, systemd_boot_order.loader_conf(conf), {})
    chosen = _entry(default) if isinstance(default, MenuEntry) else None
    return Partition(image.device, Kind.SYSTEMD_BOOT, tuple(map(_entry, listed)), chosen)


def _entry(entry: MenuEntry) -> Entry:
    # All that the tool writes have the same title.
    title = f"{entry.title} ({entry.version})" if entry.version else entry.title
    ours = entry.id.startswith("proxmox-")
    return Entry(title, entry.release, entry.words, cmdline.says_recovery(entry.words), ours)


def _named(entry: Entry, device: str) -> Entry:
    title = f"{device}: {entry.title}" if device else entry.title
    return Entry(title, entry.release, entry.words, entry.recovery, entry.ours)


def _absent(device: str, *, alone: bool) -> Finding:
    message = f"{device} is in {ESP_LIST} and not there: what it boots stays as it is."
    hint = "Was that disk taken out? `proxmox-boot-tool clean` takes it off the list; then try again."
    severity = Severity.REFUSAL if alone else Severity.WARNING
    return Finding("esp-missing", severity, message, (f"{device}: no such device",), hint)


def _unreadable(device: str, why: str) -> Finding:
    hint = (
        f"Is {COMMAND} there (the package grub-common), and the partition whole? `proxmox-boot-tool status` looks at "
        "it too, `proxmox-boot-tool init` makes it anew. Then try again."
    )
    return _refusal("esp-unreadable", f"What boots on {device} cannot be looked into.", (why,), hint)


def _unlike(partitions: Sequence[Partition]) -> Finding:
    evidence = tuple(f"{each.device}: {each.kind}" for each in partitions)
    message = "The EFI system partitions are booted by different loaders, which take their command line from two files."
    hint = "Make them alike (`proxmox-boot-tool init /dev/PARTITION grub`, or without `grub`), then try again."
    return _refusal("esps-unlike", message, evidence, hint)


def _refusal(code: str, message: str, evidence: tuple[str, ...], hint: str) -> Finding:
    return Finding(code, Severity.REFUSAL, message, evidence, hint)

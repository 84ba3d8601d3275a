"""`vfiostate init`: write the configuration."""

from __future__ import annotations

import argparse
import contextlib
import re

from engine.cli.common import TYPE_CHECKING, add_command, session_options
from journal.errors import RefusedError, UsageError, VfiostateError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.hosts.base import ChangeableHost
    from journal.events import Json
    from steps.config import Config

# The values of the enums in steps.config, which is not imported for --help; a test holds them equal.
STUBS = ("vfio-pci", "pci-stub")
PERSISTS = ("etc-modules", "modules-load.d")
ACCELS = ("kvm", "tcg")

# Options of the guest that are one key each: option -> (key, type, metavar, help).
_GUEST_KEYS: dict[str, tuple[str, type, str, str]] = {
    "--name": ("name", str, "NAME", "its name (guest)"),
    "--memory": ("memory", int, "MIB", "memory in MiB (1024)"),
    "--sockets": ("sockets", int, "N", "CPU sockets (1)"),
    "--cores": ("cores", int, "N", "cores per socket (1)"),
    "--threads": ("threads", int, "N", "threads per core (1)"),
    "--machine": ("machine", str, "TYPE", "QEMU's machine type (q35)"),
    "--cpu": ("cpu", str, "MODEL", "QEMU's CPU model (host)"),
    "--firmware": ("firmware", str, "FILE", "a BIOS image instead of QEMU's own"),
    "--user": ("user", str, "ACCOUNT", "the account QEMU runs as (nobody)"),
}


def configure(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "init",
        "write the configuration for these devices",
        run,
        text="The file explains every key; whatever has no option here is changed there. Ids are read from the host\n"
        "where they are not given. At a terminal and without --device it shows the cards and asks which, and ends\n"
        "with the plan; without a terminal --device is needed.",
        example="vfiostate init\n"
        "vfiostate init --device 03:00.0=10de:1200 --device 03:00.1 --stub pci-stub --memory 4096 --disk /dev/vg0/win7",
    )
    parser.add_argument(
        "--device",
        metavar="ADDR[=VENDOR:DEVICE]",
        action="append",
        default=[],
        help="a PCI function to pass through; once for each",
    )
    parser.add_argument("--x-vga", metavar="ADDR", action="append", default=[], help="hand it the legacy VGA ranges")
    parser.add_argument("--stub", choices=STUBS, help="what keeps the native drivers off (vfio-pci)")
    parser.add_argument("--persist", choices=PERSISTS, help="where modules are written down (etc-modules)")
    parser.add_argument("--iommu-pt", action="store_true", help="add iommu=pt to the kernel command line")
    parser.add_argument("--force", action="store_true", help="replace a configuration that is there")
    _add_guest(parser)
    allow = parser.add_argument_group("what is refused otherwise")
    allow.add_argument("--allow-boot-vga", metavar="ADDR", action="append", default=[], help="the host boots on it")
    allow.add_argument(
        "--allow-identical-ids", metavar="ID", action="append", default=[], help="another device has this id too"
    )
    allow.add_argument(
        "--allow-keyboard", metavar="ADDR", action="append", default=[], help="the host's last keyboard hangs on it"
    )
    allow.add_argument(
        "--allow-unsafe-interrupts",
        action="store_true",
        help="no interrupt remapping: the guest can attack the host by forged interrupts",
    )


def _add_guest(parser: argparse.ArgumentParser) -> None:
    guest = parser.add_argument_group("the guest")
    guest.add_argument("--no-guest", action="store_true", help="no guest: the way ends at `bound`")
    guest.add_argument("--accel", choices=ACCELS, help="QEMU's accelerator (kvm)")
    for option, (_, kind, metavar, text) in _GUEST_KEYS.items():
        guest.add_argument(option, type=kind, metavar=metavar, help=text)
    guest.add_argument("--localtime", action="store_true", help="a clock in local time, as Windows wants it")
    guest.add_argument(
        "--disk",
        metavar="PATH[,KEY=VALUE...]",
        action="append",
        default=[],
        help="a disk; keys: format, interface, bootindex, readonly",
    )
    guest.add_argument("--cdrom", metavar="PATH", action="append", default=[], help="a CD image")
    guest.add_argument(
        "--tap",
        metavar="TAP[,KEY=VALUE...]",
        action="append",
        default=[],
        help="a network card on this tap; keys: bridge, mac, model",
    )
    guest.add_argument("--vnc", metavar="DISPLAY", help="show the guest's own display on VNC, such as 127.0.0.1:0")


def run(args: argparse.Namespace) -> int:
    """Write it."""
    from engine.config import write_commented
    from engine.console import out
    from engine.hosts.base import Attributes
    from engine.target import open_host

    options = session_options(args)
    _refuse_guestless(args)
    host = open_host(options)
    with _writing(options.config):
        there = host.lstat(options.config) is not None
    if there and not args.force:
        raise RefusedError(
            f"{options.config} is there already.", hint="Edit it, or replace it with `vfiostate init --force`."
        )
    asked = not args.device
    if asked:
        args.device = _ask(host, args, options.config)
    config = _config(host, args)
    _refuse_not_vga(host, config)
    with _writing(options.config):
        host.write_file(options.config, write_commented(config).encode(), Attributes(0o644, 0, 0))
    count = len(config.devices)
    out(f"{options.config} written: {count} device{'s' * (count != 1)} to pass through")
    _tell_neighbours(host, config)
    if asked:
        from engine.cli.choose import end_with_plan

        return end_with_plan(options, config)
    _tell_refused(host, config)
    out("next: vfiostate plan")
    return 0


@contextlib.contextmanager
def _writing(path: str) -> Iterator[None]:
    """What the system says of the configuration's place, as a VfiostateError."""
    try:
        yield
    except PermissionError:
        raise
    except OSError as error:
        from engine.effects import explain  # only when something went wrong

        hint = "Name a file in a directory that is there with `--config`."
        raise VfiostateError(f"{path} cannot be written: {explain(error)}.", hint=hint) from error


def _refuse_guestless(args: argparse.Namespace) -> None:
    """Raise UsageError where --no-guest stands beside an option of the guest, which would go unheard."""
    options = (*_GUEST_KEYS, "--accel", "--localtime", "--disk", "--cdrom", "--tap", "--vnc")
    given = [option for option in options if getattr(args, option[2:]) not in (None, False, [])]
    if args.no_guest and given:
        raise UsageError(f"--no-guest and {given[0]} exclude each other.", hint="Leave out one of them.")


def _ask(host: ChangeableHost, args: argparse.Namespace, path: str) -> list[str]:
    """The devices as --device would name them. Raises UsageError where there is nobody to ask."""
    from engine.cli.choose import at_terminal, choose, missing, refuse_unwritable
    from steps.config import Allow, Config
    from steps.pci import parse_id

    allow = Allow(
        boot_vga=_addresses(args.allow_boot_vga),
        identical_ids=tuple(map(parse_id, args.allow_identical_ids)),
        keyboard=_addresses(args.allow_keyboard),
        unsafe_interrupts=args.allow_unsafe_interrupts,
    )
    wanted = Config((), allow=allow)
    if not at_terminal():
        raise missing(host, wanted)
    refuse_unwritable(host, path)
    return choose(host, wanted)


def _addresses(texts: list[str]) -> tuple[str, ...]:
    from steps.pci import parse_address

    return tuple(map(parse_address, texts))


def _config(host: ChangeableHost, args: argparse.Namespace) -> Config:
    """The configuration that the options describe. Raises UsageError for what they must not say."""
    from engine.config.decode import Decoder
    from engine.config.rules import contradictions
    from steps.config import Config

    decoder = Decoder()
    config = decoder.table(Config, _document(host, args), ())
    mistakes = contradictions(config) if isinstance(config, Config) else decoder.mistakes
    if not isinstance(config, Config) or mistakes:
        texts = [f"{'.'.join(p for p in one.path if isinstance(p, str))}: {one.text}" for one in mistakes]
        raise UsageError(
            f"{texts[0]}." if len(texts) == 1 else "The options do not make a configuration.",
            evidence=texts if len(texts) > 1 else (),
            hint="`vfiostate init --help` explains each of them.",
        )
    return config


def _document(host: ChangeableHost, args: argparse.Namespace) -> dict[str, Json]:
    from steps.pci import parse_address

    x_vga = {parse_address(text) for text in args.x_vga}
    devices: list[Json] = []
    for text in args.device:
        address, found = _device(host, text)
        more: dict[str, Json] = {"x_vga": True} if address in x_vga else {}
        devices.append({"address": address, "id": found, **more})
    if x_vga - {str(each["address"]) for each in devices if isinstance(each, dict)}:
        raise UsageError("--x-vga names a device that no --device names.", hint="Name it with --device too.")
    document: dict[str, Json] = {"devices": devices, "iommu_pt": args.iommu_pt}
    chosen = {"stub": args.stub, "persist": args.persist or _persist(host)}
    document |= {key: value for key, value in chosen.items() if value is not None}
    document["allow"] = {
        "boot_vga": args.allow_boot_vga,
        "identical_ids": args.allow_identical_ids,
        "keyboard": args.allow_keyboard,
        "unsafe_interrupts": args.allow_unsafe_interrupts,
    }
    if not args.no_guest:
        document["guest"] = _guest(args)
    return document


def _persist(host: ChangeableHost) -> str | None:
    """Where the modules are written down, where the usual place would not be read at boot."""
    from steps.config import Persist
    from steps.module_file import read_module_file

    unread = read_module_file(host, Persist.ETC_MODULES).read_at_boot is False
    return Persist.MODULES_LOAD_D.value if unread else None


def _guest(args: argparse.Namespace) -> dict[str, Json]:
    given = {"accel": args.accel} | {
        key: getattr(args, option.strip("-").replace("-", "_")) for option, (key, *_) in _GUEST_KEYS.items()
    }
    guest: dict[str, Json] = {key: value for key, value in given.items() if value is not None}
    if args.localtime:
        guest["rtc"] = "localtime"
    if args.vnc is not None:
        guest |= {"display": "vnc", "vnc": args.vnc}
    guest["disks"] = [_split("path", text) for text in args.disk]
    guest["cdroms"] = [_split("path", text) for text in args.cdrom]
    guest["networks"] = [_split("tap", text) for text in args.tap]
    return guest


def _split(first: str, text: str) -> dict[str, Json]:
    """`PATH,format=qcow2,bootindex=0` as a table."""
    head, *rest = text.split(",")
    table: dict[str, Json] = {first: head}
    for part in rest:
        key, equals, value = part.partition("=")
        if not equals:
            raise UsageError(
                f"{part!r} in {text!r}: expected KEY=VALUE.", hint="Give the key and its value, such as bootindex=0."
            )
        table[key] = _value(value)
    return table


def _value(text: str) -> Json:
    if re.fullmatch("-?[0-9]{1,30}", text):
        return int(text)
    return text == "true" if text in ("true", "false") else text


def _device(host: ChangeableHost, text: str) -> tuple[str, str]:
    """Address and id of one --device. Raises RefusedError when the host says otherwise."""
    from steps.pci import addresses, list_functions, parse_address, parse_id

    where, equals, wanted = text.partition("=")
    address = parse_address(where)
    expected = parse_id(wanted) if equals else None
    present = {function.address: function.id for function in list_functions(host)} if addresses(host) else {}
    if expected is not None and (not present or present.get(address) == expected):
        return address, expected
    if not present:
        raise UsageError(
            f"{address}: the id cannot be read, for {host.label} shows no PCI devices.",
            hint=f"Give it too, as `--device {where}=VENDOR:DEVICE`.",
        )
    if address not in present:
        near = [f"{other} [{found}]" for other, found in present.items() if other[:-3] == address[:-3]]
        raise RefusedError(
            f"There is no device at {address}.", evidence=near, hint="`vfiostate devices` lists them all."
        )
    if expected is not None:
        raise RefusedError(
            f"{address} is not {expected}.",
            evidence=(f"expected {expected}", f"found {present[address]}"),
            hint="`vfiostate devices` lists them all.",
        )
    return address, present[address]


def _refuse_not_vga(host: ChangeableHost, config: Config) -> None:
    """Raise RefusedError where the legacy VGA ranges are to go to what the host says is no VGA card."""
    from steps.guest.vfio import not_vga
    from steps.pci import read_function

    for device in config.devices:
        there = read_function(host, device.address) if device.x_vga else None
        for finding in not_vga(device, there.class_code) if there is not None else ():
            raise RefusedError(finding.message, evidence=finding.evidence, hint=finding.hint)


def _tell_neighbours(host: ChangeableHost, config: Config) -> None:
    """Say what else is in the groups of the devices: the functions beside a card are what is forgotten most."""
    from engine.console import err
    from steps.pci import list_functions

    functions = list_functions(host)
    named = {device.address for device in config.devices}
    groups = {function.group for function in functions if function.address in named} - {None}
    for other in functions:
        if other.group in groups and other.address not in named and not other.bridge_class:
            place = f"is in IOMMU group {other.group} too, which goes as a whole or not at all"
            err(f"note: {other.address} [{other.id}] {place}")


def _tell_refused(host: ChangeableHost, config: Config) -> None:
    """Warn of what `checked` is going to refuse of the devices themselves."""
    from dataclasses import replace

    from engine.cli.common import show_findings
    from steps import groups, guards
    from steps.base import Severity
    from steps.devices import read_devices
    from steps.iommu import read_iommu

    facts = read_devices(host, config)
    found = (*guards.findings(config, facts), *groups.without_group(config, facts, read_iommu(host)))
    refused = [one for one in found if one.severity is Severity.REFUSAL] if facts.listed else []
    show_findings([replace(one, severity=Severity.WARNING) for one in refused])

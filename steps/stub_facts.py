"""What the step `stubbed` reads: the boot configuration, the initramfs, and what the kernel that will boot makes of the
devices."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from steps import boot, by_address, cmdline, initramfs, kmod, modprobe_d, own_devices, softdeps, stub_checks
from steps.base import Brief, Finding, Host
from steps.boot import refind, unreplayed
from steps.boot.base import BootFacts, BootLoader
from steps.boot.entry_image import elsewhere
from steps.initramfs.base import Generator, InitramfsFacts
from steps.kmod import ModuleState
from steps.modprobe_d import Softdep
from steps.softdeps import CONF, FORMER, STUB_MODULES
from steps.stub_checks import DeviceFacts, KernelFacts


@dataclass(frozen=True, slots=True)
class StubFacts:
    """What the step read. `loader` and `boot` are None where no boot loader can be driven, `generator` and `initramfs`
    likewise; `release` is the kernel that will boot; `conf` our file in modprobe.d, None where there is none, and
    `conf_path` where it lies; `softdeps` are those of the native modules without ours, `heeded` with it; `own` are
    the devices that the host must still have afterwards; `heed` is what to heed of the boot configuration's disk, and
    of what is started before the boot loader; `elsewhere` what stands against the initramfs that the entry loads."""

    release: str
    kernel: KernelFacts
    devices: tuple[DeviceFacts, ...]
    loader: BootLoader | None = None
    boot: BootFacts | None = None
    generator: Generator | None = None
    initramfs: InitramfsFacts | None = None
    modules: Mapping[str, ModuleState] | None = None
    module_ids: tuple[str, ...] = ()
    conf: bytes | None = None
    conf_path: str = CONF
    softdeps: Mapping[str, Softdep] = field(default_factory=dict)
    heeded: Mapping[str, Softdep] = field(default_factory=dict)
    boot_findings: tuple[Finding, ...] = ()
    image_findings: tuple[Finding, ...] = ()
    own: Mapping[str, str] = field(default_factory=dict)
    heed: tuple[Finding, ...] = ()
    elsewhere: tuple[Finding, ...] = ()

    def state(self, module: str) -> ModuleState:
        """What a module of the stub driver is in the kernel that will boot."""
        return (self.modules or {}).get(module, ModuleState.ABSENT)


def read(host: Host, brief: Brief) -> StubFacts:
    """Read all that planning and verifying need."""
    config = brief.config
    loader = boot.detect(host, config.boot_loader)
    usable = loader.loader if not loader.findings else None
    boot_facts = usable.read(host, brief.setup) if usable else None
    release = (boot_facts.release if boot_facts else None) or host.release
    conf_path, conf = _conf(host)
    maker = initramfs.detect(host, config.initramfs)
    generator = maker.generator if not maker.findings else None
    # With no file of ours the image is rebuilt anyway: looking into it would be time wasted.
    image = generator.read(host, release, look=conf is not None) if generator else None
    if generator is not None and image is not None and conf is None and image.early_files:
        image = generator.read(host, release, look=True)
    module = softdeps.stub_module(config.stub)
    module_ids = modprobe_d.option(host, module, "ids", besides=(CONF, FORMER))
    devices = stub_checks.read_devices(host, config, release)
    twins = {twin for device in by_address.chosen(config, devices) for twin in device.twins}
    return StubFacts(
        release=release,
        kernel=stub_checks.read_kernel(host, release),
        devices=devices,
        loader=usable,
        boot=boot_facts,
        generator=generator,
        initramfs=image,
        modules={name: kmod.ask(host, name, release) for name in STUB_MODULES[config.stub]},
        module_ids=cmdline.split_ids(module_ids[0]) if module_ids else (),
        conf=conf,
        conf_path=conf_path,
        softdeps=softdeps.in_force(host, natives(devices), release),
        heeded=softdeps.in_force(host, natives(devices), release, besides=()),
        boot_findings=loader.findings,
        image_findings=maker.findings,
        own=own_devices.remembered(host, {device.address for device in config.devices}, twins),
        heed=_ahead(host, boot_facts) if boot_facts else (),
        elsewhere=elsewhere(host, usable, boot_facts, image) if usable and boot_facts and image else (),
    )


def natives(devices: Sequence[DeviceFacts]) -> tuple[str, ...]:
    """The native modules of these devices that need a softdep."""
    return softdeps.needed([native for device in devices for native in device.natives])


def _ahead(host: Host, facts: BootFacts) -> tuple[Finding, ...]:
    return (*unreplayed.warning(host, facts.generated), *refind.warning(host, facts.where))


def _conf(host: Host) -> tuple[str, bytes | None]:
    for path in (CONF, FORMER):
        with contextlib.suppress(FileNotFoundError):
            return path, host.read(path)
    return CONF, None

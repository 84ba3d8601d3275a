"""mkinitcpio's presets: which images `mkinitcpio -P` makes, of which kernels, from which configuration.

Source: mkinitcpio(8), "Presets"; a preset file is a bash script, its name the package of the kernel (`pkgbase` beside
the kernel's modules).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from steps.base import Host
from steps.boot.shell_value import Broken, Script
from steps.initramfs.bash_value import evaluate
from steps.reading import names_in, text_of

PRESETS = "/etc/mkinitcpio.d"
MODULES = "/usr/lib/modules"
# What a preset calls the file that it makes; `efi_image` is the name of old for `uki`.
_PRODUCTS = ("image", "uki", "efi_image")


@dataclass(frozen=True, slots=True)
class Preset:
    """One image: the preset file's name, the kernel it names (a path or a release), its configuration ("": the default
    one with its drop-ins), and the files that are made."""

    file: str
    kernel: str
    config: str
    products: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Presets:
    """All of them; `broken` is the path of a preset that bash cannot read and what it says."""

    found: tuple[Preset, ...]
    broken: tuple[str, str] | None = None

    @property
    def images(self) -> tuple[str, ...]:
        """Everything that is made, each once."""
        return tuple(dict.fromkeys(path for preset in self.found for path in preset.products))

    @property
    def sources(self) -> Mapping[str, str]:
        """The preset of each of them: it stays where its kernel is upgraded, and goes with its kernel's package
        (libalpm/scripts/mkinitcpio)."""
        return {path: f"{PRESETS}/{preset.file}.preset" for preset in self.found for path in preset.products}

    @property
    def configs(self) -> tuple[str, ...]:
        """The configurations that are used, each once."""
        return tuple(dict.fromkeys(preset.config for preset in self.found))

    def image_of(self, host: Host, release: str) -> str:
        """The first image of a kernel, empty where none is made for it."""
        package = text_of(host, f"{MODULES}/{release}/pkgbase").strip()
        wanted = (release, f"/boot/vmlinuz-{release}")
        mine = (each for each in self.found if each.kernel in wanted or (package and each.file == package))
        return next((preset.products[0] for preset in mine), "")


def read_presets(host: Host) -> Presets:
    """Read every preset; one without a kernel or a product is skipped, as mkinitcpio does it."""
    found: list[Preset] = []
    for name in names_in(host, PRESETS):
        if not name.endswith(".preset"):
            continue
        path = f"{PRESETS}/{name}"
        try:
            script = Script(path, host.read(path))
        except OSError as error:
            return Presets((), (path, error.strerror or "it cannot be read"))
        one = _read(host, script)
        if isinstance(one, Broken):
            return Presets((), (path, one.says))
        found += one
    return Presets(tuple(found))


def _read(host: Host, script: Script) -> list[Preset] | Broken:
    named = evaluate(host, (script,), ("PRESETS",))
    if isinstance(named, Broken):
        return named
    presets = [name for name in named["PRESETS"] if re.fullmatch(r"[A-Za-z_]\w*", name)]
    asked = [f"{name}_{what}" for name in ("ALL", *presets) for what in ("kver", "config", *_PRODUCTS)]
    values = evaluate(host, (script,), asked)
    if isinstance(values, Broken):
        return values
    file = script.path.rpartition("/")[2].removesuffix(".preset")
    made = (_preset(file, name, values) for name in presets)
    return [preset for preset in made if preset.kernel and preset.products]


def _preset(file: str, name: str, values: Mapping[str, tuple[str, ...]]) -> Preset:
    def value(what: str) -> str:
        return "".join(values[f"{name}_{what}"][:1]) or "".join(values[f"ALL_{what}"][:1])

    own = ["".join(values[f"{name}_{what}"][:1]) for what in _PRODUCTS]
    return Preset(file, value("kver"), value("config"), tuple(path for path in own if path))

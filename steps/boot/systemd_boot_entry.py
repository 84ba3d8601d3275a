"""The entries that systemd-boot makes its menu of: files of loader/entries (type 1) and unified kernel images (type 2).

Sources: the Boot Loader Specification (uapi-group.org/specifications/specs/boot_loader_specification),
config_entry_add_type1, config_entry_add_unified and line_get_key_value in src/boot/efi/boot.c of systemd.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from steps import cmdline
from steps.boot import entry_file
from steps.boot.entry_file import Field
from steps.boot.pe import Unified

ENTRIES = "loader/entries"
IMAGES = "EFI/Linux"
# `+LEFT-DONE` before the suffix is the boot counter (systemd.io/AUTOMATIC_BOOT_ASSESSMENT).
_COUNTED = re.compile(r"(.+)\+(\d+)(?:-\d+)?(\.conf|\.efi)", re.IGNORECASE)
_WAY_OUT = re.compile(r"fallback|recovery|rescue", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class MenuEntry:
    """An entry of the menu. `path` is its file, `root` where the partition that holds it is mounted, `loader` what it
    starts, as a path within that partition; `words` its command line, `release` that of its kernel, None where it
    cannot be told. `profiles` is how many more command lines a unified image has, `tries_left` what the boot counter
    says, None without one. `lines` are those of a type 1 file, `end` is where words come at the end of its command
    line, None where it has no `options`."""

    id: str
    path: str
    root: str
    title: str = ""
    sort_key: str | None = None
    machine_id: str | None = None
    version: str | None = None
    loader: str = ""
    words: tuple[str, ...] = ()
    initrds: tuple[str, ...] = ()
    release: str | None = None
    unified: bool = False
    profiles: int = 0
    tries_left: int | None = None
    lines: tuple[str, ...] = ()
    end: int | None = None
    content: bytes = b""

    @property
    def way_out(self) -> bool:
        """Whether it is meant for when the others do not come up: by its words, or by the name a person gave it."""
        named = not self.unified and _WAY_OUT.search(f"{self.id} {self.title}") is not None
        return named or cmdline.says_recovery(self.words) or "systemd.unit=rescue.target" in self.words


def names(name: str) -> tuple[str, int | None]:
    """The id of an entry and what its counter says, from the name of its file. Ids are compared in lower case."""
    match = _COUNTED.fullmatch(name)
    return uncounted(name).lower(), int(match[2]) if match else None


def uncounted(name: str) -> str:
    """The name of an entry's file without its counter; a release may have a `+` of its own: 6.12.118+deb13-amd64."""
    match = _COUNTED.fullmatch(name)
    return f"{match[1]}{match[3]}" if match else name


def fields(content: bytes) -> tuple[Field, ...]:
    """The keys of a file as systemd-boot takes them: quotes around a whole value are no part of it; `end` is before."""
    return tuple(_unquoted(each) for each in entry_file.fields(content))


def _unquoted(field: Field) -> Field:
    quoted = len(field.value) > 1 and field.value[:1] == field.value[-1:] == b'"'
    return replace(field, value=field.value[1:-1], end=field.end - 1) if quoted else field


def type1(root: str, name: str, content: bytes) -> MenuEntry | None:
    """An entry by its file. None where it starts nothing: the loader passes over such a file."""
    ident, left = names(name)
    found = fields(content)
    last = {each.key: cmdline.text(each.value) for each in found}
    loader = next((each for each in reversed(found) if each.key in ("linux", "efi", "uki")), None)
    if loader is None or not loader.value:
        return None
    options = [each for each in found if each.key == "options"]
    return MenuEntry(
        id=ident,
        path=f"{root}/{ENTRIES}/{name}",
        root=root,
        title=last.get("title", ident),
        sort_key=last.get("sort-key") or None,
        machine_id=last.get("machine-id") or None,
        version=last.get("version") or None,
        loader=cmdline.text(loader.value).replace("\\", "/"),
        words=cmdline.split(b" ".join(each.value for each in options)),
        initrds=tuple(cmdline.text(each.value).replace("\\", "/") for each in found if each.key == "initrd"),
        release=_release(last, cmdline.text(loader.value)),
        tries_left=left,
        lines=tuple(cmdline.text(content).splitlines()),
        end=options[-1].end if options else None,
        content=content,
    )


def _release(fields: Mapping[str, str], loader: str) -> str | None:
    """The kernel's release by the names that kernel-install and distributions give its file, else by `version`."""
    found = re.search(r"/(\d+\.\d+[^/]*)/linux$|/(?:vmlinuz|linux|kernel)-(\d+\.\d+[^/]*)$", loader)
    said = found and (found[1] or found[2])
    version = fields.get("version", "")
    return said or (version if re.match(r"\d+\.\d+", version) else None)


def type2(root: str, name: str, image: Unified) -> MenuEntry:
    """An entry that the loader makes of a unified kernel image: what it says is in the image's os-release."""
    ident, left = names(name)
    found = image.os_release
    version = found.get("IMAGE_VERSION") or image.release or found.get("VERSION_ID") or found.get("BUILD_ID")
    return MenuEntry(
        id=ident,
        path=f"{root}/{IMAGES}/{name}",
        root=root,
        title=found.get("PRETTY_NAME") or found.get("IMAGE_ID") or ident,
        sort_key=found.get("IMAGE_ID") or found.get("ID"),
        version=version,
        release=image.release,
        loader=f"/{IMAGES}/{name}",
        words=cmdline.split(image.cmdline or b""),
        unified=True,
        profiles=image.profiles,
        tries_left=left,
    )

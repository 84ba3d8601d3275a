"""GRUB on the simulated machine: the grub.cfg that update-grub writes.

The text is laid out as GRUB 2 on Debian and Ubuntu lays it out (util/grub.d/10_linux.in); the settings are what the
real /bin/sh makes of /etc/default/grub and /etc/default/grub.d/*.cfg.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from engine.hosts.simulated import generators
from engine.hosts.simulated.machine import Machine, kernels_in_boot

VARIABLES = (
    "GRUB_DEFAULT",
    "GRUB_TIMEOUT",
    "GRUB_DISTRIBUTOR",
    "GRUB_CMDLINE_LINUX",
    "GRUB_CMDLINE_LINUX_DEFAULT",
    "GRUB_CMDLINE_LINUX_RECOVERY",
    "GRUB_DISABLE_RECOVERY",
    "GRUB_DISABLE_SUBMENU",
)
# Scripts whose output is modelled; any other executable in /etc/grub.d is run, as grub-mkconfig does.
MODELLED = re.compile(r"(00_header|05_debian_theme|10_linux|20_linux_xen|20_memtest86\+|30_os-prober|30_uefi-firmware)")


class SettingsError(Exception):
    """sh could not read the settings; the text is what it said, as update-grub would pass it on."""


def reads_drop_ins(machine: Machine, command: str) -> bool:
    """Whether that grub-mkconfig reads /etc/default/grub.d, as Debian's does: it is upstream's, which does not, where
    the machine's file of that name is described with its line that sources /etc/default/grub alone."""
    texts = (machine.text(f"{folder}/{command}") for folder in ("/usr/sbin", "/usr/bin"))
    text = next((each for each in texts if each), "")
    return "default/grub" not in text or "default/grub.d" in text


def settings(machine: Machine, drop_ins: bool = True) -> Mapping[str, str]:
    """The GRUB_ variables, as grub-mkconfig has them after reading its files. Raises SettingsError."""
    files = [machine.path("/etc/default/grub")]
    for name in machine.names("/etc/default/grub.d") if drop_ins else ():
        if name.endswith(".cfg") and not name.startswith("."):
            files.append(machine.path(f"/etc/default/grub.d/{name}"))
    script = f"set -e\nlsb_release() {{ echo {machine.description.distribution}; }}\n"
    script += "".join(f". {_quoted(str(one))}\n" for one in files if one.is_file())
    script += "".join(f"printf '%s\\0' \"${{{name}-}}\"\n" for name in VARIABLES)
    ran = _sh(["/bin/sh"], script.encode())
    values = ran.stdout.decode(errors="replace").split("\0")
    if ran.returncode != 0 or len(values) != len(VARIABLES) + 1:
        raise SettingsError(ran.stderr.decode(errors="replace") or "sh ended early")
    return dict(zip(VARIABLES, values, strict=False))


def _sh(
    argv: list[str], stdin: bytes, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    # No PATH: settings compute with the shell alone, and a described machine's files call nothing of this host's.
    clean = {"PATH": "/nonexistent", "LC_ALL": "C", **(env or {})}
    return subprocess.run(argv, input=stdin, capture_output=True, timeout=30, env=clean, cwd=cwd, check=False)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def configuration(machine: Machine, command: str = "grub-mkconfig", boot: str = "/boot") -> str:
    """The text of a new grub.cfg as that command makes it; `boot` is the directory of the kernels as GRUB finds it.
    Raises SettingsError."""
    found = settings(machine, reads_drop_ins(machine, command))
    parts = [_HEADER.replace("@DEFAULT@", _default(found["GRUB_DEFAULT"]))]
    parts.append(_section("05_debian_theme", "set menu_color_normal=cyan/blue\n"))
    parts.append(_section("10_linux", _linux(machine, found, boot)))
    for name in machine.names("/etc/grub.d"):
        place = machine.path(f"/etc/grub.d/{name}")
        if MODELLED.fullmatch(name) or name.startswith(".") or not place.is_file() or not os.access(place, os.X_OK):
            continue
        # 40_custom is `exec tail -n +3 $0`: that much of PATH it needs, and a name that bears no quotes.
        ran = _sh(["/bin/sh", f"./{name}"], b"", {"PATH": "/usr/bin:/bin", **found}, place.parent)
        if ran.returncode != 0:
            raise SettingsError(ran.stderr.decode(errors="replace"))
        parts.append(_section(name, ran.stdout.decode(errors="replace")))
    return "\n".join(parts)


def _default(value: str) -> str:
    return "${saved_entry}" if value == "saved" else value or "0"


def _section(name: str, body: str) -> str:
    return f"### BEGIN /etc/grub.d/{name} ###\n{body}### END /etc/grub.d/{name} ###\n"


def _linux(machine: Machine, found: Mapping[str, str], boot: str) -> str:
    kernels = kernels_in_boot(machine)
    if not kernels:
        return ""
    system = found["GRUB_DISTRIBUTOR"].split()[0] if found["GRUB_DISTRIBUTOR"].split() else ""
    system = f"{system or 'Debian'} GNU/Linux" if system != "Ubuntu" else system
    uuid = machine.description.root.removeprefix("UUID=")
    klass = f"--class {system.split()[0].lower()} --class gnu-linux --class gnu --class os"
    normal = f"{found['GRUB_CMDLINE_LINUX']} {found['GRUB_CMDLINE_LINUX_DEFAULT']}"
    ubuntu = system == "Ubuntu"
    rescue = found["GRUB_CMDLINE_LINUX_RECOVERY"] or ("recovery nomodeset" if ubuntu else "single")
    rescue = f"{rescue} {found['GRUB_CMDLINE_LINUX']}"
    simple = _entry(machine, boot, kernels[0], system, klass, f"gnulinux-simple-{uuid}", normal)
    advanced = []
    for release in kernels:
        title = f"{system}, with Linux {release}"
        advanced.append(_entry(machine, boot, release, title, klass, f"gnulinux-{release}-advanced-{uuid}", normal))
        if found["GRUB_DISABLE_RECOVERY"] != "true":
            title += " (recovery mode)"
            advanced.append(_entry(machine, boot, release, title, klass, f"gnulinux-{release}-recovery-{uuid}", rescue))
    if found["GRUB_DISABLE_SUBMENU"] in ("y", "true"):
        return "".join(advanced)
    inner = "".join("\t" + line + "\n" for line in "".join(advanced).splitlines())
    menu = f"submenu 'Advanced options for {system}' $menuentry_id_option 'gnulinux-advanced-{uuid}' {{\n{inner}}}\n"
    return simple + menu


def _entry(machine: Machine, boot: str, release: str, title: str, klass: str, ident: str, words: str) -> str:
    root = machine.description.root
    lines = [
        f"menuentry '{title}' {klass} $menuentry_id_option '{ident}' {{",
        "\tload_video",
        "\tinsmod gzio",
        "\tif [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi",
        "\tinsmod part_gpt",
        "\tinsmod ext2",
        f"\tsearch --no-floppy --fs-uuid --set=root {root.removeprefix('UUID=')}",
        f"\techo\t'Loading Linux {release} ...'",
        f"\tlinux\t{boot}/vmlinuz-{release} root={root} ro {words}",
    ]
    image = generators.of(machine).image(release)
    if machine.exists(image):
        lines += ["\techo\t'Loading initial ramdisk ...'", f"\tinitrd\t{boot}{image.removeprefix('/boot')}"]
    return "\n".join([*lines, "}", ""])


_HEADER = """#
# DO NOT EDIT THIS FILE
#
# It is automatically generated by grub-mkconfig using templates
# from /etc/grub.d and settings from /etc/default/grub
#

### BEGIN /etc/grub.d/00_header ###
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="@DEFAULT@"
fi

if [ x"${feature_menuentry_id}" = xy ]; then
  menuentry_id_option="--id"
else
  menuentry_id_option=""
fi
export menuentry_id_option
### END /etc/grub.d/00_header ###
"""

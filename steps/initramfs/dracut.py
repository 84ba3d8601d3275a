"""dracut (Fedora, RHEL, openSUSE; Debian and Ubuntu where it is chosen): a drop-in of ours, rebuilt by dracut itself.

Sources: dracut.conf(5), dracut.cmdline(7); dracut's dracut.sh (order of the files, `force_drivers`, the place of an
image) and modules.d/*kernel-modules/module-setup.sh: /etc/modprobe.d is copied in host-only mode alone, so our file
there is named in `install_optional_items`. `force_drivers` are loaded before udev is started (rd.driver.pre).
An image is copied over the old one: a rebuild that is cut off leaves half of one, and its working directory in
/var/tmp, which is dracut's to tidy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from steps.actions import Action
from steps.base import Finding, Host, Severity
from steps.boot import ostree, sdbootutil_entries
from steps.boot.base import DRACUT_REBOOTS
from steps.boot.kernel_release import names_of
from steps.boot.recognised import evidence
from steps.boot.shell_value import Broken, Script
from steps.early_script import CALL
from steps.initramfs.base import EarlyFile, Generator, InitramfsFacts, read_early, rebuilt, unlisted, with_kin
from steps.initramfs.bash_value import evaluate
from steps.initramfs.block import bash_edits
from steps.reading import names_in, text_of
from steps.softdeps import CONF

MAIN = "/etc/dracut.conf"
FOLDERS = ("/etc/dracut.conf.d", "/usr/lib/dracut/dracut.conf.d")
# Read last of all: a file that assigns where it should append cannot undo it.
DROP_IN = f"{FOLDERS[0]}/zz-vfiostate.conf"
REBUILD = ("dracut", "-f", "--regenerate-all")
# dracut looks for its modules nowhere else (dracut.modules(7)).
MODULE = "/usr/lib/dracut/modules.d/00vfiostate"
# Its name there is without the two digits. It is taken in with all others, unless `dracutmodules` names a few.
_NAME = "vfiostate"
SCRIPT = "vfiostate-early.sh"
# What the distributions call an image in /boot: Debian and Ubuntu, all others, openSUSE.
NAMES = ("initrd.img-{}", "initramfs-{}.img", "initrd-{}")
_MODULES = ("dracutmodules", "add_dracutmodules", "force_add_dracutmodules")
_ASKED = ("force_drivers", "hostonly", "install_items", "install_optional_items", "uefi", "initrdname", *_MODULES)
_LINE = re.compile(r"[-dlcbps][-rwxsStT]{9}\S?\s+\d+\s+\S+\s+\S+\s+(?:\d+,\s*)?\d+\s+\S+\s+\S+\s+\S+\s+(\S.*)")


@dataclass(frozen=True, slots=True)
class Dracut:
    """The generator of Fedora and its kin."""

    name: str = "dracut"
    supported: bool = True
    manual: str = (
        f'Put `force_drivers+=" MODULES "` and `install_items+=" {CONF} "` into {FOLDERS[0]}/vfio.conf, then '
        f"`{' '.join(REBUILD)}`."
    )

    def detect(self, host: Host) -> tuple[str, ...] | None:
        """Its command and its configuration. Debian's dracut-core may lie beside initramfs-tools, which makes the
        images as long as the package dracut with its hook for kernels is not there."""
        command = host.which("dracut")
        place = next((path for path in (*FOLDERS, MAIN) if host.lstat(path) is not None), None)
        if command is None or place is None:
            return None
        if sdbootutil_entries.mark(host) is not None:
            return None  # it calls dracut, and puts the images elsewhere
        if evidence(host, ostree.TRACES) is not None:
            return None  # the images belong to the deployments, and come with them
        if host.which("mkinitramfs") is not None and host.lstat("/etc/kernel/postinst.d/dracut") is None:
            return None
        return (f"{command} is there", f"{place} is there")

    def read(self, host: Host, release: str, *, look: bool) -> InitramfsFacts:
        """What bash makes of the configuration, the images of all kernels and, when asked, what lies in one."""
        path = host.resolve(DROP_IN)
        scripts, findings = _scripts(host)
        values = {} if findings else evaluate(host, scripts, _ASKED, {"kernel": release})
        if isinstance(values, Broken):
            findings, values = (_broken(values),), {}
        if values.get("uefi") == ("yes",):
            findings = (_uki(),)
        image = image_of(host, release, "".join(values.get("initrdname", ())))
        findings += _named_otherwise(host, release, image)
        by_hook = _debian(host) and image != own_place(host, release)
        each = ("dracut", "-f", f"/boot/{NAMES[0].format('{}')}", "{}") if by_hook else ()
        names, trouble = look_into(host, image) if look else (None, "")
        facts = InitramfsFacts(
            self.name,
            path,
            next((script.content for script in scripts if script.path == DROP_IN), None),
            _listed(values),
            image,
            names,
            trouble,
            tuple(image_of(host, each) for each in _releases(host)),
            findings,
            tuple(word.replace("{}", release) for word in each) or REBUILD,
            each=each,
            early=f"hooks/pre-udev/00-{SCRIPT}",
            unattended=DRACUT_REBOOTS,
        )
        facts = with_kin(host, facts, image.replace(release, "*", 1) if release in image else "")
        return read_early(host, facts, f"{MODULE}/module-setup.sh", f"{MODULE}/{SCRIPT}")

    def edits(
        self, facts: InitramfsFacts, modules: Sequence[str], setup: str, script: bytes = b""
    ) -> tuple[Action, ...]:
        """A drop-in with the modules that are not forced yet, and with our file in modprobe.d and our module of dracut
        where dracut leaves them out."""
        missing = unlisted(facts, modules)
        lines = [f'force_drivers+=" {" ".join(missing)} "'] if missing else []
        lines += [f'install_optional_items+=" {CONF} "'] if modules and CONF not in facts.listed else []
        lines += [f'add_dracutmodules+=" {_NAME} "'] if script and MODULE not in facts.listed else []
        return bash_edits(facts, missing, lines, setup, _early(script, setup) if script else ())

    def commit(self, facts: InitramfsFacts) -> tuple[Action, ...]:
        """dracut for every kernel."""
        return rebuilt(facts)


GENERATORS: tuple[Generator, ...] = (Dracut(),)

_SETUP = """\
#!/bin/bash
# Made by vfiostate, setup {setup}; `vfiostate rollback` removes it.

check() {{
    return 0
}}

depends() {{
    return 0
}}

install() {{
    inst_hook pre-udev 00 "$moddir/{script}"
}}
"""


def _early(script: bytes, setup: str) -> tuple[EarlyFile, ...]:
    """A module of dracut with a hook; hooks are sourced, before the forced drivers are loaded (dracut-pre-udev.sh)."""
    text = _SETUP.format(setup=setup, script=SCRIPT).encode()
    return (
        EarlyFile(f"{MODULE}/module-setup.sh", text, 0o755),
        EarlyFile(f"{MODULE}/{SCRIPT}", b"#!/bin/sh\n" + script + b"\n" + CALL, 0o755),
    )


def image_of(host: Host, release: str, named: str = "") -> str:
    """The image of a kernel. Debian's hook for kernels names it, and its other hooks copy it to the boot loader's
    place; a rebuild that leaves the place to dracut would make one that no entry names."""
    return f"/boot/{NAMES[0].format(release)}" if _debian(host) else own_place(host, release, named)


def _debian(host: Host) -> bool:
    return host.lstat("/etc/kernel/postinst.d/dracut") is not None


def own_place(host: Host, release: str, named: str = "") -> str:
    """Where dracut puts the image of a kernel when it is not told: with boot loader entries, below the machine's id."""
    machine = "Default" if host.lstat("/boot/Default") is not None else text_of(host, "/etc/machine-id").strip()
    for boot in ("/efi", "/boot", "/boot/efi"):
        if machine and all(host.lstat(path) is not None for path in (f"{boot}/loader/entries", f"{boot}/{machine}")):
            return f"{boot}/{machine}/{release}/initrd"
    if host.lstat(f"/lib/modules/{release}/initrd") is not None:
        return f"/lib/modules/{release}/initrd"
    names = ([named] if named else []) + [pattern.format(release) for pattern in NAMES]
    present = (name for name in names if host.lstat(f"/boot/{name}") is not None)
    return f"/boot/{next(present, NAMES[1].format(release))}"


def _releases(host: Host) -> tuple[str, ...]:
    """The kernels that `--regenerate-all` makes an image for."""
    found = []
    for release in names_in(host, "/lib/modules"):
        listed = (f"/lib/modules/{release}/{name}" for name in ("modules.dep", "modules.dep.bin"))
        if any(host.lstat(path) is not None for path in listed):
            found.append(release)
    return tuple(found)


def _scripts(host: Host) -> tuple[tuple[Script, ...], tuple[Finding, ...]]:
    """The files dracut sources, in its order: by version sort of the names, one in /etc hides one in /usr/lib."""
    found: dict[str, str] = {}
    for folder in FOLDERS:
        for name in names_in(host, folder):
            if name.endswith(".conf"):
                found.setdefault(name, f"{folder}/{name}")
    scripts = []
    for path in (MAIN, *(found[name] for name in sorted(found, key=_version))):
        try:
            scripts.append(Script(path, host.read(path)))
        except FileNotFoundError:
            continue
        except OSError as error:
            return (), (_unreadable(path, f"cannot be read: {error.strerror}"),)
    return tuple(scripts), ()


def _version(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d+|\D+", name)]


def _listed(values: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    """The modules that are loaded ahead of udev; our file in modprobe.d and our module of dracut where they are taken
    in."""
    words = {name: " ".join(value).split() for name, value in values.items()}
    forced = {word.replace("-", "_") for word in words.get("force_drivers", ())}
    items = (*words.get("install_items", ()), *words.get("install_optional_items", ()))
    taken = CONF in items or words.get("hostonly") in (["yes"], ["-h"])
    every = words.get("dracutmodules", []) in ([], ["auto"], ["all"])
    ours = every or any(_NAME in words.get(name, ()) for name in _MODULES)
    return frozenset(forced | ({CONF} if taken else set()) | ({MODULE} if ours else set()))


def look_into(host: Host, image: str) -> tuple[frozenset[str] | None, str]:
    """The names in an image. lsinitrd lists as `ls -l` does, and may list nothing of a broken image and succeed."""
    try:
        done = host.query(("lsinitrd", image), timeout=600.0)
    except TimeoutError:
        return None, f"lsinitrd {image} did not end within 600 seconds"
    matches = (_LINE.match(line) for line in done.text.splitlines())
    names = frozenset(match.group(1).partition(" -> ")[0].removeprefix("./") for match in matches if match)
    if done.ok and names:
        return names, ""
    lines = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
    said = lines[0] if lines else "no message"
    return None, f"lsinitrd {image} ended with status {done.status} and {len(names)} names: {said}"


def _unreadable(path: str, what: str) -> Finding:
    hint = f"Make {path} a readable text file, then try again."
    return Finding("initramfs-conf-unreadable", Severity.REFUSAL, f"{path} {what}.", (path,), hint)


def _broken(broken: Broken) -> Finding:
    return Finding(
        "initramfs-conf-broken",
        Severity.REFUSAL,
        f"bash cannot read dracut's configuration: {broken.says}.",
        (f"{broken.path}: status {broken.status}",),
        f"Repair {broken.path} (`bash -n` shows where), then try again.",
    )


def _uki() -> Finding:
    return Finding(
        "initramfs-is-uki",
        Severity.REFUSAL,
        "dracut makes unified kernel images here, with the command line in them: it is not driven so.",
        ('uefi="yes" in its configuration',),
        f"Take uefi=yes out of {FOLDERS[0]} where images beside the kernel will do, then try again.",
    )


def _named_otherwise(host: Host, release: str, image: str) -> tuple[Finding, ...]:
    """Arch's kernels boot with an image that is named as they are, after the package; a hook calls dracut for it."""
    for name in names_of(host, release):
        kernel, other = f"/boot/vmlinuz-{name}", f"/boot/initramfs-{name}.img"
        there = all(host.lstat(path) is not None for path in (kernel, other))
        if there and image.rpartition("/")[0] == "/boot" and image != other:
            message = f"{kernel} boots with {other}, and `{' '.join(REBUILD)}` makes {image} instead."
            evidence = (f"{other} is there", f"the image of {release} by dracut's own naming: {image}")
            hint = (
                "Let mkinitcpio make the images, or have kernels and images in /boot named after the release (as "
                "kernel-install does), then try again."
            )
            return (Finding("initramfs-named-otherwise", Severity.REFUSAL, message, evidence, hint),)
    return ()

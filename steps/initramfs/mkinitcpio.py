"""mkinitcpio (Arch and its kin): a drop-in of ours where it is read, otherwise lines at the end of its configuration.

Sources: mkinitcpio(8), mkinitcpio.conf(5), its CHANGELOG (drop-ins since v36) and its scripts. The configuration is a
bash script, so the modules are put in front of the array as bash has it by then, whatever the file looks like. A
configuration that a preset names is read alone, without drop-ins (`-c`). Its init loads MODULES before it lets udev see
the devices; with the `systemd` hook they are loaded beside udev, and the softdeps in our file in modprobe.d decide. The
hook `modconf` takes that file in; without it we name it in FILES.
Images are written in place: a rebuild that is cut off leaves half of one, and its working directory in /tmp.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from steps.actions import Action
from steps.base import Finding, Host, Severity
from steps.boot.shell_value import Broken, Script
from steps.early_script import CALL
from steps.initramfs.base import EarlyFile, Generator, InitramfsFacts, read_early, rebuilt, unlisted, with_kin
from steps.initramfs.bash_value import evaluate
from steps.initramfs.block import bash_edits
from steps.initramfs.presets import PRESETS, Presets, read_presets
from steps.reading import names_in
from steps.softdeps import CONF

MAIN = "/etc/mkinitcpio.conf"
FOLDER = "/etc/mkinitcpio.conf.d"
DROP_IN = f"{FOLDER}/zz-vfiostate.conf"
REBUILD = ("mkinitcpio", "-P")
READS_DROP_INS = 36
HOOK = "vfiostate"
PLACES = (f"/etc/initcpio/install/{HOOK}", f"/etc/initcpio/hooks/{HOOK}")
_ASKED = ("MODULES", "FILES", "HOOKS")


@dataclass(frozen=True, slots=True)
class Mkinitcpio:
    """The generator of Arch."""

    name: str = "mkinitcpio"
    supported: bool = True
    manual: str = f"Put the modules first in MODULES=() of {MAIN}, then `{' '.join(REBUILD)}`."

    def detect(self, host: Host) -> tuple[str, ...] | None:
        """Its command and its configuration."""
        command = host.which("mkinitcpio")
        return (f"{command} is there", f"{MAIN} is there") if command and host.lstat(MAIN) is not None else None

    def read(self, host: Host, release: str, *, look: bool) -> InitramfsFacts:
        """What bash makes of the configuration and the presets and, when asked, what lies in the image of a kernel."""
        presets = read_presets(host)
        paths, findings = _configuration(host, presets)
        path = host.resolve(paths[-1])
        scripts, unreadable = _scripts(host, paths)
        findings += unreadable
        values = {} if findings else evaluate(host, scripts, _ASKED)
        if isinstance(values, Broken):
            findings, values = (_broken(values.path or path, values.says),), {}
        elif values and "modconf" not in _words(values)["HOOKS"]:
            findings += (_no_modconf(path),)
        image = presets.image_of(host, release)
        names, trouble = _look(host, image, release) if look else (None, "")
        content = next((script.content for script in scripts if script.path == paths[-1]), None)
        facts = InitramfsFacts(
            self.name,
            path,
            content,
            _listed(values),
            image,
            names,
            trouble,
            presets.images,
            findings,
            REBUILD,
            made_of=presets.sources,
            early=f"hooks/{HOOK}",
        )
        return read_early(host, with_kin(host, facts, _kin(image)), *PLACES)

    def edits(
        self, facts: InitramfsFacts, modules: Sequence[str], setup: str, script: bytes = b""
    ) -> tuple[Action, ...]:
        """One marked block of bash that puts the modules in front of those that are there."""
        missing = unlisted(facts, modules)
        # Unquoted, since the value may be one string of words too.
        lines = [f"MODULES=({' '.join(missing)} ${{MODULES[@]}})"] if missing else []
        lines += [f"FILES=(${{FILES[@]}} {CONF})"] if modules and CONF not in facts.listed else []
        lines += [f"HOOKS=(${{HOOKS[@]}} {HOOK})"] if script and HOOK not in facts.listed else []
        return bash_edits(facts, missing, lines, setup, _early(script, setup) if script else ())

    def commit(self, facts: InitramfsFacts) -> tuple[Action, ...]:
        """The images of all presets."""
        return rebuilt(facts)


GENERATORS: tuple[Generator, ...] = (Mkinitcpio(),)

_INSTALL = """\
#!/bin/bash
# Made by vfiostate, setup {setup}; `vfiostate rollback` removes it.

build() {{
    local units=$BUILDROOT/usr/lib/systemd/system
    add_runscript
    # systemd in the initramfs runs no script of a hook: there it is a unit.
    [[ -d $units ]] || return 0
    add_binary /usr/bin/sh
    mkdir -p "$units/sysinit.target.wants"
    printf '%s\\n' '[Unit]' 'Description=Reserve PCI functions by address (vfiostate)' 'DefaultDependencies=no' \\
        'Before=systemd-udev-trigger.service systemd-modules-load.service' '[Service]' 'Type=oneshot' \\
        "ExecStart=/usr/bin/sh -c '. /hooks/{hook}; run_earlyhook'" >"$units/{hook}-early.service"
    ln -sf ../{hook}-early.service "$units/sysinit.target.wants/{hook}-early.service"
}}

help() {{
    echo "Reserves PCI functions for the stub driver by their addresses, before udev sees them."
}}
"""


def _early(script: bytes, setup: str) -> tuple[EarlyFile, ...]:
    """A hook that is run as an early hook, which is before the modules are loaded and udev is told of the devices."""
    install = _INSTALL.format(setup=setup, hook=HOOK).encode()
    run = b"#!/usr/bin/ash\n" + script + b"\nrun_earlyhook() {\n    " + CALL + b"}\n"
    return (EarlyFile(PLACES[0], install), EarlyFile(PLACES[1], run))


def _configuration(host: Host, presets: Presets) -> tuple[tuple[str, ...], tuple[Finding, ...]]:
    """The files mkinitcpio sources, in order, and as the last of them the one to be edited."""
    if presets.broken:
        return (MAIN,), (_broken(*presets.broken),)
    if not presets.images:
        return (MAIN,), (_no_presets(),)
    # One that is named and the one by default have the main file in common.
    configs = [config for config in presets.configs if config] or [""]
    if len(configs) > 1 or ("" in presets.configs and configs[0] not in ("", MAIN)):
        return (MAIN,), (_several(presets.configs),)
    config = configs[0]
    if config or host.lstat(FOLDER) is None or not _reads_drop_ins(host):
        return (config or MAIN,), ()
    named = {f"{FOLDER}/{name}" for name in names_in(host, FOLDER) if name.endswith(".conf")}
    return (MAIN, *sorted(named - {DROP_IN}), DROP_IN), ()


def _reads_drop_ins(host: Host) -> bool:
    match = re.match(r"mkinitcpio v?(\d+)", host.query(("mkinitcpio", "-V")).text)
    return match is not None and int(match.group(1)) >= READS_DROP_INS


def _scripts(host: Host, paths: Sequence[str]) -> tuple[tuple[Script, ...], tuple[Finding, ...]]:
    scripts = []
    for path in paths:
        try:
            scripts.append(Script(path, host.read(path)))
        except FileNotFoundError:
            if path != DROP_IN:
                return (), (_unreadable(path, "is not there"),)
        except OSError as error:
            return (), (_unreadable(path, f"cannot be read: {error.strerror}"),)
    return tuple(scripts), ()


def _words(values: Mapping[str, tuple[str, ...]]) -> Mapping[str, list[str]]:
    """The words of each value, which may be an array or one string of words: mkinitcpio takes both."""
    return {name: " ".join(value).split() for name, value in values.items()}


def _listed(values: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    words = _words(values)
    # A module with a question mark may be missing in a kernel (mkinitcpio.conf(5)).
    modules = {word.removesuffix("?").replace("-", "_") for word in words.get("MODULES", ())}
    taken = "modconf" in words.get("HOOKS", ()) or CONF in words.get("FILES", ())
    return frozenset(modules | ({CONF} if taken else set()) | ({HOOK} & set(words.get("HOOKS", ()))))


def _look(host: Host, image: str, release: str) -> tuple[frozenset[str] | None, str]:
    """The names in an image. lsinitcpio is a pipe: it may list nothing of a broken image and succeed."""
    if not image:
        return None, f"no preset in {PRESETS} makes an image for {release}"
    try:
        done = host.query(("lsinitcpio", image), timeout=600.0)
    except TimeoutError:
        return None, f"lsinitcpio {image} did not end within 600 seconds"
    names = frozenset(line.strip().removeprefix("./").lstrip("/") for line in done.text.splitlines() if line.strip())
    if done.ok and names:
        return names, ""
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    said = lines[-1] if lines else "no message"
    return None, f"lsinitcpio {image} ended with status {done.status} and {len(names)} names: {said}"


def _kin(image: str) -> str:
    """A pattern of the images that kernels which are installed later get in the same place."""
    folder, _, name = image.rpartition("/")
    return f"{folder}/initramfs-*.img" if re.fullmatch(r"initramfs-.+\.img", name) else ""


def _unreadable(path: str, what: str) -> Finding:
    hint = f"Make {path} a readable text file, then try again."
    return Finding("initramfs-conf-unreadable", Severity.REFUSAL, f"{path} {what}.", (path,), hint)


def _broken(path: str, says: str) -> Finding:
    message = f"bash cannot read mkinitcpio's configuration: {says}."
    hint = f"Repair {path} (`bash -n` shows where), then try again."
    return Finding("initramfs-conf-broken", Severity.REFUSAL, message, (path,), hint)


def _no_presets() -> Finding:
    message = f"{PRESETS} has no preset that makes an image: `{' '.join(REBUILD)}` would do nothing."
    hint = "Put a preset for each kernel there (reinstalling the kernel's package writes it), then try again."
    return Finding("initramfs-no-presets", Severity.REFUSAL, message, (f"{PRESETS}/*.preset: none",), hint)


def _several(configs: Sequence[str]) -> Finding:
    named = " and ".join(config or f"{MAIN} with {FOLDER}" for config in configs)
    message = f"The presets are built from different configurations: {named}."
    hint = f"Let them all use the same one: take the *_config lines out of {PRESETS}, then try again."
    return Finding("initramfs-several-configurations", Severity.REFUSAL, message, tuple(filter(None, configs)), hint)


def _no_modconf(path: str) -> Finding:
    message = "HOOKS lacks modconf: of modprobe.d only our own file is taken into the initramfs, by name."
    hint = f"Put modconf into HOOKS of {MAIN} if other files of modprobe.d matter in early boot."
    return Finding("initramfs-without-modconf", Severity.WARNING, message, (f"{path}: HOOKS",), hint)

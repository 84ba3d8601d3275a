"""Kernel modules, asked of kmod for a named kernel release; never looked up in a table of versions."""

from __future__ import annotations

import re
from enum import StrEnum

from journal.errors import VfiostateError
from steps.base import Completed, Host
from steps.pci import DRIVERS


class ModuleState(StrEnum):
    """What a module is in a kernel. LOADED is only ever said of the running one."""

    LOADED = "loaded"
    BUILT_IN = "built in"
    LOADABLE = "loadable"
    ABSENT = "absent"


def normal(name: str) -> str:
    """A module's name as the kernel spells it: `vfio-pci` and `vfio_pci` are the same module."""
    return name.replace("-", "_")


def loaded(host: Host) -> frozenset[str]:
    """The modules that are loaded now (built-in ones are not among them); empty for a kernel without modules."""
    try:
        text = host.read("/proc/modules").decode("ascii", errors="replace")
    except FileNotFoundError:
        return frozenset()
    return frozenset(line.split()[0] for line in text.splitlines() if line.strip())


def ask(host: Host, module: str, release: str) -> ModuleState:
    """What a module is in the kernel `release`. Raises VfiostateError where kmod is missing or hangs."""
    name = normal(module)
    if release == host.release and name in loaded(host):
        return ModuleState.LOADED
    answer = _modprobe(host, ("-S", release, "-n", "-q", "--show-depends", name))
    return _state(name, answer.text) if answer.ok else ModuleState.ABSENT


def resolve_alias(host: Host, modalias: str, release: str) -> tuple[str, ...]:
    """The modules that say they drive what has this modalias, in kmod's order; built-in ones are not always among them.

    Raises VfiostateError where kmod is missing or hangs.
    """
    answer = _modprobe(host, ("-S", release, "-n", "-q", "--resolve-alias", modalias))
    if not answer.ok:
        return ()
    names = (normal(line.strip()) for line in answer.text.splitlines())
    return tuple(dict.fromkeys(name for name in names if re.fullmatch(r"\w+", name)))


def module_of_driver(host: Host, driver: str) -> str | None:
    """The module a PCI driver came from, None where it is built in without one or not registered."""
    try:
        return normal(host.readlink(f"{DRIVERS}/{driver}/module").rstrip("/").rpartition("/")[2])
    except FileNotFoundError:
        return None


def _state(name: str, text: str) -> ModuleState:
    """Read `--show-depends`: `insmod PATH`, `builtin NAME` or `install COMMAND`, a line per module and dependency."""
    lines = [line.split() for line in text.splitlines() if len(line.split()) > 1]
    for word, subject, *_ in lines:
        if word == "builtin" and normal(subject) == name:
            return ModuleState.BUILT_IN
        if word == "insmod" and normal(subject.rpartition("/")[2].partition(".")[0]) == name:
            return ModuleState.LOADABLE
    if lines and lines[-1][0] == "install":
        # modprobe.d may replace the loading by a command; /bin/false and /bin/true there mean "never".
        never = lines[-1][1].rpartition("/")[2] in {"false", "true"}
        return ModuleState.ABSENT if never else ModuleState.LOADABLE
    # kmod found it and has nothing of that name to insert: either an alias, or built in (older versions print nothing).
    return ModuleState.LOADABLE if lines else ModuleState.BUILT_IN


def _modprobe(host: Host, args: tuple[str, ...]) -> Completed:
    try:
        answer = host.query(("modprobe", *args), timeout=30.0)
    except TimeoutError as error:
        raise VfiostateError(
            "modprobe did not answer within 30 seconds.",
            hint="Look at `dmesg` for a module that hangs, then try again.",
            evidence=(f"modprobe {' '.join(args)}",),
        ) from error
    if answer.status == 127:
        raise VfiostateError(
            "The command modprobe was not found: modules cannot be asked for.",
            hint="Install the package kmod, then try again.",
        )
    return answer

"""The kernel's words for CPUs that are kept free and for huge pages set aside at boot: what is to be appended, and what
of the user's own stands against it.

Sources: Documentation/admin-guide/kernel-parameters.txt and mm/hugetlbpage.rst; kernel/sched/isolation.c, where a
second isolcpus= or nohz_full= with other CPUs is dropped; kernel/rcu/tree_nocb.h, where the last rcu_nocbs= counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from steps.base import Finding, Severity
from steps.config import Config, HugePages
from steps.tuning import cpulist, hugepages

# A word taken apart: the parameter's name with `_` for `-`, its value (None: it has no `=`).
Word = tuple[str, str | None]
# The parameter, and what a kernel must be built with to know it.
ISOLATION = {"isolcpus": "", "nohz_full": "CONFIG_NO_HZ_FULL", "rcu_nocbs": "CONFIG_RCU_NOCB_CPU"}
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30}
_SIZE = re.compile(r"(\d+)([kmg]?)", re.ASCII | re.IGNORECASE)
_FLAGS = re.compile(r"((?:[a-z_]+,)*)(.*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Tuning:
    """What the next boot must be told: the CPUs to keep free, by those of the parameters that its kernel knows; and how
    many pages of 1G to set aside."""

    isolated: tuple[int, ...] = ()
    parameters: tuple[str, ...] = tuple(ISOLATION)
    gigantic: int = 0


def wanted(config: Config, build: bytes | None) -> Tuning:
    """What a configuration asks for. `build` is the configuration of the kernel that will boot (None: not known, and
    then all parameters are given: one that a kernel does not know does no harm)."""
    guest = config.guest
    if guest is None:
        return Tuning()
    isolated = cpulist.parse(guest.isolated_cpus or "")
    lines = None if build is None else set(build.decode(errors="replace").splitlines())
    known = tuple(name for name, option in ISOLATION.items() if not option or lines is None or f"{option}=y" in lines)
    gigantic = hugepages.needed(guest, HugePages.G1) if guest.hugepages is HugePages.G1 else 0
    return Tuning(isolated, known, gigantic)


def merge(tuning: Tuning, there: Sequence[Word]) -> Iterator[tuple[str, bool]]:
    """The words that are needed, in order, each with whether the user's own say it already. Never a second isolcpus=,
    nohz_full= or hugepagesz= for the same size: the kernel drops it (see `objections`)."""
    if tuning.isolated:
        ours = cpulist.render(tuning.isolated)
        for name in tuning.parameters:
            given = [value or "" for each, value in there if each == name]
            if name == "rcu_nocbs" and given and not _offloads(given[-1], tuning.isolated):
                # The last one counts: so it has the user's CPUs, too.
                yield f"{name}={cpulist.render({*(_cpus(given[-1]) or ()), *tuning.isolated})}", False
            else:
                yield f"{name}={ours}", bool(given)
    if tuning.gigantic:
        present = HugePages.G1 in pages(there)
        yield from ((f"hugepagesz={HugePages.G1}", present), (f"hugepages={tuning.gigantic}", present))


def objections(tuning: Tuning, there: Sequence[Word], where: str) -> Iterator[Finding]:
    """What the user's own words say otherwise: refused, because the kernel keeps the first and drops ours."""
    for name in ("isolcpus", "nohz_full") if tuning.isolated else ():
        given = [value or "" for each, value in there if each == name]
        if given and not _says(name, given, tuning.isolated):
            ours = cpulist.render(tuning.isolated)
            yield _refusal(
                "isolation-conflict",
                f"{where} has {name}={given[0]} already, and `isolated_cpus` is {ours}: the kernel keeps the first.",
                tuple(f"{where}: {name}={value}" for value in given),
                f"Set `isolated_cpus` to what is there, or take {name}= out of {where}.",
            )
    count = pages(there).get(HugePages.G1)
    if tuning.gigantic and HugePages.G1 in pages(there) and (count is None or count < tuning.gigantic):
        shown = "no number that is understood" if count is None else f"{count}"
        yield _refusal(
            "hugepages-conflict",
            f"{where} sets aside {shown} of the pages of 1G already, and the guest needs {tuning.gigantic}: "
            "the kernel takes a size once only.",
            tuple(f"{where}: {name}={value}" for name, value in there if "hugepage" in name),
            f"Make that hugepages={tuning.gigantic} or more, or take it out of {where}.",
        )


def pages(there: Sequence[Word]) -> Mapping[HugePages, int | None]:
    """How many pages of each size are set aside by these words, None where no number follows the size or it is not
    understood (`0:2,1:4`: by node, is). A number before any size is of the default one."""
    sizes = {mibs << 20: size for size, mibs in hugepages.MIBS.items()}
    found: dict[HugePages, int | None] = {}
    default = next((_bytes(value or "") for name, value in there if name == "default_hugepagesz"), 2 << 20)
    now = sizes.get(default or 0)
    for name, value in there:
        if name in ("hugepagesz", "default_hugepagesz"):
            now = sizes.get(_bytes(value or "") or 0)
            # The default size may be said once more as one of the sizes; a size may not.
            if now is not None and name == "hugepagesz":
                found.setdefault(now, None)
        elif name == "hugepages" and now is not None:
            found[now] = _number(value or "")
    return found


def _says(name: str, given: Sequence[str], cpus: tuple[int, ...]) -> bool:
    """Whether every one of these values says just these CPUs; isolcpus= must keep the scheduler away from them."""
    for value in given:
        match = _FLAGS.fullmatch(value) if name == "isolcpus" else None
        flags, text = (match[1].split(",")[:-1], match[2]) if match else ([], value)
        if _cpus(text) != cpus or (flags and "domain" not in flags):
            return False
    return True


def _offloads(value: str, cpus: tuple[int, ...]) -> bool:
    return value in ("", "all") or set(cpus) <= set(_cpus(value) or ())


def _cpus(text: str) -> tuple[int, ...] | None:
    try:
        return cpulist.parse(text)
    except ValueError:
        return None


def _bytes(text: str) -> int | None:
    match = _SIZE.fullmatch(text)
    return int(match[1]) << _UNITS[match[2].lower()] if match else None


def _number(text: str) -> int | None:
    parts = [part.rpartition(":")[2] for part in text.split(",")]
    return sum(int(part) for part in parts) if all(part.isdecimal() for part in parts) else None


def _refusal(code: str, message: str, evidence: tuple[str, ...], hint: str) -> Finding:
    return Finding(code, Severity.REFUSAL, message, evidence, hint)

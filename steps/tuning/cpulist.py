"""Lists of CPUs as the kernel reads and writes them: `0-3,8`.

Source: Documentation/admin-guide/kernel-parameters.rst (cpu lists). Of its forms only numbers and ranges are taken:
`all`, `N` and `0-15:2/4` mean something else on another host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# The largest NR_CPUS that x86 can be built with (arch/x86/Kconfig).
MOST = 8192
_PART = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?", re.ASCII)


def parse(text: str) -> tuple[int, ...]:
    """The CPUs of a list, in order and each once; an empty text has none. Raises ValueError."""
    found: set[int] = set()
    for part in text.strip().split(",") if text.strip() else ():
        match = _PART.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last or last >= MOST:
            raise ValueError("expected a list of CPUs such as 2-5,8")
        found.update(range(first, last + 1))
    return tuple(sorted(found))


def render(cpus: Iterable[int]) -> str:
    """The shortest list that says these CPUs, as the kernel prints it."""
    runs: list[list[int]] = []
    for cpu in sorted(set(cpus)):
        if runs and runs[-1][1] == cpu - 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)

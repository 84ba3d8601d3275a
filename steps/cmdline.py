"""Kernel command lines: their words as the kernel splits them, and what must be added to one for a set-up.

Words are text; bytes that are not UTF-8 are kept as surrogate escapes, so that every word goes back to its bytes.
Sources: lib/cmdline.c (next_arg), kernel/params.c (parse_args) and lib/ctype.c in the kernel's tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from steps.base import Finding, Severity
from steps.config import Stub
from steps.tuning import words as tuning_words
from steps.tuning.words import Tuning, Word

SETUP = "vfiostate.setup"
# arch/x86/include/asm/setup.h: what is longer is cut off without a word.
COMMAND_LINE_SIZE = 2048
_IN_FRONT = 256

# The kernel's isspace() knows the Latin-1 no-break space, so a UTF-8 letter that holds that byte ends a word too.
_SPACES = b" \t\n\v\f\r\xa0"
_ID = re.compile(r"[0-9a-fA-F]{1,8}:[0-9a-fA-F]{1,8}(:[0-9a-fA-F]{1,8}){0,4}")
_RECOVERY = frozenset({"single", "recovery", "s", "S", "1", "emergency", "rescue"})
_SAFE = re.compile(r"[A-Za-z0-9._=,:+-]+")


def split(line: bytes) -> tuple[str, ...]:
    """The words of a command line: white space parts them, double quotes protect it and stay in the word."""
    words: list[bytes] = []
    word = bytearray()
    quoted = False
    for byte in line:
        if byte in _SPACES and not quoted:
            if word:
                words.append(bytes(word))
            word.clear()
            continue
        if byte == ord('"'):
            quoted = not quoted
        word.append(byte)
    if word:
        words.append(bytes(word))
    return tuple(text(each) for each in words)


def text(value: bytes) -> str:
    """Bytes as text from which the bytes come back."""
    return value.decode("utf-8", "surrogateescape")


def shown(words: Iterable[str]) -> str:
    """Words as one line that any terminal and any database takes."""
    return " ".join(words).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def name_of(word: str) -> str:
    """The parameter's name as the kernel compares it: `-` and `_` are the same, a quote before it does not count."""
    return word.removeprefix('"').partition("=")[0].replace("-", "_")


def value_of(word: str) -> str | None:
    """The parameter's value without the quotes around it, None for a word without `=`."""
    quoted = word.startswith('"')
    _, sign, value = word.removeprefix('"').partition("=")
    if not sign:
        return None
    if value.startswith('"'):
        return value[1:].removesuffix('"')
    return value.removesuffix('"') if quoted else value


def parameters(words: Sequence[str]) -> tuple[str, ...]:
    """The words the kernel reads as its own: those before a bare `--`, which hands the rest to init."""
    return tuple(words[: words.index("--")]) if "--" in words else tuple(words)


def values(words: Sequence[str], name: str) -> tuple[str, ...]:
    """Every value given to a parameter, in order; one without `=` counts as empty."""
    wanted = name.replace("-", "_")
    return tuple(value_of(word) or "" for word in parameters(words) if name_of(word) == wanted)


def parsed(words: Sequence[str]) -> tuple[Word, ...]:
    """The kernel's own words, each as the parameter's name and its value."""
    return tuple((name_of(word), value_of(word)) for word in parameters(words))


def ids_in_force(words: Sequence[str], stub: Stub) -> tuple[str, ...] | None:
    """The ids the stub driver takes by this command line: the last one wins. None where it does not say."""
    given = values(words, f"{stub.value}.ids")
    return split_ids(given[-1]) if given else None


def split_ids(value: str) -> tuple[str, ...]:
    """The ids of an `ids=` value, in order; `vendor:device[:subvendor[:subdevice[:class[:mask]]]]`, lower case."""
    return tuple(part.strip().lower() for part in value.split(",") if _ID.fullmatch(part.strip()))


def setups(words: Sequence[str]) -> tuple[str, ...]:
    """The setup ids whose token is on a command line."""
    return values(words, SETUP)


def is_safe(token: str) -> bool:
    """Whether a token means itself in a shell, in GRUB's script and to the kernel, within any quotes and without."""
    return _SAFE.fullmatch(token) is not None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line of the next boot must say. `ids` are `vendor:device`, none where no device is taken by one;
    `module_ids` are those that modprobe.d gives the stub driver now: ids on the command line come after them and win,
    so they are carried along; `tuning` is what the guest asks of its boot.
    """

    setup: str
    stub: Stub
    ids: tuple[str, ...]
    intel_iommu: bool = False
    iommu_pt: bool = False
    module_ids: tuple[str, ...] = ()
    tuning: Tuning = field(default_factory=Tuning)


@dataclass(frozen=True, slots=True)
class Merged:
    """The tokens to append, in order and as one run (empty: all is there), and what was there before (`adopted`)."""

    tokens: tuple[str, ...]
    adopted: tuple[str, ...] = ()


def merge(in_force: Sequence[str], wanted: Wanted) -> Merged:
    """What has to be appended to the words in force, the setup's token first; nothing of the user's is lost.

    A second `ids=` replaces the first in the kernel, so ours is appended last with the user's ids in front.
    """
    tokens: list[str] = []
    adopted: list[str] = []

    def want(token: str, present: bool) -> None:
        (adopted if present else tokens).append(token)

    if wanted.setup not in setups(in_force):
        tokens.append(f"{SETUP}={wanted.setup}")
    if wanted.intel_iommu:
        want("intel_iommu=on", _intel_iommu(in_force) == "on")
    if wanted.iommu_pt:
        want("iommu=pt", "pt" in options(in_force, "iommu") or "1" in values(in_force, "iommu.passthrough"))
    for token, present in tuning_words.merge(wanted.tuning, parsed(in_force)):
        want(token, present)
    there = ids_in_force(in_force, wanted.stub)
    kept = wanted.module_ids if there is None else there
    all_ids = tuple(dict.fromkeys((*kept, *(each.lower() for each in wanted.ids))))
    if wanted.ids:
        want(f"{wanted.stub.value}.ids={','.join(all_ids)}", there is not None and set(all_ids) <= set(there))
    return Merged(tuple(tokens), tuple(adopted))


def fits(words: Sequence[str], tokens: Sequence[str]) -> bool:
    """Whether the kernel takes a command line with these tokens whole, with BOOT_IMAGE= and root= in front."""
    return len(" ".join((*words, *tokens)).encode("utf-8", "surrogateescape")) + _IN_FRONT < COMMAND_LINE_SIZE


def run_of(words: Sequence[str], setup: str) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """The words before the setup's token and the run from it on, None where the token is not there."""
    token = f"{SETUP}={setup}"
    if token not in words:
        return None
    at = list(words).index(token)
    return tuple(words[:at]), tuple(words[at:])


def says_recovery(words: Iterable[str]) -> bool:
    """Whether a command line asks for single-user or recovery mode (10_linux of Debian, of Ubuntu; init(8))."""
    return not _RECOVERY.isdisjoint(words)


def options(words: Sequence[str], name: str) -> tuple[str, ...]:
    """The comma-separated options of every occurrence of a parameter, in order (`intel_iommu=on,sm_on`)."""
    return tuple(option for value in values(words, name) for option in value.split(",") if option)


def _intel_iommu(words: Sequence[str]) -> str | None:
    """The last of on/off: intel_iommu_setup() takes every occurrence in turn (drivers/iommu/intel/iommu.c)."""
    said = [option for option in options(words, "intel_iommu") if option in {"on", "off"}]
    return said[-1] if said else None


def objections(words: Sequence[str], where: str, *, vendor: str | None) -> tuple[Finding, ...]:
    """What on this command line stands against a set-up. `vendor` is the IOMMU's (`intel`, `amd`, None: not known);
    another vendor's switch has no effect and is passed over."""
    found: list[Finding] = []
    off = [f"{name}=off" for name in ("iommu", "intel_iommu", "amd_iommu") if _is_off(words, name, vendor)]
    if off:
        found.append(
            Finding(
                "iommu-off-on-command-line",
                Severity.REFUSAL,
                f"The kernel is told to leave the IOMMU off: {' '.join(off)} in {where}.",
                (f"{where}: {shown(words)}",),
                f"Take {' and '.join(off)} out of {where}, then run `vfiostate advance` again.",
            )
        )
    if "--" in words:
        found.append(
            Finding(
                "command-line-ends",
                Severity.REFUSAL,
                f"A bare `--` in {where} hands every later word to init: what is appended would not reach the kernel.",
                (f"{where}: {shown(words)}",),
                f"Take the `--` out of {where}, then run `vfiostate advance` again.",
            )
        )
    return tuple(found)


def _is_off(words: Sequence[str], name: str, vendor: str | None) -> bool:
    if name == "intel_iommu":
        return vendor in {"intel", None} and _intel_iommu(words) == "off"
    if name == "amd_iommu" and vendor not in {"amd", None}:
        return False
    return "off" in options(words, name)

"""The simulated machine held against the lab: the same commands on both, and what vfiostate read and got back.

A row keeps the machine's description as `capture` saw it, the configuration, the commands of its story and its
journal. Here the description becomes a simulated machine, the commands are given to it again, and the two journals are
compared, leaf by leaf: what was planned, every action in its order, error numbers, exit statuses and words of every
command, which files had changed afterwards, the drivers, and what was noticed. Where they differ the simulation is
wrong, unless the reason stands here.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from .base import REPOSITORY, LabError, run

STORY, DESCRIPTION, CONFIGURATION, JOURNAL = "story.json", "machine.json", "vfiostate.toml", "journal.jsonl"
PLACE = "/etc/vfiostate.toml"
# Of an event, what says when and where it was written rather than what was seen.
APART = ("at", "hash", "prev", "who", "form", "seq")
DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
NAMES = re.compile(
    r"\bserial-\d+\b|\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9A-F]{4}-[0-9A-F]{4}\b|\b[0-9a-f]{32}\b"
)
NUMBERS = re.compile(r"\b(pid|process|after) [0-9.]+\b")
TIMES = re.compile(r"(^|\.)seconds$")
# Where the two may differ: a pattern of what is printed of a difference, and why. Nothing else may.
BY_NATURE = {
    "*: *\tinsmod part_msdos | \tinsmod part_gpt": "a description does not say which partition table a disk has",
    "*/efi/*.mode: *": "a FAT has no modes but those of its mount; the model's is a directory",
    "*.where: *": "before-images of the model's small kernels and images fit into the journal, real ones lie beside it",
    "*: Created symlink '*' -> '*'. | Created symlink *": "systemctl quotes since version 257; the model's is 252",
    "*: Removed '*'. | Removed *": "systemctl quotes otherwise since version 257; the model's is 252",
    "*.output.*: Using config file: * | is not there": "ukify's words, which nobody acts on",
    "*.output.*: Wrote unsigned * | is not there": "ukify's words, which nobody acts on",
    "*.output.*: W: /sbin/fsck.ext4 doesn't exist* | *": "the lab's image of Debian 13 has no e2fsprogs",
    "*.output.*: dracut* | *": "dracut's words, of which there are many and which nobody acts on",
    "*.output.*: * | dracut*": "dracut's words, of which there are many and which nobody acts on",
    "*.output.*: Adding boot menu entry for UEFI * | *": "GRUB 2.12 says so on a BIOS too; the model's is 2.06",
    "*.output.*: done | is not there": "a line further down, after that of the firmware's settings",
    "*.output.*: Updating kernel version * | is not there": "a line further down, after that warning",
}


@dataclass(frozen=True)
class Difference:
    """One leaf of one event that is not the same, `reason` empty where none is known."""

    event: str
    leaf: str
    lab: str
    simulated: str
    reason: str = ""


@dataclass(frozen=True)
class Held:
    """What came of one row."""

    compared: int
    differences: tuple[Difference, ...]

    @property
    def unexplained(self) -> tuple[Difference, ...]:
        """Those for which no reason is known."""
        return tuple(each for each in self.differences if not each.reason)


def against(directory: Path) -> Held:
    """Replays the story that a row left in its directory on a simulated machine. LabError where it left none."""
    for name in (STORY, DESCRIPTION, CONFIGURATION, JOURNAL):
        if not (directory / name).exists():
            raise LabError(f"{directory}: no {name}\n  play the row first: scripts/lab run ROW")
    real = [json.loads(line) for line in (directory / JOURNAL).read_text(encoding="utf-8").splitlines()]
    if not real:
        raise LabError(
            f"{directory}: {JOURNAL} is empty: vfiostate was gone when the row ended, there is nothing to hold"
        )
    scratch = Path(tempfile.mkdtemp(prefix="vfiostate-held-"))
    try:
        simulated = replay(directory, scratch / "machine")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return compare(real, simulated)


def replay(directory: Path, machine: Path) -> list[dict[str, object]]:
    """The events of the same commands on a simulated machine."""
    run(["sh", "-c", '. scripts/environment.sh; prepare ""', REPOSITORY / "scripts/lab"], cwd=REPOSITORY)
    program = [str(REPOSITORY / ".venv/bin/vfiostate"), "--simulate", str(machine)]
    described = json.loads((directory / DESCRIPTION).read_text(encoding="utf-8"))
    # The lab's guest has nothing in it that hears the power button.
    described["faults"] = {**described.get("faults", {}), "qemu": {"ignores_powerdown": True}}
    description = machine.with_suffix(".json")
    description.write_text(json.dumps(described), encoding="utf-8")
    run([*program, "machine", "create", "--from", description])
    target = machine / PLACE.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(directory / CONFIGURATION, target)
    for words in json.loads((directory / STORY).read_text(encoding="utf-8")):
        subprocess.run([*program, *words], capture_output=True, check=False, timeout=600)
    said = run([*program, "journal", "export"])
    return [json.loads(line) for line in said.splitlines()]


def compare(real: list[dict[str, object]], simulated: list[dict[str, object]]) -> Held:
    """The leaves of events that tell of the same, and the events that only one of them has; pure."""
    left, right = Reader(), Reader()
    there, here = [left.event(event) for event in real], [right.event(event) for event in simulated]
    compared = 0
    found: list[Difference] = []
    matcher = difflib.SequenceMatcher(None, [name for name, _ in there], [name for name, _ in here], autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag != "equal":
            found += [explained(Difference(name, "the event", "is there", "is not")) for name, _ in there[a:b]]
            found += [explained(Difference(name, "the event", "is not", "is there")) for name, _ in here[c:d]]
            compared += max(b - a, d - c)
            continue
        for (name, one), (_, other) in zip(there[a:b], here[c:d], strict=True):
            for leaf in sorted(one.keys() | other.keys()):
                compared += 1
                values = one.get(leaf, "is not there"), other.get(leaf, "is not there")
                if values[0] != values[1]:
                    found.append(explained(Difference(name, leaf, *values)))
    return Held(compared, tuple(found))


def explained(difference: Difference) -> Difference:
    """With the reason, where one is known."""
    where = f"{difference.event}: {difference.leaf}: {difference.lab} | {difference.simulated}"
    reason = next((why for pattern, why in BY_NATURE.items() if fnmatchcase(where, pattern)), "")
    return Difference(difference.event, difference.leaf, difference.lab, difference.simulated, reason)


class Reader:
    """Reads the events of one journal with names for what is by nature another on each machine.

    Digests, UUIDs and the like are numbered by their first appearance: so it is compared which of them are the same.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, str] = {}

    def event(self, event: dict[str, object]) -> tuple[str, dict[str, str]]:
        """What the event is about, and its leaves."""
        text = json.dumps({name: value for name, value in event.items() if name not in APART})
        if setup := str(event.get("setup") or ""):
            text = re.sub(rf"(?<![0-9a-f]){setup}(?![0-9a-f])", "SETUP", text)
        leaves = {
            self.plain(path): self.plain(value) for path, value in flattened(json.loads(text)) if not TIMES.search(path)
        }
        about = [str(event.get("kind")), str(event.get("step") or "")]
        for name in ("path", "argv", "attribute", "type"):
            about += [value for path, value in leaves.items() if path.startswith(f"data.action.{name}")][:4]
        return " ".join(word for word in about if word), leaves

    def plain(self, value: str) -> str:
        """A value without what is by nature another."""
        value = DIGEST.sub(lambda found: self._number("digest", found[0]), value)
        value = NAMES.sub(lambda found: self._number("name", found[0]), value)
        return NUMBERS.sub(r"\1 …", value)

    def _number(self, kind: str, word: str) -> str:
        return self._numbers.setdefault(word, f"{kind} {len(self._numbers) + 1}")


def flattened(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Every leaf with its path; text that is JSON itself is looked into, and one of several lines is taken by lines."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        with contextlib.suppress(ValueError):
            value = json.loads(value)
    if isinstance(value, str) and "\n" in value:
        yield from ((f"{path} line {number}", line) for number, line in enumerate(value.split("\n"), 1))
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from flattened(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list) and path.endswith("as_before"):
        # Sorted by names that are others on each machine.
        yield from ((f"{path} {inner}", "is there") for inner in value)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from flattened(inner, f"{path}.{number}")
    else:
        yield path, str(value)


def table(held: dict[str, Held]) -> str:
    """A line for each row, and every difference."""
    lines = [f"{'row':<30} {'compared':>9} {'differ':>7} {'with a reason':>14}"]
    for name, one in held.items():
        known = len(one.differences) - len(one.unexplained)
        lines.append(f"{name:<30} {one.compared:>9} {len(one.unexplained):>7} {known:>14}")
    for name, one in held.items():
        for each in one.differences:
            lines.append(f"{name}: {each.event}: {each.leaf}{f'  ({each.reason})' if each.reason else ''}")
            lines += [f"    lab        {each.lab}", f"    simulated  {each.simulated}"]
    return "\n".join(lines)


def main_job(directories: list[Path]) -> int:
    """Compares each row's directory; prints the table; 0 if every difference has its reason."""
    held = {directory.name: against(directory) for directory in directories}
    print(table(held))
    return 0 if not any(one.unexplained for one in held.values()) else 1

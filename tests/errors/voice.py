"""The voice of the program: rules that every message and every hint of the list keeps, each with what breaks it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from tests.errors.listed import Entry

Rule: TypeAlias = Callable[[Entry], bool]

# What is written small at the beginning of a sentence too: its name is spelled so.
NAMES = (
    "bash booster bootctl dracut driver_override driverctl grubby ip(8) kernel-install kernelstub libvirt vCPU"
    " mkinitcpio modprobe modprobe.d rpm-ostree systemd sysfs virsh vfiostate vfiostate, vfio"
).split()
PROGRAMS = (
    "bootctl chmod chown dmesg echo efibootmgr fuser grub2-mkconfig grubby ip kernel-install kernelstub lscpu mkdir"
    " modprobe nixos-rebuild proxmox-boot-tool readlink rpm-ostree ssh systemctl udevadm umount update-grub useradd"
    " vfiostate virsh"
).split()
COMMANDS = (
    "advance audit capture completion devices doctor graph guest init journal machine metrics plan resume rollback rom"
    " status"
).split()
# What a hint does: it begins a clause with one of these, or names a command to run.
VERBS = (
    "Add Accept Ask Boot Choose Change Close Correct Decide Delete Edit End Find Give Have Install Keep Leave Let Load"
    " Look Make Mend Mount Move Name Open Pin Plug Put Read Reboot Remove Repair Report Roll Run See Set Take Try Turn"
    " Unmount Use Wait Write"
).split()
NOTHING = re.compile(
    r"Nothing (is )?to (be )?do(ne)?\b|Nothing stands in the way|It is checked again|It is seen after", re.IGNORECASE
)


def words(text: str) -> str:
    """A template without the values that come in and without what is quoted."""
    return re.sub(r"`[^`]*`|\{[^{}]*\}", "_", text)


def is_line(entry: Entry) -> bool:
    """Whether it is a row of a list, `WHERE: what was found -> what to do`, and no sentence."""
    return entry.kind == "drift"


def begins(text: str) -> bool:
    """With a capital, or with a thing under its own name: a value, a path, an option, a command, a key."""
    return re.match(r"[A-Z`{\[/-]", text) is not None or text.split(" ")[0].rstrip(":") in NAMES


def says_what_to_do(hint: str) -> bool:
    """A verb in its imperative form at the head of a clause, a command, or that nothing need be done."""
    verbs = "|".join(VERBS)
    heads = r"^|[.;:,?] |(?:^|[.?] )(?:If [^.]*, |In the firmware's setup )|\b(?:then|and|or|[^.]*?, or) "
    clauses = rf"(?:{heads})(?:{verbs}|{verbs.lower()})\b"
    return bool(re.search(clauses, hint) or re.search(r"`[a-z]", hint) or NOTHING.search(hint) or hint.startswith("{"))


def bare_commands(text: str) -> Iterator[str]:
    """Commands of ours, and of others with a word behind them, that stand in a text without backticks."""
    yield from re.findall(rf"\bvfiostate (?:{'|'.join(COMMANDS)})\b", words(text))
    yield from re.findall(rf"(?<![\w/.-])(?:{'|'.join(PROGRAMS)}) --?[a-z][\w-]*", words(text))


def expects(text: str) -> bool:
    """What is called wrong is called so with what would be right."""
    if not re.search(
        r"\b(invalid|illegal|malformed|bad|wrong|not a PCI|not an? \w+ number)\b", words(text), re.IGNORECASE
    ):
        return True
    return "expected" in text


SENTENCES: Mapping[str, Rule] = {
    "a message begins as a sentence": lambda one: begins(one.message),
    "a message ends as a sentence": lambda one: one.message.endswith("."),
    "a hint begins as a sentence": lambda one: begins(one.hint),
    "a hint ends as a sentence": lambda one: one.hint.endswith((".", ".`")) or one.hint.endswith("}"),
}
LINES: Mapping[str, Rule] = {
    "a line names its place": lambda one: one.message.startswith("{where}: "),
    "a line ends without a full stop": lambda one: not one.message.endswith(".") and not one.hint.endswith("."),
    "a line's hint begins small": lambda one: re.match(r"[a-z`{-]", one.hint) is not None,
}
RULES: Mapping[str, Rule] = {
    "it says what to do next": lambda one: says_what_to_do(one.hint),
    "no full stop is doubled": lambda one: ".." not in re.sub(r"\.\.\.|/\.\.|'\.\.'", "", one.message + " " + one.hint),
    "nothing is shouted": lambda one: "!" not in words(one.message + one.hint),
    "nothing is begged": lambda one: re.search(r"\b(please|sorry|oops)\b", one.message + one.hint, re.I) is None,
    "the level is not said twice": lambda one: re.match(r"(error|warning|fatal)\b", one.message, re.I) is None,
    "what is wrong is said with what was expected": lambda one: expects(one.message),
    "a failure says with what": lambda one: re.search(r"\bfailed\.?$", one.message) is None,
    "commands stand in backticks": lambda one: not [*bare_commands(one.message), *bare_commands(one.hint)],
    "backticks are in pairs": lambda one: one.message.count("`") % 2 == 0 and one.hint.count("`") % 2 == 0,
    "numbers are counted": lambda one: re.search(r"\w\(e?s\)", words(one.message + one.hint)) is None,
    "no space is left over": lambda one: (
        re.search(r"  | [.,;:]( |$)|^ | $", one.message + "\n" + one.hint, re.M) is None
    ),
    "no word is doubled": lambda one: re.search(r"\b([a-z]+) \1\b", words(one.message + " | " + one.hint)) is None,
    "it is told to a person who is tired": lambda one: max(map(len, re.split(r"[.:;?] ", words(one.message)))) < 200,
}


def broken(entry: Entry) -> list[str]:
    """The rules that an entry breaks, by their names."""
    form = LINES if is_line(entry) else SENTENCES
    return [name for name, keeps in {**form, **RULES}.items() if not keeps(entry)]

"""A generated grub.cfg, read: its entries, their kernels and command lines, and which of them boots next.

Sources: the GRUB manual, "The list of available commands" and "Simple configuration handling"; util/grub.d/10_linux.in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from steps import cmdline

_SECTION = re.compile(r"### BEGIN (?:.*/)?(\S+) ###")
_KERNEL = re.compile(r"(?:kernel-genkernel-[^-]+|vmlinuz|vmlinux|kernel)-(.+)")
_SET_DEFAULT = re.compile(r"\s*set\s+default=(.*)")
LINUX = frozenset({"linux", "linux16", "linuxefi"})


@dataclass(frozen=True, slots=True)
class MenuEntry:
    """One entry: the indexes and the titles and ids on the way to it, the section of grub.d it came from, the kernel
    file and the words after it (None, () where it boots no Linux), and its lines as they stand there, from the
    `menuentry` to the closing brace."""

    path: tuple[int, ...]
    titles: tuple[str, ...]
    ids: tuple[str | None, ...]
    section: str
    kernel: str | None = None
    arguments: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What the menu shows, with the submenus before it."""
        return " > ".join(self.titles)

    @property
    def release(self) -> str | None:
        """The kernel release by the name of its file, None where the name does not tell."""
        match = _KERNEL.fullmatch((self.kernel or "").rpartition("/")[2])
        return match.group(1) if match else None

    @property
    def recovery(self) -> bool:
        """Whether it is a recovery entry: by the id that 10_linux makes, the title, or its command line."""
        ident = self.ids[-1] or ""
        by_name = "-recovery-" in ident or "recovery mode" in self.titles[-1].lower()
        return by_name or cmdline.says_recovery(self.arguments)

    @property
    def generated(self) -> bool:
        """Whether it was made from /etc/default/grub, rather than by a script of the user's or for another system."""
        return self.section == "" or self.section.startswith(("10_linux", "20_linux_xen"))


def entries(content: bytes) -> tuple[MenuEntry, ...]:
    """Every entry that is no submenu, in order."""
    return tuple(_Reader(cmdline.text(content)).read())


class _Reader:
    """Walks the lines; knows where menus open and close, and leaves every other command alone."""

    def __init__(self, content: str) -> None:
        self._lines = content.splitlines()
        self._section = ""
        self._counts = [0]
        self._menus: list[tuple[str, str | None, int]] = []
        self._entry: tuple[str, str | None, int] | None = None
        self._depth = 0
        self._linux: tuple[str, ...] = ()
        self._kept: list[str] = []

    def read(self) -> Iterator[MenuEntry]:
        for line in self._lines:
            if section := _SECTION.match(line):
                self._section = section.group(1)
            words = shell_words(line)
            if self._entry is not None:
                self._kept.append(line)
            if not words or words[0].startswith("#"):
                continue
            if self._entry is not None:
                yield from self._inside(words)
            elif words[0] in {"menuentry", "submenu"} and words[-1] == "{":
                self._open(words)
                self._kept = [line]
            elif words[0] == "}" and self._menus:
                self._menus.pop()
                self._counts.pop()

    def _open(self, words: Sequence[str]) -> None:
        head = (words[1], _option_id(words), self._counts[-1])
        self._counts[-1] += 1
        if words[0] == "submenu":
            self._menus.append(head)
            self._counts.append(0)
        else:
            self._entry, self._depth, self._linux = head, 0, ()

    def _inside(self, words: Sequence[str]) -> Iterator[MenuEntry]:
        if words[0] in LINUX and len(words) > 1:
            self._linux = tuple(words[1:])
        if words[-1] == "{":
            self._depth += 1
        if words[0] != "}":
            return
        if self._depth:
            self._depth -= 1
            return
        assert self._entry is not None
        way = [*self._menus, self._entry]
        yield MenuEntry(
            tuple(index for _, _, index in way),
            tuple(title for title, _, _ in way),
            tuple(ident for _, ident, _ in way),
            self._section,
            self._linux[0] if self._linux else None,
            self._linux[1:],
            tuple(self._kept),
        )
        self._entry = None


def _option_id(words: Sequence[str]) -> str | None:
    """The entry's id: `--id X`, `--id=X`, or `$menuentry_id_option X`, which is how grub-mkconfig writes it."""
    for at, word in enumerate(words):
        if word in {"--id", "$menuentry_id_option", "${menuentry_id_option}"} and at + 1 < len(words):
            return words[at + 1]
        if word.startswith("--id="):
            return word.removeprefix("--id=")
    return None


def shell_words(line: str) -> tuple[str, ...]:
    """The words of a line of GRUB's script: quotes as in a shell, `$` left alone, a comment ends it."""
    words: list[str] = []
    word: str | None = None
    at = 0
    while at < len(line):
        char = line[at]
        if char in " \t\r":
            if word is not None:
                words.append(word)
            word = None
        elif char == "#" and word is None:
            break
        elif char == "\\" and at + 1 < len(line):
            at += 1
            word = (word or "") + line[at]
        elif char in "'\"":
            chunk, at = _quoted(line, at)
            word = (word or "") + chunk
        else:
            word = (word or "") + char
        at += 1
    return (*words, word) if word is not None else tuple(words)


def _quoted(line: str, opening: int) -> tuple[str, int]:
    """The text of a quoted run and the offset of the quote that closes it (the line's end where none does)."""
    quote, out, at = line[opening], "", opening + 1
    while at < len(line) and line[at] != quote:
        if quote == '"' and line[at] == "\\" and line[at + 1 : at + 2] in {'"', "\\", "$"}:
            at += 1
        out += line[at]
        at += 1
    return out, at


def environment(content: bytes) -> Mapping[str, str]:
    """The variables of a GRUB environment block (grubenv)."""
    lines = cmdline.text(content).splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def default_entry(content: bytes, env: Mapping[str, str], listed: Sequence[MenuEntry]) -> MenuEntry | None:
    """The entry that the next boot takes when nobody touches the keyboard; None where there is no entry.

    grub-reboot's next_entry goes first; what cannot be found means the first entry, as it does to GRUB.
    """
    chosen = env.get("next_entry") or default_name(content, env)
    by_index = _find(listed, chosen)
    return by_index or (listed[0] if listed else None)


def default_name(content: bytes, env: Mapping[str, str]) -> str:
    """What the header's `set default=` names: an id, a title or an index; the next_entry branch apart."""
    for line in cmdline.text(content).splitlines():
        if match := _SET_DEFAULT.match(line):
            value = (shell_words(match.group(1)) or ("",))[0]
            if "next_entry" in value:
                continue
            if "saved_entry" in value:
                return env.get("saved_entry", "0")
            return value
    return "0"


def _find(listed: Sequence[MenuEntry], chosen: str) -> MenuEntry | None:
    """The entry named by `a>b`, each part an id, a title or an index; a submenu alone means its first entry."""
    candidates = list(listed)
    for level, part in enumerate(chosen.split(">")):
        deep = [entry for entry in candidates if len(entry.path) > level]
        named = [entry for entry in deep if part in {entry.ids[level], entry.titles[level]}]
        candidates = named or [entry for entry in deep if part.isdecimal() and entry.path[level] == int(part)]
    return candidates[0] if candidates else None

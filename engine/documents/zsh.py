"""Completion for zsh, of the program's grammar: `_arguments` of zshcompsys(1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from engine.documents.grammar import Command, Option, Values, common
from engine.hosts.simulated.description import shipped

_HEAD = """\
#compdef vfiostate
# Completion of vfiostate(1) for zsh; made from the program's own parser.

_vfiostate_addresses() {
    # The PCI functions of this host, or of the one that --simulate or --root names; with and without their domain.
    local root=${(Q)_vfiostate_root}
    local -a full
    full=($root/sys/bus/pci/devices/*(N:t))
    [[ $PREFIX == 0000:* ]] || compadd "$@" -- ${full#0000:}
    compadd "$@" -- $full
}

_vfiostate_machines() {
    # Those that come with vfiostate, or a file.
    compadd "$@" -- @MACHINES@
    _files "$@"
}
"""

_TAIL = """
local _vfiostate_root=
local -i _vfiostate_place
for (( _vfiostate_place = 2; _vfiostate_place < CURRENT; _vfiostate_place++ )); do
    case $words[_vfiostate_place] in
        --simulate | --root) _vfiostate_root=$words[_vfiostate_place+1] ;;
        --simulate=* | --root=*) _vfiostate_root=${words[_vfiostate_place]#*=} ;;
    esac
done
_vfiostate "$@"
"""

_OFFER = {
    Values.FILES: "_files",
    Values.DIRECTORIES: "_files -/",
    Values.ADDRESSES: "_vfiostate_addresses",
    Values.ACCOUNTS: "_users",
    Values.MACHINES: "_vfiostate_machines",
    Values.ANY: " ",
}


def script(program: Command) -> str:
    """The whole file."""
    head = _HEAD.replace("@MACHINES@", " ".join(shipped()))
    return head + "\n".join(line for command in reversed(list(program.all())) for line in _function(command)) + _TAIL


def _function(command: Command) -> Iterator[str]:
    """A function for each command: its own options, and those of every command."""
    yield ""
    yield f"{_name(command)}() {{"
    specs = [spec for option in (*command.options, *common()) for spec in _specs(option)]
    if not command.below:
        yield "    _arguments -s \\"
        yield from _joined(specs)
        yield "}"
        return
    yield "    local context state state_descr line curcontext=$curcontext"
    yield "    typeset -A opt_args"
    yield "    _arguments -C -s \\"
    yield from _joined([*specs, "'1:command:->command'", "'*::words:->words'"])
    yield "    case $state in"
    yield "        command)"
    yield "            local -a commands=("
    for each in command.below:
        yield f"                {_quoted(each.name + ':' + each.summary.replace(':', chr(92) + ':'))}"
    yield "            )"
    yield "            _describe -t commands command commands"
    yield "            ;;"
    yield "        words)"
    yield "            case $line[1] in"
    for each in command.below:
        yield f"                {each.name}) {_name(each)} ;;"
    yield "            esac"
    yield "            ;;"
    yield "    esac"
    yield "}"


def _name(command: Command) -> str:
    return re.sub(r"[^a-z]", "_", f"_{command.words}") + ("_command" if command.path else "")


def _joined(specs: Iterable[str]) -> Iterator[str]:
    lines = [f"        {spec}" for spec in specs]
    yield from (f"{line} \\" for line in lines[:-1])
    yield lines[-1]


def _specs(option: Option) -> Iterator[str]:
    value = f":{_plain(option.value)}:{_offer(option)}" if option.value else ""
    if not option.names:
        yield _quoted(f"{'*' if option.repeated else ''}:{_plain(option.value)}:{_offer(option)}")
        return
    text = _plain(option.text).replace("[", r"\[").replace("]", r"\]")
    for name in option.names:
        # Said once, unless it may be said again; each spelling excludes the others.
        head = "*" if option.repeated else f"({' '.join(option.names)})"
        yield _quoted(f"{head}{name}{'=' if option.value and name.startswith('--') else ''}[{text}]{value}")


def _offer(option: Option) -> str:
    if option.values is Values.CHOICES:
        return f"({' '.join(option.choices)})"
    return _OFFER[option.values]


def _plain(text: str) -> str:
    return text.replace(":", r"\:")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"

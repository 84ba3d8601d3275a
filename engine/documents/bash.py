"""Completion for bash, of the program's grammar. It needs nothing of the package bash-completion."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator

from engine.documents.grammar import Command, Option, Values, common
from engine.hosts.simulated.description import shipped

_HEAD = """\
# Completion of vfiostate(1) for bash; made from the program's own parser.

_vfiostate_addresses()
{
    # The PCI functions of this host, or of the one in the directory $1; without their domain where the word $2 is so.
    local place full=()
    for place in "$1"/sys/bus/pci/devices/*; do
        [[ -e $place || -L $place ]] && full+=("${place##*/}")
    done
    compgen -W "${full[*]}" -- "$2" || compgen -W "${full[*]#0000:}" -- "$2"
}

_vfiostate()
{
    # bash parts words at `:` and `=`; here they are parted at blanks only.
    local line=${COMP_LINE:0:COMP_POINT} word previous='' root='' command='' current words
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    current=${words[-1]}
    unset 'words[-1]' 'words[0]'
    for word in "${words[@]}"; do
        case $previous in
            --simulate | --root) root=$word ;;
        esac
        case $previous in
            --simulate | --root | --config) previous= && continue ;;
        esac
        previous=$word
        case $word in
            --simulate=* | --root=*) root=${word#*=} ;;
        esac
        case "${command:+$command }$word" in
@COMMANDS@
        esac
    done
    if [[ $current == --*=* ]]; then
        previous=${current%%=*}
        current=${current#*=}
    fi
    COMPREPLY=()
    case "$command:$previous" in
@VALUES@
        *)
            if [[ $current == -* ]]; then
                case $command in
@OPTIONS@
                esac
            else
                case $command in
@BELOW@
                esac
            fi
            ;;
    esac
    # What lies before the last `:` is a word of its own to bash, and must not be given again.
    if [[ $current == *:* && $COMP_WORDBREAKS == *:* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${current%"${current##*:}"}"}")
    fi
}

complete -F _vfiostate vfiostate
"""

_OFFER = {
    Values.FILES: 'compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$current")',
    Values.DIRECTORIES: 'compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$current")',
    Values.ADDRESSES: 'mapfile -t COMPREPLY < <(_vfiostate_addresses "$root" "$current")',
    Values.ACCOUNTS: 'mapfile -t COMPREPLY < <(compgen -u -- "$current")',
    Values.ANY: ":",
}


def script(program: Command) -> str:
    """The whole file."""
    parts = {
        "@COMMANDS@": _commands(program),
        "@VALUES@": _values(program),
        "@OPTIONS@": _options(program),
        "@BELOW@": _below(program),
    }
    text = _HEAD
    for mark, lines in parts.items():
        text = text.replace(mark, "\n".join(lines))
    return text


def _commands(program: Command) -> Iterator[str]:
    paths = [shlex.quote(each.path) for each in program.all() if each.path]
    yield f'            {" | ".join(paths)}) command="${{command:+$command }}$word" ;;'


def _values(program: Command) -> Iterator[str]:
    for option in common():
        if option.value:
            yield _case((f"*:{name}" for name in option.names), _offer(option))
    for command in program.all():
        for option in command.options:
            if option.value and option.names:
                yield _case((f"{command.path}:{name}" for name in option.names), _offer(option))


def _case(patterns: Iterable[str], what: str) -> str:
    shown = " | ".join(one if one.startswith("*") else shlex.quote(one) for one in patterns)
    return f"        {shown}) {what} ;;"


def _offer(option: Option) -> str:
    if option.values is Values.CHOICES:
        return _among(option.choices)
    if option.values is Values.MACHINES:
        return f"{_OFFER[Values.FILES]}; {_among(shipped()).replace('COMPREPLY', '-O ${#COMPREPLY[@]} COMPREPLY')}"
    return _OFFER[option.values]


def _among(words: Iterable[str]) -> str:
    return f'mapfile -t COMPREPLY < <(compgen -W {shlex.quote(" ".join(words))} -- "$current")'


def _options(program: Command) -> Iterator[str]:
    everywhere = [name for option in common() for name in option.names]
    for command in program.all():
        names = [name for option in command.options for name in option.names]
        yield f"                    {shlex.quote(command.path)}) {_among((*names, *everywhere))} ;;"


def _below(program: Command) -> Iterator[str]:
    for command in program.all():
        if command.below:
            what = _among(each.name for each in command.below)
        else:
            arguments = [option for option in command.options if not option.names]
            what = _offer(arguments[0]) if arguments else ""
        if what:
            yield f"                    {shlex.quote(command.path)}) {what} ;;"

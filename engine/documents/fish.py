"""Completion for fish, of the program's grammar."""

from __future__ import annotations

from collections.abc import Iterator

from engine.documents.grammar import Command, Option, Values, common
from engine.hosts.simulated.description import shipped

_HEAD = """\
# Completion of vfiostate(1) for fish; made from the program's own parser.

function __vfiostate_words
    # The words on the line that are neither options nor values of the options of every command.
    set -l skip
    for word in (commandline -opc)[2..-1]
        if set -q skip[1]
            set -e skip
            continue
        end
        switch $word
            case --simulate --root --config
                set skip yes
            case '-*'
            case '*'
                echo -- $word
        end
    end
end

function __vfiostate_in
    # Whether the command line is one of these words.
    set -l words (__vfiostate_words)
    set -l last (count $argv)
    test (count $words) -ge $last; and test "$words[1..$last]" = "$argv"
end

function __vfiostate_at
    # Whether the command line has come to these words, and no further.
    test "$(__vfiostate_words | string join ' ')" = "$argv"
end

function __vfiostate_addresses
    # The PCI functions of this host, or of the one in a directory; without their domain where the word begins so.
    set -l root ''
    set -l previous ''
    for word in (commandline -opc)
        contains -- "$previous" --simulate --root; and set root $word
        set previous $word
    end
    for place in $root/sys/bus/pci/devices/*
        set -l full (basename $place)
        string match -q -- '0000:*' (commandline -ct); or string replace -r '^0000:' '' -- $full
        echo $full
    end
end

complete -c vfiostate -f
"""

_OFFER = {
    Values.FILES: "-r -F",
    Values.DIRECTORIES: "-x -a '(__fish_complete_directories)'",
    Values.ADDRESSES: "-x -a '(__vfiostate_addresses)'",
    Values.ACCOUNTS: "-x -a '(__fish_complete_users)'",
    Values.ANY: "-x",
    Values.NONE: "",
}


def script(program: Command) -> str:
    """The whole file."""
    return _HEAD + "\n".join(_lines(program)) + "\n"


def _lines(program: Command) -> Iterator[str]:
    for option in common():
        yield _option("", option)
    for command in program.all():
        where = f"-n '__vfiostate_in {command.path}'" if command.path else "-n __vfiostate_at"
        for option in command.options:
            yield _option(where, option) if option.names else _argument(command, option)
        here = f"-n '__vfiostate_at {command.path}'" if command.path else "-n __vfiostate_at"
        for each in command.below:
            yield f"complete -c vfiostate {here} -a {each.name} -d {_quoted(each.summary)}"


def _option(where: str, option: Option) -> str:
    names = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names]
    parts = ("complete -c vfiostate", where, *names, _offer(option), "-d", _quoted(option.text))
    return " ".join(filter(None, parts))


def _argument(command: Command, option: Option) -> str:
    where = f"-n '__vfiostate_in {command.path}'"
    return " ".join(filter(None, ("complete -c vfiostate", where, _offer(option).replace("-x", ""))))


def _offer(option: Option) -> str:
    if option.values is Values.CHOICES:
        return f"-x -a {_quoted(' '.join(option.choices))}"
    if option.values is Values.MACHINES:
        return f"-r -F -a {_quoted(' '.join(shipped()))}"
    return _OFFER[option.values]


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"

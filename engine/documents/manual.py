"""vfiostate(1), from the program's own parser."""

from __future__ import annotations

from collections.abc import Iterator

from engine.documents import roff, words
from engine.documents.grammar import Command, Option, common
from engine.version import VERSION

_DESCRIPTION = """\
Every change to the host is written down in a journal before it is made, with what it takes to undo it. The new kernel
command line is booted once before it becomes the default: a boot that hangs is followed by the old one.

The way leads over the states below. `vfiostate advance` takes the next step, `vfiostate plan` shows it before, as a
diff, and `vfiostate rollback` goes back. A step is taken whole or not at all: when something fails, what it had done is
taken back, and the next `vfiostate advance` tries again from what is true on the host.

Results go to standard output, everything else to standard error."""

_BEGIN = (
    "vfiostate devices",
    "sudo vfiostate init --device 03:00.0 --device 03:00.1",
    "sudo vfiostate plan --all",
    "sudo vfiostate advance --until stubbed",
    "sudo reboot",
    "sudo vfiostate advance --until running",
    "sudo vfiostate status",
)
_TRY = (
    "vfiostate --simulate /tmp/m machine create",
    "vfiostate --simulate /tmp/m init --device 03:00.0 --device 03:00.1 --stub pci-stub",
    "vfiostate --simulate /tmp/m advance --until stubbed",
    "vfiostate --simulate /tmp/m machine reboot",
    "vfiostate --simulate /tmp/m advance --until running",
    "vfiostate --simulate /tmp/m rollback",
)


def page(program: Command, date: str) -> str:
    """The whole page."""
    return "\n".join(_lines(program, date)) + "\n"


def _lines(program: Command, date: str) -> Iterator[str]:
    yield from roff.title("vfiostate", 1, date, VERSION, "User Commands")
    yield roff.section("NAME")
    yield r"vfiostate \- PCI passthrough (VFIO) on a Linux KVM host as a journaled state machine"
    yield roff.section("SYNOPSIS")
    options = f"[{roff.italic('OPTION')}]..."
    yield f"{roff.bold('vfiostate')} {options} {roff.italic('COMMAND')} {options}"
    yield roff.section("DESCRIPTION")
    yield from roff.paragraphs(program.summary, first=True)
    yield from roff.paragraphs(_DESCRIPTION)
    yield roff.section("STATES")
    yield from roff.entries((state.value, roff.sentence(text)) for state, text in words.STATES.items())
    yield roff.section("COMMANDS")
    for command in program.leaves():
        yield from _command(command)
    yield roff.section("OPTIONS OF EVERY COMMAND")
    yield from (line for option in (*common(), *program.options) for line in _option(option))
    yield roff.section("EXIT STATUS")
    yield from roff.entries((str(int(code)), roff.sentence(text)) for code, text in words.EXITS.items())
    yield from roff.entries([(words.ENDED[0], roff.sentence(words.ENDED[1]))])
    yield roff.section("FILES")
    yield from roff.entries(words.FILES.items())
    yield roff.section("ENVIRONMENT")
    yield from roff.entries(words.ENVIRONMENT.items())
    yield roff.section("EXAMPLES")
    yield from roff.paragraphs("From nothing to a guest that runs with the device:", first=True)
    yield from roff.verbatim(_BEGIN)
    yield from roff.paragraphs("The whole way there and back on a machine that is only simulated:")
    yield from roff.verbatim(_TRY)
    yield roff.section("SEE ALSO")
    see = ("vfiostate.toml(5)", "qemu-system-x86_64(1)", "virsh(1)", "modprobe.d(5)", "kernel-command-line(7)")
    yield ",\n".join(rf"{roff.bold(name)}({section}" for name, _, section in (one.partition("(") for one in see))


def _command(command: Command) -> Iterator[str]:
    yield roff.subsection(command.words)
    yield from roff.paragraphs(roff.sentence(command.summary), first=True)
    yield from roff.paragraphs(command.text)
    yield from (line for option in command.options for line in _option(option))
    if command.example:
        yield from roff.paragraphs("Example:" if len(command.example) == 1 else "Examples:")
        yield from roff.verbatim(command.example)


def _option(option: Option) -> Iterator[str]:
    yield from roff.entry(roff.spelling(option.names, option.value), roff.sentence(option.text))

"""`vfiostate audit`: every promise of the journal held against the host, for people, timers and monitoring."""

from __future__ import annotations

import argparse

from engine.cli.common import TYPE_CHECKING, add_command, add_json, session_options
from journal.errors import Exit, JournalMissingError, LockedError

if TYPE_CHECKING:
    from engine.promises.audit import Audit
    from engine.session import Session
    from engine.target import SessionOptions
    from journal.audit import Audit as Chain
    from journal.events import Json


def configure(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "audit",
        "compare every promise of the journal with the host",
        run,
        text="A line for each difference: where, what was found, what was promised by which event, what to do.\n"
        "Exit code 0 without a difference, 4 with one, 6 when the journal itself is damaged, 75 when another\n"
        "vfiostate is at work and does not end within --wait seconds. Nothing is changed, and without --record\n"
        "nothing is written: a check every five minutes must neither fill the journal nor be in the way of `advance`.\n"
        "Only the file that `metrics` in the configuration names is written at each call, for monitoring.",
        example="sudo vfiostate audit\nsudo vfiostate audit --quiet\nsudo vfiostate audit --json",
    )
    add_json(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing where there is no difference")
    parser.add_argument(
        "--record",
        action="store_true",
        help="append what was found to the journal, unless its last word on drift says the same",
    )
    parser.add_argument(
        "--wait", metavar="SECONDS", type=_seconds, default=10.0, help="for another vfiostate to end (default: 10)"
    )


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 86400:
        raise argparse.ArgumentTypeError(f"expected seconds from 0 to 86400, found {text!r}")
    return found


def run(args: argparse.Namespace) -> int:
    """Compare."""
    from engine.promises.audit import Audit

    options = session_options(args)
    _wait(options, args.wait)
    try:
        found, chain = _look(options, args.record)
    except JournalMissingError:
        found, chain = Audit(None), None
    _tell_monitoring(options, found, chain)
    if args.json:
        _show_json(found, chain)
    else:
        _show(found, chain, quiet=args.quiet)
    if chain is not None and not chain.ok:
        return Exit.DAMAGED
    return Exit.DRIFT if found.differences else Exit.DONE


def _tell_monitoring(options: SessionOptions, found: Audit, chain: Chain | None) -> None:
    """Write the file for monitoring where the configuration asks for it; what fails of it is said, and no more."""
    from engine import metrics
    from engine.target import open_host
    from journal.errors import VfiostateError

    host = open_host(options)
    try:
        path = metrics.place(host, options)
        if path is None:
            return
        import time

        metrics.write(host, path, found, whole=chain is None or chain.ok, now=time.time())
    except (VfiostateError, OSError) as error:
        from engine.console import clean, err
        from engine.effects import explain

        why = explain(error) if isinstance(error, OSError) else str(error)
        err(f"warning: the file of `metrics` in {options.config} was not written: {clean(why)}")


def _wait(options: SessionOptions, seconds: float) -> None:
    """What a run is in the middle of is no drift. Raises LockedError where it goes on for longer."""
    from engine.lock import LOCK, wait
    from engine.target import open_host

    host = open_host(options)
    pid = wait(host, seconds)
    if pid is not None:
        raise LockedError(
            f"vfiostate, process {pid}, is at work on {host.label}: what it is in the middle of is no drift.",
            evidence=(LOCK,),
            hint="Ask again when it has ended, or wait for longer with `--wait SECONDS`.",
        )


def _look(options: SessionOptions, record: bool) -> tuple[Audit, Chain]:
    from engine.progress import reporter
    from engine.promises import audit
    from engine.session import open_session

    with open_session(options, reporter(), write=record) as session:
        found, chain = audit.audit(session), _chain(session)
        if record and chain.ok and found.setup is not None and not found.setup.finished:
            audit.record(session, found.found)
    return found, chain


def _chain(session: Session) -> Chain:
    """The journal held against itself: its chain, its before-images, and the heads that the system's log has."""
    from engine.heads import remembered
    from engine.session import STATE_DIR
    from engine.states import LEGAL
    from journal.audit import audit
    from journal.images import Images

    place = session.host.local(f"{STATE_DIR}/images")
    known = remembered(session.host, {setup.id for setup in session.scribe.setups})
    return audit(session.journal, set(LEGAL), images=Images(place) if place.is_dir() else None, known=known)


def _show(found: Audit, chain: Chain | None, *, quiet: bool) -> None:
    from engine.console import DIM, RED, YELLOW, clean, out, paint

    wrong = [check for check in chain.checks if not check.ok] if chain is not None else []
    for check in wrong:
        evidence = "; ".join(check.evidence)
        said = f"journal, {check.subject.value}: {check.message}: {evidence} -> `vfiostate journal verify`"
        out(f"{paint('damaged', RED)}  {clean(said)}")
    for one in found.differences:
        out(f"{paint('drift', RED if one.grave else YELLOW)}  {_one_line(one.line)}")
    if quiet and not wrong and not found.differences:
        return
    for one in found.notes if not quiet else ():
        out(f"{paint('note', DIM)}  {_one_line(f'{one.where}: {one.found} ({one.code})')}")
    out(_summary(found, chain, len(wrong)))


def _one_line(text: str) -> str:
    from engine.console import clean

    return clean(" ".join(text.split()))


def _summary(found: Audit, chain: Chain | None, wrong: int) -> str:
    if found.setup is None:
        return "nothing was set up on this host yet: nothing is promised"
    events = f"journal of {chain.good} events {'damaged' if wrong else 'whole'}" if chain is not None else "no journal"
    if found.setup.finished:
        return f"the last setup was taken back: nothing is promised; {events}"
    count = len(found.differences)
    said = f"{count} difference{'' if count == 1 else 's'}" if count else "no difference"
    return f"setup {found.setup.id}, {found.setup.state.value}: {found.asked} promises asked about, {said}; {events}"


def _show_json(found: Audit, chain: Chain | None) -> None:
    from engine.console import out_json

    setup = found.setup
    data: dict[str, Json] = {
        "ok": not found.differences and (chain is None or chain.ok),
        "setup": setup.id if setup is not None else None,
        "state": setup.state.value if setup is not None and not setup.finished else "new",
        "asked": found.asked,
        "differences": [one.as_json() for one in found.differences],
        "notes": [one.as_json() for one in found.notes],
        "journal": chain.as_json() if chain is not None else None,
    }
    out_json("vfiostate.audit/1", data)

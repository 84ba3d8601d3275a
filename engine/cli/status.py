"""`vfiostate status`: where the setup stands."""

from __future__ import annotations

import argparse

from engine.cli.common import TYPE_CHECKING, add_command, add_json, session_options
from journal.errors import Exit, JournalMissingError

if TYPE_CHECKING:
    from engine.status import Survey
    from journal.events import Json


# Of the document for --json, always all of them.
KEYS = (
    *("state", "setup", "since", "finished", "boot", "rebooted", "drift"),
    *("resume", "unfinished", "last_failure", "failures", "next"),
)


def configure(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "status",
        "show the state, what has drifted and what comes next",
        run,
        text="Exit code 4 when something is not as the journal says. Only what is found in no time is looked at:\n"
        "`vfiostate audit` compares everything, and says what was promised and what to do.",
        example="sudo vfiostate status\nsudo vfiostate status --json",
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Show it."""
    from engine.console import out, out_json
    from engine.progress import reporter
    from engine.session import open_session
    from engine.status import first_words, survey

    options, first = session_options(args), ""
    try:
        with open_session(options, reporter(), write=False) as session:
            found = survey(session, hints="in `failures`" if args.json else "above")
    except JournalMissingError:
        found, first = None, first_words(options)
    if args.json:
        out_json("vfiostate.status/1", _as_json(found, first))
    else:
        for line in _lines(found, first):
            out(line)
    return Exit.DRIFT if found is not None and _drifted(found) else Exit.DONE


def _lines(found: Survey | None, first: str) -> list[str]:
    from engine.console import BOLD, clean, columns, paint

    if found is None or found.setup is None:
        rows = [("state", f"{paint('new', BOLD)} (nothing was set up on this host yet)")]
        return columns([*rows, ("next", found.next if found is not None else first)])
    setup = found.setup
    since = "the last setup was taken back" if setup.finished else f"since {setup.since[:19].replace('T', ' ')} UTC"
    rows = [("state", f"{paint(found.state.value, BOLD)} ({since})"), ("setup", setup.id)]
    if not setup.finished:
        if setup.since_boot:
            rows.append(("boot", f"{'' if found.rebooted else 'not '}rebooted since this state was reached"))
        rows += [("note" if one.note else "drift", f"{one.where}: {one.found}") for one in found.drift]
        rows += [] if _drifted(found) else [("drift", "none")]
        rows += [("more", "vfiostate audit (what was promised, and what to do)")] if found.drift else []
    if found.resume:
        rows.append(("resume", found.resume))
    if found.unfinished:
        rows.append(("cut short", found.unfinished))
    for number, one in enumerate(found.failures):
        rows.append(("" if number else "last failure", one.message))
        rows += [("", f"-> {one.hint}")] if one.hint else []
    return columns([(name, clean(text) if name != "state" else text) for name, text in (*rows, ("next", found.next))])


def _drifted(found: Survey) -> bool:
    if not found.drift:
        return False
    from engine.promises.difference import drifts  # not before there is one

    return bool(drifts(found.drift))


def _resume_json(found: Survey) -> Json:
    resume = found.setup.resume if found.setup is not None else None
    if resume is None:
        return None
    return {"until": resume.until.value, "tries": resume.tries, "parked": resume.parked}


def _as_json(found: Survey | None, first: str) -> dict[str, Json]:
    from steps.base import State

    if found is None or found.setup is None:
        nothing: dict[str, Json] = dict.fromkeys(KEYS)
        begun = found.next if found is not None else first
        return nothing | {"state": State.NEW.value, "drift": [], "failures": [], "next": begun}
    return {
        "state": found.state.value,
        "setup": found.setup.id,
        "since": found.setup.since,
        "finished": found.setup.finished,
        "boot": found.setup.since_boot or None,
        "rebooted": found.rebooted,
        "drift": [{"path": one.where, "found": one.found, "code": one.code} for one in found.drift if not one.note],
        "resume": _resume_json(found),
        "unfinished": found.unfinished,
        "last_failure": "; ".join(one.message for one in found.failures) or None,
        "failures": [{"message": one.message, "hint": one.hint or None} for one in found.failures],
        "next": found.next,
    }

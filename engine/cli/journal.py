"""`vfiostate journal`: what was done, when and by whom."""

from __future__ import annotations

import argparse

from engine.cli import journal_explain, journal_report, journal_show
from engine.cli.common import TYPE_CHECKING, add_command, add_json
from engine.cli.journal_place import images_of, lost_or_missing, place, setups_in
from journal.errors import Exit, JournalDamagedError, JournalError, NotAJournalError, UsageError, VfiostateError

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.hosts.base import ChangeableHost
    from journal.audit import Audit
    from journal.chain import Record
    from journal.events import Json
    from journal.rest import Rest
    from journal.salvage import Salvage

# Keys of an event whose values are hashes and numbers of our own, and name nobody.
NOT_SECRET = frozenset({"hash", "prev", "boot", "setup", "sha256", "config_sha256", "host"})


def configure(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its own commands."""
    parser = add_command(
        subparsers,
        "journal",
        "show, explain, check or export the journal",
        journal_show.run,
        text="Nothing is ever written to it by these. Damage is answered with exit code 6.",
        example="sudo vfiostate journal show\nsudo vfiostate --root /mnt journal show",
    )
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", dest="journal_command", required=True)
    journal_show.configure(verbs)
    journal_explain.configure(verbs)
    journal_report.configure(verbs)
    verify = add_command(
        verbs,
        "verify",
        "check the chain, the before-images and that the states follow the machine",
        run_verify,
        example="sudo vfiostate journal verify --json",
    )
    add_json(verify)
    export = add_command(
        verbs,
        "export",
        "write every event as a line of JSON",
        run_export,
        text="Serial numbers, MAC and other addresses, UUIDs, host and user names are replaced; the hashes stay those\n"
        "of the journal. With --complete everything stays, and the chain can be checked from the export alone.\n"
        "Of a damaged journal all that is still good is written, with a line where something is missing; exit code 6.",
        example="sudo vfiostate journal export > journal.jsonl\n"
        "sudo vfiostate journal export --complete --before-images /root/saved > /root/journal.jsonl",
    )
    export.add_argument("--complete", action="store_true", help="leave everything in")
    export.add_argument(
        "--before-images",
        metavar="DIR",
        help="also write every good before-image, as it is, to this new directory; index.tsv says which file it was",
    )


def run_verify(args: argparse.Namespace) -> int:
    """Check it; where it is damaged, say what is still good."""
    from engine.console import out_json
    from engine.heads import remembered
    from engine.session import refuse_lost
    from engine.states import LEGAL
    from journal.audit import audit
    from journal.rest import rest
    from journal.salvage import salvage
    from journal.store import Journal

    host, url = place(args)
    found: Audit | JournalError
    try:
        with lost_or_missing(host), Journal.open(url, write=False) as journal:
            known = setups_in(journal)
            found = audit(journal, set(LEGAL), images=images_of(host), known=remembered(host, known))
    except (JournalDamagedError, NotAJournalError) as error:
        found = error
    if isinstance(found, JournalError):
        saved = salvage(url)
        if not saved.records and not saved.blobs:
            raise found
        left: Rest | None = rest(url, saved, images_of(host))
    else:
        if found.ok:
            refuse_lost(host, known)
        left = None if found.ok else rest(url, salvage(url), images_of(host))
    if args.json:
        out_json("vfiostate.journal-verify/1", _as_json(host, found, left))
    else:
        _show(host, found, left)
    return Exit.DONE if left is None else Exit.DAMAGED


NEXT = (
    "save what is good: vfiostate journal export --complete --before-images DIR > FILE",
    "put a copy of the journal back that is whole and not older than the last event, if there is one; or",
    "take back what was done without the journal: sh {state}/restore.sh, then reboot; then move {state} away",
)


def _next(host: ChangeableHost) -> list[str]:
    import shlex

    from engine.session import STATE_DIR

    return [line.format(state=shlex.quote(str(host.local(STATE_DIR)))) for line in NEXT]


def _as_json(host: ChangeableHost, found: Audit | JournalError, left: Rest | None) -> dict[str, Json]:
    if isinstance(found, JournalError):
        check: dict[str, Json] = {"subject": "database", "ok": False, "checked": True, "message": found.message}
        data: dict[str, Json] = {"ok": False, "checks": [check | {"evidence": list(found.evidence)}]}
    else:
        data = found.as_json()
    return data if left is None else data | {"still_good": left.as_json(), "next": list(_next(host))}


def _show(host: ChangeableHost, found: Audit | JournalError, left: Rest | None) -> None:
    from engine.console import GREEN, RED, YELLOW, clean, out, paint

    if isinstance(found, JournalError):
        out(f"{paint('DAMAGED', RED)}  database: {clean(found.message)}")
        for line in found.evidence:
            out(f"      {clean(line)}")
    else:
        for check in found.checks:
            fine = paint("ok", GREEN) if check.checked else paint("--", YELLOW)
            out(f"{fine if check.ok else paint('DAMAGED', RED)}  {check.subject.value}: {clean(check.message)}")
            for line in check.evidence:
                out(f"      {clean(line)}")
    if left is None:
        assert not isinstance(found, JournalError)
        out(f"the journal is whole: {found.good} events")
        return
    for line in left.lines():
        out(clean(line))
    good = 0 if isinstance(found, JournalError) else found.good
    out(f"the journal is damaged; {f'the events up to number {good} are good' if good else 'it cannot be gone by'}")
    for line in _next(host):
        out(f"  -> {line}")


def run_export(args: argparse.Namespace) -> int:
    """Write it as JSON Lines; of a damaged one, what is still good."""
    import json

    from engine.capture.redact import for_host
    from engine.console import out
    from journal.store import Journal
    from journal.timeline import exported

    host, url = place(args)
    _refuse_none(host, url)
    saved = _save_beforeimages_of(args.before_images, host, url) if args.before_images is not None else None
    redactor = None if args.complete else for_host(host)

    def write(entry: dict[str, Json]) -> None:
        out(json.dumps(entry if redactor is None else redactor.json(entry, leave=NOT_SECRET), ensure_ascii=True))

    last: Record | None = None
    try:
        with Journal.open(url, write=False) as journal:
            for last in journal.records():
                write(next(exported([last])))
    except (JournalDamagedError, NotAJournalError) as error:
        _export_rest(host, url, last, write, saved, error)
    return Exit.DONE


def _refuse_none(host: ChangeableHost, url: str) -> None:
    """Raise JournalMissingError or JournalLostError where there is no journal; of a damaged one something is left."""
    from journal.store import Journal

    try:
        with lost_or_missing(host):
            Journal.open(url, write=False).close()
    except (JournalDamagedError, NotAJournalError):
        return


def _export_rest(
    host: ChangeableHost,
    url: str,
    last: Record | None,
    write: Callable[[dict[str, Json]], None],
    saved: Salvage | None,
    error: JournalError,
) -> None:
    """What is behind the damage, with a line where something is missing. Raises JournalDamagedError: what was saved."""
    from engine.heads import remembered
    from journal.chain import Record
    from journal.rest import marked, numbers
    from journal.salvage import salvage
    from journal.timeline import exported

    saved = salvage(url) if saved is None else saved
    if not saved.records:
        raise error
    setups = {event.setup for event in saved.events()}
    until = max((head.seq for head in remembered(host, setups).heads), default=0)
    behind = [record for seq, record in sorted(saved.records.items()) if last is None or seq > last.seq]
    for entry in marked(behind, last, until):
        write(next(exported([entry])) if isinstance(entry, Record) else entry)
    raise JournalDamagedError(
        f"The journal is damaged; of it {numbers(saved.ranges)} could be saved.",
        evidence=(error.message, *error.evidence),
        hint="`vfiostate journal verify` says what is damaged; `--before-images DIR` saves the files as they were.",
    )


def _save_beforeimages_of(to: str, host: ChangeableHost, url: str) -> Salvage:
    """Write each good before-image to a new directory, under its sha256, and which file it was."""
    import os
    import shutil
    from pathlib import Path

    from journal.before import Where
    from journal.rest import index, rest
    from journal.salvage import salvage

    directory = Path(to)
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        raise UsageError(
            f"--before-images {to}: it is there already.", hint="Name a directory that is not there yet."
        ) from None
    except OSError as error:
        raise VfiostateError(
            f"--before-images {to} cannot be made: {error.strerror}.",
            hint="Name a new directory in one that is there and can be written to.",
        ) from error
    saved, images = salvage(url), images_of(host)
    for digest, content in saved.blobs.items():
        with open(os.open(directory / digest, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
    for digest in rest(url, saved, images).good[Where.IMAGE]:
        assert images is not None
        shutil.copyfile(images.path(digest), directory / digest)
        (directory / digest).chmod(0o600)
    (directory / "index.tsv").write_text("\n".join(index(saved)) + "\n", encoding="utf-8")
    return saved

"""What `journal verify` finds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from journal.audit import Audit, Subject, audit
from journal.errors import JournalDamagedError
from journal.events import Draft, Json, Kind
from journal.images import Images
from journal.store import Journal
from tests.journal.support import ORIGIN, SETUP, Sqlite, digest, intent, note

LEGAL = {("new", "checked"), ("checked", "stubbed"), ("running", "rebooted"), ("checked", "new")}


def begun(setup: str = SETUP) -> Draft:
    """The first event of a setup."""
    return Draft(Kind.SETUP_CREATED, setup, {"state": "new"})


def move(source: str, target: str, setup: str = SETUP, kind: Kind = Kind.TRANSITION) -> Draft:
    """A transition."""
    return Draft(kind, setup, {"from": source, "to": target, "trigger": "t"})


def audited(tmp_path: Path, drafts: list[Draft], blobs: list[bytes] | None = None) -> Audit:
    """The audit of a journal with these events."""
    with Journal.create(tmp_path / "journal.db") as journal:
        journal.append(drafts, origin=ORIGIN, blobs=blobs or [])
        return audit(journal, LEGAL, images=Images(tmp_path / "images"))


def faults(report: Audit) -> dict[Subject, tuple[str, ...]]:
    """What is not in order, by subject."""
    return {check.subject: check.evidence for check in report.checks if not check.ok}


def test_a_good_journal_passes_every_check(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"large")
    image = Images(tmp_path / "images").keep(tmp_path / "source")
    before: dict[str, Json] = {
        "/a": {"sha256": digest(b"a"), "where": "blob"},
        "/b": {"sha256": image, "where": "image"},
        "/c": {"sha256": None},
    }
    report = audited(tmp_path, [begun(), move("new", "checked"), intent(before), move("checked", "stubbed")], [b"a"])
    assert report.ok
    assert [check.subject for check in report.checks] == list(Subject)
    assert (report.damaged, report.good, report.head.seq) == (None, 4, 4)
    told = json.loads(json.dumps(report.as_json()))
    assert told["ok"] is True
    assert len(told["checks"]) == len(Subject)


@pytest.mark.parametrize(
    ("drafts", "why"),
    [
        ([begun(), move("new", "running")], "does not allow new -> running"),
        ([begun(), move("checked", "stubbed")], "but the setup was new"),
        ([begun(), begun()], "a second time"),
        ([move("new", "checked")], "never begun"),
        ([begun(), move("bound", "rebooted", kind=Kind.HOST_REBOOTED)], "the setup was new"),
        ([begun(), begun("other"), move("new", "checked", "other"), move("checked", "stubbed")], "was new"),
    ],
)
def test_states_that_the_machine_does_not_allow_are_found(tmp_path: Path, drafts: list[Draft], why: str) -> None:
    found = faults(audited(tmp_path, drafts))
    assert list(found) == [Subject.STATES]
    assert any(why in line for line in found[Subject.STATES])


def test_the_machine_may_be_given_as_a_function(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "journal.db") as journal:
        journal.append([begun(), move("new", "new")], origin=ORIGIN)
        assert audit(journal, lambda source, target: False).ok


@pytest.mark.parametrize("statement", ["DELETE FROM blobs", "UPDATE blobs SET content = X'00'"])
def test_a_missing_or_changed_before_image_is_found(tmp_path: Path, statement: str) -> None:
    audited(tmp_path, [begun(), intent({"/a": {"sha256": digest(b"a"), "where": "blob"}})], [b"a"])
    Sqlite(str(tmp_path / "journal.db")).as_root(statement)
    with Journal.open(tmp_path / "journal.db", write=False) as journal:
        found = faults(audit(journal, LEGAL))
    assert list(found) == [Subject.BLOBS]
    assert digest(b"a") in found[Subject.BLOBS][0]


@pytest.mark.parametrize("name", [digest(b"gone"), "../../etc/shadow"])
def test_a_missing_image_is_found(tmp_path: Path, name: str) -> None:
    report = audited(tmp_path, [begun(), intent({"/boot/initrd.img": {"sha256": name, "where": "image"}})])
    assert list(faults(report)) == [Subject.IMAGES]


def test_a_gap_is_reported_with_both_its_ends_and_what_comes_before_is_called_good(tmp_path: Path) -> None:
    audited(tmp_path, [begun(), *(note(number) for number in range(9))])
    Sqlite(str(tmp_path / "journal.db")).as_root("DELETE FROM events WHERE seq IN (4, 5, 8)")
    with Journal.open(tmp_path / "journal.db", write=False) as journal:
        report = audit(journal, LEGAL)
    found = faults(report)
    assert found[Subject.CONTIGUITY] == ("after event 3 comes event 6", "after event 7 comes event 9")
    assert (report.damaged, report.good) == (4, 3)
    assert "events 1 to 3 are good" in found[Subject.CHAIN]


def test_a_database_too_damaged_to_answer_is_an_answer_and_no_exception(tmp_path: Path) -> None:
    audited(tmp_path, [begun(), *(note("x" * 1000) for _ in range(50))])
    path = tmp_path / "journal.db"
    data = bytearray(path.read_bytes())
    data[8192 : len(data) - 4096] = b"\xff" * (len(data) - 12288)
    path.write_bytes(data)
    try:
        journal = Journal.open(path, write=False)
    except JournalDamagedError:
        return
    with journal:
        report = audit(journal, LEGAL)
    assert not report.ok
    assert Subject.DATABASE in faults(report)

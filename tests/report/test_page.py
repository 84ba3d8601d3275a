"""`journal report`: one page that tells all, names nobody, and never takes the place of something else."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from engine.report import place
from engine.report.page import MARK
from journal.errors import Exit
from tests.badinput.support import copy, run
from tests.report.conftest import SECRETS
from tests.report.test_explain import Histories, damage
from tests.report.test_markup import Reader


def report(machine: Path, tmp_path: Path) -> str:
    """The report of a machine's last setup."""
    target = tmp_path / "report.html"
    run(machine, "journal", "report", "-o", str(target)).is_(0, "look at it before you give it away")
    return target.read_text(encoding="utf-8")


def text_of(page: str) -> str:
    """What a reader sees of it, on one line."""
    return " ".join(" ".join(Reader(page.partition("</style>")[2]).said).split())


SAID = {
    "failed": ["The trial boot failed", "stopped: event", "Boot 2", "+++ /etc/grub.d/42_vfiostate",
               "update-grub", "The journal is whole"],
    "back": ["as far as bound", "when the rollback was finished", "vfio-pci has them", "Boot 3", "taken back: done"],
    "drift": ["The rollback was stopped", "pci=nomsi", "IOMMU group"],
    "crash": ["cut short", "update-grub no outcome recorded", "IOMMU group"],
    "refused": ["when the step to checked was refused", "No command was run.", "No file was edited."],
}  # fmt: skip


@pytest.mark.parametrize("history", SAID)
def test_a_report_tells_all_of_a_history_and_needs_nothing_else(
    histories: Histories, tmp_path: Path, history: str
) -> None:
    page = report(histories[history], tmp_path)
    said = text_of(page)
    for words in SAID[history]:
        assert words in said, (words, said)
    assert not re.search(r"(?i)<script|<link|<img|<iframe|@import|url\(|https?:", page)
    assert "default-src 'none'" in page


def test_a_report_names_nobody(histories: Histories, tmp_path: Path) -> None:
    for history in ("failed", "drift", "back"):
        page = report(histories[history], tmp_path)
        for secret in SECRETS:
            assert secret not in page.lower() and secret not in page, (history, secret)
    # The line they stand in is there: it is beside the edit of /etc/default/grub, and what it says is text.
    assert "# &lt;b&gt;user&lt;/b&gt;@host serial-1: 02:00:00:00:00:01 has 192.0.2.1" in page


def test_the_drivers_before_meanwhile_and_after_are_those_that_were_recorded(
    histories: Histories, tmp_path: Path
) -> None:
    said = text_of(report(histories["back"], tmp_path))
    before, meanwhile, after = re.findall(r"IOMMU group \d+: 0000:01:00\.0, ([\w-]+)\.", said)[:3]
    assert (before, meanwhile, after) == ("bochs-drm", "vfio-pci", "bochs-drm")


def test_a_report_takes_the_place_of_an_older_one_and_of_nothing_else(histories: Histories, tmp_path: Path) -> None:
    machine, target = histories["refused"], tmp_path / "page.html"
    target.write_text("mine")
    run(machine, "journal", "report", "-o", str(target)).is_(Exit.REFUSED, "no report of vfiostate").with_hint()
    assert target.read_text() == "mine"
    run(machine, "journal", "report", "-o", str(target), "--force").is_(0)
    assert target.read_text().startswith(MARK)
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    run(machine, "journal", "report", "-o", str(target)).is_(0)
    run(machine, "journal", "report", "-o", str(tmp_path)).is_(Exit.USAGE, "is no file")
    # With `--force` nothing either: to root it would have been gone for every program.
    linked = os.readlink("/dev/stdout")
    for force in ((), ("--force",)):
        run(machine, "journal", "report", "-o", "/dev/stdout", *force).is_(Exit.USAGE, "/dev/stdout is no file")
    assert os.readlink("/dev/stdout") == linked
    run(machine, "journal", "report", "-o", str(tmp_path / "no/where.html")).is_(1, "No such file").with_hint()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html"]


def test_a_dash_stands_for_standard_output_and_makes_no_file(
    histories: Histories, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    machine = histories["refused"]
    answer = run(machine, "journal", "report", "-o", "-").is_(0)
    assert answer.out.startswith(MARK) and answer.out.endswith("</html>\n") and answer.err == ""
    captured = run(machine, "capture", "-o", "-").is_(0)
    assert captured.out == run(machine, "capture").is_(0).out and captured.err == ""
    run(machine, "rom", "03:00.0", "-o", "-").is_(Exit.USAGE, "not written to standard output").with_hint()
    assert not list(tmp_path.iterdir())


def test_a_symlink_in_the_place_of_the_report_is_never_followed(histories: Histories, tmp_path: Path) -> None:
    victim, target = tmp_path / "victim", tmp_path / "page.html"
    victim.write_text(MARK)
    target.symlink_to(victim)
    run(histories["refused"], "journal", "report", "-o", str(target)).is_(Exit.REFUSED)
    run(histories["refused"], "journal", "report", "-o", str(target), "--force").is_(0)
    assert victim.read_text() == MARK
    assert not target.is_symlink()


def test_a_report_that_cannot_be_written_whole_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "page.html"
    place.put(str(target), MARK + "old", kind="report", mark=MARK)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Exception, match="No space left"):
        place.put(str(target), MARK + "new", kind="report", mark=MARK)
    assert target.read_text() == MARK + "old"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_of_a_damaged_journal_what_is_good_is_reported_with_the_damage(histories: Histories, tmp_path: Path) -> None:
    machine, target = copy(histories["failed"], tmp_path / "machine"), tmp_path / "page.html"
    damage(machine, 20)
    run(machine, "journal", "report", "-o", str(target)).is_(Exit.DAMAGED, "Event 20")
    said = text_of(target.read_text())
    assert "The journal is damaged; the events up to number 19 are good." in said
    assert "The step to modules_loaded was taken" in said

"""`journal explain`: from the events alone, in plain sentences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from journal.errors import Exit
from tests.badinput.support import GRUB, JOURNAL, copy, events, run, unchanged
from tests.project.test_rooms import TOP, imports

Histories = dict[str, Path]


def answer(machine: Path, title: str) -> str:
    """What stands under a title, on one line."""
    text = run(machine, "journal", "explain").is_(0).out
    found = text.partition(f"\n{title}:\n")[2].partition("\n\n")[0]
    assert found, text
    return " ".join(found.split())


SAID = [
    ("failed", "Where it stands", ["It is `stubbed`, since 20"]),
    ("failed", "What happened", ["The step to `stubbed` was taken: 6 actions.", "booted anew: boot 2."]),
    ("failed", "What failed", ["The step to `rebooted` was refused: The trial boot failed", "-> Try"]),
    ("failed", "What is changed on the host now", ["Made /etc/grub.d/42_vfiostate.", "wrote /boot/grub/grub.cfg"]),
    ("failed", "What `vfiostate advance` would do", ["refused again", "`vfiostate advance --again` stages it"]),
    ("failed", "What `vfiostate rollback` would do", ["/etc/modules", "next_entry=vfiostate-trial: run grub-e"]),
    ("back", "Where it stands", ["as far as `bound`, and was taken back: the rollback is finished"]),
    ("back", "What happened", ["A rollback from `bound` to `new` was begun.", "boot 3.", "files compared as before."]),
    ("back", "What is changed on the host now", ["Nothing of ours: all was taken back."]),
    ("back", "What `vfiostate advance` would do", ["begins a new setup"]),
    ("back", "What `vfiostate rollback` would do", ["nothing to take back"]),
    ("drift", "Where it stands", ["It is `rebooted`"]),
    ("drift", "What failed", ["The rollback was stopped before it changed anything: ", "pci=nomsi"]),
    ("drift", "What `vfiostate rollback` would do", ["/etc/default/grub", "asks for a reboot"]),
    ("crash", "Where it stands", ["It is `modules_loaded`", "The last run was cut short: 1 action without an outcome"]),
    ("crash", "What is changed on the host now", ["Ran update-grub. Whether it came to that is not recorded"]),
    ("crash", "What `vfiostate advance` would do", ["looks first at the host", "takes back what is left of the unf"]),
    ("crash", "What `vfiostate rollback` would do", ["looks first at the host for how 1 action ended"]),
    ("refused", "What failed", ["The step to `checked` was refused", "0000:09:00.1"]),
    ("refused", "What is changed on the host now", ["Nothing."]),
]  # fmt: skip


@pytest.mark.parametrize(("history", "title", "words"), SAID, ids=[f"{one}: {title}" for one, title, _ in SAID])
def test_each_question_is_answered_from_what_was_recorded(
    histories: Histories, history: str, title: str, words: list[str]
) -> None:
    said = answer(histories[history], title)
    for word in words:
        assert word in said, said


def test_what_a_boot_has_ended_is_not_said_to_be_on_the_host(histories: Histories) -> None:
    assert "modprobe vfio" in answer(histories["crash"], "What is changed on the host now")
    for history in ("failed", "drift"):
        for title in ("What is changed on the host now", "What `vfiostate rollback` would do"):
            assert "modprobe vfio" not in answer(histories[history], title)


def test_what_came_and_went_on_the_way_is_not_said_to_be_on_the_host(histories: Histories) -> None:
    assert "Made /etc/grub.d/42_vfiostate" in answer(histories["failed"], "What is changed on the host now")
    assert "42_vfiostate" not in answer(histories["drift"], "What is changed on the host now")


def test_what_is_said_to_be_changed_is_what_the_rollback_then_compares(histories: Histories, tmp_path: Path) -> None:
    machine = copy(histories["failed"], tmp_path / "machine")
    said = answer(machine, "What `vfiostate rollback` would do").split()
    lines = run(machine, "rollback").is_(0).out.splitlines()
    compared = [line.removeprefix("as before: ").removeprefix("gone again: ") for line in lines]
    touched = [path for path in compared if path.startswith("/") and not path.endswith(".new")]
    assert touched
    assert set(touched) <= set(said)


def test_a_run_that_was_cut_short_is_told_once_the_next_has_settled_it(histories: Histories, tmp_path: Path) -> None:
    machine = copy(histories["crash"], tmp_path / "machine")
    run(machine, "advance").is_(0)
    said = answer(machine, "What happened")
    assert "A run had been cut short: the next one looked up on the host how one action had ended." in said
    assert "The step to `stubbed` was taken: 6 actions." in said


def test_an_older_setup_is_explained_by_the_beginning_of_its_id(histories: Histories) -> None:
    machine = histories["refused"]
    first, second = dict.fromkeys(event.setup for event in events(machine))
    assert f"setup {second}" in run(machine, "journal", "explain").is_(0).out
    assert "as far as `bound`" in run(machine, "journal", "explain", first[:6]).is_(0).out
    run(machine, "journal", "explain", "xyz").is_(64, "knows no such setup", first, second)


def test_nothing_of_the_host_but_its_journal_is_looked_at(histories: Histories, tmp_path: Path) -> None:
    machine = copy(histories["failed"], tmp_path / "machine")
    before = run(machine, "journal", "explain").out
    (machine / GRUB).write_text("something else")
    (machine / "etc/modules").unlink()
    with unchanged(machine):
        assert run(machine, "journal", "explain").out == before
    pure = ("engine/explain/explanation.py", "engine/explain/account.py", "engine/explain/outlook.py")
    for name in pure:
        assert not {"engine.session", "engine.target", "steps.base.Host"} & set(imports(TOP / name))


def test_as_json_it_is_one_document_with_the_same_lines(histories: Histories) -> None:
    data = json.loads(run(histories["failed"], "journal", "explain", "--json").is_(0).out)
    assert (data["schema"], data["state"], data["furthest"]) == ("vfiostate.journal-explain/1", "stubbed", "stubbed")
    failed = next(section for section in data["sections"] if section["title"] == "What failed")
    assert failed["lines"][0]["event"] and failed["lines"][0]["details"][-1].startswith("-> ")


def test_of_a_damaged_journal_what_comes_before_the_damage_is_explained(histories: Histories, tmp_path: Path) -> None:
    machine = copy(histories["failed"], tmp_path / "machine")
    damage(machine, 20)
    shown = run(machine, "journal", "explain").is_(Exit.DAMAGED, "Event 20 of the journal is damaged")
    assert "The step to `modules_loaded` was taken" in shown.out
    assert "`rebooted` was refused" not in shown.out


def damage(machine: Path, seq: int) -> None:
    """Change the content of an event behind the journal's back."""
    import sqlite3

    with sqlite3.connect(machine / JOURNAL) as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f'DROP TRIGGER "{name}"')
        database.execute("UPDATE events SET body = body || ' ' WHERE seq = ?", (seq,))
    database.close()

"""The table at the end of a run of the lab."""

from __future__ import annotations

from pathlib import Path

from tests.lab_unit.labkit import module

report = module("report")


def test_a_run_without_checks_has_not_passed(tmp_path: Path) -> None:
    assert not report.Report(tmp_path).passed


def test_one_check_that_does_not_hold_fails_the_run(tmp_path: Path) -> None:
    run = report.Report(tmp_path)
    with run.phase("one"):
        assert run.equal("two and two", 4, 4)
        assert not run.equal("the state", "bound", "running")
    assert not run.passed
    table = run.table()
    assert "  ok     two and two: 4" in table
    assert "  NOT OK the state: 'bound', expected 'running'" in table
    assert table.endswith("s") and "1 NOT OK" in table


def test_report_and_table_are_kept(tmp_path: Path) -> None:
    run = report.Report(tmp_path)
    with run.phase("one"):
        run.check("it is so", True)
    run.write()
    assert run.passed
    assert "all ok" in (tmp_path / "table.txt").read_text()
    assert '"passed": true' in (tmp_path / "report.json").read_text()

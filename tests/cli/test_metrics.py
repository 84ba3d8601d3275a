"""What `audit` writes for monitoring: read by Prometheus' own parser, and only where it is asked for."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from engine.config import parse, sha256
from steps.base import State
from tests.cli.conftest import Run

INIT = ("init", "--device", "03:00.0", "--device", "03:00.1", "--stub", "pci-stub")
METRICS = "/var/lib/node/vfiostate.prom"


def samples(text: str) -> dict[str, float]:
    """Every sample by its name, that of the state by its label; each family must have words and a type."""
    parser = pytest.importorskip("prometheus_client.parser", reason="prometheus-client is not installed")
    found = {}
    for family in parser.text_string_to_metric_families(text):
        assert family.type == "gauge"
        assert family.documentation.endswith(".")
        for sample in family.samples:
            found[" ".join((sample.name, *sample.labels.values()))] = sample.value
    return found


@pytest.fixture
def asked(machine: Path, run: Run) -> Path:
    """The article's machine, configured and with the file asked for; where that will lie."""
    assert run(*INIT).code == 0
    config = machine / "etc/vfiostate.toml"
    config.write_text(f'metrics = "{METRICS}"\n' + config.read_text(encoding="utf-8"), encoding="utf-8")
    place = machine / METRICS[1:]
    place.parent.mkdir(parents=True)
    return place


def test_without_being_asked_no_file_is_written(machine: Path, run: Run) -> None:
    assert run(*INIT).code == 0
    before = set(machine.rglob("*.prom"))
    assert run("audit").code == 0
    assert set(machine.rglob("*.prom")) == before == set()


def test_the_file_says_state_since_when_and_differences(asked: Path, machine: Path, run: Run) -> None:
    assert run("audit").code == 0
    first = samples(asked.read_text())
    assert first["vfiostate_state new"] == 1
    assert "vfiostate_state_since_timestamp_seconds" not in first
    begun = time.time()
    assert run("advance", "--until", "modules_loaded").code == 0
    assert run("audit").code == 0
    found = samples(asked.read_text())
    assert [found[f"vfiostate_state {state.value}"] for state in State] == [0, 0, 1, 0, 0, 0, 0]
    assert begun - 1 <= found["vfiostate_state_since_timestamp_seconds"] <= time.time()
    assert found["vfiostate_drift_differences"] == 0
    assert found["vfiostate_journal_whole"] == 1
    assert "vfiostate_last_failure_timestamp_seconds" not in found
    (machine / "etc/modules").write_text("# emptied\n")
    assert run("audit").code == 4
    assert samples(asked.read_text())["vfiostate_drift_differences"] >= 1


def test_a_failure_is_told_with_its_time(asked: Path, machine: Path, run: Run) -> None:
    assert run("advance").code == 0
    config = machine / "etc/vfiostate.toml"
    config.write_text("iommu_pt = true\n" + config.read_text().replace("\niommu_pt = false", ""))
    assert run("advance").code == 5
    run("audit")
    failed = samples(asked.read_text())["vfiostate_last_failure_timestamp_seconds"]
    assert time.time() - 600 < failed <= time.time()


def test_it_may_be_asked_for_at_any_time(asked: Path, machine: Path, run: Run) -> None:
    config = machine / "etc/vfiostate.toml"
    with_it = config.read_text()
    assert run("advance").code == 0
    config.write_text(with_it.replace(f'metrics = "{METRICS}"\n', ""))
    assert sha256(parse(with_it.encode())) == sha256(parse(config.read_bytes()))
    assert run("advance").code == 0


def test_a_file_that_cannot_be_written_is_said_and_changes_no_exit_code(asked: Path, run: Run) -> None:
    asked.parent.rmdir()
    said = run("audit")
    assert said.code == 0
    assert "was not written" in said.err


def test_nothing_but_the_file_lies_in_the_collectors_directory(asked: Path, run: Run) -> None:
    for _ in range(2):
        assert run("audit").code == 0
    assert [path.name for path in asked.parent.iterdir()] == ["vfiostate.prom"]
    assert asked.stat().st_mode & 0o777 == 0o644


def test_a_file_that_cannot_be_written_is_named_by_its_directory(asked: Path, run: Run) -> None:
    asked.parent.rmdir()
    answer = run("audit")
    assert answer.code == 0
    assert f"No such file or directory (ENOENT): {asked.parent}" in answer.err
    assert ".tmp" not in answer.err

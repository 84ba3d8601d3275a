"""Systems of deployments: what is particular of them, beside what is promised of every boot loader."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.hosts.simulated.doubles.base import CALLS
from engine.hosts.simulated.loaders import of
from engine.hosts.simulated.machine import Machine
from tests.badinput.support import At, copy, roll_back, run, unchanged
from tests.field.support import IDS, LAB, command, has_token, made, reboot, redescribed, words
from tests.loaders.systems.ostree import atomic

OWN = "vfio-pci.ids=10de:1200"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`modules_loaded`; and `stubbed`, without a trial; the user has ids of his own on the command line."""
    base = tmp_path_factory.mktemp("ostree")
    machine = made(base, "debian12-lab", *LAB, change=atomic)
    command(machine, "rpm-ostree", "kargs", f"--append={OWN}")
    reboot(machine)
    run(machine, "advance", "--until", "modules_loaded").is_(0)
    found = {"modules_loaded": copy(machine, base / "modules_loaded")}
    run(machine, "advance", "--no-trial").is_(0)
    return {**found, "stubbed": machine}


def calls(machine: Path) -> list[str]:
    """What changed the deployments."""
    return (machine / CALLS.lstrip("/")).read_text().splitlines()


def menu(machine: Path) -> list[list[str]]:
    """The words of each deployment, what boots next first."""
    model = Machine(machine)
    return [list(item.words) for item in of(model).menu(model)]


def test_a_word_whose_name_the_user_has_given_too_is_appended_outright(at: At) -> None:
    machine = at("stubbed")
    token = next(word for word in menu(machine)[0] if word.startswith("vfiostate.setup="))
    ids = IDS.replace("=", "=10de:1200,")
    assert calls(machine)[-1] == f"rpm-ostree kargs --append-if-missing={token} --append={ids}"
    assert menu(machine)[0][-3:] == [OWN, token, ids]
    assert has_token(menu(machine)[0]) and not has_token(menu(machine)[1])


def test_the_way_back_is_one_more_deployment_and_takes_effect_with_the_boot(at: At) -> None:
    machine = at("stubbed")
    reboot(machine)
    assert has_token(words(machine))
    run(machine, "rollback").is_(3, "a reboot is left")
    assert calls(machine)[-1].startswith("rpm-ostree kargs --delete-if-present=vfiostate.setup=")
    assert menu(machine)[0][-1] == OWN and has_token(menu(machine)[1])
    roll_back(machine)
    assert words(machine)[-1] == OWN


def test_the_plan_says_what_taking_it_back_makes(at: At) -> None:
    text = run(at("modules_loaded"), "plan", "--no-trial").text
    assert "the present one stays in the menu" in text and "makes one more" in text


@pytest.mark.parametrize(
    ("matching", "stdout", "status"),
    [("status", "", 1), ("status", "{}", 0), ("status", '{"deployments": []}', 0), ("kargs", "", 1)],
)
def test_an_rpm_ostree_that_does_not_answer_is_refused(at: At, matching: str, stdout: str, status: int) -> None:
    machine = at("modules_loaded")
    fault = {"status": status, "stdout": stdout, "stderr": "error: no bus\n" * status, "matching": matching}
    redescribed(machine, lambda description: description.update(faults={"commands": {"rpm-ostree": fault}}))
    with unchanged(machine):
        run(machine, "advance", "--no-trial").is_(5, "rpm-ostree").with_hint()


def test_where_rpm_ostree_fails_on_the_way_back_it_is_said_and_can_be_run_again(at: At) -> None:
    machine = at("stubbed")
    token = next(word for word in menu(machine)[0] if word.startswith("vfiostate.setup="))
    fault = {"status": 1, "stderr": "error: transaction in progress\n", "matching": f"--delete-if-present={token}"}
    redescribed(machine, lambda description: description.update(faults={"commands": {"rpm-ostree": fault}}))
    run(machine, "rollback").is_(1, "transaction in progress")
    assert has_token(menu(machine)[0])
    redescribed(machine, lambda description: description.update(faults={}))
    roll_back(machine)
    assert menu(machine)[0][-1] == OWN

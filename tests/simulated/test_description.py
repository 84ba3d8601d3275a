"""The machine description: read with every value checked, written so that it reads the same."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import pytest

from engine.hosts.simulated import description, parts
from engine.hosts.simulated.host import SimulatedHost
from journal.errors import ConfigurationError
from journal.events import Json

FORMAT = Path(description.__file__).with_name("FORMAT.md")


@pytest.mark.parametrize("name", description.shipped())
def test_a_shipped_machine_reads_as_it_is_written(name: str) -> None:
    text = (description.MACHINES / f"{name}.json").read_text(encoding="utf-8")
    assert description.render(description.parse(json.loads(text))) == text


def test_the_machines_that_the_issue_asks_for_are_shipped() -> None:
    assert {"article", "intel-twins", "iommu-off", "shared-group", "debian12-lab"} <= set(description.shipped())


def changed(way: list[str | int], value: Json) -> Json:
    found: Json = json.loads((description.MACHINES / "article.json").read_text(encoding="utf-8"))
    found = copy.deepcopy(found)
    place: Json = found
    for key in way[:-1]:
        place = place[key]  # type: ignore[index]
    place[way[-1]] = value  # type: ignore[index]
    return found


@pytest.mark.parametrize(
    ("way", "value", "named"),
    [
        (["format"], "something", "format"),
        (["version"], 2, "version 2"),
        (["version"], "1", "version"),
        (["nmae"], "x", "unknown key nmae"),
        (["name"], "../../etc", "name"),
        (["kernels"], [], "kernels"),
        (["kernels", 0, "release"], "../3.11", "kernels[0].release"),
        (["kernels", 0, "modules", "ahci", "file"], "../../../etc/passwd.ko", "kernels[0].modules['ahci'].file"),
        (["kernels", 0, "modules", "ahci", "builtin"], "yes", "kernels[0].modules['ahci'].builtin"),
        (["functions", 1, "address"], "00:12.0", "functions[1].address"),
        (["functions", 1, "address"], "0000:00:00.0", "each address once"),
        (["functions", 1, "vendor"], "0x1002", "functions[1].vendor"),
        (["functions", 1, "vendor"], 4098, "functions[1].vendor"),
        (["functions", 1, "parent"], "0000:77:00.0", "0000:77:00.0"),
        (["functions", 1, "resources"], [["0x1"]], "functions[1].resources[0]"),
        (["files", "/etc/../../x"], {}, "files"),
        (["files", "relative"], {}, "files"),
        (["files", "/etc/x"], {"mode": "rw"}, "mode"),
        (["commands"], ["modprobe"], "commands"),
        (["interfaces", 0, "name"], "../eth0", "interfaces[0].name"),
        (["iommu"], "arm", "iommu"),
    ],
)
def test_what_is_wrong_in_a_description_is_named(way: list[str | int], value: Json, named: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        description.parse(changed(way, value))
    assert named in raised.value.message


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "\x00", '{"format": "vfiostate-machine"}'])
def test_a_file_that_is_no_description_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "machine.json"
    file.write_text(text)
    with pytest.raises(ConfigurationError):
        description.find(str(file))


def test_an_unknown_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError) as raised:
        description.find("atricle")
    assert "article" in raised.value.hint


def test_a_machine_is_made_in_an_empty_directory_only(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    with pytest.raises(ConfigurationError):
        SimulatedHost.create(tmp_path, description.find("article"))
    assert [one.name for one in tmp_path.iterdir()] == ["precious"]
    with pytest.raises(ConfigurationError):
        SimulatedHost(tmp_path)


def test_every_field_is_documented() -> None:
    text = FORMAT.read_text(encoding="utf-8")
    for kind in (
        parts.Description,
        parts.Kernel,
        parts.Module,
        parts.Function,
        parts.Disk,
        parts.Mount,
        parts.Interface,
        parts.TextFile,
    ):
        for one in dataclasses.fields(kind):
            assert f"`{one.name}`" in text, f"{kind.__name__}.{one.name} is not in FORMAT.md"

"""The rows of the lab's matrix and the images that they need."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.lab_unit.labkit import module

rows, recipe, disk, image, matrix, report = (
    module(name) for name in ("rows", "recipe", "disk", "image", "matrix", "report")
)
base = module("base")


def test_every_value_is_in_a_row_at_least_once() -> None:
    whole = [row for row in rows.ROWS.values() if row in rows.hosts.ROWS]
    assert {row.recipe.suite for row in whole} == {"bookworm", "trixie"}
    assert {row.recipe.loader for row in whole} == set(recipe.LOADERS)
    assert {row.recipe.generator for row in whole} == set(recipe.GENERATORS)
    assert {row.shape.iommu for row in whole} == {"intel", "amd"}
    assert {row.stub for row in whole} == {"vfio-pci", "pci-stub"}


def test_each_generator_and_each_firmware_is_on_both_releases() -> None:
    pairs = {(row.recipe.suite, row.recipe.generator) for row in rows.hosts.ROWS}
    assert len(pairs) == 4
    assert len({(row.recipe.suite, bool(row.recipe.esp)) for row in rows.hosts.ROWS}) == 4


def test_names_and_images_are_as_many_as_there_are_rows_and_recipes() -> None:
    every = [*rows.hosts.ROWS, *rows.cards.ROWS, *rows.packages.ROWS, *rows.refused.ROWS, *rows.surprises.ROWS]
    assert len(rows.ROWS) == len(every)
    recipes = {row.recipe for row in every}
    assert len({image.image_path(one) for one in recipes}) == len(recipes)


def test_a_row_that_is_not_there_is_said_with_those_that_are() -> None:
    with pytest.raises(base.LabError, match=r"no row nonsense\n.*debian12-grub"):
        rows.named(["nonsense"])


def test_a_change_of_a_recipe_is_another_image() -> None:
    assert image.image_path(recipe.Recipe()) != image.image_path(recipe.Recipe(more=("mdadm",)))


def test_partitions_of_a_gpt_do_not_overlap_and_leave_room_for_its_copy() -> None:
    text = disk.gpt(disk.FIRST + disk.ESP_MIB * 2**20, 1000)
    first, second = (dict(word.strip().split("=") for word in line.split(",")) for line in text.splitlines()[1:])
    assert int(first["start"]) + int(first["size"]) == int(second["start"])
    assert int(second["size"]) == 2000


def test_a_row_that_fails_is_named_below_the_table(tmp_path: Path) -> None:
    one = report.Report(tmp_path)
    one.check("the state", False)
    text = matrix.table([(rows.ROWS["debian13-uki"], one, 61.0)])
    assert "NOT OK debian13-uki" in text and text.endswith("0 of 1 rows, 1 checks, 61 s")


def test_a_row_is_proven_until_it_fails_or_its_recipe_changes(tmp_path: Path) -> None:
    path = tmp_path / "proven.json"
    row, good, bad = rows.ROWS["debian13-uki"], report.Report(tmp_path), report.Report(tmp_path)
    good.check("the state", True)
    bad.check("the state", False)
    matrix.write_down([(row, good, 61.4)], path)
    assert json.loads(path.read_text())["debian13-uki"] | {"day": ""} == {
        "checks": 1, "seconds": 61, "day": "", "recipe": row.recipe.key,
    }  # fmt: skip
    matrix.write_down([(row, bad, 61.4)], path)
    assert json.loads(path.read_text()) == {}


def test_what_is_written_down_as_proven_is_a_row() -> None:
    assert set(matrix.proven()) <= set(rows.ROWS)

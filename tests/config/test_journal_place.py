"""Where `journal_url` puts the journal."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.cli import main
from engine.config import decode, encode
from engine.hosts.linux import LinuxHost
from engine.session import journal_url
from engine.target import SessionOptions
from steps.config import Config, Device

DEVICE = Device("0000:03:00.0", "10de:1200")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    for directory in (tree, tree / "etc"):
        directory.mkdir(mode=0o755)
    return tree


def _written(tree: Path, url: str) -> str | None:
    text = f'journal_url = "{url}"\n[[devices]]\naddress = "{DEVICE.address}"\nid = "{DEVICE.id}"\n'
    (tree / "etc/vfiostate.toml").write_text(text)
    (tree / "etc/vfiostate.toml").chmod(0o644)
    return journal_url(LinuxHost(tree), SessionOptions(root=tree))


def test_a_sqlite_file_lies_below_the_root_also_by_a_link_that_leads_out(tree: Path) -> None:
    (tree / "srv").mkdir()
    (tree / "srv/away.db").symlink_to("/elsewhere/x.db")
    assert _written(tree, "sqlite:////srv/x.db") == f"{tree}/srv/x.db"
    assert _written(tree, "sqlite+pysqlite:////srv/../../x.db?timeout=5") == f"{tree}/x.db"
    assert _written(tree, "sqlite:////srv/away.db") == f"{tree}/elsewhere/x.db"


def test_another_database_is_where_its_url_says(tree: Path) -> None:
    url = "postgresql+psycopg://me@host/db"
    assert _written(tree, url) == url


def test_a_simulated_machine_has_its_journal_below_its_directory(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    machine, outside = tmp_path / "m", tmp_path / "outside/x.db"
    here = ("--simulate", str(machine))
    assert main([*here, "machine", "create"]) == 0
    assert main([*here, "init", "--device", "03:00.0", "--device", "03:00.1"]) == 0
    config = machine / "etc/vfiostate.toml"
    config.write_text(f'journal_url = "sqlite:///{outside}"\n' + config.read_text())
    assert main([*here, "advance"]) == 0
    assert not outside.exists()
    assert Path(f"{machine}{outside}").is_file()
    capfd.readouterr()
    assert main([*here, "status"]) == 0
    assert "checked" in capfd.readouterr().out


def test_a_journal_that_was_begun_with_a_relative_path_is_still_understood() -> None:
    config = Config((DEVICE,), journal_url="sqlite:///rel.db")
    assert decode(encode(config)) == config

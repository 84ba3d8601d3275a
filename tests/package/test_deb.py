"""The package for Debian, installed, used and removed in a Debian 12 and a Debian 13 by their own dpkg and Python."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.documents import documents
from tests.package import root

TOP = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed"),
]
# Where something writes to files in place; dpkg renames what it has unpacked.
CHANGED = ("etc", "var", "tmp", "run")
STATE = "var/lib/vfiostate"
INIT = ("init", "--device", "03:00.0", "--device", "03:00.1", "--stub", "pci-stub")


class System:
    """A Debian with the package in it."""

    def __init__(self, directory: Path) -> None:
        self.root = directory

    def run(self, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command in it."""
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
        }
        return subprocess.run(
            ("chroot", self.root, *argv), input=stdin, capture_output=True, text=True, env=environment, check=False
        )

    def done(self, *argv: str, stdin: str = "") -> str:
        """Run a command that must succeed: what it said on both of its streams."""
        done = self.run(*argv, stdin=stdin)
        assert done.returncode == 0, (argv, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def simulated(self, *argv: str) -> str:
        """Run the program on a simulated machine in it."""
        return self.done("vfiostate", "--simulate", "/tmp/m", *argv)

    def begin(self) -> None:
        """Let the host itself have an active setup: that of the simulated machine, as it lies on the disk."""
        self.simulated("machine", "create")
        self.simulated(*INIT)
        self.simulated("advance", "--until", "modules_loaded")
        self.done("cp", "-a", f"/tmp/m/{STATE}", f"/{STATE}")
        assert (self.root / STATE / "restore.sh").exists()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, or the one that VFIOSTATE_TEST_DEB names."""
    given = os.environ.get("VFIOSTATE_TEST_DEB")
    if given:
        return Path(given)
    target = tmp_path_factory.mktemp("deb")
    done = subprocess.run((TOP / "scripts/package", "deb", target), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (made,) = target.glob("*.deb")
    return made


def copy_of(source: Path, target: Path) -> System:
    """A copy of a root: hard links, and files of its own where something writes to them in place."""
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(("cp", "-al", source, target), check=True)
    for name in CHANGED:
        shutil.rmtree(target / name)
        subprocess.run(("cp", "-a", source / name, target / name), check=True)
    return System(target)


@pytest.fixture(scope="module", params=root.SUITES)
def installed(request: pytest.FixtureRequest, package: Path) -> Iterator[System]:
    """A Debian of that suite with the package installed, in a copy of the cached root beside it."""
    reason = root.missing(request.param)
    if reason is not None:
        pytest.skip(reason)
    cached = root.place(request.param)
    found = copy_of(cached, cached.with_name(f"{cached.name}.installed-{os.getpid()}"))
    for name in ("null", "urandom", "random"):
        if not (found.root / "dev" / name).exists():
            subprocess.run(("cp", "-a", f"/dev/{name}", found.root / "dev" / name), check=True)
    shutil.copy(package, found.root / "tmp/vfiostate.deb")
    try:
        found.done("dpkg", "-i", "/tmp/vfiostate.deb")
        yield found
    finally:
        shutil.rmtree(found.root, ignore_errors=True)


@pytest.fixture
def system(installed: System) -> Iterator[System]:
    """The same for one test."""
    found = copy_of(installed.root, installed.root.with_name(f"{installed.root.name}.copy"))
    try:
        yield found
    finally:
        shutil.rmtree(found.root, ignore_errors=True)


def test_it_goes_the_whole_way_there_and_back_and_leaves_nothing(system: System) -> None:
    assert system.done("vfiostate", "--version").startswith("vfiostate ")
    system.simulated("machine", "create")
    system.simulated(*INIT)
    assert "state: stubbed" in system.simulated("advance", "--until", "stubbed")
    system.simulated("machine", "reboot")
    system.simulated("advance", "--until", "bound")
    assert system.run("vfiostate", "--simulate", "/tmp/m", "rollback").returncode == 3
    system.simulated("machine", "reboot")
    system.simulated("rollback")
    said = system.done("dpkg", "-P", "vfiostate")
    assert "active" not in said
    assert not (system.root / "usr/lib/vfiostate").exists()
    assert not (system.root / STATE).exists()


def test_manual_pages_and_completion_lie_where_debian_looks_and_nothing_lies_unlisted(system: System) -> None:
    listed = set(system.done("dpkg", "-L", "vfiostate").split())
    for name in documents(""):
        place = f"/usr/{name}".replace("zsh/site-functions", "zsh/vendor-completions")
        assert f"{place}.gz" in listed or place in listed
    system.simulated("machine", "list")
    private = system.root / "usr/lib/vfiostate"
    there = {f"/{path.relative_to(system.root)}" for path in private.rglob("*") if "__pycache__" not in path.parts}
    assert there <= listed
    assert list(private.rglob("*.pyc")), "nothing is compiled: every start would compile anew"
    assert system.done("dpkg", "--verify", "vfiostate") == ""


def test_removing_it_under_an_active_setup_warns_and_leaves_the_way_back(system: System) -> None:
    system.begin()
    before = (system.root / STATE / "restore.sh").read_bytes()
    said = system.done("dpkg", "-r", "vfiostate")
    assert "a setup is active on this host" in said
    assert "sh /var/lib/vfiostate/restore.sh" in said
    assert (system.root / STATE / "restore.sh").read_bytes() == before
    # What is left works by itself: on the machine that it tells of.
    system.done("cp", "-a", f"/{STATE}/restore.sh", f"/tmp/m/{STATE}/restore.sh")
    assert "restored /etc/modules" in system.done("sh", f"/tmp/m/{STATE}/restore.sh")


def test_a_purge_under_an_active_setup_keeps_the_journal_even_when_asked_not_to(system: System) -> None:
    system.begin()
    (system.root / "etc/vfiostate.toml").write_text("# kept\n")
    system.done("debconf-set-selections", stdin="vfiostate vfiostate/purge-journal boolean true\n")
    assert "a setup is active" in system.done("dpkg", "-P", "vfiostate")
    assert (system.root / STATE / "restore.sh").exists()
    assert (system.root / STATE / "journal.db").exists()
    assert (system.root / "etc/vfiostate.toml").exists()


@pytest.mark.parametrize("asked", [False, True], ids=["not asked", "asked"])
def test_a_purge_removes_the_journal_of_what_was_taken_back_only_when_asked(system: System, asked: bool) -> None:
    system.begin()
    # As the end of a rollback leaves it.
    (system.root / STATE / "restore.sh").unlink()
    (system.root / "etc/vfiostate.toml").write_text("# of the package\n")
    if asked:
        system.done("debconf-set-selections", stdin="vfiostate vfiostate/purge-journal boolean true\n")
    said = system.done("dpkg", "-P", "vfiostate")
    assert ("the journal is kept" in said) == (not asked)
    assert (system.root / STATE / "journal.db").exists() == (not asked)
    assert not (system.root / "etc/vfiostate.toml").exists()


def test_an_upgrade_says_nothing_and_keeps_the_journal(system: System) -> None:
    system.begin()
    assert "active" not in system.done("dpkg", "-i", "/tmp/vfiostate.deb")
    assert (system.root / STATE / "journal.db").exists()
    assert "vfiostate" in system.done("vfiostate", "--version")

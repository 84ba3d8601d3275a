"""Locales that are not UTF-8: read, decided and said all the same. Each is a real process with its own environment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.badinput.support import CONFIG, JOURNAL

# What the installed script does.
PROGRAM = "import sys; from engine.__main__ import main; sys.exit(main())"
ENVIRONMENTS = {
    "C": {"LC_ALL": "C"},
    "POSIX without coercion": {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "a locale that is not there": {"LANG": "de_DE.ISO-8859-1", "PYTHONUTF8": "0"},
    "ascii streams": {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "ascii"},
}


def _vfiostate(environment: dict[str, str], machine: Path, *argv: str) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "--simulate", machine, *argv],
        env={"PATH": "/usr/bin:/bin", **environment},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=False,
    )
    assert b"Traceback" not in done.stderr and b"internal error" not in done.stderr, done.stderr
    return done


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_names_and_files_beyond_ascii_do_no_harm(new: Path, name: str) -> None:
    environment = ENVIRONMENTS[name]
    machine = new.rename(new.with_name("Größe-日本"))
    image = "/srv/gäste/win.img"
    (machine / "srv/gäste").mkdir(parents=True)
    (machine / image[1:]).write_bytes(b"\0" * 512)
    place = machine / CONFIG
    place.write_text(place.read_text().replace("[guest]", f'[[guest.disks]]\npath = "{image}"\n\n[guest]', 1))
    with (machine / "etc/default/grub").open("ab") as stream:
        stream.write("# Grüße\n".encode())
    before = (machine / "etc/default/grub").read_bytes()
    for argv in (("plan",), ("advance", "--until", "stubbed"), ("status",), ("journal", "show")):
        done = _vfiostate(environment, machine, *argv)
        assert done.returncode == 0, (argv, done.stdout, done.stderr)
    assert b"Gr\xc3\xbc\xc3\x9fe" in (machine / "etc/default/grub").read_bytes()
    with (machine / "etc/default/grub").open("ab") as stream:
        stream.write("# später\n".encode())
    assert _vfiostate(environment, machine, "rollback").returncode == 0
    assert (machine / "etc/default/grub").read_bytes() == before + "# später\n".encode()
    refused = _vfiostate(environment, machine, "init", "--device", "übel")
    assert refused.returncode in (5, 64), refused.stderr
    assert (machine / JOURNAL).exists()

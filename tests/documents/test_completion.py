"""What the shells offer, asked of the shells themselves."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.cli.common import STATES
from engine.documents import grammar
from engine.hosts.simulated.description import shipped

Offer = Callable[[str], list[str]]
SHELLS = ("bash", "fish", "zsh")
# The word that is being typed, up to the cursor, is the last; bash gives only what comes after its last `:`.
_BASH = """
source "$1"
COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
COMP_LINE=$2 COMP_POINT=${#2}
_vfiostate
printf '%s\\n' "${COMPREPLY[@]}"
"""
# zsh completes only in its line editor: one is run behind a pseudo-terminal, and what it would add is written down.
_ZSH = """
zmodload zsh/zpty
zpty line zsh -f -i
zpty -w line "PS1=; fpath=(${(q)1:h} \\$fpath); autoload -U compinit; compinit -u -D; bindkey '^I' complete-word
compadd() {
    builtin compadd \\"\\$@\\"
    [[ \\$* == *-[OAD]\\ * ]] && return
    local -a offered
    builtin compadd -O offered \\"\\$@\\"
    (( \\$#offered )) && print -l -- \\$offered >>${(q)3}
}
print ready >${(q)3}.ready"
while [[ ! -e $3.ready ]]; do sleep 0.05; done
zpty -w -n line "$2"$'\\t'
for (( waited = 0; waited < 100; waited++ )); do [[ -s $3 ]] && break; sleep 0.1; done
sleep 0.2
zpty -d line
[[ -e $3 ]] && cat $3
"""


@pytest.fixture(params=SHELLS)
def offer(request: pytest.FixtureRequest, share: Path, tmp_path: Path) -> Offer:
    """What that shell offers for a line."""
    shell = str(request.param)
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")

    def run(*argv: str | Path) -> list[str]:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
        assert done.stderr == ""
        return list(dict.fromkeys(line.partition("\t")[0] for line in done.stdout.splitlines() if line))

    def in_bash(line: str) -> list[str]:
        return run("bash", "-c", _BASH, "bash", share / "bash-completion/completions/vfiostate", line)

    def in_fish(line: str) -> list[str]:
        file = share / "fish/vendor_completions.d/vfiostate.fish"
        return run("fish", "--no-config", "-c", f"source {file}; complete -C {shlex.quote(line)}")

    def in_zsh(line: str) -> list[str]:
        told = tmp_path / f"told-{abs(hash(line))}"
        return run("zsh", "-f", "-c", _ZSH, "zsh", share / "zsh/site-functions/_vfiostate", line, told)

    return {"bash": in_bash, "fish": in_fish, "zsh": in_zsh}[shell]


def test_the_commands_are_offered(offer: Offer) -> None:
    assert sorted(offer("vfiostate ")) == sorted(each.name for each in grammar.read().below)


def test_the_commands_of_a_command_are_offered_after_options_too(offer: Offer) -> None:
    guest = next(each for each in grammar.read().below if each.name == "guest")
    assert sorted(offer("vfiostate --simulate /tmp/m guest ")) == sorted(each.name for each in guest.below)


def test_a_states_name_is_offered_where_one_is_wanted(offer: Offer) -> None:
    assert sorted(offer("vfiostate advance --until ")) == sorted(STATES)
    assert sorted(offer("vfiostate journal show --kind step_")) == ["step_failed", "step_refused", "step_started"]
    assert offer("vfiostate rollback --to ch") == ["checked"]


def test_choices_are_offered(offer: Offer) -> None:
    assert offer("vfiostate init --persist e") == ["etc-modules"]


def test_the_simulated_machines_are_offered_by_name(offer: Offer) -> None:
    assert set(offer("vfiostate machine create --from in")) & set(shipped()) == {"intel-twins"}


def test_the_functions_of_the_host_that_is_meant_are_offered(offer: Offer, tmp_path: Path) -> None:
    for address in ("0000:03:00.0", "0000:03:00.1", "0000:04:00.0", "10000:e1:00.0"):
        (tmp_path / "m/sys/bus/pci/devices" / address).mkdir(parents=True)
    found = offer("vfiostate --simulate m init --device 0000:03:")
    # bash has the part up to the last `:` on the line already.
    assert [each.removeprefix("0000:03:") for each in found] == ["00.0", "00.1"]
    assert offer("vfiostate --simulate m devices 1000") in (["10000:e1:00.0"], ["10000:e1:00.0", "10000:e1:00.0"])


def test_an_address_may_be_typed_without_its_domain(offer: Offer, tmp_path: Path) -> None:
    (tmp_path / "m/sys/bus/pci/devices/0000:03:00.0").mkdir(parents=True)
    assert [each.removeprefix("03:") for each in offer("vfiostate --simulate m devices 03:")] == ["00.0"]


def test_files_are_offered_where_a_file_is_wanted(offer: Offer, tmp_path: Path) -> None:
    (tmp_path / "captured.json").touch()
    assert offer("vfiostate capture --output capt") == ["captured.json"]


LEAVES = tuple(grammar.read().leaves())


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_every_option_of_every_command_is_offered(shell: str, share: Path) -> None:
    """All lines in one process: a shell for each would take minutes. zsh's is read below."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    lines = [f"{command.words} --" for command in LEAVES]
    if shell == "bash":
        file = share / "bash-completion/completions/vfiostate"
        each = 'COMP_LINE=$line COMP_POINT=${#line}; _vfiostate; echo "${COMPREPLY[@]}"'
        script = f'source {file}; for line in "$@"; do {each}; done'
        argv = ["bash", "-c", script, "bash", *lines]
    else:
        file = share / "fish/vendor_completions.d/vfiostate.fish"
        each = r"echo (complete -C $line | string replace -r '\t.*' '')"
        argv = ["fish", "--no-config", "-c", f"source {file}; for line in $argv; {each}; end", *lines]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.stderr == ""
    everywhere = {name for option in grammar.common() for name in option.names if name.startswith("--")}
    offered = done.stdout.splitlines()
    assert len(offered) == len(LEAVES)
    for command, line in zip(LEAVES, offered, strict=True):
        own = {name for option in command.options for name in option.names if name.startswith("--")}
        assert set(line.split()) == own | everywhere, command.words


def test_every_option_of_every_command_is_in_the_functions_for_zsh(share: Path) -> None:
    text = (share / "zsh/site-functions/_vfiostate").read_text(encoding="utf-8")
    for command in LEAVES:
        _, _, rest = text.partition(f"\n_{command.words.replace(' ', '_').replace('-', '_')}_command() {{\n")
        body = rest.partition("\n}\n")[0]
        for option in (*command.options, *grammar.common()):
            for name in option.names:
                assert f"{name}=[" in body or f"{name}[" in body, (command.words, name)

"""Every form of /etc/default/grub: judged by what a real sh computes before and after, and by the bytes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.actions import EditFile
from steps.boot.base import BootFacts
from steps.boot.grub import CFG, Grub
from steps.boot.grub_default import DEFAULT
from steps.cmdline import split
from steps.insertion import take_out
from tests.support.memory_host import Denied, Link, MemoryHost, Node

SETUP = "0123456789ab"
TOKENS = (f"vfiostate.setup={SETUP}", "intel_iommu=on", "pci-stub.ids=10de:1200,10de:0e0c")
OTHER = "GRUB_DEFAULT=0\nGRUB_TIMEOUT=5\n"
LINE = "GRUB_CMDLINE_LINUX_DEFAULT"
DROP_IN = "/etc/default/grub.d/50-cloudimg-settings.cfg"

FORMS: dict[str, str] = {
    "double quotes": f'{OTHER}{LINE}="quiet splash"\nGRUB_CMDLINE_LINUX=""\n',
    "single quotes": f"{OTHER}{LINE}='quiet splash'\nX=1\n",
    "no quotes": f"{OTHER}{LINE}=quiet\nX=1\n",
    "no quotes with escapes": f"{LINE}=quiet\\ splash\n",
    "escaped quotes": f'{LINE}="quiet dyndbg=\\"file drivers/* +p\\" splash"\n',
    "quotes within quotes": f"{LINE}='quiet dyndbg=\"file x +p\"'\n",
    "a trailing comment": f'{LINE}="quiet" # "keep" quiet\n',
    "ampersand, slash and pipe": f'{LINE}="quiet root=/dev/sda1 a=b&c x|y s/a/b/"\n',
    "backslashes in the value": f"{LINE}='a\\1 \\\\ b'\n",
    "adds to itself": f'{LINE}="quiet"\n{LINE}="${LINE} splash"\n',
    "adds to itself in braces": f'{LINE}="quiet"\n{LINE}="${{{LINE}}} splash"\n',
    "two assignments": f'{LINE}="first"\n{LINE}="second one"\n',
    "a commented-out assignment": f'#{LINE}="old"\n# {LINE}="older"\n{LINE}="quiet"\n',
    "only a commented-out assignment": f'{OTHER}#{LINE}="quiet"\n',
    "a comment after it": f'{LINE}="quiet"\n# {LINE}="not this"\n',
    "an empty value": f'{LINE}=""\n',
    "an empty value in single quotes": f"{LINE}=''\n",
    "nothing after the sign": f"{LINE}=\nX=1\n",
    "CRLF": f'GRUB_TIMEOUT=5\r\n{LINE}="quiet splash"\r\n#x\r\n',
    "CRLF without quotes": f"GRUB_TIMEOUT=5\r\n{LINE}=quiet\r\n#x\r\n",
    "no final newline": f'{LINE}="quiet"',
    "no final newline and no quotes": f"{LINE}=quiet",
    "a value over several lines": f'{LINE}="quiet\n  splash\n  ro"\n',
    "a continued line": f'{LINE}="quiet \\\nsplash"\n',
    "a continued line outside of quotes": f"{LINE}=\\\nquiet\n",
    "exported": f'export {LINE}="quiet"\n',
    "read-only": f'readonly {LINE}="quiet"\n',
    "indented": f'  \t{LINE}="quiet"\n',
    "two on a line": f'A=1; {LINE}="quiet"; B=2\n',
    "in a branch that is taken": f'if true; then\n  {LINE}="quiet"\nelse\n  {LINE}="loud"\nfi\n',
    "in a branch that is not taken": f'{LINE}="quiet"\nif false; then\n  {LINE}="loud"\nfi\n',
    "after a test": f'[ -n "$nothing" ] || {LINE}="quiet"\n',
    "a command substitution": f'{LINE}="$(echo quiet splash)"\n',
    "a command substitution without quotes": f"{LINE}=$(echo quiet splash)\n",
    "a default value": f'{LINE}="${{UNSET:-quiet}}"\n',
    "another variable": f'EXTRA="a b"\n{LINE}="quiet $EXTRA"\n',
    "quotes in pieces": f"{LINE}=\"quiet\"' splash'\n",
    "a value that ends in a space": f'{LINE}="quiet "\n',
    "a value of spaces": f'{LINE}="   "\n',
    "in a here document": f'cat <<EOF >/dev/null\n{LINE}="no"\nEOF\n{LINE}="quiet"\n',
    "unset and set by eval": f"eval '{LINE}=\"quiet\"'\n",
    "in a function": f'f() {{\n  {LINE}="quiet"\n}}\nf\n',
    "in a loop": f'for w in a b; do {LINE}="${LINE} $w"; done\n',
    "another name that ends alike": f'MY_{LINE}="no"\n{LINE}="quiet"\n',
    "another name that begins alike": f'{LINE}="quiet"\n{LINE}_2="no"\n',
    "copied to the recovery entries": f'{LINE}="quiet"\nGRUB_CMDLINE_LINUX="${LINE} x"\n',
    "no assignment at all": OTHER,
    "an empty file": "",
    "a dollar in single quotes": f"{LINE}='quiet $splash'\n",
    "a hash in the value": f'{LINE}="quiet a#b #c"\n',
    "a semicolon in the value": f'{LINE}="quiet; splash"\n',
    "an early return": f'{LINE}="quiet"\nreturn 0\n{LINE}="never"\n',
    "a command that reads": f'{LINE}="quiet"\nread answer || true\n',
    "a command that prints": f'echo hello\n{LINE}="quiet"\n',
    "letters beyond ASCII": f'# größe\n{LINE}="quiet größe=ä"\n',
}


def host_of(files: dict[str, Node]) -> MemoryHost:
    tree: dict[str, Node] = {CFG: b"", **files}
    return MemoryHost(tree, commands={"update-grub"})


def sourced(*files: bytes, folder: Path) -> tuple[bytes, bytes]:
    """What grub-mkconfig would have: both variables after `.`-ing real files, by a real sh -e."""
    lines = b"set -e\n"
    for number, content in enumerate(files):
        path = folder / f"{number}.cfg"
        path.write_bytes(content)
        lines += b". %s >/dev/null </dev/null\n" % str(path).encode()
    lines += b'printf "%s\\000%s" "$GRUB_CMDLINE_LINUX_DEFAULT" "$GRUB_CMDLINE_LINUX"\n'
    script = folder / "judge"
    script.write_bytes(lines)
    done = subprocess.run(["sh", str(script)], capture_output=True, check=True)
    value, _, fixed = done.stdout.partition(b"\0")
    return value, fixed


def edit(host: MemoryHost) -> tuple[BootFacts, EditFile]:
    facts = Grub().read(host, SETUP)
    assert facts.findings == ()
    (action,) = Grub().edits(facts, TOKENS)
    assert isinstance(action, EditFile)
    return facts, action


def check(before: list[bytes], at: int, action: EditFile, folder: Path) -> None:
    """The value has just our words more, the file just our bytes, and taking them out gives it back."""
    old_value, old_fixed = sourced(*before, folder=folder)
    after = [action.content if number == at else content for number, content in enumerate(before)]
    new_value, new_fixed = sourced(*after, folder=folder)
    assert split(new_value) == (*split(old_value), *TOKENS)
    assert new_fixed == old_fixed
    assert " ".join(TOKENS).encode() in action.inserted
    start = next(i for i in range(len(action.content)) if take(action.content, i, action.inserted) == before[at])
    assert action.content[start : start + len(action.inserted)] == action.inserted
    assert take_out(action.content, action.inserted) == before[at]


def take(content: bytes, start: int, run: bytes) -> bytes | None:
    return content[:start] + content[start + len(run) :] if content[start : start + len(run)] == run else None


@pytest.mark.parametrize("form", FORMS)
def test_the_value_changes_by_exactly_our_words_and_every_other_byte_stays(form: str, tmp_path: Path) -> None:
    content = FORMS[form].encode()
    facts, action = edit(host_of({DEFAULT: content}))
    assert action.path == DEFAULT
    assert facts.words == split(sourced(content, folder=tmp_path)[0])
    check([content], 0, action, tmp_path)


@pytest.mark.parametrize("form", FORMS)
def test_the_edited_file_is_read_back_with_our_words_and_nothing_left_to_do(form: str) -> None:
    host = host_of({DEFAULT: FORMS[form].encode()})
    facts, action = edit(host)
    host.tree[DEFAULT] = action.content
    again = Grub().read(host, SETUP)
    assert again.words == (*facts.words, *TOKENS)
    assert again.site is None
    assert again.findings == ()


@pytest.mark.parametrize(
    ("drop_in", "path"),
    [
        (f'{LINE}="console=ttyS0"\n', DROP_IN),
        (f'{LINE}="${LINE} console=ttyS0"\n', DROP_IN),
        ("# comments only\n", DEFAULT),
        ('GRUB_TIMEOUT=0\nGRUB_CMDLINE_LINUX="net.ifnames=0"\n', DEFAULT),
    ],
)
def test_the_file_whose_assignment_wins_is_the_one_that_is_edited(drop_in: str, path: str, tmp_path: Path) -> None:
    main = FORMS["double quotes"].encode()
    host = host_of({DEFAULT: main, DROP_IN: drop_in.encode(), "/etc/default/grub.d/.hidden.cfg": b"exit 1\n"})
    _, action = edit(host)
    assert action.path == path
    check([main, drop_in.encode()], 0 if path == DEFAULT else 1, action, tmp_path)


def test_a_symlink_stays_and_the_file_it_leads_to_is_edited(tmp_path: Path) -> None:
    content = FORMS["double quotes"].encode()
    host = host_of({DEFAULT: Link("../../srv/grub-settings"), "/srv/grub-settings": content})
    _, action = edit(host)
    assert action.path == "/srv/grub-settings"
    check([content], 0, action, tmp_path)


def test_bytes_that_are_no_utf8_are_kept(tmp_path: Path) -> None:
    content = b'# \xff\xfe\n%s="quiet x=\xe4\xf6 y"\n' % LINE.encode()
    facts, action = edit(host_of({DEFAULT: content}))
    assert facts.words[1] == "x=\udce4\udcf6"
    check([content], 0, action, tmp_path)


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({}, "grub-default-missing"),
        ({DEFAULT: Denied()}, "grub-default-unreadable"),
        ({DEFAULT: None}, "grub-default-unreadable"),
        ({DEFAULT: b"\x7fELF\0\0"}, "grub-default-binary"),
        ({DEFAULT: b'GRUB_X="open\n'}, "grub-default-broken"),
        ({DEFAULT: b"A=1\r\n\r\nB=2\r\n"}, "grub-default-broken"),
        ({DEFAULT: b"exit 0\n"}, "grub-default-broken"),
        ({DEFAULT: b"nosuchcommand\n"}, "grub-default-broken"),
        ({DEFAULT: b"A=1\n", DROP_IN: b"if\n"}, "grub-default-broken"),
        ({DEFAULT: b"readonly GRUB_CMDLINE_LINUX_DEFAULT\nreturn\n"}, "grub-default-not-editable"),
    ],
)
def test_a_file_that_cannot_be_edited_is_refused_with_what_was_found(files: dict[str, Node], code: str) -> None:
    facts = Grub().read(host_of({"/etc/default/x": b"", **files}), SETUP)
    assert [finding.code for finding in facts.findings] == [code]
    assert all(finding.hint and finding.message for finding in facts.findings)
    assert Grub().edits(facts, TOKENS) == ()


def test_crlf_is_named_where_it_breaks_the_script() -> None:
    (finding,) = Grub().read(host_of({DEFAULT: b"A=1\r\n\r\n"}), SETUP).findings
    assert any("CRLF" in line for line in finding.evidence)


def test_the_broken_file_is_named_not_the_one_before_it() -> None:
    (finding,) = Grub().read(host_of({DEFAULT: b"A=1\n", DROP_IN: b"false\n"}), SETUP).findings
    assert DROP_IN in finding.message


def test_a_token_that_needs_quoting_is_never_inserted() -> None:
    facts = Grub().read(host_of({DEFAULT: b""}), SETUP)
    with pytest.raises(ValueError, match="quoting"):
        Grub().edits(facts, ("a b",))


def test_an_upstream_grub_mkconfig_that_reads_no_drop_ins_is_believed() -> None:
    host = host_of({DEFAULT: b"", DROP_IN: b"exit 3\n", "/usr/bin/grub-mkconfig": b". /etc/default/grub\n"})
    host.commands = {"grub-mkconfig"}
    facts = Grub().read(host, SETUP)
    assert facts.findings == ()
    assert facts.regenerate == ("grub-mkconfig", "-o", CFG)


WORD = st.text(
    st.characters(codec="utf-8", exclude_characters="\0'\"\\$`\n\r\t\x0b\x0c \xa0", exclude_categories=["Cs"])
)
SPACE = st.sampled_from([" ", "  ", "\t", "\n", " \n "])
VALUE = st.lists(st.tuples(WORD, SPACE), max_size=5).map(lambda parts: "".join(word + space for word, space in parts))


def written(value: str, quote: str) -> str:
    if quote == "bare":
        return "".join(f"\\{char}" if char in " \t&|;<>()#*?[]~=%!{}^" else char for char in value if char != "\n")
    return f"{quote}{value}{quote}"


@settings(deadline=None, max_examples=60)
@given(
    VALUE,
    st.sampled_from(['"', "'", "bare"]),
    st.sampled_from(["", "export ", "  ", "A=1; "]),
    st.sampled_from(["\n", "", " # done\n", "\nB=2\n", f'\n{LINE}="${LINE} more"\n']),
)
def test_any_value_in_any_quotes_gains_just_our_words_and_gives_them_back(
    value: str, quote: str, before: str, after: str
) -> None:
    content = f"{before}{LINE}={written(value, quote)}{after}".encode()
    host = host_of({DEFAULT: content})
    facts, action = edit(host)
    host.tree[DEFAULT] = action.content
    assert Grub().read(host, SETUP).words == (*facts.words, *TOKENS)
    assert take_out(action.content, action.inserted) == content
    assert action.content.replace(action.inserted, b"", 1) == content

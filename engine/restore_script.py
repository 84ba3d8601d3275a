"""restore.sh: the way back in a rescue shell, without Python. Plain POSIX sh with the before-images inside it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from steps.actions import Regenerate

HEAD = """\
#!/bin/sh
# Puts every file that vfiostate changed back to what it was. Needs a POSIX shell and its tools; busybox will do.
#   sh restore.sh          restores the system this script lies in (from a rescue system: sh /mnt{path})
#   sh restore.sh ROOT     restores the system mounted at ROOT
# What a file held until now is kept beside this script, in replaced/; beside what an earlier run kept, with a ~.
# Written before the first change; setup {setup}.
set -eu
trap '' PIPE
here=$(cd "$(dirname "$0")" && pwd)
root=${{1-${{here%{state}}}}}
root=${{root%/}}
left=''
missed=''
stale=''
marked=''
ours=''
words={words}

say() {{
    echo "$*" 2>/dev/null || :
}}
if [ ! -d "$root/etc" ]; then
    echo "${{root:-/}} is no system's root: there is no etc in it. Nothing was done." >&2
    echo "Name where that is mounted, as in: sh $0 /mnt" >&2
    exit 1
fi

# mounted PATH: stop where what it lies in is an empty directory, on which a file system belongs that is not mounted
mounted() {{
    place=$(dirname "$root$1")
    above=$place
    while [ ! -d "$above" ]; do above=$(dirname "$above"); done
    if [ "$above" = "$place" ]; then
        case "${{above#"$root"}}" in /boot | /boot/efi | /efi) ;; *) return 0 ;; esac
    fi
    for each in "$above"/* "$above"/.[!.]*; do
        if [ -e "$each" ] || [ -L "$each" ]; then return 0; fi
    done
    echo "$above is empty, and $1 lies below it: is its file system mounted? Nothing was done." >&2
    echo "If that is all there is of it, mkdir -p $place/none and run this again." >&2
    exit 1
}}
# printf WORDS: as ever, and one that fails is remembered
printf() {{
    command printf "$@" || failed=yes
}}
# spoilt: what was begun last cannot be put back, as was said; the rest comes back all the same
spoilt() {{
    if [ -n "$aside" ]; then return 0; fi
    aside=yes
    missed="$missed $path"
    rm -f "$target.vfiostate-tmp"
}}
# begin PATH: keep what is there, and make room for the file as it was
begin() {{
    # A symlink that could not be made.
    [ $? -eq 0 ] || spoilt
    path=$1
    target="$root$1"
    aside=''
    failed=''
    if [ -d "$target" ] && [ ! -L "$target" ]; then
        echo "$target is a directory now: move it away." >&2
        spoilt
        target="$here/replaced/left-out"
        return 0
    fi
    if [ ! -d "$(dirname "$target")" ]; then
        # Such as that of a kernel which was removed.
        target="$here/replaced/left-out"
        aside=yes
        left="$left $1"
        return 0
    fi
    [ -e "$target" ] || [ -L "$target" ] || return 0
    kept="$here/replaced/$(printf '%s' "$1" | tr / _)"
    # What a run before this one replaced may be the user's own; what is there now, our before-image.
    while [ -e "$kept" ] || [ -L "$kept" ]; do
        if cmp -s "$target" "$kept" 2>/dev/null; then return 0; fi
        kept="$kept~"
    done
    cp -pP "$target" "$kept" || true
}}
# boots FILE: whether the first kernel that a menu or an entry names is there; also where it names none by its path
boots() {{
    line='^[[:blank:]]*linux[16efi]*[[:blank:]]\\{{1,\\}}\\(/[^[:blank:]$]*\\).*'
    kernel=$(sed -n "\\|$line|{{s|$line|\\1|p;q;}}" "$1" 2>/dev/null)
    [ -n "$kernel" ] || return 0
    # The path is that on its file system; GRUB's begins with the name of a subvolume, where it lies in one.
    for place in "$kernel" "/boot$kernel" "/boot/efi$kernel" "/efi$kernel" "/boot/${{kernel##*/}}"; do
        if [ -e "$root$place" ]; then return 0; fi
    done
    return 1
}}
# anew PATH: whether others have made it since, perhaps for another kernel than that of before: it is none of what
# vfiostate knows of it, by sha256, and its name is that of no kernel which is there; also where that cannot be told: no
anew() {{
    [ -n "$ours" ] && [ -e "$target" ] && now=$(sha256sum <"$target" 2>/dev/null) || return 1
    case " $ours " in *" ${{now%% *}} "*) return 1 ;; esac
    for each in "$root"/lib/modules/* "$root"/usr/lib/modules/*; do
        case "$1" in *"${{each##*/}}" | *"${{each##*/}}".* | *"${{each##*/}}"/*) return 1 ;; esac
    done
}}
# finish PATH MODE UID:GID: give the new file its mode and owner and put it in place, whole
finish() {{
    if [ $? -ne 0 ] || [ -n "$failed" ]; then spoilt; fi
    if [ -z "$aside" ] && {{ anew "$1" || {{ boots "$target" && ! boots "$target.vfiostate-tmp"; }}; }}; then
        aside=yes
        stale="$stale $1"
    fi
    ours=''
    if [ -n "$aside" ]; then rm -f "$target.vfiostate-tmp"; return 0; fi
    chown "$3" "$target.vfiostate-tmp" 2>/dev/null || true
    if chmod "$2" "$target.vfiostate-tmp" && mv -f "$target.vfiostate-tmp" "$target"; then
        say "restored $1"
    else
        spoilt
    fi
}}
gone() {{
    if [ -n "$aside" ]; then left=${{left% "$1"}}; return 0; fi
    [ -e "$target" ] || [ -L "$target" ] || return 0
    if rm -f "$target"; then say "removed $1"; else spoilt; fi
}}
# entries: take our words out of the entries of kernels that came since; what else has them is named
entries() {{
    for entry in "$root"/boot/loader/entries/*.conf "$root"/boot/efi/loader/entries/*.conf \\
        "$root"/efi/loader/entries/*.conf "$root"/boot/EFI/Linux/*.efi "$root"/boot/efi/EFI/Linux/*.efi \\
        "$root"/efi/EFI/Linux/*.efi "$root"/boot/grub/grub.cfg "$root"/boot/grub2/grub.cfg; do
        case "$entry" in *.conf)
            if [ -n "$words" ] && grep -q "$words" "$entry" 2>/dev/null; then
                begin "${{entry#"$root"}}"
                cp -p "$entry" "$entry.vfiostate-tmp" && sed "s| *$words||" "$entry" >"$entry.vfiostate-tmp" &&
                    mv -f "$entry.vfiostate-tmp" "$entry" && say "took our words out of $path" || spoilt
            fi
            ;;
        esac
        if grep -q "vfiostate\\.setup={setup}" "$entry" 2>/dev/null; then marked="$marked ${{entry#"$root"}}"; fi
    done
}}
"""
OUTCOME = """
[ $? -eq 0 ] || spoilt
entries
sync
rm -f "$here/replaced/left-out"
files="All files"
if [ -n "$left" ]; then echo "Left out, since the directory is gone:$left" >&2; fi
if [ -n "$stale" ]; then echo "Left, since it was made anew, and what was there before may boot nothing:$stale" >&2; fi
if [ -n "$missed" ]; then echo "Not put back, for the reason above; mend that and run this again:$missed" >&2; fi
if [ -n "$marked" ]; then echo "The words of vfiostate are still on the command line of:$marked" >&2; fi
if [ -n "$left$stale$marked$missed" ]; then files="All other files"; fi
"""
TAIL = """\
say "$files are as they were before vfiostate. Reboot to leave the changed kernel command line."
"""
# What a command makes where only it can look, such as a partition that it mounts for itself, is no file of this script;
# nor is what was left as it is.
ANEW = """\
say "$files are as they were before vfiostate. What is made of them is not. In this system (from a rescue system:"
say "in a chroot with /dev, /proc and /sys), run:"
{commands}
say "Then reboot to leave the changed kernel command line."
"""
END = '[ -z "$left$stale$marked$missed" ]\n'


def script(
    setup: str,
    state_dir: str,
    before: Mapping[str, Mapping[str, Any]],
    contents: Mapping[str, bytes],
    makers: Sequence[Regenerate] = (),
    known: Mapping[str, Iterable[str]] | None = None,
    words: str = "",
) -> bytes:
    """The whole script: `before` maps paths to before-images, `contents` sha256 to what does not lie in images/;
    `makers` make anew what is in no file here, or was not put back; a path of `known` is put back only where what lies
    there is one of these, by their sha256, or where its name is that of a kernel which is there. `words` are ours on
    the command line, as far as they are known."""
    pattern = shlex.quote(words.replace(".", "\\."))
    head = HEAD.format(path=f"{state_dir}/restore.sh", state=state_dir, setup=setup, words=pattern)
    parts = [head.encode()]
    # All of them are looked at before the first one is touched.
    parts.append("".join(f"mounted {shlex.quote(path)}\n" for path in before).encode())
    parts.append(b'mkdir -p "$here/replaced"\numask 077\nset +e\n')
    # The newest first, as on any way back: what was changed first is the youngest file again.
    for path, record in reversed(list(before.items())):
        parts.append(f"\nours='{' '.join(known[path])}'".encode() if known and path in known else b"")
        parts.append(one_file(path, record, contents))
    parts.append(OUTCOME.encode())
    parts.append(_last_words(makers).encode())
    parts.append(END.encode())
    return b"".join(parts)


def _last_words(makers: Sequence[Regenerate]) -> str:
    """What is still to be done: what is made where only its command can look is to be made anew in any case."""
    every, always = (
        "\n".join(f"say {shlex.quote(f'  {shlex.join(argv)}')}" for argv in dict.fromkeys(each.argv for each in some))
        for some in (makers, [each for each in makers if each.unseen])
    )
    otherwise = ANEW.format(commands=always) if always else TAIL
    return (
        f'if [ -n "$stale$marked" ]; then\n{ANEW.format(commands=every)}else\n{otherwise}fi\n' if every else otherwise
    )


def one_file(path: str, record: Mapping[str, Any], contents: Mapping[str, bytes]) -> bytes:
    """The lines that put one file back."""
    name = shlex.quote(path)
    sha: str | None = record["sha256"]
    begin = f"\nbegin {name}\n".encode()
    if sha is None:
        return begin + f"gone {name}\n".encode()
    if sha.startswith("link:"):
        return begin + f'rm -f "$target"\nln -s {shlex.quote(sha.removeprefix("link:"))} "$target"\n'.encode()
    finish = f"finish {name} {record['mode']:o} {record['uid']}:{record['gid']}\n".encode()
    if record["where"] == "image":
        return begin + f'cp "$here/images/{sha}" "$target.vfiostate-tmp"\n'.encode() + finish
    return begin + _write(contents[sha]) + finish


def _write(content: bytes) -> bytes:
    """Shell that writes exactly these bytes: a quoted here-document for text, so that a human can read it, octal
    escapes of printf (POSIX, for every byte but none a here-document can carry) otherwise."""
    to = b'"$target.vfiostate-tmp"'
    if content.endswith(b"\n") and b"\0" not in content and b"\r" not in content and content.isascii():
        mark = b"VFIOSTATE_END"
        while mark in content:
            mark += b"_"
        return b"cat >" + to + b" <<'" + mark + b"'\n" + content + mark + b"\n"
    lines = [content[start : start + 64] for start in range(0, len(content), 64)]
    printed = b"".join(b"printf '" + b"".join(b"\\%03o" % byte for byte in line) + b"'\n" for line in lines)
    return b"{\n:\n" + printed + b"} >" + to + b"\n"

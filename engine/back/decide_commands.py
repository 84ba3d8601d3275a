"""How the command of a deed will be undone, where it left files behind or something that runs. Reads only."""

from __future__ import annotations

import contextlib
import itertools
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine import images
from engine.back.decision import Decision, View, Way, was
from engine.back.stopping import runs
from engine.codec import decode, describe
from engine.setup import Deed
from journal.before import Where
from steps.actions import Inverse, Regenerate, RunCommand, Shutdown
from steps.reading import NOT_THERE, matching

if TYPE_CHECKING:
    from engine.session import Session


def products(view: View, deed: Deed, undo: Regenerate, exact: bool) -> Decision:
    """A command that makes files of other files, such as an initramfs: put back, or made anew."""
    if undo.unseen:
        return again(view.session, deed, "what it makes lies where only it can look")
    now, before = view.prints(deed), was(deed)
    came = _came_since(view.session, deed, undo)
    if not came and now == before:
        return Decision(deed, Way.ALREADY_GONE, "what it makes is as it was")
    if not came and not any(now.values()) and view.session.host.which(undo.argv[0]) is None:
        return Decision(deed, Way.ALREADY_GONE, f"{undo.argv[0]} was removed since, and all that it made")
    # Found out before anything is changed: a way back must not stop halfway at a before-image that is damaged.
    lost = {path for path, record in deed.before.items() if not images.sound(view.session.images, record)}
    # A way back that was cut short has put some of them back already.
    ours = all(found in (before[path], deed.after.get(path, before[path])) for path, found in now.items())
    whole = exact and ours and not lost
    if not came and whole:
        return view.put_back(deed, ", ".join(deed.before))
    why = f"{', '.join(came)} was made since" if came else "it was made anew since by others"
    if not came and ours:
        why = "what it was made of was changed since"
    if lost:
        why = f"the before-image of {', '.join(sorted(lost))} is damaged"
    # What is back already, too: the command that runs anew would write over it. And what it wrote when it was cut off.
    ours_now = (
        path
        for path, found in now.items()
        if found in (before[path], deed.after.get(path)) or (path in deed.cut_off and found == deed.cut_off[path])
    )
    restore = tuple(path for path in ours_now if exact and path not in lost)
    removed = _removed(view.session, undo)
    needless = removed and not came if not undo.each else removed or whole or now == before
    all_anew = () if needless else (_command(deed, undo, undo.argv, why),)
    commands = (*all_anew, *(_command(deed, undo, argv, why) for argv in _one_by_one(view.session, undo, came)))
    if not commands:
        return Decision(deed, Way.ALREADY_GONE, f"{', '.join(removed)} was removed since, and it was made of that")
    view.products |= {path: before[path] for path in restore}
    return Decision(deed, Way.REGENERATE, why, commands=commands, restore=restore, came=tuple(came))


def _removed(session: Session, undo: Regenerate) -> tuple[str, ...]:
    """What a command made its products of, where all of that is gone: its kernel was removed."""
    sources = dict.fromkeys(undo.made_of.values())
    return () if any(session.host.lstat(path) is not None for path in sources) else tuple(sources)


def again(session: Session, deed: Deed, why: str) -> Decision:
    """What a command of that deed once made is to be made by it anew."""
    action = decode(deed.action, session.journal.blob)
    assert isinstance(action, RunCommand) and isinstance(action.undo, Regenerate)
    return Decision(deed, Way.REGENERATE, why, commands=(_command(deed, action.undo, action.undo.argv, why),))


def _command(deed: Deed, undo: Regenerate, argv: tuple[str, ...], why: str) -> RunCommand:
    return RunCommand(argv, why, undo, tuple(deed.before), undo.timeout)


def _came_since(session: Session, deed: Deed, undo: Regenerate) -> list[str]:
    """What the command makes too, and what was not there when it ran."""
    known = {*deed.before, *undo.there}
    return [path for path in matching(session.host, undo.kin) if path not in known]


def _one_by_one(session: Session, undo: Regenerate, came: Sequence[str]) -> list[tuple[str, ...]]:
    """The commands that make these, where each is made by one of its own."""
    head, _, tail = undo.kin.partition("*")
    found = []
    for name in (path[len(head) : len(path) - len(tail)] for path in came if undo.each):
        words = (word.replace("{}", name) for word in undo.each)
        found.append(tuple(itertools.takewhile(lambda word: _usable(session, word), words)))
    return found


def _usable(session: Session, word: str) -> bool:
    return not word.startswith("/") or session.host.lstat(word) is not None


def lines(view: View, deed: Deed, undo: Inverse, action: RunCommand) -> Decision:
    """A command that set something in a file which others write too, such as GRUB's environment block."""
    now, where = view.prints(deed), ", ".join(deed.before)
    if now == was(deed):
        return Decision(deed, Way.ALREADY_GONE, f"{where} is as it was")
    if now == dict(deed.after):
        return view.put_back(deed, where)
    if torn := [path for path in deed.before if _torn(view, deed, path)]:
        return view.put_back(deed, f"{', '.join(torn)}, which was cut short while it was written")
    held: set[str] = set()
    for path in deed.before:
        # What cannot be read may well hold what is ours: only what is not there holds nothing.
        with contextlib.suppress(*NOT_THERE):
            held |= set(view.session.host.read(path).decode(errors="replace").splitlines())
    if not any(was(deed).values()) and all(line in undo.lines or line.startswith("#") for line in held):
        return view.put_back(deed, f"{where}, which holds nothing but ours")
    if held.isdisjoint(undo.lines):
        return Decision(deed, Way.ALREADY_GONE, f"nothing of ours is in {where} any more")
    inverse = RunCommand(undo.argv, f"undo: {action.why}", action.undo, (), undo.timeout)
    view.unforeseen |= deed.before.keys()
    return Decision(deed, Way.INVERSE, describe(inverse), action=inverse)


def _torn(view: View, deed: Deed, path: str) -> bool:
    """Whether a file that is written in place lost its first line, by which its readers know it: a crash did that."""
    record = deed.before[path]
    if record.get("where") != Where.BLOB.value:
        return False
    before, now = view.session.journal.blob(record["sha256"]), view.content(path)
    return now is not None and now.partition(b"\n")[0] != before.partition(b"\n")[0]


def unchanged(view: View, deed: Deed, undo: Inverse, action: RunCommand) -> Decision:
    """A command whose product others may edit by their own means, such as `virsh edit`: theirs is not ours to take."""
    now, where = view.prints(deed), ", ".join(deed.before)
    if now == was(deed):
        return Decision(deed, Way.ALREADY_GONE, f"{where} is as it was")
    if now != dict(deed.after):
        if not any(now.values()):
            return Decision(deed, Way.ALREADY_GONE, f"{where} was removed by somebody else")
        hint = f"Keep a copy of {where} if you want it, run `{shlex.join(undo.argv)}` by hand, then roll back again."
        return Decision(deed, Way.CONFLICT, f"{where} was changed since vfiostate had it made.", hint=hint)
    decision = view.put_back(deed, where)
    if not view.session.host.booted:
        return decision
    inverse = RunCommand(undo.argv, f"undo: {action.why}", undo, (), undo.timeout)
    return Decision(deed, Way.INVERSE, describe(inverse), action=inverse)


def kept(view: View, deed: Deed, undo: Shutdown) -> Decision:
    """What another program keeps running, and the files that its start left behind."""
    session = view.session
    later = any(each.seq > deed.seq and each.action == deed.action for each in session.setup.standing())
    here = session.host.booted and deed.boot == session.host.boot_id
    try:
        running = here and not later and runs(session.host, undo)
    except ConnectionError as error:
        hint = f"See that `{shlex.join(undo.look)}` answers, then roll back again."
        return Decision(deed, Way.CONFLICT, f"Whether {undo.name} runs cannot be told: {error}.", hint=hint)
    if running:
        view.back(deed)
        return Decision(deed, Way.INVERSE, describe(undo), action=undo)
    now, before = view.prints(deed), was(deed)
    if now != before and all(sha in (before[path], deed.after.get(path)) for path, sha in now.items()):
        return view.put_back(deed, ", ".join(deed.before))
    return Decision(
        deed, Way.ALREADY_GONE, f"{undo.name} was started anew since" if later else f"{undo.name} has ended"
    )

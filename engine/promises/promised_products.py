"""What commands of ours made, held against the host. Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from engine.promises.difference import Difference
from engine.session import Session
from engine.setup import Deed, Setup


def products(session: Session, setup: Setup) -> Iterator[Difference]:
    """What commands made of our files. Made anew by others it may say the same: what it says is asked elsewhere."""
    from engine import images  # not for a `status` without any

    last: dict[str, tuple[Deed, str | None]] = {}
    made_of: dict[str, str] = {}
    for deed in setup.deeds.values():
        # What is told apart by its lines is written by others too, such as GRUB's environment block by every boot.
        if deed.result == "done" and deed.standing and not deed.planned and not _others_write(deed):
            last |= {path: (deed, sha) for path, sha in deed.after.items()}
            made_of |= (deed.action.get("undo") or {}).get("made_of", {})
    for path, (deed, sha) in last.items():
        if sha is None:
            continue
        now = images.fingerprint(session.host, path)
        if now == sha:
            continue
        if now is None and path in made_of and session.host.lstat(made_of[path]) is None:
            found = "it is gone, with the kernel it was made for"
            yield Difference("kernel-removed", path, f"sha256 {sha[:12]}", found, "nothing", deed.seq, note=True)
        elif now is None and _given_up(session, path, made_of.get(path, "")):
            found = f"it is gone, and {made_of[path]} makes it no more"
            yield Difference("preset-removed", path, f"sha256 {sha[:12]}", found, "nothing", deed.seq, note=True)
        elif now is None:
            hint = f"make it anew: `{' '.join(deed.action.get('argv', ()))}`"
            yield Difference("product-gone", path, f"sha256 {sha[:12]}", "it is gone", hint, deed.seq, grave=True)
        elif _for_users(deed):
            found = "it was edited since vfiostate had it made"
            hint = "nothing is overwritten: a rollback stops there and asks; undo the edit, or leave it"
            yield Difference("product-edited", path, f"sha256 {sha[:12]}", found, hint, deed.seq)
        else:
            found = "it was made anew since"
            hint = "nothing, where nothing else is said of it"
            yield Difference("made-anew", path, f"sha256 {sha[:12]}", found, hint, deed.seq, note=True)


def can_run(session: Session) -> bool:
    """Whether commands of the host can be run: not those of a mounted system for another machine."""
    return session.host.booted or session.host.query(("sh", "-c", ":")).ok


def _given_up(session: Session, path: str, source: str) -> bool:
    """Whether an image was made by a preset that makes others now: who drops one deletes its image."""
    from steps.initramfs import presets  # only where something is gone

    if not source.startswith(f"{presets.PRESETS}/") or not can_run(session):
        return False
    now = presets.read_presets(session.host)
    return now.broken is None and source in now.sources.values() and path not in now.images


def _others_write(deed: Deed) -> bool:
    """Told apart by its lines, or there only as long as something runs."""
    undo = deed.action.get("undo")
    return isinstance(undo, Mapping) and (bool(undo.get("lines")) or undo.get("type") == "shutdown")


def _for_users(deed: Deed) -> bool:
    undo = deed.action.get("undo")
    return isinstance(undo, Mapping) and bool(undo.get("unchanged"))

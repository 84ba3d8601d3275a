"""The kernel of the default entry, where a trial was made with another one: it came in between, or somebody chose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from steps import initramfs, kmod, stub_checks
from steps.base import Brief, Finding, Host, Severity
from steps.initramfs.base import InitramfsFacts
from steps.softdeps import CONF, STUB_MODULES, loadable, stub_module

BACK = "or take it back: `vfiostate rollback --to modules_loaded`, then `vfiostate advance`"


@dataclass(frozen=True, slots=True)
class NextKernel:
    """A kernel that has not been tried: its release, the modules of the stub driver that are files in it (empty: the
    stub is part of it), and its initramfs (None: no generator can be asked)."""

    release: str
    modules: tuple[str, ...]
    image: InitramfsFacts | None


def read(host: Host, brief: Brief, release: str | None) -> NextKernel | None:
    """Look into a kernel that boots next; None where it is the running one, or not known."""
    if release is None or release == host.release:
        return None
    states = {name: kmod.ask(host, name, release) for name in STUB_MODULES[brief.config.stub]}
    if not loadable(states[stub_module(brief.config.stub)]):
        return NextKernel(release, (), None)
    found = initramfs.detect(host, brief.config.initramfs)
    generator = None if found.findings else found.generator
    image = generator.read(host, release, look=True) if generator is not None else None
    return NextKernel(release, tuple(name for name, state in states.items() if loadable(state)), image)


def judge(tried: str, following: NextKernel | None) -> Iterator[Finding]:
    """What is to be known of it before its entry becomes ours, and what stands against that."""
    if following is None:
        return
    if following.modules:
        yield from _stops(following, stub_checks.check_image(following.image, following.modules, CONF))
    yield Finding(
        "kernel-not-tried",
        Severity.WARNING,
        f"The default entry boots {following.release}; the trial was made with {tried}.",
        (f"tried with {tried}", f"the default entry boots {following.release}"),
        "Reboot once more now, while the recovery entries, the older kernels in the menu and `vfiostate rollback` are "
        "at hand.",
    )


def _stops(following: NextKernel, found: Sequence[Finding]) -> Iterator[Finding]:
    command = " ".join(following.image.rebuild) if following.image is not None else ""
    hint = f"Rebuild it{f' (`{command}`)' if command else ''} and run `vfiostate advance` again; {BACK}."
    for finding in found:
        yield replace(finding, hint=hint)

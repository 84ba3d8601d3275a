"""GRUB with its settings in /etc/default/grub, and in /etc/default/grub.d/*.cfg where its grub-mkconfig reads those:
Debian and Ubuntu (update-grub), Arch and Gentoo (grub-mkconfig), and under its other name openSUSE, Mageia and the Red
Hat releases before BLS (grub2-mkconfig).

GRUB_CMDLINE_LINUX_DEFAULT is what is edited: it does not reach the recovery entries (GRUB manual, "Simple
configuration handling"), so that recovery mode stays a way out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from steps import cmdline
from steps.actions import Action, Regenerate, RunCommand
from steps.base import Finding, Host, Severity
from steps.boot import grub_cfg, grub_default, grub_menu, grub_trial
from steps.boot.base import BootFacts, BootLoader, Trial
from steps.boot.grub_default import DEFAULT, VARIABLE
from steps.boot.grub_menu import Menu
from steps.boot.grub_names import GRUB, GRUB2, GrubNames
from steps.reading import NOT_THERE, content_of, matching, names_in

CFG = GRUB.cfg


@dataclass(frozen=True, slots=True)
class Grub:
    """The boot loader GRUB 2 with its settings in /etc/default, under one of its names. `update` is a command that
    calls the generator with the right arguments; `unless` is what shows another loader in its place."""

    name: str = "grub"
    precedence: int = 50
    names: GrubNames = GRUB
    update: str = "update-grub"
    unless: str = ""
    supported: bool = True
    manual: str = (
        "The command line is GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub; run `update-grub` after a change."
    )

    def detect(self, host: Host) -> tuple[str, ...] | None:
        """Its generated configuration, or its own directory in /boot beside /etc/default/grub."""
        if self.unless and host.lstat(self.unless) is not None:
            return None
        seen = [path for path in (self.names.cfg, DEFAULT) if host.lstat(path) is not None]
        if self.names.cfg in seen or (seen and host.lstat(self.names.folder) is not None):
            return tuple(f"{path} is there" for path in seen)
        return None

    def read(self, host: Host, setup: str) -> BootFacts:
        """The value that sh computes, the place where more words change it by just those words, and grub.cfg."""
        regenerate = self._regenerate(host)
        settings = grub_default.read(host, setup, self.names)
        if not settings.readable:
            return BootFacts(self.name, DEFAULT, regenerate=regenerate, findings=settings.findings)
        menu, trial = self._generated(host)
        complaints = (*self._complaints(host, regenerate, menu), *settings.findings)
        return BootFacts(
            self.name,
            settings.where,
            settings.words,
            settings.fixed,
            settings.site,
            settings.content,
            menu.entries if menu else None,
            menu.default if menu else None,
            menu.newest if menu else None,
            self.names.cfg,
            regenerate,
            complaints,
            trial,
            menu.template if menu else (),
            settings.later,
            "scripts in /etc/grub.d, GRUB_DEFAULT",
            f"set GRUB_DEFAULT (or `{self.names.stem}-set-default`) to a normal entry of this system",
        )

    def stage(self, facts: BootFacts, tokens: Sequence[str], setup: str) -> tuple[Action, ...]:
        """A script in /etc/grub.d that prints one more entry. Raises ValueError for a token that needs quoting."""
        return (grub_trial.added(setup, facts.template, tokens),)

    def choose(self, facts: BootFacts) -> tuple[Action, ...]:
        """`next_entry` in the environment block."""
        return (grub_trial.chosen(self.names),)

    def unstage(self, facts: BootFacts) -> tuple[Action, ...]:
        """The script goes; the entry with it when grub.cfg is generated anew."""
        return grub_trial.removed(facts.trial)

    def edits(self, facts: BootFacts, tokens: Sequence[str]) -> tuple[Action, ...]:
        """One insertion of all tokens at the proved place. Raises ValueError for a token that needs quoting."""
        return insertion(facts, tokens, VARIABLE)

    def commit(self, facts: BootFacts) -> tuple[Action, ...]:
        """Generate grub.cfg anew; grub-mkconfig leaves `.new` behind when it is cut off."""
        undo = Regenerate(facts.regenerate)
        why = f"write {self.names.cfg} with the new kernel command line"
        made = (self.names.cfg, f"{self.names.cfg}.new")
        return (RunCommand(facts.regenerate, why, undo, produces=made, timeout=900.0),)

    def _regenerate(self, host: Host) -> tuple[str, ...]:
        if self.update and host.which(self.update) is not None:
            return (self.update,)
        return (self.names.mkconfig, "-o", self.names.cfg) if host.which(self.names.mkconfig) is not None else ()

    def _generated(self, host: Host) -> tuple[Menu | None, Trial]:
        """What grub.cfg boots, our trial apart, and what there is of the trial."""
        try:
            content = host.read(self.names.cfg)
        except OSError:
            return None, Trial((f"{self.names.cfg} cannot be read",))
        try:
            env = grub_cfg.environment(host.read(self.names.env))
        except NOT_THERE:
            # Of one that cannot be read nobody knows what is to be booted next: that error is the caller's.
            env = {}
        trial = grub_trial.read(host, content, env, grub_cfg.entries(content), self.names)
        standing = {key: value for key, value in env.items() if not (trial.pending and key == grub_trial.VARIABLE)}
        return grub_menu.read(host, content, standing), trial

    def _complaints(self, host: Host, regenerate: tuple[str, ...], menu: Menu | None) -> tuple[Finding, ...]:
        found = list(self._elsewhere(host))
        if not regenerate:
            commands = " nor ".join(each for each in (self.update, self.names.mkconfig) if each)
            hint = f"Install GRUB's tools (the package {self.names.stem} or grub2-common), then try again."
            found.append(_refusal("grub-tools-missing", f"Neither {commands} was found.", (), hint))
        if menu is None:
            command = " ".join(regenerate) or self.names.mkconfig
            hint = f"Is /boot mounted? Mount it or run `{command}`, then try again."
            found.append(_refusal("grub-cfg-missing", f"{self.names.cfg} cannot be read.", (), hint))
        return tuple(found)

    def _elsewhere(self, host: Host) -> Iterator[Finding]:
        """With Red Hat 7 and its kin on UEFI, GRUB reads a grub.cfg in its own directory of the ESP, and the one in
        /boot is nobody's. What newer ones have there only leads to /boot: it has no entries."""
        if self.names == GRUB or host.lstat("/sys/firmware/efi") is None:
            return
        for path in matching(host, "/boot/efi/EFI/*/grub.cfg", names_in):
            if b"menuentry " in content_of(host, path):
                yield _refusal(
                    "grub-cfg-elsewhere",
                    f"GRUB takes its entries from {path}, which vfiostate does not write.",
                    (f"{path} has entries of its own", "the host was booted by UEFI"),
                    f"{self.manual} Here the file to be generated is {path}.",
                )


LOADERS: tuple[BootLoader, ...] = (
    Grub(),
    Grub(
        "grub2",
        61,
        GRUB2,
        update="",
        unless=GRUB.cfg,
        manual="The command line is GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub; run `grub2-mkconfig -o "
        "/boot/grub2/grub.cfg` after a change.",
    ),
)


def insertion(facts: BootFacts, tokens: Sequence[str], what: str) -> tuple[Action, ...]:
    """One insertion of all tokens at the place that was proved. Raises ValueError for a token that needs quoting."""
    if not tokens or facts.site is None:
        return ()
    unsafe = [token for token in tokens if not cmdline.is_safe(token)]
    if unsafe:
        raise ValueError(f"tokens that need quoting cannot be inserted: {unsafe}")
    return (facts.site.insertion(tuple(tokens)).action(facts.content, f"add {' '.join(tokens)} to {what}"),)


def _refusal(code: str, message: str, evidence: tuple[str, ...], hint: str) -> Finding:
    return Finding(code, Severity.REFUSAL, message, evidence, hint)

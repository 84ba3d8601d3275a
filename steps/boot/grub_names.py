"""What GRUB's directory and commands are called: `grub` with Debian, Arch and Gentoo, `grub2` with openSUSE, Mageia and
Red Hat, which kept the names of GRUB 0.97 free."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GrubNames:
    """The names of one installation; all of them begin with `stem`."""

    stem: str

    @property
    def folder(self) -> str:
        """Its directory in /boot."""
        return f"/boot/{self.stem}"

    @property
    def cfg(self) -> str:
        """The generated configuration."""
        return f"{self.folder}/grub.cfg"

    @property
    def env(self) -> str:
        """The environment block."""
        return f"{self.folder}/grubenv"

    @property
    def mkconfig(self) -> str:
        """The command that generates the configuration."""
        return f"{self.stem}-mkconfig"

    @property
    def editenv(self) -> str:
        """The command that edits the environment block."""
        return f"{self.stem}-editenv"

    @property
    def probe(self) -> str:
        """The command that says on what a path lies."""
        return f"{self.stem}-probe"


GRUB = GrubNames("grub")
GRUB2 = GrubNames("grub2")

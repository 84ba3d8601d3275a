"""GRUB on the simulated machine under its other name: openSUSE, Mageia, Red Hat before BLS."""

from __future__ import annotations

from engine.hosts.simulated.loaders import Loader
from engine.hosts.simulated.loaders.grub import Grub
from steps.boot.grub_names import GRUB2

LOADER: Loader = Grub("grub2", GRUB2)

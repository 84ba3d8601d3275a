"""What the tests of initramfs generators have in common."""

from tests.support.places import at

__all__ = ["at"]

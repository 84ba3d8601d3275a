"""What the tests of boot loaders have in common."""

from tests.support.places import at

__all__ = ["at"]

"""Reading JSON of a shape not to be trusted: every value is checked where it enters, and named where it is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

from journal.errors import ConfigurationError
from journal.events import Json

T = TypeVar("T")

ADDRESS = re.compile(r"[0-9a-f]{4,5}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")


class Reader:
    """One JSON object on its way in; `where` is how it is named to the user (`devices[3]`)."""

    def __init__(self, value: Json, where: str) -> None:
        if not isinstance(value, dict):
            raise wrong(where, "an object", value)
        self.value: Mapping[str, Json] = value
        self.where = where
        self._taken: set[str] = set()

    def _take(self, key: str) -> Json:
        self._taken.add(key)
        return self.value.get(key)

    def named(self, key: str) -> str:
        """How the user knows this key."""
        return f"{self.where}.{key}" if self.where else key

    def text(self, key: str, default: str | None = None) -> str:
        """A string; required unless there is a default."""
        value = self._take(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or "\0" in value:
            raise wrong(self.named(key), "a string", value)
        return value

    def maybe(self, key: str) -> str | None:
        """A string, or nothing."""
        return None if self._take(key) is None else self.text(key)

    def number(self, key: str, default: int | None = None) -> int:
        """An integer; required unless there is a default."""
        value = self._take(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            raise wrong(self.named(key), "an integer", value)
        return value

    def maybe_number(self, key: str) -> int | None:
        """An integer, or nothing."""
        return None if self._take(key) is None else self.number(key)

    def flag(self, key: str, default: bool = False) -> bool:
        """true or false."""
        value = self._take(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise wrong(self.named(key), "true or false", value)
        return value

    def maybe_flag(self, key: str) -> bool | None:
        """true, false, or nothing."""
        return None if self._take(key) is None else self.flag(key)

    def hex(self, key: str, digits: int, default: str | None = None) -> str:
        """A string of exactly that many lower-case hex digits."""
        value = self.text(key, default)
        if not re.fullmatch(rf"[0-9a-f]{{{digits}}}", value):
            raise wrong(self.named(key), f"{digits} lower-case hex digits", value)
        return value

    def address(self, key: str) -> str:
        """A full PCI address."""
        value = self.text(key)
        if not ADDRESS.fullmatch(value):
            raise wrong(self.named(key), "a PCI address such as 0000:03:00.0", value)
        return value

    def path(self, key: str) -> str:
        """An absolute path that does not climb."""
        return absolute(self.text(key), self.named(key))

    def strings(self, key: str) -> tuple[str, ...]:
        """A list of strings; absent is empty."""
        return self.many(key, _string)

    def many(self, key: str, read: Callable[[Json, str], T]) -> tuple[T, ...]:
        """A list, each element read by `read(value, where)`; absent is empty."""
        value = self._take(key)
        if value is None:
            return ()
        if not isinstance(value, list):
            raise wrong(self.named(key), "a list", value)
        return tuple(read(element, f"{self.named(key)}[{n}]") for n, element in enumerate(value))

    def table(self, key: str, read: Callable[[Json, str], T]) -> dict[str, T]:
        """An object of like things, each read by `read(value, where)`; absent is empty."""
        value = self._take(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise wrong(self.named(key), "an object", value)
        return {name: read(element, f"{self.named(key)}[{name!r}]") for name, element in value.items()}

    def inner(self, key: str) -> Reader:
        """An object inside this one; absent is empty."""
        value = self._take(key)
        return Reader({} if value is None else value, self.named(key))

    def done(self) -> None:
        """Refuse keys that nobody asked for: a misspelt key would otherwise be ignored in silence."""
        left = sorted(set(self.value) - self._taken)
        if left:
            raise ConfigurationError(
                f"The machine description has an unknown key {self.named(left[0])}.",
                hint=f"Use the keys that are understood here: {', '.join(sorted(self._taken))}.",
            )


def absolute(value: str, where: str) -> str:
    """An absolute path without `..`."""
    if not value.startswith("/") or ".." in value.split("/") or "\0" in value:
        raise wrong(where, "an absolute path without ..", value)
    return value


def _string(value: Json, where: str) -> str:
    if not isinstance(value, str):
        raise wrong(where, "a string", value)
    return value


def wrong(where: str, expected: str, found: Json) -> ConfigurationError:
    """The error for a value that is not what the format wants."""
    shown = repr(found) if len(repr(found)) < 60 else repr(found)[:57] + "…"
    return ConfigurationError(
        f"The machine description is not as expected at {where or 'its top'}: expected {expected}, found {shown}.",
        hint="See engine/hosts/simulated/FORMAT.md for the format.",
    )

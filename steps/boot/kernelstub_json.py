"""kernelstub's configuration: read, and written with more words as kernelstub itself writes it (config.py)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from steps import cmdline

REVISION = 4


class ConfigurationError(ValueError):
    """What is wrong with the file."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What counts of it. `options` are the user's words, each as it stands in the list; `other` is what keeps us from
    driving it, empty where nothing does."""

    content: bytes
    options: tuple[str, ...]
    esp: str
    other: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """The options as the kernel splits them."""
        return cmdline.split(" ".join(self.options).encode("utf-8", "surrogateescape"))

    def with_words(self, tokens: Sequence[str]) -> tuple[bytes, bytes]:
        """The file with these words last, as kernelstub would write it, and the one run of bytes that makes the
        difference there."""
        value = json.loads(self.content)
        before = _written(value)
        value["user"]["kernel_options"] = [*value["user"]["kernel_options"], *tokens]
        after = _written(value)
        start = _common(before, after)
        return after, after[start : start + len(after) - len(before)]


def read(path: str, content: bytes) -> Configuration:
    """Check what is used of it. Raises ConfigurationError."""
    try:
        value = json.loads(content)
        user = value["user"]
        options, esp = user["kernel_options"], user["esp_path"]
        revision = user["config_rev"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{path} is not what kernelstub writes ({type(error).__name__}: {error})") from error
    if not isinstance(options, list) or not all(isinstance(each, str) for each in options):
        raise ConfigurationError("kernel_options of user is no list of words; running `kernelstub` once makes it one")
    if not isinstance(esp, str) or not esp.startswith("/"):
        raise ConfigurationError(f"esp_path of user is no path: {esp!r}")
    return Configuration(content, tuple(each for each in options if each), esp.rstrip("/"), _other(user, revision))


def _other(user: dict[str, object], revision: object) -> str:
    if revision != REVISION:
        return f"config_rev is {revision}, not {REVISION}"
    if user.get("live_mode"):
        return "live_mode is set: this is a live disk"
    if user.get("unified_kernel"):
        return "unified_kernel is set"
    return "" if user.get("setup_loader") else "setup_loader is not set: the firmware boots the kernel by itself"


def _written(value: object) -> bytes:
    return json.dumps(value, indent=2).encode()


def _common(one: bytes, other: bytes) -> int:
    """How many bytes both begin with, so that what follows is an insertion."""
    count = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    more = len(other) - len(one)
    while count and other[count + more :] != one[count:]:
        count -= 1
    return count

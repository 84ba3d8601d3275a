"""The configuration: /etc/vfiostate.toml read, checked and written; the same as data for the journal."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import cast

from engine.config.commented import write_commented
from engine.config.decode import Decoder, Mistake, encode_value
from engine.config.lines import line_of, locate
from engine.config.rules import contradictions
from engine.config.safety import Files, refuse_foreign
from journal.errors import ConfigurationError
from journal.events import Json
from steps.base import FileKind
from steps.config import Config, Guest, HugePages

__all__ = [
    "DEFAULT_PATH",
    "changed",
    "decode",
    "encode",
    "load",
    "parse",
    "sha256",
    "without_start",
    "write_commented",
]

DEFAULT_PATH = "/etc/vfiostate.toml"

# What no setup goes by: it is read from the file at every run, and may change at any time.
APART = frozenset({"metrics"})

# Far more than any configuration; a file larger than this is something else.
MAX_SIZE = 1 << 20

_INIT = "Write one with `vfiostate init`."
_KEYS = "Correct it there; `man vfiostate.toml` and what `vfiostate init` writes explain every key."
_NEWER = "Use the vfiostate that wrote it, or a newer one."


def load(files: Files, path: str = DEFAULT_PATH) -> Config:
    """Read and check the configuration of a host; `path` is the host's.

    Raises ConfigurationError: missing, unreadable, writable by others, not text, not TOML, or with mistakes in it.
    """
    try:
        found = files.lstat(files.resolve(path))
        if found is None:
            raise ConfigurationError(f"There is no configuration: {path} does not exist.", hint=_INIT)
        if found.kind is not FileKind.FILE or found.size > MAX_SIZE:
            special = "a directory" if found.kind is FileKind.DIRECTORY else "no regular file"
            what = special if found.kind is not FileKind.FILE else f"{found.size} bytes long"
            raise ConfigurationError(f"{path} is not a configuration: it is {what}.", hint=_INIT)
        refuse_foreign(files, path)
        content = files.read(path)
    except OSError as error:
        raise ConfigurationError(
            f"The configuration {path} cannot be read: {error.strerror or error}.",
            hint="See to the file's mode and whether its disk is in order (`dmesg` tells), then run the command again.",
        ) from error
    return parse(content, path)


def parse(content: bytes, path: str = DEFAULT_PATH) -> Config:
    """The configuration that a file of this content is; `path` is for the messages. Raises ConfigurationError."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(
            f"{path}, line {line}: not text in UTF-8 (byte 0x{content[error.start]:02x} at offset {error.start}).",
            hint=f"Is it the right file? {_INIT}",
        ) from error
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _not_toml(path, error) from error
    decoder = Decoder()
    config = cast("Config | None", decoder.table(Config, document, ()))
    mistakes = decoder.mistakes if config is None else contradictions(config)
    if config is None or mistakes:
        raise _mistaken(path, text, mistakes)
    return config


def encode(config: Config) -> dict[str, Json]:
    """The configuration as the journal keeps it: every key, in the order of declaration, and no password."""
    data = cast("dict[str, Json]", encode_value(config))
    if config.journal_url is not None:
        data["journal_url"] = re.sub(r"(?<=://)([^/@:]*):[^/]*@", r"\1:***@", config.journal_url)
    return data


def decode(data: Mapping[str, Json]) -> Config:
    """The configuration from what `encode` made of it, in this version or an older one. Raises ConfigurationError."""
    decoder = Decoder()
    config = decoder.table(Config, _without_none(dict(data)), ())
    if config is None:
        texts = [f"{_dotted(mistake)}: {mistake.text}" for mistake in decoder.mistakes]
        raise ConfigurationError("The configuration in the journal is not understood.", hint=_NEWER, evidence=texts)
    return cast(Config, config)


def sha256(config: Config) -> str:
    """A hash of what a setup goes by: the same for another order, spelling or comment in the file."""
    counted = {key: value for key, value in encode(config).items() if key not in APART}
    canonical = json.dumps(counted, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def changed(one: Config, other: Config) -> tuple[str, ...]:
    """The keys, in order, that a setup goes by and that differ; those of a table with its name: `guest.memory`."""
    return tuple(sorted(key for key in _differing(encode(one), encode(other)) if key not in APART))


def _differing(was: Mapping[str, Json], now: Mapping[str, Json]) -> Iterator[str]:
    for key, value in now.items():
        before = was[key]
        if isinstance(before, dict) and isinstance(value, dict):
            yield from (f"{key}.{one}" for one in _differing(before, value))
        elif before != value:
            yield key


def without_start(config: Config) -> Config:
    """The configuration without what only the guest's start goes by: what QEMU is told of a device, and the guest but
    for what the kernel's command line says for it (`steps.tuning.words.wanted`)."""
    bare = tuple(dataclasses.replace(device, x_vga=False, romfile=None) for device in config.devices)
    guest = config.guest or Guest()
    told = Guest(isolated_cpus=guest.isolated_cpus)
    if guest.hugepages is HugePages.G1:
        told = dataclasses.replace(told, hugepages=guest.hugepages, memory=guest.memory)
    return dataclasses.replace(config, devices=bare, guest=told)


def _not_toml(path: str, error: Exception) -> ConfigurationError:
    # The message of tomllib ends in "(at line 3, column 5)" or "(at end of document)".
    match = re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", str(error), re.DOTALL)
    what, line = (match[1], match[2]) if match else (str(error), None)
    where = f"{path}, line {line}" if line else path
    return ConfigurationError(
        f"{where}: not TOML: {what}.",
        hint="Correct it there: strings are quoted, and https://toml.io explains the rest.",
    )


def _mistaken(path: str, text: str, mistakes: list[Mistake]) -> ConfigurationError:
    places = locate(text)
    numbered = [(line_of(places, mistake.path), mistake) for mistake in mistakes]
    numbered.sort(key=lambda each: each[0] or 0)
    texts = [
        f"{path}{f', line {line}' if line else ''}: {_dotted(mistake)}: {mistake.text}" for line, mistake in numbered
    ]
    if len(texts) == 1:
        return ConfigurationError(f"{texts[0]}.", hint=_KEYS)
    return ConfigurationError(
        f"There are {len(texts)} mistakes in the configuration {path}.", hint=_KEYS, evidence=texts
    )


def _dotted(mistake: Mistake) -> str:
    return ".".join(str(part) for part in mistake.path if isinstance(part, str)) or "the file"


def _without_none(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_none(item) for item in value]
    return value

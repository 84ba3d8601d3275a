"""The configuration as text, as data and as objects: three forms of one thing."""

from __future__ import annotations

import dataclasses
import json
import typing
from enum import StrEnum
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import decode, encode, parse, sha256, write_commented
from engine.config.decode import element_of, hints, without_none
from engine.config.keys import KEYS
from engine.config.rules import contradictions
from journal.errors import ConfigurationError
from steps.config import Config, Device, Guest
from steps.guest import ways
from steps.tuning import cpulist

_HEX = "0123456789abcdef"
_text = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)
_path = _text.map(lambda text: "/" + text).filter(lambda text: ".." not in text.split("/"))
_address = st.builds(
    lambda domain, bus, slot, function: f"{domain:04x}:{bus:02x}:{slot:02x}.{function}",
    st.sampled_from([0, 1, 0xFFFF, 0x10000]),
    st.integers(0, 255),
    st.integers(0, 31),
    st.integers(0, 7),
)
_id = st.text(_HEX, min_size=9, max_size=9).map(lambda text: text[:4] + ":" + text[5:])
_name = st.from_regex(r"[a-z][a-z0-9_-]{0,10}", fullmatch=True)
_cpus = st.frozensets(st.integers(0, 300), min_size=1, max_size=9).map(cpulist.render)
_BY_KEY: dict[str, st.SearchStrategy[object]] = {
    "address": _address,
    "id": _id,
    "boot_vga": st.lists(_address, max_size=2).map(tuple),
    "keyboard": st.lists(_address, max_size=2).map(tuple),
    "identical_ids": st.lists(_id, max_size=2).map(tuple),
    "boot_loader": st.sampled_from(["auto", "grub"]),
    "initramfs": st.sampled_from(["auto", "initramfs-tools"]),
    "backend": st.sampled_from([way.name for way in ways()]),
    "format": st.sampled_from(["raw", "qcow2"]),
    "rtc": st.sampled_from(["utc", "localtime"]),
    "vnc": st.sampled_from(["127.0.0.1:0", "[::1]:5", "unix:/run/vnc"]),
    "mac": st.none() | st.just("52:54:00:12:34:56"),
    "journal_url": st.none() | st.just("postgresql+psycopg://host/db"),
    "metrics": st.none() | st.just("/srv/metrics/vfiostate.prom"),
    "extra_modules": st.lists(_name, max_size=2).map(tuple),
    "args": st.lists(_text, max_size=2).map(tuple),
    **dict.fromkeys(("name", "machine", "model", "tap", "user"), _name),
    **{key: st.none() | _path for key in ("romfile", "firmware", "ovmf_code", "ovmf_vars")},
    "path": _path,
    "bridge": st.none() | _name,
    **dict.fromkeys(("sockets", "threads"), st.just(1)),
    "cores": st.just(2),
    "memory": st.sampled_from([16, 1024]),
    "vcpupin": st.just(()) | st.tuples(_cpus, _cpus),
    **dict.fromkeys(("emulatorpin", "isolated_cpus"), st.none() | _cpus),
}
_BY_TYPE: dict[type, st.SearchStrategy[object]] = {
    str: _text,
    bool: st.booleans(),
    int: st.integers(16, 16),
    float: st.floats(1, 3600),
}


def _of(hint: type) -> st.SearchStrategy[object]:
    if dataclasses.is_dataclass(hint):
        fields = {name: _BY_KEY[name] if name in _BY_KEY else _of_field(inner) for name, inner in hints(hint).items()}
        return st.builds(hint, **fields)
    if issubclass(hint, StrEnum):
        return st.sampled_from(list(hint))
    return _BY_TYPE[hint]


def _of_field(hint: object) -> st.SearchStrategy[object]:
    inner = without_none(hint)
    element = element_of(inner)
    strategy = st.lists(_of(element), max_size=2).map(tuple) if element else _of(inner)
    return strategy | st.none() if type(None) in typing.get_args(hint) else strategy


configs = cast("st.SearchStrategy[Config]", _of(Config)).filter(lambda config: not contradictions(config))


@settings(deadline=None, max_examples=150)
@given(configs)
def test_what_is_written_is_read_back_as_the_same(config: Config) -> None:
    assert parse(write_commented(config).encode()) == config


@settings(deadline=None, max_examples=100)
@given(configs)
def test_the_journal_gives_the_configuration_back(config: Config) -> None:
    data = json.loads(json.dumps(encode(config)))
    assert decode(data) == config
    assert sha256(decode(data)) == sha256(config)


def test_the_hash_tells_configurations_apart_and_ignores_spelling() -> None:
    plain = Config(devices=(Device("0000:03:00.0", "10de:1200"),))
    respelt = parse(b'# x\nstub = "vfio-pci"\r\n[[devices]]\r\nid = "10DE:1200"\naddress = "03:00.0"\n')
    other = dataclasses.replace(plain, iommu_pt=True)
    assert sha256(respelt) == sha256(plain) != sha256(other)


def test_a_password_of_the_database_is_not_journaled() -> None:
    url = "postgresql+psycopg://me:s3cret@host/db"
    config = Config(devices=(Device("0000:03:00.0", "10de:1200"),), journal_url=url)
    assert "s3cret" not in json.dumps(encode(config))
    assert encode(config)["journal_url"] == "postgresql+psycopg://me:***@host/db"


@pytest.mark.parametrize("kind", list(KEYS), ids=lambda kind: kind.__name__)
def test_every_field_of_the_configuration_is_explained_and_nothing_else_is(kind: type) -> None:
    assert set(KEYS[kind]) == set(hints(kind))
    assert all(key.text.endswith((".", ")")) or ":" in key.text for key in KEYS[kind].values())


def test_the_written_file_names_every_key_with_its_meaning() -> None:
    text = write_commented(Config(devices=(Device("0000:03:00.0", "10de:1200"),), guest=Guest()))
    flat = " ".join(line.removeprefix("# ") for line in text.splitlines())
    for keys in KEYS.values():
        for name, key in keys.items():
            assert name in text
            assert key.text in flat


def test_what_the_journal_cannot_have_written_is_refused() -> None:
    with pytest.raises(ConfigurationError) as caught:
        decode({"devices": [{"address": "0000:03:00.0"}]})
    assert any("devices.id" in line for line in caught.value.evidence)

# SPDX-License-Identifier: Apache-2.0
"""What a made device has on its disk, and that damage to it is told."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sealway.crypto.secret import Secret
from sealway.crypto.spake2plus import Parameters, ScryptCost, derive
from sealway.errors import LocalMisuse, Malformed, NotAuthentic, StateLost
from sealway.factory.newborn import BirthRecord, NewbornHome, decode_verifier, encode_verifier
from sealway.wire import cbor

BIRTH = BirthRecord("SW-1", "Water meter", (b"leaf", b"issuing"))
RECORD = derive(b"4719382556", Parameters(bytes(16), ScryptCost(n=2**14))).record(
    Parameters(bytes(16), ScryptCost(n=2**14))
)


def test_a_device_reads_what_the_factory_wrote(tmp_path: Path) -> None:
    home = NewbornHome(tmp_path)
    home.write(BIRTH, RECORD)
    assert home.read_birth() == BIRTH
    assert home.read_verifier() == RECORD
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    home.verifier_path.unlink()
    assert home.read_verifier() is None


def test_a_directory_that_no_factory_made(tmp_path: Path) -> None:
    with pytest.raises(LocalMisuse, match="no device that a factory made"):
        NewbornHome(tmp_path).read_birth()


@pytest.mark.parametrize("damage", [b"", b"\x00", BIRTH.encode()[:-1], cbor.encode({1: 2, 2: "A", 3: "m", 4: [b"x"]})])
def test_damage_is_told(tmp_path: Path, damage: bytes) -> None:
    home = NewbornHome(tmp_path)
    home.write(BIRTH, RECORD)
    home.birth_path.write_bytes(damage)
    home.verifier_path.write_bytes(damage)
    with pytest.raises(StateLost, match="damaged"):
        home.read_birth()
    with pytest.raises(StateLost, match="damaged"):
        home.read_verifier()


@pytest.mark.parametrize("change", [{"serial": "sw"}, {"model": ""}, {"chain": ()}, {"chain": (b"",)}], ids=str)
def test_what_no_device_is_born_as(change: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        replace(BIRTH, **change)


@pytest.mark.parametrize(
    "change",
    [{1: 2}, {2: bytes(31)}, {3: bytes(64)}, {4: bytes(15)}, {5: [2**14, 8]}, {5: [2**20, 8, 1]}, {6: 0}],
    ids=str,
)
def test_a_verifier_within_its_bounds_only(change: dict[int, Any]) -> None:
    value = cbor.decode(encode_verifier(RECORD), limit=1000)
    with pytest.raises(Malformed):
        decode_verifier(cbor.encode(value | change))
    with pytest.raises(NotAuthentic):
        decode_verifier(cbor.encode(value | {3: b"\x04" + bytes(63) + b"\x01"}))


def test_neither_shows_a_secret() -> None:
    assert RECORD.w0.reveal().hex()[:16] not in repr(RECORD)
    assert isinstance(decode_verifier(encode_verifier(RECORD)).w0, Secret)

# SPDX-License-Identifier: Apache-2.0
"""All fuzz targets, and where their corpora are."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Final

from fuzz.carrier_targets import CARRIERS
from fuzz.identity_targets import IDENTITY
from fuzz.joining_targets import JOINING
from fuzz.mutating import mutate_cbor
from fuzz.session_targets import SESSION
from fuzz.start_target import START
from fuzz.target import Target, demand
from fuzz.wire_targets import WIRE
from sealway.errors import SealwayError
from sealway.wire import cbor

TARGETS: Final[dict[str, Target]] = {
    target.name: target for target in (*WIRE, *IDENTITY, *SESSION, *START, *CARRIERS, *JOINING)
}
CORPUS: Final = Path(__file__).resolve().parent / "corpus"


def control(name: str) -> Target:
    """Return a target with a promise that is broken by some inputs near its seed: the fuzzer has to find one."""

    def check(data: bytes) -> None:
        with suppress(SealwayError):
            demand(cbor.decode(data, limit=100) != [b"sealway", 8], "found, as it should be")

    return Target(name, check, lambda: [cbor.encode([b"sealway", 7])], 100, mutate_cbor)


def corpus_of(name: str) -> list[Path]:
    """Return the files of a target's corpus, in order."""
    return sorted(path for path in (CORPUS / name).glob("*") if path.is_file())


def name_of(data: bytes) -> str:
    """Return the name of an input's file: equal inputs, and only they, are one file."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()  # as libFuzzer does

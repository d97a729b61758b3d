# SPDX-License-Identifier: Apache-2.0
"""All fuzz targets, and where their corpora are."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from fuzz.carrier_targets import CARRIERS
from fuzz.identity_targets import IDENTITY
from fuzz.session_targets import SESSION
from fuzz.start_target import START
from fuzz.target import Target
from fuzz.wire_targets import WIRE

TARGETS: Final[dict[str, Target]] = {target.name: target for target in (*WIRE, *IDENTITY, *SESSION, *START, *CARRIERS)}
CORPUS: Final = Path(__file__).resolve().parent / "corpus"


def corpus_of(name: str) -> list[Path]:
    """Return the files of a target's corpus, in order."""
    return sorted(path for path in (CORPUS / name).glob("*") if path.is_file())


def name_of(data: bytes) -> str:
    """Return the name of an input's file: equal inputs, and only they, are one file."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()  # as libFuzzer does

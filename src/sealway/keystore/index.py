# SPDX-License-Identifier: Apache-2.0
"""The file that stands where a keystore's would, when the keys are in a token or TPM: which they are, and where.

Nothing in it is secret. Nothing in it is authenticated either: the chip is asked for each key (``token.py``).
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sealway.crypto.keys import POINT_BYTES, VerifyingKey
from sealway.crypto.suites import suite
from sealway.errors import SealwayError, StateLost
from sealway.keystore.chip import ChipKey, Purpose
from sealway.keystore.memory import LABEL
from sealway.keystore.ports import Kind

FORMAT: Final = "sealway keys in a token"
VERSION: Final = 1
_KINDS: Final[Mapping[str, Kind]] = {"sign": "sign", "agree": "agree"}


@dataclass(frozen=True, slots=True)
class Index:
    """Which keys are in a token or TPM.

    Args:
        place: which one, as it was named: ``pkcs11:…`` or ``tpm:…``.
        settings: what the kind of chip needs to know beside that, as text.
        keys: by label.
        doomed: references of keys that are to be destroyed with the next change.
        count: how often it was changed, as the chip counts it; 0 if it does not.
    """

    place: str
    settings: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, ChipKey] = field(default_factory=dict)
    doomed: tuple[bytes, ...] = ()
    count: int = 0


def encode_index(index: Index) -> bytes:
    """Return the file's content."""
    fields = {
        "format": FORMAT,
        "version": VERSION,
        "place": index.place,
        "settings": dict(index.settings),
        "keys": [_entry(key) for _, key in sorted(index.keys.items())],
        "doomed": [b64encode(reference).decode() for reference in index.doomed],
        "count": index.count,
    }
    return json.dumps(fields, indent=1).encode() + b"\n"


def is_index(content: bytes) -> bool:
    """Say whether a file's content is an index, of any version, and not keys under a passphrase."""
    return content.startswith(b'{\n "format": "' + FORMAT.encode())


def decode_index(content: bytes) -> Index:
    """Read what ``encode_index`` wrote. Raises StateLost for anything else."""
    try:
        fields = json.loads(content)
        keys = [_key(entry) for entry in fields["keys"]]
        index = Index(
            fields["place"], fields["settings"], {key.purpose.label: key for key in keys},
            tuple(b64decode(text, validate=True) for text in fields["doomed"]),
            int(fields["count"]),
        )  # fmt: skip
        # Written again it is the same for this format and version only.
        same = isinstance(index.place, str) and encode_index(index) == content
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, SealwayError):
        same = False
    if not same:
        raise StateLost("not a list of keys in a token, or a damaged one", hint="restore it from a backup")
    return index


def _entry(key: ChipKey) -> dict[str, Any]:
    return {
        "label": key.purpose.label,
        "kind": key.purpose.kind,
        "suite": key.purpose.suite.number,
        "reference": b64encode(key.reference).decode(),
        "public": key.point.hex(),
    }


def _key(entry: dict[str, Any]) -> ChipKey:
    point = bytes.fromhex(entry["public"])
    VerifyingKey(point)
    purpose = Purpose(entry["label"], _KINDS[entry["kind"]], suite(entry["suite"]))
    if len(point) != POINT_BYTES or not LABEL.fullmatch(purpose.label):
        raise ValueError(entry)
    return ChipKey(purpose, b64decode(entry["reference"], validate=True), point)

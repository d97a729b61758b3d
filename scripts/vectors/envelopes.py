# SPDX-License-Identifier: Apache-2.0
"""envelope.json: envelopes in both forms with keys and content, and bytes that are no envelope."""

from __future__ import annotations

from typing import Any

from scripts.vectors.script import value
from sealway.crypto.suites import SUITE_1, SUITE_2, SUITE_3, Suite
from sealway.errors import Malformed, TooLarge
from sealway.wire.compact import from_compact, is_compactable, to_compact
from sealway.wire.envelope import Envelope, assemble, enc_structure, nonce, protected_bytes
from sealway.wire.header import Claims, Opener, StartHeader
from sealway.wire.message import CODE_POST, Message

MESSAGE = Message(CODE_POST, ("readings",), payload=b"42.7 L").encode()
START = StartHeader(value("bundle a"), value("x5t a"), b"\x0a", value("ephemeral"), 5)
GOOD: list[tuple[str, dict[str, Any]]] = [
    ("number 0", {"number": 0}),
    ("number 255", {"number": 255}),
    ("number 256", {"number": 256}),
    ("the last number", {"number": 2**32 - 1}),
    ("a kid of 8 bytes", {"kid": bytes(range(8))}),
    ("claims", {"claims": Claims("readings", "urgent", 1_764_086_400)}),
    ("a topic in UTF-8", {"claims": Claims("température")}),
    ("an opener with a key", {"number": 7, "opener": Opener(7, value("x"), 7)}),
    ("an opener with a reseed", {"number": 70_000, "opener": Opener(65_536, reseed=(24, value("salt", 16)))}),
    ("an opener with both", {"number": 300, "opener": Opener(299, value("x"), 24, (1, value("salt", 16)))}),
    ("a start", {"number": 0, "start": START}),
    ("a start and a reseed", {"number": 3, "start": START, "opener": Opener(2, reseed=(1, value("salt", 16)))}),
    ("suite 2", {"suite": SUITE_2}),
    ("suite 2, an opener", {"suite": SUITE_2, "number": 7, "opener": Opener(7, value("x"), 7)}),
    ("suite 2, claims", {"suite": SUITE_2, "claims": Claims("readings")}),
    ("suite 3", {"suite": SUITE_3}),
    ("suite 3, a kid of 8 bytes and the last number", {"suite": SUITE_3, "kid": bytes(8), "number": 2**32 - 1}),
    ("suite 3, an opener", {"suite": SUITE_3, "number": 300, "opener": Opener(299, reseed=(2, value("salt", 16)))}),
    ("suite 3, a start", {"suite": SUITE_3, "number": 0, "start": START}),
]
BAD_COSE = {
    "nothing": "",
    "no tag": "834aa3010a04412a06420102a0496d7474747474747474",
    "another tag": "d1834aa3010a04412a06420102a0496d7474747474747474",
    "four items": "d0844aa3010a04412a06420102a0496d747474747474747400",
    "an unprotected header": "d0834aa3010a04412a06420102a1040149" + "6d7474747474747474",
    "no kid": "d08347a2010a06420102a0496d7474747474747474",
    "an unknown label": "d0834ca4010a04412a064201020700a0496d7474747474747474",
    "crit": "d0834da4010a02810404412a06420102a0496d7474747474747474",
    "labels in another order": "d0834aa304412a010a06420102a0496d7474747474747474",
    "a label twice": "d0834da4010a04412a04412a06420102a0496d7474747474747474",
    "a number with a leading zero": "d0834aa3010a04412a06420002a0496d7474747474747474",
    "an empty number": "d08348a3010a04412a0640a0496d7474747474747474",
    "an integer that is not shortest": "d0834ba301180a04412a06420102a0496d7474747474747474",
    "a length that is not shortest": "d083580aa3010a04412a06420102a0496d7474747474747474",
    "an indefinite length": "d09f4aa3010a04412a06420102a0496d7474747474747474ff",
    "an unknown algorithm": "d0834aa3010104412a06420102a0496d7474747474747474",
    "only a tag": "d0834aa3010a04412a06420102a0487474747474747474",
    "only a tag of suite 2": "d0834ba301181e04412a06420102a050" + "74" * 16,
    "a tag of suite 1 under the alg of suite 3": "d0834ba301181804412a06420102a0496d7474747474747474",
    "a byte behind it": "d0834aa3010a04412a06420102a0496d747474747474747400",
    "one byte short": "d0834aa3010a04412a06420102a0496d74747474747474",
    "empty claims": "d0834ca4010a04412a064201020fa0a0496d7474747474747474",
}
BAD_COMPACT = {
    "nothing": "",
    "only flags": "42",
    "no suite": "022a01026d7474747474747474",
    "a number with a leading zero": "422a00026d7474747474747474",
    "only a tag": "402a017474747474747474",
    "only a tag of suite 3": "c02a01" + "74" * 16,
    "an opener that is none": "412a018201417861627474747474747474",
    "an opener that is not shortest": "412a0183180101" + "50" + "00" * 16 + "6d7474747474747474",
    "a chain that begins later": "412a0183020150" + "00" * 16 + "6d7474747474747474",
}


def cases() -> list[dict[str, Any]]:
    """Return every case."""
    good = [_good(name, **parts) for name, parts in GOOD]
    cose = [_bad(name, "envelope", Envelope.decode, bytes.fromhex(data)) for name, data in BAD_COSE.items()]
    compact = [
        _bad(f"compact: {name}", "compact", from_compact, bytes.fromhex(data)) for name, data in BAD_COMPACT.items()
    ]
    return good + cose + compact


def _good(
    name: str, *, kid: bytes = b"\x2a", number: int = 300, claims: Any = None, start: Any = None, opener: Any = None,
    suite: Suite = SUITE_1,
) -> dict[str, Any]:  # fmt: skip
    key, base_iv = value(f"{name} key", suite.key_length), value(f"{name} iv", suite.nonce_length)
    protected = protected_bytes(suite.cose_alg, kid, number, claims, start, opener)
    ciphertext = suite.aead(key).encrypt(nonce(base_iv, number), MESSAGE, enc_structure(protected))
    encoded = assemble(protected, ciphertext)
    envelope = Envelope.decode(encoded)
    return {
        "name": name,
        "verdict": "opened",
        "envelope": encoded.hex(),
        "compact": to_compact(envelope).hex() if is_compactable(envelope) else None,
        "kid": kid.hex(),
        "number": number,
        "key": key.hex(),
        "base_iv": base_iv.hex(),
        "plaintext": MESSAGE.hex(),
    }


def _bad(name: str, form: str, decode: Any, data: bytes) -> dict[str, Any]:
    try:
        decode(data)
    except TooLarge:
        return {"name": name, "verdict": "too-large", form: data.hex()}
    except Malformed:
        return {"name": name, "verdict": "malformed", form: data.hex()}
    raise LookupError(f"{name} is an envelope")

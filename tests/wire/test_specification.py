# SPDX-License-Identifier: Apache-2.0
"""The specification says what the code does: its CDDL describes real bytes, examples and numbers are real."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cbor2
import pycddl
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from sealway.wire import cose, envelope, header, message, options
from sealway.wire.compact import to_compact
from sealway.wire.merkle import merkle_path, merkle_root
from sealway.wire.message_parts import encode_void
from tests.wire.wire_samples import (
    BUNDLE,
    BUNDLE_CLAIMS,
    CHAINED_BUNDLE,
    CONSENT,
    FULL,
    FULL_MESSAGE,
    GRANT,
    GRANT_CLAIMS,
    MANIFEST,
    METER,
    READING,
    RECEIPT,
    ROOT,
    SAMPLES,
    THIRD_BUNDLE,
    filled,
)

SPEC = Path(__file__).parents[2] / "spec"
CDDL = (SPEC / "sealway.cddl").read_text()
LABELS = (SPEC / "labels.md").read_text()


def schema(rule: str) -> pycddl.Schema:
    """The CDDL with this rule at its top.

    The validator misreads three things that are right (RFC 8610): ``.cbor`` beside other items of an array, so what is
    embedded is checked by itself below; a count before a group of two items, which it takes for one of items; and two
    arrays in an array, so of receipts only those without a second list are shown to it.
    """
    text = re.sub(r"bstr \.cbor [a-z0-9-]+", "bstr", CDDL)
    text = re.sub(r"\d\*\d+ range", "* range", text)
    return pycddl.Schema(f"start = {rule}\n{text}")


def parts(encoded: bytes, tag_bytes: int = 1) -> list[Any]:
    """The items of a tagged COSE structure."""
    return list(cbor2.loads(encoded[tag_bytes:]))


EMBEDDED: list[tuple[str, bytes]] = [
    *(("envelope-header", sample.protected) for sample in SAMPLES["envelope"]),
    ("bundle-header", parts(BUNDLE.encode())[0]),
    ("bundle-header", parts(CHAINED_BUNDLE.encode())[0]),
    ("bundle-header", parts(THIRD_BUNDLE.encode())[0]),
    ("grant-header", parts(GRANT.encode())[0]),
    ("consent-header", parts(CONSENT.encode())[0]),
    ("manifest-header", parts(MANIFEST.encode())[0]),
    ("root-header", parts(ROOT.encode(), 2)[0]),
    ("signer-header", parts(ROOT.encode(), 2)[3][0][0]),
    ("scopes", cbor2.loads(GRANT_CLAIMS.encode())[9]),
    ("enc-structure", FULL.aad),
    ("signature-structure", ROOT.sign.to_be_signed(ROOT.sign.signatures[0].key_ref)),
    ("signature1-structure<grant-header, grant>", GRANT.sign1.to_be_signed),
    ("void", encode_void(FULL_MESSAGE.void)),
]
DESCRIBED = [(rule, value.encode()) for rule, values in SAMPLES.items() for value in values] + EMBEDDED
DESCRIBED = [(rule, encoded) for rule, encoded in DESCRIBED if rule != "receipt" or encoded[0] == 0x83]


@pytest.mark.parametrize(("rule", "encoded"), DESCRIBED, ids=[rule for rule, _ in DESCRIBED])
def test_the_cddl_describes_real_bytes(rule: str, encoded: bytes) -> None:
    schema(rule).validate_cbor(encoded)


@pytest.mark.parametrize("rule", [*SAMPLES, "envelope-header"])
def test_the_cddl_describes_nothing_else(rule: str) -> None:
    described = schema("receipt-without-gone" if rule == "receipt" else rule)
    for wrong in ("00", "f6", "6161", "8100", "a1186300", "d080", "d28440a04040"):
        with pytest.raises(pycddl.ValidationError):
            described.validate_cbor(bytes.fromhex(wrong))


def test_the_cddl_knows_every_field_of_a_bundle() -> None:
    full = replace(BUNDLE_CLAIMS, ml_kem=bytes(1184)).encode()
    assert set(cbor2.loads(full)) == set(range(1, 14))
    schema("bundle").validate_cbor(full)


KEY, BASE_IV = filled(16, 0x40), filled(13, 0xA1)
NONCE = envelope.nonce(BASE_IV, 300)
PROTECTED = envelope.protected_bytes(10, b"\x07", 300)
AAD = envelope.enc_structure(PROTECTED)
SEALED = envelope.assemble(PROTECTED, AESCCM(KEY, tag_length=8).encrypt(NONCE, READING.encode(), AAD))
THREE_KEYS = [filled(32, first) for first in range(3)]

EXAMPLES: dict[str, dict[str, str]] = {
    "envelope.md": {
        "key": KEY.hex(),
        "base-iv": BASE_IV.hex(),
        "nonce": NONCE.hex(),
        "protected": PROTECTED.hex(),
        "aad": AAD.hex(),
        "envelope": SEALED.hex(),
        "full-header": FULL.protected.hex(),
        "compact": to_compact(envelope.Envelope.decode(SEALED)).hex(),
    },
    "message.md": {
        "reading": READING.encode().hex(),
        "bare-receipt": message.Message(0x00, receipt=RECEIPT).encode().hex(),
        "every-option": FULL_MESSAGE.encode().hex(),
    },
    "documents.md": {
        "mailbox": METER.mailbox,
        "merkle-root": merkle_root(THREE_KEYS).hex(),
        "merkle-path-1": b"".join(merkle_path(THREE_KEYS, 1)).hex(),
    },
}


@pytest.mark.parametrize("page", EXAMPLES)
def test_the_examples_are_real(page: str) -> None:
    found = re.findall(r"^```(?:hex|text) (\S+)\n(.*?)^```$", (SPEC / page).read_text(), re.MULTILINE | re.DOTALL)
    assert {name: "".join(body.split()) for name, body in found} == EXAMPLES[page]


def test_the_options_are_those_of_the_code() -> None:
    page = (SPEC / "message.md").read_text()
    numbers = {value for name, value in vars(options).items() if name.isupper() and isinstance(value, int)}
    for number in sorted(number for number in numbers if 65000 <= number < 65535):
        for text in (page, LABELS):
            row = re.search(rf"^\| {number} \| [^|]+ \| (yes|no) \|", text, re.MULTILINE)
            assert row is not None, number
            assert (row[1] == "yes") == bool(number % 2)
    assert f"| {options.RESERVED.start} to {options.RESERVED.stop - 1} | reserved" in page
    assert f"at most {options.MAX_OPTIONS} options" in page


def test_the_labels_are_those_of_the_code() -> None:
    for label in (envelope.LABEL_START, envelope.LABEL_OPENER, header.Claims(topic="t").to_value().popitem()[0]):
        assert f"| {label} |" in LABELS
    for typ in cose.TYPES:
        assert f"| `{typ}` |" in LABELS
    for alg, suite in envelope.SUITE_OF_ALG.items():
        row = next(line for line in LABELS.splitlines() if re.match(rf"\| {suite} \| (P-256|X25519)", line))
        assert f"({alg})" in row
        assert f", {envelope.TAG_BYTES[alg]} |" in row

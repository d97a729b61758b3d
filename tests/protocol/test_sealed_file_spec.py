# SPDX-License-Identifier: Apache-2.0
"""spec/sealed-file.md says what the code does: its example, its formulas, its numbers."""

from __future__ import annotations

import hashlib
import hmac
import re
import subprocess
from pathlib import Path

import cbor2
import pycddl
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from sealway.protocol.sealed_file import DEFAULT_CHUNK, MOST_CHUNKS, TAG_BYTES, ChunkSealer, key_message
from sealway.wire import envelope, sealed_file
from sealway.wire.envelope import Envelope
from sealway.wire.message import FileKey, Message
from sealway.wire.message_parts import MAX_CHUNK, MIN_CHUNK
from sealway.wire.sealed_file import Preface, item
from tests.protocol.ghash import gcm_tag
from tests.wire.wire_samples import PREFACES, filled

SPEC = Path(__file__).parents[2] / "spec"
PAGE = (SPEC / "sealed-file.md").read_text()
SHOWN = {
    name: bytes.fromhex("".join(text.split()))
    for name, text in re.findall(r"^```hex ([\w-]+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
}
CONTENT = b"42.7 L\n"
KEY = FileKey(1024, filled(32, 0x60))


def example() -> dict[str, bytes]:
    """The values of the page, from the code."""
    protected = envelope.protected_bytes(10, b"\x07", 301)
    message = key_message(KEY, 1_764_000_000_123).encode()
    base_iv, aad = filled(13, 0xA1), envelope.enc_structure(protected)
    cipher = AESCCM(filled(16, 0x40), tag_length=8).encrypt(envelope.nonce(base_iv, 301), message, aad)
    preface = Preface(Envelope.decode(envelope.assemble(protected, cipher)))
    sealer = ChunkSealer(KEY, preface)
    chunk = sealer.seal(CONTENT, last=True)
    return {
        "file-key": KEY.encode(),
        "message": message,
        "preface": preface.encode(),
        "stream-key": expand(KEY.key, preface.encode())[:32],
        "commitment": sealer.commitment,
        "nonce": bytes(11) + b"\x01",
        "chunk": chunk,
        "file": preface.encode() + item(sealer.commitment) + item(chunk),
    }


def expand(key: bytes, preface: bytes) -> bytes:
    """The page's formula, with RFC 5869 §2.3 by hand."""
    info = b"sealway file keys" + (1024).to_bytes(4, "big") + hashlib.sha256(preface).digest()
    one = hmac.new(key, info + b"\x01", hashlib.sha256).digest()
    return one + hmac.new(key, one + info + b"\x02", hashlib.sha256).digest()


def test_the_page_shows_the_values_of_the_code() -> None:
    assert {name: value.hex() for name, value in SHOWN.items()} == {n: v.hex() for n, v in example().items()}


def test_the_commitment_of_the_page_follows_from_its_formula() -> None:
    assert expand(KEY.key, SHOWN["preface"]) == SHOWN["stream-key"] + SHOWN["commitment"]
    assert Message.decode(SHOWN["message"]).file_key == FileKey.decode(SHOWN["file-key"]) == KEY


def test_the_chunk_of_the_page_is_gcm_to_independent_implementations() -> None:
    """The command openssl decrypts it in counter mode; GHASH is NIST SP 800-38D §6.4 by hand."""
    key, nonce, chunk = SHOWN["stream-key"], SHOWN["nonce"], SHOWN["chunk"]

    def counter_mode(data: bytes, counter: int) -> bytes:
        command = ["openssl", "enc", "-aes-256-ctr", "-K", key.hex(), "-iv", (nonce + counter.to_bytes(4, "big")).hex()]
        return subprocess.run(command, input=data, capture_output=True, check=True, timeout=120).stdout

    cipher, tag = chunk[:-TAG_BYTES], chunk[-TAG_BYTES:]
    assert counter_mode(cipher, 2) == CONTENT
    hash_key = subprocess.run(
        ["openssl", "enc", "-aes-256-ecb", "-nopad", "-K", key.hex()],
        input=bytes(16), capture_output=True, check=True, timeout=120,
    ).stdout  # fmt: skip
    assert gcm_tag(hash_key, cipher, counter_mode(bytes(16), 1)) == tag


def schema(chunks: int) -> pycddl.Schema:
    """The rule of a sealed file with so many chunks: the validator takes no count that is not alone in its array."""
    text = re.sub(r"bstr \.cbor [a-z0-9-]+", "bstr", (SPEC / "sealway.cddl").read_text())
    text = re.sub(r"\d\*\d+ range", "* range", text).replace("bstr .size 0 / bstr,", "bstr,")
    return pycddl.Schema(f"start = sealed-file\n{text.replace('1*4294967296 chunk', ', '.join(['chunk'] * chunks))}")


def test_the_cddl_describes_a_sealed_file_as_an_array() -> None:
    chunks = item(bytes(16)) * 3
    for file in (SHOWN["file"], *(preface.encode() + item(bytes(32)) + chunks for preface in PREFACES)):
        count = len(sequence(file))
        schema(count - 4).validate_cbor(bytes((0x80 | count,)) + file)
        with pytest.raises(pycddl.ValidationError):
            schema(count - 4).validate_cbor(bytes((0x80 | count,)) + file.replace(b"file 1", b"file 2"))


def sequence(file: bytes) -> list[object]:
    """The items of a CBOR sequence, read by an independent reader."""
    found, rest = [], file
    while rest:
        value = cbor2.loads(rest)
        found.append(value)
        rest = rest[len(cbor2.dumps(value)) :]
    return found


def test_the_numbers_of_the_page_are_those_of_the_code() -> None:
    def said(number: int) -> str:
        return f"{number:,}".replace(",", " ")

    for number in (MIN_CHUNK, MAX_CHUNK, DEFAULT_CHUNK, sealed_file.MAX_INTRODUCTION_BYTES):
        assert said(number) in PAGE, number
    assert f"at most 2^{MOST_CHUNKS.bit_length() - 1} chunks" in PAGE
    assert f"*chunk* + {TAG_BYTES}" in PAGE

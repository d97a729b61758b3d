# SPDX-License-Identifier: Apache-2.0
"""The content of a sealed file, chunk by chunk: STREAM over AES-256-GCM, with its key committed. spec/sealed-file.md.

Invariants: a file's key is drawn for one file and seals it once, from its first chunk to its last, so no key and nonce
repeat; a chunk is given out only if it is the very next one of this very file; after the last chunk, and after one that
did not open, there is nothing more. One file opens under one key only.

STREAM: Hoang, Reyhanitabar, Rogaway, Vizár: Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance
(CRYPTO 2015), §7.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sealway.crypto.kdf import HASH_BYTES, hkdf_expand
from sealway.crypto.ports import Random
from sealway.errors import LocalMisuse, Malformed, NotAuthentic, TooLarge
from sealway.wire.message import CODE_POST, FileKey, Message
from sealway.wire.message_parts import FILE_KEY_BYTES
from sealway.wire.sealed_file import Preface

DEFAULT_CHUNK = 1 << 16
TAG_BYTES = 16
MOST_CHUNKS = 1 << 32
_LABEL = b"sealway file keys"


def new_file_key(random: Random, chunk: int = DEFAULT_CHUNK) -> FileKey:
    """Draw the key of one file. Raises Malformed for a chunk size that is not allowed."""
    return FileKey(chunk, random(FILE_KEY_BYTES))


def key_message(key: FileKey, sent_at: int) -> Message:
    """Return the message that carries a file's key; ``sent_at`` in Unix milliseconds."""
    return Message(CODE_POST, sent_at=sent_at, file_key=key)


def carried_key(message: Message) -> FileKey | None:
    """Return the file's key that a message carries, None if it is another message.

    Raises:
        Malformed: it has a file's key and is a reading, a request or an answer besides.
    """
    key = message.file_key
    if key is None:
        return None
    beside = (message.path, message.query, message.payload)
    if message.code != CODE_POST or any(beside) or any(
        part is not None for part in (message.content_format, message.request_id, message.freshness, message.grant)
    ):  # fmt: skip
        raise Malformed("a message with a file's key has nothing else to say")
    return key


@dataclass(frozen=True, slots=True)
class FileKeys:
    """What is derived from a file's key: what the chunks are sealed with, and what shows which key that is.

    Fields: ``commitment`` stands in the file; nobody can find another key that has it.
    """

    aead: AESGCM = field(repr=False)
    commitment: bytes

    @classmethod
    def of(cls, key: FileKey, preface: Preface) -> FileKeys:
        """Derive them for the file with this preface: each byte before the commitment is bound by it."""
        info = _LABEL + key.chunk.to_bytes(4, "big") + preface.digest
        okm = hkdf_expand(key.key, info, 2 * HASH_BYTES)  # RFC 5869 §3.3: the key is uniformly random already
        return cls(AESGCM(okm[:HASH_BYTES]), okm[HASH_BYTES:])


class _Stream:
    """Where in the file: the number of the next chunk, and whether the last one was."""

    def __init__(self, key: FileKey, preface: Preface) -> None:
        keys = FileKeys.of(key, preface)
        self.chunk = key.chunk
        self.commitment = keys.commitment
        self._aead = keys.aead
        self._next = 0
        self._ended = False

    def _advance(self, length: int, *, last: bool) -> bytes:
        """Check the length of the next chunk's content, step over it, and return its nonce."""
        if self._ended:
            raise LocalMisuse("a sealed file ends with its last chunk")
        # An empty file is one empty chunk; no other chunk is empty, and only the last is shorter than the others.
        fits = length == self.chunk or (last and (0 < length < self.chunk or length == self._next == 0))
        if not fits:
            raise Malformed(f"chunk {self._next} of a sealed file has the wrong length")
        if self._next >= MOST_CHUNKS:
            raise TooLarge(f"a sealed file has at most {MOST_CHUNKS} chunks")
        nonce = self._next.to_bytes(11, "big") + bytes((last,))
        self._next += 1
        self._ended = last
        return nonce


class ChunkSealer(_Stream):
    """Seals the content of one file, in order, once.

    Args:
        key: drawn for this file; it has sealed nothing yet.
        preface: what stands before the content.
    """

    def seal(self, content: bytes, *, last: bool) -> bytes:
        """Return the next chunk sealed.

        Args:
            content: ``chunk`` bytes; the last one has 1 to ``chunk``, or none if it is the only one.
            last: nothing comes after it.

        Raises:
            Malformed: another length.
            LocalMisuse: the last chunk was sealed before.
            TooLarge: the file has too many chunks.
        """
        return self._aead.encrypt(self._advance(len(content), last=last), content, None)


class ChunkOpener(_Stream):
    """Opens the content of one file, in order.

    Args:
        key: from the file's envelope.
        preface: of the file.
        commitment: of the file.

    Raises:
        NotAuthentic: this content was not sealed with this key, behind this preface.
    """

    def __init__(self, key: FileKey, preface: Preface, commitment: bytes) -> None:
        super().__init__(key, preface)
        if not hmac.compare_digest(self.commitment, commitment):
            raise NotAuthentic("the content of the file is not that of its envelope, or the file was altered")

    @property
    def longest(self) -> int:
        """Bytes of the longest sealed chunk."""
        return self.chunk + TAG_BYTES

    def open(self, sealed: bytes, *, last: bool) -> bytes:
        """Return the content of the next chunk.

        Args:
            last: the file ends behind it.

        Raises:
            NotAuthentic: it is not the next chunk of this file, or not the last one and the file ends, or the last one
            and the file goes on.
            Malformed: a length that no such chunk has.
            LocalMisuse: there was a last one, or one that did not open.
        """
        number = self._next
        nonce = self._advance(len(sealed) - TAG_BYTES, last=last)
        try:
            return self._aead.decrypt(nonce, sealed, None)
        except InvalidTag:
            self._ended = True
        raise NotAuthentic(f"chunk {number} of the file does not open: the file was cut short or altered")

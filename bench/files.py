# SPDX-License-Identifier: Apache-2.0
"""Sealing and opening the content of a file, against the bare AEAD over the same chunks.

From memory to memory, without the file's envelope, which costs the same however long the file is. The baseline makes
nonces, encrypts or decrypts, and keeps what comes out; it neither reads nor writes, frames nor checks.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench.measure import Pair, Subject, cpu_each
from sealway.protocol.sealed_file import DEFAULT_CHUNK, ChunkOpener, new_file_key
from sealway.sdk.sealedfiles import open_content, seal_content
from sealway.sdk.streams import Input, Output
from sealway.wire.sealed_file import COMMITMENT_BYTES, Preface, required_item
from tests.wire.wire_samples import STEADY

CHUNKS = 512


def _seal(content: bytes, preface: Preface) -> bytes:
    sealed = io.BytesIO()
    key = new_file_key(lambda count: bytes(range(count)))
    seal_content(Input(io.BytesIO(content)), Output(sealed), preface, key, threading.Event())
    return sealed.getvalue()


def _open(file: bytes, preface: Preface) -> bytes:
    source, content = Input(io.BytesIO(file)), io.BytesIO()
    if Preface.read(source.read) != preface:
        raise ValueError("another preface came back")
    commitment = required_item(source.read, COMMITMENT_BYTES, "the commitment")
    opener = ChunkOpener(new_file_key(lambda count: bytes(range(count))), preface, commitment)
    open_content(source, Output(content), opener, threading.Event())
    return content.getvalue()


def _bare(chunks: list[bytes], aead: AESGCM, *, opening: bool) -> list[bytes]:
    work = aead.decrypt if opening else aead.encrypt
    return [work(number.to_bytes(12, "big"), chunk, None) for number, chunk in enumerate(chunks)]


@contextmanager
def _content(*, opening: bool) -> Iterator[Pair]:
    content, preface, aead = os.urandom(CHUNKS * DEFAULT_CHUNK), Preface(STEADY), AESGCM(bytes(32))
    chunks = [content[at : at + DEFAULT_CHUNK] for at in range(0, len(content), DEFAULT_CHUNK)]
    file = _seal(content, preface)
    if _open(file, preface) != content:
        raise ValueError("another content came back")
    given = _bare(chunks, aead, opening=False) if opening else chunks
    work = partial(_open, file, preface) if opening else partial(_seal, content, preface)
    yield Pair(
        lambda: cpu_each(work, CHUNKS),
        lambda: cpu_each(lambda: _bare(given, aead, opening=opening), CHUNKS),
    )


SUBJECTS = (
    Subject("seal a file, each 64 KiB", "µs", 1.5, partial(_content, opening=False)),
    Subject("open a file, each 64 KiB", "µs", 1.7, partial(_content, opening=True)),
)

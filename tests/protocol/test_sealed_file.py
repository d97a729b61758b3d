# SPDX-License-Identifier: Apache-2.0
"""The content of a sealed file: whatever is done to its bytes, what comes out is a beginning of what went in, and only
the whole of it ends well."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealway.errors import LocalMisuse, Malformed, NotAuthentic, PeerMisbehaved, TooLarge
from sealway.protocol import sealed_file
from sealway.protocol.sealed_file import ChunkOpener, ChunkSealer, FileKeys, carried_key, key_message, new_file_key
from sealway.wire.message import CODE_GET, FileKey, Freshness, Message
from sealway.wire.sealed_file import COMMITMENT_BYTES, Cursor, Introduction, Preface, item, next_item, required_item
from tests.wire.wire_samples import PREFACES, START_OF_FILE, STEADY, filled

CHUNK = 1024
KEY = FileKey(CHUNK, filled(32))
PREFACE = PREFACES[0]


def chunks_of(content: bytes) -> list[bytes]:
    return [content[at : at + CHUNK] for at in range(0, len(content), CHUNK)] or [b""]


def sealed_chunks(content: bytes, key: FileKey = KEY, preface: Preface = PREFACE) -> list[bytes]:
    sealer, parts = ChunkSealer(key, preface), chunks_of(content)
    return [sealer.seal(part, last=at == len(parts) - 1) for at, part in enumerate(parts)]


def sealed(content: bytes, key: FileKey = KEY, preface: Preface = PREFACE) -> bytes:
    """A whole sealed file."""
    head = preface.encode() + item(FileKeys.of(key, preface).commitment)
    return head + b"".join(item(chunk) for chunk in sealed_chunks(content, key, preface))


def opened(file: bytes, key: FileKey = KEY) -> Iterator[bytes]:
    """What a reader hands out of a file whose envelope holds ``key``."""
    read = Cursor(file).read
    preface = Preface.read(read)
    opener = ChunkOpener(key, preface, required_item(read, COMMITMENT_BYTES, "the commitment"))
    chunk: bytes | None = required_item(read, opener.longest, "the content")
    while chunk is not None:
        following = next_item(read, opener.longest, "a chunk")
        yield opener.open(chunk, last=following is None)
        chunk = following


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 5 * CHUNK + 7])
@pytest.mark.parametrize("preface", PREFACES, ids=["running", "start"])
def test_what_was_sealed_opens(size: int, preface: Preface) -> None:
    content = filled(size)
    file = sealed(content, preface=preface)
    assert b"".join(opened(file)) == content
    overhead = len(preface.encode()) + 34
    assert len(file) == overhead + sum(len(item(bytes(len(part) + 16))) for part in chunks_of(content))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 3 * CHUNK + 5), st.data())
def test_any_change_of_the_bytes_is_refused_and_nothing_wrong_comes_out(size: int, data: st.DataObject) -> None:
    content = filled(size)
    file = sealed(content)
    at, cut = data.draw(st.integers(0, len(file))), data.draw(st.integers(0, 40) | st.just(CHUNK + 19))
    changed = file[:at] + data.draw(st.binary(max_size=8)) + file[at + cut :]
    came = bytearray()
    if changed == file:
        return
    with pytest.raises(PeerMisbehaved):
        came.extend(byte for part in opened(changed) for byte in part)
    assert content.startswith(bytes(came))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=12))
def test_no_other_sequence_of_genuine_chunks_is_a_file(order: list[int]) -> None:
    """Chunks of two files with the same preface, reordered, repeated, left out, mixed."""
    one, other = filled(4 * CHUNK + 9), filled(4 * CHUNK + 9, 7)
    mine, theirs = sealed_chunks(one), sealed_chunks(other, FileKey(CHUNK, filled(32, 1)))
    head = PREFACE.encode() + item(FileKeys.of(KEY, PREFACE).commitment)
    file = head + b"".join(item((mine + theirs)[index]) for index in order)
    came = bytearray()
    if order == list(range(5)):
        return
    with pytest.raises(PeerMisbehaved):
        came.extend(byte for part in opened(file) for byte in part)
    assert one.startswith(bytes(came))


@pytest.mark.parametrize("count", range(5))
def test_a_file_cut_off_at_a_border_between_chunks_is_refused(count: int) -> None:
    content = filled(5 * CHUNK)
    whole = sealed(content)
    cut = whole[: len(whole) - (5 - count) * len(item(bytes(CHUNK + 16)))]
    came: list[bytes] = []
    with pytest.raises(PeerMisbehaved) as refused:
        came.extend(opened(cut))
    assert len(came) == max(0, count - 1)  # the chunk that now stands last does not open as the last one
    assert isinstance(refused.value, Malformed if count == 0 else NotAuthentic)


def test_each_bit_of_a_small_file_counts() -> None:
    file = sealed(b"42.7 L\n")
    for at in range(len(file)):
        for bit in range(8):
            changed = file[:at] + bytes((file[at] ^ 1 << bit,)) + file[at + 1 :]
            with pytest.raises(PeerMisbehaved):
                list(opened(changed))


def test_the_preface_is_part_of_the_key() -> None:
    """The same content key behind another envelope, or beside another introduction, opens nothing."""
    chunks = b"".join(item(chunk) for chunk in sealed_chunks(b"content"))
    commitment = item(FileKeys.of(KEY, PREFACE).commitment)
    for preface in (Preface(type(STEADY)(b"\x07", 301, STEADY.ciphertext)), PREFACES[1]):
        with pytest.raises(NotAuthentic, match="not that of its envelope"):
            list(opened(preface.encode() + commitment + chunks))


def test_a_file_opens_under_one_key_only() -> None:
    with pytest.raises(NotAuthentic, match="not that of its envelope"):
        next(opened(sealed(b"content"), FileKey(CHUNK, filled(32, 1))))
    with pytest.raises(NotAuthentic, match="not that of its envelope"):
        next(opened(sealed(b"content"), FileKey(CHUNK + 1, KEY.key)))


@pytest.mark.parametrize(
    ("lengths", "last"),
    [([CHUNK - 1], False), ([CHUNK + 1], True), ([0], False), ([CHUNK, 0], True), ([CHUNK, CHUNK + 1], True)],
)
def test_lengths_that_no_chunk_has_are_refused_on_both_sides(lengths: list[int], last: bool) -> None:
    *before, length = lengths
    sealer = ChunkSealer(KEY, PREFACE)
    opener = ChunkOpener(KEY, PREFACE, sealer.commitment)
    for full in before:
        opener.open(sealer.seal(bytes(full), last=False), last=False)
    with pytest.raises(Malformed, match="wrong length"):
        sealer.seal(bytes(length), last=last)
    with pytest.raises(Malformed, match="wrong length"):
        opener.open(bytes(length + 16), last=last)


def test_nothing_follows_the_last_chunk_nor_one_that_did_not_open() -> None:
    sealer = ChunkSealer(KEY, PREFACE)
    opener = ChunkOpener(KEY, PREFACE, sealer.commitment)
    only = sealer.seal(b"content", last=True)
    with pytest.raises(LocalMisuse):
        sealer.seal(b"more", last=True)
    assert opener.open(only, last=True) == b"content"
    with pytest.raises(LocalMisuse):
        opener.open(only, last=True)
    opener = ChunkOpener(KEY, PREFACE, sealer.commitment)
    with pytest.raises(NotAuthentic, match="chunk 0"):
        opener.open(bytes(len(only)), last=True)
    with pytest.raises(LocalMisuse):
        opener.open(only, last=True)


def test_the_number_of_chunks_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_file, "MOST_CHUNKS", 2)
    sealer = ChunkSealer(KEY, PREFACE)
    for _ in range(2):
        sealer.seal(bytes(CHUNK), last=False)
    with pytest.raises(TooLarge):
        sealer.seal(bytes(CHUNK), last=False)


def test_a_key_is_drawn_and_travels_in_a_message_of_its_own() -> None:
    key = new_file_key(lambda count: filled(count, 5))
    assert key == FileKey(1 << 16, filled(32, 5))
    message = Message.decode(key_message(key, 1_764_000_000_123).encode())
    assert carried_key(message) == key
    assert carried_key(Message(2, ("readings",), payload=b"1")) is None
    assert key.key.hex() not in repr(message) and repr(key.key) not in repr(message)


@pytest.mark.parametrize(
    "beside",
    [
        {"path": ("readings",)}, {"query": ("a",)}, {"payload": b"1"}, {"content_format": 0}, {"request_id": bytes(8)},
        {"freshness": Freshness(0, b"abcd", 1)}, {"grant": b"g"}, {"code": CODE_GET}, {"code": 0x44},
    ],
    ids=lambda beside: next(iter(beside)),
)  # fmt: skip
def test_a_message_with_a_key_says_nothing_else(beside: dict[str, object]) -> None:
    with pytest.raises(Malformed, match="nothing else"):
        carried_key(Message(**{"code": 2, "file_key": KEY} | beside))  # type: ignore[arg-type]


READERS: list[tuple[str, bytes]] = [
    ("another type", b"\x60"),
    ("an indefinite length", b"\x5f"),
    ("a length of eight bytes", b"\x5b" + bytes(8)),
    ("a reserved head", b"\x5c"),
    ("a head that is longer than needed", b"\x58\x05hello"),
    ("a head that is cut short", b"\x59\x01"),
    ("content that is cut short", b"\x45hell"),
]


@pytest.mark.parametrize(("what", "data"), READERS, ids=[what for what, _ in READERS])
def test_items_that_are_not_byte_strings_in_their_shortest_form(what: str, data: bytes) -> None:
    with pytest.raises(Malformed):
        next_item(Cursor(data).read, 100, what)


def test_an_item_that_is_too_long_is_refused_before_it_is_read() -> None:
    asked: list[int] = []

    def read(count: int) -> bytes:
        asked.append(count)
        return cursor.read(count)

    cursor = Cursor(b"\x5a\x7f\xff\xff\xff" + bytes(100))
    with pytest.raises(TooLarge):
        next_item(read, 1000, "a chunk")
    assert asked == [1, 4]


def test_the_end_is_where_nothing_begins() -> None:
    assert next_item(Cursor(b"").read, 9, "a chunk") is None
    with pytest.raises(Malformed, match="ends before the envelope"):
        required_item(Cursor(b"").read, 9, "the envelope")


PREFACES_THAT_ARE_NONE: dict[str, Callable[[], object]] = {
    "another version": lambda: Preface.decode(PREFACE.encode().replace(b"file 1", b"file 2")),
    "bytes after it": lambda: Preface.decode(PREFACE.encode() + b"\x40"),
    "an introduction to a running session": lambda: Preface(STEADY, PREFACES[1].introduction),
    "no introduction to a start": lambda: Preface(START_OF_FILE),
    "another bundle": lambda: Preface(START_OF_FILE, changed(bundle=b"other")),
    "another certificate": lambda: Preface(START_OF_FILE, changed(chain=(b"other",))),
}


def changed(**fields: object) -> Introduction:
    introduction = PREFACES[1].introduction
    assert introduction is not None
    return Introduction(**{"bundle": introduction.bundle, "chain": introduction.chain} | fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", PREFACES_THAT_ARE_NONE.values(), ids=PREFACES_THAT_ARE_NONE.keys())
def test_prefaces_that_are_none(make: Callable[[], object]) -> None:
    with pytest.raises(Malformed):
        make()

# SPDX-License-Identifier: Apache-2.0
"""The inner message: CoAP's serialisation, checked against aiocoap's, and the rules for every option."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from aiocoap.numbers.optionnumbers import OptionNumber
from aiocoap.options import Options
from hypothesis import given, settings
from hypothesis import strategies as st

from sealway.errors import Malformed, TooLarge
from sealway.wire import cbor, options
from sealway.wire.message import (
    MAX_MESSAGE_BYTES,
    FileKey,
    FirstIdentity,
    Freshness,
    Message,
    Receipt,
    _decode_general,
    _decode_timed,
    _encode_general,
    code_text,
)
from sealway.wire.message_parts import decode_void, encode_void
from sealway.wire.shape import LATEST_MILLISECOND
from tests.wire.wire_samples import FULL_MESSAGE, READING, filled
from tests.wire.wire_strategies import messages, plain_messages, ranges


def of(*listed: tuple[int, bytes], code: int = 0x02, rest: bytes = b"") -> bytes:
    """A serialised message with these options, in the order given."""
    return bytes((code,)) + options.encode_options(listed) + rest


def test_the_bytes_of_a_reading() -> None:
    # code; Uri-Path 11 (8 bytes); Sent-At 65000: delta 64989 = 269 + 64720, 6 bytes; marker; payload
    assert READING.encode().hex() == "02b872656164696e6773" + "e6fcd0019ab697e87b" + "ff34322e37204c"
    assert Message.decode(READING.encode()) == READING


def test_the_smallest_message_is_its_code() -> None:
    assert Message(0x00).encode() == b"\x00"
    assert Message.decode(b"\x44") == Message(0x44)


@pytest.mark.parametrize("message", [READING, Message(0x02, ("valve",), payload=b"x" * 200)])
def test_an_encoding_is_kept_until_it_is_forgotten(message: Message) -> None:
    assert message.encode() not in vars(message).values(), "who seals it and drops it keeps nothing"
    encoded = message.encode_once()
    assert message.encode() is encoded is message.encode_once()
    message.forget_encoding()
    message.forget_encoding()
    assert encoded not in vars(message).values()
    assert message.encode() == encoded
    read = Message.decode(encoded)
    read.forget_encoding()
    assert encoded not in vars(read).values() and read == message


@given(messages)
def test_an_independent_implementation_reads_the_same_options(message: Message) -> None:
    theirs = Options()
    payload = theirs.decode(message.encode()[1:])
    listed, payload_at = options.decode_options(message.encode(), 1)
    assert payload == message.payload == message.encode()[payload_at:]
    assert theirs.uri_path == message.path
    assert theirs.uri_query == message.query
    assert theirs.content_format == message.content_format
    ours = [(number, value) for number, value in listed if number >= 65000]
    assert [(int(o.number), o.encode()) for o in theirs.option_list() if o.number >= 65000] == ours


@pytest.mark.parametrize("number", [12, 13, 14, 268, 269, 270, 65000, 65535])
@pytest.mark.parametrize("length", [0, 12, 13, 268, 269, 1000])
def test_deltas_and_lengths_around_their_borders(number: int, length: int) -> None:
    encoded = options.encode_options([(number, bytes(length))])
    assert options.decode_options(encoded, 0) == ([(number, bytes(length))], len(encoded))
    theirs = Options()
    theirs.decode(encoded)
    (option,) = theirs.option_list()
    assert option.number == OptionNumber(number)


def test_codes_as_people_write_them() -> None:
    assert [code_text(code) for code in (0x00, 0x02, 0x44, 0x8C, 0x9D)] == ["0.00", "0.02", "2.04", "4.12", "4.29"]


@pytest.mark.parametrize("code", [0x08, 0x1F, 0x20, 0x3F, 0x60, 0x7F, 0xC0, 0xE1, 0xFF])
def test_other_codes_are_malformed(code: int) -> None:
    with pytest.raises(Malformed):
        Message.decode(bytes((code,)))


def test_unknown_critical_options_are_refused_and_elective_ones_dropped() -> None:
    with pytest.raises(Malformed, match="critical option 65023"):
        Message.decode(of((65023, b"")))
    with pytest.raises(Malformed, match="critical option 1"):
        Message.decode(of((1, b"")))
    assert Message.decode(of((14, b"\x3c"), (14, b"\x3c"), (65020, b"x"), rest=b"\xffp")) == Message(2, payload=b"p")


SINGLE = {
    12: b"\x3c",
    65000: b"\x01",
    65001: filled(8),
    65002: b"\x01",
    65003: Receipt(0, b"abcd").encode(),
    65005: Freshness(0, b"abcd", 1).encode(),
    65007: FirstIdentity(bytes(32), 0).encode(),
    65009: bytes(64),
    65011: b"",
    65013: b"k",
    65015: cbor.encode([0, 0]),
    65017: b"grant",
    65019: FileKey(1024, bytes(32)).encode(),
    65021: bytes(32),
}


@pytest.mark.parametrize("number", SINGLE)
def test_single_options_come_once(number: int) -> None:
    value = SINGLE[number]
    Message.decode(of((number, value)))
    with pytest.raises(Malformed, match="more than once"):
        Message.decode(of((number, value), (number, value)))


REFUSED: dict[str, bytes] = {
    "nothing": b"",
    "marker without payload": b"\x02\xff",
    "reserved delta": b"\x02\xf0",
    "reserved length": b"\x02\x0f",
    "delta cut short": b"\x02\xd0",
    "length cut short": b"\x02\x0e\x00",
    "value cut short": b"\x02\xb8read",
    "number beyond 16 bits": b"\x02\xe0\xff\xff",
    "path that is not UTF-8": of((11, b"\xff")),
    "path of a dot": of((11, b".")),
    "path of two dots": of((11, b"a"), (11, b"..")),
    "long path segment": of((11, bytes(256))),
    "too many path segments": of(*[(11, b"a")] * 17),
    "too many query segments": of(*[(15, b"a")] * 17),
    "content format with a leading zero": of((12, b"\x00")),
    "long content format": of((12, b"\x01\x00\x00")),
    "time with a leading zero": of((65000, b"\x00\x01")),
    "time beyond the calendar": of((65000, b"\xff" * 8)),
    "long time": of((65000, b"\x01" + bytes(8))),
    "short request id": of((65001, bytes(7))),
    "silence of nothing": of((65002, b"")),
    "long silence": of((65002, b"\x01" + bytes(4))),
    "receipt that is no CBOR": of((65003, b"\xff")),
    "receipt as a map": of((65003, b"\xa0")),
    "receipt of two": of((65003, cbor.encode([1, b"abcd"]))),
    "receipt of five": of((65003, cbor.encode([1, b"abcd", [], [], []]))),
    "receipt with a short tag": of((65003, cbor.encode([1, b"abc", []]))),
    "receipt with an odd list": of((65003, cbor.encode([9, b"abcd", [1]]))),
    "receipt with an empty gone": of((65003, cbor.encode([9, b"abcd", [], []]))),
    "receipt with a null gone": of((65003, cbor.encode([9, b"abcd", [], None]))),
    "receipt with a range backwards": of((65003, cbor.encode([9, b"abcd", [2, 1]]))),
    "receipt with a range at its number": of((65003, cbor.encode([9, b"abcd", [8, 9]]))),
    "receipt with adjacent ranges": of((65003, cbor.encode([9, b"abcd", [1, 2, 3, 4]]))),
    "receipt with unordered ranges": of((65003, cbor.encode([9, b"abcd", [5, 5, 1, 1]]))),
    "receipt with a number twice": of((65003, cbor.encode([9, b"abcd", [1, 3], [3, 4]]))),
    "receipt with nested ranges": of((65003, cbor.encode([9, b"abcd", [[1, 3]]]))),
    "receipt with nine ranges": of((65003, cbor.encode([99, b"abcd", [n for k in range(9) for n in (3 * k, 3 * k)]]))),
    "receipt with nine ranges in two lists": of(
        (65003, cbor.encode([99, b"abcd", [n for k in range(8) for n in (3 * k, 3 * k)], [90, 91]]))
    ),
    "receipt too long": of((65003, bytes(1025))),
    "freshness of two": of((65005, cbor.encode([1, b"abcd"]))),
    "freshness with a negative age": of((65005, cbor.encode([1, b"abcd", -1]))),
    "first identity with a short hash": of((65007, cbor.encode([bytes(31), 1]))),
    "first identity beyond 32 bits": of((65007, cbor.encode([bytes(32), 1 << 32]))),
    "file key of 31 bytes": of((65019, cbor.encode([1024, bytes(31)]))),
    "file key for chunks that are too small": of((65019, cbor.encode([1023, bytes(32)]))),
    "file key for chunks that are too large": of((65019, cbor.encode([(1 << 20) + 1, bytes(32)]))),
    "short signature": of((65009, bytes(63))),
    "short newest session": of((65011, bytes(31))),
    "empty forked session": of((65021, b"")),
    "empty receive-kid": of((65013, b"")),
    "long receive-kid": of((65013, bytes(9))),
    "empty void": of((65015, b"\x80")),
    "odd void": of((65015, cbor.encode([1]))),
    "adjacent void": of((65015, cbor.encode([1, 1, 2, 2]))),
    "void of bools": of((65015, cbor.encode([False, True]))),
    "void of 65 ranges": of((65015, cbor.encode([n for k in range(65) for n in (3 * k, 3 * k)]))),
    "empty grant": of((65017, b"")),
    "long grant": of((65017, bytes(1025))),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_everything_else_is_refused(data: bytes) -> None:
    with pytest.raises((Malformed, TooLarge)):
        Message.decode(data)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Message(8),
        lambda: Message(True),
        lambda: Message(2, path=["a"]),  # type: ignore[arg-type]
        lambda: Message(2, path=("a" * 256,)),
        lambda: Message(2, path=("\ud800",)),
        lambda: Message(2, path=(b"a",)),  # type: ignore[arg-type]
        lambda: Message(2, path=("..",)),
        lambda: Message(2, payload="text"),  # type: ignore[arg-type]
        lambda: Message(2, content_format=65536),
        lambda: Message(2, sent_at=-1),
        lambda: Message(2, receipt=b"receipt"),  # type: ignore[arg-type]
        lambda: Message(2, freshness=(1, b"abcd", 3)),  # type: ignore[arg-type]
        lambda: Message(2, first_identity=FULL_MESSAGE.receipt),  # type: ignore[arg-type]
        lambda: Message(2, void=((3, 2),)),
        lambda: Message(2, void=((1,),)),  # type: ignore[arg-type]
        lambda: Message(2, void=None),  # type: ignore[arg-type]
    ],
)
def test_a_value_that_could_not_travel_can_not_be_made(make: Callable[[], Any]) -> None:
    with pytest.raises(Malformed):
        make()


def test_size_and_number_of_options_are_bounded() -> None:
    largest = Message(2, payload=bytes(MAX_MESSAGE_BYTES - 2))
    assert Message.decode(largest.encode()) == largest
    with pytest.raises(TooLarge):
        Message(2, payload=bytes(MAX_MESSAGE_BYTES - 1)).encode()
    with pytest.raises(TooLarge):
        Message.decode(largest.encode() + b"\x00")
    elective = [(16, b"")] * options.MAX_OPTIONS
    Message.decode(of(*elective))
    with pytest.raises(TooLarge):
        Message.decode(of(*elective, (16, b"")))
    with pytest.raises(TooLarge):
        options.encode_options([(16, bytes(65_805))])


@given(ranges(64).filter(bool))
def test_void_round_trip(void: tuple[tuple[int, int], ...]) -> None:
    assert decode_void(encode_void(void)) == void


@given(st.binary(max_size=60))
def test_arbitrary_void(data: bytes) -> None:
    with contextlib.suppress(Malformed, TooLarge):
        Message(2, void=decode_void(data))


@given(st.integers(0, (1 << 64) - 1))
def test_unsigned_integers_have_one_form(value: int) -> None:
    encoded = options.encode_uint(value)
    assert options.decode_uint(encoded, 8) == value
    with pytest.raises(Malformed):
        options.decode_uint(b"\x00" + encoded, 9)


# The templates for plain messages and the general codec are held equal ------------------------------------------------
def outcome(decode: Callable[[bytes], Message], data: bytes) -> Any:
    """The decoded value, with what the constructor derives from it and what it encodes to, or the class of the error.

    The template keeps the bytes that it has read; the general codec encodes them anew.
    """
    try:
        message = decode(data)
    except (Malformed, TooLarge) as error:
        return type(error)
    return message, message.plain, message.encode()


def test_a_reading_takes_the_template() -> None:
    assert _decode_timed(READING.encode()) == READING
    assert READING.plain


@given(plain_messages | messages)
def test_both_codecs_write_and_read_alike(message: Message) -> None:
    encoded = message.encode()
    assert encoded == _encode_general(message)
    assert outcome(Message.decode, encoded) == outcome(_decode_general, encoded) == (message, message.plain, encoded)


@given(plain_messages | messages)
def test_a_changed_message_has_another_encoding(message: Message) -> None:
    encoded = message.encode()
    changed = message.having(sent_at=1 if message.sent_at != 1 else 2)
    assert changed.encode() == _encode_general(changed) != encoded == message.encode()
    assert message.having().encode() == encoded


@given(plain_messages | messages, st.integers(0, LATEST_MILLISECOND))
def test_when_it_was_sent_is_written_on_a_message_as_any_other_option(message: Message, at: int) -> None:
    stamped, other = message.sent(at), message.having(sent_at=at)
    assert (stamped, stamped.plain, stamped.encode()) == (other, other.plain, other.encode())
    with pytest.raises(Malformed):
        message.sent(-1)


@given(plain_messages, st.data())
@settings(max_examples=400)
def test_both_codecs_judge_changed_messages_alike(message: Message, data: st.DataObject) -> None:
    encoded = message.encode()
    at = data.draw(st.integers(0, min(len(encoded), 60)))
    cut = data.draw(st.integers(0, 4))
    changed = encoded[:at] + data.draw(st.binary(max_size=4)) + encoded[at + cut :]
    assert outcome(Message.decode, changed) == outcome(_decode_general, changed)


@given(st.binary(max_size=30), st.binary(max_size=12), st.sampled_from([b"", b"\xff", b"\xffpayload", b"\x10"]))
def test_both_codecs_judge_alike_what_looks_like_a_time(front: bytes, value: bytes, rest: bytes) -> None:
    for third in (0xD0, 0xCF, 0xCC, 0xDB, 0x00):
        data = front + b"\xe6\xfc" + bytes((third,)) + value + rest
        assert outcome(Message.decode, data) == outcome(_decode_general, data)


@pytest.mark.parametrize(
    "data",
    [
        of((12, b"\xe6\xfc"), (65000, b"\x01" + bytes(5)), rest=b"\xffp"),  # the head of Sent-At inside of a value
        of((11, b"a"), (14, b"\x3c"), (65000, b"\x01" + bytes(5)), rest=b"\xffp"),  # an elective option is dropped
        of((11, b"."), (65000, b"\x01" + bytes(5)), rest=b"\xffp"),
        of((11, b"a"), (65000, bytes(6)), rest=b"\xffp"),
        of((11, b"a"), (65000, LATEST_MILLISECOND.to_bytes(6)), rest=b"\xffp"),
        of((11, b"a"), (65000, (LATEST_MILLISECOND + 1).to_bytes(6)), rest=b"\xffp"),
        of((11, b"a"), (65000, b"\x01" + bytes(5)), rest=b"\xff"),
        of((11, b"a"), (65000, b"\x01" + bytes(5)), (65001, bytes(8)), rest=b"\xffp"),
        of((11, b"a"), (65000, b"\x01" + bytes(5)), (65000, b"\x01" + bytes(5)), rest=b"\xffp"),
        of((11, b"a"), (65000, b"\x01" + bytes(5)), code=0x08, rest=b"\xffp"),
        of(*[(11, b"a")] * 17, (65000, b"\x01" + bytes(5)), rest=b"\xffp"),
        of(*[(11, bytes(200))] * 2, (65000, b"\x01" + bytes(5)), rest=b"\xffp"),
        b"\xe6\xfc\xd0\x01\0\0\0\0\0\xffp",
    ],
)
def test_both_codecs_judge_borderline_messages_alike(data: bytes) -> None:
    for _ in range(2):  # once as something new, once as something known
        assert outcome(Message.decode, data) == outcome(_decode_general, data)


@given(messages, messages)
def test_a_message_with_other_options_is_as_if_made_with_them(one: Message, other: Message) -> None:
    changes = {option: getattr(other, option) for option in ("sent_at", "receipt", "void", "receive_kid", "file_key")}
    changed, anew = one.having(**changes), replace(one, **changes)
    assert (changed, changed.plain, changed.encode()) == (anew, anew.plain, anew.encode())


def test_other_options_are_checked() -> None:
    for wrong in ({"sent_at": -1}, {"receipt": b"receipt"}, {"void": ((3, 2),)}, {"receive_kid": b""}):
        with pytest.raises(Malformed):
            READING.having(**wrong)
    assert READING.having(request_id=bytes(8)).plain is False

# SPDX-License-Identifier: Apache-2.0
"""Joining: what a stranger says to a device that waits for an owner, and what a device says to a commissioner."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, Final

from fuzz.mutating import mutate_cbor
from fuzz.target import Target, demand, refused
from sealway.errors import Malformed, NotAuthentic, SealwayError, TooLarge
from sealway.joining.messages import MAX_JOINING_BYTES, Refusal, decode_inner, decode_outer
from sealway.joining.ownership import MOST_ATTEMPTS, Ownership, State
from sealway.wire import cbor
from tests.identity.small_domain import NOW
from tests.joining.samples import INNER, OUTER
from tests.joining.two_ends import arbiter, commissioner, joiner, moment

_REFUSALS: Final = (Malformed, TooLarge, NotAuthentic)
_MOST_STEPS: Final = 12


def check_messages(data: bytes) -> None:
    """Each message, and the device's own record, has one encoding."""
    for decode in (decode_outer, decode_inner, Ownership.decode):
        value: Any
        try:
            value = decode(data)
        except _REFUSALS as error:
            refused(error)
            continue
        demand(value.encode() == data, "what was accepted encodes to other bytes")


def check_device(data: bytes) -> None:
    """A stranger without the code talks to a device: an array of messages; it never gets an owner by that.

    In a message, 16 bytes of FF stand for the name of the exchange under way.
    """
    durable = arbiter()
    device, nonce = joiner(durable), bytes(16)
    for message in _steps(data):
        answer = device.answer(message.replace(b"\xff" * 16, nonce), moment())
        said = decode_outer(answer)
        nonce = getattr(said, "nonce", nonce)
        demand(isinstance(said, Refusal) or len(answer) < 512, "a device says more than it was asked")
        demand(durable.state(NOW) is State.RFOTM and durable.held is None, "a device was taken without the code")
        demand((durable.attempts_left(moment().uptime) or 0) <= MOST_ATTEMPTS, "attempts came back")
    demand("confirmed" not in durable.log, "a guess was right")


def check_commissioner(data: bytes) -> None:
    """A device that lies: its three answers are an array; nothing of it is believed."""
    owner = commissioner()
    owner.hello()
    takes = (owner.take_offer, owner.take_answer, owner.take_proof)
    for take, answer in zip(takes, _steps(data), strict=False):
        try:
            take(answer)
        except SealwayError as error:
            refused(error)
            return
    demand(len(_steps(data)) < len(takes), "a device proved itself with nothing")


def check_in_the_channel(data: bytes) -> None:
    """A device that has the code, and lies inside the channel."""
    owner, device = commissioner(), joiner(arbiter())
    share = owner.take_offer(device.answer(owner.hello(), moment()))
    owner.take_answer(device.answer(share, moment()))
    channel = owner._made()
    offer = owner._demand_offer()
    sealed = channel.inward.seal(data) if len(data) < 4096 else b""
    channel.inward._next = 0
    try:
        owner.take_proof(cbor.encode({0: 6, 1: offer.nonce, 2: sealed}))
    except SealwayError as error:
        refused(error)
        return
    demand(data[:3] == b"\xa2\x00\x13", "what was made up was believed")


def _steps(data: bytes) -> list[bytes]:
    try:
        steps = cbor.decode(data, limit=4 * MAX_JOINING_BYTES, depth=1)
    except SealwayError:
        return [data]
    if not isinstance(steps, list):
        return [data]
    return [step for step in steps[:_MOST_STEPS] if isinstance(step, bytes)]


@cache
def _said() -> tuple[list[bytes], list[bytes]]:
    """What both ends say when all goes well, as far as it can be repeated."""
    owner, device = commissioner(), joiner(arbiter())
    asked = [owner.hello()]
    answered = [device.answer(asked[0], moment())]
    for take in (owner.take_offer, owner.take_answer):
        asked.append(take(answered[-1]))
        answered.append(device.answer(asked[-1], moment()))
    return asked, answered


def _device_seeds() -> Iterable[bytes]:
    named = [message.encode().replace(bytes(range(16)), b"\xff" * 16) for message in OUTER]
    hello = OUTER[0].encode()
    yield cbor.encode([hello])
    for message in named[2:]:
        yield cbor.encode([hello, message])
    yield cbor.encode([hello, named[4], named[4], hello, named[8], hello])


def _inner_seeds() -> Iterable[bytes]:
    yield from (message.encode() for message in INNER)


JOINING: Final = (
    Target("joining", check_messages, lambda: [each.encode() for each in (*OUTER, *INNER)], 2048, mutate_cbor),
    Target("joining-device", check_device, _device_seeds, 2048, mutate_cbor),
    Target("joining-commissioner", check_commissioner, lambda: [cbor.encode(_said()[1][:2])], 2048, mutate_cbor),
    Target("joining-channel", check_in_the_channel, _inner_seeds, 2048, mutate_cbor),
)

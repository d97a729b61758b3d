# SPDX-License-Identifier: Apache-2.0
"""A token that is away while an endpoint runs: nothing that came meanwhile is lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from sealway.crypto.curves import P256
from sealway.crypto.ports import Agreer
from sealway.crypto.secret import Secret
from sealway.errors import TokenGone
from sealway.keystore.memory import MemoryKeystore
from sealway.protocol.policy import DEFAULT_POLICY
from sealway.sdk.agreements import AgreementKeys
from sealway.sdk.intake import TRIES
from sealway.transports.memory import MemoryCarrier
from tests.sdk.small_town import OPS, SmallTown, found, until


class Plug:
    """Whether the token of the first endpoint is there, and how often it was not."""

    def __init__(self) -> None:
        self.first: AgreementKeys | None = None
        self.pulled = False
        self.missed = 0


class Pulled:
    """An agreement key in a token that can be pulled out."""

    def __init__(self, agreer: Agreer, plug: Plug) -> None:
        self._agreer = agreer
        self._plug = plug

    @property
    def public(self) -> bytes:
        return self._agreer.public

    def agree(self, peer: bytes) -> Secret:
        if self._plug.pulled:
            self._plug.missed += 1
            raise TokenGone("the token does not answer")
        return self._agreer.agree(peer)


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Plug:
    plug, find = Plug(), AgreementKeys.find

    def pulled(self: AgreementKeys, public: bytes) -> Agreer | None:
        plug.first = plug.first or self
        agreer = find(self, public)
        return agreer if agreer is None or self is not plug.first else Pulled(agreer, plug)

    monkeypatch.setattr(AgreementKeys, "find", pulled)
    return plug


async def test_a_start_keeps_nothing_from_being_collected_and_comes_through_when_the_token_is_back(
    tmp_path: Path, plug: Plug, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub hands out what is oldest: here the start alone, as it does if there are a hundred of them."""
    monkeypatch.setattr("sealway.sdk.endpoint.PAUSE_S", 0.01)
    monkeypatch.setattr(MemoryCarrier.collect, "__kwdefaults__", {"wait": 0.0, "most": 1})
    found(tmp_path)
    town = SmallTown(tmp_path)
    async with town.ops() as ops, town.meter("other") as other:
        plug.first = ops.endpoint.member.agreements
        await other.send(OPS, "readings", b"20")
        async with asyncio.timeout(60):
            assert (await ops.next_event()).message.payload == b"20"
        plug.pulled = True
        async with town.meter() as meter:
            meter.endpoint.outbox._policy = replace(DEFAULT_POLICY, reoffer_after_ms=50, longest_reoffer_ms=200)
            await meter.send(OPS, "readings", b"21")
            await until(lambda: plug.missed > 0, 60)
            await other.send(OPS, "readings", b"22")
            async with asyncio.timeout(60):
                assert (await ops.next_event()).message.payload == b"22"
            await until(lambda: plug.missed > 2 * TRIES, 60)
            plug.pulled = False
            async with asyncio.timeout(60):
                assert (await ops.next_event()).message.payload == b"21"


async def test_no_key_of_a_peer_is_claimed_while_it_is_away(tmp_path: Path, plug: Plug) -> None:
    found(tmp_path)
    town = SmallTown(tmp_path)
    async with town.ops() as ops, town.meter() as meter:
        await until(lambda: ops.endpoint.prekeys.newest is not None, 60)
        plug.first, plug.pulled = meter.endpoint.member.agreements, True
        claimed, claim = 0, meter.endpoint.carrier.claim_bundle

        async def counting(name: str) -> bytes:
            nonlocal claimed
            claimed += 1
            return await claim(name)

        meter.endpoint.carrier.claim_bundle = counting  # type: ignore[method-assign]
        sending = asyncio.create_task(meter.send(OPS, "readings", b"21"))
        await until(lambda: plug.missed > 2, 60)
        assert not claimed
        plug.pulled = False
        async with asyncio.timeout(60):
            await sending
            assert (await ops.next_event()).message.payload == b"21"


def test_keys_are_not_replaced_while_it_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    keystore = MemoryKeystore()
    keystore.generate("agreement", "agree")
    keys = AgreementKeys(keystore)
    before = keys.current.public

    def gone(*_: object) -> None:
        raise TokenGone("the token does not answer")

    monkeypatch.setattr(keystore, "generate", gone)
    monkeypatch.setattr(keystore, "remove", gone)
    assert not keys.replace()
    assert (keys.current.public, len(before)) == (before, len(P256.public(Secret(b"\x01" * 32))))
    keys.keep([])
    assert keys.current.public == before


def test_a_key_that_was_made_and_could_not_be_used_at_once_is_used_at_the_next_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keystore = MemoryKeystore()
    keystore.generate("agreement", "agree")
    keys = AgreementKeys(keystore)
    before = keys.current.public

    def gone(_: str) -> Agreer:
        raise TokenGone("the token does not answer")

    with monkeypatch.context() as pulled:
        pulled.setattr(keystore, "agreer", gone)
        assert not keys.replace()
    assert keys.current.public == before and keystore.labels().keys() == {"agreement", "agreement-2"}
    assert keys.replace()
    assert keys.current.public == keystore.agreer("agreement-2").public != before

# SPDX-License-Identifier: Apache-2.0
"""Certificates are renewed while sessions go on: who commanded under the old one commands on. docs/adr/0015."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta

import pytest

from sealway.crypto.ports import Signer
from sealway.errors import NotAuthorized
from sealway.identity.credentials import verify_chain
from sealway.identity.issuing import issue_certificate, make_csr
from sealway.sdk import Member
from tests.system.domain import Domain, signer
from tests.system.world import World, counters, ready, until

DAY_S = 86_400


def renewed(domain: Domain, member: Member, key: Signer, *, days: int = 60) -> Member:
    """The same endpoint with a certificate that the owner's CA issues now, for this key."""
    chain = issue_certificate(
        make_csr(key, member.name), expected_name=member.name, ca_chain=[domain.ca_certificate], ca_signer=domain.ca,
        now=domain.now, days=days, random=os.urandom,
    )  # fmt: skip
    credential = verify_chain(chain, domain.root, domain.now, expected_name=member.name)
    return replace(member, credential=credential, signer=key)


def later(world: World, days: float) -> None:
    """Let time pass for the endpoints, the hub and the owner."""
    world.clock.turn(days * DAY_S)
    world.domain.now = world.clock.now_ms() // 1_000


def long_lived(world: World) -> None:
    """The device's certificate outlives the test; it is the application's that is renewed."""
    world.domain.days = 300
    world.member("device", "meter")
    world.domain.days = 30
    world.member("application", "ops")


async def command(world: World, ops: object, payload: bytes) -> None:
    await ops.request(world.meter, "valve", payload, timeout=timedelta(hours=2))  # type: ignore[attr-defined]


async def test_commands_in_an_old_session_go_on_after_the_old_certificate_has_expired(fast: World) -> None:
    long_lived(fast)
    async with fast.device() as meter:
        async with fast.application() as ops:
            await ready(meter, ops)
            await command(fast, ops, b"first")
            (session,) = [held.session.hash for held in meter.endpoint.sessions.all()]
        later(fast, 29)
        old = fast.members["ops"]
        fast.members["ops"] = renewed(fast.domain, old, old.signer)
        async with fast.application() as ops, fast.watching(ops):
            await ready(ops)
            later(fast, 2)
            ops._grants.learn(fast.domain.grant(fast.members["ops"], "valve:write"))
            await command(fast, ops, b"second")
            held = meter.endpoint.sessions.by_hash(session)
            assert held is not None and held.x5t == fast.members["ops"].credential.x5t
            await command(fast, ops, b"third")
    assert dict(fast.executed) == {b"first": 1, b"second": 1, b"third": 1}


async def test_an_expired_certificate_that_was_not_renewed_commands_no_more(fast: World) -> None:
    long_lived(fast)
    async with fast.device() as meter, fast.application() as ops:
        await ready(meter, ops)
        await command(fast, ops, b"first")
        later(fast, 31)
        ops._grants.learn(fast.domain.grant(fast.members["ops"], "valve:write"))
        with pytest.raises(NotAuthorized):
            await command(fast, ops, b"second")
    assert dict(fast.executed) == {b"first": 1}


async def test_a_machine_that_takes_over_a_name_publishes_above_its_predecessor(fast: World) -> None:
    """The directory takes nothing lower, and the new machine has never heard of the old one's sequence."""
    async with fast.application() as ops:
        await ready(ops)
        for _ in range(2):
            ops.endpoint.prekeys._bundles.clear()
            published = counters(ops)["bundles_published"]
            ops.endpoint.publisher.check_soon()
            await until(lambda published=published: counters(ops)["bundles_published"] > published)  # type: ignore[misc]
    fast.members["ops"] = renewed(fast.domain, fast.members["ops"], signer())
    async with fast.application(directory="replacement") as replacement:
        await ready(replacement)
        newest = replacement.endpoint.prekeys.newest
        assert newest is not None and newest.proven.claims.sequence > 2
        assert counters(replacement)["state_lost"] == 0


async def test_a_certificate_for_another_key_does_not_vouch_for_the_old_session(fast: World) -> None:
    """The name may have been given to a new machine: who still has the old one's session must not command on."""
    long_lived(fast)
    async with fast.device() as meter, fast.application() as ops:
        await ready(meter, ops)
        await command(fast, ops, b"first")
        later(fast, 29)
        fast.members["ops"] = renewed(fast.domain, fast.members["ops"], signer())
        async with fast.application(directory="replacement") as replacement:
            await ready(replacement)
            later(fast, 2)
            ops._grants.learn(fast.domain.grant(fast.members["ops"], "valve:write"))
            with pytest.raises(NotAuthorized):
                await command(fast, ops, b"second")
        await until(lambda: counters(meter)["requests_refused_NotAuthorized"] >= 1)
    assert dict(fast.executed) == {b"first": 1}

# SPDX-License-Identifier: Apache-2.0
"""A certificate that was renewed: keys, sessions and messages stay; bundles of the old one are replaced."""

from __future__ import annotations

from sealway import Application, Device, Owner
from sealway.wire.bundle import SignedBundle
from sealway.wire.cose import X5t
from tests.sdk.small_town import HUB, METER, OPS, SECRET, SmallTown, until


def renew(town: SmallTown, kind: type[Device] | type[Application], label: str, name: str) -> None:
    """Have the owner answer the old request once more, and take the answer."""
    with Owner.open(town.base / "owner", passphrase=SECRET) as owner:
        answer = owner.enroll(kind.prepare(town.base / label, name, passphrase=SECRET), name, hub=HUB, peers=[OPS])
        kind.accept(town.base / label, answer, fingerprint=owner.fingerprint, passphrase=SECRET)


async def test_sessions_and_messages_survive_a_renewal(town: SmallTown) -> None:
    got: list[bytes] = []
    async with town.ops() as ops:
        async with town.meter() as meter:
            await meter.send(OPS, "readings", b"before")
            await until(lambda: bool(ops.endpoint.sessions.all()))
            session = meter.endpoint.sessions.all()[0].session.hash
            await meter.send(OPS, "readings", b"sealed before")  # perhaps not offered yet
        renew(town, Device, "meter", METER)
        async with town.meter() as meter:
            assert meter.endpoint.sessions.all()[0].session.hash == session
            await meter.send(OPS, "readings", b"after")
            async for received in ops.messages():
                got.append(received.payload)
                if len(got) == 3:
                    break
    assert got == [b"before", b"sealed before", b"after"]


async def test_a_bundle_under_the_new_certificate_is_published(town: SmallTown) -> None:
    async with town.meter() as meter:
        await meter.endpoint.publisher.published()
        before = SignedBundle.decode(await town.hub.carrier().newest_bundle(METER))
    renew(town, Device, "meter", METER)
    async with town.meter() as meter:
        await meter.endpoint.publisher.published()
        credential = meter.endpoint.member.credential
        after = SignedBundle.decode(await town.hub.carrier().newest_bundle(METER))
        assert before.sign1.key_ref != after.sign1.key_ref == X5t(credential.x5t)
        assert after.claims.sequence > before.claims.sequence
        assert meter.endpoint.publisher.lost == 0

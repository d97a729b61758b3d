# SPDX-License-Identifier: Apache-2.0
"""What the facades choose of ML-KEM, and agreement keys that are replaced in a real keystore file."""

from __future__ import annotations

import pytest

from sealway import Application, NotPostQuantum, PostQuantum
from sealway.crypto.secret import Secret
from sealway.keystore.file import FileKeystore
from sealway.protocol.rotation import Rotation
from sealway.wire.bundle import SignedBundle
from tests.sdk.small_town import METER, OPS, SECRET, SmallTown, until


async def claims_of(town: SmallTown, name: str) -> SignedBundle:
    return SignedBundle.decode(await town.hub.carrier().newest_bundle(name))


@pytest.mark.parametrize("choice", list(PostQuantum))
async def test_the_facades_choose_what_a_bundle_offers(town: SmallTown, choice: PostQuantum) -> None:
    async with town.meter(post_quantum=choice) as meter, town.ops(post_quantum=choice) as ops:
        for role, name in ((meter, METER), (ops, OPS)):
            await role.endpoint.publisher.published()
            assert ((await claims_of(town, name)).claims.ml_kem is None) == (choice is PostQuantum.OFF)


async def test_what_one_requires_and_the_other_does_not_have_is_said_at_once(town: SmallTown) -> None:
    async with town.meter(post_quantum=PostQuantum.REQUIRED) as meter, town.ops(post_quantum=PostQuantum.OFF) as ops:
        await ops.endpoint.publisher.published()
        with pytest.raises(NotPostQuantum, match="publishes no ML-KEM key"):
            await meter.send(OPS, "readings", b"first")


async def test_an_agreement_key_is_replaced_in_the_keystore_file(town: SmallTown) -> None:
    """The next program finds the new key, opens starts to both bundles, and forgets the old key with its bundle."""

    def labels() -> set[str]:
        return set(FileKeystore.open(town.base / "ops" / "keystore", Secret(SECRET.encode())).labels())

    async with town.ops() as ops:
        await ops.endpoint.publisher.published()
        replace_now(ops)
        assert labels() == {"identity", "agreement", "agreement-2"}
    async with town.ops() as ops, town.meter() as meter:
        await ops.endpoint.publisher.published()
        newest, present = await claims_of(town, OPS), ops.endpoint.member.agreer.public
        await until(lambda: bool(ops.endpoint.prekeys.newest))
        assert newest.claims.agreement_key == present
        await meter.send(OPS, "readings", b"to the new key")
        async for received in ops.messages():
            assert received.payload == b"to the new key"
            break
        ops.endpoint.prekeys.forget_old(newest.claims.issued)
        assert labels() == {"identity", "agreement", "agreement-2"}  # a bundle with the old one is still valid
        ops.endpoint.prekeys.forget_old(newest.claims.expires)
        assert labels() == {"identity", "agreement-2"}


def replace_now(ops: Application) -> None:
    """Make a bundle as if the agreement key were old."""
    prekeys = ops.endpoint.prekeys
    prekeys._rotation = Rotation(agreement_after_ms=0)
    prekeys.renew(ops.endpoint.clock.now_ms() // 1_000, ops.endpoint.engine._random)

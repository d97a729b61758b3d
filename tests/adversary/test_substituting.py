# SPDX-License-Identifier: Apache-2.0
"""Answers of the directory, substituted: each of them is what it says, and none verifies."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from sealway.adversary.passing import Kind, Leg, Passing
from sealway.adversary.substituting import RecordedBundle
from sealway.crypto.keys import SoftAgreer, generate_scalar
from sealway.errors import LocalMisuse, SealwayError
from sealway.identity.bundles import sign_bundle, verify_offer
from sealway.identity.root import verify_root
from sealway.wire.bundle import BundleClaims, Offer, OneTimeKey, Publication
from sealway.wire.merkle import merkle_path, merkle_root
from tests.adversary.samples import Bench, Clock
from tests.system.domain import DAY_S, Domain

NOW = int(Clock().now)
DOMAIN_OF_TEST = Domain(now=NOW, days=300)
METER = DOMAIN_OF_TEST.member("device", "meter")
ONE_TIME = tuple(SoftAgreer(generate_scalar(os.urandom)).public for _ in range(4))


def bundle(sequence: int = 2, issued: int = NOW) -> bytes:
    claims = BundleClaims(
        bytes([sequence]) * 4, METER.name, METER.mailbox, sequence, (1,), METER.agreer.public, METER.agreer.public,
        issued, issued + 30 * DAY_S, one_time_root=merkle_root(ONE_TIME), one_time_count=4,
    )  # fmt: skip
    return sign_bundle(claims, METER.credential, METER.signer)


def offer(encoded: bytes) -> Passing:
    key = OneTimeKey(1, ONE_TIME[1], merkle_path(ONE_TIME, 1))
    return Passing(Kind.OFFER, Leg.DOWN, str(METER.name), Offer(encoded, key).encode())


def refused(answer: Passing) -> str:
    with pytest.raises(SealwayError) as error:
        verify_offer(answer.content, METER.credential, NOW, lowest_sequence=2)
    return type(error.value).__name__


@pytest.mark.parametrize(
    "name", ["substitute-bundle-forged", "substitute-bundle-resigned", "substitute-one-time-key", "tamper-bundle"]
)
def test_forgeries_do_not_verify(name: str) -> None:
    bench = Bench()
    bench.begin(name)
    genuine = offer(bundle())
    (answer,) = bench.send(genuine)
    assert answer.content != genuine.content and refused(answer)
    assert bench.box.end().reached_network == 1


def test_older_and_expired_ones_are_seen_or_recorded(tmp_path: Path) -> None:
    older, over = bundle(1), bundle(1, NOW - 40 * DAY_S)
    for name, recorded, error in (
        ("substitute-bundle-older", older, "Replayed"),
        ("substitute-bundle-expired", over, "NotTrusted"),
    ):
        seen = Bench()
        seen.send(offer(recorded))
        seen.begin(name)
        assert refused(seen.send(offer(bundle()))[0]) == error
        for at, content in enumerate((recorded, Publication(recorded, ONE_TIME).encode())):
            (tmp_path / f"{at}").write_bytes(content)
            bench = Bench()
            bench.begin(name, RecordedBundle(str(tmp_path / f"{at}")))
            assert refused(bench.send(offer(bundle()))[0]) == error


def test_nothing_is_made_of_nothing(tmp_path: Path) -> None:
    genuine = offer(bundle())
    for name in ("substitute-bundle-other", "substitute-bundle-older", "substitute-bundle-expired"):
        bench = Bench()
        bench.begin(name)
        assert bench.send(genuine) == [genuine]
        junk = replace(genuine, content=b"junk")
        assert bench.send(junk) == [junk] and bench.box.end().tried == 0
    (tmp_path / "junk").write_bytes(b"junk")
    for file in ("none", "junk"):
        bench = Bench()
        bench.begin("substitute-bundle-older", RecordedBundle(str(tmp_path / file)))
        with pytest.raises(LocalMisuse, match=file):
            bench.box.pass_on(genuine)


def test_one_time_keys_are_withheld_or_served_twice() -> None:
    bench = Bench()
    bench.begin("withhold-one-time-keys")
    (answer,) = bench.send(offer(bundle()))
    assert verify_offer(answer.content, METER.credential, NOW).one_time is None
    bench = Bench()
    bench.begin("serve-one-time-twice")
    first = offer(bundle())
    assert bench.send(first) == [first]
    (again,) = bench.send(replace(first, content=Offer(Offer.decode(first.content).bundle).encode()))
    assert again.item is not None and again.content == first.content


def test_a_root_document_of_its_own() -> None:
    bench = Bench()
    bench.begin("substitute-root")
    genuine = DOMAIN_OF_TEST.root_document
    (answer,) = bench.send(Passing(Kind.ROOT, Leg.DOWN, "", genuine))
    with pytest.raises(SealwayError):
        verify_root(answer.content, now=NOW, pinned=DOMAIN_OF_TEST.root)

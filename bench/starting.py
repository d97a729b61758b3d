# SPDX-License-Identifier: Apache-2.0
"""Beginning a session, both ends together, against the raw operations that both must do.

The initiator starts and seals a first message, the responder accepts and opens it. Raw are: an ephemeral key; for each
end four agreements (X3DH with a one-time key) with the peer's points read and checked; a signature, its verification;
and with ML-KEM the peer's key read and checked, an encapsulation and a decapsulation.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bench.measure import Pair, Subject, cpu_each
from bench.sealing import reading
from sealway.crypto.kem import Decapsulator
from sealway.crypto.keys import Secret
from sealway.crypto.suites import SUITE_1, Suite
from sealway.identity.bundles import ProvenBundle, sign_bundle, verify_bundle, verify_offer
from sealway.protocol.policy import DEFAULT_POLICY
from sealway.protocol.prekeys import bundle_claims, make_prekeys
from sealway.protocol.sentlog import Uptime
from sealway.protocol.start import OneTimeSecret, OwnKeys, accept, start
from sealway.sdk import Member
from sealway.sdk.encapsulating import encapsulate
from sealway.wire.bundle import Offer, OneTimeKey
from sealway.wire.envelope import Envelope
from sealway.wire.merkle import merkle_path
from tests.system.domain import Domain

STARTS = 20
FIRST = reading(64)


@dataclass(frozen=True, slots=True)
class Party:
    """One end: what it holds, and what the other end is handed."""

    member: Member
    own: OwnKeys
    offer: bytes
    offered: ProvenBundle
    signed_prekey: Secret
    one_time: OneTimeSecret
    ml_kem: Decapsulator | None


def two_parties(suite: Suite = SUITE_1, *, ml_kem: bool = False) -> tuple[Domain, Party, Party]:
    """Return an initiator and a responder with one-time keys, and their domain."""
    domain = Domain()
    return domain, _party(domain, "device", "meter", suite, ml_kem), _party(domain, "application", "ops", suite, ml_kem)


def _party(domain: Domain, role: str, label: str, suite: Suite, ml_kem: bool) -> Party:
    member = domain.member(role, label, suite=suite)
    secrets = make_prekeys(os.urandom, suite.curve, ml_kem=ml_kem)
    claims, public = bundle_claims(
        secrets, bundle_id=os.urandom(4), name=member.name, mailbox=member.mailbox, sequence=1,
        suite=suite, agreement_key=member.agreer.public, now_s=domain.now,
    )  # fmt: skip
    encoded = sign_bundle(claims, member.credential, member.signer)
    offer = Offer(encoded, OneTimeKey(0, public[0], merkle_path(public, 0)))
    own = OwnKeys(verify_bundle(encoded, member.credential, domain.now), member.agreer, domain.root.domain_id)
    offered = verify_offer(offer.encode(), member.credential, domain.now)
    one_time, seed = OneTimeSecret(0, secrets.one_time[0]), secrets.ml_kem
    key = Decapsulator(seed) if seed is not None else None
    return Party(member, own, offer.encode(), offered, secrets.signed_prekey, one_time, key)


def start_verified_and_accept(a: Party, b: Party, now_ms: int) -> None:
    """Begin a session from the very bytes of an offer, and accept it."""
    start_and_accept(a, b, verify_offer(b.offer, b.member.credential, now_ms // 1_000), now_ms)


def start_and_accept(a: Party, b: Party, offered: ProvenBundle, now_ms: int) -> None:
    """Begin a session over an offer that was proven, and accept it, with a first message."""
    session = start(
        a.own, offered, a.member.signer, receive_kid=b"A", newest=b"", now_ms=now_ms, random=os.urandom,
        policy=DEFAULT_POLICY, encapsulate=encapsulate,
    )  # fmt: skip
    sealed = session.seal(FIRST, now_ms=now_ms, uptime=Uptime(bytes(16), 0), random=os.urandom)
    accept(
        Envelope.decode(sealed.envelope), b.own, a.own.bundle, signed_prekey=b.signed_prekey, one_time=b.one_time,
        receive_kid=b"B", now_ms=now_ms, policy=DEFAULT_POLICY, ml_kem=b.ml_kem,
    )  # fmt: skip


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _compressed(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


class _Raw:
    """The long-lived keys of both ends, loaded; what travels is bytes."""

    def __init__(self) -> None:
        self.alice, self.signing, self.bob = _key(), _key(), [_key() for _ in range(3)]
        self.alice_point, self.bob_points = _compressed(self.alice), [_compressed(key) for key in self.bob]
        self.verifying = self.signing.public_key()
        self.decapsulating = MLKEM768PrivateKey.generate()
        self.ml_kem = self.decapsulating.public_key().public_bytes_raw()

    def once(self) -> None:
        """Everything that both ends must do for one start."""
        ecdh, ecdsa, read = ec.ECDH(), ec.ECDSA(SHA256()), ec.EllipticCurvePublicKey.from_encoded_point
        ephemeral = _key()
        ephemeral_point = _compressed(ephemeral)
        prekey, identity, one_time = (read(ephemeral.curve, point) for point in self.bob_points)
        ours = [self.alice.exchange(ecdh, prekey)] + [ephemeral.exchange(ecdh, k) for k in (identity, prekey, one_time)]
        signature = self.signing.sign(ephemeral_point, ecdsa)
        alice, theirs = (read(ephemeral.curve, point) for point in (self.alice_point, ephemeral_point))
        prekey_secret, identity_secret, one_time_secret = self.bob
        agreed = [prekey_secret.exchange(ecdh, alice), identity_secret.exchange(ecdh, theirs)]
        agreed += [key.exchange(ecdh, theirs) for key in (prekey_secret, one_time_secret)]
        self.verifying.verify(signature, ephemeral_point, ecdsa)
        if ours != agreed:
            raise ValueError("the two ends do not agree")

    def once_with_ml_kem(self) -> None:
        """The same, and what ML-KEM adds."""
        self.once()
        shared, ciphertext = MLKEM768PublicKey.from_public_bytes(self.ml_kem).encapsulate()
        if self.decapsulating.decapsulate(ciphertext) != shared:
            raise ValueError("the two ends do not agree")


@contextmanager
def _starting(*, ml_kem: bool = False) -> Iterator[Pair]:
    (domain, a, b), raw = two_parties(ml_kem=ml_kem), _Raw()
    once = raw.once_with_ml_kem if ml_kem else raw.once

    def starts() -> None:
        for _ in range(STARTS):
            start_and_accept(a, b, b.offered, domain.now * 1_000)

    def raw_starts() -> None:
        for _ in range(STARTS):
            once()

    yield Pair(lambda: cpu_each(starts, STARTS), lambda: cpu_each(raw_starts, STARTS))


SUBJECTS = (
    Subject("start and accept", "µs", 1.5, _starting),
    Subject("start and accept with ML-KEM", "µs", 1.5, partial(_starting, ml_kem=True)),
)

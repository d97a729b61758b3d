# SPDX-License-Identifier: Apache-2.0
"""Prekey bundles: what an endpoint publishes so that anyone of its domain can begin a session with it while it sleeps.

Invariants: a one-time key serves one start and is deleted in the transaction that accepts it; private halves of
one-time keys live as long as their bundle's signed prekey. spec/session.md, "Prekeys".
"""

from __future__ import annotations

from dataclasses import dataclass

from sealway.crypto import kem
from sealway.crypto.curves import Curve
from sealway.crypto.ports import Random
from sealway.crypto.secret import Secret
from sealway.crypto.suites import Suite, served_by
from sealway.protocol.rotation import DEFAULT_ROTATION
from sealway.wire.address import MailboxAddress, Name
from sealway.wire.bundle import BundleClaims
from sealway.wire.merkle import merkle_root

ONE_TIME_KEYS = 64
BUNDLE_ID_LENGTH = 4


@dataclass(frozen=True, slots=True)
class PrekeySecrets:
    """The private halves of one bundle; ``one_time`` in index order, ``ml_kem`` a seed or None."""

    signed_prekey: Secret
    one_time: tuple[Secret, ...]
    ml_kem: Secret | None = None


def make_prekeys(
    random: Random, curve: Curve, *, count: int = ONE_TIME_KEYS, ml_kem: bool = False
) -> PrekeySecrets:  # fmt: skip
    """Draw a signed prekey and ``count`` one-time keys (0 to 64) on the curve of the endpoint's suites, and an ML-KEM
    key if one is to be published."""
    signed_prekey, one_time = curve.draw(random), tuple(curve.draw(random) for _ in range(count))
    return PrekeySecrets(signed_prekey, one_time, kem.generate_seed(random) if ml_kem else None)


def bundle_claims(
    secrets: PrekeySecrets, *, bundle_id: bytes, name: Name, mailbox: MailboxAddress, sequence: int,
    suite: Suite, agreement_key: bytes, now_s: int, life_ms: int = DEFAULT_ROTATION.bundle_life_ms,
) -> tuple[BundleClaims, tuple[bytes, ...]]:  # fmt: skip
    """Return what is to be signed, and the public one-time keys in index order.

    Args:
        sequence: higher than that of any bundle this endpoint has published.
        suite: what this endpoint was set up for; all keys are on its curve, ``agreement_key`` too.
        now_s: Unix time in seconds.
        life_ms: how long it is valid, in milliseconds.
    """
    curve = suite.curve
    one_time = tuple(curve.public(scalar) for scalar in secrets.one_time)
    claims = BundleClaims(
        bundle_id=bundle_id,
        name=name,
        mailbox=mailbox,
        sequence=sequence,
        suites=served_by(suite),
        agreement_key=agreement_key,
        signed_prekey=curve.public(secrets.signed_prekey),
        ml_kem=kem.public_key(secrets.ml_kem) if secrets.ml_kem is not None else None,
        one_time_root=merkle_root(one_time) if one_time else None,
        one_time_count=len(one_time) or None,
        issued=now_s,
        expires=now_s + life_ms // 1_000,
    )
    return claims, one_time

# SPDX-License-Identifier: Apache-2.0
"""This endpoint's own bundles and their private halves.

Invariant: a one-time scalar is deleted in the very transaction that accepts the start which names it.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field

from sealway.crypto.kem import Decapsulator
from sealway.crypto.keys import SCALAR_BYTES
from sealway.crypto.ports import Random
from sealway.crypto.secret import Secret
from sealway.errors import PrekeyGone
from sealway.identity.bundles import ProvenBundle, sign_bundle, verify_bundle
from sealway.protocol.kids import choose_kid
from sealway.protocol.policy import DEFAULT_POLICY, Policy, PostQuantum
from sealway.protocol.prekeys import BUNDLE_ID_LENGTH, PrekeySecrets, bundle_claims, make_prekeys
from sealway.protocol.start import OneTimeSecret
from sealway.sdk.journal import Journal
from sealway.sdk.kidpool import KidPool
from sealway.sdk.member import Member
from sealway.sdk.schema import ONE_TIME, SIGNED_PREKEY
from sealway.wire.bundle import Publication, SignedBundle
from sealway.wire.cose import X5t

MOST_BUNDLES = 16
"""Own bundles whose private halves are kept: a directory that shows none of them again and again must not fill the
disk."""


_HIGHEST = "bundle sequence"
_AGREEMENT_SINCE = "agreement key since"
_ADD = "INSERT INTO prekeys (id, encoded, sequence, signed_prekey, issued, expires, slot) VALUES (?, ?, ?, ?, ?, ?, ?)"
_ADD_ONE_TIME = "INSERT INTO one_time (bundle, idx, scalar, slot) VALUES (?, ?, ?, ?)"


@dataclass(slots=True, repr=False)
class OwnBundle:
    """One published bundle with what is left of its private halves."""

    proven: ProvenBundle
    signed_prekey: Secret
    ml_kem: Secret | None
    one_time: dict[int, Secret] = field(default_factory=dict)
    decapsulator: Decapsulator | None = field(init=False)

    def __post_init__(self) -> None:
        self.decapsulator = Decapsulator(self.ml_kem) if self.ml_kem is not None else None

    def secret_for(self, index: int | None) -> OneTimeSecret | None:
        """Return the private half that a start names, None if it names none. Raises PrekeyGone."""
        if index is None:
            return None
        if index not in self.one_time:
            raise PrekeyGone("a start names a one-time key that was used before")
        return OneTimeSecret(index, self.one_time[index])


def _joined(secrets: PrekeySecrets) -> Secret:
    """Signed prekey and ML-KEM seed are made, kept and forgotten together: one stored value, 32 or 96 bytes."""
    seed = secrets.ml_kem.reveal() if secrets.ml_kem is not None else b""
    return Secret(secrets.signed_prekey.reveal() + seed)


def parted(stored: bytes) -> tuple[Secret, Secret | None]:
    """Return the private halves of the signed prekey and of the ML-KEM key, if there is one, from how they are kept."""
    seed = stored[SCALAR_BYTES:]
    return Secret(stored[:SCALAR_BYTES]), Secret(seed) if seed else None


class PrekeyStore:
    """All bundles of this endpoint whose private halves exist; the newest is the one to publish."""

    def __init__(self, member: Member, journal: Journal, kids: KidPool, policy: Policy = DEFAULT_POLICY) -> None:
        self._member = member
        self._with_ml_kem = policy.post_quantum is not PostQuantum.OFF
        self._rotation = policy.rotation
        self._journal = journal
        self._kids = kids
        self._bundles: dict[bytes, OwnBundle] = {}
        self._highest = 0
        self._agreement_since_s: int | None = None

    def load(self, connection: sqlite3.Connection, now_s: int) -> None:
        """Read what an earlier process left; bundles that have expired are passed over and deleted.

        So are those of an earlier certificate, once it was renewed: nobody can prove them against the new one. A start
        that still names one is begun anew by its initiator.
        """
        row = connection.execute("SELECT value FROM marks WHERE name = ?", (_HIGHEST,)).fetchone()
        self._highest = row[0] if row is not None else 0
        row = connection.execute("SELECT value FROM marks WHERE name = ?", (_AGREEMENT_SINCE,)).fetchone()
        self._agreement_since_s = row[0] if row is not None else None
        rows = connection.execute(
            "SELECT id, encoded, slot, signed_prekey, issued, expires FROM prekeys ORDER BY sequence"
        )
        vault = self._journal.vault
        for bundle_id, encoded, slot, prekey, issued, expires in rows.fetchall():
            if expires <= now_s or not self._under_this_certificate(encoded):
                self._discard(bundle_id)
                continue
            # Own bytes, verified again: a damaged row must not become a key. Proven as of their own time of issue.
            proven = verify_bundle(encoded, self._member.credential, issued)
            prekeys = vault.unwrap(slot, SIGNED_PREKEY, prekey)
            stored = connection.execute("SELECT idx, slot, scalar FROM one_time WHERE bundle = ?", (bundle_id,))
            scalars = {index: Secret(vault.unwrap(slot, ONE_TIME, scalar)) for index, slot, scalar in stored}
            self._bundles[bundle_id] = OwnBundle(proven, *parted(prekeys), scalars)
            self._kids.take(bundle_id)

    def _under_this_certificate(self, encoded: bytes) -> bool:
        return SignedBundle.decode(encoded).sign1.key_ref == X5t(self._member.credential.x5t)

    def forget_old(self, now_s: int) -> set[bytes]:
        """Delete the private halves of expired bundles and of all but the newest; return the identifiers that are
        left."""
        kept = sorted(self._bundles, key=lambda i: self._bundles[i].proven.claims.sequence)[-MOST_BUNDLES:]
        for bundle_id, own in list(self._bundles.items()):
            if bundle_id not in kept or own.proven.claims.expires <= now_s:
                del self._bundles[bundle_id]
                self._kids.release(bundle_id)
                self._discard(bundle_id)
        self._member.agreements.keep(own.proven.claims.agreement_key for own in self._bundles.values())
        return set(self._bundles)

    def _discard(self, bundle_id: bytes) -> None:
        self._journal.note("DELETE FROM one_time WHERE bundle = ?", bundle_id)
        self._journal.note("DELETE FROM prekeys WHERE id = ?", bundle_id)

    @property
    def newest(self) -> OwnBundle | None:
        """The bundle with the highest sequence number."""
        return max(self._bundles.values(), key=lambda b: b.proven.claims.sequence, default=None)

    def find(self, bundle_id: bytes) -> OwnBundle:
        """Return the bundle that a start's kid names. Raises PrekeyGone."""
        if bundle_id not in self._bundles:
            raise PrekeyGone("a start names a bundle that is not, or no longer, here")
        return self._bundles[bundle_id]

    def by_hash(self, digest: bytes) -> OwnBundle | None:
        """Return the bundle that a start of this endpoint names, None if its private halves are gone."""
        return next((own for own in self._bundles.values() if own.proven.hash == digest), None)

    def publication(self, sequence: int) -> bytes | None:
        """Return the newest bundle with all its one-time keys, encoded, if it is this one and none of them was used."""
        own = self.newest
        if own is None or own.proven.claims.sequence != sequence:
            return None
        curve = own.proven.suites[0].curve
        public = tuple(curve.public(own.one_time[index]) for index in sorted(own.one_time))
        if len(public) != (own.proven.claims.one_time_count or 0):
            return None
        return Publication(own.proven.encoded, public).encode()

    def holds(self, bundle_id: bytes) -> bool:
        """Say whether this identifier is one of a bundle."""
        return bundle_id in self._bundles

    def due(self, now_s: int) -> bool:
        """Say whether it is time for a new bundle, or the newest is not what it would be if it were made now: of
        another policy on ML-KEM, or of an agreement key that was replaced."""
        newest = self.newest
        if newest is None or (newest.ml_kem is not None) != self._with_ml_kem:
            return True
        claims = newest.proven.claims
        if claims.agreement_key != self._member.agreer.public:
            return True
        left = len(newest.one_time)
        return self._rotation.bundle_is_due(issued_s=claims.issued, one_time_left=left, now_s=now_s)

    def _replace_agreement_key(self, now_s: int) -> None:
        """Replace the agreement key, if it is old enough, or begin to count how old it is."""
        since_s = self._agreement_since_s
        if since_s is not None:
            if not self._rotation.agreement_is_due(since_s=since_s, now_s=now_s):
                return
            if not self._member.agreements.replace():
                return
            self._journal.count("agreement_keys_replaced")
        self._agreement_since_s = now_s
        self._journal.note("INSERT OR REPLACE INTO marks VALUES (?, ?)", _AGREEMENT_SINCE, now_s)

    def renew(self, now_s: int, random: Random, *, above: int = 0) -> bytes:
        """Make a new bundle, note it in the journal, and return the encoded Publication.

        Args:
            above: the new sequence number is higher than this and than that of every own bundle.
        """
        self._replace_agreement_key(now_s)
        newest = self.newest
        sequence = max(above, self._highest, newest.proven.claims.sequence if newest is not None else 0) + 1
        self._highest = sequence  # also when every bundle has expired: peers remember it
        self._journal.note("INSERT OR REPLACE INTO marks VALUES (?, ?)", _HIGHEST, sequence)
        suite = self._member.suite
        secrets = make_prekeys(random, suite.curve, ml_kem=self._with_ml_kem)
        bundle_id = choose_kid(self._kids, random, shortest=BUNDLE_ID_LENGTH)
        claims, public = bundle_claims(
            secrets, bundle_id=bundle_id, name=self._member.name, mailbox=self._member.mailbox,
            sequence=sequence, suite=suite, agreement_key=self._member.agreer.public, now_s=now_s,
            life_ms=self._rotation.bundle_life_ms,
        )  # fmt: skip
        encoded = sign_bundle(claims, self._member.credential, self._member.signer)
        proven = verify_bundle(encoded, self._member.credential, now_s)
        one_time = dict(enumerate(secrets.one_time))
        self._bundles[bundle_id] = OwnBundle(proven, secrets.signed_prekey, secrets.ml_kem, one_time)
        self._kids.take(bundle_id)
        prekey, slot = self._wrapped(SIGNED_PREKEY, _joined(secrets))
        self._journal.note(_ADD, bundle_id, encoded, sequence, prekey, claims.issued, claims.expires, slot)
        for index, scalar in enumerate(secrets.one_time):
            self._journal.note(_ADD_ONE_TIME, bundle_id, index, *self._wrapped(ONE_TIME, scalar))
        return Publication(encoded, public).encode()

    def _wrapped(self, kind: bytes, secret: Secret) -> tuple[bytes, int]:
        slot = self._journal.vault.allocate()
        return self._journal.vault.wrap(slot, kind, secret.reveal()), slot

    def spend(self, bundle_id: bytes, index: int | None) -> None:
        """Delete a one-time key with the present group: its start has been accepted."""
        if index is not None:
            del self._bundles[bundle_id].one_time[index]
            self._journal.note("DELETE FROM one_time WHERE bundle = ? AND idx = ?", bundle_id, index)

    def discard_all(self) -> None:
        """Forget every private half: the directory shows a bundle of ours that this state never made."""
        for bundle_id in self._bundles:
            self._discard(bundle_id)
        self._bundles.clear()

# SPDX-License-Identifier: Apache-2.0
"""Grants: the owner allows one holder some scopes at some devices. The device enforces it.

Invariant: deny by default. A Grant was signed by a grant key of the root, within that key's limit; it permits only the
holder whose name and certified key it names, only at a device it names, only scopes it names, only in its time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import InitVar, dataclass
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealway.crypto.keys import SignatureAlgorithm, VerifyingKey
from sealway.crypto.ports import Random, Signer
from sealway.errors import Malformed, NotAuthorized, NotTrusted
from sealway.identity.clock import check_period
from sealway.identity.credentials import Credential
from sealway.identity.documents import sign_document, verify_document
from sealway.identity.proof import Proof
from sealway.identity.root import OwnerRoot
from sealway.wire.address import Name
from sealway.wire.cose import TYP_GRANT, Kid
from sealway.wire.grant import GrantClaims, Scope, SignedGrant, every_device

DEFAULT_SECONDS: Final = 24 * 3600

_PROOF: Final = Proof("verify_grant")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A grant that the owner gave; made by ``verify_grant`` only. When the root document changes, verify it anew.

    Args:
        claims: what it says.
        encoded: the signed grant as it travels.
        holder_key: the key that the holder must be certified for.
    """

    claims: GrantClaims
    encoded: bytes
    holder_key: VerifyingKey
    proof: InitVar[object]

    def __post_init__(self, proof: object) -> None:
        _PROOF.demand(proof)

    def permits(
        self, holder: Credential, device: Name, scope: Scope | str, now: int, *, now_is_floor: bool = False
    ) -> Grant:
        """Return this grant if it allows ``holder`` to do ``scope`` at ``device`` at ``now``.

        Args:
            holder: who asks, proven.
            device: the device that asks itself this.
            scope: what is asked for; as text "valve:write". It must be granted by exactly this name.
            now: Unix seconds.
            now_is_floor: ``now`` is only the latest time known to have passed.

        Raises:
            NotAuthorized: any of it does not fit.
            Malformed: the scope is not one.
        """
        wanted = Scope.parse(scope) if isinstance(scope, str) else scope
        self.held_by(holder)
        _check_audience(self.claims, device)
        # RFC 9237 §2: only what is listed is allowed.
        if wanted not in self.claims.scopes:
            raise NotAuthorized(f"the grant does not include {wanted}")
        _check_time(self.claims, now, now_is_floor)
        return self

    def held_by(self, holder: Credential) -> Grant:
        """Return this grant if it is this endpoint's. Raises NotAuthorized."""
        # RFC 8747 §3: proof of possession; a session proves that the holder has the key of its certificate.
        if holder.name != self.claims.holder or holder.key != self.holder_key:
            raise NotAuthorized(f"the grant belongs to {self.claims.holder}, with another key or name")
        return self


def issue_grant(
    *,
    holder: Credential,
    audience: Sequence[Name | str],
    scopes: Sequence[Scope | str],
    signer: Signer,
    now: int,
    random: Random,
    seconds: int = DEFAULT_SECONDS,
) -> bytes:
    """Return an encoded signed grant.

    Args:
        holder: who may; the grant is bound to the key of this credential.
        audience: names of devices, or ``every_device(domain)``.
        scopes: what it allows; as text "valve:write".
        signer: a grant key of the owner.
        now: Unix seconds; the grant begins now.
        random: source of the grant's id.
        seconds: how long it lives.

    Raises:
        Malformed: a value that the format does not allow, or a grant of more than 1024 bytes.
    """
    x, y = _coordinates(holder.key)
    claims = GrantClaims(
        issuer=holder.name.domain,
        holder=holder.name,
        audience=tuple(map(str, audience)),
        expires=now + seconds,
        not_before=now,
        issued=now,
        grant_id=random(16),
        holder_x=x,
        holder_y=y,
        scopes=tuple(Scope.parse(scope) if isinstance(scope, str) else scope for scope in scopes),
    )
    key_ref, payload = Kid(signer.public.kid), claims.encode()
    return SignedGrant(sign_document(TYP_GRANT, key_ref, payload, signer), claims).encode()


def verify_grant(encoded: bytes, root: OwnerRoot, now: int, *, now_is_floor: bool = False) -> Grant:
    """Prove that the owner gave this grant, and that its time is not over.

    Args:
        encoded: untrusted bytes.
        root: the domain's verified root document.
        now: Unix seconds.
        now_is_floor: ``now`` is only the latest time known to have passed.

    Raises:
        Malformed, TooLarge: not a grant in its strict form.
        NotAuthentic: the signature does not verify, or the holder's key is not on the curve.
        NotTrusted: signed by a key that may not grant, or for another domain.
        NotAuthorized: it has expired, or has not begun.
    """
    root.demand_current(now, now_is_floor=now_is_floor)
    grant = SignedGrant.decode(encoded)
    key_ref = grant.sign1.key_ref
    key = root.grant_key(key_ref.kid if isinstance(key_ref, Kid) else b"", now)
    verify_document(grant.sign1, key)  # RFC 8392 §7.2 step 4
    if grant.claims.issuer != root.domain:  # RFC 8392 §3.1.1
        raise NotTrusted(f"a grant of {grant.claims.issuer} means nothing in {root.domain}")
    _check_time(grant.claims, now, now_is_floor)
    return Grant(claims=grant.claims, encoded=encoded, holder_key=_holder_key(grant.claims), proof=_PROOF)


def _check_time(claims: GrantClaims, now: int, now_is_floor: bool) -> None:
    # RFC 8392 §3.1.4 and §3.1.5
    try:
        check_period("the grant", claims.not_before, claims.expires, now, now_is_floor=now_is_floor)
    except NotTrusted as error:
        raise NotAuthorized(error.message, hint="ask the owner for a new grant") from None


def _check_audience(claims: GrantClaims, device: Name) -> None:
    # RFC 8392 §3.1.3: named itself, or as one of all the domain's devices.
    named = str(device) in claims.audience
    one_of_all = device.domain == claims.issuer and every_device(claims.issuer) in claims.audience
    if device.role != "device" or not (named or one_of_all):
        raise NotAuthorized(f"the grant is not for {device}")


def _holder_key(claims: GrantClaims) -> VerifyingKey:
    # RFC 8747 §3.2 with the COSE_Key of RFC 9053 §7.2 (Ed25519) or §7.1.1: both coordinates are given, and checked.
    if claims.holder_y is None:
        return VerifyingKey(claims.holder_x)
    key = VerifyingKey(bytes([2 | claims.holder_y[-1] & 1]) + claims.holder_x)
    if _coordinates(key)[1] != claims.holder_y:
        raise Malformed("the holder's key in a grant is not a point")
    return key


def _coordinates(key: VerifyingKey) -> tuple[bytes, bytes | None]:
    if key.algorithm is SignatureAlgorithm.EDDSA:
        return key.point, None
    point = key.to_cryptography().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return point[1:33], point[33:]

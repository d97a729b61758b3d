# SPDX-License-Identifier: Apache-2.0
"""Credentials: who an endpoint is, proven under the owner's root document.

Invariant: a Credential exists only if its chain led to an issuing CA of the root, at a time when everything on the way
was valid, and if its domain is the root's. RFC 5280 §6.1 is walked by hand, since the profile is far narrower: at most
one intermediate authority, one signature algorithm, one kind of key, no policies, no name constraints, no search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field
from itertools import pairwise
from typing import Final

from sealway.crypto.keys import VerifyingKey
from sealway.errors import NotTrusted
from sealway.identity.certificates import (
    Certificate,
    authority_key_id,
    check_authority,
    check_endpoint,
    check_issued_by,
    check_validity,
    read_certificate,
    subject_key_id,
)
from sealway.identity.proof import Proof
from sealway.identity.root import OwnerRoot
from sealway.wire.address import Name

MAX_CHAIN: Final = 3
"""Most certificates from the endpoint's to the trust anchor, both included."""

_PROOF: Final = Proof("verify_chain")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """The public half of an endpoint's identity, proven; made by ``verify_chain`` only.

    Args:
        name: the certified name, with domain and role.
        chain: its certificates in DER, leaf first, as they were given.
        key: what it signs with.
        x5t: SHA-256 of the leaf, 32 bytes (RFC 9360 §2).
        not_before: first second of validity, Unix time.
        not_after: last second of validity, Unix time.
    """

    name: Name
    chain: tuple[bytes, ...] = field(repr=False)
    key: VerifyingKey
    x5t: bytes
    not_before: int
    not_after: int
    proof: InitVar[object]

    def __post_init__(self, proof: object) -> None:
        _PROOF.demand(proof)

    @property
    def role(self) -> str:
        """The certified role."""
        return self.name.role


def verify_chain(
    chain_der: Sequence[bytes],
    root: OwnerRoot,
    now: int,
    *,
    expected_name: Name | None = None,
    expected_role: str | None = None,
    now_is_floor: bool = False,
) -> Credential:
    """Prove who an endpoint is.

    Args:
        chain_der: certificates in DER, leaf first; the trust anchor may stand at the end or be left out. At most 3.
        root: the domain's verified root document.
        now: Unix seconds.
        expected_name: the name that was asked for, or None for any.
        expected_role: the role that is needed, or None for any.
        now_is_floor: ``now`` is only the latest time known for sure to have passed (an endpoint without a clock).

    Raises:
        Malformed, TooLarge: a certificate cannot be read within the profile.
        NotAuthentic: a signature does not verify.
        NotTrusted: anything else that keeps the root from vouching for this endpoint as the one expected.
    """
    root.demand_current(now, now_is_floor=now_is_floor)
    path = _path(chain_der, root)
    for below, (certificate, issuer) in enumerate(pairwise(path)):
        check_issued_by(certificate, issuer)
        check_authority(issuer, below=below)
    for certificate in path:
        check_validity(certificate, now, now_is_floor=now_is_floor)
    leaf = path[0]
    name = check_endpoint(leaf)
    _check_expectations(name, root, expected_name, expected_role)
    return Credential(
        name=name,
        chain=tuple(chain_der),
        key=leaf.key,
        x5t=leaf.x5t,
        not_before=max(certificate.not_before for certificate in path),
        not_after=min(certificate.not_after for certificate in path),
        proof=_PROOF,
    )


def _path(chain_der: Sequence[bytes], root: OwnerRoot) -> list[Certificate]:
    """Return leaf, intermediate if any, trust anchor. RFC 5280 §6.1.1 (d): the anchor comes from the root only."""
    if not 1 <= len(chain_der) <= MAX_CHAIN:
        raise NotTrusted(f"a certificate chain has 1 to {MAX_CHAIN} certificates, not {len(chain_der)}")
    presented = [read_certificate(der) for der in chain_der]
    if presented[-1].der in root.issuing_cas:
        presented.pop()
    if not presented:
        raise NotTrusted("a certificate chain holds nothing but the authority's own certificate")
    path = [*presented, _anchor_of(presented[-1], root)]
    if len(path) > MAX_CHAIN:
        raise NotTrusted(f"a certificate chain is longer than {MAX_CHAIN} certificates")
    return path


def _anchor_of(last: Certificate, root: OwnerRoot) -> Certificate:
    wanted = authority_key_id(last)
    candidates = [anchor for anchor in root.anchors if subject_key_id(anchor) == wanted]
    if not candidates:
        raise NotTrusted("a certificate was not issued by an authority of this domain")
    return max(candidates, key=lambda anchor: anchor.not_after)  # a renewed one has the same key


def _check_expectations(name: Name, root: OwnerRoot, expected_name: Name | None, expected_role: str | None) -> None:
    # RFC 5280 §6.1 leaves names to the application (RFC 9525 §6): the root's domain, and the name that was asked for.
    if name.domain != root.domain:
        raise NotTrusted(f"the certificate of {name} belongs to another domain than {root.domain}")
    if expected_name is not None and name != expected_name:
        raise NotTrusted(f"expected {expected_name}, and the certificate says {name}")
    if expected_role is not None and name.role != expected_role:
        raise NotTrusted(f"{name} does not have the role {expected_role}")

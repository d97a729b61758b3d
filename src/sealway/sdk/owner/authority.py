# SPDX-License-Identifier: Apache-2.0
"""The owner's state directory: keys of the root, of the issuing CA and for grants, the root document, the ledger.

Invariant: keys exist before the root document names them, the root document before anything is issued under it, and the
ledger's line before what it says is handed out.
"""

from __future__ import annotations

import os
import time
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

from sealway.crypto.secret import Secret
from sealway.errors import LocalMisuse
from sealway.identity.credentials import Credential, verify_chain
from sealway.identity.enrolment import EnrolmentClaims, NextHop, sign_enrolment
from sealway.identity.grants import issue_grant
from sealway.identity.issuing import IPAddress, issue_certificate, self_signed_ca
from sealway.identity.root import OwnerRoot, sign_root, trust_root_on_first_use
from sealway.keystore.places import keystore_at, open_keystore
from sealway.keystore.ports import Keystore
from sealway.keystore.private_file import read_private, replace_private
from sealway.sdk.owner.ledger import Ledger
from sealway.storage.directory import DirectoryLock, demand_free
from sealway.wire.address import Name, check_domain
from sealway.wire.cose import MAX_DOCUMENT_BYTES
from sealway.wire.grant import SignedGrant, every_device
from sealway.wire.root_document import Authority as GrantAuthority
from sealway.wire.root_document import RootClaims

OWNER_KEY: Final = "owner"
CA_KEY: Final = "ca"
GRANT_KEY: Final = "grant"
DAY_S: Final = 86_400
HOUR_S: Final = 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolling:
    """What the owner decides on for one new member. ``days`` is how long its certificate is valid."""

    name: Name
    hub: str
    gateway: NextHop | None = None
    peers: tuple[Name, ...] = ()
    days: int = 90
    dns: tuple[str, ...] = ()
    ip: tuple[IPAddress, ...] = ()
    scopes: tuple[str, ...] = ()
    """Granted to the member itself, at every device."""
    grant_hours: int = 24


class OwnerHome:
    """The paths of an owner's directory.

    Args:
        path: the directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keystore_path = path / "keystore"
        self.root_path = path / "root"
        self.ledger = Ledger(path / "ledger.jsonl")

    def create(self, domain: str, passphrase: Secret, *, days: int, place: str | None = None) -> OwnerRoot:
        """Make the keys and root document 1 of a domain. Begun before and interrupted, it is completed.

        Args:
            place: where the keys are made (``sealway.keystore.places``); None: where they are already, or a file.

        Raises:
            TokenFailed: the token cannot be used.
            LocalMisuse: there is an owner here already, or the directory cannot be used.
            Malformed: not the name of a domain.
        """
        check_domain(domain)
        with _held(self.path):
            if self.root_path.exists():
                raise LocalMisuse(f"{self.path} has an owner already", hint=f"sealway owner list --state {self.path}")
            keystore = self._keys(place, passphrase)
            document = _first_root(keystore, domain, days)
            replace_private(self.root_path, document, check=lambda: None)
            return trust_root_on_first_use(document, now=int(time.time()))

    def _keys(self, place: str | None, passphrase: Secret) -> Keystore:
        keystore = keystore_at(place, self.keystore_path, passphrase)
        known = keystore.labels()
        for label in (OWNER_KEY, CA_KEY, GRANT_KEY):
            if label not in known:
                keystore.generate(label)
        return keystore

    def read_root(self) -> OwnerRoot:
        """Return the owner's root document. Raises LocalMisuse if there is none, NotTrusted if it has expired."""
        if not self.root_path.exists():
            hint = f"sealway owner init --state {self.path} --domain DOMAIN"
            raise LocalMisuse(f"there is no owner in {self.path}", hint=hint)
        return trust_root_on_first_use(read_private(self.root_path, limit=MAX_DOCUMENT_BYTES), now=int(time.time()))


@dataclass(slots=True)
class OpenOwner:
    """An owner at work, a context: the directory is locked, the keys are open."""

    root: OwnerRoot
    ledger: Ledger
    _keystore: Keystore = field(repr=False)
    _lock: DirectoryLock = field(repr=False)

    @classmethod
    def open(cls, home: OwnerHome, passphrase: Secret) -> Self:
        """Open an owner's directory. Raises LocalMisuse, NotTrusted, StateLost."""
        root = home.read_root()
        keystore = open_keystore(home.keystore_path, passphrase)
        return cls(root, home.ledger, keystore, _held(home.path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def enroll(self, request: bytes, wanted: Enrolling, *, birth: bytes | None = None) -> bytes:
        """Certify a member and return its signed enrolment.

        Args:
            birth: SHA-256 of the member's birth certificate, where it has shown one.

        Raises:
            NotTrusted: the request asks for another name.
            LocalMisuse, Malformed, NotAuthentic, TooLarge: see ``issue_certificate``; a name of another domain.
        """
        self._demand_own(wanted.name)
        now = int(time.time())
        dns, ip = wanted.dns, wanted.ip
        if wanted.name.role == "hub" and not (dns or ip):
            dns, ip = _host_of(wanted.hub)
        chain = issue_certificate(
            request, expected_name=wanted.name, ca_chain=self.root.issuing_cas, ca_signer=self._keystore.signer(CA_KEY),
            now=now, days=wanted.days, random=os.urandom, dns=dns, ip=ip,
        )  # fmt: skip
        credential = verify_chain(chain, self.root, now, expected_name=wanted.name)
        self._record_certificate(credential, now, birth)
        grants = [self._grant(credential, ["all"], wanted.scopes, wanted.grant_hours)] if wanted.scopes else []
        claims = EnrolmentClaims(
            root_document=self.root.encoded, chain=chain, hub=wanted.hub, gateway=wanted.gateway,
            grants=tuple(grants), peers=wanted.peers, issued=now,
        )  # fmt: skip
        return sign_enrolment(claims, self._keystore.signer(GRANT_KEY))

    def grant(self, holder: Name, devices: Sequence[str], scopes: Sequence[str], hours: int) -> bytes:
        """Return a signed grant for a member that was enrolled here.

        Args:
            devices: names, or "all".
            hours: how long it lives.

        Raises:
            LocalMisuse: no certificate was issued for this holder.
            NotTrusted: its certificate has expired.
            Malformed: a scope or a device is not one, or the grant becomes too large.
        """
        self._demand_own(holder)
        return self._grant(self._issued_to(holder), devices, scopes, hours)

    def _grant(self, holder: Credential, devices: Sequence[str], scopes: Sequence[str], hours: int) -> bytes:
        now = int(time.time())
        audience = [every_device(self.root.domain) if device == "all" else device for device in devices]
        encoded = issue_grant(
            holder=holder, audience=audience, scopes=scopes, signer=self._keystore.signer(GRANT_KEY),
            now=now, random=os.urandom, seconds=hours * HOUR_S,
        )  # fmt: skip
        claims = SignedGrant.decode(encoded).claims
        self.ledger.append(
            "grant", at=now, holder=str(holder.name), devices=audience, scopes=[str(scope) for scope in claims.scopes],
            expires=claims.expires, id=claims.grant_id.hex(),
        )  # fmt: skip
        return encoded

    def _issued_to(self, holder: Name) -> Credential:
        issued = [entry for entry in self.ledger.entries("certificate") if entry["name"] == str(holder)]
        if not issued:
            raise LocalMisuse(f"{holder} was not enrolled here", hint="sealway owner enroll comes first")
        chain = [b64decode(certificate) for certificate in issued[-1]["chain"]]
        return verify_chain(chain, self.root, int(time.time()), expected_name=holder)

    def has_another(self, name: Name, birth: bytes, now: int) -> bool:
        """Say whether this name was given to another device than that of this birth.

        One that did not show a birth certificate counts while its certificate is valid.
        """
        issued = (entry for entry in self.ledger.entries("certificate") if entry["name"] == str(name))
        return any(
            entry.get("birth", "") != birth.hex() for entry in issued if "birth" in entry or now <= entry["expires"]
        )

    def _record_certificate(self, credential: Credential, now: int, birth: bytes | None) -> None:
        of_birth = {} if birth is None else {"birth": birth.hex()}
        self.ledger.append(
            "certificate", at=now, name=str(credential.name), x5t=credential.x5t.hex(), expires=credential.not_after,
            chain=[b64encode(certificate).decode() for certificate in credential.chain], **of_birth,
        )  # fmt: skip

    def _demand_own(self, name: Name) -> None:
        if name.domain != self.root.domain:
            raise LocalMisuse(f"{name} is not in the domain {self.root.domain}")


def _held(path: Path) -> DirectoryLock:
    demand_free(path)
    return DirectoryLock(path, "sealway owner")


def _first_root(keystore: Keystore, domain: str, days: int) -> bytes:
    now = int(time.time())
    expires = now + days * DAY_S
    owner, granter = keystore.signer(OWNER_KEY), keystore.signer(GRANT_KEY)
    authority = self_signed_ca(keystore.signer(CA_KEY), domain, now=now, days=days, random=os.urandom)
    claims = RootClaims(
        domain=domain, domain_id=os.urandom(16), number=1, issued=now, expires=expires,
        owner_keys=(owner.public.point,), threshold=1, issuing_cas=(authority,),
        grant_keys=(GrantAuthority(granter.public.point, expires),),
    )  # fmt: skip
    return sign_root(claims, [owner])


def _host_of(hub: str) -> tuple[tuple[str, ...], tuple[IPAddress, ...]]:
    host: Any = urlsplit(hub).hostname
    try:
        return (), (ip_address(host),)
    except ValueError:
        return (host,), ()

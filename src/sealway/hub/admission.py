# SPDX-License-Identifier: Apache-2.0
"""Who may ask: OAuth 2.0 client credentials (RFC 6749 §4.4) with a signed assertion (RFC 7523), and bearer tokens.

Invariant: an access token exists only for an endpoint that proved its certificate's key in an assertion never used
before; the database holds its digest and not the token. What the owner permits is for the endpoints to enforce, not
decided here.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from sealway.errors import NotTrusted, RateLimited, Replayed, SealwayError
from sealway.hub import token_rows
from sealway.hub.config import Clock, Limits
from sealway.hub.limits import Rate
from sealway.hub.store import Store
from sealway.identity.assertion import MAX_ASSERTION_BYTES, Assertion, verify_assertion
from sealway.identity.root import OwnerRoot
from sealway.wire.address import Name

GRANT_TYPE: Final = "client_credentials"
ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
TOKEN_SECONDS: Final = 3600
_TOKEN_BYTES: Final = 32
_MOST_REMEMBERED: Final = 4096

# What a certified role may be towards a hub. A hub is no client of another hub.
_ROLES: Final = {"device": "endpoint", "application": "endpoint", "gateway": "carrier"}


class OAuthRefusal(SealwayError):
    """A token request that is refused as RFC 6749 §5.2 says.

    Args:
        code: invalid_request, invalid_client, unauthorized_client or unsupported_grant_type.
        message: for a person.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def status(self) -> int:
        """The HTTP status of this refusal."""
        return 401 if self.code == "invalid_client" else 400


class NoToken(NotTrusted):
    """The access token is missing, unknown or has expired; a client asks for a new one (RFC 6750 §3.1)."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom an access token stands for; ``role`` is endpoint or carrier, ``expires`` in Unix seconds."""

    name: str
    mailbox: str
    role: str
    expires: int

    @property
    def carries(self) -> bool:
        """True for a gateway."""
        return self.role == "carrier"


@dataclass(frozen=True, slots=True)
class Issued:
    """A new access token and how long it lives, in seconds."""

    token: str
    seconds: int


class Admission:
    """Issues access tokens and says whom they stand for.

    Args:
        store: the hub's database.
        root: the owner's verified root document.
        audiences: the token URLs of this hub; the list may grow until it listens.
        limits: rates.
        clock: Unix seconds.
    """

    def __init__(self, store: Store, root: OwnerRoot, audiences: Collection[str], limits: Limits, clock: Clock) -> None:
        self._store = store
        self._root = root
        self._audiences = audiences
        self._clock = clock
        self._unproven = Rate(limits.assertions_per_minute, "assertions from this address")
        self._proven = Rate(limits.tokens_per_minute, "token requests by this endpoint")
        self._remembered: OrderedDict[bytes, Caller] = OrderedDict()

    async def admit(self, form: dict[str, str], address: str) -> Issued:
        """Answer a token request (RFC 6749 §4.4.2, RFC 7523 §2.2) that came from a network address.

        Raises:
            OAuthRefusal: with the code of RFC 6749 §5.2.
            RateLimited: too many.
        """
        assertion = self._prove(_assertion_in(form), address)
        name = assertion.credential.name
        if form.get("client_id", str(name)) != str(name):  # RFC 7521 §4.2
            raise OAuthRefusal("invalid_client", "client_id is not the assertion's subject")
        role = _ROLES.get(name.role)
        if role is None:
            raise OAuthRefusal("unauthorized_client", f"a {name.role} is not served by a hub")
        self._proven.spend(str(name))
        return await self._issue(assertion, role)

    async def caller(self, authorization: str | None) -> Caller:
        """Return whom the value of an Authorization header stands for (RFC 6750 §2.1). Raises NoToken."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.isascii() or not 1 <= len(token) <= 128:
            raise NoToken("no access token", hint="ask for one at /v1/token")
        digest = hashlib.sha256(token.encode()).digest()
        caller = self._remembered.get(digest) or await self._look_up(digest)
        if caller is None or caller.expires <= self._clock():
            raise NoToken("the access token is unknown or has expired", hint="ask for a new one at /v1/token")
        return caller

    async def expire(self) -> None:
        """Forget what is no longer valid."""
        now = self._clock()
        await self._store.write(lambda db: token_rows.forget_expired(db, now))

    def _prove(self, text: str, address: str) -> Assertion:
        self._unproven.spend(address)
        try:
            return verify_assertion(text, self._root, self._clock(), audiences=self._audiences)
        except RateLimited:
            raise
        except SealwayError as error:
            raise OAuthRefusal("invalid_client", error.message) from None

    async def _issue(self, assertion: Assertion, role: str) -> Issued:
        token = urlsafe_b64encode(secrets.token_bytes(_TOKEN_BYTES)).rstrip(b"=").decode()
        now, name = self._clock(), str(assertion.credential.name)
        expires = min(now + TOKEN_SECONDS, assertion.credential.not_after)
        digest, used = hashlib.sha256(token.encode()).digest(), _digest_of(assertion)

        def issue(db: sqlite3.Connection) -> None:
            if not token_rows.use_assertion(db, used, assertion.expires):  # RFC 7523 §3 item 7
                raise Replayed("this assertion was used before")
            token_rows.keep_token(db, digest, name, role, expires)

        try:
            await self._store.write(issue)
        except Replayed as error:
            raise OAuthRefusal("invalid_client", error.message) from None
        return Issued(token, expires - now)

    async def _look_up(self, digest: bytes) -> Caller | None:
        row = await self._store.read(lambda db: token_rows.token_holder(db, digest))
        if row is None:
            return None
        name, role, expires = row
        caller = Caller(name, Name.parse(name).mailbox, role, expires)
        self._remembered[digest] = caller
        if len(self._remembered) > _MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        return caller


def _assertion_in(form: dict[str, str]) -> str:
    if form.get("grant_type") is None:
        raise OAuthRefusal("invalid_request", "grant_type is missing")
    if form["grant_type"] != GRANT_TYPE:
        raise OAuthRefusal("unsupported_grant_type", f"grant_type is {GRANT_TYPE}")
    if form.get("client_assertion_type") != ASSERTION_TYPE:
        raise OAuthRefusal("invalid_client", "clients authenticate with a signed assertion (RFC 7523)")
    text = form.get("client_assertion", "")
    if not 1 <= len(text) <= MAX_ASSERTION_BYTES:
        raise OAuthRefusal("invalid_request", "client_assertion is missing or too long")
    return text


def _digest_of(assertion: Assertion) -> bytes:
    return hashlib.sha256(f"{assertion.credential.name}\n{assertion.jti}".encode()).digest()

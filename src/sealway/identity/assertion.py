# SPDX-License-Identifier: Apache-2.0
"""The assertion by which an endpoint asks a hop for admission: a JWT (RFC 7519) signed by its certificate's key.

RFC 7523 §2.2 and §3: client authentication; ES256 (RFC 7518 §3.4) or EdDSA (RFC 8037 §3.1), compact serialisation
(RFC 7515 §7.1), the certificate chain in x5c (RFC 7515 §4.1.6).

Invariant: an Assertion exists only if its chain was proven under the owner's root, the chain's own key signed it, it
names the certified endpoint, and it was meant for this audience at this time. Whether it was used before is for the
caller to record: ``jti`` until ``expires``.
"""

from __future__ import annotations

import binascii
import json
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Sequence
from dataclasses import InitVar, dataclass
from typing import Any, Final, NoReturn

from sealway.crypto.keys import SignatureAlgorithm
from sealway.crypto.ports import Random, Signer
from sealway.errors import Malformed, NotAuthentic, NotTrusted, TooLarge
from sealway.identity.credentials import Credential, verify_chain
from sealway.identity.proof import Proof
from sealway.identity.root import OwnerRoot

MAX_ASSERTION_BYTES: Final = 24_576
LONGEST_SECONDS: Final = 300
"""Longest life of an assertion, and so the longest that a hop has to remember it."""

LEEWAY_SECONDS: Final = 60
"""How far the clocks of the two sides may differ."""

_LIFETIME_SECONDS: Final = 120
_HEADER: Final = frozenset({"alg", "typ", "x5c"})
_ALGORITHMS: Final = tuple(algorithm.jose for algorithm in SignatureAlgorithm)
_CLAIMS: Final = ("iss", "sub", "aud", "exp", "iat", "jti")
_MOST_JTI: Final = 128

_PROOF: Final = Proof("verify_assertion")


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """Who asks, proven; made by ``verify_assertion`` only.

    Args:
        credential: the endpoint, proven under the root.
        jti: unique name of this assertion among the endpoint's, 1 to 128 characters.
        expires: Unix seconds from which on it is refused.
    """

    credential: Credential
    jti: str
    expires: int
    proof: InitVar[object]

    def __post_init__(self, proof: object) -> None:
        _PROOF.demand(proof)


def make_assertion(
    *, name: str, chain: Sequence[bytes], signer: Signer, audience: str, now: int, random: Random
) -> str:
    """Return a fresh assertion in compact form.

    Args:
        name: the endpoint's name in text, as certified.
        chain: its certificate chain, DER, leaf first.
        signer: the key of the leaf.
        audience: the hop's token URL.
        now: Unix seconds.
        random: source of the jti.
    """
    header = {"alg": signer.public.algorithm.jose, "typ": "JWT", "x5c": [b64encode(der).decode() for der in chain]}
    claims = {
        "iss": name,
        "sub": name,
        "aud": audience,
        "exp": now + _LIFETIME_SECONDS,
        "iat": now,
        "jti": random(16).hex(),
    }
    signing_input = f"{_segment(_json(header))}.{_segment(_json(claims))}"
    return f"{signing_input}.{_segment(signer.sign(signing_input.encode()))}"


def verify_assertion(text: str, root: OwnerRoot, now: int, *, audiences: Collection[str]) -> Assertion:
    """Prove who asks.

    Args:
        text: untrusted.
        root: the domain's verified root document.
        now: Unix seconds.
        audiences: the token URLs of this hop.

    Raises:
        TooLarge, Malformed: not such a JWT.
        NotAuthentic: a signature does not verify.
        NotTrusted: the chain does not lead to the root, or a claim does not fit.
    """
    header, claims, signing_input, signature = _parts(text)
    credential = verify_chain(_chain(header), root, now)
    if header["alg"] != credential.key.algorithm.jose:  # RFC 8725 §3.1: the certificate's key decides, not the header
        raise NotAuthentic("an assertion names another algorithm than its signer's key has")
    credential.key.verify(signing_input, signature)  # RFC 7523 §3 item 9
    _check_parties(claims, str(credential.name), audiences)
    _check_times(claims, now)
    return Assertion(credential=credential, jti=_jti(claims), expires=claims["exp"] + LEEWAY_SECONDS, proof=_PROOF)


def _parts(text: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    if len(text) > MAX_ASSERTION_BYTES:
        raise TooLarge(f"an assertion is larger than {MAX_ASSERTION_BYTES} bytes")
    segments = text.split(".")
    if len(segments) != 3:  # RFC 7515 §7.1
        raise Malformed("an assertion has three parts")
    header, claims, signature = map(_unsegment, segments)
    return (_object(header), _object(claims), f"{segments[0]}.{segments[1]}".encode(), signature)


def _chain(header: dict[str, Any]) -> list[bytes]:
    # RFC 8725 §3.1: the algorithms are ours to choose. RFC 7515 §4.1.11: crit is not understood, as nothing else is.
    if header.get("alg") not in _ALGORITHMS or header.get("typ", "JWT") != "JWT" or not header.keys() <= _HEADER:
        raise Malformed("an assertion's header is alg ES256 or EdDSA, typ JWT and x5c")
    chain = header.get("x5c")
    if not isinstance(chain, list) or not 1 <= len(chain) <= 4:
        raise Malformed("an assertion carries its certificate chain in x5c")
    return [_certificate(item) for item in chain]


def _check_parties(claims: dict[str, Any], name: str, audiences: Collection[str]) -> None:
    absent = [claim for claim in _CLAIMS if claim not in claims]
    if absent:
        raise Malformed(f"an assertion lacks {', '.join(absent)}")
    # RFC 7523 §3 items 1 and 2 (B): issuer and subject are the client itself, here the certified name.
    if claims["iss"] != name or claims["sub"] != name:
        raise NotTrusted("an assertion names another endpoint than its certificate")
    # RFC 7523 §3 item 3. One audience only, so that nobody else could use it as well.
    if not isinstance(claims["aud"], str) or claims["aud"] not in audiences:
        raise NotTrusted("an assertion is meant for another hop", hint="its audience is this hop's token URL")


def _check_times(claims: dict[str, Any], now: int) -> None:
    expires, issued = _second(claims, "exp"), _second(claims, "iat")
    # RFC 7523 §3 items 4 and 6; "unreasonably far in the future" is more than five minutes.
    if now >= expires + LEEWAY_SECONDS:
        raise NotTrusted("an assertion has expired", hint="compare the clocks of the two sides")
    if issued > now + LEEWAY_SECONDS:
        raise NotTrusted("an assertion was made in the future", hint="compare the clocks of the two sides")
    if not 0 < expires - issued <= LONGEST_SECONDS:
        raise NotTrusted(f"an assertion lives at most {LONGEST_SECONDS} seconds")
    # RFC 7523 §3 item 5
    if "nbf" in claims and now + LEEWAY_SECONDS < _second(claims, "nbf"):
        raise NotTrusted("an assertion is not valid yet", hint="compare the clocks of the two sides")


def _jti(claims: dict[str, Any]) -> str:
    jti = claims["jti"]
    if not isinstance(jti, str) or not jti.isascii() or not 1 <= len(jti) <= _MOST_JTI:
        raise Malformed(f"an assertion's jti is text of 1 to {_MOST_JTI} characters")
    return jti


def _second(claims: dict[str, Any], claim: str) -> int:
    value = claims[claim]
    if type(value) is not int or not 0 <= value < 1 << 40:
        raise Malformed(f"an assertion's {claim} is not a time in whole seconds")
    return value


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_distinct, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise Malformed("an assertion's part is not JSON") from None
    if not isinstance(value, dict):
        raise Malformed("an assertion's part is not a JSON object")
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):  # RFC 7519 §4: claim names are unique; RFC 7515 §4 for the header
        raise ValueError
    return value


def _refuse(_: str) -> NoReturn:
    raise ValueError


def _segment(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _unsegment(segment: str) -> bytes:
    try:
        data = urlsafe_b64decode(segment.encode("ascii") + b"=" * (-len(segment) % 4))
    except (ValueError, binascii.Error):
        raise Malformed("an assertion's part is not base64url") from None
    if _segment(data) != segment:  # RFC 7515 §2: no padding, no other characters, one encoding
        raise Malformed("an assertion's part is not base64url")
    return data


def _certificate(item: object) -> bytes:
    try:
        return b64decode(item if isinstance(item, str) else "*", validate=True)
    except ValueError:
        raise Malformed("a certificate in x5c is not base64") from None

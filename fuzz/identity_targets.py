# SPDX-License-Identifier: Apache-2.0
"""What ``sealway.identity`` proves, of bytes that anyone may send.

Behind a signature nothing is reached by changing bytes at random. So each input is tried twice: as it is, when nothing
may be accepted but what was really issued; and signed anew with the right key, as if the owner or a member had gone
bad, when what is accepted must still be within the profile.
"""

from __future__ import annotations

import binascii
import hashlib
import json
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache, partial
from random import Random
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from fuzz.mutating import der, mutate_bytes, mutate_cbor, mutate_der, split_der
from fuzz.target import Target, demand, refused
from sealway.crypto.ports import Signer
from sealway.errors import Malformed, NotAuthentic, NotAuthorized, NotTrusted, Replayed, SealwayError, TooLarge
from sealway.identity.assertion import LEEWAY_SECONDS, LONGEST_SECONDS, Assertion, make_assertion, verify_assertion
from sealway.identity.birth import verify_idevid, verify_manifest
from sealway.identity.bundles import sign_bundle, verify_bundle
from sealway.identity.consents import sign_consent, verify_consent
from sealway.identity.credentials import Credential, verify_chain
from sealway.identity.enrolment import EnrolmentClaims, NextHop, sign_enrolment, verify_enrolment
from sealway.identity.grants import issue_grant, verify_grant
from sealway.identity.issuing import make_csr, verify_csr
from sealway.identity.root import sign_root, verify_root
from sealway.wire import cose
from sealway.wire.address import Name
from sealway.wire.carriage import CertChain
from sealway.wire.manifest import check_mud_url, check_serial
from tests.factory.small_factory import MUD_URL, SmallFactory
from tests.identity.small_domain import NOW, SmallDomain, name, seeded, signer
from tests.identity.test_bundles import claims_of as bundle_claims

_AUDIENCE: Final = "https://hub.example/v1/token"
_UNPROVEN: Final[tuple[type[SealwayError], ...]] = (Malformed, TooLarge, NotAuthentic, NotTrusted)
_ES256: Final = bytes.fromhex("300a06082a8648ce3d040302")  # RFC 5758 §3.2: ecdsa-with-SHA256


@cache
def domain() -> SmallDomain:
    """The domain of all inputs: the same keys and certificates in every run."""
    return SmallDomain()


@cache
def _member(label: str, role: str = "device") -> tuple[Credential, Signer]:
    return domain().credential(label, role)


def _proven(verify: Callable[[], Any], *refusals: type[SealwayError]) -> Any:
    """Return what was proven, or None if it was refused in one of the ways that are promised."""
    try:
        return verify()
    except (*_UNPROVEN, *refusals) as error:
        refused(error)
    return None


# certificates --------------------------------------------------------------------------------------------------------
def check_chain(data: bytes) -> None:
    """A chain is accepted if the owner's authority signed it; then it is within the profile."""
    try:
        chain = CertChain.decode(data).certificates
    except (Malformed, TooLarge):
        return
    as_it_is = _proven(partial(verify_chain, chain, domain().root, NOW))
    if as_it_is is not None:
        demand(_signed_part(chain[0]) in {_signed_part(leaf) for leaf in _issued()}, "accepted, and never issued")
        _check_credential(as_it_is, chain)
    again = (_resigned(chain[0], domain().ca), *chain[1:])
    as_if_issued = _proven(partial(verify_chain, again, domain().root, NOW))
    if as_if_issued is not None:
        _check_credential(as_if_issued, again)


def _check_credential(credential: Credential, chain: tuple[bytes, ...]) -> None:
    demand(credential.chain == chain, "another chain than the one given")
    demand(credential.x5t == hashlib.sha256(chain[0]).digest(), "another certificate's hash")
    demand(credential.name.domain == domain().root.domain, "another domain's name")
    demand(Name.parse(str(credential.name)) == credential.name, "a name that is none")
    demand(credential.not_before <= NOW <= credential.not_after, "outside its time")


def _signed_part(certificate: bytes) -> bytes:
    elements = split_der(certificate)
    inner = split_der(elements[0][1]) if len(elements) == 1 else []
    return der(*inner[0]) if inner else b""


def _resigned(certificate: bytes, issuer: Signer) -> bytes:
    """The same content with a signature that verifies (RFC 5280 §4.1)."""
    part = _signed_part(certificate)
    raw = issuer.sign(part)
    signature = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    return der(0x30, part + _ES256 + der(0x03, b"\x00" + signature))


@cache
def _issued() -> tuple[bytes, ...]:
    leaves = [_member(*who)[0].chain[0] for who in (("meter-1",), ("cellar", "gateway"), ("app", "application"))]
    hub = domain().chain(name("hub", "hub"), signer("hub"), dns=["hub.example"])
    return (*leaves, hub[0], domain().forged())


def _chains() -> Iterable[bytes]:
    for leaf in _issued():
        yield CertChain((leaf,)).encode()
    yield CertChain((_issued()[0], domain().ca_der)).encode()
    yield CertChain((domain().ca_der,)).encode()


@cache
def factory() -> SmallFactory:
    """The manufacturer of all inputs: the same keys and certificates in every run."""
    return SmallFactory()


def check_birth_chain(data: bytes) -> None:
    """A birth chain is accepted if the manufacturer signed it; then it names a device, as labels do."""
    try:
        chain = CertChain.decode(data).certificates
    except (Malformed, TooLarge):
        return
    made = [_signed_part(factory().chain("SW-1", mud_url=url)[0]) for url in (MUD_URL, None)]
    for given, honest in ((chain, True), ((_resigned(chain[0], factory().issuing), *chain[1:]), False)):
        birth = _proven(partial(verify_idevid, given, [factory().manufacturer], NOW))
        if birth is not None:
            demand(not honest or _signed_part(given[0]) in made, "accepted, and never made")
            demand(check_serial(birth.serial) == birth.serial, "a serial number that is none")
            demand(birth.mud_url is None or check_mud_url(birth.mud_url) == birth.mud_url, "a MUD URL that is none")
            demand(birth.x5t == hashlib.sha256(given[0]).digest(), "another certificate's hash")


def check_manifest(data: bytes) -> None:
    """A manufacturer's list; the input is what is signed."""
    key_ref = cose.X5chain((factory().issuing_der,))
    encoded = _signed(cose.TYP_MANIFEST, key_ref, data, factory().issuing)
    verify = partial(verify_manifest, manufacturers=[factory().manufacturer], now=NOW)
    found = None if encoded is None else _proven(partial(verify, encoded))
    if found is not None:
        demand(found.claims.encode() == data, "claims that were not signed")
        demand(found.claims.manufacturer == factory().manufacturer.name, "in another manufacturer's name")
    _proven(partial(verify, data))


def _birth_chains() -> Iterable[bytes]:
    yield CertChain(factory().chain("SW-1")).encode()
    yield CertChain((*factory().chain("SW-1", mud_url=None), factory().root_der)).encode()


def check_request(data: bytes) -> None:
    """A certificate request proves that whoever made it holds the key, under one name."""
    proven = _proven(partial(verify_csr, data))
    if proven is not None:
        demand(Name.parse(str(proven[0])) == proven[0], "a name that is none")
    again = _resigned(data, signer("meter-1"))
    proven = _proven(partial(verify_csr, again))
    if proven is not None:
        demand(proven[1] == signer("meter-1").public, "the request is for another key than the one that signed it")


# documents -----------------------------------------------------------------------------------------------------------
def _signed(typ: str, key_ref: cose.KeyRef, payload: bytes, key: Signer) -> bytes | None:
    """A payload signed as it is, or None if no document can hold it."""
    with suppress(Malformed, TooLarge):
        signature = key.sign(cose.sign1_to_be_signed(typ, key_ref, payload))
        return cose.Sign1(typ, key_ref, payload, signature).encode()
    return None


def _by_member(label: str, typ: str, payload: bytes) -> bytes | None:
    credential, key = _member(label)
    return _signed(typ, cose.X5t(credential.x5t), payload, key)


def _by_owner(typ: str, payload: bytes) -> bytes | None:
    return _signed(typ, cose.Kid(domain().granter.public.kid), payload, domain().granter)


def check_enrolment(data: bytes) -> None:
    """The owner's word for a new member; the input is what is signed."""
    encoded = _by_owner(cose.TYP_ENROLMENT, data)
    verify = partial(verify_enrolment, root=domain().root, now=NOW, member=_member("app", "application")[1].public)
    found = None if encoded is None else _proven(partial(verify, encoded), NotAuthorized)
    if found is not None:
        demand(found.claims.encode() == data, "claims that were not signed")
        demand(found.root.encoded == domain().root.encoded, "another root document")
        demand(all(grant.holder_key == found.credential.key for grant in found.grants), "another member's grant")
    _proven(partial(verify, data), NotAuthorized)


def check_grant(data: bytes) -> None:
    """What the owner allows; the input is what is signed."""
    encoded = _by_owner(cose.TYP_GRANT, data)
    found = None if encoded is None else _proven(partial(verify_grant, encoded, domain().root, NOW), NotAuthorized)
    if found is not None:
        demand(found.claims.encode() == data, "claims that were not signed")
        demand(found.claims.not_before - 300 <= NOW < found.claims.expires, "outside its time")


def check_consent(data: bytes) -> None:
    """A device's word for its gateway; the input is what is signed."""
    device = _member("meter-1")[0]
    encoded = _by_member("meter-1", cose.TYP_CONSENT, data)
    found = None if encoded is None else _proven(partial(verify_consent, encoded, device, NOW))
    if found is not None:
        demand(found.claims.encode() == data, "claims that were not signed")
        demand(found.claims.mailbox == device.name.mailbox, "somebody else's mailbox")


def check_bundle(data: bytes) -> None:
    """An endpoint's keys for new sessions; the input is what is signed."""
    device = _member("meter-1")[0]
    encoded = _by_member("meter-1", cose.TYP_BUNDLE, data)
    found = None if encoded is None else _proven(partial(verify_bundle, encoded, device, NOW), Replayed)
    if found is not None:
        demand(found.claims.encode() == data, "claims that were not signed")
        demand(found.claims.name == device.name and found.encoded == encoded, "another endpoint's bundle")


def check_root(data: bytes) -> None:
    """The root document: as the successor of the one held, signed by the owner; the input is what is signed."""
    owner, pinned = domain().owner, domain().root
    ref = cose.Kid(owner.public.kid)
    try:
        signature = cose.SignerSignature(ref, owner.sign(cose.sign_to_be_signed(cose.TYP_ROOT, ref, data)))
        encoded = cose.Sign(cose.TYP_ROOT, data, (signature,)).encode()
    except (Malformed, TooLarge):
        return
    found = _proven(partial(verify_root, encoded, now=NOW, pinned=pinned))
    if found is not None and found.encoded != pinned.encoded:
        demand(found.claims.encode() == data, "claims that were not signed")
        demand(found.number > pinned.number and found.domain_id == pinned.domain_id, "a root that follows no other")
    _proven(partial(verify_root, data, now=NOW, pinned=pinned))


# assertions ----------------------------------------------------------------------------------------------------------
def check_assertion(data: bytes) -> None:
    """Who asks a hub for admission: text as it comes in a form (ASCII there; here anything)."""
    text = data.decode("utf-8", "surrogateescape")
    verify = partial(verify_assertion, root=domain().root, now=NOW, audiences=[_AUDIENCE])
    as_it_is = _proven(partial(verify, text))
    if as_it_is is not None:
        demand(text.rpartition(".")[0] == _assertion().rpartition(".")[0], "accepted, and never made")
    signed = text.rpartition(".")[0]
    with suppress(UnicodeEncodeError):
        signature = urlsafe_b64encode(_member("meter-1")[1].sign(signed.encode())).rstrip(b"=").decode()
        again = _proven(partial(verify, f"{signed}.{signature}"))
        if again is not None:
            _check_assertion(again)


def _check_assertion(proven: Assertion) -> None:
    demand(proven.credential.name == _member("meter-1")[0].name, "somebody else")
    demand(1 <= len(proven.jti) <= 128, "a jti that is too long to be remembered")
    longest = LONGEST_SECONDS + 2 * LEEWAY_SECONDS
    demand(NOW < proven.expires <= NOW + longest, "it has to be remembered for too long")


def mutate_assertion(data: bytes, random: Random) -> bytes:
    """Change a part of an assertion as JSON, or as text."""
    parts = data.split(b".")
    if len(parts) != 3 or random.random() < 0.3:
        return mutate_bytes(data, random)
    at = random.randrange(2)
    try:
        value = json.loads(urlsafe_b64decode(parts[at] + b"=="))
        key = random.choice([*value, "nbf", "crit"])
        value[key] = random.choice(
            [0, -1, 1 << 40, NOW, NOW + 60, 1e400, "", "x" * 200, None, True, [], {}, [[1]], "é"]
        )
    except (ValueError, binascii.Error, TypeError):
        return mutate_bytes(data, random)
    text = json.dumps(value).encode()
    parts[at] = urlsafe_b64encode(mutate_bytes(text, random) if random.random() < 0.2 else text).rstrip(b"=")
    return b".".join(parts)


@cache
def _assertion() -> str:
    credential, key = _member("meter-1")
    return make_assertion(
        name=str(credential.name), chain=credential.chain, signer=key, audience=_AUDIENCE, now=NOW, random=seeded("jti")
    )


def _assertions() -> Iterable[bytes]:
    yield _assertion().encode()
    header = json.dumps({"alg": "ES256", "x5c": [b64encode(_issued()[0]).decode()] * 2}).encode()
    yield urlsafe_b64encode(header).rstrip(b"=") + b"." + _assertion().partition(".")[2].encode()


# seeds ---------------------------------------------------------------------------------------------------------------
def _payload(encoded: bytes) -> bytes:
    return cose.Sign1.decode(encoded).payload


def _grant() -> bytes:
    holder = _member("app", "application")[0]
    scopes, random = ["valve:write"], seeded("g")
    return issue_grant(
        holder=holder, audience=[name("valve")], scopes=scopes, signer=domain().granter, now=NOW, random=random
    )


def _enrolments() -> Iterable[bytes]:
    for gateway in (None, NextHop(name("roof", "gateway"), "coap://[::1]:5683")):
        claims = EnrolmentClaims(
            root_document=domain().root_document,
            chain=_member("app", "application")[0].chain,
            hub="https://hub.example:8443",
            gateway=gateway,
            grants=(_grant(),),
            peers=(name("meter-1"), name("meter-2")),
            issued=NOW,
        )
        yield _payload(sign_enrolment(claims, domain().granter))


def _consents() -> Iterable[bytes]:
    device, key = _member("meter-1")
    yield _payload(sign_consent(device, name("cellar", "gateway"), key, now=NOW, seconds=3600))


def _bundles() -> Iterable[bytes]:
    yield _payload(sign_bundle(bundle_claims(), *_member("meter-1")))
    yield bundle_claims(suites=(1, 2)).encode()
    yield bundle_claims(suites=(3,)).encode()


def _roots() -> Iterable[bytes]:
    yield domain().claims.encode()
    yield cose.Sign.decode(sign_root(domain().root_with(number=2).claims, [domain().owner])).payload


IDENTITY: Final = (
    Target("certificate-chain", check_chain, _chains, 4096, mutate_cbor),
    Target(
        "certificate-request", check_request, lambda: [make_csr(signer("meter-1"), name("meter-1"))], 2048, mutate_der
    ),
    Target("birth-chain", check_birth_chain, _birth_chains, 4096, mutate_cbor),
    Target("manifest-proof", check_manifest, lambda: [factory().claims().encode()], 2048, mutate_cbor),
    Target("enrolment", check_enrolment, _enrolments, 8192, mutate_cbor),
    Target("grant-proof", check_grant, lambda: [_payload(_grant())], 1024, mutate_cbor),
    Target("consent-proof", check_consent, _consents, 1024, mutate_cbor),
    Target("bundle-proof", check_bundle, _bundles, 2048, mutate_cbor),
    Target("root-proof", check_root, _roots, 4096, mutate_cbor),
    Target("assertion", check_assertion, _assertions, 4096, mutate_assertion),
)

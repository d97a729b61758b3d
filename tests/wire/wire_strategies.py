# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies for every type of ``sealway.wire``, and the table of its codecs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from sealway.wire import cose
from sealway.wire.address import MailboxAddress, Name
from sealway.wire.bundle import BundleClaims, Offer, OneTimeKey, Publication, SignedBundle
from sealway.wire.carriage import Acknowledgement, CertChain, Collected, CollectRequest, Deposits, Handed, Verdicts
from sealway.wire.consent import ConsentClaims, SignedConsent
from sealway.wire.envelope import TAG_BYTES, Envelope
from sealway.wire.grant import GrantClaims, Scope, SignedGrant, every_device
from sealway.wire.header import Claims, Opener, StartHeader
from sealway.wire.manifest import MadeDevice, ManifestClaims, SignedManifest
from sealway.wire.message import FileKey, FirstIdentity, Freshness, Message, Receipt
from sealway.wire.message_parts import MAX_CHUNK, MIN_CHUNK
from sealway.wire.root_document import Authority, RootClaims, SignedRoot
from sealway.wire.sealed_file import Introduction, Preface
from sealway.wire.shape import LATEST_MILLISECOND, LATEST_SECOND, UINT32

uint32 = st.integers(0, UINT32) | st.sampled_from([0, 23, 24, 255, 256, 65535, 65536, UINT32])
seconds = st.integers(0, LATEST_SECOND)
byte8, byte16, byte32, byte64 = (st.binary(min_size=n, max_size=n) for n in (8, 16, 32, 64))
kids = st.binary(min_size=1, max_size=8)


def texts(longest: int, shortest: int = 0) -> st.SearchStrategy[str]:
    """Text whose UTF-8 form has a length within the bounds."""
    characters = st.characters(exclude_categories=["Cs"])
    return st.text(characters, min_size=shortest, max_size=min(longest, 40)).filter(
        lambda text: len(text.encode()) <= longest
    )


def ranges(most: int, below: int = UINT32 + 1) -> st.SearchStrategy[tuple[tuple[int, int], ...]]:
    """Increasing, disjoint, non-adjacent (first, last) pairs below a number."""

    def build(steps: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
        built, floor = [], 0
        for skip, length in steps:
            first = floor + skip
            if first + length >= below:
                break
            built.append((first, first + length))
            floor = first + length + 2
        return tuple(built)

    return st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=most).map(build)


@st.composite
def receipts(draw: st.DrawFn) -> Receipt:
    number = draw(uint32)
    both = draw(ranges(8, number))
    is_gone = draw(st.lists(st.booleans(), min_size=len(both), max_size=len(both)))
    missing = tuple(pair for pair, gone in zip(both, is_gone, strict=True) if not gone)
    gone = tuple(pair for pair, gone in zip(both, is_gone, strict=True) if gone)
    return Receipt(number, draw(st.binary(min_size=4, max_size=4)), missing, gone)


freshness = st.builds(Freshness, uint32, st.binary(min_size=4, max_size=4), uint32)
first_identities = st.builds(FirstIdentity, byte32, uint32)
file_keys = st.builds(FileKey, st.integers(MIN_CHUNK, MAX_CHUNK), byte32)
codes = st.sampled_from([0, *range(1, 8), *range(0x40, 0x60), *range(0x80, 0xC0)])
messages = st.builds(
    Message,
    codes,
    path=st.lists(texts(255).filter(lambda text: text not in (".", "..")), max_size=16).map(tuple),
    query=st.lists(texts(255), max_size=16).map(tuple),
    content_format=st.none() | st.integers(0, 65535),
    payload=st.binary(max_size=400),
    sent_at=st.none() | st.integers(0, LATEST_MILLISECOND),
    request_id=st.none() | byte8,
    max_silence=st.none() | st.integers(1, UINT32),
    receipt=st.none() | receipts(),
    freshness=st.none() | freshness,
    first_identity=st.none() | first_identities,
    start_signature=st.none() | byte64,
    newest_session=st.none() | st.just(b"") | byte32,
    receive_kid=st.none() | kids,
    void=ranges(64),
    grant=st.none() | st.binary(min_size=1, max_size=1024),
    file_key=st.none() | file_keys,
    forked_session=st.none() | byte32,
)
plain_messages = st.builds(
    Message,
    codes,
    path=st.lists(texts(20).filter(lambda text: text not in (".", "..")), max_size=3).map(tuple),
    query=st.lists(texts(20), max_size=2).map(tuple),
    content_format=st.none() | st.integers(0, 65535),
    payload=st.binary(max_size=80),
    sent_at=st.integers(0, LATEST_MILLISECOND) | st.sampled_from([(1 << 40) - 1, 1 << 40, None]),
)

claims = st.builds(
    Claims, st.none() | texts(128, 1), st.none() | texts(64, 1), st.integers(0, LATEST_SECOND)
) | st.builds(Claims, texts(128, 1), st.none() | texts(64, 1), st.none())
starts = st.builds(
    StartHeader,
    byte32,
    byte32,
    kids,
    byte32,
    st.none() | st.integers(0, 63),
    st.none() | st.integers(0, 255).map(lambda b: bytes([b]) * 1088),
)


@st.composite
def introductions(draw: st.DrawFn) -> Introduction:
    return Introduction(draw(st.binary(min_size=1, max_size=60)), draw(chains))


@st.composite
def prefaces(draw: st.DrawFn) -> Preface:
    """Prefaces of sealed files, of a running session or of one that begins."""
    if draw(st.booleans()):
        return Preface(draw(envelopes(steady=True)))
    who = draw(introductions())
    bundle, leaf = (hashlib.sha256(part).digest() for part in (who.bundle, who.chain[0]))
    start = StartHeader(bundle, leaf, draw(kids), draw(byte32), draw(st.none() | st.integers(0, 63)))
    return Preface(Envelope(draw(kids), draw(uint32), draw(st.binary(min_size=9, max_size=99)), start=start), who)


@st.composite
def openers(draw: st.DrawFn, highest: int, *, with_key: bool = True) -> Opener:
    chain_first = draw(st.integers(0, highest))
    reseed = st.tuples(st.integers(1, UINT32), byte16)
    if with_key and draw(st.booleans()):
        if draw(st.booleans()):
            return Opener(chain_first, draw(byte32), chain_first)
        return Opener(chain_first, draw(byte32), draw(st.integers(0, chain_first)), draw(reseed))
    return Opener(chain_first, reseed=draw(reseed))


@st.composite
def envelopes(draw: st.DrawFn, *, steady: bool | None = None) -> Envelope:
    alg = draw(st.sampled_from(sorted(TAG_BYTES)))
    number = draw(uint32)
    ciphertext = draw(st.binary(min_size=TAG_BYTES[alg] + 1, max_size=TAG_BYTES[alg] + 300))
    kid = draw(kids)
    if steady or (steady is None and draw(st.booleans())):
        return Envelope(kid, number, ciphertext, alg)
    start = draw(st.none() | starts)
    opener = draw(st.none() | openers(number, with_key=start is None))
    return Envelope(kid, number, ciphertext, alg, draw(st.none() | claims), start, opener)


domains = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?){0,3}", fullmatch=True)
labels = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)


def names(*roles: str) -> st.SearchStrategy[Name]:
    """Names with one of these roles, or any."""
    return st.builds(Name, domains, st.sampled_from(roles or ("device", "application", "gateway", "hub")), labels)


hubs = st.builds(
    lambda host, port: f"https://{host}" + ("" if port is None else f":{port}"),
    domains | st.sampled_from(["127.0.0.1", "[::1]", "[2001:db8::7]"]),
    st.none() | st.integers(1, 65535),
)
mailboxes = names().map(lambda name: name.mailbox)
periods = st.tuples(st.integers(0, LATEST_SECOND - 1), st.integers(1, 10**8)).map(
    lambda pair: (pair[0], min(pair[0] + pair[1], LATEST_SECOND))
)


@st.composite
def bundle_claims(draw: st.DrawFn) -> BundleClaims:
    name = draw(names())
    issued, expires = draw(periods)
    one_time = draw(st.none() | st.tuples(byte32, st.integers(1, 64)))
    return BundleClaims(
        bundle_id=draw(st.binary(min_size=4, max_size=8)),
        name=name,
        mailbox=MailboxAddress(draw(hubs), name.mailbox),
        sequence=draw(st.integers(1, UINT32)),
        suites=tuple(sorted(draw(st.sets(st.integers(1, 23), min_size=1, max_size=5)))),
        agreement_key=draw(byte32),
        signed_prekey=draw(byte32),
        issued=issued,
        expires=expires,
        ml_kem=draw(st.none() | st.integers(0, 255).map(lambda b: bytes([b]) * 1184)),
        one_time_root=one_time and one_time[0],
        one_time_count=one_time and one_time[1],
    )


chains = st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=4).map(tuple)
certificate_refs = st.builds(cose.X5t, byte32) | st.builds(cose.X5chain, chains)
kid_refs = st.builds(cose.Kid, byte8)
sign1s = st.builds(
    cose.Sign1,
    st.sampled_from(cose.TYPES),
    certificate_refs | kid_refs,
    st.binary(min_size=1, max_size=100),
    byte64,
)


def signatures(least: int = 1) -> st.SearchStrategy[tuple[cose.SignerSignature, ...]]:
    """1 to 4 signatures by different signers, in order."""
    each = st.builds(cose.SignerSignature, kid_refs, byte64)
    listed = st.lists(each, min_size=least, max_size=4, unique_by=lambda one: one.key_ref.kid)
    return listed.map(lambda them: tuple(sorted(them, key=lambda one: one.key_ref.kid)))


signs = st.builds(cose.Sign, st.sampled_from(cose.TYPES), st.binary(min_size=1, max_size=100), signatures())


def signed(kind: Any, typ: str, every: st.SearchStrategy[Any], refs: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A signed document of this kind around claims."""

    def document(c: Any, ref: cose.KeyRef, signature: bytes, eddsa: bool) -> Any:
        alg = cose.EDDSA if eddsa and not isinstance(ref, cose.Kid) else cose.ES256
        return kind(cose.Sign1(typ, ref, c.encode(), signature, alg), c)

    return st.builds(document, every, refs, byte64, st.booleans())


one_time_keys = st.builds(OneTimeKey, st.integers(0, 63), byte32, st.lists(byte32, max_size=6).map(tuple))
publications = st.builds(Publication, st.binary(min_size=1, max_size=100), st.lists(byte32, max_size=8).map(tuple))
offers = st.builds(Offer, st.binary(min_size=1, max_size=100), st.none() | one_time_keys)


@st.composite
def grant_claims(draw: st.DrawFn) -> GrantClaims:
    not_before, expires = draw(periods)
    devices = st.builds(str, names("device")) | st.builds(every_device, domains)
    scope = st.builds(
        Scope,
        st.from_regex(r"[a-z0-9][a-z0-9._/-]{0,9}", fullmatch=True),
        st.from_regex(r"[a-z0-9][a-z0-9._-]{0,9}", fullmatch=True),
    )
    return GrantClaims(
        issuer=draw(domains),
        holder=draw(names()),
        audience=tuple(draw(st.lists(devices, min_size=1, max_size=3, unique=True))),
        expires=expires,
        not_before=not_before,
        issued=draw(seconds),
        grant_id=draw(byte16),
        holder_x=draw(byte32),
        holder_y=draw(st.none() | byte32),
        scopes=tuple(draw(st.lists(scope, min_size=1, max_size=4, unique=True))),
    )


consent_claims = st.builds(
    lambda device, gateway, period: ConsentClaims(device, gateway, device.mailbox, *period),
    names("device"),
    names("gateway"),
    periods,
)
points = st.builds(lambda first, x: bytes([first]) + x, st.sampled_from([2, 3]), byte32)
authorities = st.lists(st.builds(Authority, points, seconds), max_size=3, unique_by=lambda one: one.point).map(tuple)


@st.composite
def root_claims(draw: st.DrawFn) -> RootClaims:
    issued, expires = draw(periods)
    owner_keys = tuple(draw(st.lists(points, min_size=1, max_size=4, unique=True)))
    return RootClaims(
        domain=draw(domains),
        domain_id=draw(byte16),
        number=draw(st.integers(1, UINT32)),
        issued=issued,
        expires=expires,
        owner_keys=owner_keys,
        threshold=draw(st.integers(1, len(owner_keys))),
        issuing_cas=tuple(draw(st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=3, unique=True))),
        grant_keys=draw(authorities),
        revocation_keys=draw(authorities),
        status_keys=draw(authorities),
    )


signed_roots = st.builds(
    lambda claims, signers: SignedRoot(cose.Sign(cose.TYP_ROOT, claims.encode(), signers), claims),
    root_claims(),
    signatures(),
)

label_texts = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=16)
mud_urls = st.from_regex(r"https://[A-Za-z0-9][!-~]{0,20}", fullmatch=True)
serial_numbers = st.from_regex(r"[A-Z0-9](?:[A-Z0-9.-]{0,6}[A-Z0-9])?", fullmatch=True)


@st.composite
def manifest_claims(draw: st.DrawFn) -> ManifestClaims:
    number = draw(st.integers(1, UINT32))
    serials = sorted(draw(st.lists(serial_numbers, min_size=1, max_size=4, unique=True)))
    return ManifestClaims(
        manufacturer=draw(label_texts),
        number=number,
        previous=None if number == 1 else draw(byte32),
        model=draw(label_texts),
        mud_url=draw(st.none() | mud_urls),
        issued=draw(seconds),
        devices=tuple(MadeDevice(serial, draw(byte32)) for serial in serials),
    )


opaque = st.binary(min_size=1, max_size=60)
x5chains = st.builds(cose.X5chain, st.lists(opaque, min_size=1, max_size=3).map(tuple))
sequences = st.integers(0, (1 << 63) - 1)
verdict_rows = st.tuples(st.integers(100, 599), texts(100))
acknowledged = st.tuples(mailboxes, st.lists(sequences, min_size=1, max_size=4, unique=True).map(tuple))


def rows(row: st.SearchStrategy[Any], least: int = 0, **options: Any) -> st.SearchStrategy[tuple[Any, ...]]:
    """A tuple of a few such rows."""
    return st.lists(row, min_size=least, max_size=4, **options).map(tuple)


@dataclass(frozen=True)
class Codec:
    """One type of wire: valid values and its two functions."""

    name: str
    values: st.SearchStrategy[Any]
    decode: Callable[[bytes], Any]

    def __repr__(self) -> str:
        return self.name


def codec(kind: Any, values: st.SearchStrategy[Any]) -> Codec:
    """The codec of a type that has encode() and decode()."""
    return Codec(kind.__name__, values, kind.decode)


CODECS = [
    codec(Envelope, envelopes()),
    codec(Message, messages),
    codec(Receipt, receipts()),
    codec(Freshness, freshness),
    codec(FirstIdentity, first_identities),
    codec(FileKey, file_keys),
    codec(cose.Sign1, sign1s),
    codec(cose.Sign, signs),
    codec(BundleClaims, bundle_claims()),
    codec(SignedBundle, signed(SignedBundle, cose.TYP_BUNDLE, bundle_claims(), certificate_refs)),
    codec(Publication, publications),
    codec(Offer, offers),
    codec(GrantClaims, grant_claims()),
    codec(SignedGrant, signed(SignedGrant, cose.TYP_GRANT, grant_claims(), kid_refs)),
    codec(ConsentClaims, consent_claims),
    codec(SignedConsent, signed(SignedConsent, cose.TYP_CONSENT, consent_claims, st.builds(cose.X5t, byte32))),
    codec(ManifestClaims, manifest_claims()),
    codec(SignedManifest, signed(SignedManifest, cose.TYP_MANIFEST, manifest_claims(), x5chains)),
    codec(RootClaims, root_claims()),
    codec(SignedRoot, signed_roots),
    codec(Deposits, st.builds(Deposits, rows(st.tuples(mailboxes, opaque), 1))),
    codec(Verdicts, st.builds(Verdicts, rows(verdict_rows))),
    codec(Handed, st.builds(Handed, rows(st.tuples(sequences, st.booleans(), opaque)))),
    codec(Collected, st.builds(Collected, rows(st.tuples(mailboxes, sequences, opaque)))),
    codec(Acknowledgement, st.builds(Acknowledgement, rows(acknowledged, 1, unique_by=lambda row: row[0]))),
    codec(
        CollectRequest,
        st.builds(CollectRequest, rows(mailboxes, 1, unique=True), st.integers(0, 60), st.integers(1, 100)),
    ),
    codec(CertChain, st.builds(CertChain, chains)),
    codec(Introduction, introductions()),
    codec(Preface, prefaces()),
]

# Any value of CBOR that the deterministic encoder takes: what a hostile but well-formed document is made of.
cbor_leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 64), (1 << 64) - 1)
    | st.integers(-3, 40)
    | st.binary(max_size=40)
    | texts(20)
)
cbor_keys = st.integers(-70000, 70000) | st.integers(-4, 14) | st.binary(max_size=4) | texts(6)
cbor_values = st.recursive(
    cbor_leaves,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(cbor_keys, inner, max_size=6),
    max_leaves=12,
)

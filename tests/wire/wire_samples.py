# SPDX-License-Identifier: Apache-2.0
"""One full and one sparse value of every type of ``sealway.wire``, the same on every run."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from sealway.wire import cose
from sealway.wire.address import MailboxAddress, Name
from sealway.wire.bundle import BundleClaims, Offer, OneTimeKey, Publication, SignedBundle
from sealway.wire.carriage import Acknowledgement, CertChain, Collected, CollectRequest, Deposits, Handed, Verdicts
from sealway.wire.compact import to_compact
from sealway.wire.consent import ConsentClaims, SignedConsent
from sealway.wire.envelope import Envelope
from sealway.wire.grant import GrantClaims, Scope, SignedGrant, every_device
from sealway.wire.header import Claims, Opener, StartHeader
from sealway.wire.manifest import MadeDevice, ManifestClaims, SignedManifest
from sealway.wire.message import FileKey, FirstIdentity, Freshness, Message, Receipt
from sealway.wire.root_document import Authority, RootClaims, SignedRoot
from sealway.wire.sealed_file import Introduction, Preface


def filled(length: int, first: int = 0) -> bytes:
    """Return ``length`` bytes that count up from ``first``."""
    return bytes((first + place) % 256 for place in range(length))


METER = Name("building.example", "device", "meter-1")
GATEWAY = Name("building.example", "gateway", "cellar")
OFFICE = Name("building.example", "application", "office")
BEGIN, END = 1_764_000_000, 1_764_086_400
X5T = cose.X5t(filled(32, 1))
KID = cose.Kid(filled(8, 2))
SIGNATURE = filled(64, 3)

STEADY = Envelope(b"\x07", 300, filled(40))
FULL = Envelope(
    b"\x07\x08\x09",
    70_000,
    filled(60),
    30,
    Claims("readings", "urgent", END),
    StartHeader(filled(32, 1), filled(32, 2), b"\x05", filled(32, 3), 17),
    Opener(69_000, reseed=(2, filled(16))),
)
QUANTUM = [
    Envelope(
        b"\x07" * 4,
        0,
        filled(60),
        start=StartHeader(filled(32), filled(32, 2), b"\x05", filled(32, 3), index, filled(1088)),
    )
    for index in (None, 63)
]
STEPPED = Envelope(b"\x07", 9, filled(40), opener=Opener(9, filled(32), 7, (1, filled(16))))
FIRST_OF_EPOCH = Envelope(b"\x07", 9, filled(40), 24, Claims(topic="t"), opener=Opener(8, filled(32), 8))

RECEIPT = Receipt(900, b"abcd", ((3, 3), (10, 700)), ((5, 8),))
READING = Message(0x02, ("readings",), payload=b"42.7 L", sent_at=1_764_000_000_123)
FULL_MESSAGE = Message(
    0x02,
    ("valve", "ä"),
    ("now", "x=1"),
    60,
    b"close",
    1_764_000_000_123,
    filled(8),
    3600,
    RECEIPT,
    Freshness(5, b"wxyz", 30),
    FirstIdentity(filled(32), 4),
    SIGNATURE,
    filled(32, 9),
    b"\x05\x06",
    ((0, 0), (2, 300)),
    b"not a real grant",
    FileKey(65_536, filled(32, 10)),
    filled(32, 11),
)

BUNDLE_CLAIMS = BundleClaims(
    bundle_id=filled(4),
    name=METER,
    mailbox=MailboxAddress("https://hub.example:8443", METER.mailbox),
    sequence=7,
    suites=(1, 2),
    agreement_key=filled(32, 4),
    signed_prekey=filled(32, 5),
    issued=BEGIN,
    expires=END,
    one_time_root=filled(32, 6),
    one_time_count=64,
)
BUNDLE = SignedBundle(cose.Sign1(cose.TYP_BUNDLE, X5T, BUNDLE_CLAIMS.encode(), SIGNATURE), BUNDLE_CLAIMS)
CHAINED_BUNDLE = SignedBundle(
    cose.Sign1(cose.TYP_BUNDLE, cose.X5chain((b"leaf", b"ca")), BUNDLE_CLAIMS.encode(), SIGNATURE), BUNDLE_CLAIMS
)
THIRD_CLAIMS = replace(BUNDLE_CLAIMS, suites=(3,))
THIRD_BUNDLE = SignedBundle(
    cose.Sign1(cose.TYP_BUNDLE, X5T, THIRD_CLAIMS.encode(), SIGNATURE, cose.EDDSA), THIRD_CLAIMS
)
GRANT_CLAIMS = GrantClaims(
    issuer="building.example",
    holder=OFFICE,
    audience=(str(METER), every_device("building.example")),
    expires=END,
    not_before=BEGIN,
    issued=BEGIN,
    grant_id=filled(16),
    holder_x=filled(32, 7),
    holder_y=filled(32, 8),
    scopes=(Scope("valve", "write"), Scope("readings/inside", "read")),
)
GRANT = SignedGrant(cose.Sign1(cose.TYP_GRANT, KID, GRANT_CLAIMS.encode(), SIGNATURE), GRANT_CLAIMS)
CONSENT_CLAIMS = ConsentClaims(METER, GATEWAY, METER.mailbox, BEGIN, END)
CONSENT = SignedConsent(cose.Sign1(cose.TYP_CONSENT, X5T, CONSENT_CLAIMS.encode(), SIGNATURE), CONSENT_CLAIMS)
ROOT_CLAIMS = RootClaims(
    domain="building.example",
    domain_id=filled(16),
    number=2,
    issued=BEGIN,
    expires=END,
    owner_keys=(b"\x02" + filled(32), b"\x03" + filled(32)),
    threshold=1,
    issuing_cas=(b"certificate",),
    grant_keys=(Authority(b"\x02" + filled(32, 1), END),),
    revocation_keys=(Authority(b"\x02" + filled(32, 2), END),),
    status_keys=(),
)
ROOT = SignedRoot(
    cose.Sign(
        cose.TYP_ROOT,
        ROOT_CLAIMS.encode(),
        (cose.SignerSignature(KID, SIGNATURE), cose.SignerSignature(cose.Kid(filled(8, 3)), SIGNATURE)),
    ),
    ROOT_CLAIMS,
)
MANIFEST_CLAIMS = ManifestClaims(
    manufacturer="Acme Meters",
    number=2,
    previous=filled(32, 9),
    model="Water meter WM-20",
    mud_url="https://acme.example/mud/wm-20.json",
    issued=BEGIN,
    devices=(MadeDevice("SW-000001", filled(32, 1)), MadeDevice("SW-000002", filled(32, 2))),
)
FIRST_MANIFEST = replace(MANIFEST_CLAIMS, number=1, previous=None, mud_url=None)
MANIFEST = SignedManifest(
    cose.Sign1(cose.TYP_MANIFEST, cose.X5chain((b"issuing",)), MANIFEST_CLAIMS.encode(), SIGNATURE), MANIFEST_CLAIMS
)
BOX = METER.mailbox

INTRODUCTION = Introduction(BUNDLE.encode(), (b"leaf", b"ca"))
START_OF_FILE = Envelope(
    b"\x07\x08\x09\x0a",
    0,
    filled(60),
    start=StartHeader(
        hashlib.sha256(INTRODUCTION.bundle).digest(), hashlib.sha256(b"leaf").digest(), b"\x05", filled(32, 3), None
    ),
)
PREFACES = [Preface(STEADY), Preface(START_OF_FILE, INTRODUCTION)]

# The name of each rule in spec/sealway.cddl, and values that it must describe.
SAMPLES: dict[str, list[Any]] = {
    "envelope": [STEADY, FULL, STEPPED, FIRST_OF_EPOCH, *QUANTUM],
    "receipt": [RECEIPT, Receipt(0, b"abcd"), Receipt(9, b"abcd", (), ((1, 2),))],
    "freshness": [Freshness(70_000, b"wxyz", 30)],
    "first-identity": [FirstIdentity(filled(32), 4)],
    "file-key": [FileKey(1 << 10, filled(32)), FileKey(1 << 20, filled(32))],
    "introduction": [INTRODUCTION],
    "bundle": [BUNDLE_CLAIMS],
    "signed-bundle": [BUNDLE, CHAINED_BUNDLE, THIRD_BUNDLE],
    "publication": [Publication(BUNDLE.encode(), (filled(32), filled(32, 1))), Publication(b"b")],
    "offer": [Offer(BUNDLE.encode(), OneTimeKey(63, filled(32), (filled(32), filled(32)))), Offer(b"b")],
    "grant": [GRANT_CLAIMS, replace(GRANT_CLAIMS, holder_y=None)],
    "signed-grant": [GRANT],
    "consent": [CONSENT_CLAIMS],
    "signed-consent": [CONSENT],
    "manifest": [MANIFEST_CLAIMS, FIRST_MANIFEST],
    "signed-manifest": [MANIFEST],
    "root-document": [ROOT_CLAIMS],
    "signed-root": [ROOT],
    "deposits": [Deposits(((BOX, STEADY.encode()), (BOX, b"\x00")))],
    "verdicts": [Verdicts(((201, ""), (413, "too large"))), Verdicts(())],
    "handed": [Handed(((0, False, STEADY.encode()), (1 << 62, True, to_compact(STEADY)))), Handed(())],
    "collected": [Collected(((BOX, 0, STEADY.encode()), (BOX, 1 << 62, b"\x00"))), Collected(())],
    "acknowledgement": [Acknowledgement(((BOX, (1, 3, 2)), (GATEWAY.mailbox, (0,))))],
    "collect-request": [CollectRequest((BOX, GATEWAY.mailbox), 60, 10)],
    "cert-chain": [CertChain((b"leaf", b"ca"))],
}
MESSAGES = [READING, FULL_MESSAGE, Message(0x00), Message(0x44, newest_session=b"")]
SIGNED_FORMS = [cose.Sign1(cose.TYP_GRANT, cose.X5chain((b"leaf",)), b"p", SIGNATURE), ROOT.sign]
EVERY_SAMPLE = [*(value for values in SAMPLES.values() for value in values), *MESSAGES, *SIGNED_FORMS, *PREFACES]

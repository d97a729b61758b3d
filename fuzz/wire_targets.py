# SPDX-License-Identifier: Apache-2.0
"""The decoders of ``sealway.wire``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final

from fuzz.mutating import mutate_bytes, mutate_cbor
from fuzz.target import MALFORMED, Check, Target, demand, refused, strict
from sealway.errors import Malformed, SealwayError, TooLarge
from sealway.hub.steady import deposits_in, expiry_of
from sealway.protocol.sealed_file import ChunkOpener, ChunkSealer
from sealway.wire import cbor, cose
from sealway.wire.address import MailboxAddress, Name, check_hub
from sealway.wire.bundle import BundleClaims, Offer, Publication, SignedBundle
from sealway.wire.carriage import Acknowledgement, CertChain, Collected, CollectRequest, Deposits, Handed, Verdicts
from sealway.wire.compact import from_compact, is_compactable, to_compact
from sealway.wire.consent import ConsentClaims, SignedConsent
from sealway.wire.envelope import MAX_ENVELOPE_BYTES, Envelope
from sealway.wire.grant import GrantClaims, Scope, SignedGrant
from sealway.wire.inspect import describe
from sealway.wire.manifest import ManifestClaims, SignedManifest
from sealway.wire.message import FileKey, FirstIdentity, Freshness, Message, Receipt
from sealway.wire.message_parts import decode_void, encode_void
from sealway.wire.options import decode_options
from sealway.wire.root_document import RootClaims, SignedRoot
from sealway.wire.sealed_file import COMMITMENT_BYTES, MAX_INTRODUCTION_BYTES, Cursor, Introduction, Preface, item
from sealway.wire.sealed_file import next_item as next_item_of
from tests.wire import wire_samples as samples

VECTORS: Final = Path(__file__).resolve().parent.parent / "vectors"
_KEPT_OPTIONS: Final = frozenset({11, 12, 15, 65000, 65002})
_FILE_KEY: Final = FileKey(1024, samples.filled(32, 10))
_FILE_CONTENT: Final = samples.filled(1500)


def vectors(name: str, field: str) -> list[bytes]:
    """Return this field of all cases of a file of test vectors that have it."""
    cases = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))["cases"]
    return [bytes.fromhex(case[field]) for case in cases if case.get(field)]


def sealed_in_vectors(name: str) -> list[bytes]:
    """Return the envelopes of all events in a file of test vectors."""
    cases = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))["cases"]
    return [bytes.fromhex(event["envelope"]) for case in cases for event in case["events"] if "envelope" in event]


# one decoder, several questions --------------------------------------------------------------------------------------
def check_envelope(data: bytes) -> None:
    """All who read envelopes agree about it, and its compact form leads back to it."""
    strict(Envelope.decode)(data)
    read = _tried(Envelope.decode, data)
    expiry = _tried(expiry_of, data)
    if not isinstance(read, Envelope):
        demand(type(expiry) is type(read), "the hub and the decoder differ about an envelope")
        return
    demand(expiry == (read.claims and read.claims.expires), "the hub reads another expiry")
    demand(len(json.dumps(describe(data))) <= 4 * len(data) + 1024, "a description far longer than the envelope")
    demand(data.endswith(read.ciphertext) and read.protected in data, "something is not covered by the seal")
    if is_compactable(read):
        demand(from_compact(to_compact(read)) == read, "the compact form is of another envelope")


def check_compact(data: bytes) -> None:
    """A compact form has one envelope, and this one compact form."""
    strict(from_compact, to_compact)(data)
    read = _tried(from_compact, data)
    if isinstance(read, Envelope):
        demand(Envelope.decode(read.encode()) == read, "the compact form has another envelope")


def check_message(data: bytes) -> None:
    """As for all others, but elective options that this version does not know are left out (RFC 7252 §5.4.1)."""
    try:
        message = Message.decode(data)
    except MALFORMED as error:
        refused(error)
        return
    again = message.having().encode()  # a copy: the message itself may keep what it was read from
    demand(Message.decode(again) == message, "a message changes when it is encoded and read")
    if again != data:
        numbers = [number for number, _ in decode_options(data, 1)[0]]
        left_out = sum(number % 2 == 0 and number not in _KEPT_OPTIONS for number in numbers)
        demand(left_out > 0, "what was accepted encodes to other bytes")
        # An option has a byte at least; without it, the next one's delta may be two bytes longer (RFC 7252 §3.1).
        demand(len(again) <= len(data) + left_out, "a message that grows when it is encoded")


def check_parts(data: bytes) -> None:
    """The options of a message that have a structure of their own; the first byte chooses."""
    decoders: list[Check] = [
        *(strict(kind.decode) for kind in (Receipt, Freshness, FirstIdentity, FileKey)),
        strict(decode_void, encode_void),
    ]
    decoders[data[0] % len(decoders) if data else 0](data[1:])


def check_cbor(data: bytes) -> None:
    """Deterministic CBOR, within its limits."""
    strict(partial(cbor.decode, limit=4096), cbor.encode)(data)
    strict(partial(cbor.decode, limit=4096, depth=2), cbor.encode)(data)


def check_deposits(data: bytes) -> None:
    """The hub's short way and the decoder agree about a batch."""
    strict(Deposits.decode)(data)
    slow, fast = _tried(lambda body: Deposits.decode(body).items, data), _tried(deposits_in, data)
    same = type(slow) is type(fast) if isinstance(slow, SealwayError) else slow == fast
    demand(same, "the hub and the decoder differ about a batch")


def check_sealed_file(data: bytes) -> None:
    """A file is read in bounded pieces, and gives out what was sealed and nothing else."""
    asked: list[int] = []
    cursor = Cursor(data)

    def read(count: int) -> bytes:
        asked.append(count)
        return cursor.read(count)

    content = b""
    try:
        preface = Preface.read(read)
        demand(data.startswith(preface.encode()), "a preface encodes to other bytes")
        content = _content_of(preface, read)
    except SealwayError as error:
        refused(error)
    demand(
        max(asked, default=0) <= max(MAX_INTRODUCTION_BYTES, MAX_ENVELOPE_BYTES),
        "more was asked for than an item may have",
    )
    demand(content in (b"", _FILE_CONTENT), "content that was not sealed")


def _content_of(preface: Preface, read: Callable[[int], bytes]) -> bytes:
    opener = ChunkOpener(_FILE_KEY, preface, next_item_of(read, COMMITMENT_BYTES, "the commitment") or b"")
    content = b""
    chunk = next_item_of(read, opener.longest, "a chunk")
    while chunk is not None:
        following = next_item_of(read, opener.longest, "a chunk")
        content += opener.open(chunk, last=following is None)
        chunk = following
    return content


def check_names(data: bytes) -> None:
    """Texts that name: each is accepted as it is, or not at all."""
    text = data.decode("utf-8", "surrogateescape")
    for parse in (Name.parse, MailboxAddress.parse, check_hub, Scope.parse):
        try:
            demand(str(parse(text)) == text, "a name that is written otherwise")
        except MALFORMED as error:
            refused(error)


def _tried(function: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return function(data)
    except (Malformed, TooLarge) as error:
        return error


# seeds ---------------------------------------------------------------------------------------------------------------
def _encoded(*kinds: Any) -> Callable[[], Iterable[bytes]]:
    return lambda: [sample.encode() for sample in samples.EVERY_SAMPLE if isinstance(sample, kinds)]


def _envelopes() -> list[bytes]:
    found = [*vectors("envelope", "envelope"), *vectors("start", "envelope"), *sealed_in_vectors("chains")[:12]]
    return [*_encoded(Envelope)(), *found]


def _parts() -> Iterable[bytes]:
    for choice, kind in enumerate((Receipt, Freshness, FirstIdentity, FileKey)):
        yield from (bytes((choice,)) + encoded for encoded in _encoded(kind)())
    yield b"\x04" + encode_void(((0, 0), (2, 300)))


def _files() -> Iterable[bytes]:
    for preface in samples.PREFACES:
        sealer = ChunkSealer(_FILE_KEY, preface)
        chunks = (sealer.seal(_FILE_CONTENT[:1024], last=False), sealer.seal(_FILE_CONTENT[1024:], last=True))
        yield preface.encode() + b"".join(map(item, (sealer.commitment, *chunks)))


def _names() -> list[bytes]:
    hub = "https://[2001:db8::7]:8443"
    texts = (samples.METER, samples.OFFICE, samples.BUNDLE_CLAIMS.mailbox, hub, f"{hub}/v1/mailboxes/{samples.BOX}")
    return [str(text).encode() for text in (*texts, "valve:write", "readings/inside:read")]


def _cbor() -> list[bytes]:
    values: list[Any] = [{1: [b"x", "y", None, True], -1: {2: 1 << 63}}, [[[[1]]]], -(1 << 64), {"a": 1, b"a": 2}]
    return [cbor.encode(value) for value in values]


def _of(name: str, *kinds: Any, longest: int = 2048) -> Target:
    """The target of types whose ``decode`` is strict; of several, all get the same bytes."""
    checks = [strict(kind.decode) for kind in kinds]

    def check(data: bytes) -> None:
        for one in checks:
            one(data)

    return Target(name, check, _encoded(*kinds), longest, mutate_cbor)


WIRE: Final = (
    Target("envelope", check_envelope, _envelopes, 2048, mutate_cbor),
    Target("compact", check_compact, lambda: vectors("envelope", "compact"), 512, mutate_bytes),
    Target(
        "message", check_message, lambda: [*_encoded(Message)(), *vectors("message", "message")], 2048, mutate_bytes
    ),
    Target("message-parts", check_parts, _parts, 512, lambda data, random: data[:1] + mutate_cbor(data[1:], random)),
    Target("cbor", check_cbor, _cbor, 512, mutate_cbor),
    _of("cose", cose.Sign1, cose.Sign),
    _of("bundle", BundleClaims, SignedBundle),
    _of("publication", Publication),
    _of("offer", Offer),
    _of("root-document", RootClaims, SignedRoot),
    _of("grant", GrantClaims, SignedGrant),
    _of("consent", ConsentClaims, SignedConsent),
    _of("manifest", ManifestClaims, SignedManifest),
    Target("deposits", check_deposits, _encoded(Deposits), 2048, mutate_cbor),
    _of("carriage", Verdicts, Collected, Handed, Acknowledgement, CollectRequest, CertChain, Introduction),
    Target("sealed-file", check_sealed_file, _files, 4096, mutate_bytes),
    Target("names", check_names, _names, 400, mutate_bytes),
)

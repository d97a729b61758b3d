# SPDX-License-Identifier: Apache-2.0
"""Beginning a session with one message to a peer that may be asleep: X3DH over the peer's signed bundle, and ML-KEM.

Invariants: an initiator agrees only with a bundle that was proven to be the peer's; a responder creates a session only
after its first envelope has opened and the initiator's signature over the transcript has verified; both ends derive
from the whole transcript, so neither can be led to think of another peer, bundle, suite, ML-KEM ciphertext or domain;
an end whose policy requires ML-KEM neither sends nor accepts a start without. spec/session.md.
X3DH: Signal's specification, revision 1, §3; PQXDH: revision 3, §3, with a last-resort ML-KEM-768 prekey only.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from sealway.crypto.kem import Decapsulator, Encapsulated, Encapsulator
from sealway.crypto.ports import Agreer, Random, Signer
from sealway.crypto.secret import Secret
from sealway.crypto.suites import Suite, suite_of_alg
from sealway.errors import LocalMisuse, Malformed, NoCommonSuite, NotAuthentic, NotPostQuantum, NotTrusted
from sealway.identity.bundles import ProvenBundle
from sealway.protocol import schedule
from sealway.protocol.allowance import Allowance
from sealway.protocol.chains import Chain, Epoch
from sealway.protocol.outcome import Opened
from sealway.protocol.policy import Policy, PostQuantum
from sealway.protocol.receiving import Receiving
from sealway.protocol.sending import Sending, SendingEpoch
from sealway.protocol.sentlog import SentLog
from sealway.protocol.session import Session, Start
from sealway.wire import cbor
from sealway.wire.envelope import Envelope
from sealway.wire.header import StartHeader

_TRANSCRIPT = "sealway start 1"
_SIGNATURE = b"sealway start signature 1\x00"


@dataclass(frozen=True, slots=True)
class OneTimeSecret:
    """The private half of a one-time key: its index in the bundle, and the scalar."""

    index: int
    scalar: Secret


@dataclass(frozen=True, slots=True)
class OwnKeys:
    """What this end brings to a start.

    Args:
        bundle: this end's own bundle, proven like anybody's.
        agreer: the bundle's agreement key.
        domain: the domain's id, 16 bytes.
    """

    bundle: ProvenBundle
    agreer: Agreer
    domain: bytes


def start(
    me: OwnKeys, peer: ProvenBundle, signer: Signer, *, receive_kid: bytes, newest: bytes, now_ms: int,
    random: Random, policy: Policy, forked: bytes | None = None, encapsulate: Encapsulator | None = None,
) -> Session:  # fmt: skip
    """Begin a session as its initiator; the first message sealed with it carries the start.

    Args:
        peer: the peer's bundle, with a one-time key if there was one.
        signer: the key of this end's certificate.
        receive_kid: the identifier by which this end will find the session.
        newest: hash of the newest session known with this peer, or empty.
        forked: hash of the newest session in which this peer was found to be forked, or None.
        encapsulate: for a peer with an ML-KEM key, unless the policy is off.

    Raises:
        NoCommonSuite: the peer takes part in no suite that this end does.
        NotPostQuantum: the policy requires ML-KEM, and the peer has no key for it.
        LocalMisuse: the peer is this end itself, or ``encapsulate`` is missing.
    """
    suite = common_suite(me.bundle, peer)
    if me.bundle.credential.name == peer.credential.name:
        raise LocalMisuse("an endpoint cannot begin a session with itself")
    sent = _encapsulated(peer, policy, encapsulate)
    scalar = suite.curve.draw(random)
    ephemeral = suite.curve.agreer(scalar)
    one_time = peer.one_time
    index = one_time.index if one_time is not None else None
    ciphertext = sent.ciphertext if sent is not None else None
    header = StartHeader(me.bundle.hash, me.bundle.credential.x5t, receive_kid, ephemeral.public, index, ciphertext)
    digest = transcript_hash(me.domain, suite, me.bundle, peer, header, one_time.key if one_time is not None else None)
    # X3DH §3.3: DH1 = (IK_A, SPK_B), DH2 = (EK_A, IK_B), DH3 = (EK_A, SPK_B), DH4 = (EK_A, OPK_B)
    agreements = [
        me.agreer.agree(peer.claims.signed_prekey),
        ephemeral.agree(peer.claims.agreement_key),
        ephemeral.agree(peer.claims.signed_prekey),
    ]
    if one_time is not None:
        agreements.append(ephemeral.agree(one_time.key))
    if sent is not None:
        agreements.append(sent.shared)  # PQXDH §3.3: SS behind the agreements
    keys = schedule.start_keys(b"".join(a.reveal() for a in agreements), digest)
    # The ephemeral key is the first x: the start is epoch 0's opener with S = 0, and its sender has stepped.
    epoch = SendingEpoch(header.ephemeral, scalar, 0, keys.reseed_root, keys.chain, 0)
    return Session(
        suite, digest, str(peer.credential.name), True, keys.root, False, b"", receive_kid, peer.claims.bundle_id,
        now_ms, Sending(epoch), Receiving(), SentLog(), Start(header, signer.sign(_SIGNATURE + digest), newest, forked),
        stepped_ms=now_ms, heard_ms=now_ms, policy=policy,
    )  # fmt: skip


def accept(
    envelope: Envelope, me: OwnKeys, initiator: ProvenBundle, *, signed_prekey: Secret, one_time: OneTimeSecret | None,
    receive_kid: bytes, now_ms: int, policy: Policy, allowance: Allowance | None = None,
    ml_kem: Decapsulator | None = None,
) -> tuple[Session, Opened]:  # fmt: skip
    """Accept a start as its responder and open the envelope that carries it.

    The caller commits in one transaction: the one-time key deleted, the session created, the transcript recorded.

    Args:
        initiator: the bundle that the header names by hash, proven; it carries its credential.
        signed_prekey: the private half of the signed prekey of ``me.bundle``, which the envelope's kid names.
        one_time: the private half that the header names by index, or None if it names none.
        allowance: what pays for opening it; None: one of its own.
        ml_kem: the private half of the ML-KEM key of ``me.bundle``, None if that has none.

    Raises:
        NotAuthentic: it does not open, or the signature is not the initiator's.
        NotTrusted: the header names another certificate or bundle than the one proven.
        NotPostQuantum: the policy requires ML-KEM, and the start is without.
        Malformed: no start header, or an ML-KEM part for a bundle without a key.
    """
    header = _matching_header(envelope, me, initiator, one_time)
    suite = _matching_suite(envelope, me.bundle, initiator)
    shared = _decapsulated(header, policy, ml_kem)
    prekey = suite.curve.agreer(signed_prekey)
    once = suite.curve.agreer(one_time.scalar) if one_time is not None else None
    digest = transcript_hash(me.domain, suite, initiator, me.bundle, header, once.public if once is not None else None)
    agreements = [
        prekey.agree(initiator.claims.agreement_key),
        me.agreer.agree(header.ephemeral),
        prekey.agree(header.ephemeral),
    ]
    if once is not None:
        agreements.append(once.agree(header.ephemeral))
    if shared is not None:
        agreements.append(shared)
    keys = schedule.start_keys(b"".join(a.reveal() for a in agreements), digest)
    epoch = Epoch(header.ephemeral, 0, keys.reseed_root, chains=[Chain(0, 0, b"", 0, keys.chain)])
    session = Session(
        suite, digest, str(initiator.credential.name), False, keys.root, True, header.ephemeral, receive_kid,
        header.receive_kid, now_ms, Sending(), Receiving([epoch]), SentLog(), announce_kid=True, stepped_ms=now_ms,
        policy=policy, allowance=allowance or Allowance(),
    )  # fmt: skip
    opened = session.open(envelope, now_ms=now_ms)
    _check_signature(opened, digest, initiator)
    return session, opened


def _check_signature(opened: Opened, digest: bytes, initiator: ProvenBundle) -> None:
    """The signature closes key-compromise impersonation and unknown key share: the agreements alone do not."""
    if opened.defect is not None:
        raise opened.defect
    if opened.message is None or opened.message.start_signature is None:
        raise Malformed("a start without the initiator's signature")
    initiator.credential.key.verify(_SIGNATURE + digest, opened.message.start_signature)


def transcript_hash(
    domain: bytes, suite: Suite, initiator: ProvenBundle, responder: ProvenBundle, header: StartHeader,
    one_time: bytes | None,
) -> bytes:  # fmt: skip
    """Return the session hash: SHA-256 over all that both ends must agree on. Number and opener are not part of it."""
    return hashlib.sha256(
        cbor.encode(
            [
                _TRANSCRIPT,
                domain,
                suite.number,
                [str(initiator.credential.name), initiator.credential.x5t, initiator.hash],
                [str(responder.credential.name), responder.credential.x5t, responder.hash],
                header.receive_kid,
                header.ephemeral,
                header.one_time,
                one_time,
                header.ml_kem,
            ]
        )
    ).digest()


def _encapsulated(peer: ProvenBundle, policy: Policy, encapsulate: Encapsulator | None) -> Encapsulated | None:
    """Return the ML-KEM part of a start to ``peer``, None if there is none; the key comes from its signed bundle."""
    key = peer.claims.ml_kem
    if key is None and policy.post_quantum is PostQuantum.REQUIRED:
        hint = "let the other end publish one, or do not require it here"
        raise NotPostQuantum(f"{peer.credential.name} publishes no ML-KEM key, and this end requires one", hint=hint)
    if key is None or policy.post_quantum is PostQuantum.OFF:
        return None
    if encapsulate is None:
        raise LocalMisuse("a start with an ML-KEM part needs what encapsulates")
    return encapsulate(key)


def _decapsulated(header: StartHeader, policy: Policy, key: Decapsulator | None) -> Secret | None:
    if header.ml_kem is None:
        if policy.post_quantum is PostQuantum.REQUIRED:
            raise NotPostQuantum("a start without an ML-KEM part, which this end requires")
        return None
    if key is None:
        raise Malformed("a start with an ML-KEM part to a bundle without such a key")
    return key.decapsulate(header.ml_kem)


def common_suite(mine: ProvenBundle, peer: ProvenBundle) -> Suite:
    """Return the suite of a session that this end begins: of those that the peer lists the first that this end lists.

    Raises NoCommonSuite. Both ends' long-lived keys enter the agreements, so both have to be on the same curve.
    """
    for suite in peer.suites:
        if suite in mine.suites:
            return suite
    theirs, own = (" and ".join(map(str, bundle.claims.suites)) for bundle in (peer, mine))
    raise NoCommonSuite(
        f"{peer.credential.name} takes part in suite {theirs}, and this endpoint in suite {own}",
        hint="both ends need keys on the same curve: set one of them up anew with the other's suite",
    )


def _matching_header(
    envelope: Envelope, me: OwnKeys, initiator: ProvenBundle, one_time: OneTimeSecret | None
) -> StartHeader:
    header = envelope.start
    if header is None:
        raise Malformed("not a start")
    if header.bundle_hash != initiator.hash or header.x5t != initiator.credential.x5t:
        raise NotTrusted("the start names another bundle or certificate than the one at hand")
    if initiator.credential.name == me.bundle.credential.name:
        raise NotAuthentic("a start from this very endpoint")
    if header.one_time != (one_time.index if one_time is not None else None):
        raise LocalMisuse("the start names another one-time key than the one at hand")
    return header


def _matching_suite(envelope: Envelope, mine: ProvenBundle, initiator: ProvenBundle) -> Suite:
    """Return the suite that the envelope's alg says, if both bundles list it: only then are the keys of its curve."""
    suite = suite_of_alg(envelope.alg)
    if suite not in mine.suites or suite not in initiator.suites:
        raise NotAuthentic(f"a start of suite {suite.number}, which is not a suite of both ends")
    return suite

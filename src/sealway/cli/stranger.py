# SPDX-License-Identifier: Apache-2.0
"""A certified stranger: a member of the domain with keys of its own, which seals starts to somebody for others to send.

Each start is genuine. What bounds it is what the other end makes of it; that is to be seen.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sealway.cli.messages import emit
from sealway.home.carriers import next_hop
from sealway.home.home import Enrolled
from sealway.identity.bundles import ProvenBundle, sign_bundle, verify_bundle, verify_offer
from sealway.identity.credentials import Credential, verify_chain
from sealway.protocol.policy import DEFAULT_POLICY
from sealway.protocol.prekeys import BUNDLE_ID_LENGTH, bundle_claims, make_prekeys
from sealway.protocol.sentlog import Uptime
from sealway.protocol.start import OwnKeys, start
from sealway.sdk.encapsulating import encapsulate
from sealway.sdk.member import Member
from sealway.storage.files import usable, write_file
from sealway.transports.ports import Carrier
from sealway.wire.address import Name
from sealway.wire.bundle import Offer, Publication, SignedBundle
from sealway.wire.cose import X5t
from sealway.wire.message import CODE_EMPTY, Message

OLDER: Final = "older.bundle"
EXPIRED: Final = "expired.bundle"
STARTS: Final = "starts"

_KID_BYTES: Final = 8
_ONE_TIME_KEYS: Final = 8
_DAY_S: Final = 86_400
_LIFE_S: Final = 30 * _DAY_S


@dataclass(frozen=True, slots=True)
class Recording:
    """How many starts to whom, how many of them with a one-time key, and the directory that they go into."""

    to: Name
    out: Path
    starts: int
    one_time: int = 0

    def folder(self) -> Path:
        """Make the directory of the starts and return it. Raises LocalMisuse."""
        folder = self.out / STARTS
        with usable(folder, "the directory"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder


async def record(enrolled: Enrolled, recording: Recording) -> None:
    """Publish a bundle, write down an older and an expired one, and seal the starts, a file each.

    Raises:
        TransportFailed, NotTrusted, PeerMisbehaved: there is no session to be begun.
        LocalMisuse: a file cannot be written.
    """
    carrier, folder = next_hop(enrolled), recording.folder()
    try:
        stranger = Stranger(Member.of(enrolled), carrier)
        own = await stranger.publish(recording.out)
        peer = await stranger.credential_of(recording.to)
        for number in range(recording.starts):
            bundle = await stranger.bundle_of(recording.to, peer, claim=number < recording.one_time)
            write_file(folder / f"{number:04}.envelope", stranger.start(own, bundle), "a start")
        emit("recorded", starts=recording.starts, to=str(recording.to))
    finally:
        await carrier.close()


class Stranger:
    """One member at work.

    Args:
        carrier: its next hop.
    """

    def __init__(self, member: Member, carrier: Carrier) -> None:
        self._member = member
        self._carrier = carrier

    async def publish(self, out: Path) -> ProvenBundle:
        """Publish certificate and bundle; leave two earlier bundles in a directory. Nobody holds their private keys."""
        now = int(time.time())
        for name, sequence, issued in ((EXPIRED, now - 2, now - _LIFE_S - _DAY_S), (OLDER, now - 1, now - _DAY_S)):
            write_file(out / name, self._bundle(sequence, issued)[0], "a bundle")
        encoded, public = self._bundle(now, now)
        await self._carrier.publish_credential(self._member.credential.chain)
        await self._carrier.publish_bundle(Publication(encoded, public).encode())
        return verify_bundle(encoded, self._member.credential, now)

    def _bundle(self, sequence: int, issued: int) -> tuple[bytes, tuple[bytes, ...]]:
        member = self._member
        claims, public = bundle_claims(
            make_prekeys(os.urandom, member.suite.curve, count=_ONE_TIME_KEYS),
            bundle_id=os.urandom(BUNDLE_ID_LENGTH), name=member.name, mailbox=member.mailbox, sequence=sequence,
            suite=member.suite, agreement_key=member.agreer.public, now_s=issued,
        )  # fmt: skip
        return sign_bundle(claims, member.credential, member.signer), public

    async def credential_of(self, name: Name) -> Credential:
        """Fetch and prove the certificate of whom the sessions are with."""
        bundle = SignedBundle.decode(await self._carrier.newest_bundle(str(name)))
        reference = bundle.sign1.key_ref
        chain = await self._carrier.credential(reference.digest if isinstance(reference, X5t) else b"")
        return verify_chain(chain, self._member.root, int(time.time()), expected_name=name)

    async def bundle_of(self, name: Name, credential: Credential, *, claim: bool) -> ProvenBundle:
        """Fetch and prove a bundle: with a one-time key, or without."""
        now = int(time.time())
        if claim:
            return verify_offer(await self._carrier.claim_bundle(str(name)), credential, now)
        return verify_offer(Offer(await self._carrier.newest_bundle(str(name))).encode(), credential, now)

    def start(self, own: ProvenBundle, peer: ProvenBundle) -> bytes:
        """Begin a session and return its first envelope, which says nothing."""
        member, now_ms = self._member, time.time_ns() // 1_000_000
        session = start(
            OwnKeys(own, member.agreer, member.root.domain_id), peer, member.signer, receive_kid=os.urandom(_KID_BYTES),
            newest=b"", now_ms=now_ms, random=os.urandom, policy=DEFAULT_POLICY, encapsulate=encapsulate,
        )  # fmt: skip
        uptime = Uptime(bytes(16), now_ms)
        return session.seal(Message(CODE_EMPTY), now_ms=now_ms, uptime=uptime, random=os.urandom).envelope

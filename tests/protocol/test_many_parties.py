# SPDX-License-Identifier: Apache-2.0
"""Four parties with real certificates and bundles, and a hub that does what it likes: Hypothesis chooses who begins
sessions with whom, what is delivered, lost, doubled, given to somebody else or sent back, who restarts, and whose state
is copied. Whatever opens was said by the very party that it seems to come from, to this one, and opens once."""

from __future__ import annotations

import random as rng
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from sealway.errors import NotAuthentic, PrekeyGone, SealwayError
from sealway.protocol.outcome import Opened, Sealed
from sealway.protocol.peers import KnownSession, prefer
from sealway.protocol.policy import DEFAULT_POLICY
from sealway.protocol.sentlog import Uptime
from sealway.protocol.session import Session
from sealway.protocol.snapshot import restore, snapshot
from sealway.protocol.start import accept, start
from sealway.wire.envelope import Envelope
from sealway.wire.header import StartHeader
from sealway.wire.message import CODE_POST, Message
from tests.identity.small_domain import SmallDomain, seeded
from tests.protocol.party import NOW_MS, Party
from tests.protocol.session_pair import copy_log
from tests.system.world import KeyWatch

pytestmark = pytest.mark.no_cover  # as in test_session_runs.py

TOWN = SmallDomain()
PARTIES = [Party(TOWN, label) for label in ("alice", "bob", "carol", "dave")]
BY_BUNDLE = {party.bundle.hash: party.bundle for party in PARTIES}
WHO = st.integers(0, len(PARTIES) - 1)
ANY = st.integers(0, 1 << 16)


@dataclass
class Node:
    """A party's endpoint: its sessions by kid, as sdk/sessions.py keeps them."""

    party: Party
    kids: int = 0
    sessions: dict[bytes, Session] = field(default_factory=dict)
    newest: dict[bytes, bytes] = field(default_factory=dict)
    accepted: dict[tuple[bytes, bytes], bytes] = field(default_factory=dict)
    sending: dict[str, bytes] = field(default_factory=dict)
    used: set[int | None] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.party.random = seeded(f"{self.party.label} once more")  # the same in every run

    @property
    def name(self) -> str:
        return str(self.party.credential.name)

    def kid(self) -> bytes:
        self.kids += 1
        return self.kids.to_bytes(2, "big")

    def keep(self, session: Session, newest: bytes) -> Session:
        self.sessions[session.kid_in], self.newest[session.hash] = session, newest
        return session

    def begin(self, peer: Party, index: int | None) -> Session:
        newest = self.newest_with(str(peer.credential.name))
        session = start(
            self.party.own, peer.offer(index), self.party.signer, receive_kid=self.kid(), newest=newest, now_ms=NOW_MS,
            random=self.party.random, policy=DEFAULT_POLICY,
        )  # fmt: skip
        self.sending[session.peer] = session.kid_in
        return self.keep(session, newest)

    def newest_with(self, peer: str) -> bytes:
        kid = self.sending.get(peer)
        return self.sessions[kid].hash if kid is not None else b""

    def seal(self, session: Session, message: Message) -> Sealed:
        return session.seal(message, now_ms=NOW_MS, uptime=Uptime(bytes(16), 0), random=self.party.random)

    def open(self, encoded: bytes) -> tuple[Session, Opened]:
        envelope = Envelope.decode(encoded)
        header = envelope.start
        if header is not None and (header.x5t, header.ephemeral) not in self.accepted:
            return self._accept(envelope, header)
        kid = envelope.kid if header is None else self.accepted[header.x5t, header.ephemeral]
        session = self.sessions.get(kid)
        if session is None:
            raise NotAuthentic("nobody's")
        return session, session.open(envelope, now_ms=NOW_MS)

    def _accept(self, envelope: Envelope, header: StartHeader) -> tuple[Session, Opened]:
        initiator, party = BY_BUNDLE.get(header.bundle_hash), self.party
        if initiator is None or envelope.kid != party.bundle.claims.bundle_id or header.one_time in self.used:
            raise PrekeyGone("not for this party, or not any more")
        session, opened = accept(
            envelope, party.own, initiator, signed_prekey=party.secrets.signed_prekey,
            one_time=party.one_time(header.one_time), receive_kid=self.kid(), now_ms=NOW_MS, policy=DEFAULT_POLICY,
        )  # fmt: skip
        assert opened.message is not None
        self.used |= {header.one_time} - {None}
        self.accepted[header.x5t, header.ephemeral] = session.kid_in
        self._choose(self.keep(session, opened.message.newest_session or b""))
        return session, opened

    def _choose(self, accepted: Session) -> None:
        kid = self.sending.get(accepted.peer)
        current = self.sessions[kid] if kid is not None and self.sessions[kid].stopped is None else None
        chosen = prefer(self._known(current) if current is not None else None, self._known(accepted))
        if chosen == accepted.hash:
            self.sending[accepted.peer] = accepted.kid_in

    def _known(self, session: Session) -> KnownSession:
        return KnownSession(session.hash, self.newest[session.hash], session.start is not None)

    def restart(self) -> None:
        self.sessions = {kid: restored(session) for kid, session in self.sessions.items()}


def restored(session: Session) -> Session:
    """The same, opened anew from its snapshot."""
    return restore(snapshot(session), copy_log(session.log), session.policy)


class ManyParties(RuleBasedStateMachine):
    """Who says what to whom; what opens where."""

    def __init__(self) -> None:
        super().__init__()
        self._patch = pytest.MonkeyPatch()
        KeyWatch().install(self._patch)
        self.nodes = [Node(party) for party in PARTIES]
        self.by_name = {node.name: node for node in self.nodes}
        self.mail: dict[str, list[bytes]] = {node.name: [] for node in self.nodes}
        self.said: dict[bytes, tuple[str, str]] = {}
        self.opened: set[bytes] = set()
        self.served: dict[str, int] = dict.fromkeys(self.mail, 0)
        self.disturbed = False
        self.tally: Counter[str] = Counter()

    # what parties do --------------------------------------------------------------------------------------------
    @rule(who=WHO, whom=WHO, twice=st.booleans())
    def begins(self, who: int, whom: int, twice: bool) -> None:
        """With a one-time key while the hub has some; a hostile one serves a key again."""
        me, peer = self.nodes[who], self.nodes[whom]
        if me is peer:
            return
        at = self.served[peer.name]
        again = twice and at > 0
        self.disturbed |= again
        index = at - 1 if again else at if at < len(peer.party.public) else None
        self.served[peer.name] = at if again else at + 1
        me.begin(peer.party, None if index is not None and index >= len(peer.party.public) else index)
        self.says(who, whom)

    @rule(who=WHO, whom=WHO)
    def says(self, who: int, whom: int) -> None:
        me, peer = self.nodes[who], self.nodes[whom]
        kid = me.sending.get(peer.name)
        if kid is not None and me.sessions[kid].stopped is None:
            self._post(me, me.sessions[kid])

    def _post(self, me: Node, session: Session) -> None:
        payload = b"%d" % len(self.said)
        sealed = me.seal(session, Message(CODE_POST, payload=payload))
        self.said[payload] = me.name, session.peer
        self.mail[session.peer].append(sealed.envelope)

    @rule(who=WHO)
    def acknowledges(self, who: int) -> None:
        me = self.nodes[who]
        for session in me.sessions.values():
            if session.stopped is None and session.receive.highest >= 0:
                sealed = session.seal_receipt(now_ms=NOW_MS, uptime=Uptime(bytes(16), 0), random=me.party.random)
                self.mail[session.peer].append(sealed.envelope)

    @rule(who=WHO)
    def restarts(self, who: int) -> None:
        self.nodes[who].restart()

    @rule(who=WHO, index=ANY)
    def a_copy_speaks(self, who: int, index: int) -> None:
        """A copy of a state directory is used beside it, once."""
        me = self.nodes[who]
        usable = [session for session in me.sessions.values() if session.stopped is None]
        sendable = [session for session in usable if session.initiator or session.receive.highest >= 0]
        if sendable:
            self.disturbed = True
            self._post(me, restored(sendable[index % len(sendable)]))

    # what the hub does ------------------------------------------------------------------------------------------
    @rule(to=WHO, index=ANY, keep=st.booleans())
    def delivers(self, to: int, index: int, keep: bool) -> None:
        me, box = self.nodes[to], self.mail[self.nodes[to].name]
        if box:
            encoded = box[index % len(box)] if keep else box.pop(index % len(box))
            if not self._takes(me, encoded) and not keep:
                box.append(encoded)  # refused: the sender offers it again

    @rule(to=WHO, owner=WHO, index=ANY)
    def delivers_to_somebody_else(self, to: int, owner: int, index: int) -> None:
        me, box = self.nodes[to], self.mail[self.nodes[owner].name]
        if to != owner and box:
            assert not self._takes(me, box[index % len(box)])

    @rule(to=WHO, index=ANY, at=ANY, bit=st.integers(0, 7))
    def alters(self, to: int, index: int, at: int, bit: int) -> None:
        me, box = self.nodes[to], self.mail[self.nodes[to].name]
        if box:
            altered = bytearray(box[index % len(box)])
            altered[at % len(altered)] ^= 1 << bit
            assert not self._takes(me, bytes(altered))

    def _takes(self, me: Node, encoded: bytes) -> bool:
        """Offer an envelope; what opens must have been said, by this peer, to this party, and comes the first time."""
        try:
            session, opened = me.open(encoded)
        except SealwayError as error:
            self.tally[type(error).__name__] += 1
            return False
        assert opened.message is not None
        payload = opened.message.payload
        if payload:
            assert self.said[payload] == (session.peer, me.name)
            assert payload not in self.opened
            self.opened.add(payload)
        self.tally["opened"] += 1
        return True

    def teardown(self) -> None:
        """Unless a key was served twice or a state copied, all that was said arrives in the end."""
        try:
            for _ in range(3):
                for node in self.nodes:
                    box, self.mail[node.name] = self.mail[node.name], []
                    for encoded in box:
                        if not self._takes(node, encoded):
                            self.mail[node.name].append(encoded)
            assert self.disturbed or self.opened == self.said.keys()
        finally:
            self._patch.undo()


TestManyParties = ManyParties.TestCase
TestManyParties.settings = settings(
    max_examples=150, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)


def test_a_long_run_does_a_lot() -> None:
    """What Hypothesis finds in short runs, once in a long one; and the rules above do something."""
    machine, dice = ManyParties(), rng.Random(5)
    try:
        for _ in range(1_500):
            who, whom, index = dice.randrange(4), dice.randrange(4), dice.randrange(1 << 16)
            chance = dice.random()
            if chance < 0.05:
                machine.begins(who, whom, False)
            elif chance < 0.3:
                machine.says(who, whom)
            elif chance < 0.4:
                machine.acknowledges(who)
            elif chance < 0.43:
                machine.restarts(who)
            elif chance < 0.5:
                machine.delivers_to_somebody_else(who, whom, index)
            elif chance < 0.55:
                machine.alters(who, index, dice.randrange(1 << 16), index % 8)
            else:
                machine.delivers(who, index, chance < 0.6)
    finally:
        machine.teardown()
    assert len(machine.opened) > 150 and machine.tally["opened"] > 300
    assert {"Replayed", "NotAuthentic", "PrekeyGone"} <= machine.tally.keys()
    assert sum(len(node.accepted) for node in machine.nodes) > 30


def test_the_checks_can_fail() -> None:
    """The control: a receiver that is restored from a backup opens again what it has opened, and that is noticed."""
    machine = ManyParties()
    try:
        machine.begins(0, 1, False)
        machine.delivers(1, 0, False)
        backup = {kid: restored(session) for kid, session in machine.nodes[1].sessions.items()}
        machine.says(0, 1)
        machine.delivers(1, 0, True)
        machine.nodes[1].sessions = backup
        with pytest.raises(AssertionError):
            machine.delivers(1, 0, True)
    finally:
        machine.disturbed = True
        machine.mail = {name: [] for name in machine.mail}
        machine.teardown()

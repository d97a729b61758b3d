# SPDX-License-Identifier: Apache-2.0
"""A session as a script: what two ends and their copies do in turn, with all randomness, and the verdict of each step.

Nothing is drawn from the system: randomness comes from the script's name, time starts at the same moment.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

from sealway.crypto.keys import SoftSigner
from sealway.crypto.secret import Secret
from sealway.crypto.suites import SUITE_1, Suite
from sealway.errors import GapTooLarge, NotAuthentic, PeerForked, Replayed, SealwayError, StateLost
from sealway.protocol import schedule
from sealway.protocol.chains import Chain, Epoch
from sealway.protocol.events import ForkSuspected
from sealway.protocol.freshness import check_fresh
from sealway.protocol.outcome import Opened
from sealway.protocol.policy import DEFAULT_POLICY
from sealway.protocol.ranges import Range
from sealway.protocol.receiving import Receiving
from sealway.protocol.sending import Sending, SendingEpoch
from sealway.protocol.sentlog import SentLog, Uptime
from sealway.protocol.session import Session, Start
from sealway.protocol.snapshot import restore, snapshot
from sealway.wire.envelope import Envelope, nonce
from sealway.wire.header import StartHeader
from sealway.wire.message import CODE_CHANGED, CODE_EMPTY, CODE_POST, Freshness, Message

BEGIN_MS = 1_764_000_000_000
BOOT = bytes(range(0xB0, 0xC0))
STEP_OR_SALT = {32: "step", 16: "salt"}
"""What a sender draws, by its length."""
VERDICTS = {
    Replayed: "replayed",
    PeerForked: "peer-forked",
    StateLost: "state-lost",
    GapTooLarge: "gap-too-large",
    NotAuthentic: "not-authentic",
}


def verdict(error: SealwayError) -> str:
    """Return how the vectors name a refusal."""
    return next((name for kind, name in VERDICTS.items() if isinstance(error, kind)), type(error).__name__.lower())


def value(seed: str, length: int = 32) -> bytes:
    """Return bytes that are named by a text."""
    return hashlib.shake_256(seed.encode()).digest(length)


@dataclass(frozen=True, slots=True, repr=False)
class _Keys:
    """What a sender's next message key comes from."""

    root: bytes
    peer_x: bytes
    reseed_root: bytes
    chain: bytes

    @classmethod
    def of(cls, session: Session) -> _Keys:
        epoch = session.send.epoch
        return cls(session.root, session.peer_x, epoch.reseed_root if epoch else b"", epoch.chain if epoch else b"")


class Script:
    """Ends "a" (initiator) and "b" (responder), their copies, and what they have done.

    Args:
        name: of the case; all randomness comes from it.
        about: one sentence on what the case shows.
        suite: of the session.
    """

    def __init__(self, name: str, about: str, suite: Suite = SUITE_1) -> None:
        self.suite = suite
        self.name = name
        self.about = about
        self.now_ms = BEGIN_MS
        self.events: list[dict[str, Any]] = []
        self._drawn = 0
        self._draws: list[bytes] = []
        self.ends: dict[str, Session] = {}
        self._start = self._begin()

    def _begin(self) -> dict[str, Any]:
        agreements, digest = value(f"{self.name} agreements", 128), value(f"{self.name} session")
        ephemeral, kid_a, kid_b, bundle_id = (
            Secret(value(f"{self.name} ephemeral")),
            b"\x0a",
            b"\x0b",
            b"\xb3\xb4\xb5\xb6",
        )
        header = StartHeader(value("bundle a"), value("x5t a"), kid_a, self.suite.curve.public(ephemeral), 5)
        signature = SoftSigner(Secret(value("signer a")), self.suite.signature).sign(
            b"sealway start signature 1\x00" + digest
        )
        keys = schedule.start_keys(agreements, digest)
        self.ends["a"] = Session(
            self.suite, digest, "sealway://building.example/application/app", True, keys.root, False, b"", kid_a,
            bundle_id, BEGIN_MS, Sending(SendingEpoch(header.ephemeral, ephemeral, 0, keys.reseed_root, keys.chain, 0)),
            Receiving(), SentLog(), Start(header, signature, b""), stepped_ms=BEGIN_MS, policy=DEFAULT_POLICY,
        )  # fmt: skip
        epoch = Epoch(header.ephemeral, 0, keys.reseed_root, chains=[Chain(0, 0, b"", 0, keys.chain)])
        self.ends["b"] = Session(
            self.suite, digest, "sealway://building.example/device/meter-1", False, keys.root, True, header.ephemeral,
            kid_b, kid_a, BEGIN_MS, Sending(), Receiving([epoch]), SentLog(), announce_kid=True, stepped_ms=BEGIN_MS,
            policy=DEFAULT_POLICY,
        )  # fmt: skip
        return {
            "suite": self.suite.number,
            "agreements": agreements.hex(),
            "session_hash": digest.hex(),
            "ephemeral_private": ephemeral.reveal().hex(),
            "kid_a": kid_a.hex(),
            "kid_b": kid_b.hex(),
            "bundle_id_b": bundle_id.hex(),
            "start_header": {
                "bundle_hash": header.bundle_hash.hex(),
                "x5t": header.x5t.hex(),
                "receive_kid": kid_a.hex(),
                "ephemeral": header.ephemeral.hex(),
                "one_time": 5,
            },
        }

    def case(self) -> dict[str, Any]:
        """Return what goes into the file."""
        return {"name": self.name, "about": self.about, "start": self._start, "events": self.events}

    # acts --------------------------------------------------------------------------------------------------------
    def seal(self, end: str, message: Message | bytes = b"42.7 L", *, step: bool = False) -> bytes:
        """Seal; a step is forced if ``step``. Returns the envelope."""
        if isinstance(message, bytes):
            message = Message(CODE_POST, ("readings",), payload=message)
        session, self._draws = self.ends[end], []
        if step:
            session.since_step = session.policy.step_after_messages
        self.now_ms += 100
        uptime, before = Uptime(BOOT, self.now_ms - BEGIN_MS), _Keys.of(session)
        sealed = session.seal(message, now_ms=self.now_ms, uptime=uptime, random=self._random)
        event = {"end": end, "do": "seal", "number": sealed.number, "at_ms": uptime.ms, "boot": BOOT.hex()}
        event |= {"step": None, "salt": None} | {STEP_OR_SALT[len(drawn)]: drawn.hex() for drawn in self._draws}
        event["plaintext"] = self._plaintext(before, Envelope.decode(sealed.envelope)).hex()
        self.events.append(event | {"envelope": sealed.envelope.hex()})
        return sealed.envelope

    def _plaintext(self, before: _Keys, envelope: Envelope) -> bytes:
        """The message with the options that the session has added: opened with what the sender had before."""
        number = envelope.number
        drawn = {STEP_OR_SALT[len(value)]: value for value in self._draws}
        if "step" in drawn:
            curve, scalar = self.suite.curve, Secret(drawn["step"])
            x, agreed = curve.public(scalar), curve.agree(scalar, before.peer_x)
            chain = schedule.step_keys(before.root, agreed.reveal(), x, number).chain
        elif "salt" in drawn:
            chain = schedule.reseed_chain(before.reseed_root, drawn["salt"], number)
        else:
            chain = before.chain
        key, base_iv = schedule.split(schedule.advance(chain)[0], self.suite)
        return self.suite.aead(key).decrypt(nonce(base_iv, number), envelope.ciphertext, envelope.aad)

    def lose(self, end: str, count: int, payload: bytes = b"lost") -> None:
        """Seal the same message ``count`` times; none of them ever arrives."""
        session, message = self.ends[end], Message(CODE_POST, payload=payload)
        session.policy = replace(session.policy, step_after_messages=1 << 30, ack_every=1 << 30)  # nothing but these
        for _ in range(count):
            sealed = session.seal(message, now_ms=self.now_ms, uptime=Uptime(BOOT, 0), random=self._random)
        last = Envelope.decode(sealed.envelope)
        self.events.append({"end": end, "do": "lose", "count": count, "plaintext": message.encode().hex()})
        if last.opener is not None or len(last.ciphertext) != len(message.encode()) + self.suite.tag_length:
            raise LookupError("only plain messages in the steady state can be lost in bulk")

    def judge(
        self, end: str, reference: Freshness, *, later_ms: int = 0, boot: bytes = BOOT, cap_ms: int = 300_000
    ) -> str:
        """Say whether a command with this reference is fresh at the device ``end``, some time from now."""
        now = Uptime(boot, self.now_ms - BEGIN_MS + later_ms)
        try:
            check_fresh(reference, self.ends[end].log, now, cap_ms=cap_ms)
            judged = "fresh"
        except SealwayError as refusal:
            judged = verdict(refusal)
        told = [reference.number, reference.tag.hex(), reference.max_age]
        event = {"end": end, "do": "judge", "reference": told, "boot": boot.hex(), "at_ms": now.ms, "cap_ms": cap_ms}
        self.events.append(event | {"verdict": judged})
        return judged

    def _random(self, length: int) -> bytes:
        self._drawn += 1
        self._draws.append(value(f"{self.name} random {self._drawn}", length))
        return self._draws[-1]

    def open(self, end: str, envelope: bytes, *, note: str = "") -> str:
        """Open; return the verdict, "opened" or a refusal."""
        session, self.now_ms = self.ends[end], self.now_ms + 10
        event: dict[str, Any] = {"end": end, "do": "open", "envelope": envelope.hex()} | (
            {"note": note} if note else {}
        )
        try:
            opened = session.open(Envelope.decode(envelope), now_ms=self.now_ms)
        except SealwayError as refusal:
            event["verdict"] = verdict(refusal)
        else:
            event |= {"verdict": "opened", "number": opened.number} | _news(opened)
        if any(isinstance(happened, ForkSuspected) for happened in session.look(self.now_ms)):
            event["suspected"] = True
        self.events.append(event)
        return str(event["verdict"])

    def answer(self, end: str, envelope: bytes, payload: bytes = b"noted") -> bytes:
        """Open, and seal a response."""
        self.open(end, envelope)
        return self.seal(end, Message(CODE_CHANGED, payload=payload, request_id=bytes(8)))

    def receipt(self, end: str) -> bytes:
        """Seal a bare receipt."""
        return self.seal(end, Message(CODE_EMPTY))

    def restart(self, end: str) -> None:
        """Open the end's state anew."""
        session = self.ends[end]
        self.ends[end] = restore(snapshot(session), session.log, session.policy)
        self.events.append({"end": end, "do": "restart"})

    def copy(self, end: str, name: str) -> None:
        """Copy the end's state directory and open the copy: another end with that name."""
        session = self.ends[end]
        log = SentLog(dict(session.log._records).items())
        self.ends[name] = restore(snapshot(session), log, session.policy)
        self.events.append({"end": end, "do": "copy", "as": name})

    def settle(self) -> None:
        """Bring both ends to the steady state: no openers in either direction."""
        self.open("a", self.answer("b", self.seal("a")))
        self.open("b", self.receipt("a"))
        self.open("a", self.receipt("b"))


def _news(opened: Opened) -> dict[str, Any]:
    if opened.defect is not None:
        return {"defective": True}
    assert opened.message is not None  # noqa: S101 - a defect or a message
    event: dict[str, Any] = {}
    news = opened.acknowledgement
    if news is not None:
        event |= {"covered": _pairs(news.covered), "again": _pairs(news.missing), "moved": _pairs(news.gone)}
    return event


def _pairs(ranges: tuple[Range, ...]) -> list[list[int]]:
    return [list(pair) for pair in ranges]

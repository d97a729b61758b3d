# SPDX-License-Identifier: Apache-2.0
"""A device and a commissioner in memory; what is durable is in a MemoryArbiter, which outlives the Joiner."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sealway.crypto.keys import VerifyingKey
from sealway.crypto.secret import Secret
from sealway.crypto.spake2plus import Parameters, ProverKey, ScryptCost, VerifierRecord, derive
from sealway.errors import NotTrusted
from sealway.identity.enrolment import EnrolmentClaims, sign_enrolment, verify_enrolment
from sealway.identity.issuing import issue_certificate, make_csr, verify_csr
from sealway.identity.root import recall_root
from sealway.joining.channel import Resumption
from sealway.joining.commissioner import Applicant, Birth, Commissioner, Wanted
from sealway.joining.device import Born, Joiner, Moment
from sealway.joining.messages import Done
from sealway.joining.ownership import Ownership, Pending, State, Window
from sealway.protocol.sentlog import Uptime
from sealway.wire.address import Name
from tests.identity.small_domain import NOW, SmallDomain, name, seeded, signer

CODE = b"4719382556"
SERIAL = "TH-000001"
PARAMETERS = Parameters(bytes(range(16)), ScryptCost(2**14))
KEYS = {code: derive(code, PARAMETERS) for code in (CODE, b"4719382557")}
BOOT = bytes(16)
BIRTH_KEY = signer("idevid")
DOMAINS = {"one": SmallDomain(), "other": SmallDomain("other.example")}


def stretch(password: bytes, parameters: Parameters) -> ProverKey:
    """Keys of a code, without the work."""
    return KEYS[password]


@dataclass(frozen=True)
class SmallBirth:
    """What these tests' manufacturer vouches for: any chain that begins with a serial number's bytes."""

    serial: str
    key: VerifyingKey


def prove(chain: Sequence[bytes]) -> Birth:
    """Trust the small manufacturer's devices."""
    if not chain[0].startswith(b"born:"):
        raise NotTrusted("not made by the small manufacturer")
    return SmallBirth(chain[0].removeprefix(b"born:").decode(), BIRTH_KEY.public)


@dataclass
class MemoryArbiter:
    """What is durable at the device; ``log`` has each step in its order."""

    record: Ownership
    held: tuple[bytes, bytes] | None = None
    keys: int = 0
    asked: tuple[bytes, Name] | None = None
    log: list[str] = field(default_factory=list)
    networks: Mapping[str, bytes] = field(default_factory=dict)

    def state(self, now: int) -> State:
        return self.record.state(None if self.held is None else self.held[1], now)

    def verifier(self) -> VerifierRecord | None:
        return self.record.verifier

    def pending(self, now: int) -> Pending | None:
        return self.record.pending_at(now)

    def attempts_left(self, at: Uptime) -> int | None:
        return self.record.attempts_left(at)

    def count_attempt(self) -> None:
        self.log.append("counted")
        self.record = self.record.with_attempt()

    def confirm(self, pending: Pending) -> None:
        self.log.append("confirmed")
        self.record = self.record.with_pending(pending)

    def request(self, wanted: Name, suite: int) -> bytes:
        assert self.record.pending is not None
        if self.asked != (self.record.pending.root, wanted):
            self.keys, self.asked = self.keys + 1, (self.record.pending.root, wanted)
        return make_csr(signer(f"ldevid {self.keys}"), wanted)

    def enrolment(self) -> tuple[bytes, bytes] | None:
        return self.held

    def own(self, enrolment: bytes, networks: Mapping[str, bytes], root: bytes) -> None:
        document = next(d.root_document for d in DOMAINS.values() if hashlib.sha256(d.root_document).digest() == root)
        verify_enrolment(enrolment, recall_root(document, root), NOW, member=signer(f"ldevid {self.keys}").public)
        self.log.append("owned")
        self.held, self.networks = (root, hashlib.sha256(enrolment).digest()), networks
        self.record = replace(self.record, verifier=None, window=None)


def arbiter(*, attempts: int = 0) -> MemoryArbiter:
    """A device fresh from the factory, with a pairing window that opened at 0."""
    window = Window(Uptime(BOOT, 0), attempts)
    return MemoryArbiter(Ownership(verifier=KEYS[CODE].record(PARAMETERS), window=window))


def moment(ms: int = 1000, now: int = NOW) -> Moment:
    """When something comes, in milliseconds of the boot clock."""
    return Moment(now, Uptime(BOOT, ms))


def joiner(durable: MemoryArbiter, seed: str = "device", serial: str = SERIAL) -> Joiner:
    """The device's process, which may be killed and started again on the same ``durable``."""
    chain = (b"born:" + serial.encode(),)
    return Joiner(Born(SERIAL, chain, BIRTH_KEY), durable, seeded(seed))


def commissioner(
    seed: str = "owner", code: bytes = CODE, domain: str = "one", serial: str | None = None, suite: int = 1
) -> Commissioner:
    """The owner's side of one exchange."""
    owner = DOMAINS[domain]
    wanted = Wanted(owner.root_document, lambda found: name(found.lower(), domain=owner.root.domain), suite, serial)
    return Commissioner(Secret(code), wanted, prove, seeded(seed), stretch)


def enrolment_for(applicant: Applicant, domain: str = "one") -> bytes:
    """What the owner gives."""
    owner = DOMAINS[domain]
    verify_csr(applicant.csr)
    chain = issue_certificate(
        applicant.csr, expected_name=applicant.name, ca_chain=[owner.ca_der], ca_signer=owner.ca, now=NOW, days=30,
        random=seeded(applicant.serial),
    )  # fmt: skip
    claims = EnrolmentClaims(root_document=owner.root_document, chain=chain, hub="https://hub.example", issued=NOW)
    return sign_enrolment(claims, owner.granter)


def introduced(owner: Commissioner, device: Joiner, at: Moment | None = None) -> Applicant | Done:
    """Play as far as the device's proof."""
    when = at or moment()
    share = owner.take_offer(device.answer(owner.hello(), when))
    confirm = owner.take_answer(device.answer(share, when))
    return owner.take_proof(device.answer(confirm, when))


def joined(owner: Commissioner, device: Joiner, domain: str = "one") -> bytes:
    """Play all of it, and return the enrolment that the device took."""
    applicant = introduced(owner, device)
    assert isinstance(applicant, Applicant)
    enrolment = enrolment_for(applicant, domain)
    owner.take_done(device.answer(owner.provision(enrolment, {"wifi": b"secret"}), moment()))
    return enrolment


def gone_on_with(
    resumption: Resumption, device: Joiner, seed: str = "again", domain: str = "one"
) -> tuple[Commissioner, Applicant | Done]:
    """Resume as far as the device's proof, or its last word."""
    owner = commissioner(seed, domain=domain)
    begin = owner.take_offer(device.answer(owner.hello(resumption), moment()))
    return owner, owner.take_proof(device.answer(begin, moment()))

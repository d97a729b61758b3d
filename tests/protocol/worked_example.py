# SPDX-License-Identifier: Apache-2.0
"""The worked example of spec/session.md; ``python -m tests.protocol.worked_example`` prints its values.

Scalars are SHA-256 of their names; 32 bytes each stand for the hashes of bundles and certificates.
"""

from __future__ import annotations

import hashlib
import hmac

from sealway.crypto.keys import SoftSigner, agree, public_x
from sealway.crypto.secret import Secret
from sealway.crypto.suites import SUITE_1
from sealway.protocol import schedule
from sealway.protocol.chains import Chain, Epoch
from sealway.protocol.policy import DEFAULT_POLICY
from sealway.protocol.receiving import Receiving
from sealway.protocol.sending import Sending, SendingEpoch
from sealway.protocol.sentlog import SentLog, Uptime
from sealway.protocol.session import Session, Start
from sealway.protocol.snapshot import restore, snapshot
from sealway.wire import cbor
from sealway.wire.envelope import Envelope
from sealway.wire.header import StartHeader
from sealway.wire.message import CODE_CONTENT, CODE_POST, Message

NOW_MS = 1_764_000_000_000
NAMES = ("sealway://building.example/device/meter-1", "sealway://building.example/application/app")
X5TS = (b"\xa1" * 32, b"\xb1" * 32)
BUNDLES = (b"\xa2" * 32, b"\xb2" * 32)
BUNDLE_ID = bytes.fromhex("b3b4b5b6")


def scalar(name: str) -> Secret:
    """The private key that has this name."""
    return Secret(hashlib.sha256(name.encode()).digest())


def fixed(*values: bytes) -> object:
    """A source of randomness that gives these values in turn."""
    left = list(values)

    def random(length: int) -> bytes:
        value = left.pop(0)
        assert len(value) == length
        return value

    return random


def values() -> dict[str, bytes]:
    """Every value of the example, by the name under which the page shows it."""
    shown: dict[str, bytes] = {}
    secrets = {
        name: scalar(name)
        for name in ("agreement-a", "agreement-b", "prekey-b", "one-time-b", "ephemeral-a", "step-b", "signer-a")
    }
    shown |= {f"x {name}": public_x(secret) for name, secret in secrets.items() if name != "signer-a"}
    x = shown["x ephemeral-a"]
    transcript = cbor.encode(
        [
            "sealway start 1", bytes(range(16)), 1, [NAMES[0], X5TS[0], BUNDLES[0]], [NAMES[1], X5TS[1], BUNDLES[1]],
            b"\x0a", x, 5, shown["x one-time-b"], None,
        ]
    )  # fmt: skip
    session_hash = hashlib.sha256(transcript).digest()
    agreements = [
        agree(secrets["agreement-a"], shown["x prekey-b"]),
        agree(secrets["ephemeral-a"], shown["x agreement-b"]),
        agree(secrets["ephemeral-a"], shown["x prekey-b"]),
        agree(secrets["ephemeral-a"], shown["x one-time-b"]),
    ]
    keys = schedule.start_keys(b"".join(each.reveal() for each in agreements), session_hash)
    shown |= {"transcript": transcript, "session-hash": session_hash}
    shown |= {f"dh{i}": each.reveal() for i, each in enumerate(agreements, 1)}
    shown |= {"root": keys.root, "reseed-root": keys.reseed_root, "chain": keys.chain}
    signature = SoftSigner(secrets["signer-a"]).sign(b"sealway start signature 1\x00" + session_hash)
    shown["signature"] = signature
    secret, _ = schedule.advance(keys.chain)
    shown["message-key"], shown["base-iv"] = schedule.split(secret, SUITE_1)

    header = StartHeader(BUNDLES[0], X5TS[0], b"\x0a", x, 5)
    a = Session(
        SUITE_1, session_hash, NAMES[1], True, keys.root, False, b"", b"\x0a", BUNDLE_ID, NOW_MS,
        Sending(SendingEpoch(x, secrets["ephemeral-a"], 0, keys.reseed_root, keys.chain, 0)), Receiving(), SentLog(),
        Start(header, signature, b""), stepped_ms=NOW_MS, policy=DEFAULT_POLICY,
    )  # fmt: skip
    epoch = Epoch(x, 0, keys.reseed_root, chains=[Chain(0, 0, b"", 0, keys.chain)])
    b = Session(
        SUITE_1, session_hash, NAMES[0], False, keys.root, True, x, b"\x0b", b"\x0a", NOW_MS, Sending(),
        Receiving([epoch]), SentLog(), announce_kid=True, stepped_ms=NOW_MS, policy=DEFAULT_POLICY,
    )  # fmt: skip
    uptime = Uptime(bytes(16), 0)

    def seal(end: Session, message: Message, *random: bytes) -> bytes:
        sealed = end.seal(message, now_ms=NOW_MS, uptime=uptime, random=fixed(*random))  # type: ignore[arg-type]
        return sealed.envelope

    reading = Message(CODE_POST, ("readings",), payload=b"42.7 L")
    shown["envelope-0"] = seal(a, reading)
    b.open(Envelope.decode(shown["envelope-0"]), now_ms=NOW_MS)
    step = secrets["step-b"].reveal()
    shown["reply"] = seal(b, Message(CODE_CONTENT, payload=b"noted"), step)
    stepped = schedule.step_keys(keys.root, agree(secrets["step-b"], x).reveal(), shown["x step-b"], 0)
    shown |= {"root-1": stepped.root, "reseed-root-1": stepped.reseed_root, "chain-1": stepped.chain}
    shown["dh-step"] = agree(secrets["step-b"], x).reveal()
    a.open(Envelope.decode(shown["reply"]), now_ms=NOW_MS)
    shown["envelope-1"] = seal(a, reading)
    a = restore(snapshot(a), a.log, DEFAULT_POLICY)  # a restart
    salt = bytes(range(0x50, 0x60))
    shown["envelope-2"] = seal(a, reading, salt)
    shown["chain-2"] = hmac.digest(keys.reseed_root, b"seed" + salt + bytes(3) + b"\x02", "sha256")
    b.open(Envelope.decode(shown["envelope-1"]), now_ms=NOW_MS)
    b.open(Envelope.decode(shown["envelope-2"]), now_ms=NOW_MS)
    shown["receipt"] = seal(b, Message(0))
    a.open(Envelope.decode(shown["receipt"]), now_ms=NOW_MS)
    shown["envelope-3"] = seal(a, reading)
    return shown


if __name__ == "__main__":
    for name, value in values().items():
        lines = [value.hex()[i : i + 96] for i in range(0, 2 * len(value), 96)]
        print(f"```hex {name}", *lines, "```", sep="\n")

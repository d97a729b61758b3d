# SPDX-License-Identifier: Apache-2.0
"""spec/session.md says what the code does: its example, its table of bounds, its formulas."""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from sealway.crypto.suites import SUITE_1
from sealway.protocol.policy import DAY_MS, DEFAULT_POLICY, HOUR_MS
from sealway.protocol.prekeys import ONE_TIME_KEYS
from sealway.protocol.start import transcript_hash
from sealway.wire.envelope import Envelope
from sealway.wire.message import Message
from tests.protocol.worked_example import BUNDLES, NAMES, X5TS, values

PAGE = (Path(__file__).parents[2] / "spec" / "session.md").read_text()
VALUES = {name.replace(" ", "-"): value for name, value in values().items()}
BLOCKS = re.findall(r"^```hex ([\w-]+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SHOWN = {name: bytes.fromhex(text.replace("\n", "")) for name, text in BLOCKS}


def test_the_page_shows_every_value_of_the_example_and_no_other() -> None:
    assert SHOWN.keys() == VALUES.keys()


@pytest.mark.parametrize("name", VALUES)
def test_the_values_of_the_worked_example_are_real(name: str) -> None:
    assert SHOWN[name].hex() == VALUES[name].hex()


def mac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()


def expand(prk: bytes, info: bytes) -> list[bytes]:
    """RFC 5869 §2.3, 96 bytes as three of 32."""
    one = mac(prk, info + b"\x01")
    two = mac(prk, one + info + b"\x02")
    return [one, two, mac(prk, two + info + b"\x03")]


def opened(name: str, chain: bytes, steps: int) -> Message:
    """Open an envelope of the page with a chain key of the page, by the page's formulas alone."""
    for _ in range(steps):
        chain = mac(chain, b"\x02")
    secret = mac(chain, b"\x01")
    envelope = Envelope.decode(SHOWN[name])
    nonce = (int.from_bytes(secret[16:29]) ^ envelope.number).to_bytes(13)
    return Message.decode(AESCCM(secret[:16], tag_length=8).decrypt(nonce, envelope.ciphertext, envelope.aad))


def test_the_key_schedule_of_the_page_gives_the_examples_keys() -> None:
    ikm = b"\xff" * 32 + b"".join(SHOWN[f"dh{i}"] for i in range(1, 5))
    start = expand(mac(bytes(32), ikm), b"sealway start" + SHOWN["session-hash"])
    assert start == [SHOWN["root"], SHOWN["reseed-root"], SHOWN["chain"]]
    step = expand(mac(SHOWN["root"], SHOWN["dh-step"]), b"sealway step" + SHOWN["x-step-b"] + bytes(4))
    assert step == [SHOWN["root-1"], SHOWN["reseed-root-1"], SHOWN["chain-1"]]
    salt = bytes(range(0x50, 0x60))
    assert mac(SHOWN["reseed-root"], b"seed" + salt + b"\x00\x00\x00\x02") == SHOWN["chain-2"]


def test_the_envelopes_of_the_page_open_with_its_chains() -> None:
    first = opened("envelope-0", SHOWN["chain"], 0)
    assert (first.payload, first.start_signature) == (b"42.7 L", SHOWN["signature"])
    reply = opened("reply", SHOWN["chain-1"], 0)
    assert (reply.payload, reply.receive_kid) == (b"noted", b"\x0b")
    assert reply.receipt is not None
    assert opened("envelope-1", SHOWN["chain"], 1).receipt is not None
    assert opened("envelope-2", SHOWN["chain-2"], 0).payload == b"42.7 L"
    receipt = opened("receipt", SHOWN["chain-1"], 1)
    assert receipt.code == 0
    assert receipt.receipt is not None
    assert receipt.receipt.number == 2
    last = opened("envelope-3", SHOWN["chain-2"], 1)
    assert Envelope.decode(SHOWN["envelope-3"]).opener is None
    sizes = re.search(r"(\d+) bytes of message, (\d+) bytes around it", PAGE)
    assert sizes is not None
    assert [int(size) for size in sizes.groups()] == [len(last.encode()), len(SHOWN["envelope-3"]) - len(last.encode())]


def test_the_session_hash_of_the_page_is_that_of_the_code() -> None:
    ends: list[Any] = [
        SimpleNamespace(credential=SimpleNamespace(name=name, x5t=x5t), hash=bundle)
        for name, x5t, bundle in zip(NAMES, X5TS, BUNDLES, strict=True)
    ]
    header = Envelope.decode(SHOWN["envelope-0"]).start
    assert header is not None
    digest = transcript_hash(bytes(range(16)), SUITE_1, ends[0], ends[1], header, SHOWN["x-one-time-b"])
    assert digest == SHOWN["session-hash"] == hashlib.sha256(SHOWN["transcript"]).digest()


UNITS = {"s": 1_000, "h": HOUR_MS, "d": DAY_MS}
P = DEFAULT_POLICY
BOUNDS = {
    "skipped": P.skipped, "walk": P.walk, "window": P.window, "gaps": P.gap_ranges, "void": P.void_ranges,
    "chains": P.chains, "epochs": P.epochs, "failed-opens": P.failed_opens, "refill": P.failed_walk_refill_per_ms,
    "step-messages": P.step_after_messages, "step-time": P.step_after_ms, "T-ack": P.ack_delay_ms, "ack-soon":
    P.ack_soon_ms, "ack-messages": P.ack_every, "ack-time": P.ack_after_ms, "T-missing": P.missing_after_ms,
    "unacknowledged-after": P.unacknowledged_after_ms, "held-for": P.held_for_ms, "references": P.freshness_references,
    "skipped-in-all": P.skipped_in_all, "walk-in-all": P.walk_in_all, "refill-in-all": P.refill_in_all_per_ms,
}  # fmt: skip


def test_the_table_of_bounds_is_the_policy() -> None:
    table = PAGE.split("## Bounds and times")[1].split("## ")[0]
    rows = re.findall(r"^\| ([\w-]+) \| ([\d ]+?)( [shd])? \|", table, re.M)
    told = {name: int(value.replace(" ", "")) * UNITS.get(unit.strip(), 1) for name, value, unit in rows}
    assert told == BOUNDS


def test_the_prekeys_of_the_page_are_those_of_the_code() -> None:
    days, schedule = 24 * HOUR_MS, P.rotation
    said = (
        f"{ONE_TIME_KEYS} one-time keys, valid for {schedule.bundle_life_ms // days} days",
        f"{schedule.bundle_after_ms // days} days old or fewer than {schedule.few_one_time} of its one-time keys",
        f"after {schedule.agreement_after_ms // days} days",
        f"{schedule.session_after_ms // days} days old",
        "2^20 messages",
        f"{schedule.session_least_ms // days} day old",
    )
    for words in said:
        assert words in PAGE
    assert f"at most {DEFAULT_POLICY.fork_events_per_hour} an hour" in PAGE

# SPDX-License-Identifier: Apache-2.0
"""One of each message of joining, and the variants that its optional fields allow."""

from __future__ import annotations

from sealway.crypto.spake2plus import Parameters, Reply
from sealway.joining.messages import (
    Abort,
    Answer,
    Begin,
    Confirm,
    Done,
    Hello,
    Inner,
    Offer,
    Outer,
    Proof,
    Provision,
    Refusal,
    Sealed,
    Share,
    Why,
)
from tests.identity.small_domain import name

NONCE = bytes(range(16))
OUTER: list[Outer] = [
    Hello(NONCE),
    Hello(NONCE, bytes(8)),
    Offer(NONCE, "TH-000001", 20, Parameters(bytes(16))),
    Offer(NONCE, "TH-000001", 0),
    Share(NONCE, bytes(65)),
    Answer(Reply(bytes(65), bytes(32)), 19),
    Confirm(NONCE, bytes(32), b"sealed"),
    Sealed(NONCE, b"sealed"),
    Abort(NONCE),
    *(Refusal(why, 3) for why in Why),
]
INNER: list[Inner] = [
    Begin(b"root", name("meter"), 1),
    Proof(b"csr", (b"leaf", b"issuer"), bytes(64)),
    Provision(b"enrolment", {"wifi": b"secret", "thread": b"data set"}),
    Provision(b"enrolment"),
    Done(bytes(32)),
]

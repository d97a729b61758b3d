# SPDX-License-Identifier: Apache-2.0
"""CCM with a nonce of 13 bytes seals at most 65 535 bytes: more is refused with its right name, by both ends."""

from __future__ import annotations

import random as rng

import pytest

from sealway.crypto.suites import LONGEST_MESSAGE, SUITE_1
from sealway.errors import TooLarge
from sealway.wire.envelope import Envelope
from tests.protocol.session_pair import START_MS, ends, pair

LONGEST = 65_535


def test_the_longest_message() -> None:
    assert LONGEST_MESSAGE == LONGEST


def test_a_longer_message_is_not_sealed_and_takes_no_number() -> None:
    initiator, _ = ends()
    number = initiator.session.send.next_number
    with pytest.raises(TooLarge):
        initiator.seal(bytes(LONGEST))
    assert initiator.session.send.next_number == number


@pytest.mark.parametrize("length", [LONGEST + SUITE_1.tag_length + 1, 200_000])
def test_a_longer_ciphertext_is_not_tried(length: int) -> None:
    _, responder = pair(rng.Random(1).randbytes)
    with pytest.raises(TooLarge):
        responder.open(Envelope(b"B", 0, bytes(length)), now_ms=START_MS)
    assert responder.failed_opens == 0

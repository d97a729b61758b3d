# SPDX-License-Identifier: Apache-2.0
"""Freshness of commands: spec/session.md, "Freshness"."""

from __future__ import annotations

import pytest

from sealway.errors import Stale
from sealway.protocol.freshness import check_fresh
from sealway.protocol.sentlog import SentLog, SentRecord, Uptime
from sealway.wire.message import Freshness
from tests.protocol.session_pair import BOOT, talking

LOG = SentLog([(7, SentRecord(b"tagg", Uptime(BOOT, 10_000), 0))])
CAP_MS = 60_000


def at(ms: int) -> Uptime:
    return Uptime(BOOT, ms)


def test_a_command_that_names_a_recent_message_is_fresh() -> None:
    assert check_fresh(Freshness(7, b"tagg", 30), LOG, at(40_000), cap_ms=CAP_MS) == 30_000


@pytest.mark.parametrize(
    ("freshness", "now", "cap_ms", "why"),
    [
        (None, at(10_000), CAP_MS, "names no message"),
        (Freshness(8, b"tagg", 30), at(10_000), CAP_MS, "not remembered"),
        (Freshness(7, b"TAGG", 30), at(10_000), CAP_MS, "not remembered"),
        (Freshness(7, b"tagg", 30), Uptime(b"other boot" + bytes(6), 10_000), CAP_MS, "reboot"),
        (Freshness(7, b"tagg", 30), at(40_001), CAP_MS, "older"),
        (Freshness(7, b"tagg", 3_000), at(70_001), CAP_MS, "older"),  # the scope's cap is lower
        (Freshness(7, b"tagg", 30), at(9_999), CAP_MS, "older"),  # the boot clock never goes back
    ],
)
def test_everything_else_is_stale(freshness: Freshness | None, now: Uptime, cap_ms: int, why: str) -> None:
    with pytest.raises(Stale, match=why):
        check_fresh(freshness, LOG, now, cap_ms=cap_ms)


def test_the_reference_is_the_newest_message_opened_and_the_device_knows_it() -> None:
    device, application = talking()
    sealed = device.seal()
    application.open(sealed)
    reference = application.session.reference(60)
    assert reference == Freshness(sealed.number, sealed.tag, 60)
    device.now_ms += 5_000
    assert check_fresh(reference, device.session.log, device.uptime, cap_ms=CAP_MS) == 5_000


def test_there_is_no_reference_before_the_first_message() -> None:
    device, _ = talking()
    device.session.receive.marks.clear()
    assert device.session.reference(60) is None

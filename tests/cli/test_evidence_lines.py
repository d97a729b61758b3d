# SPDX-License-Identifier: Apache-2.0
"""The lines that tell of refusals and reports: which, and how many."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from sealway.cli.evidence import A_SECOND, BURST, Witness
from sealway.cli.questions import Question
from sealway.cli.serving import NOTHING, Disclosed
from sealway.cli.timing import AS_SPECIFIED, Timing
from sealway.errors import LocalMisuse, Replayed
from sealway.protocol.events import Missing, Silent
from sealway.protocol.policy import DEFAULT_POLICY


def witnessed(clock: list[float]) -> Any:
    endpoint: Any = SimpleNamespace(on_refused=None, on_event=None)
    Witness(endpoint, lambda: clock[0])
    return endpoint


def test_a_refusal_and_a_report_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    endpoint = witnessed([0.0])
    endpoint.on_refused("00" * 8, Replayed("opened before"))
    endpoint.on_event(Missing("sealway://a.example/device/b", b"\x01", ((2, 3),)))
    endpoint.on_event(Silent("sealway://a.example/device/b", b"\x01", 5))
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"event": "refused", "digest": "0000000000000000", "error": "Replayed", "message": "opened before"},
        {
            "event": "reported",
            "kind": "Missing",
            "peer": "sealway://a.example/device/b",
            "session": "01",
            "numbers": [[2, 3]],
        },
        {
            "event": "reported",
            "kind": "Silent",
            "peer": "sealway://a.example/device/b",
            "session": "01",
            "since_ms": 5,
        },
    ]


def test_who_causes_refusals_does_not_fill_the_disk(capsys: pytest.CaptureFixture[str]) -> None:
    clock = [0.0]
    endpoint = witnessed(clock)
    for _ in range(2 * BURST):
        endpoint.on_refused("00" * 8, Replayed("x"))
    assert len(capsys.readouterr().out.splitlines()) == BURST
    clock[0] = 1.0
    for _ in range(2 * A_SECOND):
        endpoint.on_refused("11" * 8, Replayed("x"))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == {"event": "omitted", "lines": BURST}
    assert [line["event"] for line in lines[1:]] == ["refused"] * A_SECOND


def test_pauses_that_were_not_chosen_are_those_of_the_specification() -> None:
    assert AS_SPECIFIED.policy() == DEFAULT_POLICY
    assert AS_SPECIFIED.silence is None
    assert AS_SPECIFIED.oldest_command(timedelta(minutes=5)) == timedelta(minutes=5)


def test_chosen_pauses_become_policy() -> None:
    timing = Timing(
        reoffer_after=2.0, receipt_after=1.5, report_after=8.0, max_silence=4.0, command_age=3.0, anew_after=6.0
    )
    policy = timing.policy()
    assert (policy.reoffer_after_ms, policy.ack_after_ms, policy.ack_delay_ms) == (2_000, 1_500, 1_500)
    assert (policy.missing_after_ms, policy.unacknowledged_after_ms) == (8_000, 8_000)
    assert timing.silence == timedelta(seconds=4)
    assert policy.anew_after_ms == 6_000
    assert timing.oldest_command(timedelta(minutes=5)) == timedelta(seconds=3)


def test_a_command_can_say_how_fresh_it_must_be() -> None:
    line = {"id": "00" * 8, "to": "sealway://a.example/device/b", "path": "status"}
    assert Question.parse(json.dumps(line).encode()).max_age == timedelta(minutes=5)
    assert Question.parse(json.dumps(line | {"max_age_s": 2}).encode()).max_age == timedelta(seconds=2)
    for wrong in (0, -1, 1e9, "soon"):
        with pytest.raises(LocalMisuse):
            Question.parse(json.dumps(line | {"max_age_s": wrong}).encode())


def test_what_carriers_may_see_is_chosen_and_checked() -> None:
    assert NOTHING.claims() is None
    claims = Disclosed("heating", "floor 3", 60.0).claims()
    assert claims is not None and (claims.topic, claims.tag) == ("heating", "floor 3")
    assert claims.expires is not None and abs(claims.expires - time.time() - 60) < 5
    with pytest.raises(LocalMisuse):
        Disclosed("x" * 200).check()

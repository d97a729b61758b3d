# SPDX-License-Identifier: Apache-2.0
"""What the demo shows of its second act, and what it says when a row is not as it should be."""

from __future__ import annotations

from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from sealway.cli.demo.besieged import Besieged, adversaries_of
from sealway.cli.demo.judging import _accounts
from sealway.cli.demo.report import what_is_wrong, with_attacks
from sealway.cli.demo.siege import Siege
from sealway.cli.demo.town import Member
from sealway.cli.demo.view import LiveView, summary
from sealway.cli.demo.witnesses import Witnesses

ROW = {
    "name": "truncate", "tried": 3, "reached_network": 3, "expected": "refused", "wrong_at_handler": 0,
    "undetected": 0, "reported_as": {"Malformed": 3},
}  # fmt: skip
REPORT: dict[str, Any] = {
    "sent": 1, "delivered": 1, "duplicates": 0, "lost": 0, "commands": {"sent": 1, "executed": 1, "answered": 1},
    "restarts": [], "overhead_bytes": {"min": 1, "median": 1, "max": 1}, "latency_ms": {"p50": 1, "p99": 1},
    "seconds": 1.0, "ok": True,
}  # fmt: skip


def siege(base: Path) -> Siege:
    member = Member("sealway://besieged.example/device/device-1", "device", base)
    town = Besieged(member, member, member, (member,) * 3, member, member, 1, 2, 3, 4, 5)
    return Siege(town, {}, adversaries_of(town, base, 1), Witnesses(), Random(1))


def shown(*parts: Any) -> str:
    console = Console(width=120)
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    return captured.get()


def test_the_live_view_shows_where_the_adversary_stands_and_what_it_does(tmp_path: Path) -> None:
    now = siege(tmp_path)
    now.chapter = "attacking what flows"
    http = now.adversaries["http"]
    http.acting, http.tried, http.reached = "truncate", 3, 2
    http.ended.append({"attack": "extend"})
    now.witnesses.refused += [("00", "Malformed")] * 4
    console = Console(width=120, file=(tmp_path / "shown").open("w"), force_terminal=True)
    with LiveView(console) as view:
        view.say("a line")
        story: Any = SimpleNamespace(siege=now)
        view.show(story)
    console.file.close()
    text = (tmp_path / "shown").read_text()
    for word in (
        "before the hub",
        "as a gateway",
        "truncate",
        "extend",
        "Malformed 4",
        "attacking what flows",
        "a line",
    ):
        assert word in text, word


def test_a_red_row_makes_the_demo_red_and_is_named() -> None:
    good = with_attacks(REPORT, [ROW])
    assert good["ok"] and "truncate" in shown(*summary(good)) and "all is well" in shown(*summary(good))
    assert "left out" in shown(*summary(REPORT))
    for change in (
        {"tried": 0, "reached_network": 0},
        {"reached_network": 2},
        {"wrong_at_handler": 1},
        {"undetected": 2},
    ):
        bad = with_attacks(REPORT, [ROW, ROW | change])
        assert not bad["ok"]
        assert what_is_wrong(bad).startswith("truncate: ")
        assert "something is wrong" in shown(*summary(bad))
    assert not with_attacks(REPORT, [])["ok"], "without a row nothing was shown"
    assert "the ends disagree" in what_is_wrong(REPORT | {"ok": False})


def test_what_was_done_on_several_hops_is_one_row(tmp_path: Path) -> None:
    now = siege(tmp_path)
    for place, tried in (("http", 3), ("coap", 2)):
        now.adversaries[place].ended.append(
            {
                "attack": "truncate",
                "expected": "refused",
                "tried": tried,
                "reached_network": 1,
                "items": [[place, "box"]],
            }
        )
    (account,) = _accounts(now.adversaries).values()
    assert (account.tried, account.reached_network) == (5, 2)
    assert account.items == (("http", "box"), ("coap", "box"))


@pytest.mark.parametrize("title", ["application", "device-1"])
def test_witnesses_take_in_what_ends_print(title: str) -> None:
    witnesses = Witnesses()
    for event in (
        {"event": "refused", "digest": "ab", "error": "Replayed"},
        {"event": "refused", "id": "00", "error": "Stale"},
        {"event": "reported", "kind": "Missing", "peer": "sealway://b.example/application/app"},
        {"event": "command", "path": "identify", "id": "01"},
        {"event": "command", "path": "interval", "id": "02"},
        {"event": "asked", "id": "03"},
        {"event": "answered", "id": "03"},
        {"text": "not an event"},
    ):
        witnesses._note(title, event)
    assert witnesses.refused == [("ab", "Replayed")]
    assert witnesses.answered == {"00", "03"} and witnesses.asked == 1
    assert witnesses.executed["01"] == 1 and witnesses.is_calm(title) and witnesses.has(title, "asked")
    missing = (title, "Missing", "sealway://b.example/application/app")
    assert witnesses.reported("silence", missing, since=0) and witnesses.of_act == {"silence": {"Missing": 1}}
    assert not witnesses.reported("silence", missing, since=1)

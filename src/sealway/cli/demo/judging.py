# SPDX-License-Identifier: Apache-2.0
"""The rows of out.json about attacks: the adversary's account, held against what the two ends have on disk and told."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sealway.adversary.attack import Expected
from sealway.adversary.catalogue import ATTACKS
from sealway.adversary.ledger import Tally
from sealway.adversary.verdict import Evidence, Sent, judge, not_refused
from sealway.cli.demo.besieged import Besieged, rows_of
from sealway.cli.demo.process import run_json
from sealway.cli.demo.puppeteer import Adversary
from sealway.cli.demo.witnesses import Witnesses
from sealway.cli.status import sessions_with


async def judged(
    town: Besieged, adversaries: Mapping[str, Adversary], witnesses: Witnesses, commands: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return a row for each attack. The roles have ended."""
    evidence = await _evidence(town, witnesses, commands)
    accounts = _accounts(adversaries)
    return [judge(a, replace(evidence, reported=witnesses.of_act.get(a.name, {}))) for a in accounts.values()]


def unrefused(adversaries: Mapping[str, Adversary], witnesses: Witnesses) -> int:
    """Return how many harmful things no end has refused so far, of the acts that are over."""
    evidence = Evidence(witnesses.refused)
    harmful = [tally for tally in _accounts(adversaries).values() if tally.expected is Expected.REFUSED]
    return sum(max(0, not_refused(tally, evidence) - ATTACKS[tally.name].tolerated) for tally in harmful)


def _accounts(adversaries: Mapping[str, Adversary]) -> dict[str, Tally]:
    """Return what was done under each name, on all hops together."""
    accounts: dict[str, Tally] = {}
    for event in (event for adversary in adversaries.values() for event in adversary.ended):
        tally = _tally(event)
        known = accounts.get(tally.name)
        accounts[tally.name] = tally if known is None else _together(known, tally)
    return accounts


def _tally(event: dict[str, Any]) -> Tally:
    items = tuple((str(digest), str(subject)) for digest, subject in event["items"])
    tried, reached = int(event["tried"]), int(event["reached_network"])
    return Tally(str(event["attack"]), Expected(event["expected"]), tried, reached, items)


def _together(one: Tally, other: Tally) -> Tally:
    tried, reached = one.tried + other.tried, one.reached_network + other.reached_network
    return Tally(one.name, one.expected, tried, reached, one.items + other.items)


async def _evidence(town: Besieged, witnesses: Witnesses, commands: Mapping[str, str]) -> Evidence:
    sent: list[Sent] = []
    for device in town.devices:
        status = await run_json("device", "status", "--state", str(device.directory), "--json")
        with rows_of(device).open(encoding="utf-8") as rows:
            lines = [line.rstrip("\n") for _, line in zip(range(int(status["sent"])), rows, strict=False)]
        sent += [(device.name, town.application.name, line) for line in lines]
    handled = _received(town)
    for request, name in commands.items():
        sent.append((town.application.name, name, request))
        handled += [(town.application.name, name, request)] * witnesses.executed[request]
    accepted = sessions_with(town.application.directory, town.stranger.name)
    return Evidence(witnesses.refused, {}, sent, handled, accepted=accepted)


def _received(town: Besieged) -> list[Sent]:
    """Every line that the application's handler wrote, as often as it wrote it."""
    with (town.application.directory / "received.jsonl").open("rb") as file:
        lines = [json.loads(line) for line in file]
    return [
        (str(line["device"]), town.application.name, base64.b64decode(line["payload_b64"]).decode("utf-8", "replace"))
        for line in lines
    ]

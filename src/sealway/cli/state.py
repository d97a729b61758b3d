# SPDX-License-Identifier: Apache-2.0
"""``sealway state``: looks into a device's or an application's state while nobody uses it, and repairs it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sealway.cli import options
from sealway.cli.messages import OK, STATE, next_command, say, show_fields, show_json
from sealway.cli.options import AsJson, State
from sealway.errors import LocalMisuse

if TYPE_CHECKING:
    from sealway.identity.credentials import Credential
    from sealway.sdk.examination import Findings, SessionFinding
    from sealway.sdk.repair import Plan

state_group = options.group("a device's or an application's state: what it holds, and its repair")

_MOST_SHOWN = 50


@state_group.command("check")
def check(state: State, as_json: AsJson = False) -> int:
    """Say what a state holds, what is damaged, and what waits; exit code 5 if it needs repair."""
    from sealway.sdk.examination import examine, looked_at

    options.demand_directory(state)
    with looked_at(state) as stored:
        findings = examine(stored, _certificate(state))
    if as_json:
        show_json(_described(findings))
    else:
        show_fields({name: value for name, value in _described(findings).items() if not isinstance(value, list)})
        for line in _complaints(findings):
            say(line)
        if findings.needs_repair and not findings.file:
            next_command("here", f"sealway state repair --state {state}")
    return STATE if findings.needs_repair else OK


@state_group.command("repair")
def repair_command(
    state: State,
    restored: Annotated[bool, typer.Option("--restored", help="this state was restored from a backup")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Begin damaged and ended sessions anew, after saying what that means."""
    from sealway.sdk.examination import examine
    from sealway.sdk.repair import Plan, opened, repair

    options.demand_directory(state)
    with opened(state) as stored:
        plan = Plan.of(examine(stored, _certificate(state)), restored=restored)
        if plan.is_empty:
            say("nothing to repair")
            return
        for line in _announced(plan):
            say(line)
        if not yes:
            _ask()
        repair(stored, plan, time.time_ns() // 1_000_000)
    say("repaired; other sessions begin when it runs and reaches its hub")


def _ask() -> None:
    if not sys.stdin.isatty():
        raise LocalMisuse("nothing was changed: this needs a yes", hint="add --yes, or run it in a terminal")
    typer.confirm("go on?", abort=True)


def _certificate(state: Path) -> Credential | None:
    """Return whose state it is, as far as that can be proven now; an expired certificate is told of elsewhere."""
    from sealway.errors import SealwayError
    from sealway.home.home import Home, role_in

    try:
        return Home(state, {"application": "app"}.get(role := role_in(state), role)).certificate()
    except SealwayError:
        return None


# what was found --------------------------------------------------------------------------------------------------
def _described(findings: Findings) -> dict[str, Any]:
    from sealway.sdk.examination import Condition

    counted = findings.counted()
    return {
        "needs_repair": findings.needs_repair,
        "file": list(findings.file),
        "sessions": {str(condition): counted[condition] for condition in Condition},
        "unacknowledged": findings.unacknowledged,
        "unreadable": sum(len(found.unreadable) for found in findings.sessions),
        "unhandled": findings.unhandled,
        "bundles": findings.bundles,
        "set_aside": findings.set_aside,
        "not_in_order": [_session(f) for f in findings.sessions if f.condition is not Condition.SOUND][:_MOST_SHOWN],
        "damaged_rows": [{"what": row.what, "peer": row.peer, "why": row.why} for row in findings.rows][:_MOST_SHOWN],
    }


def _session(found: SessionFinding) -> dict[str, Any]:
    return {
        "session": _digest(found),
        "peer": found.row.peer if found.names_peer else None,
        "condition": str(found.condition),
        "why": found.why,
        "left": found.is_left,
        "unacknowledged": len(found.waiting),
    }


def _complaints(findings: Findings) -> list[str]:
    from sealway.sdk.examination import Condition

    ended = [found for found in findings.sessions if found.condition is not Condition.SOUND][:_MOST_SHOWN]
    return [
        *(f"the file: {line}" for line in findings.file),
        *(_line(found) for found in ended),
        *(f"a {row.what} is damaged: {row.why}" for row in findings.rows[:_MOST_SHOWN]),
    ]


def _line(found: SessionFinding) -> str:
    peer = found.row.peer if found.names_peer else "an unknown peer"
    why = f": {found.why}" if found.why else ""
    left = "; left" if found.is_left else ""
    return f"session {_digest(found)} with {peer}, {found.condition}{why}; {len(found.waiting)} unacknowledged{left}"


def _digest(found: SessionFinding) -> str:
    return found.row.hash.hex()[:8] if isinstance(found.row.hash, bytes) else "?"


# what is to be done --------------------------------------------------------------------------------------------------
def _announced(plan: Plan) -> list[str]:
    """What repair does, and what that means, in sentences."""
    ended, rows = len(plan.left) + len(plan.damaged) + len(plan.nameless), len(plan.rows)
    lines = [f"{ended} sessions are left, and others with the same peers begin at the next contact"]
    if plan.damaged or plan.nameless or rows:
        broken = len(plan.damaged) + len(plan.nameless)
        lines.append(f"set aside, and counted in the state: {broken} damaged sessions, {rows} other damaged rows")
    lines.append(f"{plan.moving} unacknowledged messages move to the other sessions")
    if plan.restored:
        lines.append("all prekeys are deleted; a bundle with a higher sequence is published at the next contact")
    if plan.newest_is_damaged and not plan.restored:
        lines.append("the newest bundle is damaged: at the next contact every session is left as after a lost state")
    return lines + _may_come_twice(plan) + _may_be_lost(plan) + _reported(plan)


def _may_come_twice(plan: Plan) -> list[str]:
    lines = []
    if plan.restored or plan.newest_is_damaged:
        lines.append("own messages sealed since this state was last opened may reach their peers twice")
    if plan.restored:
        lines.append("messages and still-fresh commands that came after the backup may be handled a second time")
    elif plan.damaged:
        lines.append("messages from these peers come twice only if the inbox has forgotten them already")
    return lines


def _may_be_lost(plan: Plan) -> list[str]:
    lines = [f"{plan.lost} unacknowledged messages are lost: what is stored of them is damaged"] if plan.lost else []
    if plan.restored:
        lines.append("what came after the backup and was acknowledged then is gone, and so is what was sent after it")
    if any(row.what == "window" for row in plan.rows):
        lines.append("which messages of closed sessions were handled is forgotten in part: these may come twice")
    return lines


def _reported(plan: Plan) -> list[str]:
    lines = ["peers may report Unacknowledged or Missing for what was under way until the other sessions have begun"]
    if plan.restored:
        lines.append(
            "peers may refuse what this state offers of old sessions, report ForkSuspected, and count PeerForked"
        )
    return lines

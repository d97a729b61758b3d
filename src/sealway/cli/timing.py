# SPDX-License-Identifier: Apache-2.0
"""Options with which an endpoint's policy is chosen: how soon it offers again, acknowledges, and reports."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from sealway.protocol.policy import PostQuantum

if TYPE_CHECKING:
    from sealway.protocol.policy import Policy

_DAY_S = 86_400

ReofferAfter: TypeAlias = Annotated[
    float | None,
    typer.Option(min=0.1, max=_DAY_S, help="seconds until what is not acknowledged is offered again; doubles; 15"),
]
AnewAfter: TypeAlias = Annotated[
    float | None,
    typer.Option(min=0.1, max=_DAY_S, help="seconds until a session that is not answered is begun anew; doubles; 3600"),
]
ReceiptAfter: TypeAlias = Annotated[
    float | None, typer.Option(min=0.1, max=_DAY_S, help="seconds until what came is acknowledged at the latest; a day")
]
ReportAfter: TypeAlias = Annotated[
    float | None,
    typer.Option(min=0.1, max=7 * _DAY_S, help="seconds until missing and unacknowledged messages are reported; 3600"),
]
MaxSilence: TypeAlias = Annotated[
    float | None,
    typer.Option(min=1, max=7 * _DAY_S, help="seconds; promise a sign of life so often, so that peers report silence"),
]
CommandAge: TypeAlias = Annotated[
    float | None, typer.Option(min=0.1, max=_DAY_S, help="seconds; how old a command may be that is executed; 300")
]


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds, each None for what the specification suggests; and whether sessions begin with ML-KEM."""

    reoffer_after: float | None = None
    receipt_after: float | None = None
    report_after: float | None = None
    max_silence: float | None = None
    command_age: float | None = None
    anew_after: float | None = None
    post_quantum: PostQuantum = PostQuantum.PREFERRED

    def policy(self) -> Policy:
        """Return the policy of an endpoint that does so."""
        from sealway.protocol.policy import DEFAULT_POLICY

        policy = replace(DEFAULT_POLICY, post_quantum=self.post_quantum)
        if self.reoffer_after is not None:
            policy = replace(policy, reoffer_after_ms=_ms(self.reoffer_after))
        if self.anew_after is not None:
            policy = replace(policy, anew_after_ms=_ms(self.anew_after))
        if self.receipt_after is not None:
            after = _ms(self.receipt_after)
            policy = replace(policy, ack_after_ms=after, ack_delay_ms=min(policy.ack_delay_ms, after))
        if self.report_after is not None:
            after = _ms(self.report_after)
            policy = replace(policy, missing_after_ms=after, unacknowledged_after_ms=after)
        return policy

    @property
    def silence(self) -> timedelta | None:
        """What is declared to peers."""
        return timedelta(seconds=self.max_silence) if self.max_silence is not None else None

    def oldest_command(self, usual: timedelta) -> timedelta:
        """Return how old a command may be: what was chosen, or what is usual."""
        return timedelta(seconds=self.command_age) if self.command_age is not None else usual


AS_SPECIFIED = Timing()


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1_000))

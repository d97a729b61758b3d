# SPDX-License-Identifier: Apache-2.0
"""What was collected, opened one by one; anything may come from anyone.

Invariant: nothing that a hop or a stranger puts into the mailbox can keep what lies behind it from being collected:
an envelope that cannot be opened now is tried a few times and then given back to its sender's care, who offers it
until a receipt comes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sealway.errors import NotAuthentic, NotFound, RateLimited, SealwayError, StateLost, TokenFailed, TransportFailed
from sealway.sdk.engine import Engine
from sealway.sdk.evidence import Evidence
from sealway.sdk.journal import Journal
from sealway.sdk.links import Links
from sealway.sdk.sessions import Sessions
from sealway.transports.ports import Collected
from sealway.wire.envelope import Envelope

log = logging.getLogger(__name__)

TRIES = 5
_MOST_REMEMBERED = 4_096


class Intake:
    """Opens collected envelopes and says which of them the hop may forget."""

    def __init__(
        self, sessions: Sessions, links: Links, engine: Engine, journal: Journal, evidence: Evidence
    ) -> None:  # fmt: skip
        self._sessions = sessions
        self._links = links
        self._engine = engine
        self._journal = journal
        self._evidence = evidence
        self._tries: dict[tuple[str, int], int] = {}

    async def open_all(self, collected: Sequence[Collected]) -> list[Collected]:
        """Open what was collected; return what the hop may forget once the journal has committed."""
        settled: list[Collected] = []
        for item in collected:
            try:
                envelope = Envelope.decode(item.envelope)
                if envelope.start is not None:
                    await self._links.open_start(envelope, envelope.start)
                else:
                    self._open(envelope)
            except SealwayError as error:
                self._refused(item, error)
                if self._is_worth_another_try(item, error):
                    continue
            settled.append(item)
            if self._tries:
                self._tries.pop((item.mailbox, item.sequence), None)
        return settled

    def _refused(self, item: Collected, error: SealwayError) -> None:
        self._journal.check()
        self._journal.count(f"refused_{type(error).__name__}")
        level = logging.ERROR if isinstance(error, StateLost) else logging.INFO
        log.log(level, "an envelope was refused: %s", error)
        self._evidence.refused(item.envelope, error)

    def _open(self, envelope: Envelope) -> None:
        held = self._sessions.by_kid(envelope.kid)
        if held is None:
            self._journal.count("refused_unknown_kid")
            raise NotAuthentic("an envelope for a session that is not known here")
        self._engine.open(held, envelope)

    def _is_worth_another_try(self, item: Collected, error: SealwayError) -> bool:
        """What a start names could not be fetched, the keys could not be used, too much was opened: all may pass."""
        if isinstance(error, NotFound) or not isinstance(error, TransportFailed | RateLimited | TokenFailed):
            return False
        key = (item.mailbox, item.sequence)
        self._tries[key] = self._tries.get(key, 0) + 1
        if len(self._tries) > _MOST_REMEMBERED:
            del self._tries[next(iter(self._tries))]
        return self._tries.get(key, TRIES) < TRIES

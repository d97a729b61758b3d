# SPDX-License-Identifier: Apache-2.0
"""The form in which a device hands envelopes to its gateway and asks for them: COSE, or compact (spec/carriage.md).

What a gateway does not understand is remembered, so that only one request is in vain, until it did not answer at all:
then it may have been replaced by one that does.
"""

from __future__ import annotations

from typing import Final

from aiocoap.numbers.codes import Code

from sealway.errors import Malformed, TooLarge
from sealway.transports import coap_api
from sealway.transports.coap_lanes import Request, Response
from sealway.transports.ports import Collected, Deposit
from sealway.wire import carriage
from sealway.wire.compact import from_compact, is_compactable, to_compact
from sealway.wire.envelope import Envelope

_NOT_ACCEPTED: Final = frozenset({Code.BAD_OPTION, Code.NOT_ACCEPTABLE})


class Forms:
    """What one gateway is known to understand; while ``is_untried``, one envelope goes ahead of the others.

    Args:
        compact: use the compact form where there is one.
    """

    def __init__(self, *, compact: bool) -> None:
        self._wanted = compact
        self.posts_compact = self.accepts_compact = self.is_untried = compact

    def doubt(self) -> None:
        """The gateway did not answer: another one may be there next."""
        self.posts_compact = self.accepts_compact = self.is_untried = self._wanted

    def deposit(self, deposit: Deposit) -> Request:
        """The request that deposits an envelope."""
        compact = _compact_of(deposit.envelope) if self.posts_compact else None
        form = coap_api.FORMAT_ENVELOPE if compact is None else coap_api.FORMAT_COMPACT
        return Request(
            Code.POST, (coap_api.MAILBOX, deposit.mailbox), (), compact or deposit.envelope, form, deposit.hops
        )  # fmt: skip

    def collect(self, mailbox: str) -> Request:
        """The request for what waits."""
        accept = coap_api.FORMAT_HANDED if self.accepts_compact else None
        return Request(Code.GET, (coap_api.MAILBOX, mailbox), accept=accept)

    def has_to_change(self, request: Request, response: Response) -> bool:
        """Whether the gateway refused a request for its form: the same is to be asked again, in the plain one."""
        if request.content_format == coap_api.FORMAT_COMPACT:
            refused = response.code == int(Code.UNSUPPORTED_CONTENT_FORMAT)
            self.is_untried = False
            self.posts_compact &= not refused
            return refused
        if request.accept is not None and response.code in _NOT_ACCEPTED:
            self.accepts_compact = False
            return True
        return False


def collected_of(mailbox: str, payload: bytes, content_format: int | None) -> list[Collected]:
    """The envelopes of an answer of either format, as COSE. Raises Malformed or TooLarge."""
    if content_format != coap_api.FORMAT_HANDED:
        return [Collected(*item) for item in carriage.Collected.decode(payload).items]
    rows = carriage.Handed.decode(payload).items
    return [Collected(mailbox, number, _cose(envelope) if compact else envelope) for number, compact, envelope in rows]


def _cose(compact: bytes) -> bytes:
    return from_compact(compact).encode()


def _compact_of(envelope: bytes) -> bytes | None:
    """The compact form, None if there is none; of what is no envelope, the gateway judges."""
    try:
        decoded = Envelope.decode(envelope)
    except (Malformed, TooLarge):
        return None
    return to_compact(decoded) if is_compactable(decoded) else None

# SPDX-License-Identifier: Apache-2.0
"""What sealing and opening yield. Named tuples, since one is made for each message: a frozen dataclass costs four times
as much.
"""

from __future__ import annotations

from typing import NamedTuple

from sealway.errors import PeerMisbehaved
from sealway.protocol.sending import Acknowledgement
from sealway.wire.message import FirstIdentity, Message


class Sealed(NamedTuple):
    """A sealed message. ``kept``: it has to be offered until a receipt covers it (a bare receipt does not)."""

    number: int
    envelope: bytes
    tag: bytes
    message_bytes: int
    kept: bool


class Opened(NamedTuple):
    """A message that was opened, once. ``defect`` says why ``message`` is None: authentic, but not a message."""

    session: bytes
    number: int
    tag: bytes
    message_bytes: int
    message: Message | None
    defect: PeerMisbehaved | None = None
    acknowledgement: Acknowledgement | None = None

    @property
    def identity(self) -> FirstIdentity:
        """The session hash and number under which it was sealed first."""
        moved_from = self.message.first_identity if self.message is not None else None
        return moved_from or FirstIdentity(self.session, self.number)

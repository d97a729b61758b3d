# SPDX-License-Identifier: Apache-2.0
"""Reading an answer: the error that the other end named, or the answer itself."""

from __future__ import annotations

from sealway import errors
from sealway.errors import PeerMisbehaved, SealwayError
from sealway.wire.message import CODE_PRECONDITION_FAILED, Message, code_text

_KINDS: dict[str, type[SealwayError]] = {
    kind.__name__: kind
    for kind in (
        errors.Interrupted,
        errors.LocalMisuse,
        errors.Malformed,
        errors.NotAuthorized,
        errors.NotFound,
        errors.NotTrusted,
        errors.RateLimited,
        errors.Stale,
        errors.TooLarge,
        errors.TransportFailed,
    )
}


def is_stale(message: Message) -> bool:
    """Say whether the other end refused a command because it was not fresh."""
    return message.code == CODE_PRECONDITION_FAILED and message.payload.startswith(b"Stale:")


def opened_answer(message: Message) -> Message:
    """Return the answer, or raise the error that it names."""
    if message.code < 0x80:
        return message
    kind, _, text = message.payload.decode("utf-8", "replace").partition(": ")
    error = _KINDS.get(kind, PeerMisbehaved)
    raise error(text or f"the other end answered {code_text(message.code)}")

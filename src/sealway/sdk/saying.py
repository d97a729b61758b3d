# SPDX-License-Identifier: Apache-2.0
"""What a program wants to say, as a message: what cannot be one is the program's mistake."""

from __future__ import annotations

from sealway.errors import LocalMisuse, Malformed
from sealway.wire.message import CODE_POST, Message


def message_of(
    path: str, payload: bytes, *, query: tuple[str, ...] = (), request_id: bytes | None = None
) -> Message:  # fmt: skip
    """Return a message to ``path``, such as readings or valve/inlet.

    Raises:
        LocalMisuse: not a path of 1 to 16 segments, a payload that is not bytes, or a request id of other than 8 bytes.
        TooLarge: no message is that large.
    """
    segments = tuple(path.strip("/").split("/"))
    if not all(segments):
        raise LocalMisuse(f"{path!r} has an empty segment", hint="a path such as readings or valve/inlet")
    if not isinstance(payload, bytes):
        raise LocalMisuse(f"a payload is bytes, not {type(payload).__name__}", hint="text has to be encoded")
    try:
        return Message(CODE_POST, segments, query, payload=payload, request_id=request_id)
    except Malformed as error:
        raise LocalMisuse(error.message, hint=error.hint) from None

# SPDX-License-Identifier: Apache-2.0
"""One voice on the terminal: lower case, no full stop; results on standard output, complaints on the other."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any, Final

from sealway.errors import (
    InUse,
    LocalMisuse,
    NotAuthorized,
    NotTrusted,
    PeerMisbehaved,
    SealwayError,
    StateLost,
    TokenFailed,
    TransportFailed,
)

OK: Final = 0
FAILED: Final = 1
"""An error in Sealway itself."""
USAGE: Final = 2
REFUSED: Final = 3
TRANSPORT: Final = 4
STATE: Final = 5


class Refused(SealwayError):
    """The other end answered, and its answer is no."""


class OutcomeUnknown(TransportFailed):
    """No answer that says what became of a command."""


class Stopped(SealwayError):
    """A signal ended a command before it was done.

    Args:
        number: the signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__("stopped before it was done")
        self.number = number


_CODES: Final[tuple[tuple[type[SealwayError], int], ...]] = (  # the first that fits
    (InUse, STATE),
    (StateLost, STATE),
    (TokenFailed, STATE),
    (TransportFailed, TRANSPORT),
    (Refused, REFUSED),
    (NotTrusted, REFUSED),
    (NotAuthorized, REFUSED),
    (PeerMisbehaved, REFUSED),
    (LocalMisuse, USAGE),
)


def exit_code(error: SealwayError) -> int:
    """Return the exit code for an error: 2 usage, 3 refused, 4 transport, 5 state; 128 + n after signal n."""
    if isinstance(error, Stopped):
        return 128 + error.number
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def say(text: str) -> None:
    """Print one line of a result, at once."""
    print(text, flush=True)


def note(text: str) -> None:
    """Print one line about a result that is on standard output itself."""
    print(text, file=sys.stderr, flush=True)


def next_command(where: str, command: str) -> None:
    """Print the exact command that comes next, and where to run it."""
    say(f"next, {where}: {command}")


def warn(message: str, hint: str | None = None) -> None:
    """Print a warning, and what to do about it."""
    _to_stderr("warning", message, hint)


def complain(message: str, hint: str | None = None) -> None:
    """Print an error, and what to do about it."""
    _to_stderr("error", message, hint)


def emit(event: str, **fields: Any) -> None:
    """Print one JSON line: something notable that a long-running command did."""
    say(json.dumps({"event": event, **fields}, ensure_ascii=False))


def show_json(value: Any) -> None:
    """Print a result as JSON."""
    say(json.dumps(value, indent=2, ensure_ascii=False))


def show_fields(value: dict[str, Any]) -> None:
    """Print a result for people: a line for each field, nested ones indented."""
    width = max((len(name) for name in value), default=0)
    for name, field in value.items():
        if isinstance(field, dict):
            say(name)
            for inner, number in field.items():
                say(f"  {inner}  {_shown(number)}")
        else:
            say(f"{name:<{width}}  {_shown(field)}")


def show_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns, whole whatever the width of the terminal."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        say("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _shown(value: Any) -> Any:
    return "-" if value is None else value


def _to_stderr(kind: str, message: str, hint: str | None) -> None:
    sys.stdout.flush()
    print(f"{kind}: {message}", file=sys.stderr)
    if hint is not None:
        print(f"hint: {hint}", file=sys.stderr)
    sys.stderr.flush()

# SPDX-License-Identifier: Apache-2.0
"""The whole error tree, sorted by culprit, and the one table that maps it to CoAP and HTTP codes.

Messages are written for the person who must act on them: lower case, no full stop, never a secret. ``hint`` says what
to do next, where there is something to do.
"""

from __future__ import annotations


class SealwayError(Exception):
    """Base of everything Sealway raises on purpose.

    Args:
        message: what went wrong, in one line.
        hint: what to do about it, in one line, or None.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class LocalMisuse(SealwayError):
    """The caller asked for something that cannot be: a wrong argument, a wrong order, a missing file."""


class NoCommonSuite(LocalMisuse):
    """Two endpoints take part in no suite together, so neither can begin a session with the other."""


class InUse(LocalMisuse):
    """Another process uses the state directory."""


class Closed(LocalMisuse):
    """This program has closed what it uses."""


class PeerMisbehaved(SealwayError):
    """Bytes from the other side, or from anyone in between, that must not be acted on."""


class NotAuthentic(PeerMisbehaved):
    """A tag, a signature or a proof does not verify."""


class WrongCode(NotAuthentic):
    """The setup code that was typed is not the device's.

    Args:
        message: what to tell the person who typed it.
        left: how often it may still be tried in this pairing window, as the device says.
    """

    def __init__(self, message: str, *, left: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.left = left


class Replayed(PeerMisbehaved):
    """Opened before: this number, this start or this statement has been accepted already."""


class Stale(PeerMisbehaved):
    """A command names no reference, one that is too old, or one from before a reboot."""


class PrekeyGone(PeerMisbehaved):
    """A start names a bundle or a one-time key whose private half no longer exists."""


class NotPostQuantum(PeerMisbehaved):
    """A start or a bundle is without the ML-KEM part that this end's policy requires."""


class GapTooLarge(PeerMisbehaved):
    """Opening would walk or store more keys than the policy allows."""


class PeerForked(PeerMisbehaved):
    """An authentic message proves that two copies of the peer's state are in use."""


class Interrupted(PeerMisbehaved):
    """A command was begun before a crash and is not run a second time; its effect is unknown."""


class Malformed(PeerMisbehaved):
    """Not the strict encoding that the specification demands."""


class Mistyped(Malformed):
    """A check digit does not fit: of what a person typed, at least one character is wrong."""


class TooLarge(PeerMisbehaved):
    """Well-formed perhaps, but over a size limit."""


class RateLimited(PeerMisbehaved):
    """Too many in too short a time; the same request may succeed later."""


class NotTrusted(SealwayError):
    """A credential or document that the owner's root does not vouch for."""


class NotAuthorized(SealwayError):
    """Who asks is known, and may not do this."""


class TransportFailed(SealwayError):
    """A hop could not be reached or broke off; nothing is lost, it will be offered again."""


class NotFound(TransportFailed):
    """The hop answered that it does not hold what was asked for."""


class HopRefused(TransportFailed):
    """The hop answered and refused to carry.

    Args:
        message: the hop's own words, shortened.
        status: the HTTP status, or the CoAP code as class*100+detail (4.13 is 413).
    """

    def __init__(self, message: str, *, status: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class StateLost(SealwayError):
    """The durable state is older than what it already promised to others, damaged, or a copy."""


class TokenFailed(SealwayError):
    """The token or TPM that holds the private keys did not do what it was asked for; nothing is lost."""


class TokenGone(TokenFailed):
    """The token or TPM is not there, or does not answer."""


class TokenLocked(TokenFailed):
    """The token or TPM is there and takes no PIN for now."""


# (CoAP code byte, RFC 7252 §12.1.2; HTTP status). The most specific class in the error's ancestry decides.
_CODES: dict[type[SealwayError], tuple[int, int]] = {
    SealwayError: (0xA0, 500),  # 5.00 Internal Server Error
    LocalMisuse: (0x80, 400),  # 4.00 Bad Request
    PeerMisbehaved: (0x80, 400),  # 4.00
    NotAuthentic: (0x80, 400),  # 4.00, as RFC 8613 §8.2 answers a failed decryption
    Replayed: (0x89, 409),  # 4.09 Conflict (RFC 8132)
    Stale: (0x8C, 412),  # 4.12 Precondition Failed
    PrekeyGone: (0x84, 404),  # 4.04 Not Found
    NotPostQuantum: (0x8C, 412),  # 4.12
    GapTooLarge: (0x9D, 429),  # 4.29 Too Many Requests (RFC 8516)
    PeerForked: (0x89, 409),  # 4.09
    Interrupted: (0xA0, 500),  # 5.00
    Malformed: (0x80, 400),  # 4.00
    TooLarge: (0x8D, 413),  # 4.13 Request Entity Too Large
    RateLimited: (0x9D, 429),  # 4.29
    NotTrusted: (0x81, 401),  # 4.01 Unauthorized
    NotAuthorized: (0x83, 403),  # 4.03 Forbidden
    TransportFailed: (0xA3, 503),  # 5.03 Service Unavailable
    NotFound: (0x84, 404),  # 4.04
    HopRefused: (0xA2, 502),  # 5.02 Bad Gateway
    StateLost: (0xA0, 500),  # 5.00
    TokenFailed: (0xA3, 503),  # 5.03: the same request may succeed once it is back
}


def codes_of(error: SealwayError) -> tuple[int, int]:
    """Return (CoAP code byte, HTTP status) for an error; the nearest ancestor in the table decides."""
    return next(_CODES[kind] for kind in type(error).__mro__ if kind in _CODES)

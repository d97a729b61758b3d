# SPDX-License-Identifier: Apache-2.0
"""A keystore put to the test: each key does what it is for, and the result is checked outside of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sealway.crypto.ports import Random
from sealway.crypto.suites import SUITE_1, Suite
from sealway.errors import NotAuthentic, TokenFailed
from sealway.keystore.ports import Keystore, Kind
from sealway.keystore.token import TokenKeystore

_TIMES: Final = 5


@dataclass(frozen=True, slots=True)
class Trial:
    """What one key did.

    Args:
        label, kind, suite: of the key.
        public: its public half.
        seconds: the fastest of a few operations.
    """

    label: str
    kind: Kind
    suite: Suite
    public: bytes
    seconds: float


def try_keys(keystore: Keystore, random: Random, clock: Callable[[], float]) -> list[Trial]:
    """Try every key.

    Raises:
        TokenFailed: it cannot be used, or what it gives is wrong.
        StateLost: a key is gone.
    """
    return [try_key(keystore, label, random, clock) for label in keystore.labels()]


def try_key(keystore: Keystore, label: str, random: Random, clock: Callable[[], float]) -> Trial:
    """Try one key. Raises as ``try_keys``."""
    kind, suite = keystore.labels()[label], keystore.suite(label)
    once = _agrees if kind == "agree" else _signs
    try:
        trials = [once(keystore, label, random, clock) for _ in range(_TIMES)]
    except NotAuthentic:
        raise TokenFailed(f"what the key {label} gives is wrong", hint="the token may be broken") from None
    return Trial(label, kind, suite, trials[0][0], min(seconds for _, seconds in trials))


def try_place(keystore: TokenKeystore, random: Random, clock: Callable[[], float]) -> list[Trial]:
    """Make a key of each kind in a keystore without keys, try them, and retire it. Raises as ``try_keys``."""
    kinds: dict[str, Kind] = {"trial-sign": "sign", "trial-agree": "agree"}
    try:
        for label, kind in kinds.items():
            keystore.generate(label, kind, SUITE_1)
        return try_keys(keystore, random, clock)
    finally:
        keystore.retire()


def _signs(keystore: Keystore, label: str, random: Random, clock: Callable[[], float]) -> tuple[bytes, float]:
    signer, message = keystore.signer(label), b"sealway keystore trial" + random(32)
    begun = clock()
    signature = signer.sign(message)
    seconds = clock() - begun
    signer.public.verify(message, signature)
    return signer.public.point, seconds


def _agrees(keystore: Keystore, label: str, random: Random, clock: Callable[[], float]) -> tuple[bytes, float]:
    agreer, curve = keystore.agreer(label), keystore.suite(label).curve
    scalar = curve.draw(random)
    peer = curve.public(scalar)
    begun = clock()
    agreed = agreer.agree(peer)
    seconds = clock() - begun
    if agreed != curve.agree(scalar, agreer.public):
        raise NotAuthentic("an agreement gave something else")
    return agreer.public, seconds

# SPDX-License-Identifier: Apache-2.0
"""What anyone between the ends sees of an envelope: everything that can be known without a key, and nothing else."""

from __future__ import annotations

from typing import Any

from sealway.wire.envelope import SUITE_OF_ALG, TAG_BYTES, Envelope
from sealway.wire.header import Claims, Opener, StartHeader


def describe(data: bytes) -> dict[str, Any]:
    """Return a JSON-ready description of an encoded envelope; byte strings are in hex. Raises Malformed or TooLarge.

    Keys: suite, kid, number, claims, start, opener (the last three null when absent), message_bytes (the length of the
    sealed message: the ciphertext without its tag).
    """
    envelope = Envelope.decode(data)
    return {
        "suite": SUITE_OF_ALG[envelope.alg],
        "kid": envelope.kid.hex(),
        "number": envelope.number,
        "claims": None if envelope.claims is None else _claims(envelope.claims),
        "start": None if envelope.start is None else _start(envelope.start),
        "opener": None if envelope.opener is None else _opener(envelope.opener),
        "message_bytes": len(envelope.ciphertext) - TAG_BYTES[envelope.alg],
    }


def _claims(claims: Claims) -> dict[str, Any]:
    every = {"topic": claims.topic, "tag": claims.tag, "expires": claims.expires}
    return {name: claim for name, claim in every.items() if claim is not None}


def _start(start: StartHeader) -> dict[str, Any]:
    return {
        "bundle_hash": start.bundle_hash.hex(),
        "x5t": start.x5t.hex(),
        "receive_kid": start.receive_kid.hex(),
        "ephemeral": start.ephemeral.hex(),
        "one_time": start.one_time,
        "ml_kem": None if start.ml_kem is None else start.ml_kem.hex(),
    }


def _opener(opener: Opener) -> dict[str, Any]:
    described: dict[str, Any] = {"chain_first": opener.chain_first}
    if opener.x is not None:
        described |= {"x": opener.x.hex(), "epoch_first": opener.epoch_first}
    if opener.reseed is not None:
        described |= {"reseed": opener.reseed[0], "salt": opener.reseed[1].hex()}
    return described

# SPDX-License-Identifier: Apache-2.0
"""The named peers, in a process and an environment of their own (bench/peers.txt). It knows nothing of Sealway.

It reads requests from its input, one a line, ``NAME COUNT SIZE``, does the work so many times with payloads of so many
bytes, and answers with one line: the processor time of each, in microseconds. Each peer is used as its own documents
say, over keys that exist already, and everything that is not the work itself is outside of the clock.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from aiocoap import POST, Message, oscore
from aiocoap.message import Direction
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from cwt import COSE, COSEAlgs, COSEHeaders, COSEKey
from doubleratchet import DoubleRatchet, Header
from doubleratchet.aead import AEAD
from doubleratchet.recommended import HashFunction, diffie_hellman_ratchet_curve25519, kdf_hkdf, kdf_separate_hmacs
from x3dh import HashFunction as X3dhHash
from x3dh import IdentityKeyFormat
from x3dh.base_state import BaseState

ONE_TIME_PREKEYS = 100


def cwt_encrypt0(payloads: list[bytes]) -> float:
    """COSE_Encrypt0 with AES-CCM-16-64-128 under one key that stays: encode, decode. There is no ratchet."""
    key = COSEKey.from_symmetric_key(os.urandom(16), alg="AES-CCM-16-64-128", kid=b"\x01")
    sender, receiver = COSE.new(), COSE.new()
    protected = {COSEHeaders.ALG: COSEAlgs.AES_CCM_16_64_128}
    nonces = [n.to_bytes(13, "big") for n in range(len(payloads))]

    def work() -> None:
        for payload, nonce in zip(payloads, nonces, strict=True):
            unprotected = {COSEHeaders.KID: b"\x01", COSEHeaders.IV: nonce}
            sealed = sender.encode_and_encrypt(payload, key, protected=protected, unprotected=unprotected)
            _check(receiver.decode(sealed, key), payload)

    return _each_us(work, len(payloads))


class _Ccm8(AEAD):  # type: ignore[misc]
    """AES-CCM with a tag of 8 bytes; key and nonce from the 32 bytes of a message key, as Sealway has it."""

    @staticmethod
    async def encrypt(plaintext: bytes, key: bytes, associated_data: bytes) -> bytes:
        """Return the ciphertext with its tag."""
        return AESCCM(key[:16], tag_length=8).encrypt(key[16:29], plaintext, associated_data)

    @staticmethod
    async def decrypt(ciphertext: bytes, key: bytes, associated_data: bytes) -> bytes:
        """Return the plaintext."""
        return AESCCM(key[:16], tag_length=8).decrypt(key[16:29], ciphertext, associated_data)


class _Ratchet(DoubleRatchet):  # type: ignore[misc]
    @staticmethod
    def _build_associated_data(associated_data: bytes, header: Header) -> bytes:
        counts = header.sending_chain_length.to_bytes(8, "big") + header.previous_sending_chain_length.to_bytes(
            8, "big"
        )
        return b"".join((associated_data, header.ratchet_pub, counts))


class _RootKdf(kdf_hkdf.KDF):  # type: ignore[misc]
    @staticmethod
    def _get_hash_function() -> HashFunction:
        return HashFunction.SHA_256

    @staticmethod
    def _get_info() -> bytes:
        return b"bench"


class _ChainKdf(kdf_separate_hmacs.KDF):  # type: ignore[misc]
    @staticmethod
    def _get_hash_function() -> HashFunction:
        return HashFunction.SHA_256


def double_ratchet(payloads: list[bytes]) -> float:
    """The Double Ratchet in the middle of a chain, both ends: encrypt, decrypt."""
    return asyncio.run(_double_ratchet(payloads, turns=False))


def double_ratchet_turns(payloads: list[bytes]) -> float:
    """As before, but the two ends take turns, so that the Double Ratchet takes a step with each message."""
    return asyncio.run(_double_ratchet(payloads, turns=True))


async def _double_ratchet(payloads: list[bytes], *, turns: bool) -> float:
    curve = diffie_hellman_ratchet_curve25519.DiffieHellmanRatchet
    settings: dict[str, Any] = {
        "diffie_hellman_ratchet_class": curve, "root_chain_kdf": _RootKdf, "message_chain_kdf": _ChainKdf,
        "message_chain_constant": b"\x02\x01", "dos_protection_threshold": 100, "max_num_skipped_message_keys": 1000,
        "aead": _Ccm8, "shared_secret": os.urandom(32),
    }  # fmt: skip
    private = os.urandom(32)
    public = _x25519_public(private)
    alice, first = await _Ratchet.encrypt_initial_message(
        recipient_ratchet_pub=public, message=b"first", associated_data=b"ad", **settings
    )
    bob, _ = await _Ratchet.decrypt_initial_message(
        own_ratchet_priv=private, message=first, associated_data=b"ad", **settings
    )
    await alice.decrypt_message(await bob.encrypt_message(b"back", b"ad"), b"ad")
    await bob.decrypt_message(await alice.encrypt_message(b"forth", b"ad"), b"ad")

    gc.collect()
    begun = time.thread_time()
    sender, receiver = alice, bob
    for payload in payloads:
        sealed = await sender.encrypt_message(payload, b"ad")
        _check(await receiver.decrypt_message(sealed, b"ad"), payload)
        if turns:
            sender, receiver = receiver, sender
    return (time.thread_time() - begun) / len(payloads) * 1e6


class _Context(oscore.CanProtect, oscore.CanUnprotect, oscore.SecurityContextUtils):  # type: ignore[misc]
    """A security context in memory: AES-CCM-16-64-128, HKDF with SHA-256, a replay window of 32 (RFC 8613 §3.2)."""

    echo_recovery = None
    id_context = None

    def __init__(self, sender_id: bytes, recipient_id: bytes, secret: bytes) -> None:
        self.alg_aead = oscore.algorithms[oscore.DEFAULT_ALGORITHM]
        self.hashfun = oscore.hashfunctions[oscore.DEFAULT_HASHFUNCTION]
        self.sender_id, self.recipient_id = sender_id, recipient_id
        self.sender_sequence_number = 0
        self.recipient_replay_window = oscore.ReplayWindow(32, lambda: None)
        self.recipient_replay_window.initialize_empty()
        self.derive_keys(b"", secret)

    def post_seqnoincrease(self) -> None:
        """Nothing is kept on a disk."""


def oscore_request(payloads: list[bytes]) -> float:
    """OSCORE of a POST to a resource: protect at the client, unprotect at the server."""
    secret = os.urandom(16)
    client, server = _Context(b"\x01", b"\x02", secret), _Context(b"\x02", b"\x01", secret)
    requests = [Message(code=POST, uri_path=["readings"], payload=payload) for payload in payloads]

    def work() -> None:
        for request, payload in zip(requests, payloads, strict=True):
            protected, _ = client.protect(request)
            protected.direction = Direction.INCOMING
            opened, _ = server.unprotect(protected)
            _check(opened.payload, payload)

    return _each_us(work, len(payloads))


class _X3dh(BaseState):  # type: ignore[misc]
    @staticmethod
    def _encode_public_key(key_format: IdentityKeyFormat, pub: bytes) -> bytes:
        return b"".join((key_format.value.encode(), pub))


def x3dh_start(payloads: list[bytes]) -> float:
    """X3DH at both ends: the initiator's secret from a bundle; the responder's from the header, and the one-time key
    deleted. A fresh bundle costs nothing here, and there is no message yet."""
    return asyncio.run(_x3dh_start(len(payloads)))


async def _x3dh_start(count: int) -> float:
    alice, bob = (_X3dh.create(IdentityKeyFormat.CURVE_25519, X3dhHash.SHA_256, b"bench") for _ in range(2))
    elapsed = 0.0
    for _ in range(count):
        bob.generate_pre_keys(ONE_TIME_PREKEYS - bob.get_num_visible_pre_keys())
        bundle = bob.bundle
        begun = time.thread_time()
        secret, _, header = await alice.get_shared_secret_active(bundle)
        agreed, _, _ = await bob.get_shared_secret_passive(header)
        bob.delete_pre_key(header.pre_key)
        elapsed += time.thread_time() - begun
        _check(agreed, secret)
    return elapsed / count * 1e6


def _x25519_public(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def _check(got: bytes, expected: bytes) -> None:
    if got != expected:
        raise ValueError("what was opened is not what was sealed")


def _each_us(work: Callable[[], None], count: int) -> float:
    gc.collect()
    begun = time.thread_time()
    work()
    return (time.thread_time() - begun) / count * 1e6


PEERS = {
    "cwt": cwt_encrypt0,
    "doubleratchet": double_ratchet,
    "doubleratchet-turns": double_ratchet_turns,
    "oscore": oscore_request,
    "x3dh": x3dh_start,
}


def main() -> None:
    """Answer requests until the input ends."""
    for line in sys.stdin:
        name, count, size = line.split()
        payloads = [n.to_bytes(4, "big") + bytes(int(size) - 4) for n in range(int(count))]
        print(PEERS[name](payloads), flush=True)


if __name__ == "__main__":
    main()

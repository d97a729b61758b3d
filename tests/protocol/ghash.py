# SPDX-License-Identifier: Apache-2.0
"""GHASH by hand (NIST SP 800-38D §6.3, §6.4): slow, and nobody else's code."""

from __future__ import annotations

_R = 0xE1 << 120


def _times(x: int, y: int) -> int:
    z = 0
    for bit in range(127, -1, -1):
        if x >> bit & 1:
            z ^= y
        y = y >> 1 ^ (_R if y & 1 else 0)
    return z


def gcm_tag(hash_key: bytes, cipher: bytes, mask: bytes) -> bytes:
    """The 16-byte tag over ``cipher`` without associated data; ``mask`` is the block cipher's output for J0."""
    padded = cipher + bytes(-len(cipher) % 16) + bytes(8) + (8 * len(cipher)).to_bytes(8, "big")
    y, h = 0, int.from_bytes(hash_key, "big")
    for at in range(0, len(padded), 16):
        y = _times(y ^ int.from_bytes(padded[at : at + 16], "big"), h)
    return (y ^ int.from_bytes(mask, "big")).to_bytes(16, "big")

# SPDX-License-Identifier: Apache-2.0
"""The Merkle tree over a bundle's one-time keys (RFC 9162 §2.1), with SHA-256.

Invariant: leaves and inner nodes are hashed under different first bytes, and a leaf contains its own index, so a path
proves one key at one place. The leaf's data is CBOR [index, key].
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from hmac import compare_digest

from sealway.errors import LocalMisuse, NotAuthentic
from sealway.wire import cbor, shape

MAX_ONE_TIME_KEYS = 64
MAX_PATH = 6  # the height of a tree of 64 leaves


def merkle_root(keys: Sequence[bytes]) -> bytes:
    """Return the 32-byte root over 1 to 64 keys (x-coordinates of 32 bytes). Raises Malformed."""
    return _root(_leaves(keys))


def merkle_path(keys: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return the inclusion proof of ``keys[index]``: the sibling hashes from the leaf up (RFC 9162 §2.1.3.1)."""
    leaves = _leaves(keys)
    if not 0 <= index < len(leaves):
        raise LocalMisuse(f"one-time key {index} of {len(leaves)}")
    return _path(leaves, index)


def verify_path(root: bytes, count: int, index: int, key: bytes, path: Sequence[bytes]) -> bytes:
    """Return ``key``, proven to be number ``index`` of the ``count`` keys under ``root`` (RFC 9162 §2.1.3.2).

    Raises NotAuthentic.
    """
    if not 0 <= index < count <= MAX_ONE_TIME_KEYS:
        raise NotAuthentic("one-time key beyond the tree")  # step 1
    node, last = leaf_hash(index, key), count - 1  # steps 2 and 3
    place = index
    for sibling in path:  # step 4
        if last == 0:
            raise NotAuthentic("one-time key: proof too long")
        if place & 1 or place == last:
            node = _inner(sibling, node)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            node = _inner(node, sibling)
        place, last = place >> 1, last >> 1
    if last != 0 or not compare_digest(node, root):  # step 5
        raise NotAuthentic("one-time key is not the one that the bundle promises")
    return key


def leaf_hash(index: int, key: bytes) -> bytes:
    """Return SHA-256(0x00, CBOR [index, key])."""
    return hashlib.sha256(b"\x00" + cbor.encode([index, shape.bstr(key, "one-time key", 32)])).digest()


def _leaves(keys: Sequence[bytes]) -> list[bytes]:
    shape.sequence(tuple(keys), "one-time keys", 1, MAX_ONE_TIME_KEYS)
    return [leaf_hash(index, key) for index, key in enumerate(keys)]


def _root(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    split = _split(len(leaves))
    return _inner(_root(leaves[:split]), _root(leaves[split:]))


def _path(leaves: list[bytes], index: int) -> tuple[bytes, ...]:
    if len(leaves) == 1:
        return ()
    split = _split(len(leaves))
    if index < split:
        return (*_path(leaves[:split], index), _root(leaves[split:]))
    return (*_path(leaves[split:], index - split), _root(leaves[:split]))


def _split(count: int) -> int:
    """Return the largest power of two below ``count``."""
    return 1 << (count - 1).bit_length() - 1


def _inner(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()

# SPDX-License-Identifier: Apache-2.0
"""The tree over one-time keys: RFC 9162's definition, and proofs that hold for one key at one place only."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealway.errors import LocalMisuse, Malformed, NotAuthentic
from sealway.wire import cbor
from sealway.wire.merkle import MAX_PATH, leaf_hash, merkle_path, merkle_root, verify_path
from tests.wire.wire_strategies import byte32


def keys_of(count: int) -> list[bytes]:
    """Different keys, as many as asked for."""
    return [hashlib.sha256(bytes((place,))).digest() for place in range(count)]


def node(left: bytes, right: bytes) -> bytes:
    """An inner node, written out a second time."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def test_the_tree_of_seven_of_rfc_9162() -> None:
    # RFC 9162 §2.1.5: root = ((a b)(c d))((e f) j); the proof of d0 is [b, h, l].
    keys = keys_of(7)
    a, b, c, d, e, f, j = (hashlib.sha256(b"\x00" + cbor.encode([i, key])).digest() for i, key in enumerate(keys))
    g, h, i = node(a, b), node(c, d), node(e, f)
    k, l = node(g, h), node(i, j)  # noqa: E741 - the RFC's letters
    assert merkle_root(keys) == node(k, l)
    assert merkle_path(keys, 0) == (b, h, l)
    assert merkle_path(keys, 3) == (c, g, l)
    assert merkle_path(keys, 4) == (f, j, k)
    assert merkle_path(keys, 6) == (i, k)


@pytest.mark.parametrize("count", range(1, 65))
def test_every_key_of_every_size_is_proven(count: int) -> None:
    keys = keys_of(count)
    root = merkle_root(keys)
    for index, key in enumerate(keys):
        path = merkle_path(keys, index)
        assert len(path) <= MAX_PATH
        assert verify_path(root, count, index, key, path) == key


@given(st.integers(1, 64), st.data())
def test_nothing_else_is_proven(count: int, data: st.DataObject) -> None:
    keys = keys_of(count)
    root, index = merkle_root(keys), data.draw(st.integers(0, count - 1))
    path = merkle_path(keys, index)
    key, other = keys[index], data.draw(byte32)
    elsewhere = data.draw(st.integers(0, 70).filter(lambda place: place != index))
    wrong = [
        (root, count, index, other, path),
        (other, count, index, key, path),
        (root, count, elsewhere, key, path),
        (root, count, index, key, (*path, other)),
        (root, index, index, key, path),
        (root, 65, index, key, path),
    ]
    if path:
        at = data.draw(st.integers(0, len(path) - 1))
        wrong += [
            (root, count, index, key, path[:-1]),
            (root, count, index, key, (*path[:at], other, *path[at + 1 :])),
        ]
    for attempt in wrong:
        with pytest.raises(NotAuthentic):
            verify_path(*attempt)


def test_an_inner_node_is_no_leaf() -> None:
    keys = keys_of(2)
    root = merkle_root(keys)
    for key in (leaf_hash(0, keys[0]) + leaf_hash(1, keys[1]), root):
        with pytest.raises((NotAuthentic, Malformed)):
            verify_path(root, 1, 0, key, ())


def test_what_can_not_be_a_tree() -> None:
    for keys in ([], keys_of(65), [b"short"]):
        with pytest.raises(Malformed):
            merkle_root(keys)
    for index in (-1, 3):
        with pytest.raises(LocalMisuse):
            merkle_path(keys_of(3), index)

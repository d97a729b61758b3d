# SPDX-License-Identifier: Apache-2.0
"""Changes of an envelope's bytes as a whole: any bit, its ends, and other encodings of the very same content."""

from __future__ import annotations

from sealway.adversary.attack import Tools
from sealway.adversary.dissecting import Header, put_together, taken_apart
from sealway.adversary.surgery import flipped
from sealway.wire import cbor
from sealway.wire.cbor import bstr_head


def any_bit(envelope: bytes, tools: Tools) -> bytes | None:
    """Change one bit, wherever it is."""
    return flipped(envelope, tools)


def structure(envelope: bytes, tools: Tools) -> bytes | None:
    """Change the CBOR around the parts: tag, array, heads."""
    parts = taken_apart(envelope)
    if parts is None:
        return None
    protected, ciphertext = cbor.encode(parts[0]), parts[1]
    return tools.random.choice(
        [
            b"\xd1" + envelope[1:],  # another tag
            envelope[1:],  # no tag
            cbor.encode_tagged(16, [protected, {}, ciphertext, b""]),  # four parts
            cbor.encode_tagged(16, [protected, {}]),  # two
            cbor.encode_tagged(16, [protected, {}, None]),  # detached content
            cbor.encode_tagged(16, [b"", {}, ciphertext]),  # no protected header
        ]
    )


def truncated(envelope: bytes, tools: Tools) -> bytes | None:
    """Cut the end off."""
    return envelope[: tools.random.randrange(1, len(envelope))]


def extended(envelope: bytes, tools: Tools) -> bytes | None:
    """Add bytes behind the end."""
    return envelope + tools.random.randbytes(tools.random.randrange(1, 32))


def encoded_otherwise(envelope: bytes, tools: Tools) -> bytes | None:
    """Write the same content in an encoding that is not the deterministic one."""
    parts = taken_apart(envelope)
    if parts is None:
        return None
    protected, ciphertext = cbor.encode(parts[0]), parts[1]
    unsorted = _backwards(parts[0])
    return tools.random.choice(
        [
            b"\xd0\x98\x03" + envelope[2:],  # the length of the array in two bytes
            b"\xd8\x10" + envelope[1:],  # the tag in two bytes
            b"\xd0\x9f" + envelope[2:] + b"\xff",  # an array of indefinite length
            b"\xd0\x83" + _long(protected) + b"\xa0" + _head_and(ciphertext),
            b"\xd0\x83" + _head_and(protected) + b"\xa0" + _long(ciphertext),
            b"\xd0\x83" + _head_and(unsorted) + b"\xa0" + _head_and(ciphertext),
        ]
    )


def with_unprotected(envelope: bytes, tools: Tools) -> bytes | None:
    """Put something into the header that nothing protects: another number, or a kid."""
    parts = taken_apart(envelope)
    if parts is None:
        return None
    choices: list[Header] = [{6: b"\x07"}, {4: b"\x01"}, {15: {4: 1}}, {-65540: 1}]
    added = tools.random.choice(choices)
    return put_together(*parts, added)


def _backwards(header: Header) -> bytes:
    return bytes((0xA0 | len(header),)) + b"".join(
        cbor.encode(key) + cbor.encode(header[key]) for key in reversed(list(header))
    )


def _head_and(content: bytes) -> bytes:
    return bstr_head(len(content)) + content


def _long(content: bytes) -> bytes:
    return b"\x5a" + len(content).to_bytes(4, "big") + content

# SPDX-License-Identifier: Apache-2.0
"""``sealway inspect``: what anyone between the two ends sees of an envelope."""

from __future__ import annotations

import binascii
import string
from base64 import b64decode
from pathlib import Path
from typing import Annotated, Final

import typer

from sealway.cli.files import read_input
from sealway.cli.messages import show_fields, show_json
from sealway.cli.options import AsJson, document
from sealway.errors import Malformed

_TAG_16: Final = 0xD0
"""First byte of every envelope: CBOR tag 16, COSE_Encrypt0 (RFC 9052 §2)."""

_HEX: Final = frozenset(string.hexdigits.encode())
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_MOST: Final = 1 << 20


def inspect_command(
    file: Annotated[Path, typer.Argument(help="an envelope as raw bytes, hex or base64; - is standard input")],
    as_json: AsJson = False,
) -> None:
    """Show what anyone between the ends sees of an envelope."""
    from sealway.wire.inspect import describe

    content = read_input(file, "the envelope", limit=_MOST)
    with document("not an envelope"):
        seen = describe(envelope_bytes(content))
    show_json(seen) if as_json else show_fields(seen)


def envelope_bytes(content: bytes) -> bytes:
    """Return the envelope that is in a file: raw, in hex, or in base64 (also URL-safe). Raises Malformed."""
    if content[:1] == bytes([_TAG_16]):
        return content
    text = b"".join(content.split())
    if not text:
        raise Malformed("nothing is there")
    if len(text) % 2 == 0 and _HEX.issuperset(text):
        return bytes.fromhex(text.decode("ascii"))
    try:
        return b64decode(text.translate(_URL_SAFE) + b"=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("neither raw nor hex nor base64") from None

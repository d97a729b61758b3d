# SPDX-License-Identifier: Apache-2.0
"""The names that both sides of the CoAP hop use: paths, content formats, limits of one block (RFC 7252, RFC 7959)."""

from __future__ import annotations

import re
from typing import Final

# Uri-Path segments.
MAILBOX: Final = "m"  # POST an envelope in either form, GET (Observe) what waits
ACKNOWLEDGE: Final = "a"  # POST an Acknowledgement
BUNDLES: Final = "b"  # PUT a Publication, POST ?n=NAME claims an Offer, GET ?n=NAME or /HASH
CREDENTIALS: Final = "c"  # PUT a CertChain, GET /X5T
CONSENTS: Final = "k"  # PUT a CarryConsent
ROOT: Final = "r"  # GET the owner root document
JOIN: Final = "j"  # POST a message of joining, at a device that waits for an owner
METRICS: Final = "metrics"

# Content-Format numbers of the IANA CoRE registry (RFC 9052 §11.4, RFC 8949 §9.5).
FORMAT_TEXT: Final = 0
FORMAT_ENVELOPE: Final = 16  # application/cose; cose-type="cose-encrypt0"
FORMAT_SIGN1: Final = 18  # application/cose; cose-type="cose-sign1"
FORMAT_CBOR: Final = 60
FORMAT_SIGN: Final = 98  # application/cose; cose-type="cose-sign"

# Experimental numbers (RFC 7252 §12.3), until these are registered.
FORMAT_COMPACT: Final = 65_000  # application/sealway-compact: an envelope in its compact form
FORMAT_HANDED: Final = 65_001  # application/sealway-handed+cbor: what waits, each envelope in the form that suits

BLOCK_BYTES: Final = 1024
"""Largest payload of one datagram; what is longer goes blockwise (RFC 7959 §2.2, SZX 6)."""

BLOCK_EXPONENT: Final = 6

_MAILBOX_ID = re.compile(r"[a-z2-7]{16}\Z")


def is_mailbox_id(text: str) -> bool:
    """Tell if ``text`` has the form of a mailbox id: 16 characters of lower-case base32."""
    return _MAILBOX_ID.match(text) is not None


def status_of(code: int) -> int:
    """Return a CoAP code byte as class*100+detail: 0x44 (2.04) is 204, 0x9D (4.29) is 429."""
    return (code >> 5) * 100 + (code & 0x1F)

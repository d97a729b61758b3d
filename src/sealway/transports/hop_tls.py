# SPDX-License-Identifier: Apache-2.0
"""TLS towards a hop: 1.3 only, and trusting the domain's own authorities only."""

from __future__ import annotations

import ssl
from collections.abc import Sequence

from sealway.errors import LocalMisuse


def client_context(authorities: Sequence[bytes]) -> ssl.SSLContext:
    """Return a context that trusts exactly these issuing CA certificates (DER), and checks the host name.

    Raises:
        LocalMisuse: there is none, or one cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if not authorities:
        raise LocalMisuse("no authority to trust a hop by")
    try:
        context.load_verify_locations(cadata=b"".join(authorities))
    except (ssl.SSLError, ValueError):
        raise LocalMisuse("an authority's certificate cannot be read") from None
    return context

# SPDX-License-Identifier: Apache-2.0
"""The hub's TLS: 1.3 only, with the certificate that the owner's CA issued for the role hub."""

from __future__ import annotations

import os
import ssl
from base64 import encodebytes
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sealway.crypto.keys import Secret
from sealway.errors import LocalMisuse


def server_context(chain: Sequence[bytes], key_pem: Secret, state_dir: Path) -> ssl.SSLContext:
    """Return the context that a hub serves with.

    Args:
        chain: certificates in DER, leaf first.
        key_pem: the leaf's private key, PEM.
        state_dir: where the key stands in a file of mode 0600 for the moment in which the TLS library reads it.

    Raises:
        LocalMisuse: certificate and key do not fit, or cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    path = state_dir / f"tls-{os.getpid()}.pem"
    try:
        _write_private(path, key_pem.reveal() + b"\n" + b"".join(map(_pem, chain)))
        context.load_cert_chain(path)
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        raise LocalMisuse("the hub's TLS certificate and key cannot be used", hint="enroll the hub again") from None
    finally:
        with suppress(FileNotFoundError):
            path.unlink()
    return context


def _write_private(path: Path, content: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(content)


def _pem(der: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + encodebytes(der) + b"-----END CERTIFICATE-----\n"

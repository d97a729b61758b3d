# SPDX-License-Identifier: Apache-2.0
"""The command line with a witness: ``python recording.py FILE ARGUMENTS...`` writes down every secret it ever has.

These are: whatever becomes a ``Secret`` (passphrases, private keys, agreed keys), whatever is derived by HKDF (the keys
of chains and messages), client assertions and access tokens. One hexadecimal line each, written at once.
"""

from __future__ import annotations

import os
import sys
from typing import Any

SHORTEST = 8


def _record_into(path: str) -> None:
    from sealway.crypto import kdf, secret
    from sealway.identity import assertion

    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def keep(value: bytes) -> None:
        if len(value) >= SHORTEST:
            os.write(descriptor, value.hex().encode() + b"\n")

    def init(self: Any, value: bytes) -> None:
        keep(bytes(value))
        secret_init(self, value)

    def expand(prk: bytes, info: bytes, length: int) -> bytes:
        derived = hkdf_expand(prk, info, length)
        keep(derived)
        return derived

    def assert_(**given: Any) -> str:
        text = make_assertion(**given)
        keep(text.encode())
        return text

    def token_in(body: bytes) -> Any:
        token = read_token(body)
        keep(token.text.encode())
        return token

    secret_init, hkdf_expand, make_assertion = secret.Secret.__init__, kdf.hkdf_expand, assertion.make_assertion
    secret.Secret.__init__ = init  # type: ignore[method-assign]
    kdf.hkdf_expand = expand
    assertion.make_assertion = assert_
    from sealway.transports import http_exchange

    read_token = http_exchange._token_in
    http_exchange._token_in = token_in


if __name__ == "__main__":
    _record_into(sys.argv.pop(1))
    from sealway.cli.main import main

    main()

# SPDX-License-Identifier: Apache-2.0
"""The name of a PKCS#11 token: a URI of RFC 7512, of which a few attributes are needed here.

Invariant: no PIN comes in by a URI, since that is kept in files and shown on screens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from sealway.errors import LocalMisuse

SCHEME: Final = "pkcs11:"
_EXAMPLE: Final = "pkcs11:token=NAME?module-path=/usr/lib/softhsm/libsofthsm2.so"
_MOST_CHARACTERS: Final = 1_024


@dataclass(frozen=True, slots=True)
class TokenName:
    """Which token.

    Args:
        module: path of the PKCS#11 module, a shared library.
        token: the token's label; None: any.
        serial: its serial number; None: any.
    """

    module: str
    token: str | None = None
    serial: str | None = None

    @classmethod
    def parse(cls, uri: str) -> TokenName:
        """Read a URI. Raises LocalMisuse."""
        if not uri.startswith(SCHEME) or len(uri) > _MOST_CHARACTERS or not uri.isascii() or not uri.isprintable():
            raise LocalMisuse("not the URI of a PKCS#11 token", hint=_EXAMPLE)
        path, _, query = uri.removeprefix(SCHEME).partition("?")
        path_attributes, query_attributes = _attributes(path, ";"), _attributes(query, "&")
        if {"pin-value", "pin-source"} & query_attributes.keys():
            raise LocalMisuse("a PIN has no place in a URI", hint="use --key-file, SEALWAY_PASSPHRASE or the prompt")
        module = query_attributes.pop("module-path", "")
        token, serial = path_attributes.pop("token", None), path_attributes.pop("serial", None)
        for other in (*path_attributes, *query_attributes):
            raise LocalMisuse(f"a token's URI with {other} is not understood here", hint=_EXAMPLE)
        if not module.startswith("/"):
            raise LocalMisuse("a token's URI must name its module, by a whole path", hint=_EXAMPLE)
        if not token and not serial:
            raise LocalMisuse("a token's URI must name the token, or its serial number", hint=_EXAMPLE)
        return cls(module, token, serial)


def _attributes(part: str, separator: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for attribute in part.split(separator) if part else ():
        name, equals, value = attribute.partition("=")
        if not equals or name in found:
            raise LocalMisuse("a token's URI has an attribute that cannot be read, or one twice", hint=_EXAMPLE)
        try:
            found[name] = unquote(value, errors="strict")
        except UnicodeDecodeError:
            raise LocalMisuse(f"{name} in a token's URI is not UTF-8", hint=_EXAMPLE) from None
    return found

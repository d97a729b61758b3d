# SPDX-License-Identifier: Apache-2.0
"""Where a keystore can be, by name: ``file``, ``pkcs11:…`` (RFC 7512), and how it is made and opened there.

A keystore is opened by its file alone: that holds either the keys, under a passphrase, or says in which token they are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sealway.crypto.ports import Random
from sealway.crypto.secret import Secret
from sealway.errors import LocalMisuse
from sealway.keystore.chip import Chip
from sealway.keystore.file import FileKeystore
from sealway.keystore.index import Index, decode_index, is_index
from sealway.keystore.kept import MAX_FILE_BYTES, KeptFile
from sealway.keystore.pkcs11_uri import SCHEME as PKCS11
from sealway.keystore.pkcs11_uri import TokenName
from sealway.keystore.ports import Keystore
from sealway.keystore.private_file import read_private
from sealway.keystore.token import TokenKeystore

FILE: Final = "file"


def check_place(place: str) -> None:
    """Return if a keystore can be there. Raises LocalMisuse."""
    if place.startswith(PKCS11):
        TokenName.parse(place)
    elif place != FILE:
        raise LocalMisuse("there is no such place for keys", hint="use file, or pkcs11:token=NAME?module-path=/PATH.so")


def place_of(path: Path) -> str:
    """Return where the keys are whose file this is. Raises LocalMisuse, StateLost."""
    content = read_private(path, limit=MAX_FILE_BYTES)
    return decode_index(content).place if is_index(content) else FILE


def create_keystore(place: str, path: Path, secret: Secret, random: Random = os.urandom) -> Keystore:
    """Make a keystore without keys.

    Args:
        place: where its keys shall be.
        path: its file, which is not there yet.
        secret: the passphrase, or the token's PIN.

    Raises:
        LocalMisuse: there is a file, no such place, or a wrong PIN; what the place needs is not installed.
        TokenFailed: the token cannot be used.
    """
    check_place(place)
    if place == FILE:
        return FileKeystore.create(path, secret, random)
    index = Index(place)
    keystore = TokenKeystore(_chip(place, index.settings, secret), index, KeptFile(path), random)
    keystore.keep()
    return keystore


def open_keystore(path: Path, secret: Secret, random: Random = os.urandom) -> Keystore:
    """Open a keystore.

    Raises:
        LocalMisuse: no such file, open to other users, a wrong passphrase or PIN; what it needs is not installed.
        TokenFailed: the token cannot be used.
        StateLost: not a keystore's file, or a damaged one.
    """
    if place_of(path) == FILE:
        return FileKeystore.open(path, secret, random)
    file, content = KeptFile.read(path)
    index = decode_index(content)
    check_place(index.place)
    return TokenKeystore(_chip(index.place, index.settings, secret), index, file, random)


def _chip(place: str, settings: Mapping[str, str], secret: Secret) -> Chip:
    from sealway.keystore.pkcs11 import Pkcs11Chip

    return Pkcs11Chip(TokenName.parse(place), secret)

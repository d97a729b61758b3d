# SPDX-License-Identifier: Apache-2.0
"""Where a keystore can be, by name: ``file``, ``pkcs11:…`` (RFC 7512), ``tpm:…``, and how it is made and opened there.

A keystore is opened by its file alone: that holds either the keys, under a passphrase, or says in which token they are.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from sealway.crypto.ports import Random
from sealway.crypto.secret import Secret
from sealway.errors import LocalMisuse, SealwayError
from sealway.keystore.chip import Chip
from sealway.keystore.file import FileKeystore
from sealway.keystore.index import Index, decode_index, is_index
from sealway.keystore.kept import MAX_FILE_BYTES, KeptFile
from sealway.keystore.pkcs11_uri import SCHEME as PKCS11
from sealway.keystore.pkcs11_uri import TokenName
from sealway.keystore.ports import Keystore
from sealway.keystore.private_file import read_private
from sealway.keystore.token import TokenKeystore
from sealway.keystore.tpm_name import SCHEME as TPM
from sealway.keystore.tpm_name import TpmName

FILE: Final = "file"


def check_place(place: str) -> None:
    """Return if a keystore can be there. Raises LocalMisuse."""
    if place.startswith(PKCS11):
        TokenName.parse(place)
    elif place.startswith(TPM):
        TpmName.parse(place)
    elif place != FILE:
        hint = "use file, pkcs11:token=NAME?module-path=/PATH.so, or tpm:device:/dev/tpmrm0"
        raise LocalMisuse("there is no such place for keys", hint=hint)


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
    return create_token_keystore(place, path, secret, random)


def create_token_keystore(place: str, path: Path, secret: Secret, random: Random = os.urandom) -> TokenKeystore:
    """Make a keystore without keys in a token or TPM. Raises as ``create_keystore``."""
    if os.path.lexists(path):
        raise LocalMisuse(f"{path} exists already", hint="choose another path, or open it")
    chip = _begun(place, secret, random)
    try:
        return TokenKeystore.begin(place, chip, KeptFile(path), random)
    except SealwayError:
        chip.retire()
        raise


def keystore_at(place: str | None, path: Path, secret: Secret) -> Keystore:
    """Open the keystore that is there, or make it in a place; None: a file. Raises as the two functions that do it, and
    LocalMisuse if it is in another place."""
    if not path.exists():
        return create_keystore(place or FILE, path, secret)
    if place not in (None, present := place_of(path)):
        raise LocalMisuse(f"the keys of {path.parent} are in {present}", hint="use a directory of its own")
    return open_keystore(path, secret)


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
    return TokenKeystore.resume(index, _opened(index, secret), file, random)


def _begun(place: str, secret: Secret, random: Random) -> Chip:
    from sealway.keystore.pkcs11 import Pkcs11Chip
    from sealway.keystore.tpm import TpmChip

    if place.startswith(TPM):
        return TpmChip.create(TpmName.parse(place), secret, random)
    return Pkcs11Chip(TokenName.parse(place), secret)


def _opened(index: Index, secret: Secret) -> Chip:
    from sealway.keystore.pkcs11 import Pkcs11Chip
    from sealway.keystore.tpm import TpmChip

    if index.place.startswith(TPM):
        return TpmChip.open(TpmName.parse(index.place), secret, index.settings)
    return Pkcs11Chip(TokenName.parse(index.place), secret)

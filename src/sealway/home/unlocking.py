# SPDX-License-Identifier: Apache-2.0
"""The passphrase of a keystore as programs give it: by value, by key file, or by the environment. Nobody is asked."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn, TypeAlias

from sealway.crypto.secret import Secret
from sealway.errors import LocalMisuse
from sealway.keystore.unlock import VARIABLE, find_passphrase

Passphrase: TypeAlias = str | bytes | Secret


def passphrase_of(passphrase: Passphrase | None, key_file: str | Path | None) -> Secret:
    """Return a keystore's passphrase; without an argument it is that of SEALWAY_PASSPHRASE.

    Raises:
        LocalMisuse: both are given, there is none, or it is empty; the key file is open to other users.
        StateLost: the key file is larger than 4 KiB.
    """
    if passphrase is not None and key_file is not None:
        raise LocalMisuse("passphrase and key_file say the same", hint="give one of them")
    if isinstance(passphrase, Secret):
        return passphrase
    if isinstance(passphrase, bytes):
        return Secret(passphrase)
    if passphrase is not None:
        return find_passphrase(environment={VARIABLE: passphrase})  # composed alike on every computer
    return find_passphrase(key_file=key_file, prompt=_nobody)


def _nobody(_: str) -> NoReturn:
    raise LocalMisuse("no passphrase", hint=f"give passphrase= or key_file=, or set {VARIABLE}")

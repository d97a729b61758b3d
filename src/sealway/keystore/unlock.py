# SPDX-License-Identifier: Apache-2.0
"""Where a keystore's passphrase or PIN comes from: a key file, the environment, or the person at the terminal, in this
order.

Invariant: the passphrase is never taken from the command line, where every user of the computer could see it.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Callable, Mapping
from getpass import getpass
from pathlib import Path
from typing import Final

from sealway.crypto.secret import Secret
from sealway.errors import LocalMisuse
from sealway.keystore.private_file import read_private

VARIABLE: Final = "SEALWAY_PASSPHRASE"
MAX_PASSPHRASE_BYTES: Final = 4096

_HINT: Final = f"set {VARIABLE}, give --key-file, or run this in a terminal"

Prompt = Callable[[str], str]


def find_passphrase(
    *,
    key_file: Path | str | None = None,
    environment: Mapping[str, str] | None = None,
    prompt: Prompt | None = None,
    confirm: bool = False,
    what: str = "passphrase",
) -> Secret:
    """Return the passphrase.

    Args:
        key_file: a file of mode 0600 that holds it; one newline at its end does not count. Wins over everything.
        environment: looked up for SEALWAY_PASSPHRASE; this process's by default.
        prompt: asks a person, without echo; by default the terminal, if there is one.
        confirm: ask twice, for a new keystore.
        what: what a person calls it: a token has a PIN.

    Raises:
        LocalMisuse: no source, an empty passphrase, or two that differ.
        StateLost: the key file is larger than 4 KiB.
    """
    if key_file is not None:
        return _checked(_without_newline(read_private(Path(key_file), limit=MAX_PASSPHRASE_BYTES)))
    given = (os.environ if environment is None else environment).get(VARIABLE)
    if given is not None:
        return _from_text(given)
    ask = prompt or _terminal()
    passphrase = _from_text(ask(f"{what}: "))
    if confirm and _from_text(ask("the same again: ")) != passphrase:
        raise LocalMisuse("the two passphrases differ")
    return passphrase


def _terminal() -> Prompt:
    if not sys.stdin.isatty():
        raise LocalMisuse("no passphrase, and no terminal to ask at", hint=_HINT)
    return getpass


def _from_text(text: str) -> Secret:
    # The same characters typed on two computers may be composed differently (RFC 8265 §4.2.2: NFC).
    return _checked(unicodedata.normalize("NFC", text).encode("utf-8", "surrogateescape"))


def _checked(passphrase: bytes) -> Secret:
    if not passphrase:
        raise LocalMisuse("the passphrase is empty", hint=_HINT)
    return Secret(passphrase)


def _without_newline(content: bytes) -> bytes:
    return content.removesuffix(b"\n").removesuffix(b"\r")

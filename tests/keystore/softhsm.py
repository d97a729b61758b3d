# SPDX-License-Identifier: Apache-2.0
"""A real PKCS#11 module for tests: SoftHSM2, with its tokens in a directory of their own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from urllib.parse import quote

import pkcs11
import pytest

from sealway.crypto.secret import Secret
from sealway.keystore import pkcs11_session
from sealway.keystore.places import create_keystore
from sealway.keystore.ports import Keystore

MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so")
PIN = "271828"
SO_PIN = "31415926"
CONTRACT_TOKEN = "contract"


def module() -> str:
    """Return the path of SoftHSM2's module."""
    found = next((path for path in MODULES if Path(path).exists()), None)
    if found is None:
        pytest.skip("SoftHSM2 is not installed (Debian: softhsm2)")
    return found


class SoftHsm:
    """SoftHSM2 with tokens in a directory; this process's environment names it, so there is one at a time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.tokens = directory / "tokens"
        self.tokens.mkdir(parents=True)
        config = directory / "softhsm2.conf"
        config.write_text(f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
        os.environ["SOFTHSM2_CONF"] = str(config)

    def add_token(self, label: str) -> str:
        """Make a token and return its URI."""
        command = ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", SO_PIN]
        subprocess.run([*command, "--module", module()], check=True, capture_output=True, timeout=60)
        self.begin_anew()
        return uri(label)

    def remove_tokens(self) -> None:
        """Let the tokens vanish, as if they were pulled out."""
        self.tokens.rename(self.directory / "elsewhere")
        self.tokens.mkdir()

    def bring_back(self) -> None:
        """Plug them in again."""
        self.tokens.rmdir()
        (self.directory / "elsewhere").rename(self.tokens)

    def begin_anew(self) -> None:
        """Let this process see which tokens there are now; nobody is logged in any more."""
        pkcs11_session._sessions.clear()
        pkcs11.lib(module()).reinitialize()
        pkcs11_session.clear_openssl_errors()


def uri(label: str) -> str:
    """Return a token's URI."""
    return f"pkcs11:token={quote(label)}?module-path={module()}"


def raw_session(label: str) -> pkcs11.Session:
    """Open a session past Sealway; in this process, which may be logged in already."""
    token = pkcs11.lib(module()).get_token(token_label=label)
    try:
        return token.open(rw=True, user_pin=PIN)
    except pkcs11.UserAlreadyLoggedIn:
        return token.open(rw=True)


def token_keystore(directory: Path, place: str) -> Keystore:
    """Return a new keystore in a token."""
    return create_keystore(place, directory / "keys", Secret(PIN.encode()))

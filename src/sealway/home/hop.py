# SPDX-License-Identifier: Apache-2.0
"""What a carrier gets of its own state directory: who it is to the next hop. Its key signs that, and opens nothing.

The carriers themselves cannot import this: it is made where all sides meet, and handed to them.
"""

from __future__ import annotations

import os
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from sealway.home.home import Enrolled, Home, role_in
from sealway.home.membership import Membership
from sealway.home.unlocking import Passphrase
from sealway.identity.assertion import make_assertion
from sealway.transports.hop_tls import client_context
from sealway.wire.address import Name


@dataclass(frozen=True, slots=True)
class HopIdentity(Membership):
    """Who a gateway is to its hub. Made by ``open``; ``prepare`` and ``accept`` make members of gateways and hubs."""

    _command: ClassVar[str] = "gateway"
    _member: Enrolled

    @classmethod
    def open(
        cls, directory: str | Path, *, passphrase: Passphrase | None = None, key_file: str | Path | None = None
    ) -> Self:
        """Open a gateway's state directory: its keys, and its certificate proven as of now.

        Args:
            passphrase: of its keys; else ``key_file``, a file of mode 0600, else SEALWAY_PASSPHRASE.

        Raises:
            InUse: a gateway runs there.
            LocalMisuse: not enrolled, or a wrong passphrase.
            NotTrusted: its certificate, or the owner's root document, has expired.
            StateLost: something in the directory is damaged.
        """
        return cls(cls._enrolled(directory, passphrase, key_file))

    @classmethod
    def _home(cls, directory: str | Path, role: str | None = None) -> Home:
        path = Path(directory).expanduser()
        if role is None and (path / "request.csr").exists():
            role = role_in(path)
        return Home(path, "hub" if role == "hub" else "gateway")

    @property
    def name(self) -> Name:
        """The certified name."""
        return self._member.credential.name

    @property
    def hub(self) -> str:
        """The hub that the owner named: https://HOST[:PORT]."""
        return self._member.claims.hub

    def tls(self) -> ssl.SSLContext:
        """Return a context that trusts hops of this domain only. Raises LocalMisuse."""
        return client_context(self._member.root.issuing_cas)

    def assertion(self, audience: str) -> str:
        """Return a fresh proof, for one hub, of who this is (RFC 7523)."""
        credential = self._member.credential
        return make_assertion(
            name=str(credential.name), chain=credential.chain, signer=self._member.signer, audience=audience,
            now=int(time.time()), random=os.urandom,
        )  # fmt: skip

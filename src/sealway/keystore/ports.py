# SPDX-License-Identifier: Apache-2.0
"""What every keystore offers, be it memory, a file, a token or a TPM."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

from sealway.crypto.ports import Agreer, Signer
from sealway.crypto.suites import SUITE_1, Suite

Kind: TypeAlias = Literal["sign", "agree", "hop"]
"""What a key is for: signing, agreement, or a hop's TLS (the only kind whose private half a library gets)."""


class Keystore(Protocol):
    """Private keys by label: 1 to 63 of a-z, 0-9, dot, underscore and hyphen, the first a letter or digit."""

    def labels(self) -> dict[str, Kind]:
        """Return every label, with its key's kind."""

    def suite(self, label: str) -> Suite:
        """Return what a key was made for. Raises LocalMisuse if there is none."""

    def generate(self, label: str, kind: Kind = "sign", suite: Suite = SUITE_1) -> None:
        """Make a new key for a suite and keep it durably; a hop's is always for suite 1.

        Raises LocalMisuse if the label is taken or not a label.
        """

    def remove(self, label: str) -> None:
        """Forget a key, durably. Raises LocalMisuse if there is none."""

    def signer(self, label: str) -> Signer:
        """Return the signing port of a key of kind sign or hop. Raises LocalMisuse."""

    def agreer(self, label: str) -> Agreer:
        """Return the agreement port of a key of kind agree. Raises LocalMisuse."""

    def hop_key_pem(self, label: str) -> bytes:
        """Return a key of kind hop as plain PKCS #8 PEM, for a TLS library. Raises LocalMisuse for other kinds."""

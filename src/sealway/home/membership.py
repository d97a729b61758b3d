# SPDX-License-Identifier: Apache-2.0
"""Becoming a member from a program, in two phases: ask the owner, take its answer."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from sealway.crypto.suites import suite as suite_of
from sealway.errors import LocalMisuse, Malformed
from sealway.home.home import Enrolled, Home
from sealway.home.unlocking import Passphrase, passphrase_of
from sealway.wire.address import Name


class Membership:
    """What devices, applications and hops have in common: a state directory, and how one comes into being."""

    _command: ClassVar[str]
    """Which group of commands the state directory belongs to."""

    @classmethod
    def prepare(
        cls, directory: str | Path, name: Name | str, *, suite: int | None = None, keystore: str | None = None,
        passphrase: Passphrase | None = None, key_file: str | Path | None = None,
    ) -> bytes:  # fmt: skip
        """Make the keys of ``name`` and return the request that the owner is to certify (``Owner.enroll``).

        Begun before and interrupted, it is completed; done before, it returns the same request.

        Args:
            directory: the state directory, made if it is not there.
            name: as it shall be certified: sealway://DOMAIN/ROLE/LABEL.
            suite: what an endpoint's keys are made for: 1 (P-256, tags of 8 bytes), 2 (the same with 16), or 3 (X25519,
                Ed25519, ChaCha20/Poly1305). None: 1, or what keys that are here already were made for.
            keystore: where the keys are made: "file", the URI of a PKCS#11 token (RFC 7512) with its module-path, or
                "tpm:" with the way to a TPM. None: a file, or where they are already.
            passphrase: protects the keys, or is the token's PIN; else ``key_file``, a file of mode 0600, else
                SEALWAY_PASSPHRASE.

        Raises:
            LocalMisuse: another name or suite was asked for here, or not a name of this role; no such suite; a wrong
                passphrase; the directory cannot be used.
            TokenFailed: the token cannot be used.
        """
        home = cls._home(directory, name_of(name).role)
        wanted, chosen = name_of(name, home.role), None if suite is None else suite_of(suite)
        return home.prepare(wanted, passphrase_of(passphrase, key_file), chosen, keystore)

    @classmethod
    def accept(
        cls, directory: str | Path, enrolment: bytes, *, fingerprint: str | None = None,
        passphrase: Passphrase | None = None, key_file: str | Path | None = None,
    ) -> Name:  # fmt: skip
        """Take the owner's answer and return the certified name. Later ones renew the certificate.

        Args:
            fingerprint: of the owner's root document, 64 hex digits; without it the first one is trusted, which is
                logged.

        Raises:
            NotTrusted, NotAuthentic, NotAuthorized, Malformed: the answer is not this owner's, or not for this member.
            LocalMisuse: there are no keys here yet, a wrong passphrase, or not a fingerprint.
        """
        try:
            pin = None if fingerprint is None else bytes.fromhex(fingerprint)
        except ValueError:
            raise LocalMisuse("a fingerprint is 64 hex digits", hint="Owner.fingerprint shows it") from None
        return cls._home(directory).enrol(enrolment, passphrase_of(passphrase, key_file), pin).name

    @classmethod
    def add_grant(cls, directory: str | Path, grant: bytes) -> None:
        """Keep a grant that came after the enrolment; it is used from the next opening on.

        Raises:
            NotTrusted, NotAuthentic, NotAuthorized, Malformed: it is not this owner's, or for another holder.
            LocalMisuse: not enrolled, or there are too many.
        """
        cls._home(directory).add_grant(grant)

    @classmethod
    def _enrolled(
        cls, directory: str | Path, passphrase: Passphrase | None, key_file: str | Path | None
    ) -> Enrolled:  # fmt: skip
        """Open the keys; slow, since a passphrase is to be slow to guess. Raises as ``Home.open``."""
        return cls._home(directory).open(passphrase_of(passphrase, key_file))

    @classmethod
    def _home(cls, directory: str | Path, role: str | None = None) -> Home:
        """Return the state directory; ``role`` is that of the name which is to live there, if it is yet to be made."""
        return Home(Path(directory).expanduser(), cls._command)


def name_of(value: Name | str, role: str | None = None) -> Name:
    """Return a name that was given as such or as text. Raises LocalMisuse if it is none, or not of this role."""
    try:
        name = value if isinstance(value, Name) else Name.parse(value)
    except Malformed as error:
        raise LocalMisuse(f"{value!r} is not a name", hint=error.message) from None
    if role is not None and name.role != role:
        raise LocalMisuse(f"{name} is not the name of a {role}", hint=f"sealway://{name.domain}/{role}/{name.label}")
    return name

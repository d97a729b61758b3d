# SPDX-License-Identifier: Apache-2.0
"""What is in a stolen copy of a state directory and what is not: THREAT_MODEL.md, "Stolen keys"."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sealway.sdk.role import Role
from tests.e2e.memory import forms
from tests.system.world import World, ready, until
from tests.vault.thief import stored_secrets


def scalar_of(key: Any) -> bytes:
    """The private half of a member's key, which is in memory here."""
    return key._key.private_numbers().private_value.to_bytes(32)  # type: ignore[no-any-return]


def in_files(directory: Path, secret: bytes) -> bool:
    """Search all files, the write-ahead log included, for a secret in each form that it might have."""
    contents = [path.read_bytes() for path in directory.rglob("*") if path.is_file()]
    return any(needle in content for content in contents for needle in forms(secret).values())


def prekeys_of(role: Role) -> list[bytes]:
    """Signed prekeys and seeds of ML-KEM keys."""
    bundles = role.endpoint.prekeys._bundles.values()
    return [key.reveal() for own in bundles for key in (own.signed_prekey, own.ml_kem) if key is not None]


async def test_a_directory_has_neither_the_certificate_key_nor_the_agreement_key(fast: World) -> None:
    """They are in the keystore alone. Signed prekeys are here: without the agreement key they open nothing."""
    async with fast.device() as meter, fast.application() as ops, fast.watching(ops):
        await ready(meter, ops)
        await meter.send(fast.ops, "readings", b"first")
        await until(lambda: b"first" in fast.got)
        for role, label in ((meter, "meter"), (ops, "ops")):
            member, directory = fast.members[label], fast.path / label
            found = list(stored_secrets(directory))
            assert all(any(key in secret for secret in found) for key in prekeys_of(role)), "the search finds them"
            assert not any(in_files(directory, prekey) for prekey in prekeys_of(role)), "only wrapped"
            for key in (scalar_of(member.signer), scalar_of(member.agreer)):
                assert not in_files(directory, key)
                assert not any(key in secret for secret in stored_secrets(directory))

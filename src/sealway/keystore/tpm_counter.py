# SPDX-License-Identifier: Apache-2.0
"""A counter in a TPM's non-volatile memory: it only grows, whatever is done to the disk (Part 1, §37.2.4)."""

from __future__ import annotations

from typing import Any, Final

from sealway.crypto.ports import Random
from sealway.crypto.secret import Secret
from sealway.errors import LocalMisuse, StateLost, TokenFailed
from sealway.keystore.tpm_connection import BAD_AUTH, TpmConnection, code, demand_open_owner

_FIRST: Final = 0x0180_0000
"""Indices from here are the owner's to give (TCG, Registry of Reserved TPM 2.0 Handles)."""
_MASK: Final = 0x003F_FFFF
_BYTES: Final = 8
_TRIES: Final = 8
_DEFINED: Final = 0x14C
_NONE: Final = frozenset({0x8B})


class TpmCounter:
    """A Counter in a TPM.

    Args:
        connection: to it.
        auth: what it is used with.
        handle: its index.
    """

    def __init__(self, connection: TpmConnection, auth: Secret, handle: int) -> None:
        self._connection = connection
        self._auth = auth
        self.handle = handle

    @classmethod
    def create(cls, connection: TpmConnection, auth: Secret, random: Random) -> TpmCounter:
        """Make a counter at a free index. Raises as ``TpmConnection.run``."""
        for _ in range(_TRIES):
            counter = cls(connection, auth, _FIRST | int.from_bytes(random(4)) & _MASK)
            if connection.run(counter._define):
                connection.run(counter._begin)
                return counter
        raise TokenFailed("no free index for a counter was found in the TPM")

    def value(self) -> int:
        """Return the present value. Raises LocalMisuse for a wrong passphrase, StateLost if the counter is gone."""
        value: int = self._connection.run(lambda api: self._do(api, lambda handle: _read(api, handle)))
        return value

    def reach(self, target: int) -> None:
        """Count up to ``target``, durably. Raises as ``value``.

        How far it is from there is read in the same work that counts: that is repeated if the TPM's answer was lost,
        and what it did before is not done twice.
        """

        def count(api: Any, handle: Any) -> None:
            for _ in range(target - _read(api, handle)):
                api.nv_increment(handle, handle)

        self._connection.run(lambda api: self._do(api, lambda handle: count(api, handle)))

    def remove(self) -> None:
        """Remove it from the TPM."""
        self._connection.run(lambda api: api.nv_undefine_space(api.tr_from_tpmpublic(self.handle)))

    def _define(self, api: Any) -> bool:
        from tpm2_pytss import TPM2_ALG, TPM2_NT, TPM2B_NV_PUBLIC, TPMA_NV, TPMS_NV_PUBLIC, TSS2_Exception

        kind = TPMA_NV.AUTHREAD | TPMA_NV.AUTHWRITE | TPMA_NV.NO_DA | (TPM2_NT.COUNTER << TPMA_NV.TPM2_NT_SHIFT)
        public = TPMS_NV_PUBLIC(nvIndex=self.handle, nameAlg=TPM2_ALG.SHA256, attributes=kind, dataSize=_BYTES)
        try:
            handle = api.nv_define_space(self._auth.reveal(), TPM2B_NV_PUBLIC(public))
        except TSS2_Exception as error:
            if code(error) == _DEFINED:
                return False
            demand_open_owner(error)
            raise
        api.tr_close(handle)
        return True

    def _begin(self, api: Any) -> None:
        """Count once: before that a counter has no value."""
        self._do(api, lambda handle: api.nv_increment(handle, handle))

    def _do(self, api: Any, operation: Any) -> Any:
        from tpm2_pytss import TSS2_Exception

        try:
            handle = api.tr_from_tpmpublic(self.handle)
        except TSS2_Exception as error:
            if code(error) not in _NONE:
                raise
            hint = "use the computer that the keys were made on, or a new state directory"
            raise StateLost("the keystore's counter is not in this TPM, or it was cleared", hint=hint) from None
        api.tr_set_auth(handle, self._auth.reveal())
        try:
            return operation(handle)
        except TSS2_Exception as error:
            if code(error) in BAD_AUTH:
                raise LocalMisuse("wrong passphrase", hint="try the passphrase again") from None
            raise
        finally:
            api.tr_close(handle)


def _read(api: Any, handle: Any) -> int:
    return int.from_bytes(bytes(api.nv_read(handle, _BYTES, 0, handle)))

# SPDX-License-Identifier: Apache-2.0
"""The name of a TPM 2.0: ``tpm:`` and how it is reached, as the TSS says it: ``tpm:device:/dev/tpmrm0``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from sealway.errors import LocalMisuse

SCHEME: Final = "tpm:"
_DEFAULT: Final = "device:/dev/tpmrm0"
_EXAMPLE: Final = "tpm:device:/dev/tpmrm0, or tpm:swtpm:host=127.0.0.1,port=2321"
# A loader takes any other name for that of a library.
_WAYS: Final = re.compile(r"(device|swtpm|mssim|tabrmd):([A-Za-z0-9/_.,=:-]{0,200})")


@dataclass(frozen=True, slots=True)
class TpmName:
    """Which TPM.

    Args:
        way: what reaches it, a TCTI of the TSS: device, swtpm, mssim or tabrmd.
        where: what that needs to know.
    """

    way: str
    where: str

    @classmethod
    def parse(cls, place: str) -> TpmName:
        """Read ``tpm:WAY:WHERE``; ``tpm:`` is the kernel's resource manager. Raises LocalMisuse."""
        match = _WAYS.fullmatch(place.removeprefix(SCHEME) or _DEFAULT)
        if not place.startswith(SCHEME) or match is None:
            raise LocalMisuse("not the name of a TPM", hint=_EXAMPLE)
        return cls(match[1], match[2])

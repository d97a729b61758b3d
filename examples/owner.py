# SPDX-License-Identifier: Apache-2.0
"""Makes a small domain: an owner, a hub, a gateway, a device and an application, each in its directory below DIR.

    python owner.py DIR [HUB_PORT [GATEWAY_PORT]]

In real life each of them runs `prepare` and `accept` where it lives, and only the request and the enrolment, which hold
no secret, go to the owner and back.
"""

import sys
from pathlib import Path
from typing import Any

from sealway import Application, Device, HopIdentity, Owner

DOMAIN = "building.example"
METER, BUILDING = f"sealway://{DOMAIN}/device/meter", f"sealway://{DOMAIN}/application/building"
GATEWAY, HUB = f"sealway://{DOMAIN}/gateway/cellar", f"sealway://{DOMAIN}/hub/hub"


def main(town: Path, hub_port: str = "8443", gateway_port: str = "5683") -> None:
    url, gateway = f"https://127.0.0.1:{hub_port}", f"coap://127.0.0.1:{gateway_port}"
    wanted: list[tuple[Any, str, dict[str, Any]]] = [
        (HopIdentity, HUB, {}),
        (HopIdentity, GATEWAY, {}),
        (Device, METER, {"gateway": (GATEWAY, gateway), "peers": [BUILDING]}),
        (Application, BUILDING, {"scopes": ["valve:write"]}),
    ]
    with Owner.create(town / "owner", DOMAIN) as owner:
        for kind, name, options in wanted:
            directory = town / name.rsplit("/", 1)[1]
            request = kind.prepare(directory, name)
            kind.accept(directory, owner.enroll(request, name, hub=url, **options), fingerprint=owner.fingerprint)
            print("enrolled", name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])

# SPDX-License-Identifier: Apache-2.0
"""The owner of a domain, for programs: says who is who, and who may do what.

with Owner.open("~/.sealway/owner") as owner:
    enrolment = owner.enroll(request, "sealway://building.example/device/meter", hub="https://hub.example")
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Literal, Self

from sealway.errors import LocalMisuse, Malformed
from sealway.home.membership import name_of
from sealway.home.unlocking import Passphrase, passphrase_of
from sealway.identity.enrolment import NextHop
from sealway.identity.root import OwnerRoot
from sealway.sdk.owner.authority import HOUR_S, Enrolling, OpenOwner, OwnerHome
from sealway.wire.address import Name

YEARS_10: Final = timedelta(days=3_653)
DAYS_90: Final = timedelta(days=90)
ONE_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Issued:
    """Something that an owner has issued.

    Fields: ``kind``; ``member`` who was certified, or who holds the grant; ``expires``; ``scopes`` and ``devices`` of a
    grant.
    """

    kind: Literal["certificate", "grant"]
    member: Name
    expires: datetime
    scopes: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()


class Owner:
    """The one root of trust of a domain: a context that holds the lock on its directory.

    Made by ``create`` or ``open``. It is not needed for traffic to flow: keep it offline, and open it to enrol a member
    or to grant something.
    """

    def __init__(self, opened: OpenOwner) -> None:
        self._opened = opened

    @classmethod
    def create(
        cls, directory: str | Path, domain: str, *, passphrase: Passphrase | None = None,
        key_file: str | Path | None = None, lifetime: timedelta = YEARS_10, keystore: str | None = None,
    ) -> Self:  # fmt: skip
        """Make a domain: its root key, its issuing authority, its root document; and open it.

        Args:
            directory: made if it is not there. Begun before and interrupted, it is completed.
            domain: such as building.example.
            passphrase: protects the keys; else ``key_file``, a file of mode 0600, else SEALWAY_PASSPHRASE.
            lifetime: of the root document, in whole days.
            keystore: where the keys are made, as in ``Device.prepare``; its PIN is the passphrase.

        Raises:
            LocalMisuse: there is an owner already, not the name of a domain, or the directory cannot be used.
        """
        home, secret = OwnerHome(Path(directory).expanduser()), passphrase_of(passphrase, key_file)
        try:
            home.create(domain, secret, days=_whole(lifetime, ONE_DAY), place=keystore)
        except Malformed as error:
            raise LocalMisuse(error.message, hint=error.hint) from None
        return cls(OpenOwner.open(home, secret))

    @classmethod
    def open(
        cls, directory: str | Path, *, passphrase: Passphrase | None = None, key_file: str | Path | None = None
    ) -> Self:
        """Open an owner's directory.

        Raises:
            InUse: another process uses it.
            LocalMisuse: there is no owner, or a wrong passphrase.
            NotTrusted: the root document has expired.
            StateLost: something in the directory is damaged.
        """
        home = OwnerHome(Path(directory).expanduser())
        return cls(OpenOwner.open(home, passphrase_of(passphrase, key_file)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the directory free."""
        self._opened.__exit__()

    @property
    def root(self) -> OwnerRoot:
        """The root document."""
        return self._opened.root

    @property
    def domain(self) -> str:
        """The domain's name."""
        return self.root.domain

    @property
    def fingerprint(self) -> str:
        """Of the root document: 64 hex digits, to be compared by whoever joins."""
        return self.root.fingerprint.hex()

    def enroll(
        self, request: bytes | os.PathLike[str], name: Name | str, *, hub: str, gateway: tuple[Name | str, str] |
        None = None, peers: Sequence[Name | str] = (), scopes: Sequence[str] = (), lifetime: timedelta = DAYS_90,
        grant_lifetime: timedelta = ONE_DAY, hosts: Sequence[str] = (),
    ) -> bytes:  # fmt: skip
        """Certify a member and return its enrolment: all that it needs, in one signed file that holds no secret.

        Args:
            request: what ``Device.prepare`` returned, or the file that it is in.
            name: whom to certify; a request for another name is refused.
            hub: https://HOST[:PORT].
            gateway: a device's gateway: its name, and coap://HOST:PORT.
            peers: whom the member talks to; a device's application is found there.
            scopes: granted to the member at every device, as "valve:write", for ``grant_lifetime``.
            lifetime: of the certificate, in whole days.
            hosts: host names and IP addresses of a hub or gateway; that of ``hub`` by default.

        Raises:
            NotTrusted, NotAuthentic, Malformed, TooLarge: the request is not one, or is for another name.
            LocalMisuse: a name of another domain, or an argument that is not what it should be.
        """
        csr = Path(request).read_bytes() if isinstance(request, os.PathLike) else request
        ips, dns = _sorted_out(hosts)
        try:
            hop = None if gateway is None else NextHop(name_of(gateway[0], "gateway"), gateway[1])
        except Malformed as error:
            raise LocalMisuse(error.message) from None
        wanted = Enrolling(
            name=name_of(name), hub=hub, gateway=hop, peers=tuple(map(name_of, peers)), dns=dns, ip=ips,
            days=_whole(lifetime, ONE_DAY), scopes=tuple(scopes),
            grant_hours=_whole(grant_lifetime, timedelta(seconds=HOUR_S)),
        )  # fmt: skip
        return self._opened.enroll(csr, wanted)

    def grant(
        self, holder: Name | str, scopes: Sequence[str], *, devices: Sequence[Name | str] | None = None,
        lifetime: timedelta = ONE_DAY,
    ) -> bytes:  # fmt: skip
        """Return a signed grant: the holder may do something at devices, which enforce it themselves.

        Args:
            scopes: what, as "valve:write".
            devices: where; every device of the domain by default.
            lifetime: in whole hours.

        Raises:
            LocalMisuse: the holder was not enrolled here, or an argument is not what it should be.
            NotTrusted: the holder's certificate has expired.
            Malformed: not a scope.
        """
        where = ["all"] if devices is None else [str(name_of(device, "device")) for device in devices]
        hours = _whole(lifetime, timedelta(seconds=HOUR_S))
        return self._opened.grant(name_of(holder), where, list(scopes), hours)

    def issued(self) -> list[Issued]:
        """Return all that was issued, the oldest first. Raises StateLost if the ledger is damaged."""
        return [_issued(entry) for entry in self._opened.ledger.entries()]


def _issued(entry: dict[str, Any]) -> Issued:
    expires = datetime.fromtimestamp(entry["expires"], UTC)
    if entry["kind"] == "grant":
        scopes, devices = tuple(entry["scopes"]), tuple(entry["devices"])
        return Issued("grant", Name.parse(entry["holder"]), expires, scopes, devices)
    return Issued("certificate", Name.parse(entry["name"]), expires)


def _whole(lifetime: timedelta, unit: timedelta) -> int:
    """Return how many whole units a lifetime has. Raises LocalMisuse if it has none, or a part of one."""
    number, rest = divmod(lifetime, unit)
    if number < 1 or rest:
        raise LocalMisuse(f"a lifetime of {lifetime}, where a multiple of {unit} is expected")
    return number


def _sorted_out(hosts: Sequence[str]) -> tuple[tuple[Any, ...], tuple[str, ...]]:
    """Return the IP addresses among hosts, and the names."""
    ips, names = [], []
    for host in hosts:
        try:
            ips.append(ip_address(host))
        except ValueError:
            names.append(host)
    return tuple(ips), tuple(names)

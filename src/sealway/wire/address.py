# SPDX-License-Identifier: Apache-2.0
"""Names of endpoints and addresses of mailboxes. Each is its text: equal texts, and only they, are equal."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from ipaddress import IPv6Address

from sealway.errors import Malformed
from sealway.wire import shape

ROLES = ("device", "application", "gateway", "hub")
MAX_DOMAIN_BYTES = 100
MAX_NAME_BYTES = 186  # "sealway://", domain 100, "/application/", label 63
MAX_ADDRESS_BYTES = 320

_PREFIX = "sealway://"
_DNS_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*", re.ASCII)
_LABEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
_MAILBOX = re.compile(r"[a-z2-7]{16}", re.ASCII)
_HUB = re.compile(r"https://(?P<host>[a-z0-9.-]{1,253}|\[[0-9a-f:]{2,39}\])(?::(?P<port>[1-9][0-9]{0,4}))?", re.ASCII)
_MAILBOX_PATH = "/v1/mailboxes/"


@dataclass(frozen=True, slots=True)
class Name:
    """The certified name of an endpoint, as it stands in its certificate's SAN: sealway://building.example/device/meter-1.

    Fields: ``domain`` lower-case DNS-like, at most 100 bytes; ``role`` device, application, gateway or hub; ``label``
    lower-case, 1 to 63 bytes.
    """

    domain: str
    role: str
    label: str

    def __post_init__(self) -> None:
        check_domain(self.domain)
        if self.role not in ROLES:
            raise Malformed(f"name: a role of {', '.join(ROLES)} expected")
        shape.matching(self.label, _LABEL, "name: a label of lower-case letters, digits, '.', '_', '-', at most 63,")

    def __str__(self) -> str:
        return f"{_PREFIX}{self.domain}/{self.role}/{self.label}"

    @property
    def mailbox(self) -> str:
        """The identifier of this endpoint's mailbox: 16 characters of lower-case base32 (RFC 4648 §6, no padding)."""
        digest = hashlib.sha256(b"sealway mailbox" + str(self).encode()).digest()
        return base64.b32encode(digest[:10]).decode().lower()

    @classmethod
    def parse(cls, text: str) -> Name:
        """Read the text form. Raises Malformed."""
        shape.tstr(text, "name", 1, MAX_NAME_BYTES)
        parts = text.removeprefix(_PREFIX).split("/")
        if not text.startswith(_PREFIX) or len(parts) != 3:
            raise Malformed("name: sealway://DOMAIN/ROLE/LABEL expected")
        return cls(*parts)


@dataclass(frozen=True, slots=True)
class MailboxAddress:
    """Where an endpoint's envelopes wait: https://hub.example:8443/v1/mailboxes/abcdefghijklmnop.

    Fields: ``hub`` is https://HOST or https://HOST:PORT, lower-case, an IPv6 address in brackets in its shortest form;
    ``mailbox`` 16 characters of base32.
    """

    hub: str
    mailbox: str

    def __post_init__(self) -> None:
        check_hub(self.hub)
        check_mailbox(self.mailbox)

    def __str__(self) -> str:
        return f"{self.hub}{_MAILBOX_PATH}{self.mailbox}"

    @classmethod
    def parse(cls, text: str) -> MailboxAddress:
        """Read the text form. Raises Malformed."""
        shape.tstr(text, "mailbox address", 1, MAX_ADDRESS_BYTES)
        hub, separator, mailbox = text.partition(_MAILBOX_PATH)
        if not separator:
            raise Malformed("mailbox address: https://HOST[:PORT]/v1/mailboxes/ID expected")
        return cls(hub, mailbox)


def check_domain(value: object) -> str:
    """Return ``value`` if it is a domain's name: lower-case, DNS-like, at most 100 bytes. Raises Malformed."""
    expected = "domain: a lower-case DNS name of at most 100 characters"
    return shape.matching(shape.tstr(value, expected, 1, MAX_DOMAIN_BYTES), _DOMAIN, expected)


def check_mailbox(value: object) -> str:
    """Return ``value`` if it is a mailbox identifier: 16 characters of lower-case base32. Raises Malformed."""
    return shape.matching(value, _MAILBOX, "mailbox: 16 characters a-z, 2-7")


def check_hub(value: object) -> str:
    """Return ``value`` if it is the base address of a hub. Raises Malformed."""
    parts = _HUB.fullmatch(value) if isinstance(value, str) else None
    if parts is None or int(parts["port"] or 443) > 0xFFFF:
        raise Malformed("hub: https://HOST or https://HOST:PORT in lower case expected")
    host = parts["host"]
    if host.startswith("["):
        _check_ipv6(host[1:-1])
    elif not _DOMAIN.fullmatch(host):
        raise Malformed("hub: not a host name")
    return parts[0]


def _check_ipv6(text: str) -> None:
    try:
        shortest = IPv6Address(text).compressed
    except ValueError as error:
        raise Malformed("hub: not an IPv6 address") from error
    if shortest != text:  # RFC 5952 §4
        raise Malformed(f"hub: the IPv6 address is written {shortest}")

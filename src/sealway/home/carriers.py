# SPDX-License-Identifier: Apache-2.0
"""The next hop of whoever runs here: the gateway over CoAP, or the hub over HTTPS."""

from __future__ import annotations

import time

from sealway.home.home import Enrolled
from sealway.home.hop import HopIdentity
from sealway.identity.consents import sign_consent
from sealway.transports.coap import CoapCarrier
from sealway.transports.http import HttpCarrier
from sealway.transports.ports import Carrier

_BACKDATED_S = 300
"""A consent begins this long before it is signed, for hubs whose clock is behind."""


def next_hop(
    enrolled: Enrolled, *, gateway: str | None = None, hub: str | None = None, compact: bool = False
) -> Carrier:
    """Return the carrier that the enrolment names. To be called inside the event loop.

    Args:
        gateway: another address of the gateway, coap://HOST:PORT.
        hub: go to the hub directly, at this URL.
        compact: envelopes in compact form to and from a gateway that knows it.

    Raises:
        LocalMisuse: not an address.
    """
    named = enrolled.claims.gateway
    if hub is not None or (gateway is None and named is None):
        return hub_carrier(enrolled, hub)
    return CoapCarrier(gateway or (named.address if named is not None else ""), compact=compact)


def hub_carrier(enrolled: Enrolled, url: str | None = None) -> HttpCarrier:
    """Return a carrier to the hub, whose TLS certificate has to be of this domain's issuing CA. Raises LocalMisuse."""
    me = HopIdentity(enrolled)
    return HttpCarrier(url or me.hub, ssl_context=me.tls(), name=str(me.name), make_assertion=me.assertion)


def consents(enrolled: Enrolled) -> tuple[bytes, ...]:
    """Return a device's consent that its gateway collects for it, for as long as its certificate is valid."""
    gateway = enrolled.claims.gateway
    if gateway is None:
        return ()
    now, credential = int(time.time()) - _BACKDATED_S, enrolled.credential
    seconds = credential.not_after - now
    return (sign_consent(credential, gateway.name, enrolled.signer, now=now, seconds=seconds),)

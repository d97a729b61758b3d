# SPDX-License-Identifier: Apache-2.0
"""The next hop of whoever runs here: the gateway over CoAP, or the hub over HTTPS."""

from __future__ import annotations

import os
import time

from sealway.home.home import Enrolled
from sealway.identity.assertion import make_assertion
from sealway.identity.consents import sign_consent
from sealway.transports.coap import CoapCarrier
from sealway.transports.hop_tls import client_context
from sealway.transports.http import HttpCarrier
from sealway.transports.ports import Carrier

_BACKDATED_S = 300
"""A consent begins this long before it is signed, for hubs whose clock is behind."""


def next_hop(enrolled: Enrolled) -> Carrier:
    """Return the carrier that the enrolment names. To be called inside the event loop. Raises LocalMisuse."""
    gateway = enrolled.claims.gateway
    return hub_carrier(enrolled) if gateway is None else CoapCarrier(gateway.address)


def hub_carrier(enrolled: Enrolled) -> HttpCarrier:
    """Return a carrier to the hub, whose TLS certificate has to be of this domain's issuing CA. Raises LocalMisuse."""
    credential, signer = enrolled.credential, enrolled.signer
    name = str(credential.name)

    def assertion(audience: str) -> str:
        return make_assertion(
            name=name, chain=credential.chain, signer=signer, audience=audience, now=int(time.time()), random=os.urandom
        )

    context = client_context(enrolled.root.issuing_cas)
    return HttpCarrier(enrolled.claims.hub, ssl_context=context, name=name, make_assertion=assertion)


def consents(enrolled: Enrolled) -> tuple[bytes, ...]:
    """Return a device's consent that its gateway collects for it, for as long as its certificate is valid."""
    gateway = enrolled.claims.gateway
    if gateway is None:
        return ()
    now, credential = int(time.time()) - _BACKDATED_S, enrolled.credential
    seconds = credential.not_after - now
    return (sign_consent(credential, gateway.name, enrolled.signer, now=now, seconds=seconds),)

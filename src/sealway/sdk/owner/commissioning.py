# SPDX-License-Identifier: Apache-2.0
"""Taking a device into the owner's domain by its setup code, over any way that carries question and answer.

Invariant: the certificate is in the ledger and the enrolment in the owner's directory before the device is sent it; a
device that asks again within 24 hours gets the identical one. A name that another device has, whatever its serial
number, is given to this one only if the owner says that it takes the other's place.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from sealway.crypto.secret import Secret
from sealway.errors import LocalMisuse, NotAuthorized, NotTrusted, RateLimited, SealwayError, TransportFailed
from sealway.joining.channel import Resumption
from sealway.joining.commissioner import Applicant, Birth, Commissioner, Wanted
from sealway.joining.messages import Done
from sealway.joining.ownership import RESUMABLE_S
from sealway.sdk.owner.authority import Enrolling, OpenOwner
from sealway.sdk.owner.joinings import Joined, Joinings
from sealway.wire.address import Name

Ask: TypeAlias = Callable[[bytes], Awaitable[bytes]]
"""Carries one message to the device, and returns its answer. Raises TransportFailed."""

_ANOTHER_NAME: Final = "give it a name with --label, or --replace if it takes the other's place"


@dataclass(frozen=True, slots=True, kw_only=True)
class Taking:
    """What the owner decides on for the device that has the code.

    Args:
        password: the setup code's.
        enrolling: what it is given; its name is made by ``name`` from the serial number.
        name: what the device with a serial number is called.
        serial: as on the label, or None.
        suite: what its keys are to be made for.
        networks: credentials of networks by kind, opaque.
        replaces: it may take the name, and the place, of another device.
        agreed: is called in a thread of its own with the proven serial number, before anything is certified; what it
            raises ends the exchange.
    """

    password: Secret = field(repr=False)
    enrolling: Enrolling
    name: Callable[[str], Name]
    serial: str | None = None
    suite: int = 1
    networks: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    replaces: bool = False
    agreed: Callable[[str], None] = lambda serial: None


class Commissioning:
    """Takes devices in, one at a time.

    Args:
        owner: open.
        joinings: its record of them.
        prove: proves a birth certificate's chain.
        told: is called with a word on each step, for whoever watches.
    """

    def __init__(
        self, owner: OpenOwner, joinings: Joinings, prove: Callable[[Sequence[bytes]], Birth],
        told: Callable[[str], None] = lambda step: None,
    ) -> None:  # fmt: skip
        self._owner, self._joinings, self._prove, self._told = owner, joinings, prove, told

    async def take(self, ask: Ask, taking: Taking) -> Joined:
        """Take in the device that answers ``ask``, and return it, confirmed.

        Raises:
            WrongCode: the code is not this device's; it says how many attempts are left.
            NotAuthorized, RateLimited: the device refuses: it has an owner, is busy, or its window is closed.
            NotTrusted, NotAuthentic: it cannot prove where it comes from.
            TransportFailed: it did not answer; the same command goes on where this stopped.
        """
        try:
            return await self._exchanged(ask, taking, None)
        except (NotAuthorized, RateLimited):  # whoever spent the attempts, going on needs none
            going_on = [joined for joined in self._joinings.unconfirmed(int(time.time())) if _may_be(joined, taking)]
            for joined in going_on:  # its last word may have been lost
                with suppress(NotAuthorized, RateLimited):
                    return await self._exchanged(ask, taking, joined)
            raise

    async def _exchanged(self, ask: Ask, taking: Taking, earlier: Joined | None) -> Joined:
        wanted = Wanted(self._owner.root.encoded, taking.name, taking.suite, taking.serial)
        commissioner = Commissioner(taking.password, wanted, self._prove, os.urandom)
        try:
            applicant = await self._introduced(ask, commissioner, None if earlier is None else earlier.resumption)
            if isinstance(applicant, Done):
                return self._had_it(applicant, earlier)
            await asyncio.to_thread(taking.agreed, applicant.serial)
            joined = self._enrolled(applicant, commissioner, taking)
            self._told("handing over")
            commissioner.take_done(await ask(commissioner.provision(joined.enrolment, taking.networks)))
        except SealwayError as error:
            await self._abort(ask, commissioner, error)
            raise
        return self._confirmed(joined)

    async def _introduced(self, ask: Ask, commissioner: Commissioner, resumed: Resumption | None) -> Applicant | Done:
        offer = await ask(commissioner.hello(resumed))
        following = await asyncio.to_thread(commissioner.take_offer, offer)  # a tenth of a second, on purpose
        if resumed is None:
            self._told("trying the code")
            following = commissioner.take_answer(await ask(following))
        self._told("checking where it comes from")
        return commissioner.take_proof(await ask(following))

    def _enrolled(self, applicant: Applicant, commissioner: Commissioner, taking: Taking) -> Joined:
        """Return what the device gets: what it was given before, if it asks for the same, or a new enrolment."""
        now, digest = int(time.time()), hashlib.sha256(applicant.csr).digest()
        known = self._joinings.find(applicant.birth)
        if not taking.replaces and (known is None or known.name != applicant.name):
            self._demand_free(applicant, now)
        if known is not None and (known.csr, known.name) == (digest, applicant.name) and now < known.until:
            joined = replace(known, resumption=commissioner.resumption)
        else:
            wanted = replace(taking.enrolling, name=applicant.name)
            enrolment = self._owner.enroll(applicant.csr, wanted, birth=applicant.birth)
            joined = Joined(
                birth=applicant.birth, serial=applicant.serial, name=applicant.name, csr=digest, enrolment=enrolment,
                resumption=commissioner.resumption, until=now + RESUMABLE_S,
            )  # fmt: skip
        self._joinings.keep(joined)
        if taking.replaces:
            self._forget_others(joined)
        return joined

    def _demand_free(self, applicant: Applicant, now: int) -> None:
        """Return if nobody else has the name. Raises NotTrusted."""
        if not self._owner.has_another(applicant.name, applicant.birth, now):
            return
        if self._joinings.has_serial(applicant.serial):
            raise NotTrusted("another device with this serial number is in the domain", hint=_ANOTHER_NAME)
        raise NotTrusted(f"{applicant.name} is the name of another in the domain", hint=_ANOTHER_NAME)

    def _forget_others(self, joined: Joined) -> None:
        for other in self._joinings:
            if other.name == joined.name and other.birth != joined.birth:
                self._joinings.forget(other)

    def _had_it(self, done: Done, earlier: Joined | None) -> Joined:
        if earlier is None or hashlib.sha256(earlier.enrolment).digest() != done.digest:
            raise LocalMisuse("the device has another enrolment than the one that is known here")
        return self._confirmed(earlier)

    def _confirmed(self, joined: Joined) -> Joined:
        self._joinings.confirm(joined)
        return replace(joined, confirmed=True)

    @staticmethod
    async def _abort(ask: Ask, commissioner: Commissioner, error: SealwayError) -> None:
        message = commissioner.abort()
        if message is not None and not isinstance(error, TransportFailed):
            with suppress(SealwayError):
                await ask(message)


def _may_be(joined: Joined, taking: Taking) -> bool:
    return taking.serial is None or taking.serial == joined.serial

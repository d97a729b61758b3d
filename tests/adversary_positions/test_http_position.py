# SPDX-License-Identifier: Apache-2.0
"""The position before a hub, with a real hub behind it: what the middlebox decides happens, and nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest

from sealway.adversary.passing import Kind, Leg, Passing
from sealway.adversary.positions.boxes import FIRST_INVENTED
from sealway.adversary.positions.http_proxy import HttpPosition
from sealway.adversary.positions.http_server import HttpFace
from sealway.adversary.positions.upstream import Answered, Asked, Upstream
from sealway.wire import carriage
from tests.adversary_positions.puppet import Puppet, box
from tests.hub.conftest import (  # noqa: F401 - fixtures
    URL,
    Bench,
    Member,
    Sealed,
    application,
    bench,
    benches,
    domain,
    gateway,
    lock,
    meter,
    sealed,
)

CBOR = {"content-type": "application/cbor"}


@dataclass
class Stage:
    """Clients, the position, a hub."""

    bench: Bench
    puppet: Puppet
    position: HttpPosition
    http: httpx.AsyncClient
    tokens: dict[str, str] = field(default_factory=dict)

    async def call(self, member: Member, method: str, path: str, body: bytes | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {await self.token(member)}"} | (CBOR if body is not None else {})
        return await self.http.request(method, path, content=body, headers=headers)

    async def token(self, member: Member) -> str:
        if str(member.name) not in self.tokens:
            answer = await self.http.post("/v1/token", data=self.bench.form(member))
            assert answer.status_code == 200, answer.text
            self.tokens[str(member.name)] = answer.json()["access_token"]
        return self.tokens[str(member.name)]

    async def deposit(self, member: Member, *items: tuple[str, bytes]) -> list[int]:
        answer = await self.call(member, "POST", "/v1/deposits", carriage.Deposits(tuple(items)).encode())
        assert answer.status_code == 200, answer.text
        return [status for status, _ in carriage.Verdicts.decode(answer.content).items]

    async def collect(self, member: Member, wait: int = 0, most: int = 100) -> list[tuple[str, int, bytes]]:
        body = carriage.CollectRequest((member.mailbox,), wait, most).encode()
        answer = await self.call(member, "POST", "/v1/collect", body)
        assert answer.status_code == 200, answer.text
        return list(carriage.Collected.decode(answer.content).items)

    async def acknowledge(self, member: Member, *sequences: int) -> None:
        body = carriage.Acknowledgement(((member.mailbox, sequences),)).encode()
        assert (await self.call(member, "POST", "/v1/acknowledge", body)).status_code == 204

    async def waiting(self, member: Member) -> list[bytes]:
        """What the hub itself has."""
        body = carriage.CollectRequest((member.mailbox,), 0, 100).encode()
        answer = await self.bench.call(member, "POST", "/v1/collect", body)
        return [envelope for _, _, envelope in carriage.Collected.decode(answer.content).items]


@pytest.fixture
async def stage(bench: Bench, meter: Member, application: Member, lock: Member) -> AsyncIterator[Stage]:  # noqa: F811
    puppet = Puppet()
    behind = httpx.ASGITransport(bench.app, raise_app_exceptions=False)
    upstream = Upstream(URL, ssl.create_default_context(), behind)
    position = HttpPosition(box(puppet), upstream)
    face: Any = HttpFace(position)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(face), base_url=URL) as http:
        stage = Stage(bench, puppet, position, http)
        for member in (meter, application, lock):
            assert (await stage.call(member, "PUT", "/v1/credentials", member.chain_body)).status_code == 204
        yield stage
        await position.close()
        await upstream.close()


async def test_an_honest_middlebox_is_not_noticed(
    stage: Stage, meter: Member, application: Member, sealed: Sealed  # noqa: F811
) -> None:  # fmt: skip
    now, one = stage.bench.clock(), sealed()
    publication = meter.publication(now)
    assert (await stage.call(meter, "PUT", "/v1/bundles", publication)).status_code == 204
    bundle = await stage.call(application, "GET", f"/v1/bundles?name={meter.name}")
    assert bundle.status_code == 200
    digest = hashlib.sha256(bundle.content).hexdigest()
    assert (await stage.call(application, "GET", f"/v1/bundles/{digest}")).content == bundle.content
    offer = await stage.call(application, "POST", f"/v1/bundles/claim?name={meter.name}")
    assert offer.status_code == 200 and bundle.content in offer.content
    chain = await stage.call(application, "GET", f"/v1/credentials/{meter.credential.x5t.hex()}")
    assert chain.content == meter.chain_body
    assert (await stage.call(application, "GET", "/v1/root")).status_code == 200
    assert await stage.deposit(meter, (application.mailbox, one)) == [201]
    assert await stage.deposit(meter, (application.mailbox, one)) == [200]
    ((mailbox, sequence, envelope),) = await stage.collect(application)
    assert (mailbox, envelope) == (application.mailbox, one)
    await stage.acknowledge(application, sequence)
    assert await stage.collect(application) == []
    assert stage.puppet.kinds() == {
        (Kind.CHAIN, Leg.UP), (Kind.PUBLICATION, Leg.UP), (Kind.BUNDLE, Leg.DOWN), (Kind.OFFER, Leg.DOWN),
        (Kind.CREDENTIAL, Leg.DOWN), (Kind.ROOT, Leg.DOWN), (Kind.ENVELOPE, Leg.UP), (Kind.ENVELOPE, Leg.DOWN),
        (Kind.ACKNOWLEDGEMENT, Leg.UP), (Kind.VERDICT, Leg.DOWN),
    }  # fmt: skip


async def test_refusals_of_the_hub_come_through(stage: Stage, meter: Member, sealed: Sealed) -> None:  # noqa: F811
    assert (await stage.http.post("/v1/collect", content=b"\xff", headers=CBOR)).status_code in (400, 401)
    body = carriage.CollectRequest((meter.mailbox,), 0, 1).encode()
    refused = await stage.http.post("/v1/collect", content=body, headers=CBOR | {"Authorization": "Bearer nothing"})
    assert refused.status_code == 401 and "www-authenticate" in refused.headers
    assert (
        await stage.call(meter, "GET", "/v1/bundles?name=sealway://building.example/device/none")
    ).status_code == 404
    assert (await stage.call(meter, "POST", "/v1/deposits", b"\x00")).status_code == 400
    assert (await stage.call(meter, "GET", "/nowhere")).status_code == 404
    assert await stage.deposit(meter, (meter.mailbox, b"no envelope")) == [400]


async def test_a_deposit_can_be_dropped_changed_copied_and_led_astray_and_its_sender_is_told_that_all_is_well(
    stage: Stage, meter: Member, application: Member, lock: Member, sealed: Sealed  # noqa: F811
) -> None:  # fmt: skip
    dropped, original, changed, copied, astray, honest = (sealed() for _ in range(6))
    fates = {
        dropped: lambda one: [],
        original: lambda one: [replace(one, content=changed)],
        copied: lambda one: [one, one],
        astray: lambda one: [replace(one, subject=lock.mailbox)],
    }
    stage.puppet.on(Kind.ENVELOPE, Leg.UP, lambda one: fates.get(one.content, lambda same: [same])(one))
    box_of = application.mailbox
    assert await stage.deposit(meter, *((box_of, e) for e in (dropped, original, copied, astray, honest))) == [201] * 5
    assert sorted(await stage.waiting(application)) == sorted([changed, copied, honest])
    assert await stage.waiting(lock) == [astray]
    assert sorted(p.content for p in stage.puppet.reached if p.kind is Kind.ENVELOPE) == sorted(
        [changed, copied, astray, honest]
    ), "the second copy of the same bytes was not held"


async def test_a_single_deposit_goes_the_same_way(
    stage: Stage, meter: Member, application: Member, sealed: Sealed  # noqa: F811
) -> None:  # fmt: skip
    path = f"/v1/mailboxes/{application.mailbox}/envelopes"
    headers = {"Authorization": f"Bearer {await stage.token(meter)}", "content-type": "application/cose"}
    one, other = sealed(), sealed()
    assert (await stage.http.post(path, content=one, headers=headers)).status_code == 201
    stage.puppet.on(Kind.ENVELOPE, Leg.UP, lambda passing: [replace(passing, content=other)])
    assert (await stage.http.post(path, content=sealed(), headers=headers)).status_code == 201
    stage.puppet.on(Kind.ENVELOPE, Leg.UP, lambda passing: [])
    assert (await stage.http.post(path, content=sealed(), headers=headers)).status_code == 201
    assert sorted(await stage.waiting(application)) == sorted([one, other])


async def test_what_the_middlebox_adds_goes_with_the_next_deposit(
    stage: Stage, meter: Member, application: Member, sealed: Sealed  # noqa: F811
) -> None:  # fmt: skip
    one, *added = (sealed() for _ in range(151))
    for envelope in added:
        stage.puppet.inject(Passing(Kind.ENVELOPE, Leg.UP, application.mailbox, envelope, None))
    assert await stage.deposit(meter, (application.mailbox, one)) == [201]
    assert sum((one.kind, one.leg) == (Kind.ENVELOPE, Leg.UP) for one in stage.puppet.reached) == 151


async def test_what_is_collected_can_be_dropped_changed_and_copied(
    stage: Stage, meter: Member, application: Member, sealed: Sealed  # noqa: F811
) -> None:  # fmt: skip
    dropped, original, changed, copied = (sealed() for _ in range(4))
    fates = {dropped: [], original: [changed], copied: [copied, copied]}
    stage.puppet.on(
        Kind.ENVELOPE, Leg.DOWN, lambda one: [replace(one, content=content) for content in fates[one.content]]
    )
    await stage.deposit(meter, *((application.mailbox, e) for e in (dropped, original, copied)))
    rows = await stage.collect(application)
    assert [envelope for _, _, envelope in rows] == [changed, copied, copied]
    assert rows == await stage.collect(application), "handed out again until it is acknowledged"
    assert await stage.waiting(application) == [copied], "the hub forgets what does not go on"
    await stage.acknowledge(application, *(sequence for _, sequence, _ in rows))
    assert await stage.collect(application) == [] and await stage.waiting(application) == []
    assert [p.content for p in stage.puppet.reached if (p.kind, p.leg) == (Kind.ENVELOPE, Leg.DOWN)] == [
        changed, copied, copied,
    ]  # fmt: skip


async def test_what_is_injected_ends_a_long_poll_at_once(stage: Stage, application: Member) -> None:  # noqa: F811
    for content in (b"first", b"second"):  # the poll of the hub goes on behind
        waiting = asyncio.create_task(stage.collect(application, wait=60))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        stage.puppet.inject(Passing(Kind.ENVELOPE, Leg.DOWN, application.mailbox, content, None))
        async with asyncio.timeout(30):
            ((_, sequence, envelope),) = await waiting
        assert envelope == content
        await stage.acknowledge(application, sequence)


async def test_a_client_that_the_hub_does_not_serve_gets_nothing_of_the_middlebox(
    stage: Stage, application: Member  # noqa: F811
) -> None:  # fmt: skip
    stage.puppet.inject(Passing(Kind.ENVELOPE, Leg.DOWN, application.mailbox, b"injected", None))
    body = carriage.CollectRequest((application.mailbox,), 0, 1).encode()
    refused = await stage.http.post("/v1/collect", content=body, headers=CBOR | {"Authorization": "Bearer nothing"})
    assert refused.status_code == 401
    assert [envelope for _, _, envelope in await stage.collect(application)] == [b"injected"]


async def test_answers_of_the_directory_can_be_replaced_and_withheld(
    stage: Stage, meter: Member, application: Member  # noqa: F811
) -> None:  # fmt: skip
    path = f"/v1/credentials/{meter.credential.x5t.hex()}"
    stage.puppet.on(Kind.CREDENTIAL, Leg.DOWN, lambda one: [replace(one, content=application.chain_body)])
    assert (await stage.call(application, "GET", path)).content == application.chain_body
    stage.puppet.on(Kind.CREDENTIAL, Leg.DOWN, lambda one: [])
    assert (await stage.call(application, "GET", path)).status_code == 404


async def test_publications_can_be_kept_back_and_reported_as_taken(stage: Stage, meter: Member) -> None:  # noqa: F811
    stage.puppet.on(Kind.PUBLICATION, Leg.UP, lambda one: [])
    publication = meter.publication(stage.bench.clock())
    assert (await stage.call(meter, "PUT", "/v1/bundles", publication)).status_code == 204
    assert (await stage.call(meter, "GET", f"/v1/bundles?name={meter.name}")).status_code == 404


async def test_the_hub_s_verdict_can_be_turned_round(
    stage: Stage, meter: Member, application: Member, sealed: Sealed  # noqa: F811
) -> None:  # fmt: skip
    lie = carriage.Verdicts(((503, "later"),)).encode()
    stage.puppet.on(Kind.VERDICT, Leg.DOWN, lambda one: [replace(one, content=lie)])
    assert await stage.deposit(meter, (application.mailbox, sealed())) == [503]
    assert len(await stage.waiting(application)) == 1
    stage.puppet.on(Kind.VERDICT, Leg.DOWN, lambda one: [])
    assert await stage.deposit(meter, (application.mailbox, sealed())) == [404]


async def test_acknowledgements_can_be_kept_back(
    stage: Stage, meter: Member, application: Member, sealed: Sealed  # noqa: F811
) -> None:  # fmt: skip
    one = sealed()
    stage.puppet.on(Kind.ACKNOWLEDGEMENT, Leg.UP, lambda passing: [])
    await stage.deposit(meter, (application.mailbox, one))
    for _ in range(2):
        ((_, sequence, envelope),) = await stage.collect(application)
        assert envelope == one and sequence < FIRST_INVENTED
        await stage.acknowledge(application, sequence)


class Broken(Upstream):
    """A next hop that answers nonsense."""

    def __init__(self) -> None:
        pass

    async def ask(self, asked: Asked) -> Answered:
        return Answered(200, b"\xff")


async def test_nonsense_of_the_next_hop_is_an_error_of_the_next_hop(application: Member) -> None:  # noqa: F811
    position = HttpPosition(box(Puppet()), Broken())
    body = carriage.CollectRequest((application.mailbox,), 0, 1).encode()
    assert (await position.answer(Asked("POST", "/v1/collect", {}, body))).status == 502
    deposits = carriage.Deposits(((application.mailbox, b"x"),)).encode()
    assert (await position.answer(Asked("POST", "/v1/deposits", {}, deposits))).status == 200
    await position.close()


async def test_a_body_without_end_is_not_read_to_its_end() -> None:
    face: Any = HttpFace(HttpPosition(box(Puppet()), Broken()))

    async def forever() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1 << 20)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(face), base_url=URL) as http:
        assert (await http.post("/v1/deposits", content=forever())).status_code == 413

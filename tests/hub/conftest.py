# SPDX-License-Identifier: Apache-2.0
"""What the hub's tests share: an owner's domain with its members, a hub in this process, a hub as a process."""

from __future__ import annotations

import os
import random
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sealway.crypto.keys import Secret, SoftSigner, generate_scalar, private_key, public_x
from sealway.hub.admission import ASSERTION_TYPE
from sealway.hub.app import create_app
from sealway.hub.config import HubConfig, Limits
from sealway.hub.service import Hub, token_url
from sealway.hub.store import Store
from sealway.identity.assertion import make_assertion
from sealway.identity.bundles import sign_bundle
from sealway.identity.consents import sign_consent
from sealway.identity.credentials import Credential, verify_chain
from sealway.identity.issuing import issue_certificate, make_csr, self_signed_ca
from sealway.identity.root import OwnerRoot, sign_root, trust_root_on_first_use
from sealway.transports.hop_tls import client_context
from sealway.transports.http import HttpCarrier
from sealway.wire.address import MailboxAddress, Name
from sealway.wire.bundle import BundleClaims, Publication
from sealway.wire.carriage import CertChain
from sealway.wire.envelope import Envelope
from sealway.wire.merkle import merkle_root
from sealway.wire.root_document import RootClaims

URL = "https://hub.test"
DAY = 86_400


@dataclass
class Clock:
    """Seconds that pass when the test says so."""

    now: int = field(default_factory=lambda: int(time.time()))

    def __call__(self) -> int:
        return self.now


@dataclass(frozen=True)
class Member:
    """A certified endpoint with its key."""

    credential: Credential
    signer: SoftSigner
    scalar: Secret
    chance: random.Random

    @property
    def name(self) -> Name:
        return self.credential.name

    @property
    def mailbox(self) -> str:
        return self.name.mailbox

    @property
    def chain_body(self) -> bytes:
        return CertChain(self.credential.chain).encode()

    def assertion(self, audience: str, now: int) -> str:
        return make_assertion(
            name=str(self.name),
            chain=self.credential.chain,
            signer=self.signer,
            audience=audience,
            now=now,
            random=self.chance.randbytes,
        )

    def publication(self, now: int, *, sequence: int = 1, keys: int = 4, seconds: int = DAY, skew: int = 0) -> bytes:
        one_time = tuple(self._point() for _ in range(keys))
        claims = BundleClaims(
            bundle_id=self.chance.randbytes(4),
            name=self.name,
            mailbox=MailboxAddress(URL, self.mailbox),
            sequence=sequence,
            suites=(1,),
            agreement_key=self._point(),
            signed_prekey=self._point(),
            issued=now + skew,
            expires=now + skew + seconds,
            one_time_root=merkle_root(one_time) if keys else None,
            one_time_count=keys or None,
        )
        return Publication(sign_bundle(claims, self.credential, self.signer), one_time).encode()

    def consent(self, gateway: Member, now: int, *, seconds: int = 3600) -> bytes:
        return sign_consent(self.credential, gateway.name, self.signer, now=now, seconds=seconds)

    def _point(self) -> bytes:
        return public_x(generate_scalar(self.chance.randbytes))


class Domain:
    """An owner: root key, issuing CA, and what it certifies."""

    def __init__(self, name: str = "building.example", seed: int = 7) -> None:
        self.name = name
        self.chance = random.Random(f"{name} {seed}")
        self.now = int(time.time())
        self._ca_signer = SoftSigner(generate_scalar(self.chance.randbytes))
        owner = SoftSigner(generate_scalar(self.chance.randbytes))
        self.ca = self_signed_ca(self._ca_signer, name, now=self.now, days=365, random=self.chance.randbytes)
        claims = RootClaims(
            domain=name,
            domain_id=self.chance.randbytes(16),
            number=1,
            issued=self.now,
            expires=self.now + 365 * DAY,
            owner_keys=(owner.public.point,),
            threshold=1,
            issuing_cas=(self.ca,),
        )
        self.document = sign_root(claims, [owner])
        self.root: OwnerRoot = trust_root_on_first_use(self.document, now=self.now)

    def member(self, role: str, label: str, *, days: int = 90, **hosts: Any) -> Member:
        name = Name(self.name, role, label)
        scalar = generate_scalar(self.chance.randbytes)
        signer = SoftSigner(scalar)
        chain = issue_certificate(
            make_csr(signer, name),
            expected_name=name,
            ca_chain=(self.ca,),
            ca_signer=self._ca_signer,
            now=self.now,
            days=days,
            random=self.chance.randbytes,
            **hosts,
        )
        return Member(verify_chain(chain, self.root, self.now), signer, scalar, self.chance)


@pytest.fixture(scope="session")
def domain() -> Domain:
    return Domain()


@pytest.fixture(scope="session")
def stranger() -> Member:
    """An endpoint of somebody else's domain."""
    return Domain("elsewhere.example").member("device", "meter-1")


@pytest.fixture(scope="session")
def meter(domain: Domain) -> Member:
    return domain.member("device", "meter-1")


@pytest.fixture(scope="session")
def lock(domain: Domain) -> Member:
    return domain.member("device", "lock-1")


@pytest.fixture(scope="session")
def application(domain: Domain) -> Member:
    return domain.member("application", "building")


@pytest.fixture(scope="session")
def gateway(domain: Domain) -> Member:
    return domain.member("gateway", "roof")


@pytest.fixture(scope="session")
def hub_member(domain: Domain) -> Member:
    return domain.member("hub", "hub", ip=[ip_address("127.0.0.1")], dns=["localhost"])


class Bench:
    """A hub inside this process, and calls to it as its members."""

    def __init__(self, app: Any, clock: Clock) -> None:
        self.app = app
        self.clock = clock
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url=URL)
        self._tokens: dict[str, str] = {}

    @property
    def hub(self) -> Hub:
        hub: Hub = self.app.state.hub
        return hub

    def form(self, member: Member, **changes: str) -> dict[str, str]:
        return {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": member.assertion(token_url(URL), self.clock()),
        } | changes

    async def token(self, member: Member) -> str:
        if str(member.name) not in self._tokens:
            answer = await self.http.post("/v1/token", data=self.form(member))
            assert answer.status_code == 200, answer.text
            self._tokens[str(member.name)] = answer.json()["access_token"]
        return self._tokens[str(member.name)]

    async def call(
        self,
        member: Member,
        method: str,
        path: str,
        body: bytes | None = None,
        media_type: str = "application/cbor",
        **headers: str,
    ) -> httpx.Response:
        every = {"Authorization": f"Bearer {await self.token(member)}"} | headers
        if body is not None:
            every["Content-Type"] = media_type
        return await self.http.request(method, path, content=body, headers=every)

    async def publish(self, *members: Member) -> None:
        for member in members:
            answer = await self.call(member, "PUT", "/v1/credentials", member.chain_body)
            assert answer.status_code == 204, answer.text

    async def deposit(self, member: Member, mailbox: str, envelope: bytes) -> httpx.Response:
        return await self.call(
            member, "POST", f"/v1/mailboxes/{mailbox}/envelopes", envelope, media_type="application/cose"
        )

    def refusals(self, operation: str, reason: str) -> int:
        return self.hub.metrics.value("sealway_hub_refusals_total", operation=operation, reason=reason)


Benches = Callable[..., Bench]


@pytest.fixture
async def benches(domain: Domain, tmp_path: Path) -> AsyncIterator[Benches]:
    """Makes hubs in this process; a second one with the same directory comes after the first was closed."""
    made: list[tuple[Bench, Store]] = []

    def make(directory: str = "hub", clock: Clock | None = None, **limits: Any) -> Bench:
        for _, store in made:
            store.close()
        config = HubConfig(tmp_path / directory, domain.document, public_urls=(URL,), limits=Limits(**limits))
        store, clock = Store(config.state_dir), clock or Clock()
        bench = Bench(create_app(config, store, clock), clock)
        made.append((bench, store))
        return bench

    yield make
    for bench, store in made:
        await bench.http.aclose()
        store.close()


@pytest.fixture
def bench(benches: Benches) -> Bench:
    return benches()


def envelope(chance: random.Random, size: int = 80, **parts: Any) -> bytes:
    """An envelope around random bytes."""
    return Envelope(b"k", chance.randrange(1 << 32), chance.randbytes(size), **parts).encode()


Sealed = Callable[..., bytes]


@pytest.fixture
def sealed() -> Sealed:
    """Makes envelopes, each another one."""
    chance = random.Random(11)
    return lambda size=80, **parts: envelope(chance, size, **parts)


_RUNNER = """
import sys
from pathlib import Path
from sealway.cli.logs import Level, LogSettings, begin
from sealway.crypto.keys import Secret
from sealway.hub import connection
from sealway.hub.config import HubConfig, Limits
from sealway.hub.server import run_hub
from sealway.wire.carriage import CertChain
here = Path(sys.argv[1])
connection.HEAD_SECONDS = 2.0
begin(LogSettings(here / "log", Level.DEBUG))
run_hub(HubConfig(
    state_dir=here / "state",
    root_document=(here / "root").read_bytes(),
    certificate_chain=CertChain.decode((here / "chain").read_bytes()).certificates,
    key_pem=Secret((here / "key").read_bytes()),
    port=int(sys.argv[2]),
    address_file=here / "address",
    limits=Limits(**eval(sys.argv[3])),
))
"""


class HubProcess:
    """A hub as a process of its own; it can be killed and started again on the same port."""

    def __init__(self, here: Path, domain: Domain, member: Member) -> None:
        self.here = here
        self.domain = domain
        self.port = 0
        self.limits: dict[str, Any] = {}
        here.mkdir()
        pem = private_key(member.scalar).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (here / "root").write_bytes(domain.document)
        (here / "chain").write_bytes(member.chain_body)
        (here / "key").write_bytes(pem)
        self.process: subprocess.Popen[str] | None = None

    @property
    def state_dir(self) -> Path:
        return self.here / "state"

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def running(self) -> subprocess.Popen[str]:
        assert self.process is not None
        return self.process

    def start(self) -> HubProcess:
        arguments = [sys.executable, "-c", _RUNNER, str(self.here), str(self.port), repr(self.limits)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("hub ready https://127.0.0.1:"), line
        self.port = int(line.rpartition(":")[2])
        return self

    def kill(self) -> None:
        self.running.kill()
        self.ended()

    def ended(self) -> int:
        """Wait for the process to end by itself; return its status."""
        status = self.running.wait(10)
        assert self.running.stdout is not None
        self.running.stdout.close()
        return status

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def tls(self) -> ssl.SSLContext:
        return client_context([self.domain.ca])

    def carrier(self, member: Member, **options: Any) -> HttpCarrier:
        return HttpCarrier(
            self.url,
            ssl_context=self.tls(),
            name=str(member.name),
            make_assertion=lambda audience: member.assertion(audience, int(time.time())),
            **options,
        )


@pytest.fixture
def process(domain: Domain, hub_member: Member, tmp_path: Path) -> Iterator[HubProcess]:
    """A hub that can be started; stopped with the test."""
    hub = HubProcess(tmp_path / "process", domain, hub_member)
    with closing(_Stopping(hub)):
        yield hub


class _Stopping:
    def __init__(self, hub: HubProcess) -> None:
        self._hub = hub

    def close(self) -> None:
        self._hub.stop()

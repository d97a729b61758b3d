# SPDX-License-Identifier: Apache-2.0
"""What carriers read before anything is proven: a gateway's datagrams, a hub's forms, an adversary's scenarios."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from types import SimpleNamespace
from typing import Any, Final

from aiocoap.message import Message
from aiocoap.numbers.codes import Code
from aiocoap.numbers.types import CON, NON

from fuzz.mutating import mutate_bytes
from fuzz.target import Target, demand, refused
from fuzz.wire_targets import vectors
from sealway.adversary.positions import coap_datagrams
from sealway.adversary.scenario import MOST_ACTS, parse_scenario, shipped
from sealway.errors import LocalMisuse, Malformed, RateLimited, TooLarge, TransportFailed
from sealway.gateway.limits import Limits
from sealway.gateway.metrics import Metrics
from sealway.gateway.resources import Directory, Mailboxes, routes
from sealway.gateway.server import CoapFace
from sealway.gateway.watchers import Watchers
from sealway.hub.bodies import form_of
from sealway.transports import coap_api
from sealway.transports.http_exchange import _refused, _token_in
from tests.wire import wire_samples as samples

LONGEST_ANSWER: Final = 2048
"""Bytes of an answer's datagram: no block is longer than 1024 bytes."""

_UNLIMITED: Final = Limits(per_minute=1 << 60, mailbox_per_minute=1 << 60)
_STRANGER: Final = SimpleNamespace(sockaddr=("::1", 5683, 0, 0))


class Nothing:
    """A queue and a next hop that take everything and hold nothing."""

    async def put(self, deposit: object, now: float) -> bool:
        """Take a deposit."""
        return True

    async def waiting(self, mailbox: str, most: int) -> list[Any]:
        """Nothing waits."""
        return []

    async def acknowledge(self, mailbox: str, sequences: Sequence[int]) -> int:
        """Nothing was held."""
        return 0

    async def remember(self, consent: object) -> None:
        """Forget it."""

    def __getattr__(self, name: str) -> Any:
        async def answer(*_: object) -> Any:
            return (b"x",) if name == "credential" else b"x" * 3000

        return answer


class Exchange:
    """One request and what is answered; an observation is not waited for."""

    def __init__(self, request: Message) -> None:
        self.request = request
        self.answers: list[tuple[Message, bool]] = []
        self.answered = asyncio.Event()

    def add_response(self, message: Message, is_last: bool = False) -> None:
        """Take an answer."""
        self.answers.append((message, is_last))
        self.answered.set()


class Gateway:
    """A gateway's face without a socket, a disk and a next hop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.metrics = Metrics()
        nothing: Any = Nothing()
        watchers = Watchers(16)
        mailboxes = Mailboxes(nothing, watchers, self.metrics, _UNLIMITED)
        directory = Directory(nothing, nothing, self.metrics, _UNLIMITED)
        served = routes(mailboxes, directory, _no_metrics, _UNLIMITED)
        self.face = CoapFace(served, _UNLIMITED, self.metrics, watchers)

    def answers_to(self, request: Message) -> list[tuple[Message, bool]]:
        """Return all answers to a request, or the first one to an observation."""
        exchange: Any = Exchange(request)
        self._loop.run_until_complete(self._served(exchange))
        answers: list[tuple[Message, bool]] = exchange.answers
        return answers

    async def _served(self, exchange: Any) -> None:
        task = asyncio.ensure_future(self.face.render_to_pipe(exchange))
        async with asyncio.timeout(5):
            await exchange.answered.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _no_metrics() -> str:
    return ""


@cache
def _loop() -> asyncio.AbstractEventLoop:
    logging.getLogger("sealway.gateway").setLevel(logging.CRITICAL)
    logging.getLogger("coap").setLevel(logging.CRITICAL)
    return asyncio.new_event_loop()


def check_datagram(data: bytes) -> None:
    """A datagram is no CoAP, or a request that gets one answer, which is never 5.00."""
    try:
        message = coap_datagrams.read(data)
    except Malformed as error:
        refused(error)
        return
    if not coap_datagrams.is_request(message):
        return
    coap_datagrams.request_in(message)
    message.remote = _STRANGER
    gateway = Gateway(_loop())  # a new one: what an input shows must not depend on those before it
    answers = gateway.answers_to(message)
    demand(len(answers) == 1, f"{len(answers)} answers to one request")
    answer, _ = answers[0]
    demand(gateway.metrics.values()["failed_inside"] == 0, "a request failed inside the gateway")
    demand(int(answer.code) >> 5 in (2, 4, 5) and int(answer.code) != 0xA0, f"answered with {answer.code}")
    answer.mtype, answer.mid, answer.token = NON, 1, b""
    demand(len(coap_datagrams.write(answer)) <= LONGEST_ANSWER, "an answer that no datagram should have")


def check_form(data: bytes) -> None:
    """A form has each field once, or is refused."""
    try:
        fields = form_of(data)
    except Malformed as error:
        refused(error)
        return
    demand(sum(len(key) + len(value) for key, value in fields.items()) <= len(data), "a form longer than its body")


def check_scenario(data: bytes) -> None:
    """A scenario is read strictly, or the key that is wrong is named."""
    text = data.decode("utf-8", "replace")
    try:
        scenario = parse_scenario(text)
    except LocalMisuse as error:
        refused(error)
        return
    demand(1 <= len(scenario.acts) <= MOST_ACTS, "more acts than allowed")
    demand(parse_scenario(text) == scenario, "the same text was read as two different scenarios")


def check_hub_answer(data: bytes) -> None:
    """What a hub answers to a request for a token, or refuses with: typed errors, in words that are harmless."""
    with suppress(TransportFailed):
        demand(_token_in(data).text.isprintable(), "a token that no header can hold")
    for status in (400, 404, 413, 429, 503):
        try:
            _refused(status, data)
        except (TransportFailed, TooLarge, RateLimited) as error:
            refused(error)


# seeds ---------------------------------------------------------------------------------------------------------------
def _request(code: Code, path: str, payload: bytes = b"", **options: Any) -> bytes:
    message = Message(code=code, payload=payload, _mtype=CON, _mid=7, _token=b"\x01\x02")
    message.opt.uri_path = tuple(path.split("/"))
    for option, value in options.items():
        setattr(message.opt, option, value)
    return coap_datagrams.write(message)


def _datagrams() -> Iterable[bytes]:
    box, digest = f"m/{samples.BOX}", "0" * 64
    envelope = vectors("envelope", "envelope")[0]
    yield _request(Code.POST, box, envelope, content_format=16, hop_limit=9)
    yield _request(Code.GET, box, observe=0)
    yield _request(Code.POST, box, vectors("envelope", "compact")[0], content_format=coap_api.FORMAT_COMPACT)
    yield _request(Code.GET, box, accept=coap_api.FORMAT_COMPACT)
    yield _request(Code.POST, "a", samples.SAMPLES["acknowledgement"][0].encode(), content_format=60)
    yield _request(Code.PUT, "b", samples.SAMPLES["publication"][0].encode(), content_format=60)
    yield _request(Code.POST, "b", uri_query=(f"n={samples.METER}",))
    yield _request(Code.GET, f"b/{digest}", block2=(1, False, 6))
    yield _request(Code.PUT, "c", samples.SAMPLES["cert-chain"][0].encode(), content_format=60)
    yield _request(Code.GET, f"c/{digest}")
    yield _request(Code.PUT, "k", samples.CONSENT.encode(), content_format=18)
    yield _request(Code.GET, "r", accept=98)
    yield _request(Code.POST, box, bytes(64), content_format=16, block1=(0, True, 2), request_tag=[b"t"], size1=200)
    yield _request(Code.POST, box, bytes(64), content_format=16, block1=(1, False, 2), request_tag=[b"t"])


def _forms() -> list[bytes]:
    grant = b"grant_type=client_credentials&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth"
    return [grant + b"&client_assertion=a.b.c", b"", b"a=1&a=2", b"a=%ff", b"=&=", b"a=%F0%9F%98%80"]


def _hub_answers() -> Iterable[bytes]:
    yield b'{"access_token":"abc","token_type":"Bearer","expires_in":3600}'
    yield b'{"error":"invalid_client","error_description":"no such endpoint","hint":"enrol it"}'
    yield b'{"access_token":"abc","token_type":"Bearer","expires_in":' + b"9" * 400 + b"}"
    yield b'{"error":' + b"[" * 300 + b"]" * 300 + b"}"


def _scenarios() -> Iterable[bytes]:
    yield from (
        b'"a\\nb" = 1',
        b'[[act]]\nattack = "' + b"x" * 600 + b'"',
        b"seed = " + b"9" * 4400,
        b"x = " + b"[" * 3000,
    )
    wanted = ("everything", "delay", "tamper-opener-salt", "flood-noise", "drop-with-topic", "substitute-root")
    yield from (path.read_bytes()[:4096] for label, path in shipped().items() if label in wanted)


CARRIERS: Final = (
    Target("coap-datagram", check_datagram, _datagrams, 1500, mutate_bytes),
    Target("form", check_form, _forms, 1024, mutate_bytes),
    Target("hub-answer", check_hub_answer, _hub_answers, 4096, mutate_bytes),
    Target("scenario", check_scenario, _scenarios, 4096, mutate_bytes),
)

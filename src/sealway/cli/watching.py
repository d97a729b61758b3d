# SPDX-License-Identifier: Apache-2.0
"""An application at work: writes down what devices send, asks what it is told to ask, and reports every answer."""

from __future__ import annotations

import asyncio
import logging
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sealway.cli.evidence import Witness
from sealway.cli.jsonlines import JsonLines
from sealway.cli.messages import OutcomeUnknown, Refused, emit
from sealway.cli.questions import Question, lines_as_they_come
from sealway.cli.readings import ReceivedFile
from sealway.cli.ready import tell_ready
from sealway.cli.timing import AS_SPECIFIED, Timing
from sealway.errors import Interrupted, LocalMisuse, NotFound, SealwayError, StateLost, TooLarge, TransportFailed
from sealway.home.carriers import next_hop
from sealway.home.home import Enrolled
from sealway.sdk.application import Application
from sealway.sdk.member import Member
from sealway.sdk.patience import in_time
from sealway.sdk.sessions import IN_MEMORY
from sealway.wire.address import Name
from sealway.wire.message import Message, code_text

log = logging.getLogger(__name__)

_BATCH: Final = 256
_MOST_ASKED: Final = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchPlan:
    """Where an application's readings go, where its commands come from, and where their answers go."""

    received: Path
    requests: Path | None = None
    answers: Path | None = None
    verbose: bool = False
    evidence: bool = False
    """Tell of each refusal and each report."""
    timing: Timing = AS_SPECIFIED
    sessions_in_memory: int | None = None
    """None for what is usual."""


def open_application(
    state: Path, enrolled: Enrolled, timing: Timing = AS_SPECIFIED, sessions_in_memory: int | None = None
) -> Application:
    """Return the application of a state directory with its next hop; not started yet. Raises LocalMisuse, StateLost."""
    return Application(
        state, Member.of(enrolled), next_hop(enrolled), grants=enrolled.grants, policy=timing.policy(),
        max_silence=timing.silence,
        sessions_in_memory=IN_MEMORY if sessions_in_memory is None else sessions_in_memory,
    )  # fmt: skip


async def ask_one(
    state: Path, enrolled: Enrolled, question: Question, timing: Timing = AS_SPECIFIED,
    sessions_in_memory: int | None = None,
) -> Message:  # fmt: skip
    """Send one command and return the device's answer.

    Raises:
        Refused: the device's answer is no.
        OutcomeUnknown: no answer in time, or one that leaves it open.
        NotTrusted, LocalMisuse, StateLost: it cannot be asked.
    """
    opened = open_application(state, enrolled, timing, sessions_in_memory)
    async with opened as application, asyncio.TaskGroup() as tasks:
        leaving = tasks.create_task(_leave_readings(application))
        try:
            await _ask(application, question)
            return await _answer(application, question.id)
        finally:
            leaving.cancel()


async def _leave_readings(application: Application) -> None:
    """Take readings out of the way of the answer; they are not handled, and so offered to the next watch."""
    while True:
        await application.next_events(_BATCH)


async def _ask(application: Application, question: Question) -> None:
    async def attempt() -> bytes:
        return await application.ask(
            question.to,
            question.path,
            question.payload,
            timeout=question.timeout,
            max_age=question.max_age,
            request_id=question.id,
        )

    await in_time(attempt, "asked", question.to, question.timeout.total_seconds())


async def _answer(application: Application, request_id: bytes) -> Message:
    try:
        return await application.answer(request_id)
    except (Interrupted, TransportFailed) as error:
        if isinstance(error, NotFound):  # the device's own word: nothing answers that path
            raise Refused(f"the device refused: {error.message}") from error
        raise OutcomeUnknown(error.message, hint="ask again with the same --id: it is executed at most once") from error
    except (StateLost, OutcomeUnknown):
        raise
    except SealwayError as error:
        raise Refused(f"the device refused: {error.message}", hint=error.hint) from error


class Watch:
    """One run of ``sealway app watch``.

    Args:
        application: started.
        plan: which files.

    Raises:
        LocalMisuse, StateLost: a file cannot be used, or holds something else.
    """

    def __init__(self, application: Application, plan: WatchPlan) -> None:
        self._application = application
        self._plan = plan
        self._received = ReceivedFile(plan.received)
        self._reports = Reports(plan.answers)
        self._turns: dict[Name, asyncio.Lock] = {}
        self._room = asyncio.Semaphore(_MOST_ASKED)
        self._answering: set[bytes] = set()

    async def run(self) -> None:
        """Watch until cancelled. Raises StateLost, and LocalMisuse if a file can no longer be used."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for request_id in await self._unreported():
                    self._answering.add(request_id)
                    tasks.create_task(self._report(request_id))
                tasks.create_task(self._write_readings())
                tasks.create_task(_tell_published(self._application))
                if self._plan.requests is not None:
                    tasks.create_task(self._take_requests(self._plan.requests, tasks))
        finally:
            self._received.close()
            self._reports.close()

    async def _write_readings(self) -> None:
        async for batch in self._application.batches(_BATCH):
            readings = [received for received in batch if Name.parse(received.peer).role == "device"]
            fresh = await asyncio.to_thread(self._received.write, readings)
            if len(readings) < len(batch):
                self._application.endpoint.journal.count("events_of_others", len(batch) - len(readings))
            if self._plan.verbose:
                emit("received", readings=fresh)

    async def _unreported(self) -> list[bytes]:
        """Requests of earlier processes: with an answers file all that it lacks, else those that still wait."""
        if self._plan.answers is None:
            return list(self._application.unanswered)
        query = "SELECT request FROM asked ORDER BY asked"
        rows = await self._application.endpoint.store.read(lambda c: c.execute(query).fetchall())
        return [request_id for (request_id,) in rows if not self._reports.has(request_id)]

    async def _take_requests(self, path: Path, tasks: asyncio.TaskGroup) -> None:
        number = 0
        async for line in lines_as_they_come(path):
            number += 1
            try:
                question = Question.parse(line)
            except LocalMisuse as error:
                emit("invalid", request=number, error=error.message)
                continue
            await self._room.acquire()
            tasks.create_task(self._ask_and_report(question))

    async def _ask_and_report(self, question: Question) -> None:
        try:
            async with self._turns.setdefault(question.to, asyncio.Lock()):  # to one device in the order given
                await _ask(self._application, question)
            emit("asked", id=question.id.hex(), to=str(question.to))
        except StateLost:
            raise
        except (LocalMisuse, TooLarge) as error:  # nothing was asked, and what was asked under this id before stands
            emit("invalid", id=question.id.hex(), error=error.message)
            return
        except SealwayError as error:
            await self._reports.add(_failed(question.id, error))
            return
        finally:
            self._room.release()
        if question.id not in self._answering:
            self._answering.add(question.id)
            await self._report(question.id)

    async def _report(self, request_id: bytes) -> None:
        try:
            answer = await _answer(self._application, request_id)
        except StateLost:
            raise
        except SealwayError as error:
            await self._reports.add(_failed(request_id, error))
        else:
            await self._reports.add(_answered(request_id, answer))
        finally:
            self._answering.discard(request_id)


class Reports:
    """What became of each request: a line on standard output, and one in the answers file if there is one."""

    def __init__(self, path: Path | None) -> None:
        self._file = None if path is None else JsonLines(path)
        try:
            self._known = set() if self._file is None else {line.get("id") for line in self._file.lines()}
        except ValueError:
            self.close()
            raise StateLost(f"{path} is not a file of answers", hint="move it away") from None

    def has(self, request_id: bytes) -> bool:
        """Say whether the answers file has a line of this request."""
        return request_id.hex() in self._known

    async def add(self, report: dict[str, Any]) -> None:
        """Report; in the answers file once for each request."""
        if self._file is not None and report["id"] not in self._known:
            self._known.add(report["id"])
            await asyncio.to_thread(self._file.append, [report])
        emit(**report)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _answered(request_id: bytes, answer: Message) -> dict[str, Any]:
    report = {"event": "answered", "id": request_id.hex(), "code": code_text(answer.code)}
    try:
        return report | {"payload": answer.payload.decode()}
    except UnicodeDecodeError:
        return report | {"payload_b64": b64encode(answer.payload).decode()}


def _failed(request_id: bytes, error: SealwayError) -> dict[str, Any]:
    event = "unknown" if isinstance(error, TransportFailed) else "refused"
    cause = error.__cause__ or error
    return {"event": event, "id": request_id.hex(), "error": type(cause).__name__, "message": error.message}


async def _tell_published(application: Application) -> None:
    await application.endpoint.publisher.published()
    emit("published")


async def watch_forever(state: Path, enrolled: Enrolled, plan: WatchPlan) -> None:
    """Watch until cancelled. Raises LocalMisuse, StateLost."""
    application = open_application(state, enrolled, plan.timing, plan.sessions_in_memory)
    if plan.evidence:
        Witness(application.endpoint)
    async with application:
        watch = Watch(application, plan)
        emit("ready", name=str(enrolled.credential.name))
        tell_ready()
        await watch.run()

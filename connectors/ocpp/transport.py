"""One station's websocket: the receive loop, answers to the station, and calls to it one at a time.

frames in ──> receive loop ──> CallServer.answer ──> CALLRESULT | CALLERROR ──> socket
                    └─ answers to our calls ──┐
request() ──> CallQueue ──> call loop ──> CALL ──> socket, then waits for its answer
"""

from __future__ import annotations

import asyncio
import secrets
from asyncio import Future, Task
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from itertools import count
from typing import Any, Final, Protocol

import structlog
from aiohttp import WSMessage, WSMsgType

from connectors.ocpp.call_queue import Answered, CallKey, CallOutcome, CallQueue, PendingCall, Refused, Unanswered
from connectors.ocpp.frames import (
    CallFrame,
    CallRefused,
    ErrorCode,
    ErrorFrame,
    Json,
    MalformedFrame,
    MessageId,
    ResultErrorFrame,
    ResultFrame,
    call_text,
    error_text,
    read_frame,
    result_text,
)
from connectors.ocpp.health import StationHealth
from connectors.ocpp.settings import OcppSettings, Version

SILENT_CALLS_TO_MUTE = 3
"""Unanswered calls in a row after which a station gets a single attempt of each call."""

KEPT_LATE_IDS = 16
"""Ids of given-up calls that are remembered, to tell late answers from invented ones."""


class CallServer(Protocol):
    """Serves the calls of one station."""

    async def answer(self, frame: CallFrame) -> Json:
        """The answer, once everything it promises is durable.

        Raises:
            CallRefused: The station gets an error answer.
        """
        ...

    def answered(self, frame: CallFrame) -> None:
        """The result for ``frame`` has been sent."""
        ...


class StationSocket(Protocol):
    """What a conversation needs of a websocket; aiohttp's has it."""

    async def receive(self, within_s: float | None, /) -> WSMessage:
        """The next message; raises TimeoutError where none comes within that time [s]."""
        ...

    async def send_str(self, text: str, /) -> None:
        """Hand one text frame to the network; raises ConnectionError where there is none any more."""
        ...

    async def close(self, *, code: int, message: bytes) -> object:
        """End the connection in agreement with the other side."""
        ...


class StationConnection:
    """One websocket of one station.

    Args:
        socket: The prepared websocket.
        abort: Cuts the connection under it, where the other side does not agree to its end.
        version: Version that was agreed.
        server: Serves the station's calls.
        health: Counters of the station.
        settings: Waiting times and bounds.
        station_id: For the log.
    """

    def __init__(
        self,
        socket: StationSocket,
        abort: Callable[[], None],
        version: Version,
        server: CallServer,
        health: StationHealth,
        settings: OcppSettings,
        station_id: str,
    ) -> None:
        self.version: Final = version
        self.ready: Final = asyncio.Event()
        """Set when the station may be spoken to."""
        self._socket = socket
        self._abort = abort
        self._server = server
        self._health = health
        self._settings = settings
        self._log = structlog.get_logger(__name__).bind(station_id=station_id, version=version.value)
        self._queue = CallQueue(settings.queue_limit)
        self._awaited_ids: set[MessageId] = set()
        self._answer: Future[CallOutcome] | None = None
        self._late_ids: deque[MessageId] = deque(maxlen=KEPT_LATE_IDS)
        self._id_prefix = secrets.token_hex(4)
        self._id_numbers = count(1)
        self._tasks: set[Task[None]] = set()
        self._finished = asyncio.Event()
        self._gate = _FrameGate(settings.frames_per_s, settings.frames_burst)

    async def serve(self, silence_limit_s: float | None) -> None:
        """Receive until the connection ends; afterwards nothing of it runs any more.

        Args:
            silence_limit_s: Time without a frame that ends it; ``None`` where pings watch over it [s].
        """
        self.start(self._send_calls())
        try:
            while True:
                message = await self._receive(silence_limit_s)
                if message is None:
                    return
                self._health.frames += 1
                await self._gate.pass_one()
                await self._take(message)
        finally:
            self._queue.settle_all("the connection ended")
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._finished.set()

    def start(self, work: Coroutine[Any, Any, None]) -> Task[None]:
        """Run ``work`` beside the receive loop, at the longest until the connection ends."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._work_ended)
        return task

    def _work_ended(self, task: Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("work beside the connection failed", exc_info=error)

    async def request(self, action: str, payload: Mapping[str, Any], key: CallKey | None = None) -> CallOutcome:
        """Send a call when its turn comes and wait for how it ends; never raises for what the station does."""
        if self._finished.is_set():
            return Unanswered("the station is not connected")
        call = PendingCall(action, payload, key)
        self._queue.put(call)
        longest_s = self._settings.queue_patience_s + self._settings.call_attempts * self._settings.call_timeout_s
        try:
            async with asyncio.timeout(longest_s):
                return await call.outcome
        except TimeoutError:
            return Unanswered(f"its turn did not come within {longest_s:g} s")

    async def end(self, code: int, reason: str) -> None:
        """Close the connection and wait until nothing of it runs; a dead peer delays this by seconds at most."""
        try:
            async with asyncio.timeout(2 * self._settings.close_timeout_s):
                await self._socket.close(code=code, message=reason.encode()[:120])
                await self._finished.wait()
        except TimeoutError:
            self._abort()

    async def _receive(self, silence_limit_s: float | None) -> str | bytes | None:
        """The next text; ``None`` at the connection's end."""
        try:
            message: WSMessage = await self._socket.receive(silence_limit_s)
        except TimeoutError:
            self._log.info("connection ended: no frame came", silence_limit_s=silence_limit_s)
            self._abort()
            return None
        if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            payload: str | bytes = message.data
            return payload
        if message.type is WSMsgType.ERROR:
            self._violation("websocket error", str(message.data))
        return None

    async def _take(self, message: str | bytes) -> None:
        try:
            frame = read_frame(self._as_text(message))
        except MalformedFrame as malformed:
            self._violation("malformed frame", malformed.description)
            if malformed.message_id is not None:
                code = malformed.code.spelt_for(self.version)
                await self._send(error_text(malformed.message_id, code, malformed.description))
            return
        if isinstance(frame, CallFrame):
            await self._serve_call(frame)
        elif isinstance(frame, ResultErrorFrame):
            self._violation("our answer was not understood", frame.code)
        else:
            self._settle(frame)

    def _as_text(self, message: str | bytes) -> str:
        if isinstance(message, str):
            return message
        self._violation("binary frame", "text was expected")
        return message.decode("utf-8", errors="replace")

    async def _serve_call(self, frame: CallFrame) -> None:
        if frame.slip:
            self._violation("frame out of form", frame.slip)
        answer, served = await self._answer_text(frame)
        if frame.wants_answer:
            await self._send(answer)
        if served:
            self._server.answered(frame)

    async def _answer_text(self, frame: CallFrame) -> tuple[str, bool]:
        """The answer to a call, and whether it is a result; whatever goes wrong concerns this one message."""
        try:
            return result_text(frame.message_id, await self._server.answer(frame)), True
        except CallRefused as refused:
            self._violation("call refused", f"{frame.action}: {refused.description}")
            return error_text(frame.message_id, refused.code.spelt_for(self.version), refused.description), False
        except Exception:  # noqa: BLE001 - one bad message must not end the connection
            self._health.failed_answers += 1
            self._log.exception("message not handled", action=frame.action, message_id=frame.message_id)
            failure = "the central system failed on this message"
            return error_text(frame.message_id, ErrorCode.INTERNAL.value, failure), False

    def _settle(self, frame: ResultFrame | ErrorFrame) -> None:
        if frame.message_id not in self._awaited_ids or self._answer is None:
            if frame.message_id in self._late_ids:
                self._health.late_answers += 1
            else:
                self._violation("answer to nothing asked", str(frame.message_id))
            return
        self._awaited_ids.discard(frame.message_id)
        if self._answer.done():
            # It answered every attempt, and the answers came together.
            self._health.late_answers += 1
        elif isinstance(frame, ResultFrame):
            self._answer.set_result(Answered(frame.payload))
        else:
            self._answer.set_result(Refused(frame.code, frame.description))

    async def _send_calls(self) -> None:
        await self.ready.wait()
        while True:
            call = await self._queue.next()
            try:
                call.settle(await self._call_out(call))
            finally:
                # A station that restarts answers and hangs up at once: its answer counts.
                if self._answer is not None and self._answer.done():
                    call.settle(self._answer.result())
                call.settle(Unanswered("the connection ended"))
                self._late_ids.extend(self._awaited_ids)
                self._awaited_ids.clear()
                self._answer = None

    async def _call_out(self, call: PendingCall) -> CallOutcome:
        """Send, and send again after silence only; an answer to an earlier attempt is as good."""
        attempts = 1 if self._health.silent_in_a_row >= SILENT_CALLS_TO_MUTE else self._settings.call_attempts
        self._answer = asyncio.get_running_loop().create_future()
        for _ in range(attempts):
            message_id = f"{self._id_prefix}-{next(self._id_numbers)}"
            self._awaited_ids.add(message_id)
            if not await self._send(call_text(message_id, call.action, call.payload)):
                return Unanswered("the connection ended")
            answered, _ = await asyncio.wait([self._answer], timeout=self._settings.call_timeout_s)
            if answered:
                self._health.silent_in_a_row = 0
                return self._answer.result()
            if self._queue.holds_newer(call):
                return Unanswered("a newer limit took its place while the station was silent")
            if call.outcome.done():
                break
        self._health.unanswered_calls += 1
        self._health.silent_in_a_row += 1
        return Unanswered(f"no answer to {call.action} within {self._settings.call_timeout_s:g} s")

    async def _send(self, text: str) -> bool:
        """Hand one frame to the network; whether it took it."""
        try:
            async with asyncio.timeout(self._settings.send_timeout_s):
                await self._socket.send_str(text)
        except TimeoutError:
            self._log.warning("connection ended: the network took no frame")
            self._abort()
            return False
        except ConnectionError:
            return False
        return True

    def _violation(self, kind: str, detail: str) -> None:
        if self._health.violation(kind):
            self._log.warning("protocol violated", kind=kind, detail=detail[:200], times=self._health.violations[kind])


class _FrameGate:
    """Lets a burst of frames pass, then makes the sender wait its turn (a token bucket on the loop's time)."""

    def __init__(self, rate_per_s: float, burst: int) -> None:
        self._rate_per_s = rate_per_s
        self._burst = float(burst)
        self._tokens = float(burst)
        self._seen_at = asyncio.get_running_loop().time()

    async def pass_one(self) -> None:
        """Return when one more frame may pass."""
        now = asyncio.get_running_loop().time()
        self._tokens = min(self._burst, self._tokens + (now - self._seen_at) * self._rate_per_s)
        self._seen_at = now
        self._tokens -= 1.0
        if self._tokens < 0.0:
            await asyncio.sleep(-self._tokens / self._rate_per_s)

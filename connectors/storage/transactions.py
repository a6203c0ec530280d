"""Who may talk to the database when: many readers, one writer, and one commit for all writes that wait.

    caller A ── write ─┐
    caller B ── write ─┼─> queue ─> writer: BEGIN  A B C  COMMIT ─> answers to A, B, C
    caller C ── write ─┘
    caller D ── together ─> queue ─> writer: BEGIN  D's calls, each write in a savepoint  COMMIT ─> D goes on

While one commit is on its way to the disk, the next writes gather in the queue: the busier the service, the more writes
share a commit, and none waits for a timer. A caller goes on only when the commit that holds its write has returned.
Only the writer's task touches the writing connection, so a caller that is cancelled breaks nobody else's write.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, InternalError, OperationalError, SQLAlchemyError, StatementError

from connectors.storage.lanes import Answer, Lane, Runner, Work
from connectors.storage.written import WrittenEvses
from optimizer.domain.ids import EvseId
from optimizer.errors import ChargeHorizonError, StorageFailed

LARGEST_GROUP = 200
"""Writes in one commit, so that the first of them does not wait for ever for the last."""

IDLE_LIMIT_S = 10.0
"""How long a block of `together` may keep the writer without a call [s]: it blocks all other writes meanwhile."""


_OF_THE_DATABASE = (SQLAlchemyError, OSError)
_REFUSED = (*_OF_THE_DATABASE, UnicodeError, OverflowError)
"""What drivers raise; the last two for text that is no Unicode and for numbers that are too large."""


class _End(Enum):
    COMMIT = "commit"
    ROLL_BACK = "roll back"


@dataclass(slots=True, eq=False)
class _Call:
    """One piece of work and the caller that waits for its answer."""

    work: Work[Any]
    answer: asyncio.Future[Any]
    only_reads: bool = False
    about: tuple[EvseId, ...] = ()

    def settle(self, outcome: object) -> None:
        """Give the caller the answer, or raise the exception there; a caller that has gone gets nothing."""
        if self.answer.done():
            return
        if isinstance(outcome, BaseException):
            self.answer.set_exception(_translated(outcome))
        else:
            self.answer.set_result(outcome)


@dataclass(slots=True, eq=False)
class _Block:
    """One `together`: calls of one task that commit as one."""

    opened: asyncio.Future[None]
    closed: asyncio.Future[StorageFailed | None]
    calls: asyncio.Queue[_Call | _End] = field(default_factory=asyncio.Queue)
    failure: StorageFailed | None = None
    about: set[EvseId] = field(default_factory=set)


class _RolledBack(Exception):
    """Leaves a transaction without committing it."""

    def __init__(self, failure: StorageFailed | None = None) -> None:
        self.failure = failure
        super().__init__()


class Transactions:
    """Runs the work of the stores on the database; see the module's text.

    A piece of work is a plain function of a connection. It must not do anything but read and write there: where another
    write of its group fails, it is rolled back and run again.

    Args:
        writer: Leads to the one writing connection.
        reader: Leads to the reading connections.
        idle_limit_s: How long a block of `together` may hold the writer without a call [s].
    """

    def __init__(self, writer: Lane, reader: Lane, *, idle_limit_s: float = IDLE_LIMIT_S) -> None:
        self._writer = writer
        self._reader = reader
        self._idle_limit_s = idle_limit_s
        self._waiting: deque[_Call | _Block] = deque()
        self._arrived = asyncio.Event()
        self._blocks: dict[asyncio.Task[Any], _Block] = {}
        self._closing = False
        self._followers: list[WrittenEvses] = []
        self._task = asyncio.create_task(self._run(), name="storage writer")

    def follow(self) -> WrittenEvses:
        """What is told from now on of which EVSEs something was committed."""
        follower = WrittenEvses()
        self._followers.append(follower)
        return follower

    @property
    def in_block(self) -> bool:
        """Whether the calling task is within `together`, and so reads what is not committed yet."""
        return self._own_block() is not None

    async def write(self, work: Work[Answer], about: Sequence[EvseId] = ()) -> Answer:
        """Run ``work`` and commit it; within `together` of this task, with the block.

        Args:
            work: What to write.
            about: The EVSEs whose state or vehicles it changes.

        Raises:
            StorageFailed: The database refused, or is closed.
        """
        block = self._own_block()
        if block is not None:
            block.about.update(about)
            return await self._ask_in(block, work)
        call = _Call(work, asyncio.get_running_loop().create_future(), about=tuple(about))
        self._enqueue(call)
        answer: Answer = await call.answer
        return answer

    async def read(self, work: Work[Answer]) -> Answer:
        """Run ``work`` on one consistent state of what is committed; within `together`, with the block's own writes.

        Raises:
            StorageFailed: The database gave no answer, or is closed.
        """
        block = self._own_block()
        if block is not None:
            return await self._ask_in(block, work, only_reads=True)
        self._check_open()
        try:
            return await self._reader.run(work)
        except _REFUSED as error:
            raise _translated(error) from error

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """Within it all calls of this task commit together when it ends, or not at all when it raises.

        Inside another block it is a part of that one. Calls of other tasks started inside are not of the block, and
        wait until it ends: awaiting them inside ends the block with an error after `IDLE_LIMIT_S`.

        Raises:
            StorageFailed: The block could not be committed; nothing of it is stored.
        """
        if self._own_block() is not None:
            yield
            return
        task = _this_task()
        loop = asyncio.get_running_loop()
        block = _Block(opened=loop.create_future(), closed=loop.create_future())
        self._enqueue(block)
        end = _End.ROLL_BACK
        try:
            await block.opened
            self._blocks[task] = block
            yield
            end = _End.COMMIT
        finally:
            self._blocks.pop(task, None)
            block.calls.put_nowait(end)
        failure = await block.closed
        if failure is not None:
            raise failure

    async def close(self) -> None:
        """Commit what waits, then stop; later calls raise StorageFailed."""
        self._closing = True
        self._arrived.set()
        await self._task

    def _own_block(self) -> _Block | None:
        return self._blocks.get(_this_task()) if self._blocks else None

    def _check_open(self) -> None:
        if self._closing or self._task.done():
            raise StorageFailed("the database is closed")

    def _enqueue(self, item: _Call | _Block) -> None:
        self._check_open()
        self._waiting.append(item)
        self._arrived.set()

    async def _ask_in(self, block: _Block, work: Work[Answer], *, only_reads: bool = False) -> Answer:
        if block.failure is not None:
            raise block.failure
        call = _Call(work, asyncio.get_running_loop().create_future(), only_reads)
        block.calls.put_nowait(call)
        answer: Answer = await call.answer
        return answer

    async def _run(self) -> None:
        """The writer: one group or one block after the other, in the order of arrival."""
        try:
            while self._waiting or not self._closing:
                if not self._waiting:
                    self._arrived.clear()
                    await self._arrived.wait()
                    continue
                first = self._waiting.popleft()
                if isinstance(first, _Block):
                    await self._serve(first)
                else:
                    await self._commit([first, *self._rest_of_group()])
        finally:
            stopped = StorageFailed("the database was closed before the write was made")
            for item in self._waiting:
                _abandon(item, stopped)
            self._waiting.clear()

    def _rest_of_group(self) -> list[_Call]:
        group: list[_Call] = []
        while self._waiting and len(group) < LARGEST_GROUP - 1 and isinstance(self._waiting[0], _Call):
            call = self._waiting.popleft()
            if isinstance(call, _Call) and not call.answer.cancelled():
                group.append(call)
        return group

    async def _commit(self, calls: Sequence[_Call]) -> None:
        """Run ``calls``, commit them, answer them."""
        outcomes: Sequence[object] = [StorageFailed("the writer was stopped in the middle of a write")] * len(calls)
        try:
            outcomes = await self._outcomes(calls)
        finally:
            self._note(evse_id for call in calls for evse_id in call.about)
            for call, outcome in zip(calls, outcomes, strict=True):
                call.settle(outcome)

    async def _outcomes(self, calls: Sequence[_Call]) -> Sequence[object]:
        """What ``calls`` gave, committed in one transaction; where one fails, the group is halved until it is alone."""
        outcomes = await _outcome(self._writer.run(lambda connection: [call.work(connection) for call in calls]))
        if not isinstance(outcomes, BaseException):
            return outcomes
        if len(calls) == 1 or _is_of_the_database(outcomes):
            return [outcomes] * len(calls)
        middle = len(calls) // 2
        return [*await self._outcomes(calls[:middle]), *await self._outcomes(calls[middle:])]

    async def _serve(self, block: _Block) -> None:
        """Run the calls of a block as they come, until it ends."""
        if block.opened.cancelled():
            return
        try:
            async with self._writer.transaction() as run:
                if not block.opened.done():
                    block.opened.set_result(None)
                await self._serve_calls(run, block)
        except _RolledBack as rolled_back:
            block.failure = rolled_back.failure
        except _OF_THE_DATABASE as error:
            block.failure = _failed(error)
        finally:
            self._note(block.about)
            _end_block(block)

    def _note(self, evse_ids: Iterable[EvseId]) -> None:
        """Tell followers what was written; also where it failed, for a commit may fail when it is already done."""
        noted = frozenset(evse_ids)
        for follower in self._followers:
            follower.note(noted)

    async def _serve_calls(self, run: Runner, block: _Block) -> None:
        while True:
            try:
                async with asyncio.timeout(self._idle_limit_s):
                    call = await block.calls.get()
            except TimeoutError as error:
                reason = StorageFailed(f"a block of together() made no call for {self._idle_limit_s:g} s")
                raise _RolledBack(reason) from error
            if call is _End.COMMIT:
                return
            if isinstance(call, _End):
                raise _RolledBack
            outcome = await _outcome(run(call.work if call.only_reads else partial(_in_savepoint, work=call.work)))
            call.settle(outcome)
            if isinstance(outcome, BaseException) and _is_of_the_database(outcome):
                raise _RolledBack(_failed(outcome))


async def _outcome(running: Awaitable[Answer]) -> Answer | BaseException:
    """What was returned or raised; what a piece of work raises is its caller's affair, not the writer's."""
    (outcome,) = await asyncio.gather(running, return_exceptions=True)
    return outcome


def _in_savepoint(connection: Connection, work: Work[Answer]) -> Answer:
    with connection.begin_nested():
        return work(connection)


def _is_of_the_database(error: BaseException) -> bool:
    """Whether the database itself failed, not the statement: full, locked, gone. Trying again at once is no use."""
    if isinstance(error, OperationalError | InternalError | OSError):
        return True
    return isinstance(error, DBAPIError) and error.connection_invalidated


def _translated(error: BaseException) -> BaseException:
    """The error as a caller knows it: what a column type of ours refuses comes wrapped by SQLAlchemy."""
    if isinstance(error, StatementError) and isinstance(error.orig, ChargeHorizonError):
        return error.orig
    return _failed(error) if isinstance(error, _REFUSED) else error


def _failed(error: BaseException) -> StorageFailed:
    if isinstance(error, StorageFailed):
        return error
    reason = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    failure = StorageFailed(f"the database refused: {str(reason) or type(reason).__name__}")
    failure.__cause__ = error
    return failure


def _abandon(item: _Call | _Block, reason: StorageFailed) -> None:
    if isinstance(item, _Call):
        item.settle(reason)
    else:
        item.failure = reason
        _end_block(item)


def _end_block(block: _Block) -> None:
    """Release whoever waits for the block: its opening, its calls, its end."""
    reason = block.failure or StorageFailed("the block of together() has ended")
    if not block.opened.done():
        block.opened.set_exception(reason)
    while not block.calls.empty():
        call = block.calls.get_nowait()
        if isinstance(call, _Call):
            call.settle(reason)
    if not block.closed.done():
        block.closed.set_result(block.failure)


def _this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("the stores are used from a task of the event loop")
    return task

"""The one writer: which writes share a commit, who learns of a failure, and what a block keeps to itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial

import pytest
from sqlalchemy import Connection, Engine, bindparam, event, text

from connectors.storage.database import database_url, reading_lane, sqlite_engine
from connectors.storage.lanes import ThreadLane
from connectors.storage.tables import UtcInstant
from connectors.storage.transactions import LARGEST_GROUP, Transactions
from optimizer.errors import Conflict, InvalidInput, NotFound, StorageFailed


class Bench:
    """Transactions on a table ``word``, with a count of their commits."""

    def __init__(self, writer: Engine, transactions: Transactions) -> None:
        self.transactions = transactions
        self.commits = 0
        event.listen(writer, "commit", self._count)

    def _count(self, _connection: Connection) -> None:
        self.commits += 1

    async def write(self, word: str) -> None:
        await self.transactions.write(partial(insert, word=word))

    async def words(self) -> list[str]:
        return await self.transactions.read(words)


def insert(connection: Connection, word: str) -> None:
    connection.execute(text("INSERT INTO word VALUES (:word)"), {"word": word})


def words(connection: Connection) -> list[str]:
    return list(connection.execute(text("SELECT word FROM word ORDER BY rowid")).scalars())


def insert_then(word: str, error: Exception) -> Callable[[Connection], None]:
    """Work that fails after it has written."""

    def work(connection: Connection) -> None:
        insert(connection, word)
        raise error

    return work


@asynccontextmanager
async def bench_of(url: str, idle_limit_s: float) -> AsyncIterator[Bench]:
    resolved = database_url(url)
    engine = sqlite_engine(resolved, ("journal_mode = WAL", "foreign_keys = ON"), "BEGIN IMMEDIATE")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE word (word TEXT UNIQUE)"))
    writer, reader = ThreadLane(engine, 1), reading_lane(resolved)
    transactions = Transactions(writer, reader, idle_limit_s=idle_limit_s)
    try:
        yield Bench(engine, transactions)
    finally:
        await transactions.close()
        await reader.close()
        await writer.close()


@pytest.fixture
async def bench(url: str) -> AsyncIterator[Bench]:
    async with bench_of(url, idle_limit_s=10.0) as made:
        yield made


class TestGroupCommit:
    async def test_writes_that_wait_share_a_commit(self, bench: Bench) -> None:
        await asyncio.gather(*(bench.write(f"w{number}") for number in range(100)))
        assert bench.commits == 1
        assert await bench.words() == [f"w{number}" for number in range(100)]

    async def test_a_group_has_a_greatest_size(self, bench: Bench) -> None:
        await asyncio.gather(*(bench.write(f"w{number}") for number in range(2 * LARGEST_GROUP + 1)))
        assert bench.commits == 3

    async def test_one_after_the_other_each_has_its_own_commit(self, bench: Bench) -> None:
        for number in range(3):
            await bench.write(f"w{number}")
            assert bench.commits == number + 1

    async def test_a_write_answers_what_its_work_returned(self, bench: Bench) -> None:
        answers = await asyncio.gather(*(bench.transactions.write(partial(echoed, value=n)) for n in range(5)))
        assert answers == [0, 1, 2, 3, 4]

    @pytest.mark.parametrize("position", [0, 4, 9], ids=["first", "middle", "last"])
    @pytest.mark.parametrize(
        "error",
        [Conflict("taken"), NotFound("word", "x"), ZeroDivisionError("a mistake of ours")],
        ids=["refused", "not found", "a mistake in the work"],
    )
    async def test_a_failing_write_is_undone_alone(self, bench: Bench, position: int, error: Exception) -> None:
        works = [partial(insert, word=f"w{number}") for number in range(10)]
        works[position] = insert_then("half", error)  # type: ignore[call-overload]
        answers = await asyncio.gather(*(bench.transactions.write(work) for work in works), return_exceptions=True)
        assert [number for number, answer in enumerate(answers) if answer is not None] == [position]
        assert answers[position] is error
        assert await bench.words() == [f"w{number}" for number in range(10) if number != position]

    async def test_a_broken_rule_of_the_database_is_a_storage_failure_of_its_writer_alone(self, bench: Bench) -> None:
        answers = await asyncio.gather(*(bench.write(word) for word in "abacb"), return_exceptions=True)
        assert [type(answer) for answer in answers] == [
            type(None),
            type(None),
            StorageFailed,
            type(None),
            StorageFailed,
        ]
        assert await bench.words() == ["a", "b", "c"]

    async def test_where_the_database_itself_fails_nobody_is_told_that_a_write_is_stored(self, bench: Bench) -> None:
        def full(connection: Connection) -> None:
            connection.execute(text("SELECT no_such_function()"))

        answers = await asyncio.gather(
            bench.write("a"), bench.transactions.write(full), bench.write("b"), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [StorageFailed] * 3
        assert await bench.words() == []
        await bench.write("c")
        assert await bench.words() == ["c"]

    async def test_what_a_column_refuses_is_told_to_its_writer_alone_in_its_own_words(self, bench: Bench) -> None:
        statement = text("INSERT INTO word VALUES (:at)").bindparams(bindparam("at", type_=UtcInstant()))

        def write_instant(connection: Connection) -> None:
            connection.execute(statement, {"at": datetime(2026, 3, 1)})  # noqa: DTZ001 - naive on purpose

        answers = await asyncio.gather(
            bench.write("a"), bench.transactions.write(write_instant), bench.write("b"), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [type(None), InvalidInput, type(None)]
        assert await bench.words() == ["a", "b"]

    async def test_a_commit_that_fails_costs_those_who_made_it_fail(self, bench: Bench) -> None:
        def break_commit(connection: Connection) -> None:
            connection.execute(text("PRAGMA defer_foreign_keys = ON"))
            connection.execute(text("CREATE TABLE child (word TEXT REFERENCES word (word))"))
            connection.execute(text("INSERT INTO child VALUES ('nobody')"))

        answers = await asyncio.gather(bench.write("a"), bench.transactions.write(break_commit), return_exceptions=True)
        assert [type(answer) for answer in answers] == [type(None), StorageFailed]
        assert await bench.words() == ["a"]

    async def test_a_caller_that_is_cancelled_breaks_nobody_elses_write(self, bench: Bench) -> None:
        callers = [asyncio.create_task(bench.write(f"w{number}")) for number in range(10)]
        await asyncio.sleep(0)
        for caller in callers[::2]:
            caller.cancel()
        answers = await asyncio.gather(*callers, return_exceptions=True)
        assert [answer for answer in answers[1::2] if answer is not None] == []
        assert {f"w{number}" for number in range(1, 10, 2)} <= set(await bench.words())
        await bench.write("after")


def echoed(connection: Connection, value: int) -> int:
    answer = connection.scalar(text("SELECT :value"), {"value": value})
    assert isinstance(answer, int)
    return answer


class TestReading:
    async def test_a_reader_cannot_write(self, bench: Bench) -> None:
        with pytest.raises(StorageFailed, match="readonly"):
            await bench.transactions.read(partial(insert, word="a"))

    async def test_a_reader_that_is_cancelled_leaves_the_others_be(self, bench: Bench) -> None:
        await bench.write("a")
        for _ in range(20):
            readers = [asyncio.create_task(bench.words()) for _ in range(4)]
            await asyncio.sleep(0)
            readers[0].cancel()
            answers = await asyncio.gather(*readers, return_exceptions=True)
            assert answers[1:] == [["a"]] * 3


class TestTogether:
    async def test_a_block_is_one_commit(self, bench: Bench) -> None:
        async with bench.transactions.together():
            for word in "abc":
                await bench.write(word)
            assert bench.commits == 0
        assert bench.commits == 1

    async def test_others_see_nothing_of_an_open_block(self, bench: Bench) -> None:
        async def look() -> list[str]:
            return await bench.words()

        async with bench.transactions.together():
            await bench.write("mine")
            assert await bench.words() == ["mine"]
            assert await asyncio.create_task(look()) == []

    async def test_others_write_before_or_after_a_block_not_into_it(self, bench: Bench) -> None:
        async def write_and_fail() -> None:
            async with bench.transactions.together():
                await bench.write("a")
                await asyncio.sleep(0)
                await bench.write("b")
                raise LookupError

        answers = await asyncio.gather(
            bench.write("before"), write_and_fail(), *(bench.write(f"w{n}") for n in range(5)), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [type(None), LookupError] + [type(None)] * 5
        assert await bench.words() == ["before", "w0", "w1", "w2", "w3", "w4"]

    async def test_a_caught_failure_inside_costs_only_its_own_call(self, bench: Bench) -> None:
        async with bench.transactions.together():
            await bench.write("a")
            with pytest.raises(Conflict):
                await bench.transactions.write(insert_then("half", Conflict("no")))
            with pytest.raises(StorageFailed):
                await bench.write("a")
            await bench.write("b")
        assert await bench.words() == ["a", "b"]

    async def test_a_block_whose_task_is_cancelled_is_undone(self, bench: Bench) -> None:
        inside = asyncio.Event()

        async def hang() -> None:
            async with bench.transactions.together():
                await bench.write("a")
                inside.set()
                await asyncio.Event().wait()

        hanging = asyncio.create_task(hang())
        await inside.wait()
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)
        await bench.write("b")
        assert await bench.words() == ["b"]

    async def test_a_block_cancelled_before_it_opens_is_forgotten(self, bench: Bench) -> None:
        async def block() -> None:
            async with bench.transactions.together():
                await bench.write("a")

        waiting = asyncio.create_task(block())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await bench.write("b")
        assert await bench.words() == ["b"]

    async def test_many_blocks_and_writes_keep_each_other_whole(self, bench: Bench) -> None:
        async def pair(number: int) -> None:
            async with bench.transactions.together():
                await bench.write(f"{number} left")
                await bench.write(f"{number} right")

        await asyncio.gather(*(pair(n) if n % 3 == 0 else bench.write(str(n)) for n in range(60)))
        found = await bench.words()
        assert len(found) == 80
        for place, word in enumerate(found):
            if word.endswith("left"):
                assert found[place + 1] == word.replace("left", "right")

    async def test_a_block_that_awaits_another_tasks_write_ends_with_an_error(self, url: str) -> None:
        async with bench_of(url, idle_limit_s=0.05) as bench:
            with pytest.raises(StorageFailed, match="made no call"):  # noqa: PT012 - the block is what fails
                async with bench.transactions.together():
                    await bench.write("mine")
                    await asyncio.create_task(bench.write("theirs"))
                    await bench.write("too late")
            assert await bench.words() == ["theirs"]

    async def test_an_idle_block_is_undone_though_it_ends_well(self, url: str) -> None:
        async with bench_of(url, idle_limit_s=0.05) as bench:
            others = asyncio.Event()
            with pytest.raises(StorageFailed, match="made no call"):  # noqa: PT012 - the block is what fails
                async with bench.transactions.together():
                    await bench.write("mine")
                    other = asyncio.create_task(bench.write("theirs"))
                    other.add_done_callback(lambda _: others.set())
                    await others.wait()
            assert await bench.words() == ["theirs"]

    async def test_where_the_database_fails_inside_the_block_is_over(self, bench: Bench) -> None:
        with pytest.raises(StorageFailed, match="no such table"):  # noqa: PT012 - the block is what fails
            async with bench.transactions.together():
                await bench.write("a")
                with pytest.raises(StorageFailed, match="no such table"):
                    await bench.transactions.write(lambda connection: connection.execute(text("DELETE FROM missing")))
                await bench.write("b")
        assert await bench.words() == []


class TestClosing:
    async def test_what_waits_is_committed_first(self, bench: Bench) -> None:
        writes = [asyncio.create_task(bench.write(f"w{number}")) for number in range(5)]
        await asyncio.sleep(0)
        await bench.transactions.close()
        assert await asyncio.gather(*writes) == [None] * 5

    async def test_later_calls_are_refused(self, bench: Bench) -> None:
        await bench.transactions.close()
        with pytest.raises(StorageFailed, match="closed"):
            await bench.write("a")
        with pytest.raises(StorageFailed, match="closed"):
            await bench.words()
        with pytest.raises(StorageFailed, match="closed"):
            async with bench.transactions.together():
                await bench.write("a")

    async def test_a_writer_whose_task_is_stopped_leaves_nobody_waiting(self, bench: Bench) -> None:
        writes = [asyncio.create_task(bench.write(f"w{number}")) for number in range(LARGEST_GROUP + 5)]
        await asyncio.sleep(0)
        (writer,) = (task for task in asyncio.all_tasks() if task.get_name() == "storage writer")
        await asyncio.sleep(0)
        writer.cancel()
        answers = await asyncio.gather(*writes, return_exceptions=True)
        assert {type(answer) for answer in answers} == {StorageFailed}
        await asyncio.wait([writer])
        bench.transactions.close = skip_closing  # type: ignore[method-assign]


async def skip_closing() -> None:
    """Nothing is left to close."""

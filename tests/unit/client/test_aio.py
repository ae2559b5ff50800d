# SPDX-License-Identifier: MIT
"""Queues in event loops, asyncio's own and uvloop's: awaited, gathered, cancelled, iterated, several loops at once."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop

from localq import LocalQueue, QueueClosed, TaskCancelled, TaskFuture
from tests.support import tasks
from tests.support.queues import PATIENCE, audit, is_gone, ready_workers, wait_until_staffed
from tests.support.scripts import run_script
from tests.support.waiting import Gate, eventually

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(autouse=True, scope="module")
def _once_for_uvloop() -> None:
    """Its first loop opens a pipe for signals, which the process keeps."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.sleep(0))


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine to its end in a loop of its own; within the time that tests wait for anything."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def run_to_its_end(main: Coroutine[Any, Any, Any]) -> Any:
        async def bounded() -> Any:
            async with asyncio.timeout(2 * PATIENCE):
                return await main

        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(bounded())

    return run_to_its_end


async def arrivals(gate: Gate, count: int = 1) -> None:
    while len(gate.arrivals()) < count:
        await asyncio.sleep(0.001)


def hold(queue: LocalQueue) -> dict[Any, Any]:
    return queue._client.landings


# ---- await


def test_a_call_is_awaited(run: Run, q):
    async def main() -> None:
        assert await q.delay(tasks.add, 1, 2) == 3
        assert await q.options(priority="high").delay(tasks.same, {1}) == {1}
        with pytest.raises(tasks.Mishap, match="awaited"):
            await q.delay(tasks.fail, "awaited")
        done = q.delay(tasks.same, 1)
        done.result(PATIENCE)
        assert [await done, await done] == [1, 1]

    run(main())
    assert not hold(q)


def test_many_calls_are_gathered(run: Run, q):
    async def main() -> None:
        assert await asyncio.gather(*(q.delay(tasks.same, number) for number in range(5000))) == list(range(5000))
        found = await asyncio.gather(*(q.delay(tasks.fail_if_odd, n) for n in range(10)), return_exceptions=True)
        assert [type(each) for each in found] == [int, tasks.Mishap] * 5

    run(main())
    assert not hold(q)
    audit(q)


def test_one_future_is_awaited_by_many(run: Run, lone, gate):
    async def wait_for(future: TaskFuture[object]) -> object:
        return await future

    async def main() -> list[object]:
        future = lone.delay(tasks.slow, gate.path, "value")
        waiting = [asyncio.create_task(wait_for(future)) for _ in range(100)]
        await arrivals(gate)
        gate.open()
        return await asyncio.gather(*waiting)

    assert run(main()) == ["value"] * 100


def test_the_loop_is_called_once_for_what_was_finished_together(run: Run, lone, gate):
    async def main() -> int:
        loop = asyncio.get_running_loop()
        futures = [lone.delay(tasks.slow, gate.path), *(lone.delay(tasks.same, number) for number in range(500))]
        waiting = asyncio.gather(*futures)
        await asyncio.sleep(0)
        await arrivals(gate)
        calls = 0
        (landing,) = hold(lone).values()
        deliver = landing._loop.call_soon_threadsafe

        class Counting:
            def call_soon_threadsafe(self, *args: Any) -> object:
                nonlocal calls
                calls += 1
                return deliver(*args)

        landing._loop = Counting()
        gate.open()
        while not all(future.done() for future in futures):  # finished here, while the loop does not get to look
            pass
        assert loop is asyncio.get_running_loop()
        await waiting
        return calls

    assert run(main()) < 50
    hold(lone).clear()  # it was to be found by its loop


def test_no_thread_is_started_for_a_call(run: Run, lone, gate):
    async def main() -> int:
        waiting = asyncio.gather(*(lone.delay(tasks.slow, gate.path, number) for number in range(200)))
        await arrivals(gate)
        count = threading.active_count()
        gate.open()
        await waiting
        return count

    before = threading.active_count()
    assert run(main()) <= before + 1


def test_the_results_of_other_calls_are_arguments_without_waiting(run: Run, q):
    async def main() -> int:
        parts = [q.delay(tasks.add, number, 1) for number in range(20)]
        found: int = await q.delay(sum, parts)
        return found

    assert run(main()) == sum(range(21))


# ---- cancel


def cancelled_by_wait_for(future: TaskFuture[object]) -> Coroutine[Any, Any, object]:
    return asyncio.wait_for(future, 0.02)


async def cancelled_by_timeout(future: TaskFuture[object]) -> None:
    async with asyncio.timeout(0.02):
        await future


async def cancelled_by_hand(future: TaskFuture[object]) -> None:
    async def wait() -> None:
        await future

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    waiting.cancel()
    try:
        await waiting
    except asyncio.CancelledError:
        raise TimeoutError from None


async def cancelled_by_a_task_group(future: TaskFuture[object]) -> None:
    async def wait() -> None:
        await future

    async def leave() -> None:
        await asyncio.sleep(0)
        raise TimeoutError

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(wait())
            group.create_task(leave())
    except* TimeoutError as caught:
        raise caught.exceptions[0] from None


@pytest.mark.parametrize(
    "cancelled", [cancelled_by_wait_for, cancelled_by_timeout, cancelled_by_hand, cancelled_by_a_task_group]
)
def test_cancelling_what_awaits_a_call_cancels_its_task(run: Run, lone, gate, cancelled: Any, tmp_path):
    path = str(tmp_path / "runs")

    async def main() -> None:
        held = lone.delay(tasks.slow, gate.path)
        await arrivals(gate)
        queued, later = lone.delay(tasks.record, path, "queued"), lone.delay(tasks.record, path, held)
        for future in (queued, later):
            with pytest.raises(TimeoutError):
                await cancelled(future)
            assert future.cancelled()
        gate.open()
        await held
        await lone.delay(tasks.noop)

    run(main())
    assert not (tmp_path / "runs").exists()
    assert not hold(lone)
    audit(lone)


def test_a_shielded_call_goes_on(run: Run, lone, gate):
    async def main() -> object:
        future = lone.delay(tasks.slow, gate.path, "value")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(future), 0.02)
        gate.open()
        return await future

    assert run(main()) == "value"


# ---- async with


def test_a_queue_is_closed_while_the_loop_goes_on(run: Run, gate):
    async def main() -> int:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while turns < 20:
                await asyncio.sleep(0.001)
                turns += 1
            gate.open()

        async with LocalQueue(workers=1) as queue:
            future = queue.delay(tasks.slow, gate.path, "value")
            counting = asyncio.create_task(count())
        assert future.result(0) == "value"
        assert queue.closed
        await counting
        return turns

    assert run(main()) == 20


def test_leaving_the_block_by_an_error_cancels_what_waits(run: Run, gate):
    futures: list[TaskFuture[Any]] = []

    async def main() -> None:
        async with LocalQueue(workers=1) as queue:
            futures.extend([queue.delay(tasks.slow, gate.path), queue.delay(tasks.noop)])
            await arrivals(gate)
            asyncio.get_running_loop().call_later(0.02, gate.open)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main())
    running, waiting = futures
    assert running.result(0) is None
    assert waiting.cancelled()


def test_leaving_the_block_by_a_time_limit_waits_for_nothing(run: Run, gate):
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1), LocalQueue(workers=1) as queue:
                await queue.delay(tasks.slow, gate.path)

    run(main())


def test_a_time_limit_while_the_block_is_left_ends_the_waiting(run: Run, gate):
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1), LocalQueue(workers=1) as queue:
                queue.delay(tasks.slow, gate.path)
        assert queue.closed

    run(main())


# ---- async for


@pytest.mark.parametrize("ordered", [True, False])
def test_a_map_is_iterated(run: Run, q, ordered):
    async def main() -> list[int]:
        return [result async for result in q.map(tasks.add, range(3000), ordered=ordered)]

    found = run(main())
    assert sorted(found) == list(range(1, 3001))
    assert found == sorted(found) or not ordered
    assert not hold(q)


def test_a_map_reads_only_a_little_ahead_and_lets_the_loop_go_on(run: Run, lone, gate):
    read = 0

    def endless() -> Iterator[int]:
        nonlocal read
        while True:
            read += 1
            yield read

    async def main() -> None:
        held = lone.delay(tasks.slow, gate.path)
        await arrivals(gate)
        results = lone.map(tasks.same, endless())
        first = asyncio.ensure_future(anext(results))
        for _ in range(10):
            await asyncio.sleep(0.001)
        assert not first.done()
        assert read < 10
        gate.open()
        assert await first == 1
        assert [await anext(results) for _ in range(5)] == [2, 3, 4, 5, 6]
        results.close()
        await held

    run(main())
    eventually(lambda: lone._client.reap() == lone._client.waiting == 0)


def test_a_map_s_errors_come_in_their_places_and_it_goes_on(run: Run, q):
    async def main() -> list[int]:
        found = []
        results = q.map(tasks.fail_if_odd, range(10), chunksize=3)
        while True:
            try:
                found.append(await anext(results))
            except tasks.Mishap as error:
                found.append(-error.code)
            except StopAsyncIteration:
                return found

    assert run(main()) == [0, -1, 2, -3, 4, -5, 6, -7, 8, -9]


def test_a_worker_that_dies_in_a_map_costs_one_item(run: Run, q):
    async def main() -> list[object]:
        results = q.map(die_of_seven, range(20), chunksize=10, return_exceptions=True)
        return [type(result).__name__ async for result in results]

    assert run(main()) == ["int"] * 7 + ["WorkerCrashed"] + ["int"] * 12
    wait_until_staffed(q)


def die_of_seven(number: int) -> int:
    if number == 7:
        tasks.exit_hard()
    return number


def test_a_map_s_time_limit_holds_and_cancelling_ends_it(run: Run, lone, gate):
    async def main() -> None:
        held = lone.delay(tasks.slow, gate.path)
        await arrivals(gate)
        with pytest.raises(TimeoutError, match="map was not done"):
            async for _ in lone.map(tasks.same, range(10), timeout=0.02):
                pass
        results = lone.map(tasks.same, range(10))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(results), 0.02)
        gate.open()
        await held
        assert [result async for result in results] == []

    run(main())
    eventually(lambda: lone._client.reap() == lone._client.waiting == 0)
    audit(lone)


def test_a_map_reads_an_async_iterable(run: Run, q):
    closed = []

    async def numbers(count: int) -> AsyncIterator[int]:
        try:
            for number in range(count):
                if number % 7 == 0:
                    await asyncio.sleep(0)
                yield number
        finally:
            closed.append(count)

    async def broken() -> AsyncIterator[int]:
        yield 1
        raise ZeroDivisionError

    async def main() -> None:
        assert [result async for result in q.map(tasks.add, numbers(1000))] == list(range(1, 1001))
        results = q.map(tasks.same, broken())
        assert await anext(results) == 1
        with pytest.raises(ZeroDivisionError):
            await anext(results)
        endless = q.map(tasks.same, numbers(10**9))
        assert [await anext(endless) for _ in range(10)] == list(range(10))
        endless.close()
        while len(closed) < 2:
            await asyncio.sleep(0.001)
        with pytest.raises(TypeError, match="async for"):
            next(q.map(tasks.same, numbers(1)))

    run(main())


def test_results_come_while_an_async_iterable_has_nothing_new(run: Run, q):
    async def main() -> None:
        more = asyncio.Event()

        async def slowly() -> AsyncIterator[int]:
            yield 1
            await more.wait()
            yield 2

        results = q.map(tasks.same, slowly())
        assert await anext(results) == 1
        more.set()
        assert [result async for result in results] == [2]

    run(main())


# ---- loops and threads


def test_several_loops_in_several_threads_share_a_queue(q):
    async def main(number: int) -> None:
        values = [number * 1000 + turn for turn in range(200)]
        assert await asyncio.gather(*(q.delay(tasks.same, value) for value in values)) == values
        assert [result async for result in q.map(tasks.same, values)] == values
        found.append(number)

    def run_in_thread(number: int) -> None:
        factory = uvloop.new_event_loop if number % 2 else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main(number))

    found: list[int] = []
    threads = [threading.Thread(target=run_in_thread, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)

    assert sorted(found) == list(range(6))
    assert not hold(q)


def test_a_loop_closed_while_tasks_are_on_their_way_disturbs_nobody(lone, gate):
    loop = asyncio.new_event_loop()
    future = lone.delay(tasks.slow, gate.path, "value")

    async def wait() -> object:
        return await future

    waiting = loop.create_task(wait())
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
    gate.open()

    assert future.result(PATIENCE) == "value"
    assert lone.delay(tasks.same, 1).result(PATIENCE) == 1
    eventually(lambda: not hold(lone))
    waiting._log_destroy_pending = False  # type: ignore[attr-defined]  # it is what the test is about
    waiting.get_coro().close()


def test_workers_killed_while_calls_are_awaited_cost_those_calls_alone(run: Run, gate):
    async def main() -> list[object]:
        async with LocalQueue(workers=2, max_retries=3) as queue:
            calls = asyncio.gather(*(queue.delay(tasks.same, number) for number in range(2000)))
            for _ in range(5):
                await asyncio.sleep(0.01)
                for pid in ready_workers(queue)[:1]:
                    _kill(pid)
            return list(await calls)

    assert run(main()) == list(range(2000))


def _kill(pid: int) -> None:
    if not is_gone(pid):
        os.kill(pid, signal.SIGKILL)


def test_awaiting_a_queue_that_is_closed_meanwhile_raises(run: Run, gate):
    async def main() -> None:
        queue = LocalQueue(workers=1)
        future = queue.delay(tasks.slow, gate.path)
        await arrivals(gate)
        asyncio.get_running_loop().call_later(0.02, lambda: queue.close(timeout=0))
        with pytest.raises(TaskCancelled):  # not asyncio's own: nobody has cancelled this coroutine
            await future
        with pytest.raises(QueueClosed):
            queue.delay(tasks.noop)

    run(main())


@pytest.mark.parametrize("loop", ["asyncio.new_event_loop", "uvloop.new_event_loop"])
def test_ctrl_c_ends_the_program_and_its_queue_at_once(tmp_path, loop):
    told = run_script(
        tmp_path,
        f"""
        import asyncio, os, signal, threading, time
        import uvloop
        from localq import LocalQueue

        async def main():
            async with LocalQueue(workers=1) as q:
                threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
                await asyncio.gather(*(q.delay(time.sleep, 20) for _ in range(5)))

        began = time.monotonic()
        try:
            with asyncio.Runner(loop_factory={loop}) as runner:
                runner.run(main())
        except KeyboardInterrupt:
            print("interrupted", time.monotonic() - began < 5)
        """,
    )

    assert told == "interrupted True\n"

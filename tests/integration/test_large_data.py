# SPDX-License-Identifier: MIT
"""Large arguments and results as users meet them: written in place, kept, more of them than memory, from threads, event
loops, forked processes, executors."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from localq import LocalExecutor, LocalQueue, SerializationError, TaskFuture
from localq._native import ROLE_WORKER
from tests.support import tasks
from tests.support.arrays import (
    MANY,
    Array,
    MiB,
    add_one,
    arena_bytes,
    doubled,
    first,
    full,
    is_full,
    keep,
    kept_are_whole,
    refusal,
    resident,
    settled,
    total,
)
from tests.support.queues import PATIENCE, id_of, read, wait_until_staffed
from tests.support.waiting import eventually

SIZES = (10, 2_000, 20_000, 70_000, 300_000)  # items: in the slot, a small block, copied, a view, a run of spans


@pytest.fixture(scope="module")
def q() -> Iterator[LocalQueue]:
    with LocalQueue(workers=2, memory="256MB") as queue:
        yield queue


@pytest.fixture
def small() -> Iterator[LocalQueue]:
    """Thirty spans of memory."""
    with LocalQueue(workers=2, memory="32MB", result_cache_size=0) as queue:
        yield queue


def value_of(queue: LocalQueue, future: TaskFuture[Any]) -> Any:
    """Its result as it is read by id."""
    return read(queue, id_of(future)).value


# Writing in place.


@pytest.mark.parametrize("items", SIZES)
def test_a_task_that_writes_to_its_argument_changes_nothing_here(q, items):
    array = full(1, items)

    assert q.delay(add_one, array).result(PATIENCE) == 2

    assert is_full(array, 1)


@pytest.mark.parametrize("items", SIZES)
def test_what_a_task_wrote_to_its_argument_no_later_task_finds_there(q, items):
    for number in range(20):
        assert q.delay(add_one, full(number, items)).result(PATIENCE) == number + 1
        assert q.delay(total, full(number, items)).result(PATIENCE) == number * items


@pytest.mark.parametrize("items", SIZES[1:])
def test_a_readonly_argument_refuses_to_be_written(q, items):
    future = q.options(arguments="readonly").delay(add_one, full(1, items))

    with pytest.raises(ValueError, match="read-only"):
        future.result(PATIENCE)


@pytest.mark.parametrize("mode", ["copy-on-write", "readonly", "shared"])
def test_an_array_that_is_read_only_here_is_so_over_there(q, mode):
    def is_writable(array: Array) -> bool:
        return array.flags.writeable

    sent, lent = full(1), q.asarray(full(1))
    sent.flags.writeable = lent.flags.writeable = False

    view = q.options(arguments=mode)

    assert not view.delay(is_writable, sent).result(PATIENCE)
    assert not view.delay(is_writable, lent).result(PATIENCE)


@pytest.mark.parametrize("items", SIZES)
def test_a_result_may_be_written_and_is_read_again_as_it_was(q, items):
    future = q.delay(full, 5, items)
    result = future.result(PATIENCE)

    result += 1

    assert is_full(result, 6)
    assert is_full(value_of(q, future), 5)


def test_results_as_copies_hold_nothing_of_the_arena(small):
    kept = [small.options(results="copies").delay(full, number).result(PATIENCE) for number in range(20)]

    settled(small, at_most=4096)
    assert all(is_full(array, number) for number, array in enumerate(kept))


def test_a_queue_can_be_told_once_how_arguments_and_results_are_seen():
    with LocalQueue(workers=1, memory="32MB", arguments="readonly", results="copies", result_cache_size=0) as queue:
        assert isinstance(queue.delay(add_one, full(1)).exception(PATIENCE), ValueError)
        kept = queue.delay(full, 3).result(PATIENCE)
        settled(queue, at_most=4096)
        assert queue.options(arguments="copy-on-write").delay(add_one, kept).result(PATIENCE) == 4


# Life.


def test_results_stay_what_they_are_while_their_neighbours_come_and_go(q):
    chance = random.Random(1)
    kept: dict[int, Array] = {}
    for number in range(1500):
        result = q.delay(full, number, chance.choice((9_000, 40_000, 150_000))).result(PATIENCE)
        if chance.random() < 0.2:
            kept[number] = result
        if len(kept) > 60:
            kept.pop(chance.choice(list(kept)))
        if number % 50 == 0:
            assert all(is_full(array, own) for own, array in kept.items())


def test_results_are_right_after_their_queue_has_ended():
    with LocalQueue(workers=1, memory="64MB") as queue:
        results = {items: queue.delay(full, items, items).result(PATIENCE) for items in SIZES}
        lent = queue.asarray(full(3))
        sparse = queue.zeros(1_000_000, sparse=True)
        ref = queue.put(full(4))
        seen = ref.get()
    del queue
    gc.collect()

    assert all(is_full(array, items) for items, array in results.items())
    assert is_full(lent, 3)
    assert is_full(sparse, 0)
    assert is_full(seen, 4)
    for array in (*results.values(), lent, sparse, seen):
        array += 1
    assert all(is_full(array, items + 1) for items, array in results.items())
    assert is_full(lent, 4)


def test_the_memory_of_a_queue_that_has_ended_is_only_what_is_still_looked_at():
    with LocalQueue(workers=1, memory="256MB") as queue:
        kept = queue.delay(full, 1, 1_000_000).result(PATIENCE)
        for _ in range(10):
            queue.delay(full, 2, 1_000_000).result(PATIENCE)
        fd = os.dup(queue._space.fds[1])
    try:
        eventually(lambda: os.fstat(fd).st_blocks * 512 <= 20 * MiB)
    finally:
        os.close(fd)
    assert is_full(kept, 1)


def test_arrays_in_cycles_let_go_of_the_arena_when_they_are_collected(small):
    def in_a_cycle(array: Array) -> None:
        cycle: list[object] = [array]
        cycle.append(cycle)

    for number in range(30):
        in_a_cycle(small.delay(full, number).result(PATIENCE))
        in_a_cycle(small.asarray(full(number)))
        cycle: list[object] = [small.put(full(number))]
        cycle.append(cycle)
        del cycle
        try:
            one = small.delay(full, number).result(PATIENCE)
            raise ValueError(one[0])
        except ValueError as error:
            error.args = (error, traceback.extract_tb(error.__traceback__))
        del one
        if number % 10 == 0:
            gc.collect()
    kept = [small.delay(full, number).result(PATIENCE) for number in range(5)]

    gc.collect()

    assert all(is_full(array, number) for number, array in enumerate(kept))
    del kept
    settled(small, at_most=4096)


def test_what_a_worker_keeps_of_its_arguments_stays_what_it_is(small, tmp_path):
    ref = small.put(full(-5))
    small.delay(keep, ref).result(PATIENCE)
    del ref
    for number in range(300):  # much more than there is memory
        items = 9_000 + 50 * number
        assert small.delay(keep, full(number, items)).result(PATIENCE) == number

    asked = tmp_path / "asked"
    eventually(
        lambda: small.delay(kept_are_whole, str(asked)).result(PATIENCE) and len(set(asked.read_text().split())) == 2
    )


# Bounds.


def test_arguments_and_results_of_much_of_the_memory_go_one_after_the_other():
    with LocalQueue(workers=2, memory="8MB") as queue:
        array = np.ones(3_000_000 // 8)
        futures = [queue.delay(doubled, array) for _ in range(12)]
        assert all(is_full(future.result(PATIENCE), 2) for future in futures)


def test_tasks_of_far_more_data_than_memory_wait_for_each_other(small):
    array = np.ones(4 * MiB // 8)

    futures = [small.delay(doubled, array) for _ in range(100)]

    assert sum(first(future.result(PATIENCE)) for future in futures) == 200
    del futures
    settled(small, at_most=2 * MiB)


def test_more_results_can_be_kept_than_fit_into_the_memory(small):
    kept = [future.result(PATIENCE) for future in [small.delay(full, number, MiB // 2) for number in range(40)]]
    kept += small.map(full, range(40, 60), [MiB // 2] * 20)

    assert all(is_full(array, number) for number, array in enumerate(kept))


def test_a_map_in_chunks_larger_than_the_memory_says_so_or_goes_through(small):
    results = small.map(full, range(40), [MiB // 2] * 40, chunksize=2)

    assert [first(array) for array in results] == list(range(40))


@pytest.mark.parametrize(
    "call",
    [
        lambda queue: queue.delay(total, np.ones(5_000_000)).result(PATIENCE),
        lambda queue: queue.put(np.ones(5_000_000)),
        lambda queue: queue.empty(5_000_000),
        lambda queue: queue.zeros(5_000_000, sparse=True),
        lambda queue: queue.empty((10**10, 10**10)),
        lambda queue: list(queue.map(total, [np.ones(5_000_000)])),
    ],
    ids=["delay", "put", "empty", "sparse", "absurd", "map"],
)
def test_what_can_never_fit_is_refused_at_once_and_says_what_to_do(small, call):
    error = refusal(lambda: call(small))

    assert isinstance(error, MemoryError)
    assert "memory=" in str(error)
    assert small.delay(first, full(1)).result(PATIENCE) == 1


def test_a_result_that_can_never_fit_fails_that_task_alone(small):
    error = small.delay(full, 1, 5_000_000).exception(PATIENCE)

    assert isinstance(error, SerializationError)
    assert "memory=" in str(error)
    assert small.delay(first, full(1)).result(PATIENCE) == 1


def test_an_arena_full_of_values_refuses_more_says_what_to_do_and_goes_on_when_they_are_gone(small):
    held: list[object] = []
    error = None
    while error is None:
        error = refusal(lambda: held.append(small.put(np.ones(MiB // 2))))

    assert isinstance(error, MemoryError)
    assert "let go" in str(error)
    assert len(held) >= 3
    held.clear()
    assert small.delay(first, np.ones(MiB // 2)).result(PATIENCE) == 1


@pytest.mark.slow
def test_with_thousands_of_results_in_hand_everything_still_works():
    with LocalQueue(workers=2, memory="2GB", capacity=4096) as queue:
        kept = [queue.delay(full, number, 9_000).result(PATIENCE) for number in range(2200)]

        ref, lent = queue.put(full(1)), queue.asarray(full(2))

        assert queue.delay(total, ref).result(PATIENCE) == MANY
        assert queue.delay(total, lent).result(PATIENCE) == 2 * MANY
        future = queue.delay(full, 3)
        assert is_full(future.result(PATIENCE), 3)
        assert is_full(value_of(queue, future), 3)
        assert all(is_full(array, number) for number, array in enumerate(kept))


def test_a_bytearray_that_grows_while_it_waits_for_room_does_no_harm(small):
    """It is seen as it is when there is room, or refused; never written over what is beside it."""
    neighbour = small.asarray(full(7, MiB // 2))
    growing = bytearray(2 * MiB)
    with ThreadPoolExecutor(1) as pool:
        futures = [small.delay(first, np.ones(MiB // 2)) for _ in range(20)]
        waiting = pool.submit(lambda: [small.delay(len, growing) for _ in range(20)])
        while not waiting.done():
            with suppress(BufferError):  # it is being copied just now
                growing.extend(bytes(100_000)) if len(growing) < 6 * MiB else growing.__delitem__(slice(2 * MiB, None))
    error = refusal(waiting.result)

    assert error is None or isinstance(error, BufferError), error
    assert all(future.result(PATIENCE) == 1 for future in futures)
    assert is_full(neighbour, 7)
    assert small._space.check() is None


# Forks, threads, event loops, executors.


def test_a_forked_child_sees_the_results_that_its_parent_had_whatever_the_parent_does(small, q):
    kept = [small.delay(full, number, 9_000 * (number + 1)).result(PATIENCE) for number in range(8)]
    ref = small.put(full(9, 1000))
    go_read, go = os.pipe()

    child = os.fork()
    if child == 0:
        try:
            os.read(go_read, 1)
            are_right = all(is_full(array, number) for number, array in enumerate(kept))
            says = str(refusal(ref.get))
            kept.clear()
            del ref
            os._exit(0 if are_right and "forked" in says else 1)
        finally:
            os._exit(2)
    kept.clear()
    for _ in range(100):
        small.delay(full, -1, 40_000).result(PATIENCE)
    os.write(go, b"x")
    _, status = os.waitpid(child, 0)
    os.close(go)
    os.close(go_read)

    assert os.waitstatus_to_exitcode(status) == 0
    assert is_full(ref.get(), 9)
    assert q.delay(first, full(1)).result(PATIENCE) == 1  # the fork has ended its guard; now it has one as before


def test_results_of_before_a_fork_stay_right_in_the_child_though_its_parent_lets_go_of_them(small, q):
    kept = [small.delay(full, number).result(PATIENCE) for number in range(5)]
    wait, go = os.pipe()

    child = os.fork()
    if child == 0:
        os.close(go)
        os.read(wait, 1)
        os._exit(0 if all(is_full(array, number) for number, array in enumerate(kept)) else 1)
    os.close(wait)
    kept.clear()
    for _ in range(50):
        small.delay(full, -1).result(PATIENCE)
    os.close(go)

    assert os.waitpid(child, 0)[1] == 0
    small.delay(full, -1).result(PATIENCE)  # whoever lets go of something next finds out that the child has ended
    settled(small)
    assert q.delay(first, full(1)).result(PATIENCE) == 1  # as above


def test_results_of_before_a_fork_are_right_after_it(small, q):
    kept = [small.delay(full, number).result(PATIENCE) for number in range(5)]

    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)

    for _ in range(50):
        small.delay(full, -1).result(PATIENCE)
    assert all(is_full(array, number) for number, array in enumerate(kept))
    assert is_full(small.delay(doubled, kept[3]).result(PATIENCE), 6)
    assert q.delay(first, full(1)).result(PATIENCE) == 1  # as above


def test_threads_send_and_receive_large_arrays_at_once(q):
    def work(own: int) -> int:
        chance = random.Random(own)
        for number in range(own * 100, own * 100 + 30):
            items = chance.choice((10, 600, 9_000, 40_000, 150_000))
            array = full(number, items)
            match chance.randrange(4):
                case 0:
                    assert q.delay(total, array).result(PATIENCE) == number * items
                case 1:
                    assert is_full(q.delay(doubled, array).result(PATIENCE), 2 * number)
                case 2:
                    ref = q.put(array)
                    assert q.delay(total, ref).result(PATIENCE) == number * items
                    assert is_full(ref.get(), number)
                case 3:
                    lent = q.asarray(array)
                    assert q.options(arguments="shared").delay(add_one, lent).result(PATIENCE) == number + 1
                    assert is_full(lent, number + 1)
        return own

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(work, range(6))) == list(range(6))


def test_an_event_loop_gathers_more_than_fits(small):
    async def main() -> None:
        calls = [small.delay(doubled, full(number, MiB // 4)) for number in range(40)]
        assert all(is_full(array, 2 * number) for number, array in enumerate(await asyncio.gather(*calls)))

        async for array in small.map(doubled, (full(1, MiB // 4) for _ in range(20))):
            assert is_full(array, 2)

    asyncio.run(main())


def test_a_call_that_waits_for_room_sends_what_the_argument_was_at_the_call(small):
    executor = small.executor()
    array = np.ones(MiB // 4)
    futures = []
    for number in range(40):
        array[:] = number
        futures.append(executor.submit(first, array))

    assert [future.result(PATIENCE) for future in futures] == list(range(40))


def test_large_results_go_on_as_arguments_of_others(q):
    doubled_once = q.delay(doubled, q.delay(full, 3))

    assert q.delay(total, doubled_once).result(PATIENCE) == 6 * MANY
    assert is_full(q.delay(sum, [q.delay(full, number) for number in range(5)]).result(PATIENCE), 10)


def test_tasks_submit_large_data_to_their_own_queue(q):
    def outer() -> tuple[float, float, list[float], Array]:
        queue = LocalQueue.current()
        ref, lent, out = queue.put(full(3)), queue.zeros(MANY), queue.zeros(4)
        inner = queue.delay(total, ref).result()
        queue.options(arguments="shared").delay(add_one, lent).result()
        list(queue.options(out=out).map(abs, range(4)))
        return inner, float(lent[-1]), out.tolist(), lent

    inner, written, rows, lent = q.delay(outer).result(PATIENCE)

    assert (inner, written, rows) == (3 * MANY, 1, [0, 1, 2, 3])
    assert is_full(lent, 1)


def test_executors_pass_arrays():
    with LocalExecutor(2, memory="64MB") as executor:
        items = [full(number) for number in range(20)]
        assert all(is_full(array, 2 * n) for n, array in enumerate(executor.map(doubled, items, chunksize=3)))
        assert executor.submit(total, items[2]).result(PATIENCE) == 2 * MANY


def test_joblib_passes_arrays():
    joblib = pytest.importorskip("joblib")
    import localq.joblib  # noqa: F401 - registers the backend

    with joblib.parallel_config(backend="localq", n_jobs=2):
        results = joblib.Parallel()(joblib.delayed(doubled)(full(number)) for number in range(10))

    assert all(is_full(array, 2 * number) for number, array in enumerate(results))


# Memory.


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_memory_is_at_its_start_level_after_100_000_mixed_transfers():
    with LocalQueue(workers=2, memory="256MB", result_cache_size=0) as queue:  # a cached result keeps a whole span
        chance = random.Random(2)

        def transfers(count: int) -> None:
            for _ in range(count // 100):
                items = [np.ones(chance.choice((1, 80, 600, 1100, 9_000))) for _ in range(90)]
                for array in queue.map(doubled, items, chunksize=6):
                    assert array[-1] == 2
                for _ in range(5):
                    lent, ref = queue.zeros(2000), queue.put(items[0])
                    queue.options(arguments="shared").delay(add_one, lent).result(PATIENCE)
                    queue.delay(total, ref).result(PATIENCE)
                    assert lent[0] == 1

        transfers(5_000)
        pids = wait_until_staffed(queue)
        before = {pid: resident(pid) for pid in (*pids, os.getpid())}
        transfers(100_000)

        settled(queue, at_most=16 * MiB)
        grown = {pid: resident(pid) - before[pid] for pid in before}
        assert max(grown.values()) < 24 * MiB, grown
        assert sorted(pids) == sorted(wait_until_staffed(queue))
        eventually(lambda: arena_bytes(queue) <= 32 * MiB, within=60, what="the system has its memory back")
        assert len([row for row in queue._space.rows() if row["role"] == ROLE_WORKER]) == 2


@pytest.mark.slow
def test_ten_gigabytes_of_sparse_arrays_cost_what_is_touched():
    with LocalQueue(workers=2, memory="16GB") as queue:
        arrays = [queue.zeros((1250, 100_000), sparse=True) for _ in range(10)]
        start = arena_bytes(queue)

        def touch(array: Array) -> float:
            array[1000, 5] = 3
            return float(array[1000, :10].sum())

        shared = queue.options(arguments="shared")

        assert [shared.delay(touch, array).result(PATIENCE) for array in arrays] == [3] * 10
        assert [array[1000, 5] for array in arrays] == [3] * 10
        assert arena_bytes(queue) - start < 64 * MiB
        own = resident()
    assert [array[1000, 5] for array in arrays] == [3] * 10
    assert resident() - own < 64 * MiB


def test_noop_of_nothing_leaves_nothing(q):
    assert q.delay(tasks.noop).result(PATIENCE) is None
    settled(q, at_most=32 * MiB)

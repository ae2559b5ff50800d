# SPDX-License-Identifier: MIT
"""`map`: lazy, in order or not, in chunks that nobody notices, each item with its own outcome."""

from __future__ import annotations

import gc
import itertools
import os
import threading
import weakref
from collections.abc import Iterator
from operator import length_hint
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localq import ConfigError, LocalQueue, SerializationError, TaskFailed, WorkerCrashed
from localq.client.mapping import MOST_ITEMS, ChunkSizes
from tests.support import tasks
from tests.support.queues import PATIENCE, audit, lines_of, wait_until_staffed

CHUNKS = pytest.mark.parametrize("chunksize", [None, 1, 3, 1000], ids=lambda size: f"chunksize-{size}")


class Source:
    """An endless iterable that counts how far it was read."""

    def __init__(self) -> None:
        self.read = 0

    def __iter__(self) -> Iterator[int]:
        while True:
            self.read += 1
            yield self.read - 1


def drain(results: Iterator[Any]) -> list[Any]:
    """All results, with the exception itself where an item failed."""
    found: list[Any] = []
    while True:
        try:
            found.append(next(results))
        except StopIteration:
            return found
        except Exception as error:
            found.append(error)


# ---- results and their order


@CHUNKS
@pytest.mark.parametrize("count", [0, 1, 2, 3, 100, 5000])
def test_results_come_in_the_order_of_the_items(q, chunksize, count):
    assert list(q.map(tasks.same, range(count), chunksize=chunksize)) == list(range(count))


@CHUNKS
def test_unordered_results_are_all_there(q, chunksize):
    assert sorted(q.map(tasks.same, range(2000), ordered=False, chunksize=chunksize)) == list(range(2000))


def test_unordered_results_do_not_wait_for_a_slow_item(q, gate):
    def held_if_zero(number: int, path: str = gate.path) -> int:
        return tasks.slow(path, number) if number == 0 else number  # type: ignore[return-value]

    results = q.map(held_if_zero, range(4), ordered=False, chunksize=1)

    assert sorted(itertools.islice(results, 3)) == [1, 2, 3]
    gate.open()
    assert list(results) == [0]


def test_ordered_results_wait_for_a_slow_item(q, gate):
    def held_if_zero(number: int, path: str = gate.path) -> int:
        return tasks.slow(path, number) if number == 0 else number  # type: ignore[return-value]

    results = q.map(held_if_zero, range(4), chunksize=1)
    gate.wait_for_arrivals(1)
    gate.open()

    assert list(results) == [0, 1, 2, 3]


def test_several_iterables_are_read_in_step_until_the_shortest_ends(q):
    assert list(q.map(tasks.add, range(5), itertools.count(10))) == [10, 12, 14, 16, 18]
    assert list(q.map(tasks.add, [], itertools.count())) == []
    assert list(q.map(tasks.echo, "ab", [1, 2], [None, 3.5])) == [(("a", 1, None), {}), (("b", 2, 3.5), {})]


def test_starmap_spreads_each_item(q):
    assert list(q.starmap(tasks.add, [(1, 2), [3, 4], (5,)])) == [3, 7, 6]
    assert list(q.starmap(tasks.add, [])) == []


def test_a_starmap_item_that_cannot_be_spread_fails_alone(q):
    found = drain(q.starmap(tasks.add, [(1, 2), 7, (3, 4)], chunksize=3))

    assert (found[0], found[2]) == (3, 7)
    assert isinstance(found[1], TypeError)


def test_a_map_item_that_is_a_tuple_stays_one_argument(q):
    assert list(q.map(tasks.same, [(1, 2), (3,)])) == [(1, 2), (3,)]


def test_coroutine_functions_can_be_mapped(q):
    assert list(q.map(tasks.add_later, range(10))) == list(range(1, 11))


def test_large_items_and_large_results_pass(q):
    assert [len(value) for value in q.map(tasks.same, [b"x" * 500_000] * 12)] == [500_000] * 12


def test_items_keep_their_types(q):
    items: list[Any] = [(1,), {2}, 1 + 2j, None, True, "x", b"y", {"a": (1,)}, float("inf"), 2**70]

    found = list(q.map(tasks.same, items))

    assert [(value, type(value)) for value in found] == [(value, type(value)) for value in items]


def test_a_map_over_a_set_or_a_generator_or_a_dict_works(q):
    assert set(q.map(tasks.same, {1, 2, 3})) == {1, 2, 3}
    assert list(q.map(tasks.same, (number for number in range(3)))) == [0, 1, 2]
    assert list(q.map(tasks.same, {"a": 1, "b": 2})) == ["a", "b"]


def test_two_maps_may_be_read_in_turns(q):
    first, second = q.map(tasks.same, range(50)), q.map(tasks.add, range(50), chunksize=7)

    assert list(zip(first, second, strict=True)) == [(number, number + 1) for number in range(50)]


def test_a_map_has_the_priority_of_its_view(tmp_path, gate):
    with LocalQueue(workers=1) as queue, gate:
        queue.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        queue.delay(tasks.record, str(tmp_path / "seen"), "plain")
        results = queue.options(priority="high").starmap(
            tasks.record, [(str(tmp_path / "seen"), text) for text in "ab"], chunksize=1
        )
        gate.open()
        list(results)

    assert lines_of(tmp_path / "seen") == ["a", "b", "plain"]


# ---- lazy


@pytest.mark.parametrize("ordered", [True, False])
def test_an_endless_iterable_is_read_only_a_little_ahead(gate, ordered):
    with LocalQueue(workers=1) as queue, gate:
        source = Source()
        queue.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)

        results: Any = queue.map(tasks.same, source, ordered=ordered)

        assert source.read <= 8
        gate.open()
        assert len(list(itertools.islice(results, 10))) == 10
        results.close()


def test_what_is_read_ahead_is_bounded_by_chunks_and_not_by_time(q):
    source = Source()
    results: Any = q.map(tasks.same, source, chunksize=10)
    found = list(itertools.islice(results, 1005))

    assert found == list(range(1005))
    assert source.read <= 1005 + 10 * (2 * 2 + 2 + 2)
    results.close()


def test_the_first_results_of_an_endless_map_can_be_taken(q):
    assert list(itertools.islice(q.map(tasks.same, itertools.count(5)), 3)) == [5, 6, 7]


def test_a_map_that_is_closed_runs_nothing_more(tmp_path, gate):
    with LocalQueue(workers=1) as queue, gate:
        queue.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        results: Any = queue.starmap(tasks.record, ((str(tmp_path / "seen"), "x") for _ in range(100)), chunksize=1)
        results.close()
        gate.open()
        queue.delay(tasks.noop).result(PATIENCE)
        assert list(results) == []
        results.close()
        audit(queue)

    assert lines_of(tmp_path / "seen") == []


def test_a_map_that_is_dropped_runs_nothing_more(tmp_path, gate):
    with LocalQueue(workers=1) as queue, gate:
        queue.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        queue.starmap(tasks.record, ((str(tmp_path / "seen"), "x") for _ in range(100)), chunksize=1)
        gc.collect()
        gate.open()
        queue.delay(tasks.noop).result(PATIENCE)
        audit(queue)

    assert lines_of(tmp_path / "seen") == []


def test_a_map_keeps_nothing_of_what_was_taken(q):
    class Kept:
        alive = 0

        def __init__(self) -> None:
            type(self).alive += 1

        def __del__(self) -> None:
            type(self).alive -= 1

        def __reduce__(self) -> tuple[Any, ...]:
            return int, (7,)

    most = 0
    for value in q.map(tasks.same, (Kept() for _ in range(500)), chunksize=5):
        assert value == 7
        most = max(most, Kept.alive)

    assert most <= 5 * (2 * 2 + 2 + 2)
    gc.collect()
    assert Kept.alive == 0


def test_a_map_works_through_a_queue_with_little_room():
    with LocalQueue(workers=2, capacity=1, result_cache_size=0) as queue:
        assert list(queue.map(tasks.same, range(300), chunksize=2)) == list(range(300))
        audit(queue)


def test_maps_of_several_threads_share_the_workers(q):
    def run(offset: int) -> None:
        found.append(list(q.map(tasks.same, range(offset, offset + 3000))) == list(range(offset, offset + 3000)))

    found: list[bool] = []
    threads = [threading.Thread(target=run, args=(number * 10_000,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)

    assert found == [True] * 4


# ---- errors


@CHUNKS
def test_an_item_s_error_comes_in_its_place_and_the_iteration_goes_on(q, chunksize):
    found = drain(q.map(tasks.fail_if_odd, range(10), chunksize=chunksize))

    assert [value if isinstance(value, int) else value.code for value in found] == list(range(10))
    assert [isinstance(value, tasks.Mishap) for value in found] == [False, True] * 5


@CHUNKS
def test_exceptions_can_be_returned_as_results(q, chunksize):
    found = list(q.map(tasks.fail_if_odd, range(6), chunksize=chunksize, return_exceptions=True))

    assert found[::2] == [0, 2, 4]
    assert [error.code for error in found[1::2]] == [1, 3, 5]
    assert all("fail_if_odd" in str(error.__cause__) for error in found[1::2])


def test_an_error_of_an_item_is_its_own_object(q):
    found = list(q.map(tasks.fail, ["a", "b"], chunksize=2, return_exceptions=True))

    assert found[0] is not found[1]
    assert [error.args[0] for error in found] == ["a", "b"]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_an_item_that_raises_what_ends_programs_fails_alone(q, kind):
    def leave_at_two(number: int) -> int:
        if number == 2:
            raise kind("two")
        return number

    results = q.map(leave_at_two, range(4), chunksize=4)

    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(kind):
        next(results)
    assert list(results) == [3]


def test_an_exception_that_cannot_be_rebuilt_fails_its_item_alone(q):
    class Picky(Exception):
        def __init__(self, a: int, b: int) -> None:
            super().__init__("picky")

    def fail_at_one(number: int) -> int:
        if number == 1:
            raise Picky(1, 2)
        return number

    found = drain(q.map(fail_at_one, range(3), chunksize=3))

    assert (found[0], found[2]) == (0, 2)
    assert isinstance(found[1], TaskFailed) or type(found[1]).__name__ == "Picky"


@pytest.mark.parametrize("ordered", [True, False])
@CHUNKS
def test_an_iterable_that_raises_does_so_after_the_results_of_what_came_before(q, chunksize, ordered):
    def source() -> Iterator[int]:
        yield from range(25)
        raise LookupError("the source is dry")

    results = q.map(tasks.same, source(), chunksize=chunksize, ordered=ordered)

    assert sorted(itertools.islice(results, 25)) == list(range(25))
    with pytest.raises(LookupError, match="dry"):
        next(results)
    assert list(results) == []


def test_an_iterable_that_raises_at_once_says_so(q):
    def source() -> Iterator[int]:
        raise LookupError("dry from the start")
        yield

    with pytest.raises(LookupError, match="dry"):
        list(q.map(tasks.same, source()))


@CHUNKS
def test_an_item_that_cannot_be_sent_fails_alone(q, chunksize):
    items: list[Any] = [0, 1, threading.Lock(), 3, {"a": [threading.Lock()]}, 5]

    found = drain(q.map(tasks.same, items, chunksize=chunksize))

    assert [found[0], found[1], found[3], found[5]] == [0, 1, 3, 5]
    assert isinstance(found[2], SerializationError)
    assert isinstance(found[4], SerializationError)
    assert "['a'][0]" in found[4].path


@CHUNKS
def test_a_result_that_cannot_be_sent_fails_alone(q, chunksize):
    def lock_at_two(number: int) -> Any:
        return threading.Lock() if number == 2 else (number,)

    found = drain(q.map(lock_at_two, range(5), chunksize=chunksize))

    assert [found[0], found[1], found[3], found[4]] == [(0,), (1,), (3,), (4,)]
    assert isinstance(found[2], SerializationError)


class Picky:
    """Rebuilds everywhere but in the process of the test."""

    def __init__(self, number: int, home: int) -> None:
        self.number = number
        self.home = home

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild, (self.number, self.home)


def rebuild(number: int, home: int) -> Picky:
    if number == 2 and os.getpid() == home:
        raise RuntimeError("not here")
    return Picky(number, home)


@CHUNKS
def test_a_result_that_cannot_be_rebuilt_here_fails_alone(q, chunksize):
    home = os.getpid()

    found = drain(q.starmap(Picky, [(number, home) for number in range(5)], chunksize=chunksize))

    assert [value.number for at, value in enumerate(found) if at != 2] == [0, 1, 3, 4]
    assert isinstance(found[2], SerializationError)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("chunksize", [None, 1, 5, 1000], ids=lambda size: f"chunksize-{size}")
def test_an_item_that_kills_its_worker_fails_alone(chunksize, ordered):
    def die_at_seven(number: int) -> int:
        if number == 7:
            os._exit(3)
        return number

    with LocalQueue(workers=2) as queue:
        found = drain(queue.map(die_at_seven, range(30), chunksize=chunksize, ordered=ordered))

        assert sorted(value for value in found if isinstance(value, int)) == [n for n in range(30) if n != 7]
        (error,) = (value for value in found if not isinstance(value, int))
        assert isinstance(error, WorkerCrashed)
        assert error.exit_status == 3
        if ordered:
            assert found[7] is error
        wait_until_staffed(queue)
        audit(queue)


def test_every_item_that_kills_its_worker_fails_alone_and_the_others_run_once_more_at_most(tmp_path):
    def die_at_sevens(number: int, seen: str = str(tmp_path / "seen")) -> int:
        tasks.record(seen, str(number))
        if number % 7 == 6:
            os._exit(3)
        return number

    with LocalQueue(workers=2) as queue:
        found = drain(queue.map(die_at_sevens, range(21), chunksize=21))

        assert [isinstance(value, WorkerCrashed) for value in found] == [number % 7 == 6 for number in range(21)]
        audit(queue)

    runs = list(map(int, lines_of(tmp_path / "seen")))
    assert set(runs) == set(range(21))
    assert max(map(runs.count, set(runs))) <= 2


def test_a_chunk_that_waits_when_a_worker_is_killed_runs_whole(gate):
    with LocalQueue(workers=1, max_retries=0) as queue, gate:
        queue.delay(tasks.slow, gate.path)
        (worker,) = gate.wait_for_arrivals(1)
        results = queue.map(tasks.same, range(20), chunksize=10)
        os.kill(worker, 9)

        assert list(results) == list(range(20))
        audit(queue)


# ---- time, progress, the end


def test_a_map_stops_waiting_after_its_timeout_and_runs_nothing_more(tmp_path, gate):
    with LocalQueue(workers=1) as queue, gate:
        queue.delay(tasks.slow, gate.path)
        gate.wait_for_arrivals(1)
        results = queue.starmap(tasks.record, ((str(tmp_path / "seen"), "x") for _ in range(100)), timeout=0.05)

        with pytest.raises(TimeoutError):
            next(results)

        assert list(results) == []
        gate.open()
        queue.delay(tasks.noop).result(PATIENCE)

    assert lines_of(tmp_path / "seen") == []


@pytest.mark.parametrize("ordered", [True, False])
def test_the_time_of_a_map_runs_from_the_call_for_all_of_its_items(q, gate, ordered):
    def held_if_nine(number: int, path: str = gate.path) -> int:
        return tasks.slow(path, number) if number == 9 else number  # type: ignore[return-value]

    results = q.map(held_if_nine, range(20), timeout=0.3, ordered=ordered, chunksize=1)

    with pytest.raises(TimeoutError):
        list(results)

    gate.open()


@CHUNKS
def test_progress_ends_with_the_totals(q, chunksize):
    seen: list[tuple[int, int, int | None]] = []

    def note(done: int, failed: int, total: int | None) -> None:
        seen.append((done, failed, total))

    drain(q.map(tasks.fail_if_odd, range(40), progress=note, chunksize=chunksize))

    assert seen[0] == (0, 0, 40)
    assert seen[-1] == (40, 20, 40)
    assert seen == sorted(seen)


def test_the_total_of_an_iterable_of_unknown_length_is_unknown(q):
    seen: list[tuple[int, int, int | None]] = []

    def note(*counts: Any) -> None:
        seen.append(counts)

    assert list(q.map(tasks.same, (number for number in range(5)), progress=note)) == list(range(5))

    assert seen[-1] == (5, 0, None)


def test_progress_counts_items_that_could_not_be_sent_or_killed_their_worker():
    seen: list[tuple[int, int, int | None]] = []

    def die_at_two(number: int) -> int:
        if number == 2:
            os._exit(1)
        return number

    with LocalQueue(workers=1) as queue:
        drain(queue.map(die_at_two, [0, 1, 2, threading.Lock(), 4], progress=lambda *counts: seen.append(counts)))

    assert seen[-1] == (5, 2, 5)


def test_progress_of_a_map_that_is_left_is_told_no_end(q):
    seen = []

    for _ in q.map(tasks.same, itertools.count(), progress=lambda *counts: seen.append(counts)):
        break
    gc.collect()

    before = len(seen)
    drain(q.map(tasks.same, range(3)))
    assert seen[0] == (0, 0, None)
    assert len(seen) == before


def test_a_loop_that_is_left_by_an_items_error_lets_go_of_its_map_at_once(q):
    def leave() -> weakref.ref[Any]:
        results = q.map(tasks.fail_if_odd, range(40))
        ref = weakref.ref(results)
        try:
            for _ in [results].pop():
                del results
        except tasks.Mishap as error:
            kept.append(error)
        return ref

    kept: list[BaseException] = []
    gc.disable()
    try:
        assert leave()() is None
        assert kept
    finally:
        gc.enable()


def test_what_a_progress_callback_raises_ends_the_map_and_nothing_else(q):
    def stop(done: int, failed: int, total: int | None) -> None:
        if done:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        list(q.map(tasks.same, range(100), progress=stop))

    assert q.delay(tasks.same, 1).result(PATIENCE) == 1


def test_a_progress_bar_that_nobody_sees_changes_nothing(q, capsys):
    assert list(q.map(tasks.same, range(100), progress=True)) == list(range(100))
    assert capsys.readouterr() == ("", "")


def test_closing_the_queue_ends_a_map_that_is_being_read(gate):
    queue = LocalQueue(workers=1)
    results = queue.map(tasks.slow, [gate.path] * 10, chunksize=1)
    found: list[BaseException] = []

    def read() -> None:
        try:
            list(results)
        except BaseException as error:
            found.append(error)

    reading = threading.Thread(target=read)
    reading.start()
    gate.wait_for_arrivals(1)
    queue.close(timeout=0.02)
    reading.join(PATIENCE)

    assert not reading.is_alive()
    assert len(found) == 1


def test_a_with_block_left_in_the_middle_of_a_map_ends():
    with LocalQueue(workers=1) as queue:
        for value in queue.map(tasks.same, itertools.count()):
            if value == 20:
                break
    assert queue.closed


def test_arguments_that_nobody_can_use_are_refused_before_anything_is_read(q):
    source = Source()

    for wrong in (
        {"chunksize": 0},
        {"chunksize": 1.5},
        {"chunksize": True},
        {"chunksize": "4"},
        {"timeout": -1},
        {"timeout": "soon"},
    ):
        (name,) = wrong
        with pytest.raises(ConfigError, match=name):
            q.map(tasks.same, source, **wrong)
        with pytest.raises(ConfigError, match=name):
            q.starmap(tasks.same, source, **wrong)
    for progress in (None, 0, "yes"):
        with pytest.raises(ConfigError, match="progress"):
            q.map(tasks.same, source, progress=progress)
    with pytest.raises(ConfigError):
        q.map(None, source)
    with pytest.raises(ConfigError):
        q.map(tasks.same)

    assert source.read == 0


def test_what_is_not_iterable_is_a_type_error_at_once(q):
    with pytest.raises(TypeError):
        q.map(tasks.same, 5)
    with pytest.raises(TypeError):
        q.starmap(tasks.same, None)


# ---- sizes of chunks


@given(
    total=st.none() | st.integers(0, 10**7),
    workers=st.integers(1, 256),
    measured=st.lists(st.integers(0, 10**11).map(lambda ns: ns / 1e9), max_size=30),
)
@settings(max_examples=200, deadline=None)
def test_a_chunk_is_never_empty_never_huge_and_grows_in_steps(total, workers, measured):
    sizes = ChunkSizes(total, workers, None)
    assert sizes.next == 1

    for seconds in measured:
        items = sizes.next
        sizes.measured(items, seconds)
        assert 1 <= sizes.next <= max(1, min(MOST_ITEMS, 4 * items))
        if total is not None:
            assert sizes.next <= max(1, -(-total // (4 * workers)))


@given(fixed=st.integers(1, 10**6), seconds=st.floats(0, 10, allow_nan=False), items=st.integers(0, 100))
def test_a_chunksize_that_was_asked_for_stays(fixed, seconds, items):
    sizes = ChunkSizes(None, 2, fixed)

    sizes.measured(items, seconds)

    assert sizes.next == fixed


@given(each=st.floats(1e-8, 10))
def test_chunks_settle_at_a_size_that_runs_for_about_two_milliseconds(each):
    sizes = ChunkSizes(None, 2, None)
    for _ in range(20):
        sizes.measured(sizes.next, sizes.next * each)

    run = sizes.next * each
    assert sizes.next in (1, MOST_ITEMS) or 0.001 <= run <= 0.00201


@given(total=st.integers(1, 10**6), workers=st.integers(1, 64))
@settings(max_examples=50, deadline=None)
def test_towards_the_end_no_chunk_is_longer_than_a_worker_s_half_share_of_what_is_left(total, workers):
    sizes = ChunkSizes(total, workers, None)
    left = total

    while left:
        items = min(sizes.next, left)
        assert 1 <= items <= -(-left // (2 * workers))
        sizes.sent(items)
        sizes.measured(items, 0.0)
        left -= items


@CHUNKS
def test_a_map_knows_how_many_results_are_still_to_come(q, chunksize):
    results = q.map(tasks.same, list(range(100)), chunksize=chunksize)

    hints = [length_hint(results)] + [length_hint(results) for _ in results]

    assert hints == list(range(100, -1, -1))
    assert length_hint(q.map(tasks.same, iter([1, 2, 3]), chunksize=chunksize), 7) == 3
    assert length_hint(q.map(tasks.same, (number for number in range(3)), chunksize=chunksize), 7) == 7


def test_a_list_that_grows_while_it_is_mapped_is_mapped_with_what_came(q):
    items = list(range(40))
    found = []

    for result in q.map(tasks.same, items, chunksize=1):
        found.append(result)
        if result == 0:
            items += range(40, 50)

    assert found == list(range(50))


def test_a_tuple_and_a_list_of_a_kind_of_ones_own_are_mapped_as_they_iterate(q):
    class Doubled(list[int]):
        def __iter__(self):
            return (2 * item for item in list.__iter__(self))

    assert list(q.map(tasks.same, (1, 2, 3))) == [1, 2, 3]
    assert list(q.map(tasks.same, Doubled([1, 2, 3]))) == [2, 4, 6]

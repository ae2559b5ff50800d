# SPDX-License-Identifier: MIT
"""Values that are stored once, arrays that live in the queue's memory, and results that are written into them."""

from __future__ import annotations

import asyncio
import gc
import pickle
import time
from collections.abc import Iterator
from concurrent.futures import wait
from typing import Any

import numpy as np
import pytest

from localq import ConfigError, LocalQueue, QueueClosed, SerializationError, TaskExpired, TaskTimeout
from localq.errors import SharedRefLost
from localq.shared import SharedRef, _reopened
from tests.support import tasks
from tests.support.arrays import MANY, MiB, add_one, doubled, first, full, is_full, names, refusal, settled, total
from tests.support.queues import PATIENCE
from tests.support.waiting import Gate, eventually


@pytest.fixture(scope="module")
def q() -> Iterator[LocalQueue]:
    with LocalQueue(workers=2, memory="256MB") as queue:
        yield queue


@pytest.fixture
def own() -> Iterator[LocalQueue]:
    with LocalQueue(workers=2, memory="64MB", result_cache_size=0) as queue:
        yield queue


@pytest.fixture
def gate(tmp_path: Any) -> Iterator[Gate]:
    with Gate(tmp_path) as held:
        yield held


# put


class Thing:
    """Holds anything."""

    def __init__(self, inside: object) -> None:
        self.inside = inside


def test_a_stored_value_arrives_as_its_value_wherever_it_stands(q):
    ref = q.put(full(1))

    def inside(thing: Thing) -> str:
        return type(thing.inside["deep"][0]).__name__  # type: ignore[index]

    assert q.delay(names, ref, [ref], one=ref, two=(ref,)).result(PATIENCE) == ["ndarray"] * 4
    assert q.delay(inside, Thing({"deep": (ref,)})).result(PATIENCE) == "ndarray"
    assert list(q.map(total, [ref] * 5)) == [MANY] * 5
    assert list(q.starmap(names, [(ref, 1)] * 3)) == [["ndarray", "int"]] * 3


def test_in_a_result_and_in_a_function_a_stored_value_stays_a_name_for_it(q):
    ref = q.put(full(3))

    def through_closure() -> float:
        return float(ref.get().sum())

    assert q.delay(through_closure).result(PATIENCE) == 3 * MANY
    stored = q.delay(lambda: LocalQueue.current().put(full(4))).result(PATIENCE)
    gc.collect()
    assert isinstance(stored, SharedRef)
    assert is_full(stored.get(), 4)
    assert q.delay(total, stored).result(PATIENCE) == 4 * MANY


def test_a_task_that_writes_to_a_stored_value_writes_for_itself(q, gate):
    ref = q.put(full(1))

    assert [q.delay(add_one, ref).result(PATIENCE) for _ in range(6)] == [2] * 6
    assert q.options(arguments="shared").delay(add_one, ref).result(PATIENCE) == 2
    assert is_full(ref.get(), 1)


def test_the_array_that_was_stored_is_not_written_in_the_stored_value_either(q):
    array = full(1)
    ref = q.put(array)

    assert q.options(arguments="shared").delay(add_one, array).result(PATIENCE) == 2

    assert is_full(ref.get(), 1)
    assert is_full(array, 1)


def test_an_array_that_changed_since_it_was_stored_is_sent_as_it_is(q):
    array = full(1)
    ref = q.put(array)
    array[-1] = 9

    assert q.delay(total, array).result(PATIENCE) == MANY + 8
    assert q.delay(total, ref).result(PATIENCE) == MANY


def test_a_stored_value_lives_as_long_as_somebody_holds_it(own):
    ref = own.put(full(1))
    twin, view = pickle.loads(pickle.dumps(ref)), ref.get()
    name = ref._name
    assert (twin, hash(twin)) == (ref, hash(ref))

    del ref
    assert is_full(twin.get(), 1)
    del twin
    assert is_full(view, 1)
    del view

    settled(own)
    with pytest.raises(SharedRefLost, match="given back"):
        _reopened(*name)


def test_a_queued_task_keeps_what_it_refers_to(own, gate):
    blockers = [own.delay(tasks.slow, gate.path) for _ in range(2)]
    gate.wait_for_arrivals(2)
    ref, lent = own.put(full(3)), own.asarray(full(4))
    by_name, by_place = own.delay(total, ref), own.delay(total, lent)
    del ref, lent
    for _ in range(20):
        own.put(full(-1))

    gate.open()

    assert by_name.result(PATIENCE) == 3 * MANY
    assert by_place.result(PATIENCE) == 4 * MANY
    del blockers
    settled(own, at_most=4096)


def test_a_call_that_waits_for_a_future_keeps_what_it_refers_to(own, gate):
    blocker = own.delay(tasks.slow, gate.path, 0)
    ref, lent = own.put(full(3)), own.zeros(10)
    by_name = own.delay(lambda _, array: total(array), blocker, [ref][0])
    by_place = own.options(arguments="shared").delay(lambda _, arrays: add_one(arrays[0]), blocker, [lent])
    del ref
    for _ in range(20):
        own.put(full(-1))
    lent[:] = 5

    gate.open()

    assert by_name.result(PATIENCE) == 3 * MANY
    assert by_place.result(PATIENCE) == 6
    assert is_full(lent, 6)


def test_a_call_that_waits_for_room_keeps_what_it_refers_to(own):
    async def main() -> list[float]:
        futures = []
        lent = own.zeros(10)
        refs = [own.put(full(number, 20_000)) for number in range(20)]
        shared = own.options(arguments="shared")
        for ref in refs:
            futures.append(own.delay(lambda array, other: first(array), ref, np.zeros(MiB // 2)))
            futures.append(shared.delay(lambda array, other: 0 * add_one(array), lent, np.zeros(MiB // 2)))
        del ref
        refs.clear()
        results = [await future for future in futures]
        assert lent[0] > 0
        return results[::2]

    assert asyncio.run(main()) == list(range(20))


def test_a_stored_value_means_nothing_in_another_queue_and_that_is_said(q, own):
    ref = q.put(full(1))

    error = own.delay(total, ref).exception(PATIENCE)

    assert isinstance(error, SerializationError)
    assert "another queue" in str(error)
    assert own.delay(total, ref.get()).result(PATIENCE) == MANY


def test_after_the_end_of_its_queue_a_stored_value_says_so():
    with LocalQueue(workers=1, memory="32MB") as queue:
        ref, small = queue.put(full(1)), queue.put("small")

    for each in (ref, small):
        assert isinstance(refusal(each.get), QueueClosed)
    ref.delete()
    assert "SharedRef" in repr(ref)
    assert isinstance(refusal(lambda: queue.put(1)), QueueClosed)
    assert isinstance(refusal(lambda: queue.empty(1)), QueueClosed)


def test_what_cannot_be_stored_is_refused_with_the_reason(q):
    import threading

    assert isinstance(refusal(lambda: q.put({"lock": threading.Lock()})), SerializationError)
    assert isinstance(refusal(lambda: q.put(1, keep="yes")), ConfigError)
    assert "pass them beside it" in str(refusal(lambda: q.put([q.put(1)])))


@pytest.mark.parametrize("value", [None, 5, "text", b"x" * 200_000, [1, {"a": 2}], np.empty(0), full(1)])
def test_everything_can_be_stored(q, value):
    ref = q.put(value)

    assert np.array_equal(ref.get(), value)
    assert np.array_equal(q.delay(tasks.same, ref).result(PATIENCE), value)


def test_tasks_that_never_run_let_go_of_what_they_refer_to(own, gate):
    blockers = [own.delay(tasks.slow, gate.path) for _ in range(2)]
    gate.wait_for_arrivals(2)
    ref, lent = own.put(full(3)), own.asarray(full(4))
    cancelled = [own.delay(total, each) for each in (ref, lent, full(1))]
    expired = [own.options(ttl=0.01).delay(total, each) for each in (ref, lent, full(1))]

    assert [future.cancel() for future in cancelled] == [True] * 3
    sent = time.monotonic()
    eventually(lambda: time.monotonic() > sent + 0.01)
    gate.open()
    assert [type(future.exception(PATIENCE)) for future in expired] == [TaskExpired] * 3

    del ref, lent, blockers
    settled(own, at_most=8192)


def test_a_task_that_ran_too_long_lets_go_of_what_it_had(own, gate):
    ref = own.put(full(3))
    futures = [own.options(timeout=0.1).delay(tasks.slow, gate.path, each) for each in (ref, full(1))]

    assert [type(future.exception(PATIENCE)) for future in futures] == [TaskTimeout] * 2

    del ref
    settled(own, at_most=8192)


def test_what_a_worker_stored_is_there_when_that_worker_was_replaced():
    def store() -> tuple[Any, Any]:
        queue = LocalQueue.current()
        return queue.put(full(8)), queue.asarray(full(9))

    with LocalQueue(workers=2, memory="64MB", max_tasks_per_child=1) as queue:
        futures = [queue.delay(store) for _ in range(6)]
        wait(futures, PATIENCE)
        for future in futures:
            ref, lent = future.result(PATIENCE)
            assert is_full(ref.get(), 8)
            assert is_full(lent, 9)


def test_an_attached_client_that_left_keeps_its_results_and_its_values_are_gone(own):
    with LocalQueue.attach(own.name) as client:
        result = client.delay(doubled, full(3)).result(PATIENCE)
        lent, ref = client.asarray(full(4)), client.put(full(5))
        assert own.delay(total, ref).result(PATIENCE) == 5 * MANY
    for _ in range(20):
        own.put(full(-1))

    assert is_full(result, 6)
    assert is_full(lent, 4)
    assert isinstance(refusal(lambda: own.delay(total, ref).result(PATIENCE)), SharedRefLost)


# empty, zeros, asarray


@pytest.mark.parametrize("items", [1, 10, 2_000, 20_000, MANY])
def test_what_tasks_write_to_a_shared_array_is_seen_here_and_by_the_next(q, items):
    lent = q.zeros(items)
    shared = q.options(arguments="shared")

    assert [shared.delay(add_one, lent).result(PATIENCE) for _ in range(5)] == [1, 2, 3, 4, 5]

    assert is_full(lent, 5)
    assert q.delay(add_one, lent).result(PATIENCE) == 6
    assert is_full(lent, 5)


def test_a_part_of_a_shared_array_is_shared_in_its_place(q):
    lent = q.zeros((4, MANY))
    shared = q.options(arguments="shared")

    shared.delay(add_one, lent[1]).result(PATIENCE)
    shared.delay(add_one, lent[2, 5:8]).result(PATIENCE)
    shared.delay(add_one, lent[3:].T).result(PATIENCE)

    expected = np.zeros((4, MANY))
    expected[1] = expected[3] = 1
    expected[2, 5:8] = 1
    assert np.array_equal(lent, expected)


def test_an_array_is_found_where_it_lives_also_when_it_was_stored_as_well(q):
    before, lent = q.zeros(MANY), q.zeros(MANY)
    ref = q.put(lent)
    del before
    gc.collect()

    q.options(arguments="shared").delay(add_one, lent).result(PATIENCE)
    q.options(out=lent)

    assert is_full(lent, 1)
    assert is_full(ref.get(), 0)


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda q: q.empty(-1), ConfigError),
        (lambda q: q.empty(1.5), ConfigError),
        (lambda q: q.empty("12"), ConfigError),
        (lambda q: q.empty(3, object), ConfigError),
        (lambda q: q.empty(3, order="K"), ConfigError),
        (lambda q: q.empty(3, "nonsense"), TypeError),
        (lambda q: q.asarray([None]), ConfigError),
    ],
)
def test_an_array_that_cannot_be_is_refused(q, call, kind):
    assert isinstance(refusal(lambda: call(q)), kind)


def test_shapes_orders_and_contents_are_as_in_numpy(q):
    assert q.empty(()).shape == ()
    assert q.zeros(0).shape == (0,)
    assert q.zeros((3, 0, 2)).shape == (3, 0, 2)
    assert q.zeros((3, 4), order="F").flags.f_contiguous
    assert q.zeros(3, "M8[D]").dtype == "M8[D]"
    assert not q.zeros(300_000).any()
    assert not q.zeros(300_000, sparse=True).any()
    assert q.asarray(np.asfortranarray(np.eye(3))).flags.f_contiguous
    assert q.asarray([1, 2], "f4").dtype == "f4"
    assert q.asarray(range(4)).sum() == 6


def test_memory_of_arrays_comes_back_in_whatever_order_they_go(own):
    lent = own.zeros((10, 50_000))
    parts = [lent[number] for number in range(10)]
    ref, result = own.put(lent), own.delay(doubled, lent).result(PATIENCE)
    del lent, ref
    gc.collect()
    parts.pop(3)[:] = 1
    assert is_full(result, 0)
    del parts, result

    settled(own, at_most=4096)


# out


def test_a_result_is_written_where_it_is_asked_for(q):
    out = q.zeros((3, 2))

    result = q.options(out=out).delay(lambda: [1, 2]).result(PATIENCE)

    assert np.array_equal(out, [[1, 2]] * 3)
    assert np.array_equal(result, out)
    q.options(out=out[1]).delay(np.full, 2, 7.0).result(PATIENCE)
    assert np.array_equal(out, [[1, 2], [7, 7], [1, 2]])


def test_rows_of_a_map_are_written_where_they_belong(q):
    out = q.zeros((20, 3))

    rows = list(q.options(out=out).map(lambda item: [item] * 3, range(20), ordered=False))

    assert np.array_equal(out, np.repeat(np.arange(20.0), 3).reshape(20, 3))
    assert sorted(first(row) for row in rows) == list(range(20))


async def later(left: float, right: float = 0) -> float:
    """The sum, from a coroutine."""
    await asyncio.sleep(0)
    return left + right


def test_coroutines_and_starmap_write_their_results_too(q):
    out = q.zeros(4)

    assert list(q.options(out=out).starmap(later, [(1, 2), (3, 4), (5, 6), (7, 8)])) == [3, 7, 11, 15]
    assert out.tolist() == [3, 7, 11, 15]
    q.options(out=out[:2]).delay(later, 8).result(PATIENCE)
    assert out.tolist() == [8, 8, 11, 15]


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        ("f4", 2, 2.0),
        ("f8", np.float32(1.5), 1.5),
        ("M8[D]", np.datetime64("2020-02-03"), np.datetime64("2020-02-03")),
        ([("a", "i4"), ("b", "f8")], (1, 2.5), np.array((1, 2.5), [("a", "i4"), ("b", "f8")])),
        ("S3", b"abc", b"abc"),
    ],
)
def test_results_become_what_the_array_holds(q, dtype, value, expected):
    out = q.zeros(2, dtype)

    q.options(out=out[:1]).delay(tasks.same, value).result(PATIENCE)
    list(q.options(out=out[1:]).map(tasks.same, [value]))

    assert (out == expected).all()


def test_numbers_that_do_not_fit_are_refused_not_cut(q):
    out = q.zeros(2, int)

    assert isinstance(q.options(out=out).delay(tasks.same, 1.5).exception(PATIENCE), TypeError)
    (error, row) = q.options(out=out).map(tasks.same, [1.5, 3], return_exceptions=True)
    assert isinstance(error, TypeError)
    assert row == 3
    assert out.tolist() == [0, 3]


def test_items_beyond_the_rows_fail_alone(q):
    out = q.zeros(3)

    *rows, missing = q.options(out=out).map(abs, range(4), return_exceptions=True)

    assert rows == [0, 1, 2]
    assert isinstance(missing, IndexError)
    assert "3" in str(missing)


def test_a_task_that_fails_leaves_the_array_as_it_is(q):
    out = q.asarray([1.0, 2.0])

    assert isinstance(q.options(out=out).delay(tasks.fail).exception(PATIENCE), tasks.Mishap)

    assert out.tolist() == [1, 2]


def _read_only(q: LocalQueue) -> Any:
    array = q.zeros(3)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "make",
    [
        lambda q: [1.0],
        lambda q: np.zeros(3),
        lambda q: q.zeros(6)[::2],
        lambda q: q.zeros((4, 4))[:, 1],
        lambda q: q.delay(full, 1).result(PATIENCE),
        _read_only,
    ],
    ids=["list", "elsewhere", "every second", "column", "result", "read-only"],
)
def test_what_cannot_be_written_into_is_refused_at_once(q, make):
    with pytest.raises(ConfigError, match="out must"):
        q.options(out=make(q))


def test_a_map_needs_rows(q):
    with pytest.raises(ConfigError, match="row for each item"):
        q.options(out=q.zeros(())).map(abs, [1])


def test_an_array_of_another_queue_is_none_of_this_one(q, own):
    with pytest.raises(ConfigError, match="this queue's memory"):
        own.options(out=q.zeros(3))
    assert own.options(arguments="shared").delay(add_one, lent := q.zeros(MANY)).result(PATIENCE) == 1
    assert is_full(lent, 0)

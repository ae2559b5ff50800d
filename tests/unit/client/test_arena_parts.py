# SPDX-License-Identifier: MIT
"""Whatever part of an array of the queue's memory a task is given, it is that part of that array, not a copy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from localq import LocalQueue
from tests.support import tasks
from tests.support.waiting import Gate

np = pytest.importorskip("numpy")


@pytest.fixture(scope="module")
def shared_queue() -> Iterator[LocalQueue]:
    with LocalQueue(workers=1, arguments="shared") as queue:
        yield queue


def fill_after(_: object, part: Any, value: object) -> tuple[object, ...]:
    return fill(part, value)


def total(_: object, value: Any) -> float:
    return float(np.asarray(value[0]).sum())


def fill(part: Any, value: object) -> tuple[object, ...]:
    """Write to all of an array. What it looked like."""
    part[...] = value
    return type(part), part.shape, part.strides, part.dtype


PARTS = {
    "all": lambda array: array,
    "a row": lambda array: array[3],
    "a column": lambda array: array[:, 5],
    "every third row, backwards": lambda array: array[::-3],
    "a block": lambda array: array[2:9, 10:90:7],
    "a corner": lambda array: array[:2, :2],
    "one item": lambda array: array[9, 9:10],
    "transposed": lambda array: array.T,
    "of a subclass": lambda array: array[::2].view(np.matrix),
    "of other items": lambda array: array.view("M8[s]")[:, ::2],
    "of a field": lambda array: array.view([("a", "i4"), ("b", "i4")])["b"],
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_a_part_of_an_array_in_the_arena_is_shared(shared_queue: LocalQueue, part: Any) -> None:
    array = shared_queue.zeros((100, 200), "i8")
    mine = part(array)

    there = shared_queue.delay(fill, mine, 7).result()

    assert there == (type(mine), mine.shape, mine.strides, mine.dtype)
    assert (mine == np.array(7, mine.dtype)).all()
    mine[...] = 0
    assert not array.any()  # and nothing beside it was written


@pytest.mark.parametrize("part", ["all", "a column", "a corner"])
def test_it_is_so_too_for_a_call_that_waits_for_another(shared_queue: LocalQueue, gate: Gate, part: str) -> None:
    array = shared_queue.zeros((100, 200), "i8")
    first = shared_queue.delay(tasks.slow, gate.path)

    future = shared_queue.delay(fill_after, first, PARTS[part](array), 7)
    gate.open()

    future.result()
    assert (PARTS[part](array) == 7).all()


def test_a_shared_value_lives_while_a_call_waits_with_it(shared_queue: LocalQueue, gate: Gate) -> None:
    stored = shared_queue.put(np.ones(100_000))
    first = shared_queue.delay(tasks.slow, gate.path)

    future = shared_queue.delay(total, first, [stored])
    del stored
    gate.open()

    assert future.result() == 100_000


def test_other_arrays_of_a_call_that_waits_are_what_they_were(shared_queue: LocalQueue, gate: Gate) -> None:
    array, first = np.ones(100_000), shared_queue.delay(tasks.slow, gate.path)

    future = shared_queue.delay(total, first, [array])
    array[:] = 5
    gate.open()

    assert future.result() == 100_000

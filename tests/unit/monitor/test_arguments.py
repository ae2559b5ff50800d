# SPDX-License-Identifier: MIT
"""What a task was called with is told in a line, and nothing of it is brought to life."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from localq import LocalQueue
from localq.codec import Codec
from localq.monitor.arguments import MOST_CHARACTERS, summary
from tests.support import tasks
from tests.support.queues import gate
from tests.support.waiting import Gate, eventually

__all__ = ["gate"]


@dataclass
class Order:
    number: int
    name: str


class Trap:
    """Loaded as it is meant to, it would make itself heard."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.abort, ()


def told(args: tuple[object, ...], kwargs: dict[str, object], serialization: str = "pickle") -> str | None:
    form, payload = Codec(serialization).encode_call(args, kwargs)
    return summary((0, form, payload, len(payload)))


@pytest.mark.parametrize("serialization", ["pickle", "json"])
def test_arguments_and_keywords_are_told_as_they_were_written(serialization: str) -> None:
    assert told((1, "text", [2.5, None]), {"key": True}, serialization) == "1, 'text', [2.5, None], key=True"


def test_objects_are_told_by_their_type_and_what_they_were_made_from() -> None:
    text = told((Order(3, "anna"), {4}), {})

    assert text is not None
    assert text.startswith("Order(number=3, name='anna')")


def test_no_code_of_anybody_runs() -> None:
    assert told((Trap(),), {}) == "abort()"


def test_a_long_argument_is_cut_and_stays_in_a_line() -> None:
    text = told(("a\nb" * 1000, *range(100)), {})

    assert text is not None
    assert len(text) <= MOST_CHARACTERS
    assert "\n" not in text


@pytest.mark.parametrize("form", [0, 1, 2, 7])
@pytest.mark.parametrize(
    "payload", [b"", b"\x00", b"\xff" * 40, b"[]", pickle.dumps(3), pickle.dumps((1, 2)), b"\x80\x05."]
)
@pytest.mark.parametrize("kind", [0, 1])
def test_whatever_is_there_is_told_or_counted(kind: int, form: int, payload: bytes) -> None:
    assert isinstance(summary((kind, form, payload, len(payload))), str)


def test_of_a_task_that_is_gone_nothing_is_told() -> None:
    assert summary(None) is None


def test_a_class_that_travels_with_its_values_is_told_by_its_name() -> None:
    class Local:
        def __init__(self) -> None:
            self.size = 3

    assert told((Local(),), {}) == "Local(size=3)"


def test_a_snapshot_tells_what_running_tasks_were_called_with(gate: Gate) -> None:
    with LocalQueue(workers=3) as queue:
        try:
            queue.delay(tasks.slow, gate.path, value=7)
            queue.delay(tasks.slow, gate.path, [Order(1, "x"), np.zeros(100_000)])
            queue.delay(tasks.slow, gate.path, "x" * 100_000)

            running = eventually(lambda: found if len(found := queue.snapshot().slowest) == 3 else None)

            texts = {task.arguments for task in running}
            assert any(str(text).endswith("', value=7") for text in texts), texts
            assert any(str(text).endswith(" bytes)") for text in texts), texts
            assert any("[Order(number=1, name='x'), ndarray(" in str(text) for text in texts), texts
        finally:
            gate.open()


def test_the_arguments_of_another_task_are_never_taken_for_those_of_one() -> None:
    with LocalQueue(workers=1) as queue:
        queue.delay(abs, -1).result()

        assert queue._space.arguments(0, 999) is None
        assert queue._space.arguments(1 << 30, 1) is None

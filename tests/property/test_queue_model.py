# SPDX-License-Identifier: MIT
"""A queue against a model of it: histories of submit, cancel, crash, read and expire, drawn by hypothesis.

The model is a dict of what each task must come to, and the order in which results were used last. One worker, so that
the order of completion is the order of submission; it can be held at a gate, so that what waits surely waits.
"""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from localq import LocalQueue, QueueFull, SerializationError, TaskCancelled, TaskFuture, TaskStatus, WorkerCrashed
from tests.support import tasks
from tests.support.queues import GONE, PATIENCE, audit, is_kept
from tests.support.waiting import Gate, eventually

CAPACITY = 8
KEPT = 4  # results by id
SHORT = 0.02  # seconds that a result lives where expiry is tried

FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "success": (tasks.same,),
    "big": (tasks.same,),
    "failure": (tasks.fail,),
    "crash": (tasks.exit_hard,),
    "refused": (tasks.same,),
}


class Expected:
    """What a task must come to."""

    def __init__(self, kind: str, value: object) -> None:
        self.kind = kind
        self.value = value
        self.is_cancelled = False

    @property
    def status(self) -> TaskStatus:
        if self.is_cancelled:
            return TaskStatus.CANCELLED
        return TaskStatus.SUCCESS if self.kind in ("success", "big", "held") else TaskStatus.FAILURE

    def agrees_with(self, value: object, error: BaseException | None) -> bool:
        if self.is_cancelled:
            return isinstance(error, TaskCancelled)
        wanted = {"failure": tasks.Mishap, "crash": WorkerCrashed, "refused": SerializationError}.get(self.kind)
        return error is None and value == self.value if wanted is None else type(error) is wanted


class QueueModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.gates: list[Gate] = []
        self.gate: Gate | None = None  # the one that holds the worker
        self.tasks: list[tuple[TaskFuture[Any], Expected]] = []
        self.waiting: list[int] = []  # submitted, not known to be settled; in order
        self.cached: OrderedDict[int, None] = OrderedDict()  # least recently used first

    @initialize(expires=st.sampled_from([False, False, True]), serialization=st.sampled_from(["msgpack", "pickle"]))
    def open(self, expires: bool, serialization: str) -> None:
        self.expires = expires
        self.queue = LocalQueue(
            workers=1,
            capacity=CAPACITY,
            result_cache_size=KEPT,
            result_ttl=SHORT if expires else None,
            serialization=serialization,
        )
        self.view = self.queue.options(full_timeout=0)

    # what the model does by itself

    def settle(self) -> None:
        """Everything that was submitted ends, in the order of submission; the worker must not be held."""
        assert self.gate is None
        eventually(lambda: self.queue._client.reap() is not None and self.queue._client.pending == 0, PATIENCE)
        for at in self.waiting:
            self.cached[at] = None
            if len(self.cached) > KEPT:
                self.cached.popitem(last=False)
        self.waiting.clear()

    def note(self, future: TaskFuture[Any], expected: Expected) -> None:
        if expected.kind != "refused":
            self.waiting.append(len(self.tasks))
        self.tasks.append((future, expected))

    # rules

    @rule(kind=st.sampled_from(sorted(FUNCTIONS)), value=st.integers() | st.text(max_size=20))
    def submit(self, kind: str, value: object) -> None:
        if self.gate is None and len(self.waiting) == CAPACITY:
            self.settle()
        sent: tuple[Any, ...] = (value,)
        if kind == "big":
            value = [value, "x" * 300_000]
            sent = (value,)
        if kind == "crash":
            sent = (3,)
        if kind == "failure":
            sent = (str(value)[:5],)
        if kind == "refused":
            sent = ((number for number in range(3)),)
        try:
            future = self.view.delay(*FUNCTIONS[kind], *sent)
        except QueueFull:
            assert self.gate is not None
            assert len(self.waiting) == CAPACITY
            return
        assert len(self.waiting) < CAPACITY or kind == "refused"
        self.note(future, Expected(kind, value))

    @precondition(lambda self: self.gate is None)
    @rule()
    def hold(self) -> None:
        self.settle()
        self.gate = Gate(Path(self.folder.name), f"gate{len(self.gates)}")
        self.gates.append(self.gate)
        future = self.view.delay(tasks.slow, self.gate.path, "held")
        self.note(future, Expected("held", "held"))
        self.gate.wait_for_arrivals(1)

    @precondition(lambda self: self.gate is not None)
    @rule()
    def let_go(self) -> None:
        assert self.gate is not None
        self.gate.open()
        self.gate = None

    @precondition(lambda self: self.gate is not None and self.tasks)
    @rule(data=st.data(), by_id=st.booleans())
    def cancel(self, data: st.DataObject, by_id: bool) -> None:
        at = data.draw(st.integers(0, len(self.tasks) - 1))
        future, expected = self.tasks[at]
        if at in self.waiting[:1]:
            return  # it would end, and hold the worker no longer
        may_be = at in self.waiting[1:] or expected.is_cancelled

        if by_id and at in self.waiting:
            answer = self.queue.cancel(future.task_id)
        else:
            answer = future.cancel()

        assert answer is may_be
        expected.is_cancelled = expected.is_cancelled or answer
        assert future.cancelled() is expected.is_cancelled

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def result(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.tasks) - 1))
        future, expected = self.tasks[at]
        if self.gate is not None and at in self.waiting and not expected.is_cancelled:
            assert not future.done()
            return

        try:
            value, error = future.result(PATIENCE), None
        except BaseException as raised:
            value, error = None, raised

        assert expected.agrees_with(value, error), (expected.kind, value, error)
        assert future.status is expected.status

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def read_by_id(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.tasks) - 1))
        future, expected = self.tasks[at]
        if not future.task_id:
            assert expected.kind == "refused"
            return
        if self.gate is None:
            self.settle()

        found = self.queue.get_task_result(future.task_id)

        if at in self.waiting:
            assert found is not None
            pending = TaskStatus.CANCELLED if expected.is_cancelled else TaskStatus.PENDING
            assert found.status is (TaskStatus.STARTED if at == self.waiting[0] else pending)
            assert found.value is None
        elif found is None or found.status in GONE:
            assert self.expires or at not in self.cached
        else:
            assert at in self.cached
            assert found.status is expected.status
            assert expected.agrees_with(found.value, found.error)
            if not expected.is_cancelled:
                self.cached.move_to_end(at)

    @precondition(lambda self: self.gate is None and self.expires)
    @rule()
    def expire(self) -> None:
        self.settle()
        ids = [self.tasks[at][0].task_id for at in self.cached]
        eventually(lambda: not any(is_kept(self.queue, task_id) for task_id in ids))
        eventually(lambda: self.queue._space.slots()["cached"] == 0)
        self.cached.clear()

    # always

    @invariant()
    def exactly_what_should_be_is_known_by_id(self) -> None:
        if not hasattr(self, "queue") or self.expires or (self.gate is None and self.waiting):
            return  # what is under way may be settled or not
        kept = {
            at for at, (future, _) in enumerate(self.tasks) if future.task_id and is_kept(self.queue, future.task_id)
        }
        assert kept == set(self.cached) | set(self.waiting)

    def teardown(self) -> None:
        for gate in self.gates:
            gate.__exit__(None, None, None)
        if hasattr(self, "queue"):
            try:
                self.gate = None
                self.settle()
                audit(self.queue)
            finally:
                self.queue.close(timeout=PATIENCE)
        self.folder.cleanup()


@pytest.mark.slow
@pytest.mark.timeout(300)  # a failure is run again and again to find its smallest history
def test_every_history_of_a_queue_agrees_with_its_model():
    run_state_machine_as_test(
        QueueModel,
        settings=settings(
            max_examples=25,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )

# SPDX-License-Identifier: MIT
"""The hot paths, each as three steps that one process takes one after the other: submit, run, result.

Run under callgrind by `callgrind.py`, as `python -m benchmarks.instructions.paths LIBRARY` (of marks.c).
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any, Final, NoReturn

from benchmarks import workloads
from localq import _native
from localq.client.connection import Connection
from localq.client.future import TaskFuture
from localq.client.queue import LocalQueue
from localq.codec import Codec
from localq.config import QueueConfig
from localq.lookup import decode_function
from localq.pool.coroutines import Coroutines
from localq.pool.processes import started_at
from localq.retry import Terms
from localq.shared import take_part
from localq.tasks import Task

STEPS: Final = ("submit", "run", "result")

CHUNK = 100  # items
MOST_CHUNKS = 64  # on their way at once
FLOATS = 131_072  # of 8 bytes: 1 MB

#: Told the name of each step when it has ended.
Mark = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Path:
    """One way through the queue.

    Attributes:
        submit: that many calls (or items); returns what `collect` takes.
        collect: the results. Nothing is left to wait for.
        value: what each result must be.
        count: calls in the shorter of the two runs that are compared.
        per_task: items that travel together.
    """

    submit: Callable[[LocalQueue, int], Any]
    collect: Callable[[Any], list[Any]]
    value: Any = None
    count: int = 256
    per_task: int = 1


def _calls(fn: Callable[..., Any], *args: Any) -> Path:
    """`delay`, one by one; `fn` returns its argument, if it has one. Loops run in C, or they would be a good part of
    what is counted."""

    def submit(queue: LocalQueue, calls: int) -> list[TaskFuture[Any]]:
        return list(map(queue.delay, repeat(fn, calls), *(repeat(arg) for arg in args)))

    return Path(submit, _results, value=args[0] if args else None)


def _results(futures: Iterable[TaskFuture[Any]]) -> list[Any]:
    return list(map(TaskFuture.result, futures))


def _by_executor(queue: LocalQueue, calls: int) -> Any:
    return list(map(queue.executor().submit, repeat(workloads.nothing, calls)))


def _items(queue: LocalQueue, items: int) -> Any:
    return queue.map(workloads.same, [7] * items, chunksize=CHUNK)


def _arrays(queue: LocalQueue, calls: int) -> Any:
    return list(map(queue.delay, repeat(workloads.last, calls), repeat(_array())))


def _shared_arrays(queue: LocalQueue, calls: int) -> Any:
    return list(map(queue.delay, repeat(workloads.last, calls), repeat(queue.put(_array()))))


def _array_results(queue: LocalQueue, calls: int) -> Any:
    workloads.prepare(FLOATS)
    return list(map(queue.delay, repeat(workloads.give, calls), repeat(FLOATS)))


def _lengths(futures: Iterable[TaskFuture[Any]]) -> list[int]:
    return list(map(len, _results(futures)))


def _array() -> Any:
    import numpy as np

    return np.ones(FLOATS)


PATHS: Mapping[str, Path] = {
    "no-op": _calls(workloads.nothing),
    "int": _calls(workloads.same, 7),
    "text": _calls(workloads.same, "a short text"),
    "dict": _calls(workloads.same, {"name": "a short text", "at": (1, 2.5), "tags": ["x", None, True]}),
    "executor": Path(_by_executor, _results),
    "map, an item": Path(_items, list, value=7, count=MOST_CHUNKS // 2 * CHUNK, per_task=CHUNK),
    "1 MB array": Path(_arrays, _results, value=1.0, count=8),
    "1 MB array, put": Path(_shared_arrays, _results, value=1.0, count=64),
    "1 MB array back": Path(_array_results, _lengths, value=FLOATS, count=8),
}


class _Alone:
    """What holds this client to its queue is that both are of one process."""

    output = None

    def __init__(self) -> None:
        self.owner_pid = os.getpid()

    def trouble(self) -> Callable[[], Exception] | None:
        return None

    def call(self) -> None:
        """There is nobody."""

    def pause(self) -> None:
        """As `call`."""

    def resume(self) -> None:
        """As `call`."""

    def end(self, patience: float) -> None:
        """As `call`."""


class Stage:
    """A client and a worker of one queue, in this process, which is one or the other."""

    def __init__(self) -> None:
        self._space = _native.Space.create(
            capacity=4096, result_cache_size=128, queues=1, cpus=2, memory=1 << 28, ttl_ms=3_600_000, identity=42
        )
        config = QueueConfig.check(workers=MOST_CHUNKS // 2)  # a map sends two chunks ahead for each
        self._connection = Connection(self._space, self._join(_native.ROLE_CLIENT), config, _Alone(), is_owner=False)
        self.queue = LocalQueue.__new__(LocalQueue)
        self.queue._take(config, self._space, self._connection)
        self._label = self._join(_native.ROLE_WORKER)
        self._space.set_ready(self._label)
        self._codec = Codec("msgpack", buffers=True)

    def play(self, path: Path, count: int, mark: Mark) -> None:
        """All steps of so many calls. What a step has no more use for is gone at its end, or the next would pay for
        it."""
        client = self._connection.client
        take_part(self._space.identity, client, client.codec)
        sent = path.submit(self.queue, count)
        mark("submit")
        worker = self._worker()
        worker.tasks_left = -(-count // path.per_task)
        take_part(self._space.identity, worker, self._codec)
        reason = worker.run()
        if reason != "recycle" or worker.tasks_left:
            raise AssertionError(f"the worker has ended early: {reason}, {worker.tasks_left} tasks left")
        del worker
        mark("run")
        take_part(self._space.identity, client, client.codec)
        results = path.collect(sent)
        if len(results) != count or results[-1] != path.value:
            raise AssertionError(f"{len(results)} results of {count}, the last is {results[-1:]}")
        del sent, results
        mark("result")

    def close(self) -> None:
        self.queue.close()

    def _join(self, role: int) -> int:
        return self._space.join(role, os.getpid(), started_at(os.getpid()))

    def _worker(self) -> _native.Worker:
        return _native.Worker(
            self._space,
            self._label,
            os.getpid(),
            codec=self._codec,
            load=decode_function,
            run_coroutine=Coroutines(),
            too_large=_unexpected,
            stop_error=_unexpected,
            terms_type=Terms,
            task_type=Task,
        )


def _unexpected(*about: object) -> NoReturn:
    raise AssertionError(f"nothing here is too large, or stopped: {about}")


def main() -> None:
    library = ctypes.CDLL(sys.argv[1])
    chosen = {name: PATHS[name] for name in sys.argv[2:] or PATHS}

    def mark(name: str, count: int, step: str) -> None:
        library.mark(f"{name}|{step}|{count}".encode())

    stage = Stage()
    gc.collect()
    gc.freeze()
    gc.disable()
    for path in chosen.values():
        stage.play(path, 2 * path.count, lambda step: None)  # functions are known, slots and blocks are warm
    library.begin_counting()
    for name, path in chosen.items():
        for count in (0, path.count, 2 * path.count):
            stage.play(path, count or 2 * path.count, partial(mark, name, count))
    os._exit(0)  # nothing of the end is wanted


if __name__ == "__main__":
    main()

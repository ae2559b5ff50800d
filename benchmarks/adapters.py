# SPDX-License-Identifier: MIT
"""The adapters: a small class for each library that is measured, localq included, with the methods of `peers.Peer`.

Used by the list in peers.py. An adapter hands out the library's own callables where it can, so that nothing of ours is
timed along with it. Libraries are imported when a pool is started.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import importlib
import inspect
import itertools
import logging
import multiprocessing
import multiprocessing.pool
import os
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

from benchmarks.workloads import each

FIFO_BYTES = 64_000_000  # its default of 1 MB is full after 10,000 calls: then each side may wait for the other
FASTWORKER_TASKS = "benchmark_tasks"
FASTWORKER_CALLS = 32  # under way at a time: its default is as many sockets as there are calls
FASTWORKER_SECONDS = 20.0  # until the control plane has made itself known
FOR_EVER_SECONDS = 1e6  # its default of 10 s raises where others wait


def _chunks(chunksize: int | None) -> dict[str, int]:
    return {} if chunksize is None else {"chunksize": chunksize}


def _imported(module: str) -> Any:
    """A library without type stubs, or perhaps not installed."""
    return importlib.import_module(module)


class Localq:
    def __init__(self, workers: int) -> None:
        self._queue = _imported("localq").LocalQueue(workers=workers)
        self.submit = self._queue.delay
        self.wait: Callable[[Any], Any] = _result
        self.close = self._queue.close
        self.awaitable: Callable[[Any], Awaitable[Any]] = _itself
        self.put: Callable[[Any], Any] | None = getattr(self._queue, "put", None)
        self.empty: Callable[[int], Any] | None = getattr(self._queue, "empty", None)  # float64, as numpy's
        takes_out = "out" in inspect.signature(self._queue.options).parameters
        self.into: Callable[..., Any] | None = self._into if takes_out else None

    def _into(self, array: Any, fn: Callable[..., Any], *args: object) -> Any:
        return self._queue.options(out=array).delay(fn, *args)

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any], chunksize: int | None) -> Iterable[Any]:
        results: Iterable[Any] = self._queue.map(fn, items, chunksize=chunksize)
        return results


class Executor:
    """The standard library's pool of futures."""

    def __init__(self, workers: int, start_method: str) -> None:
        context = multiprocessing.get_context(start_method)
        self._executor = ProcessPoolExecutor(workers, mp_context=context)
        self.submit = self._executor.submit
        self.wait: Callable[[Any], Any] = Future.result
        self.close = self._executor.shutdown
        self.awaitable: Callable[[Any], Awaitable[Any]] = asyncio.wrap_future

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any], chunksize: int | None) -> Iterable[Any]:
        return self._executor.map(fn, items, **_chunks(chunksize))


class Interpreters:
    """The standard library's pool of threads, each with an interpreter of its own."""

    def __init__(self, workers: int) -> None:
        executor: Any = concurrent.futures.InterpreterPoolExecutor  # type: ignore[attr-defined, unused-ignore]
        self._executor = executor(workers)
        self.submit = self._executor.submit
        self.wait: Callable[[Any], Any] = Future.result
        self.close = self._executor.shutdown
        self.awaitable: Callable[[Any], Awaitable[Any]] = asyncio.wrap_future

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any], chunksize: int | None) -> Iterable[Any]:
        """As every pool of threads it ignores a chunksize: chunks are made by hand."""
        if chunksize is None:
            results: Iterable[Any] = self._executor.map(fn, items)
            return results
        return _in_chunks(self.submit, _results, fn, items, chunksize)


class Pool:
    """The standard library's older pool."""

    def __init__(self, workers: int) -> None:
        self._pool = multiprocessing.get_context("fork").Pool(workers)
        self.wait: Callable[[Any], Any] = multiprocessing.pool.ApplyResult.get

    def submit(self, fn: Callable[..., Any], *args: object) -> Any:
        return self._pool.apply_async(fn, args)

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any], chunksize: int | None) -> Iterable[Any]:
        return self._pool.map(fn, items, **_chunks(chunksize))

    def close(self) -> None:
        self._pool.close()
        self._pool.join()


class Loky:
    def __init__(self, workers: int) -> None:
        self._executor = _imported("loky").ProcessPoolExecutor(workers)
        self.submit = self._executor.submit
        self.wait: Callable[[Any], Any] = _result
        self.close = self._executor.shutdown
        self.awaitable: Callable[[Any], Awaitable[Any]] = asyncio.wrap_future

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any], chunksize: int | None) -> Iterable[Any]:
        results: Iterable[Any] = self._executor.map(fn, items, **_chunks(chunksize))
        return results


class Joblib:
    """Has no submission of single calls: the whole of it is `Parallel()(delayed(fn)(x) for x in items)`."""

    def __init__(self, workers: int) -> None:
        self._joblib = _imported("joblib")
        self._workers = workers

    def submit(self, fn: Callable[..., Any], *args: object) -> Any:
        raise NotImplementedError("joblib has no submission of single calls")

    def wait(self, handle: object) -> Any:
        raise NotImplementedError("joblib has no submission of single calls")

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any], chunksize: int | None) -> Iterable[Any]:
        delayed = self._joblib.delayed(fn)
        batch_size = "auto" if chunksize is None else chunksize
        results: Iterable[Any] = self._joblib.Parallel(n_jobs=self._workers, batch_size=batch_size)(
            delayed(item) for item in items
        )
        return results

    def put(self, array: Any) -> Any:
        """As its manual does by hand: dump the array to a file in memory, load it as a memmap."""
        in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        folder = tempfile.TemporaryDirectory(prefix="localq-bench-", dir=in_memory)
        path = os.path.join(folder.name, "array")
        self._joblib.dump(array, path)
        mapped = self._joblib.load(path, mmap_mode="r")
        weakref.finalize(mapped, folder.cleanup)
        return mapped

    def close(self) -> None:
        _imported("joblib.externals.loky").get_reusable_executor().shutdown(wait=True)


class Mpire:
    def __init__(self, workers: int) -> None:
        self._pool = _imported("mpire").WorkerPool(n_jobs=workers, start_method="fork", keep_alive=True)
        self.wait: Callable[[Any], Any] = _imported("mpire.async_result").AsyncResult.get

    def submit(self, fn: Callable[..., Any], *args: object) -> Any:
        return self._pool.apply_async(fn, args)

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any], chunksize: int | None) -> Iterable[Any]:
        results: Iterable[Any] = self._pool.map(fn, items, chunk_size=chunksize)
        return results

    def close(self) -> None:
        self._pool.stop_and_join()


class Pebble:
    def __init__(self, workers: int) -> None:
        self._pool = _imported("pebble").ProcessPool(workers, context=multiprocessing.get_context("fork"))
        self.wait: Callable[[Any], Any] = _result
        self.awaitable: Callable[[Any], Awaitable[Any]] = asyncio.wrap_future

    def submit(self, fn: Callable[..., Any], *args: object) -> Any:
        return self._pool.schedule(fn, args)

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any], chunksize: int | None) -> Iterable[Any]:
        results: Iterable[Any] = self._pool.map(fn, items, **_chunks(chunksize)).result()
        return results

    def close(self) -> None:
        self._pool.close()
        self._pool.join()


class Fifo:
    """A pool made by hand of the bare queue: workers that loop over one faster_fifo.Queue and answer through another.

    It has what such a loop has and nothing more: no retries, no crashes, no cancel. Workers take one task at a time,
    so that none waits behind another's; the client takes all answers that are there. One thread at a time may use it.
    """

    def __init__(self, workers: int) -> None:
        queue = _imported("faster_fifo").Queue
        self._tasks, self._answers = (queue(max_size_bytes=FIFO_BYTES) for _ in range(2))
        self._processes = [multiprocessing.get_context("fork").Process(target=self._work) for _ in range(workers)]
        for process in self._processes:
            process.start()
        self._numbers = itertools.count()
        self._found: dict[int, Any] = {}

    def _work(self) -> None:
        while (task := self._tasks.get(timeout=FOR_EVER_SECONDS)) is not None:
            number, fn, args = task
            try:
                answer = fn(*args)
            except Exception as error:  # noqa: BLE001 - travels to `wait`, as any answer
                answer = error
            self._answers.put((number, answer), timeout=FOR_EVER_SECONDS)

    def submit(self, fn: Callable[..., Any], *args: object) -> int:
        number = next(self._numbers)
        self._tasks.put((number, fn, args), timeout=FOR_EVER_SECONDS)
        return number

    def wait(self, number: int) -> Any:
        while number not in self._found:
            self._found.update(self._answers.get_many(timeout=FOR_EVER_SECONDS))
        answer = self._found.pop(number)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any], chunksize: int | None) -> Iterable[Any]:
        return _in_chunks(self.submit, self._gather, fn, items, chunksize or 1)

    def _gather(self, numbers: Iterable[int]) -> list[Any]:
        return [self.wait(number) for number in numbers]

    def close(self) -> None:
        for _ in self._processes:
            self._tasks.put(None)
        for process in self._processes:
            process.join()


class Ray:
    def __init__(self, workers: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="lq-ray-")  # short: Ray's sockets are in it
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        self._ray = _imported("ray")
        self._ray.init(
            num_cpus=workers,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            _temp_dir=self._folder.name,
        )
        self._remote = functools.cache(self._ray.remote)
        self.wait: Callable[[Any], Any] = self._ray.get
        self.awaitable: Callable[[Any], Awaitable[Any]] = _itself
        self.put: Callable[[Any], Any] = self._ray.put

    def submit(self, fn: Callable[..., Any], *args: object) -> Any:
        return self._remote(fn).remote(*args)

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any], chunksize: int | None) -> Iterable[Any]:
        """Every item alone, and all in flight, unless told otherwise: then as its manual says, lists as arguments."""
        if chunksize is None:
            return list(self._ray.get([self.submit(fn, item) for item in items]))
        return _in_chunks(self.submit, self._ray.get, fn, items, chunksize)

    def close(self) -> None:
        self._ray.shutdown()
        self._folder.cleanup()


class Dask:
    """Its scheduler and workers on this machine. Calls are impure: else it would run one of many that are alike."""

    def __init__(self, workers: int) -> None:
        distributed = _imported("distributed")
        self._folder = tempfile.TemporaryDirectory(prefix="lq-dask-")
        self._cluster = distributed.LocalCluster(
            n_workers=workers,
            processes=True,
            threads_per_worker=1,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
            local_directory=self._folder.name,
        )
        self._client = distributed.Client(self._cluster)
        self.submit = functools.partial(self._client.submit, pure=False)
        self.wait: Callable[[Any], Any] = _result
        self.put: Callable[[Any], Any] = functools.partial(self._client.scatter, hash=False)

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any], chunksize: int | None) -> Iterable[Any]:
        """Every item alone, unless told otherwise: then lists as arguments, as it has no chunks of its own."""
        if chunksize is None:
            return list(self._client.gather(self._client.map(fn, items, pure=False)))
        return _in_chunks(self.submit, self._client.gather, fn, items, chunksize)

    def close(self) -> None:
        self._client.close()
        self._cluster.close()
        self._folder.cleanup()


class FastWorker:
    """Version 0.1: a control plane that runs tasks one at a time, however many workers it has, and a client on a loop.

    Tasks are named, so all functions of `workloads` are registered, and arguments are JSON. Each call under way has a
    socket of its own, so a few are under way at a time.
    """

    def __init__(self, workers: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="lq-fastworker-")
        with open(os.path.join(self._folder.name, f"{FASTWORKER_TASKS}.py"), "w", encoding="utf-8") as module:
            module.write(_REGISTER_ALL)
        self._control_plane = subprocess.Popen(
            [sys.executable, "-m", "fastworker.cli", "control-plane", "--task-modules", FASTWORKER_TASKS],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([self._folder.name, os.getcwd()])},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # at its end it reports that it was ended
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._run(self._start())

    async def _start(self) -> None:
        self._under_way = asyncio.Semaphore(FASTWORKER_CALLS)
        self._client = _imported("fastworker.clients.client").Client()
        await self._client.start()
        async with asyncio.timeout(FASTWORKER_SECONDS):
            while not self._client.workers:  # until then calls are given back undone
                await asyncio.sleep(0.05)

    async def _end(self) -> None:
        self._client.stop()
        listeners = asyncio.all_tasks() - {asyncio.current_task()}
        for listener in listeners:
            listener.cancel()
        await asyncio.gather(*listeners, return_exceptions=True)

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def submit(self, fn: Callable[..., Any], *args: object) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(self._call(fn.__name__, args), self._loop)

    async def _call(self, name: str, args: tuple[object, ...]) -> Any:
        async with self._under_way:
            answer = await self._client.submit_task(name, args)
        if answer.status.value != "success":
            raise RuntimeError(f"{name} is {answer.status.value}: {answer.error}")
        return answer.result

    def wait(self, future: Future[Any]) -> Any:
        return future.result()

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any], chunksize: int | None) -> Iterable[Any]:
        return _results([self.submit(fn, item) for item in items])

    def close(self) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._control_plane.terminate()
        self._control_plane.wait()
        self._folder.cleanup()


_REGISTER_ALL = """
import types
from benchmarks import workloads
from fastworker.tasks.registry import task
for found in list(vars(workloads).values()):
    if isinstance(found, types.FunctionType):
        task(found)
"""


def _in_chunks(
    submit: Callable[..., Any],
    gather: Callable[[list[Any]], Iterable[Sequence[Any]]],
    fn: Callable[[Any], Any],
    items: Sequence[Any],
    chunksize: int,
) -> list[Any]:
    """A map of those who make no chunks: each chunk is a call of `each`."""
    items = list(items)  # a part of a range is a range, and would travel as three numbers
    chunks = [items[start : start + chunksize] for start in range(0, len(items), chunksize)]
    answers = gather([submit(each, fn, chunk) for chunk in chunks])
    return [answer for chunk in answers for answer in chunk]


def _result(future: Any) -> Any:
    return future.result()


def _results(futures: Iterable[Any]) -> list[Any]:
    return [future.result() for future in futures]


def _itself(handle: Any) -> Any:
    return handle

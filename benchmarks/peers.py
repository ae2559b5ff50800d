# SPDX-License-Identifier: MIT
"""What is measured, localq included: one small adapter each, and the list of them.

Used by the bench files, within the process that measures one subject. An adapter hands out the library's own
callables where it can, so that nothing of ours is timed along with it. Libraries are imported when a subject is
started; what is not installed is skipped by `measure`.

To add one (Dask, ...): write a class with the methods of `Peer` and put a `Subject` into `SUBJECTS`.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import multiprocessing
import multiprocessing.pool
import os
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.workloads import each


class Peer(Protocol):
    """A started pool with a given number of worker processes.

    `submit(fn, *args)` returns a handle and `wait(handle)` its result. `map(fn, items, chunksize)` gives the results
    in order; chunksize None means whatever the library does when its user says nothing.

    A peer may also have, for large data (`None`, or no such attribute, where the library lacks it):
        put(array): something to give tasks in place of the array, kept while it is referred to.
        empty(count): an array of float64 whose memory workers share; it costs nothing to give it to a task.
        into(array, fn, *args): as `submit`; the result, an array, is written into `array`.
    """

    @property
    def submit(self) -> Callable[..., Any]: ...

    @property
    def wait(self) -> Callable[[Any], Any]: ...

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any], chunksize: int | None) -> Iterable[Any]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing to measure.

    Attributes:
        name: what it is called on the command line and in tables.
        start: starts it with that many worker processes.
        package: the distribution it comes from; None for the standard library.
        importing: the import statement that its users write.
        hello: a program that starts it with two workers, fetches one result of `nothing` and closes it.
        submits: whether single calls can be submitted; if not, it takes part in maps and starts only.
        chunks_itself: whether its map makes chunks when none are asked for. One that does not is spared the large
            maps without chunks: it may take 300 us an item.
    """

    name: str
    start: Callable[[int], Peer]
    package: str | None
    importing: str
    hello: str
    submits: bool = True
    chunks_itself: bool = True


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

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any], chunksize: int | None) -> Iterable[Any]:
        return self._executor.map(fn, items, **_chunks(chunksize))


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

    def submit(self, fn: Callable[..., Any], *args: object) -> Any:
        return self._pool.schedule(fn, args)

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any], chunksize: int | None) -> Iterable[Any]:
        results: Iterable[Any] = self._pool.map(fn, items, **_chunks(chunksize)).result()
        return results

    def close(self) -> None:
        self._pool.close()
        self._pool.join()


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
        self.put: Callable[[Any], Any] = self._ray.put

    def submit(self, fn: Callable[..., Any], *args: object) -> Any:
        return self._remote(fn).remote(*args)

    def map(self, fn: Callable[[Any], Any], items: Sequence[Any], chunksize: int | None) -> Iterable[Any]:
        """Every item alone, and all in flight, unless told otherwise: then as its manual says, lists as arguments."""
        if chunksize is None:
            return list(self._ray.get([self.submit(fn, item) for item in items]))
        chunks = [items[start : start + chunksize] for start in range(0, len(items), chunksize)]
        answers = self._ray.get([self.submit(each, fn, chunk) for chunk in chunks])
        return [answer for chunk in answers for answer in chunk]

    def close(self) -> None:
        self._ray.shutdown()
        self._folder.cleanup()


def _result(future: Any) -> Any:
    return future.result()


_EXECUTOR_HELLO = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from benchmarks.workloads import nothing
with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context({start_method!r})) as executor:
    executor.submit(nothing).result()
"""

#: localq first, then the peers in the order of the tables.
SUBJECTS: tuple[Subject, ...] = (
    Subject(
        name="localq",
        start=Localq,
        package="localq",
        importing="from localq import LocalQueue",
        hello="""
from localq import LocalQueue
from benchmarks.workloads import nothing
with LocalQueue(workers=2) as queue:
    queue.delay(nothing).result()
""",
    ),
    Subject(
        name="ppe-fork",
        start=lambda workers: Executor(workers, "fork"),
        package=None,
        importing="from concurrent.futures import ProcessPoolExecutor",
        hello=_EXECUTOR_HELLO.format(start_method="fork"),
        chunks_itself=False,
    ),
    Subject(
        name="ppe-forkserver",
        start=lambda workers: Executor(workers, "forkserver"),
        package=None,
        importing="from concurrent.futures import ProcessPoolExecutor",
        hello=_EXECUTOR_HELLO.format(start_method="forkserver"),
        chunks_itself=False,
    ),
    Subject(
        name="pool",
        start=Pool,
        package=None,
        importing="import multiprocessing.pool",
        hello="""
import multiprocessing
from benchmarks.workloads import nothing
with multiprocessing.get_context("fork").Pool(2) as pool:
    pool.apply_async(nothing).get()
""",
    ),
    Subject(
        name="loky",
        start=Loky,
        package="loky",
        importing="import loky",
        hello="""
import loky
from benchmarks.workloads import nothing
with loky.ProcessPoolExecutor(2) as executor:
    executor.submit(nothing).result()
""",
        chunks_itself=False,
    ),
    Subject(
        name="joblib",
        start=Joblib,
        package="joblib",
        importing="import joblib",
        hello="""
import joblib
from benchmarks.workloads import nothing
joblib.Parallel(n_jobs=2)([joblib.delayed(nothing)()])
""",
        submits=False,
    ),
    Subject(
        name="mpire",
        start=Mpire,
        package="mpire",
        importing="import mpire",
        hello="""
import mpire
from benchmarks.workloads import nothing
with mpire.WorkerPool(n_jobs=2, start_method="fork") as pool:
    pool.apply_async(nothing).get()
""",
    ),
    Subject(
        name="pebble",
        start=Pebble,
        package="pebble",
        importing="import pebble",
        hello="""
import multiprocessing
import pebble
from benchmarks.workloads import nothing
with pebble.ProcessPool(2, context=multiprocessing.get_context("fork")) as pool:
    pool.schedule(nothing).result()
""",
        chunks_itself=False,
    ),
    Subject(
        name="ray",
        start=Ray,
        package="ray",
        importing="import ray",
        hello="""
import tempfile
import ray
from benchmarks.workloads import nothing
with tempfile.TemporaryDirectory(prefix="lq-ray-") as folder:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR", _temp_dir=folder)
    ray.get(ray.remote(nothing).remote())
    ray.shutdown()
""",
        chunks_itself=False,
    ),
)


def find(name: str) -> Subject:
    """The subject of that name. Raises KeyError when there is none."""
    for subject in SUBJECTS:
        if subject.name == name:
            return subject
    raise KeyError(name)


def is_installed(subject: Subject) -> bool:
    return subject.package is None or importlib.util.find_spec(subject.package) is not None


def version(subject: Subject) -> str:
    """The library's version; Python's for the standard library; "not installed" where it is missing."""
    if subject.package is None:
        return f"Python {sys.version.split()[0]}"
    try:
        return importlib.metadata.version(subject.package)
    except importlib.metadata.PackageNotFoundError:
        return "from the source tree" if is_installed(subject) else "not installed"

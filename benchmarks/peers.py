# SPDX-License-Identifier: MIT
"""What is measured, localq included: what an adapter must do, and the list of them.

Used by the bench files, within the process that measures one subject. `missing` says why one can't be had here; then it
is skipped. To add one: write a class with the methods of `Peer` in adapters.py and put a `Subject` into `SUBJECTS`.
"""

from __future__ import annotations

import concurrent.futures
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks import adapters


class Peer(Protocol):
    """A started pool with a given number of worker processes.

    `submit(fn, *args)` returns a handle and `wait(handle)` its result. `map(fn, items, chunksize)` gives the results
    in order; chunksize None means whatever the library does when its user says nothing.

    A peer may also have (`None`, or no such attribute, where the library lacks it), for asyncio:
        awaitable(handle): what a coroutine awaits for the result.
    And for large data:
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
        package: what is imported of it; None for the standard library.
        importing: the import statement that its users write.
        hello: a program that starts it with two workers, fetches one result of `nothing` and closes it.
        submits: whether single calls can be submitted; if not, it takes part in maps and starts only.
        chunks_itself: whether its map makes chunks when none are asked for. One that does not is spared the large
            maps without chunks: it may take 300 us an item.
        is_heavy: whether it takes seconds to start and a millisecond a call. Then it is asked for fewer calls, and
            takes part in a quick run only when it is named.
        extra: of localq, what installs it.
        needs: why this interpreter cannot have it, whatever is installed; empty when it can.
    """

    name: str
    start: Callable[[int], Peer]
    package: str | None
    importing: str
    hello: str
    submits: bool = True
    chunks_itself: bool = True
    is_heavy: bool = False
    extra: str = "bench"
    needs: Callable[[], str] = lambda: ""


def _needs_interpreters() -> str:
    has_them = hasattr(concurrent.futures, "InterpreterPoolExecutor")
    return "" if has_them else "needs Python 3.14, the first with a pool of interpreters"


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
        start=adapters.Localq,
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
        start=lambda workers: adapters.Executor(workers, "fork"),
        package=None,
        importing="from concurrent.futures import ProcessPoolExecutor",
        hello=_EXECUTOR_HELLO.format(start_method="fork"),
        chunks_itself=False,
    ),
    Subject(
        name="ppe-forkserver",
        start=lambda workers: adapters.Executor(workers, "forkserver"),
        package=None,
        importing="from concurrent.futures import ProcessPoolExecutor",
        hello=_EXECUTOR_HELLO.format(start_method="forkserver"),
        chunks_itself=False,
    ),
    Subject(
        name="interpreters",
        start=adapters.Interpreters,
        package=None,
        importing="from concurrent.futures import InterpreterPoolExecutor",
        hello="""
from concurrent.futures import InterpreterPoolExecutor
from benchmarks.workloads import nothing
with InterpreterPoolExecutor(2) as executor:
    executor.submit(nothing).result()
""",
        chunks_itself=False,
        needs=_needs_interpreters,
    ),
    Subject(
        name="pool",
        start=adapters.Pool,
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
        start=adapters.Loky,
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
        start=adapters.Joblib,
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
        start=adapters.Mpire,
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
        start=adapters.Pebble,
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
        name="fifo",
        start=adapters.Fifo,
        package="faster_fifo",
        importing="import faster_fifo",
        hello="""
from benchmarks.adapters import Fifo
from benchmarks.workloads import nothing
pool = Fifo(2)
pool.wait(pool.submit(nothing))
pool.close()
""",
        chunks_itself=False,
    ),
    Subject(
        name="ray",
        start=adapters.Ray,
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
        is_heavy=True,
        extra="bench-ray",
    ),
    Subject(
        name="dask",
        start=adapters.Dask,
        package="distributed",
        importing="import distributed",
        hello="""
import logging
import tempfile
import distributed
from benchmarks.workloads import nothing
if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory(prefix="lq-dask-") as folder,
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL,
            local_directory=folder,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.submit(nothing).result()
""",
        chunks_itself=False,
        is_heavy=True,
        extra="bench-dask",
    ),
    Subject(
        name="fastworker",
        start=adapters.FastWorker,
        package="fastworker",
        importing="from fastworker.clients.client import Client",
        hello="""
from benchmarks.adapters import FastWorker
from benchmarks.workloads import nothing
pool = FastWorker(2)
pool.wait(pool.submit(nothing))
pool.close()
""",
        chunks_itself=False,
        is_heavy=True,
        needs=lambda: "" if sys.version_info >= (3, 12) else "needs Python 3.12",
    ),
)


def find(name: str) -> Subject:
    """The subject of that name. Raises KeyError when there is none."""
    for subject in SUBJECTS:
        if subject.name == name:
            return subject
    raise KeyError(name)


def missing(subject: Subject) -> str:
    """Why it cannot be measured here, in a line; empty when it can."""
    if reason := subject.needs():
        return reason
    if subject.package is not None and importlib.util.find_spec(subject.package) is None:
        return f"is not installed (pip install 'localq[{subject.extra}]')"
    return ""


def version(subject: Subject) -> str:
    """The library's version; Python's for the standard library; "not here" where it is missing."""
    if missing(subject):
        return "not here"
    if subject.package is None:
        return f"Python {sys.version.split()[0]}"
    try:
        return importlib.metadata.version(subject.package)
    except importlib.metadata.PackageNotFoundError:
        return "from the source tree"

# SPDX-License-Identifier: MIT
"""The pools under test, each used as its own documentation shows it: the adapters of `adapters`, and how to leave them.

Knows how calls are sent and waited for; knows nothing of faults. A batch is what a user sends in one go: calls one by
one where the library has such a thing, one `Parallel` call where it has not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Thread
from typing import Any, Protocol, Self

from benchmarks import adapters

WORKERS = 2

Call = tuple[Callable[..., Any], tuple[Any, ...]]


class System(Protocol):
    """A started pool. Its `with` block is that of its library; where that has none, nothing happens there."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: Any) -> None: ...

    def batch(self, calls: Sequence[Call], retries: int = 0) -> list[Any]:
        """Send the calls; their handles. Each may be retried so often, where the library has such a thing."""

    def answer(self, handle: Any, timeout: float) -> Any:
        """Return the call's value or raise its error; a TimeoutError of some sort when it has neither by then."""

    def map(self, fn: Callable[[int], int], items: Sequence[int], chunksize: int | None) -> Any: ...


class _Block:
    """The `with` block of a pool that ends with the interpreter, not before."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        pass


class _Futures(_Block):
    """Calls are submitted one by one, each with a future."""

    submit: Callable[..., Any]

    def batch(self, calls: Sequence[Call], retries: int = 0) -> list[Any]:
        return [_submitted(self.submit, call) for call in calls]

    def answer(self, handle: Any, timeout: float) -> Any:
        return handle.result(timeout)


class Localq(_Futures, adapters.Localq):
    def __init__(self) -> None:
        super().__init__(WORKERS)

    def batch(self, calls: Sequence[Call], retries: int = 0) -> list[Any]:
        delay = self._queue.options(max_retries=retries).delay
        return [_submitted(delay, call) for call in calls]

    def __exit__(self, *error: Any) -> None:
        self._queue.__exit__(*error)


class Executor(_Futures, adapters.Executor):
    def __init__(self) -> None:
        super().__init__(WORKERS, "fork")

    def __exit__(self, *error: Any) -> None:
        self._executor.__exit__(*error)


class Pool(_Futures, adapters.Pool):
    def __init__(self) -> None:
        super().__init__(WORKERS)

    def answer(self, handle: Any, timeout: float) -> Any:
        return handle.get(timeout)

    def __exit__(self, *error: Any) -> None:
        self._pool.__exit__(*error)


class Loky(_Futures):
    """Asks for the reusable executor before each batch, as its documentation does: a broken one is replaced."""

    def batch(self, calls: Sequence[Call], retries: int = 0) -> list[Any]:
        submit = _reusable_executor().submit
        return [_submitted(submit, call) for call in calls]

    def map(self, fn: Callable[[int], int], items: Sequence[int], chunksize: int | None) -> Any:
        return _reusable_executor().map(fn, items)


class Joblib(_Block, adapters.Joblib):
    """One `Parallel` call for a batch, in a thread, so that it can be waited for; it succeeds or fails as a whole."""

    def __init__(self) -> None:
        super().__init__(WORKERS)

    def batch(self, calls: Sequence[Call], retries: int = 0) -> list[Any]:
        whole: Future[list[Any]] = Future()
        Thread(target=self._run, args=(whole, calls), daemon=True).start()
        return [(whole, index) for index in range(len(calls))]

    def _run(self, whole: Future[list[Any]], calls: Sequence[Call]) -> None:
        delayed = self._joblib.delayed
        try:
            whole.set_result(self._joblib.Parallel(n_jobs=WORKERS)(delayed(fn)(*args) for fn, args in calls))
        except BaseException as error:  # noqa: BLE001 - whatever it raises is what its caller would have got
            whole.set_exception(error)

    def answer(self, handle: Any, timeout: float) -> Any:
        whole, index = handle
        return whole.result(timeout)[index]


def _reusable_executor() -> Any:
    from loky import get_reusable_executor

    return get_reusable_executor(max_workers=WORKERS)


class _Refused:
    """The handle of a call that was refused when it was submitted: the refusal is its outcome."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def result(self, timeout: float) -> Any:
        raise self._error

    get = result


def _submitted(submit: Callable[..., Any], call: Call) -> Any:
    fn, args = call
    try:
        return submit(fn, *args)
    except Exception as error:  # noqa: BLE001 - a library may refuse with anything
        return _Refused(error)


@dataclass(frozen=True, slots=True)
class Entry:
    """A system as the command line and the page know it; its name is that in `peers`."""

    title: str
    start: Callable[[], System]
    usage: str


#: In the order of the columns.
SYSTEMS: Mapping[str, Entry] = {
    "localq": Entry("localq", Localq, "`with LocalQueue(workers=2) as q`, and `q.delay` for each task."),
    "ppe-fork": Entry(
        "ProcessPoolExecutor",
        Executor,
        "`with ProcessPoolExecutor(2) as executor`, start method fork, and `executor.submit` for each task.",
    ),
    "pool": Entry(
        "multiprocessing.Pool",
        Pool,
        "`with Pool(2) as pool`, start method fork, and `pool.apply_async` for each task. Leaving the block terminates"
        " it, also when tasks are lost.",
    ),
    "loky": Entry(
        "loky",
        Loky,
        "`get_reusable_executor(max_workers=2)` before each batch, and `submit` for each task. That it goes on after a"
        " crash means that this gave a new executor; futures of the old one are lost.",
    ),
    "joblib": Entry(
        "joblib",
        Joblib,
        "`Parallel(n_jobs=2)` over the whole batch, backend loky. It has no single tasks: when one fails, the call"
        " does, and all of its results are lost, by design.",
    ),
}

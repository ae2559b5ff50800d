# SPDX-License-Identifier: MIT
"""The joblib backend "localq". Importing this module registers it, here and in the workers:

    import joblib, localq.joblib

    with joblib.parallel_config(backend="localq", n_jobs=4):
        joblib.Parallel()(joblib.delayed(resize)(path) for path in paths)      # or whatever uses joblib: scikit-learn

Used by people who have joblib, and by nothing in localq. The workers live as long as the `with` block (or the
`Parallel` object that was told `backend="localq"`), so several calls in it share them. Any option of `LocalQueue` may
be given there, too: `parallel_config(backend="localq", preload=["sklearn"], max_retries=1)`.
"""

from __future__ import annotations

import weakref
from threading import Lock

from joblib import register_parallel_backend
from joblib.parallel import AutoBatchingMixin, FallbackToBackend, ParallelBackendBase, SequentialBackend

from localq.client.executor import LocalExecutor
from localq.machine import usable_cpus
from localq.pool.context import current_task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from localq.client.future import TaskFuture

__all__ = ["LocalqBackend"]


class LocalqBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]  # joblib has no types
    """What `joblib.Parallel` asks of a backend. Batches are sized by joblib; nested calls run in threads, as it has it
    for processes; a worker that dies fails the call with `WorkerCrashed`.

    Args:
        nesting_level, inner_max_num_threads: joblib's. Without the latter, a worker's libraries share the processors
            evenly with the other workers.
        queue_options: of `LocalQueue`, except `workers`, which are `n_jobs`.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    supports_sharedmem = False
    uses_threads = False

    def __init__(
        self, nesting_level: int | None = None, inner_max_num_threads: int | None = None, **queue_options: Any
    ) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        self._queue_options = queue_options
        self._executor: LocalExecutor | None = None
        self._lock = Lock()  # several threads may use one backend

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many workers `n_jobs` means; one inside of a worker, which is parallel enough."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None or current_task() is not None:
            return 1
        return n_jobs if n_jobs > 0 else max(usable_cpus() + 1 + n_jobs, 1)

    def configure(self, n_jobs: int = 1, parallel: Any = None, **_others: Any) -> int:
        """A call of `parallel` begins. `_others` concern joblib's own way to share arrays."""
        workers = self.effective_n_jobs(n_jobs)
        if workers == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        # Not held: it holds this backend, and the workers shall end with whichever of the two goes last.
        self.parallel = weakref.proxy(parallel)
        self._make_ready(workers)
        return workers

    def _make_ready(self, workers: int) -> None:
        with self._lock:
            if self._executor is None or self._executor._max_workers != workers:
                threads = self.inner_max_num_threads or max(usable_cpus() // workers, 1)
                options = {"threads_per_worker": threads, **self._queue_options}
                self._executor = LocalExecutor(workers, **options)

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], object] | None = None) -> TaskFuture[Any]:
        """Run a batch."""
        assert self._executor is not None
        future = self._executor.submit(_run, func)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: TaskFuture[Any]) -> Any:
        """What came of a batch that is done."""
        return out.result()

    def terminate(self) -> None:
        """The call is over. The workers are kept for the next one; they end with this object."""
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Something was raised: whatever else is at work is not wanted any more."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.kill_workers()
        if ensure_ready:
            self._make_ready(self.effective_n_jobs(self.parallel.n_jobs))


def _run(batch: Callable[[], Any]) -> Any:
    """In a worker, which imports this module for it, so that the tasks know the backend as well."""
    return batch()


register_parallel_backend("localq", LocalqBackend)

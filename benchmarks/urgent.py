# SPDX-License-Identifier: MIT
"""Pools with their way to say that a call is urgent, where they have one. Used by bench_priority and bench_mixed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from benchmarks import measure

DASK_PRIORITY = 10  # any above 0, that of all others


class Pool(NamedTuple):
    submit: Callable[..., Any]
    wait: Callable[[Any], Any]
    urgent: Callable[..., Any] | None  # as `submit`, before all that waits; None: there are no priorities


@contextmanager
def started(subject: str, workers: int, capacity: int = 65536) -> Iterator[Pool]:
    """A pool that is closed in the end; ours without doing what still waits."""
    if subject == "localq":
        from localq import LocalQueue

        queue = LocalQueue(workers=workers, capacity=capacity)
        try:
            yield Pool(queue.delay, lambda future: future.result(), queue.options(priority="critical").delay)
        finally:
            queue.close(cancel_pending=True)
    else:
        with measure.started(subject, workers) as peer:
            urgent = partial(peer.submit, priority=DASK_PRIORITY) if subject == "dask" else None
            yield Pool(peer.submit, peer.wait, urgent)

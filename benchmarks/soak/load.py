# SPDX-License-Identifier: MIT
"""What one thread of a member does: submit a batch, collect it in one of many ways, write down what came of it."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, as_completed, wait
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.soak import tasks
from benchmarks.soak.ledger import (
    ABANDONED,
    CANCELLED,
    CLOSED,
    CRASHED,
    FAILED,
    SUCCEEDED,
    WRONG,
    Ledger,
)
from benchmarks.soak.orders import Mix, Order, is_reply
from localq import LocalQueue, QueueClosed, SupervisorLost, TaskFuture, TaskStatus, WorkerCrashed

STALL = 20.0  # seconds without an outcome that a task may take
OFFER_BYTES = 4096  # of the newest offers, that are looked at
ENDED = (QueueClosed, SupervisorLost)

Pair = tuple[Order, TaskFuture[Any]]


class Stalled(Exception):
    """A task did not come to an end, or a call did not return."""


class Loader:
    """Batches of one thread, on one queue."""

    def __init__(self, queue: LocalQueue, ledger: Ledger, mix: Mix, chance: Random, offers: Path) -> None:
        self._queue = queue
        self._ledger = ledger
        self._mix = mix
        self._chance = chance
        self._offers = offers
        self._offer_fd = os.open(offers, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._cancelled: set[int] = set()  # of this batch: told so by cancel()
        self.open: dict[int, Order] = {}  # submitted, no outcome yet
        self._collectors: tuple[Callable[[list[Pair]], None], ...] = (
            self._in_order, self._backwards, self._by_wait, self._as_completed,
            self._by_callbacks, self._by_asking, self._awaited,
        )  # fmt: skip

    def batch(self) -> None:
        """Submit some, and see all of them through. Raises QueueClosed once the queue has ended, and Stalled."""
        what = self._chance.choices(
            (self._many, self._burst, self._heavy, self._map, self._meddle), (60, 6, 8, 12, 14)
        )[0]
        what()

    def every_way(self) -> None:
        """Each way to collect once, so that what is loaded or started once is there."""
        for collect in self._collectors:
            self._submit_and([self._mix.order() for _ in range(5)] + [self._mix.large()], collect)
        for _ in range(3):
            self._map()

    def _many(self) -> None:
        orders = [self._mix.order() for _ in range(self._chance.randint(1, 40))]
        self._submit_and(orders, self._chance.choice(self._collectors))

    def _burst(self) -> None:
        orders = [self._mix.tiny() for _ in range(self._chance.randint(200, 1500))]
        self._submit_and(orders, self._chance.choice(self._collectors))

    def _heavy(self) -> None:
        orders = [self._mix.large() for _ in range(self._chance.randint(2, 10))]
        self._submit_and(orders, self._chance.choice(self._collectors))

    # submitting

    def _submit_and(self, orders: list[Order], collect: Callable[[list[Pair]], None]) -> None:
        self._cancelled.clear()
        pairs: list[Pair] = []
        try:
            for order in orders:
                pairs.append((order, self._submit(order)))
            for order, future in pairs:
                if order.cancel == "soon":
                    self._cancel(order, future)
            collect(pairs)
        except ENDED as error:
            self._settle(pairs)
            for order in list(self.open.values()):
                self._write(order, CLOSED, note=str(error))
            raise
        for order, future in pairs:
            self._judge(order, future)

    def _submit(self, order: Order) -> TaskFuture[Any]:
        view = self._queue.options(
            priority=order.priority,
            queue=order.queue,
            timeout=STALL,
            max_retries=order.retries,
            metadata=order.metadata,
        )
        self._ledger.submitted(order.number, order.kind, order.retries)
        self.open[order.number] = order
        future: TaskFuture[Any] = view.delay(order.function, *order.args, **order.kwargs)
        if order.cancel == "now":
            self._cancel(order, future)
        elif future.task_id and self._chance.random() < 0.05:
            size = order.args[2] if order.kind == "large" else 0
            os.write(self._offer_fd, f"{future.task_id} {order.number} {order.kind} {size}\n".encode())
        return future

    def _cancel(self, order: Order, future: TaskFuture[Any]) -> None:
        if future.cancel():
            self._cancelled.add(order.number)

    # collecting

    def _in_order(self, pairs: list[Pair]) -> None:
        for order, future in pairs:
            self._wait_for(order, future)

    def _backwards(self, pairs: list[Pair]) -> None:
        for order, future in reversed(pairs):
            self._wait_for(order, future)

    def _wait_for(self, order: Order, future: TaskFuture[Any]) -> None:
        until = time.monotonic() + STALL
        try:
            future.exception(STALL)
        except CancelledError:
            pass
        except TimeoutError:
            if time.monotonic() >= until:
                self._stall("result()", [(order, future)])

    def _by_wait(self, pairs: list[Pair]) -> None:
        if wait([future for _, future in pairs], STALL).not_done:
            self._stall("wait()", pairs)

    def _as_completed(self, pairs: list[Pair]) -> None:
        try:
            futures: list[Future[Any]] = [future for _, future in pairs]
            seen = list(as_completed(futures, STALL))
        except TimeoutError:
            self._stall("as_completed()", pairs)
        if len(seen) != len(pairs):
            self._ledger.trouble(f"as_completed gave {len(seen)} of {len(pairs)} futures")

    def _by_callbacks(self, pairs: list[Pair]) -> None:
        called: list[int] = []
        for order, future in pairs:
            future.add_done_callback(lambda _, number=order.number: called.append(number))  # type: ignore[misc]
        until = time.monotonic() + STALL
        while len(called) < len(pairs):
            if time.monotonic() > until:
                self._stall(f"callbacks, {len(called)} of {len(pairs)} called", pairs)
            time.sleep(0.001)
        if sorted(called) != sorted(order.number for order, _ in pairs):
            self._ledger.trouble(f"callbacks were called for {called}")

    def _by_asking(self, pairs: list[Pair]) -> None:
        until = time.monotonic() + STALL
        while not all(future.done() for _, future in pairs):
            if time.monotonic() > until:
                self._stall("done()", pairs)
            time.sleep(0.001)

    def _awaited(self, pairs: list[Pair]) -> None:
        async def gather() -> None:
            waiting = [asyncio.wrap_future(future) for _, future in pairs]
            done, pending = await asyncio.wait(waiting, timeout=STALL)
            for each in done:
                each.cancelled() or each.exception()  # asked, or asyncio complains
            if pending:
                self._stall("await", pairs)

        asyncio.run(gather())

    def _stall(self, how: str, pairs: list[Pair]) -> None:
        late = [(order, future) for order, future in pairs if not future.done()]
        waiting = [f"{order.number} {order.kind} {future.task_id} {future.status}" for order, future in late]
        if not waiting:
            return  # only just in time
        self._ledger.trouble(f"stalled in {how}: {len(waiting)} tasks: {'; '.join(waiting[:10])}")
        raise Stalled

    # judging

    def _settle(self, pairs: list[Pair]) -> None:
        """The queue has ended: what is known of these by now stands, and the rest can't come any more."""
        for order, future in pairs:
            if future.done() and order.number in self.open:
                self._judge(order, future)

    def _judge(self, order: Order, future: TaskFuture[Any]) -> None:
        attempts = future.attempts
        try:
            error = future.exception(0)
        except CancelledError as cancelled:
            note = "" if order.number in self._cancelled else "by another"
            self._write(order, CANCELLED, getattr(cancelled, "attempts", attempts), note=note)
            return
        if order.number in self._cancelled:
            self._write(order, WRONG, attempts, note=f"cancel() said True, and then it ended with {error!r}")
        elif isinstance(error, ENDED):
            self._write(order, CLOSED, attempts, note=str(error))
        elif isinstance(error, WorkerCrashed):
            self._write(order, CRASHED, attempts, error.pid, f"{error.exit_signal} {error.exit_status}")
        elif error is not None:
            is_meant = order.is_meant(error)
            self._write(
                order, FAILED if is_meant else WRONG, attempts, future.worker_pid, "" if is_meant else repr(error)
            )
        else:
            value = future.result(0)
            is_right = order.is_right(value)
            note = "" if is_right else f"value {value!r:.300}"
            self._write(order, SUCCEEDED if is_right else WRONG, attempts, future.worker_pid, note)

    def _write(self, order: Order, outcome: str, attempts: int = 0, pid: int = 0, note: str = "") -> None:
        del self.open[order.number]
        self._ledger.outcome(order.number, outcome, attempts, pid, note)

    def abandon(self) -> None:
        """The member leaves: nobody here will know."""
        for order in list(self.open.values()):
            self._write(order, ABANDONED)

    # maps

    def _map(self) -> None:
        ordered, items = self._chance.random() < 0.6, self._chance.randint(1, 600)
        enough = self._chance.randrange(items) if self._chance.random() < 0.1 else items
        retries = self._chance.choice((0, 0, 1))
        sent: list[Order] = []
        view = self._queue.options(max_retries=retries, full_timeout=STALL)
        try:
            results = view.map(
                tasks.item, self._items(items, retries, sent), chunksize=self._chance.choice((None, None, 1, 7, 50)),
                ordered=ordered, timeout=3 * STALL, return_exceptions=True,
            )  # fmt: skip
            seen: list[object] = list(itertools.islice(results, enough))
            if enough == items and next(results, None) is not None:
                self._ledger.trouble("a map gave more results than items")
            results.close()
        except ENDED as error:
            for order in list(self.open.values()):
                self._write(order, CLOSED, note=str(error))
            raise
        except TimeoutError as error:
            self._ledger.trouble(f"stalled in map: {error}; {len(sent)} of {items} sent, numbers from {sent[0].number}")
            raise Stalled from None
        if enough == items and len(seen) != len(sent):
            self._ledger.trouble(f"a map of {len(sent)} items gave {len(seen)} results")
        self._judge_map(sent, seen, ordered)
        self.abandon()

    def _items(self, count: int, retries: int, sent: list[Order]) -> Iterator[tuple[int, str]]:
        """Lazily, as the map reads them; each is written down before it can be sent."""
        for _ in range(count):
            order = self._mix.tiny()
            deed = self._mix.deed()
            order.kind = f"item-{deed}"
            self._ledger.submitted(order.number, order.kind, retries)
            self.open[order.number] = order
            sent.append(order)
            yield order.number, deed

    def _judge_map(self, sent: list[Order], seen: list[object], ordered: bool) -> None:
        """Unordered results name their items; a crash does not, so those go to the items that are left over."""
        by_number = {order.number: order for order in sent}
        crashes: list[WorkerCrashed] = []
        for at, value in enumerate(seen):
            order = sent[at] if ordered else by_number.get(_number_of(value), sent[at])
            if isinstance(value, WorkerCrashed) and not ordered:
                crashes.append(value)
            elif order.number not in self.open:
                self._ledger.trouble(f"a map gave the result of item {order.number} twice: {value!r:.100}")
            else:
                self._judge_item(order, value)
        left = [order for order in sent if order.number in self.open]
        left.sort(key=lambda order: order.kind != "item-die")
        for order, crash in zip(left, crashes, strict=False):
            self._write(order, CRASHED, 0, crash.pid, f"{crash.exit_signal} {crash.exit_status} unordered")

    def _judge_item(self, order: Order, value: object) -> None:
        number = order.number
        if isinstance(value, WorkerCrashed):
            self._write(order, CRASHED, 0, value.pid, f"{value.exit_signal} {value.exit_status}")
        elif isinstance(value, ENDED):
            self._write(order, CLOSED, note=str(value))
        elif order.kind == "item-fail" and isinstance(value, tasks.Mishap) and value.code == number:
            self._write(order, FAILED)
        elif order.kind != "item-fail" and value == tasks.answer(number):
            self._write(order, SUCCEEDED)
        else:
            self._write(order, WRONG, note=f"item {value!r:.300}")

    # other members' tasks

    def _meddle(self) -> None:
        """Read and cancel tasks of others by their ids."""
        try:
            for line in self._newest_offers():
                task_id, number, kind, size = line.split()
                if self._chance.random() < 0.4:
                    if self._queue.cancel(task_id):
                        self._ledger.cancelled_other(int(number))
                    continue
                found = self._queue.get_task_result(task_id)
                if found is None or kind != "large" or found.status is not TaskStatus.SUCCESS:
                    continue
                if not is_reply(int(number), found.value, int(size)):
                    self._ledger.trouble(f"task {task_id}, read by its id, has the value {found.value!r:.100}")
        except ENDED:
            raise
        self._many()

    def _newest_offers(self) -> list[str]:
        with open(self._offers, "rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - OFFER_BYTES))
            lines = file.read().decode().splitlines()
        lines = lines[1:] if end > OFFER_BYTES else lines
        return self._chance.sample(lines, min(len(lines), 8))


def _number_of(value: object) -> int:
    if isinstance(value, tasks.Mishap):
        return value.code
    return (value - 1) // 3 if isinstance(value, int) else -1

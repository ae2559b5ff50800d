# SPDX-License-Identifier: MIT
"""Publish functions in the Space, so that tasks name them by a number.

Used by the native client when it meets a function it does not know, or one that is no longer what was published.
Functions that go by value are kept only as long as they are used: a loop that makes a new lambda for each call must not
fill the table.
"""

from __future__ import annotations

from operator import is_
from types import BuiltinFunctionType, FunctionType

from localq import _native
from localq.errors import ConfigError
from localq.functions import KIND_VALUE, MISSING, Task, by_reference, captures, encode_function
from localq.tasks import known_task, registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from localq._native import Client, FunctionEntry

__all__ = ["Publisher"]

KEPT = 256  # functions by value that stay published though no task of theirs is on its way
KEPT_BYTES = 16 << 20  # of them together: what a partial or a closure holds would stay in memory with them


class Publisher:
    """Resolves callables to published functions, for one client."""

    def __init__(self, queues: tuple[str, ...]) -> None:
        self._queues = queues
        self._by_value: dict[bytes, FunctionEntry] = {}  # by their bytes; oldest use first
        self._by_name: dict[tuple[int, bytes], FunctionEntry] = {}  # by kind and name

    def resolve(self, client: Client, function: Callable[..., object] | str) -> FunctionEntry:
        """The entry of a function that `client` does not know, or that has changed.

        Raises:
            ConfigError: not a callable, or an option of its task names no queue of this one.
            SerializationError: it can't travel.
        """
        called: object = known_task(function) if isinstance(function, str) else function
        checks: tuple[object, ...] = ()
        if isinstance(function, str):
            checks = (registry, function, registry.get(function, MISSING))
        # Before it is encoded: what another thread binds anew in between must not count as sent.
        taken = None
        if callable(called) and by_reference(called) is None:
            taken = captures(called.fn if isinstance(called, Task) else called)
        if taken is not None:
            checks += taken.checks
        unstable = taken is not None and taken.volatile
        kind, payload = encode_function(function, buffers=True)
        options = self._options(called)
        if kind != KIND_VALUE:
            return self._resolve_by_name(client, function, kind, payload, checks, options)
        is_heavy = not isinstance(payload, bytes)
        key = b"".join(payload.head) + b"#%d" % payload.nbytes if is_heavy else payload
        known = self._by_value.pop(key, None)
        if (
            known is not None
            and known.function is function
            and _are_same(known.checks, checks)
            and (not is_heavy or client.is_published(known.row, known.generation, payload))
        ):
            self._by_value[key] = known  # encoded anew, and nothing had changed
            return known
        entry = self._publish(client, function, kind, payload, checks, unstable, options)
        if entry.row != _native.IN_BAND:
            if known is not None:
                self._by_value[key + b"#" + str(known.row).encode()] = known  # until its tasks are done
            self._by_value[key] = entry
            entry.heavy = is_heavy
            self._remember(client, function, entry)
            self._forget_old(client)
        return entry

    def _resolve_by_name(
        self,
        client: Client,
        function: Callable[..., object] | str,
        kind: int,
        payload: bytes,
        checks: tuple[object, ...],
        options: tuple[int, int, int, int, int],
    ) -> FunctionEntry:
        """One row for each name, for good: there are only so many of them."""
        known = self._by_name.get((kind, payload))
        if known is None:
            known = self._publish(client, function, kind, payload, checks, False, options)
            if known.row != _native.IN_BAND:
                self._by_name[kind, payload] = known
        if _is_kept(client, function) and known.function is function:
            self._remember(client, function, known)
        return known

    def _options(self, task: object) -> tuple[int, int, int, int, int]:
        """Queue, priority, retries, crashes of a @task, -1 where it leaves them to the queue; its time limit in ms."""
        if not isinstance(task, Task):
            return -1, -1, -1, -1, 0
        if task.queue is not None and task.queue not in self._queues:
            names = ", ".join(self._queues)
            raise ConfigError(f"task {task.name!r} asks for queue {task.queue!r}; this one has {names}")
        return (
            -1 if task.queue is None else self._queues.index(task.queue),
            -1 if task.priority is None else int(task.priority),
            -1 if task.max_retries is None else task.max_retries,
            -1 if task.max_crashes is None else task.max_crashes,
            0 if task.timeout is None else max(1, int(task.timeout * 1000)),
        )

    def _publish(
        self,
        client: Client,
        function: Callable[..., object] | str,
        kind: int,
        payload: Any,
        checks: tuple[object, ...],
        unstable: bool,
        options: tuple[int, int, int, int, int],
    ) -> FunctionEntry:
        name = _name(function, kind, payload)
        place = client.publish(kind, payload, name)
        if place is None:  # the table or the arena is full: it travels with each call instead
            self._forget_old(client, keep=0)
            place = client.publish(kind, payload, name) or (_native.IN_BAND, 0)
        entry = _native.FunctionEntry(function, *place, checks, MISSING, unstable or place[0] == _native.IN_BAND)
        entry.queue, entry.priority, entry.max_retries, entry.max_crashes, entry.limit_ms = options
        return entry

    def let_go(self, client: Client, entry: FunctionEntry) -> None:
        """No task needs this one any more, and it holds memory."""
        for key, known in list(self._by_value.items()):
            if known is entry:
                self._take_out(client, key, entry)
                return

    def _take_out(self, client: Client, key: bytes, entry: FunctionEntry) -> None:
        if entry.pending or self._by_value.pop(key, None) is not entry:
            return  # needed; or another thread was quicker
        if _is_kept(client, entry.function) and client.functions.get(entry.function) is entry:
            del client.functions[entry.function]
        client.unpublish(entry.row)

    def _remember(self, client: Client, function: object, entry: FunctionEntry) -> None:
        """For the next call, if it can be told apart from all others; what can't is resolved at each use."""
        if entry.row != _native.IN_BAND and _is_kept(client, function):
            client.functions[function] = entry

    def _forget_old(self, client: Client, keep: int = KEPT) -> None:
        """Take functions out of the table that nobody has used for longest and no task needs."""
        surplus, weight = len(self._by_value) - keep, sum(map(len, self._by_value))
        for payload in list(self._by_value)[:-1] if keep else list(self._by_value):  # the last one is about to be used
            if surplus <= 0 and weight <= KEPT_BYTES:
                break
            surplus, weight = surplus - 1, weight - len(payload)
            entry = self._by_value.get(payload)
            if entry is not None:
                self._take_out(client, payload, entry)


def _name(function: Callable[..., object] | str, kind: int, payload: Any) -> str:
    """What people call it: "module:qualname" of what is imported, the registered name of what is only known by that."""
    if kind != KIND_VALUE:
        return str(payload, "utf-8", "replace")
    called = known_task(function) if isinstance(function, str) else function
    while isinstance(called, Task):
        called = called.fn
    name = getattr(called, "__qualname__", None)
    if isinstance(name, str):
        return name
    inner = getattr(getattr(called, "func", None), "__qualname__", None)  # of a partial
    kind_name = type(called).__qualname__
    return f"{kind_name}({inner})" if isinstance(inner, str) else kind_name


def _is_kept(client: Client, function: object) -> bool:
    """May it be a key? Only what compares by identity: the hash and equality of others is their own code."""
    return isinstance(function, FunctionType | BuiltinFunctionType) or type(function) in client.plain


def _are_same(known: tuple[object, ...], found: tuple[object, ...]) -> bool:
    return len(known) == len(found) and all(map(is_, known, found))

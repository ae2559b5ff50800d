# SPDX-License-Identifier: MIT
"""Values and arrays that live in a queue's shared memory, and how they are named in pickles.

`SharedRef` is what `LocalQueue.put` returns. Used by the client, which stores them, by the picklers, which write their
names, and by whoever unpickles such a name: a worker, or another client. A name means something only in a process that
is part of that queue, so each such process tells here which part it is.
"""

from __future__ import annotations

import os
from _weakref import ref  # the module `weakref` is dearer, and workers load this one

from localq.errors import SharedRefLost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Generic, Protocol, TypeVar

    from localq import _native

    R_co = TypeVar("R_co", covariant=True)

    class Home(Protocol):
        """A part that this process has in a queue: a client or a worker of the native core."""

        def hold(self, block: int, generation: int) -> _native.Hold: ...
        def share(self, block: int, generation: int, start: int, length: int) -> _native.Block: ...
        @property
        def looks(self) -> bool: ...
        def lend(self, is_alive: Callable[[], bool]) -> None: ...

    class Decoder(Protocol):
        """The queue's codec."""

        def decode_stored(self, format: int, parts: _native.Incoming) -> Any: ...  # noqa: A002

    class _Base(Generic[R_co]): ...

else:
    from types import GenericAlias

    R_co = None

    class _Base:
        """`typing.Generic` without its import."""

        __slots__ = ()

        __class_getitem__ = classmethod(GenericAlias)


__all__ = ["ArrayPlace", "Destination", "SharedRef", "named_value", "recipe", "take_part", "write_array"]


class SharedRef(_Base[R_co]):
    """A value that was stored once in a queue's shared memory, for any number of tasks.

        frame = q.put(load("trips.parquet"))
        futures = [q.delay(busiest_hour, frame, city) for city in cities]   # each task sends a few bytes

    As an argument of a task, also deep within lists, tuples, dicts and objects, it stands for its value, which
    arrives without being copied: buffers in it (arrays, columns) are views of the one block, copy-on-write, so a task
    that writes changes nobody else's data. In a result, or captured by a function, it stays a SharedRef.

    The value lives as long as somebody holds a SharedRef of it, or a task on its way refers to it, or some array still
    looks at it; `put(value, keep=True)` keeps it until `delete`, or the end of the queue.
    """

    __slots__ = ("__weakref__", "_decoder", "_format", "_hold", "_identity")

    _decoder: Decoder
    _format: int
    _hold: _native.Hold
    _identity: int

    def __init__(
        self,
        identity: int,
        format: int,  # noqa: A002 - the word for it everywhere
        hold: _native.Hold,
        decoder: Decoder,
    ) -> None:
        self._decoder = decoder
        self._identity = identity
        self._format = format
        self._hold = hold

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in the queue's memory."""
        return self._hold.size

    def get(self, *, copy: bool = False) -> R_co:
        """The value, built anew at each call; its buffers are copy-on-write views. `copy`: private copies instead,
        which need nothing of the queue.

        Raises:
            QueueClosed: this process has closed the queue.
        """
        value: R_co = _load(self._hold, self._decoder, self._format, 0, copy)
        return value

    def delete(self) -> None:
        """End what `put(value, keep=True)` promised: from now on the value lives only as long as somebody holds it. May
        be called by any process, and again."""
        self._hold.release()

    @property
    def _name(self) -> tuple[int, int, int, int]:
        """What finds the value in another process of the queue: queue, block, use of the block, format."""
        return self._identity, self._hold.block, self._hold.generation, self._format

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, self._name

    def __eq__(self, other: object) -> bool:
        return self._name == other._name if isinstance(other, SharedRef) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._name)

    def __repr__(self) -> str:
        return f"<SharedRef {self._identity & 0xFFFFFFFF:08x}:{self._hold.block:x} {self.nbytes:,} bytes>"


class ArrayPlace:
    """Where in the arena an array lies. Unpickled, it is that array itself: written there, it is seen by all."""

    __slots__ = ("_place", "array")

    def __init__(self, identity: int, place: tuple[int, int, int], array: Any) -> None:
        self.array = array
        self._place = identity, *place

    @property
    def _name(self) -> tuple[int, int, int, int]:
        return self._place

    def __reduce__(self) -> tuple[Any, ...]:
        array = self.array
        order = "C" if array.flags.c_contiguous else "F"
        return _array_at, (*self._place, array.dtype, array.shape, order)


class Destination:
    """Where the result of a call goes: an array of the client, which the worker writes."""

    __slots__ = ("_name", "_place")

    def __init__(self, name: tuple[int, int, int, int], place: Any) -> None:
        self._name = name
        self._place = place  # in a worker: the array itself

    def __reduce__(self) -> tuple[Any, ...]:
        return Destination, (self._name, self._place)

    def take(self, result: Any) -> ArrayPlace:
        """Write `result`, which becomes the array itself."""
        write_array(self._place, result)
        return ArrayPlace(self._name[0], self._name[1:], self._place)


def write_array(out: Any, result: Any) -> None:
    """Write `result` into an array, converted and broadcast as `numpy.copyto` does."""
    import numpy as np

    if out.dtype.names is not None and not isinstance(result, np.ndarray | np.generic):
        out[...] = result  # tuples are records only for assignment
    else:
        np.copyto(out, result, casting="same_kind")


def recipe(value: SharedRef[Any] | ArrayPlace, refs: list[tuple[int, int]], resolve: bool) -> Any:
    """How to pickle one of the two: as its name, whose block is added to `refs`. `resolve`: a SharedRef as its
    value."""
    refs.append(value._name[1:3])
    return (named_value, value._name) if resolve and isinstance(value, SharedRef) else value.__reduce__()


# Names. What a process is in a queue it says with `take_part`; the rest is asked of that.

# By queue. Unpickling is told nothing but the name, so this belongs to the process.
_homes: dict[int, list[tuple[ref[Any], Decoder]]] = {}


def take_part(identity: int, home: Home, decoder: Decoder) -> None:
    """From now on names of that queue's values mean something in this process, as long as `home` lives."""
    global _is_watching
    if not _is_watching:
        _is_watching = True
        os.register_at_fork(before=_before_fork, after_in_child=_after_in_child, after_in_parent=_after_in_parent)
    others = [known for known in _homes.get(identity, ()) if known[0]() is not None]
    _homes[identity] = [*others, (ref(home), decoder)]


# Forks. A child sees the parent's views and has no pins of its own: the parent keeps its pins until the child has
# ended, or executed another program. Both close the child's end of a pipe.

_is_watching = False  # for forks: hooks belong to the process, and can't be taken back
_pipe: tuple[int, int] | None = None  # from before a fork until after it


def _before_fork() -> None:
    global _pipe
    if any(home.looks for home in _living()):
        try:
            _pipe = os.pipe()
        except OSError:  # no descriptor left: then what is looked at now is kept for good
            _pipe = -1, -1


def _after_in_child() -> None:
    global _pipe
    if _pipe is not None and _pipe[0] >= 0:
        os.close(_pipe[0])  # the other end stays open as long as this process
    _pipe = None


def _after_in_parent() -> None:
    global _pipe
    if _pipe is None:
        return
    borrower = _Borrower(*_pipe)
    _pipe = None
    for home in _living():
        if home.looks:
            home.lend(borrower)


def _living() -> list[Home]:
    return [home for homes in list(_homes.values()) for known, _ in homes if (home := known()) is not None]


class _Borrower:
    """A child that was forked. Called: whether it may still look at what its parent looked at."""

    def __init__(self, ours: int, theirs: int) -> None:
        self._ours = ours
        self._is_over = False
        if theirs >= 0:
            os.close(theirs)

    def __call__(self) -> bool:
        from select import POLLHUP, poll

        ours = self._ours
        if ours < 0:
            return not self._is_over
        look = poll()
        look.register(ours, 0)  # POLLHUP is told in any case
        if any(event & POLLHUP for _, event in look.poll(0)):
            self._is_over = True
            ours, self._ours = self._ours, -1  # of several threads that ask one closes it
            if ours >= 0:
                os.close(ours)
        return not self._is_over

    def __del__(self) -> None:
        if self._ours >= 0:
            os.close(self._ours)


def named_value(identity: int, block: int, generation: int, format: int) -> Any:  # noqa: A002
    """The value itself: what a SharedRef among a task's arguments becomes."""
    home, decoder = _home(identity)
    return _load(_held(home, block, generation), decoder, format, getattr(home, "view_mode", 0), copy=False)


def _reopened(identity: int, block: int, generation: int, format: int) -> SharedRef[Any]:  # noqa: A002
    home, decoder = _home(identity)
    return SharedRef(identity, format, _held(home, block, generation), decoder)


def _array_at(
    identity: int, block: int, generation: int, start: int, dtype: Any, shape: tuple[int, ...], order: Any
) -> Any:
    import math

    from numpy import ndarray

    try:
        home, _ = _home(identity)
        memory: Any = home.share(block, generation, start, math.prod(shape) * dtype.itemsize)
    except LookupError as error:
        raise SharedRefLost(str(error)) from None
    return ndarray(shape, dtype, memory, order=order)


def _home(identity: int) -> tuple[Home, Decoder]:
    for known, decoder in _homes.get(identity, ()):
        home: Home | None = known()
        if home is not None and getattr(home, "is_ours", True):
            return home, decoder
    raise SharedRefLost("this process is no part of the queue that it was stored in: attach to the queue first")


def _held(home: Home, block: int, generation: int) -> _native.Hold:
    try:
        return home.hold(block, generation)
    except LookupError as error:
        raise SharedRefLost(str(error)) from None


def _load(hold: _native.Hold, decoder: Decoder, format: int, mode: int, copy: bool) -> Any:  # noqa: A002
    try:
        parts = hold.read(mode, copy)
    except ValueError as error:
        from localq.errors import QueueClosed

        raise QueueClosed(str(error)) from None
    return decoder.decode_stored(format, parts)

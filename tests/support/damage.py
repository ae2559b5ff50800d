# SPDX-License-Identifier: MIT
"""Overwrite words of a queue's shared memory, and put them back: what a stray pointer in native code would do.

Used by tests of who must notice. Knows where a slot lies by finding its arguments, and from `native/lq_slot.h` what is
where in it.
"""

from __future__ import annotations

import mmap
import struct
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from localq import LocalQueue, TaskFuture
from tests.support import tasks

SLOT_BYTES = 256
WORD, ARGS_BLOCK = 0, 28  # offsets in a slot
VERSION = 8  # in the header
LAYOUTS = {WORD: "<Q", ARGS_BLOCK: "<I", VERSION: "<I"}


@contextmanager
def memory_of(queue: LocalQueue) -> Iterator[mmap.mmap]:
    """The control memory, writable."""
    with mmap.mmap(queue._space.fds[0], 0) as memory:
        yield memory


def first_slot(queue: LocalQueue, memory: mmap.mmap) -> int:
    """Where slot 0 lies. Leaves a queued task, so the workers must be busy."""
    marker = uuid.uuid4().hex
    future = queue.delay(tasks.same, marker)
    at = memory.find(marker.encode())
    assert at > 0
    return at - at % SLOT_BYTES - future.slot * SLOT_BYTES


@contextmanager
def overwritten(memory: mmap.mmap, at: int, layout: str, change: Any) -> Iterator[None]:
    """`change(old)` stands there within the block."""
    (old,) = struct.unpack_from(layout, memory, at)
    struct.pack_into(layout, memory, at, change(old))
    try:
        yield
    finally:
        struct.pack_into(layout, memory, at, old)


@contextmanager
def slot_overwritten(queue: LocalQueue, future: TaskFuture[Any], field: int, change: Any) -> Iterator[None]:
    """A field of the slot of a task that is queued behind a busy worker."""
    with memory_of(queue) as memory:
        at = first_slot(queue, memory) + future.slot * SLOT_BYTES + field
        with overwritten(memory, at, LAYOUTS[field], change):
            yield

# SPDX-License-Identifier: MIT
"""Where the items of `localq map` come from, in blocks: files, and stdin."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["at_most", "blocks_of", "blocks_of_files", "without_blank"]

BLOCK_BYTES = 1 << 16  # what a pipe holds


def blocks_of(fd: int, separator: bytes = b"\n") -> Iterator[list[bytes]]:
    """Items as they come, without their separators; the last one may lack it. Read without a buffer of Python's, whose
    lock a thread that waits for a terminal would hold when the interpreter ends."""
    begun: list[bytes] = []
    while data := os.read(fd, BLOCK_BYTES):
        *items, rest = data.split(separator)
        if items:
            if begun:
                items[0] = b"".join([*begun, items[0]])
                begun.clear()
            yield items
        if rest:
            begun.append(rest)
    if begun:
        yield [b"".join(begun)]


def blocks_of_files(paths: Iterable[str], separator: bytes = b"\n") -> Iterator[list[bytes]]:
    """The same of files, one after the other; `-` is stdin."""
    for path in paths:
        if path == "-":
            yield from blocks_of(0, separator)
            continue
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield from blocks_of(fd, separator)
        finally:
            os.close(fd)


def without_blank(blocks: Iterable[list[bytes]]) -> Iterator[list[bytes]]:
    """Without lines that hold nothing."""
    for block in blocks:
        yield [item for item in block if item.strip()]


def at_most(blocks: Iterable[list[bytes]], count: int) -> Iterator[list[bytes]]:
    """The first so many items; no more is read than that takes."""
    if count <= 0:
        return
    for block in blocks:
        yield block[:count]
        count -= len(block)
        if count <= 0:
            return

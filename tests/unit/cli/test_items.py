# SPDX-License-Identifier: MIT
"""Items as they come out of files and pipes, however they were cut on the way."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from localq.cli.items import BLOCK_BYTES, at_most, blocks_of, blocks_of_files, without_blank
from localq.cli.printer import write_all


@contextmanager
def pipe_with(pieces: list[bytes]) -> Iterator[int]:
    """A pipe into which those are written one after the other."""
    read, write = os.pipe()

    def fill() -> None:
        for piece in pieces:
            write_all(write, piece)
        os.close(write)

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        yield read
    finally:
        thread.join()
        os.close(read)


def flat(blocks: Iterator[list[bytes]]) -> list[bytes]:
    return [item for block in blocks for item in block]


@given(some.lists(some.binary(max_size=12)), some.sampled_from([b"\n", b"\0"]))
def test_items_are_what_stands_between_the_separators(pieces: list[bytes], separator: bytes) -> None:
    whole = b"".join(pieces)
    expected = whole.split(separator)
    if not expected[-1]:
        expected.pop()  # what ends with a separator has no item behind it

    with pipe_with(pieces) as fd:
        assert flat(blocks_of(fd, separator)) == expected


def test_an_item_may_be_longer_than_what_is_read_at_once() -> None:
    long = b"x" * (3 * BLOCK_BYTES + 7)

    with pipe_with([b"a\n", long, b"\nb"]) as fd:
        assert flat(blocks_of(fd)) == [b"a", long, b"b"]


def test_files_follow_one_another_and_the_last_line_of_each_is_its_own(tmp_path: Path) -> None:
    for name, text in (("one", "a\nb"), ("two", ""), ("three", "\nc\n")):
        (tmp_path / name).write_text(text)

    paths = [str(tmp_path / name) for name in ("one", "two", "three")]

    assert flat(blocks_of_files(paths)) == [b"a", b"b", b"", b"c"]
    assert flat(without_blank(blocks_of_files(paths))) == [b"a", b"b", b"c"]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 99])
def test_no_more_blocks_are_read_than_the_limit_takes(count: int) -> None:
    taken = []

    def blocks() -> Iterator[list[bytes]]:
        for block in ([b"1", b"2"], [b"3"], [b"4"]):
            taken.append(block)
            yield block

    assert flat(at_most(blocks(), count)) == [b"1", b"2", b"3", b"4"][:count]
    assert len(taken) == {0: 0, 1: 1, 2: 1, 3: 2, 4: 3, 99: 3}[count]


def test_all_is_written_where_the_descriptor_does_not_block() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    data = os.urandom(1 << 20)
    received: list[bytes] = []

    def empty() -> None:
        while piece := os.read(read, 1 << 16):
            received.append(piece)

    thread = threading.Thread(target=empty)
    thread.start()
    write_all(write, data)
    os.close(write)
    thread.join()
    os.close(read)

    assert b"".join(received) == data

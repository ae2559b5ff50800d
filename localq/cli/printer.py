# SPDX-License-Identifier: MIT
"""What `localq map` prints: results where its stdout was, failures and a summary on stderr."""

from __future__ import annotations

import os
import select
import sys
from typing import TYPE_CHECKING

from localq.cli import WRONG_CALL, Refusal
from localq.cli.outcome import describe_error, traceback_of
from localq.errors import FunctionNotFound
from localq.json_text import as_json

if TYPE_CHECKING:
    from localq.client.lines import Batch, LineResults
    from localq.pool.lines import LineCall

__all__ = ["Printer", "say", "write_all"]


class Printer:
    """Prints results, and counts them."""

    def __init__(self, call: LineCall, out: int, fail_fast: bool, with_traceback: bool) -> None:
        self._call = call
        self._out = out
        self._fail_fast = fail_fast
        self._with_traceback = with_traceback
        self.done = 0
        self.failed = 0
        self.has_stopped = False  # at a failure, before the end of the items

    async def print_all(self, results: LineResults) -> None:
        """Raises BrokenPipeError: nobody reads them any more."""
        try:
            async for batch in results.batches():
                write_all(self._out, self._lines_of(batch))
                if self._fail_fast and self.failed:
                    self.has_stopped = True
                    break
        finally:
            results.stop()

    def _lines_of(self, batch: Batch) -> bytes:
        if not batch.errors:
            self.done += len(batch.values)
            return b"\n".join(batch.values) + b"\n" if batch.values else b""
        lines: list[bytes] = []
        for at, value in enumerate(batch.values):
            self.done += 1
            error = batch.errors.get(at)
            if error is None:
                lines.append(value)
                continue
            self.failed += 1
            self._tell(batch.first + at + 1, batch.items[at], error)
            if self._call.shows_item:
                lines.append(self._failure(batch.items[at], error))
            if self._fail_fast:
                break
        return b"\n".join(lines) + b"\n" if lines else b""

    def _tell(self, number: int, item: bytes, error: BaseException) -> None:
        if isinstance(error, FunctionNotFound) and error.name == self._call.function:
            raise Refusal(error, WRONG_CALL)  # in a queue that is attached to: the workers look for it
        text = item.decode("utf-8", "surrogateescape")
        shown = text if len(text) <= 60 else f"{text[:56]} ..."
        say(f"item {number} ({shown!r}): {describe_error(error)}")
        if self._with_traceback and (traceback := traceback_of(error)):
            say(traceback.rstrip())

    def _failure(self, item: bytes, error: BaseException) -> bytes:
        try:
            shown = self._call.item_of(item)
        except ValueError:  # it is no JSON, and that is the failure
            shown = item.decode("utf-8", "surrogateescape")
        return b'{"item":%b,"error":%b}' % (as_json(shown), as_json(describe_error(error)))

    def summary(self, seconds: float) -> str:
        count = f"{self.done:,} item{'' if self.done == 1 else 's'}"
        failed = f", {self.failed:,} failed" if self.failed else ""
        rate = self.done / seconds if seconds > 0 else 0.0
        return (
            f"{count}{failed}, {seconds:.1f} s, {rate:,.0f}/s"
            if rate >= 10
            else (f"{count}{failed}, {seconds:.1f} s, {rate:.2g}/s")
        )


def say(line: str) -> None:
    """On stderr: above the bar, if there is one. What can't be shown there is escaped."""
    if sys.stderr is None:
        return
    try:
        print(line, file=sys.stderr, flush=True)
    except UnicodeEncodeError:
        print(line.encode("ascii", "backslashreplace").decode(), file=sys.stderr, flush=True)
    except OSError:  # nobody reads that any more, and there is no other place to say so
        pass


def write_all(fd: int, data: bytes) -> None:
    """All of it, also where the descriptor does not block."""
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(fd, left) :]
        except BlockingIOError:
            select.select([], [fd], [])

# SPDX-License-Identifier: MIT
"""The summary of a trace, for people: lines of text.

Used by `localq trace`. Pure.
"""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

from localq.monitor.spent import time_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from localq.monitor.spent import FunctionTime, TraceSummary

__all__ = ["lines"]

WIDTH = 100
MOST_FUNCTIONS = 20
NAME = 30  # characters of a function's name; its end says more

_HEADS = f"{'function':<{NAME}} {'runs':>8} {'p50':>8} {'p99':>8}  {'wait':>6} {'transfer':>8} {'run':>6} {'return':>6}"


def lines(summary: TraceSummary) -> Iterator[str]:
    """As many as it takes, none longer than `WIDTH`; functions may have names that are no text for a terminal."""
    for line in _lines(summary):
        yield "".join(letter if letter.isprintable() else "?" for letter in line)


def _lines(summary: TraceSummary) -> Iterator[str]:
    yield (
        f"Queue {summary.queue}, {summary.seconds:.3g} s: {summary.tasks_per_second:,.0f} tasks/s"
        + (f", {summary.items_per_second:,.0f} items/s" if summary.items_per_second else "")
        + f"; {summary.workers} workers busy {summary.busy:.0%} of the time"
        + (f"; {summary.failed:,} runs failed" if summary.failed else "")
    )
    if summary.lost:
        yield from wrap(
            f"{summary.lost:,} records were lost ({summary.lost / (summary.lost + summary.runs):.0%}): they came faster"
            " than they could be read. What follows is of the others.",
            WIDTH,
        )
    if summary.functions:
        yield ""
        yield _HEADS
        for function in summary.functions[:MOST_FUNCTIONS]:
            yield _line(function)
        if len(summary.functions) > MOST_FUNCTIONS:
            yield f"... and {len(summary.functions) - MOST_FUNCTIONS} more"
    yield ""
    for sentence in summary.advice or ("Nothing stands out.",):
        yield from wrap(sentence, WIDTH, initial_indent="- ", subsequent_indent="  ")
    yield ""
    yield f"The trace is in {summary.path}: open it at https://ui.perfetto.dev"


def _line(function: FunctionTime) -> str:
    name = function.name if len(function.name) <= NAME else f"...{function.name[3 - NAME :]}"
    shares = function.shares
    spread = function.runs_spread
    return (
        f"{name:<{NAME}} {function.runs:>8,} {time_of(spread.p50 or 0.0):>8} {time_of(spread.p99 or 0.0):>8} "
        f" {shares['wait']:>6.1%} {shares['transfer']:>8.1%} {shares['run']:>6.1%} {shares['return']:>6.1%}"
    )

# SPDX-License-Identifier: MIT
"""Histograms of durations: what their buckets say of a time that has passed, and percentiles from them.

Used by the reader, the metrics and the trace. A histogram is a list of counts; its bounds are the upper ends of its
buckets in seconds, rising, the last one infinite. Counts only grow, so the histogram of a while is the difference of
two. Pure.
"""

from __future__ import annotations

from bisect import bisect_left
from math import inf, isinf
from typing import TYPE_CHECKING

from localq.monitor.snapshot import Spread

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Histogram", "coarser", "quantile", "since", "spread"]

PER_OCTAVE = 4
OCTAVES = range(-20, 15)  # from a microsecond to some four hours


def since(counts: Sequence[int], before: Sequence[int]) -> list[int]:
    """What came to the counts since `before` (empty: all of it). None is negative: they were read bucket by bucket,
    beside those who count."""
    if not before:
        return list(counts)
    return [max(0, now - then) for now, then in zip(counts, before, strict=True)]


def quantile(counts: Sequence[int], bounds: Sequence[float], share: float) -> float | None:
    """The duration that `share` (0 to 1) of what was counted did not exceed, as if each bucket were evenly filled; None
    when nothing was counted. What lies in the last bucket is as long as that bucket's beginning, at least."""
    rank = share * sum(counts)
    if not rank:
        return None
    below = 0
    for index, count in enumerate(counts):
        if count and below + count >= rank:
            begin = bounds[index - 1] if index else 0.0
            if isinf(bounds[index]):
                return begin
            return begin + (bounds[index] - begin) * (rank - below) / count
        below += count
    raise AssertionError


def longest(counts: Sequence[int], bounds: Sequence[float]) -> float | None:
    """The end of the last bucket that has anything (its beginning, if it has no end)."""
    index = max((index for index, count in enumerate(counts) if count), default=None)
    if index is None:
        return None
    return bounds[index - 1] if isinf(bounds[index]) else bounds[index]


def spread(
    counts: Sequence[int], bounds: Sequence[float], seconds: float | None = None, most: float | None = None
) -> Spread:
    """The histogram in figures.

    `seconds`: the sum of all durations, None when not known: then there is no mean. `most`: the longest of them, where
    it is known better than by its bucket.
    """
    count = sum(counts)
    if not count:
        return Spread()
    by_bucket = longest(counts, bounds)
    known = by_bucket if most is None else most
    assert known is not None
    p50, p95, p99 = (quantile(counts, bounds, share) for share in (0.5, 0.95, 0.99))
    assert p50 is not None and p95 is not None and p99 is not None  # noqa: PT018 - one thing: something was counted
    mean = None if seconds is None else min(max(0.0, seconds) / count, known)
    return Spread(count=count, mean=mean, p50=min(p50, known), p95=min(p95, known), p99=min(p99, known), most=known)


def coarser(counts: Sequence[int], bounds: Sequence[float], step: int) -> tuple[list[float], list[int]]:
    """(bounds, how many were not longer than each), for the first bucket, each `step`-th after it, and the last: exact,
    with fewer buckets."""
    kept, sums, total = [], [], 0
    for index, (count, bound) in enumerate(zip(counts, bounds, strict=True)):
        total += count
        if index % step == 0 or index + 1 == len(bounds):
            kept.append(bound)
            sums.append(total)
    return kept, sums


class Histogram:
    """One that is filled here, with buckets like the queue's own."""

    BOUNDS = (
        *(2.0 ** (octave + part / PER_OCTAVE) for octave in OCTAVES for part in range(PER_OCTAVE)),
        inf,
    )

    __slots__ = ("counts", "most", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * len(self.BOUNDS)
        self.seconds = 0.0
        self.most = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(self.BOUNDS, seconds)] += 1
        self.seconds += seconds
        self.most = max(self.most, seconds)

    def spread(self) -> Spread:
        return spread(self.counts, self.BOUNDS, self.seconds, self.most)

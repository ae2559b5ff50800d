# SPDX-License-Identifier: MIT
"""Let ours and the peers take turns, B A C, and compare pair by pair: a peer's turn is just before or after ours.

A turn is a fresh process (`benchmarks.turn`) that starts one subject, measures it and closes it: only one pool is
alive at any time, no subject inherits threads, heap or garbage of another, and one that hangs is killed alone. A ratio
is taken within each round, from two turns that follow each other, and the spread is that of these ratios: what
slows the whole machine down for a while slows both, and cancels.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

from benchmarks import peers
from benchmarks.terms import Bench, Terms, Work, aside

LEAST_ROUNDS = 2  # one has no spread

ROOT = Path(__file__).resolve().parent.parent  # turns run here, so that `benchmarks` and a built tree are importable


class TurnFailed(Exception):
    """A subject could not be measured; the sentence says what it printed last."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles of a few values."""

    q1: float
    median: float
    q3: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        ordered = sorted(values)
        if len(ordered) == 1:
            return cls(ordered[0], ordered[0], ordered[0])
        q1, median, q3 = statistics.quantiles(ordered, n=4, method="inclusive")
        return cls(q1, median, q3)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One work, ours beside one peer: the values of each round, in order."""

    bench: str
    work: Work
    ours: str
    peer: str
    our_values: Sequence[float]
    peer_values: Sequence[float]

    @property
    def ratio(self) -> Spread:
        """Ours divided by the peer's, round by round."""
        return Spread.of(ours / theirs for ours, theirs in zip(self.our_values, self.peer_values, strict=True))

    @property
    def is_better(self) -> bool:
        return self.ratio.median > 1 if self.work.more_is_better else self.ratio.median < 1

    @property
    def goal(self) -> float | None:
        return self.work.goals.get(self.peer) if self.ours == "localq" else None

    @property
    def is_goal_met(self) -> bool | None:
        if self.goal is None:
            return None
        return self.ratio.median >= self.goal if self.work.more_is_better else self.ratio.median <= self.goal


@dataclass(frozen=True, slots=True)
class Failure:
    bench: str
    subject: str
    reason: str


def take_turn(bench: str, subject: str, terms: Terms) -> dict[str, float]:
    """Measure one subject in a fresh process. Raises TurnFailed, also when it takes longer than the terms allow."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.turn", bench, subject],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that its workers can be killed with it
    )
    try:
        output, errors = process.communicate(json.dumps(asdict(terms)), timeout=terms.turn_timeout)
    except BaseException as interruption:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(interruption, subprocess.TimeoutExpired):
            raise TurnFailed(f"took more than {terms.turn_timeout:g} s") from None
        raise
    if process.returncode != 0:
        last_words = errors.strip().splitlines() or [f"exit status {process.returncode}"]
        raise TurnFailed(last_words[-1])
    values: dict[str, float] = json.loads(output.splitlines()[-1])
    return values


def compare(
    bench: Bench,
    ours: str,
    others: Sequence[str],
    terms: Terms,
    notify: Callable[[str, float], None] = lambda what, seconds_left: None,
) -> tuple[list[Comparison], list[Failure]]:
    """All comparisons of one bench. A peer that fails leaves the run; when ours fails, the bench ends.

    `notify` is told before each turn what begins, and how many seconds the bench will go on at most, as far as known.
    """
    pairs: dict[str, list[tuple[dict[str, float], dict[str, float]]]] = {peer: [] for peer in others}
    failures: list[Failure] = []
    rounds = terms.long_rounds if bench.is_long else terms.rounds
    begin = perf_counter()
    longest = 0.0

    def take(subject: str, round_number: int) -> dict[str, float] | None:
        seconds_left = (rounds - round_number + 1) * longest or bench.share * (terms.pace or 1.0)
        notify(f"{bench.name}: round {round_number} of {rounds}, {subject}", seconds_left)
        try:
            return take_turn(bench.name, subject, terms)
        except TurnFailed as failed:
            failures.append(Failure(bench.name, subject, str(failed)))
            return None

    for round_number in range(1, rounds + 1):
        round_begin = perf_counter()
        for before, after in _groups(bench, others, round_number):
            values = {subject: take(subject, round_number) for subject in before if subject in pairs}
            mine = take(ours, round_number) if any(subject in pairs for subject in (*before, *after)) else {}
            if mine is None:
                return [], failures
            for subject in (subject for subject in after if subject in pairs):
                is_inside = bench.measures_floors and subject in bench.floors
                values[subject] = _inside(mine, subject) if is_inside else take(subject, round_number)
            for subject, theirs in values.items():
                if theirs is None:
                    del pairs[subject]
                else:
                    pairs[subject].append((mine, theirs))
        longest = max(longest, perf_counter() - round_begin)
        is_late = perf_counter() - begin + longest > bench.share * terms.pace
        if terms.pace and is_late and round_number >= LEAST_ROUNDS:
            break
    return list(_comparisons(bench, ours, pairs, terms)), failures


def _groups(bench: Bench, others: Sequence[str], round_number: int) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
    """Who takes turns before one of ours, and who after it.

    Floors are short, and follow one turn of ours together. Peers stand on either side of one, and change sides in every
    second round.
    """
    floors = [name for name in others if name in bench.floors]
    queues = [name for name in others if name not in bench.floors]
    if floors:
        yield [], floors
    for first in range(0, len(queues), 2):
        before, after = queues[first : first + 1], queues[first + 1 : first + 2]
        yield (before, after) if round_number % 2 else (after, before)


def _inside(turn: dict[str, float], floor: str) -> dict[str, float]:
    """The values of a floor that the turn measured itself."""
    ending = aside("", floor)
    return {name.removesuffix(ending): value for name, value in turn.items() if name.endswith(ending)}


def _comparisons(
    bench: Bench, ours: str, pairs: dict[str, list[tuple[dict[str, float], dict[str, float]]]], terms: Terms
) -> Iterator[Comparison]:
    for work in bench.works(terms):
        for peer, turns in pairs.items():
            both = [(mine[work.name], theirs[work.name]) for mine, theirs in turns if _is_in(work, mine, theirs)]
            if both:
                our_values, peer_values = zip(*both, strict=True)
                yield Comparison(bench.name, work, ours, peer, our_values, peer_values)


def _is_in(work: Work, mine: dict[str, float], theirs: dict[str, float]) -> bool:
    # Nothing can be divided by zero: memory that did not grow, on a peer that keeps its tasks elsewhere.
    return work.name in mine and theirs.get(work.name, 0) > 0


@contextmanager
def started(subject: str, workers: int) -> Iterator[peers.Peer]:
    """A started subject, closed at the end. For the turns."""
    peer = peers.find(subject).start(workers)
    try:
        yield peer
    finally:
        peer.close()


def rate(units_a_pass: int, work: Callable[[], object], seconds: float) -> float:
    """Units per second of `work`, done once at least and until `seconds` have passed, the last pass counted whole."""
    passes = 0
    begin = now = perf_counter()
    while passes == 0 or now - begin < seconds:
        work()
        passes += 1
        now = perf_counter()
    return passes * units_a_pass / (now - begin)

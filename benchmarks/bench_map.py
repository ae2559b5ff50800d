# SPDX-License-Identifier: MIT
"""Map a function over ints: items that cost nothing, 10 us and 100 us of CPU.

Ours always makes its own chunks. Peers run with what they do when not told, and with the best of a few chunksizes
tried first in the same turn, as a patient user would. Each work has a small number of items for all, and a large one
which those peers are spared that send every item alone unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

from benchmarks import command, peers
from benchmarks.measure import rate, started
from benchmarks.terms import Bench, Terms, Work
from benchmarks.workloads import burn_10_us, burn_100_us, same

DEFAULT = "peer's default"
TUNED = "peer tuned by hand"
CHUNKS_A_WORKER = (1, 4, 16, 64)  # the chunksizes tried by hand, as parts of the whole


@dataclass(frozen=True, slots=True)
class Cost:
    """What one item costs, and how many fewer of them make a map of like duration."""

    name: str
    fn: Callable[[int], int]
    divisor: int


COSTS = (Cost("0 us", same, 1), Cost("10 us", burn_10_us, 10), Cost("100 us", burn_100_us, 75))


def works(terms: Terms) -> Sequence[Work]:
    found: list[Work] = []
    for cost in COSTS:
        items, few = _items(cost, terms)
        goals = {"pool": 1.0} if cost.divisor == 1 else {}
        found.append(Work(_name(cost, items, DEFAULT), "items/s", more_is_better=True, goals=goals))
        found.append(Work(_name(cost, few, DEFAULT), "items/s", more_is_better=True))
        found.append(Work(_name(cost, items, TUNED), "items/s", more_is_better=True, goals=goals))
    return found


def turn(subject: str, terms: Terms) -> dict[str, float]:
    values: dict[str, float] = {}
    with started(subject, terms.workers) as peer:
        for cost in COSTS:
            items, few = _items(cost, terms)
            _map(peer, cost, few, _even_chunks(few, terms.workers, 4))  # every worker is up and knows the function
            values[_name(cost, few, DEFAULT)] = _rate(peer, cost, few, None, terms)
            if peers.find(subject).chunks_itself:
                values[_name(cost, items, DEFAULT)] = _rate(peer, cost, items, None, terms)
            if subject == "localq":
                values[_name(cost, items, TUNED)] = values[_name(cost, items, DEFAULT)]
            else:
                best = _best_chunksize(peer, cost, items, terms)
                values[_name(cost, items, TUNED)] = _rate(peer, cost, items, best, terms)
    return values


def _items(cost: Cost, terms: Terms) -> tuple[int, int]:
    """How many items for those that make chunks, and for those that do not."""
    items = max(terms.map_items // cost.divisor, 2 * terms.workers)
    return items, max(min(terms.map_items_unchunked, items // 2), 1)


def _best_chunksize(peer: peers.Peer, cost: Cost, items: int, terms: Terms) -> int:
    seconds_by_chunksize: dict[int, float] = {}
    for chunks_a_worker in CHUNKS_A_WORKER:
        chunksize = _even_chunks(items, terms.workers, chunks_a_worker)
        begin = perf_counter()
        _map(peer, cost, items, chunksize)
        seconds_by_chunksize[chunksize] = perf_counter() - begin
    return min(seconds_by_chunksize, key=lambda chunksize: seconds_by_chunksize[chunksize])


def _even_chunks(items: int, workers: int, chunks_a_worker: int) -> int:
    return max(1, items // (workers * chunks_a_worker))


def _rate(peer: peers.Peer, cost: Cost, items: int, chunksize: int | None, terms: Terms) -> float:
    return rate(items, lambda: _map(peer, cost, items, chunksize), terms.seconds)


def _map(peer: peers.Peer, cost: Cost, items: int, chunksize: int | None) -> None:
    results = list(peer.map(cost.fn, range(items), chunksize))
    if len(results) != items or results[-1] != items - 1:
        raise ValueError(f"asked for {items} results, got {len(results)} ending in {results[-1:]}")


def _name(cost: Cost, items: int, manner: str) -> str:
    return f"{cost.name} an item, {items:,} items, {manner}"


BENCH = Bench(
    name="map",
    title="Map over ints, all CPUs; ours with automatic chunks",
    works=works,
    turn=turn,
    takes_part=lambda name: True,
)

if __name__ == "__main__":
    command.run_alone(BENCH)

# SPDX-License-Identifier: MIT
"""Calls that carry bytes, from none to 100 MB: to a task that says how many they are, and back as a result.

The round trip of one call at a time, one worker, the same bytes each time; a result is made before it is timed. How
arrays travel, which need not be copied, is told by `transfer`. Floor: `memcpy-warm`, one copy of as many bytes, in C,
into memory just written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from benchmarks import command, limits, peers
from benchmarks.adapters import FIFO_BYTES
from benchmarks.measure import rate, started
from benchmarks.terms import Bench, Terms, Work, size_name
from benchmarks.workloads import give_bytes, length

PEERS = ("ppe-fork", "pool", "fifo", "ray")
THERE, BACK = "bytes to a task", "bytes as a result"
WAY = "one call at a time"


def works(terms: Terms) -> Sequence[Work]:
    sizes = sorted(terms.payload_bytes)
    empty = [_work(panel, size) for panel in (THERE, BACK) for size in sizes if not size]
    return empty + [_work(panel, size) for panel in (THERE, BACK) for size in sizes if size]


def turn(subject: str, terms: Terms) -> dict[str, float]:
    if subject == "memcpy-warm":
        copies = {size: limits.ask(terms.limits_program, "memcpy", str(size)) for size in terms.payload_bytes if size}
        return {
            _work(panel, size).name: answer["warm_p50_seconds"] * 1000
            for panel in (THERE, BACK)
            for size, answer in copies.items()
        }
    values: dict[str, float] = {}
    with started(subject, workers=1) as peer:
        for size in terms.payload_bytes:
            if subject == "fifo" and size > FIFO_BYTES // 2:
                continue  # it takes no more than its memory holds
            values[_work(THERE, size).name] = _milliseconds(partial(_give, peer, bytes(size)), terms.seconds)
            values[_work(BACK, size).name] = _milliseconds(partial(_take, peer, size), terms.seconds)
    return values


def _give(peer: peers.Peer, data: bytes) -> None:
    if (found := peer.wait(peer.submit(length, data))) != len(data):
        raise ValueError(f"{len(data)} bytes are {found} in a worker")


def _take(peer: peers.Peer, size: int) -> None:
    if (found := len(peer.wait(peer.submit(give_bytes, size)))) != size:
        raise ValueError(f"a result of {size} bytes has {found}")


def _milliseconds(call: Callable[[], None], seconds: float) -> float:
    """The mean of a call, after one that is not timed."""
    call()
    return 1000 / rate(1, call, seconds)


def _work(panel: str, size: int) -> Work:
    name = f"{panel}, {size_name(size)}"
    if not size:
        return Work(name, "ms", more_is_better=False)  # no curve has it: their sizes are logarithms
    return Work(name, "ms", more_is_better=False, panel=panel, way=WAY, size=size)


BENCH = Bench(
    name="payload",
    title="Bytes to a task and back, one call at a time, 1 worker",
    works=works,
    turn=turn,
    takes_part=PEERS.__contains__,
    floors=("memcpy-warm",),
    share=50.0,
)

if __name__ == "__main__":
    command.run_alone(BENCH)

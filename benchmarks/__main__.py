# SPDX-License-Identifier: MIT
"""All benchmarks: `python -m benchmarks [--quick] [--only NAME] [--peers LIST] [--rounds N] [--json FILE]`."""

from __future__ import annotations

from benchmarks import command
from benchmarks.turn import bench_named

NAMES = (
    "throughput",
    "latency",
    "map",
    "payload",
    "startup",
    "fan",
    "priority",
    "mixed",
    "memory",
    "drift",
    "recovery",
    "recycle",
    "stop",
    "interrupt",
    "transfer",
    "peak",
    "scale",
)

if __name__ == "__main__":
    command.run_all([bench_named(name) for name in NAMES])

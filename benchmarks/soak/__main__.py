# SPDX-License-Identifier: MIT
"""The command: `python -m benchmarks.soak --minutes N --seed S`."""

from __future__ import annotations

import json
import random
import sys
import time

import click
from rich.console import Console
from rich.status import Status

from benchmarks.soak import conductor, report
from benchmarks.soak.epoch import Epoch

EXAMPLES = """
\b
Examples:
  python -m benchmarks.soak --minutes 1 --seed 7          a short one, that can be repeated
  python -m benchmarks.soak --minutes 60 --clients 6      an hour, with a seed of its own (which is printed)
  python -m benchmarks.soak --minutes 2 --json > out.json for machines
  python -m benchmarks.soak --seed 7 --hold               stay when something fails, for gdb
"""


class _Line:
    """One live line on a terminal; elsewhere, a line now and then."""

    EVERY = 10.0  # seconds, elsewhere

    def __init__(self, console: Console, seed: int) -> None:
        self._console = console
        self._seed = seed
        self._began = time.monotonic()
        self._status: Status | None = console.status("starting") if console.is_terminal else None
        self._next = 0.0
        self._refresh = 0.0
        if self._status is not None:
            self._status.start()

    def show(self, epoch: Epoch, doing: str) -> None:
        now = time.monotonic()
        if now < self._refresh or (self._status is None and now < self._next):
            return
        self._refresh, self._next = now + 0.2, now + self.EVERY
        submitted = sum(tail.submitted for tail in epoch.tails.values())
        done = sum(tail.done for tail in epoch.tails.values())
        text = (
            f"seed {self._seed}, {now - self._began:.0f} s, {doing}: {submitted:,} submitted, {done:,} done,"
            f" {len(epoch.tails)} members so far"
        )
        if self._status is not None:
            self._status.update(text)
        else:
            self._console.print(text, highlight=False)

    def end(self) -> None:
        if self._status is not None:
            self._status.stop()


@click.command(epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--minutes", default=1.0, show_default=True, type=click.FloatRange(min=0.0), help="How long.")
@click.option("--seed", type=int, help="Of all choices. Default: a new one, which is printed.")
@click.option("--clients", default=3, show_default=True, type=click.IntRange(0, 50), help="Attached clients.")
@click.option("--workers", default=3, show_default=True, type=click.IntRange(1, 50), help="Worker processes.")
@click.option("--mean", default=0.15, show_default=True, help="Seconds between two faults, on average.")
@click.option("--epoch", "epoch_seconds", default=30.0, show_default=True, help="Seconds that one owner lives.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--hold", is_flag=True, help="When something fails, leave all processes as they are until Enter.")
def main(
    minutes: float,
    seed: int | None,
    clients: int,
    workers: int,
    mean: float,
    epoch_seconds: float,
    as_json: bool,
    hold: bool,
) -> None:
    """Soak a queue: clients submit everything there is, while processes of all roles are killed, stopped, told to end;
    then every task, block, process and descriptor is accounted for. Exit status 0 only if everything holds."""
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    errors = Console(stderr=True)
    line = _Line(errors, seed)
    try:
        outcome = conductor.run(seed, minutes, clients, workers, mean, epoch_seconds, line.show, hold)
    finally:
        line.end()
    if as_json:
        print(json.dumps(report.as_json(outcome), indent=2))
    else:
        report.show(Console(), outcome)
    sys.exit(1 if outcome.failures else 0)


if __name__ == "__main__":
    main()

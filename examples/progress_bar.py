# SPDX-License-Identifier: MIT
"""Long calls that say how far they are: a bar for each, beside each other; and something that happens when one is done.

Shows `current_task().update`, `async for update in future.updates()` and `on_success`. You will see how many primes
each range has; on a terminal with a bar that moves while they are counted, elsewhere with a line for each quarter.

    python examples/progress_bar.py --ranges 4 --size 300000
"""

import argparse
import asyncio

from rich.console import Console
from rich.progress import Progress

from localq import LocalQueue, TaskFuture, TaskResult, current_task


def count_primes(start: int, stop: int) -> int:
    """How many primes there are; says every now and then how far it is, if it runs in a queue."""
    task, found = current_task(), 0
    for number in range(start, stop):
        found += number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))
        if task is not None and (number % 1000 == 0 or number == stop - 1):
            task.update(progress=(number + 1 - start) / (stop - start), message=f"{found:,} primes")
    return found


async def show(progress: Progress, name: str, future: TaskFuture[int]) -> None:
    """One bar, or a line for each quarter, until the call has ended."""
    bar, told = progress.add_task(name, total=1.0), -1
    async for update in future.updates():
        quarter = int((update.progress or 0.0) * 4)
        progress.update(bar, completed=update.progress or 0.0, description=f"{name}: {update.message or update.status}")
        if quarter > told and progress.disable:
            print(f"{name}: {update.status}, {quarter * 25} %")
        told = max(told, quarter)


async def main(ranges: int, size: int) -> None:
    done: list[int] = []

    def note(result: TaskResult[int]) -> None:
        done.append(result.unwrap())

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        async with LocalQueue() as q:
            view = q.options(on_success=note)
            futures = [view.delay(count_primes, part * size, (part + 1) * size) for part in range(ranges)]
            await asyncio.gather(*(show(progress, f"range {part}", each) for part, each in enumerate(futures)))
    print(f"{sum(done):,} primes below {ranges * size:,}, in {len(done)} ranges")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranges", type=int, default=4)
    parser.add_argument("--size", type=int, default=100_000)
    asyncio.run(main(**vars(parser.parse_args())))

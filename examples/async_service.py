# SPDX-License-Identifier: MIT
"""A service in an event loop whose heavy work runs in other processes: count the words of texts that clients send.

Shows `async with`, `await`, results as arguments of further tasks, and a time limit that cancels. You will see the
answer to each request, how often the event loop got its turn meanwhile, and a request that was given up.

    python examples/async_service.py --requests 20
"""

import argparse
import asyncio
import time
from collections import Counter

from localq import LocalQueue


def count(text: str) -> dict[str, int]:
    return Counter(text.lower().split())


def most_common(*parts: dict[str, int]) -> tuple[str, int]:
    return sum(map(Counter, parts), Counter[str]()).most_common(1)[0]


async def answer(q: LocalQueue, number: int) -> str:
    pages = [f"the quick fox and the lazy dog {number} " * 300 for _ in range(4)]
    parts = [q.delay(count, page) for page in pages]
    word, times = await q.delay(most_common, *parts)  # is sent when its parts are done; no worker waits for them
    return f"request {number}: {word!r} {times} times"


async def turns(counted: Counter[str]) -> None:
    while True:
        await asyncio.sleep(0)
        counted["turns"] += 1


async def main(requests: int) -> None:
    counted: Counter[str] = Counter()
    async with LocalQueue() as q:
        ticking = asyncio.create_task(turns(counted))
        for line in await asyncio.gather(*(answer(q, number) for number in range(requests))):
            print(line)
        print("texts per length:", [size async for size in q.map(len, ["one", "three", "eleven"])])
        try:
            async with asyncio.timeout(0.1):
                await q.delay(time.sleep, 1)
        except TimeoutError:
            print("a request was given up after 0.1 s")
        ticking.cancel()
    print(f"the event loop got its turn {counted['turns']:,} times")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10)
    asyncio.run(main(parser.parse_args().requests))

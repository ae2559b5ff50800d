# SPDX-License-Identifier: MIT
"""Stream a large file line by line through all cores, in little memory.

Writes a made-up access log (50 MB unless told otherwise) into a temporary folder, sends every line through
`q.map`, and prints what it counted, lines a second, and the most memory this process ever used: it depends on how
far `map` reads ahead, not on the size of the file. Try --megabytes 500.
"""

import argparse
import resource
import tempfile
import time
from collections import Counter
from pathlib import Path

from localq import LocalQueue

AGENTS = ("browser", "phone", "robot", "monitor")
STATUSES = (200, 200, 200, 200, 304, 404, 500)


def write_log(path: Path, size: int) -> int:
    """Write lines until the file has `size` bytes; how many there are."""
    lines = 0
    with path.open("w") as log:
        while log.tell() < size:
            for _ in range(1000):
                status, agent = STATUSES[lines % len(STATUSES)], AGENTS[lines % len(AGENTS)]
                log.write(f"10.0.{lines % 256}.{lines % 199} GET /page/{lines} {status} {lines % 9973} {agent}\n")
                lines += 1
    return lines


def read_line(line: str) -> tuple[str, int]:
    """This runs in the workers: status class and bytes sent."""
    _address, _verb, _path, status, sent, _agent = line.split()
    return status[0] + "xx", int(sent)


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=50)
    parser.add_argument("--workers", type=int, help="default: the CPUs this process may use")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder, LocalQueue(workers=args.workers) as q:
        path = Path(folder, "access.log")
        written = write_log(path, int(args.megabytes * 1e6))
        before, start = peak_megabytes(), time.perf_counter()
        answers: Counter[str] = Counter()
        total = 0
        with path.open() as log:
            for answer, sent in q.map(read_line, log, ordered=False):
                answers[answer] += 1
                total += sent
        seconds = time.perf_counter() - start

    print(f"{answers.total():,} of {written:,} lines in {seconds:.1f} s: {written / seconds:,.0f} a second")
    print(", ".join(f"{answer}: {count:,}" for answer, count in sorted(answers.items())) + f"; {total:,} bytes sent")
    print(f"peak memory of this process: {peak_megabytes():.0f} MB, {before:.0f} MB of it before the first line")


if __name__ == "__main__":
    main()

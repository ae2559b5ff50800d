# SPDX-License-Identifier: MIT
"""Run a program and print how long it took, and the most memory that it and its processes had at once, what they share
counted once.

    python examples/peak_memory.py python examples/stream_lines.py --megabytes 100

Looks a hundred times a second, so that a short peak may be missed. Used by the examples that pass large data around.
"""

import contextlib
import sys
import time

import psutil


def proportional_bytes(process: psutil.Process) -> int:
    """Its memory; a page that n processes have counts for an n-th."""
    with contextlib.suppress(psutil.Error):  # it has just ended
        return int(process.memory_full_info().pss)
    return 0


def main() -> None:
    if not sys.argv[1:]:
        sys.exit(__doc__)
    peak, start = 0, time.perf_counter()
    program = psutil.Popen(sys.argv[1:])
    while program.poll() is None:
        peak = max(peak, sum(map(proportional_bytes, [program, *program.children(recursive=True)])))
        with contextlib.suppress(psutil.TimeoutExpired):
            program.wait(0.01)
    print(f"peak memory, processes together: {peak / 1e6:.0f} MB in {time.perf_counter() - start:.1f} s")
    sys.exit(program.returncode)


if __name__ == "__main__":
    main()

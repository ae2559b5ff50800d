# SPDX-License-Identifier: MIT
"""What this machine can do at best: limits.c is built and asked, and the interpreter calls what does nothing.

Alone (`python -m benchmarks.limits`) it prints the limits as one JSON object.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter_ns

from benchmarks.workloads import nothing

PYTHON_CALLS = 2_000_000
SOURCE = Path(__file__).with_name("limits.c")
FLOORS = ("futex", "spin", "memcpy-warm", "memcpy-cold")  # floors of benches that cannot be had without the program
PYTHON_CALL = "a call in Python"
COPIED_BYTES = 100_000_000  # the array of the payload goals; far more than any cache holds


class LimitsUnavailable(Exception):
    """There is no C compiler, or it refused; the sentence says which."""


@contextmanager
def program() -> Iterator[Path]:
    """The compiled program, in a directory that goes with the context. Raises LimitsUnavailable."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise LimitsUnavailable("no C compiler (cc, gcc, clang) on PATH")
    with tempfile.TemporaryDirectory(prefix="localq-limits-") as directory:
        binary = Path(directory, "limits")
        command = [compiler, "-std=c11", "-O2", "-Wall", "-Wextra", "-o", str(binary), str(SOURCE)]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode != 0:
            raise LimitsUnavailable(f"{compiler} could not build {SOURCE.name}: {built.stderr.strip()}")
        yield binary


def ask(binary: str | Path, *question: str) -> dict[str, float]:
    """The answer to one of the questions listed at the top of limits.c; empty when it has none on this machine."""
    said = subprocess.run([str(binary), *question], capture_output=True, text=True, check=True)
    answer: dict[str, float] | None = json.loads(said.stdout)
    return answer or {}


def all_limits(binary: Path, seconds: float, gap_us: int) -> dict[str, dict[str, float]]:
    return {
        "futex, back to back": ask(binary, "pingpong", str(seconds), "0"),
        "futex, after a gap": ask(binary, "pingpong", str(seconds), str(gap_us)),
        "spinning": ask(binary, "spin", str(seconds)),
        "memcpy": ask(binary, "memcpy", str(COPIED_BYTES)),
        "clock_gettime": ask(binary, "clock"),
    }


def python_call() -> dict[str, float]:
    """What `nothing()` takes this interpreter, without a queue; with the loop around it."""
    begin_ns = perf_counter_ns()
    for _ in range(PYTHON_CALLS):
        nothing()
    return {"ns": (perf_counter_ns() - begin_ns) / PYTHON_CALLS}


if __name__ == "__main__":
    with program() as built_program:
        answers = all_limits(built_program, seconds=1.0, gap_us=3000) | {PYTHON_CALL: python_call()}
        print(json.dumps(answers, indent=2))

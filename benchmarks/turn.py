# SPDX-License-Identifier: MIT
"""One turn: `python -m benchmarks.turn BENCH SUBJECT`, the Terms as JSON on stdin, the values as JSON on stdout.

Run by `measure.take_turn`, and by hand to see why a subject fails.
"""

from __future__ import annotations

import importlib
import json
import sys

from benchmarks.terms import Bench, Terms


def bench_named(name: str) -> Bench:
    bench: Bench = importlib.import_module(f"benchmarks.bench_{name}").BENCH
    return bench


def main() -> None:
    bench, subject = sys.argv[1:]
    given = "" if sys.stdin.isatty() else sys.stdin.read()
    terms = Terms(**json.loads(given)) if given else Terms.quick()
    values = bench_named(bench).turn(subject, terms)
    print(json.dumps(values))


if __name__ == "__main__":
    main()

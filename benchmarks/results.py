# SPDX-License-Identifier: MIT
"""The page of a run: `python -m benchmarks.results results.json benchmarks/RESULTS.md [PICTURES]`. By `--markdown` too.

Written from the JSON alone, so that it holds nothing that was not measured: first what is lost, then the goals, then
all benches with what their own files say about how a number came about. PICTURES is a folder of `--plots`.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import number

#: One comparison, as a run's JSON has it.
Compared = Mapping[str, Any]

#: The picture of a bench, where it is not called like the bench.
PICTURES = {"scale": "curves"}

#: What libraries that could not be measured say about themselves: which, what, and where.
CLAIMS = (
    (
        "FastWorker 0.1.1",
        "needs Python 3.12",
        "about 2,500 tasks a minute with one worker (42 a second), round trips of 18 ms (p50) and 45 ms (p99); Apple"
        " M1, Python 3.12",
        "its documentation, `documentation/docs/reference/benchmarks.md`; no program to repeat it is published",
    ),
    (
        "FluxQueue",
        "its worker is a program apart, which no Python package installs, and needs Redis",
        "10,000 mails that take 5 s each: 14.8 tasks a second with 75 executors; 10,000 small database transactions:"
        " 152 a second; 16 logical CPUs. Nothing about calls that cost nothing",
        "the README of `CCXLV/fluxqueue-benchmarks`",
    ),
)


def write(told: Mapping[str, Any], path: Path, pictures: Iterable[Path] = ()) -> None:
    """Write the page; links to the pictures are relative to it."""
    links = {picture.stem: os.path.relpath(picture, path.parent) for picture in pictures}
    path.write_text("\n".join(page(told, links)) + "\n", encoding="utf-8")


def page(told: Mapping[str, Any], links: Mapping[str, str]) -> Iterator[str]:
    """Its lines; `links` has the address of a picture by its name."""
    yield "# Results"
    yield ""
    yield (
        "Written by `python -m benchmarks.results` from the JSON file of one run, and never edited by hand. What is"
        " measured and how to read it: [README.md](README.md)."
    )
    yield ""
    yield from _machine(told)
    yield from _lost(told)
    yield from _goals(told)
    for bench in told["benches"]:
        yield from _bench(bench, [found for found in told["comparisons"] if found["bench"] == bench["name"]], links)
    yield from _limits(told)
    yield from _not_measured(told)


def _machine(told: Mapping[str, Any]) -> Iterator[str]:
    facts, terms = told["facts"], told["terms"]
    seconds = sum(bench["seconds"] for bench in told["benches"])
    took = f"{seconds / 60:.0f} minutes" if seconds > 90 else f"{seconds:.0f} seconds"
    rounds = sorted({len(found["our_values"]) for found in told["comparisons"]})
    versions = [f"{name} {said}" for name, said in facts["versions"].items() if said != "not here"]
    yield from _table(
        ("", ""),
        [
            ("processor", f"{facts['cpu']}, {facts['cpus_usable']} of {facts['cpus']} CPUs usable"),
            ("memory", f"{facts['memory_bytes'] / 1e9:.0f} GB"),
            ("system", f"{facts['kernel']}, {facts['python']}"),
            ("load before the run", f"{facts['load_average_1_min']} (average of a minute)"),
            ("libraries", ", ".join(versions)),
            ("rounds", f"{' or '.join(map(str, rounds))}, {took} in all"),
        ],
    )
    if terms["rounds"] == 1:
        yield "**A quick run: one round of everything, too little to quote.**"
        yield ""
    yield "The same on another machine, while it does nothing else:"
    yield ""
    yield "    pip install -e '.[bench,bench-ray,bench-dask]'"
    yield "    python -m benchmarks --json results.json --plots benchmarks/pictures --markdown benchmarks/RESULTS.md"
    yield ""
    yield (
        "Every ratio is **ours divided by the other**, formed within each round: the median, and below it the quartiles"
        " of the rounds. Where less is better (times, bytes), a ratio below 1 is good. ▼ marks what is worse than the"
        " other in both quartiles. Columns of what is no library (`futex`, `memcpy-warm`, ...) show how far it is to"
        " the least that the machine or the interpreter takes."
    )
    yield ""


def _lost(told: Mapping[str, Any]) -> Iterator[str]:
    floors = {(bench["name"], floor) for bench in told["benches"] for floor in bench["floors"]}
    beside_libraries = [found for found in told["comparisons"] if (found["bench"], found["peer"]) not in floors]
    lost = sorted(filter(is_worse, beside_libraries), key=_times_worse, reverse=True)
    equal = sum(not is_worse(found) and not is_clearly_better(found) for found in beside_libraries)
    yield "## What is lost"
    yield ""
    total = len(beside_libraries)
    yield (
        f"Of {total} comparisons with other libraries {len(lost)} are lost (the ratio is worse than 1 in both"
        f" quartiles) and {equal} are equal, as far as this run can tell; in {total - len(lost) - equal} ours is ahead."
    )
    yield ""
    if lost:
        yield from _table(("work", "beside", found_ours(told), "other", "ratio"), map(_cells, lost))


def _goals(told: Mapping[str, Any]) -> Iterator[str]:
    aimed = [found for found in told["comparisons"] if found["goal"] is not None]
    if not aimed:
        return
    missed = [found for found in aimed if not found["goal_met"]]
    yield "## Goals"
    yield ""
    yield f"{len(aimed) - len(missed)} of {len(aimed)} are met; what is missed comes first."
    yield ""
    rows = [
        (
            *_cells(found),
            f"{'≥' if found['more_is_better'] else '≤'} {number(found['goal'])}",
            "met" if found["goal_met"] else "**missed**",
        )
        for found in sorted(aimed, key=lambda found: bool(found["goal_met"]))
    ]
    yield from _table(("work", "beside", found_ours(told), "other", "ratio", "goal", ""), rows)


def _cells(found: Compared) -> tuple[str, ...]:
    """Of what, beside whom, and how it went."""
    values = _values(found, "our_values"), _values(found, "peer_values")
    return _work_name(found), found["peer"], *values, _ratio(found)


def _bench(bench: Mapping[str, Any], comparisons: Sequence[Compared], links: Mapping[str, str]) -> Iterator[str]:
    yield f"## {bench['name']}: {bench['title']}"
    yield ""
    for paragraph in bench["how"].split("\n\n"):
        yield " ".join(paragraph.split())
        yield ""
    if link := links.get(PICTURES.get(bench["name"], bench["name"])):
        yield f"![{bench['title']}]({link})"
        yield ""
    if not comparisons:
        yield "Nothing was compared."
        yield ""
        return
    others = list(dict.fromkeys(found["peer"] for found in comparisons))
    by_work: dict[str, dict[str, Compared]] = {}
    for found in comparisons:
        by_work.setdefault(found["work"], {})[found["peer"]] = found
    rows = []
    for work, beside in by_work.items():
        first = next(iter(beside.values()))
        of_all_turns = [value for found in beside.values() for value in found["our_values"]]
        mine = f"{number(statistics.median(of_all_turns))} {first['unit']}"
        rows.append((work, mine, *(_ratio(beside[other]) if other in beside else "" for other in others)))
    direction = {found["more_is_better"] for found in comparisons}
    said = "more is better" if direction == {True} else "less is better" if direction == {False} else ""
    yield from _table((said, comparisons[0]["ours"], *(f"/ {other}" for other in others)), rows)


def _limits(told: Mapping[str, Any]) -> Iterator[str]:
    yield "## What the machine can do"
    yield ""
    yield "In C, without a queue, but for the call in Python, which is a loop around a function that does nothing."
    yield ""
    rows = [
        (name, ", ".join(f"{key} {number(value)}" for key, value in answer.items()) or "not here")
        for name, answer in told["limits"].items()
    ]
    yield from _table(("", ""), rows)


def _not_measured(told: Mapping[str, Any]) -> Iterator[str]:
    yield "## What was not measured"
    yield ""
    for line in told["skipped"]:
        yield f"- {line}"
    for failure in told["failed"]:
        yield f"- {failure['bench']}: {failure['subject']} failed: {failure['reason']}"
    yield ""
    measured = {found["peer"] for found in told["comparisons"]}
    rows = [claim for claim in CLAIMS if claim[0].split()[0].lower() not in measured]
    if rows:
        yield "What these say about themselves, on other machines, stands beside nothing here:"
        yield ""
        yield from _table(("library", "why not here", "its own claim", "source"), rows)


def is_worse(found: Compared) -> bool:
    """Whether the median and both quartiles are on the wrong side of 1."""
    ratio = found["ratio"]
    return bool(ratio["q3"] < 1 if found["more_is_better"] else ratio["q1"] > 1)


def is_clearly_better(found: Compared) -> bool:
    ratio = found["ratio"]
    return bool(ratio["q1"] > 1 if found["more_is_better"] else ratio["q3"] < 1)


def found_ours(told: Mapping[str, Any]) -> str:
    """Who stands in our place: another subject, when the run was asked for one."""
    return str(told["comparisons"][0]["ours"])


def _times_worse(found: Compared) -> float:
    median = float(found["ratio"]["median"])
    return 1 / median if found["more_is_better"] else median


def _work_name(found: Compared) -> str:
    return f"{found['bench']}: {found['work']}"


def _values(found: Compared, whose: str) -> str:
    return f"{number(statistics.median(found[whose]))} {found['unit']}"


def _ratio(found: Compared) -> str:
    ratio = found["ratio"]
    mark = "▼ " if is_worse(found) else ""
    spread = f"<br>{number(ratio['q1'])} .. {number(ratio['q3'])}" if len(found["our_values"]) > 1 else ""
    return f"{mark}{number(ratio['median'])}{spread}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"
    yield ""


if __name__ == "__main__":
    source, target, *folder = map(Path, sys.argv[1:])
    write(
        json.loads(source.read_text(encoding="utf-8")),
        target,
        sorted(picture for given in folder for picture in given.glob("*.png")),
    )

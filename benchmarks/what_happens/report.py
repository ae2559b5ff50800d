# SPDX-License-Identifier: MIT
"""What was observed: a table for the terminal, a page of Markdown, and JSON with every fact.

Says only what `cells` made of the facts. What it adds in its own words is how they were obtained.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from benchmarks import peers
from benchmarks.what_happens import stage
from benchmarks.what_happens.cells import Verdict, cell
from benchmarks.what_happens.faults import FAULTS
from benchmarks.what_happens.sandbox import LIMIT, ORPHAN_SECONDS, Facts
from benchmarks.what_happens.systems import SYSTEMS, WORKERS

OURS = "localq"


@dataclass(frozen=True, slots=True)
class Observed:
    """The runs of each fault on each system, in the order of the table; who is missing; and the machine before it."""

    runs: Mapping[str, Mapping[str, Sequence[Facts]]]
    missing: Sequence[str]
    rounds: int
    machine: Mapping[str, object]

    def cells(self) -> Iterator[tuple[str, dict[str, Verdict]]]:
        for fault, by_system in self.runs.items():
            yield fault, {system: cell(runs) for system, runs in by_system.items()}


def as_table(observed: Observed) -> Table:
    table = Table(box=SIMPLE, show_header=False)
    table.add_column("system", no_wrap=True)
    table.add_column("what happens")
    for fault, cells in observed.cells():
        table.add_section()
        table.add_row("", f"[bold]{_plain(FAULTS[fault].title)}[/bold] ({fault})")
        for system, verdict in cells.items():
            table.add_row(system, _plain(verdict.words), style="red" if "**" in verdict.words else "")
    return table


def as_json(observed: Observed) -> dict[str, Any]:
    return {
        "facts": dict(observed.machine),
        "rounds": observed.rounds,
        "missing": list(observed.missing),
        "runs": {fault: dict(by_system) for fault, by_system in observed.runs.items()},
        "cells": {
            fault: {system: {"words": verdict.words, "harm": verdict.harm} for system, verdict in cells.items()}
            for fault, cells in observed.cells()
        },
    }


def as_page(observed: Observed, command: str) -> str:
    systems = list(next(iter(observed.runs.values())))
    paragraphs = (
        "# What happens when ...",
        _filled(
            "What localq and other pools really do when something goes wrong. Each cell was made from what was observed"
            " in runs of that very scenario; none was written by hand. To do it again:"
        ),
        f"    {command}",
        _filled(_versions(systems, observed)),
        _filled(_method(observed)),
        "\n".join(_rows(systems, observed)),
        "## Where localq is not better",
        _filled(
            "Counted in each cell: tasks that did nothing wrong and have no result, answers that never come (such a"
            " task counts for both), things that an error does not say, a pool that takes no more work or does not end,"
            " processes and files left. The worst run counts. Times do not."
        ),
        "\n".join(_not_better(observed)),
        "## How each pool was used",
        "\n".join(f"- {SYSTEMS[system].title}: {SYSTEMS[system].usage}" for system in systems),
    )
    return "\n\n".join(paragraphs) + "\n"


def _filled(text: str) -> str:
    return textwrap.fill(text, width=118, break_long_words=False, break_on_hyphens=False)


def _method(observed: Observed) -> str:
    return (
        f"A fresh Python starts the pool with {WORKERS} workers, lets each run a task, and then sends the bad task and"
        f" {stage.OTHERS} others behind it, which take {stage.NAP_SECONDS:g} s each. The bad one does what it does"
        f" {stage.DELAY_SECONDS:g} s after it has begun. An answer that has not come {stage.PATIENCE:g} s after the"
        " tasks were sent counts as none. Then one more task is sent, and the pool is left. A program that says nothing"
        f" for {LIMIT:g} s is cut off: it hangs. What is left is what is still there {ORPHAN_SECONDS:g} s after the end"
        " of the client: processes, and files in the folder for temporary files or in `/dev/shm`. Times count from the"
        f" fault until the caller knows. Runs of each scenario: {observed.rounds}; seconds are medians, counts that"
        " differed are ranges, and runs that went another way are told apart."
    )


def _versions(systems: Sequence[str], observed: Observed) -> str:
    packaged = [peers.find(name) for name in systems if peers.find(name).package]
    told = [f"{subject.name} {peers.version(subject)}" for subject in packaged]
    machine = observed.machine
    python = f"{machine['python']} on Linux"
    load = f"Processors: {machine['cpus_usable']}; load average before it began: {machine['load_average_1_min']}"
    missing = f" Not installed, and so not measured: {', '.join(observed.missing)}." if observed.missing else ""
    return f"{', '.join([python, *told])}. {load}.{missing}"


def _rows(systems: Sequence[str], observed: Observed) -> Iterator[str]:
    yield f"| what happens | {' | '.join(SYSTEMS[system].title for system in systems)} |"
    yield "|---" * (len(systems) + 1) + "|"
    for fault, cells in observed.cells():
        yield f"| {FAULTS[fault].title} | {' | '.join(cells[system].words for system in systems)} |"


def _not_better(observed: Observed) -> Iterator[str]:
    for fault, cells in observed.cells():
        ours = cells[OURS].harm
        better = [SYSTEMS[name].title for name, verdict in cells.items() if verdict.harm < ours]
        equal = [SYSTEMS[name].title for name, verdict in cells.items() if name != OURS and verdict.harm == ours]
        if better:
            yield f"- {FAULTS[fault].title}: **better: {', '.join(better)}**"
        elif equal:
            yield f"- {FAULTS[fault].title}: equal: {', '.join(equal)}"


def _plain(words: str) -> str:
    return words.replace("**", "").replace("`", "")

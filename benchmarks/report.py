# SPDX-License-Identifier: MIT
"""Comparisons as a table for people and as JSON for later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.measure import Comparison, Failure, Spread
from benchmarks.terms import Bench, Terms, Work


def print_bench(console: Console, bench: Bench, comparisons: Sequence[Comparison]) -> None:
    """A small table for each work, a line in it for each peer. Fits 80 columns."""
    console.rule(f"[bold]{bench.name}[/bold]: {bench.title}", align="left")
    console.print(f"ratio: {comparisons[0].ours} / other, median and quartiles over the rounds", style="dim")
    for work, of_work in groupby(comparisons, key=lambda comparison: comparison.work):
        console.print(_table(work, list(of_work)))


def _table(work: Work, comparisons: Sequence[Comparison]) -> Table:
    ours = comparisons[0].ours
    direction = "more" if work.more_is_better else "less"
    table = Table(
        title=f"{work.name} ({work.unit}, {direction} is better)", title_justify="left", title_style="bold", box=SIMPLE
    )
    table.add_column("beside", min_width=14)
    for heading in (ours, "other", "ratio", "quartiles", "goal"):
        table.add_column(heading, justify="right", no_wrap=True)
    for comparison in comparisons:
        ratio = comparison.ratio
        table.add_row(
            comparison.peer,
            _number(Spread.of(comparison.our_values).median),
            _number(Spread.of(comparison.peer_values).median),
            Text(_number(ratio.median), style="green" if comparison.is_better else "red"),
            f"{_number(ratio.q1)} .. {_number(ratio.q3)}",
            _goal(comparison),
        )
    return table


def print_limits(console: Console, limits: Mapping[str, Mapping[str, float]]) -> None:
    console.rule("[bold]limits[/bold]: what this machine can do at best, in C, without a queue", align="left")
    table = Table(box=SIMPLE, show_header=False)
    table.add_column("limit")
    table.add_column("measured")
    for name, answer in limits.items():
        table.add_row(name, ", ".join(f"{key} {_number(value)}" for key, value in answer.items()) or "not here")
    console.print(table)


def as_json(
    terms: Terms,
    facts: Mapping[str, object],
    limits: Mapping[str, Mapping[str, float]],
    comparisons: Iterable[Comparison],
    skipped: Iterable[str],
    failures: Iterable[Failure],
) -> dict[str, object]:
    told_terms = asdict(terms)
    del told_terms["limits_program"]  # a temporary path
    return {
        "facts": dict(facts),
        "terms": told_terms,
        "limits": {name: dict(answer) for name, answer in limits.items()},
        "comparisons": [_comparison_as_json(comparison) for comparison in comparisons],
        "skipped": list(skipped),
        "failed": [asdict(failure) for failure in failures],
    }


def _comparison_as_json(comparison: Comparison) -> dict[str, object]:
    return {
        "bench": comparison.bench,
        "work": comparison.work.name,
        "unit": comparison.work.unit,
        "more_is_better": comparison.work.more_is_better,
        "ours": comparison.ours,
        "peer": comparison.peer,
        "our_values": list(comparison.our_values),
        "peer_values": list(comparison.peer_values),
        "ratio": asdict(comparison.ratio),
        "goal": comparison.goal,
        "goal_met": comparison.is_goal_met,
    }


def _goal(comparison: Comparison) -> Text:
    if comparison.goal is None:
        return Text("")
    relation = "≥" if comparison.work.more_is_better else "≤"
    said = f"{relation} {_number(comparison.goal)} {'met' if comparison.is_goal_met else 'missed'}"
    return Text(said, style="green" if comparison.is_goal_met else "bold red")


def _number(value: float) -> str:
    """Three digits that matter; commas between thousands."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"

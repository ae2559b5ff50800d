# SPDX-License-Identifier: MIT
"""Comparisons as a table for people and as JSON for later."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.measure import Comparison, Failure, Spread
from benchmarks.terms import Bench, Terms, Work, size_name


def print_bench(console: Console, bench: Bench, comparisons: Sequence[Comparison]) -> None:
    """A small table for each work, a line in it for each peer; works that differ in size only share one. 80 columns."""
    console.rule(f"[bold]{bench.name}[/bold]: {bench.title}", align="left")
    console.print(f"ratio: {comparisons[0].ours} / other, median and quartiles over the rounds", style="dim")
    for _, group in groupby(comparisons, key=lambda comparison: heading(comparison.work)):
        of_table = list(group)
        if of_table[0].work.panel:
            console.print(_table_of_sizes(of_table))
            console.print(*_goals_of_sizes(of_table), sep="\n")
        else:
            console.print(_table(of_table[0].work, of_table))


def heading(work: Work) -> str:
    """What stands above the table that the work is in."""
    return f"{work.panel}, {work.way}" if work.panel else work.name


def _table(work: Work, comparisons: Sequence[Comparison]) -> Table:
    ours = comparisons[0].ours
    direction = "more" if work.more_is_better else "less"
    table = Table(
        title=f"{work.name} ({work.unit}, {direction} is better)", title_justify="left", title_style="bold", box=SIMPLE,
        pad_edge=False,
    )  # fmt: skip
    table.add_column("beside", min_width=12)
    for heading in (ours, "other", "ratio", "quartiles", "goal"):
        table.add_column(heading, justify="right", no_wrap=True)
    for comparison in comparisons:
        ratio = comparison.ratio
        table.add_row(
            comparison.peer,
            number(Spread.of(comparison.our_values).median),
            number(Spread.of(comparison.peer_values).median),
            Text(number(ratio.median), style="green" if comparison.is_better else "red"),
            f"{number(ratio.q1)} .. {number(ratio.q3)}",
            _goal(comparison),
        )
    return table


def _table_of_sizes(comparisons: Sequence[Comparison]) -> Table:
    """A column for each size. Below each ratio half the distance between its quartiles, in percent of it."""
    first = comparisons[0]
    title = f"{heading(first.work)} ({first.work.unit}, {'more' if first.work.more_is_better else 'less'} is better)"
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE, collapse_padding=True)
    table.add_column("", no_wrap=True, min_width=13)
    found: dict[int, dict[str, Comparison]] = {}
    for comparison in comparisons:
        found.setdefault(comparison.work.size, {})[comparison.peer] = comparison
    for size in found:
        table.add_column(size_name(size, first.work.axis), justify="right", no_wrap=True)
    ours = [[value for comparison in by_peer.values() for value in comparison.our_values] for by_peer in found.values()]
    table.add_row(f"{first.ours}, {first.work.unit}", *(number(Spread.of(values).median) for values in ours))
    for peer in dict.fromkeys(comparison.peer for comparison in comparisons):
        cells = [_ratio_cell(by_peer[peer]) if peer in by_peer else Text("") for by_peer in found.values()]
        table.add_row(f"/ {peer}", *cells)
    return table


def _ratio_cell(comparison: Comparison) -> Text:
    ratio = comparison.ratio
    is_equal = ratio.q1 <= 1 <= ratio.q3
    cell = Text(_short(ratio.median), style="" if is_equal else "green" if comparison.is_better else "red")
    if len(comparison.our_values) > 1:
        cell.append(f"\n±{(ratio.q3 - ratio.q1) / 2 / ratio.median:.0%}", style="dim default")
    return cell


def _goals_of_sizes(comparisons: Sequence[Comparison]) -> Iterator[Text]:
    """A line for each peer beside which there is a goal: the worst of the sizes decides."""
    aimed = [comparison for comparison in comparisons if comparison.goal is not None]
    for peer in dict.fromkeys(comparison.peer for comparison in aimed):
        of_peer = [comparison for comparison in aimed if comparison.peer == peer]
        worst = (min if of_peer[0].work.more_is_better else max)(of_peer, key=lambda found: found.ratio.median)
        ratio = worst.ratio
        sizes = (
            f"{size_name(worst.work.size, worst.work.axis)}{f' (worst of {len(of_peer)})' if len(of_peer) > 1 else ''}"
        )
        spread = f"{number(ratio.median)}, quartiles {number(ratio.q1)} .. {number(ratio.q3)}"
        yield Text(f"  {sizes} beside {peer}: {spread}, goal ").append(_goal(worst)).append("\n")


def print_limits(console: Console, limits: Mapping[str, Mapping[str, float]]) -> None:
    console.rule("[bold]limits[/bold]: what this machine can do at best, in C, without a queue", align="left")
    table = Table(box=SIMPLE, show_header=False)
    table.add_column("limit")
    table.add_column("measured")
    for name, answer in limits.items():
        table.add_row(name, ", ".join(f"{key} {number(value)}" for key, value in answer.items()) or "not here")
    console.print(table)


@dataclass(slots=True)
class Told:
    """All that a run found, gathered bench by bench."""

    terms: Terms
    facts: Mapping[str, object]
    limits: Mapping[str, Mapping[str, float]]
    skipped: Sequence[str] = ()
    benches: list[dict[str, object]] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def add(self, bench: Bench, found: Iterable[Comparison], failed: Iterable[Failure], seconds: float) -> None:
        how = inspect.getdoc(inspect.getmodule(bench.turn)) or ""
        self.benches.append(
            {"name": bench.name, "title": bench.title, "how": how, "floors": list(bench.floors), "seconds": seconds}
        )
        self.comparisons += found
        self.failures += failed

    def as_json(self) -> dict[str, object]:
        told_terms = asdict(self.terms)
        del told_terms["limits_program"]  # a temporary path
        return {
            "facts": dict(self.facts),
            "terms": told_terms,
            "limits": {name: dict(answer) for name, answer in self.limits.items()},
            "benches": self.benches,
            "comparisons": [_comparison_as_json(comparison) for comparison in self.comparisons],
            "skipped": list(self.skipped),
            "failed": [asdict(failure) for failure in self.failures],
        }


def _comparison_as_json(comparison: Comparison) -> dict[str, object]:
    return {
        "bench": comparison.bench,
        "work": comparison.work.name,
        "panel": comparison.work.panel,
        "way": comparison.work.way,
        "size": comparison.work.size,
        "axis": comparison.work.axis,
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
    said = f"{relation} {number(comparison.goal)} {'met' if comparison.is_goal_met else 'missed'}"
    return Text(said, style="green" if comparison.is_goal_met else "bold red")


def number(value: float) -> str:
    """Three digits that matter; commas between thousands."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _short(value: float) -> str:
    """A ratio in six characters: a small one as 1/24, and `k` for thousands."""
    if 0 < value < 0.1:
        return f"1/{_thousands(float(f'{1 / value:.2g}'))}"
    return _thousands(value) if value >= 1e4 else number(value)


def _thousands(value: float) -> str:
    for factor, letter in ((1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g}{letter}"
    return f"{value:.3g}"

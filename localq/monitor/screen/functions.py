# SPDX-License-Identifier: MIT
"""The panel of functions: how often each is called, how long it takes, how often it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localq.monitor.screen import words
from localq.monitor.screen.paint import BAD, FAINT, PLAIN, WARNING, bar, named
from localq.monitor.screen.panel import Column, Panel
from localq.monitor.view import PanelName

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from localq.monitor.screen.paint import Piece
    from localq.monitor.screen.panel import Setting
    from localq.monitor.snapshot import FunctionReading, Snapshot

__all__ = ["FUNCTIONS"]


def _title(snapshot: Snapshot) -> str:
    return f"{len(snapshot.functions):,} called"


def _name(function: FunctionReading, setting: Setting, width: int) -> Sequence[Piece]:
    return named(function.name, width)


def _number(name: str, style: str) -> Callable[[FunctionReading, Setting, int], Sequence[Piece]]:
    def cell(function: FunctionReading, setting: Setting, width: int) -> Sequence[Piece]:
        number = getattr(function, name)
        return [(words.count(number), style if number else FAINT)]

    return cell


def _per_second(function: FunctionReading, setting: Setting, width: int) -> Sequence[Piece]:
    return [(words.rate(function.per_second), PLAIN if function.per_second else FAINT)]


def _spread(name: str) -> Callable[[FunctionReading, Setting, int], Sequence[Piece]]:
    def cell(function: FunctionReading, setting: Setting, width: int) -> Sequence[Piece]:
        value = getattr(function.run, name)
        return [(words.duration(value), FAINT if value is None else PLAIN)]

    return cell


def _by_spread(name: str) -> Callable[[FunctionReading], float]:
    return lambda function: getattr(function.run, name) or 0.0


def _by(name: str) -> Callable[[FunctionReading], float]:
    return lambda function: float(getattr(function, name))


def _share(function: FunctionReading, setting: Setting, width: int) -> Sequence[Piece]:
    """Of the run time of all functions."""
    whole = sum(each.run_seconds for each in setting.snapshot.functions)
    share = function.run_seconds / whole if whole > 0 else 0.0
    return [*bar(share, width - 5, setting.glyphs), (f" {words.percent(share):>4}", PLAIN)]


FUNCTIONS = Panel(
    name=PanelName.FUNCTIONS,
    title=_title,
    entries=lambda snapshot: snapshot.functions,
    key=lambda function: function.name,
    words=lambda function: function.name,
    nothing="no function was called yet",
    columns=(
        Column(head="function", width=14, cell=_name, grow=3, sort=lambda function: function.name, falling=False),
        Column(head="share of time", width=13, cell=_share, grow=1, rank=6, sort=_by("run_seconds")),
        Column(head="per s", width=6, cell=_per_second, right=True, sort=_by("per_second")),
        Column(head="p50", width=6, cell=_spread("p50"), right=True, sort=_by_spread("p50")),
        Column(head="p95", width=6, cell=_spread("p95"), right=True, rank=1, sort=_by_spread("p95")),
        Column(head="p99", width=6, cell=_spread("p99"), right=True, rank=3, sort=_by_spread("p99")),
        Column(head="most", width=6, cell=_spread("most"), right=True, rank=7, sort=_by_spread("most")),
        Column(head="done", width=6, cell=_number("done", PLAIN), right=True, rank=4, sort=_by("done")),
        Column(head="items", width=6, cell=_number("items", PLAIN), right=True, rank=9, sort=_by("items")),
        Column(head="failed", width=6, cell=_number("failed", BAD), right=True, sort=_by("failed")),
        Column(head="retried", width=7, cell=_number("retried", WARNING), right=True, rank=8, sort=_by("retried")),
    ),
)

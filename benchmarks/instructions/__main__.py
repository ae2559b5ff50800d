# SPDX-License-Identifier: MIT
"""Instructions per task: `python -m benchmarks.instructions [--check | --update] [--only PATH] [--functions N]`."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.instructions import callgrind, check, parts, stored
from benchmarks.instructions.paths import PATHS, STEPS
from localq import _native

WIDTH = 140  # of the table
EXTENSION = str(Path(_native.__file__).resolve())


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--check", "wants_check", is_flag=True, help="Compare with the stored counts; exit 1 if any has changed.")
@click.option("--update", "wants_update", is_flag=True, help="Store these counts.")
@click.option("--only", multiple=True, type=click.Choice(list(PATHS)), help="Only this path; may be given again.")
@click.option("--functions", default=0, type=click.IntRange(min=0), help="Show so many functions of each step as well.")
def main(wants_check: bool, wants_update: bool, only: tuple[str, ...], functions: int) -> None:
    """Count the instructions of the hot paths with callgrind, in about 15 seconds."""
    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, WIDTH)
    try:
        counted = callgrind.count(only)
    except callgrind.CountsUnavailable as unavailable:
        console.print(f"no counts: {unavailable}", markup=False)
        sys.exit(1)
    counts = _by_part(counted)
    console.print(_table(counts))
    if functions:
        _print_functions(console, counted, functions)
    file, build = stored.Stored(), stored.build_name(Path(EXTENSION))
    is_good = True
    if wants_check:
        is_good, lines = check.judge(counts, file, build, stored.interpreter_name())
        console.print(*lines, sep="\n", markup=False)
    if wants_update:
        file.update(build, stored.interpreter_name(), counts)
        console.print(f"stored for {build}", markup=False)
    sys.exit(0 if is_good else 1)


def _by_part(counted: callgrind.Counts) -> stored.Counts:
    found: dict[str, dict[str, Mapping[str, float]]] = {}
    for path in PATHS:
        for step in STEPS:
            if (path, step) in counted:
                found.setdefault(path, {})[step] = callgrind.by_part(counted[path, step], EXTENSION)
    return found


def _table(counts: stored.Counts) -> Table:
    title = "Instructions per call, by the part that they are spent in"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("path", no_wrap=True)
    table.add_column("step", no_wrap=True)
    shown = [part for part in parts.OURS if any(part in step for steps in counts.values() for step in steps.values())]
    for heading in ("ours", *shown, parts.PYTHON, parts.SYSTEM):
        table.add_column(heading, justify="right", no_wrap=True)
    for path, steps in counts.items():
        for number, (step, by_part) in enumerate(steps.items()):
            figures = [check.ours(by_part)] + [by_part.get(part, 0.0) for part in (*shown, parts.PYTHON, parts.SYSTEM)]
            table.add_row(path if number == 0 else "", step, *map(_figure, figures))
    return table


def _print_functions(console: Console, counted: callgrind.Counts, most: int) -> None:
    for path, step in itertools.product(PATHS, STEPS):
        functions = counted.get((path, step), {})
        if functions:
            console.print(f"\n{path}, {step}:", markup=False)
        for function, instructions in sorted(functions.items(), key=lambda each: -each[1])[:most]:
            is_ours = function.home == EXTENSION
            name = f"{parts.plain_name(function.name)} ({parts.part_of(function.name)})" if is_ours else function.name
            home = "" if is_ours else f"  {Path(function.home).name}"
            console.print(f"{instructions:12,.1f}  {name}{home}", markup=False)


def _figure(instructions: float) -> str:
    return "" if abs(instructions) < 0.05 else f"{instructions:,.1f}" if instructions < 10 else f"{instructions:,.0f}"


if __name__ == "__main__":
    main()

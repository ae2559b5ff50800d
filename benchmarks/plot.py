# SPDX-License-Identifier: MIT
"""Pictures of a run, drawn from its JSON: `python -m benchmarks.plot results.json FOLDER`. Used by `--plots` too.

transfer.png: time over size, one panel for each way to use data, in it one line for each subject and way to hand it
over. Needs matplotlib, which nothing else here does.
"""

from __future__ import annotations

import importlib
import json
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.terms import size_name

COLUMNS = 3
FLOORS = {"memcpy-warm": "0.45", "memcpy-cold": "0.7", "1ms": "0.85"}  # their greys; they know no ways
STYLES = ("-", "--", ":", "-.")

#: By panel, then by subject and way: the median time by size.
Lines = dict[str, dict[tuple[str, str], dict[int, float]]]


class PlotUnavailable(Exception):
    """Nothing to draw, or nothing to draw with; the sentence says which."""


def lines_of(told: Mapping[str, Any]) -> Lines:
    """What a run's JSON has to draw. A way in which a subject does just the same as in another is left out."""
    values: dict[str, dict[tuple[str, str], dict[int, list[float]]]] = {}
    for comparison in told["comparisons"]:
        if comparison["panel"]:
            panel = values.setdefault(comparison["panel"], {})
            for subject, its_values in (("ours", "our_values"), ("peer", "peer_values")):
                way = "" if comparison[subject] in FLOORS else comparison["way"]
                line = panel.setdefault((comparison[subject], way), {})
                line.setdefault(comparison["size"], []).extend(comparison[its_values])
    found: Lines = {}
    for name, panel in values.items():
        seen: list[tuple[str, dict[int, float]]] = []
        for (subject, way), by_size in panel.items():
            line_of_medians = {size: statistics.median(measured) for size, measured in sorted(by_size.items())}
            if (subject, line_of_medians) not in seen:
                seen.append((subject, line_of_medians))
                found.setdefault(name, {})[subject, way] = line_of_medians
    return found


def draw_all(told: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write every picture that this run has values for; the files. Raises PlotUnavailable."""
    folder.mkdir(parents=True, exist_ok=True)
    transfers = folder / "transfer.png"
    draw(told, transfers)
    return [transfers]


def draw(told: Mapping[str, Any], path: Path) -> None:
    """Write the picture; the name's ending says in which format. Raises PlotUnavailable."""
    panels = lines_of(told)
    if not panels:
        raise PlotUnavailable("no transfers were compared: run with --only transfer")
    try:
        figure_module: Any = importlib.import_module("matplotlib.figure")
        colours: Any = importlib.import_module("matplotlib").color_sequences["tab10"]
    except ImportError as error:
        raise PlotUnavailable(f"matplotlib is not installed ({error}): pip install matplotlib") from None

    rows = -(-len(panels) // COLUMNS)
    figure = figure_module.Figure(figsize=(5.2 * COLUMNS, 4.2 * rows), layout="constrained")
    axes = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    subjects = dict.fromkeys(subject for lines in panels.values() for subject, _ in lines)
    queues = [subject for subject in subjects if subject not in FLOORS]
    colour_of = FLOORS | {subject: colours[index % len(colours)] for index, subject in enumerate(queues)}
    style_of: dict[str, str] = {}
    shown: dict[str, Any] = {}
    for axis, (name, lines) in zip(axes, panels.items(), strict=False):
        for (subject, way), line in lines.items():
            style = style_of.setdefault(way, STYLES[len(style_of) % len(STYLES)]) if way else "-"
            drawn = axis.plot(
                list(line), list(line.values()), style, color=colour_of[subject], marker=".", markersize=4,
                linewidth=2.2 if subject == queues[0] else 1.2, zorder=3 if subject == queues[0] else 2,
            )  # fmt: skip
            label = subject if not way or way == next(iter(style_of)) else f"{subject}, {way}"
            shown.setdefault(label, drawn[0])
        sizes = sorted({size for line in lines.values() for size in line})
        axis.set(xscale="log", yscale="log", title=name, xlabel="size of the array", ylabel="ms a task")
        axis.set_xticks(sizes, [size_name(size) for size in sizes], minor=False)
        axis.minorticks_off()
        axis.grid(visible=True, color="0.92")
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=6, fontsize="small", frameon=False)
    facts = told["facts"]
    figure.suptitle(
        f"{facts['cpu']}, {facts['cpus_usable']} CPUs, {facts['python']}; medians of the rounds", fontsize=10
    )
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    try:
        draw_all(json.loads(source.read_text(encoding="utf-8")), target)
    except PlotUnavailable as unavailable:
        sys.exit(str(unavailable))

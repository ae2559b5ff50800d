# SPDX-License-Identifier: MIT
"""Pictures of a run, drawn from its JSON: `python -m benchmarks.plot results.json FOLDER`. Used by `--plots` too.

throughput.png and map.png: bars, ours beside each peer. curves.png: how the cost of a call grows, each curve divided by
its smallest size. transfer.png (and that of any other bench whose sizes are bytes): time over size, one panel for each
way to use data, in it one line for each subject and way to hand it over. A picture that the run has no values for is
not drawn. Needs matplotlib, which nothing else here does.
"""

from __future__ import annotations

import importlib
import io
import json
import re
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.terms import size_name

COLUMNS = 3
STYLES = ("-", "--", ":", "-.")
#: What is no queue: their greys, and they know no ways.
FLOORS = {"memcpy-warm": "0.45", "memcpy-cold": "0.7", "1ms": "0.85", "call": "0.6"}
OURS, OTHERS, INK = "#1f6fb4", "#c3cad3", "#333a44"
CURVES = (OURS, "#d9772b", "#4b9a5b", "#8a5fb0")
DPI = 110
COLOURS = 64  # of a picture: a third of the bytes that all shades of its edges would take
FOOT = 0.2  # inches, for a line about the machine

#: By panel, then by subject and way: the median time by size.
Lines = dict[str, dict[tuple[str, str], dict[int, float]]]


class PlotUnavailable(Exception):
    """Nothing to draw, or nothing to draw with; the sentence says which."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One subject of one work: its median, and how many times as much ours was in the same rounds (ours itself: 1)."""

    subject: str
    value: float
    times: float


@dataclass(frozen=True, slots=True)
class Growth:
    """One curve of ours: by size the quartiles of its ratios to its smallest size, and what that took."""

    panel: str
    axis: str
    way: str
    ratios: Mapping[int, tuple[float, float, float]]
    smallest: float
    unit: str


# ------------------------------------------------------------------------------------------- what there is to draw


def bars_of(told: Mapping[str, Any], bench: str, work: str) -> list[Bar]:
    """Ours and every other in that work, the most first; none when the run has no such work."""
    found = [each for each in told["comparisons"] if (each["bench"], each["work"]) == (bench, work)]
    if not found:
        return []
    ours = statistics.median([value for each in found for value in each["our_values"]])
    bars = [Bar(found[0]["ours"], ours, 1.0)]
    bars += [Bar(each["peer"], statistics.median(each["peer_values"]), each["ratio"]["median"]) for each in found]
    return sorted(bars, key=lambda bar: bar.value, reverse=True)


def bars_of_throughput(told: Mapping[str, Any]) -> list[Bar]:
    """Of the first work of that bench: one worker."""
    works = [each["work"] for each in told["comparisons"] if each["bench"] == "throughput"]
    return bars_of(told, "throughput", works[0]) if works else []


def bars_of_map(told: Mapping[str, Any]) -> dict[str, list[Bar]]:
    """By the cost of an item, beside peers that were tuned by hand."""
    found: dict[str, list[Bar]] = {}
    for each in told["comparisons"]:
        cost = re.match(r"(\d+ (?:us|ms)) an item, .*tuned by hand$", each["work"]) if each["bench"] == "map" else None
        if cost is not None and cost[1] not in found:
            found[cost[1]] = bars_of(told, "map", each["work"])
    return found


def curves_of(told: Mapping[str, Any]) -> list[Growth]:
    """Every curve of bench_scale, in the order of the run."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for each in told["comparisons"]:
        if each["bench"] == "scale":
            found.setdefault((each["panel"], each["way"]), []).append(each)
    return [
        Growth(
            panel,
            sizes[0]["axis"],
            way,
            {each["size"]: (each["ratio"]["q1"], each["ratio"]["median"], each["ratio"]["q3"]) for each in sizes},
            statistics.median(sizes[0]["peer_values"]),
            sizes[0]["unit"],
        )
        for (panel, way), sizes in found.items()
    ]


def benches_of_bytes(told: Mapping[str, Any]) -> list[str]:
    """Those whose works are drawn over the size of what is handed over."""
    return list(
        dict.fromkeys(each["bench"] for each in told["comparisons"] if each["panel"] and each["axis"] == "bytes")
    )


def lines_of(told: Mapping[str, Any], bench: str = "transfer") -> Lines:
    """What a run's JSON has to draw. A way in which a subject does just the same as in another is left out."""
    values: dict[str, dict[tuple[str, str], dict[int, list[float]]]] = {}
    for comparison in told["comparisons"]:
        if comparison["panel"] and comparison["bench"] == bench:
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


# ------------------------------------------------------------------------------------------------------ drawing it


def draw_all(told: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write every picture that this run has values for; the files. Raises PlotUnavailable."""
    figures: dict[str, Any] = {}
    if throughput := bars_of_throughput(told):
        figures["throughput"] = _throughput(throughput)
    if by_cost := bars_of_map(told):
        figures["map"] = _map(by_cost)
    if curves := curves_of(told):
        figures["curves"] = _curves(curves)
    for bench in benches_of_bytes(told):
        figures[bench] = _over_bytes(lines_of(told, bench))
    if not figures:
        raise PlotUnavailable("nothing was compared that is drawn: run throughput, map, scale or transfer")
    facts = told["facts"]
    machine = f"{facts['cpu']}, {facts['cpus_usable']} CPUs, {facts['python']}; medians of the rounds of one run"
    folder.mkdir(parents=True, exist_ok=True)
    return [_save(figure, folder / f"{name}.png", machine) for name, figure in figures.items()]


def _figure(width: float, height: float) -> Any:
    try:
        figure_module: Any = importlib.import_module("matplotlib.figure")
        engine: Any = importlib.import_module("matplotlib.layout_engine").ConstrainedLayoutEngine
    except ImportError as error:
        raise PlotUnavailable(f"matplotlib is not installed ({error}): pip install matplotlib") from None
    foot = FOOT / height
    return figure_module.Figure(figsize=(width, height), layout=engine(rect=(0, foot, 1, 1 - foot)))


def _save(figure: Any, file: Path, machine: str) -> Path:
    image: Any = importlib.import_module("PIL.Image")  # matplotlib needs it too
    figure.text(0.995, 0.04 / figure.get_figheight(), machine, ha="right", va="bottom", fontsize=7, color="0.45")
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=DPI)
    image.open(drawn).convert("RGB").quantize(COLOURS).save(file, optimize=True)
    return file


def _throughput(bars: Sequence[Bar]) -> Any:
    figure = _figure(8.2, 0.34 * len(bars) + 0.8)
    axis = figure.subplots()
    _bars(axis, bars, [bar.value for bar in bars])
    axis.set(xscale="log", xlim=(min(bar.value for bar in bars) / 3, max(bar.value for bar in bars) * 12))
    for place, bar in enumerate(bars):
        axis.text(bar.value * 1.08, place, f"{_rate(bar.value)}{_beside_ours(bar)}", va="center", fontsize=9, color=INK)
    axis.set_title("No-op calls a second, submitted one by one, 1 worker", loc="left", fontsize=11, color=INK)
    _strip(axis)
    return figure


def _map(by_cost: Mapping[str, Sequence[Bar]]) -> Any:
    """One panel for each cost; ours on top in each, the peers below it always in the same order."""
    ours = next(bar.subject for bars in by_cost.values() for bar in bars if bar.times == 1.0)
    subjects = list(dict.fromkeys([ours, *(bar.subject for bars in by_cost.values() for bar in bars)]))
    figure = _figure(1.2 + 2.05 * len(by_cost), 0.34 * len(subjects) + 1.0)
    axes = figure.subplots(1, len(by_cost), sharey=True, squeeze=False)[0]
    for axis, (cost, bars) in zip(axes, by_cost.items(), strict=True):
        by_subject = {bar.subject: bar for bar in bars}
        ordered = [by_subject.get(subject, Bar(subject, 0.0, 0.0)) for subject in subjects]
        shares = [1 / bar.times if bar.times else 0.0 for bar in ordered]
        _bars(axis, ordered, shares)
        axis.axvline(1.0, color=OURS, linewidth=0.8, linestyle=":", zorder=0)
        for place, (bar, share) in enumerate(zip(ordered, shares, strict=True)):
            said = _rate(bar.value) if bar.value else "does not take part"
            behind = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
            axis.text(share + 0.03, place, said, va="center", fontsize=8, color=INK, bbox=behind)
        axis.set(xlim=(0, max(shares) * 1.45))
        axis.set_title(f"{cost} an item", loc="left", fontsize=10, color=INK)
        _strip(axis)
    title = f"Items a second through map, all CPUs, as parts of {ours}'s; the others with a chunksize tuned by hand"
    figure.suptitle(title, fontsize=11, color=INK)
    return figure


def _curves(curves: Sequence[Growth]) -> Any:
    panels: dict[str, list[Growth]] = {}
    for curve in curves:
        panels.setdefault(curve.panel, []).append(curve)
    figure, axes = _panels(len(panels), 4.1, 2.8, 0.5)
    highest = max(high for curve in curves for _, _, high in curve.ratios.values())
    for axis, (panel, of_panel) in zip(axes, panels.items(), strict=False):
        sizes = sorted({size for curve in of_panel for size in curve.ratios})
        axis.axhline(1.0, color="0.6", linewidth=0.8, linestyle=":")
        for colour, curve in zip(CURVES, of_panel, strict=False):
            places = [sizes.index(size) for size in curve.ratios]  # evenly: they grow by a factor, and one is 0
            low, middle, high = zip(*curve.ratios.values(), strict=True)
            label = f"{curve.way} (1 is {curve.smallest:.2g} {curve.unit})"
            axis.fill_between(places, low, high, color=colour, alpha=0.18, linewidth=0)
            axis.plot(places, middle, color=colour, marker="o", markersize=3.5, linewidth=1.8, label=label)
        axis.set_xticks(range(len(sizes)), [size_name(size, curve.axis) for size in sizes], fontsize=8)
        axis.tick_params(axis="y", labelsize=8)
        axis.set(ylim=(0, max(2.5, highest * 1.1)), xlim=(-0.3, len(sizes) - 0.7))
        axis.set_title(panel, fontsize=10, color=INK)
        axis.grid(visible=True, axis="y", color="0.92")
        axis.legend(fontsize=8, frameon=False, loc="upper left")
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    title = "The cost of a no-op call, divided by that at the smallest size (quartiles shaded)"
    figure.suptitle(title, fontsize=11, color=INK)
    return figure


def _over_bytes(panels: Lines) -> Any:
    figure, axes = _panels(len(panels), 4.1, 3.0, 0.9)
    colours: Any = importlib.import_module("matplotlib").color_sequences["tab10"]
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
                linewidth=2.4 if subject == queues[0] else 1.0, zorder=3 if subject == queues[0] else 2,
            )  # fmt: skip
            label = subject if not way or way == next(iter(style_of)) else f"{subject}, {way}"
            shown.setdefault(label, drawn[0])
        sizes = sorted({size for line in lines.values() for size in line})
        axis.set(xscale="log", yscale="log")
        axis.set_ylabel("ms a task", fontsize=8)
        axis.set_title(name, fontsize=9, color=INK)
        axis.set_xticks(sizes, [size_name(size) for size in sizes], minor=False, fontsize=8)
        axis.tick_params(axis="y", labelsize=8)
        axis.minorticks_off()
        axis.grid(visible=True, color="0.92")
    figure.legend(shown.values(), shown.keys(), loc="outside upper center", ncols=8, fontsize=8, frameon=False)
    return figure


def _panels(count: int, width: float, height: float, more_height: float) -> tuple[Any, list[Any]]:
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    figure = _figure(width * columns, height * rows + more_height)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[count:]:
        axis.set_axis_off()
    return figure, axes


def _bars(axis: Any, bars: Sequence[Bar], lengths: Iterable[float]) -> None:
    """Lying, the first on top."""
    colours = [FLOORS.get(bar.subject, OURS if bar.times == 1.0 else OTHERS) for bar in bars]
    places = range(len(bars))
    axis.barh(places, list(lengths), color=colours, height=0.68)
    axis.set_yticks(places, [bar.subject for bar in bars], fontsize=9, color=INK)
    axis.set_ylim(len(bars) - 0.5, -0.5)


def _strip(axis: Any) -> None:
    """The figures stand beside the bars: nothing else is needed."""
    axis.xaxis.set_visible(False)
    axis.tick_params(axis="y", length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)


def _rate(value: float) -> str:
    for factor, unit in ((1e6, "M/s"), (1e3, "k/s")):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value:.3g} /s"


def _beside_ours(bar: Bar) -> str:
    if bar.times == 1.0:
        return ""
    times = max(bar.times, 1 / bar.times)
    return f"   {f'{times:,.0f}' if times >= 10 else f'{times:.2g}'} x {'fewer' if bar.times > 1 else 'more'}"


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    try:
        draw_all(json.loads(source.read_text(encoding="utf-8")), target)
    except PlotUnavailable as unavailable:
        sys.exit(str(unavailable))

# SPDX-License-Identifier: MIT
"""The command line of the benchmarks, whole (`python -m benchmarks`) or one file alone."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Self

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from benchmarks import facts, limits, measure, peers, plot, report, results
from benchmarks.terms import Bench, Terms

#: Beside whom a quick run stands unless it is told: what everybody has, and those that no other is like.
QUICK_PEERS = ("ppe-fork", "interpreters", "pool", "joblib", "fifo")


@dataclasses.dataclass(frozen=True, slots=True)
class Outputs:
    """Where a run is written to, besides the terminal: its values, a folder of pictures, a page."""

    json: Path | None
    folder: Path | None
    markdown: Path | None


def run_alone(bench: Bench) -> None:
    """What `python -m benchmarks.bench_<name>` does."""
    _command([bench])()


def run_all(benches: Sequence[Bench]) -> None:
    """What `python -m benchmarks` does."""
    _command(benches)()


def _command(benches: Sequence[Bench]) -> click.Command:
    names = [bench.name for bench in benches]
    known_peers = [subject.name for subject in peers.SUBJECTS]

    @click.command(context_settings={"help_option_names": ["-h", "--help"]})
    @click.option("--quick", is_flag=True, help="About a minute, to see that all runs; too little to quote.")
    @click.option("--only", multiple=True, type=click.Choice(names), help="Only this one; may be given again.")
    @click.option(
        "--peers",
        "peer_list",
        help=f"Comma-separated, of: {', '.join(known_peers[1:])}. Default: all of"
        f" them; with --quick {', '.join(QUICK_PEERS)}.",
    )
    @click.option("--ours", default="localq", type=click.Choice(known_peers), help="Divide this one by the peers.")
    @click.option(
        "--rounds", type=click.IntRange(min=1), help="How often each pair takes its turns, however long it takes."
    )
    @click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write all values here.")
    @click.option("--markdown", type=click.Path(dir_okay=False, path_type=Path), help="Write the page of the run here.")
    @click.option("--plots", "folder", type=click.Path(file_okay=False, path_type=Path), help="Draw pictures in here.")
    def command(
        quick: bool,
        only: tuple[str, ...],
        peer_list: str | None,
        ours: str,
        rounds: int | None,
        json_file: Path | None,
        folder: Path | None,
        markdown: Path | None,
    ) -> None:
        """Measure localq and its peers in turns, and print ratios with their spread."""
        terms = Terms.quick() if quick else Terms()
        if rounds is not None:
            terms = dataclasses.replace(terms, rounds=rounds, long_rounds=rounds, pace=0.0)
        chosen = [bench for bench in benches if not only or bench.name in only]
        wanted = _by_default(quick) if peer_list is None else _split(peer_list)
        sys.exit(
            _run(chosen, ours, [peer for peer in wanted if peer != ours], terms, Outputs(json_file, folder, markdown))
        )

    return command


def _by_default(quick: bool) -> list[str]:
    return [subject.name for subject in peers.SUBJECTS[1:] if not quick or subject.name in QUICK_PEERS]


def _split(peer_list: str) -> list[str]:
    wanted = [name.strip() for name in peer_list.split(",") if name.strip()]
    for name in wanted:
        try:
            peers.find(name)
        except KeyError:
            known = ", ".join(subject.name for subject in peers.SUBJECTS)
            raise click.BadParameter(f"no peer is called {name!r}; there are {known}", param_hint="--peers") from None
    return wanted


def _run(benches: Sequence[Bench], ours: str, wanted: Sequence[str], terms: Terms, outputs: Outputs) -> int:
    """Exit status: 0, or 1 when ours could not be measured."""
    console = Console()
    machine = facts.gather()  # first: the load average is to show what else ran, not what we did
    reasons = {name: peers.missing(peers.find(name)) for name in wanted}
    skipped = [f"{name} {reason}" for name, reason in reasons.items() if reason]
    console.print(*(f"skipped: {line}" for line in skipped), sep="\n", end="\n" if skipped else "", markup=False)
    here = [name for name in wanted if not reasons[name]]

    with contextlib.ExitStack() as stack:
        machine_limits = {limits.PYTHON_CALL: limits.python_call()}
        try:
            program = stack.enter_context(limits.program())
        except limits.LimitsUnavailable as unavailable:
            console.print(f"skipped: the machine's limits: {unavailable}")
            skipped.append(f"the machine's limits: {unavailable}")
        else:
            terms = dataclasses.replace(terms, limits_program=str(program))
            machine_limits |= limits.all_limits(program, terms.latency_seconds, round(terms.gap_ms * 1000))
        report.print_limits(console, machine_limits)
        told = report.Told(terms, machine, machine_limits, skipped)
        clock = stack.enter_context(_Clock())
        for bench, later in zip(benches, _later_seconds(benches, terms), strict=True):
            floors = [floor for floor in bench.floors if floor not in limits.FLOORS or terms.limits_program]
            others = [name for name in here if bench.takes_part(name)] + floors
            begin = perf_counter()
            found, failed = measure.compare(bench, ours, others, terms, partial(clock.show, later))
            lacking = _lacking(bench, terms, found)
            _print(console, bench, found, failed, lacking)
            skipped += [f"{bench.name}: {heading}: {ours}, or every other, has no such thing" for heading in lacking]
            told.add(bench, found, failed, perf_counter() - begin)
            if outputs.json is not None:  # after each, so that what was measured is there whatever becomes of the rest
                outputs.json.write_text(json.dumps(told.as_json(), indent=2) + "\n", encoding="utf-8")

    run = json.loads(json.dumps(told.as_json()))
    pictures: Sequence[Path] = ()
    if outputs.folder is not None:
        try:
            pictures = plot.draw_all(run, outputs.folder)
        except plot.PlotUnavailable as unavailable:
            console.print(f"skipped: the pictures: {unavailable}")
    if outputs.markdown is not None:
        results.write(run, outputs.markdown, pictures)
    return 1 if any(failure.subject == ours for failure in told.failures) else 0


def _print(
    console: Console,
    bench: Bench,
    found: Sequence[measure.Comparison],
    failed: Sequence[measure.Failure],
    lacking: Sequence[str],
) -> None:
    for failure in failed:
        console.print(f"failed: {failure.bench}: {failure.subject}: {failure.reason}", markup=False)
    if found:
        report.print_bench(console, bench, found)
    if lacking:
        console.print("skipped: ours, or every other, has no such thing:", *lacking, sep="\n  ")


def _lacking(bench: Bench, terms: Terms, found: Sequence[measure.Comparison]) -> list[str]:
    """The tables that were planned and of which nothing was found. Of a bench that failed there is nothing to say."""
    compared = {report.heading(comparison.work) for comparison in found}
    planned = dict.fromkeys(map(report.heading, bench.works(terms)))
    return [heading for heading in planned if found and heading not in compared]


def _later_seconds(benches: Sequence[Bench], terms: Terms) -> list[float]:
    """For each bench, how long those after it take at most."""
    pace = terms.pace or terms.rounds / Terms().rounds
    return [pace * sum(bench.share for bench in benches[index + 1 :]) for index in range(len(benches))]


class _Clock:
    """On stderr while the benches run: which turn it is, and how long it will go on."""

    def __init__(self) -> None:
        columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}")
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._line = self._progress.add_task("starting", total=None, left="")
        self._begin = perf_counter()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, later_seconds: float, turn: str, seconds_left: float) -> None:
        gone, left = perf_counter() - self._begin, seconds_left + later_seconds
        said = f"at most {left / 60:.0f} min left" if left > 90 else f"at most {left:.0f} s left"
        self._progress.update(self._line, description=turn, completed=gone, total=gone + left, left=said)

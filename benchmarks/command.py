# SPDX-License-Identifier: MIT
"""The command line of the benchmarks, whole (`python -m benchmarks`) or one file alone."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from benchmarks import facts, limits, measure, peers, plot, report
from benchmarks.terms import Bench, Terms


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
    @click.option("--quick", is_flag=True, help="A minute or two, to see that all runs; too little to quote.")
    @click.option("--only", multiple=True, type=click.Choice(names), help="Only this one; may be given again.")
    @click.option("--peers", "peer_list", help=f"Comma-separated, of: {', '.join(known_peers[1:])}. Default: all.")
    @click.option("--ours", default="localq", type=click.Choice(known_peers), help="Divide this one by the peers.")
    @click.option("--rounds", type=click.IntRange(min=1), help="How often each pair takes its turns.")
    @click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write all values here.")
    @click.option("--plots", "folder", type=click.Path(file_okay=False, path_type=Path), help="Draw pictures in here.")
    def command(
        quick: bool,
        only: tuple[str, ...],
        peer_list: str | None,
        ours: str,
        rounds: int | None,
        json_file: Path | None,
        folder: Path | None,
    ) -> None:
        """Measure localq and its peers in turns, and print ratios with their spread."""
        terms = Terms.quick() if quick else Terms()
        if rounds is not None:
            terms = dataclasses.replace(terms, rounds=rounds, long_rounds=rounds)
        chosen = [bench for bench in benches if not only or bench.name in only]
        wanted = known_peers[1:] if peer_list is None else _split(peer_list)
        sys.exit(_run(chosen, ours, [peer for peer in wanted if peer != ours], terms, json_file, folder))

    return command


def _split(peer_list: str) -> list[str]:
    wanted = [name.strip() for name in peer_list.split(",") if name.strip()]
    for name in wanted:
        try:
            peers.find(name)
        except KeyError:
            known = ", ".join(subject.name for subject in peers.SUBJECTS)
            raise click.BadParameter(f"no peer is called {name!r}; there are {known}", param_hint="--peers") from None
    return wanted


def _run(
    benches: Sequence[Bench],
    ours: str,
    wanted: Sequence[str],
    terms: Terms,
    json_file: Path | None,
    folder: Path | None,
) -> int:
    """Exit status: 0, or 1 when ours could not be measured."""
    console = Console()
    machine = facts.gather()  # first: the load average is to show what else ran, not what we did
    skipped = [name for name in wanted if peers.missing(peers.find(name))]
    for name in skipped:
        console.print(f"skipped: {name} {peers.missing(peers.find(name))}", markup=False)
    installed = [name for name in wanted if name not in skipped]

    comparisons: list[measure.Comparison] = []
    failures: list[measure.Failure] = []
    machine_limits: dict[str, dict[str, float]] = {}
    with contextlib.ExitStack() as stack:
        try:
            program = stack.enter_context(limits.program())
        except limits.LimitsUnavailable as unavailable:
            console.print(f"skipped: the machine's limits: {unavailable}")
            skipped.append("limits")
        else:
            terms = dataclasses.replace(terms, limits_program=str(program))
            machine_limits = limits.all_limits(program, terms.latency_seconds, round(terms.gap_ms * 1000))
            report.print_limits(console, machine_limits)
        status = stack.enter_context(Console(stderr=True).status("starting"))
        for bench in benches:
            floors = [floor for floor in bench.floors if floor not in limits.FLOORS or terms.limits_program]
            others = [name for name in installed if bench.takes_part(name)] + floors
            found, failed = measure.compare(bench, ours, others, terms, status.update)
            for failure in failed:
                console.print(f"failed: {failure.bench}: {failure.subject}: {failure.reason}", markup=False)
            if found:
                report.print_bench(console, bench, found)
                compared = {report.heading(comparison.work) for comparison in found}
                planned = dict.fromkeys(map(report.heading, bench.works(terms)))
                lacking = [f"{bench.name}: {heading}" for heading in planned if heading not in compared]
                skipped += lacking
                if lacking:
                    console.print(f"skipped: {ours}, or every other, has no such thing:", *lacking, sep="\n  ")
            comparisons += found
            failures += failed

    told = report.as_json(terms, machine, machine_limits, comparisons, skipped, failures)
    if json_file is not None:
        json_file.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    if folder is not None:
        try:
            plot.draw_all(told, folder)
        except plot.PlotUnavailable as unavailable:
            console.print(f"skipped: the pictures: {unavailable}")
    return 1 if any(failure.subject == ours for failure in failures) else 0

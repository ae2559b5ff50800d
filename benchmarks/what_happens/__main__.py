# SPDX-License-Identifier: MIT
"""What happens when: `python -m benchmarks.what_happens [--only FAULT] [--peers LIST] [--json] [--markdown FILE]`.

Plays every fault on every system, one after the other: whoever kills, stops and floods must not have company.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from benchmarks import facts, peers
from benchmarks.what_happens import report, sandbox
from benchmarks.what_happens.faults import FAULTS
from benchmarks.what_happens.systems import SYSTEMS

PEERS = [name for name in SYSTEMS if name != report.OURS]


def _wanted(context: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    names = [name.strip() for name in value.split(",") if name.strip()]
    for name in names:
        if name not in PEERS:
            raise click.BadParameter(f"no peer is called {name!r}; there are {', '.join(PEERS)}")
    return names


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--only", multiple=True, type=click.Choice(list(FAULTS)), help="Only this fault; may be given again.")
@click.option("--peers", "wanted", default=",".join(PEERS), show_default=True, callback=_wanted, help="Besides localq.")
@click.option("--rounds", default=1, show_default=True, type=click.IntRange(min=1), help="How often each is played.")
@click.option("--json", "wants_json", is_flag=True, help="Print every fact as JSON instead of a table.")
@click.option("--markdown", type=click.Path(dir_okay=False, path_type=Path), help="Write the page here.")
def main(only: tuple[str, ...], wanted: list[str], rounds: int, wants_json: bool, markdown: Path | None) -> None:
    """Measure what localq and its peers do when something goes wrong."""
    machine = facts.gather()  # first: its load average is to show what else ran
    missing = [name for name in wanted if peers.missing(peers.find(name))]
    for name in missing:
        print(f"skipped: {name} {peers.missing(peers.find(name))}", file=sys.stderr)
    systems = [report.OURS, *(name for name in wanted if name not in missing)]
    observed = report.Observed(_play_all(only or list(FAULTS), systems, rounds), missing, rounds, machine)
    if wants_json:
        print(json.dumps(report.as_json(observed), indent=2))
    else:
        Console().print(report.as_table(observed))
    if markdown is not None:
        command = " ".join(["python -m benchmarks.what_happens", *sys.argv[1:]])
        markdown.write_text(report.as_page(observed, command), encoding="utf-8")


def _play_all(faults: Sequence[str], systems: Sequence[str], rounds: int) -> dict[str, dict[str, list[sandbox.Facts]]]:
    runs: dict[str, dict[str, list[sandbox.Facts]]] = {fault: {system: [] for system in systems} for fault in faults}
    with Console(stderr=True).status("starting") as status:
        for number in range(rounds):
            for fault in faults:
                for system in systems:
                    status.update(f"round {number + 1} of {rounds}: {fault}, {system}")
                    runs[fault][system].append(sandbox.play(fault, system))
    return runs


if __name__ == "__main__":
    main()

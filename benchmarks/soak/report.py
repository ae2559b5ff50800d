# SPDX-License-Identifier: MIT
"""What a soak found, as tables and as JSON."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from benchmarks.soak.conductor import Outcome
from benchmarks.soak.ledger import OUTCOMES
from benchmarks.soak.verify import ORPHANED

COLUMNS = ("submitted", *OUTCOMES, ORPHANED)


def as_json(outcome: Outcome) -> dict[str, Any]:
    verdict = outcome.verdict
    return {
        "seed": outcome.seed,
        "holds": not outcome.failures,
        "seconds": round(outcome.seconds, 1),
        "clients": outcome.terms.clients,
        "workers": outcome.terms.workers,
        "ledger": {name: verdict.ledger[name] for name in COLUMNS},
        "kinds": {kind: dict(counts) for kind, counts in sorted(verdict.kinds.items())},
        "runs": verdict.runs,
        "tasks_by_runs": {str(runs): count for runs, count in sorted(verdict.most_runs.items())},
        "faults": {f"{what} {role}": count for (what, role), count in sorted(verdict.faults.items())},
        "supervisors_started": outcome.total("supervisors_started"),
        "workers_started": outcome.total("workers_started"),
        "tasks_a_second": round(verdict.ledger["submitted"] / max(outcome.seconds, 0.001)),
        "epochs": outcome.epochs,
        "failures": outcome.failures,
        "folder": None if outcome.folder is None else str(outcome.folder),
    }


def show(console: Console, outcome: Outcome) -> None:
    told = as_json(outcome)
    console.print(_ledger(outcome))
    console.print(_faults(told["faults"]))
    console.print(
        f"{told['seconds']} s, {told['tasks_a_second']:,} tasks/s, {told['runs']:,} runs written down;"
        f" {told['supervisors_started']} supervisors and {told['workers_started']} workers were started"
    )
    for number, epoch in enumerate(outcome.epochs):
        vanished = f", all gone after {epoch['vanished_ms']} ms" if "vanished_ms" in epoch else ""
        memory = " -> ".join(f"{size / (1 << 20):.1f}" for size in epoch.get("owner_bytes", ()))
        console.print(f"epoch {number}: ended by {epoch['end']}{vanished}; the owner's memory {memory or '?'} MiB")
    for failure in outcome.failures:
        console.print(f"[bold red]fails:[/] {_escaped(failure)}", highlight=False)
    verdict = "[bold red]does not hold[/]" if outcome.failures else "[green]everything holds[/]"
    kept = f"; details are in {outcome.folder}" if outcome.folder is not None else ""
    console.print(f"seed {outcome.seed}: {verdict}{kept}")


def _ledger(outcome: Outcome) -> Table:
    table = Table(title="Ledger", box=SIMPLE)
    table.add_column("kind")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for kind, counts in sorted(outcome.verdict.kinds.items()):
        table.add_row(
            kind, f"{counts.total():,}", *(f"{counts[name]:,}" if counts[name] else "" for name in COLUMNS[1:])
        )
    table.add_section()
    table.add_row("all", *(f"{outcome.verdict.ledger[name]:,}" for name in COLUMNS))
    return table


def _faults(faults: dict[str, int]) -> Table:
    roles, whats = ("worker", "spare", "supervisor", "client", "owner"), ("kill", "stop", "term")
    table = Table(title="Faults", box=SIMPLE)
    table.add_column("")
    for role in roles:
        table.add_column(role, justify="right")
    for what in whats:
        table.add_row(what, *(f"{faults.get(f'{what} {role}', 0):,}" for role in roles))
    return table


def _escaped(text: str) -> str:
    return text.replace("[", "\\[")

# SPDX-License-Identifier: MIT
"""What the ledgers, the runs and the faults of one epoch must say together. Reads files; knows no process."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.soak.ledger import (
    CANCELLED,
    CLOSED,
    CRASHED,
    OUTCOMES,
    SUCCEEDED,
    WRONG,
    Account,
    Outcome,
    read_account,
    read_runs,
)

ORPHANED = "orphaned"  # of a killed member: nobody was left to read the outcome
NEVER_RUN = ("unsendable", "undecodable", "poison")  # their bodies are never reached
UNWRITTEN = "silent"
OF_DEATHS = ("die", "poison", "item-die")  # tasks that end their worker by themselves
MOST_SHOWN = 20

#: What processes may say on stderr, line by line.
EXPECTED = re.compile(
    r"localq \S+: (the supervisor \(pid \d+\) was lost: killed by signal 9; starting another one"
    r"|workers die faster than they may be replaced, \d+ a second)"
)


@dataclass
class Evidence:
    """Of one epoch."""

    folder: Path
    killed: set[int]  # members that were killed: their accounts may end anywhere
    end_ms: int  # from when on members may be told that the queue was closed


@dataclass
class Verdict:
    """What it adds up to."""

    ledger: Counter[str] = field(default_factory=Counter)
    kinds: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)  # what, role
    runs: int = 0
    most_runs: Counter[int] = field(default_factory=Counter)  # runs of one task: how many tasks had so many
    violations: list[str] = field(default_factory=list)

    def add(self, other: Verdict) -> None:
        self.ledger += other.ledger
        for kind, counts in other.kinds.items():
            self.kinds[kind] += counts
        self.faults += other.faults
        self.runs += other.runs
        self.most_runs += other.most_runs
        self.violations += other.violations


def verify(evidence: Evidence, is_whole: bool = True) -> Verdict:
    """All accounts against each other. Every violation is a sentence. Not `is_whole`: the epoch was broken off."""
    folder, verdict = evidence.folder, Verdict()
    accounts = {int(path.name.split("-")[1]): read_account(path) for path in sorted(folder.glob("ledger-*"))}
    runs = read_runs(folder / "runs")
    faults = _read_faults(folder / "faults")
    verdict.faults = Counter((fault["what"], fault["role"]) for fault in faults)
    verdict.runs = sum(map(len, runs.values()))
    verdict.most_runs = Counter(map(len, runs.values()))
    found: list[str] = []
    for member, account in accounts.items():
        found += _check_account(account, not is_whole or member in evidence.killed, evidence.end_ms, verdict)
        for number, (kind, retries) in account.submitted.items():
            found += _check_runs(number, kind, retries, runs.get(number, []), account.outcomes.get(number))
    known = {number for account in accounts.values() for number in account.submitted}
    found += [f"task {number} ran, and nobody submitted it" for number in runs if number not in known]
    found += _check_cancellations(accounts, bool(evidence.killed))
    found += _check_crashes(accounts, faults)
    found += _check_words(folder)
    verdict.violations = found[:MOST_SHOWN] + (
        [f"... {len(found) - MOST_SHOWN} more"] if len(found) > MOST_SHOWN else []
    )
    return verdict


def _read_faults(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _check_account(account: Account, is_killed: bool, end_ms: int, verdict: Verdict) -> Iterator[str]:
    yield from account.troubles
    yield from (f"task {number} was submitted twice" for number in account.submitted_twice)
    verdict.ledger["submitted"] += len(account.submitted)
    for number, (kind, _) in account.submitted.items():
        outcomes = account.outcomes.get(number, [])
        if not outcomes and not is_killed:
            yield f"{kind} {number} has no outcome, and its member lived"
        if len(outcomes) > 1:
            yield f"{kind} {number} has {len(outcomes)} outcomes: {outcomes}"
        name = outcomes[0].outcome if outcomes else ORPHANED
        verdict.ledger[name] += 1
        verdict.kinds[kind][name] += 1
        for outcome in outcomes:
            if outcome.outcome == WRONG or outcome.outcome not in OUTCOMES:
                yield f"{kind} {number} after {outcome.attempts} runs: {outcome.note}"
            if outcome.outcome == CLOSED and outcome.ms < end_ms:
                yield f"{kind} {number}: the queue was closed {end_ms - outcome.ms} ms too early: {outcome.note}"
    yield from (
        f"task {number} has an outcome, and was not submitted"
        for number in account.outcomes
        if number not in account.submitted
    )


def _check_runs(
    number: int, kind: str, retries: int, runs: list[tuple[int, int]], outcomes: list[Outcome] | None
) -> Iterator[str]:
    is_item = kind.startswith("item-")
    # After `retries` exceptions, as many crashes may follow. An item may run in its chunk, and once more by itself.
    most = 0 if kind in NEVER_RUN else (1 + 2 * retries) * (2 if is_item else 1)
    if len(runs) > most:
        yield f"{kind} {number} with {retries} retries ran {len(runs)} times: {runs}"
    if not is_item and len({attempt for attempt, _ in runs}) != len(runs):
        yield f"{kind} {number} ran twice as the same run: {runs}"
    if not outcomes:
        return
    outcome, attempts, *_ = outcomes[0]
    if outcome == SUCCEEDED and not runs and kind != UNWRITTEN:
        yield f"{kind} {number} succeeded without running"
    if is_item or outcome in (CANCELLED, CLOSED) or kind == UNWRITTEN or not runs:
        return
    if len(runs) > attempts or max(runs)[0] > attempts or (outcome == SUCCEEDED and max(runs)[0] != attempts):
        yield f"{kind} {number} {outcome} after {attempts} runs, but these were seen: {runs}"


def _check_cancellations(accounts: Mapping[int, Account], were_killed: bool) -> Iterator[str]:
    told = {number for account in accounts.values() for number in account.cancelled_others}
    for account in accounts.values():
        for number, outcomes in account.outcomes.items():
            outcome = outcomes[0]
            if outcome.outcome == CANCELLED and outcome.note == "by another" and number not in told and not were_killed:
                yield f"task {number} was cancelled, and nobody did that"
            if number in told and outcome.outcome not in (CANCELLED, CLOSED, "abandoned"):
                yield f"task {number} was cancelled by another member, who was told so, and then {outcome}"


def _check_crashes(accounts: Mapping[int, Account], faults: list[dict[str, str]]) -> Iterator[str]:
    """One death costs one task at the most, and somebody must have caused it."""
    kills = [fault for fault in faults if fault["what"] == "kill"]
    killed = {int(fault["pid"]) for fault in kills if fault["role"] in ("worker", "spare")}  # it may be a worker by now
    hit = any(fault["role"] == "supervisor" for fault in faults)  # killed; or stopped, so that the owner stood in
    by_pid: dict[int, list[int]] = defaultdict(list)
    for account in accounts.values():
        for number, outcomes in account.outcomes.items():
            if outcomes[0].outcome != CRASHED:
                continue
            kind, (pid, note) = account.submitted[number][0], (outcomes[0].pid, outcomes[0].note)
            by_pid[pid].append(number)
            if (
                kind in OF_DEATHS
                or (note.startswith("9 None") and pid in killed)
                or (note.startswith("None None") and hit)
            ):
                continue
            if "unordered" not in note:
                yield f"{kind} {number} crashed with worker {pid} ({note}), which nobody killed"
    yield from (
        f"worker {pid} took {len(numbers)} tasks with it: {numbers}"
        for pid, numbers in by_pid.items()
        if len(numbers) > 1
    )


def _check_words(folder: Path) -> Iterator[str]:
    """Nobody may have said anything unexpected."""
    for path in sorted(folder.glob("stderr-*")):
        lines = [
            line for line in path.read_text(errors="replace").splitlines() if line and not EXPECTED.fullmatch(line)
        ]
        if lines:
            yield f"{path.name}: {len(lines)} unexpected lines: {' | '.join(lines[-12:])[:1500]}"

# SPDX-License-Identifier: MIT
"""A whole run: one epoch after another until the time is up, each with an owner of its own, and what they add up to."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.soak import watch
from benchmarks.soak.epoch import Epoch, Failed, Terms
from benchmarks.soak.verify import Verdict, verify

SHORTEST = 3.0  # seconds of storm in an epoch that is worth its start


@dataclass
class Outcome:
    """What a run found."""

    seed: int
    terms: Terms
    folder: Path | None = None  # kept where something failed
    seconds: float = 0.0
    verdict: Verdict = field(default_factory=Verdict)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def total(self, name: str) -> int:
        """Of what the queues counted, over all epochs."""
        return sum(epoch.get("tallies", {}).get(name, 0) for epoch in self.epochs)


def run(
    seed: int, minutes: float, clients: int, workers: int, mean: float, epoch_seconds: float,
    show: Callable[[Epoch, str], None], hold: bool,
) -> Outcome:  # fmt: skip
    """Until the time is up or something fails. `hold`: then wait with everything as it is, until Enter."""
    terms = Terms(clients, workers, mean, uuid.uuid4().hex)
    folder = Path(tempfile.mkdtemp(prefix=f"localq-soak-{seed}-"))
    outcome = Outcome(seed, terms)
    began = time.monotonic()
    member = 1
    try:
        while not outcome.failures:
            left = minutes * 60 - (time.monotonic() - began)
            if outcome.epochs and left < SHORTEST:
                break
            here = folder / f"epoch-{len(outcome.epochs)}"
            here.mkdir()
            epoch = Epoch(terms, f"{seed}/{len(outcome.epochs)}", here, member, show)
            _run_epoch(epoch, min(epoch_seconds, max(left, SHORTEST)), outcome, hold)
            member = epoch.next_member
            if not outcome.failures:
                shutil.rmtree(here)
    finally:
        _clear(terms.run)
        outcome.seconds = time.monotonic() - began
        if outcome.failures:
            outcome.folder = folder
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return outcome


def _run_epoch(epoch: Epoch, seconds: float, outcome: Outcome, hold: bool) -> None:
    outcome.epochs.append(epoch.facts)
    try:
        epoch.run(seconds, hold)
    except Failed as failed:
        outcome.failures.append(str(failed))
    verdict = verify(epoch.evidence, is_whole=not outcome.failures)
    outcome.verdict.add(verdict)
    outcome.failures += verdict.violations


def _clear(run_mark: str) -> None:
    """Nothing may be left, whatever went wrong."""
    for pid in watch.marked(run_mark):
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass

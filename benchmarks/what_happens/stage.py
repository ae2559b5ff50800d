# SPDX-License-Identifier: MIT
"""Where a scenario plays: a started system, a folder for records, and facts as lines of JSON on stdout.

Used by `faults`. A fact is printed as soon as it is known, so that whoever cuts a hanging scenario off has what it said
until then. What the facts mean is none of its business.
"""

from __future__ import annotations

import json
import multiprocessing
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from benchmarks.what_happens import deeds
from benchmarks.what_happens.systems import WORKERS, Call, System
from benchmarks.workloads import same

OTHERS = 9  # tasks that do nothing wrong
NAP_SECONDS = 0.1  # of each of them
DELAY_SECONDS = 0.25  # until the bad task does what it does: the others are queued, one or two are done
PATIENCE = 5.0  # seconds for the answers to what was sent; all there is to do takes one, on an idle machine
GLANCE = 0.05  # seconds given to an answer that should be there already

Outcome = dict[str, Any]
Hints = Mapping[str, str]  # what a good error names: a label, and a pattern that finds it; {pid} is who did it


class Stage:
    def __init__(self, system: System, folder: Path) -> None:
        self.system = system
        self.records = str(folder / "bad")
        self._meetings = str(folder / "meetings")

    def note(self, **facts: Any) -> None:
        sys.stdout.write(json.dumps(facts) + "\n")  # in one write, even where nothing is buffered
        sys.stdout.flush()

    def meet(self) -> list[int]:
        """Have all workers up and the pool at rest; their process ids."""
        calls: list[Call] = [(deeds.meet, (self._meetings, WORKERS, PATIENCE))] * WORKERS
        pids = {self.system.answer(handle, 2 * PATIENCE) for handle in self.system.batch(calls)}
        time.sleep(NAP_SECONDS)
        return sorted(pids)

    def bad_among_others(self, hints: Hints, retries: int, deed: Callable[..., Any], *args: Any) -> Any:
        """Send a bad call and OTHERS behind it; note what comes of each. The handle of the bad one."""
        bad: Call = (deeds.misbehave, (self.records, DELAY_SECONDS, deed, *args))
        sent_at = monotonic()
        handles = self.system.batch([bad, *naps(OTHERS)], retries)
        outcome = self.outcome_of(handles[0], sent_at + PATIENCE)
        known_at = monotonic()
        runs = deeds.records(self.records)
        self.note(
            bad=outcome,
            known_seconds=known_at - (runs[-1][1] if runs else sent_at),
            runs=len(runs),
            could_name=list(hints),
            names=[label for label, pattern in hints.items() if _says(outcome, pattern, runs)],
        )
        self.note_answers(handles[1:], sent_at + PATIENCE)
        return handles[0]

    def note_answers(self, handles: Sequence[Any], until: float) -> None:
        """What comes of calls that do nothing wrong, each of which is to return its own number."""
        outcomes = [self.outcome_of(handle, until) for handle in handles]
        for number, outcome in enumerate(outcomes):
            if outcome["how"] == "value" and outcome["text"] != repr(number):
                outcome["how"] = "wrong"
        self.note(
            others=Counter(outcome["how"] for outcome in outcomes),
            others_errors=Counter(outcome["type"] for outcome in outcomes if outcome["how"] == "error"),
        )

    def one_more(self) -> Outcome:
        """Does it take one more call?"""
        (handle,) = self.system.batch([(same, (0,))])
        return self.outcome_of(handle, monotonic() + PATIENCE)

    def outcome_of(self, handle: Any, until: float) -> Outcome:
        try:
            value = self.system.answer(handle, max(GLANCE, until - monotonic()))
        except (TimeoutError, multiprocessing.TimeoutError):
            return {"how": "silent"}
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever arrives is what is asked for
            return {"how": "error", "type": type(error).__name__, "text": _text(error)}
        return {"how": "value", "text": repr(value)}


def naps(count: int, seconds: float = NAP_SECONDS) -> list[Call]:
    return [(deeds.nap, (seconds, number)) for number in range(count)]


def _text(error: BaseException) -> str:
    """Its type and message, and those of the errors that came before it: all that its user gets to see."""
    lines = f"{type(error).__name__}: {error}"
    before = error.__cause__ or error.__context__
    return f"{lines}\n{_text(before)}" if before else lines


def _says(outcome: Outcome, pattern: str, runs: Sequence[tuple[int, float]]) -> bool:
    if outcome["how"] != "error" or ("{pid}" in pattern and not runs):
        return False
    return re.search(pattern.replace("{pid}", str(runs[-1][0] if runs else "")), outcome["text"]) is not None

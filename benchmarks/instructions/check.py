# SPDX-License-Identifier: MIT
"""Are the paths as dear as they were? Used by the command, and so by CI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from benchmarks.instructions.parts import PYTHON, SYSTEM
from benchmarks.instructions.stored import Counts, Stored

#: How far a step may be from what is stored: a part of it, and so many instructions more. Ours repeat to one
#: instruction; how long Python searches its dictionaries depends on addresses, which are never quite the same.
OURS_TOLERANCE: Final = (0.03, 3.0)
PYTHON_TOLERANCE: Final = (0.08, 100.0)

#: The negative control: had calls of the first path become as dear as those of the second, it must be noticed.
CONTROL: Final = ("no-op", "text")


class Verdict(NamedTuple):
    is_good: bool
    lines: list[str]


def judge(counts: Counts, stored: Stored, build: str, interpreter: str) -> Verdict:
    """Good as well where nothing is known of how it was: another machine's build is not this commit's fault."""
    if build not in stored:
        return Verdict(True, [f"nothing to compare with: no counts are stored for {build}; --update stores these"])
    before, with_python = stored.counts(build), stored.interpreter(build) == interpreter
    lines = [] if with_python else [f"not compared: what Python does; stored for {stored.interpreter(build)}"]
    found = changes(counts, before, with_python=with_python)
    lines += [f"changed: {change}" for change in found]
    lines.append("where that is as it should be, --update stores these counts" if found else f"as stored for {build}")
    first, second = CONTROL
    if first not in before or second not in counts:
        return Verdict(not found, lines)
    control = changes({first: counts[second]}, before, with_python=False)
    if control:
        lines.append(f"control: were {first!r} as dear as {second!r}, one would read: {control[0]}")
    else:
        lines.append(
            f"control failed: {first!r} may become as dear as {second!r} unnoticed; the tolerance is too large"
        )
    return Verdict(not found and bool(control), lines)


def ours(parts: Mapping[str, float]) -> float:
    """Instructions of our extension."""
    return sum(each for part, each in parts.items() if part not in (PYTHON, SYSTEM))


def changes(counts: Counts, before: Counts, *, with_python: bool) -> list[str]:
    """A line for each step that is dearer or cheaper than it was, beyond the tolerance, or that was never counted."""
    found = []
    for path, steps in counts.items():
        for step, now in steps.items():
            then = before.get(path, {}).get(step)
            if then is None:
                found.append(f"{path}, {step}: is not stored yet")
                continue
            if _differs(ours(now), ours(then), OURS_TOLERANCE):
                found.append(f"{path}, {step}: {_change(ours(now), ours(then))}: {_parts_changed(now, then)}")
            python, python_then = now.get(PYTHON, 0.0), then.get(PYTHON, 0.0)
            if with_python and _differs(python, python_then, PYTHON_TOLERANCE):
                found.append(f"{path}, {step}: {_change(python, python_then)}: all in Python")
    return found


def _differs(now: float, then: float, tolerance: tuple[float, float]) -> bool:
    part, more = tolerance
    return abs(now - then) > then * part + more


def _change(now: float, then: float) -> str:
    relative = f" ({(now - then) / then:+.1%})" if then else ""
    return f"{'dearer' if now > then else 'cheaper'}, {then:,.0f} -> {now:,.0f} instructions{relative}"


def _parts_changed(now: Mapping[str, float], then: Mapping[str, float]) -> str:
    """Where most of it comes from."""
    by_part = {part: now.get(part, 0.0) - then.get(part, 0.0) for part in {*now, *then} - {PYTHON, SYSTEM}}
    largest = sorted(by_part.items(), key=lambda each: -abs(each[1]))[:3]
    return ", ".join(f"{part} {change:+,.0f}" for part, change in largest if abs(change) >= 1)

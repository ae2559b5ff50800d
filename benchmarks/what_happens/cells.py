# SPDX-License-Identifier: MIT
"""Facts in words: what a cell of the table says, made of what was observed and of nothing else.

Knows neither systems nor faults by name. `Verdict.harm` counts what an innocent user would miss, so that systems can be
compared: calls that did nothing wrong and have no result, answers that never come (such a call counts for both),
things an error should have said and did not, a pool that takes no more work or does not end, processes and files left.
"""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.what_happens.sandbox import ORPHAN_SECONDS, Facts
from benchmarks.what_happens.stage import PATIENCE

SLOW_SECONDS = 3.0  # an end that takes longer is worth a word; a second or two may be the machine's

Part = tuple[str, int]  # a few words, and the harm in them


@dataclass(frozen=True, slots=True)
class Verdict:
    words: str
    harm: int


def verdict(facts: Facts) -> Verdict:
    """One run in words."""
    tellers = (_helpers, _signalled, _bad, _nested, _child, _others, _after, _end, _left)
    parts = [part for tell in tellers for part in tell(facts)]
    return Verdict("; ".join(words for words, _ in parts), sum(harm for _, harm in parts))


def cell(runs: Sequence[Facts]) -> Verdict:
    """Several runs of the same scenario. Those that differ in numbers only are told in one breath."""
    verdicts = [verdict(facts) for facts in runs]
    alike: dict[str, list[str]] = {}
    for one in verdicts:
        alike.setdefault(re.sub(r"\d+(\.\d+)?", "#", one.words), []).append(one.words)
    stories = sorted(alike.values(), key=len, reverse=True)
    harm = max(one.harm for one in verdicts)
    if len(stories) == 1:
        return Verdict(_merged(stories[0]), harm)
    return Verdict(" / ".join(f"{len(story)} of {len(runs)} runs: {_merged(story)}" for story in stories), harm)


def _merged(story: Sequence[str]) -> str:
    """The same words with the median of seconds and the range of counts."""
    columns = zip(*(re.findall(r"\d+(?:\.\d+)?", words) for words in story), strict=True)
    numbers = iter([_one_number(column) for column in columns])
    return re.sub(r"\d+(?:\.\d+)?", lambda _: next(numbers), story[0])


def _one_number(column: Sequence[str]) -> str:
    if any("." in number for number in column):
        return _seconds(statistics.median(map(float, column)))
    least, most = min(column, key=int), max(column, key=int)
    return least if least == most else f"{least} to {most}"


def _bad(facts: Facts) -> Iterator[Part]:
    """The call that went wrong."""
    if "bad" not in facts:
        return
    match facts["bad"]["how"]:
        case "value":
            yield "the task returns", 0
        case "silent":
            yield f"**no answer** in {PATIENCE:g} s", 1
        case "error":
            alone = not facts["others"].get("error")
            kind = f"`{facts['bad']['type']}`"
            after = f"after {_seconds(facts['known_seconds'])} s"
            yield f"only that task fails: {kind} {after}" if alone else f"{kind} {after}", 0
            yield from _named(facts)
    if facts["runs"] > 1:
        yield f"it ran {facts['runs']} times", 0
    if "continued" in facts:
        yield _how(facts["continued"], "continued, it returns", "continued, it gives")


def _named(facts: Facts) -> Iterator[Part]:
    missing = [label for label in facts["could_name"] if label not in facts["names"]]
    told = [label for label in facts["names"] if label != facts["bad"]["type"]]
    if told:
        yield f"says {', '.join(told)}", 0
    if missing:
        yield f"does not say {', '.join(missing)}", len(missing)


def _others(facts: Facts) -> Iterator[Part]:
    """The calls that did nothing wrong."""
    others = facts.get("others")
    if others is None:
        return
    total, who = sum(others.values()), "others" if "bad" in facts else "tasks"
    if others.get("value"):
        yield f"{others['value']} of {total} {who} finish", 0
    if others.get("error"):
        kinds = ", ".join(f"`{kind}`" for kind in facts["others_errors"])
        yield f"**{others['error']} of {total} {who} fail** with {kinds}", others["error"]
    if others.get("wrong"):
        yield f"**{others['wrong']} of {total} {who} have wrong results**", others["wrong"]
    if others.get("silent"):
        yield f"**no answer for {others['silent']} of {total} {who}** in {PATIENCE:g} s", 2 * others["silent"]


def _helpers(facts: Facts) -> Iterator[Part]:
    if "helpers" in facts:
        yield f"{len(facts['helpers'])} killed" if facts["helpers"] else "has none", 0


def _nested(facts: Facts) -> Iterator[Part]:
    outcomes = facts.get("nested", ())
    for (how, harm), count in Counter(_how(outcome, "finish", "fail with") for outcome in outcomes).items():
        yield f"{count} of {len(outcomes)} {how}", harm * count
    for place in sorted(set(facts.get("nested_ran_in", ()))):
        yield f"run by {place}", 0


def _child(facts: Facts) -> Iterator[Part]:
    if "child" in facts:
        words, harm = _how(facts["child"], "the child gets its result", "the child gets")
        yield words if facts["child"]["how"] != "silent" else f"the child gets {words}", harm


def _after(facts: Facts) -> Iterator[Part]:
    match facts.get("after", {}).get("how"):
        case "value":
            yield "the pool goes on", 0
        case "error":
            yield f"**the pool takes no more work** (`{facts['after']['type']}`)", 1
        case "silent":
            yield "**the pool answers no more**", 1


def _how(outcome: Facts, good: str, bad: str) -> Part:
    match outcome["how"]:
        case "value":
            return good, 0
        case "error":
            return f"{bad} `{outcome['type']}`", 1
        case _:
            return "**no answer**", 2


def _signalled(facts: Facts) -> Iterator[Part]:
    if facts.get("signal_group") and not facts["hangs"]:
        yield f"ends after {_seconds(facts['ended_seconds'])} s", 0
        yield f"tracebacks on stderr: {facts['tracebacks']}, lines: {facts['error_lines']}", 0


def _end(facts: Facts) -> Iterator[Part]:
    """How the client itself ended."""
    if facts["hangs"]:
        where = "leaving the pool" if facts.get("leaving") else "the client"
        yield f"**{where} hangs** (cut off after {facts['limit']:g} s)", 1
    elif "signal" not in facts:
        if facts["tracebacks"]:
            yield f"tracebacks on stderr: {facts['tracebacks']}", 0
        if facts["exit_status"] != 0:
            yield f"**the client ends with `{facts['last_line'].partition(':')[0]}`**", 1
        if facts["ended_seconds"] > SLOW_SECONDS:
            yield f"leaving takes {_seconds(facts['ended_seconds'])} s", 0


def _left(facts: Facts) -> Iterator[Part]:
    orphans, files = len(facts["orphans"]), len(facts["files"])
    if orphans:
        yield f"**processes left after {ORPHAN_SECONDS:g} s: {orphans}**", orphans
    if files:
        yield f"**files left: {files}**", files
    if "signal" in facts and not facts["hangs"] and not orphans:
        yield "no process left", 0


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f}" if seconds < 1 else f"{seconds:.1f}"

# SPDX-License-Identifier: MIT
"""A strict reader of Prometheus' text format: what it does not understand is a failure of the test.

Used by the tests of the metrics. Written from the format's description, not from what localq writes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\n"])*)"(,|$)')
_SAMPLE = re.compile(rf"({_NAME})(?:\{{(.*)\}})? (\S+)$")
_SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}

Labels = tuple[tuple[str, str], ...]


@dataclass
class Family:
    kind: str
    help: str
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)

    def of(self, suffix: str = "", **labels: str) -> float:
        """The one sample with these labels among its own."""
        wanted = set(labels.items())
        found = [value for (end, told), value in self.samples.items() if end == suffix and wanted <= set(told)]
        assert len(found) == 1, f"{len(found)} samples with {labels} in {sorted(self.samples)}"
        return found[0]


def parse(text: str) -> dict[str, Family]:
    """Families by name. Fails on whatever the format does not allow, on samples that appear twice, on families in
    pieces, on histograms that do not add up."""
    assert text == "" or text.endswith("\n")
    families: dict[str, Family] = {}
    current, said = "", ""
    for line in text.splitlines():
        if match := re.fullmatch(rf"# HELP ({_NAME}) (.+)", line):
            assert match[1] not in families, f"{match[1]} comes twice"
            current, said = match[1], match[2]
        elif match := re.fullmatch(rf"# TYPE ({_NAME}) (counter|gauge|histogram)", line):
            assert match[1] == current, f"the type of {match[1]} stands below another's help"
            families[current] = Family(match[2], said)
        else:
            name, labels, value = _sample(line)
            family = families[current]
            suffix = name.removeprefix(current)
            assert name.startswith(current) and suffix in _SUFFIXES[family.kind], f"{name} is not of {current}"  # noqa: PT018
            assert (suffix, labels) not in family.samples, f"twice: {line}"
            family.samples[suffix, labels] = value
    for name, family in families.items():
        _check(name, family)
    return families


def _sample(line: str) -> tuple[str, Labels, float]:
    match = _SAMPLE.fullmatch(line)
    assert match, f"no sample: {line!r}"
    labels, rest = [], match[2] or ""
    while rest:
        found = _LABEL.match(rest)
        assert found, f"no labels: {rest!r}"
        text = re.sub(r"\\(.)", lambda escape: "\n" if escape[1] == "n" else escape[1], found[2])
        labels.append((found[1], text))
        rest = rest[found.end() :]
    assert len(dict(labels)) == len(labels), f"a label twice: {line}"
    return match[1], tuple(labels), float(match[3].replace("+Inf", "inf"))


def _check(name: str, family: Family) -> None:
    assert name.endswith("_total") == (family.kind == "counter"), f"{name} is a {family.kind}"
    assert family.samples, f"{name} has no samples"
    if family.kind == "counter":
        assert all(value >= 0 for value in family.samples.values()), name
    if family.kind != "histogram":
        return
    series: dict[Labels, list[tuple[float, float]]] = {}
    for (suffix, labels), value in family.samples.items():
        if suffix == "_bucket":
            le = float(dict(labels)["le"].replace("+Inf", "inf"))
            series.setdefault(tuple(label for label in labels if label[0] != "le"), []).append((le, value))
    for labels, buckets in series.items():
        assert buckets == sorted(buckets), f"{name}{labels}: buckets in no order"
        assert [value for _, value in buckets] == sorted(value for _, value in buckets), f"{name}{labels}: they sink"
        assert buckets[-1] == (float("inf"), family.samples["_count", labels])
        assert ("_sum", labels) in family.samples

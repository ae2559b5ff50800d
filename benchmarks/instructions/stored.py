# SPDX-License-Identifier: MIT
"""The counts that are kept, `counts.json`: for each way to build the extension those of its own."""

from __future__ import annotations

import json
import platform
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from benchmarks.instructions.parts import PYTHON, SYSTEM

FILE: Final = Path(__file__).with_name("counts.json")

PYTHON_NOISE: Final = 0.02

#: path -> step -> part -> instructions per call.
Counts = Mapping[str, Mapping[str, Mapping[str, float]]]


def build_name(extension: Path) -> str:
    """What the instructions of our extension depend on, as far as it says."""
    code = extension.read_bytes()
    compiler = re.search(rb"(clang) version (\d+)\.", code) or re.search(rb"(GCC): \([^)\0]*\) (\d+)\.", code)
    cython = re.search(rb"_cython_(\d+)_(\d+)_", code)
    flags = (sysconfig.get_config_var("CFLAGS") or "").split()
    names = (
        f"{platform.python_implementation()} {sys.version_info.major}.{sys.version_info.minor}",
        f"Cython {int(cython[1])}.{int(cython[2])}" if cython else "no Cython",
        f"{compiler[1].decode()} {int(compiler[2])}" if compiler else "another compiler",
        platform.machine(),
        " ".join(sorted({flag for flag in flags if flag.startswith(("-f", "-m"))})),
    )
    return ", ".join(name for name in names if name)


def interpreter_name() -> str:
    return f"{platform.python_version()}, {platform.python_compiler()}"


class Stored:
    """The file, read."""

    def __init__(self, file: Path = FILE) -> None:
        self._file = file
        self._builds = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}

    def __contains__(self, build: str) -> bool:
        return build in self._builds

    def __iter__(self) -> Iterator[str]:
        return iter(self._builds)

    def counts(self, build: str) -> Counts:
        counts: Counts = self._builds[build]["counts"]
        return counts

    def interpreter(self, build: str) -> str:
        """Which one the counts of what is done in Python belong to."""
        return str(self._builds[build]["interpreter"])

    def update(self, build: str, interpreter: str, counts: Counts) -> None:
        """Store them instead of what was there for that build. Paths that were not counted now stay, unless they were
        counted with another interpreter."""
        known = build in self._builds and self.interpreter(build) == interpreter
        before = self.counts(build) if known else {}
        kept = {path: _rounded(steps, before.get(path, {})) for path, steps in counts.items()}
        self._builds[build] = {"interpreter": interpreter, "counts": {**before, **kept}}
        text = json.dumps(dict(sorted(self._builds.items())), indent=2)
        text = re.sub(r"\{([^{}]*)\}", lambda step: "{" + " ".join(step[1].split()) + "}", text)  # a step a line
        self._file.write_text(text + "\n", encoding="utf-8")


def _rounded(
    steps: Mapping[str, Mapping[str, float]], before: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """Without what is not compared, and without changes that are none: what Python does never repeats to the last."""
    kept = {}
    for step, parts in steps.items():
        then = before.get(step, {}).get(PYTHON, 0.0)
        now = {part: round(each, 1) for part, each in sorted(parts.items()) if part != SYSTEM and round(each, 1)}
        if abs(now.get(PYTHON, 0.0) - then) < then * PYTHON_NOISE:
            now[PYTHON] = then
        kept[step] = now
    return kept

# SPDX-License-Identifier: MIT
"""Run the hot paths under callgrind and read what it has counted: instructions of each function, per call.

The dumps are text: `ob=` and `fn=` say whose lines follow, a line of two numbers is what that function did itself;
after `calls=` comes a line with what was done in the function called, which is found again under its own name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.instructions import parts

ROOT = Path(__file__).resolve().parent.parent.parent
MARKS = Path(__file__).with_name("marks.c")
TIMEOUT = 150.0  # seconds; it takes 15


class CountsUnavailable(Exception):
    """Nothing can be counted here; the sentence says what is missing, or what went wrong."""


class Function(NamedTuple):
    home: str  # path of the program or library
    name: str


class Dump(NamedTuple):
    mark: str
    instructions: Mapping[Function, int]


#: Instructions per call of each function, by path and step.
Counts = Mapping[tuple[str, str], Mapping[Function, float]]


def count(paths: Iterable[str] = ()) -> Counts:
    """Of these paths, or all. Raises CountsUnavailable."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise CountsUnavailable("valgrind is not installed")
    with tempfile.TemporaryDirectory(prefix="localq-counts-") as folder:
        library = _build(Path(folder, "marks.so"))
        command = [valgrind, "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/dump"]
        command += ["--dump-line=no", "--compress-strings=no", "--compress-pos=no"]
        command += [sys.executable, "-m", "benchmarks.instructions.paths", str(library), *paths]
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=_environment(library),
                capture_output=True,
                text=True,
                check=False,
                timeout=TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            raise CountsUnavailable(f"the paths were not through after {TIMEOUT:.0f} s") from None
        if done.returncode != 0:
            raise CountsUnavailable(f"the paths have failed ({done.returncode}):\n{done.stderr.strip()[-2000:]}")
        dumps = [read(dump) for dump in Path(folder).glob("dump.*")]
    return per_call(dump for dump in dumps if dump.mark)


def _build(library: Path) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise CountsUnavailable("there is no C compiler (cc, gcc, clang) on PATH")
    command = [compiler, "-std=gnu11", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", str(library), str(MARKS)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode != 0:
        raise CountsUnavailable(f"{compiler} could not build {MARKS.name}: {built.stderr.strip()}")
    return library


def _environment(library: Path) -> dict[str, str]:
    """Nothing of the caller's that might change what is done."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH", "TMPDIR") if name in os.environ}
    return kept | {"PYTHONHASHSEED": "0", "LD_PRELOAD": str(library), "OPENBLAS_NUM_THREADS": "1"}


def read(dump: Path) -> Dump:
    """One file of callgrind's; its mark is empty where no mark has made it."""
    mark = home = name = ""
    is_of_callee = False
    instructions: Counter[Function] = Counter()
    with open(dump, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if is_of_callee:
                is_of_callee = False
            elif line.startswith("desc: Trigger: Client Request: "):
                mark = line.split(": ", 3)[3].strip()
            elif line.startswith("ob="):
                home = line[3:].strip()
            elif line.startswith("fn="):
                name = line[3:].strip()
            elif line.startswith("calls="):
                is_of_callee = True
            elif line[0].isdigit():
                instructions[Function(home, name)] += int(line.split()[1])
    return Dump(mark, instructions)


def per_call(dumps: Iterable[Dump]) -> Counts:
    """What twice as many calls took beyond what so many took, divided by their number."""
    runs: dict[tuple[str, str], dict[int, Mapping[Function, int]]] = {}
    for dump in dumps:
        path, step, calls = dump.mark.split("|")
        if int(calls):  # else the first, which is no measure: it evicts what the path before has left
            runs.setdefault((path, step), {})[int(calls)] = dump.instructions
    found = {}
    for key, by_calls in runs.items():
        fewer, more = sorted(by_calls)
        less, much = by_calls[fewer], by_calls[more]
        found[key] = {each: (much.get(each, 0) - less.get(each, 0)) / (more - fewer) for each in {*less, *much}}
    return found


def by_part(functions: Mapping[Function, float], ours: str) -> dict[str, float]:
    """Instructions of each part: of our extension (the file `ours`), of Python, of the system. Marks are no part."""
    found: Counter[str] = Counter()
    for function, instructions in functions.items():
        part = _part_of(function, ours)
        if part:
            found[part] += instructions  # type: ignore[assignment]
    return dict(found)


def _part_of(function: Function, ours: str) -> str:
    if function.home == ours:
        return parts.part_of(function.name)
    file = os.path.basename(function.home)
    if file == "marks.so":
        return ""
    return parts.SYSTEM if file.startswith(("libc.", "libm.", "libpthread.", "ld-")) else parts.PYTHON

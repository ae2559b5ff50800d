# SPDX-License-Identifier: MIT
"""The C test program, one pytest case for each of its own.

The program is built (plain) when this file is collected, because its list of cases is in it; into pytest's cache, so
that make has little to do the next time. Processes that share the tests out among them collect at once: one builds, the
others wait for it. The builds with sanitizers are run whole by `.ci/run`, not here.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parent.parent.parent / "native" / "tests"
DOES_NOT_BUILD = "the program builds and lists its cases"


class Program:
    """`lq_tests`, built once; `refusal` is what make or the program said when that went wrong."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "plain" / "lq_tests"
        self.refusal = ""
        self.cases: list[str] = []
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        command = ["make", "--silent", "-C", str(SOURCES), f"BUILD={folder}", str(self.path)]
        with open(folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            built = subprocess.run(command, env=environment, capture_output=True, text=True)
        if built.returncode:
            self.refusal = f"{' '.join(command)}\n{built.stdout}{built.stderr}"
            return
        listed = subprocess.run([self.path, "--list"], capture_output=True, text=True)
        self.cases = listed.stdout.split()
        if listed.returncode or not self.cases:
            self.refusal = f"--list ended with {listed.returncode}\n{listed.stdout}{listed.stderr}"


def _build_folder(config: pytest.Config) -> Path:
    cache = getattr(config, "cache", None)
    if cache is not None:
        return Path(cache.mkdir("lq_tests"))
    folder = tempfile.mkdtemp(prefix="lq_tests-")  # the cache is switched off
    config.add_cleanup(lambda: shutil.rmtree(folder))
    return Path(folder)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        program = Program(_build_folder(metafunc.config))
        cases = program.cases or [DOES_NOT_BUILD]
        metafunc.parametrize(("program", "case"), [(program, case) for case in cases], ids=cases)


@pytest.mark.timeout(300)  # the program ends its cases itself, those in which a process is traced after 240 s
def test_c(program: Program, case: str) -> None:
    assert not program.refusal, program.refusal

    finished = subprocess.run([program.path, case], capture_output=True, text=True)

    said = finished.stdout + finished.stderr
    assert finished.returncode == 0, said
    assert finished.stdout.splitlines()[-1].endswith(" passed, 0 failed"), said
    assert not finished.stdout.splitlines()[-1].startswith("0 passed"), said

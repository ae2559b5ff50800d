# SPDX-License-Identifier: MIT
"""The program `localq`, as users run it: a process of its own, in a folder of the test's.

Used by the tests of the command line.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.scripts import ROOT, WATCHDOG

__all__ = ["execute", "start"]


def start(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Begin it, as the leader of a process group of its own, with pipes for everything."""
    return subprocess.Popen(
        [sys.executable, "-m", "localq", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="surrogateescape",
        process_group=0,
    )


def execute(folder: Path, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    process = start(folder, *arguments, **environment)
    try:
        out, err = process.communicate(stdin, timeout=WATCHDOG)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"it did not end; it said:\n{out}\n{err}") from None
    assert "Traceback (most recent call last)" not in err or "--traceback" in arguments or "--wait" in arguments, err
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)

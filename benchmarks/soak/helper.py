# SPDX-License-Identifier: MIT
"""A process that the soak started: told what to do by lines, answering by JSON lines, its stderr kept in a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class NoAnswer(Exception):
    """A process did not answer in time, or ended instead."""


class Helper:
    """One process, and what it has said."""

    def __init__(self, module: str, arguments: list[str], stderr: Path, environment: dict[str, str]) -> None:
        self.stderr = stderr
        self.started = time.monotonic()
        with open(stderr, "ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"benchmarks.soak.{module}", *arguments],
                cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                start_new_session=True,  # Ctrl-C is for the conductor
            )  # fmt: skip
        self.pid = self._process.pid
        self._said: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._said.append(json.loads(line))
                self._changed.notify_all()

    def tell(self, *lines: str) -> None:
        """Say something to it; not heard where it has ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("".join(f"{line}\n" for line in lines).encode())
            self._process.stdin.flush()
        except OSError:
            pass

    def hear(self, key: str) -> Any:
        """What it has said under that key, taken; None when nothing."""
        with self._changed:
            for at, said in enumerate(self._said):
                if key in said:
                    return self._said.pop(at)[key]
        return None

    def wait_for(self, key: str, seconds: float) -> Any:
        """Raises NoAnswer."""
        until = time.monotonic() + seconds
        while (answer := self.hear(key)) is None:
            if self.exit_status is not None:
                raise NoAnswer(f"process {self.pid} ended with {self.exit_status} instead of answering: {key}")
            if time.monotonic() > until:
                raise NoAnswer(f"process {self.pid} does not answer: {key}")
            with self._changed:
                self._changed.wait(0.02)
        return answer

    @property
    def exit_status(self) -> int | None:
        return self._process.poll()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self, seconds: float) -> int | None:
        """Its exit status, once it has ended; None when it does not end in time."""
        try:
            status: int | None = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        return status

    def close(self) -> None:
        """Kill it if it lives, and let go of it."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            if pipe is self._process.stdout and self._reader.is_alive():
                self._reader.join(0.5)  # a worker may have inherited the other end, and be left over
                if self._reader.is_alive():
                    continue
            try:
                pipe.close()
            except OSError:
                pass


def environment(run: dict[str, str]) -> dict[str, str]:
    """For a helper: ours, with what the soak wants to be known."""
    return {**os.environ, **run}

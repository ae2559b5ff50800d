# SPDX-License-Identifier: MIT
"""The program of `localq top` over queues that are files: a test says how they are, and sees what it was asked to do.

Used by the tests of the program in a terminal, as `python -m tests.support.made_up FOLDER [NAME]...`. FOLDER/NAME.json
is a Snapshot; one that is not there has ended. What the keys ask for is written, a line each, to FOLDER/deeds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from localq.errors import AttachError
from localq.monitor.snapshot import Snapshot

INTERVAL = 0.05  # seconds between two looks


def put(folder: Path, *latest: Snapshot) -> None:
    """Let these be how queues are."""
    for snapshot in latest:
        new = folder / f"{snapshot.queue.name}.new"
        new.write_bytes(msgspec.json.encode(snapshot))
        new.rename(folder / f"{snapshot.queue.name}.json")


def command(folder: Path, *names: str) -> Sequence[str]:
    return (sys.executable, "-m", "tests.support.made_up", str(folder), *names)


class FileReader:
    """Reads one of them; its rate goes up and down."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reads = 0
        self.read()

    def read(self) -> Snapshot:
        try:
            found = msgspec.json.decode(self.path.read_bytes(), type=Snapshot)
        except FileNotFoundError:
            raise AttachError(f"queue {self.path.stem!r} has ended") from None
        self.reads += 1
        rates = msgspec.structs.replace(found.rates, done=found.rates.done + 100 * (self.reads % 5))
        return msgspec.structs.replace(found, taken_at=time.time(), rates=rates)

    def close(self) -> None:
        """Nothing is open."""


def main(folder: Path, names: Sequence[str]) -> int:
    from localq.monitor.top import Hands, watch

    def note(*words: object) -> None:
        with open(folder / "deeds", "a") as deeds:
            print(*words, file=deeds)

    def ask(name: str, request: dict[str, Any]) -> dict[str, Any]:
        note(name, *request.values())
        if request["do"] == "kill":
            raise AttachError(f"queue {name!r} refuses: nothing here is ever killed")
        return {"stack": 'File "photos.py", line 7 in train_faces'}

    def cancel(name: str, task_id: str) -> bool:
        note(name, "cancel", task_id)
        return True

    def found() -> list[str]:
        return sorted(path.stem for path in folder.glob("*.json"))

    return watch(names, Hands(lambda name: FileReader(folder / f"{name}.json"), found, ask, cancel), INTERVAL)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))

# SPDX-License-Identifier: MIT
"""The process of one member: the owner of the queue, or an attached client. `python -m benchmarks.soak.member JSON`.

It is told what to do by lines on its standard input, and answers by JSON lines on its standard output:

    rest     see through what was submitted, submit nothing more; answers when it is so
    go       submit again
    leave    see through (or, of those that are in a hurry, not) what was submitted, leave the queue, end
    inspect  an owner: how the queue and this process are; see `watch.inspect`

A client that is told to terminate leaves. Without somebody at the other end of its input a member ends at once.
"""

from __future__ import annotations

import faulthandler
import itertools
import json
import os
import resource
import signal
import sys
import threading
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.soak import watch
from benchmarks.soak.ledger import Ledger
from benchmarks.soak.load import ENDED, Loader, Stalled
from benchmarks.soak.orders import Mix
from localq import AttachError, LocalQueue

THREADS = 2
GO, REST, LEAVE, HURRY = "go", "rest", "leave", "hurry"
BITS = 24  # of a task's number that its member counts in
RETURNED_NOTHING, STALLED = 3, 4  # exit statuses


@dataclass
class Part:
    """Who a member is. Handed over as JSON."""

    name: str  # of the queue
    member: int  # this one's number, never used twice
    seed: str
    folder: str
    owns: bool
    settings: dict[str, Any] = field(default_factory=dict)  # an owner's: arguments of LocalQueue

    def to_json(self) -> str:
        return json.dumps(asdict(self))


class Member:
    """The threads of this process, and what they were told."""

    def __init__(self, part: Part, queue: LocalQueue) -> None:
        folder = Path(part.folder)
        self._part = part
        self._queue = queue
        self._ledger = Ledger(folder / f"ledger-{part.member}")
        self._changed = threading.Condition()
        self._told = REST
        self._resting = 0
        self._live = THREADS
        self.status = 0
        counter = itertools.count(part.member << BITS)
        self._loaders = []
        for thread in range(THREADS):
            chance = Random(f"{part.seed}/{part.member}/{thread}")
            mix = Mix(chance, lambda: next(counter), by_value=not part.owns)
            self._loaders.append(Loader(queue, self._ledger, mix, chance, folder / "offers"))

    def run(self) -> int:
        """Until it is told to leave, or the queue ends. Returns the exit status."""
        threading.Thread(target=self._listen, name="listener", daemon=True).start()
        others = [threading.Thread(target=self._load, args=(loader,)) for loader in self._loaders[1:]]
        for thread in others:
            thread.start()
        self._load(self._loaders[0])
        for thread in others:
            thread.join()
        if self.status == 0:
            self._queue.close(timeout=0.05 if self._told == HURRY else None)
            for loader in self._loaders:
                loader.abandon()
        return self.status

    def tell(self, what: str) -> None:
        with self._changed:
            if self._told not in (LEAVE, HURRY):
                self._told = what
            self._changed.notify_all()

    # the threads that submit

    def _load(self, loader: Loader) -> None:
        try:
            loader.every_way()
            while self._wait_for_go():
                loader.batch()
        except ENDED as error:
            say({"closed": f"{type(error).__name__}: {error}"})
        except Stalled:
            self.status = STALLED
            time.sleep(60.0)  # whoever looks at this should find it as it is
        except BaseException:  # noqa: BLE001 - whatever it is, the conductor must hear of it
            self._ledger.trouble(f"a member's thread ended with {traceback.format_exc()}")
            self.status = 1
        with self._changed:
            self._live -= 1
            self._changed.notify_all()

    def _wait_for_go(self) -> bool:
        with self._changed:
            self._resting += 1
            self._changed.notify_all()
            while self._told == REST:
                self._changed.wait(0.05)
                self._queue._client.reap()  # of a map that was let go, what ran already is still to come
            self._resting -= 1
            return self._told == GO

    # the thread that listens

    def _listen(self) -> None:
        for line in sys.stdin:
            word = line.strip()
            if word == "inspect":
                say({"inspected": watch.inspect(self._queue, float(next(sys.stdin)))})
            else:
                self.tell(word)
            if word == REST:
                threading.Thread(target=self._say_when_resting, daemon=True).start()
        os._exit(RETURNED_NOTHING)

    def _say_when_resting(self) -> None:
        with self._changed:
            while self._resting < self._live and self._told == REST:
                self._changed.wait(1.0)
            if self._told == REST:
                say({"resting": True})


def say(what: dict[str, object]) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def _open(part: Part) -> LocalQueue | None:
    if part.owns:
        return LocalQueue(name=part.name, **part.settings)
    until = time.monotonic() + 15.0
    while True:
        try:
            return LocalQueue.attach(part.name)
        except AttachError as error:  # its supervisor was killed just now; or its owner, then there is nobody to come
            say({"refused": str(error)})
            if time.monotonic() > until:
                return None
            time.sleep(0.02)


def main() -> int:
    part = Part(**json.loads(sys.argv[1]))
    stacks = open(Path(part.folder) / f"stacks-{part.member}", "w")  # noqa: SIM115 - for as long as it lives
    faulthandler.register(signal.SIGUSR2, stacks, all_threads=True)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    queue = _open(part)
    if queue is None:
        return 0
    member = Member(part, queue)
    if not part.owns:
        how = Random(part.seed + str(part.member)).choice((LEAVE, LEAVE, HURRY))
        signal.signal(signal.SIGTERM, lambda number, frame: member.tell(how))
    say({"up": os.getpid()})
    return member.run()


if __name__ == "__main__":
    sys.exit(main())

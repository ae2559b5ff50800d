# SPDX-License-Identifier: MIT
"""Shared memory that says anything at all, looked at through `_native.Space`.

Whoever opens or reads it gets an answer or one of the promised exceptions. Each test is a program of its own, because
what is feared is a crash of the process. The harm is done to copies of the segments of a queue that was at work.
native/tests/test_fuzz.c does the same to the C functions, with guards around the memory.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.scripts import run_script

PROGRAM = '''
import fcntl, mmap, os, random, signal, struct, sys, time

from localq import LayoutMismatch, LocalQueue, SpaceCorrupt
from localq._native import Space
from localq.monitor.arguments import summary
from tests.support.tasks import fail, same

MEMORY = 16 << 20
HEADER = 512
SLOT = 256
RESULT = 184  # where the inline result lies in a slot
RESULT_BYTES = 40  # where its length is said
TEXT = "a result that lies in its slot"


def copy_of(fd):
    """A segment with the same bytes, which nobody else has."""
    size = os.fstat(fd).st_size
    copy = os.memfd_create("fuzz", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.truncate(copy, size)
    os.pwrite(copy, os.pread(fd, size, 0), 0)
    fcntl.fcntl(copy, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    return copy


def at_work():
    """(control, payload, places of tasks): results of all sizes, one task that runs, some that wait."""
    with LocalQueue(workers=1, capacity=32, result_cache_size=16, memory=MEMORY, queues=("first", "second")) as queue:
        futures = [queue.delay(same, value) for value in (TEXT, b"y" * 3000, b"z" * 1_500_000)] + [queue.delay(fail)]
        for future in futures:
            future.exception(20)
        futures.append(queue.delay(time.sleep, 60))
        while not futures[-1].running():
            time.sleep(0.001)
        futures += [queue.delay(same, b"w" * 10**power) for power in range(6)]
        places = [tuple(int(part, 16) for part in future.task_id.split("-")[1:]) for future in futures]
        control, payload = map(copy_of, queue._space.fds)
        queue.close(cancel_pending=True, timeout=0)
    return control, payload, places


def opened(writable=False):
    return Space.open(os.dup(control), os.dup(payload), writable)


def read_everything(space, rng):
    space.identity, space.capacity, space.memory, space.phase, space.workers
    assert len(space.rows()) < 256
    assert sum(map(sum, space.depths())) <= 8 * 128
    assert sum(space.slots().values()) <= 48
    space.arena(), space.holdings(), space.pinned_by(rng.randrange(256))
    assert sum(len(events) for events in (space.journal(), space.running())) <= 256 * 32 + 48
    space.meters(), space.functions(), space.trace(bytearray())
    problem = space.check()
    assert problem is None or problem
    for slot, generation in [*places, (rng.getrandbits(32), 1), (rng.randrange(64), rng.randrange(4))]:
        reading = space.read(slot, generation)
        if reading is not None:
            assert reading.payload is None or len(reading.payload) <= MEMORY
            [getattr(reading, name) for name in dir(reading) if name[0] != "_"]
        space.notes(slot, generation), space.gone(slot, generation), space.name_of(slot, generation)
        summary(space.arguments(slot, generation))
    return problem


def wild(was, rng):
    """Eight other bytes: any, an extreme, or nearly the same."""
    value = int.from_bytes(was, "little")
    choices = (rng.getrandbits(64), 0, 2**64 - 1, value + 1, value - 1, 1 << rng.randrange(64),
               rng.getrandbits(64) >> rng.randrange(64), value ^ 1 << rng.randrange(64),
               value ^ rng.getrandbits(8) << 8 * rng.randrange(8))
    return (rng.choice(choices) % 2**64).to_bytes(8, "little")


def harm(rng, words, times):
    """Overwrite some of these words. Returns what was there."""
    before = []
    for at in [rng.choice(words) for _ in range(times)]:
        before.append((at, memory[at : at + 8]))
        memory[at : at + 8] = wild(memory[at : at + 8], rng)
    return before


def mend(before):
    for at, was in reversed(before):
        memory[at : at + 8] = was


def header(seeds):
    """Open what may not be a Space."""
    counts = {"opened": 0, "refused": 0}
    for seed in range(seeds):
        rng = random.Random(seed)
        if seed % 4 == 0:  # all of it, or all but what says that it is a Space of this version
            start = 0 if seed % 8 == 0 else 16
            memory[start:HEADER] = rng.randbytes(HEADER - start)
        else:
            harm(rng, range(0, 128 if seed % 4 == 1 else HEADER, 8), 1)
        try:
            space = opened(writable=bool(seed % 2))
        except (LayoutMismatch, SpaceCorrupt, OSError):
            counts["refused"] += 1
        else:
            counts["opened"] += 1
            read_everything(space, rng)
        memory[:HEADER] = sound[:HEADER]
    assert memory[:] == sound, "opening and reading wrote something"
    print(counts["opened"] > 0, counts["refused"] > 0)


def body(seeds):
    """Read what no version writes. Mostly words that say something: the rest is zero, and looked at by few."""
    space = opened()
    said = [at for at in range(0, len(sound), 8) if any(sound[at : at + 8])]
    noticed = 0
    for seed in range(seeds):
        rng = random.Random(seed)
        words = said if seed % 8 else range(0, len(sound), 8)
        before = harm(rng, words, rng.choice((1, 1, 4, 16, 200)))
        noticed += read_everything(space, rng) is not None
        mend(before)
    assert memory[:] == sound, "reading wrote something"
    print(0 < noticed < seeds, read_everything(space, random.Random(0)))


def meanwhile(seconds):
    """Read while another process writes."""
    space = opened()
    said = [at for at in range(0, len(sound), 8) if any(sound[at : at + 8])]
    scribbler = os.fork()
    if scribbler == 0:
        rng = random.Random(1)
        while os.getppid() == parent:
            for _ in range(100):
                before = harm(rng, said, 8)
                mend(before)
        os._exit(0)
    until = time.monotonic() + seconds
    rng = random.Random(2)
    answers = set()
    while time.monotonic() < until:
        answers.add(read_everything(space, rng))
    os.kill(scribbler, signal.SIGKILL)
    os.waitpid(scribbler, 0)
    print(len(answers) > 1, True)


def longer(limit):
    """A result that lies in its slot and says that it is longer than the slot."""
    space = opened()
    assert space.read(*places[0]).payload.endswith(TEXT.encode())
    found = -1
    while (found := sound.find(TEXT.encode(), found + 1)) % SLOT < RESULT:
        assert found >= 0
    at = found // SLOT * SLOT + RESULT_BYTES
    said, = struct.unpack_from("<I", memory, at)
    assert said == len(space.read(*places[0]).payload)
    for length in (72, 73, 256, 10_000, 2**31, limit):
        struct.pack_into("<I", memory, at, length)
        reading = space.read(*places[0])
        assert (reading is not None) == (length <= 72), length
    print(True, True)


if __name__ == "__main__":
    parent = os.getpid()
    control, payload, places = at_work()
    memory = mmap.mmap(control, 0)
    sound = memory[:]
    {"header": header, "body": body, "meanwhile": meanwhile, "longer": longer}[sys.argv[1]](int(sys.argv[2]))
'''


@pytest.mark.slow
def test_a_header_of_random_bytes_is_opened_or_refused_with_the_promised_errors(tmp_path: Path) -> None:
    assert run_script(tmp_path, PROGRAM, "header", "1500").split() == ["True", "True"]


@pytest.mark.slow
def test_readers_answer_whatever_the_memory_says(tmp_path: Path) -> None:
    assert run_script(tmp_path, PROGRAM, "body", "1000").split() == ["True", "None"]


@pytest.mark.slow
def test_readers_answer_while_another_process_scribbles(tmp_path: Path) -> None:
    assert run_script(tmp_path, PROGRAM, "meanwhile", "1").split() == ["True", "True"]


def test_a_result_that_says_it_is_longer_than_its_slot_is_no_result(tmp_path: Path) -> None:
    assert run_script(tmp_path, PROGRAM, "longer", str(2**32 - 1)).split() == ["True", "True"]

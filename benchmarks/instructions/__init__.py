# SPDX-License-Identifier: MIT
"""Instructions per task on the hot paths: what seconds are too noisy to tell, of a change or of a commit.

`python -m benchmarks.instructions` prints them, with `--check` it compares them with those stored in `counts.json`.
CI does.

Why they can be compared: client and worker are played by one process that takes both parts in turn (`paths.py`), so
nobody waits, spins or sleeps; the clock is a stub that passes by 20 ns with every look (`marks.c`), so nothing depends
on how long valgrind takes; hashes are not random, the garbage collector is off. Each step is done with N tasks and with
2N, and the difference divided by N: whatever is done once drops out. What remains differs between two runs by less
than a thousandth. What it cannot tell: cache misses, what contention costs, and what a sleep and a wake-up cost.

Which of them are compared, and with what:
- the instructions of our extension, by part (`parts.py`). They depend on Cython, on the compiler and what it was told,
  and on the macros of Python's headers: counts are stored by the versions of these (patches aside) and by the flags
  that Python hands to compilers. Debian's Python, for one, asks for a stack protector, which costs six instructions
  in many a function. Where no counts are stored for such a build, that is said, and is no failure.
- the instructions of the interpreter, and so those of our modules in Python. They depend on how it was built itself,
  so they are compared only with counts from the very same version.
- not those of the C library, which has other code for other processors.

A path that became cheaper by more than the tolerance fails as well, or else what was gained could be lost again
without a word: `--update` stores the counts of today.
"""

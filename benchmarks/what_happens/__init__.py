# SPDX-License-Identifier: MIT
"""What happens when something goes wrong: the same faults for localq and its peers, each in a process of its own.

`python -m benchmarks.what_happens`; the result is WHAT_HAPPENS.md.
"""

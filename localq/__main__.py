# SPDX-License-Identifier: MIT
"""`python -m localq`: the command line, where the program `localq` is not on the path."""

from localq.cli import main

main()

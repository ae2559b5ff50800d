# SPDX-License-Identifier: MIT
"""A soak: clients submit all there is while processes of all roles are killed and stopped; then it is accounted for.

    python -m benchmarks.soak --minutes 2 --seed 7

`__main__` is the command, `conductor` a whole run, `epoch` the life of one owner, `helper` a process that was started,
`member` what an owner or a client is, `load` what its threads submit and collect, `orders` the mix, `tasks` what the
workers run, `chaos` the process that kills and stops, `ledger` the files in which everything is noted, `verify` what is
demanded of them, `watch` what is seen from outside (what is left of the dead, what a stall is like), `report` tables.
"""

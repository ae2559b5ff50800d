# SPDX-License-Identifier: MIT
"""Which part of the work a function belongs to, by its name: what people ask after when a path has become dearer.

A function stands where most of its own instructions go; what the compiler has inlined into it goes with it.
"""

from __future__ import annotations

import re
from typing import Final

#: Not ours: the interpreter and all other Python modules, and the C library.
PYTHON: Final = "python"
SYSTEM: Final = "system"

_PATTERNS = {  # the first that matches the beginning
    "clock": r"lq_now_ns",
    "encode": r"lq_value_encode|encode_|spill|lq_out_|Client\.encode|find_inputs|gather",
    "decode": r"lq_value_decode|decode_|Future\.decode",
    "bell": r"lq_bell|lq_futex|lq_space_call|lq_client_sleep",
    "ring": r"lq_ring|search_|claim_|lq_worker_take(_now)?$|lq_client_(submit|reap)$|lq_space_announce",
    "arena": (
        r"lq_(arena|pin|view|segment|space_block)|(take_(run|block|in_span)|free_run|let_go)_|receive|hold_of|untie"
        r"|(Outgoing|Incoming|Block|Pinner|Hold|Space)\.|(Client|Worker)\.(store|take|write|hold|receive|look|untie)"
        r"|lq_(client_(store|hold|take)|worker_(hold|take|store))"
    ),
    "slot": r"lq_|calls_of_|hand_over_|remember_|stock_|Client\.(fill|reserve|consume|discard)",
    "call": r"Worker\.",
    "future": r"Future\.|Client\.|Results\.|Submitter\.|delay",
    "other": "",  # Cython's own, mostly
}

#: Of our extension, in the order of a task's way.
OURS: Final = ("future", "encode", "arena", "slot", "ring", "bell", "clock", "decode", "call", "other")

_MADE_BY_COMPILER = re.compile(r"(\.(cold|part|isra|constprop|lto_priv)(\.\d+)*)+$|'\d+$")
_MADE_BY_CYTHON = re.compile(r"__pyx_(?P<kind>\w+?)_6localq_7_native_(?P<rest>\w+)$")
_METHOD = re.compile(r"(?P<length>\d+)(?P<rest>[A-Za-z_]\w*)$")


def plain_name(symbol: str) -> str:
    """`Client.submit` for what Cython and the compiler call `__pyx_f_6localq_7_native_6Client_submit.part.0`."""
    while (name := _MADE_BY_COMPILER.sub("", symbol)) != symbol:
        symbol = name
    made = _MADE_BY_CYTHON.fullmatch(name)
    if made is None:
        return name
    kind, rest = made["kind"], made["rest"]
    method = _METHOD.fullmatch(rest)
    if method is not None:
        length = int(method["length"])
        owner, name = method["rest"][:length], method["rest"][length:].lstrip("_")
        return f"{owner}.{re.sub(r'^[0-9]+', '', name)}"
    return f"{rest}.{kind}" if kind.startswith("tp_") else rest


def part_of(symbol: str) -> str:
    """One of OURS, for a function of our extension."""
    name = plain_name(symbol)
    return next(part for part, pattern in _PATTERNS.items() if re.match(pattern, name))

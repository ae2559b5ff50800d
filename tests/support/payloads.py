# SPDX-License-Identifier: MIT
"""Values that go the way of large ones: packed, written elsewhere, unpacked from there."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from localq.payload import Payload
from localq.pickling import pack, unpack


class Arrived:
    """What the native side gives the codec: the parts of a payload in memory that is nobody else's."""

    def __init__(self, payload: Payload) -> None:
        self.head = memoryview(b"".join(payload.head))
        self.buffers = [memoryview(bytes(each) if each.readonly else bytearray(each)) for each in payload.buffers]


def packed(value: object) -> Payload:
    """`value` as a payload, which it must be large enough for."""
    payload = pack(value)
    assert isinstance(payload, Payload), f"{len(payload)} bytes, all in the pickle"
    return payload


def carried(value: object) -> Any:
    """`value` as the other side gets it."""
    payload = pack(value)
    if not isinstance(payload, Payload):
        return pickle.loads(payload)
    arrived = Arrived(payload)
    return unpack(arrived.head, arrived.buffers)


@contextmanager
def everything_aside() -> Iterator[None]:
    """Even the smallest buffers go beside the pickle."""
    from localq import pickling

    before, pickling.ASIDE = pickling.ASIDE, 0
    try:
        yield
    finally:
        pickling.ASIDE = before

# SPDX-License-Identifier: MIT
"""A value on its way, in the parts that go into shared memory one by one.

Made by `localq.pickling` where a value is large; the native side writes it into a block, and what it finds there on
the other side goes to `localq.pickling.unpack`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Piece = bytes | bytearray

__all__ = ["Payload", "owner_in_arena"]

MOST_BASES = 32  # steps from an array to whose memory it is: numpy takes one or two, foreign objects may go round


class Payload:
    """A pickle in pieces, the buffers that it refers to by their order, and the shared blocks that it names.

    Nothing in here is a copy: pieces and buffers are the memory of the value itself wherever it is contiguous. So they
    change with the value until they are written, or `frozen`.
    """

    __slots__ = ("buffers", "head", "holders", "refs")

    head: list[Piece]
    """The pickle; large `bytes` and `bytearray` stand alone in it."""
    buffers: list[memoryview]
    """Flat views of bytes, read-only where the sender's memory is."""
    refs: list[tuple[int, int]]
    """Each shared block that the pickle mentions: its number, its generation."""
    holders: list[Any]
    """What keeps these blocks as long as the payload is not sent."""

    def __init__(
        self,
        head: list[Piece],
        buffers: list[memoryview] | None = None,
        refs: list[tuple[int, int]] | None = None,
        holders: list[Any] | None = None,
    ) -> None:
        self.head = head
        self.buffers = [] if buffers is None else buffers
        self.refs = [] if refs is None else refs
        self.holders = [] if holders is None else holders

    def __repr__(self) -> str:
        return f"<Payload of {self.nbytes} bytes: {len(self.head)} pieces, {len(self.buffers)} buffers>"

    @property
    def nbytes(self) -> int:
        """Of pieces and buffers together, without what the block needs between them."""
        return sum(map(len, self.head)) + sum(buffer.nbytes for buffer in self.buffers)

    def frozen(self) -> Payload:
        """The same with memory of its own: what happens to the value from now on does not change it. Memory that is in
        the arena stays what it is: shared, and seen as it is when the task looks."""
        head: list[Piece] = [bytes(piece) for piece in self.head]  # `bytes` of bytes copies nothing
        return Payload(head, list(map(_copy, self.buffers)), self.refs.copy(), self.holders.copy())


def owner_in_arena(memory: Any) -> Any:
    """Whom an array or a view of memory belongs to, if that is the arena, which other processes share; else None. The
    owner says so, by an attribute `in_arena`; arrays lead to it by their `base`."""
    owner = memory
    for _ in range(MOST_BASES):
        owner = owner.obj if type(owner) is memoryview else getattr(owner, "base", None)
        if owner is None:
            return None
        if getattr(owner, "in_arena", False) is True:
            return owner
    return None


def _copy(buffer: memoryview) -> memoryview:
    if owner_in_arena(buffer) is not None:
        return buffer
    return memoryview(bytes(buffer) if buffer.readonly else bytearray(buffer))

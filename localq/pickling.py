# SPDX-License-Identifier: MIT
"""Any Python object to bytes: by reference what the other side can import, by value what it cannot.

Used by `localq.functions` and `localq.codec`. Protocol 5 of the C pickler first; cloudpickle, whose import and
whose work are much dearer, only for objects that need it. `dumps` puts everything into the pickle; `pack` leaves large
contents where they are, beside it. The ways back, for either pickler: `pickle.loads`, and `unpack`.
"""

from __future__ import annotations

import sys
from _pickle import Pickler, UnpicklingError, loads  # `pickle` itself imports `re` and more, 8 ms that no task needs
from sys import modules
from types import FunctionType, MethodType

from localq.payload import Payload, owner_in_arena
from localq.record import Record
from localq.reducers import OTHER_MODULES, array_reducers, has_plain_memory, reduce, reduce_other

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pickle import PickleBuffer
    from typing import Any

__all__ = ["Blame", "Pieces", "blame", "by_reference", "dumps", "pack", "probe", "type_name", "unpack"]

PROTOCOL = 5

ASIDE = 8192  # bytes of contents from which it pays to keep them out of the pickle; measured: 8 to 16 KiB
LARGE = 65_536  # bytes of a pickle from which it pays not to join its pieces


def by_reference(value: object) -> tuple[str, str] | None:
    """The module and qualified name under which another process can import this very object.

    None for what lives in `__main__`, lambdas, local functions, instances and their bound methods, partials, and
    whatever its own name does not lead back to.
    """
    module_name = getattr(value, "__module__", None)
    qualname = getattr(value, "__qualname__", None)
    if not isinstance(module_name, str) or not isinstance(qualname, str) or module_name == "__main__":
        return None
    found: object = sys.modules.get(module_name)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    # A method bound to its class is a new object at each look-up, equal to the others.
    same = found is value or (isinstance(value, MethodType) and isinstance(value.__self__, type) and found == value)
    return (module_name, qualname) if same and found is not None else None


def dumps(value: object) -> bytes:
    """Pickle `value`; what the other side cannot import travels by value.

    Raises:
        Exception: whatever pickling raised, the value's own code included.
    """
    if not _Pickler.arrays and "numpy" in modules:
        _Pickler.meet_arrays()
    try:
        pieces = Pieces()
        _Pickler(pieces, PROTOCOL).dump(value)
    except Exception:  # noqa: BLE001 - the pickler, or the value's own code; the other pickler has the last word
        from localq.by_value import ByValuePickler

        pieces = Pieces()
        ByValuePickler(pieces, PROTOCOL).dump(value)
    return b"".join(pieces)


def pack(value: object, resolve: bool = False) -> bytes | Payload:
    """As `dumps`, but what is large stays apart: neither copied nor joined.

    A `Payload` where there are contents of `ASIDE` bytes or more that can be taken as they are, or where the pickle is
    longer than `LARGE` and has several pieces, or where there are shared values in it; else bytes. Until it is written
    or frozen it changes with the value. `resolve`: a SharedRef in it becomes its value on the other side.

    Raises:
        Exception: as `dumps`.
    """
    if not _Pickler.arrays and "numpy" in modules:
        _Pickler.meet_arrays()
    try:
        pieces = Pieces()
        pickler = _Pickler(pieces, PROTOCOL, True, pieces.take)
        pickler.names = pieces
        pieces.resolves = resolve
        pickler.dump(value)
    except Exception:  # noqa: BLE001 - as in `dumps`
        from localq.by_value import ByValuePickler

        pieces = Pieces()
        pieces.resolves = resolve
        slower = ByValuePickler(pieces, PROTOCOL, pieces.take)
        slower.names = pieces
        slower.dump(value)
    if pieces.buffers or pieces.refs:
        return Payload(pieces, pieces.buffers, pieces.refs, pieces.holders)
    if len(pieces) > 1 and sum(map(len, pieces)) > LARGE:
        return Payload(pieces)
    return b"".join(pieces)


def unpack(head: bytes | bytearray | memoryview, buffers: list[memoryview]) -> Any:
    """The value of a `Payload`: its pieces joined, and its buffers, whose memory the value keeps.

    Raises:
        ValueError: there are more, or fewer, buffers than the pickle refers to.
        Exception: whatever unpickling raised, the value's own code included.
    """
    left = iter(buffers)
    try:
        value = loads(head, buffers=left)
    except UnpicklingError as error:
        if "out-of-band buffers" not in str(error):
            raise
        raise ValueError(f"a payload has {len(buffers)} buffers and refers to more; it is damaged") from error
    if next(left, None) is not None:
        raise ValueError(f"a payload has {len(buffers)} buffers and refers to fewer; it is damaged")
    return value


def probe(value: object) -> None:
    """Ask whether `value` can be pickled, without a copy of what is large in it.

    Raises:
        Exception: as `dumps`.
    """
    try:
        _Prober(_Nowhere(), PROTOCOL, buffer_callback=_pass_over).dump(value)
    except Exception:  # noqa: BLE001 - as in `dumps`
        from localq.by_value import ByValueProber

        ByValueProber(_Nowhere(), PROTOCOL, _pass_over).dump(value)


class Pieces(list["Any"]):  # of bytes; large ones may be the value's own bytearray
    """What the pickler writes: large parts arrive alone, as they are. And what stays beside it."""

    buffers: list[memoryview] | None = None
    refs: list[tuple[int, int]] | None = None
    holders: list[Any] | None = None
    resolves = False

    write = list.append

    def name(self, value: Any) -> Any:
        """The recipe for what lives in the arena: its name, which is noted."""
        from localq.shared import recipe

        if self.refs is None or self.holders is None:
            self.refs, self.holders = [], []
        self.holders.append(value)
        return recipe(value, self.refs, self.resolves)

    def take(self, buffer: PickleBuffer) -> bool:
        """As `buffer_callback`: whether the buffer is to go into the pickle after all."""
        view = buffer.raw()
        if view.nbytes < ASIDE and owner_in_arena(view) is None:
            return True
        if self.buffers is None:
            self.buffers = []
        self.buffers.append(view)
        return False


class _Nowhere:
    """For the pickler to write to."""

    def write(self, piece: object) -> None: ...


def _pass_over(buffer: PickleBuffer) -> bool:
    return False


MODULES = frozenset(("__main__", "localq.shared", *OTHER_MODULES))  # of values that `_Pickler` looks at more closely


class _Pickler(Pickler):
    """Gives up at the first object of `__main__`: pickle would name it, and a worker has another `__main__`.

    Lambdas, local functions and everything else that its name does not lead to make the pickler itself fail.
    """

    arrays: type | tuple[()] = ()  # numpy's, once it is loaded: most workers never load it
    names: Pieces | None = None  # who notes the shared values; None: nobody

    @classmethod
    def meet_arrays(cls) -> None:
        """Know them from now on. Asked for until numpy is there."""
        known = array_reducers()
        if known is not None:
            cls.arrays = known.Array

    def reducer_override(self, value: object) -> Any:
        if isinstance(value, self.arrays):
            return reduce(value)
        module = getattr(value, "__module__", None)
        if module not in MODULES:
            return NotImplemented
        if module == "__main__":
            raise TypeError("an object of __main__ must go by value")
        if module == "localq.shared" and type(value).__module__ == module:
            return NotImplemented if self.names is None else self.names.name(value)
        return reduce_other(value)


class _Prober(_Pickler):
    """Takes for granted that memory can be copied."""

    def reducer_override(self, value: object) -> Any:
        return (type, (type(value),)) if has_plain_memory(value) else super().reducer_override(value)


class Blame(Record):
    """The smallest part of a value that cannot be pickled.

    `path` leads to it ("['a'][2].lock", "" for the value itself), `reason` is what the pickler said.
    """

    __slots__ = ("path", "reason", "type_name")

    path: str
    reason: str
    type_name: str

    def __init__(self, path: str, type_name: str, reason: str) -> None:
        self._set(path=path, type_name=type_name, reason=reason)


MAX_BLAME_DEPTH = 32
MAX_BLAME_TRIES = 2000  # each pickles a part: bounds the time a large value with a bad part takes


def blame(value: object, dumps: Callable[[object], object] = probe) -> Blame | None:
    """Find the smallest part of `value` that `dumps` refuses; None when it accepts the whole.

    Walks containers, attributes, closures and globals of functions, as far as the limits above allow.
    """
    reason = _refusal(value, dumps)
    if reason is None:
        return None
    path, tries, seen = "", MAX_BLAME_TRIES, {id(value)}
    for _ in range(MAX_BLAME_DEPTH):
        for step, part in _parts(value):  # noqa: B007 - used after the loop
            if tries == 0:
                return Blame(path, type_name(value), reason)
            if id(part) in seen:
                continue
            tries -= 1
            why = _refusal(part, dumps)
            if why is not None:
                break
        else:  # every part passes: it is the value itself
            break
        seen.add(id(part))
        path, value, reason = path + step, part, why
    return Blame(path, type_name(value), reason)


def type_name(value: object) -> str:
    """The dotted name of the value's type, without `builtins`."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _refusal(value: object, dumps: Callable[[object], object]) -> str | None:
    try:
        dumps(value)
    except Exception as error:  # noqa: BLE001 - this is the question asked
        return describe(error)
    return None


def describe(error: BaseException) -> str:
    """What an exception says, on one line of bounded length, whatever its `__str__` does."""
    try:
        text = " ".join(str(error).split())
    except BaseException:  # noqa: BLE001 - the exception's own code
        text = "its own str() failed"
    text = text if len(text) <= 300 else f"{text[:296]} ..."
    return text or type_name(error)


def _parts(value: object) -> Iterator[tuple[str, object]]:
    """The parts that pickling `value` would pickle, each with its step of a path."""
    if isinstance(value, FunctionType):
        yield from _parts_of_function(value)
    elif isinstance(value, MethodType):
        yield ".__self__", value.__self__
        yield ".__func__", value.__func__
    elif isinstance(value, type):
        yield from ((f".{name}", part) for name, part in list(vars(value).items()))
    elif type(value) is dict:
        for key, part in list(value.items()):
            yield f"[{_short(key)}]", part
            yield f".keys()[{_short(key)}]", key
    elif type(value) in (list, tuple):
        assert isinstance(value, list | tuple)
        yield from ((f"[{index}]", part) for index, part in enumerate(list(value)))
    elif type(value) in (set, frozenset):
        assert isinstance(value, set | frozenset)
        yield from ((f"{{{_short(part)}}}", part) for part in list(value))
    elif isinstance(value, _Pickler.arrays) and value.dtype.kind == "O":  # type: ignore[attr-defined]
        yield from _parts_of_array(value)
    else:
        yield from _parts_of_instance(value)


def _parts_of_array(array: Any) -> Iterator[tuple[str, object]]:
    from numpy import ndenumerate

    yield from ((f"[{', '.join(map(str, index))}]", item) for index, item in ndenumerate(array))


def _parts_of_function(function: FunctionType) -> Iterator[tuple[str, object]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f".__closure__[{name!r}]", cell.cell_contents
        except ValueError:  # not bound yet
            continue
    for index, default in enumerate(function.__defaults__ or ()):
        yield f".__defaults__[{index}]", default
    for name, default in (function.__kwdefaults__ or {}).items():
        yield f".__kwdefaults__[{name!r}]", default
    yield from ((f".{name}", part) for name, part in list(vars(function).items()))
    from localq.by_value import names

    for name in names(function.__code__).globals:
        if name in function.__globals__:
            yield f".__globals__[{name!r}]", function.__globals__[name]


def _parts_of_instance(value: object) -> Iterator[tuple[str, object]]:
    """What the object's own reduction would hand to the pickler."""
    try:
        reduced: Any = value.__reduce_ex__(PROTOCOL)
    except Exception:  # noqa: BLE001 - the object refuses as a whole: it has no parts to blame
        return
    if not isinstance(reduced, tuple):  # the name of a global
        return
    _, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
    for part in state if isinstance(state, tuple) else (state,):
        if isinstance(part, dict):  # attributes, or slots
            yield from ((f".{name}", attribute) for name, attribute in part.items())
        else:
            yield ".__getstate__()", part
    yield from ((f"[{index}]", item) for index, item in enumerate(items or ()))
    yield from ((f"[{_short(key)}]", item) for key, item in pairs or ())
    yield from ((f".__reduce__()[1][{index}]", argument) for index, argument in enumerate(arguments))


def _short(value: object) -> str:
    """A key or element within a path."""
    if isinstance(value, str | int | float | bytes | None):
        text = repr(value)
        return text if len(text) <= 40 else f"{text[:36]} ..."
    return f"<{type_name(value)}>"

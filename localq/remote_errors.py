# SPDX-License-Identifier: MIT
"""Exceptions that cross from a worker to the client.

Used by `localq.codec`. An exception may be as broken as it likes: one that does not pickle, does not unpickle, or
raises when it is printed still arrives, with the text of its traceback, and as its own type where possible.
"""

from __future__ import annotations

from _pickle import dumps as dump_plain
from _pickle import loads

from localq.errors import RemoteTraceback, TaskFailed
from localq.pickling import PROTOCOL, dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["decode_error", "encode_error"]

MAX_TEXT = 100_000  # characters of a traceback or a message: more helps nobody
MAX_GROUP_DEPTH = 16  # of exception groups within groups; deeper ones arrive as text
MAX_CHAIN = 16  # exceptions linked to one by `__cause__` and `__context__`; those further away arrive as text
MAX_LINKED = 256  # of all members of a group together

CAUSE: Any = BaseException.__cause__  # past what a class may have put in its place
CONTEXT: Any = BaseException.__context__


def encode_error(error: BaseException) -> bytes:
    """All that can be saved of an exception, with its causes and contexts; never fails."""
    return _encode(error, 0, [error])


def _encode(error: BaseException, depth: int, seen: list[BaseException]) -> bytes:
    """`depth` counts the groups around it, `seen` are the exceptions that need not be linked to again."""
    chain, links = _chain(error, seen)
    parts = [
        (
            _type_name(each),
            _message(each),
            _notes(each),
            [_encode(member, depth + 1, seen) for member in _members(each)] if depth < MAX_GROUP_DEPTH else [],
            _recipe(each) if depth < MAX_GROUP_DEPTH else None,
            *link,
        )
        for each, link in zip(chain, links, strict=True)
    ]
    return dump_plain((_traceback_text(error), parts), PROTOCOL)


def _chain(error: BaseException, seen: list[BaseException]) -> tuple[list[BaseException], list[list[int | None]]]:
    """The exceptions that hang together with one, itself first; and for each the places of its cause and context."""
    chain, links = [error], []
    for each in chain:  # grows meanwhile
        link: list[int | None] = []
        for other in (CAUSE.__get__(each), CONTEXT.__get__(each)):
            place = next((at for at, known in enumerate(chain) if known is other), None)
            is_new = other is not None and place is None and not any(known is other for known in seen)
            if is_new and len(chain) < MAX_CHAIN and len(seen) < MAX_LINKED:
                place = len(chain)
                chain.append(other)
                seen.append(other)
            link.append(place)
        links.append(link)
    return chain, links


def decode_error(payload: bytes | bytearray | memoryview, task_id: str | None, attempts: int) -> BaseException:
    """The exception that was encoded, its causes and contexts rebuilt as well as itself.

    The text of its traceback is the cause of the last one in its chain of causes: of itself, where it was not raised
    from another. One that cannot be rebuilt here becomes a `TaskFailed` of that task.
    """
    text, parts = loads(payload)
    text = _with_sources(text)
    chain: list[BaseException] = []
    for kind, message, notes, members, recipe, _, _ in parts:
        error = _rebuild(recipe, [decode_error(member, task_id, attempts) for member in members])
        if error is None or any(error is other for other in chain):
            error = TaskFailed(kind, message, text, task_id=task_id, attempts=attempts)
        # Written past the exception's own code, which might refuse, or do anything.
        if notes:
            object.__getattribute__(error, "__dict__").setdefault("__notes__", notes)
        chain.append(error)
    for error, (*_, cause, context) in zip(chain, parts, strict=True):
        if context is not None:
            CONTEXT.__set__(error, chain[context])
        if cause is not None:
            CAUSE.__set__(error, chain[cause])
    at, passed = 0, {0}
    while (cause := parts[at][-2]) is not None and cause not in passed:
        at = cause
        passed.add(at)
    CAUSE.__set__(chain[at], RemoteTraceback(text))
    return chain[0]


def _with_sources(text: str) -> str:
    """With the lines of code that only this process knows: a notebook's cells, what was typed at a prompt."""
    if ", line " not in text:
        return text
    lines = text.split("\n")
    complete = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        complete.append(line)
        indent, is_frame, place = line.partition('File "')
        if not is_frame or following.startswith(f"{indent}  ") or indent.strip("| +-"):
            continue
        name, _, rest = place.partition('", line ')
        number = rest.partition(",")[0]
        if number.isdecimal():
            from linecache import getline

            source = getline(name, int(number)).strip()
            complete += [f"{indent}  {source}"] if source else []
    return "\n".join(complete)


def _members(error: BaseException) -> tuple[BaseException, ...]:
    # Not isinstance: that asks the exception for its __class__.
    if issubclass(type(error), BaseExceptionGroup):
        return BaseExceptionGroup.exceptions.__get__(error)  # type: ignore[no-any-return]
    return ()


def _recipe(error: BaseException) -> bytes | None:
    """A pickle to rebuild the exception from, tried out here; None when nothing gives back its type.

    Pickle calls the class with `args`. Where `__init__` takes something else than it passes on, that fails, or
    words the message twice. So what comes back is compared, and the second way builds the exception from its
    parts without its `__init__`; attributes that do not pickle stay behind.
    """
    usable = None
    for make in (_whole, _parts):
        try:
            recipe = dumps(make(error))
            copy = _rebuild(recipe, list(_members(error)))
        except BaseException:  # noqa: BLE001 - the exception's own code may raise anything
            continue
        if type(copy) is type(error):
            if _message(copy) == _message(error):
                return recipe
            usable = recipe
    return usable


def _whole(error: BaseException) -> tuple[object, ...]:
    if isinstance(error, BaseExceptionGroup):
        raise TypeError("its members must travel one by one")
    return (error,)


def _parts(error: BaseException) -> tuple[object, ...]:
    kind = type(error)
    if isinstance(error, BaseExceptionGroup):
        return kind, (error.message,), _attributes(error)
    reduced = error.__reduce__()
    assert isinstance(reduced, tuple)
    args = reduced[1] if reduced[0] is kind else error.args
    return kind, args, _attributes(error)


def _rebuild(recipe: bytes | None, members: list[BaseException]) -> BaseException | None:
    if recipe is None:
        return None
    try:
        match loads(recipe):
            case (BaseException() as error,):
                return error
            case (kind, args, attributes):
                return _assemble(kind, (*args, members) if members else args, attributes)
    except KeyboardInterrupt:  # of the person who waits for this
        raise
    except BaseException:  # noqa: BLE001 - its class is not here, or its own code raises anything
        return None
    return None


def _assemble(kind: type[BaseException], args: tuple[Any, ...], attributes: dict[str, object]) -> BaseException:
    builtin: Any = next(base for base in kind.__mro__ if base.__module__ == "builtins")
    error: BaseException = builtin.__new__(kind, *args)
    builtin.__init__(error, *args)  # fills what C keeps, such as errno; the class's own is not called
    error.__dict__.update(attributes)
    return error


def _attributes(error: BaseException) -> dict[str, object]:
    """The attributes that can travel."""
    return {name: value for name, value in vars(error).items() if _travels(value)}


def _travels(value: object) -> bool:
    try:
        loads(dumps(value))
    except BaseException:  # noqa: BLE001 - the value's own code may raise anything
        return False
    return True


def _type_name(error: BaseException) -> str:
    kind = type(error)
    return (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )


def _message(error: object) -> str:
    try:
        return _bounded(str(error))
    except BaseException:  # noqa: BLE001 - the exception's own code may raise anything
        return "<its str() failed>"


def _traceback_text(error: BaseException) -> str:
    from traceback import format_exception

    try:
        return _bounded("".join(format_exception(type(error), error, _users_frames(error))))
    except BaseException:  # noqa: BLE001 - it runs the exception's own code
        return f"{_type_name(error)}: {_message(error)}\n"


def _users_frames(error: BaseException) -> Any:
    """The traceback from where it left localq, which called the function."""
    first = error.__traceback__
    while first is not None and str(first.tb_frame.f_globals.get("__name__")).partition(".")[0] == "localq":
        first = first.tb_next
    return first or error.__traceback__


def _notes(error: BaseException) -> list[str]:
    try:
        notes: list[object] = list(error.__notes__)
        return [note for note in notes if isinstance(note, str)]
    except BaseException:  # noqa: BLE001 - mostly: it has none
        return []


def _bounded(text: str) -> str:
    # Exactly str, and only what UTF-8 can write: a lone surrogate would not survive.
    text = text.encode("utf-8", "backslashreplace").decode()
    if len(text) <= MAX_TEXT:
        return text
    return f"{text[: MAX_TEXT // 2]}\n... {len(text) - MAX_TEXT} characters left out ...\n{text[-MAX_TEXT // 2 :]}"

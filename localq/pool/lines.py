# SPDX-License-Identifier: MIT
"""What a worker calls for each line of `localq map`: from a line to arguments, and from a value to a line.

So the workers read and write JSON, at the same time, and the command only moves bytes. Found or compiled where it is
called: the command need not be able to import the function.
"""

from __future__ import annotations

import time

from localq.json_text import as_json, from_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from localq.retry import Retry

__all__ = ["LineCall", "compiled"]


class LineCall:
    """Takes a line, without its end, and returns one.

    Args:
        function: "module:function", or the name of a registered task.
        expression: Python, instead of `function`; in it the line is `line` and what `modules` names is imported.
        modules: as in an import statement: "os.path", "numpy as np".
        reads_json: lines are JSON values, else text (UTF-8; bytes that are none come back as they were).
        is_star: each value is an array, of the arguments.
        writes_json: values become JSON, else text.
        shows_item: what comes back is a JSON object with the item and its value.
        with_repr: what JSON can't carry is its `repr`, instead of an error.
        retries: call it again so many times after it raised, for the same line. (The retries of a task are for all the
            items of its chunk.)
        retry: whether and when, as for a task; None: whatever it raised, at once.
    """

    def __init__(
        self,
        function: str | None,
        expression: str | None = None,
        modules: tuple[str, ...] = (),
        *,
        reads_json: bool = False,
        is_star: bool = False,
        writes_json: bool = True,
        shows_item: bool = False,
        with_repr: bool = False,
        retries: int = 0,
        retry: Retry | None = None,
    ) -> None:
        self.function = function
        self.expression = expression
        self.modules = modules
        self.reads_json = reads_json
        self.is_star = is_star
        self.writes_json = writes_json
        self.shows_item = shows_item
        self.with_repr = with_repr
        self.retries = retries
        self.retry = retry
        # What those who watch are told.
        self.__module__, _, self.__qualname__ = (function or "").rpartition(":") if function else ("", "", "expression")
        self._called: Callable[..., Any] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (self.function, self.expression, self.modules, self.options())

    def options(self) -> dict[str, Any]:
        """The keyword arguments that it was made with."""
        names = ("reads_json", "is_star", "writes_json", "shows_item", "with_repr", "retries", "retry")
        return {name: getattr(self, name) for name in names}

    def __call__(self, line: bytes) -> Any:
        called = self._called or self.find()
        item = self.item_of(line)
        failures = 0
        while True:
            try:
                value = called(*item) if self.is_star else called(item)
                break
            except Exception as error:  # noqa: BLE001 - the function's own: raised again, or it is called again
                failures += 1
                time.sleep(self._pause(error, failures))
        return self._finish(called, item, value, failures) if hasattr(value, "__await__") else self._write(item, value)

    async def _finish(self, called: Callable[..., Any], item: Any, coroutine: Any, failures: int) -> bytes:
        from asyncio import sleep

        while True:
            try:
                return self._write(item, await coroutine)
            except Exception as error:  # noqa: BLE001 - the function's own: raised again, or it is called again
                failures += 1
                await sleep(self._pause(error, failures))
            coroutine = called(*item) if self.is_star else called(item)

    def _pause(self, error: Exception, failures: int) -> float:
        """Seconds until it is tried again. Else raises what it raised."""
        from localq.errors import TaskCancelled, TaskTimeout

        if failures > self.retries or isinstance(error, TaskTimeout | TaskCancelled):
            raise error
        pause = 0.0 if self.retry is None else self.retry.pause(error, failures)
        if pause is None:
            raise error
        return pause

    def item_of(self, line: bytes) -> Any:
        """Raises ValueError: it should be JSON and is not, or no array."""
        if not self.reads_json:
            return line.decode("utf-8", "surrogateescape")
        item = from_json(line)
        if self.is_star and not isinstance(item, list):
            raise ValueError(f"the arguments must be a JSON array, not {type(item).__name__}")
        return item

    def find(self) -> Callable[..., Any]:
        """The function: imported, or compiled.

        Raises:
            FunctionNotFound: it is not there.
            Exception: whatever importing its module, or a module of the expression, raised.
        """
        if self.expression is not None:
            called = compiled(self.expression, self.modules)
        else:
            from localq.lookup import KIND_NAME, decode_function

            assert self.function is not None
            called = decode_function(KIND_NAME, self.function.encode("utf-8", "replace"))
        self._called = called
        return called

    def _write(self, item: object, value: object) -> bytes:
        if self.shows_item:
            return b'{"item":%b,"value":%b}' % (as_json(item), as_json(value, self.with_repr))
        if self.writes_json:
            return as_json(value, self.with_repr)
        if isinstance(value, bytes | bytearray | memoryview):
            return bytes(value)
        return str(value).encode("utf-8", "surrogateescape")


def _made(function: str | None, expression: str | None, modules: tuple[str, ...], options: dict[str, Any]) -> LineCall:
    return LineCall(function, expression, modules, **options)


def compiled(expression: str, modules: tuple[str, ...] = ()) -> Callable[[Any], Any]:
    """A function of `line`.

    Raises:
        SyntaxError: it is no expression.
        ImportError: a module can't be imported.
    """
    compile(expression.strip(), "<expression>", "eval")  # it must be one by itself, and not only within the brackets
    names: dict[str, Any] = {"__name__": "expression"}
    for module in modules:
        exec(f"import {module}", names)
    made: Callable[[Any], Any] = eval(f"lambda line: (\n{expression.strip()}\n)", names)
    return made

# SPDX-License-Identifier: MIT
"""The mix: what is submitted, chosen by a seed, and what may come of each."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from threading import Lock
from typing import Any

from benchmarks.soak import tasks
from benchmarks.soak.tasks import answer
from localq import SerializationError, TaskFailed

PRIORITIES = ("critical", "high", "normal", "low")
SMALLEST, LARGEST = 10_000, 4_000_000  # bytes of a large payload
FAILURES = ("mishap", "exit", "strange", "unsendable", "broken")  # the forms of tasks.fail


@dataclass
class Order:
    """One task to submit. `kind` is for the ledger; `is_right` judges a value, `is_meant` an error."""

    number: int
    kind: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    retries: int = 0
    priority: str = "normal"
    queue: str = "default"
    metadata: object = None
    cancel: str = ""  # "now", "soon" or not at all
    is_right: Callable[[Any], bool] = lambda value: False
    is_meant: Callable[[BaseException], bool] = lambda error: False


class Mix:
    """Makes orders. `by_value`: also functions that travel by value, which stay published while their client lives."""

    def __init__(self, chance: Random, next_number: Callable[[], int], by_value: bool) -> None:
        self._chance = chance
        self._next = next_number
        self._by_value = by_value
        kinds: dict[Callable[[int], Order], float] = {
            self._noop: 20, self._add: 25, self._silent: 10, self._metadata: 4, self._slow: 2, self._later: 2,
            self._large: 6, self._fail: 5, self._fail_until: 3, self._unsendable: 1, self._undecodable: 1,
            self._die: 1.5, self._poison: 0.05, self._value: 6 if by_value else 0,
        }  # fmt: skip
        self._kinds, self._weights = list(kinds), list(kinds.values())

    def order(self) -> Order:
        """Any one."""
        make = self._chance.choices(self._kinds, self._weights)[0]
        return self._dressed(make(self._next()))

    def tiny(self) -> Order:
        """One of which there may be many."""
        return self._dressed(self._chance.choice((self._noop, self._add, self._silent))(self._next()))

    def large(self) -> Order:
        return self._dressed(self._large(self._next()))

    def deed(self) -> str:
        """What an item of a map does."""
        return self._chance.choices(("answer", "slow", "fail", "die"), (100, 2, 2, 0.15))[0]

    def _dressed(self, order: Order) -> Order:
        chance = self._chance
        order.priority = chance.choices(PRIORITIES, (1, 2, 10, 2))[0]
        order.queue = chance.choice(("default", "default", "side"))
        if chance.random() < 0.1:
            order.cancel = chance.choice(("now", "soon"))
        if not order.retries and chance.random() < 0.2:
            order.retries = chance.choice((1, 2, 5))
        return order

    def _noop(self, number: int) -> Order:
        return Order(number, "noop", tasks.noop, (number,), is_right=lambda value: value is None)

    def _add(self, number: int) -> Order:
        left, right = self._chance.getrandbits(40), self._chance.getrandbits(70)
        meant = (answer(number), left + right)
        return Order(number, "add", tasks.add, (number, left), {"right": right}, is_right=lambda value: value == meant)

    def _silent(self, number: int) -> Order:
        """Nothing is written down by this one: its body is C code of somebody else's."""
        return Order(number, "silent", operator.mul, (number, 7), is_right=lambda value: value == number * 7)

    def _metadata(self, number: int) -> Order:
        told: object = {"number": number}
        meant = (answer(number), told)
        return Order(
            number, "metadata", tasks.metadata, (number,), metadata=told, is_right=lambda value: value == meant
        )

    def _slow(self, number: int) -> Order:
        args = (number, self._log_uniform(0.005, 0.2), self._chance.random() < 0.3)
        return Order(number, "slow", tasks.slow, args, is_right=lambda value: value == answer(number))

    def _later(self, number: int) -> Order:
        args = (number, self._log_uniform(0.001, 0.05))
        return Order(number, "later", tasks.later, args, is_right=lambda value: value == answer(number))

    def _large(self, number: int) -> Order:
        there, back = (int(self._log_uniform(SMALLEST, LARGEST)) for _ in range(2))
        value = tasks.shaped(self._chance.randrange(4), tasks.payload(number, there))
        args = (number, value, back, self._chance.randrange(4))
        return Order(number, "large", tasks.reply, args, is_right=lambda value: is_reply(number, value, back))

    def _fail(self, number: int) -> Order:
        form = self._chance.randrange(len(FAILURES))
        retries = self._chance.choice((0, 0, 1, 3))
        return Order(
            number, "fail", tasks.fail, (number, form), retries=retries, is_meant=_failure(number, FAILURES[form])
        )

    def _fail_until(self, number: int) -> Order:
        runs, retries = self._chance.choice(((1, 1), (2, 3), (3, 2)))
        return Order(
            number, "fail_until", tasks.fail_until, (number, runs), retries=retries,
            is_right=lambda value: value == answer(number), is_meant=_failure(number, "mishap"),
        )  # fmt: skip

    def _unsendable(self, number: int) -> Order:
        return Order(number, "unsendable", tasks.take, (number, [Lock()]), is_meant=_is_serialization_error)

    def _undecodable(self, number: int) -> Order:
        return Order(number, "undecodable", tasks.take, (number, tasks.BrokenHere()), is_meant=lambda error: True)

    def _die(self, number: int) -> Order:
        runs, retries = self._chance.choice(((1, 0), (1, 1), (2, 2), (3, 1), (2, 5)))
        args = (number, runs, self._chance.randrange(4))
        return Order(
            number, "die", tasks.die, args, retries=retries,
            is_right=lambda value: value == answer(number),
        )  # fmt: skip

    def _poison(self, number: int) -> Order:
        return Order(number, "poison", tasks.take, (number, tasks.Poison()))

    def _value(self, number: int) -> Order:
        factor, ballast = self._chance.randrange(40), b"x" * self._chance.choice((10, 200, 3000))

        def multiply(number: int) -> tuple[int, int]:
            tasks.record(number)
            return number * factor, len(ballast)

        meant = (number * factor, len(ballast))
        return Order(number, "value", multiply, (number,), is_right=lambda value: value == meant)

    def _log_uniform(self, least: float, most: float) -> float:
        return math.exp(self._chance.uniform(math.log(least), math.log(most)))


def is_reply(number: int, value: object, size: int) -> bool:
    """Whether a value is what `tasks.reply` returns."""
    try:
        return tasks.content(value) == tasks.payload(number + 1, size)
    except TypeError:
        return False


def _failure(number: int, name: str) -> Callable[[BaseException], bool]:
    if name == "mishap":
        return lambda error: isinstance(error, tasks.Mishap) and error.code == number
    if name == "exit":
        return lambda error: isinstance(error, SystemExit) and error.code == number
    if name == "strange":
        return lambda error: isinstance(error, TaskFailed) and "Local" in error.type_name
    return _is_serialization_error


def _is_serialization_error(error: BaseException) -> bool:
    return isinstance(error, SerializationError)

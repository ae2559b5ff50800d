# SPDX-License-Identifier: MIT
"""The arguments of a queue, checked once, before anything starts.

Used by the client, which sends the result to the supervisor. Knows what each argument may be, and which variable of the
environment stands for it where it is not given; does not know what is done with it.
"""

from __future__ import annotations

import os
import sys

from localq.errors import ConfigError
from localq.machine import usable_cpus, usable_memory
from localq.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

__all__ = ["VARIABLES", "QueueConfig", "from_environment", "is_name"]

MAX_QUEUES = 16
MAX_SLOTS = 1_000_000  # a slot's index has 20 bits
MAX_WORKERS = 240  # rows of the roster, less some for clients and for those just replaced
MAX_CONCURRENCY = 10_000  # coroutines of one worker
ARGUMENTS = ("copy-on-write", "readonly", "shared")  # how tasks see arrays among their arguments
RESULTS = ("views", "copies")  # what arrays in results are
MAX_RETRIES = 15  # the attempt has 4 bits in the slot
MIN_MEMORY = 1 << 20
MAX_MEMORY = 1 << 46  # half of what a process can map
DEFAULT_CAPACITY = 65536
DEFAULT_RESULT_CACHE_SIZE = 10_000
DEFAULT_RESULT_TTL = 3600.0
DEFAULT_GRACE_PERIOD = 2.0  # enough to close files and connections; whoever waits has its answer before
MOST_SECONDS = 2_000_000.0  # 23 days: times in slots are milliseconds, and wrap after 49
DEFAULT_DRAIN_TIMEOUT = 5.0  # well below what init systems and container engines wait before they kill: 10 s or more

_NAME_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")
_NAME_LENGTH = 64
_UNITS = {
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KIB": 1 << 10,
    "MIB": 1 << 20,
    "GIB": 1 << 30,
    "TIB": 1 << 40,
}


class QueueConfig(Record):
    """Every argument of `LocalQueue`, valid and with its default worked out; made by `check`.

    `memory` and `max_memory_per_child` are bytes, `result_ttl`, `drain_timeout`, `task_timeout` and
    `grace_period` seconds.
    """

    __slots__ = (  # noqa: RUF023 - the order of the constructor
        "workers",
        "name",
        "queues",
        "capacity",
        "memory",
        "result_cache_size",
        "result_ttl",
        "start_method",
        "preload",
        "initializer",
        "initargs",
        "max_tasks_per_child",
        "max_memory_per_child",
        "max_retries",
        "serialization",
        "threads_per_worker",
        "drain_timeout",
        "max_crashes",
        "task_timeout",
        "grace_period",
        "concurrency",
        "output",
        "arguments",
        "results",
        "task_modules",
    )

    workers: int
    name: str
    queues: tuple[str, ...]
    capacity: int
    memory: int
    result_cache_size: int
    result_ttl: float | None
    start_method: str
    preload: tuple[str, ...]
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    max_tasks_per_child: int | None
    max_memory_per_child: int | None
    max_retries: int
    serialization: str
    threads_per_worker: int | None
    drain_timeout: float
    max_crashes: int | None
    task_timeout: float | None
    grace_period: float
    concurrency: int
    output: str
    arguments: str
    results: str
    task_modules: tuple[str, ...]

    @classmethod
    def check(cls, **arguments: object) -> QueueConfig:
        """The configuration that the arguments of `LocalQueue` ask for; those not given have their defaults.

        Raises:
            ConfigError: an argument is unknown or not allowed. The sentence says which, what was given and
                what is allowed.
        """
        for name in arguments:
            if name not in _ARGUMENTS:
                raise ConfigError(f"LocalQueue has no argument {name!r}{_did_you_mean(name, _ARGUMENTS)}")
        config = cls.__new__(cls)
        for name, (default, check) in _ARGUMENTS.items():
            config._set(**{name: check(name, arguments.get(name, default))})
        if config.capacity + config.result_cache_size > MAX_SLOTS:
            raise ConfigError(
                f"capacity and result_cache_size together must be at most {MAX_SLOTS:_},"
                f" not {config.capacity:_} + {config.result_cache_size:_}"
            )
        return config


# Each check takes the argument's name and value, and returns what the field holds.


def _whole_number(low: int, high: int, optional: bool = False) -> Callable[[str, object], int | None]:
    allowed = f"a whole number from {low:_} to {high:_}{' or None' if optional else ''}"

    def check(name: str, value: object) -> int | None:
        if optional and value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return int(value)
        raise _refusal(name, value, allowed)

    return check


def _choice(*choices: str) -> Callable[[str, object], str]:
    def check(name: str, value: object) -> str:
        if isinstance(value, str) and value in choices:
            return value
        allowed = " or ".join(map(repr, choices))
        raise _refusal(name, value, allowed + (_did_you_mean(value, choices) if isinstance(value, str) else ""))

    return check


def _workers(name: str, value: object) -> int | None:
    if value is None:
        return min(usable_cpus(), MAX_WORKERS)
    if isinstance(value, int) and not isinstance(value, bool) and value < 1:
        raise _refusal(name, value, "1 or more, or None for one a usable CPU")
    return _whole_number(1, MAX_WORKERS, optional=True)(name, value)


def _queue_name(name: str, value: object) -> str:
    if value is None:
        # Not in `from_environment`: a second queue of the program would be refused the name instead of numbered.
        variable = "LOCALQ_NAME"
        if text := os.environ.get(variable, "").strip():
            return _queue_name(variable, text)
        return f"{_script_name()[: _NAME_LENGTH - 12]}-{os.getpid()}"
    if isinstance(value, str) and is_name(value):
        return value
    raise _refusal(name, value, f"1 to {_NAME_LENGTH} of the characters A-Z a-z 0-9 _ . - or None")


def _queues(name: str, value: object) -> tuple[str, ...]:
    allowed = f"1 to {MAX_QUEUES} different names of the characters A-Z a-z 0-9 _ . -"
    names = _sequence(name, value, allowed)
    if not 1 <= len(names) <= MAX_QUEUES or len(set(map(repr, names))) < len(names):
        raise _refusal(name, value, allowed)
    if not all(isinstance(each, str) and is_name(each) for each in names):
        raise _refusal(name, value, allowed)
    return tuple(map(str, names))


def _memory(name: str, value: object) -> int:
    return usable_memory() // 2 if value is None else _byte_count(name, value)


def _memory_limit(name: str, value: object) -> int | None:
    return None if value is None else _byte_count(name, value)


def _byte_count(name: str, value: object) -> int:
    if isinstance(value, str):
        count = _parse_bytes(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        count = int(value)
    else:
        count = None
    if count is None or not MIN_MEMORY <= count <= MAX_MEMORY:
        raise _refusal(name, value, 'a number of bytes or a text like "512MB" or "2GiB", from 1 MiB to 64 TiB, or None')
    return count


def _parse_bytes(text: str) -> int | None:
    """ "1.5 GiB" as bytes, rounded down; None where it is not a number and a unit."""
    number = text.strip().rstrip("BKMGTIbkmgti")
    unit = text.strip()[len(number) :].upper() or "B"
    plain = number.strip().replace(".", "", 1)
    if unit not in _UNITS or not (plain.isascii() and plain.isdigit()):
        return None
    return int(float(number) * _UNITS[unit])


def _seconds(name: str, value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf"):
        return float(value)
    raise _refusal(name, value, "a number of seconds above 0, or None to keep results until they are pushed out")


def _patience(name: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return float(value)
    raise _refusal(name, value, "a number of seconds of 0 or more")


def _limit(name: str, value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0.001 <= value <= MOST_SECONDS:
        return float(value)
    raise _refusal(name, value, f"a number of seconds from 0.001 to {MOST_SECONDS:_.0f}, or None")


def _modules(name: str, value: object) -> tuple[str, ...]:
    allowed = 'a sequence of module names such as ("numpy", "package.module")'
    names = _sequence(name, value, allowed)
    if not all(isinstance(each, str) and all(part.isidentifier() for part in each.split(".")) for each in names):
        raise _refusal(name, value, allowed)
    return tuple(map(str, names))


def _callable(name: str, value: object) -> Callable[..., object] | None:
    if value is None or callable(value):
        return value
    raise _refusal(name, value, "a callable or None")


def _arguments_of(name: str, value: object) -> tuple[object, ...]:
    if isinstance(value, tuple | list):
        return tuple(value)
    raise _refusal(name, value, "a tuple")


def _sequence(name: str, value: object, allowed: str) -> tuple[object, ...]:
    if isinstance(value, str):
        raise _refusal(name, value, f"{allowed}: write ({value!r},)")
    if isinstance(value, tuple | list):
        return tuple(value)
    raise _refusal(name, value, allowed)


_ARGUMENTS: dict[str, tuple[object, Callable[[str, object], object]]] = {
    "workers": (None, _workers),
    "name": (None, _queue_name),
    "queues": (("default",), _queues),
    "capacity": (DEFAULT_CAPACITY, _whole_number(1, MAX_SLOTS)),
    "memory": (None, _memory),
    "result_cache_size": (DEFAULT_RESULT_CACHE_SIZE, _whole_number(0, MAX_SLOTS)),
    "result_ttl": (DEFAULT_RESULT_TTL, _seconds),
    "start_method": ("clean", _choice("clean", "fork")),
    "preload": ((), _modules),
    "initializer": (None, _callable),
    "initargs": ((), _arguments_of),
    "max_tasks_per_child": (None, _whole_number(1, 1 << 31, optional=True)),
    "max_memory_per_child": (None, _memory_limit),
    "max_retries": (0, _whole_number(0, MAX_RETRIES)),
    "serialization": ("msgpack", _choice("msgpack", "pickle", "json")),
    "threads_per_worker": (1, _whole_number(1, 4096, optional=True)),
    "drain_timeout": (DEFAULT_DRAIN_TIMEOUT, _patience),
    "max_crashes": (None, _whole_number(0, MAX_RETRIES, optional=True)),
    "task_timeout": (None, _limit),
    "grace_period": (DEFAULT_GRACE_PERIOD, _patience),
    "concurrency": (1, _whole_number(1, MAX_CONCURRENCY)),
    "output": ("prefix", _choice("prefix", "plain", "off", "inherit")),
    "arguments": ("copy-on-write", _choice(*ARGUMENTS)),
    "results": ("views", _choice(*RESULTS)),
    "task_modules": ((), _modules),
}

# How the text of a variable reads: as these numbers, as lists with commas where the default is one, else as a word.
_WHOLE = frozenset(
    (
        "workers",
        "capacity",
        "result_cache_size",
        "max_tasks_per_child",
        "max_retries",
        "threads_per_worker",
        "max_crashes",
        "concurrency",
    )
)
_NUMBERS = frozenset(("result_ttl", "drain_timeout", "task_timeout", "grace_period"))

#: The variables of the environment that stand for arguments which are not given.
VARIABLES = {
    argument: f"LOCALQ_{argument.upper()}" for argument in _ARGUMENTS if argument not in ("initializer", "initargs")
}


def from_environment(given: Iterable[str]) -> dict[str, Any]:
    """The arguments of `LocalQueue` that variables of the environment give, but those in `given`, which win. A variable
    that is empty is one that is not set.

    Raises:
        ConfigError: a variable has a value that its argument may not have; the sentence names the variable.
    """
    found: dict[str, Any] = {}
    there = {name for name in os.environ if name.startswith("LOCALQ_")}  # asking for 25 that are not there takes longer
    for argument, variable in VARIABLES.items() if there else ():
        if variable in there and argument not in given and (text := os.environ[variable].strip()):
            default, check = _ARGUMENTS[argument]
            value = tuple(map(str.strip, text.split(","))) if isinstance(default, tuple) else _read(argument, text)
            check(variable, value)
            found[argument] = value
    found.pop("name", None)  # it is part of that argument's default: see `_queue_name`
    return found


def _read(argument: str, text: str) -> object:
    """What can't be read stays text: the check says what it should have been."""
    if text.lower() == "none":
        return None
    kind = int if argument in _WHOLE else float if argument in _NUMBERS else str
    try:
        return kind(text)
    except ValueError:
        return text


def is_name(text: str) -> bool:
    """Whether a queue may be called so."""
    return 0 < len(text) <= _NAME_LENGTH and _NAME_CHARACTERS.issuperset(text)


def _script_name() -> str:
    """The running script's name as far as a queue's name may have it; "python" for a prompt or `python -c`."""
    path = sys.argv[0] if sys.argv else ""
    if os.path.basename(path) == "__main__.py":  # python -m package
        path = os.path.dirname(path)
    stem = os.path.basename(path).removesuffix(".py")
    name = "".join(character if character in _NAME_CHARACTERS else "_" for character in stem)
    return "python" if name in ("", "-c", "-") else name


def _refusal(name: str, value: object, allowed: str) -> ConfigError:
    return ConfigError(f"{name} must be {allowed}; got {_shown(value)}")


def _shown(value: object) -> str:
    """The value for a sentence: short, on one line, and whatever its `repr` does."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # noqa: BLE001 - the value's own code; the type must do
        text = f"a {type(value).__qualname__}"
    return text if len(text) <= 80 else f"{text[:76]} ..."


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""

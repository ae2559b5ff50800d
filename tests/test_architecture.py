# SPDX-License-Identifier: MIT
"""What holds the tree together: floors, no cycle, a cheap and quiet `import localq`, frozen names, licence lines.

Each rule is a function from a tree to the sentences that say where it is broken. It is asked twice: about this
repository, and about a made-up one in which it is broken, because a check that cannot fail proves nothing.

What counts as an import: every `import` statement, inside functions too, and `import_module("...")` with a literal.
- Floors bind all of them, those for type checkers too: a type from above is still a thing known from below.
- A module may import from its own floor as well. The rule against cycles keeps a floor from becoming one knot.
- Imports for type checkers close no cycle, nor does a module's `__getattr__` (PEP 562): neither runs while importing.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent

#: From the ground up. A module imports only from its own floor and from those before it.
FLOORS = (
    (
        "errors",
        "caller_errors",
        "pool_errors",
        "markup",
        "json_text",
        "record",
        "model",
        "config",
        "machine",
        "addresses",
    ),
    ("_native",),
    ("payload", "shared", "reducers", "pickling", "by_value"),
    ("codec", "remote_errors", "functions", "lookup", "retry", "tasks", "captures"),
    ("pool",),
    ("monitor",),
    ("client", "joblib"),
    ("__init__",),  # the public names
    ("cli", "__main__"),
)

#: Too slow for the way into `import localq` or into the supervisor: together more than all the rest of a start.
HEAVY = frozenset(
    "asyncio click cloudpickle dataclasses inspect msgspec numpy psutil re rich subprocess typing".split()
)

#: Modules of the standard library that may be loaded on that way, with all that they load themselves.
ALLOWED = ("concurrent.futures._base", "enum", "os", "pickle", "queue", "select", "signal", "threading")

#: Everything `localq` promises by name. To add one is a decision, to take one away breaks somebody's program.
PUBLIC = frozenset(
    """
    LocalQueue LocalExecutor TaskFuture TaskResult TaskStatus TaskUpdate Priority task Task current_task TaskContext
    LocalqError ConfigError QueueFull QueueClosed SupervisorLost InitializerFailed
    TaskError TaskFailed TaskTimeout TaskCancelled TaskExpired WorkerCrashed WorkersEnded SerializationError
    ResultGone SharedRef SharedRefLost FunctionNotFound SpaceError LayoutMismatch SpaceCorrupt RemoteTraceback
    AttachError Snapshot
    """.split()
)

#: Made, or asked for by name, where a pool broke: each is a `BrokenProcessPool`, whose module loads much of `HEAVY`.
#: And where somebody looks: what readings are made of is heavy, too.
LATE = ("InitializerFailed", "SupervisorLost", "WorkerCrashed", "WorkersEnded", "Snapshot")

#: Modules that only such names bring.
LATE_HOMES = ("localq.monitor.snapshot",)

SPDX = "SPDX-License-Identifier: MIT"


# --- reading a tree -------------------------------------------------------------------------------------------------


class Import(NamedTuple):
    importer: str  # dotted name of the module with the statement
    imported: str  # dotted name: one of our modules if it is ours, else as written
    line: int
    at_import: bool  # runs while the importer is imported, not later inside a function
    for_types: bool  # under `if TYPE_CHECKING:`
    lazy_name: bool  # inside the module's own __getattr__

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def modules_of(root: Path) -> dict[str, Path]:
    """Dotted name to file, for all of package `localq`, with `localq._native` under the name it is compiled to."""
    found = {}
    for path in sorted((root / "localq").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    if (native := root / "native" / "_native.pyx").exists():
        found["localq._native"] = native
    return found


def imports_of(root: Path) -> list[Import]:
    """Every import in package `localq`, in the order of the files."""
    modules = modules_of(root)
    found: list[Import] = []
    for name, path in modules.items():
        read = _imports_of_cython if path.suffix == ".pyx" else _imports_of_python
        parts = [path, *sorted(path.parent.glob("*.pxi"))] if path.suffix == ".pyx" else [path]
        found += (use._replace(imported=_ours(use.imported, modules)) for part in parts for use in read(name, part))
    return found


def _ours(dotted: str, modules: dict[str, Path]) -> str:
    """`localq.errors.TaskFailed` is a use of module `localq.errors`; what is not ours stays as it is."""
    if dotted.split(".")[0] != "localq":
        return dotted
    while dotted not in modules and "." in dotted:
        dotted = dotted.rpartition(".")[0]
    return dotted


def _imports_of_cython(name: str, path: Path) -> Iterator[Import]:
    """Cython's syntax is not Python's, but an import stands on a line of its own in both."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if match := re.match(r"(\s*)(?:from\s+([\w.]+)\s+)?import\s+\(?\s*([\w.]+)", line):
            indent, origin, first = match.groups()
            yield Import(name, f"{origin}.{first}" if origin else first, number, not indent, False, False)


def _imports_of_python(name: str, path: Path) -> Iterator[Import]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]

    def visit(node: ast.AST, at_import: bool, for_types: bool, lazy_name: bool) -> Iterator[Import]:
        where = (at_import, for_types, lazy_name)
        for dotted in _imported_by(node, package):
            yield Import(name, dotted, getattr(node, "lineno", 0), *where)
        if isinstance(node, ast.If) and _asks_for_type_checking(node.test):
            for child in node.body:
                yield from visit(child, False, True, lazy_name)
            for child in node.orelse:
                yield from visit(child, *where)
            return
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            is_module_getattr = isinstance(node, ast.FunctionDef) and node.name == "__getattr__" and at_import
            where = (False, for_types, lazy_name or (is_module_getattr and node in tree.body))
        for part in ast.iter_child_nodes(node):
            yield from visit(part, *where)

    tree = ast.parse(path.read_text(), str(path))
    yield from visit(tree, True, False, False)


def _imported_by(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.name
    elif isinstance(node, ast.ImportFrom):
        base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        origin = ".".join([*base, *([node.module] if node.module else [])])
        for alias in node.names:
            yield origin if alias.name == "*" else f"{origin}.{alias.name}"
    elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
            yield node.args[0].value


def _asks_for_type_checking(test: ast.expr) -> bool:
    return (test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")) == "TYPE_CHECKING"


def floor_of(module: str) -> int | None:
    """Index in FLOORS, None if the module stands on none."""
    unit = module.split(".")[1] if "." in module else "__init__"
    return next((index for index, units in enumerate(FLOORS) if unit in units), None)


# --- the rules ------------------------------------------------------------------------------------------------------


def modules_without_a_floor(root: Path) -> list[str]:
    return [f"{module} stands on no floor" for module in modules_of(root) if floor_of(module) is None]


def imports_from_above(root: Path) -> list[str]:
    wrong = []
    for use in imports_of(root):
        own, other = floor_of(use.importer), floor_of(use.imported) if use.imported.startswith("localq") else None
        if own is not None and other is not None and other > own:
            wrong.append(f"{use}, which is {other - own} floors above it")
    return wrong


def cycles(root: Path) -> list[str]:
    graph: dict[str, set[str]] = {module: set() for module in modules_of(root)}
    for use in imports_of(root):
        if use.imported in graph and use.imported != use.importer and not use.for_types and not use.lazy_name:
            graph[use.importer].add(use.imported)

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for other in graph[waiting.pop()] - seen:
                seen.add(other)
                waiting.append(other)
        return seen

    reach = {module: reachable(module) for module in graph}
    knots = {
        tuple(sorted(m for m in reach[module] if module in reach[m])) for module in graph if module in reach[module]
    }
    return [f"import each other: {', '.join(knot)}" for knot in sorted(knots)]


def heavy_imports_on_the_way_in(root: Path) -> list[str]:
    """Heavy modules that our own modules import while `localq`, a public name or the supervisor is being imported."""
    uses = imports_of(root)
    waiting = {"localq", "localq.pool.supervisor"} | {u.imported for u in uses if u.importer == "localq"}
    waiting.difference_update(LATE_HOMES)
    seen: set[str] = set()
    wrong = []
    while waiting:
        module = waiting.pop()
        seen.add(module)
        for use in uses:
            if use.importer == module and use.at_import:
                if use.imported.split(".")[0] in HEAVY:
                    wrong.append(str(use))
                parts = use.imported.split(".")
                waiting |= {".".join(parts[: n + 1]) for n in range(len(parts))} - seen
    return sorted(wrong)


def rich_outside_the_monitor(root: Path) -> list[str]:
    uses = (use for use in imports_of(root) if use.imported.split(".")[0] == "rich")
    return [str(use) for use in uses if use.importer.split(".")[:2] != ["localq", "monitor"]]


def side_effects(root: Path, *modules: str) -> list[str]:
    """What a fresh interpreter has after importing `modules`, public names and all, that it had not before."""
    probe = [sys.executable, "-I", "-S", "-B", "-c", PROBE, str(root)]
    probe += [json.dumps(ALLOWED), json.dumps(sorted(HEAVY)), json.dumps(LATE), json.dumps(modules)]
    answer = subprocess.run(probe, capture_output=True, text=True, timeout=50)
    if answer.returncode:
        return [f"importing {', '.join(modules)} failed:\n{answer.stderr}"]
    told: list[str] = json.loads(answer.stdout)
    return told


#: -S keeps site-packages and an editable install's hooks out; what the allowed modules bring is there beforehand.
PROBE = """
import atexit, importlib, json, os, signal, sys
root, allowed, heavy, late, modules = sys.argv[1], *map(json.loads, sys.argv[2:])
for name in allowed:
    importlib.import_module(name)

effects = []
def noting(kind, original):
    def register(*args, **kwargs):
        by = sys._getframe(1).f_globals.get("__name__", "?")
        if by.split(".")[0] not in sys.stdlib_module_names or by.startswith("importlib"):
            effects.append(f"{kind} by {by}")
        return original(*args, **kwargs)
    return register
atexit.register = noting("a function registered to run at exit", atexit.register)
os.register_at_fork = sys.modules["posix"].register_at_fork = noting(
    "a function registered to run at a fork", os.register_at_fork)

def folder(path):
    found = set()
    for name in os.listdir(path):
        try:
            found.add((name, os.readlink(f"{path}/{name}") if "fd" in path else ""))
        except OSError:
            pass
    return found
def state():
    children = open("/proc/self/task/%d/children" % os.getpid()).read().split()
    handlers = [(number, signal.getsignal(number)) for number in sorted(signal.valid_signals())]
    return {
        "a descriptor": folder("/proc/self/fd"),
        "a thread": folder("/proc/self/task"),
        "a child process": set(children),
        "a signal handler": set((int(number), str(handler)) for number, handler in handlers),
        "a blocked signal": set(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))),
        "an environment variable": set(os.environ.items()),
        "the working directory": {os.getcwd()},
        "an entry of sys.path": set(sys.path),
        "an import hook": set(map(id, sys.meta_path + sys.path_hooks)),
        "sys.excepthook": {id(sys.excepthook), id(sys.unraisablehook)},
        "shared memory": set(line.split()[-2] for line in open("/proc/self/maps") if "/memfd:" in line),
    }

sys.path.insert(0, root)
loaded, before = set(sys.modules), state()
for name in modules:
    module = importlib.import_module(name)
    for public in getattr(module, "__all__", ()):
        public in late or getattr(module, public)
for what, now in state().items():
    effects += [f"{what} is new: {new}" for new in sorted(now - before[what], key=str)]
    effects += [f"{what} is gone: {old}" for old in sorted(before[what] - now, key=str)]
effects += [f"{name} is loaded" for name in heavy if name in sys.modules and name not in loaded]
print(json.dumps(effects))
"""


def names_that_differ(expected: Iterable[str], found: Iterable[str]) -> list[str]:
    expected, found = set(expected), list(found)
    return [
        *(f"{name} is promised but missing" for name in sorted(expected.difference(found))),
        *(f"{name} is public but nobody decided that" for name in sorted(set(found) - expected)),
        *(f"{name} is listed twice" for name in sorted({name for name in found if found.count(name) > 1})),
    ]


def files_without_a_licence_line(root: Path) -> list[str]:
    wrong = []
    for folder in ("localq", "native", "tests", "benchmarks", "examples"):
        for path in sorted((root / folder).rglob("*")):
            is_source = path.suffix in (".py", ".pyi", ".pyx", ".pxi", ".pxd", ".c", ".h") or path.name == "Makefile"
            if is_source and not any(SPDX in line for line in path.read_text().splitlines()[:2]):
                wrong.append(str(path.relative_to(root)))
    return wrong


# --- asked about this repository ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule",
    [
        modules_without_a_floor,
        imports_from_above,
        cycles,
        heavy_imports_on_the_way_in,
        rich_outside_the_monitor,
        files_without_a_licence_line,
    ],
)
def test_the_tree_keeps_the_rule(rule) -> None:
    assert rule(ROOT) == []


@pytest.mark.parametrize("module", ["localq", "localq.pool.supervisor", "localq.pool.worker"])
def test_an_import_starts_opens_and_registers_nothing_and_loads_nothing_heavy(module: str) -> None:
    assert side_effects(ROOT, module) == []


def test_the_public_names_are_the_promised_ones() -> None:
    import localq

    assert names_that_differ(PUBLIC, localq.__all__) == []
    assert [name for name in PUBLIC if not hasattr(localq, name)] == []


def test_every_error_is_public() -> None:
    from localq import errors

    assert [name for name in errors.__all__ if name not in PUBLIC] == []


# --- asked about made-up trees that break them ----------------------------------------------------------------------


def grow(root: Path, files: dict[str, str]) -> Path:
    """Write a small tree; every file has its licence line unless it starts with an exclamation mark."""
    for name, text in {"localq/__init__.py": "", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text[1:] if text.startswith("!") else f"# {SPDX}\n{text}\n")
    return root


def test_a_sound_tree_is_not_accused(tmp_path: Path) -> None:
    tree = grow(
        tmp_path,
        {
            "localq/__init__.py": "from localq.client.queue import LocalQueue\n__all__ = ['LocalQueue']",
            "localq/errors.py": "import enum\ndef __getattr__(name):\n from localq import caller_errors",
            "localq/caller_errors.py": "import localq.errors",
            "localq/client/__init__.py": "",
            "localq/client/queue.py": "from . import future\nclass LocalQueue:\n def f(self):\n  import rich_text, re",
            "localq/client/future.py": "TYPE_CHECKING = False\nif TYPE_CHECKING:\n import typing\n"
            " from localq.client.queue import LocalQueue",
            "localq/monitor/render.py": "import rich.table",
            "native/_native.pyx": "from localq import errors\nfrom libc.stdint cimport uint64_t",
        },
    )

    rules = [modules_without_a_floor, imports_from_above, cycles, heavy_imports_on_the_way_in]
    rules += [rich_outside_the_monitor, files_without_a_licence_line]
    assert {rule.__name__: found for rule in rules if (found := rule(tree))} == {}
    assert side_effects(tree, "localq") == []


def test_a_module_that_nobody_placed_is_found(tmp_path: Path) -> None:
    assert modules_without_a_floor(grow(tmp_path, {"localq/utils.py": ""})) == ["localq.utils stands on no floor"]


@pytest.mark.parametrize(
    ("file", "statement", "expected"),
    [
        ("localq/codec.py", "from localq.pool.worker import Worker", "localq.pool.worker"),
        ("localq/codec.py", "from .pool import worker", "localq.pool.worker"),
        ("localq/codec.py", "import localq.pool.worker as w", "localq.pool.worker"),
        ("localq/codec.py", "from localq import LocalQueue", "localq"),
        ("localq/codec.py", "def late():\n from localq.pool.worker import Worker", "localq.pool.worker"),
        ("localq/codec.py", "if TYPE_CHECKING:\n from localq.pool.worker import Worker", "localq.pool.worker"),
        ("localq/codec.py", "import importlib\nimportlib.import_module('localq.pool.worker')", "localq.pool.worker"),
        ("localq/pool/base.py", "from ..monitor import progress", "localq.monitor.progress"),
        ("localq/pool/__init__.py", "from ..monitor import progress", "localq.monitor.progress"),
        ("localq/monitor/progress.py", "from localq.client.queue import LocalQueue", "localq.client.queue"),
        ("localq/client/queue.py", "import localq.cli", "localq.cli"),
        ("native/_native.pyx", "cdef f():\n    from localq.codec import Codec", "localq.codec"),
        ("native/client.pxi", "cdef f():\n    from localq.codec import Codec", "localq.codec"),
    ],
)
def test_an_import_from_above_is_found(tmp_path: Path, file: str, statement: str, expected: str) -> None:
    names = ("codec", "pool/__init__", "pool/worker", "monitor/progress", "client/queue", "cli/__init__")
    tree = grow(tmp_path, {f"localq/{name}.py": "" for name in names} | {"native/_native.pyx": ""} | {file: statement})

    (found,) = imports_from_above(tree)

    assert f" imports {expected}, which is" in found


@pytest.mark.parametrize("back", ["import localq.model", "def late():\n from localq import model"])
def test_a_cycle_is_found(tmp_path: Path, back: str) -> None:
    tree = grow(
        tmp_path,
        {
            "localq/model.py": "from localq.config import A",
            "localq/config.py": "from localq.errors import B",
            "localq/errors.py": back,
        },
    )

    assert cycles(tree) == ["import each other: localq.config, localq.errors, localq.model"]


@pytest.mark.parametrize(
    "files",
    [
        {"localq/__init__.py": "import typing"},
        {"localq/__init__.py": "from localq import model", "localq/model.py": "try:\n import re\nexcept E: pass"},
        {"localq/__init__.py": "def __getattr__(name):\n from localq.client.queue import LocalQueue",
         "localq/client/__init__.py": "", "localq/client/queue.py": "class Q:\n from dataclasses import field"},
        {"localq/pool/__init__.py": "", "localq/pool/supervisor.py": "import numpy.random"},
        {"localq/__init__.py": "import localq.client.queue", "localq/client/__init__.py": "import inspect",
         "localq/client/queue.py": ""},
        {"localq/__init__.py": "from localq._native import Space", "native/_native.pyx": "import subprocess"},
    ],
)  # fmt: skip
def test_a_heavy_import_on_the_way_in_is_found(tmp_path: Path, files: dict[str, str]) -> None:
    assert len(heavy_imports_on_the_way_in(grow(tmp_path, files))) == 1


def test_rich_outside_the_monitor_is_found(tmp_path: Path) -> None:
    tree = grow(tmp_path, {"localq/cli/top.py": "def main():\n from rich.live import Live"})

    assert rich_outside_the_monitor(tree) == ["localq.cli.top:3 imports rich.live.Live"]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()", "a thread is new"),
        ("import os; KEPT = os.open('/dev/null', os.O_RDONLY)", "a descriptor is new"),
        ("import os; os.posix_spawn('/bin/sleep', ['sleep', '0.5'], {})", "a child process is new"),
        ("import signal; signal.signal(signal.SIGUSR1, signal.SIG_IGN)", "a signal handler is new"),
        ("import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [10])", "a blocked signal is new: 10"),
        ("import atexit; atexit.register(print)", "a function registered to run at exit by localq"),
        ("import os; os.register_at_fork(before=print)", "a function registered to run at a fork by localq"),
        ("import os; os.environ['OMP_NUM_THREADS'] = '1'", "an environment variable is new"),
        ("import os; os.chdir('/')", "the working directory is new: /"),
        ("import sys; sys.path.append('/elsewhere')", "an entry of sys.path is new: /elsewhere"),
        ("import sys; sys.excepthook = print", "sys.excepthook is new"),
        ("import dataclasses", "dataclasses is loaded"),
        ("def __getattr__(name):\n import asyncio\n__all__ = ['LocalQueue']", "asyncio is loaded"),
        ("import a_module_that_is_not_there", "importing localq failed"),
    ],
)
def test_a_side_effect_of_an_import_is_found(tmp_path: Path, statement: str, expected: str) -> None:
    found = side_effects(grow(tmp_path, {"localq/__init__.py": statement}), "localq")

    assert any(line.startswith(expected) for line in found), found


def test_a_public_name_that_came_or_went_is_found() -> None:
    assert names_that_differ({"Task", "task"}, ["Task", "Job", "Job"]) == [
        "task is promised but missing",
        "Job is public but nobody decided that",
        "Job is listed twice",
    ]


@pytest.mark.parametrize("name", ["native/lq_ring.c", "native/lq_ring.h", "native/tests/main.c", "localq/pool/new.py"])
def test_a_file_without_a_licence_line_is_found(tmp_path: Path, name: str) -> None:
    assert files_without_a_licence_line(grow(tmp_path, {name: "!int x;\n"})) == [name]

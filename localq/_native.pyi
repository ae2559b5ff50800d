# SPDX-License-Identifier: MIT
"""What the native core offers to Python; made from native/_native.pyx.

Its users are localq.client (Client, Future, Results, Submitter), localq.pool (Space, Worker) and whoever looks into a
queue (Space, Reading). What needs Python's own machinery (pickle, imports, event loops) is asked of the objects handed
in; the protocols here say what these must have.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, Literal, Protocol, Self, TypeAlias, TypedDict, TypeVar, final

from typing_extensions import Buffer

_R_co = TypeVar("_R_co", covariant=True)
_ResultsT = TypeVar("_ResultsT", bound="Results")

FORMAT_MSGPACK: Final = 0
"""The format of payloads that this module encodes and decodes by itself; all others are the codec's."""

ROLE_CLIENT: Final[int]
ROLE_SUPERVISOR: Final[int]
ROLE_WORKER: Final[int]
ROLE_SPARE: Final[int]

TALLY_SUPERVISORS: Final[int]
TALLY_WORKERS: Final[int]
TALLY_WORKERS_CRASHED: Final[int]
TALLY_LINES_LOST: Final[int]
PHASE_OPEN: Final[int]
PHASE_DRAINING: Final[int]
PHASE_STOPPED: Final[int]
PHASE_BROKEN: Final[int]

"""Rows of the roster. Row 0 is nobody's."""

IN_BAND: Final[int]
"""The `row` of a FunctionEntry whose function travels with each call."""

METER_BOUNDS: Final[tuple[float, ...]]
"""The upper ends of the buckets of `Space.meters`, in seconds; the last is infinite."""
FUNCTION_BOUNDS: Final[tuple[float, ...]]
"""The same of `Space.functions`: they are wider."""
OTHERS: Final = "(others)"
"""The name of functions that found no room of their own."""

PENDING: Final[int]
RUNNING: Final[int]
SUCCEEDED: Final[int]
FAILED: Final[int]
CANCELLED: Final[int]

# --- values ---------------------------------------------------------------------------------------------------------

def encode_value(value: object) -> bytes | None:
    """`value` as MessagePack, or None when MessagePack can't carry it exactly."""

def encode_args(args: tuple[object, ...], first: int, kwargs: dict[str, Any] | None) -> bytes | None:
    """The arguments of a call, args[first:] and `kwargs`; None as for `encode_value`."""

def encode_items(items: list[Any] | tuple[Any, ...]) -> bytes | None:
    """The items of a chunk, each a value of its own; None as for `encode_value`."""

def decode_value(data: Buffer) -> Any:
    """The value in a bytes-like object. Raises ValueError when it is not exactly one MessagePack value."""

def decode_args(data: Buffer) -> tuple[tuple[Any, ...], dict[str, Any] | None]:
    """(args, kwargs or None) from a bytes-like object. Raises ValueError like decode_value."""

# --- this process ---------------------------------------------------------------------------------------------------

def name_process(name: str) -> None:
    """What ps and top show for this process; the kernel keeps 15 bytes."""

def die_with_parent(parent: int) -> None:
    """The kernel kills this process when its parent ends. `parent` is who that should be: it may be gone already."""

def guard_last_words(fd: int) -> None:
    """The handlers of fatal signals, as they are now, run only while `fd` is the file that it is now.

    Raises OSError."""

def now_ns() -> int:
    """CLOCK_MONOTONIC, as the times in slots are."""

# --- the shared memory ----------------------------------------------------------------------------------------------

class _Row(TypedDict):
    row: int
    label: int
    live: bool
    role: int
    pid: int
    started: int
    ready: bool
    joined_ns: int
    succeeded: int  # this and what follows: counted since then
    failed: int
    retried: int
    cancelled: int
    items: int
    bytes_in: int
    bytes_out: int
    run_ns: int
    wait_ns: int
    task: tuple[int, int] | None  # slot, generation
    task_since_ns: int
    unread: int  # of a client: finished tasks that it has not reaped

class _Meters(TypedDict):
    succeeded: int
    failed: int
    retried: int
    cancelled: int
    items: int
    bytes_in: int
    bytes_out: int
    run_ns: int
    wait_ns: int
    wait: list[int]
    run: list[int]

class _Calls(TypedDict):
    name: str
    succeeded: int
    failed: int
    retried: int
    items: int
    run_ns: int
    wait_ns: int
    most_ns: int
    run: list[int]

class _Running(TypedDict):
    slot: int
    task_generation: int
    pid: int
    function: str | None
    state: Literal["claimed", "running"]
    attempt: int
    queue: int
    priority: int
    submit_ns: int
    start_ns: int  # 0 while it is claimed
    limit_ms: int
    kind: int
    items_begun: int

_EventKind: TypeAlias = Literal["failure", "retry", "crash", "timeout", "cancelled", "log", "restart"]
_Outcome: TypeAlias = Literal["success", "failure", "cancelled", "crashed", "timeout", "expired"]
# slot, task_generation, function, kind, pid, submit_ns, taken_ns, begun_ns, ended_ns, sent_ns, received_ns, attempt,
# items, bytes_in, bytes_out, outcome
_Record: TypeAlias = tuple[
    int, int, str | None, int, int, int, int, int, int, int, int, int, int, int, int, _Outcome | None
]

class Space:
    """All shared memory of one queue. Closed when the last object that uses it is gone."""

    @staticmethod
    def create(
        *, capacity: int, result_cache_size: int, queues: int, cpus: int, memory: int, ttl_ms: int, identity: int
    ) -> Space:
        """A new Space. Raises OSError when the system refuses memory, MemoryError when the sizes are out of range."""

    @staticmethod
    def open(control_fd: int, payload_fd: int, writable: bool = True) -> Space:
        """Attach to a Space made elsewhere; takes both fds over. Raises LayoutMismatch, SpaceCorrupt, OSError."""

    @property
    def writable(self) -> bool: ...
    @property
    def fds(self) -> tuple[int, int]:
        """(control, payload): what another process needs to open the same Space."""

    def close_fds(self) -> None:
        """The mapping stays; nobody else can be given the Space from here any more."""

    @property
    def identity(self) -> int:
        """A random number that tells this queue from all others; part of its task ids."""

    @property
    def capacity(self) -> int:
        """Tasks that may be on their way at once."""

    @property
    def memory(self) -> int:
        """Bytes of the arena."""

    @property
    def phase(self) -> int:
        """One of PHASE_*."""

    def set_phase(self, phase: int) -> None:
        """Forward only; wakes everybody."""

    @property
    def workers(self) -> int:
        """How many workers the supervisor keeps."""

    def set_workers(self, workers: int) -> None: ...
    def join(self, role: int, pid: int, started: int = 0) -> int:
        """Take a row of the roster. Returns the label; raises RuntimeError when all rows are in use.

        `pid` 0: it is told by sign_in. `started`: see localq.pool.processes."""

    def sign_in(self, label: int, pid: int, started: int = 0) -> bool:
        """Tell the pid of a row, and when its process started. Returns whether the row is (still) that one's."""

    def promote(self, label: int) -> bool:
        """A spare is a worker from now on. False: its row is not that of a living spare any more."""

    def set_ready(self, label: int) -> None:
        """This worker takes tasks from now on; a spare could."""

    def bury(self, label: int) -> None:
        """The kernel proved this process dead: its words may be recovered."""

    def bury_unsigned(self, label: int) -> bool:
        """Bury a row that no process has signed in to: none can do so any more. False when one has."""

    def recover(self, label: int, me: int, wait_status: int, report: int = 0) -> tuple[int, int, int, int]:
        """One pass, by the process of label `me`. `report`: the number that write_report returned.

        Returns (labels found, requeued, crashed, released)."""

    def look(self, label: int) -> tuple[float | None, list[tuple[int, int, int, Literal["cancel", "timeout"]]]]:
        """Queue the delayed tasks whose time has come, and find those that shall stop.

        Returns the time of the next look (CLOCK_MONOTONIC seconds; None: when called), and (slot, task generation,
        label of its worker, why) of each task."""

    def stop(self, slot: int, task_generation: int) -> bool:
        """Cancel a task that a worker has taken. Only asks: whoever calls sees to it. False: no worker has it."""

    def condemn(self, slot: int, task_generation: int, worker: int) -> bool:
        """The worker with that label is about to be killed for this task. False: it let go of it, and is to live."""

    def release(self, label: int) -> None:
        """No word bears the label any more: the row may be used again."""

    def write_report(
        self, label: int, pid: int, wait_status: int, peak_bytes: int, out_of_memory: bool, text: bytes
    ) -> int:
        """Keep what is known of a process that died, for the error of its task. Returns its number, 0 when there is no
        room."""

    def read_report(self, number: int, pid: int) -> tuple[int, bool, str] | None:
        """(peak bytes, out of memory, text) of a process that died, or None: there is none, or later ones took its
        place."""

    def give_back(self, label: int, idle: bytearray) -> tuple[int, int]:
        """Give the system back the memory of what has lain idle since the last call. `idle`: 8 bytes for each of
        `spans`, the caller's. Returns the bytes, and how many spans still hold memory."""

    @property
    def spans(self) -> int:
        """Of the arena, 1 MiB each, and one that is never used."""

    def find(self, buffer: Buffer) -> tuple[int, int, int] | None:
        """(block, generation, first byte) of a contiguous buffer that lives in the arena; None: it does not."""

    def tally(self, which: int, more: int = 1) -> None:
        """Count something: TALLY_*."""

    @property
    def tallies(self) -> dict[str, int]:
        """What has happened in the life of this Space."""

    def sweep(self, label: int) -> int:
        """Let go of what has expired or belongs to nobody. Returns how many."""

    def check(self) -> str | None:
        """None when everything is accounted for, else the first contradiction. Only while nobody is at work."""

    def audit(self, most: int = 1000) -> list[tuple[str, int, int, int]]:
        """All contradictions, as (what, index, word, label of whose turn it is or was). Beside live users only those
        count that are found again later."""

    def row(self, index: int) -> _Row | None:
        """One row of the roster, for people; None when it is free."""

    def rows(self) -> list[_Row]:
        """All rows that are in use."""

    def depths(self) -> list[list[int]]:
        """Queued entries, per queue and priority. A reading: it is old when it returns."""

    def arena(self) -> tuple[int, int, int]:
        """(bytes held by tasks and results, bytes kept warm by processes, spans in use of 1 MiB each)."""

    def holdings(self) -> dict[str, int]:
        """Bytes of the arena by what holds them: "arguments", "results", "functions", "kept" (shared values that stay
        until they are deleted), "pinned" (what lives because somebody looks at it), "owned" (being written, or kept
        warm), "idle" (free, and not given back to the system yet)."""

    def pinned_by(self, row: int) -> tuple[int, int]:
        """(blocks, bytes) that the process of that row of the roster looks at."""

    def arguments(
        self, index: int, generation: int, most: int = 16384
    ) -> tuple[int, int, bytes | None, int] | None: ...
    def slots(self) -> dict[str, int]:
        """How many slots are in each state."""

    def task_id(self, index: int, generation: int) -> str:
        """The name of a task: its queue, its slot, its generation."""

    def meters(self) -> _Meters:
        """What all processes have counted since the Space began: sums, and histograms "wait" and "run", by
        METER_BOUNDS."""

    def functions(self) -> list[_Calls]:
        """The same by the names of functions; the histogram "run" is by FUNCTION_BOUNDS."""

    def function_name(self, row: int, generation: int) -> str | None:
        """Of a published function; None when it is not (or no longer) in the table, or travels with its calls."""

    def published(self, kind: int, most: int) -> list[bytes]:
        """The bytes of functions of that kind that are in the table, from its end, `most` of them."""

    def name_of(self, index: int, task_generation: int) -> str | None:
        """The name of the function that a task calls; None when that is not known (any more)."""

    def running(self) -> list[_Running]:
        """Every task in a worker's hands."""

    def notes(self, slot: int, task_generation: int) -> tuple[int, float | None, str | None] | None:
        """(seq, progress, message) that a task has told of itself last; None: nothing, or the slot serves another."""

    @property
    def note_calls(self) -> int:
        """Raised after each note, begin and end of a task that anybody watches (`Client.watch`)."""

    def wait_note_calls(self, calls: int, timeout: float) -> bool:
        """Sleep until `note_calls` is not that any more: True; or for `timeout` seconds: False. For who follows several
        tasks."""

    def call_notes(self) -> None:
        """Wake all who sleep in wait_note_calls: they look again."""

    def wait_note(self, slot: int, task_generation: int, seq: int, timeout: float) -> bool:
        """Sleep until the note has another seq (0: none yet) or the task has ended: True; or for `timeout` seconds:
        False. Who does not watch it (`Client.watch`) sees either a tenth of a second late."""

    def tell(self, label: int, kind: _EventKind, text: str, pid: int = 0) -> None:
        """Append an event to the journal, by the process of that label: its own, or of another of which it knows."""

    def journal(self) -> list[tuple[int, _EventKind, int, int, int, str, str | None]]:
        """The latest events of every process, oldest first: (at_ns, kind, pid, slot, task_generation, text, function).
        Task generation 0: of no task. Function: the name of the task's, None when it is not known."""

    def gone(self, slot: int, task_generation: int) -> Literal["evicted", "expired"] | None:
        """Why the result of that task is not kept any more; None: it is kept, or that is not known."""

    def trace_until(self, deadline_ns: int) -> None:
        """Have every task recorded until then (CLOCK_MONOTONIC). An earlier time than that which stands changes
        nothing, but 0 ends it. Raises ValueError when the Space is mapped for reading only."""

    def trace(self, cursor: bytearray) -> tuple[list[_Record], int]:
        """(records, lost): what was recorded since the last call with this cursor, a bytearray of the caller's, empty
        at first; and how many records came and went in between."""

    def function_of(self, index: int, generation: int) -> tuple[int, bytes] | None:
        """What a task calls, as it was published: (kind, bytes), see localq.lookup. None when that is not known: the
        slot serves another task, the function was taken out of the table, or it travels with the task."""

    def read(self, index: int, generation: int) -> Reading | None:
        """What is known of a task: a Reading, or None when the slot serves another task or its result has expired. Of
        results with buffers the payload is None here: `Client.read` knows how to look at them."""

@final
class Reading:
    """A frozen reading of one task. Times are CLOCK_MONOTONIC nanoseconds, 0 where not reached."""

    @property
    def state(self) -> int:
        """PENDING, RUNNING, SUCCEEDED, FAILED or CANCELLED."""

    @property
    def crashed(self) -> bool:
        """FAILED because its worker died; `wait_status` says how."""

    @property
    def timed_out(self) -> bool:
        """FAILED because it was killed after its time limit."""

    @property
    def expired(self) -> bool:
        """FAILED because it was not started in time."""

    @property
    def limit_ms(self) -> int:
        """How long a run may last, 0: for ever."""

    @property
    def payload(self) -> Any:
        """The result or the error, encoded; None (whatever the type says) before there is one, or after a crash."""

    @property
    def format(self) -> int:
        """How a result is encoded."""

    @property
    def kind(self) -> int:
        """0: one call; 1 and 2: a chunk of a map."""

    @property
    def wait_status(self) -> int: ...
    @property
    def report(self) -> tuple[int, bool, str] | None:
        """Of a crash: see Space.read_report."""

    @property
    def attempts(self) -> int: ...
    @property
    def worker_pid(self) -> int: ...
    @property
    def submit_ns(self) -> int: ...
    @property
    def start_ns(self) -> int: ...
    @property
    def done_ns(self) -> int: ...

# --- large payloads -------------------------------------------------------------------------------------------------

FORMAT_BUFFERS: Final = 8
"""Or-ed to a format: the payload is an Incoming."""

ARGUMENTS_READ_ONLY: Final[int]
ARGUMENTS_SHARED: Final[int]
VIEW_COPY_ON_WRITE: Final[int]
VIEW_READ_ONLY: Final[int]
VIEW_SHARED: Final[int]

@final
class Pinner:
    """What one process looks at, under one label. Not for Python code."""

    def __new__(cls, space: Space, me: int, runs: bool = False) -> Pinner: ...

@final
class Outgoing:
    """A payload that is about to be written. Not for Python code."""

    def __init__(self, space: Space, payload: Any, by_name: bool = True) -> None: ...
    @property
    def total(self) -> int: ...

@final
class Incoming:
    """A payload that has arrived. What it looks at stays while any part of it is used."""

    @property
    def head(self) -> memoryview:
        """The pickle."""

    @property
    def buffers(self) -> list[memoryview]:
        """What the pickle refers to, in order."""

@final
class Block:
    """Bytes in the arena that stay as they are as long as this object lives: a bytes-like object."""

    @property
    def length(self) -> int: ...
    @property
    def in_arena(self) -> bool:
        """Whether what is written here is seen by others: for the picklers, which leave such memory where it is."""

    def clear(self, sparse: bool = False) -> None:
        """All zeros. `sparse`: of large blocks the memory is given back, and had again page by page."""

    def __len__(self) -> int: ...

@final
class Hold:
    """As long as it lives, so does the shared value in the block."""

    @property
    def block(self) -> int: ...
    @property
    def generation(self) -> int:
        """Which use of the block it is."""

    @property
    def size(self) -> int:
        """Of the value, in bytes."""

    def read(self, mode: int = 0, is_copied: bool = False) -> Incoming:
        """The value's payload; `mode`: VIEW_*. Raises ValueError when the queue is closed here."""

    def release(self) -> bool:
        """Kept for good so far: from now on it lives as long as somebody holds it. Returns whether that is news."""

# --- the submitting side --------------------------------------------------------------------------------------------

@final
class FunctionEntry:
    """A published function: its row in the table, and how to see that it is still what was published.

    `checks` is a flat tuple of (container, key, expected); see localq.captures. `missing` stands there for a name or a
    cell that has no value. `unstable`: something it captured can change unseen, so it is published anew at each use.
    """

    def __init__(
        self,
        function: object,
        row: int,
        generation: int,
        checks: tuple[object, ...] = (),
        missing: object = None,
        unstable: bool = False,
    ) -> None: ...
    @property
    def function(self) -> Any: ...
    @property
    def row(self) -> int: ...
    @property
    def generation(self) -> int: ...
    @property
    def checks(self) -> tuple[object, ...]: ...
    @property
    def unstable(self) -> bool: ...

    pending: int
    heavy: bool
    """It holds memory of the arena: not to be kept when no task needs it."""
    """This client's tasks that still need the row."""
    queue: int
    """Number of the queue, -1: the caller's; `priority`, `max_retries` and `max_crashes` likewise."""
    max_crashes: int
    limit_ms: int
    """How long a run may last, 0: the caller's."""
    priority: int
    max_retries: int

    def is_current(self) -> bool:
        """Whether every check still holds."""

class _Watch(Protocol):
    def settle(self, future: Any, state: int, value: object, /) -> object:
        """Called when the future is to be done: calls `_become` with the rest, under its own lock."""

class Future(Generic[_R_co]):
    """What a submission hands out, as far as it must be fast. localq.client.future.TaskFuture makes it a
    concurrent.futures.Future.

    `attempts`, `worker_pid` and the times (CLOCK_MONOTONIC nanoseconds) are 0 until it is done, but `submit_ns`.
    """

    def _hold_for(self, client: Client) -> tuple[int, Hold] | None:
        """For a task of that client whose input this is: (format, Hold) of a result that lies in the arena they share;
        None where it must travel again."""

    def __class_getitem__(cls, item: Any) -> Any: ...
    @property
    def slot(self) -> int: ...
    @property
    def generation(self) -> int: ...
    @property
    def task_id(self) -> str:
        """Names the task and its queue; `get_task_result` takes it. Empty until the task is sent: while it waits for
        room, or for the results of other tasks; and for good when it never was."""

    @property
    def attempts(self) -> int: ...
    @property
    def worker_pid(self) -> int: ...
    @property
    def submit_ns(self) -> int: ...
    @property
    def start_ns(self) -> int: ...
    @property
    def done_ns(self) -> int: ...
    @property
    def mixed(self) -> bool:
        """Of a chunk: its results are (True, value) or (False, encoded error), because some items failed."""

    @property
    def items_begun(self) -> int:
        """Of a chunk: items begun in its last run."""

    @property
    def payload_bytes(self) -> int:
        """Arguments and result together, as they travelled."""

    def done(self) -> bool:
        """True once it was cancelled or has finished."""

    def cancelled(self) -> bool:
        """True if it was cancelled before it ran."""

    def running(self) -> bool:
        """True while a worker runs it."""

    def result(self, timeout: float | None = None) -> _R_co:
        """Wait for the task and return what its function returned.

        Args:
            timeout: seconds to wait at most; None: as long as it takes.

        Raises:
            TimeoutError: it is not done by then; the task goes on.
            CancelledError: it was cancelled.
            Whatever the function raised, of the same type where it can be rebuilt; WorkerCrashed,
            SerializationError, ...
        """

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the task and return what it raised, or None. Raises TimeoutError or CancelledError like result()."""

    def cancel(self) -> bool:
        """Cancel the task. Returns whether it is cancelled: False if it was done before.

        One that has not started never runs. In one that runs, TaskCancelled is raised, so that its `finally` blocks run
        (a coroutine is cancelled as asyncio does); a worker that is not done with it after the queue's `grace_period`
        is killed and replaced. The future itself is cancelled at once.
        """

    def _run_here(self) -> None:
        """In a task that is about to wait for this one: run it in here, if it is still queued."""

    def _withdraw(self) -> bool:
        """Cancel the task if it has not started."""

    # For localq.client.

    @property
    def _native_state(self) -> int:
        """PENDING, RUNNING, SUCCEEDED, FAILED or CANCELLED."""

    _output: Any
    """What its runs have written, once they have; see localq.client.output."""

    @property
    def _sent_next(self) -> bool:
        """Whether its worker has seen to the task that shall run next; see localq.client.callbacks."""

    @property
    def _options(self) -> Options | None:
        """What it was submitted with, until it is done. Who submits all with options of its own knows them by these."""

    @property
    def _function(self) -> Callable[..., object] | str | None:
        """What was submitted, until it is done."""

    def _hear(self) -> None:
        """Take in what it has written so far."""

    @property
    def _refused(self) -> bool:
        """True when it ended before anything was sent."""

    @property
    def _is_parked(self) -> bool:
        """True while it waits in this process: for room, or for its inputs."""

    @property
    def _client(self) -> Client: ...
    def _tell(self, who: Callable[[Any], object]) -> None:
        """Call `who(self)` when it is done, in whichever thread finishes it; at once if it is. It must not raise."""

    @property
    def _watch(self) -> Any:
        """What `_adopt_watch` gave it, or None."""

    def _adopt_watch(self, watch: _Watch) -> Any:
        """Give it a watch, unless it has one. From then on its client finishes it without being asked. Returns the
        watch."""

    def _become(self, state: int, value: object) -> bool:
        """For the watch, under its condition: False when it was done before."""

def iterated_natively(kind: type[_ResultsT]) -> type[_ResultsT]:
    """For classes derived from Results: `next()` does not look `__next__` up by its name for each result."""

class Results:
    """An iterator over results that come in chunks; localq.client.mapping.MapResults fills it.

    A subclass has `_next_chunk()`, which returns (whether it holds pairs, the list of results) or raises StopIteration,
    and `_unwrap((ok, value or error))`, which makes a result of a pair or raises.
    """

    def __iter__(self) -> Self: ...
    def __next__(self) -> Any: ...
    @property
    def _count_here(self) -> int: ...
    @property
    def _is_filled(self) -> bool:
        """Is the next result here? Then `next` does not wait."""

    def _fill(self, fetched: tuple[bool, list[Any]]) -> None:
        """Take a chunk that was fetched elsewhere than in `_next_chunk`."""

@final
class Options:
    """What differs between calls. Frozen once made. -1 is the function's own, or else the default."""

    def __init__(
        self,
        queue: int = -1,
        priority: int = -1,
        max_retries: int = -1,
        timeout: float = -1.0,
        metadata: object = None,
        default_priority: int = 2,
        default_retries: int = 0,
        overflow: bool = False,
        *,
        max_crashes: int = -1,
        default_crashes: int = -1,
        limit_ms: int = 0,
        default_limit_ms: int = 0,
        ttl_ns: int = 0,
        delay_ns: int = 0,
        due_ns: int = 0,
        keeps_running: bool = False,
        arguments: int = 0,
        copied: bool = False,
    ) -> None:
        """`limit_ms`: how long a run may last; `ttl_ns`: to be started within; `delay_ns`: not before so much later;
        `due_ns`: not before that time (CLOCK_MONOTONIC); 0: none. `keeps_running`: `cancel()` of its futures leaves a
        task alone once it runs. `arguments`: 0 or ARGUMENTS_*; `copied`: results are private copies."""

    @property
    def max_crashes(self) -> int: ...
    @property
    def default_crashes(self) -> int: ...
    @property
    def limit_ms(self) -> int: ...
    @property
    def default_limit_ms(self) -> int: ...
    @property
    def ttl_ns(self) -> int: ...
    @property
    def delay_ns(self) -> int: ...
    @property
    def due_ns(self) -> int: ...
    @property
    def keeps_running(self) -> bool: ...
    @property
    def arguments(self) -> int: ...
    @property
    def copied(self) -> bool: ...
    @property
    def queue(self) -> int: ...
    @property
    def priority(self) -> int: ...
    @property
    def max_retries(self) -> int: ...
    @property
    def timeout(self) -> float:
        """Seconds to wait for room, -1: for ever."""

    @property
    def metadata(self) -> Any: ...
    @property
    def overflow(self) -> bool:
        """A call that finds no room is kept in this process and sent later. (On the thread of a running event loop each
        is, unless its `timeout` is 0.)"""

    @property
    def default_priority(self) -> int: ...
    @property
    def default_retries(self) -> int: ...

@final
class Submitter:
    """`delay` with one set of options. Hot: called once a task. The futures are of the client's `future_type`."""

    def __init__(self, client: Client, options: Options, owner: object = None) -> None:
        """`owner` lives as long as somebody can submit here."""

    @property
    def options(self) -> Options: ...
    @property
    def delay(self) -> Callable[..., Any]:
        """delay(fn, /, *args, **kwargs): submit fn(*args, **kwargs) and return its future at once."""

    def apply(self, fn: Callable[..., object] | str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The same with the arguments as a tuple and a dict."""

    def chunk(self, entry: FunctionEntry, items: list[Any], star: bool) -> Any:
        """Submit a chunk of a map: fn(item) or fn(*item) for each. Its result is the list of results."""

class _ClientCodec(Protocol):
    """See localq.codec.Codec."""

    @property
    def fast(self) -> bool: ...
    def encode_call(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], metadata: Any, function: Any, /
    ) -> tuple[int, bytes]: ...
    def encode_items(self, items: list[Any], /) -> tuple[int, bytes]: ...
    def decode_value(self, format_: int, payload: bytes, /) -> Any: ...
    def decode_error(self, payload: bytes, task_id: str | None, attempts: int, /) -> BaseException: ...

class _ClientErrors(Protocol):
    """Makes the errors that a client raises; see localq.client.failures."""

    def cancelled(self, task_id: str | None, attempts: int, /) -> BaseException: ...
    def crashed(
        self,
        task_id: str | None,
        attempts: int,
        pid: int,
        wait_status: int,
        report: tuple[int, bool, str] | None,
        function: Any,
        /,
    ) -> BaseException: ...
    def undecodable(self, error: Exception, task_id: str | None, attempts: int, /) -> BaseException: ...
    def closed(self, reason: str | Callable[[], Exception], /) -> BaseException: ...
    def full(self, capacity: int, timeout: float, /) -> BaseException: ...
    def timed_out(self, seconds: float, task_id: str | None, attempts: int, /) -> BaseException: ...
    def expired(self, task_id: str | None, /) -> BaseException: ...

@final
class Parcel:
    """A submission that is not in a slot yet."""

@final
class Outbox:
    """What one client has not sent yet."""

class Client:
    """This process's access to a Space: submit, wait, cancel, read. Any thread may use it; the GIL is its lock."""

    def __init__(
        self,
        space: Space,
        label: int,
        pid: int,
        *,
        codec: _ClientCodec,
        owner: Callable[[], object],
        future_type: type[Future[Any]],
        resolve: Callable[[Client, Any], FunctionEntry],
        let_go: Callable[[Client, FunctionEntry], object],
        on_tick: Callable[[], object],
        on_watched: Callable[[], object],
        errors: _ClientErrors,
        plain: frozenset[type],
        freeze: Callable[[tuple[Any, ...], dict[str, Any], list[Any]], object] | None = None,
    ) -> None:
        """`owner()` is what must live while futures wait; `resolve(client, fn)` returns a FunctionEntry for what
        `functions` does not have, or no longer; `on_tick()` is called now and then while waiting and may fail futures;
        `on_watched()` when a future gets a watch; `plain`: types beside functions whose instances compare by identity,
        or by value and never change; `freeze(args, kwargs, inputs)` returns these arguments as they are now, whose
        .fill() is (args, kwargs) once the inputs, futures, are done. Raises OSError."""

    @property
    def codec(self) -> Any:
        """The one handed in."""

    @property
    def space(self) -> Space:
        """The one handed in."""

    @property
    def identity(self) -> int:
        """Of the queue: `Space.identity`."""

    @property
    def functions(self) -> dict[Any, FunctionEntry]:
        """Callable or name to entry; whoever resolves fills it."""

    @property
    def plain(self) -> frozenset[type]:
        """Types, beside functions, that may be keys of `functions`."""

    @property
    def pending(self) -> int:
        """Tasks submitted and not yet reaped."""

    @property
    def parked(self) -> int:
        """Futures whose task waits in this process: for room, or for the results of others."""

    on_sent: Callable[[], object] | None
    """None, or called whenever nothing is parked any more."""

    @property
    def landings(self) -> dict[Any, Any]:
        """By event loop; see localq.client.aio."""

    @property
    def waiting(self) -> int:
        """Futures that are not done. Fewer than `pending` after a cancellation, whose slot comes back later."""

    watched: int
    """Futures that have a watch: they want to be finished without being asked."""
    closed: str | Callable[[], Exception] | None
    """None, or the reason why nothing can be submitted."""
    help: Callable[[int, int], bool] | None
    """None, or called with (slot, generation) of a task that is waited for: may run it here; says whether it has."""
    on_output: Callable[[], object] | None
    """None, or called before a task that has written something is done."""
    on_use: Callable[[], object] | None
    """None, or called once by whoever submits or waits next."""

    @property
    def is_ours(self) -> bool:
        """False in a process forked from the one that opened the queue."""

    def check_open(self) -> int:
        """Raise QueueClosed when nothing can be submitted."""

    def parse_id(self, task_id: str) -> tuple[int, int] | None:
        """(slot, generation) of an id of this queue, or None."""

    def future_of(self, slot: int, generation: int) -> Future[Any] | None:
        """The future that waits for a task of this client, or None."""

    def pending_futures(self) -> list[Future[Any]]:
        """The futures that still wait. A list of its own."""

    def publish(self, kind: int, payload: Any, name: str = "") -> tuple[int, int] | None:
        """Put a function's bytes, or its Payload, into the table. Returns (row, generation), or None when the table or
        the arena is full. What a Payload refers to elsewhere in the arena is not pinned: whoever publishes keeps it.
        `name`: for people; 100 bytes are kept."""

    def is_published(self, row: int, generation: int, payload: Any) -> bool:
        """Whether that row holds this very Payload."""

    def leave_function(self, entry: FunctionEntry) -> int:
        """One user less of that function."""

    def unpublish(self, row: int) -> None:
        """Take a function out again. No task may need it any more."""

    def reap(self) -> int:
        """Finish every future whose task is done. Returns how many."""

    def wait_for(self, future: Future[Any], timeout: float | None) -> None:
        """Until the future is done. Raises TimeoutError; lets KeyboardInterrupt through."""

    def wait_any(self, seconds: float) -> None:
        """Sleep until something of this client's is done, at most `seconds`; then finish what is done."""

    def leave(self) -> None:
        """Give everything back; the process lives on. Tasks that are on their way go on, and nobody is told. What is
        looked at becomes this process's own before. Raises OSError when there is no memory for that: then nothing has
        changed."""

    def strip(self) -> None:
        """The queue has ended, nobody writes any more: of the arena only what is looked at stays in memory."""

    def put(self, options: Options, payload: Any, keep: bool) -> Hold:
        """Store a Payload in a block of its own. `keep`: it stays until it is released."""

    @property
    def looks(self) -> bool:
        """Whether anything in this process looks at the arena."""

    def lend(self, is_alive: Callable[[], bool]) -> None:
        """This process has forked one that sees all that is looked at here, as long as `is_alive()`."""

    def hold(self, block: int, generation: int) -> Hold:
        """A shared value that another process has stored. Raises LookupError when it is gone."""

    def allocate(self, options: Options, length: int, sparse: bool) -> Block:
        """So many bytes of the arena, which this process and tasks may write."""

    def share(self, block: int, generation: int, start: int, length: int) -> Block:
        """Bytes of the arena that somebody else allocated, to be read and written. Raises LookupError when they are
        gone."""

    def read(self, slot: int, generation: int) -> Reading | None:
        """As `Space.read`; results with buffers are looked at."""

    def cancel_other(self, slot: int, generation: int) -> bool:
        """Cancel a task that has no future here: another client's."""

    def watch(self, slot: int, task_generation: int) -> bool:
        """From now on, notes and the end of that task wake those who wait in Space.wait_note. False: it has ended."""

    def touch(self, slot: int, generation: int) -> None:
        """A cached result was read: it is evicted last now."""

    def fail_all(self, make_error: Callable[[str], BaseException] | None) -> None:
        """End every waiting future with `make_error(task_id, attempts)`: nobody will run them."""

# --- a worker -------------------------------------------------------------------------------------------------------

_Call: TypeAlias = tuple[tuple[Any, ...], dict[str, Any] | None, Any, Any]

class _WorkerCodec(Protocol):
    """See localq.codec.Codec."""

    @property
    def fast(self) -> bool: ...
    def decode_call(self, format_: int, payload: bytes, /) -> _Call:
        """(args, kwargs, metadata, function in-band or None)."""

    def decode_items(self, format_: int, payload: bytes, /) -> list[Any]: ...
    def encode_value(self, value: Any, /) -> tuple[int, bytes]: ...
    def encode_error(self, exc: BaseException, /) -> bytes: ...

@final
class Flight:
    """A task whose coroutine is on its way, while the worker does other things."""

    cancel: Callable[[], object]
    """What cancels the coroutine."""

    @property
    def task_id(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def metadata(self) -> Any: ...
    printed: bool
    """It has written something."""

    @property
    def function(self) -> Callable[..., object] | None:
        """What it calls; None when that is not known any more."""

    @property
    def cancelled(self) -> bool:
        """Whether it was asked to stop."""

    def update(self, progress: float | None, message: str | None) -> bool:
        """As `Worker.update`, of this task."""

class _RunCoroutine(Protocol):
    """Runs one to its end. `cancel()` cancels the one that runs; False when none does."""

    def __call__(self, coroutine: Coroutine[Any, Any, Any], /) -> Any: ...
    def cancel(self) -> bool: ...

@final
class Worker:
    """The take-run-report loop of one worker process."""

    def __init__(
        self,
        space: Space,
        label: int,
        pid: int,
        *,
        codec: _WorkerCodec,
        load: Callable[[int, bytes], Callable[..., object]],
        run_coroutine: _RunCoroutine,
        too_large: Callable[[int, int], BaseException],
        stop_error: Callable[[float | None, str, int], BaseException],
        terms_type: type,
        task_type: type,
    ) -> None:
        """`load(kind, payload)` decodes a function; `too_large(bytes, room)` makes the error for a result that can
        never fit, `stop_error(limit, task_id, attempts)` the one that stops a task (limit: seconds, None: cancelled);
        `terms_type` and `task_type` are what may carry a Retry as `.retry`, the former also what sends what shall run
        next as `.next`: `.next.send(task_id, value, error)` is called before anybody may hear of the end."""

    @property
    def view_mode(self) -> int:
        """How the arguments that are decoded just now see shared values: VIEW_*."""

    @property
    def looks(self) -> bool:
        """As `Client.looks`."""

    def lend(self, is_alive: Callable[[], bool]) -> None:
        """As `Client.lend`."""

    def hold(self, block: int, generation: int) -> Hold:
        """As `Client.hold`."""

    def share(self, block: int, generation: int, start: int, length: int) -> Block:
        """As `Client.share`."""

    def run_here(self, slot: int, generation: int) -> bool:
        """For a task that waits for another: run that one within it, if it is still queued. Returns whether it has."""

    launch: Callable[[Coroutine[Any, Any, Any], Flight], object] | None
    """None, or sees a coroutine to its end beside others, and then calls `land`."""

    @property
    def flights(self) -> set[Flight]:
        """The tasks whose coroutines are on their way."""

    def land(self, flight: Flight, result: object, error: BaseException | None) -> None:
        """The coroutine of a flight has ended: with a result, or with an error."""

    def take_one(self) -> bool:
        """Take and run one task, while others fly. False when there is none, or none is to be taken any more."""

    def wait_for_work(self) -> None:
        """Sleep until there may be something to take, or for some time. For another thread than that which takes."""

    def heed(self) -> None:
        """Stop the task in hand if somebody asked for it: raises the error, in whatever it runs just now. For the
        handler of the signal by which the supervisor calls."""

    @property
    def cancelled(self) -> bool:
        """Whether the task in hand was asked to stop."""

    tasks_left: int
    """Tasks to run before `run` returns "recycle"; 0: no limit."""
    on_idle: Callable[[], object] | None
    """Called now and then while there is nothing to do."""
    after_task: Callable[[], bool] | None
    """Called after each task; true ends the loop as well."""

    def update(self, progress: float | None, message: str | None) -> bool:
        """The task in hand tells how far it is; 200 bytes of the message are kept. False: there is no task in hand.
        What is None stays as it was told in this run."""

    def log(self, text: str) -> None:
        """A line of the task in hand, or of this worker: the journal keeps the last ones."""

    @property
    def busy(self) -> bool:
        """Whether there is a task in hand."""

    @property
    def metadata(self) -> Any:
        """Of the task in hand; None if it has none."""

    @property
    def task_id(self) -> str | None:
        """Of the task in hand, or None."""

    @property
    def attempt(self) -> int:
        """1 for the first run of the task in hand."""

    printed: bool
    """Set by whoever writes for the task in hand: `let_out` is called before anybody may hear of its end."""
    let_out: Callable[[], None] | None

    @property
    def function(self) -> Callable[..., object] | None:
        """Of the task in hand, once it has been decoded; else None."""

    def recycle(self) -> None:
        """End after the task in hand: may be called by a signal's handler."""

    def run(self) -> Literal["stopped", "recycle", "flying"]:
        """Take and run tasks until the queue stops, the limit is reached or `after_task` says so; or until coroutines
        are on their way that somebody must see to."""

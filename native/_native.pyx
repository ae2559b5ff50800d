# SPDX-License-Identifier: MIT
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, auto_pickle=False, autotestdict=False
"""The native core, for Python: convert, call, raise.

`Space` is the shared memory, for whoever supervises it. `Client` and `Future` are the submitting side, `Worker` the whole
take-run-report loop. What needs Python's own machinery (pickle, imports, event loops) is asked of the objects handed in.
"""
cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetFromErrno
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from libc.string cimport memcpy, memset

from lq cimport *

cdef extern from "Python.h":
    PyObject *PyDict_GetItemWithError(object mapping, object key) except? NULL
    PyObject *PyCell_GET(PyObject *cell)
    bint PyCell_Check(object value)
    bint PyCoro_CheckExact(object value)
    bint PyFunction_Check(object value)
    bint PyCFunction_Check(object value)
    object PyObject_Call(object function, object args, PyObject *kwargs)
    PyObject **PySequence_Fast_ITEMS(object sequence)
    ctypedef struct PyTypeObject:
        PyObject *(*tp_new)(PyTypeObject *type, PyObject *args, PyObject *kwargs) except NULL
    ctypedef object (*PyCFunction)(object, object)
    ctypedef struct PyMethodDef:
        const char *ml_name
        PyCFunction ml_meth
        int ml_flags
        const char *ml_doc
    enum:
        METH_FASTCALL
        METH_KEYWORDS
    object PyCFunction_NewEx(PyMethodDef *definition, object self, object module)
    object PyObject_CallOneArg(object function, object argument)

FORMAT_MSGPACK = 0
cdef tuple NO_ARGS = ()
cdef extern from "<sys/prctl.h>" nogil:
    enum:
        PR_SET_NAME
        PR_SET_PDEATHSIG
    int prctl(int option, unsigned long, unsigned long, unsigned long, unsigned long)

cdef enum:
    MSGPACK = 0
    NS = 1000000000
    MIXED = 16            # or-ed to the format of a chunk in which an item failed: (ok, value or error bytes) pairs
    MOST_NAP_NS = 1000000000

ROLE_CLIENT = LQ_ROLE_CLIENT
ROLE_SUPERVISOR = LQ_ROLE_SUPERVISOR
ROLE_WORKER = LQ_ROLE_WORKER
(TALLY_SUPERVISORS, TALLY_WORKERS, TALLY_WORKERS_CRASHED) = (LQ_TALLY_SUPERVISORS, LQ_TALLY_WORKERS, LQ_TALLY_WORKERS_CRASHED)
PHASE_OPEN = LQ_PHASE_OPEN
PHASE_DRAINING = LQ_PHASE_DRAINING
PHASE_STOPPED = LQ_PHASE_STOPPED
PHASE_BROKEN = LQ_PHASE_BROKEN
IN_BAND = <uint32_t>LQ_FUNCTION_IN_BAND
PENDING, RUNNING, SUCCEEDED, FAILED, CANCELLED = range(5)


cdef enum State:
    IS_PENDING = 0
    IS_VALUE = 1          # `value` is the result
    IS_ENCODED = 2        # `value` is (format, bytes): decoded when somebody asks
    IS_ERROR = 3          # `value` is the exception
    IS_ENCODED_ERROR = 4  # `value` is bytes
    IS_CANCELLED = 5


cdef int fail(lq_status status, str what) except -1:
    """The one place where a status becomes an exception."""
    from localq.errors import LayoutMismatch, SpaceCorrupt
    if status == LQ_VERSION:
        raise LayoutMismatch(found="of another version", expected=LQ_LAYOUT_VERSION)
    if status == LQ_CORRUPT:
        raise SpaceCorrupt(structure=what.removeprefix("the "), detail="it holds a value that no version writes")
    if status == LQ_NEVER:
        raise MemoryError(f"{what}: larger than the Space can ever be")
    raise RuntimeError(f"{what}: unexpected status {<int>status}")


# --------------------------------------------------------------------------------------------------------------- values

cdef bytes out_bytes(lq_out *out):
    return (<char *>out.base)[:out.len]


def encode_value(value):
    """`value` as MessagePack, or None when MessagePack can't carry it exactly."""
    cdef lq_out out
    memset(&out, 0, sizeof(out))
    try:
        return out_bytes(&out) if lq_value_encode(&out, <PyObject *>value) == LQ_VALUE_OK else None
    finally:
        lq_out_free(&out)


def encode_args(tuple args, Py_ssize_t first, kwargs):
    cdef lq_out out
    memset(&out, 0, sizeof(out))
    cdef PyObject *named = <PyObject *>kwargs if kwargs is not None else NULL
    try:
        return out_bytes(&out) if lq_value_encode_args(&out, <PyObject *>args, first, named) == LQ_VALUE_OK else None
    finally:
        lq_out_free(&out)


def encode_items(items):
    cdef lq_out out
    memset(&out, 0, sizeof(out))
    try:
        return out_bytes(&out) if lq_value_encode_items(&out, <PyObject *>items) == LQ_VALUE_OK else None
    finally:
        lq_out_free(&out)


cdef object take_ref(PyObject *new):
    """The object behind a new reference that C returned."""
    cdef object value = <object>new
    Py_DECREF(value)
    return value


def decode_value(data not None):
    """The value in a bytes-like object. Raises ValueError when it is not exactly one MessagePack value."""
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        return take_ref(lq_value_decode(<const unsigned char *>view.buf, <size_t>view.len))
    finally:
        PyBuffer_Release(&view)


def decode_args(data not None):
    """(args, kwargs or None) from a bytes-like object. Raises ValueError like decode_value."""
    cdef Py_buffer view
    cdef PyObject *args = NULL
    cdef PyObject *kwargs = NULL
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        lq_value_decode_args(<const unsigned char *>view.buf, <size_t>view.len, &args, &kwargs)
        return take_ref(args), (take_ref(kwargs) if kwargs != NULL else None)
    finally:
        PyBuffer_Release(&view)


def name_process(str name not None):
    """What ps and top show for this process; the kernel keeps 15 bytes."""
    cdef bytes shown = name.encode()[:15]
    cdef char *at = shown
    prctl(PR_SET_NAME, <unsigned long>at, 0, 0, 0)


def die_with_parent(int parent):
    """The kernel kills this process when its parent ends. `parent` is who that should be: it may be gone already."""
    from os import _exit, getppid
    prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0)
    if getppid() != parent:
        _exit(1)


def guard_last_words(int fd):
    """The handlers of fatal signals, as they are now, run only while `fd` is the file that it is now."""
    if lq_last_words_guard(fd) != 0:
        raise_errno("the handlers of fatal signals")


def now_ns():
    """CLOCK_MONOTONIC, as the times in slots are."""
    return lq_now_ns()


# ---------------------------------------------------------------------------------------------------------------- Space

cdef class Space:
    """All shared memory of one queue. Closed when the last object that uses it is gone."""
    cdef lq_space space
    cdef readonly bint writable

    def __cinit__(self):
        self.space.control.fd = -1
        self.space.payload.fd = -1

    def __dealloc__(self):
        lq_space_close(&self.space)

    @staticmethod
    def create(*, uint32_t capacity, uint32_t result_cache_size, uint32_t queues, uint32_t cpus, uint64_t memory,
               uint64_t ttl_ms, uint64_t identity):
        """A new Space. Raises OSError when the system refuses memory, MemoryError when the sizes are out of range."""
        cdef Space self = Space()
        cdef lq_sizes sizes
        sizes.capacity, sizes.result_cache, sizes.queues = capacity, result_cache_size, queues
        sizes.cpus, sizes.memory, sizes.ttl_ms = cpus, memory, ttl_ms
        cdef lq_status status = lq_space_create(&self.space, &sizes, identity)
        if status == LQ_SYSTEM:
            raise_errno("the shared memory of the queue")
        if status != LQ_OK:
            fail(status, "the sizes of the Space")
        self.writable = True
        return self

    @staticmethod
    def open(int control_fd, int payload_fd, bint writable=True):
        """Attach to a Space made elsewhere; takes both fds over. Raises LayoutMismatch, SpaceCorrupt, OSError."""
        cdef Space self = Space()
        cdef lq_status status = lq_space_open(&self.space, control_fd, payload_fd, writable)
        if status == LQ_SYSTEM:
            raise_errno("attaching to a Space")
        if status != LQ_OK:
            fail(status, "the header of the Space")
        self.writable = writable
        return self

    @property
    def fds(self):
        """(control, payload): what another process needs to open the same Space."""
        return self.space.control.fd, self.space.payload.fd

    def close_fds(self):
        """The mapping stays; nobody else can be given the Space from here any more."""
        from os import close
        for fd in self.fds:
            if fd >= 0:
                close(fd)
        self.space.control.fd = -1
        self.space.payload.fd = -1

    @property
    def identity(self):
        return self.space.header.identity

    @property
    def capacity(self):
        return self.space.header.sizes.capacity

    @property
    def memory(self):
        return self.space.header.sizes.memory

    @property
    def phase(self):
        return lq_space_phase(&self.space)

    def set_phase(self, uint32_t phase):
        """Forward only; wakes everybody."""
        lq_space_set_phase(&self.space, phase)

    @property
    def workers(self):
        return lq_space_workers(&self.space)

    def set_workers(self, uint32_t workers):
        lq_space_set_workers(&self.space, workers)

    def join(self, int role, uint32_t pid, uint64_t started=0):
        """Take a row of the roster. Returns the label; raises RuntimeError when all rows are in use.

        `pid` 0: it is told by sign_in. `started`: see localq.pool.processes."""
        cdef lq_label label = 0
        if lq_space_join(&self.space, <lq_role>role, pid, &label) != LQ_OK:
            raise RuntimeError(f"more than {LQ_ROWS - 1} processes use this queue")
        if started:
            lq_space_sign_in(&self.space, label, pid, started)
        return label

    def sign_in(self, uint32_t label, uint32_t pid, uint64_t started=0):
        """Tell the pid of a row, and when its process started. Returns whether the row is (still) that one's."""
        return lq_space_sign_in(&self.space, label, pid, started)

    def set_ready(self, uint32_t label):
        lq_space_set_ready(&self.space, label)

    def bury(self, uint32_t label):
        """The kernel proved this process dead: its words may be recovered."""
        lq_space_bury(&self.space, label)

    def bury_unsigned(self, uint32_t label):
        """Bury a row that no process has signed in to: none can do so any more. False when one has."""
        return lq_space_bury_unsigned(&self.space, label)

    def recover(self, uint32_t label, uint32_t wait_status, uint32_t report=0):
        """One pass. `report`: the number that write_report returned. Returns (labels found, requeued, crashed, released)."""
        cdef lq_recovered recovered
        with nogil:
            lq_space_recover(&self.space, label, lq_cause(wait_status, report), &recovered)
        return recovered.labels, recovered.requeued, recovered.crashed, recovered.released

    def release(self, uint32_t label):
        """No word bears the label any more: the row may be used again."""
        lq_space_release(&self.space, label)

    def write_report(self, uint32_t label, uint32_t pid, uint32_t wait_status, uint64_t peak_bytes, bint out_of_memory,
                     bytes text not None):
        """Keep what is known of a process that died, for the error of its task. Returns its number, 0 when there is no room."""
        cdef lq_report report
        cdef Py_ssize_t length = min(len(text), <Py_ssize_t>LQ_REPORT_TEXT)
        memset(&report, 0, sizeof(report))
        report.pid, report.wait_status, report.peak_bytes = pid, wait_status, peak_bytes
        report.reason = LQ_REASON_OUT_OF_MEMORY if out_of_memory else 0
        report.text_bytes = <uint32_t>length
        memcpy(report.text, <char *>text, length)
        return lq_reports_write(&self.space.reports, label, &report)

    def read_report(self, uint32_t number, uint32_t pid):
        """(peak bytes, out of memory, text) of a process that died, or None: there is none, or later ones took its place."""
        cdef lq_report report
        if lq_reports_read(&self.space.reports, number, pid, &report) != LQ_OK:
            return None
        text = (<char *>report.text)[:report.text_bytes].decode("utf-8", "replace")
        return report.peak_bytes, (report.reason & LQ_REASON_OUT_OF_MEMORY) != 0, text

    def tally(self, int which, uint32_t more=1):
        """Count something: TALLY_..."""
        if 0 <= which < <int>LQ_TALLIES:
            lq_space_tally(&self.space, <lq_tally>which, more)

    @property
    def tallies(self):
        """What has happened in the life of this Space."""
        names = ("supervisors_started", "workers_started", "workers_crashed", "tasks_requeued", "tasks_crashed")
        return {name: lq_space_tally_of(&self.space, <lq_tally>i) for i, name in enumerate(names)}

    def sweep(self, uint32_t label):
        """Let go of what has expired or belongs to nobody. Returns how many."""
        cdef uint32_t swept
        with nogil:
            swept = lq_space_sweep(&self.space, label)
        return swept

    def check(self):
        """None when everything is accounted for, else the first contradiction. Only while nobody is at work."""
        cdef char problem[256]
        if lq_space_check(&self.space, problem, sizeof(problem)) == LQ_OK:
            return None
        return problem.decode("utf-8", "replace")

    def audit(self, uint32_t most=1000):
        """All contradictions, as (what, index, word, label of whose turn it is or was). Beside live users only those count
        that are found again later."""
        cdef lq_problem *problems = <lq_problem *>PyMem_Calloc(max(most, 1), sizeof(lq_problem))
        cdef uint32_t i, count
        if problems == NULL:
            raise MemoryError
        try:
            with nogil:
                count = lq_space_audit(&self.space, problems, most)
            return [(problems[i].what.decode(), problems[i].index, problems[i].word, problems[i].who)
                    for i in range(min(count, most))]
        finally:
            PyMem_Free(problems)

    def row(self, uint32_t index):
        """One row of the roster, for people; None when it is free."""
        cdef lq_row_reading r
        lq_space_row(&self.space, index, &r)
        if r.state == 0:
            return None
        return {"row": index, "label": r.label, "live": r.state == 1, "role": r.role, "pid": r.pid, "started": r.started,
                "ready": bool(r.ready),
                "succeeded": r.succeeded, "failed": r.failed, "items": r.items, "run_ns": r.run_ns,
                "task": None if r.task == <uint64_t>-1 else (r.task >> 32, r.task & 0xffffffff),
                "task_since_ns": r.task_since_ns, "unread": r.unread}

    def rows(self):
        return [row for row in (self.row(i) for i in range(1, LQ_ROWS)) if row is not None]

    def depths(self):
        """Queued entries, per queue and priority. A reading: it is old when it returns."""
        return [[lq_space_depth(&self.space, q, p) for p in range(4)] for q in range(self.space.queues)]

    def arena(self):
        """(bytes held by tasks and results, bytes kept warm by processes, spans in use of 1 MiB each)."""
        cdef uint64_t held, owned, spans
        lq_space_arena_reading(&self.space, &held, &owned, &spans)
        return held, owned, spans

    def slots(self):
        """How many slots are in each state."""
        cdef uint32_t counts[16]
        lq_space_count_slots(&self.space, counts)
        names = ("fresh", "writing", "queued", "claimed", "running", "done", "cached", "cancelled", "free")
        return {name: counts[i] for i, name in enumerate(names)}

    def task_id(self, uint32_t index, uint32_t generation):
        """The name of a task: its queue, its slot, its generation."""
        return f"{self.space.header.identity & 0xffffffff:08x}-{index:x}-{generation:x}"

    def function_of(self, uint32_t index, uint32_t generation):
        """What a task calls, as it was published: (kind, bytes). None when that is not known: the slot serves another task,
        the function was taken out of the table, or it travels with the task."""
        cdef lq_slot copy
        cdef uint32_t kind = 0, length = 0
        cdef const unsigned char *at = NULL
        if lq_space_read(&self.space, index, generation, &copy) != LQ_OK:
            return None
        if lq_space_function(&self.space, copy.function, copy.function_generation, &kind, &at, &length) != LQ_OK:
            return None
        payload = (<const char *>at)[:length]
        return (kind, payload) if lq_space_function_is_current(&self.space, copy.function, copy.function_generation) else None

    def read(self, uint32_t index, uint32_t generation):
        """What is known of a task: a Reading, or None when the slot serves another task or its result has expired."""
        cdef lq_slot copy
        cdef Reading reading
        cdef uint64_t room = 0
        cdef unsigned char *block
        cdef uint32_t cause = 0
        if lq_space_read(&self.space, index, generation, &copy) != LQ_OK:
            return None
        cdef uint32_t state = lq_slot_state_of(&copy)
        if state == LQ_SLOT_CACHED and lq_space_is_expired(&self.space, &copy, lq_now_ns()):
            return None
        reading = Reading.__new__(Reading)
        reading.state = PENDING
        if state == LQ_SLOT_RUNNING:
            reading.state = RUNNING
        elif state == LQ_SLOT_CANCELLED:
            reading.state = CANCELLED
        elif state == LQ_SLOT_DONE or state == LQ_SLOT_CACHED:
            outcome = lq_slot_outcome(&copy, &cause)
            reading.state = SUCCEEDED if outcome == LQ_OUTCOME_SUCCESS else CANCELLED if outcome == LQ_OUTCOME_CANCELLED else FAILED
            reading.crashed = outcome == LQ_OUTCOME_CRASHED
            if outcome == LQ_OUTCOME_SUCCESS or outcome == LQ_OUTCOME_FAILURE:
                if copy.result_block == LQ_NO_BLOCK:
                    if copy.result_bytes > LQ_INLINE_BYTES:
                        return None
                    reading.payload = (<char *>copy.result)[:copy.result_bytes]
                else:
                    block = lq_space_block(&self.space, copy.result_block, &room)
                    if block == NULL or copy.result_bytes > room:
                        return None
                    reading.payload = (<char *>block)[:copy.result_bytes]
                if not lq_space_is_current(&self.space, index, &copy):
                    return None
        reading.format = copy.result_format
        reading.kind = copy.kind
        reading.wait_status = cause & 0xffff
        reading.report = self.read_report(cause >> 16, copy.worker_pid) if reading.crashed else None
        reading.attempts = copy.attempt
        reading.worker_pid = copy.worker_pid
        reading.submit_ns, reading.start_ns, reading.done_ns = copy.submit_ns, copy.start_ns, copy.done_ns
        return reading


cdef int raise_errno(str what) except -1:
    try:
        PyErr_SetFromErrno(OSError)
    except OSError as error:
        raise OSError(error.errno, f"{what}: {error.strerror}") from None


@cython.final
cdef class Reading:
    """A frozen reading of one task. Times are CLOCK_MONOTONIC nanoseconds, 0 where not reached."""
    cdef readonly int state
    cdef readonly bint crashed
    cdef readonly bytes payload
    cdef readonly int format
    cdef readonly int kind
    cdef readonly uint32_t wait_status, attempts, worker_pid
    cdef readonly object report        # of a crash: see Space.read_report
    cdef readonly uint64_t submit_ns, start_ns, done_ns


# ------------------------------------------------------------------------------------------------------------ functions

@cython.final
cdef class FunctionEntry:
    """A published function: its row in the table, and how to see that it is still what was published.

    `checks` is a flat tuple of (container, key, expected); see localq.captures. `pending` counts this client's tasks that
    still need the row.
    """
    cdef readonly object function
    cdef readonly uint32_t row, generation
    cdef readonly tuple checks
    cdef object missing               # stands in `checks` for a name or a cell that has no value
    cdef readonly bint unstable     # something it captured can change unseen: publish it anew at each use
    cdef public uint32_t pending
    cdef public int queue, priority, max_retries      # -1: the caller's

    def __init__(self, function, row, generation, checks=(), missing=None, unstable=False):
        self.function = function
        self.row = row
        self.generation = generation
        self.checks = checks
        self.missing = missing
        self.unstable = unstable
        self.queue = self.priority = self.max_retries = -1

    cpdef bint is_current(self) except -1:
        cdef Py_ssize_t i
        cdef PyObject *found
        cdef object container, key, expected
        for i in range(0, len(self.checks), 3):
            container, key, expected = self.checks[i], self.checks[i + 1], self.checks[i + 2]
            if type(container) is dict:
                found = PyDict_GetItemWithError(container, key)
            elif PyCell_Check(container):
                found = PyCell_GET(<PyObject *>container)
            else:
                if getattr(container, key, self.missing) is not expected:
                    return False
                continue
            if found == NULL:
                if expected is not self.missing:
                    return False
            elif <object>found is not expected:
                return False
        return True


# ----------------------------------------------------------------------------------------------------- client: futures

cdef struct Follower:
    # A thread that waits for its own future while another one leads. Lives on that thread's stack.
    lq_bell bell
    PyObject *future
    Follower *next


cdef class Future:
    """What a submission hands out, as far as it must be fast. localq.client.future.TaskFuture makes it a
    concurrent.futures.Future."""
    cdef Client client
    cdef object value
    cdef object watch                 # set by TaskFuture once somebody needs callbacks, conditions or waiters
    cdef FunctionEntry entry
    cdef State state
    cdef readonly uint32_t slot, generation
    cdef readonly uint32_t attempts, worker_pid
    cdef readonly uint64_t submit_ns, start_ns, done_ns
    cdef readonly bint mixed          # a chunk in which some items failed
    cdef readonly uint32_t items_begun  # of a chunk, in its last run
    cdef readonly uint64_t payload_bytes  # arguments and result together, as they travelled

    @classmethod
    def __class_getitem__(cls, item):
        """`Future[R]` is for type checkers."""
        return cls

    @property
    def _watch(self):
        return self.watch

    def _adopt_watch(self, watch):
        """Give it a watch, unless it has one. From then on its client finishes it without being asked. Returns the watch."""
        if self.watch is None:
            self.watch = watch
            if self.state == IS_PENDING:
                self.client.watched += 1
                lq_client_widen(&self.client.client)
                self.client.on_watched()
        return self.watch

    @property
    def _refused(self):
        """True when it failed before anything was sent."""
        return self.generation == 0

    @property
    def task_id(self):
        """Names the task and its queue; `get_task_result` takes it. Empty when the task was never sent."""
        if self.client is None or self.generation == 0:
            return ""
        return self.client.task_id(self.slot, self.generation)

    cpdef bint done(self):
        """True once it was cancelled or has finished."""
        if self.state == IS_PENDING and self.client is not None:
            self.client.reap()
            if self.state == IS_PENDING:
                self.client.tick()
        return self.state != IS_PENDING

    cpdef bint cancelled(self):
        """True if it was cancelled before it ran."""
        self.done()
        return self.state == IS_CANCELLED

    def running(self):
        """True while a worker runs it."""
        return not self.done() and self.client.state_of(self) == LQ_SLOT_RUNNING

    @property
    def _native_state(self):
        if self.state == IS_PENDING:
            return RUNNING if self.client is not None and self.client.state_of(self) == LQ_SLOT_RUNNING else PENDING
        if self.state == IS_CANCELLED:
            return CANCELLED
        return FAILED if self.state == IS_ERROR or self.state == IS_ENCODED_ERROR else SUCCEEDED

    def result(self, timeout=None):
        """Wait for the task and return what its function returned.

        Args:
            timeout: seconds to wait at most; None: as long as it takes.

        Raises:
            TimeoutError: it is not done by then; the task goes on.
            CancelledError: it was cancelled.
            Whatever the function raised, of the same type where it can be rebuilt; WorkerCrashed, SerializationError, ...
        """
        if self.state == IS_PENDING:
            self.client.wait_for(self, timeout)
        if self.state == IS_ENCODED:
            self.decode()
        if self.state == IS_VALUE:
            return self.value
        self.throw()

    def exception(self, timeout=None):
        """Wait for the task and return what it raised, or None. Raises TimeoutError or CancelledError like result()."""
        if self.state == IS_PENDING:
            self.client.wait_for(self, timeout)
        if self.state == IS_ENCODED:
            self.decode()
        if self.state == IS_ENCODED_ERROR:
            self.decode_error()
        if self.state == IS_CANCELLED:
            self.throw()
        return self.value if self.state == IS_ERROR else None

    cdef int throw(self) except -1:
        if self.state == IS_ENCODED_ERROR:
            self.decode_error()
        if self.state == IS_CANCELLED:
            raise self.client.cancelled_error(self.task_id, self.attempts)
        try:
            raise self.value
        finally:
            self = None      # the exception's traceback names this frame: do not keep the future alive through it

    cdef int decode(self) except -1:
        format, payload = self.value
        try:
            value = self.client.codec.decode_value(format, payload)
        except Exception as error:      # the user's own unpickling code may raise anything
            if self.state == IS_ENCODED:
                self.value = self.client.undecodable(error, self.task_id, self.attempts)
                self.state = IS_ERROR
            return 0
        if self.state == IS_ENCODED:    # two threads may decode at once: the first one's value stays
            self.value = value
            self.state = IS_VALUE
        return 0

    cdef int decode_error(self) except -1:
        error = self.client.codec.decode_error(self.value, self.task_id, self.attempts)
        if self.state == IS_ENCODED_ERROR:
            self.value = error
            self.state = IS_ERROR
        return 0

    def cancel(self):
        """Cancel the task if it has not started. Returns whether it is cancelled; a running task goes on."""
        return self.state == IS_CANCELLED or (not self.done() and self.client.cancel(self))

    cdef int settle(self, State state, object value) except -1:
        """From pending to done, once. Whoever watches is told."""
        if self.state != IS_PENDING:
            return 0
        if self.watch is not None:
            self.watch.settle(self, <int>state, value)
        else:
            self.become(state, value)
        return 0

    cdef bint become(self, State state, object value):
        if self.state != IS_PENDING:
            return False
        self.value = value
        self.state = state
        if self.watch is not None:
            self.client.watched -= 1
        self.client.unsettled -= 1
        if self.client.unsettled == 0:
            self.client.keep = None
        return True

    def _become(self, int state, value):
        """For the watch, under its condition: False when it was done before."""
        return self.become(<State>state, value)


cdef class Results:
    """An iterator over results that come in chunks; localq.client.mapping.MapResults fills it."""
    cdef list chunk
    cdef Py_ssize_t at, size
    cdef bint pairs                   # the chunk holds (ok, value or error) instead of values
    cdef list waiting                 # chunks that another thread fetched meanwhile: (pairs, chunk)

    def __iter__(self):
        return self

    def __next__(self):
        cdef Py_ssize_t at
        while self.at >= self.size:
            fetched = self.waiting.pop(0) if self.waiting else self._next_chunk()      # StopIteration ends it
            if self.at < self.size:     # another thread was here while this one waited
                if self.waiting is None:
                    self.waiting = []
                self.waiting.append(fetched)
                break
            self.pairs, self.chunk = fetched
            self.size = len(self.chunk)
            self.at = 0
        at = self.at
        self.at += 1
        value = self.chunk[at]
        self.chunk[at] = None         # handed over: the iterator keeps nothing alive
        return self._unwrap(value) if self.pairs else value


# ------------------------------------------------------------------------------------------------------ client: submit

@cython.final
cdef class Options:
    """What differs between calls. Frozen once made."""
    cdef readonly int queue, priority, max_retries       # -1: the function's, or the queue's default
    cdef readonly double timeout                         # seconds to wait for room, -1: for ever
    cdef readonly object metadata
    cdef readonly int default_priority, default_retries

    def __init__(self, queue=-1, priority=-1, max_retries=-1, timeout=-1.0, metadata=None, default_priority=2, default_retries=0):
        self.queue, self.priority, self.max_retries = queue, priority, max_retries
        self.timeout, self.metadata = timeout, metadata
        self.default_priority, self.default_retries = default_priority, default_retries


cdef object delay(object self, PyObject *const *args, Py_ssize_t n, PyObject *kwnames):
    """Submitter.delay as CPython calls it fastest: neither a tuple nor a dict is made for the arguments."""
    cdef Submitter submitter = <Submitter>self
    if n == 0:
        raise TypeError("delay() needs the function to call as its first argument")
    return submitter.client.submit(submitter.options, <object>args[0], args + 1, n - 1, kwnames, None)


cdef PyMethodDef DELAY
DELAY.ml_name = b"delay"
DELAY.ml_meth = <PyCFunction><void *>delay
DELAY.ml_flags = METH_FASTCALL | METH_KEYWORDS
DELAY.ml_doc = b"""delay(fn, /, *args, **kwargs)\n--\n\nSubmit fn(*args, **kwargs) and return its future at once."""


@cython.final
cdef class Submitter:
    """`delay` with one set of options. Hot: called once a task."""
    cdef Client client
    cdef readonly Options options
    cdef object owner                 # as long as somebody can submit, the queue lives

    def __init__(self, Client client not None, Options options not None, owner=None):
        self.client = client
        self.owner = owner
        self.options = options

    @property
    def delay(self):
        """Submit fn(*args, **kwargs) and return its future at once. Made anew at each look: keep it where it is hot."""
        return PyCFunction_NewEx(&DELAY, self, "localq")

    def apply(self, fn, tuple args not None, dict kwargs not None):
        """The same with the arguments as a tuple and a dict."""
        return self.client.submit(self.options, fn, PySequence_Fast_ITEMS(args), len(args), NULL, kwargs if kwargs else None)

    def chunk(self, FunctionEntry entry not None, list items not None, bint star):
        """Submit a chunk of a map: fn(item) or fn(*item) for each. Its result is the list of results."""
        return self.client.submit_chunk(self.options, entry, items, star)


@cython.no_gc_clear   # its end needs the Space; whatever cycle it is in is broken elsewhere
cdef class Client:
    """This process's access to a Space: submit, wait, cancel, read. Any thread may use it; the GIL is its lock."""
    cdef Space space
    cdef lq_client client
    cdef bint opened
    cdef PyObject **futures           # by slot: the future that waits for it
    cdef lq_out out
    cdef readonly object codec
    cdef bint fast                    # the codec lets MessagePack be tried first
    cdef object future_type, resolve, on_tick, on_watched, cancelled_error, crashed_error, undecodable, closed_error, full_error
    cdef readonly dict functions      # callable or name -> FunctionEntry
    cdef readonly frozenset plain     # types, beside functions, that may be its keys
    cdef str prefix
    cdef bint leading                 # a thread is in lq_client_sleep
    cdef Follower *followers
    cdef uint32_t since_reap
    cdef int64_t ticked_ns
    cdef uint32_t unsettled           # futures that were sent and are not done
    cdef object owner, keep           # who holds this client (called), and the same while anything is unsettled
    cdef public uint32_t watched      # futures that have a watch: they want to be finished without being asked
    cdef public object closed         # None, or why nothing can be submitted: see `errors.closed`
    cdef public object on_use         # None, or called once, by whoever submits or waits next

    def __init__(self, Space space not None, uint32_t label, uint32_t pid, *, codec, owner, future_type, resolve, on_tick, on_watched,
                 errors, plain):
        """`owner()` is what must live while futures wait; `resolve(client, fn)` returns a FunctionEntry; `on_tick()` is called now and then while waiting and may fail futures;
        `errors` has .cancelled(task_id, attempts), .crashed(task_id, attempts, pid, wait_status, report, function),
        .undecodable(error, task_id, attempts), .closed(reason), .full(capacity, timeout);
        `plain`: types beside functions whose instances compare by identity, or by value and never change."""
        self.space = space
        self.codec = codec
        self.fast = codec.fast
        self.owner = owner
        self.future_type = future_type
        self.resolve = resolve
        self.on_tick = on_tick
        self.on_watched = on_watched
        self.cancelled_error, self.crashed_error = errors.cancelled, errors.crashed
        self.undecodable, self.closed_error, self.full_error = errors.undecodable, errors.closed, errors.full
        self.functions = {}
        self.plain = plain
        self.prefix = f"{space.space.header.identity & 0xffffffff:08x}"
        self.futures = <PyObject **>PyMem_Calloc(space.space.slots.count, sizeof(PyObject *))
        if self.futures == NULL:
            raise MemoryError
        if lq_client_init(&self.client, &space.space, label, pid) != LQ_OK:
            raise_errno("this client's own memory")
        self.opened = True

    def __dealloc__(self):
        cdef uint32_t i
        if self.opened:
            lq_client_end(&self.client)
        if self.futures != NULL:
            for i in range(self.space.space.slots.count):
                Py_XDECREF(self.futures[i])
            PyMem_Free(self.futures)
        lq_out_free(&self.out)

    @property
    def pending(self):
        """Tasks submitted and not yet reaped."""
        return self.client.pending

    @property
    def waiting(self):
        """Futures that are not done. Fewer than `pending` after a cancellation, whose slot comes back later."""
        return self.unsettled

    @property
    def is_ours(self):
        """False in a process forked from the one that opened the queue."""
        return lq_client_is_ours(&self.client)

    cdef str task_id(self, uint32_t slot, uint32_t generation):
        return f"{self.prefix}-{slot:x}-{generation:x}"

    def parse_id(self, str task_id not None):
        """(slot, generation) of an id of this queue, or None."""
        try:
            _, slot, generation = task_id.split("-")
            place = int(slot, 16), int(generation, 16)
            if place[0] >= self.space.space.slots.count or self.task_id(place[0], place[1]) != task_id:
                return None     # of another queue, or not written as ids are
        except (ValueError, OverflowError):
            return None
        return place

    def future_of(self, uint32_t slot, uint32_t generation):
        """The future that waits for a task of this client, or None."""
        cdef PyObject *found = self.futures[slot] if slot < self.space.space.slots.count else NULL
        if found == NULL or (<Future>found).generation != generation:
            return None
        return <object>found

    def leave(self):
        """Give everything back; the process lives on. Tasks that are on their way go on, and nobody is told."""
        if self.opened:
            lq_client_leave(&self.client)

    def pending_futures(self):
        """The futures that still wait. A list of its own."""
        cdef uint32_t i
        return [<object>self.futures[i] for i in range(self.space.space.slots.count) if self.futures[i] != NULL]

    cdef uint32_t state_of(self, Future future):
        cdef lq_slot *slot = lq_space_slot(&self.space.space, future.slot)
        if future.generation == 0 or slot.task_generation != future.generation:
            return 0
        return lq_slot_state_of(slot)

    # ---- submit

    cdef int use(self) except -1:
        on_use, self.on_use = self.on_use, None
        on_use()
        return 0

    cpdef int check_open(self) except -1:
        """Raise QueueClosed when nothing can be submitted."""
        if self.on_use is not None:
            self.use()
        if self.closed is not None:
            raise self.closed_error(self.closed)
        if not lq_client_is_ours(&self.client):
            raise self.closed_error("this process was forked from the one that opened the queue; open or attach one here")
        if lq_space_phase(&self.space.space) != LQ_PHASE_OPEN:
            self.on_tick()      # which may know more
            raise self.closed_error(self.closed or "it is being closed: what is queued still runs")
        return 0

    cdef int stay_open(self) except -1:
        """For a call that has begun. Whatever ran Python code since then let other threads in: one may have closed the queue, or
        found it broken, and failed all futures. One that came later would never be finished."""
        if self.closed is not None:
            raise self.closed_error(self.closed)
        return 0

    cdef FunctionEntry find(self, object fn):
        cdef PyObject *found
        cdef FunctionEntry entry
        # Only what compares by identity is kept: two callables that are merely equal may do different things.
        if PyFunction_Check(fn) or PyCFunction_Check(fn) or type(fn) in self.plain:
            found = PyDict_GetItemWithError(self.functions, fn)
            if found != NULL:
                entry = <FunctionEntry>found
                if not entry.unstable and (len(entry.checks) == 0 or entry.is_current()):
                    return entry
        return self.resolve(self, fn)

    cdef int reserve(self, Options options, uint32_t *index) except -1:
        """A slot to fill; waits for room as long as the options allow."""
        self.stay_open()
        if lq_client_reserve(&self.client, index) == LQ_OK:
            return 0
        self.reap()
        cdef int64_t until = 0
        if options.timeout >= 0:
            until = lq_now_ns() + <int64_t>(options.timeout * NS)
        while lq_client_reserve(&self.client, index) != LQ_OK:
            self.wait_for_room(options, until)
        return 0

    cdef int wait_for_room(self, Options options, int64_t until) except -1:
        cdef int64_t left = 10 * <int64_t>NS
        if options.timeout >= 0:
            left = until - lq_now_ns()
            if left <= 0:
                raise self.full_error(self.space.space.header.sizes.capacity, options.timeout)
        self.sleep_once(None, left)
        self.check_open()
        return 0

    cdef void fill(self, lq_slot *slot, Options options, FunctionEntry entry, int kind) noexcept:
        cdef int queue = options.queue if options.queue >= 0 else entry.queue if entry.queue >= 0 else 0
        cdef int priority = options.priority if options.priority >= 0 else entry.priority if entry.priority >= 0 else options.default_priority
        cdef int retries = options.max_retries if options.max_retries >= 0 else entry.max_retries if entry.max_retries >= 0 else options.default_retries
        slot.function = entry.row
        slot.function_generation = entry.generation
        slot.kind = <uint8_t>kind
        slot.queue = <uint8_t>queue
        slot.priority = <uint8_t>priority
        slot.max_retries = slot.max_crashes = <uint8_t>retries

    cdef int store(self, uint32_t index, Options options, const void *data, size_t length) except -1:
        """Arguments that do not fit into the slot go to the arena; waits for room there."""
        cdef lq_status status = lq_client_store_args(&self.client, index, data, length)
        cdef int64_t until = lq_now_ns() + <int64_t>(options.timeout * NS) if options.timeout >= 0 else 0
        cdef int64_t patience
        cdef bytes copy
        if status == LQ_FULL:
            copy = (<char *>data)[:length]      # waiting lets other threads in, and they may use the same scratch
            patience = lq_now_ns() + NS
            while status == LQ_FULL:
                self.reap()
                if self.client.pending == 0:
                    # Only blocks that workers keep warm are left: they give them back when they find nothing to do.
                    if lq_now_ns() > patience:
                        raise MemoryError(f"the arguments are {length} bytes; the arena of {self.space.memory} bytes has no"
                                          " room for them and nothing is on its way that would free some")
                    self.sleep_once(None, NS // 200)
                    self.stay_open()
                else:
                    patience = lq_now_ns() + NS
                    self.wait_for_room(options, until)
                status = lq_client_store_args(&self.client, index, <char *>copy, length)
        if status == LQ_NEVER:
            raise MemoryError(f"the arguments are {length} bytes, more than the whole arena of {self.space.memory} bytes:"
                              " give the queue a larger memory=")
        return 0

    cdef Future new_future(self):
        cdef PyObject *made = (<PyTypeObject *>self.future_type).tp_new(<PyTypeObject *>self.future_type, <PyObject *>NO_ARGS, NULL)
        cdef Future future = <Future>made
        Py_DECREF(future)
        return future

    cdef Future send(self, uint32_t index, Options options, FunctionEntry entry):
        cdef lq_slot *slot = lq_space_slot(&self.space.space, index)
        cdef Future future = self.new_future()
        if self.closed is not None:
            entry.pending -= 1
            lq_client_discard(&self.client, index)
            self.stay_open()
        future.client = self
        future.slot = index
        future.generation = slot.task_generation
        future.entry = entry
        Py_INCREF(future)
        self.futures[index] = <PyObject *>future
        try:
            while lq_client_submit(&self.client, index) != LQ_OK:
                self.sleep_once(None, NS // 100)    # full of duplicates after a recovery: workers pass them over
        except BaseException:
            if self.futures[index] == <PyObject *>future:       # else fail_all has let go of it
                self.futures[index] = NULL
                Py_DECREF(future)
            entry.pending -= 1
            lq_client_discard(&self.client, index)
            raise
        future.submit_ns = slot.submit_ns
        if self.unsettled == 0:
            self.keep = self.owner()            # dropped by its user, a queue still finishes what it took
        self.unsettled += 1
        self.since_reap += 1
        if self.since_reap >= 64:               # keep slots warm while a long loop submits
            self.since_reap = 0
            if self.client.pending > 256:
                self.reap()
        return future

    cdef Future refused(self, object error, FunctionEntry entry):
        """A future that has failed before anything was sent."""
        cdef Future future = self.new_future()
        future.client = self
        future.entry = entry
        future.state = IS_ERROR
        future.value = error
        return future

    cdef Future submit(self, Options options, object fn, PyObject *const *args, Py_ssize_t n, PyObject *kwnames, dict kwargs):
        """`n` positional arguments; keywords either by vectorcall (their names; values follow in `args`) or as a dict."""
        cdef uint32_t index = 0
        cdef lq_slot *slot
        cdef FunctionEntry entry
        cdef int status = LQ_VALUE_FOREIGN
        if (self.closed is not None or self.on_use is not None or not lq_client_is_ours(&self.client)
                or lq_space_phase(&self.space.space) != LQ_PHASE_OPEN):
            self.check_open()
        entry = self.find(fn)
        entry.pending += 1          # from here on its row is needed, whatever other threads or the arguments' own code do
        try:
            self.reserve(options, &index)
        except BaseException:
            entry.pending -= 1
            raise
        slot = lq_space_slot(&self.space.space, index)
        self.fill(slot, options, entry, LQ_KIND_CALL)
        try:
            if self.fast and kwargs is None and options.metadata is None and entry.row != LQ_FUNCTION_IN_BAND:
                self.out.base, self.out.cap, self.out.len = slot.args, LQ_INLINE_BYTES, 0
                status = lq_value_encode_call(&self.out, args, n, kwnames)
            if status == LQ_VALUE_OK:
                slot.args_format = MSGPACK
                slot.args_bytes = <uint32_t>self.out.len
                if self.out.base != slot.args:
                    self.store(index, options, self.out.base, self.out.len)
                    if self.out.scratch_cap > 1 << 20:
                        lq_out_free(&self.out)
            else:
                self.encode_slowly(index, options, entry, args, n, kwnames, kwargs)
        except BaseException as error:
            entry.pending -= 1
            lq_client_discard(&self.client, index)
            if self.is_refusal(error):
                return self.refused(error, entry)
            raise
        return self.send(index, options, entry)

    cdef int encode_slowly(self, uint32_t index, Options options, FunctionEntry entry, PyObject *const *args, Py_ssize_t n,
                           PyObject *kwnames, dict kwargs) except -1:
        """What MessagePack does not carry exactly goes through the codec."""
        cdef Py_ssize_t i
        positional = tuple([<object>args[i] for i in range(n)])
        named = {} if kwargs is None else kwargs
        if kwnames != NULL:
            for i, name in enumerate(<tuple>kwnames):
                named[name] = <object>args[n + i]
        return self.store_encoded(index, options, self.codec.encode_call(
            positional, named, options.metadata, entry.function if entry.row == LQ_FUNCTION_IN_BAND else None))

    cdef bint is_refusal(self, object error):
        """An argument that can't be encoded fails that task alone; anything else is the caller's."""
        from localq.errors import SerializationError
        return isinstance(error, SerializationError)

    cdef int store_encoded(self, uint32_t index, Options options, tuple encoded) except -1:
        self.stay_open()        # or the slot may be another client's by now
        cdef lq_slot *slot = lq_space_slot(&self.space.space, index)
        cdef bytes payload = encoded[1]
        cdef size_t length = len(payload)
        if length > 0xffffffffu:
            raise MemoryError(f"the arguments are {length} bytes; one task carries at most 4 GiB")
        slot.args_format = <uint8_t><int>encoded[0]
        slot.args_bytes = <uint32_t>length
        if length <= LQ_INLINE_BYTES:
            memcpy(slot.args, <char *>payload, length)
        else:
            self.store(index, options, <char *>payload, length)
        return 0

    cdef Future submit_chunk(self, Options options, FunctionEntry entry, list items, bint star):
        cdef uint32_t index = 0
        cdef lq_slot *slot
        cdef int status = LQ_VALUE_FOREIGN
        self.check_open()
        self.reserve(options, &index)
        entry.pending += 1
        slot = lq_space_slot(&self.space.space, index)
        self.fill(slot, options, entry, LQ_KIND_STARCHUNK if star else LQ_KIND_CHUNK)
        try:
            if self.fast and entry.row != LQ_FUNCTION_IN_BAND:
                self.out.base, self.out.cap, self.out.len = slot.args, LQ_INLINE_BYTES, 0
                status = lq_value_encode_items(&self.out, <PyObject *>items)
            if status == LQ_VALUE_OK:
                slot.args_format = MSGPACK
                slot.args_bytes = <uint32_t>self.out.len
                if self.out.base != slot.args:
                    self.store(index, options, self.out.base, self.out.len)
                    if self.out.scratch_cap > 1 << 20:
                        lq_out_free(&self.out)
            else:
                self.store_encoded(index, options, self.codec.encode_items(items) if entry.row != LQ_FUNCTION_IN_BAND
                                   else self.codec.encode_call((items,), {}, None, entry.function))
        except BaseException as error:
            entry.pending -= 1
            lq_client_discard(&self.client, index)
            if self.is_refusal(error):
                return self.refused(error, entry)
            raise
        return self.send(index, options, entry)

    # ---- functions

    def publish(self, uint32_t kind, bytes payload not None):
        """Put a function's bytes into the table. Returns (row, generation), or None when the table or the arena is full."""
        cdef uint32_t row = 0, generation = 0
        self.stay_open()
        cdef lq_status status = lq_client_publish(&self.client, kind, <char *>payload, <uint32_t>len(payload), &row, &generation)
        return (row, generation) if status == LQ_OK else None

    def unpublish(self, uint32_t row):
        lq_client_unpublish(&self.client, row)

    # ---- finish

    cpdef int reap(self) except -1:
        """Finish every future whose task is done. Returns how many."""
        cdef uint32_t index = 0
        cdef int finished = 0
        if not lq_client_is_ours(&self.client):
            return 0
        while lq_client_reap(&self.client, &index) == LQ_OK:
            self.finish(index)
            finished += 1
        if finished and self.followers != NULL:
            self.wake_followers(False)
        return finished

    cdef int finish(self, uint32_t index) except -1:
        cdef lq_slot *slot = lq_space_slot(&self.space.space, index)
        cdef PyObject *found = self.futures[index]
        cdef Future future
        cdef uint32_t cause = 0
        cdef lq_outcome outcome
        if found == NULL:
            lq_client_consume(&self.client, index)
            return 0
        self.futures[index] = NULL
        future = <Future>found
        Py_DECREF(future)
        outcome = lq_slot_outcome(slot, &cause)
        future.attempts = slot.attempt
        future.worker_pid = slot.worker_pid
        future.start_ns = slot.start_ns
        future.done_ns = slot.done_ns
        future.items_begun = lq_slot_items_begun(slot)
        future.payload_bytes = <uint64_t>slot.args_bytes + slot.result_bytes
        cdef FunctionEntry entry = future.entry
        entry.pending -= 1
        future.entry = None
        cdef State state = IS_CANCELLED
        cdef object value = None
        try:
            if outcome == LQ_OUTCOME_SUCCESS:
                future.mixed = (slot.result_format & MIXED) != 0
                if slot.result_format & ~MIXED == MSGPACK:
                    state = IS_VALUE
                    value = take_ref(lq_value_decode(self.result_at(slot), slot.result_bytes))
                else:
                    state = IS_ENCODED
                    value = (slot.result_format & ~MIXED, self.result_bytes(slot))
            elif outcome == LQ_OUTCOME_FAILURE and slot.result_bytes == 0:
                state, value = IS_ERROR, MemoryError("the task failed, and the arena had no room for its error: give the"
                                                     " queue a larger memory=")
            elif outcome == LQ_OUTCOME_FAILURE:
                state, value = IS_ENCODED_ERROR, self.result_bytes(slot)
            elif outcome == LQ_OUTCOME_CRASHED:
                state, value = IS_ERROR, self.crashed_error(
                    future.task_id, slot.attempt, slot.worker_pid, cause & 0xffff,
                    self.space.read_report(cause >> 16, slot.worker_pid), entry.function)
        except BaseException as error:
            state, value = IS_ERROR, error
        lq_client_consume(&self.client, index)
        future.settle(state, value)
        return 0

    cdef const unsigned char *result_at(self, lq_slot *slot) except NULL:
        cdef uint64_t room = LQ_INLINE_BYTES
        cdef const unsigned char *at = slot.result
        if slot.result_block != LQ_NO_BLOCK:
            at = lq_space_block(&self.space.space, slot.result_block, &room)
        if at == NULL or slot.result_bytes > room:
            fail(LQ_CORRUPT, "the result of a task")
        return at

    cdef bytes result_bytes(self, lq_slot *slot):
        return (<char *>self.result_at(slot))[:slot.result_bytes]

    # ---- wait

    cdef int tick(self) except -1:
        """Ask now and then whether somebody still works: for whoever looks again and again instead of waiting."""
        cdef int64_t now = lq_now_ns()
        if now - self.ticked_ns > NS // 10:
            self.ticked_ns = now
            self.on_tick()
        return 0

    def wait_for(self, Future future, timeout):
        """Until the future is done. Raises TimeoutError; lets KeyboardInterrupt through."""
        cdef int64_t until = 0, left = 0
        if timeout is not None:
            until = lq_now_ns() + <int64_t>(<double>max(0.0, min(timeout, 1e9)) * NS)
        self.reap()
        while future.state == IS_PENDING:
            left = MOST_NAP_NS
            if timeout is not None:
                left = until - lq_now_ns()
                if left <= 0:
                    raise TimeoutError(f"task {future.task_id} is not done after {timeout} s; it goes on")
            self.sleep_once(future, left)

    def wait_any(self, double seconds):
        """Sleep until something of this client's is done, or a little longer than nothing; then finish what is done."""
        self.sleep_once(None, <int64_t>(seconds * NS))

    cdef int sleep_once(self, Future future, int64_t limit) except -1:
        """One sleep, as leader or follower, then reap. Wakes early whenever there is news."""
        cdef lq_status status
        cdef uint32_t wanted = 0
        if not lq_client_is_ours(&self.client):
            raise self.closed_error("this process was forked from the one that opened the queue")
        if self.on_use is not None:
            self.use()
        if self.leading:
            self.follow(future, limit)
            return 0
        if future is not None and self.followers == NULL and self.watched == 0:
            wanted = future.slot + 1
        self.leading = True
        with nogil:
            status = lq_client_sleep(&self.client, wanted, limit)
        self.leading = False
        try:
            self.reap()
            PyErr_CheckSignals()    # also after a time-out: the signal may have reached another thread
            if status == LQ_TIMEOUT or lq_space_phase(&self.space.space) == LQ_PHASE_BROKEN:
                self.on_tick()
        finally:
            if self.followers != NULL:
                self.wake_followers(True)
        return 0

    cdef int follow(self, Future future, int64_t limit) except -1:
        cdef Follower me
        cdef Follower **link
        cdef uint32_t key
        memset(&me, 0, sizeof(me))
        me.future = <PyObject *>future if future is not None else NULL
        me.next = self.followers
        self.followers = &me
        lq_client_widen(&self.client)       # the leader may sleep for its own task only
        key = lq_bell_key(&me.bell)
        with nogil:
            lq_bell_sleep(&me.bell, key, limit if limit < NS // 10 else NS // 10)
        link = &self.followers
        while link[0] != &me:
            link = &link[0].next
        link[0] = me.next
        PyErr_CheckSignals()
        return 0

    cdef void wake_followers(self, bint hand_over) noexcept:
        """Wake the threads whose future is done and, when the leader leaves, one more to lead."""
        cdef Follower *follower = self.followers
        while follower != NULL:
            if follower.future == NULL or (<Future>follower.future).state != IS_PENDING:
                lq_bell_ring(&follower.bell, 1)
            elif hand_over:
                lq_bell_ring(&follower.bell, 1)
                hand_over = False
            follower = follower.next

    # ---- cancel, read

    cdef bint cancel(self, Future future):
        if not lq_client_is_ours(&self.client):
            return False
        if lq_client_cancel(&self.client, future.slot, future.generation) != LQ_OK:
            return False
        future.settle(IS_CANCELLED, None)
        return True

    def cancel_other(self, uint32_t slot, uint32_t generation):
        """Cancel a task that has no future here: another client's."""
        return lq_client_is_ours(&self.client) and lq_client_cancel(&self.client, slot, generation) == LQ_OK

    def touch(self, uint32_t slot, uint32_t generation):
        """A cached result was read: it is evicted last now."""
        if lq_client_is_ours(&self.client):
            lq_client_touch(&self.client, slot, generation)

    def fail_all(self, make_error):
        """End every waiting future with `make_error(task_id)`, or as cancelled (None): nobody will run them."""
        cdef Future future
        for future in self.pending_futures():
            if make_error is None:
                future.settle(IS_CANCELLED, None)
            else:
                future.settle(IS_ERROR, make_error(future.task_id))
            if self.futures[future.slot] == <PyObject *>future:
                self.futures[future.slot] = NULL        # a cycle through this table would not be seen by the collector
                Py_DECREF(future)
        self.wake_followers(False)


# --------------------------------------------------------------------------------------------------------------- worker

cdef struct Known:
    # A function that this worker has decoded.
    uint32_t generation
    PyObject *function
    uint64_t usual_ns


cdef int empty_frames(object error) except -1:
    """Let go of the local variables of all frames that an exception came through. Their lines can still be told."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        traceback = error.__traceback__
        while traceback is not None:
            try:
                traceback.tb_frame.clear()
            except RuntimeError:    # it still runs: one of ours
                pass
            traceback = traceback.tb_next
        error = error.__cause__ if error.__cause__ is not None else error.__context__
    return 0


@cython.final
@cython.no_gc_clear
cdef class Worker:
    """The take-run-report loop of one worker process."""
    cdef Space space
    cdef lq_worker worker
    cdef lq_out out
    cdef Known *known
    cdef object codec, load, await_, too_large
    cdef bint fast
    cdef str prefix
    cdef readonly object metadata          # of the task in hand
    cdef uint32_t current                  # its slot, when `busy`
    cdef readonly bint busy
    cdef public object after_task          # None, or called after each task; true ends the loop
    cdef public uint64_t tasks_left        # 0: no limit
    cdef bint is_recycled

    def __init__(self, Space space not None, uint32_t label, uint32_t pid, *, codec, load, run_coroutine, too_large):
        """`load(kind, payload)` decodes a function; `run_coroutine(coro)` runs one to its end; `too_large(bytes, room)`
        makes the error for a result that can never fit."""
        self.space = space
        self.codec = codec
        self.fast = codec.fast
        self.load = load
        self.await_ = run_coroutine
        self.too_large = too_large
        self.prefix = f"{space.space.header.identity & 0xffffffff:08x}"
        self.known = <Known *>PyMem_Calloc(LQ_FUNCTIONS, sizeof(Known))
        if self.known == NULL:
            raise MemoryError
        if lq_worker_init(&self.worker, &space.space, label, pid) != LQ_OK:
            raise_errno("this worker's own memory")

    def __dealloc__(self):
        cdef uint32_t i
        if self.known != NULL:
            for i in range(<uint32_t>LQ_FUNCTIONS):
                Py_XDECREF(self.known[i].function)
            PyMem_Free(self.known)
        lq_out_free(&self.out)

    @property
    def task_id(self):
        """Of the task in hand, or None."""
        if not self.busy:
            return None
        return f"{self.prefix}-{self.current:x}-{lq_space_slot(&self.space.space, self.current).task_generation:x}"

    @property
    def attempt(self):
        """1 for the first run of the task in hand."""
        return lq_space_slot(&self.space.space, self.current).attempt if self.busy else 0

    def recycle(self):
        """End after the task in hand: may be called by a signal's handler."""
        self.is_recycled = True

    def run(self):
        """Take and run tasks until the queue stops, the limit is reached or `after_task` says so.

        Returns "stopped" or "recycle"."""
        cdef uint32_t index = 0
        cdef lq_status status
        while True:
            if lq_space_phase(&self.space.space) >= LQ_PHASE_STOPPED:
                break
            if self.is_recycled:
                lq_worker_end(&self.worker)
                return "recycle"
            if lq_worker_take_now(&self.worker, &index) != LQ_OK:
                with nogil:
                    status = lq_worker_take(&self.worker, MOST_NAP_NS, &index)
                if status == LQ_STOPPED:
                    break
                if status != LQ_OK:
                    PyErr_CheckSignals()    # also after a time-out: the signal may have come just before the sleep
                    continue
            self.perform(index)
            PyErr_CheckSignals()            # a load, mostly; what runs may be C code that never looks
            if self.tasks_left:
                self.tasks_left -= 1
                if self.tasks_left == 0:
                    lq_worker_end(&self.worker)
                    return "recycle"
            if self.after_task is not None and self.after_task():
                lq_worker_end(&self.worker)
                return "recycle"
        lq_worker_end(&self.worker)
        return "stopped"

    cdef int perform(self, uint32_t index) except -1:
        """Run one claimed task to its end, whatever it raises."""
        cdef lq_slot *slot = lq_space_slot(&self.space.space, index)
        self.current = index
        self.metadata = None
        self.busy = True
        try:
            if slot.kind == LQ_KIND_CALL:
                self.call(index, slot)
            else:
                self.call_chunk(index, slot)
        except BaseException as error:      # also SystemExit and KeyboardInterrupt: the task's, not the worker's
            self.stay_one()
            self.report(index, slot, error)
        finally:
            self.busy = False
            self.metadata = None
        return 0

    cdef int stay_one(self) except -1:
        """A task may fork, and its child may come back here: the task is the parent's, the child has no part in it."""
        if not lq_worker_is_ours(&self.worker):
            from os import _exit
            _exit(0)
        return 0

    cdef Known *find(self, lq_slot *slot) except NULL:
        """The function of a task, decoded when it is first met."""
        cdef Known *known
        cdef const unsigned char *data = NULL
        cdef uint32_t kind = 0, length = 0
        cdef bytes payload
        if slot.function >= LQ_FUNCTIONS:
            fail(LQ_CORRUPT, "the function number of a task")
        known = &self.known[slot.function]
        if known.function != NULL and known.generation == slot.function_generation:
            return known
        if lq_space_function(&self.space.space, slot.function, slot.function_generation, &kind, &data, &length) != LQ_OK:
            fail(LQ_CORRUPT, "the function of a task")
        payload = (<char *>data)[:length]
        if not lq_space_function_is_current(&self.space.space, slot.function, slot.function_generation):
            fail(LQ_CORRUPT, "the function of a task")
        function = self.load(kind, payload)
        Py_XDECREF(known.function)
        Py_INCREF(function)
        known.function = <PyObject *>function
        known.generation = slot.function_generation
        known.usual_ns = 0
        return known

    cdef const unsigned char *args_at(self, lq_slot *slot) except NULL:
        cdef uint64_t room = LQ_INLINE_BYTES
        cdef const unsigned char *at = slot.args
        if slot.args_block != LQ_NO_BLOCK:
            at = lq_space_block(&self.space.space, slot.args_block, &room)
        if at == NULL or slot.args_bytes > room:
            fail(LQ_CORRUPT, "the arguments of a task")
        return at

    cdef int call(self, uint32_t index, lq_slot *slot) except -1:
        cdef PyObject *args = NULL
        cdef PyObject *kwargs = NULL
        cdef Known *known = NULL
        cdef object function = None
        cdef object result, arguments
        cdef object keywords = None
        cdef uint64_t ran
        if slot.function != LQ_FUNCTION_IN_BAND:
            known = self.find(slot)
            function = <object>known.function
        if slot.args_format == MSGPACK:
            lq_value_decode_args(self.args_at(slot), slot.args_bytes, &args, &kwargs)
            arguments = take_ref(args)
            if kwargs != NULL:
                keywords = take_ref(kwargs)
        else:
            arguments, keywords, self.metadata, in_band = self.codec.decode_call(
                slot.args_format, (<char *>self.args_at(slot))[:slot.args_bytes])
            function = in_band if known == NULL else function
        lq_worker_start(&self.worker, index, known.usual_ns if known != NULL else 0)
        result = PyObject_Call(function, arguments, <PyObject *>keywords if keywords is not None else NULL)
        if PyCoro_CheckExact(result):
            result = self.await_(result)
        arguments = keywords = None
        self.stay_one()
        ran = self.finish(index, slot, result, LQ_OUTCOME_SUCCESS, False)
        if known != NULL:
            known.usual_ns = ran + 1 if known.usual_ns == 0 else (known.usual_ns * 7 + ran) // 8
        return 0

    cdef uint64_t finish(self, uint32_t index, lq_slot *slot, object result, lq_outcome outcome, bint mixed) except? 0:
        """Encode a result and report it."""
        cdef int status = LQ_VALUE_FOREIGN
        cdef uint32_t length
        cdef bytes payload
        cdef int flag = MIXED if mixed else 0
        if self.fast:
            self.out.base, self.out.cap, self.out.len = slot.result, LQ_INLINE_BYTES, 0
            status = lq_value_encode(&self.out, <PyObject *>result)
        if status == LQ_VALUE_OK:
            if self.out.base != slot.result:
                self.store(index, self.out.base, self.out.len)
                if self.out.scratch_cap > 1 << 20:
                    length = <uint32_t>self.out.len
                    lq_out_free(&self.out)
                    self.out.len = length
            return lq_worker_finish(&self.worker, index, outcome, <uint8_t>(MSGPACK | flag), <uint32_t>self.out.len)
        format, payload = self.codec.encode_value(result)
        return self.finish_bytes(index, slot, payload, outcome, <int>format | flag)

    cdef uint64_t finish_bytes(self, uint32_t index, lq_slot *slot, bytes payload, lq_outcome outcome, int format) except? 0:
        cdef size_t length = len(payload)
        if length <= LQ_INLINE_BYTES:
            memcpy(slot.result, <char *>payload, length)
        else:
            self.store(index, <char *>payload, length)
        return lq_worker_finish(&self.worker, index, outcome, <uint8_t>format, <uint32_t>length)

    cdef int store(self, uint32_t index, const void *data, size_t length) except -1:
        """A result that does not fit into the slot. When the arena is full, cached results give way, oldest first; then
        wait for clients to take theirs."""
        cdef lq_status status = LQ_NEVER
        cdef int64_t until = 0
        cdef uint32_t key
        cdef lq_bell bell
        if length <= 0xffffffffu:
            status = lq_worker_store_result(&self.worker, index, data, length)
        memset(&bell, 0, sizeof(bell))
        while status == LQ_FULL:
            if not lq_space_relieve(&self.space.space, self.worker.me):
                if until == 0:
                    until = lq_now_ns() + 10 * <int64_t>NS
                elif lq_now_ns() >= until or lq_space_phase(&self.space.space) >= LQ_PHASE_STOPPED:
                    break
                with nogil:
                    lq_bell_sleep(&bell, 0, 1000000)
                PyErr_CheckSignals()
            status = lq_worker_store_result(&self.worker, index, data, length)
        if status != LQ_OK:
            raise self.too_large(length, self.space.memory)
        return 0

    cdef int report(self, uint32_t index, lq_slot *slot, object error) except -1:
        """The task raised (or could not be decoded, or its result not encoded): try again, or send the exception."""
        cdef bytes payload
        if lq_slot_state_of(slot) == LQ_SLOT_CLAIMED:
            lq_worker_start(&self.worker, index, 0)     # it never ran, and running it again would end the same
        elif lq_slot_state_of(slot) != LQ_SLOT_RUNNING:
            return 0                                    # the result is out already: an interrupt came too late to matter
        elif slot.attempt <= slot.max_retries:
            lq_worker_requeue(&self.worker, index)
            return 0
        try:
            try:
                payload = self.codec.encode_error(error)
            except Exception:   # memory is full, above all, of what the task's own frames still hold
                empty_frames(error)
                payload = self.codec.encode_error(error)
            self.finish_bytes(index, slot, payload, LQ_OUTCOME_FAILURE, MSGPACK)
        except Exception:       # no room even for the error: the client makes one of no bytes
            lq_worker_finish(&self.worker, index, LQ_OUTCOME_FAILURE, MSGPACK, 0)
        return 0

    # ---- chunks

    cdef int call_chunk(self, uint32_t index, lq_slot *slot) except -1:
        cdef Known *known = NULL
        cdef object function = None
        cdef list items, results
        cdef bint star = slot.kind == LQ_KIND_STARCHUNK
        cdef bint mixed = False
        cdef uint64_t ran
        if slot.function == LQ_FUNCTION_IN_BAND:
            (items,), _, _, function = self.codec.decode_call(
                slot.args_format, (<char *>self.args_at(slot))[:slot.args_bytes])
        else:
            known = self.find(slot)
            function = <object>known.function
            if slot.args_format == MSGPACK:
                items = take_ref(lq_value_decode(self.args_at(slot), slot.args_bytes))
            else:
                items = self.codec.decode_items(slot.args_format, (<char *>self.args_at(slot))[:slot.args_bytes])
        lq_worker_start(&self.worker, index, 0)
        results = [None] * len(items)
        mixed = self.run_items(index, function, items, results, star)
        self.stay_one()
        lq_worker_count_items(&self.worker, len(items))
        try:
            ran = self.finish(index, slot, results, LQ_OUTCOME_SUCCESS, mixed)
        except MemoryError:
            raise
        except Exception:       # some item's result can't be encoded: find which, and fail those alone
            self.finish(index, slot, self.sift(results, mixed), LQ_OUTCOME_SUCCESS, True)
        return 0

    cdef bint run_items(self, uint32_t index, object function, list items, list results, bint star) except -1:
        cdef Py_ssize_t i, n = len(items)
        cdef object result
        cdef bint mixed = False
        for i in range(n):
            lq_worker_begin_item(&self.worker, index, <uint32_t>i)
            try:
                if star:
                    result = PyObject_Call(function, tuple(items[i]), NULL)
                else:
                    result = PyObject_CallOneArg(function, items[i])
                if PyCoro_CheckExact(result):
                    result = self.await_(result)
                results[i] = (True, result) if mixed else result
            except BaseException as error:
                if not mixed:
                    mixed = True
                    for j in range(i):
                        results[j] = (True, results[j])
                results[i] = (False, self.codec.encode_error(error))
            items[i] = None
        return mixed

    cdef list sift(self, list results, bint mixed):
        """Results of a chunk with those that can't be encoded replaced by their errors. Each value is encoded by itself."""
        sifted = []
        for result in results:
            ok, value = result if mixed else (True, result)
            if ok:
                try:
                    self.codec.encode_value(value)
                except Exception as error:
                    ok, value = False, self.codec.encode_error(error)
            sifted.append((ok, value))
        return sifted

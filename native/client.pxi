# SPDX-License-Identifier: MIT
# The submitting side: functions, futures, submit, wait, cancel. Included by _native.pyx.

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
    cdef public bint heavy          # it holds memory of the arena: not to be kept when no task needs it
    cdef public int queue, priority, max_retries, max_crashes      # -1: the caller's
    cdef public uint32_t limit_ms                     # how long a run may last, 0: the caller's

    def __init__(self, function, row, generation, checks=(), missing=None, unstable=False):
        self.function = function
        self.row = row
        self.generation = generation
        self.checks = checks
        self.missing = missing
        self.unstable = unstable
        self.queue = self.priority = self.max_retries = self.max_crashes = -1
        self.limit_ms = 0

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

cdef enum:
    MOST_INTERRUPTS = 1000            # while one future is settled, of whatever kind

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
    cdef list audience                # None, or who else is told when it is done: futures that need its result, callables
    cdef FunctionEntry entry
    cdef State state
    cdef readonly uint32_t slot, generation
    cdef readonly uint32_t attempts, worker_pid
    cdef readonly uint64_t submit_ns, start_ns, done_ns
    cdef Options options              # it was submitted with, while it is pending
    cdef readonly bint mixed          # a chunk in which some items failed
    cdef readonly uint32_t items_begun  # of a chunk, in its last run
    cdef readonly uint64_t payload_bytes  # arguments and result together, as they travelled
    cdef public object _output        # what its runs have written, once they have: see localq.client.output
    cdef readonly bint _sent_next     # its worker has seen to the task that shall run next: see localq.client.callbacks
    cdef bint finishing               # a thread is in `Client.finish` with it

    @classmethod
    def __class_getitem__(cls, item):
        """`Future[R]` is for type checkers."""
        return cls

    def __setattr__(self, name, value):
        self.expose()
        PyObject_GenericSetAttr(self, name, value)

    cdef int expose(self) except -1:
        """From here on it may be a part of a reference cycle, and Python's collector is to look at it. Until then it refers to its
        client alone, which knows no future that is done; and a loop that submits many would have them all looked at again and again."""
        if not PyObject_GC_IsTracked(self):
            PyObject_GC_Track(self)
        return 0

    @property
    def _watch(self):
        return self.watch

    @property
    def _client(self):
        return self.client

    def _adopt_watch(self, watch):
        """Give it a watch, unless it has one. From then on its client finishes it without being asked. Returns the watch."""
        if self.watch is None:
            self.expose()
            self.watch = watch
            if self.state == IS_PENDING:
                self.client.watched += 1
                lq_client_widen(&self.client.client)
                self.client.on_watched()
        return self.watch

    def _tell(self, who):
        """Call `who(self)` when it is done, in whichever thread finishes it; at once if it is. `who` must not raise."""
        if not self.join(who):
            who(self)

    cdef bint join(self, object who) except -1:
        """Have `who` told when it is done; False when it is done already."""
        if self.state == IS_PENDING and self.audience is None:
            if not lq_client_is_ours(&self.client.client):
                raise self.client.closed_error("this process was forked from the one that opened the queue; only there it is done")
            audience = []
            self.client.watched += 1
            try:
                lq_client_widen(&self.client.client)
                self.client.on_watched()
            except BaseException:
                self.client.watched -= 1
                raise
            if self.state == IS_PENDING and self.audience is None:
                self.expose()
                self.audience = audience
            else:       # other threads were let in
                self.client.watched -= 1
        if self.state != IS_PENDING:
            return False
        self.audience.append(who)
        return True

    @property
    def _options(self):
        """What it was submitted with, until it is done. Who submits all with options of its own knows them by these."""
        return self.options

    @property
    def _function(self):
        """What was submitted, until it is done; a callable or a name."""
        return None if self.entry is None else self.entry.function

    def _hear(self):
        """Take in what it has written so far."""
        if self.state == IS_PENDING and self.client is not None:
            self.client.reap()
            if self.client.on_output is not None:
                self.client.on_output()

    @property
    def _refused(self):
        """True when it ended before anything was sent."""
        return self.generation == 0 and self.state != IS_PENDING

    @property
    def _is_parked(self):
        """True while it waits in this process: for room, or for its inputs."""
        return self.is_parked()

    cdef inline bint is_parked(self) noexcept:
        return self.generation == 0 and self.state == IS_PENDING and self.client is not None

    @property
    def task_id(self):
        """Names the task and its queue; `get_task_result` takes it. Empty until the task is sent: while it waits for room, or for
        the results of other tasks; and for good when it never was."""
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
            raise self.client.cancelled_error(self.task_id or None, self.attempts)
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
                self.expose()
                self.value = self.client.undecodable(error, self.task_id, self.attempts)
                self.state = IS_ERROR
            return 0
        if self.state == IS_ENCODED:    # two threads may decode at once: the first one's value stays
            self.expose()
            self.value = value
            self.state = IS_VALUE
        return 0

    cdef int decode_error(self) except -1:
        error = self.client.codec.decode_error(self.value, self.task_id, self.attempts)
        if self.state == IS_ENCODED_ERROR:
            self.expose()
            self.value = error
            self.state = IS_ERROR
        return 0

    def cancel(self):
        """Cancel the task. Returns whether it is cancelled: False if it was done before.

        One that has not started never runs. In one that runs, TaskCancelled is raised, so that its `finally` blocks run (a coroutine is
        cancelled as asyncio does); a worker that is not done with it after the queue's `grace_period` is killed and replaced.
        The future itself is cancelled at once.
        """
        return self.state == IS_CANCELLED or (not self.done() and self.client.cancel(self))

    def _hold_for(self, Client client):
        """For a task of that client whose input this is: (format, Hold) of a result that lies in the arena they share, so that it need
        not travel again; None where it must."""
        cdef Incoming incoming
        if self.state != IS_ENCODED or self.client.space is not client.space or type(self.value[1]) is not Incoming:
            return None
        incoming = self.value[1]
        if incoming.whole is None:
            return None
        return self.value[0] & FORMATS, hold_of(client.pinner, incoming.whole.number, incoming.whole.generation)

    def _run_here(self):
        """In a task that is about to wait for this one: run it in here, if it is still queued."""
        if self.state == IS_PENDING and self.client is not None and self.client.help is not None and self.generation != 0:
            if self.client.help(self.slot, self.generation):
                self.client.reap()

    def _withdraw(self):
        """Cancel the task if it has not started."""
        return self.state == IS_CANCELLED or (not self.done() and self.client.withdraw(self))

    cdef int settle(self, State state, object value) except -1:
        """From pending to done, once. Whoever watches is told."""
        if self.state != IS_PENDING:
            return 0
        try:
            if self.watch is not None:
                self.settle_watched(state, value)
            else:
                self.become(state, value)
        finally:                # callbacks may raise
            if self.audience is not None and self.state != IS_PENDING:
                self.tell_audience()
            if self.client.on_sent is not None and self.generation == 0:
                self.client.check_sent()
        return 0

    cdef int settle_watched(self, State state, object value) except -1:
        """The watch is Python's code, where Ctrl-C may come between, and callbacks may end the program. Nobody would look for this
        future again, so all of it is done before that goes on its way."""
        cdef int tries
        try:
            self.watch.settle(self, <int>state, value)
            return 0
        except BaseException as error:
            failure = error
        for tries in range(MOST_INTERRUPTS):
            try:
                self.watch.resume(self, <int>state, value)
                break
            except BaseException as error:
                failure = error
        self.become(state, value)           # if there was no room for any Python code
        raise failure

    cdef int tell_audience(self) except -1:
        cdef list audience = self.audience
        cdef Client client
        self.audience = None
        failure = None
        for who in audience:
            try:
                if isinstance(who, Future):
                    client = (<Future>who).client
                    # Whoever is sorting already goes on with these: no recursion, however long a chain is.
                    if client.outbox.arrivals and not client.outbox.is_sorting:
                        client.sort_arrivals()
                else:
                    who(self)
            except BaseException as error:      # Ctrl-C, or of a callback: the others still want to be told
                failure = error
        if failure is not None:
            raise failure
        return 0

    cdef bint become(self, State state, object value):
        if self.state != IS_PENDING:
            return False
        if self.generation == 0:
            self.client.unpark(self)
        if PyObject_IS_GC(<PyObject *>value):
            self.expose()
        self.value = value
        self.state = state
        self.options = None
        if self.watch is not None:
            self.client.watched -= 1
        if self.audience is not None:
            self.client.watched -= 1
            for who in self.audience:       # now, for a callback may wait for one of them
                if isinstance(who, Future):
                    (<Future>who).client.outbox.arrivals.append((who, self))
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

    @property
    def _count_here(self):
        """How many results are here."""
        return self.size - self.at + sum([len(fetched[1]) for fetched in self.waiting or ()])

    @property
    def _is_filled(self):
        """Is the next result here? Then `next` does not wait."""
        return self.at < self.size or bool(self.waiting)

    def _fill(self, fetched):
        """Take a chunk that was fetched elsewhere than in `_next_chunk`."""
        if self.waiting is None:
            self.waiting = []
        self.waiting.append(fetched)

    def __next__(self):
        cdef Py_ssize_t at
        while self.at >= self.size:
            fetched = self.waiting.pop(0) if self.waiting else self._next_chunk()      # StopIteration ends it
            if self.at < self.size:     # another thread was here while this one waited
                self._fill(fetched)
                break
            self.pairs, self.chunk = fetched
            self.size = len(self.chunk)
            self.at = 0
        at = self.at
        self.at += 1
        value = taken(self.chunk, at)   # handed over: the iterator keeps nothing alive
        return self._unwrap(value) if self.pairs else value


def iterated_natively(kind):
    """For classes derived from Results: Python would look `__next__` up by its name for each result, which takes as long as all the
    rest of it."""
    if issubclass(kind, Results) and kind.__next__ is Results.__next__:
        (<PyTypeObject *>kind).tp_iternext = (<PyTypeObject *>Results).tp_iternext
    return kind


# ------------------------------------------------------------------------------------------------------ client: submit

cdef tuple gather(PyObject *const *args, Py_ssize_t n, PyObject *kwnames, dict kwargs):
    """The arguments of a vectorcall as a tuple and a dict."""
    cdef Py_ssize_t i
    positional = tuple([<object>args[i] for i in range(n)])
    named = {} if kwargs is None else kwargs
    if kwnames != NULL:
        for i, name in enumerate(<tuple>kwnames):
            named[name] = <object>args[n + i]
    return positional, named


cdef tuple own(tuple encoded):
    """For what must wait: with private copies of all buffers."""
    return encoded if type(encoded[1]) is bytes else (encoded[0], encoded[1].frozen())


cdef object too_long(size_t length):
    return MemoryError(f"the arguments are {length} bytes; one task carries at most 4 GiB")


@cython.final
cdef class Options:
    """What differs between calls. Frozen once made."""
    cdef readonly int queue, priority, max_retries       # -1: the function's, or the queue's default
    cdef readonly double timeout                         # seconds to wait for room, -1: for ever
    cdef readonly object metadata                        # or Terms
    cdef readonly bint overflow                          # a call that finds no room is kept here and sent later
    cdef readonly int default_priority, default_retries
    cdef readonly int max_crashes, default_crashes       # -1: as many as max_retries
    cdef readonly uint32_t limit_ms, default_limit_ms    # how long a run may last, 0: the function's; the queue's
    cdef readonly int64_t ttl_ns, delay_ns, due_ns       # to be started within; not before so much later; not before that time. 0: none
    cdef readonly bint keeps_running                     # its futures' cancel() leaves a running task alone
    cdef readonly int arguments                          # how the worker shall see them: 0, READ_ONLY, SHARED
    cdef readonly bint copied                            # results are private copies

    def __init__(self, queue=-1, priority=-1, max_retries=-1, timeout=-1.0, metadata=None, default_priority=2, default_retries=0, overflow=False, *,
                 max_crashes=-1, default_crashes=-1, limit_ms=0, default_limit_ms=0, ttl_ns=0, delay_ns=0, due_ns=0, keeps_running=False,
                 arguments=0, copied=False):
        self.queue, self.priority, self.max_retries = queue, priority, max_retries
        self.timeout, self.metadata, self.overflow = timeout, metadata, overflow
        self.default_priority, self.default_retries = default_priority, default_retries
        self.max_crashes, self.default_crashes = max_crashes, default_crashes
        self.limit_ms, self.default_limit_ms = limit_ms, default_limit_ms
        self.ttl_ns, self.delay_ns, self.due_ns = ttl_ns, delay_ns, due_ns
        self.keeps_running = keeps_running
        self.arguments, self.copied = arguments, copied


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
    cdef readonly Space space
    cdef lq_client client
    cdef bint opened
    cdef Pinner pinner
    cdef object __weakref__
    cdef dict ties                    # by slot: pins of what its task refers to
    cdef uint32_t copying             # threads that copy into blocks just now
    cdef PyObject **futures           # by slot: the future that waits for it
    cdef lq_out out
    cdef readonly object codec
    cdef bint fast                    # the codec lets MessagePack be tried first
    cdef object future_type, resolve, let_go, on_tick, on_watched, cancelled_error, crashed_error, undecodable, closed_error, full_error, timeout_error, expired_error
    cdef readonly dict functions      # callable or name -> FunctionEntry
    cdef readonly frozenset plain     # types, beside functions, that may be its keys
    cdef str prefix
    cdef bint leading                 # a thread is in lq_client_sleep
    cdef Follower *followers
    cdef uint32_t since_reap
    cdef int64_t ticked_ns
    cdef uint32_t unsettled           # futures that were sent and are not done
    cdef object owner, keep           # who holds this client (called), and the same while anything is unsettled
    cdef Outbox outbox
    cdef uint32_t in_line             # futures in the outbox that wait for room
    cdef object freeze
    cdef readonly dict landings       # by event loop; see localq.client.aio
    cdef public object on_sent        # None, or called whenever nothing is parked any more
    cdef public uint32_t watched      # futures that have a watch: they want to be finished without being asked
    cdef public object closed         # None, or why nothing can be submitted: see `errors.closed`
    cdef public object help           # None, or called with (slot, generation) of a task that is waited for: may run it here
    cdef public object on_use         # None, or called once, by whoever submits or waits next
    cdef public object on_output      # None, or called before a task that has written something is done

    def __init__(self, Space space not None, uint32_t label, uint32_t pid, *, codec, owner, future_type, resolve, let_go, on_tick, on_watched,
                 errors, plain, freeze=None):
        """`owner()` is what must live while futures wait; `resolve(client, fn)` returns a FunctionEntry, `let_go(client, entry)` is told that no task needs one that is heavy; `on_tick()` is called now and then while waiting and may fail futures;
        `errors` has .cancelled(task_id, attempts), .crashed(task_id, attempts, pid, wait_status, report, function),
        .undecodable(error, task_id, attempts), .closed(reason), .full(capacity, timeout);
        `plain`: types beside functions whose instances compare by identity, or by value and never change;
        `freeze(args, kwargs, inputs)` returns these arguments as they are now, whose .fill() is (args, kwargs) once the inputs,
        futures, are done."""
        self.space = space
        self.freeze = freeze
        self.outbox = Outbox()
        self.landings = {}
        self.codec = codec
        self.fast = codec.fast
        self.owner = owner
        self.future_type = future_type
        self.resolve = resolve
        self.let_go = let_go
        self.on_tick = on_tick
        self.on_watched = on_watched
        self.cancelled_error, self.crashed_error = errors.cancelled, errors.crashed
        self.undecodable, self.closed_error, self.full_error = errors.undecodable, errors.closed, errors.full
        self.timeout_error, self.expired_error = errors.timed_out, errors.expired
        self.functions = {}
        self.plain = plain
        self.prefix = f"{space.space.header.identity & 0xffffffff:08x}"
        self.futures = <PyObject **>PyMem_Calloc(space.space.slots.count, sizeof(PyObject *))
        if self.futures == NULL:
            raise MemoryError
        if lq_client_init(&self.client, &space.space, label, pid) != LQ_OK:
            raise_errno("this client's own memory")
        self.opened = True
        self.pinner = Pinner(space, label)
        self.ties = {}

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
    def parked(self):
        """Futures whose task waits in this process: for room, or for the results of others."""
        return self.in_line + len(self.outbox.blocked)

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

    def pending_futures(self):
        """The futures that still wait. A list of its own."""
        cdef uint32_t i
        return [<object>self.futures[i] for i in range(self.space.space.slots.count) if self.futures[i] != NULL] + self.outbox.futures()

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
        if lq_space_phase(&self.space.space) > <uint32_t>(LQ_PHASE_OPEN if self.help is None else LQ_PHASE_DRAINING):
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

    cdef bint reserve(self, Options options, uint32_t *index) except -1:
        """A slot to fill; waits for room as long as the options allow. False: there is none, and this call must not wait."""
        self.stay_open()
        if self.in_line != 0 and self.may_park(options):     # first come, first served
            return False
        if lq_client_reserve(&self.client, index) == LQ_OK:
            return True
        self.reap()
        if self.may_park(options):
            return self.in_line == 0 and lq_client_reserve(&self.client, index) == LQ_OK
        cdef int64_t until = 0
        if options.timeout >= 0:
            until = lq_now_ns() + <int64_t>(options.timeout * NS)
        while lq_client_reserve(&self.client, index) != LQ_OK:
            self.wait_for_room(options, until)
        return True

    cdef bint may_park(self, Options options) except -1:
        """Is a call that finds no room kept in the outbox? On the thread of an event loop it always is, for waiting would stop
        everything else there; but it may ask not to wait at all."""
        if options.overflow or options.timeout == 0:
            return options.overflow
        from sys import modules
        asyncio = modules.get("asyncio")
        running = getattr(asyncio, "_get_running_loop", None)       # it may be half-way through its import
        return running is not None and running() is not None

    cdef int wait_for_room(self, Options options, int64_t until) except -1:
        cdef int64_t left = 10 * <int64_t>NS
        if options.timeout >= 0:
            left = until - lq_now_ns()
            if left <= 0:
                raise self.full_error(self.space.space.header.sizes.capacity, options.timeout)
        self.sleep_once(None, left)
        self.check_open()
        return 0

    cdef void fill(self, lq_slot *slot, Options options, FunctionEntry entry, int kind, int64_t called_ns) noexcept:
        """`called_ns`: when the call was made; 0: just now."""
        cdef int queue = options.queue if options.queue >= 0 else entry.queue if entry.queue >= 0 else 0
        cdef int priority = options.priority if options.priority >= 0 else entry.priority if entry.priority >= 0 else options.default_priority
        cdef int retries = options.max_retries if options.max_retries >= 0 else entry.max_retries if entry.max_retries >= 0 else options.default_retries
        slot.function = entry.row
        slot.function_generation = entry.generation
        slot.kind = <uint8_t>kind
        slot.queue = <uint8_t>queue
        slot.priority = <uint8_t>priority
        slot.max_retries = <uint8_t>retries
        slot.max_crashes = <uint8_t>(options.max_crashes if options.max_crashes >= 0 else entry.max_crashes if entry.max_crashes >= 0
                                     else options.default_crashes if options.default_crashes >= 0 else retries)
        slot.limit_ms = options.limit_ms if options.limit_ms != 0 else entry.limit_ms if entry.limit_ms != 0 else options.default_limit_ms
        if options.ttl_ns != 0 or options.delay_ns != 0 or options.due_ns != 0:
            self.set_times(slot, options, called_ns)

    cdef void set_times(self, lq_slot *slot, Options options, int64_t called_ns) noexcept:
        cdef int64_t now = lq_now_ns()
        cdef int64_t called = called_ns if called_ns != 0 else now
        cdef int64_t due = options.due_ns if options.due_ns != 0 else called + options.delay_ns
        if due > now:
            slot.due_ms = lq_space_at(&self.space.space, due)
        if options.ttl_ns != 0:
            slot.expires_ms = lq_space_at(&self.space.space, called + options.ttl_ns)

    cdef int discard(self, uint32_t index) except -1:
        if self.ties:
            self.untie(index)
        lq_client_discard(&self.client, index)
        return 0

    cdef int untie(self, uint32_t index) except -1:
        entries = self.ties.pop(index, None)
        if entries is not None:
            untie(self.pinner, entries)
        return 0

    cdef bytes store(self, uint32_t index, Options options, const void *data, size_t length):
        """Arguments that do not fit into the slot go to the arena; waits for room there. Returns them when there is none and this
        call must not wait, else None."""
        cdef lq_status status = lq_client_store_args(&self.client, index, data, length)
        cdef uint32_t block = 0
        cdef uint64_t room = 0
        cdef bytes copy
        if status == LQ_OK:
            return None
        copy = (<char *>data)[:length]      # waiting lets other threads in, and they may use the same scratch
        if not self.take_room(options, length, False, &block):
            return copy
        memcpy(lq_space_block(&self.space.space, block, &room), <char *>copy, length)
        lq_client_hold_args(&self.client, index, block)
        return None

    cdef lq_status take(self, uint64_t length, bint sparse, uint32_t *block) noexcept:
        """A block, where what goes in leaves room for what comes out: for as much as itself, unless nothing is on its way that would make
        more room."""
        cdef uint32_t usual = self.client.cache.kept_from
        cdef uint64_t most = self.space.space.arena.count - 1
        cdef uint64_t spans = (length + (1 << 20) - 1) >> 20
        cdef lq_status status
        if spans < most:
            self.client.cache.kept_from = <uint32_t>max(<uint64_t>usual, min(spans, most - spans))
        status = lq_client_take(&self.client, length, sparse, block)
        self.client.cache.kept_from = usual
        if status == LQ_FULL and self.client.pending == 0:
            status = lq_client_take(&self.client, length, sparse, block)
        return status

    cdef bint take_room(self, Options options, uint64_t length, bint sparse, uint32_t *block) except -1:
        """A block of the arena; waits for one as long as the options allow. False: there is none, and this call must not wait."""
        cdef lq_status status = self.take(length, sparse, block)
        cdef int64_t until, patience
        cdef bint tidied = False
        if status == LQ_FULL:
            if self.may_park(options):
                return False
            until = lq_now_ns() + <int64_t>(options.timeout * NS) if options.timeout >= 0 else 0
            patience = lq_now_ns() + NS
            while status == LQ_FULL:
                self.reap()
                if self.client.pending == 0:
                    # Only blocks that workers keep warm are left: they give them back when they find nothing to do.
                    if lq_now_ns() > patience:
                        if tidied:
                            raise self.no_memory(length)
                        import gc
                        gc.collect()        # arrays in reference cycles, above all in tracebacks
                        tidied = True
                    self.sleep_once(None, NS // 200)
                    self.stay_open()
                else:
                    patience = lq_now_ns() + NS
                    self.wait_for_room(options, until)
                status = self.take(length, sparse, block)
        if status == LQ_NEVER:
            raise self.never_fits(length)
        if status != LQ_OK:
            raise self.refused_by_system(length)
        return True

    cdef object store_payload(self, uint32_t index, Options options, object payload):
        """As `store`, of a Payload. What lies elsewhere in the arena is pinned until the task is done."""
        cdef Outgoing outgoing = Outgoing(self.space, payload)
        cdef uint32_t block = 0
        if not self.take_room(options, outgoing.total, False, &block):
            return payload.frozen()
        self.write_block(outgoing, block)
        self.hold_payload(index, outgoing, block, options)
        return None

    cdef int hold_payload(self, uint32_t index, Outgoing outgoing, uint32_t block, Options options) except -1:
        cdef lq_slot *slot = lq_space_slot(&self.space.space, index)
        lq_client_hold_args(&self.client, index, block)
        slot.args_format |= BUFFERS | options.arguments
        slot.args_bytes = outgoing.shown()
        entries = outgoing.tie(self.pinner, index, slot.task_generation)
        if entries is not None:
            self.ties[index] = entries
        return 0

    cdef int write_block(self, Outgoing outgoing, uint32_t block) except -1:
        """Into a block that was taken. Lets other threads in while it copies."""
        cdef uint64_t room = 0
        self.copying += 1
        try:
            outgoing.write(lq_space_block(&self.space.space, block, &room))
        except BaseException:
            lq_arena_return(&self.space.space.arena, &self.client.cache, self.client.me, block)
            raise
        finally:
            self.copying -= 1
        self.stay_open()        # or the block went with this client's label
        return 0

    @property
    def identity(self):
        """Of the queue."""
        return self.space.space.header.identity

    def leave(self):
        """Give everything back; the process lives on. Tasks that are on their way go on, and nobody is told. What is looked at becomes
        this process's own before. Raises OSError when there is no memory for that: then nothing has changed."""
        cdef lq_bell bell
        if not self.opened:
            return
        memset(&bell, 0, sizeof(bell))
        while self.copying:
            with nogil:
                lq_bell_sleep(&bell, 0, 1000000)
        if not self.pinner.left and lq_client_is_ours(&self.client):
            self.pinner.keep_all()
        self.pinner.left = True
        lq_client_leave(&self.client)

    def strip(self):
        """The queue has ended, nobody writes any more: of the arena only what is looked at stays in memory."""
        if self.pinner.first != NULL and lq_client_is_ours(&self.client):
            lq_arena_strip(&self.space.space.arena)

    def put(self, Options options not None, payload not None, bint keep):
        """Store a Payload in a block of its own. `keep`: it stays until it is released, not only as long as somebody holds it."""
        cdef Outgoing outgoing
        cdef uint32_t block = 0
        cdef uint32_t generation
        cdef Hold hold
        self.check_open()
        outgoing = Outgoing(self.space, payload, by_name=False)
        if outgoing.names != 0:
            raise ValueError("a shared value can't contain other shared values: pass them beside it")
        if not self.take_room(options, outgoing.total, False, &block):
            raise self.no_room_now(outgoing.total)
        self.write_block(outgoing, block)
        generation = lq_word_generation(lq_load(lq_arena_word(&self.space.space.arena, block)))
        if keep:
            lq_arena_hold(&self.space.space.arena, self.client.me, block, lq_backref(LQ_HOLDER_KEPT, 0, generation))
        try:
            hold = hold_of(self.pinner, block, generation)
        except BaseException:
            if keep:
                lq_arena_drop(&self.space.space.arena, NULL, self.client.me, block, lq_backref(LQ_HOLDER_KEPT, 0, generation))
            else:
                lq_arena_return(&self.space.space.arena, NULL, self.client.me, block)
            raise
        if not keep:
            lq_arena_loosen(&self.space.space.arena, self.client.me, block)
        outgoing.remember(self.space, block, generation)
        return hold

    @property
    def looks(self):
        """Whether anything in this process looks at the arena."""
        return self.pinner.first != NULL

    def lend(self, is_alive):
        """This process has forked one that sees all that is looked at here, as long as `is_alive()`: until then the blocks stay."""
        self.pinner.lend(is_alive)

    def hold(self, uint32_t block, uint32_t generation):
        """A shared value that another process has stored. Raises LookupError when it is gone."""
        return hold_of(self.pinner, block, generation)

    def allocate(self, Options options not None, uint64_t length, bint sparse):
        """So many bytes of the arena, which this process and tasks may write; zeros if they are fresh, else what was there before."""
        cdef uint32_t block = 0
        cdef uint32_t generation
        cdef Block found
        self.check_open()
        if not self.take_room(options, length if length != 0 else 1, True, &block):     # filled by way of the view: these pages are used
            raise self.no_room_now(length)
        generation = lq_word_generation(lq_load(lq_arena_word(&self.space.space.arena, block)))
        try:
            found = self.pinner.look(block, generation, 0, length, LQ_VIEW_SHARED, False)
        except BaseException:
            lq_arena_return(&self.space.space.arena, NULL, self.client.me, block)
            raise
        if not sparse and not found.fill():
            lq_arena_return(&self.space.space.arena, NULL, self.client.me, block)
            raise self.refused_by_system(length)
        lq_arena_loosen(&self.space.space.arena, self.client.me, block)
        return found

    def share(self, uint32_t block, uint32_t generation, uint64_t start, uint64_t length):
        """Bytes of the arena that somebody else allocated, to be read and written. Raises LookupError when they are gone."""
        return self.pinner.look(block, generation, start, length, LQ_VIEW_SHARED, False)

    def read(self, uint32_t slot, uint32_t generation):
        """As `Space.read`; results with buffers are looked at."""
        return self.space.read_for(slot, generation, self.pinner)

    cdef object refused_by_system(self, uint64_t length):
        return MemoryError(f"the system has no memory for {length} bytes of the queue's arena: end something else, or give the queue a smaller memory=")

    cdef object no_memory(self, uint64_t length):
        return MemoryError(f"{length} bytes were asked for; the arena of {self.space.memory} bytes has no room for them and"
                           " nothing is on its way that would free some: let go of arrays and shared values, or give the queue a"
                           " larger memory=")

    cdef object no_room_now(self, uint64_t length):
        return MemoryError(f"{length} bytes were asked for; the arena of {self.space.memory} bytes has no room for them now, and on the"
                           " thread of an event loop this does not wait: await some results first, or call it in a thread")

    cdef object never_fits(self, uint64_t length):
        cdef uint64_t most = <uint64_t>(self.space.space.arena.count - 1 - self.client.cache.kept_from) << 20
        return MemoryError(f"{length} bytes were asked for; of this queue's memory={self.space.memory} arguments can have at most {most}, for"
                           " results must find room, too: give the queue a larger memory=")

    cdef Future new_future(self):
        cdef PyObject *made = (<PyTypeObject *>self.future_type).tp_new(<PyTypeObject *>self.future_type, <PyObject *>NO_ARGS, NULL)
        cdef Future future = <Future>made
        Py_DECREF(future)
        PyObject_GC_UnTrack(made)       # see Future.expose
        return future

    cdef Future send(self, uint32_t index, Options options, FunctionEntry entry):
        cdef lq_slot *slot = lq_space_slot(&self.space.space, index)
        cdef Future future = self.new_future()
        if self.closed is not None:
            entry.pending -= 1
            self.discard(index)
            self.stay_open()
        future.client = self
        future.slot = index
        future.generation = slot.task_generation
        future.entry = entry
        future.options = options
        Py_INCREF(future)
        self.futures[index] = <PyObject *>future
        if lq_client_submit(&self.client, index) != LQ_OK:
            self.submit_late(index, future, entry)
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

    cdef int submit_late(self, uint32_t index, Future future, FunctionEntry entry) except -1:
        """The ring is full of duplicates after a recovery: workers pass them over."""
        try:
            while True:
                self.sleep_once(None, NS // 100)
                if lq_client_submit(&self.client, index) == LQ_OK:
                    return 0
        except BaseException:
            if self.futures[index] == <PyObject *>future:       # else fail_all has let go of it
                self.futures[index] = NULL
                Py_DECREF(future)
            entry.pending -= 1
            self.discard(index)
            raise

    cdef Future refused(self, object error, FunctionEntry entry):
        """A future that has failed before anything was sent."""
        cdef Future future = self.new_future()
        future.client = self
        future.entry = entry
        future.state = IS_ERROR
        future.expose()
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
        if (self.in_line != 0 or not self.fast or kwargs is not None or options.metadata is not None
                or entry.row == LQ_FUNCTION_IN_BAND or lq_client_reserve(&self.client, &index) != LQ_OK):
            return self.submit_unusual(options, entry, args, n, kwnames, kwargs)
        # The usual call: there is a slot, and its arguments fit into it. Nothing is tried here, for that alone would cost a tenth.
        slot = lq_space_slot(&self.space.space, index)
        self.fill(slot, options, entry, LQ_KIND_CALL, 0)
        self.out.base, self.out.cap, self.out.len = slot.args, LQ_INLINE_BYTES, 0
        status = try_to_encode_call(&self.out, args, n, kwnames)
        if status != LQ_VALUE_OK or self.out.base != slot.args:
            return self.submit_filled(options, entry, args, n, kwnames, kwargs, index, status)
        slot.args_format = MSGPACK
        slot.args_bytes = <uint32_t>self.out.len
        return self.send(index, options, entry)

    cdef Future submit_unusual(self, Options options, FunctionEntry entry, PyObject *const *args, Py_ssize_t n, PyObject *kwnames,
                               dict kwargs):
        """Where `submit` has found that something is not as it usually is. It has counted the entry's use; the same for the next one."""
        cdef uint32_t index = 0
        cdef int status = LQ_VALUE_FOREIGN
        cdef lq_slot *slot
        try:
            if not self.reserve(options, &index):
                return self.submit_later(options, entry, args, n, kwnames, kwargs)
        except BaseException:
            entry.pending -= 1
            raise
        slot = lq_space_slot(&self.space.space, index)
        self.fill(slot, options, entry, LQ_KIND_CALL, 0)
        if self.fast and kwargs is None and options.metadata is None and entry.row != LQ_FUNCTION_IN_BAND:
            self.out.base, self.out.cap, self.out.len = slot.args, LQ_INLINE_BYTES, 0
            status = try_to_encode_call(&self.out, args, n, kwnames)
        return self.submit_filled(options, entry, args, n, kwnames, kwargs, index, status)

    cdef Future submit_filled(self, Options options, FunctionEntry entry, PyObject *const *args, Py_ssize_t n, PyObject *kwnames,
                              dict kwargs, uint32_t index, int status):
        """There is a slot, and `status` of encoding the arguments; -1: that has raised."""
        cdef lq_slot *slot = lq_space_slot(&self.space.space, index)
        cdef Future parked = None
        cdef object left = None             # encoded, and there is no room
        cdef list inputs = None
        try:
            raise_if_failed(status)
            if status == LQ_VALUE_OK:
                slot.args_format = MSGPACK
                slot.args_bytes = <uint32_t>self.out.len
                if self.out.base != slot.args:
                    left = self.store(index, options, self.out.base, self.out.len)
                    if self.out.scratch_cap > 1 << 20:
                        lq_out_free(&self.out)
            else:
                positional, named = gather(args, n, kwnames, kwargs)
                inputs = find_inputs(self.future_type, (positional, named))
                if inputs is None:
                    left = self.store_encoded(index, options, self.encode_slowly(options, entry, positional, named))
            if left is not None:
                parked = self.overflow(options, entry, LQ_KIND_CALL, slot.args_format & FORMATS, left)
            elif inputs is not None:
                parked = self.depend(options, entry, LQ_KIND_CALL, positional, named, inputs)
        except BaseException as error:
            entry.pending -= 1
            self.discard(index)
            if self.is_refusal(error):
                return self.refused(error, entry)
            raise
        if parked is not None:
            self.discard(index)
            return parked
        return self.send(index, options, entry)

    cdef Future submit_later(self, Options options, FunctionEntry entry, PyObject *const *args, Py_ssize_t n, PyObject *kwnames,
                             dict kwargs):
        """The same without a slot, because there is no room. Who calls has counted the entry's use, and takes it back on an error."""
        cdef object payload = None
        cdef int format = MSGPACK
        try:
            if self.fast and kwargs is None and options.metadata is None and entry.row != LQ_FUNCTION_IN_BAND:
                self.out.base, self.out.cap, self.out.len = NULL, 0, 0
                if lq_value_encode_call(&self.out, args, n, kwnames) == LQ_VALUE_OK:
                    payload = self.take_out()
            if payload is None:
                positional, named = gather(args, n, kwnames, kwargs)
                inputs = find_inputs(self.future_type, (positional, named))
                if inputs is not None:
                    return self.depend(options, entry, LQ_KIND_CALL, positional, named, inputs)
                format, payload = own(self.encode_slowly(options, entry, positional, named))
            return self.overflow(options, entry, LQ_KIND_CALL, format, payload)
        except BaseException as error:
            if self.is_refusal(error):
                entry.pending -= 1
                return self.refused(error, entry)
            raise

    cdef bytes take_out(self):
        """What was encoded, as bytes of its own."""
        cdef bytes payload = out_bytes(&self.out)
        if self.out.scratch_cap > 1 << 20:
            lq_out_free(&self.out)
        return payload

    cdef tuple encode_slowly(self, Options options, FunctionEntry entry, tuple positional, dict named):
        """What MessagePack does not carry exactly goes through the codec: (format, payload)."""
        return self.codec.encode_call(
            positional, named, options.metadata, entry.function if entry.row == LQ_FUNCTION_IN_BAND else None)

    cdef tuple encode_items_slowly(self, FunctionEntry entry, list items):
        return (self.codec.encode_items(items) if entry.row != LQ_FUNCTION_IN_BAND
                else self.codec.encode_call((items,), {}, None, entry.function))

    cdef bint is_refusal(self, object error):
        """An argument that can't be encoded fails that task alone; anything else is the caller's."""
        from localq.errors import SerializationError
        return isinstance(error, SerializationError)

    cdef object store_encoded(self, uint32_t index, Options options, tuple encoded):
        """As `store`, of what the codec made."""
        self.stay_open()        # or the slot may be another client's by now
        cdef lq_slot *slot = lq_space_slot(&self.space.space, index)
        cdef bytes payload
        cdef size_t length
        slot.args_format = <uint8_t><int>encoded[0]
        if type(encoded[1]) is not bytes:
            return self.store_payload(index, options, encoded[1])
        payload = encoded[1]
        length = len(payload)
        if length > 0xffffffffu:
            raise too_long(length)
        slot.args_bytes = <uint32_t>length
        if length <= LQ_INLINE_BYTES:
            memcpy(slot.args, <char *>payload, length)
            return None
        return self.store(index, options, <char *>payload, length)

    cdef Future submit_chunk(self, Options options, FunctionEntry entry, list items, bint star):
        cdef uint32_t index = 0
        cdef lq_slot *slot
        cdef Future parked = None
        cdef object left = None
        cdef list inputs = None
        cdef int status = LQ_VALUE_FOREIGN
        cdef int kind = LQ_KIND_STARCHUNK if star else LQ_KIND_CHUNK
        self.check_open()
        entry.pending += 1
        try:
            if not self.reserve(options, &index):
                return self.submit_chunk_later(options, entry, items, kind)
        except BaseException:
            entry.pending -= 1
            raise
        slot = lq_space_slot(&self.space.space, index)
        self.fill(slot, options, entry, kind, 0)
        try:
            if self.fast and entry.row != LQ_FUNCTION_IN_BAND:
                self.out.base, self.out.cap, self.out.len = slot.args, LQ_INLINE_BYTES, 0
                status = lq_value_encode_items(&self.out, <PyObject *>items)
            if status == LQ_VALUE_OK:
                slot.args_format = MSGPACK
                slot.args_bytes = <uint32_t>self.out.len
                if self.out.base != slot.args:
                    left = self.store(index, options, self.out.base, self.out.len)
                    if self.out.scratch_cap > 1 << 20:
                        lq_out_free(&self.out)
            else:
                inputs = find_inputs(self.future_type, items)
                if inputs is None:
                    left = self.store_encoded(index, options, self.encode_items_slowly(entry, items))
            if left is not None:
                parked = self.overflow(options, entry, kind, slot.args_format & FORMATS, left)
            elif inputs is not None:
                parked = self.depend_chunk(options, entry, kind, items, inputs)
        except BaseException as error:
            entry.pending -= 1
            self.discard(index)
            if self.is_refusal(error):
                return self.refused(error, entry)
            raise
        if parked is not None:
            self.discard(index)
            return parked
        return self.send(index, options, entry)

    cdef Future submit_chunk_later(self, Options options, FunctionEntry entry, list items, int kind):
        """As `submit_later`."""
        cdef object payload = None
        cdef int format = MSGPACK
        try:
            if self.fast and entry.row != LQ_FUNCTION_IN_BAND:
                self.out.base, self.out.cap, self.out.len = NULL, 0, 0
                if lq_value_encode_items(&self.out, <PyObject *>items) == LQ_VALUE_OK:
                    payload = self.take_out()
            if payload is None:
                inputs = find_inputs(self.future_type, items)
                if inputs is not None:
                    return self.depend_chunk(options, entry, kind, items, inputs)
                format, payload = own(self.encode_items_slowly(entry, items))
            return self.overflow(options, entry, kind, format, payload)
        except BaseException as error:
            if self.is_refusal(error):
                entry.pending -= 1
                return self.refused(error, entry)
            raise

    # ---- parked: not in a slot yet

    cdef Future park(self, Options options, FunctionEntry entry, int kind, Parcel parcel):
        """A future for what can't be sent yet. It takes over the caller's use of the entry."""
        cdef Future future = self.new_future()
        self.stay_open()
        parcel.options, parcel.kind = options, kind
        future.client = self
        future.entry = entry
        future.options = options
        future.expose()
        future.value = parcel
        future.submit_ns = lq_now_ns()
        if self.unsettled == 0:
            self.keep = self.owner()
        self.unsettled += 1
        return future

    cdef Future overflow(self, Options options, FunctionEntry entry, int kind, int format, object payload):
        """There is no room: keep the encoded call until there is."""
        cdef Parcel parcel = Parcel()
        cdef uint64_t length = len(payload) if type(payload) is bytes else Outgoing(self.space, payload).total
        if type(payload) is bytes and length > 0xffffffffu:
            raise too_long(length)
        if length > <uint64_t>(self.space.space.arena.count - 1 - self.client.cache.kept_from) << 20:
            raise self.never_fits(length)
        self.watch_line()
        parcel.format, parcel.payload = format, payload
        cdef Future future = self.park(options, entry, kind, parcel)
        self.line_up(future, parcel)
        return future

    cdef int watch_line(self) except -1:
        """Somebody must send what is in line when there is room. Raises when no thread can be had for that."""
        if self.watched == 0:
            self.watched += 1
            try:
                lq_client_widen(&self.client)
                self.on_watched()
            finally:
                self.watched -= 1
        return 0

    cdef int line_up(self, Future future, Parcel parcel) except -1:
        cdef int priority = parcel.options.priority if parcel.options.priority >= 0 else future.entry.priority
        self.outbox.lines[priority if priority >= 0 else parcel.options.default_priority].append(future)
        parcel.is_in_line = True
        self.in_line += 1
        self.watched += 1
        return 0

    cdef Future depend_chunk(self, Options options, FunctionEntry entry, int kind, list items, list inputs):
        """The items of a chunk share its fate, but not that of each other's inputs: only one alone may have some."""
        if len(items) > 1:
            from localq.errors import SerializationError
            raise SerializationError("items", "", "TaskFuture", "such an item is sent alone")
        return self.depend(options, entry, kind, (list(items),), {}, inputs)

    cdef Future depend(self, Options options, FunctionEntry entry, int kind, tuple positional, dict named, list inputs):
        """A call that needs the results of others first."""
        cdef Parcel parcel = Parcel()
        cdef Future future, source
        parcel.frozen = self.freeze(positional, named, inputs)
        parcel.missing = len(inputs)
        future = self.park(options, entry, kind, parcel)
        self.outbox.blocked.add(future)
        try:
            for source in inputs:
                if not source.join(future):
                    self.outbox.arrivals.append((future, source))
        except BaseException:
            entry.pending += 1          # which the caller takes back
            future.settle(IS_CANCELLED, None)
            raise
        if self.outbox.arrivals:
            self.sort_arrivals()
        return future

    cdef int sort_arrivals(self) except -1:
        cdef Outbox outbox = self.outbox
        cdef bint outer = outbox.is_sorting     # a callback may wait for what stands behind it
        cdef Future future, source
        outbox.is_sorting = True
        try:
            while outbox.arrivals:
                future, source = outbox.arrivals.popleft()
                if future.is_parked():
                    self.accept(future, source)
        finally:
            outbox.is_sorting = outer
        if self.in_line:
            self.send_parked()
        return 0

    cdef int accept(self, Future future, Future source) except -1:
        """Take an input that is done. The last one makes the call ready to be sent; one that failed, or was cancelled, ends it."""
        cdef Parcel parcel = <Parcel>future.value
        cdef object payload = None
        cdef int format = MSGPACK
        try:
            if source.state == IS_ENCODED_ERROR:
                source.decode_error()
            if source.state == IS_ENCODED and source._hold_for(self) is None:
                source.decode()
            if source.state != IS_VALUE and source.state != IS_ENCODED:
                future.settle(source.state, source.value)
                return 0
            parcel.missing -= 1
            if parcel.missing > 0:
                return 0
            positional, named = parcel.frozen.fill(self)
            if self.fast and parcel.options.metadata is None and future.entry.row != LQ_FUNCTION_IN_BAND:
                self.out.base, self.out.cap, self.out.len = NULL, 0, 0
                if (lq_value_encode_args(&self.out, <PyObject *>positional, 0, <PyObject *>named) if parcel.kind == LQ_KIND_CALL
                        else lq_value_encode_items(&self.out, <PyObject *>positional[0])) == LQ_VALUE_OK:
                    payload = self.take_out()
            if payload is None:
                format, payload = (self.encode_slowly(parcel.options, future.entry, positional, named)
                                   if parcel.kind == LQ_KIND_CALL else self.encode_items_slowly(future.entry, positional[0]))
            if type(payload) is bytes and <size_t>len(payload) > 0xffffffffu:
                raise too_long(len(payload))
            if not future.is_parked():      # the arguments' own code may have let others in
                return 0
            parcel.format, parcel.payload, parcel.frozen = format, payload, None
            if self.in_line == 0 and self.post(future) == LQ_OK:
                return 0
            if type(payload) is not bytes:
                parcel.payload = payload.frozen()
            self.watch_line()
        except KeyboardInterrupt:           # it is for who waits; this is done again when somebody looks next
            if future.is_parked() and parcel.payload is not None:
                self.outbox.blocked.discard(future)
                self.line_up(future, parcel)
            elif future.is_parked():
                parcel.missing = max(parcel.missing, 1)
                self.outbox.arrivals.append((future, source))
            raise
        except BaseException as error:      # that code may raise anything
            future.settle(IS_ERROR, error)
            return 0
        if future.is_parked():
            self.outbox.blocked.discard(future)
            self.line_up(future, parcel)
        return 0

    cdef int unpark(self, Future future) except -1:
        """It ends without being sent."""
        cdef Parcel parcel = <Parcel>future.value
        self.forget_parked(future, parcel)
        future.entry.pending -= 1
        future.entry = None
        return 0

    cdef int forget_parked(self, Future future, Parcel parcel) except -1:
        if parcel.is_in_line:
            self.in_line -= 1
            self.watched -= 1
        else:
            self.outbox.blocked.discard(future)
        return 0

    cdef int send_parked(self) except -1:
        """Send what is in line, as far as there is room, the most urgent first."""
        cdef Outbox outbox = self.outbox
        cdef Future future
        if outbox.is_sending or not lq_client_is_ours(&self.client):
            return 0
        outbox.is_sending = True
        try:
            for line in outbox.lines:
                while line:
                    future = line.popleft()
                    if future.is_parked() and self.post(future) == LQ_FULL:
                        line.appendleft(future)
                        return 0
        finally:
            outbox.is_sending = False
        if self.on_sent is not None:
            self.check_sent()
        return 0

    cdef lq_status post(self, Future future) except LQ_CORRUPT:
        """Into a slot. LQ_FULL: there is no room, and nothing has changed."""
        cdef Parcel parcel = <Parcel>future.value
        cdef uint32_t index = 0
        cdef bytes plain = parcel.payload if type(parcel.payload) is bytes else None
        cdef uint64_t length = 0 if plain is None else len(plain)
        cdef uint32_t block = 0
        cdef Outgoing outgoing
        cdef lq_slot *slot
        cdef lq_status status = lq_client_reserve(&self.client, &index)
        if status != LQ_OK:
            return LQ_FULL
        slot = lq_space_slot(&self.space.space, index)
        self.fill(slot, parcel.options, future.entry, parcel.kind, <int64_t>future.submit_ns)
        slot.args_format = <uint8_t>parcel.format
        slot.args_bytes = <uint32_t>length
        if plain is None:
            try:
                outgoing = Outgoing(self.space, parcel.payload)
                length = outgoing.total
                status = self.take(length, False, &block)
                if status == LQ_OK:
                    self.write_block(outgoing, block)
                    self.hold_payload(index, outgoing, block, parcel.options)
            except BaseException as error:
                self.discard(index)
                if isinstance(error, KeyboardInterrupt):
                    raise
                future.settle(IS_ERROR, error)
                return LQ_OK
            if not future.is_parked():      # the copying let others in
                self.discard(index)
                return LQ_OK
        elif length <= LQ_INLINE_BYTES:
            memcpy(slot.args, <char *>plain, length)
        else:
            status = lq_client_store_args(&self.client, index, <char *>plain, length)
        if status == LQ_OK:
            future.slot, future.generation = index, slot.task_generation
            Py_INCREF(future)
            self.futures[index] = <PyObject *>future
            status = lq_client_submit(&self.client, index)
            if status != LQ_OK:         # full of duplicates after a recovery: workers pass them over
                self.futures[index] = NULL
                Py_DECREF(future)
                future.slot = future.generation = 0
        if status == LQ_OK:
            self.outbox.stuck_ns = 0
            self.forget_parked(future, parcel)
            future.value = None
            return LQ_OK
        self.discard(index)
        if status == LQ_NEVER or status == LQ_SYSTEM or self.is_stuck():
            future.settle(IS_ERROR, self.never_fits(length) if status == LQ_NEVER else self.refused_by_system(length) if status == LQ_SYSTEM
                          else self.no_memory(length))
            return LQ_OK
        return LQ_FULL

    cdef bint is_stuck(self):
        """Nothing is on its way, and for a second already no room has come: see `store`."""
        cdef int64_t now = lq_now_ns()
        if self.client.pending != 0:
            self.outbox.stuck_ns = 0
        elif self.outbox.stuck_ns == 0:
            self.outbox.stuck_ns = now
        return self.outbox.stuck_ns != 0 and now - self.outbox.stuck_ns > NS

    cdef int check_sent(self) except -1:
        if self.in_line == 0 and not self.outbox.blocked and self.on_sent is not None:
            self.on_sent()
        return 0

    # ---- functions

    def publish(self, uint32_t kind, payload not None, str name=""):
        """Put a function's bytes, or its Payload, into the table. Returns (row, generation), or None when the table or the arena is
        full. What a Payload refers to elsewhere in the arena is not pinned: whoever publishes keeps it. `name`: for people; 100 bytes are kept."""
        cdef uint32_t row = 0, generation = 0, block = 0
        cdef lq_status status
        cdef Outgoing outgoing
        cdef bytes shown = as_text(name)
        self.stay_open()
        if type(payload) is bytes:
            status = lq_client_publish(&self.client, kind, <char *>shown, <char *>(<bytes>payload), <uint32_t>len(payload), 0, &row, &generation)
            return (row, generation) if status == LQ_OK else None
        outgoing = Outgoing(self.space, payload)
        if self.take(outgoing.total, False, &block) != LQ_OK:
            return None
        self.write_block(outgoing, block)
        status = lq_client_publish(&self.client, kind | BUFFERS, <char *>shown, NULL, outgoing.shown(), block, &row, &generation)
        if status == LQ_OK:
            return row, generation
        lq_arena_return(&self.space.space.arena, &self.client.cache, self.client.me, block)
        return None

    def is_published(self, uint32_t row, uint32_t generation, payload not None):
        """Whether that row holds this very Payload."""
        cdef const unsigned char *at = NULL
        cdef uint32_t kind = 0, length = 0
        cdef lq_status status = lq_space_function(&self.space.space, row, generation, &kind, &at, &length)
        return status == LQ_OK and kind & BUFFERS != 0 and Outgoing(self.space, payload).matches(at, length)

    cpdef int leave_function(self, FunctionEntry entry) except -1:
        """One user less of that function."""
        entry.pending -= 1
        if entry.pending == 0 and entry.heavy:
            self.let_go(self, entry)
        return 0

    cdef object let_go_anyhow(self, FunctionEntry entry):
        """For a task that is done, whose end nobody would look for again. Returns what was raised meanwhile: Ctrl-C."""
        try:
            self.let_go(self, entry)
        except BaseException as error:
            return error
        return None

    def unpublish(self, uint32_t row):
        lq_client_unpublish(&self.client, row)

    # ---- finish

    cpdef int reap(self) except -1:
        """Finish every future whose task is done. Returns how many."""
        cdef uint32_t index = 0
        cdef uint32_t others = <uint32_t>-1
        cdef PyObject *found
        cdef int finished = 0
        if not lq_client_is_ours(&self.client):
            return 0
        while lq_client_reap(&self.client, &index) == LQ_OK:
            found = self.futures[index]
            if found != NULL and (<Future>found).finishing:
                if index == others:     # found by looking through the slots, of which it is the first; whoever has it goes on from there
                    break
                others = index          # told twice, as after a recovery
                continue
            self.finish(index)
            finished += 1
        if self.in_line or self.outbox.arrivals:
            self.sort_arrivals()
        if finished and self.followers != NULL:
            self.wake_followers(False)
        if self.pinner.borrowers is not None:
            self.pinner.collect()
        return finished

    cdef int finish(self, uint32_t index) except -1:
        cdef lq_slot *slot = lq_space_slot(&self.space.space, index)
        cdef PyObject *found = self.futures[index]
        cdef Future future
        cdef uint32_t cause = 0
        cdef lq_outcome outcome
        if found == NULL:
            self.consume(index)
            return 0
        # It stays in the table until its slot is given back: what is called here lets other threads in, and if one took the task for
        # nobody's, the slot could serve another one, and its result be read as this one's.
        future = <Future>found
        future.finishing = True
        outcome = lq_slot_outcome(slot, &cause)
        cdef object interrupt = None
        cdef bint lingered = False
        if self.on_output is not None and (slot.result_format & PRINTED or slot.attempt > 1 or outcome == LQ_OUTCOME_CRASHED):
            lingered = True
            try:
                self.on_output()
            except BaseException as error:      # Ctrl-C: after this one is done, which nobody would look for again
                interrupt = error
        future.attempts = slot.attempt
        future.worker_pid = slot.worker_pid
        future.start_ns = slot.start_ns
        future.done_ns = slot.done_ns
        future.items_begun = lq_slot_items_begun(slot)
        future.payload_bytes = <uint64_t>slot.args_bytes + slot.result_bytes
        cdef FunctionEntry entry = future.entry
        future.entry = None
        entry.pending -= 1
        if entry.pending == 0 and entry.heavy:
            interrupt = self.let_go_anyhow(entry) or interrupt
        cdef State state = IS_CANCELLED
        cdef object value = None
        future._sent_next = outcome <= LQ_OUTCOME_FAILURE and (slot.result_format & SENT_NEXT) != 0
        try:
            if outcome == LQ_OUTCOME_SUCCESS:
                future.mixed = (slot.result_format & MIXED) != 0
                if slot.result_format & ~(MIXED | PRINTED | SENT_NEXT) == MSGPACK:
                    state = IS_VALUE
                    value = take_ref(lq_value_decode(self.result_at(slot), slot.result_bytes))
                elif slot.result_format & BUFFERS:
                    state = IS_ENCODED
                    value = (slot.result_format & (FORMATS | BUFFERS), self.receive_result(slot, future.options is not None and future.options.copied))
                else:
                    state = IS_ENCODED
                    value = (slot.result_format & FORMATS, self.result_bytes(slot))
            elif outcome == LQ_OUTCOME_FAILURE and slot.result_bytes == 0:
                state, value = IS_ERROR, MemoryError("the task failed, and the arena had no room for its error: give the"
                                                     " queue a larger memory=")
            elif outcome == LQ_OUTCOME_FAILURE:
                state, value = IS_ENCODED_ERROR, self.result_bytes(slot)
            elif outcome == LQ_OUTCOME_TIMEOUT:
                state, value = IS_ERROR, self.timeout_error(slot.limit_ms / 1000.0, future.task_id, slot.attempt)
            elif outcome == LQ_OUTCOME_EXPIRED:
                state, value = IS_ERROR, self.expired_error(future.task_id)
            elif outcome == LQ_OUTCOME_CRASHED:
                state, value = IS_ERROR, self.crashed_error(
                    future.task_id, slot.attempt, slot.worker_pid, cause & 0xffff,
                    self.space.read_report(cause >> 16, slot.worker_pid), entry.function)
        except BaseException as error:
            state, value = IS_ERROR, error
        self.futures[index] = NULL
        Py_DECREF(future)
        lq_client_consume(&self.client, index)
        if self.ties:
            try:
                self.untie(index)
            except BaseException as error:
                interrupt = error
        try:
            future.settle(state, value)         # nothing, if meanwhile it was failed with all others
        finally:
            if lingered and self.leading:
                lq_client_wake(&self.client)    # meanwhile the thread that waits for this one may have gone to sleep again
        if interrupt is not None:
            raise interrupt
        return 0

    cdef int consume(self, uint32_t index) except -1:
        lq_client_consume(&self.client, index)
        if self.ties:
            self.untie(index)
        return 0

    cdef object receive_result(self, lq_slot *slot, bint is_copied):
        """Before the slot is consumed: from then on somebody may evict it, and only our pins keep what it names."""
        cdef const lq_a64 *word = lq_arena_word(&self.space.space.arena, slot.result_block)
        if word == NULL:
            fail(LQ_CORRUPT, "the result of a task")
        return receive(self.pinner, slot.result_block, lq_word_generation(lq_load(word)), LQ_VIEW_COPY_ON_WRITE, is_copied, True)

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
            if self.help is not None and future.generation != 0 and self.help(future.slot, future.generation):
                self.reap()
                continue
            left = MOST_NAP_NS
            if timeout is not None:
                left = until - lq_now_ns()
                if left <= 0:
                    raise TimeoutError(f"task {future.task_id or '(not sent yet)'} is not done after {timeout} s; it goes on")
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
        if future is not None and future.generation != 0 and self.followers == NULL and self.watched == 0:
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
        if future.is_parked():
            future.settle(IS_CANCELLED, None)
            return future.state == IS_CANCELLED
        if future.options is not None and future.options.keeps_running:
            return self.withdraw(future)
        if not self.stop(future.slot, future.generation):
            return False
        future.settle(IS_CANCELLED, None)
        return True

    cdef bint withdraw(self, Future future):
        if not lq_client_is_ours(&self.client):
            return False
        if not future.is_parked() and lq_client_cancel(&self.client, future.slot, future.generation) != LQ_OK:
            return False
        future.settle(IS_CANCELLED, None)
        return future.state == IS_CANCELLED

    cdef bint stop(self, uint32_t slot, uint32_t generation):
        """Cancel a task that has not started, have one stopped that runs."""
        cdef int i
        for i in range(16):     # it may go from one state to the other while we look
            if lq_client_cancel(&self.client, slot, generation) == LQ_OK or lq_client_stop(&self.client, slot, generation) == LQ_OK:
                return True
        return False

    def cancel_other(self, uint32_t slot, uint32_t generation):
        """Cancel a task that has no future here: another client's."""
        return lq_client_is_ours(&self.client) and self.stop(slot, generation)

    def watch(self, uint32_t slot, uint32_t task_generation):
        """From now on, notes and the end of that task wake those who wait in Space.wait_note. False: it has ended."""
        return lq_client_is_ours(&self.client) and lq_space_watch(&self.space.space, slot, task_generation) == LQ_OK

    def touch(self, uint32_t slot, uint32_t generation):
        """A cached result was read: it is evicted last now."""
        if lq_client_is_ours(&self.client):
            lq_client_touch(&self.client, slot, generation)

    def fail_all(self, make_error):
        """End every waiting future with `make_error(task_id)`, or as cancelled (None): nobody will run them."""
        cdef Future future
        failure = None
        for future in self.pending_futures():
            try:
                if make_error is None:
                    future.settle(IS_CANCELLED, None)
                else:
                    future.settle(IS_ERROR, make_error(future.task_id))
            except BaseException as error:      # Ctrl-C, or of a callback: the others still want to be told
                failure = error
                future.settle(IS_CANCELLED, None)       # if it did not come to that
            if self.futures[future.slot] == <PyObject *>future and not future.finishing:
                self.futures[future.slot] = NULL        # a cycle through this table would not be seen by the collector
                Py_DECREF(future)
        self.outbox.clear()
        self.wake_followers(False)
        if failure is not None:
            raise failure

# SPDX-License-Identifier: MIT
# The worker's side: take, run, report. Included by _native.pyx.

cdef struct Known:
    # A function that this worker has decoded.
    uint32_t generation
    PyObject *function
    uint64_t usual_ns


cdef bint is_cancellation(object error):
    """asyncio's: raised in a coroutine that is cancelled."""
    import sys
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and isinstance(error, asyncio.CancelledError)


cdef str said(object error):
    """Its type and message in one line, whatever its own code does."""
    name = type(error).__name__
    try:
        text = str(error)[:400]
    except BaseException:       # SystemExit too: it would end the worker
        text = ""
    return f"{name}: {' '.join(text.split())}" if text else name


cdef object chained(object error, object cause):
    error.__cause__ = cause
    return error


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


cdef struct Hand:
    # A task in hand. Lives on the stack of perform(): a task that waits for others may run one of them meanwhile.
    uint32_t index
    uint32_t task_generation
    bint exposed            # user code runs: an exception from outside is the task's to handle
    bint told               # it was raised in there, or its coroutine was cancelled
    Hand *outer


@cython.final
cdef class Flight:
    """A task whose coroutine is on its way, while the worker does other things."""
    cdef Worker worker
    cdef uint32_t index, task_generation
    cdef readonly object metadata
    cdef object terms
    cdef bint told
    cdef public object cancel        # what cancels the coroutine
    cdef public bint printed         # it has written something

    @property
    def task_id(self):
        return f"{self.worker.prefix}-{self.index:x}-{self.task_generation:x}"

    @property
    def attempt(self):
        return lq_space_slot(&self.worker.space.space, self.index).attempt

    @property
    def function(self):
        """What it calls; None when that is not known any more."""
        return self.worker.function_in(self.index)

    @property
    def cancelled(self):
        """True when it was asked to stop."""
        return lq_slot_stop(lq_space_slot(&self.worker.space.space, self.index)) != LQ_STOP_NONE

    def update(self, progress, message):
        """As Worker.update, of this task."""
        return self.worker.note(self.index, self.task_generation, progress, message)


cdef class _Withdraw(BaseException):
    """Unwinds a task that runs within one that was told to stop: it runs again, elsewhere."""


@cython.final
@cython.no_gc_clear
cdef class Worker:
    """The take-run-report loop of one worker process."""
    cdef Space space
    cdef lq_worker worker
    cdef Pinner pinner
    cdef object __weakref__
    cdef list ties                         # (tie, pins) of results that refer to other blocks
    cdef readonly int view_mode            # how the arguments that are decoded just now shall see shared values
    cdef list heavy                        # rows in `known` whose functions look at blocks
    cdef lq_out out
    cdef Known *known
    cdef object codec, load, await_, too_large, stop_error, terms_type, task_type
    cdef bint fast
    cdef str prefix
    cdef readonly object metadata          # of the task in hand
    cdef object terms                      # of the task in hand: None, or what it brought beside metadata
    cdef Hand *hand                        # the task in hand, None between tasks
    cdef Hand *awaited                     # the task whose coroutine `await_` runs; the one in hand may run within it
    cdef unsigned long main                # the thread that takes tasks
    cdef unsigned long helper              # 0, or another thread of the task in hand, which runs one that it waits for
    cdef Hand *helped                      # while there is one: what the main thread has in hand
    cdef lq_bell helper_bell               # rings when it is done
    cdef uint32_t grounded                 # who waits for a task here waits until it is done: its coroutine must not fly
    cdef readonly set flights              # tasks whose coroutines are on their way
    cdef public object launch              # None, or called with a coroutine and its Flight: sees it to its end, beside others
    cdef public object on_idle             # None, or called now and then while there is nothing to do
    cdef public object after_task          # None, or called after each task; true ends the loop
    cdef public uint64_t tasks_left        # 0: no limit
    cdef bint is_recycled
    cdef public bint printed               # the task in hand has written something: `let_out` is called before its end
    cdef public object let_out

    def __init__(self, Space space not None, uint32_t label, uint32_t pid, *, codec, load, run_coroutine, too_large, stop_error,
                 terms_type, task_type):
        """`load(kind, payload)` decodes a function; `run_coroutine(coro)` runs one to its end, and `run_coroutine.cancel()` cancels it,
        or returns False; `too_large(bytes, room)` makes the error for a result that can never fit, `stop_error(limit, task_id, attempts)` the
        one that stops a task (limit: seconds, None: cancelled); `terms_type`, `task_type`: what may carry a Retry as `.retry`."""
        self.space = space
        self.codec = codec
        self.fast = codec.fast
        self.load = load
        self.await_ = run_coroutine
        self.too_large = too_large
        self.flights = set()
        self.main = PyThread_get_thread_ident()
        memset(&self.helper_bell, 0, sizeof(self.helper_bell))
        self.stop_error, self.terms_type, self.task_type = stop_error, terms_type, task_type
        self.prefix = f"{space.space.header.identity & 0xffffffff:08x}"
        self.known = <Known *>PyMem_Calloc(LQ_FUNCTIONS, sizeof(Known))
        if self.known == NULL:
            raise MemoryError
        if lq_worker_init(&self.worker, &space.space, label, pid) != LQ_OK:
            raise_errno("this worker's own memory")
        self.pinner = Pinner(space, label, True)
        self.ties = []
        self.heavy = []

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
        return None if self.mine() == NULL else self.id_of(self.mine())

    cdef Hand *mine(self) noexcept:
        """What is in hand, as this thread sees it."""
        return self.hand if self.helper == 0 or self.helper == PyThread_get_thread_ident() else self.helped

    cdef str id_of(self, Hand *hand):
        return f"{self.prefix}-{hand.index:x}-{hand.task_generation:x}"

    def update(self, progress, message):
        """The task in hand tells how far it is: a number or None, a text or None; 200 bytes of it are kept. False: there is no task in
        hand."""
        cdef Hand *hand = self.mine()
        return hand != NULL and self.note(hand.index, hand.task_generation, progress, message)

    cdef bint note(self, uint32_t index, uint32_t task_generation, object progress, object message) except -1:
        cdef uint64_t bits = bits_of(progress)
        cdef bytes text = None
        if message is not None:
            text = as_text(message)
        cdef lq_note last
        cdef uint32_t seq = 0
        if not lq_worker_is_ours(&self.worker):
            return False        # a child that the task has forked
        if (progress is None or text is None) and lq_space_read_note(&self.space.space, index, task_generation, &last, &seq) == LQ_OK:
            if progress is None:        # what is not told anew stays
                bits = last.progress
            if text is None and last.message_bytes != LQ_NO_MESSAGE:
                text = (<char *>last.message)[:last.message_bytes]
        return lq_space_note(&self.space.space, self.worker.me, index, task_generation, bits,
                             <char *>text if text is not None else NULL, len(text) if text is not None else 0)

    def log(self, str text not None):
        """A line of the task in hand, or of this worker: the journal keeps the last ones."""
        cdef Hand *hand = self.mine()
        self.tell(LQ_EVENT_LOG, hand, text)

    cdef int tell(self, lq_event_kind kind, Hand *hand, str text) except -1:
        encoded = as_text(text)
        if lq_worker_is_ours(&self.worker):
            lq_worker_tell(&self.worker, kind, hand.index if hand != NULL else 0, hand.task_generation if hand != NULL else 0, <char *>encoded)
        return 0

    @property
    def busy(self):
        """True while a task is in hand."""
        return self.mine() != NULL

    @property
    def attempt(self):
        """1 for the first run of the task in hand."""
        return lq_space_slot(&self.space.space, self.mine().index).attempt if self.mine() != NULL else 0

    @property
    def cancelled(self):
        """True when the task in hand was asked to stop."""
        return self.mine() != NULL and lq_slot_stop(lq_space_slot(&self.space.space, self.mine().index)) != LQ_STOP_NONE

    def heed(self):
        """The supervisor called: somebody wants a task of this worker to stop. Raises the error that stops it, in whatever it runs just
        now. Called by the handler of a signal, which Python runs in the main thread between two instructions of its code."""
        cdef Hand *inner = self.hand if self.helper == 0 else self.helped     # no other thread can be told
        cdef Hand *hand = inner
        cdef lq_slot *slot
        cdef lq_stop why
        while hand != NULL:
            slot = lq_space_slot(&self.space.space, hand.index)
            why = lq_slot_stop(slot)
            if why != LQ_STOP_NONE and not hand.told and inner.exposed:
                hand.told = True
                if hand != inner:
                    raise _Withdraw
                if hand != self.awaited or not self.await_.cancel():
                    raise self.error_of(hand, slot, why)
                return
            hand = hand.outer
        for flight in list(self.flights):
            self.heed_flight(flight)

    cdef int heed_flight(self, Flight flight) except -1:
        if flight.cancelled and not flight.told:
            flight.told = True
            flight.cancel()
        return 0

    cdef int fly(self, object coroutine) except -1:
        cdef Flight flight = Flight.__new__(Flight)
        flight.worker = self
        flight.index, flight.task_generation = self.hand.index, self.hand.task_generation
        flight.metadata, flight.terms, flight.printed = self.metadata, self.terms, self.printed
        self.launch(coroutine, flight)
        self.flights.add(flight)
        return 0

    def land(self, Flight flight not None, result, error):
        """The coroutine of a flight has ended: with a result, or with an error."""
        cdef Hand hand
        cdef lq_slot *slot = lq_space_slot(&self.space.space, flight.index)
        self.flights.discard(flight)
        hand.index, hand.task_generation, hand.exposed, hand.told, hand.outer = (
            flight.index, flight.task_generation, False, flight.told, self.hand)
        outer_terms, outer_printed = self.terms, self.printed
        self.terms, self.printed = flight.terms, flight.printed
        self.hand = &hand
        try:
            if error is not None:
                raise error
            self.stay_one()
            self.finish(flight.index, slot, result, LQ_OUTCOME_SUCCESS, False)
        except BaseException as raised:
            self.stay_one()
            self.report(flight.index, slot, raised)
        finally:
            self.hand = hand.outer
            self.terms, self.printed = outer_terms, outer_printed

    def run_here(self, uint32_t slot, uint32_t generation):
        """For a task that waits for another: run that one within it, if it is still queued. Returns whether it has run. So no task
        waits for one that no worker is free to take."""
        cdef Hand *hand = self.hand
        cdef unsigned long thread = PyThread_get_thread_ident()
        cdef bint helps = thread != self.main and self.helper == 0
        if self.helper != 0 and thread != self.helper:
            return False        # one at a time: what is in hand is a stack
        if hand == NULL:
            if helps or not self.flights:
                return False
        elif not hand.exposed:
            return False
        if not lq_worker_is_ours(&self.worker) or lq_worker_claim(&self.worker, slot, generation) != LQ_OK:
            return False        # in a child that a task has forked, nothing is ours to take
        self.grounded += 1
        if helps:
            self.helper, self.helped = thread, hand
        try:
            self.perform(slot)
        except _Withdraw:
            if hand != NULL and hand.told:           # it was this one that shall stop
                raise self.error_of(hand, lq_space_slot(&self.space.space, hand.index),
                                    lq_slot_stop(lq_space_slot(&self.space.space, hand.index))) from None
            raise
        finally:
            self.grounded -= 1
            if helps:
                self.helper = 0
                lq_bell_ring(&self.helper_bell, 1)
        return True

    cdef int join(self) except -1:
        """Of the task in hand no other thread runs one any more: only then its own end may be seen to."""
        cdef uint32_t key
        while self.helper != 0 and self.helper != PyThread_get_thread_ident():
            key = lq_bell_key(&self.helper_bell)
            with nogil:
                lq_bell_sleep(&self.helper_bell, key, NS)
        return 0

    cdef object error_of(self, Hand *hand, lq_slot *slot, lq_stop why):
        return self.stop_error(slot.limit_ms / 1000.0 if why == LQ_STOP_TIMEOUT else None, self.id_of(hand), slot.attempt)

    @property
    def function(self):
        """Of the task in hand, once it has been decoded; else None."""
        return None if self.mine() == NULL else self.function_in(self.mine().index)

    cdef object function_in(self, uint32_t index):
        cdef lq_slot *slot = lq_space_slot(&self.space.space, index)
        cdef Known *known
        if slot.function >= LQ_FUNCTIONS:
            return None
        known = &self.known[slot.function]
        return <object>known.function if known.function != NULL and known.generation == slot.function_generation else None

    def recycle(self):
        """End after the task in hand: may be called by a signal's handler."""
        self.is_recycled = True

    def run(self):
        """Take and run tasks until the queue stops, the limit is reached or `after_task` says so.

        Returns "stopped" or "recycle"; or "flying", when coroutines are on their way that somebody must see to: call it again when they
        have landed."""
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
                    if self.heavy or self.ties:
                        self.let_go()
                    if self.on_idle is not None:
                        self.on_idle()
                    continue
            self.perform(index)
            PyErr_CheckSignals()            # a load, mostly; what runs may be C code that never looks
            self.count_task()
            if self.flights:
                return "flying"
        lq_worker_end(&self.worker)
        return "stopped"

    cdef int count_task(self) except -1:
        if self.tasks_left:
            self.tasks_left -= 1
            if self.tasks_left == 0:
                self.is_recycled = True
        if self.after_task is not None and self.after_task():
            self.is_recycled = True
        return 0

    def take_one(self):
        """Take and run one task, while others fly. Returns False when there is none, or none is to be taken any more."""
        cdef uint32_t index = 0
        if self.is_recycled or lq_space_phase(&self.space.space) >= LQ_PHASE_STOPPED:
            return False
        if lq_worker_take_now(&self.worker, &index) != LQ_OK:
            return False
        self.perform(index)
        PyErr_CheckSignals()
        self.count_task()
        return True

    def wait_for_work(self):
        """Sleep until there may be something to take, or for some time. For another thread than that which takes."""
        with nogil:
            lq_worker_wait(&self.worker, MOST_NAP_NS)

    cdef int perform(self, uint32_t index) except -1:
        """Run one claimed task to its end, whatever it raises."""
        cdef lq_slot *slot = lq_space_slot(&self.space.space, index)
        cdef Hand hand
        if slot.expires_ms != 0 and <int32_t>(slot.expires_ms - lq_space_ms(&self.space.space, lq_now_ns())) < 0 and slot.attempt == 0:
            lq_worker_drop(&self.worker, index, LQ_OUTCOME_EXPIRED)
            return 0
        if lq_slot_stop(slot) == LQ_STOP_CANCEL:
            lq_worker_drop(&self.worker, index, LQ_OUTCOME_CANCELLED)
            return 0
        if self.heavy or self.ties:
            self.let_go()
        hand.index, hand.task_generation, hand.exposed, hand.told, hand.outer = index, slot.task_generation, False, False, self.hand
        outer_metadata, outer_terms, outer_printed = self.metadata, self.terms, self.printed
        self.metadata = self.terms = None
        self.printed = False
        self.hand = &hand
        try:
            if slot.kind == LQ_KIND_CALL:
                self.call(index, slot)
            else:
                self.call_chunk(index, slot)
        except BaseException as error:      # also SystemExit and KeyboardInterrupt: the task's, not the worker's
            self.join()
            hand.exposed = False
            self.stay_one()
            if isinstance(error, _Withdraw) and not hand.told:
                self.withdraw(index, slot)
                raise
            self.report(index, slot, error)
        finally:
            self.hand = hand.outer
            self.metadata, self.terms, self.printed = outer_metadata, outer_terms, outer_printed
        return 0

    cdef int withdraw(self, uint32_t index, lq_slot *slot) except -1:
        """It ran within a task that was stopped, and is not to blame."""
        if lq_slot_state_of(slot) == LQ_SLOT_CLAIMED:
            lq_worker_start(&self.worker, index, 0)
        if lq_slot_state_of(slot) == LQ_SLOT_RUNNING:
            lq_worker_requeue(&self.worker, index, 0)
        return 0

    cdef int begin(self, uint32_t index, lq_slot *slot, uint64_t usual_ns) except -1:
        """From here on it has begun. What was asked for before that, no signal will tell again."""
        lq_worker_start(&self.worker, index, usual_ns)
        if slot.attempt > 1:
            self.forget_note(index, slot)
        lq_space_call_watchers(&self.space.space, index, slot.task_generation)
        if lq_slot_stop(slot) != LQ_STOP_NONE:
            self.hand.told = True
            raise self.error_of(self.hand, slot, lq_slot_stop(slot))
        self.hand.exposed = True
        return 0

    cdef int forget_note(self, uint32_t index, lq_slot *slot) except -1:
        """What an earlier run has told is not true of this one."""
        cdef lq_note last
        cdef uint32_t seq = 0
        if lq_space_read_note(&self.space.space, index, slot.task_generation, &last, &seq) == LQ_OK:
            lq_space_note(&self.space.space, self.worker.me, index, slot.task_generation, bits_of(None), NULL, 0)
        return 0

    cdef int stay_one(self) except -1:
        """A task may fork, and its child may come back here: the task is the parent's, the child has no part in it."""
        if not lq_worker_is_ours(&self.worker):
            from os import _exit
            _exit(0)
        return 0

    cdef int say(self) except -1:
        """What the task has written goes out, before anybody may hear of its end. Returns a flag for the client."""
        if not self.printed:
            return 0
        self.let_out()
        self.printed = False
        return PRINTED

    cdef int send_next(self, object value, object error) except -1:
        """Submit what shall run next, with a result or an error. Before anybody may hear of this one's end: if the worker dies in
        between, nothing is lost, though it may run twice. Returns a flag for the client."""
        if self.terms is None or self.terms.next is None:
            return 0
        if lq_slot_stop(lq_space_slot(&self.space.space, self.hand.index)) == LQ_STOP_CANCEL:
            return 0        # it came to its end before it heard of that
        self.terms.next.send(self.id_of(self.hand), value, error)       # which does not raise
        return SENT_NEXT

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
        if kind & BUFFERS:
            function = self.load(kind & ~BUFFERS, self.look_at_function(slot.function))
            if slot.function not in self.heavy:
                self.heavy.append(slot.function)
        else:
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

    cdef Incoming look_at_function(self, uint32_t row):
        """The table keeps it as long as a task needs it: as long as this call, at least."""
        cdef uint32_t block = self.space.space.functions.rows[row].block
        cdef const lq_a64 *word = lq_arena_word(&self.space.space.arena, block)
        if word == NULL:
            fail(LQ_CORRUPT, "the function of a task")
        return receive(self.pinner, block, lq_word_generation(lq_load(word)), LQ_VIEW_COPY_ON_WRITE, False, False)

    cdef int let_go(self) except -1:
        """Of what nobody needs any more: functions that were taken out of the table, and what results referred to that were taken."""
        cdef uint32_t row
        self.heavy, rows = [], self.heavy
        for row in rows:
            if lq_space_function_is_current(&self.space.space, row, self.known[row].generation):
                self.heavy.append(row)
            else:
                Py_XDECREF(self.known[row].function)
                self.known[row].function = NULL
        self.ties, ties = [], self.ties
        for tie, entries in ties:
            if lq_pins_is_tied(&self.space.space.arena.pins, tie):
                self.ties.append((tie, entries))
            else:
                untie(self.pinner, entries)
        return 0

    @property
    def looks(self):
        """Whether anything in this process looks at the arena."""
        return self.pinner.first != NULL

    def lend(self, is_alive):
        """This process has forked one that sees all that is looked at here, as long as `is_alive()`: until then the blocks stay."""
        self.pinner.lend(is_alive)

    def hold(self, uint32_t block, uint32_t generation):
        """A shared value that somebody has stored. Raises LookupError when it is gone."""
        return hold_of(self.pinner, block, generation)

    def share(self, uint32_t block, uint32_t generation, uint64_t start, uint64_t length):
        """Bytes of the arena that a client allocated, to be read and written. Raises LookupError when they are gone."""
        return self.pinner.look(block, generation, start, length, LQ_VIEW_SHARED, False)

    cdef Incoming look_at_arguments(self, lq_slot *slot):
        cdef const lq_a64 *word = lq_arena_word(&self.space.space.arena, slot.args_block)
        cdef lq_view_mode mode = (LQ_VIEW_READ_ONLY if slot.args_format & READ_ONLY else LQ_VIEW_SHARED if slot.args_format & SHARED
                                  else LQ_VIEW_COPY_ON_WRITE)
        self.view_mode = LQ_VIEW_READ_ONLY if mode == LQ_VIEW_READ_ONLY else LQ_VIEW_COPY_ON_WRITE
        if word == NULL:
            fail(LQ_CORRUPT, "the arguments of a task")
        return receive(self.pinner, slot.args_block, lq_word_generation(lq_load(word)), mode, False, True)

    cdef object arguments_of(self, lq_slot *slot):
        """What the codec decodes."""
        if slot.args_format & BUFFERS:
            return self.look_at_arguments(slot)
        return (<char *>self.args_at(slot))[:slot.args_bytes]

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
                slot.args_format & (FORMATS | BUFFERS), self.arguments_of(slot))
            function = in_band if known == NULL else function
            if type(self.metadata) is self.terms_type:
                self.terms, self.metadata = self.metadata, self.metadata.metadata
        self.begin(index, slot, known.usual_ns if known != NULL else 0)
        result = PyObject_Call(function, arguments, <PyObject *>keywords if keywords is not None else NULL)
        self.join()
        if PyCoro_CheckExact(result):
            if self.launch is not None and self.grounded == 0:
                self.hand.exposed = False
                self.fly(result)
                return 0
            result = self.see_through(result)
        self.hand.exposed = False
        arguments = keywords = None
        self.stay_one()
        ran = self.finish(index, slot, result, LQ_OUTCOME_SUCCESS, False)
        if known != NULL:
            known.usual_ns = ran + 1 if known.usual_ns == 0 else (known.usual_ns * 7 + ran) // 8
        return 0

    cdef object see_through(self, object coroutine):
        cdef Hand *outer = self.awaited
        self.awaited = self.hand
        try:
            return self.await_(coroutine)
        finally:
            self.join()
            self.awaited = outer
            coroutine.close()       # one that was told to stop before its first step; of others it is nothing

    cdef uint64_t finish(self, uint32_t index, lq_slot *slot, object result, lq_outcome outcome, bint mixed) except? 0:
        """Encode a result and report it."""
        lq_worker_end_code(&self.worker)
        cdef int status = LQ_VALUE_FOREIGN
        cdef uint32_t length
        cdef bytes payload
        cdef int flag = MIXED if mixed else 0
        if self.terms is not None and self.terms.out is not None and slot.kind == LQ_KIND_CALL:
            result = self.terms.out.take(result)
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
            length = <uint32_t>self.out.len
            flag |= self.send_next(result, None)
            return lq_worker_finish(&self.worker, index, outcome, <uint8_t>(MSGPACK | flag | self.say()), length)
        format, encoded = self.codec.encode_value(result)
        if type(encoded) is not bytes:
            length = self.store_payload(index, slot, encoded)
            flag |= self.send_next(result, None)
            return lq_worker_finish(&self.worker, index, outcome, <uint8_t>(<int>format | BUFFERS | flag | self.say()), length)
        return self.finish_bytes(index, slot, encoded, outcome, <int>format | flag, result, None)

    cdef uint32_t store_payload(self, uint32_t index, lq_slot *slot, object payload) except? 0:
        cdef Outgoing outgoing = Outgoing(self.space, payload)
        cdef uint64_t room = 0
        cdef uint32_t block = self.take_room(outgoing.total)
        try:
            outgoing.write(lq_space_block(&self.space.space, block, &room))
        except BaseException:
            lq_arena_return(&self.space.space.arena, &self.worker.cache, self.worker.me, block)
            raise
        lq_worker_hold_result(&self.worker, index, block)
        entries = outgoing.tie(self.pinner, index, slot.task_generation)
        if entries is not None:
            self.ties.append((lq_pin_tie(index, slot.task_generation), entries))
        return outgoing.shown()

    cdef uint64_t finish_bytes(self, uint32_t index, lq_slot *slot, bytes payload, lq_outcome outcome, int format, object value,
                               object error) except? 0:
        cdef size_t length = len(payload)
        if length <= LQ_INLINE_BYTES:
            memcpy(slot.result, <char *>payload, length)
        else:
            self.store(index, <char *>payload, length)
        format |= self.send_next(value, error)
        return lq_worker_finish(&self.worker, index, outcome, <uint8_t>(format | self.say()), <uint32_t>length)

    cdef int store(self, uint32_t index, const void *data, size_t length) except -1:
        """A result that does not fit into the slot."""
        cdef uint32_t block
        cdef uint64_t room = 0
        if length > 0xffffffffu:
            raise self.too_large(length, self.space.memory)
        block = self.take_room(length)
        memcpy(lq_space_block(&self.space.space, block, &room), data, length)
        lq_worker_hold_result(&self.worker, index, block)
        return 0

    cdef uint32_t take_room(self, uint64_t length) except 0:
        """A block for a result. When the arena is full, cached results give way, oldest first; then wait for clients to take theirs."""
        cdef int64_t until = 0
        cdef lq_bell bell
        cdef uint32_t block = 0
        cdef lq_status status = lq_worker_take_block(&self.worker, length, &block)
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
                self.let_go()
            status = lq_worker_take_block(&self.worker, length, &block)
        if status == LQ_SYSTEM:
            raise MemoryError(f"the system has no memory for a result of {length} bytes in the queue's arena")
        if status != LQ_OK:
            raise self.too_large(length, self.space.memory)
        return block

    cdef int report(self, uint32_t index, lq_slot *slot, object error) except -1:
        """The task raised (or could not be decoded, or its result not encoded): try again, or send the exception."""
        cdef bytes payload
        cdef lq_stop why = lq_slot_stop(slot)
        cdef uint32_t failures
        lq_worker_end_code(&self.worker)
        if lq_slot_state_of(slot) == LQ_SLOT_CLAIMED:
            lq_worker_start(&self.worker, index, 0)     # it never ran, and running it again would end the same
        elif lq_slot_state_of(slot) != LQ_SLOT_RUNNING:
            return 0                                    # the result is out already: an interrupt came too late to matter
        elif why == LQ_STOP_CANCEL:
            lq_worker_finish(&self.worker, index, LQ_OUTCOME_CANCELLED, <uint8_t>(MSGPACK | self.say()), 0)
            return 0
        else:
            if why == LQ_STOP_TIMEOUT and self.hand.told and (is_cancellation(error) or isinstance(error, _Withdraw)):
                error = chained(self.error_of(self.hand, slot, why), error)     # a coroutine is stopped as asyncio does it
            failures = slot.attempt - lq_slot_crashes(slot)
            if failures <= slot.max_retries and self.try_again(index, slot, error, failures):
                return 0
        self.tell(LQ_EVENT_TIMEOUT if why == LQ_STOP_TIMEOUT and self.hand.told else LQ_EVENT_FAILURE, self.hand, said(error))
        try:
            try:
                payload = self.codec.encode_error(error)
            except Exception:   # memory is full, above all, of what the task's own frames still hold
                empty_frames(error)
                payload = self.codec.encode_error(error)
            self.finish_bytes(index, slot, payload, LQ_OUTCOME_FAILURE, MSGPACK, None, error)
        except Exception:       # no room even for the error: the client makes one of no bytes
            lq_worker_finish(&self.worker, index, LQ_OUTCOME_FAILURE, <uint8_t>(MSGPACK | self.say()), 0)
        return 0

    cdef bint try_again(self, uint32_t index, lq_slot *slot, object error, uint32_t failures) except -1:
        cdef double pause = 0.0
        cdef object retry = None
        if self.terms is not None and self.terms.retry is not None:
            retry = self.terms.retry
        elif slot.function < LQ_FUNCTIONS and self.known[slot.function].function != NULL:
            function = <object>self.known[slot.function].function
            retry = function.retry if type(function) is self.task_type else None
        if retry is not None:
            seconds = retry.pause(error, failures)
            if seconds is None:
                return False
            pause = seconds
        self.say()
        self.tell(LQ_EVENT_RETRY, self.hand, said(error))
        lq_worker_count_retry(&self.worker, index)
        lq_worker_requeue(&self.worker, index, <uint32_t>(pause * 1000.0))
        lq_space_call_watchers(&self.space.space, index, self.hand.task_generation)
        return True

    # ---- chunks

    cdef int call_chunk(self, uint32_t index, lq_slot *slot) except -1:
        cdef Known *known = NULL
        cdef object function = None
        cdef list items, results
        cdef bint star = slot.kind == LQ_KIND_STARCHUNK
        cdef object first               # what the first item that failed has raised
        cdef bint mixed
        cdef uint64_t ran
        if slot.function == LQ_FUNCTION_IN_BAND:
            (items,), _, _, function = self.codec.decode_call(slot.args_format & (FORMATS | BUFFERS), self.arguments_of(slot))
        else:
            known = self.find(slot)
            function = <object>known.function
            if slot.args_format == MSGPACK:
                items = take_ref(lq_value_decode(self.args_at(slot), slot.args_bytes))
            else:
                items = self.codec.decode_items(slot.args_format & (FORMATS | BUFFERS), self.arguments_of(slot))
        self.begin(index, slot, 0)
        results = [None] * len(items)
        first = self.run_items(index, function, items, results, star)
        mixed = first is not None
        self.join()
        self.hand.exposed = False
        self.stay_one()
        lq_worker_count_items(&self.worker, index, len(items))
        if mixed:
            self.tell_items(results, first)
            first = None
        try:
            ran = self.finish(index, slot, results, LQ_OUTCOME_SUCCESS, mixed)
        except MemoryError:
            raise
        except Exception as error:      # some item's result can't be encoded: find which, and fail those alone
            results = self.sift(results, mixed)
            if not mixed:
                self.tell_items(results, error)
            self.finish(index, slot, results, LQ_OUTCOME_SUCCESS, True)
        return 0

    cdef int tell_items(self, list results, object first) except -1:
        """Some items of a chunk have failed: the chunk has not, so nothing else tells people of it."""
        cdef Py_ssize_t n = len(results)
        failed = sum([not ok for ok, _ in results])
        text = said(first)
        self.tell(LQ_EVENT_FAILURE, self.hand, text if n == 1 else f"{failed} of {n} items, the first: {text}")
        return 0

    cdef object run_items(self, uint32_t index, object function, list items, list results, bint star):
        """What the first item that failed has raised; None: none did. Then `results` holds (ok, value or error) pairs."""
        cdef Py_ssize_t at = 0, i
        cdef object first = None
        cdef dict errors = {}
        while at < len(items):
            try:
                self.run_until_one_fails(index, function, items, results, star, &at)
            except BaseException as error:
                self.join()
                if self.hand.told or isinstance(error, _Withdraw):
                    raise               # not the item's: the whole chunk was told to stop
                if first is None:
                    first = error
                errors[at] = self.codec.encode_error(error)
                items[at] = None
                at += 1
        if first is not None:
            for i in range(len(results)):
                results[i] = (False, errors[i]) if i in errors else (True, results[i])
        return first

    cdef int run_until_one_fails(self, uint32_t index, object function, list items, list results, bint star, Py_ssize_t *at) except -1:
        """From item `at` on; when one raises, `at` is its number. Apart from what sees to errors: that costs as much as an item."""
        cdef lq_slot *slot = lq_space_slot(&self.space.space, index)
        cdef Py_ssize_t n = len(items)
        cdef object result
        cdef vectorcallfunc call = PyVectorcall_Function(function)
        cdef PyObject *args[2]                     # the first is for whoever is called
        while at[0] < n:
            lq_worker_begin_item(slot, <uint32_t>at[0])
            if star:
                result = PyObject_Call(function, tuple(<object>PyList_GET_ITEM(items, at[0])), NULL)
            elif call != NULL:
                args[1] = PyList_GET_ITEM(items, at[0])
                result = call(function, args + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL)
            else:
                result = PyObject_CallOneArg(function, <object>PyList_GET_ITEM(items, at[0]))
            if PyCoro_CheckExact(result):
                result = self.see_through(result)
            if self.helper != 0:
                self.join()
            replace(results, at[0], result)
            replace(items, at[0], None)
            at[0] += 1
        return 0

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

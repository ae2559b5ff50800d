# SPDX-License-Identifier: MIT
# The shared memory, for whoever supervises it or looks at it. Included by _native.pyx.

cdef class Space:
    """All shared memory of one queue. Closed when the last object that uses it is gone."""
    cdef lq_space space
    cdef readonly bint writable
    cdef Area *areas                  # arrays of this process that live in the arena
    cdef uint32_t area_count, area_room

    def __cinit__(self):
        self.space.control.fd = -1
        self.space.payload.fd = -1

    def __dealloc__(self):
        lq_space_close(&self.space)
        free(self.areas)

    cdef bint add_area(self, size_t begin, uint64_t length, uint64_t at, uint32_t block, uint32_t generation, bint is_copy) noexcept:
        """From now on this memory travels by name. False: there is no room to remember it, and it is copied like any other."""
        cdef uint32_t room = max(self.area_room * 2, 16)
        cdef void *more
        if self.area_count == self.area_room:
            more = realloc(self.areas, room * sizeof(Area))
            if more == NULL:
                return False
            self.areas, self.area_room = <Area *>more, room
        self.areas[self.area_count].begin, self.areas[self.area_count].end = begin, begin + <size_t>length
        self.areas[self.area_count].at = at
        self.areas[self.area_count].block, self.areas[self.area_count].generation = block, generation
        self.areas[self.area_count].is_copy = is_copy
        self.area_count += 1
        return True

    cdef void remove_areas(self, uint32_t block, uint32_t generation, size_t begin) noexcept:
        """Of an array that begins there; 0: copies in that block."""
        cdef uint32_t i = 0
        while i < self.area_count:
            if (self.areas[i].block == block and self.areas[i].generation == generation
                    and (self.areas[i].is_copy if begin == 0 else self.areas[i].begin == begin and not self.areas[i].is_copy)):
                self.area_count -= 1
                self.areas[i] = self.areas[self.area_count]
            else:
                i += 1

    cdef Area *area_of(self, size_t begin, size_t length) noexcept:
        """Where these bytes are in the arena, NULL: they are not. Where they live goes before where they were copied to."""
        cdef uint32_t i
        cdef Area *copy = NULL
        for i in range(self.area_count):
            if self.areas[i].begin <= begin and begin + length <= self.areas[i].end and length != 0:
                if not self.areas[i].is_copy:
                    return &self.areas[i]
                if copy == NULL and self.is_there(&self.areas[i], begin, length):
                    copy = &self.areas[i]
        return copy

    cdef bint is_there(self, const Area *area, size_t begin, size_t length) noexcept:
        cdef uint64_t room = 0
        cdef uint64_t start = area.at + (begin - area.begin)
        cdef const unsigned char *at
        at = lq_space_block(&self.space, area.block, &room)
        return at != NULL and length >= COPIED_BELOW and start + length <= room and memcmp(at + start, <const void *>begin, length) == 0

    def find(self, buffer):
        """(block, generation, first byte) of a contiguous buffer that lives in the arena; None: it does not."""
        cdef Py_buffer view
        cdef Area *area
        PyObject_GetBuffer(buffer, &view, PyBUF_FULL_RO)
        try:
            area = self.area_of(<size_t>view.buf, <size_t>view.len) if PyBuffer_IsContiguous(&view, b"A") else NULL
            return None if area == NULL or area.is_copy else (area.block, area.generation, area.at + (<size_t>view.buf - area.begin))
        finally:
            PyBuffer_Release(&view)

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

    def promote(self, uint32_t label):
        """A spare is a worker from now on. False: its row is not that of a living spare any more."""
        return lq_space_promote(&self.space, label)

    def set_ready(self, uint32_t label):
        lq_space_set_ready(&self.space, label)

    def bury(self, uint32_t label):
        """The kernel proved this process dead: its words may be recovered."""
        lq_space_bury(&self.space, label)

    def bury_unsigned(self, uint32_t label):
        """Bury a row that no process has signed in to: none can do so any more. False when one has."""
        return lq_space_bury_unsigned(&self.space, label)

    def recover(self, uint32_t label, uint32_t me, uint32_t wait_status, uint32_t report=0):
        """One pass, by the process of label `me`. `report`: the number that write_report returned. Returns (labels found, requeued,
        crashed, released). Holds the GIL: of the threads of a process only one may decide about blocks."""
        cdef lq_recovered recovered
        lq_space_recover(&self.space, label, me, lq_cause(wait_status, report), &recovered)
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
        names = ("supervisors_started", "workers_started", "workers_crashed", "tasks_requeued", "tasks_crashed",
                 "lines_lost")
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
                "joined_ns": r.joined_ns, **summed(r.sums, SUMS),
                "task": None if r.task == <uint64_t>-1 else (r.task >> 32, r.task & 0xffffffff),
                "task_since_ns": r.task_since_ns, "unread": r.unread}

    def rows(self):
        return [row for row in (self.row(i) for i in range(1, LQ_ROWS)) if row is not None]

    def give_back(self, uint32_t label, idle not None):
        """Give the system back the memory of what has lain idle since the last call. `idle`: a bytearray of 8 bytes for each span, the
        caller's; see `spans`. Returns the bytes, and how many spans still hold memory."""
        cdef uint64_t given
        cdef uint32_t left = 0
        cdef Py_buffer view
        PyObject_GetBuffer(idle, &view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        try:
            if <uint64_t>view.len < self.space.arena.count * sizeof(uint64_t):
                raise ValueError("idle is too short")
            with nogil:
                given = lq_arena_give_back(&self.space.arena, label, <uint64_t *>view.buf, &left)
            return given, left
        finally:
            PyBuffer_Release(&view)

    @property
    def spans(self):
        """Of the arena, 1 MiB each, and one that is never used."""
        return self.space.arena.count

    def look(self, uint32_t label):
        """Queue the delayed tasks whose time has come, and find those that shall stop. Returns the time of the next look
        (CLOCK_MONOTONIC seconds, None: when called) and a list of (slot, task generation, worker's label, "cancel" or "timeout")."""
        cdef lq_asked asked[256]
        cdef uint64_t next_ns = 0
        cdef uint32_t count, i
        with nogil:
            count = lq_space_look(&self.space, label, asked, 256, &next_ns)
        found = [(asked[i].index, asked[i].task_generation, asked[i].worker,
                  "cancel" if asked[i].why == LQ_STOP_CANCEL else "timeout") for i in range(min(count, 256))]
        return (None if next_ns == <uint64_t>-1 else next_ns / 1e9), found

    def stop(self, uint32_t slot, uint32_t task_generation):
        """Cancel a task that a worker has taken. Only asks: whoever calls this sees to it. False: none has it in hand."""
        if not self.writable or slot >= self.space.slots.count:
            return False
        return bool(lq_slot_ask(lq_space_slot(&self.space, slot), task_generation, LQ_STOP_CANCEL))

    def condemn(self, uint32_t slot, uint32_t task_generation, uint32_t worker):
        """The worker with that label is about to be killed for this task. False: it has let go of it meanwhile, and is to live."""
        if slot >= self.space.slots.count:
            return False
        return bool(lq_slot_condemn(lq_space_slot(&self.space, slot), task_generation, worker))

    def depths(self):
        """Queued entries, per queue and priority. A reading: it is old when it returns."""
        return [[lq_space_depth(&self.space, q, p) for p in range(4)] for q in range(self.space.queues)]

    def arena(self):
        """(bytes held by tasks and results, bytes kept warm by processes, spans in use of 1 MiB each)."""
        cdef uint64_t held, owned, spans
        lq_space_arena_reading(&self.space, &held, &owned, &spans)
        return held, owned, spans

    def holdings(self):
        """Bytes of the arena by what holds them: "arguments", "results", "functions", "kept" (shared values that stay until they are
        deleted), "pinned" (what lives because somebody looks at it), "owned" (being written, or kept warm), "idle" (free, and not
        given back to the system yet)."""
        cdef lq_holdings holdings
        with nogil:
            lq_space_holdings(&self.space, &holdings)
        return {"arguments": holdings.arguments, "results": holdings.results, "functions": holdings.functions, "kept": holdings.kept,
                "pinned": holdings.pinned, "owned": holdings.owned, "idle": holdings.idle}

    def pinned_by(self, uint32_t row):
        """(blocks, bytes) that the process of that row of the roster looks at."""
        cdef uint32_t pins = 0
        cdef uint64_t bytes = 0
        lq_space_pinned_by(&self.space, row % LQ_ROWS, &pins, &bytes)
        return pins, bytes

    def arguments(self, uint32_t index, uint32_t generation, uint32_t most=16384):
        """The arguments of a task as they travel, for people: (kind, format, bytes, size of all). Bytes is None where there are more
        than `most`; of those with buffers it is the pickle. None when the slot serves another task."""
        cdef lq_slot copy
        cdef const unsigned char *at = NULL
        cdef uint64_t room = LQ_INLINE_BYTES
        cdef uint64_t length
        if lq_space_read(&self.space, index, generation, &copy) != LQ_OK:
            return None
        at = copy.args
        length = copy.args_bytes
        if copy.args_block != LQ_NO_BLOCK:
            at = lq_space_block(&self.space, copy.args_block, &room)
        if at == NULL:
            return None
        if copy.args_format & BUFFERS:
            at = pickle_in(at, room, &length)
        elif length > room:
            return None
        told = None if at == NULL or length > most else (<const char *>at)[:length]
        # Copied first: the block may serve another task by now.
        return (copy.kind, copy.args_format & FORMATS, told, copy.args_bytes) if lq_space_is_current(&self.space, index, &copy) else None

    def slots(self):
        """How many slots are in each state."""
        cdef uint32_t counts[16]
        lq_space_count_slots(&self.space, counts)
        names = ("fresh", "writing", "queued", "claimed", "running", "done", "cached", "cancelled", "free", "delayed")
        return {name: counts[i] for i, name in enumerate(names)}

    def task_id(self, uint32_t index, uint32_t generation):
        """The name of a task: its queue, its slot, its generation."""
        return f"{self.space.header.identity & 0xffffffff:08x}-{index:x}-{generation:x}"

    # ---- what processes tell

    def meters(self):
        """What all processes have counted since the Space began: sums, and histograms "wait" and "run" (see METER_BOUNDS)."""
        cdef lq_meter_reading *r = <lq_meter_reading *>PyMem_Calloc(1, sizeof(lq_meter_reading))
        if r == NULL:
            raise MemoryError
        try:
            lq_space_meters(&self.space, r)
            return {**summed(r.sums, SUMS), "wait": [r.wait[i] for i in range(<int>LQ_BUCKETS)],
                    "run": [r.run[i] for i in range(<int>LQ_BUCKETS)]}
        finally:
            PyMem_Free(r)

    def functions(self):
        """The same by functions: a dict for each name, merged over all processes; the histogram "run" is by FUNCTION_BOUNDS."""
        found = {}
        for row in range(1, LQ_ROWS):
            if lq_space_is_metered(&self.space, row):
                add_calls(found, &self.space.meters[<Py_ssize_t>row])
        return list(found.values())

    def function_name(self, uint32_t row, uint32_t generation):
        """Of a published function; None when it is not (or no longer) in the table, or travels with its calls."""
        cdef char name[128]
        cdef uint32_t length = lq_functions_name_of(&self.space.functions, row, generation, name)
        return text_of(<unsigned char *>name, length) if length != 0 else None

    def published(self, uint32_t kind, uint32_t most):
        """The bytes of functions of that kind that are in the table, from its end, `most` of them."""
        cdef uint32_t row = lq_functions_end(&self.space.functions)
        cdef uint32_t generation, of = 0, length = 0
        cdef const unsigned char *at = NULL
        found = []
        while row > 0 and len(found) < most:
            row -= 1
            generation = lq_word_generation(lq_load(&self.space.functions.rows[row].word))
            if lq_space_function(&self.space, row, generation, &of, &at, &length) != LQ_OK or of != kind:
                continue
            payload = (<const char *>at)[:length]
            if lq_space_function_is_current(&self.space, row, generation):
                found.append(payload)
        return found

    def name_of(self, uint32_t index, uint32_t task_generation):
        """The name of the function that a task calls; None when that is not known (any more)."""
        cdef lq_slot copy
        if lq_space_read(&self.space, index, task_generation, &copy) != LQ_OK:
            return None
        return self.function_name(copy.function, copy.function_generation)

    def running(self):
        """Every task in a worker's hands."""
        cdef lq_slot copy
        cdef uint32_t index, pid = 0
        cdef uint32_t used = lq_slots_used(&self.space.slots)
        found = []
        for index in range(used):
            if lq_space_in_hand(&self.space, index, &copy, &pid) != LQ_OK:
                continue
            runs = lq_slot_state_of(&copy) == LQ_SLOT_RUNNING
            found.append({"slot": index, "task_generation": copy.task_generation, "pid": pid,
                          "function": self.function_name(copy.function, copy.function_generation),
                          "state": "running" if runs else "claimed", "attempt": copy.attempt, "queue": copy.queue,
                          "priority": copy.priority, "submit_ns": copy.submit_ns, "start_ns": copy.start_ns if runs else 0,
                          "limit_ms": copy.limit_ms, "kind": copy.kind, "items_begun": lq_slot_items_begun(&copy)})
        return found

    def notes(self, uint32_t slot, uint32_t task_generation):
        """(seq, progress, message) that a task has told of itself last; None: nothing, or the slot serves another."""
        cdef lq_note copy
        cdef uint32_t seq = 0
        if lq_space_read_note(&self.space, slot, task_generation, &copy, &seq) != LQ_OK:
            return None
        return seq, progress_of(copy.progress), None if copy.message_bytes == LQ_NO_MESSAGE else text_of(copy.message, copy.message_bytes)

    @property
    def note_calls(self):
        """Raised after each note, begin and end of a task that anybody watches (Client.watch)."""
        return lq_space_note_calls(&self.space)

    def wait_note_calls(self, uint32_t calls, double timeout):
        """Sleep until `note_calls` is not that any more: True; or for `timeout` seconds: False. For who follows several tasks."""
        cdef int64_t until = lq_now_ns() + <int64_t>(max(0.0, min(timeout, 1e9)) * NS)
        cdef lq_status status
        while lq_space_note_calls(&self.space) == calls:
            with nogil:
                status = lq_space_wait_note_calls(&self.space, calls, until - lq_now_ns())
            if status == LQ_TIMEOUT:
                return False
            if status == LQ_INTERRUPTED:
                PyErr_CheckSignals()
        return True

    def call_notes(self):
        """Wake all who sleep in wait_note_calls: they look again."""
        if not self.writable:
            raise ValueError("this Space is mapped for reading only")
        lq_space_call_all(&self.space)

    def wait_note(self, uint32_t slot, uint32_t task_generation, uint32_t seq, double timeout):
        """Sleep until the note has another seq (0: none yet) or the task has ended: True; or for `timeout` seconds: False. Who
        does not watch it (Client.watch) sees either a tenth of a second late."""
        cdef int64_t until = lq_now_ns() + <int64_t>(max(0.0, min(timeout, 1e9)) * NS)
        cdef lq_status status
        while True:
            with nogil:
                status = lq_space_wait_note(&self.space, slot, task_generation, seq, until - lq_now_ns())
            if status == LQ_INTERRUPTED:
                PyErr_CheckSignals()
                continue
            return status == LQ_OK

    def tell(self, uint32_t label, str kind not None, str text not None, uint32_t pid=0):
        """Append an event to the journal, by the process of that label: its own, or of another of which it knows. The text is cut."""
        cdef lq_event event
        memset(&event, 0, sizeof(event))
        if kind not in EVENT_KINDS:
            raise ValueError(f"{kind!r} is no kind of event: {', '.join(EVENT_KINDS[1:])}")
        event.kind, event.pid = <uint32_t>EVENT_KINDS.index(kind), pid
        encoded = as_text(text)
        lq_journals_tell(&self.space.journals, label, &event, <char *>encoded, len(encoded))

    def journal(self):
        """The latest events of every process, oldest first: (at_ns, kind, pid, slot, task_generation, text, function). Task generation 0:
        of no task. Function: the name of the task's, None when it is not known."""
        cdef lq_event event
        cdef uint64_t end, number
        cdef uint64_t sums[16]
        cdef uint64_t run[128]
        cdef char name[128]
        found = []
        for row in range(1, LQ_ROWS):
            end = lq_journals_end(&self.space.journals, row)
            number = end - LQ_EVENTS if end > LQ_EVENTS else 0
            while number < end:
                if lq_journals_read(&self.space.journals, row, number, &event) == LQ_OK:
                    is_known = event.calls != 0 and lq_meter_read_calls(&self.space.meters[<Py_ssize_t>row], event.calls, sums, run, name)
                    found.append((event.at_ns, EVENT_KINDS[event.kind], event.pid, event.slot, event.task_generation,
                                  text_of(event.text, event.text_bytes), name.decode("utf-8", "replace") if is_known else None))
                number += 1
        found.sort(key=lambda event: event[:6])
        return found

    def gone(self, uint32_t slot, uint32_t task_generation):
        """Why the result of that task is not kept any more: "evicted" or "expired"; None: it is kept, or that is not known."""
        cdef lq_gone why = lq_space_gone(&self.space, slot, task_generation, lq_now_ns())
        return "evicted" if why == LQ_GONE_EVICTED else "expired" if why == LQ_GONE_EXPIRED else None

    def trace_until(self, uint64_t deadline_ns):
        """Have every task recorded until then (CLOCK_MONOTONIC). An earlier time than that which stands changes nothing, but 0 ends
        it."""
        if not self.writable:
            raise ValueError("this Space is mapped for reading only")
        lq_traces_until(&self.space.traces, deadline_ns, lq_now_ns())

    def trace(self, cursor not None):
        """(records, lost): what was recorded since the last call with this cursor, a bytearray of the caller's, empty at first; and how many
        records came and went in between."""
        cdef Py_buffer view
        cdef lq_record r
        cdef uint64_t lost = 0
        cdef uint64_t *places
        cdef char name[128]
        cdef uint32_t left
        if len(cursor) == 0:
            cursor.extend(bytes(LQ_ROWS * 8))
        PyObject_GetBuffer(cursor, &view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        try:
            if view.len != LQ_ROWS * 8:
                raise ValueError("a cursor is a bytearray that was empty at first")
            places = <uint64_t *>view.buf
            found, names = [], {}
            for row in range(1, LQ_ROWS):
                left = 4096         # also if somebody writes all the time, or nonsense
                while left != 0 and lq_traces_next(&self.space.traces, row, &places[<Py_ssize_t>row], &r, &lost) == LQ_OK:
                    left -= 1
                    function = (r.function, r.function_generation)
                    if r.sent_ns == 0:
                        known = None
                    elif function in names:
                        known = names[function]
                    else:
                        known = names[function] = self.function_name(r.function, r.function_generation)
                    found.append((r.slot, r.task_generation, known, r.kind, r.pid, r.submit_ns, r.taken_ns, r.begun_ns, r.ended_ns,
                                  r.sent_ns, r.received_ns, r.attempt, r.items, r.bytes_in, r.bytes_out,
                                  OUTCOMES[r.outcome] if r.outcome < 7 else None))
            return found, lost
        finally:
            PyBuffer_Release(&view)

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
        """What is known of a task: a Reading, or None when the slot serves another task or its result has expired. Of results with
        buffers the payload is None here: `Client.read` knows how to look at them."""
        return self.read_for(index, generation, None)

    cdef object read_for(self, uint32_t index, uint32_t generation, Pinner pinner):
        cdef lq_slot copy
        cdef Reading reading
        cdef uint64_t room = 0
        cdef unsigned char *block
        cdef uint32_t cause = 0
        if lq_space_read(&self.space, index, generation, &copy) != LQ_OK:
            return None
        cdef uint32_t state = lq_slot_state_of(&copy)
        if state == LQ_SLOT_CACHED and lq_space_is_expired(&self.space, index, &copy, lq_now_ns()):
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
            reading.timed_out = outcome == LQ_OUTCOME_TIMEOUT
            reading.expired = outcome == LQ_OUTCOME_EXPIRED
            if outcome == LQ_OUTCOME_SUCCESS or outcome == LQ_OUTCOME_FAILURE:
                if copy.result_block == LQ_NO_BLOCK:
                    if copy.result_bytes > LQ_INLINE_BYTES:
                        return None
                    reading.payload = (<char *>copy.result)[:copy.result_bytes]
                elif copy.result_format & BUFFERS:
                    reading.payload = None if pinner is None else self.look_at_result(&copy, pinner)
                else:
                    block = lq_space_block(&self.space, copy.result_block, &room)
                    if block == NULL or copy.result_bytes > room:
                        return None
                    reading.payload = (<char *>block)[:copy.result_bytes]
                if not lq_space_is_current(&self.space, index, &copy):
                    return None
        reading.format = copy.result_format & ~(PRINTED | SENT_NEXT)
        reading.kind = copy.kind
        reading.limit_ms = copy.limit_ms
        reading.wait_status = cause & 0xffff
        reading.report = self.read_report(cause >> 16, copy.worker_pid) if reading.crashed else None
        reading.attempts = copy.attempt
        reading.worker_pid = copy.worker_pid
        reading.submit_ns, reading.start_ns, reading.done_ns = copy.submit_ns, copy.start_ns, copy.done_ns
        return reading


    cdef object look_at_result(self, const lq_slot *copy, Pinner pinner):
        """None: it was evicted meanwhile."""
        from localq.errors import SpaceCorrupt
        cdef const lq_a64 *word = lq_arena_word(&self.space.arena, copy.result_block)
        cdef uint32_t generation = 0 if word == NULL else lq_word_generation(lq_load(word))
        cdef uint32_t entry = LQ_NO_PIN
        cdef lq_status status = LQ_MISSING if word == NULL else pinner.pin(copy.result_block, generation, 0, &entry)
        if status == LQ_FULL:
            raise MemoryError(f"this process looks at {LQ_PINS} blocks of the queue's arena already: let go of some arrays or shared values")
        if status != LQ_OK:
            return None
        try:        # the pin holds that use of the block; whether it is the result is seen afterwards, from the slot's word
            return receive(pinner, copy.result_block, generation, LQ_VIEW_COPY_ON_WRITE, False, True)
        except (LookupError, SpaceCorrupt):
            return None
        finally:
            pinner.unpin(entry)


cdef int raise_errno(str what) except -1:
    try:
        PyErr_SetFromErrno(OSError)
    except OSError as error:
        raise OSError(error.errno, f"{what}: {error.strerror}") from None


@cython.final
cdef class Reading:
    """A frozen reading of one task. Times are CLOCK_MONOTONIC nanoseconds, 0 where not reached."""
    cdef readonly int state
    cdef readonly bint crashed, timed_out, expired
    cdef readonly uint32_t limit_ms    # how long a run may last, 0: for ever
    cdef readonly object payload     # bytes, or Incoming
    cdef readonly int format
    cdef readonly int kind
    cdef readonly uint32_t wait_status, attempts, worker_pid
    cdef readonly object report        # of a crash: see Space.read_report
    cdef readonly uint64_t submit_ns, start_ns, done_ns

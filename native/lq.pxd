# SPDX-License-Identifier: MIT
"""What Cython may see of the native core. Atomic fields are not declared, so that nothing can read them by accident."""
from cpython.object cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "lq_status.h" nogil:
    ctypedef enum lq_status "enum lq_status":
        LQ_OK
        LQ_EMPTY
        LQ_FULL
        LQ_MISSING
        LQ_TIMEOUT
        LQ_INTERRUPTED
        LQ_STOPPED
        LQ_CORRUPT
        LQ_VERSION
        LQ_SYSTEM
        LQ_NEVER


cdef extern from "lq_bell.h" nogil:
    struct lq_bell:
        pass
    int64_t lq_now_ns()
    uint32_t lq_bell_key(lq_bell *bell)
    lq_status lq_bell_sleep(lq_bell *bell, uint32_t key, int64_t timeout_ns)
    void lq_bell_ring(lq_bell *bell, int sleepers)


cdef extern from "lq_slot.h" nogil:
    ctypedef enum lq_outcome "enum lq_outcome":
        LQ_OUTCOME_NONE
        LQ_OUTCOME_SUCCESS
        LQ_OUTCOME_FAILURE
        LQ_OUTCOME_CANCELLED
        LQ_OUTCOME_CRASHED
        LQ_OUTCOME_TIMEOUT
        LQ_OUTCOME_EXPIRED
    ctypedef enum lq_stop "enum lq_stop":
        LQ_STOP_NONE
        LQ_STOP_CANCEL
        LQ_STOP_TIMEOUT
    enum:
        LQ_KIND_CALL
        LQ_KIND_CHUNK
        LQ_KIND_STARCHUNK
        LQ_INLINE_BYTES
        LQ_NO_BLOCK
        LQ_SLOT_QUEUED
        LQ_SLOT_CLAIMED
        LQ_SLOT_RUNNING
        LQ_SLOT_DONE
        LQ_SLOT_CACHED
        LQ_SLOT_CANCELLED
        LQ_SLOT_DELAYED
    uint32_t lq_cause(uint32_t wait_status, uint32_t report)
    struct lq_slot:
        uint32_t task_generation
        uint32_t function
        uint32_t function_generation
        uint32_t args_block
        uint32_t args_bytes
        uint32_t result_block
        uint32_t result_bytes
        uint8_t kind
        uint8_t args_format
        uint8_t queue
        uint8_t priority
        uint8_t result_format
        uint8_t max_retries
        uint8_t max_crashes
        uint32_t attempt
        uint64_t submit_ns
        uint64_t start_ns
        uint64_t done_ns
        uint32_t worker_pid
        uint32_t limit_ms
        uint32_t expires_ms
        uint32_t due_ms
        uint8_t outcome
        unsigned char *args
        unsigned char *result


cdef extern from "lq_function.h" nogil:
    ctypedef uint64_t lq_a64
    enum:
        LQ_FUNCTIONS
        LQ_FUNCTION_IN_BAND
    struct lq_function:
        lq_a64 word
        uint32_t block
    struct lq_functions:
        lq_function *rows


cdef extern from "lq_roster.h" nogil:
    ctypedef uint32_t lq_label
    ctypedef enum lq_role "enum lq_role":
        LQ_ROLE_NONE
        LQ_ROLE_CLIENT
        LQ_ROLE_SUPERVISOR
        LQ_ROLE_WORKER
        LQ_ROLE_SPARE


cdef extern from "lq_report.h" nogil:
    enum:
        LQ_REPORT_TEXT
        LQ_REASON_OUT_OF_MEMORY
    struct lq_report:
        uint32_t pid
        uint32_t wait_status
        uint64_t peak_bytes
        uint64_t reason
        uint32_t text_bytes
        unsigned char *text
    struct lq_reports:
        pass
    uint32_t lq_reports_write(const lq_reports *reports, lq_label me, const lq_report *facts)
    lq_status lq_reports_read(const lq_reports *reports, uint32_t number, uint32_t pid, lq_report *copy)


cdef extern from "lq_arena.h" nogil:
    struct lq_arena_cache:
        uint32_t kept_from
    struct lq_pins:
        pass
    struct lq_arena:
        uint32_t count
        lq_pins pins


cdef extern from "lq_journal.h" nogil:
    enum:
        LQ_EVENTS
        LQ_EVENT_TEXT
    ctypedef enum lq_event_kind "enum lq_event_kind":
        LQ_EVENT_FAILURE
        LQ_EVENT_RETRY
        LQ_EVENT_CRASH
        LQ_EVENT_TIMEOUT
        LQ_EVENT_CANCELLED
        LQ_EVENT_LOG
        LQ_EVENT_RESTART
        LQ_EVENT_KINDS
    struct lq_event:
        uint64_t at_ns
        uint32_t kind
        uint32_t pid
        uint32_t slot
        uint32_t task_generation
        uint32_t text_bytes
        uint32_t calls
        unsigned char *text
    struct lq_journals:
        pass
    void lq_journals_tell(const lq_journals *journals, lq_label me, const lq_event *event, const char *text, uint64_t length)
    uint64_t lq_journals_end(const lq_journals *journals, uint32_t row)
    lq_status lq_journals_read(const lq_journals *journals, uint32_t row, uint64_t number, lq_event *copy)


cdef extern from "lq_meter.h" nogil:
    enum:
        LQ_SUM_SUCCEEDED
        LQ_SUM_FAILED
        LQ_SUM_RETRIED
        LQ_SUM_CANCELLED
        LQ_SUM_ITEMS
        LQ_SUM_BYTES_IN
        LQ_SUM_BYTES_OUT
        LQ_SUM_RUN_NS
        LQ_SUM_WAIT_NS
        LQ_SUMS
        LQ_CALLS_SUCCEEDED
        LQ_CALLS_FAILED
        LQ_CALLS_RETRIED
        LQ_CALLS_ITEMS
        LQ_CALLS_RUN_NS
        LQ_CALLS_WAIT_NS
        LQ_CALLS_MOST_NS
        LQ_CALLS_SUMS
        LQ_BUCKETS
        LQ_CALLS_BUCKETS
        LQ_NAME_BYTES
        LQ_METER_FUNCTIONS
    struct lq_meter:
        pass
    uint64_t lq_bucket_bound(uint32_t bucket, uint32_t octave, uint32_t buckets)
    bint lq_meter_read_calls(const lq_meter *meter, uint32_t entry, uint64_t *sums, uint64_t *run, char *name)


cdef extern from "lq_trace.h" nogil:
    struct lq_record:
        uint32_t slot
        uint32_t task_generation
        uint32_t function
        uint32_t function_generation
        uint32_t pid
        uint32_t attempt
        uint32_t items
        uint32_t bytes_in
        uint32_t bytes_out
        uint8_t kind
        uint8_t outcome
        uint64_t submit_ns
        uint64_t taken_ns
        uint64_t begun_ns
        uint64_t ended_ns
        uint64_t sent_ns
        uint64_t received_ns
    struct lq_traces:
        pass
    void lq_traces_until(const lq_traces *traces, uint64_t until_ns, int64_t now_ns)
    lq_status lq_traces_next(const lq_traces *traces, uint32_t row, uint64_t *place, lq_record *copy, uint64_t *lost)


cdef extern from "lq_note.h" nogil:
    enum:
        LQ_NO_MESSAGE
        LQ_MESSAGE_BYTES
    struct lq_note:
        uint32_t message_bytes
        uint64_t progress
        unsigned char *message


cdef extern from "lq_past.h" nogil:
    ctypedef enum lq_gone "enum lq_gone":
        LQ_GONE_NOT_KNOWN
        LQ_GONE_EVICTED
        LQ_GONE_EXPIRED


cdef extern from "lq_space.h" nogil:
    enum:
        LQ_PRIORITIES
        LQ_PHASE_OPEN
        LQ_PHASE_DRAINING
        LQ_PHASE_STOPPED
        LQ_PHASE_BROKEN
        LQ_ROWS
        LQ_LAYOUT_VERSION
    struct lq_sizes:
        uint32_t capacity
        uint32_t result_cache
        uint32_t queues
        uint32_t cpus
        uint64_t memory
        uint64_t ttl_ms
    struct lq_header:
        uint64_t identity
        uint64_t epoch_ns
        lq_sizes sizes
    struct lq_segment:
        int fd
    struct lq_slots:
        uint32_t count
    struct lq_space:
        lq_segment control
        lq_segment payload
        lq_header *header
        lq_slots slots
        lq_reports reports
        lq_arena arena
        lq_functions functions
        lq_journals journals
        lq_traces traces
        lq_meter *meters
        uint32_t queues
    struct lq_recovered:
        uint32_t labels
        uint32_t requeued
        uint32_t crashed
        uint32_t released
    struct lq_row_reading:
        uint32_t state
        uint32_t role
        uint32_t pid
        uint32_t ready
        uint32_t label
        uint64_t started
        uint64_t joined_ns
        uint64_t sums[9]
        uint64_t task
        uint64_t task_since_ns
        uint64_t unread
    lq_status lq_space_create(lq_space *space, const lq_sizes *sizes, uint64_t identity)
    lq_status lq_space_open(lq_space *space, int control_fd, int payload_fd, int writable)
    void lq_space_close(lq_space *space)
    enum:
        LQ_TALLIES
    ctypedef enum lq_tally "enum lq_tally":
        LQ_TALLY_SUPERVISORS
        LQ_TALLY_WORKERS
        LQ_TALLY_WORKERS_CRASHED
        LQ_TALLY_REQUEUED
        LQ_TALLY_CRASHED
        LQ_TALLY_LINES_LOST
    struct lq_problem:
        const char *what
        uint32_t index
        uint64_t word
        uint32_t who
    lq_status lq_space_join(lq_space *space, lq_role role, uint32_t pid, lq_label *label)
    bint lq_space_sign_in(lq_space *space, lq_label me, uint32_t pid, uint64_t started)
    bint lq_space_promote(lq_space *space, lq_label spare)
    void lq_space_set_ready(lq_space *space, lq_label me)
    void lq_space_bury(lq_space *space, lq_label label)
    bint lq_space_bury_unsigned(lq_space *space, lq_label label)
    void lq_space_recover(lq_space *space, lq_label dead, lq_label me, uint32_t cause, lq_recovered *recovered)
    void lq_space_release(lq_space *space, lq_label label)
    void lq_space_tally(lq_space *space, lq_tally tally, uint32_t more)
    uint32_t lq_space_tally_of(const lq_space *space, lq_tally tally)
    uint32_t lq_space_audit(const lq_space *space, lq_problem *problems, uint32_t most)
    uint32_t lq_space_sweep(lq_space *space, lq_label me)
    lq_status lq_space_check(const lq_space *space, char *problem, size_t problem_bytes)
    lq_status lq_space_read(const lq_space *space, uint32_t index, uint32_t task_generation, lq_slot *copy)
    bint lq_space_is_current(const lq_space *space, uint32_t index, const lq_slot *copy)
    bint lq_space_is_expired(const lq_space *space, uint32_t index, const lq_slot *slot, int64_t now_ns)
    lq_slot *lq_space_slot(const lq_space *space, uint32_t index)
    uint32_t lq_space_phase(const lq_space *space)
    void lq_space_set_phase(lq_space *space, uint32_t phase)
    void lq_space_set_workers(lq_space *space, uint32_t workers)
    uint32_t lq_space_workers(const lq_space *space)
    uint64_t lq_space_depth(const lq_space *space, uint32_t queue, uint32_t priority)
    void lq_space_row(const lq_space *space, uint32_t row, lq_row_reading *reading)
    void lq_space_arena_reading(const lq_space *space, uint64_t *held, uint64_t *owned, uint64_t *spans)
    void lq_space_count_slots(const lq_space *space, uint32_t counts[16])
    unsigned char *lq_space_block(const lq_space *space, uint32_t block, uint64_t *room)
    lq_status lq_space_function(const lq_space *space, uint32_t row, uint32_t generation, uint32_t *kind,
                                const unsigned char **bytes, uint32_t *length)
    bint lq_space_function_is_current(const lq_space *space, uint32_t row, uint32_t generation)
    uint32_t lq_slot_state_of(const lq_slot *slot)
    uint32_t lq_slot_items_begun(const lq_slot *slot)
    lq_stop lq_slot_stop(const lq_slot *slot)
    bint lq_slot_ask(lq_slot *slot, uint32_t task_generation, lq_stop why)
    bint lq_slot_condemn(lq_slot *slot, uint32_t task_generation, uint32_t worker)
    uint32_t lq_slot_crashes(const lq_slot *slot)
    uint32_t lq_space_at(const lq_space *space, int64_t at_ns)
    uint32_t lq_space_ms(const lq_space *space, int64_t now_ns)
    lq_outcome lq_slot_outcome(const lq_slot *slot, uint32_t *cause)
    bint lq_space_relieve(lq_space *space, lq_label me)


cdef extern from "lq_tell.h" nogil:
    struct lq_meter_reading:
        uint64_t sums[9]
        uint64_t *wait
        uint64_t *run
    bint lq_space_is_metered(const lq_space *space, uint32_t row)
    void lq_space_meters(const lq_space *space, lq_meter_reading *reading)
    lq_status lq_space_in_hand(const lq_space *space, uint32_t index, lq_slot *copy, uint32_t *pid)
    uint32_t lq_functions_end(const lq_functions *functions)
    uint32_t lq_functions_name_of(const lq_functions *functions, uint32_t row, uint32_t generation, char *name)
    uint32_t lq_slots_used(const lq_slots *slots)
    bint lq_space_note(const lq_space *space, lq_label me, uint32_t index, uint32_t task_generation, uint64_t progress,
                       const char *message, uint64_t length)
    lq_status lq_space_watch(const lq_space *space, uint32_t index, uint32_t task_generation)
    lq_status lq_space_read_note(const lq_space *space, uint32_t index, uint32_t task_generation, lq_note *copy, uint32_t *seq)
    lq_status lq_space_wait_note(const lq_space *space, uint32_t index, uint32_t task_generation, uint32_t seq, int64_t timeout_ns)
    void lq_space_call_watchers(const lq_space *space, uint32_t index, uint32_t task_generation)
    void lq_space_call_all(const lq_space *space)
    uint32_t lq_space_note_calls(const lq_space *space)
    lq_status lq_space_wait_note_calls(const lq_space *space, uint32_t calls, int64_t timeout_ns)
    lq_gone lq_space_gone(const lq_space *space, uint32_t index, uint32_t task_generation, int64_t now_ns)


cdef extern from "lq_view.h" nogil:
    enum:
        LQ_NO_PIN
        LQ_PINS
        LQ_BLOCK_RUN
    enum lq_holder:
        LQ_HOLDER_KEPT
    struct lq_view:
        unsigned char *at
        lq_view_mode mode
    ctypedef enum lq_view_mode "enum lq_view_mode":
        LQ_VIEW_COPY_ON_WRITE
        LQ_VIEW_READ_ONLY
        LQ_VIEW_SHARED
    uint64_t lq_backref(lq_holder holder, uint32_t index, uint32_t generation)
    uint64_t lq_load(const lq_a64 *at)
    uint32_t lq_word_generation(uint64_t word)
    lq_a64 *lq_arena_word(const lq_arena *arena, uint32_t block)
    lq_a64 *lq_arena_backref(const lq_arena *arena, uint32_t block)
    void lq_arena_hold(const lq_arena *arena, lq_label me, uint32_t block, uint64_t backref)
    void lq_arena_drop(const lq_arena *arena, lq_arena_cache *cache, lq_label me, uint32_t block, uint64_t backref)
    void lq_arena_return(const lq_arena *arena, lq_arena_cache *cache, lq_label me, uint32_t block)
    lq_status lq_arena_pin(const lq_arena *arena, lq_label me, uint32_t block, uint32_t generation, uint64_t tie, uint32_t *cursor,
                           uint32_t *entry)
    void lq_arena_unpin(const lq_arena *arena, lq_arena_cache *cache, lq_label me, uint32_t entry)
    void lq_arena_loosen(const lq_arena *arena, lq_label me, uint32_t block)
    uint64_t lq_arena_give_back(const lq_arena *arena, lq_label me, uint64_t *idle, uint32_t *left)
    void lq_arena_strip(const lq_arena *arena)
    void lq_arena_note_filled(const lq_arena *arena, uint32_t block)
    void lq_arena_touch(const lq_arena *arena, uint32_t block, uint64_t start, uint64_t length)
    bint lq_arena_empty(const lq_arena *arena, uint32_t block)
    uint64_t lq_pin_tie(uint32_t slot, uint32_t task_generation)
    bint lq_pins_is_tied(const lq_pins *pins, uint64_t tie)
    lq_status lq_view_open(lq_view *view, const lq_space *space, uint32_t block, uint64_t start, uint64_t length, lq_view_mode mode)
    lq_status lq_view_keep(lq_view *view, const lq_space *space)
    lq_status lq_view_fill(const lq_view *view)
    void lq_view_close(lq_view *view)
    unsigned char *lq_mark_create()
    void lq_mark_destroy(unsigned char *mark)


cdef extern from "lq_holdings.h" nogil:
    struct lq_holdings:
        uint64_t arguments
        uint64_t results
        uint64_t functions
        uint64_t kept
        uint64_t pinned
        uint64_t owned
        uint64_t idle
    void lq_space_holdings(const lq_space *space, lq_holdings *holdings)
    void lq_space_pinned_by(const lq_space *space, uint32_t row, uint32_t *pins, uint64_t *bytes)


cdef extern from "lq_look.h" nogil:
    struct lq_asked:
        uint32_t index
        uint32_t task_generation
        lq_label worker
        uint32_t why
    uint32_t lq_space_look(lq_space *space, lq_label me, lq_asked *asked, uint32_t most, uint64_t *next_ns)


cdef extern from "lq_client.h" nogil:
    struct lq_client:
        lq_label me
        lq_arena_cache cache
        uint32_t pending
        uint32_t cached
    lq_status lq_client_init(lq_client *client, lq_space *space, lq_label me, uint32_t pid)
    void lq_client_end(lq_client *client)
    void lq_client_leave(lq_client *client)
    bint lq_client_is_ours(const lq_client *client)
    lq_status lq_client_reserve(lq_client *client, uint32_t *index)
    void lq_client_discard(lq_client *client, uint32_t index)
    lq_status lq_client_store_args(lq_client *client, uint32_t index, const void *data, uint64_t length)
    lq_status lq_client_take(lq_client *client, uint64_t length, bint sparse, uint32_t *block)
    void lq_client_hold_args(lq_client *client, uint32_t index, uint32_t block)
    lq_status lq_client_submit(lq_client *client, uint32_t index)
    lq_status lq_client_reap(lq_client *client, uint32_t *index)
    void lq_client_consume(lq_client *client, uint32_t index)
    lq_status lq_client_cancel(lq_client *client, uint32_t index, uint32_t task_generation)
    lq_status lq_client_stop(lq_client *client, uint32_t index, uint32_t task_generation)
    void lq_client_touch(lq_client *client, uint32_t index, uint32_t task_generation)
    void lq_client_widen(lq_client *client)
    void lq_client_wake(lq_client *client)
    lq_status lq_client_sleep(lq_client *client, uint32_t wanted, int64_t timeout_ns)
    lq_status lq_client_publish(lq_client *client, uint32_t kind, const char *name, const void *data, uint32_t length, uint32_t block,
                                uint32_t *row,
                                uint32_t *generation)
    void lq_client_unpublish(lq_client *client, uint32_t row)


cdef extern from "lq_last_words.h" nogil:
    int lq_last_words_guard(int fd)


cdef extern from "lq_worker.h" nogil:
    struct lq_worker:
        lq_label me
        lq_arena_cache cache
    lq_status lq_worker_init(lq_worker *worker, lq_space *space, lq_label me, uint32_t pid)
    bint lq_worker_is_ours(const lq_worker *worker)
    void lq_worker_end(lq_worker *worker)
    lq_status lq_worker_take(lq_worker *worker, int64_t timeout_ns, uint32_t *index)
    lq_status lq_worker_take_now(lq_worker *worker, uint32_t *index)
    lq_status lq_worker_claim(lq_worker *worker, uint32_t index, uint32_t task_generation)
    lq_status lq_worker_wait(lq_worker *worker, int64_t timeout_ns)
    void lq_worker_start(lq_worker *worker, uint32_t index, uint64_t expected_ns)
    lq_status lq_worker_take_block(lq_worker *worker, uint64_t length, uint32_t *block)
    void lq_worker_hold_result(lq_worker *worker, uint32_t index, uint32_t block)
    lq_status lq_worker_store_result(lq_worker *worker, uint32_t index, const void *data, uint64_t length)
    uint64_t lq_worker_finish(lq_worker *worker, uint32_t index, lq_outcome outcome, uint8_t format, uint32_t result_bytes)
    void lq_worker_drop(lq_worker *worker, uint32_t index, lq_outcome outcome)
    void lq_worker_requeue(lq_worker *worker, uint32_t index, uint32_t delay_ms)
    void lq_worker_begin_item(lq_slot *slot, uint32_t item)
    void lq_worker_count_items(lq_worker *worker, uint32_t index, uint64_t items)
    void lq_worker_count_retry(lq_worker *worker, uint32_t index)
    void lq_worker_end_code(lq_worker *worker)
    void lq_worker_tell(lq_worker *worker, lq_event_kind kind, uint32_t index, uint32_t task_generation, const char *text)


cdef extern from "lq_value.h":
    struct lq_out:
        unsigned char *base
        size_t len
        size_t cap
        unsigned char *scratch
        size_t scratch_cap
    enum:
        LQ_VALUE_OK
        LQ_VALUE_FOREIGN
    int lq_value_encode(lq_out *out, PyObject *value) except -1
    int lq_value_encode_args(lq_out *out, PyObject *args, Py_ssize_t first, PyObject *kwargs) except -1
    int lq_value_encode_call(lq_out *out, PyObject *const *args, Py_ssize_t n, PyObject *kwnames) except -1
    # The same; an exception is left to whoever calls raise_if_failed with what it returned.
    int try_to_encode_call "lq_value_encode_call"(lq_out *out, PyObject *const *args, Py_ssize_t n, PyObject *kwnames) noexcept
    int lq_value_encode_items(lq_out *out, PyObject *items) except -1
    PyObject *lq_value_decode(const unsigned char *buf, size_t length) except NULL
    int lq_value_decode_args(const unsigned char *buf, size_t length, PyObject **args, PyObject **kwargs) except -1
    void lq_out_free(lq_out *out)

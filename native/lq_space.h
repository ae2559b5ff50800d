/* SPDX-License-Identifier: MIT */
#ifndef LQ_SPACE_H
#define LQ_SPACE_H
/*
 * The Space: all shared memory of one queue, put together from the structures beside this file. Two segments: control
 * (header, roster, functions, rings, slots, words of the arena) and the arena's own memory. The only place that knows
 * two structures at once. What one process does with it: lq_client.h, lq_worker.h.
 *
 * Nothing in shared memory is an address. lq_space_open turns offsets into this process's pointers, once.
 */
#include "lq_arena.h"
#include "lq_bell.h"
#include "lq_function.h"
#include "lq_journal.h"
#include "lq_meter.h"
#include "lq_note.h"
#include "lq_past.h"
#include "lq_report.h"
#include "lq_ring.h"
#include "lq_roster.h"
#include "lq_segment.h"
#include "lq_slot.h"
#include "lq_trace.h"

#define LQ_MAGIC 0x31716c61636f6cull /* "localq1" */
#define LQ_LAYOUT_VERSION 5u
#define LQ_PRIORITIES 4u
#define LQ_MAX_QUEUES 16u

enum lq_phase {
    LQ_PHASE_OPEN = 0,
    LQ_PHASE_DRAINING = 1, /* workers end when nothing is queued */
    LQ_PHASE_STOPPED = 2,  /* workers end after the task in hand */
    LQ_PHASE_BROKEN = 3,   /* no worker can be started: waiting is in vain */
};

/* What is counted over the life of a Space. */
enum lq_tally {
    LQ_TALLY_SUPERVISORS = 0,     /* started: more than one, if one was lost */
    LQ_TALLY_WORKERS = 1,         /* started */
    LQ_TALLY_WORKERS_CRASHED = 2, /* ended otherwise than told */
    LQ_TALLY_REQUEUED = 3,        /* tasks that run again because their worker died */
    LQ_TALLY_CRASHED = 4,         /* tasks that ended so */
    LQ_TALLY_LINES_LOST = 5,      /* lines of tasks that the owner did not read in time */
    LQ_TALLIES = 6,
};

/* What the sizes follow from. */
struct lq_sizes {
    uint32_t capacity;     /* tasks that may be on their way at once */
    uint32_t result_cache; /* consumed results that stay readable */
    uint32_t queues;
    uint32_t cpus;         /* usable by this queue: how many may spin */
    uint64_t memory;       /* bytes of the arena */
    uint64_t ttl_ms;       /* of cached results; 0: for ever */
};

struct lq_header {
    uint64_t magic;
    uint32_t version;
    uint32_t slots;
    uint32_t ring_order;
    uint32_t spans;
    uint64_t control_bytes;
    uint64_t identity; /* random: tells one queue's task ids from another's */
    uint64_t epoch_ns; /* CLOCK_MONOTONIC when the Space was made */
    struct lq_sizes sizes;
    _Alignas(LQ_LINE) lq_a32 phase; /* supervisor and owner write, everybody reads */
    lq_a32 workers;    /* as configured; a hint for spinning */
    lq_a32 tallies[LQ_TALLIES]; /* for people; who recovers counts */
    lq_a64 look_ns;    /* CLOCK_MONOTONIC: when the supervisor looks by itself, see lq_look.h */
    struct lq_trace trace;
    _Alignas(LQ_LINE) lq_a64 slots_fresh;
    _Alignas(LQ_LINE) lq_a64 arena_used;
    lq_a64 functions_used;
    lq_a32 note_calls; /* raised after each note and each end that somebody watches: who follows several tasks sleeps on it */
    _Alignas(LQ_LINE) struct lq_bell bell; /* of the workers */
};

struct lq_space {
    struct lq_segment control;
    struct lq_segment payload;
    struct lq_header *header;
    struct lq_roster roster;
    struct lq_reports reports;
    struct lq_functions functions;
    struct lq_slots slots;
    struct lq_arena arena;
    struct lq_ring rings[LQ_MAX_QUEUES][LQ_PRIORITIES];
    struct lq_ring completions[LQ_ROWS];
    struct lq_meter *meters; /* LQ_ROWS of them */
    struct lq_journals journals;
    struct lq_notes notes;
    struct lq_past *pasts;   /* one for each slot */
    struct lq_traces traces;
    uint32_t queues;
};

enum lq_status lq_space_create(struct lq_space *space, const struct lq_sizes *sizes, uint64_t identity);
/*
 * Attach to a Space made elsewhere. Takes both fds over. LQ_VERSION: another layout; LQ_CORRUPT: not a Space, or sizes that
 * contradict each other. Nothing is written before everything has been verified.
 */
enum lq_status lq_space_open(struct lq_space *space, int control_fd, int payload_fd, int writable);
void lq_space_close(struct lq_space *space);

/* ---- processes ---- */

/* Take a row for a process; its completion ring is ready when it returns. LQ_OK or LQ_FULL. */
enum lq_status lq_space_join(struct lq_space *space, enum lq_role role, uint32_t pid, lq_label *label);
/* See lq_roster_sign_in. */
bool lq_space_sign_in(struct lq_space *space, lq_label me, uint32_t pid, uint64_t started);
/* See lq_roster_promote. */
bool lq_space_promote(struct lq_space *space, lq_label spare);
/* A worker takes tasks from now on; a spare could. */
void lq_space_set_ready(struct lq_space *space, lq_label me);
/* The process behind the label is proven dead (or is leaving by itself): lq_roster_bury, lq_roster_release. */
void lq_space_bury(struct lq_space *space, lq_label label);
bool lq_space_bury_unsigned(struct lq_space *space, lq_label label);
void lq_space_release(struct lq_space *space, lq_label label);

uint32_t lq_space_phase(const struct lq_space *space);
/* Set the phase, only ever forward, and wake everybody to see it. */
void lq_space_set_phase(struct lq_space *space, uint32_t phase);
/* How many workers are wanted: a hint for spinning. */
void lq_space_set_workers(struct lq_space *space, uint32_t workers);
uint32_t lq_space_workers(const struct lq_space *space);

void lq_space_tally(struct lq_space *space, enum lq_tally tally, uint32_t more);
uint32_t lq_space_tally_of(const struct lq_space *space, enum lq_tally tally);

/* What recovery did. */
struct lq_recovered {
    uint32_t labels;   /* words found with the dead label: zero proves that none is left */
    uint32_t requeued; /* tasks that will run again (user code had not begun, or a retry was left) */
    uint32_t crashed;  /* tasks that ended as crashed */
    uint32_t released; /* slots, blocks, functions given back */
    uint32_t tied;     /* among `labels`: pins that tasks on their way need. If there is nothing else, come back when some have ended */
};

/*
 * Finish what a dead process began, one pass. Call again until `labels` is zero, then lq_roster_release.
 *
 * Callers:  any number of processes at once, beside live users, after lq_roster_bury; `me`: who recovers, one thread of it at a time.
 *           `cause` (lq_cause) is told in the verdict.
 * Progress: lock-free.
 * Death:    every step is one compare-and-swap on a word that still bears the dead label, or a push that may be done
 *           twice. Whoever calls next goes on.
 */
void lq_space_recover(struct lq_space *space, lq_label dead, lq_label me, uint32_t cause, struct lq_recovered *recovered);
/* Let go of expired results, of those beyond result_cache (each client keeps to it by itself, but all together may have more; those
   that were used or ended last stay), and of functions nobody needs. Results whose client is gone become CACHED. Returns how many. */
uint32_t lq_space_sweep(struct lq_space *space, lq_label me);
/*
 * Does the header fit what is mapped? LQ_OK, LQ_CORRUPT, LQ_VERSION. It is read once, into `header`: what was verified is what
 * is used, whoever writes there meanwhile.
 */
enum lq_status lq_space_verify(const struct lq_space *space, struct lq_header *header);
struct lq_problem {
    const char *what;
    uint32_t index;
    uint64_t word;
    lq_label who; /* whose turn it is, or was; LQ_NOBODY */
};
/* All contradictions: how many; the first `most` of them are told. See lq_audit.c for what they mean beside live users. */
uint32_t lq_space_audit(const struct lq_space *space, struct lq_problem *problems, uint32_t most);
/* The same for a quiet Space: LQ_OK, or LQ_CORRUPT and the first one in words. */
enum lq_status lq_space_check(const struct lq_space *space, char *problem, size_t problem_bytes);

/*
 * A consistent copy of slot `index`, if it still serves task `task_generation`.
 * Callers: anyone who maps the Space, also read-only. Bounded: a slot that changes all the time is LQ_MISSING.
 */
enum lq_status lq_space_read(const struct lq_space *space, uint32_t index, uint32_t task_generation, struct lq_slot *copy);
/* Does the slot still hold what `copy` was taken from? After bytes were copied from the block that it names. */
bool lq_space_is_current(const struct lq_space *space, uint32_t index, const struct lq_slot *copy);
/* Has this cached result outlived its time? `slot`: number `index`, or a copy of it. */
bool lq_space_is_expired(const struct lq_space *space, uint32_t index, const struct lq_slot *slot, int64_t now_ns);

/* One row, for people. */
struct lq_row_reading {
    uint32_t state, role, pid, ready;
    lq_label label;
    uint64_t started; /* see lq_row_started */
    uint64_t joined_ns;
    uint64_t sums[LQ_SUMS]; /* counted since the row was taken */
    uint64_t task, task_since_ns;
    uint64_t unread; /* a client: finished tasks that it has not reaped */
};

uint64_t lq_space_depth(const struct lq_space *space, uint32_t queue, uint32_t priority);
void lq_space_row(const struct lq_space *space, uint32_t row, struct lq_row_reading *reading);
void lq_space_arena_reading(const struct lq_space *space, uint64_t *held, uint64_t *owned, uint64_t *spans);
/* How many slots are in each state. */
void lq_space_count_slots(const struct lq_space *space, uint32_t counts[16]);
/* Where a block lies; NULL when there is none of that number. */
unsigned char *lq_space_block(const struct lq_space *space, uint32_t block, uint64_t *room);
/* The bytes of a published function: valid while lq_space_function_is_current says so afterwards. LQ_OK or LQ_MISSING. */
enum lq_status lq_space_function(const struct lq_space *space, uint32_t row, uint32_t generation, uint32_t *kind,
                                 const unsigned char **bytes, uint32_t *length);
bool lq_space_function_is_current(const struct lq_space *space, uint32_t row, uint32_t generation);
uint32_t lq_slot_state_of(const struct lq_slot *slot);
uint32_t lq_slot_items_begun(const struct lq_slot *slot);
/* How many workers died in it so far. */
uint32_t lq_slot_crashes(const struct lq_slot *slot);
/* How it ended, from the body and the verdict of a DONE or CACHED slot; `cause` counts where a worker died. */
enum lq_outcome lq_slot_outcome(const struct lq_slot *slot, uint32_t *cause);
/* Memory is short: evict the cached result that ended first among those that hold a block. False when there is none. */
bool lq_space_relieve(struct lq_space *space, lq_label me);
/* Slots are short: the cached result that ended first, whoever's, gives way: its slot is WRITING(me). LQ_OK or LQ_EMPTY. */
enum lq_status lq_space_take_over(struct lq_space *space, lq_label me, uint32_t *index);

/* CACHED -> WRITING(me), generation + 1, and its blocks dropped; why is remembered. LQ_OK or LQ_MISSING. */
enum lq_status lq_space_evict(const struct lq_space *space, struct lq_arena_cache *cache, lq_label me, uint32_t index,
                              uint64_t word, enum lq_gone why);
/*
 * CANCELLED -> DONE, and its client is told. `word` says CANCELLED, and no cell is owed for it. (No other state will do: the
 * verdict comes first, and must be true whatever happens next.) False: the word has changed.
 *
 * Callers:  any number of processes at once.
 * Progress: lock-free.
 * Death:    before the swap nothing has changed but a verdict that stands in any case; after it DONE(me) says that its client
 *           may not have been told.
 */
bool lq_space_settle_cancelled(const struct lq_space *space, lq_label me, uint32_t index, uint64_t word);
/* Tell the client of a DONE slot, whose word bears a label that owes it. */
void lq_space_announce(const struct lq_space *space, uint32_t index, uint32_t generation, lq_label client);
/* Wake a worker if one should be woken: after a push, and by a worker that takes a task that may last. */
void lq_space_call_worker(const struct lq_space *space, const struct lq_ring *ring, int64_t now_ns);

/* The ring that a slot's task belongs into: one that exists, whatever the slot says. */
const struct lq_ring *lq_space_ring_of(const struct lq_space *space, const struct lq_slot *slot);

static inline struct lq_slot *lq_space_slot(const struct lq_space *space, uint32_t index)
{
    return &space->slots.slots[index];
}

/* A time as `due_ms` and `expires_ms` say it: not before that, and never 0, which says none. They count for 24 days ahead. */
static inline uint32_t lq_space_at(const struct lq_space *space, int64_t at_ns)
{
    uint32_t at = (uint32_t)(((uint64_t)at_ns - space->header->epoch_ns + 999999u) / 1000000u);
    return at != 0 ? at : 1u;
}

static inline uint32_t lq_space_ms(const struct lq_space *space, int64_t now_ns)
{
    return (uint32_t)(((uint64_t)now_ns - space->header->epoch_ns) / 1000000u);
}

#endif

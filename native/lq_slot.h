/* SPDX-License-Identifier: MIT */
#ifndef LQ_SLOT_H
#define LQ_SLOT_H
/*
 * The slot: one task, from its arguments to its result. The slot is also the result entry.
 *
 *   FRESH --------.                                  .-- cancel --> CANCELLED(client) -----.
 *                 v                                  |                                     v
 *   FREE --> WRITING(client) --> QUEUED(client) -----+--> CLAIMED(worker) --> RUNNING --> DONE(worker)
 *    ^            ^                  ^                         |  worker died |  |            |
 *    |            |                  '------- generation + 1 --'--------------'  |        consumed
 *    |            |                                              requeued        |            v
 *    '------------+--------------- evicted, generation + 1 -----------------------------  CACHED
 *
 * A task whose time has not come is DELAYED: WRITING or RUNNING (a retry) -> DELAYED -> QUEUED(supervisor), or DONE when it is
 * cancelled. It is nobody's, and in no ring: the supervisor finds it by looking (lq_look.h).
 *
 * The label in QUEUED, CANCELLED and DONE means: owes the push into the ring (and has probably done it). CACHED is settled.
 * Layout of the body: line 0 what the taker needs, line 1 times and the first argument bytes, lines 2 and 3 the rest of the
 * inline arguments and the inline result. Arguments are never overwritten before the slot is used again, because the
 * task may have to run a second time.
 */
#include "lq_fault.h"
#include "lq_status.h"
#include "lq_word.h"

enum lq_slot_state {
    LQ_SLOT_FRESH = 0, /* never used: memory as the kernel gave it */
    LQ_SLOT_WRITING = 1,
    LQ_SLOT_QUEUED = 2,
    LQ_SLOT_CLAIMED = 3,
    LQ_SLOT_RUNNING = 4,
    LQ_SLOT_DONE = 5,
    LQ_SLOT_CACHED = 6,
    LQ_SLOT_CANCELLED = 7,
    LQ_SLOT_FREE = 8,
    LQ_SLOT_DELAYED = 9,
};

enum lq_kind { LQ_KIND_CALL = 0, LQ_KIND_CHUNK = 1, LQ_KIND_STARCHUNK = 2 };

enum lq_outcome {
    LQ_OUTCOME_NONE = 0,
    LQ_OUTCOME_SUCCESS = 1,
    LQ_OUTCOME_FAILURE = 2,   /* the result is an encoded exception */
    LQ_OUTCOME_CANCELLED = 3, /* never started, or stopped because somebody asked for it */
    LQ_OUTCOME_CRASHED = 4,   /* the worker died in user code and no retry was left; the verdict says how */
    LQ_OUTCOME_TIMEOUT = 5,   /* stopped after its time limit, and no retry was left */
    LQ_OUTCOME_EXPIRED = 6,   /* not started in time */
};

/* Why a task that has begun shall stop. */
enum lq_stop { LQ_STOP_NONE = 0, LQ_STOP_CANCEL = 1, LQ_STOP_TIMEOUT = 2, LQ_STOP_LATE = 3 /* its run has ended */ };

/* What became of a request. Whichever of the two comes first, the other one does not come: so nobody is killed who has gone on. */
enum lq_stop_mark {
    LQ_STOP_CONDEMNED = 4, /* its worker is about to be killed, and goes no further than the end of its run */
    LQ_STOP_CLOSED = 8,    /* it was cancelled, and its run has ended */
};

#define LQ_INLINE_BYTES 72u /* arguments or results up to this size need no block */
#define LQ_NO_BLOCK 0u

struct lq_slot {
    lq_a64 word;            /* aux: crashes survived so far */
    lq_a64 verdict;         /* generation 32 | report 8 | outcome 8 | wait status 16; written by compare-and-swap, see lq_verdict. With
                               generation 0: how many workers died of this task before they began it */
    uint32_t task_generation; /* the generation at submission: names the task, through any number of requeues */
    uint32_t function;      /* row of the function table */
    uint32_t function_generation;
    uint32_t args_block;    /* LQ_NO_BLOCK: inline */
    uint32_t args_bytes;
    uint32_t result_block;
    uint32_t result_bytes;
    lq_label client;        /* whose completion ring is told */
    uint8_t kind;           /* enum lq_kind */
    uint8_t args_format;    /* of the codec; opaque here */
    uint8_t queue;
    uint8_t priority;
    uint8_t outcome;        /* enum lq_outcome, of the run that ended in DONE */
    uint8_t result_format;
    uint8_t max_retries;    /* requeues after exceptions */
    uint8_t max_crashes;    /* requeues after a worker's death in user code */
    uint32_t attempt;       /* runs begun */
    lq_a32 items_begun;     /* of a chunk, by the last run: tells which item a crash belongs to */

    uint64_t submit_ns;     /* CLOCK_MONOTONIC */
    uint64_t start_ns;
    uint64_t done_ns;
    uint32_t worker_pid;    /* of the last run */
    lq_a32 stop;            /* task generation << 4 | enum lq_stop_mark | enum lq_stop: a request that outlived its task asks nothing */
    uint32_t limit_ms;      /* how long a run may last, 0: for ever */
    uint32_t expires_ms;    /* of lq_space_ms: not to be started after that, 0: never expires */
    uint32_t due_ms;        /* of lq_space_ms: not to be started before that, 0: at once */
    lq_a32 watch;           /* the generation of the task whose end and notes somebody wants to be woken for; see lq_tell.h */
    unsigned char args[LQ_INLINE_BYTES];
    unsigned char result[LQ_INLINE_BYTES];
};

_Static_assert(sizeof(struct lq_slot) == 256, "a slot is four lines");
_Static_assert(offsetof(struct lq_slot, submit_ns) == LQ_LINE, "times begin line 1");
_Static_assert(offsetof(struct lq_slot, args) % 8 == 0 && offsetof(struct lq_slot, result) % 8 == 0, "copied by eights");

struct lq_slots {
    struct lq_slot *slots;
    lq_a64 *fresh;  /* all slots from here on are FRESH, but for one that may just have been claimed */
    uint32_t count;
};

/* How a worker died: what waitpid said, and the number of a report that says more, 0 for none. */
static inline uint32_t lq_cause(uint32_t wait_status, uint32_t report)
{
    return (report & 0xffu) << 16 | (wait_status & 0xffffu);
}

static inline uint64_t lq_verdict(uint32_t generation, enum lq_outcome outcome, uint32_t cause)
{
    return (uint64_t)generation << 32 | (uint64_t)(cause >> 16 & 0xffu) << 24 | (uint64_t)outcome << 16 | (cause & 0xffffu);
}

static inline uint32_t lq_verdict_cause(uint64_t verdict)
{
    return lq_cause((uint32_t)(verdict & 0xffffu), (uint32_t)(verdict >> 24 & 0xffu));
}

/* Workers that may die with a task in hand that they have not begun, before the task itself is held to be the reason. */
#define LQ_MOST_UNBEGUN 3u

static inline uint32_t lq_verdict_unbegun(uint64_t verdict)
{
    return verdict >> 32 == 0 ? (uint32_t)(verdict & 0xffffu) : 0;
}

static inline enum lq_outcome lq_verdict_outcome(uint64_t verdict)
{
    return (enum lq_outcome)(verdict >> 16 & 0xffu);
}

/*
 * Say how the task ends whose word is `word` and is about to be swapped to DONE: nobody lives to write its outcome.
 *
 * Callers:  any number at once; also one who was stopped since it read the word, for however long.
 * Progress: lock-free; it tries again only if somebody else's swap came in between.
 * Death:    the verdict stands or it does not; before the word is DONE nobody reads it.
 */
void lq_slot_judge(struct lq_slot *slot, uint64_t word, enum lq_outcome outcome, uint32_t cause);

/* Whether this task was asked to stop, and why. */
enum lq_stop lq_slot_stop(const struct lq_slot *slot);
/*
 * Ask a task that was claimed or runs to stop. False: it is not (or no longer) in a worker's hands.
 *
 * Callers:  any number of processes at once. LQ_STOP_CANCEL stays whatever is asked after it.
 * Progress: lock-free.
 * Death:    the request stands or it does not. Whoever asks tells the supervisor, which also looks now and then.
 */
bool lq_slot_ask(struct lq_slot *slot, uint32_t task_generation, enum lq_stop why);
/*
 * It did not stop, and its worker is about to be killed. False: it has ended meanwhile, or is with another worker: kill nobody.
 *
 * Callers:  the supervisor, which kills next.
 * Progress: lock-free.
 * Death:    of the supervisor: its workers end with it.
 */
bool lq_slot_condemn(struct lq_slot *slot, uint32_t task_generation, lq_label worker);
/*
 * The run has ended by itself: from now on nobody is promised that it will stop, and nobody is killed for it. False: it was
 * cancelled before, and so it ends, whatever it returned. So whoever cancels a task and is told that he did is right. Of a
 * condemned one it does not return.
 *
 * Callers:  the worker that has it in hand, before it lets go of it.
 * Progress: lock-free, or the process has come to its end.
 * Death:    before the word is DONE, recovery takes this for no request.
 */
bool lq_slot_close(struct lq_slot *slot);
/* Its run has ended, and its outcome is about to be told, or it is about to run again. */
bool lq_slot_is_closing(const struct lq_slot *slot, uint32_t task_generation);
/* A run begins: that the last one was too long, or had ended, is past. */
void lq_slot_forgive(struct lq_slot *slot);

size_t lq_slots_size(uint32_t count);
/* Claim a slot that was never used. LQ_OK, *index and its word; LQ_EMPTY when all have been. Any number of callers. */
enum lq_status lq_slots_take_fresh(const struct lq_slots *slots, lq_label me, uint32_t *index);
/* Claim a FREE slot by looking from *cursor on, all the way round. LQ_OK or LQ_EMPTY. Any number of callers. */
enum lq_status lq_slots_take_free(const struct lq_slots *slots, lq_label me, uint32_t *cursor, uint32_t *index);
/* Slots that may hold anything: [0, used). */
uint32_t lq_slots_used(const struct lq_slots *slots);
enum lq_status lq_slots_check(const struct lq_slots *slots);

#endif

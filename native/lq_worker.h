/* SPDX-License-Identifier: MIT */
#ifndef LQ_WORKER_H
#define LQ_WORKER_H
/*
 * What a worker does with a Space: take -> start -> (store_result) -> finish, or requeue. One thread.
 */
#include "lq_look.h"
#include "lq_tell.h"

struct lq_known {
    uint32_t generation;
    uint32_t entry; /* + 1; 0: not known yet */
};

struct lq_worker {
    struct lq_space *space;
    lq_label me;
    uint32_t pid;
    unsigned char *ours; /* 1 here; the kernel wipes it in a child that a task forks */
    struct lq_arena_cache cache;
    uint32_t takes;
    bool owes;         /* a ring was full when a task was requeued: words QUEUED(me) wait for their push */
    uint32_t spin_ns;
    int64_t nap_ns;    /* how long the next sleep lasts at most; doubles while nothing comes */
    struct lq_meter *meter;
    uint64_t ended_ns; /* while tasks are traced: when the code of the one in hand ended */
    int64_t free_ns;   /* when the last task ended, if no sleep came after it: saves a clock reading */
    struct lq_known known[LQ_FUNCTIONS]; /* of each row of the function table: which entry of the meter's counts it */
};

/* LQ_OK; LQ_SYSTEM when private memory can't be had. */
enum lq_status lq_worker_init(struct lq_worker *worker, struct lq_space *space, lq_label me, uint32_t pid);
/* False in a child that was forked from the worker's process: it must not use the label. */
bool lq_worker_is_ours(const struct lq_worker *worker);
void lq_worker_end(struct lq_worker *worker);
/*
 * Claim the most urgent task. Strictly by priority, oldest first, except that every 64th take begins at a lower priority,
 * so that nothing starves.
 * Returns: LQ_OK and *index (CLAIMED(me)); LQ_EMPTY after a sleep without news (look after other things, then call again);
 *          LQ_INTERRUPTED; LQ_STOPPED when the queue's phase says so.
 */
enum lq_status lq_worker_take(struct lq_worker *worker, int64_t timeout_ns, uint32_t *index);
/* The same without waiting. LQ_OK or LQ_EMPTY. */
enum lq_status lq_worker_take_now(struct lq_worker *worker, uint32_t *index);
/*
 * Claim that very task, wherever it stands in its ring: a task that waits for it is here. Its cell is passed over when it comes up.
 * LQ_OK (CLAIMED(me)), LQ_MISSING: it is not queued.
 */
enum lq_status lq_worker_claim(struct lq_worker *worker, uint32_t index, uint32_t task_generation);
/*
 * Sleep until there may be something to take, at most `timeout_ns`. Takes nothing, and touches nothing that the other calls use but
 * the bell: another thread may take and run meanwhile. LQ_OK, LQ_TIMEOUT, LQ_INTERRUPTED.
 */
enum lq_status lq_worker_wait(struct lq_worker *worker, int64_t timeout_ns);
/* CLAIMED -> RUNNING. `expected_ns`: how long this function usually takes, 0 if not known. */
void lq_worker_start(struct lq_worker *worker, uint32_t index, uint64_t expected_ns);
/* A block to write into, OWNED(me). LQ_OK, LQ_FULL, LQ_NEVER, LQ_SYSTEM: see lq_arena_take. */
enum lq_status lq_worker_take_block(struct lq_worker *worker, uint64_t bytes, uint32_t *block);
/* It has been written, and is the result of the task in hand. One that the same run had stored before is dropped. */
void lq_worker_hold_result(struct lq_worker *worker, uint32_t index, uint32_t block);
/* Both, and the bytes copied: for what is in one piece. */
enum lq_status lq_worker_store_result(struct lq_worker *worker, uint32_t index, const void *bytes, uint64_t length);
/* RUNNING -> DONE; the client is told. Returns how long the task ran, in nanoseconds. */
uint64_t lq_worker_finish(struct lq_worker *worker, uint32_t index, enum lq_outcome outcome, uint8_t format, uint32_t result_bytes);
/* CLAIMED or RUNNING -> DONE without a result; the client is told how it ended. */
void lq_worker_drop(struct lq_worker *worker, uint32_t index, enum lq_outcome outcome);
/* Item number `item` of the chunk in hand begins. */
static inline void lq_worker_begin_item(struct lq_slot *slot, uint32_t item)
{
    lq_store32_relaxed(&slot->items_begun, item + 1);
}

/* The task in hand is a map chunk, of which so many items were run. */
void lq_worker_count_items(struct lq_worker *worker, uint32_t index, uint64_t items);
/* The task in hand has failed, and is about to be requeued for another try. */
void lq_worker_count_retry(struct lq_worker *worker, uint32_t index);
/* The code of the task in hand has ended, and what it returned is about to be encoded: for the trace. */
static inline void lq_worker_end_code(struct lq_worker *worker)
{
    if (lq_traces_may_be_on(&worker->space->traces))
        worker->ended_ns = (uint64_t)lq_now_ns();
}

/* An event of a task of this worker's; `index` of a slot, and task generation 0: of none. */
void lq_worker_tell(struct lq_worker *worker, enum lq_event_kind kind, uint32_t index, uint32_t task_generation, const char *text);
/* RUNNING -> QUEUED, to run again (a retry after an exception); after `delay_ms`, if that is not 0. */
void lq_worker_requeue(struct lq_worker *worker, uint32_t index, uint32_t delay_ms);

#endif

/* SPDX-License-Identifier: MIT */
#ifndef LQ_FLOW_H
#define LQ_FLOW_H
/*
 * Tasks that can be told apart, and a small Space for them. A task is known by a tag: its arguments are made from the tag,
 * its result from the tag and the length asked for, so every byte that arrives can be checked.
 */
#include "../lq_client.h"
#include "../lq_worker.h"
#include "lq_test.h"

#define TAGS 4096u

/* What happened to each tag; in shared memory, counted by every process. */
struct ledger {
    lq_a32 runs[TAGS];     /* times user code began */
    lq_a32 outcomes[TAGS]; /* times the client was told */
    lq_a32 last[TAGS];     /* the outcome */
};

void flow_make(struct lq_space *space, uint32_t capacity, uint32_t cache, uint32_t megabytes);
lq_label flow_join(struct lq_space *space, enum lq_role role);
void flow_init_client(struct lq_client *client, struct lq_space *space, lq_label me);

/* A ring that nothing more goes into, until its entries, which name no task, have been passed over. */
void flow_fill_with_stale_entries(const struct lq_ring *ring);

/* The bytes of a tag's arguments (salt 0) or result (salt 1). `bytes` is a multiple of 8, at least 8. */
void flow_fill(void *to, uint32_t tag, uint32_t salt, uint64_t bytes);
bool flow_matches(const void *from, uint32_t tag, uint32_t salt, uint64_t bytes);

struct flow_task {
    uint32_t tag;
    uint64_t args_bytes, result_bytes;
    uint8_t max_crashes;
    uint8_t priority;
};

/* Write what the task is into a slot that was reserved; only the arguments' block, if it needs one, is missing then. */
void flow_describe(struct lq_slot *slot, struct flow_task task);
/* reserve, describe, store, submit. Says LQ_FULL as they do, with nothing kept. */
enum lq_status flow_submit(struct lq_client *client, struct flow_task task, uint32_t *index);
/* The tag of a slot in hand. Fails where the arguments are not what its client wrote. */
uint32_t flow_check_args(const struct lq_space *space, uint32_t index);
/* User code: the run is counted and the result written, into the slot or a block. Returns how long the result is. */
uint32_t flow_call(struct lq_worker *worker, struct ledger *ledger, uint32_t index);
/* start, user code, result, finish, for a task in CLAIMED(worker). */
void flow_run(struct lq_worker *worker, struct ledger *ledger, uint32_t index);
/* Run all that is queued. Returns how many. */
uint32_t flow_drain(struct lq_worker *worker, struct ledger *ledger);
/* Consume a task that was reaped; its result is checked. */
void flow_consume(struct lq_client *client, struct ledger *ledger, uint32_t index);
/* A result that somebody looks at: whatever becomes of its slot, its bytes stay until lq_arena_unpin of `entry`. */
struct flow_pin {
    uint32_t entry, block, tag;
    uint64_t bytes;
};

/* Pin the result of a task that ended well, if it has a block. LQ_OK; LQ_MISSING: there is none, or no more; LQ_FULL. */
enum lq_status flow_pin_result(const struct lq_space *space, lq_label me, uint32_t index, uint32_t *cursor, struct flow_pin *pin);
/* Fails where they are not what the worker wrote. */
void flow_check_pin(const struct lq_space *space, const struct flow_pin *pin);
/* Reap and consume all that is done; results are checked. Returns how many. */
uint32_t flow_reap(struct lq_client *client, struct ledger *ledger);
/* Bury, recover until no label is left, release. Returns the sum of what was done. */
struct lq_recovered flow_bury(struct lq_space *space, lq_label dead, uint32_t wait_status);
/* Recover until no label is left. False: some stay, because a ring is full. */
bool flow_recover(struct lq_space *space, lq_label dead, lq_label me, uint32_t wait_status, struct lq_recovered *sum);
/* Fails, with the reason, unless lq_space_check is content. */
void flow_check(const struct lq_space *space, const char *file, int line);
#define FLOW_CHECK(space) flow_check(space, __FILE__, __LINE__)
/* Let go of everything that is settled; then nothing may be left: all slots free, the arena, the functions. */
void flow_empty(struct lq_space *space, lq_label me);
void flow_check_empty(const struct lq_space *space);

#endif

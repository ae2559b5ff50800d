/* SPDX-License-Identifier: MIT */
#ifndef LQ_CLIENT_H
#define LQ_CLIENT_H
/*
 * What a submitting process does with a Space. One struct lq_client a process; its calls are made one at a time (under the
 * GIL, say), except lq_client_sleep, which may run beside them.
 *
 *   reserve -> fill -> (store_args) -> submit ...... reap -> look -> consume ...... evicted by a later reserve
 */
#include "lq_look.h"

#define LQ_LARGE_KEPT 256u    /* large results that stay cached at most */
#define LQ_LARGE_BYTES 65536u /* ... each of this size or more */

struct lq_client {
    struct lq_space *space;
    lq_label me;
    uint32_t pid;
    unsigned char *ours; /* 1 here; the kernel wipes it in a forked child */
    struct lq_arena_cache cache;
    uint32_t *spare;          /* slots that were FREE when last seen, last freed on top */
    uint32_t spare_count;
    uint32_t spare_limit;
    /* Consumed slots by last use, oldest first: a circular list of (slot, stamp); an entry whose stamp is not the slot's
       latest is passed over. Private: a hint what to evict, the words decide. */
    uint64_t *recent;
    uint32_t *stamps;
    uint64_t recent_head, recent_tail;
    uint32_t recent_mask;
    uint32_t cached;          /* entries that are current */
    uint32_t cache_limit;
    uint32_t lost;            /* lq_row.lost when they were counted last */
    /* The large ones among them, in the order in which they came: (slot, stamp), as above. They give way by their bytes, so that their
       blocks serve the next ones, warm, instead of filling the arena. */
    uint64_t large[LQ_LARGE_KEPT];
    uint64_t large_bytes[LQ_LARGE_KEPT];
    uint64_t large_head, large_tail;
    uint64_t large_sum, large_limit;
    uint32_t free_cursor, function_cursor;
    uint32_t pending;         /* submitted and not yet consumed */
    uint32_t spin_ns;         /* how long sleeping is put off; adapts */
};

/* LQ_OK; LQ_SYSTEM when private memory can't be had. `me` must have been joined. */
enum lq_status lq_client_init(struct lq_client *client, struct lq_space *space, lq_label me, uint32_t pid);
/* Give warm blocks and spare slots back and free private memory. Tasks on their way go on. */
void lq_client_end(struct lq_client *client);

/* The same, and the row is given back, while the process lives on. Who dies in here is recovered as anywhere. */
void lq_client_leave(struct lq_client *client);

/* False in a child that was forked from the client's process: it must not use the label. */
bool lq_client_is_ours(const struct lq_client *client);
/* A slot in WRITING(me), its body ready to be filled. LQ_OK; LQ_FULL: reap or wait, then try again. */
enum lq_status lq_client_reserve(struct lq_client *client, uint32_t *index);
/* Not submitted after all. */
void lq_client_discard(struct lq_client *client, uint32_t index);
/* A block to write into, OWNED(me). LQ_OK, LQ_FULL, LQ_NEVER, LQ_SYSTEM: see lq_arena_take. A quarter of the arena is left for results. */
enum lq_status lq_client_take(struct lq_client *client, uint64_t bytes, bool sparse, uint32_t *block);
/* It has been written, and is the arguments of a task that is being prepared. */
void lq_client_hold_args(struct lq_client *client, uint32_t index, uint32_t block);
/* Both, and the bytes copied: for what is in one piece. */
enum lq_status lq_client_store_args(struct lq_client *client, uint32_t index, const void *bytes, uint64_t length);
/* Into the ring of its queue and priority; a sleeping worker is called. LQ_OK; LQ_FULL: the slot is WRITING again. */
enum lq_status lq_client_submit(struct lq_client *client, uint32_t index);
/* The next finished task of this client: its slot is DONE and stays so until consumed. LQ_OK or LQ_EMPTY. */
enum lq_status lq_client_reap(struct lq_client *client, uint32_t *index);
/* DONE -> CACHED; its arguments' block is dropped; the oldest cached results beyond the limit are evicted. */
void lq_client_consume(struct lq_client *client, uint32_t index);
/* QUEUED or DELAYED: it will never run. LQ_OK; LQ_MISSING: too late (or long gone). */
enum lq_status lq_client_cancel(struct lq_client *client, uint32_t index, uint32_t task_generation);
/* Have a task stopped that a worker has in hand. LQ_OK: asked; LQ_MISSING: it is not. */
enum lq_status lq_client_stop(struct lq_client *client, uint32_t index, uint32_t task_generation);
/* A cached result was read: it is the youngest now. */
void lq_client_touch(struct lq_client *client, uint32_t index, uint32_t task_generation);
/* Evict the oldest cached result, to make room. LQ_OK or LQ_EMPTY. */
enum lq_status lq_client_shrink(struct lq_client *client);
/*
 * Wait until something of this client's may be done, at most `timeout_ns`; `wanted`: slot + 1 to be woken for that one
 * only, 0 for any. Spins a little first when a processor is free for it. LQ_OK, LQ_TIMEOUT, LQ_INTERRUPTED.
 * Does not touch what the other calls use, so they may go on in other threads.
 */
enum lq_status lq_client_sleep(struct lq_client *client, uint32_t wanted, int64_t timeout_ns);
/* While a thread sleeps for one task only: let it wake for any from now on. May run beside lq_client_sleep. */
void lq_client_widen(struct lq_client *client);
/* Is there something to reap? */
bool lq_client_has_news(const struct lq_client *client);
/* Wake the thread that sleeps there: what it waits for has been finished by another, after it went to sleep. */
void lq_client_wake(struct lq_client *client);

/* Publish a function's bytes; or a block OWNED(me) that holds them already, with `bytes` NULL. `name`: for people. LQ_OK, *row,
   *generation; LQ_FULL: the table or the arena is, and the block is still the caller's. */
enum lq_status lq_client_publish(struct lq_client *client, uint32_t kind, const char *name, const void *bytes, uint32_t length,
                                 uint32_t block, uint32_t *row, uint32_t *generation);
void lq_client_unpublish(struct lq_client *client, uint32_t row);

#endif

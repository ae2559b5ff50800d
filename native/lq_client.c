/* SPDX-License-Identifier: MIT */
#include "lq_client.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "lq_tell.h"

#define SPIN_MOST_NS 30000u /* ~3 futex round trips: beyond that, sleeping is no slower and leaves the processor to others */
#define SPIN_LEAST_NS 1000u
#define SPARE_SHARE 16u /* at most this part of all slots is kept for oneself: other clients want some, too */
#define SPARE_LEAST 64u
#define RESULTS_SHARE 4u /* this part of the arena is not for arguments: what is finished must find room, or nothing goes on */
#define LARGE_SHARE 16u   /* large cached results may hold this part of the arena */
#define LARGE_MOST (64ull << 20)
#define LEAVE_PASSES 16 /* each leaves fewer labels, unless a ring is full */
#define TICK_NS 100000000   /* a lost wake-up (its sender stopped between push and ring) costs at most this */

enum lq_status lq_client_init(struct lq_client *client, struct lq_space *space, lq_label me, uint32_t pid)
{
    uint32_t slots = space->slots.count;
    uint32_t entries = 4;
    while (entries < 2 * slots)
        entries *= 2;
    *client = (struct lq_client){.space = space, .me = me, .pid = pid, .spin_ns = SPIN_MOST_NS};
    client->cache_limit = space->header->sizes.result_cache;
    client->lost = lq_load32_seq(&lq_roster_row(&space->roster, me)->lost);
    client->large_limit = space->header->sizes.memory / LARGE_SHARE < LARGE_MOST ? space->header->sizes.memory / LARGE_SHARE : LARGE_MOST;
    client->cache.kept_from = (space->arena.count - 1) / RESULTS_SHARE;
    client->spare_limit = slots / SPARE_SHARE < SPARE_LEAST ? SPARE_LEAST : slots / SPARE_SHARE;
    client->recent_mask = entries - 1;
    client->spare = malloc(sizeof *client->spare * client->spare_limit);
    client->recent = malloc(sizeof *client->recent * entries); /* touched only as far as it is used */
    client->stamps = calloc(slots, sizeof *client->stamps);
    client->ours = lq_mark_create();
    if (client->spare == NULL || client->recent == NULL || client->stamps == NULL || client->ours == NULL) {
        lq_client_end(client);
        errno = ENOMEM;
        return LQ_SYSTEM;
    }
    return LQ_OK;
}

bool lq_client_is_ours(const struct lq_client *client)
{
    return client->ours != NULL && *client->ours != 0;
}

void lq_client_end(struct lq_client *client)
{
    if (lq_client_is_ours(client)) { /* a forked child must not act under its parent's label */
        lq_arena_cool(&client->space->arena, &client->cache, client->me);
    }
    lq_mark_destroy(client->ours);
    client->ours = NULL;
    free(client->spare);
    free(client->recent);
    free(client->stamps);
    client->spare = NULL;
    client->recent = NULL;
    client->stamps = NULL;
}

/* A full ring leaves labels: then the row stays DEAD, and the supervisor goes on when it meets it. */
void lq_client_leave(struct lq_client *client)
{
    struct lq_space *space = client->space;
    if (!lq_client_is_ours(client))
        return;
    lq_client_end(client);
    lq_space_bury(space, client->me);
    struct lq_recovered pass = {.labels = 1};
    for (int i = 0; i < LEAVE_PASSES && pass.labels != 0; i++)
        lq_space_recover(space, client->me, client->me, 0, &pass);
    if (pass.labels == 0)
        lq_space_release(space, client->me);
}

/* --------------------------------------------------------------------------------------- slots: cache and reuse */

/* From WRITING(me) to FREE, and remembered. Only a hint: whoever else needs a slot finds it and takes it. */
static void keep_spare_(struct lq_client *client, uint32_t index)
{
    struct lq_slot *slot = lq_space_slot(client->space, index);
    lq_store(&slot->word, lq_word_as(lq_load_relaxed(&slot->word), LQ_SLOT_FREE, LQ_NOBODY)); /* plain: it is ours alone */
    LQ_FAULT("client_keep_spare:freed");
    if (client->spare_count < client->spare_limit)
        client->spare[client->spare_count++] = index;
}

static bool take_spare_(struct lq_client *client, uint32_t *index)
{
    while (client->spare_count != 0) {
        *index = client->spare[--client->spare_count];
        struct lq_slot *slot = lq_space_slot(client->space, *index);
        uint64_t word = lq_load(&slot->word);
        if (lq_word_state(word) == LQ_SLOT_FREE &&
            lq_cas(&slot->word, word, lq_word(LQ_SLOT_WRITING, client->me, lq_word_generation(word), 0))) {
            LQ_FAULT("client_take_spare:claimed");
            return true;
        }
    }
    return false;
}

/* Odd stamps say: the slot has a current entry. So `cached` counts entries that are current, whoever else evicts. */
static bool is_listed_(const struct lq_client *client, uint32_t index)
{
    return (client->stamps[index] & 1u) != 0;
}

static bool is_current_(const struct lq_client *client, uint64_t entry)
{
    return client->stamps[entry & LQ_INDEX_MASK] == (uint32_t)(entry >> 32);
}

/* Drop entries that are no longer current, so that the list always has room for one more. */
static void compact_(struct lq_client *client)
{
    uint64_t to = client->recent_head;
    for (uint64_t from = client->recent_head; from != client->recent_tail; from++) {
        uint64_t entry = client->recent[from & client->recent_mask];
        if (is_current_(client, entry))
            client->recent[to++ & client->recent_mask] = entry;
    }
    client->recent_tail = to;
}

static void remember_(struct lq_client *client, uint32_t index)
{
    if (client->recent_tail - client->recent_head > client->recent_mask)
        compact_(client);
    client->cached += !is_listed_(client, index); /* listed still: it was swept and used again, or it was touched */
    uint32_t stamp = client->stamps[index] += is_listed_(client, index) ? 2 : 1;
    client->recent[client->recent_tail++ & client->recent_mask] = (uint64_t)stamp << 32 | index;
}

/* No longer among those that count; its entries are passed over. */
static void unlist_(struct lq_client *client, uint32_t index)
{
    client->cached--;
    client->stamps[index]++;
}

/* Evict one that was listed. False: it is not there any more, and what its slot holds may be another's. */
static bool evict_listed_(struct lq_client *client, uint32_t index)
{
    const struct lq_slot *slot = lq_space_slot(client->space, index);
    uint64_t word = lq_load(&slot->word);
    unlist_(client, index);
    return LQ_GET(slot->client) == client->me &&
           lq_space_evict(client->space, &client->cache, client->me, index, word, LQ_GONE_EVICTED) == LQ_OK;
}

/* Others have evicted some, expired ones above all: count what is left, or what may stay would give way for them. */
static void recount_(struct lq_client *client)
{
    uint32_t lost = lq_load32_seq(&lq_roster_row(&client->space->roster, client->me)->lost);
    if (lost == client->lost)
        return;
    client->lost = lost;
    for (uint64_t at = client->recent_head; at != client->recent_tail; at++) {
        uint64_t entry = client->recent[at & client->recent_mask];
        uint32_t index = (uint32_t)(entry & LQ_INDEX_MASK);
        const struct lq_slot *slot = lq_space_slot(client->space, index);
        if (is_current_(client, entry) && (lq_word_state(lq_load(&slot->word)) != LQ_SLOT_CACHED || LQ_GET(slot->client) != client->me))
            unlist_(client, index);
    }
}

/* Evict the oldest one, if more than `most` are listed. Those that others evicted are found out here, and unlisted. */
static enum lq_status evict_oldest_(struct lq_client *client, uint32_t most)
{
    while (client->recent_head != client->recent_tail) {
        uint64_t entry = client->recent[client->recent_head & client->recent_mask];
        uint32_t index = (uint32_t)(entry & LQ_INDEX_MASK);
        if (is_current_(client, entry) && client->cached <= most)
            return LQ_EMPTY;
        client->recent_head++;
        if (!is_current_(client, entry) || !evict_listed_(client, index))
            continue; /* or it has expired and was swept, or evicted by another client */
        keep_spare_(client, index);
        return LQ_OK;
    }
    return LQ_EMPTY;
}

/* The large one that came first. The youngest stays whatever its size: it may be asked for by its id. */
static void evict_large_(struct lq_client *client)
{
    uint64_t at = client->large_head++ % LQ_LARGE_KEPT;
    uint64_t entry = client->large[at];
    uint32_t index = (uint32_t)(entry & LQ_INDEX_MASK);
    client->large_sum -= client->large_bytes[at];
    if (!is_current_(client, entry))
        return; /* evicted before, or read since, and then it is younger: the other list has it */
    if (evict_listed_(client, index))
        keep_spare_(client, index);
}

/* The slot has just been remembered; its result has a block of that size. */
static void weigh_(struct lq_client *client, uint32_t index, uint64_t room)
{
    if (room < LQ_LARGE_BYTES)
        return;
    if (client->large_tail - client->large_head == LQ_LARGE_KEPT)
        evict_large_(client);
    client->large[client->large_tail % LQ_LARGE_KEPT] = (uint64_t)client->stamps[index] << 32 | index;
    client->large_bytes[client->large_tail++ % LQ_LARGE_KEPT] = room;
    client->large_sum += room;
    while (client->large_sum > client->large_limit && client->large_tail - client->large_head > 1)
        evict_large_(client);
}

enum lq_status lq_client_shrink(struct lq_client *client)
{
    return evict_oldest_(client, 0);
}

/* A slot for a cached result of one's own; another client may be quicker to take what was evicted. */
static bool evict_for_(struct lq_client *client, uint32_t *index)
{
    while (lq_client_shrink(client) == LQ_OK)
        if (take_spare_(client, index))
            return true;
    return false;
}

enum lq_status lq_client_reserve(struct lq_client *client, uint32_t *index)
{
    struct lq_space *space = client->space;
    if (client->pending >= space->header->sizes.capacity)
        return LQ_FULL;
    if (!take_spare_(client, index) && lq_slots_take_fresh(&space->slots, client->me, index) != LQ_OK &&
        lq_slots_take_free(&space->slots, client->me, &client->free_cursor, index) != LQ_OK && !evict_for_(client, index) &&
        lq_space_take_over(space, client->me, index) != LQ_OK)
        return LQ_FULL;
    if (client->spare_count != 0)
        __builtin_prefetch(lq_space_slot(space, client->spare[client->spare_count - 1]), 1);
    struct lq_slot *slot = lq_space_slot(space, *index);
    uint32_t generation = lq_word_generation(lq_load_relaxed(&slot->word));
    LQ_PUT(slot->args_block, LQ_NO_BLOCK);
    LQ_PUT(slot->result_block, LQ_NO_BLOCK);
    LQ_PUT(slot->task_generation, generation);
    LQ_PUT(slot->client, client->me);
    LQ_PUT(slot->outcome, (uint8_t)LQ_OUTCOME_NONE);
    LQ_PUT(slot->attempt, 0u);
    lq_store_relaxed(&slot->verdict, 0);
    LQ_PUT(slot->start_ns, 0u); /* who is cancelled never starts, and who crashes has no time of ending */
    LQ_PUT(slot->done_ns, 0u);
    LQ_PUT(slot->worker_pid, 0u);
    lq_store32_relaxed(&slot->stop, 0);
    LQ_PUT(slot->limit_ms, 0u);
    LQ_PUT(slot->expires_ms, 0u);
    LQ_PUT(slot->due_ms, 0u);
    LQ_FAULT("client_reserve:ready");
    return LQ_OK;
}

void lq_client_discard(struct lq_client *client, uint32_t index)
{
    if (!lq_client_is_ours(client))
        return; /* it has left meanwhile, and the slot was freed for it */
    struct lq_slot *slot = lq_space_slot(client->space, index);
    if (slot->args_block != LQ_NO_BLOCK) {
        lq_arena_drop(&client->space->arena, &client->cache, client->me, slot->args_block,
                      lq_backref(LQ_HOLDER_ARGS, index, slot->task_generation));
        LQ_PUT(slot->args_block, LQ_NO_BLOCK);
    }
    uint64_t word = lq_load_relaxed(&slot->word);
    lq_store(&slot->word, lq_word_next(word, LQ_SLOT_WRITING, client->me, 0)); /* the task id that was in the making is void */
    keep_spare_(client, index);
}

/* Cached results give way to new work: one's own first, then whoever's. */
enum lq_status lq_client_take(struct lq_client *client, uint64_t bytes, bool sparse, uint32_t *block)
{
    struct lq_arena *arena = &client->space->arena;
    enum lq_status status = lq_arena_take(arena, &client->cache, client->me, bytes, sparse, block);
    while (status == LQ_FULL && (lq_client_shrink(client) == LQ_OK || lq_space_relieve(client->space, client->me)))
        status = lq_arena_take(arena, &client->cache, client->me, bytes, sparse, block);
    return status;
}

void lq_client_hold_args(struct lq_client *client, uint32_t index, uint32_t block)
{
    struct lq_slot *slot = lq_space_slot(client->space, index);
    LQ_PUT(slot->args_block, block);
    LQ_FAULT("client_store_args:named");
    lq_arena_hold(&client->space->arena, client->me, block, lq_backref(LQ_HOLDER_ARGS, index, slot->task_generation));
}

enum lq_status lq_client_store_args(struct lq_client *client, uint32_t index, const void *bytes, uint64_t length)
{
    uint32_t block;
    uint64_t room;
    enum lq_status status = lq_client_take(client, length, false, &block);
    if (status != LQ_OK)
        return status;
    memcpy(lq_arena_at(&client->space->arena, block, &room), bytes, length);
    lq_client_hold_args(client, index, block);
    return LQ_OK;
}

/* ------------------------------------------------------------------------------------------------- submit and reap */

/*
 * Callers:  the client that filled the slot.
 * Progress: lock-free.
 * Returns:  LQ_OK; LQ_FULL with the slot WRITING as before.
 * Death:    before [C1] the slot is WRITING(me) and freed; from then on QUEUED(me) says that the push is owed.
 */
enum lq_status lq_client_submit(struct lq_client *client, uint32_t index)
{
    struct lq_space *space = client->space;
    struct lq_slot *slot = lq_space_slot(space, index);
    const struct lq_ring *ring = &space->rings[slot->queue][slot->priority];
    int64_t now = lq_now_ns();
    LQ_PUT(slot->submit_ns, (uint64_t)now);
    uint64_t word = lq_load_relaxed(&slot->word);
    if (slot->due_ms != 0) { /* not yet: the supervisor puts it into its ring */
        int32_t left_ms = (int32_t)(slot->due_ms - lq_space_ms(space, now));
        client->pending++;
        lq_store(&slot->word, lq_word_as(word, LQ_SLOT_DELAYED, LQ_NOBODY));
        LQ_FAULT("client_submit:delayed");
        lq_space_expect(space, (uint64_t)(now + left_ms * 1000000ll));
        return LQ_OK;
    }
    uint64_t queued = lq_word_as(word, LQ_SLOT_QUEUED, client->me);
    lq_store(&slot->word, queued); /* [C1] */
    LQ_FAULT("client_submit:queued");
    if (lq_ring_push(ring, index, lq_word_generation(word)) != LQ_OK) {
        lq_store(&slot->word, word); /* no cell names it, so it is ours yet; that another client has cancelled it is forgotten */
        return LQ_FULL;
    }
    client->pending++;
    lq_space_call_worker(space, ring, now);
    LQ_FAULT("client_submit:called");
    return LQ_OK;
}

/* All of a slot but what only long results reach. An index that was never one is none of any: the hint goes nowhere then. */
static inline void prefetch_slot_(const struct lq_space *space, uint32_t index)
{
    const char *slot = (const char *)lq_space_slot(space, index < space->slots.count ? index : 0);
    __builtin_prefetch(slot, 1);
    __builtin_prefetch(slot + LQ_LINE, 1);
    __builtin_prefetch(slot + 2 * LQ_LINE, 1);
}

/* After a completion ring was full: find a finished task by looking through all slots. */
static enum lq_status reap_by_scan_(struct lq_client *client, uint32_t *index)
{
    uint32_t used = lq_slots_used(&client->space->slots);
    for (uint32_t at = 0; at < used; at++) {
        const struct lq_slot *slot = lq_space_slot(client->space, at);
        if (lq_word_state(lq_load(&slot->word)) == LQ_SLOT_DONE && LQ_GET(slot->client) == client->me) {
            *index = at;
            return LQ_OK;
        }
    }
    return LQ_EMPTY;
}

/*
 * Callers:  one thread of the client at a time.
 * Progress: lock-free.
 * Death:    the client's own; its results are then settled by the sweep.
 */
enum lq_status lq_client_reap(struct lq_client *client, uint32_t *index)
{
    struct lq_space *space = client->space;
    const struct lq_ring *ring = &space->completions[lq_label_row(client->me)];
    struct lq_ring_entry entry;
    while (lq_ring_peek(ring, &entry) == LQ_OK) {
        lq_ring_advance(ring, &entry);
        if (entry.index >= space->slots.count)
            continue;
        const struct lq_slot *slot = lq_space_slot(space, entry.index);
        uint64_t word = lq_load(&slot->word);
        if (lq_word_state(word) != LQ_SLOT_DONE || (lq_word_generation(word) & LQ_INDEX_MASK) != entry.generation ||
            LQ_GET(slot->client) != client->me)
            continue; /* told twice, or left by an earlier client of this row */
        *index = entry.index;
        /* The next one's lines are still in its worker's cache: they come while this one is seen to. */
        uint64_t next = lq_load_relaxed(lq_ring_cell(ring, entry.position + 1));
        prefetch_slot_(space, (uint32_t)(next & LQ_INDEX_MASK));
        return LQ_OK;
    }
    lq_arena_ease(&space->arena, &client->cache, client->me);
    struct lq_row *row = lq_roster_row(&space->roster, client->me);
    if (lq_load32_relaxed(&row->missed) == 0)
        return LQ_EMPTY;
    enum lq_status status = reap_by_scan_(client, index);
    if (status != LQ_OK && lq_swap32_seq(&row->missed, 0) != 0) {
        status = reap_by_scan_(client, index); /* once more: some may have come before the flag went down */
        if (status == LQ_OK)
            lq_store32_seq(&row->missed, 1); /* and where one was, there may be another */
    }
    return status;
}

/* While tasks are traced: when this one's result was taken. */
static void record_(struct lq_client *client, uint32_t index)
{
    const struct lq_slot *slot = lq_space_slot(client->space, index);
    int64_t now = lq_now_ns();
    struct lq_record record = {.slot = index, .task_generation = slot->task_generation, .pid = client->pid, .received_ns = (uint64_t)now};
    if (lq_traces_is_on(&client->space->traces, now))
        lq_traces_record(&client->space->traces, client->me, &record);
}

void lq_client_consume(struct lq_client *client, uint32_t index)
{
    struct lq_space *space = client->space;
    struct lq_slot *slot = lq_space_slot(space, index);
    if (slot->args_block != LQ_NO_BLOCK)
        lq_arena_drop(&space->arena, &client->cache, client->me, slot->args_block,
                      lq_backref(LQ_HOLDER_ARGS, index, slot->task_generation));
    LQ_FAULT("client_consume:dropped");
    if (lq_traces_may_be_on(&space->traces))
        record_(client, index);
    uint64_t room = 0;
    if (slot->result_block != LQ_NO_BLOCK)
        lq_space_block(space, slot->result_block, &room);
    for (;;) {
        uint64_t word = lq_load(&slot->word);
        if (lq_word_state(word) != LQ_SLOT_DONE)
            return; /* the caller reaps, so this can't be; and nothing is lost if it is */
        if (lq_cas(&slot->word, word, lq_word_as(word, LQ_SLOT_CACHED, LQ_NOBODY)))
            break; /* a recoverer may have relabelled it in between: then again */
    }
    LQ_FAULT("client_consume:cached");
    client->pending--;
    remember_(client, index);
    weigh_(client, index, room);
    if (client->cached > client->cache_limit)
        recount_(client);
    while (evict_oldest_(client, client->cache_limit) == LQ_OK)
        ;
    /* The next to be evicted is a cold line: ask for it now. */
    if (client->recent_head != client->recent_tail)
        __builtin_prefetch(lq_space_slot(space, (uint32_t)(client->recent[(client->recent_head + 1) & client->recent_mask] & LQ_INDEX_MASK) % space->slots.count), 1);
}

enum lq_status lq_client_cancel(struct lq_client *client, uint32_t index, uint32_t task_generation)
{
    struct lq_slot *slot = lq_space_slot(client->space, index);
    for (;;) {
        uint64_t word = lq_load(&slot->word);
        uint32_t state = lq_word_state(word);
        if ((state != LQ_SLOT_QUEUED && state != LQ_SLOT_DELAYED) || LQ_GET(slot->task_generation) != task_generation)
            return LQ_MISSING;
        if (state == LQ_SLOT_DELAYED) { /* in no ring: nobody would pop it. Dead in between: recovery puts it there */
            uint64_t cancelled = lq_word_as(word, LQ_SLOT_CANCELLED, client->me);
            if (!lq_cas(&slot->word, word, cancelled))
                continue;
            LQ_FAULT("client_cancel:undelayed");
            lq_space_settle_cancelled(client->space, client->me, index, cancelled);
            return LQ_OK;
        }
        /* The label stays: whoever owed the push of QUEUED owes that of CANCELLED, or nobody would ever be told. */
        if (!lq_cas(&slot->word, word, lq_word_as(word, LQ_SLOT_CANCELLED, lq_word_label(word))))
            continue; /* taken, or merely relabelled */
        LQ_FAULT("client_cancel:cancelled");
        lq_space_call_watchers(client->space, index, task_generation);
        /* Its cell is still in the ring: whoever pops it settles the slot. Nobody may be awake to do so. */
        lq_space_call_worker(client->space, lq_space_ring_of(client->space, slot), lq_now_ns());
        return LQ_OK;
    }
}

enum lq_status lq_client_stop(struct lq_client *client, uint32_t index, uint32_t task_generation)
{
    if (!lq_slot_ask(lq_space_slot(client->space, index), task_generation, LQ_STOP_CANCEL))
        return LQ_MISSING;
    LQ_FAULT("client_stop:asked");
    lq_space_call_supervisor(client->space);
    return LQ_OK;
}

void lq_client_touch(struct lq_client *client, uint32_t index, uint32_t task_generation)
{
    struct lq_slot *slot = lq_space_slot(client->space, index);
    uint64_t word = lq_load(&slot->word);
    if (lq_word_state(word) == LQ_SLOT_CACHED && LQ_GET(slot->task_generation) == task_generation && LQ_GET(slot->client) == client->me)
        remember_(client, index);
    lq_store_relaxed(&client->space->pasts[index].used_ns, (uint64_t)lq_now_ns());
}

/* ---------------------------------------------------------------------------------------------------------- waiting */

bool lq_client_has_news(const struct lq_client *client)
{
    struct lq_ring_entry entry;
    return lq_ring_peek(&client->space->completions[lq_label_row(client->me)], &entry) == LQ_OK ||
           lq_load32_seq(&lq_roster_row(&client->space->roster, client->me)->missed) != 0;
}

/* Spinning takes a processor. Only where one is left over: fewer workers awake than processors. */
static bool may_spin_(const struct lq_client *client)
{
    const struct lq_header *header = client->space->header;
    uint32_t workers = lq_load32_relaxed(&header->workers);
    uint32_t parked = lq_bell_count(header->bell.parked);
    return header->sizes.cpus > 1 && (workers > parked ? workers - parked : 0) < header->sizes.cpus;
}

static bool spin_(struct lq_client *client, int64_t limit_ns)
{
    int64_t spin = client->spin_ns < limit_ns ? client->spin_ns : limit_ns;
    int64_t until = lq_now_ns() + spin;
    for (uint32_t i = 1;; i++) {
        if (lq_client_has_news(client)) {
            client->spin_ns = client->spin_ns * 2 < SPIN_MOST_NS ? client->spin_ns * 2 : SPIN_MOST_NS;
            return true;
        }
        lq_relax();
        if (i % 16 == 0) {
            if (lq_now_ns() >= until)
                break;
            sched_yield(); /* to the worker that is waited for, perhaps */
        }
    }
    client->spin_ns = client->spin_ns / 2 > SPIN_LEAST_NS ? client->spin_ns / 2 : SPIN_LEAST_NS;
    return false;
}

void lq_client_widen(struct lq_client *client)
{
    struct lq_row *row = lq_roster_row(&client->space->roster, client->me);
    lq_store32_seq(&row->wanted, 0);
    if (lq_client_has_news(client)) /* told before the change, and not rung for: then ring for it */
        lq_bell_ring(&row->bell, INT_MAX);
}

void lq_client_wake(struct lq_client *client)
{
    lq_bell_ring(&lq_roster_row(&client->space->roster, client->me)->bell, INT_MAX);
}

/* Going to sleep leaves a processor free. If work waits and a worker sleeps, it shall have it, whatever was promised. */
static void pass_on_(const struct lq_client *client)
{
    const struct lq_space *space = client->space;
    struct lq_bell *bell = &space->header->bell;
    if (!lq_bell_any(bell->parked))
        return;
    for (uint32_t i = 0; i < space->queues * LQ_PRIORITIES; i++) {
        if (lq_ring_depth(&space->rings[i / LQ_PRIORITIES][i % LQ_PRIORITIES]) != 0) {
            lq_bell_ring(bell, 1);
            return;
        }
    }
}

enum lq_status lq_client_sleep(struct lq_client *client, uint32_t wanted, int64_t timeout_ns)
{
    struct lq_row *row = lq_roster_row(&client->space->roster, client->me);
    int64_t limit = timeout_ns < TICK_NS ? timeout_ns : TICK_NS;
    if (lq_client_has_news(client) || (may_spin_(client) && spin_(client, limit)))
        return LQ_OK;
    pass_on_(client);
    uint32_t key = lq_bell_key(&row->bell);
    lq_store32_seq(&row->wanted, wanted);
    lq_bell_set(row->bell.parked, 0); /* a client's bell has one kind of sleeper: its own threads, bit 0 */
    enum lq_status status = LQ_OK;
    if (!lq_client_has_news(client))
        status = lq_bell_sleep(&row->bell, key, limit);
    lq_bell_clear(row->bell.parked, 0);
    return status;
}

/* -------------------------------------------------------------------------------------------------------- functions */

enum lq_status lq_client_publish(struct lq_client *client, uint32_t kind, const char *name, const void *bytes, uint32_t length,
                                 uint32_t block, uint32_t *row, uint32_t *generation)
{
    struct lq_space *space = client->space;
    enum lq_status status = lq_functions_take(&space->functions, client->me, &client->function_cursor, row);
    if (status != LQ_OK)
        return status;
    struct lq_function *function = &space->functions.rows[*row];
    LQ_PUT(function->kind, kind);
    LQ_PUT(function->bytes, length);
    LQ_PUT(function->block, LQ_NO_BLOCK);
    lq_functions_name(&space->functions, *row, name, strlen(name));
    unsigned char *at = function->inline_bytes;
    uint64_t room;
    if (block == LQ_NO_BLOCK && length > LQ_FUNCTION_INLINE) {
        status = lq_arena_take(&space->arena, &client->cache, client->me, length, false, &block);
        if (status != LQ_OK) {
            lq_functions_release(&space->functions, client->me, *row);
            return status;
        }
        at = lq_arena_at(&space->arena, block, &room);
    }
    if (bytes != NULL)
        memcpy(at, bytes, length);
    if (block != LQ_NO_BLOCK) {
        uint32_t next = lq_word_generation(lq_load_relaxed(&function->word));
        LQ_PUT(function->block, block);
        LQ_FAULT("client_publish:named");
        lq_arena_hold(&space->arena, client->me, block, lq_backref(LQ_HOLDER_FUNCTION, *row, next));
    }
    *generation = lq_functions_publish(&space->functions, client->me, *row);
    return LQ_OK;
}

void lq_client_unpublish(struct lq_client *client, uint32_t row)
{
    struct lq_function *function = &client->space->functions.rows[row];
    uint32_t block = function->block;
    uint64_t word = lq_load_relaxed(&function->word);
    uint32_t generation = lq_word_generation(word);
    if (lq_word_state(word) != LQ_FUNCTION_LIVE || lq_word_label(word) != client->me)
        return;
    /* Out of readers' sight before its bytes go: LIVE says that the block is still there. From here recovery drops it. */
    lq_store(&function->word, lq_word_as(word, LQ_FUNCTION_WRITING, client->me));
    LQ_FAULT("client_unpublish:signed");
    if (block != LQ_NO_BLOCK)
        lq_arena_drop(&client->space->arena, &client->cache, client->me, block, lq_backref(LQ_HOLDER_FUNCTION, row, generation));
    lq_functions_release(&client->space->functions, client->me, row);
}

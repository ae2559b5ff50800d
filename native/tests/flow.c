/* SPDX-License-Identifier: MIT */
#include "flow.h"

#include <stdlib.h>
#include <unistd.h>

/* What a task's inline arguments say, also where the rest lies in a block. */
struct head_ {
    uint64_t tag;
    uint64_t args_bytes, result_bytes;
};

void flow_make(struct lq_space *space, uint32_t capacity, uint32_t cache, uint32_t megabytes)
{
    struct lq_sizes sizes = {.capacity = capacity, .result_cache = cache, .queues = 1, .cpus = 1,
                             .memory = (uint64_t)megabytes << 20, .ttl_ms = 3600000};
    CHECK_EQ(lq_space_create(space, &sizes, 42), LQ_OK);
}

lq_label flow_join(struct lq_space *space, enum lq_role role)
{
    lq_label label = LQ_NOBODY;
    CHECK_EQ(lq_space_join(space, role, (uint32_t)getpid(), &label), LQ_OK);
    return label;
}

void flow_init_client(struct lq_client *client, struct lq_space *space, lq_label me)
{
    CHECK_EQ(lq_client_init(client, space, me, (uint32_t)getpid()), LQ_OK);
    client->large_limit = UINT64_MAX; /* arenas are small here: what is cached is for the test to say */
}

void flow_fill_with_stale_entries(const struct lq_ring *ring)
{
    while (lq_ring_push(ring, 0, 0xfffff) == LQ_OK)
        ;
}

static uint64_t word_of_(uint32_t tag, uint32_t salt, uint64_t at)
{
    return ((uint64_t)tag * 2654435761u + salt * 97u + at) * 0x9e3779b97f4a7c15ull;
}

void flow_fill(void *to, uint32_t tag, uint32_t salt, uint64_t bytes)
{
    uint64_t *words = to;
    for (uint64_t i = 0; i < bytes / 8; i++)
        LQ_PUT(words[i], word_of_(tag, salt, i));
}

bool flow_matches(const void *from, uint32_t tag, uint32_t salt, uint64_t bytes)
{
    const uint64_t *words = from;
    for (uint64_t i = 0; i < bytes / 8; i++)
        if (LQ_GET(words[i]) != word_of_(tag, salt, i))
            return false;
    return true;
}

void flow_describe(struct lq_slot *slot, struct flow_task task)
{
    struct head_ head = {task.tag, task.args_bytes, task.result_bytes};
    LQ_PUT(slot->queue, 0);
    LQ_PUT(slot->priority, task.priority);
    LQ_PUT(slot->kind, 0);
    LQ_PUT(slot->function, LQ_FUNCTION_IN_BAND);
    LQ_PUT(slot->max_retries, 0);
    LQ_PUT(slot->max_crashes, task.max_crashes);
    LQ_PUT(slot->args_bytes, (uint32_t)task.args_bytes);
    lq_copy_relaxed(slot->args, &head, sizeof head);
}

enum lq_status flow_submit(struct lq_client *client, struct flow_task task, uint32_t *index)
{
    enum lq_status status = lq_client_reserve(client, index);
    if (status != LQ_OK)
        return status;
    flow_describe(lq_space_slot(client->space, *index), task);
    if (task.args_bytes > LQ_INLINE_BYTES) {
        void *bytes = malloc(task.args_bytes);
        CHECK(bytes != NULL);
        flow_fill(bytes, task.tag, 0, task.args_bytes);
        status = lq_client_store_args(client, *index, bytes, task.args_bytes);
        free(bytes);
    }
    if (status == LQ_OK)
        status = lq_client_submit(client, *index);
    if (status != LQ_OK)
        lq_client_discard(client, *index);
    return status;
}

static struct head_ head_of_(const struct lq_slot *slot)
{
    struct head_ head;
    lq_copy_relaxed(&head, slot->args, sizeof head);
    return head;
}

uint32_t flow_check_args(const struct lq_space *space, uint32_t index)
{
    const struct lq_slot *slot = lq_space_slot(space, index);
    struct head_ head = head_of_(slot);
    CHECK(head.tag < TAGS);
    CHECK_EQ(head.args_bytes, slot->args_bytes);
    CHECK((slot->args_block == LQ_NO_BLOCK) == (head.args_bytes <= LQ_INLINE_BYTES));
    if (slot->args_block != LQ_NO_BLOCK) {
        uint64_t room = 0;
        const unsigned char *at = lq_space_block(space, slot->args_block, &room);
        CHECK(at != NULL && room >= head.args_bytes);
        CHECK(flow_matches(at, (uint32_t)head.tag, 0, head.args_bytes));
    }
    return (uint32_t)head.tag;
}

uint32_t flow_call(struct lq_worker *worker, struct ledger *ledger, uint32_t index)
{
    struct lq_slot *slot = lq_space_slot(worker->space, index);
    struct head_ head = head_of_(slot);
    uint32_t tag = (uint32_t)head.tag;
    lq_add32_seq(&ledger->runs[tag], 1);
    LQ_FAULT("test:in user code");
    if (head.result_bytes <= LQ_INLINE_BYTES) {
        flow_fill(slot->result, tag, 1, head.result_bytes);
    } else {
        void *bytes = malloc(head.result_bytes);
        CHECK(bytes != NULL);
        flow_fill(bytes, tag, 1, head.result_bytes);
        enum lq_status status;
        do
            status = lq_worker_store_result(worker, index, bytes, head.result_bytes);
        while (status == LQ_FULL && lq_space_relieve(worker->space, worker->me));
        CHECK_EQ(status, LQ_OK);
        free(bytes);
    }
    return (uint32_t)head.result_bytes;
}

void flow_run(struct lq_worker *worker, struct ledger *ledger, uint32_t index)
{
    flow_check_args(worker->space, index);
    lq_worker_start(worker, index, 0);
    lq_worker_finish(worker, index, LQ_OUTCOME_SUCCESS, 0, flow_call(worker, ledger, index));
}

uint32_t flow_drain(struct lq_worker *worker, struct ledger *ledger)
{
    uint32_t taken = 0;
    uint32_t index;
    while (lq_worker_take_now(worker, &index) == LQ_OK) {
        flow_run(worker, ledger, index);
        taken++;
    }
    return taken;
}

static void check_result_(const struct lq_space *space, const struct lq_slot *slot)
{
    struct head_ head = head_of_(slot);
    uint64_t room = LQ_INLINE_BYTES;
    const unsigned char *at = slot->result;
    CHECK_EQ(slot->result_bytes, head.result_bytes);
    CHECK((slot->result_block == LQ_NO_BLOCK) == (head.result_bytes <= LQ_INLINE_BYTES));
    if (slot->result_block != LQ_NO_BLOCK)
        at = lq_space_block(space, slot->result_block, &room);
    CHECK(at != NULL && room >= head.result_bytes);
    CHECK(flow_matches(at, (uint32_t)head.tag, 1, head.result_bytes));
}

void flow_consume(struct lq_client *client, struct ledger *ledger, uint32_t index)
{
    const struct lq_slot *slot = lq_space_slot(client->space, index);
    uint32_t wait_status = 0;
    uint32_t tag = (uint32_t)head_of_(slot).tag;
    enum lq_outcome outcome = lq_slot_outcome(slot, &wait_status);
    CHECK_EQ(slot->client, client->me);
    CHECK(tag < TAGS);
    if (outcome == LQ_OUTCOME_SUCCESS)
        check_result_(client->space, slot);
    lq_add32_seq(&ledger->outcomes[tag], 1);
    lq_store32(&ledger->last[tag], outcome);
    lq_client_consume(client, index);
}

enum lq_status flow_pin_result(const struct lq_space *space, lq_label me, uint32_t index, uint32_t *cursor, struct flow_pin *pin)
{
    struct lq_slot copy;
    uint32_t cause;
    uint32_t task = LQ_GET(lq_space_slot(space, index)->task_generation);
    if (lq_space_read(space, index, task, &copy) != LQ_OK || copy.result_block == LQ_NO_BLOCK ||
        (lq_slot_state_of(&copy) != LQ_SLOT_DONE && lq_slot_state_of(&copy) != LQ_SLOT_CACHED) ||
        lq_slot_outcome(&copy, &cause) != LQ_OUTCOME_SUCCESS)
        return LQ_MISSING;
    uint32_t generation = lq_word_generation(lq_load(lq_arena_word(&space->arena, copy.result_block)));
    enum lq_status status = lq_arena_pin(&space->arena, me, copy.result_block, generation, 0, cursor, &pin->entry);
    if (status != LQ_OK)
        return status;
    if (!lq_space_is_current(space, index, &copy)) { /* it may be another's block by now */
        lq_arena_unpin(&space->arena, NULL, me, pin->entry);
        return LQ_MISSING;
    }
    pin->block = copy.result_block;
    pin->tag = (uint32_t)head_of_(&copy).tag;
    pin->bytes = head_of_(&copy).result_bytes;
    return LQ_OK;
}

void flow_check_pin(const struct lq_space *space, const struct flow_pin *pin)
{
    uint64_t room = 0;
    const unsigned char *at = lq_space_block(space, pin->block, &room);
    CHECK(at != NULL && room >= pin->bytes);
    CHECK(flow_matches(at, pin->tag, 1, pin->bytes));
}

uint32_t flow_reap(struct lq_client *client, struct ledger *ledger)
{
    uint32_t reaped = 0;
    uint32_t index;
    while (lq_client_reap(client, &index) == LQ_OK) {
        flow_consume(client, ledger, index);
        reaped++;
    }
    return reaped;
}

bool flow_recover(struct lq_space *space, lq_label dead, lq_label me, uint32_t wait_status, struct lq_recovered *sum)
{
    struct lq_recovered pass;
    int passes = 0;
    do {
        lq_space_recover(space, dead, me, wait_status, &pass);
        sum->labels += pass.labels;
        sum->requeued += pass.requeued;
        sum->crashed += pass.crashed;
        sum->released += pass.released;
    } while (pass.labels != 0 && ++passes < 20); /* every pass takes labels away, unless a ring is full */
    return pass.labels == 0;
}

struct lq_recovered flow_bury(struct lq_space *space, lq_label dead, uint32_t wait_status)
{
    struct lq_recovered sum = {0};
    lq_space_bury(space, dead);
    CHECK(flow_recover(space, dead, dead, wait_status, &sum));
    lq_space_release(space, dead);
    return sum;
}

void flow_check(const struct lq_space *space, const char *file, int line)
{
    char problem[200];
    if (lq_space_check(space, problem, sizeof problem) != LQ_OK)
        lq_fail(file, line, problem);
}

void flow_empty(struct lq_space *space, lq_label me)
{
    lq_space_sweep(space, me);
    uint32_t used = lq_slots_used(&space->slots);
    for (uint32_t index = 0; index < used; index++) {
        struct lq_slot *slot = lq_space_slot(space, index);
        uint64_t word = lq_load(&slot->word);
        if (lq_space_evict(space, NULL, me, index, word, LQ_GONE_EVICTED) == LQ_OK)
            lq_store(&slot->word, lq_word_next(word, LQ_SLOT_FREE, LQ_NOBODY, 0));
    }
}

void flow_check_empty(const struct lq_space *space)
{
    uint64_t held;
    uint64_t owned;
    uint64_t spans;
    FLOW_CHECK(space);
    for (uint32_t index = 0; index < lq_slots_used(&space->slots); index++) {
        uint32_t state = lq_slot_state_of(lq_space_slot(space, index));
        CHECK(state == LQ_SLOT_FREE || state == LQ_SLOT_FRESH);
    }
    lq_space_arena_reading(space, &held, &owned, &spans);
    CHECK_EQ(held, 0);
    CHECK_EQ(owned, 0);
    for (uint32_t span = 1; span < space->arena.count; span++) {
        uint64_t word = lq_load(&space->arena.spans[span].word);
        CHECK(lq_word_state(word) == LQ_BLOCK_FREE || lq_word_state(word) == LQ_SPAN_CLASS);
        if (lq_load32(&space->arena.spans[span].cut) == 0)
            continue;
        for (uint32_t i = 0; i < LQ_BLOCKS_PER_SPAN; i++) /* also those that the present class has no use for */
            CHECK_EQ(lq_word_state(lq_load(&space->arena.blocks[((size_t)span << LQ_BLOCKS_ORDER) + i].word)), LQ_BLOCK_FREE);
    }
    for (uint32_t row = 0; row < lq_functions_end(&space->functions); row++)
        CHECK_EQ(lq_word_state(lq_load(&space->functions.rows[row].word)), LQ_FUNCTION_FREE);
}

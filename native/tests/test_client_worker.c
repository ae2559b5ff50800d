/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "flow.h"

static struct ledger ledger_;

struct stage_ {
    struct lq_space space;
    struct lq_client client;
    struct lq_worker worker;
};

static void set_(struct stage_ *stage, uint32_t capacity, uint32_t cache, uint32_t megabytes)
{
    flow_make(&stage->space, capacity, cache, megabytes);
    flow_init_client(&stage->client, &stage->space, flow_join(&stage->space, LQ_ROLE_CLIENT));
    lq_worker_init(&stage->worker, &stage->space, flow_join(&stage->space, LQ_ROLE_WORKER), 55);
}

/* All is over: what is left must be nothing. */
static void strike_(struct stage_ *stage)
{
    lq_client_end(&stage->client);
    lq_worker_end(&stage->worker);
    flow_empty(&stage->space, stage->worker.me);
    flow_check_empty(&stage->space);
}

static uint32_t submit_(struct stage_ *stage, uint32_t tag)
{
    uint32_t index;
    struct flow_task task = {.tag = tag, .args_bytes = 8, .result_bytes = 8};
    CHECK_EQ(flow_submit(&stage->client, task, &index), LQ_OK);
    return index;
}

static uint32_t take_(struct stage_ *stage)
{
    uint32_t index;
    CHECK_EQ(lq_worker_take_now(&stage->worker, &index), LQ_OK);
    return index;
}

static uint32_t state_(struct stage_ *stage, uint32_t index)
{
    return lq_slot_state_of(lq_space_slot(&stage->space, index));
}

static void flow_of_a_task_passes_every_state_once(void)
{
    struct stage_ stage;
    uint32_t index;
    uint32_t same;
    set_(&stage, 4, 4, 8);
    CHECK_EQ(lq_client_reserve(&stage.client, &index), LQ_OK);
    CHECK_EQ(state_(&stage, index), LQ_SLOT_WRITING);
    lq_client_discard(&stage.client, index);
    CHECK_EQ(submit_(&stage, 1), index);
    CHECK_EQ(state_(&stage, index), LQ_SLOT_QUEUED);
    CHECK_EQ(stage.client.pending, 1);
    CHECK_EQ(lq_client_reap(&stage.client, &same), LQ_EMPTY);
    CHECK_EQ(take_(&stage), index);
    CHECK_EQ(state_(&stage, index), LQ_SLOT_CLAIMED);
    CHECK_EQ(lq_worker_take_now(&stage.worker, &same), LQ_EMPTY);
    lq_worker_start(&stage.worker, index, 0);
    CHECK_EQ(state_(&stage, index), LQ_SLOT_RUNNING);
    lq_worker_finish(&stage.worker, index, LQ_OUTCOME_FAILURE, 3, 8);
    CHECK_EQ(state_(&stage, index), LQ_SLOT_DONE);
    CHECK(lq_client_has_news(&stage.client));
    CHECK_EQ(lq_client_reap(&stage.client, &same), LQ_OK);
    CHECK_EQ(same, index);
    CHECK_EQ(lq_client_reap(&stage.client, &same), LQ_EMPTY);
    struct lq_slot *slot = lq_space_slot(&stage.space, index);
    CHECK(slot->result_format == 3 && slot->attempt == 1 && slot->worker_pid == 55);
    CHECK(slot->submit_ns <= slot->start_ns && slot->start_ns <= slot->done_ns);
    lq_client_consume(&stage.client, index);
    CHECK_EQ(state_(&stage, index), LQ_SLOT_CACHED);
    CHECK_EQ(stage.client.pending, 0);
    lq_client_consume(&stage.client, index); /* again: nothing */
    CHECK(stage.client.pending == 0 && stage.client.cached == 1);
    CHECK_EQ(lq_client_shrink(&stage.client), LQ_OK);
    CHECK_EQ(state_(&stage, index), LQ_SLOT_FREE);
    CHECK_EQ(lq_client_shrink(&stage.client), LQ_EMPTY);
    strike_(&stage);
}

static void flow_times_of_a_task_are_in_order(void)
{
    struct stage_ stage;
    set_(&stage, 4, 4, 8);
    for (uint32_t i = 0; i < 100; i++) { /* the worker saves a clock reading when it comes straight from another task */
        const struct lq_slot *slot = lq_space_slot(&stage.space, submit_(&stage, i));
        CHECK_EQ(flow_drain(&stage.worker, &ledger_), 1);
        CHECK(slot->submit_ns <= slot->start_ns && slot->start_ns <= slot->done_ns);
        flow_reap(&stage.client, &ledger_);
    }
    strike_(&stage);
}

static void flow_payloads_of_every_length_arrive(void)
{
    struct stage_ stage;
    uint32_t index;
    uint32_t tag = 0;
    set_(&stage, 6, 3, 16);
    for (uint64_t bytes = 8; bytes < 5u << 20; bytes = bytes * 3 / 2 / 8 * 8 + 8) {
        struct flow_task task = {.tag = ++tag, .args_bytes = bytes, .result_bytes = bytes};
        CHECK_EQ(flow_submit(&stage.client, task, &index), LQ_OK);
        FLOW_CHECK(&stage.space);
        CHECK_EQ(flow_drain(&stage.worker, &ledger_), 1);
        CHECK_EQ(flow_reap(&stage.client, &ledger_), 1);
        FLOW_CHECK(&stage.space);
    }
    strike_(&stage);
}

static void flow_priorities_come_first_and_nothing_starves(void)
{
    struct stage_ stage;
    uint32_t index;
    uint32_t low_seen = 0;
    set_(&stage, 300, 0, 1);
    for (uint32_t i = 0; i < 4; i++)
        flow_submit(&stage.client, (struct flow_task){.tag = 10 + i, .args_bytes = 8, .result_bytes = 8, .priority = (uint8_t)(3 - i)}, &index);
    for (uint32_t i = 0; i < 4; i++) {
        index = take_(&stage);
        CHECK_EQ(lq_space_slot(&stage.space, index)->priority, i);
        flow_run(&stage.worker, &ledger_, index);
    }
    flow_reap(&stage.client, &ledger_);
    flow_submit(&stage.client, (struct flow_task){.tag = 1, .args_bytes = 8, .result_bytes = 8, .priority = 3}, &index);
    for (uint32_t i = 0; i < 200; i++) { /* always one of priority 0 beside it */
        submit_(&stage, 2);
        index = take_(&stage);
        low_seen += lq_space_slot(&stage.space, index)->priority == 3;
        flow_run(&stage.worker, &ledger_, index);
        flow_reap(&stage.client, &ledger_);
    }
    CHECK_EQ(low_seen, 1);
}

static void flow_every_queue_is_served(void)
{
    struct lq_space space;
    struct lq_client client;
    struct lq_worker worker;
    struct lq_sizes sizes = {.capacity = 64, .result_cache = 0, .queues = 16, .cpus = 2, .memory = 1 << 20};
    CHECK_EQ(lq_space_create(&space, &sizes, 7), LQ_OK);
    flow_init_client(&client, &space, flow_join(&space, LQ_ROLE_CLIENT));
    lq_worker_init(&worker, &space, flow_join(&space, LQ_ROLE_WORKER), 1);
    for (uint32_t queue = 0; queue < 16; queue++) {
        uint32_t index;
        CHECK_EQ(lq_client_reserve(&client, &index), LQ_OK);
        struct lq_slot *slot = lq_space_slot(&space, index);
        slot->queue = (uint8_t)queue;
        slot->priority = (uint8_t)(queue % 4);
        slot->args_bytes = 8;
        uint64_t head[3] = {queue, 8, 8};
        memcpy(slot->args, head, sizeof head);
        CHECK_EQ(lq_client_submit(&client, index), LQ_OK);
    }
    CHECK_EQ(flow_drain(&worker, &ledger_), 16);
    CHECK_EQ(flow_reap(&client, &ledger_), 16);
}

static void flow_capacity_is_what_may_be_on_its_way(void)
{
    struct stage_ stage;
    uint32_t index;
    set_(&stage, 5, 3, 1);
    for (uint32_t i = 0; i < 5; i++)
        submit_(&stage, i);
    CHECK_EQ(lq_client_reserve(&stage.client, &index), LQ_FULL);
    flow_drain(&stage.worker, &ledger_);
    CHECK_EQ(lq_client_reserve(&stage.client, &index), LQ_FULL); /* finished, not yet consumed */
    flow_reap(&stage.client, &ledger_);
    CHECK_EQ(lq_client_reserve(&stage.client, &index), LQ_OK);
    lq_client_discard(&stage.client, index);
    strike_(&stage);
}

static void flow_cache_keeps_the_youngest_and_touching_makes_young(void)
{
    struct stage_ stage;
    uint32_t index[6];
    set_(&stage, 4, 3, 8);
    for (uint32_t i = 0; i < 3; i++) {
        index[i] = submit_(&stage, i);
        flow_drain(&stage.worker, &ledger_);
        flow_reap(&stage.client, &ledger_);
    }
    lq_client_touch(&stage.client, index[0], lq_space_slot(&stage.space, index[0])->task_generation);
    lq_client_touch(&stage.client, index[1], 12345); /* another task's id: nothing */

    index[3] = submit_(&stage, 3);
    flow_drain(&stage.worker, &ledger_);
    flow_reap(&stage.client, &ledger_);

    CHECK_EQ(state_(&stage, index[0]), LQ_SLOT_CACHED);
    CHECK(state_(&stage, index[1]) != LQ_SLOT_CACHED);
    CHECK_EQ(state_(&stage, index[2]), LQ_SLOT_CACHED);
    CHECK_EQ(state_(&stage, index[3]), LQ_SLOT_CACHED);
    CHECK_EQ(stage.client.cached, 3);
    for (uint32_t i = 0; i < 10000; i++) /* the list of uses has room for ever */
        lq_client_touch(&stage.client, index[i % 2 ? 0 : 2], lq_space_slot(&stage.space, index[i % 2 ? 0 : 2])->task_generation);
    CHECK_EQ(lq_client_shrink(&stage.client), LQ_OK);
    CHECK(state_(&stage, index[3]) != LQ_SLOT_CACHED);
    strike_(&stage);
}

/* Results of a megabyte or so: cached by their bytes, so that their blocks serve the next ones. */
static void flow_cache_of_large_results_is_bounded_by_bytes_and_small_ones_stay(void)
{
    enum { LARGE_RESULTS = 20, MEGABYTE = 1 << 20 };
    struct stage_ stage;
    struct ledger *ledger = shared_memory(sizeof *ledger);
    uint32_t small;
    uint32_t index;
    uint32_t cached = 0;
    set_(&stage, 4, 100, 64);
    stage.client.large_limit = 4 * MEGABYTE;
    CHECK_EQ(flow_submit(&stage.client, (struct flow_task){.tag = 1, .args_bytes = 8, .result_bytes = 3000}, &small), LQ_OK);
    flow_drain(&stage.worker, ledger);
    flow_reap(&stage.client, ledger);
    for (uint32_t i = 0; i < LARGE_RESULTS; i++) {
        struct flow_task task = {.tag = 2 + i, .args_bytes = 8, .result_bytes = MEGABYTE};
        CHECK_EQ(flow_submit(&stage.client, task, &index), LQ_OK);
        flow_drain(&stage.worker, ledger);
        flow_reap(&stage.client, ledger);
        CHECK_EQ(state_(&stage, index), LQ_SLOT_CACHED); /* the youngest stays in any case */
    }
    for (uint32_t i = 0; i < lq_slots_used(&stage.space.slots); i++)
        cached += state_(&stage, i) == LQ_SLOT_CACHED;
    CHECK_EQ(state_(&stage, small), LQ_SLOT_CACHED);
    CHECK(cached >= 3 && cached <= 5);
    strike_(&stage);
}

static void flow_cache_does_not_shrink_when_others_evict_from_it(void)
{
    struct stage_ stage;
    uint32_t cached = 0;
    set_(&stage, 4, 3, 8);
    for (uint32_t round = 0; round < 50; round++) {
        for (uint32_t i = 0; i < 3; i++)
            submit_(&stage, i);
        flow_drain(&stage.worker, &ledger_);
        flow_reap(&stage.client, &ledger_);
        if (round == 49)
            break;
        for (uint32_t i = 0; i < lq_slots_used(&stage.space.slots); i++)
            lq_space_slot(&stage.space, i)->done_ns = 1;
        lq_space_sweep(&stage.space, stage.worker.me); /* all have expired */
    }
    for (uint32_t i = 0; i < lq_slots_used(&stage.space.slots); i++)
        cached += state_(&stage, i) == LQ_SLOT_CACHED;
    CHECK_EQ(cached, 3);
    strike_(&stage);
}

static void flow_cancelled_task_never_runs_and_the_client_is_told(void)
{
    struct stage_ stage;
    uint32_t same;
    uint32_t wait_status;
    set_(&stage, 4, 4, 8);
    uint32_t index = submit_(&stage, 1);
    uint32_t task = lq_space_slot(&stage.space, index)->task_generation;
    CHECK_EQ(lq_client_cancel(&stage.client, index, task + 1), LQ_MISSING);
    CHECK_EQ(lq_client_cancel(&stage.client, index, task), LQ_OK);
    CHECK_EQ(lq_client_cancel(&stage.client, index, task), LQ_MISSING);
    CHECK_EQ(state_(&stage, index), LQ_SLOT_CANCELLED);

    CHECK_EQ(flow_drain(&stage.worker, &ledger_), 0);

    CHECK_EQ(lq_client_reap(&stage.client, &same), LQ_OK);
    struct lq_slot *slot = lq_space_slot(&stage.space, same);
    CHECK_EQ(lq_slot_outcome(slot, &wait_status), LQ_OUTCOME_CANCELLED);
    CHECK(slot->start_ns == 0 && slot->done_ns == 0 && slot->attempt == 0 && slot->worker_pid == 0);
    lq_client_consume(&stage.client, same);
    CHECK_EQ(lq_slot_outcome(slot, &wait_status), LQ_OUTCOME_CANCELLED);
    lq_client_shrink(&stage.client);
    CHECK_EQ(submit_(&stage, 2), index); /* and of the next task in that slot it says nothing */
    flow_drain(&stage.worker, &ledger_);
    CHECK_EQ(lq_slot_outcome(slot, &wait_status), LQ_OUTCOME_SUCCESS);
    flow_reap(&stage.client, &ledger_);
    strike_(&stage);
}

static void flow_cancel_comes_too_late_for_a_task_in_hand(void)
{
    struct stage_ stage;
    set_(&stage, 4, 4, 8);
    uint32_t index = submit_(&stage, 1);
    uint32_t task = lq_space_slot(&stage.space, index)->task_generation;
    take_(&stage);
    CHECK_EQ(lq_client_cancel(&stage.client, index, task), LQ_MISSING);
    lq_worker_start(&stage.worker, index, 0);
    CHECK_EQ(lq_client_cancel(&stage.client, index, task), LQ_MISSING);
    lq_worker_finish(&stage.worker, index, LQ_OUTCOME_SUCCESS, 0, 8);
    CHECK_EQ(lq_client_cancel(&stage.client, index, task), LQ_MISSING);
}

/* The one who owes the push dies before it, and the client cancels before anybody has recovered. */
static void flow_cancelled_task_whose_push_was_owed_by_the_dead_is_told(void)
{
    struct stage_ stage;
    set_(&stage, 4, 4, 8);
    uint32_t index = submit_(&stage, 1);
    uint32_t task = lq_space_slot(&stage.space, index)->task_generation;
    take_(&stage);
    struct lq_slot *slot = lq_space_slot(&stage.space, index);
    lq_store(&slot->word, lq_word_next(lq_load(&slot->word), LQ_SLOT_QUEUED, stage.worker.me, 0)); /* requeued, not pushed */
    lq_space_bury(&stage.space, stage.worker.me);
    CHECK_EQ(lq_client_cancel(&stage.client, index, task), LQ_OK);

    flow_bury(&stage.space, stage.worker.me, 9);
    lq_worker_init(&stage.worker, &stage.space, flow_join(&stage.space, LQ_ROLE_WORKER), 55);
    flow_drain(&stage.worker, &ledger_);

    CHECK_EQ(flow_reap(&stage.client, &ledger_), 1);
    CHECK_EQ(lq_load32(&ledger_.last[1]), LQ_OUTCOME_CANCELLED);
    strike_(&stage);
}

static void flow_requeued_task_runs_again_with_the_same_arguments(void)
{
    struct stage_ stage;
    uint32_t index;
    set_(&stage, 4, 4, 8);
    flow_submit(&stage.client, (struct flow_task){.tag = 1, .args_bytes = 3000, .result_bytes = 8}, &index);
    uint32_t task = lq_space_slot(&stage.space, index)->task_generation;
    for (uint32_t run = 0; run < 5; run++) {
        CHECK_EQ(take_(&stage), index);
        lq_worker_start(&stage.worker, index, 0);
        CHECK_EQ(lq_worker_store_result(&stage.worker, index, &stage, 1000), LQ_OK); /* half done */
        lq_worker_requeue(&stage.worker, index, 0);
        CHECK_EQ(state_(&stage, index), LQ_SLOT_QUEUED);
        CHECK_EQ(lq_space_slot(&stage.space, index)->task_generation, task);
        FLOW_CHECK(&stage.space);
    }
    CHECK_EQ(flow_drain(&stage.worker, &ledger_), 1);
    CHECK_EQ(lq_space_slot(&stage.space, index)->attempt, 6);
    CHECK_EQ(flow_reap(&stage.client, &ledger_), 1);
    strike_(&stage);
}

/* A cell may be in the ring twice: recovery pushes when it can't know. The second one is of the earlier run for ever. */
static void flow_requeued_task_is_not_reached_through_a_cell_of_its_earlier_run(void)
{
    struct stage_ stage;
    struct lq_worker other;
    uint32_t index;
    set_(&stage, 4, 4, 8);
    submit_(&stage, 1);
    const struct lq_ring *ring = &stage.space.rings[0][0];
    CHECK_EQ(take_(&stage), 0);
    uint32_t earlier = lq_word_generation(lq_load(&lq_space_slot(&stage.space, 0)->word));
    while (lq_ring_push(ring, 0, earlier) == LQ_OK)
        ;
    lq_worker_start(&stage.worker, 0, 0);
    lq_worker_requeue(&stage.worker, 0, 0); /* the ring is full: the push is owed, and till then nobody else may take it */

    lq_worker_init(&other, &stage.space, flow_join(&stage.space, LQ_ROLE_WORKER), 56);
    CHECK_EQ(lq_worker_take_now(&other, &index), LQ_EMPTY);

    CHECK_EQ(flow_drain(&stage.worker, &ledger_), 1);
    CHECK_EQ(flow_reap(&stage.client, &ledger_), 1);
    lq_worker_end(&other);
    strike_(&stage);
}

static void flow_second_result_of_one_run_replaces_the_first(void)
{
    struct stage_ stage;
    uint32_t index;
    set_(&stage, 4, 0, 8);
    submit_(&stage, 1);
    index = take_(&stage);
    lq_worker_start(&stage.worker, index, 0);
    CHECK_EQ(lq_worker_store_result(&stage.worker, index, &stage, 1000), LQ_OK);
    CHECK_EQ(lq_worker_store_result(&stage.worker, index, &stage, 3000), LQ_OK);
    lq_worker_finish(&stage.worker, index, LQ_OUTCOME_FAILURE, 0, 3000);
    CHECK_EQ(flow_reap(&stage.client, &ledger_), 1);
    strike_(&stage);
}

static void flow_submit_into_a_full_ring_leaves_the_slot_as_it_was(void)
{
    struct stage_ stage;
    uint32_t index;
    set_(&stage, 4, 4, 8);
    CHECK_EQ(lq_client_reserve(&stage.client, &index), LQ_OK);
    struct lq_slot *slot = lq_space_slot(&stage.space, index);
    slot->queue = slot->priority = 0;
    uint64_t head[3] = {1, 8, 8};
    memcpy(slot->args, head, sizeof head);
    slot->args_bytes = 8;
    uint64_t word = lq_load(&slot->word);
    flow_fill_with_stale_entries(&stage.space.rings[0][0]);

    CHECK_EQ(lq_client_submit(&stage.client, index), LQ_FULL);

    CHECK_EQ(lq_load(&slot->word), word);
    CHECK_EQ(stage.client.pending, 0);
    CHECK_EQ(flow_drain(&stage.worker, &ledger_), 0); /* passes the stale ones over */
    CHECK_EQ(lq_client_submit(&stage.client, index), LQ_OK);
    CHECK_EQ(flow_drain(&stage.worker, &ledger_), 1);
    CHECK_EQ(flow_reap(&stage.client, &ledger_), 1);
    strike_(&stage);
}

/* A single worker, a full ring whose oldest entry is real: nobody else could make room for it. */
static void flow_requeue_into_a_full_ring_is_paid_by_the_same_worker_later(void)
{
    struct stage_ stage;
    set_(&stage, 4, 4, 8);
    submit_(&stage, 1);
    uint32_t first = take_(&stage);
    submit_(&stage, 2);
    flow_fill_with_stale_entries(&stage.space.rings[0][0]);
    lq_worker_start(&stage.worker, first, 0);

    lq_worker_requeue(&stage.worker, first, 0);

    CHECK(stage.worker.owes);
    CHECK_EQ(flow_drain(&stage.worker, &ledger_), 2);
    CHECK(!stage.worker.owes);
    CHECK_EQ(flow_reap(&stage.client, &ledger_), 2);
    FLOW_CHECK(&stage.space);
    strike_(&stage);
}

static void flow_finished_tasks_are_found_although_the_completion_ring_was_full(void)
{
    struct stage_ stage;
    uint32_t index;
    set_(&stage, 8, 4, 8);
    for (uint32_t i = 0; i < 6; i++)
        submit_(&stage, i);
    flow_fill_with_stale_entries(&stage.space.completions[lq_label_row(stage.client.me)]);
    CHECK_EQ(flow_drain(&stage.worker, &ledger_), 6);
    CHECK(lq_client_has_news(&stage.client));
    for (uint32_t i = 0; i < 6; i++) {
        CHECK_EQ(lq_client_reap(&stage.client, &index), LQ_OK);
        lq_client_consume(&stage.client, index);
    }
    CHECK_EQ(lq_client_reap(&stage.client, &index), LQ_EMPTY);
    CHECK_EQ(lq_load32(&lq_roster_row(&stage.space.roster, stage.client.me)->missed), 0);
    strike_(&stage);
}

static void flow_entries_left_by_an_earlier_client_of_the_row_are_passed_over(void)
{
    struct stage_ stage;
    uint32_t index;
    set_(&stage, 4, 4, 8);
    lq_label old = stage.client.me;
    submit_(&stage, 1);
    submit_(&stage, 2);
    flow_drain(&stage.worker, &ledger_); /* announced, never reaped */
    flow_bury(&stage.space, old, 9);
    flow_init_client(&stage.client, &stage.space, flow_join(&stage.space, LQ_ROLE_CLIENT));
    CHECK_EQ(lq_label_row(stage.client.me), lq_label_row(old));

    CHECK_EQ(lq_client_reap(&stage.client, &index), LQ_EMPTY);
    submit_(&stage, 3);
    flow_drain(&stage.worker, &ledger_);
    CHECK_EQ(flow_reap(&stage.client, &ledger_), 1);
    strike_(&stage);
}

static void flow_worker_takes_nothing_more_once_stopped_and_the_rest_while_draining(void)
{
    struct stage_ stage;
    uint32_t index;
    set_(&stage, 4, 4, 8);
    submit_(&stage, 1);
    submit_(&stage, 2);
    lq_space_set_phase(&stage.space, LQ_PHASE_DRAINING);
    CHECK_EQ(lq_worker_take(&stage.worker, 1000000, &index), LQ_OK);
    flow_run(&stage.worker, &ledger_, index);
    CHECK_EQ(lq_worker_take(&stage.worker, 1000000, &index), LQ_OK);
    flow_run(&stage.worker, &ledger_, index);
    CHECK_EQ(lq_worker_take(&stage.worker, 1000000, &index), LQ_STOPPED);
    submit_(&stage, 3);
    lq_space_set_phase(&stage.space, LQ_PHASE_STOPPED);
    CHECK_EQ(lq_worker_take(&stage.worker, 1000000, &index), LQ_STOPPED);
    CHECK(!lq_bell_any(stage.space.header->bell.parked));
}

static void flow_worker_that_finds_nothing_comes_back(void)
{
    struct stage_ stage;
    uint32_t index;
    set_(&stage, 4, 4, 8);
    CHECK_EQ(lq_worker_take(&stage.worker, 1000000, &index), LQ_EMPTY);
    CHECK_EQ(lq_client_sleep(&stage.client, 0, 1000000), LQ_TIMEOUT);
    submit_(&stage, 1);
    CHECK_EQ(lq_worker_take(&stage.worker, 1000000, &index), LQ_OK);
    flow_run(&stage.worker, &ledger_, index);
    CHECK_EQ(lq_client_sleep(&stage.client, 0, 1000000), LQ_OK);
}

static void flow_large_arguments_that_find_no_room_say_whether_waiting_helps(void)
{
    struct stage_ stage;
    uint32_t index;
    set_(&stage, 4, 4, 2);
    CHECK_EQ(flow_submit(&stage.client, (struct flow_task){.tag = 1, .args_bytes = 3u << 20, .result_bytes = 8}, &index), LQ_NEVER);
    CHECK_EQ(flow_submit(&stage.client, (struct flow_task){.tag = 2, .args_bytes = 2u << 20, .result_bytes = 8}, &index), LQ_OK);
    CHECK_EQ(flow_submit(&stage.client, (struct flow_task){.tag = 3, .args_bytes = 100, .result_bytes = 8}, &index), LQ_FULL);
    flow_drain(&stage.worker, &ledger_);
    flow_reap(&stage.client, &ledger_);
    CHECK_EQ(flow_submit(&stage.client, (struct flow_task){.tag = 3, .args_bytes = 100, .result_bytes = 8}, &index), LQ_OK);
    flow_drain(&stage.worker, &ledger_);
    flow_reap(&stage.client, &ledger_);
    strike_(&stage);
}

static void flow_cached_results_give_way_to_new_arguments(void)
{
    struct stage_ stage;
    uint32_t index;
    set_(&stage, 8, 8, 2);
    for (uint32_t i = 0; i < 4; i++) {
        CHECK_EQ(flow_submit(&stage.client, (struct flow_task){.tag = i, .args_bytes = 8, .result_bytes = 400000}, &index), LQ_OK);
        flow_drain(&stage.worker, &ledger_);
        flow_reap(&stage.client, &ledger_);
    }
    CHECK_EQ(flow_submit(&stage.client, (struct flow_task){.tag = 9, .args_bytes = 2u << 20, .result_bytes = 8}, &index), LQ_OK);
    flow_drain(&stage.worker, &ledger_);
    flow_reap(&stage.client, &ledger_);
    strike_(&stage);
}

static void flow_functions_are_published_read_and_withdrawn(void)
{
    static const uint32_t lengths[] = {0, 1, LQ_FUNCTION_INLINE, LQ_FUNCTION_INLINE + 1, 70000, 3u << 20};
    struct stage_ stage;
    set_(&stage, 4, 4, 8);
    unsigned char *code = malloc(lengths[5]);
    CHECK(code != NULL);
    flow_fill(code, 5, 0, lengths[5]);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        uint32_t row;
        uint32_t generation;
        uint32_t kind;
        uint32_t length;
        const unsigned char *bytes;
        CHECK_EQ(lq_client_publish(&stage.client, 2, "some", code, lengths[i], LQ_NO_BLOCK, &row, &generation), LQ_OK);
        CHECK_EQ(lq_space_function(&stage.space, row, generation, &kind, &bytes, &length), LQ_OK);
        CHECK(kind == 2 && length == lengths[i] && memcmp(bytes, code, length) == 0);
        CHECK_EQ(lq_space_function(&stage.space, row, generation + 1, &kind, &bytes, &length), LQ_MISSING);
        FLOW_CHECK(&stage.space);
        lq_client_unpublish(&stage.client, row);
        CHECK(!lq_space_function_is_current(&stage.space, row, generation));
        FLOW_CHECK(&stage.space);
    }
    CHECK_EQ(lq_space_function(&stage.space, LQ_FUNCTION_IN_BAND, 0, &(uint32_t){0}, &(const unsigned char *){NULL}, &(uint32_t){0}), LQ_MISSING);
    free(code);
    strike_(&stage);
}

/* ------------------------------------------------------------------------------------------------------- crashes */

static void flow_task_of_a_worker_that_died_before_user_code_runs_elsewhere(void)
{
    struct stage_ stage;
    set_(&stage, 4, 4, 8);
    uint32_t index = submit_(&stage, 1);
    take_(&stage);

    struct lq_recovered recovered = flow_bury(&stage.space, stage.worker.me, 9);

    CHECK(recovered.requeued == 1 && recovered.crashed == 0);
    CHECK_EQ(lq_word_aux(lq_load(&lq_space_slot(&stage.space, index)->word)), 0); /* not counted as a crash */
    lq_worker_init(&stage.worker, &stage.space, flow_join(&stage.space, LQ_ROLE_WORKER), 56);
    CHECK_EQ(flow_drain(&stage.worker, &ledger_), 1);
    CHECK_EQ(flow_reap(&stage.client, &ledger_), 1);
    strike_(&stage);
}

static void flow_task_that_kills_its_workers_ends_as_crashed_after_its_last_chance(void)
{
    for (uint32_t most = 0; most <= 20; most += 5) {
        struct stage_ stage;
        uint32_t index;
        uint32_t wait_status;
        uint32_t chances = most < 15 ? most : 15; /* four bits count them */
        set_(&stage, 4, 4, 8);
        flow_submit(&stage.client, (struct flow_task){.tag = 1, .args_bytes = 3000, .result_bytes = 8, .max_crashes = (uint8_t)most}, &index);
        for (uint32_t crash = 0; crash <= chances; crash++) {
            CHECK_EQ(lq_client_reap(&stage.client, &index), LQ_EMPTY);
            index = take_(&stage);
            flow_check_args(&stage.space, index);
            lq_worker_start(&stage.worker, index, 0);
            CHECK_EQ(lq_worker_store_result(&stage.worker, index, &stage, 600), LQ_OK); /* half reported */
            struct lq_recovered recovered = flow_bury(&stage.space, stage.worker.me, 139);
            CHECK_EQ(recovered.requeued, crash < chances);
            CHECK_EQ(recovered.crashed, crash == chances);
            lq_worker_init(&stage.worker, &stage.space, flow_join(&stage.space, LQ_ROLE_WORKER), 56);
            FLOW_CHECK(&stage.space);
        }
        CHECK_EQ(flow_drain(&stage.worker, &ledger_), 0);
        CHECK_EQ(lq_client_reap(&stage.client, &index), LQ_OK);
        CHECK_EQ(lq_slot_outcome(lq_space_slot(&stage.space, index), &wait_status), LQ_OUTCOME_CRASHED);
        CHECK_EQ(wait_status, 139);
        lq_client_consume(&stage.client, index);
        strike_(&stage);
    }
}

static void flow_task_that_costs_workers_before_it_begins_is_judged_after_three_and_runs_until_then(void)
{
    for (uint32_t deaths = 1; deaths <= LQ_MOST_UNBEGUN + 1; deaths++) {
        struct stage_ stage;
        uint32_t index;
        uint32_t wait_status;
        bool judged = deaths > LQ_MOST_UNBEGUN;
        set_(&stage, 4, 4, 8);
        index = submit_(&stage, 1);
        for (uint32_t death = 0; death < deaths; death++) {
            CHECK_EQ(take_(&stage), index);
            struct lq_recovered recovered = flow_bury(&stage.space, stage.worker.me, 11);
            CHECK_EQ(recovered.crashed, death == LQ_MOST_UNBEGUN);
            lq_worker_init(&stage.worker, &stage.space, flow_join(&stage.space, LQ_ROLE_WORKER), 56);
        }
        CHECK_EQ(flow_drain(&stage.worker, &ledger_), !judged);
        CHECK_EQ(lq_client_reap(&stage.client, &index), LQ_OK);
        /* The count stands where a verdict would; of how the task ended it says nothing. */
        CHECK_EQ(lq_slot_outcome(lq_space_slot(&stage.space, index), &wait_status),
                 judged ? LQ_OUTCOME_CRASHED : LQ_OUTCOME_SUCCESS);
        CHECK(!judged || wait_status == 11);
        lq_client_consume(&stage.client, index);
        strike_(&stage);
    }
}

static void flow_result_after_a_crash_is_not_read_from_the_block_of_the_crashed_run(void)
{
    struct stage_ stage;
    uint32_t index;
    uint32_t other;
    set_(&stage, 4, 4, 8);
    flow_submit(&stage.client, (struct flow_task){.tag = 1, .args_bytes = 8, .result_bytes = 8, .max_crashes = 1}, &index);
    take_(&stage);
    lq_worker_start(&stage.worker, index, 0);
    CHECK_EQ(lq_worker_store_result(&stage.worker, index, &stage, 3000), LQ_OK);
    flow_bury(&stage.space, stage.worker.me, 9);
    lq_worker_init(&stage.worker, &stage.space, flow_join(&stage.space, LQ_ROLE_WORKER), 56);
    flow_submit(&stage.client, (struct flow_task){.tag = 2, .args_bytes = 3000, .result_bytes = 8}, &other); /* takes that block */

    CHECK_EQ(flow_drain(&stage.worker, &ledger_), 2);

    CHECK_EQ(lq_space_slot(&stage.space, index)->result_block, LQ_NO_BLOCK);
    CHECK_EQ(flow_reap(&stage.client, &ledger_), 2);
    strike_(&stage);
}

static void flow_result_of_a_worker_that_died_right_after_finishing_stands(void)
{
    struct stage_ stage;
    set_(&stage, 4, 4, 8);
    submit_(&stage, 1);
    flow_drain(&stage.worker, &ledger_);
    flow_bury(&stage.space, stage.worker.me, 9);
    flow_bury(&stage.space, stage.worker.me, 9);
    CHECK_EQ(flow_reap(&stage.client, &ledger_), 1); /* told twice, reaped once */
    CHECK_EQ(lq_load32(&ledger_.last[1]), LQ_OUTCOME_SUCCESS);
    lq_worker_init(&stage.worker, &stage.space, flow_join(&stage.space, LQ_ROLE_WORKER), 56);
    strike_(&stage);
}

static void act_as_a_forked_child_(void *given)
{
    struct stage_ *stage = given;
    CHECK(!lq_client_is_ours(&stage->client) && !lq_worker_is_ours(&stage->worker));
    lq_client_end(&stage->client); /* gives nothing back that is the parent's */
}

static void flow_forked_child_does_not_act_under_its_parent_s_label(void)
{
    struct stage_ stage;
    uint32_t index;
    set_(&stage, 4, 4, 8);
    CHECK_EQ(lq_client_reserve(&stage.client, &index), LQ_OK);
    lq_client_discard(&stage.client, index);
    CHECK_EQ(wait_for(in_child(act_as_a_forked_child_, &stage), false), 0);
    CHECK(lq_client_is_ours(&stage.client));
    CHECK_EQ(state_(&stage, index), LQ_SLOT_FREE);
}

/* -------------------------------------------------------------- threads: everybody at once, and some die in between */

#define TASKS (LQ_TSAN || LQ_ASAN ? 3000u : 20000u)
#define WORKERS 3u
#define RECOVERERS 2u

struct crowd_ {
    struct lq_space space;
    struct ledger ledger;
    lq_a32 dead[16];     /* labels to be recovered */
    lq_a32 recovering[16]; /* recoverers that hold this label just now */
    atomic_uint finished, buried, requeues;
    atomic_bool over;
};

/* Each of these many things, a worker dies: walks away from whatever it holds. */
#define DEATH_EVERY 40u

static void leave_dead_(struct crowd_ *crowd, lq_label me)
{
    lq_space_bury(&crowd->space, me);
    for (unsigned at = 0;; at = (at + 1) % 16) {
        uint32_t nobody = 0;
        if (atomic_compare_exchange_strong(&crowd->dead[at], &nobody, me))
            return;
        sched_yield();
    }
}

static void work_(struct crowd_ *crowd, unsigned number)
{
    static const unsigned char half[600];
    uint32_t seed = number + 100;
    struct lq_worker worker;
    while (!atomic_load(&crowd->over)) {
        lq_worker_init(&worker, &crowd->space, flow_join(&crowd->space, LQ_ROLE_WORKER), number);
        for (bool alive = true; alive && !atomic_load(&crowd->over);) {
            uint32_t index;
            if (lq_worker_take(&worker, 5000000, &index) != LQ_OK)
                continue;
            uint32_t way = next_random(&seed) % DEATH_EVERY;
            if (way == 0) { /* dies with the task in hand */
                alive = false;
            } else if (way == 1) { /* in user code */
                lq_worker_start(&worker, index, 0);
                alive = false;
            } else if (way == 2) { /* with half a result */
                lq_worker_start(&worker, index, 0);
                CHECK_EQ(lq_worker_store_result(&worker, index, half, sizeof half), LQ_OK);
                alive = false;
            } else if (way < 8) {
                lq_worker_start(&worker, index, 0);
                lq_worker_requeue(&worker, index, 0);
                atomic_fetch_add(&crowd->requeues, 1);
            } else {
                flow_run(&worker, &crowd->ledger, index);
                alive = way != 9; /* right after finishing */
            }
        }
        leave_dead_(crowd, worker.me);
    }
}

static void recover_(struct crowd_ *crowd)
{
    while (atomic_load(&crowd->finished) < WORKERS + 1) {
        for (unsigned at = 0; at < 16; at++) {
            lq_label dead = lq_load32_seq(&crowd->dead[at]);
            if (dead == LQ_NOBODY) {
                sched_yield();
                continue;
            }
            lq_add32_seq(&crowd->recovering[at], 1);
            struct lq_recovered sum = {0};
            if (lq_load32_seq(&crowd->dead[at]) == dead) {
                CHECK(flow_recover(&crowd->space, dead, dead, 9, &sum));
                lq_space_release(&crowd->space, dead);
                uint32_t expected = dead;
                if (atomic_compare_exchange_strong(&crowd->dead[at], &expected, LQ_NOBODY))
                    atomic_fetch_add(&crowd->buried, 1);
            }
            lq_add32_seq(&crowd->recovering[at], (uint32_t)-1);
        }
    }
}

static void read_along_(struct crowd_ *crowd)
{
    uint32_t seed = 5;
    uint32_t seen = 0;
    while (!atomic_load(&crowd->over)) {
        struct lq_slot copy;
        uint32_t wait_status;
        uint32_t index = next_random(&seed) % crowd->space.slots.count;
        uint64_t word = lq_load(&lq_space_slot(&crowd->space, index)->word);
        if (lq_space_read(&crowd->space, index, lq_word_generation(word), &copy) != LQ_OK)
            continue;
        uint32_t state = lq_slot_state_of(&copy);
        uint64_t head[3];
        memcpy(head, copy.args, sizeof head);
        CHECK(head[0] < TAGS && head[1] == copy.args_bytes); /* of one task, not of two */
        if ((state == LQ_SLOT_DONE || state == LQ_SLOT_CACHED) && copy.result_block == LQ_NO_BLOCK &&
            lq_slot_outcome(&copy, &wait_status) == LQ_OUTCOME_SUCCESS) {
            CHECK(flow_matches(copy.result, (uint32_t)head[0], 1, head[2]));
            seen++;
        }
        if (seen % 64 == 0)
            sched_yield();
    }
}

static void submit_along_(struct crowd_ *crowd)
{
    struct lq_client client;
    uint32_t seed = 9;
    uint32_t sent = 0;
    uint32_t told = 0;
    uint32_t cancelled = 0;
    lq_label sweeper = flow_join(&crowd->space, LQ_ROLE_SUPERVISOR);
    flow_init_client(&client, &crowd->space, flow_join(&crowd->space, LQ_ROLE_CLIENT));
    while (told < TASKS) {
        uint32_t index;
        struct flow_task task = {.tag = sent % TAGS, .args_bytes = sent % 5 ? 8 : 200, .result_bytes = sent % 7 ? 8 : 1000,
                                 .max_crashes = (uint8_t)(sent % 3), .priority = (uint8_t)(sent % 4)};
        if (sent < TASKS && flow_submit(&client, task, &index) == LQ_OK) {
            sent++;
            if (next_random(&seed) % 16 == 0)
                cancelled += lq_client_cancel(&client, index, lq_space_slot(&crowd->space, index)->task_generation) == LQ_OK;
            if (next_random(&seed) % 4)
                continue;
        }
        if (next_random(&seed) % 64 == 0)
            lq_space_sweep(&crowd->space, sweeper);
        lq_client_sleep(&client, 0, 5000000);
        told += flow_reap(&client, &crowd->ledger);
    }
    CHECK_EQ(client.pending, 0);
    CHECK(cancelled > 0);
    lq_client_end(&client);
    atomic_store(&crowd->over, true);
    lq_space_set_phase(&crowd->space, LQ_PHASE_STOPPED);
}

static void one_of_the_crowd_(void *given, unsigned number)
{
    struct crowd_ *crowd = given;
    if (number == 0)
        submit_along_(crowd);
    else if (number <= WORKERS)
        work_(crowd, number);
    else if (number <= WORKERS + RECOVERERS)
        recover_(crowd);
    else
        read_along_(crowd);
    if (number <= WORKERS)
        atomic_fetch_add(&crowd->finished, 1);
}

static void flow_every_task_has_one_outcome_while_workers_die_and_two_recover_them(void)
{
    struct crowd_ *crowd = calloc(1, sizeof *crowd);
    uint32_t told = 0;
    CHECK(crowd != NULL);
    flow_make(&crowd->space, 24, 8, 64);

    in_threads(2 + WORKERS + RECOVERERS, one_of_the_crowd_, crowd);

    for (uint32_t at = 0; at < 16; at++) /* the last ones to leave */
        if (lq_load32_seq(&crowd->dead[at]) != LQ_NOBODY)
            flow_bury(&crowd->space, lq_load32_seq(&crowd->dead[at]), 9);
    for (uint32_t tag = 0; tag < TAGS; tag++)
        told += lq_load32(&crowd->ledger.outcomes[tag]);
    CHECK_EQ(told, TASKS);
    CHECK(atomic_load(&crowd->buried) > 10 && atomic_load(&crowd->requeues) > 10);
    lq_label me = flow_join(&crowd->space, LQ_ROLE_SUPERVISOR);
    flow_empty(&crowd->space, me);
    flow_check_empty(&crowd->space);
}

/* ---- sleeping: whoever sleeps is woken, by pushes and by completions ---- */

struct sleepers_ {
    struct lq_space space;
    struct ledger ledger;
    atomic_bool over;
};

static void one_of_the_sleepers_(void *given, unsigned number)
{
    struct sleepers_ *all = given;
    uint32_t index;
    if (number == 0) {
        struct lq_client client;
        flow_init_client(&client, &all->space, flow_join(&all->space, LQ_ROLE_CLIENT));
        for (uint32_t i = 0; i < (LQ_TSAN || LQ_ASAN ? 1000u : 4000u); i++) {
            CHECK_EQ(flow_submit(&client, (struct flow_task){.tag = i % TAGS, .args_bytes = 8, .result_bytes = 8}, &index), LQ_OK);
            while (flow_reap(&client, &all->ledger) == 0)
                lq_client_sleep(&client, i % 2 ? index + 1 : 0, 20000000000);
        }
        atomic_store(&all->over, true);
        lq_space_set_phase(&all->space, LQ_PHASE_STOPPED);
        lq_client_end(&client);
        return;
    }
    struct lq_worker worker;
    lq_worker_init(&worker, &all->space, flow_join(&all->space, LQ_ROLE_WORKER), number);
    while (!atomic_load(&all->over))
        if (lq_worker_take(&worker, 20000000000, &index) == LQ_OK)
            flow_run(&worker, &all->ledger, index);
    lq_worker_end(&worker);
}

static void flow_sleeping_client_and_workers_wake_each_other(void)
{
    struct sleepers_ *all = calloc(1, sizeof *all);
    CHECK(all != NULL);
    flow_make(&all->space, 4, 4, 4);
    in_threads(3, one_of_the_sleepers_, all);
}

/* One client has used all slots and reads no more: another finds room all the same. */
static void flow_client_that_hoards_leaves_room_for_another(void)
{
    struct lq_space space;
    struct lq_client hoarder;
    struct lq_client other;
    struct lq_worker worker;
    static struct ledger ledger;
    uint32_t index;
    flow_make(&space, 300, 200, 3);
    flow_init_client(&hoarder, &space, flow_join(&space, LQ_ROLE_CLIENT));
    flow_init_client(&other, &space, flow_join(&space, LQ_ROLE_CLIENT));
    lq_worker_init(&worker, &space, flow_join(&space, LQ_ROLE_WORKER), 1);
    for (int round = 0; round < 3; round++) {
        while (flow_submit(&hoarder, (struct flow_task){.tag = 1, .args_bytes = 8, .result_bytes = 8}, &index) == LQ_OK)
            ;
        flow_drain(&worker, &ledger);
        flow_reap(&hoarder, &ledger);
    }
    for (uint32_t i = 0; i < 300; i++)
        CHECK_EQ(flow_submit(&other, (struct flow_task){.tag = 2, .args_bytes = 8, .result_bytes = 8}, &index), LQ_OK);
    CHECK_EQ(flow_submit(&other, (struct flow_task){.tag = 2, .args_bytes = 8, .result_bytes = 8}, &index), LQ_FULL);
    flow_drain(&worker, &ledger);
    flow_reap(&other, &ledger);
    for (uint32_t i = 0; i < 300; i++) /* and the first one again, whose results were pushed out */
        CHECK_EQ(flow_submit(&hoarder, (struct flow_task){.tag = 3, .args_bytes = 8, .result_bytes = 8}, &index), LQ_OK);
    flow_drain(&worker, &ledger);
    flow_reap(&hoarder, &ledger);
    CHECK_EQ(hoarder.pending + other.pending, 0);
    FLOW_CHECK(&space);
    lq_client_leave(&hoarder);
    lq_client_leave(&other);
    CHECK(!lq_roster_is_live(&space.roster, hoarder.me) && !lq_client_is_ours(&other));
    lq_worker_end(&worker);
    flow_empty(&space, worker.me);
    flow_check_empty(&space);
}

const struct lq_case client_worker_cases[] = {
    RUN(flow_of_a_task_passes_every_state_once),
    RUN(flow_times_of_a_task_are_in_order),
    RUN(flow_payloads_of_every_length_arrive),
    RUN(flow_priorities_come_first_and_nothing_starves),
    RUN(flow_every_queue_is_served),
    RUN(flow_capacity_is_what_may_be_on_its_way),
    RUN(flow_cache_keeps_the_youngest_and_touching_makes_young),
    RUN(flow_cache_of_large_results_is_bounded_by_bytes_and_small_ones_stay),
    RUN(flow_cache_does_not_shrink_when_others_evict_from_it),
    RUN(flow_cancelled_task_never_runs_and_the_client_is_told),
    RUN(flow_cancel_comes_too_late_for_a_task_in_hand),
    RUN(flow_cancelled_task_whose_push_was_owed_by_the_dead_is_told),
    RUN(flow_requeued_task_runs_again_with_the_same_arguments),
    RUN(flow_requeued_task_is_not_reached_through_a_cell_of_its_earlier_run),
    RUN(flow_second_result_of_one_run_replaces_the_first),
    RUN(flow_submit_into_a_full_ring_leaves_the_slot_as_it_was),
    RUN(flow_requeue_into_a_full_ring_is_paid_by_the_same_worker_later),
    RUN(flow_finished_tasks_are_found_although_the_completion_ring_was_full),
    RUN(flow_entries_left_by_an_earlier_client_of_the_row_are_passed_over),
    RUN(flow_worker_takes_nothing_more_once_stopped_and_the_rest_while_draining),
    RUN(flow_worker_that_finds_nothing_comes_back),
    RUN(flow_large_arguments_that_find_no_room_say_whether_waiting_helps),
    RUN(flow_cached_results_give_way_to_new_arguments),
    RUN(flow_functions_are_published_read_and_withdrawn),
    RUN(flow_task_of_a_worker_that_died_before_user_code_runs_elsewhere),
    RUN(flow_task_that_kills_its_workers_ends_as_crashed_after_its_last_chance),
    RUN(flow_task_that_costs_workers_before_it_begins_is_judged_after_three_and_runs_until_then),
    RUN(flow_result_after_a_crash_is_not_read_from_the_block_of_the_crashed_run),
    RUN(flow_result_of_a_worker_that_died_right_after_finishing_stands),
    RUN_FORKING(flow_forked_child_does_not_act_under_its_parent_s_label),
    RUN(flow_every_task_has_one_outcome_while_workers_die_and_two_recover_them),
    RUN(flow_sleeping_client_and_workers_wake_each_other),
    RUN(flow_client_that_hoards_leaves_room_for_another),
    END_OF_CASES,
};

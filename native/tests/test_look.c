/* SPDX-License-Identifier: MIT */
/* Tasks that shall stop, and tasks whose time has not come. */
#include <signal.h>
#include <unistd.h>

#include "flow.h"

#define FAR_MS 60000u

static struct ledger ledger_;

struct stage_ {
    struct lq_space space;
    struct lq_client client;
    struct lq_worker worker;
    lq_label supervisor;
    struct lq_asked asked[8];
    uint64_t next_ns;
};

static void set_(struct stage_ *stage)
{
    flow_make(&stage->space, 4, 4, 8);
    flow_init_client(&stage->client, &stage->space, flow_join(&stage->space, LQ_ROLE_CLIENT));
    lq_worker_init(&stage->worker, &stage->space, flow_join(&stage->space, LQ_ROLE_WORKER), 55);
    while (lq_space_ms(&stage->space, lq_now_ns()) < 2) /* so that there is a past to be due in */
        ;
    stage->supervisor = flow_join(&stage->space, LQ_ROLE_SUPERVISOR);
}

static void strike_(struct stage_ *stage)
{
    flow_drain(&stage->worker, &ledger_);
    flow_reap(&stage->client, &ledger_);
    FLOW_CHECK(&stage->space);
    CHECK_EQ(stage->client.pending, 0);
    lq_client_end(&stage->client);
    lq_worker_end(&stage->worker);
    flow_empty(&stage->space, stage->supervisor);
    flow_check_empty(&stage->space);
}

static uint32_t look_(struct stage_ *stage)
{
    return lq_space_look(&stage->space, stage->supervisor, stage->asked, 8, &stage->next_ns);
}

/* Not before `ms` from now; 0: it is due, but was not when it was submitted. */
static uint32_t send_later_(struct stage_ *stage, uint32_t tag, uint32_t ms)
{
    uint32_t index;
    CHECK_EQ(lq_client_reserve(&stage->client, &index), LQ_OK);
    struct lq_slot *slot = lq_space_slot(&stage->space, index);
    flow_describe(slot, (struct flow_task){.tag = tag, .args_bytes = 8, .result_bytes = 8});
    slot->due_ms = ms == 0 ? lq_space_ms(&stage->space, lq_now_ns()) : lq_space_at(&stage->space, lq_now_ns() + ms * 1000000ll);
    CHECK_EQ(lq_client_submit(&stage->client, index), LQ_OK);
    return index;
}

static uint32_t start_(struct stage_ *stage, uint32_t tag, uint8_t max_crashes, uint32_t limit_ms)
{
    uint32_t index;
    CHECK_EQ(flow_submit(&stage->client, (struct flow_task){.tag = tag, .args_bytes = 8, .result_bytes = 8, .max_crashes = max_crashes}, &index), LQ_OK);
    lq_space_slot(&stage->space, index)->limit_ms = limit_ms;
    CHECK_EQ(lq_worker_take_now(&stage->worker, &index), LQ_OK);
    lq_worker_start(&stage->worker, index, 0);
    return index;
}

static uint32_t state_(struct stage_ *stage, uint32_t index)
{
    return lq_slot_state_of(lq_space_slot(&stage->space, index));
}

static uint32_t task_(struct stage_ *stage, uint32_t index)
{
    return lq_space_slot(&stage->space, index)->task_generation;
}

/* The worker dies; another one takes its place. */
static struct lq_recovered lose_worker_(struct stage_ *stage)
{
    lq_space_bury(&stage->space, stage->worker.me);
    struct lq_recovered sum = flow_bury(&stage->space, stage->worker.me, 9);
    lq_worker_init(&stage->worker, &stage->space, flow_join(&stage->space, LQ_ROLE_WORKER), 56);
    return sum;
}

static enum lq_outcome outcome_(struct stage_ *stage, uint32_t index)
{
    uint32_t cause;
    CHECK_EQ(state_(stage, index), LQ_SLOT_DONE);
    return lq_slot_outcome(lq_space_slot(&stage->space, index), &cause);
}

static void look_a_delayed_task_is_taken_when_its_time_has_come_and_not_before(void)
{
    struct stage_ stage;
    uint32_t index;
    set_(&stage);
    uint32_t far = send_later_(&stage, 1, FAR_MS);
    uint32_t due = send_later_(&stage, 2, 0);

    CHECK_EQ(lq_worker_take_now(&stage.worker, &index), LQ_EMPTY);
    CHECK_EQ(look_(&stage), 0);

    CHECK_EQ(state_(&stage, due), LQ_SLOT_QUEUED);
    CHECK_EQ(state_(&stage, far), LQ_SLOT_DELAYED);
    int64_t left = (int64_t)stage.next_ns - lq_now_ns();
    CHECK(left > 0 && left <= (FAR_MS + 1) * 1000000ll);
    CHECK_EQ(flow_drain(&stage.worker, &ledger_), 1);
    lq_space_slot(&stage.space, far)->due_ms = lq_space_ms(&stage.space, lq_now_ns());
    look_(&stage);
    CHECK(stage.next_ns == UINT64_MAX);
    strike_(&stage);
}

static void look_a_delayed_task_that_is_cancelled_is_done_at_once(void)
{
    struct stage_ stage;
    set_(&stage);
    uint32_t index = send_later_(&stage, 1, FAR_MS);

    CHECK_EQ(lq_client_cancel(&stage.client, index, task_(&stage, index)), LQ_OK);

    CHECK_EQ(outcome_(&stage, index), LQ_OUTCOME_CANCELLED);
    CHECK_EQ(lq_client_cancel(&stage.client, index, task_(&stage, index)), LQ_MISSING);
    strike_(&stage);
}

static void look_a_full_ring_leaves_a_delayed_task_delayed_until_there_is_room(void)
{
    struct stage_ stage;
    uint32_t none;
    set_(&stage);
    uint32_t index = send_later_(&stage, 1, 0);
    flow_fill_with_stale_entries(&stage.space.rings[0][0]);

    look_(&stage);

    CHECK_EQ(state_(&stage, index), LQ_SLOT_DELAYED);
    CHECK(stage.next_ns < (uint64_t)lq_now_ns() + 1000000000u); /* it tries again soon */
    CHECK_EQ(lq_worker_take_now(&stage.worker, &none), LQ_EMPTY); /* passes over the stale ones */
    look_(&stage);
    CHECK_EQ(flow_drain(&stage.worker, &ledger_), 1);
    strike_(&stage);
}

static void look_a_delayed_task_outlives_the_client_that_submitted_it(void)
{
    struct stage_ stage;
    set_(&stage);
    uint32_t index = send_later_(&stage, 1, 0);
    lq_label gone = stage.client.me;
    lq_space_bury(&stage.space, gone);
    flow_bury(&stage.space, gone, 9);

    CHECK_EQ(state_(&stage, index), LQ_SLOT_DELAYED);
    look_(&stage);

    CHECK_EQ(flow_drain(&stage.worker, &ledger_), 1);
    CHECK_EQ(state_(&stage, index), LQ_SLOT_CACHED); /* nobody waits for it */
    lq_worker_end(&stage.worker);
    flow_empty(&stage.space, stage.supervisor);
    flow_check_empty(&stage.space);
}

static void look_a_retry_may_wait(void)
{
    struct stage_ stage;
    set_(&stage);
    uint32_t index = start_(&stage, 1, 0, 0);

    lq_worker_requeue(&stage.worker, index, FAR_MS);

    CHECK_EQ(state_(&stage, index), LQ_SLOT_DELAYED);
    look_(&stage);
    CHECK_EQ(state_(&stage, index), LQ_SLOT_DELAYED);
    lq_space_slot(&stage.space, index)->due_ms = lq_space_ms(&stage.space, lq_now_ns());
    look_(&stage);
    CHECK_EQ(flow_drain(&stage.worker, &ledger_), 1);
    CHECK_EQ(lq_space_slot(&stage.space, index)->attempt, 2);
    strike_(&stage);
}

static void look_a_run_beyond_its_limit_is_asked_to_stop_once_more_each_time_it_runs(void)
{
    struct stage_ stage;
    set_(&stage);
    uint32_t index = start_(&stage, 1, 0, 1000);
    struct lq_slot *slot = lq_space_slot(&stage.space, index);

    CHECK_EQ(look_(&stage), 0);
    CHECK_EQ(stage.next_ns, slot->start_ns + 1000000000u);
    slot->start_ns -= 1000000000u;
    CHECK_EQ(look_(&stage), 1);

    CHECK_EQ(stage.asked[0].index, index);
    CHECK_EQ(stage.asked[0].task_generation, slot->task_generation);
    CHECK_EQ(stage.asked[0].worker, stage.worker.me);
    CHECK_EQ(stage.asked[0].why, LQ_STOP_TIMEOUT);
    lq_worker_requeue(&stage.worker, index, 0);
    CHECK_EQ(lq_worker_take_now(&stage.worker, &index), LQ_OK);
    lq_worker_start(&stage.worker, index, 0);
    CHECK_EQ(lq_slot_stop(slot), LQ_STOP_NONE);
    CHECK_EQ(look_(&stage), 0);
    lq_worker_finish(&stage.worker, index, LQ_OUTCOME_FAILURE, 0, 0);
    strike_(&stage);
}

static void look_a_request_asks_its_own_task_only(void)
{
    struct stage_ stage;
    set_(&stage);
    uint32_t index = start_(&stage, 1, 0, 0);
    struct lq_slot *slot = lq_space_slot(&stage.space, index);
    CHECK(!lq_slot_ask(slot, slot->task_generation + 1, LQ_STOP_CANCEL));
    CHECK(!lq_slot_ask(slot, slot->task_generation - 1, LQ_STOP_CANCEL));
    CHECK_EQ(lq_slot_stop(slot), LQ_STOP_NONE);

    /* One who was stopped for long, after it had seen an earlier task run in this slot. */
    lq_store32(&slot->stop, (slot->task_generation - 1) << 4 | LQ_STOP_CANCEL);

    CHECK_EQ(lq_slot_stop(slot), LQ_STOP_NONE);
    CHECK_EQ(look_(&stage), 0);
    CHECK(lq_slot_ask(slot, slot->task_generation, LQ_STOP_TIMEOUT));
    CHECK(lq_slot_ask(slot, slot->task_generation, LQ_STOP_CANCEL));
    CHECK(lq_slot_ask(slot, slot->task_generation, LQ_STOP_TIMEOUT));
    CHECK_EQ(lq_slot_stop(slot), LQ_STOP_CANCEL); /* which a new run does not undo */
    lq_slot_forgive(slot);
    CHECK_EQ(lq_slot_stop(slot), LQ_STOP_CANCEL);
    lq_worker_drop(&stage.worker, index, LQ_OUTCOME_CANCELLED);
    CHECK(!lq_slot_ask(slot, slot->task_generation, LQ_STOP_CANCEL));
    strike_(&stage);
}

static void look_who_cancels_a_task_that_is_about_to_end_is_told_the_truth(void)
{
    struct stage_ stage;
    set_(&stage);
    uint32_t index = start_(&stage, 1, 0, 0);
    struct lq_slot *slot = lq_space_slot(&stage.space, index);

    CHECK_EQ(lq_client_stop(&stage.client, index, slot->task_generation), LQ_OK);
    lq_worker_finish(&stage.worker, index, LQ_OUTCOME_SUCCESS, 0, 8);
    CHECK_EQ(outcome_(&stage, index), LQ_OUTCOME_CANCELLED);
    CHECK_EQ(slot->result_bytes, 0);
    CHECK_EQ(lq_client_reap(&stage.client, &index), LQ_OK);
    lq_client_consume(&stage.client, index);

    index = start_(&stage, 2, 0, 0);
    slot = lq_space_slot(&stage.space, index);
    CHECK(lq_slot_close(slot));
    CHECK_EQ(lq_client_stop(&stage.client, index, slot->task_generation), LQ_MISSING);
    lq_worker_requeue(&stage.worker, index, 0); /* died in between, say */
    CHECK_EQ(lq_worker_take_now(&stage.worker, &index), LQ_OK);
    lq_worker_start(&stage.worker, index, 0);
    CHECK_EQ(lq_client_stop(&stage.client, index, slot->task_generation), LQ_OK); /* the next run can be stopped again */
    lq_worker_finish(&stage.worker, index, LQ_OUTCOME_FAILURE, 0, 8);
    CHECK_EQ(outcome_(&stage, index), LQ_OUTCOME_CANCELLED);
    strike_(&stage);
}

static void look_a_worker_is_killed_only_for_a_task_that_it_still_has(void)
{
    struct stage_ stage;
    set_(&stage);
    lq_label me = stage.worker.me;
    uint32_t index = start_(&stage, 1, 0, 1000);
    struct lq_slot *slot = lq_space_slot(&stage.space, index);
    uint32_t task = slot->task_generation;

    CHECK(!lq_slot_condemn(slot, task, me)); /* nobody asked */
    CHECK(lq_slot_ask(slot, task, LQ_STOP_TIMEOUT));
    CHECK(!lq_slot_condemn(slot, task, me + 1));
    CHECK(!lq_slot_condemn(slot, task + 1, me));
    lq_worker_requeue(&stage.worker, index, 0);
    CHECK(!lq_slot_condemn(slot, task, me));
    CHECK_EQ(lq_worker_take_now(&stage.worker, &index), LQ_OK);
    CHECK(lq_slot_ask(slot, task, LQ_STOP_TIMEOUT)); /* by one who comes late: it was the run before */
    CHECK_EQ(look_(&stage), 0);
    CHECK(!lq_slot_condemn(slot, task, me));
    lq_worker_start(&stage.worker, index, 0);
    CHECK(!lq_slot_condemn(slot, task, me));
    CHECK(lq_slot_ask(slot, task, LQ_STOP_CANCEL));
    CHECK(!lq_slot_close(slot));
    CHECK_EQ(lq_slot_stop(slot), LQ_STOP_CANCEL); /* whoever recovers it now knows */
    CHECK(!lq_slot_condemn(slot, task, me));
    lq_worker_finish(&stage.worker, index, LQ_OUTCOME_SUCCESS, 0, 8);
    CHECK_EQ(outcome_(&stage, index), LQ_OUTCOME_CANCELLED);
    CHECK(!lq_slot_condemn(slot, task, me));
    CHECK_EQ(lq_client_reap(&stage.client, &index), LQ_OK);
    lq_client_consume(&stage.client, index);

    index = start_(&stage, 2, 0, 1000);
    slot = lq_space_slot(&stage.space, index);
    CHECK(lq_slot_ask(slot, slot->task_generation, LQ_STOP_TIMEOUT));
    CHECK(lq_slot_condemn(slot, slot->task_generation, me));
    CHECK(lq_slot_condemn(slot, slot->task_generation, me));
    CHECK_EQ(lq_slot_stop(slot), LQ_STOP_TIMEOUT);
    lq_slot_forgive(slot); /* by who runs it after that worker's death */
    CHECK_EQ(lq_slot_stop(slot), LQ_STOP_NONE);
    lq_worker_finish(&stage.worker, index, LQ_OUTCOME_FAILURE, 0, 0);
    strike_(&stage);
}

static void look_a_worker_that_is_killed_for_it_ends_that_task_as_was_asked(void)
{
    static const struct {
        enum lq_stop asked;
        uint8_t max_crashes;
        uint32_t state; /* afterwards */
        enum lq_outcome outcome;
    } expected[] = {
        {LQ_STOP_CANCEL, 0, LQ_SLOT_DONE, LQ_OUTCOME_CANCELLED}, {LQ_STOP_CANCEL, 3, LQ_SLOT_DONE, LQ_OUTCOME_CANCELLED},
        {LQ_STOP_TIMEOUT, 0, LQ_SLOT_DONE, LQ_OUTCOME_TIMEOUT},  {LQ_STOP_TIMEOUT, 1, LQ_SLOT_QUEUED, LQ_OUTCOME_NONE},
        {LQ_STOP_NONE, 0, LQ_SLOT_DONE, LQ_OUTCOME_CRASHED},
    };
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        struct stage_ stage;
        set_(&stage);
        uint32_t index = start_(&stage, 1, expected[i].max_crashes, 0);
        struct lq_slot *slot = lq_space_slot(&stage.space, index);
        if (expected[i].asked == LQ_STOP_CANCEL)
            CHECK_EQ(lq_client_stop(&stage.client, index, slot->task_generation), LQ_OK);
        else if (expected[i].asked == LQ_STOP_TIMEOUT)
            CHECK(lq_slot_ask(slot, slot->task_generation, LQ_STOP_TIMEOUT));

        struct lq_recovered sum = lose_worker_(&stage);

        CHECK_EQ(state_(&stage, index), expected[i].state);
        if (expected[i].state == LQ_SLOT_DONE)
            CHECK_EQ(outcome_(&stage, index), expected[i].outcome);
        CHECK_EQ(sum.crashed, expected[i].outcome == LQ_OUTCOME_CRASHED);
        strike_(&stage);
    }
}

static void look_a_task_that_was_claimed_and_cancelled_does_not_run_elsewhere(void)
{
    struct stage_ stage;
    uint32_t index;
    set_(&stage);
    CHECK_EQ(flow_submit(&stage.client, (struct flow_task){.tag = 1, .args_bytes = 8, .result_bytes = 8}, &index), LQ_OK);
    CHECK_EQ(lq_worker_take_now(&stage.worker, &index), LQ_OK);
    CHECK_EQ(lq_client_stop(&stage.client, index, task_(&stage, index)), LQ_OK);

    lose_worker_(&stage);

    CHECK_EQ(outcome_(&stage, index), LQ_OUTCOME_CANCELLED);
    strike_(&stage);
}

static void look_a_task_that_is_waited_for_is_claimed_where_it_stands_and_runs_once(void)
{
    struct stage_ stage;
    uint32_t index[3];
    uint32_t next;
    set_(&stage);
    for (uint32_t i = 0; i < 3; i++)
        CHECK_EQ(flow_submit(&stage.client, (struct flow_task){.tag = 11 + i, .args_bytes = 8, .result_bytes = 8}, &index[i]), LQ_OK);

    CHECK_EQ(lq_worker_claim(&stage.worker, index[1], task_(&stage, index[1])), LQ_OK);
    CHECK_EQ(lq_worker_claim(&stage.worker, index[1], task_(&stage, index[1])), LQ_MISSING);
    CHECK_EQ(lq_worker_claim(&stage.worker, index[2], task_(&stage, index[2]) - 1), LQ_MISSING);
    CHECK_EQ(lq_worker_claim(&stage.worker, 12345, 1), LQ_MISSING);

    CHECK_EQ(lq_worker_take_now(&stage.worker, &next), LQ_OK);
    CHECK_EQ(next, index[0]);
    flow_run(&stage.worker, &ledger_, next);
    CHECK_EQ(lq_worker_take_now(&stage.worker, &next), LQ_OK);
    CHECK_EQ(next, index[2]);
    flow_run(&stage.worker, &ledger_, next);
    flow_run(&stage.worker, &ledger_, index[1]);
    CHECK_EQ(lq_worker_take_now(&stage.worker, &next), LQ_EMPTY);
    CHECK_EQ(flow_reap(&stage.client, &ledger_), 3);
    strike_(&stage);
}

static volatile sig_atomic_t calls_;

static void count_call_(int number)
{
    (void)number;
    calls_++;
}

static void look_the_supervisor_is_called_only_for_what_is_earlier_than_its_next_look(void)
{
    struct stage_ stage;
    struct sigaction before;
    struct sigaction counting = {.sa_handler = count_call_};
    CHECK(sigaction(SIGURG, &counting, &before) == 0); /* this process is the supervisor of its row */
    set_(&stage);
    calls_ = 0;

    lq_space_expect(&stage.space, 5000);
    CHECK_EQ(calls_, 1);
    lq_space_expect(&stage.space, 6000);
    lq_space_expect(&stage.space, 5000);
    CHECK_EQ(calls_, 1);
    lq_space_expect(&stage.space, 4000);
    CHECK_EQ(calls_, 2);

    uint32_t index = send_later_(&stage, 1, FAR_MS);
    CHECK_EQ(calls_, 2);
    look_(&stage); /* after which it knows of that one */
    lq_space_expect(&stage.space, stage.next_ns);
    CHECK_EQ(calls_, 2);
    lq_space_expect(&stage.space, stage.next_ns - 1);
    CHECK_EQ(calls_, 3);
    CHECK_EQ(lq_client_cancel(&stage.client, index, task_(&stage, index)), LQ_OK);
    CHECK(sigaction(SIGURG, &before, NULL) == 0);
    strike_(&stage);
}

const struct lq_case look_cases[] = {
    RUN(look_a_delayed_task_is_taken_when_its_time_has_come_and_not_before),
    RUN(look_a_delayed_task_that_is_cancelled_is_done_at_once),
    RUN(look_a_full_ring_leaves_a_delayed_task_delayed_until_there_is_room),
    RUN(look_a_delayed_task_outlives_the_client_that_submitted_it),
    RUN(look_a_retry_may_wait),
    RUN(look_a_run_beyond_its_limit_is_asked_to_stop_once_more_each_time_it_runs),
    RUN(look_a_request_asks_its_own_task_only),
    RUN(look_who_cancels_a_task_that_is_about_to_end_is_told_the_truth),
    RUN(look_a_worker_is_killed_only_for_a_task_that_it_still_has),
    RUN(look_a_worker_that_is_killed_for_it_ends_that_task_as_was_asked),
    RUN(look_a_task_that_was_claimed_and_cancelled_does_not_run_elsewhere),
    RUN(look_a_task_that_is_waited_for_is_claimed_where_it_stands_and_runs_once),
    RUN(look_the_supervisor_is_called_only_for_what_is_earlier_than_its_next_look),
    END_OF_CASES,
};

/* SPDX-License-Identifier: MIT */
/*
 * Death and pause at every instruction. An operation is run by an actor in a traced child, which is held after its 1st, 2nd,
 * 3rd ... machine instruction, and there
 *
 *   killed, and recovered at once, or after others have gone on; then everything is audited
 *   kept, while others go on and use everything; then it goes on itself, finishes, and everything is audited
 *
 * The first run of each operation is stepped from end to end: it tells which instructions there are, and after which of them
 * the shared memory is another. A kill between two changes leaves the very bytes that a kill right after the first of them
 * leaves, and a dead process is nothing but these bytes; so kills are done for each change, and cover every instruction.
 * Not so stops: what was loaded into registers before is used afterwards. They are done at every instruction of the program
 * and of the C library (of the vDSO not, which reads the clock and nothing of ours).
 *
 * Later runs are not stepped from the start, which would take time by the square of the length: a breakpoint at an
 * instruction shortly before leads there. Where an operation looks through thousands of words, stops are done around each
 * change of shared memory and at every so-manyth instruction elsewhere, other ones in each run; LQ_STEP_ALL=1 does all.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scene.h"

#if defined(__x86_64__)
#include <sys/user.h>

#define STOPS_LONG 200u    /* operations of more instructions than this are not stopped at each */
#define STOPS_AIMED 70u    /* ... but at about so many, beside those around a change */
#define AROUND 10u         /* instructions before a change: a swap's expected value was loaded there */
#define MOST_STEPS 400000u
#define SHORT 600u         /* bytes that need a block, a small one */
#define CASE_SECONDS 240u  /* more than other cases get: hundreds of processes, each traced. All stops take many times as long */
#define CASE_SECONDS_ALL 7200u

/* What the actor has in hand. Lives in the child; `ready` leaves it for `act`, `act` for `after`. */
static struct hand_ {
    struct lq_client client;
    struct lq_worker worker;
    struct lq_arena_cache cache;
    enum lq_status status;
    uint32_t index, tag, block, entry;
    lq_label label;
    struct flow_pin pin;
    uint64_t idle[16];
} hand_;

struct operation_ {
    const char *name;
    void (*prepare)(struct scene *scene);   /* in the parent */
    void (*ready)(struct scene *scene);     /* in the child, at full speed */
    void (*act)(struct scene *scene);       /* in the child, step by step */
    void (*after)(struct scene *scene);     /* in the child, if it lived: what was begun comes to its end */
    void (*meanwhile)(struct scene *scene); /* in the parent, while the child is held: what the others do */
    bool crashes;                           /* prepare leaves a task that ends as crashed */
};

static void nothing_(struct scene *scene)
{
    (void)scene;
}

/* ------------------------------------------------------------------------------------------------------ the others */

/* One takes a task and dies with it, before it has begun; another recovers it. */
static void lose_a_worker_(struct scene *scene)
{
    struct lq_worker worker;
    uint32_t index;
    lq_worker_init(&worker, &scene->space, flow_join(&scene->space, LQ_ROLE_WORKER), 6);
    lq_worker_take_now(&worker, &index);
    flow_bury(&scene->space, worker.me, KILLED);
    lq_mark_destroy(worker.ours);
}

static void keeper_sweeps_and_relieves_(struct scene *scene)
{
    lq_label keeper = flow_join(&scene->space, LQ_ROLE_SUPERVISOR);
    lq_space_sweep(&scene->space, keeper);
    lq_space_relieve(&scene->space, keeper);
    flow_bury(&scene->space, keeper, 0);
}

static void others_go_on_(struct scene *scene)
{
    scene_use_again(scene, 4, SHORT);
    lose_a_worker_(scene);
    keeper_sweeps_and_relieves_(scene);
    scene_use_again(scene, 3, SHORT);
}

/* The same without the arena, which the actor may hold all of. */
static void others_go_on_inline_(struct scene *scene)
{
    scene_use_again(scene, 4, LQ_INLINE_BYTES);
    lose_a_worker_(scene);
    scene_use_again(scene, 3, LQ_INLINE_BYTES);
}

static void others_recover_second_(struct scene *scene)
{
    flow_bury(&scene->space, scene->second, KILLED);
}

static void others_recover_second_and_go_on_(struct scene *scene)
{
    others_recover_second_(scene);
    others_go_on_(scene);
}

static void rival_goes_on_(struct scene *scene)
{
    if (scene->rival == 0)
        return;
    CHECK(kill(scene->rival, SIGCONT) == 0);
    CHECK_EQ(wait_for(scene->rival, false), 0);
    scene->rival = 0;
}

static void rival_goes_on_and_all_is_worked_off_(struct scene *scene)
{
    rival_goes_on_(scene);
    scene_work_off(scene);
}

/* ----------------------------------------------------------------------------------------------- what operations need */

static uint32_t own_tags_; /* used in this scene */

static struct flow_task own_task_(uint64_t args_bytes, uint64_t result_bytes)
{
    return (struct flow_task){.tag = ACTORS_TAGS + own_tags_++, .args_bytes = args_bytes, .result_bytes = result_bytes};
}

static void ready_client_(struct scene *scene)
{
    flow_init_client(&hand_.client, &scene->space, scene->actor);
    hand_.client.cache_limit = 1;
}

static void ready_worker_(struct scene *scene)
{
    lq_worker_init(&hand_.worker, &scene->space, scene->actor, 2);
}

static void end_client_(struct scene *scene)
{
    flow_reap(&hand_.client, scene->ledger);
    lq_client_end(&hand_.client);
}

static void end_worker_(struct scene *scene)
{
    flow_drain(&hand_.worker, scene->ledger);
    lq_worker_end(&hand_.worker);
}

static void send_inline_(struct scene *scene)
{
    scene_send(scene, 8, 8, 0);
}

static void send_with_blocks_(struct scene *scene)
{
    scene_send(scene, SHORT, SHORT, 0);
}

static void send_two_(struct scene *scene)
{
    send_inline_(scene);
    send_with_blocks_(scene);
}

/* As a worker that runs all that is queued. */
static void second_works_(struct scene *scene)
{
    struct lq_worker worker;
    lq_worker_init(&worker, &scene->space, scene->second, 3);
    flow_drain(&worker, scene->ledger);
    lq_worker_end(&worker);
}

static void own_tasks_are_done_(struct scene *scene, uint32_t count, uint64_t bytes)
{
    uint32_t index;
    for (uint32_t i = 0; i < count; i++)
        CHECK_EQ(flow_submit(&hand_.client, own_task_(bytes, bytes), &index), LQ_OK);
    second_works_(scene);
}

static void finish_task_in_hand_(struct scene *scene)
{
    lq_worker_finish(&hand_.worker, hand_.index, LQ_OUTCOME_SUCCESS, 0, flow_call(&hand_.worker, scene->ledger, hand_.index));
    end_worker_(scene);
}

/* ---------------------------------------------------------------------------------------- operations: submitting */

static void leave_free_slots_(struct scene *scene)
{
    struct lq_client other;
    uint32_t reserved[9];
    flow_init_client(&other, &scene->space, flow_join(&scene->space, LQ_ROLE_CLIENT));
    for (int i = 0; i < 9; i++)
        CHECK_EQ(lq_client_reserve(&other, &reserved[i]), LQ_OK);
    for (int i = 0; i < 9; i++)
        lq_client_discard(&other, reserved[i]);
    lq_client_end(&other);
    flow_bury(&scene->space, other.me, 0);
}

static void act_reserve_(struct scene *scene)
{
    (void)scene;
    hand_.status = lq_client_reserve(&hand_.client, &hand_.index);
}

static void submit_what_was_reserved_(struct scene *scene)
{
    if (hand_.status == LQ_OK) {
        flow_describe(lq_space_slot(&scene->space, hand_.index), own_task_(8, 8));
        CHECK_EQ(lq_client_submit(&hand_.client, hand_.index), LQ_OK);
    }
    end_client_(scene);
}

static _Alignas(8) unsigned char bytes_[SHORT];

static void ready_described_(struct scene *scene)
{
    struct flow_task task = own_task_(SHORT, SHORT);
    ready_client_(scene);
    CHECK_EQ(lq_client_reserve(&hand_.client, &hand_.index), LQ_OK);
    flow_describe(lq_space_slot(&scene->space, hand_.index), task);
    flow_fill(bytes_, task.tag, 0, SHORT);
}

static void ready_described_and_warm_(struct scene *scene)
{
    uint32_t block;
    ready_described_(scene);
    CHECK_EQ(lq_arena_take(&scene->space.arena, &hand_.client.cache, scene->actor, SHORT, false, &block), LQ_OK);
    lq_arena_return(&scene->space.arena, &hand_.client.cache, scene->actor, block);
}

static void act_store_args_(struct scene *scene)
{
    (void)scene;
    hand_.status = lq_client_store_args(&hand_.client, hand_.index, bytes_, SHORT);
}

static void submit_what_was_stored_(struct scene *scene)
{
    CHECK_EQ(hand_.status, LQ_OK);
    CHECK_EQ(lq_client_submit(&hand_.client, hand_.index), LQ_OK);
    end_client_(scene);
}

static void ready_stored_(struct scene *scene)
{
    ready_described_(scene);
    act_store_args_(scene);
    CHECK_EQ(hand_.status, LQ_OK);
}

static void act_submit_(struct scene *scene)
{
    (void)scene;
    hand_.status = lq_client_submit(&hand_.client, hand_.index);
}

static void discard_if_full_(struct scene *scene)
{
    CHECK(hand_.status == LQ_OK || hand_.status == LQ_FULL); /* somebody may have made room meanwhile */
    if (hand_.status == LQ_FULL)
        lq_client_discard(&hand_.client, hand_.index);
    end_client_(scene);
}

static void prepare_full_ring_(struct scene *scene)
{
    send_inline_(scene);
    flow_fill_with_stale_entries(&scene->space.rings[0][0]);
}

static void act_discard_(struct scene *scene)
{
    (void)scene;
    lq_client_discard(&hand_.client, hand_.index);
}

static const struct operation_ submitting_[] = {
    {"reserve a fresh slot", nothing_, ready_client_, act_reserve_, submit_what_was_reserved_, others_go_on_, false},
    {"reserve a free slot", leave_free_slots_, ready_client_, act_reserve_, submit_what_was_reserved_, others_go_on_, false},
    {"store arguments, arena untouched", nothing_, ready_described_, act_store_args_, submit_what_was_stored_,
     others_go_on_, false},
    {"store arguments beside others'", send_with_blocks_, ready_described_, act_store_args_, submit_what_was_stored_,
     others_go_on_, false},
    {"store arguments, warm block", nothing_, ready_described_and_warm_, act_store_args_, submit_what_was_stored_,
     others_go_on_, false},
    {"submit", nothing_, ready_stored_, act_submit_, end_client_, others_go_on_, false},
    {"submit into a full ring", prepare_full_ring_, ready_stored_, act_submit_, discard_if_full_, others_go_on_, false},
    {"discard", nothing_, ready_stored_, act_discard_, end_client_, others_go_on_, false},
};

/* ------------------------------------------------------------------------------------------- operations: reaping */

static void ready_done_(struct scene *scene)
{
    ready_client_(scene);
    own_tasks_are_done_(scene, 1, SHORT);
}

static void ready_done_but_not_announced_(struct scene *scene)
{
    ready_client_(scene);
    flow_fill_with_stale_entries(&scene->space.completions[lq_label_row(scene->actor)]);
    own_tasks_are_done_(scene, 1, SHORT);
}

static void act_reap_(struct scene *scene)
{
    (void)scene;
    hand_.status = lq_client_reap(&hand_.client, &hand_.index);
}

static void consume_what_was_reaped_(struct scene *scene)
{
    CHECK_EQ(hand_.status, LQ_OK);
    flow_consume(&hand_.client, scene->ledger, hand_.index);
    end_client_(scene);
}

static void ready_reaped_(struct scene *scene)
{
    ready_done_(scene);
    CHECK_EQ(lq_client_reap(&hand_.client, &hand_.index), LQ_OK);
}

static void ready_reaped_and_one_cached_(struct scene *scene)
{
    ready_done_(scene);
    flow_reap(&hand_.client, scene->ledger);
    hand_.client.cache_limit = 0; /* so it gives way, and so does the one that is consumed */
    own_tasks_are_done_(scene, 1, SHORT);
    CHECK_EQ(lq_client_reap(&hand_.client, &hand_.index), LQ_OK);
}

static void act_consume_(struct scene *scene)
{
    (void)scene;
    lq_client_consume(&hand_.client, hand_.index);
}

static void nothing_is_pending_(struct scene *scene)
{
    CHECK_EQ(hand_.client.pending, 0);
    CHECK_EQ(flow_reap(&hand_.client, scene->ledger), 0);
    lq_client_end(&hand_.client);
}

static void ready_cached_(struct scene *scene)
{
    ready_done_(scene);
    flow_reap(&hand_.client, scene->ledger);
}

static void act_evict_(struct scene *scene)
{
    (void)scene;
    hand_.status = lq_client_shrink(&hand_.client); /* or others have evicted it */
}

static void prepare_to_be_cancelled_(struct scene *scene)
{
    scene_send(scene, SHORT, 8, 0);
    scene->cancelled = scene->tags;
}

/* Another client cancels what `client` sent: any client may, given the task's id. */
static void act_cancel_(struct scene *scene)
{
    hand_.status = lq_client_cancel(&hand_.client, scene->index, scene->task);
}

static void requeue_by_second_(void *given)
{
    struct scene *scene = given;
    struct lq_worker worker;
    uint32_t index;
    alarm(0);
    lq_worker_init(&worker, &scene->space, scene->second, 4);
    CHECK_EQ(lq_worker_take_now(&worker, &index), LQ_OK);
    lq_worker_start(&worker, index, 0);
    lq_fault_arm("worker_requeue:pushed", 0, LQ_FAULT_STOP);
    lq_worker_requeue(&worker, index, 0);
    lq_fault_disarm();
    lq_worker_end(&worker);
}

static void leave_rival_stopped_(struct scene *scene, void (*body)(void *))
{
    scene->rival = in_child(body, scene);
    CHECK(WIFSTOPPED(wait_for(scene->rival, true)));
}

/* In the ring, and the one who pushed it is about to take its label away: a mere relabel, that others' swaps lose to. */
static void prepare_to_be_relabelled_(struct scene *scene)
{
    send_with_blocks_(scene);
    leave_rival_stopped_(scene, requeue_by_second_);
}

static void prepare_to_be_relabelled_and_cancelled_(struct scene *scene)
{
    prepare_to_be_relabelled_(scene);
    scene->cancelled = scene->tags;
}

static void cancelled_it_was_(struct scene *scene)
{
    CHECK_EQ(hand_.status, LQ_OK); /* nobody has taken it: a relabel is no reason to give up */
    end_client_(scene);
}

static void ready_to_leave_(struct scene *scene)
{
    uint32_t index;
    ready_cached_(scene);
    CHECK_EQ(lq_client_shrink(&hand_.client), LQ_OK); /* a spare slot, and warm blocks */
    CHECK_EQ(flow_submit(&hand_.client, own_task_(8, 8), &index), LQ_OK);
    CHECK_EQ(lq_client_reserve(&hand_.client, &index), LQ_OK);
    lq_client_discard(&hand_.client, index);
}

static void act_client_end_(struct scene *scene)
{
    (void)scene;
    lq_client_end(&hand_.client);
}

static const struct operation_ reaping_[] = {
    {"reap", nothing_, ready_done_, act_reap_, consume_what_was_reaped_, others_go_on_, false},
    {"reap what was not announced", nothing_, ready_done_but_not_announced_, act_reap_, consume_what_was_reaped_,
     others_go_on_, false},
    {"consume", nothing_, ready_reaped_, act_consume_, nothing_is_pending_, others_go_on_, false},
    {"consume while its finisher is recovered", nothing_, ready_reaped_, act_consume_, nothing_is_pending_,
     others_recover_second_and_go_on_, false},
    {"consume and evict", nothing_, ready_reaped_and_one_cached_, act_consume_, nothing_is_pending_, others_go_on_, false},
    {"evict", nothing_, ready_cached_, act_evict_, end_client_, others_go_on_, false},
    {"cancel", prepare_to_be_cancelled_, ready_client_, act_cancel_, end_client_, others_go_on_, false},
    {"cancel while it is relabelled", prepare_to_be_relabelled_and_cancelled_, ready_client_, act_cancel_,
     cancelled_it_was_, rival_goes_on_, false},
    {"leave as a client", nothing_, ready_to_leave_, act_client_end_, nothing_, others_go_on_, false},
};

/* ------------------------------------------------------------------------------------------- operations: working */

static void act_take_(struct scene *scene)
{
    (void)scene;
    hand_.status = lq_worker_take_now(&hand_.worker, &hand_.index);
}

static void run_what_was_taken_(struct scene *scene)
{
    if (hand_.status == LQ_OK)
        flow_run(&hand_.worker, scene->ledger, hand_.index);
    end_worker_(scene);
}

static void prepare_cancelled_(struct scene *scene)
{
    prepare_to_be_cancelled_(scene);
    CHECK_EQ(lq_client_cancel(&scene->client, scene->index, scene->task), LQ_OK);
    send_inline_(scene);
}

/*
 * The push of what is cancelled was owed by a worker that met a full ring; it has paid, and is about to take its label away.
 * Its process is done with here: the swap that is left is done by hand.
 */
static void prepare_cancelled_to_be_relabelled_(struct scene *scene)
{
    prepare_to_be_cancelled_(scene);
    leave_rival_stopped_(scene, requeue_by_second_);
    CHECK_EQ(lq_client_cancel(&scene->client, scene->index, scene->task), LQ_OK);
    CHECK(kill(scene->rival, SIGKILL) == 0);
    wait_for(scene->rival, false);
    scene->rival = 0;
}

static void second_takes_its_label_away_(struct scene *scene)
{
    lq_a64 *word = &lq_space_slot(&scene->space, scene->index)->word;
    uint64_t seen = lq_load(word);
    if (lq_word_label(seen) == scene->second)
        lq_cas(word, seen, lq_word_as(seen, lq_word_state(seen), LQ_NOBODY));
}

/* What takes a task away: only the one who took it may count on its being there. */
static void ready_taken_(struct scene *scene)
{
    ready_worker_(scene);
    CHECK_EQ(lq_worker_take_now(&hand_.worker, &hand_.index), LQ_OK);
}

static void act_start_(struct scene *scene)
{
    (void)scene;
    lq_worker_start(&hand_.worker, hand_.index, 0);
}

static void ready_started_(struct scene *scene)
{
    ready_taken_(scene);
    hand_.tag = flow_check_args(&scene->space, hand_.index);
    flow_fill(bytes_, hand_.tag, 1, SHORT);
    act_start_(scene);
}

static void act_store_result_(struct scene *scene)
{
    (void)scene;
    hand_.status = lq_worker_store_result(&hand_.worker, hand_.index, bytes_, SHORT);
}

static void finish_what_was_stored_(struct scene *scene)
{
    CHECK_EQ(hand_.status, LQ_OK);
    lq_add32_seq(&scene->ledger->runs[hand_.tag], 1);
    lq_worker_finish(&hand_.worker, hand_.index, LQ_OUTCOME_SUCCESS, 0, SHORT);
    end_worker_(scene);
}

static void ready_to_finish_(struct scene *scene)
{
    ready_started_(scene);
    CHECK_EQ(flow_call(&hand_.worker, scene->ledger, hand_.index), SHORT);
}

static void act_finish_(struct scene *scene)
{
    (void)scene;
    lq_worker_finish(&hand_.worker, hand_.index, LQ_OUTCOME_SUCCESS, 0, SHORT);
}

static void prepare_unseen_completions_(struct scene *scene)
{
    send_with_blocks_(scene);
    flow_fill_with_stale_entries(&scene->space.completions[lq_label_row(scene->client.me)]);
}

static void ready_to_requeue_(struct scene *scene)
{
    ready_started_(scene);
    act_store_result_(scene);
    CHECK_EQ(hand_.status, LQ_OK);
}

static void ready_to_requeue_into_a_full_ring_(struct scene *scene)
{
    ready_to_requeue_(scene);
    flow_fill_with_stale_entries(&scene->space.rings[0][0]);
}

static void act_requeue_(struct scene *scene)
{
    (void)scene;
    lq_worker_requeue(&hand_.worker, hand_.index, 0);
}

/* A requeue met a full ring; the next take finds room, by passing all that is in it, and pays. */
static void ready_owing_(struct scene *scene)
{
    ready_to_requeue_into_a_full_ring_(scene);
    act_requeue_(scene);
    CHECK(hand_.worker.owes);
}

static void ready_to_leave_as_a_worker_(struct scene *scene)
{
    uint32_t blocks[2];
    ready_worker_(scene);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(lq_arena_take(&scene->space.arena, &hand_.worker.cache, scene->actor, SHORT, false, &blocks[i]), LQ_OK);
    for (int i = 0; i < 2; i++)
        lq_arena_return(&scene->space.arena, &hand_.worker.cache, scene->actor, blocks[i]);
}

static void act_worker_end_(struct scene *scene)
{
    (void)scene;
    lq_worker_end(&hand_.worker);
}

static const struct operation_ working_[] = {
    {"take", send_two_, ready_worker_, act_take_, run_what_was_taken_, others_go_on_, false},
    {"take while it is relabelled", prepare_to_be_relabelled_, ready_worker_, act_take_, run_what_was_taken_,
     rival_goes_on_, false},
    {"take and settle a cancelled one", prepare_cancelled_, ready_worker_, act_take_, run_what_was_taken_, others_go_on_, false},
    {"settle a cancelled one while it is relabelled", prepare_cancelled_to_be_relabelled_, ready_worker_, act_take_,
     run_what_was_taken_, second_takes_its_label_away_, false},
    {"settle a cancelled one while its pusher is recovered", prepare_cancelled_to_be_relabelled_, ready_worker_, act_take_,
     run_what_was_taken_, others_recover_second_, false},
    {"take and pay what is owed", send_with_blocks_, ready_owing_, act_take_, run_what_was_taken_, others_go_on_, false},
    {"start", send_with_blocks_, ready_taken_, act_start_, finish_task_in_hand_, others_go_on_, false},
    {"store a result", send_with_blocks_, ready_started_, act_store_result_, finish_what_was_stored_, others_go_on_, false},
    {"finish", send_with_blocks_, ready_to_finish_, act_finish_, end_worker_, others_go_on_, false},
    {"finish, completion ring full", prepare_unseen_completions_, ready_to_finish_, act_finish_, end_worker_, others_go_on_,
     false},
    {"requeue", send_with_blocks_, ready_to_requeue_, act_requeue_, end_worker_, others_go_on_, false},
    {"requeue into a full ring", send_with_blocks_, ready_to_requeue_into_a_full_ring_, act_requeue_, end_worker_,
     others_go_on_, false},
    {"leave as a worker", nothing_, ready_to_leave_as_a_worker_, act_worker_end_, nothing_, others_go_on_, false},
};

/* ----------------------------------------------------------------------------- operations: arena, functions, rows */

#define RUN_BYTES (3ull << LQ_SPAN_ORDER)
#define HALF_SPAN (LQ_SPAN_BYTES / 2) /* of the largest class: two blocks to lock when the span is given back */

static const struct lq_arena *arena_(const struct scene *scene)
{
    return &scene->space.arena;
}

static void act_take_block_(struct scene *scene)
{
    hand_.status = lq_arena_take(arena_(scene), &hand_.cache, scene->actor, SHORT, false, &hand_.block);
}

static void act_take_run_(struct scene *scene)
{
    hand_.status = lq_arena_take(arena_(scene), &hand_.cache, scene->actor, RUN_BYTES, false, &hand_.block);
}

/* Nobody else may have got any of it: written now, it must be found later. */
static void write_and_return_(struct scene *scene)
{
    uint64_t room = 0;
    if (hand_.status != LQ_OK)
        return; /* others hold what it needs */
    uint64_t *at = (uint64_t *)(void *)lq_arena_at(arena_(scene), hand_.block, &room);
    CHECK(at != NULL && room >= SHORT);
    flow_fill(at, 1, 2, SHORT);
    CHECK(flow_matches(at, 1, 2, SHORT));
    lq_arena_return(arena_(scene), NULL, scene->actor, hand_.block);
}

static void ready_block_(struct scene *scene)
{
    act_take_block_(scene);
    CHECK_EQ(hand_.status, LQ_OK);
}

static void ready_run_(struct scene *scene)
{
    act_take_run_(scene);
    CHECK_EQ(hand_.status, LQ_OK);
}

static void act_return_(struct scene *scene)
{
    lq_arena_return(arena_(scene), NULL, scene->actor, hand_.block);
}

/* Five spans, one cut, six spans: seven neighbours are free only after the one has been given back. */
static void prepare_cut_in_the_middle_(struct scene *scene)
{
    struct lq_arena_cache cache = {0};
    uint32_t run;
    uint32_t block;
    CHECK_EQ(lq_arena_take(arena_(scene), &cache, scene->second, 5ull << LQ_SPAN_ORDER, false, &run), LQ_OK);
    CHECK_EQ(lq_arena_take(arena_(scene), &cache, scene->second, HALF_SPAN, false, &block), LQ_OK);
    lq_arena_return(arena_(scene), NULL, scene->second, run);
    lq_arena_return(arena_(scene), NULL, scene->second, block);
}

static void act_take_run_over_a_cut_span_(struct scene *scene)
{
    hand_.status = lq_arena_take(arena_(scene), &hand_.cache, scene->actor, 7ull << LQ_SPAN_ORDER, false, &hand_.block);
}

/* Somebody gives the run's head back, takes it again and cuts its spans: whoever read them before must notice. */
static void others_take_runs_(struct scene *scene)
{
    struct lq_arena_cache cache = {0};
    lq_label other = flow_join(&scene->space, LQ_ROLE_SUPERVISOR);
    uint32_t runs[3];
    uint32_t block;
    enum lq_status status[3];
    for (int i = 0; i < 3; i++)
        status[i] = lq_arena_take(arena_(scene), &cache, other, (uint64_t)(i + 2) << LQ_SPAN_ORDER, false, &runs[i]);
    if (lq_arena_take(arena_(scene), &cache, other, HALF_SPAN, false, &block) == LQ_OK)
        lq_arena_return(arena_(scene), NULL, other, block);
    for (int i = 0; i < 3; i++)
        if (status[i] == LQ_OK)
            lq_arena_return(arena_(scene), NULL, other, runs[i]);
    flow_bury(&scene->space, other, 0);
    others_go_on_inline_(scene);
}

static const struct operation_ arena_operations_[] = {
    {"take a block, arena untouched", nothing_, nothing_, act_take_block_, write_and_return_, others_go_on_, false},
    {"take a block beside others'", send_with_blocks_, nothing_, act_take_block_, write_and_return_, others_go_on_, false},
    {"free a block", nothing_, ready_block_, act_return_, nothing_, others_go_on_, false},
    {"take a run", nothing_, nothing_, act_take_run_, write_and_return_, others_take_runs_, false},
    {"free a run", nothing_, ready_run_, act_return_, nothing_, others_take_runs_, false},
    {"take a run over a span that was cut", prepare_cut_in_the_middle_, nothing_, act_take_run_over_a_cut_span_, write_and_return_,
     others_take_runs_, false},
};

/* In a row that nobody has used, so that recovery must be told to look there. */
static void ready_to_publish_(struct scene *scene)
{
    ready_client_(scene);
    hand_.client.function_cursor = 5;
}

static void act_publish_(struct scene *scene)
{
    (void)scene;
    hand_.status = lq_client_publish(&hand_.client, 1, "some", bytes_, SHORT, LQ_NO_BLOCK, &hand_.index, &hand_.tag);
}

static void unpublish_(struct scene *scene)
{
    if (hand_.status == LQ_OK) {
        CHECK(lq_space_function_is_current(&scene->space, hand_.index, hand_.tag));
        lq_client_unpublish(&hand_.client, hand_.index);
    }
    lq_client_end(&hand_.client);
}

static void ready_published_(struct scene *scene)
{
    ready_to_publish_(scene);
    act_publish_(scene);
    CHECK_EQ(hand_.status, LQ_OK);
}

static void act_unpublish_(struct scene *scene)
{
    (void)scene;
    lq_client_unpublish(&hand_.client, hand_.index);
}

static void act_join_(struct scene *scene)
{
    hand_.status = lq_space_join(&scene->space, LQ_ROLE_CLIENT, (uint32_t)getpid(), &hand_.label);
}

static void leave_the_row_(struct scene *scene)
{
    CHECK_EQ(hand_.status, LQ_OK);
    CHECK(lq_roster_is_live(&scene->space.roster, hand_.label));
    lq_space_bury(&scene->space, hand_.label);
    lq_space_release(&scene->space, hand_.label);
}

/* A result that has expired; of a client that is gone: a result, and a function. */
static void prepare_sweep_(struct scene *scene)
{
    struct lq_client gone;
    uint32_t index;
    uint32_t row;
    uint32_t generation;
    send_with_blocks_(scene);
    scene_work_off(scene);
    CHECK_EQ(flow_reap(&scene->client, scene->ledger), 1);
    lq_space_slot(&scene->space, scene->index)->done_ns = 1;
    flow_init_client(&gone, &scene->space, flow_join(&scene->space, LQ_ROLE_CLIENT));
    CHECK_EQ(lq_client_publish(&gone, 1, "some", bytes_, SHORT, LQ_NO_BLOCK, &row, &generation), LQ_OK);
    CHECK_EQ(flow_submit(&gone, own_task_(SHORT, SHORT), &index), LQ_OK);
    scene_work_off(scene);
    flow_bury(&scene->space, gone.me, KILLED);
}

static void act_sweep_(struct scene *scene)
{
    lq_space_sweep(&scene->space, scene->actor);
}

static void prepare_relieve_(struct scene *scene)
{
    send_with_blocks_(scene);
    scene_work_off(scene);
    CHECK_EQ(flow_reap(&scene->client, scene->ledger), 1);
}

static void act_relieve_(struct scene *scene)
{
    lq_space_relieve(&scene->space, scene->actor);
}

static const struct operation_ keeping_[] = {
    {"publish a function", nothing_, ready_to_publish_, act_publish_, unpublish_, others_go_on_, false},
    {"withdraw a function", nothing_, ready_published_, act_unpublish_, act_client_end_, others_go_on_, false},
    {"join", nothing_, nothing_, act_join_, leave_the_row_, others_go_on_, false},
    {"sweep", prepare_sweep_, nothing_, act_sweep_, nothing_, others_go_on_, false},
    {"relieve", prepare_relieve_, nothing_, act_relieve_, nothing_, others_go_on_, false},
};

/* ---------------------------------------------------------------------------------------- operations: recovering */

static void prepare_dead_(struct scene *scene)
{
    lq_space_bury(&scene->space, scene->second);
}

static void second_takes_(struct scene *scene, struct lq_worker *worker, uint32_t *index)
{
    lq_worker_init(worker, &scene->space, scene->second, 4);
    CHECK_EQ(lq_worker_take_now(worker, index), LQ_OK);
}

static void prepare_dead_in_submit_(struct scene *scene)
{
    struct lq_client gone;
    uint32_t index;
    flow_init_client(&gone, &scene->space, scene->second);
    CHECK_EQ(flow_submit(&gone, own_task_(8, 8), &index), LQ_OK); /* QUEUED(dead): as if it were not pushed yet */
    CHECK_EQ(lq_client_reserve(&gone, &index), LQ_OK);            /* WRITING(dead) */
    CHECK_EQ(flow_submit(&gone, own_task_(8, 8), &index), LQ_OK);
    CHECK_EQ(lq_client_cancel(&gone, index, lq_space_slot(&scene->space, index)->task_generation), LQ_OK);
    prepare_dead_(scene);
}

static void prepare_dead_before_the_push_(struct scene *scene)
{
    struct lq_worker worker;
    uint32_t index;
    send_inline_(scene);
    second_takes_(scene, &worker, &index);
    lq_a64 *word = &lq_space_slot(&scene->space, index)->word;
    lq_store(word, lq_word_next(lq_load(word), LQ_SLOT_QUEUED, scene->second, 0)); /* requeued, and no cell names it */
    prepare_dead_(scene);
}

static void prepare_dead_with_a_task_(struct scene *scene)
{
    struct lq_worker worker;
    uint32_t index;
    send_inline_(scene);
    second_takes_(scene, &worker, &index);
    prepare_dead_(scene);
}

static void prepare_dead_in_user_code_(struct scene *scene)
{
    struct lq_worker worker;
    uint32_t index;
    for (uint8_t chances = 0; chances < 2; chances++) {
        scene_send(scene, 8, 8, chances);
        second_takes_(scene, &worker, &index);
        lq_worker_start(&worker, index, 0);
    }
    prepare_dead_(scene);
}

static void prepare_dead_after_finishing_(struct scene *scene)
{
    send_inline_(scene);
    second_works_(scene);
    prepare_dead_(scene);
}

/* Blocks in every hand: a result half stored, arguments, a function, one that nobody names. */
static void prepare_dead_with_blocks_(struct scene *scene)
{
    struct lq_worker worker;
    struct lq_client gone;
    uint32_t index;
    uint32_t row;
    uint32_t generation;
    scene_send(scene, SHORT, SHORT, 1);
    lq_store32(&arena_(scene)->spans[1].freed, 1); /* so all take from this one span: recovery reads 2048 words of each */
    second_takes_(scene, &worker, &index);
    lq_worker_start(&worker, index, 0);
    CHECK_EQ(lq_worker_store_result(&worker, index, bytes_, SHORT), LQ_OK);
    flow_init_client(&gone, &scene->space, scene->second);
    CHECK_EQ(lq_client_reserve(&gone, &index), LQ_OK);
    CHECK_EQ(lq_client_store_args(&gone, index, bytes_, SHORT), LQ_OK);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(lq_client_publish(&gone, 1, "some", bytes_, SHORT, LQ_NO_BLOCK, &row, &generation), LQ_OK);
    struct lq_function *function = &scene->space.functions.rows[row];
    lq_store(&function->word, lq_word_as(lq_load(&function->word), LQ_FUNCTION_WRITING, scene->second)); /* not quite yet */
    CHECK_EQ(lq_arena_take(arena_(scene), &gone.cache, scene->second, SHORT, false, &index), LQ_OK);
    prepare_dead_(scene);
}

/* A run that is owned, one that a slot names, and one that was being taken. */
static void prepare_dead_with_runs_(struct scene *scene)
{
    struct lq_client gone;
    struct lq_arena_cache cache = {0};
    uint32_t index;
    uint32_t run;
    flow_init_client(&gone, &scene->space, scene->second);
    CHECK_EQ(lq_arena_take(arena_(scene), &cache, scene->second, RUN_BYTES, false, &run), LQ_OK);
    CHECK_EQ(lq_client_reserve(&gone, &index), LQ_OK);
    CHECK_EQ(lq_arena_take(arena_(scene), &cache, scene->second, RUN_BYTES, false, &run), LQ_OK);
    struct lq_slot *slot = lq_space_slot(&scene->space, index);
    LQ_PUT(slot->args_block, run);
    lq_arena_hold(arena_(scene), scene->second, run, lq_backref(LQ_HOLDER_ARGS, index, slot->task_generation));
    CHECK_EQ(lq_arena_take(arena_(scene), &cache, scene->second, RUN_BYTES, false, &run), LQ_OK);
    struct lq_span *last = &arena_(scene)->spans[(run & ~LQ_BLOCK_RUN) + 2];
    lq_store(&last->word, lq_word_as(lq_load(&last->word), LQ_SPAN_TAIL, scene->second)); /* signed, not settled */
    lq_store(&arena_(scene)->spans[run & ~LQ_BLOCK_RUN].run, 2);
    prepare_dead_(scene);
}

static void recover_second_until_counted_(void *given)
{
    struct scene *scene = given;
    struct lq_recovered recovered;
    alarm(0);
    lq_fault_arm("recover:counted", 0, LQ_FAULT_STOP);
    lq_space_recover(&scene->space, scene->second, scene->actor, KILLED, &recovered);
}

/* The third worker that the task costs; one recoverer has counted it and pauses, so another may take it for the fourth. */
static void prepare_dead_with_a_task_that_costs_workers_(struct scene *scene)
{
    prepare_dead_with_a_task_(scene);
    lq_store(&lq_space_slot(&scene->space, scene->index)->verdict, LQ_MOST_UNBEGUN - 1);
    scene->judged = true;
    leave_rival_stopped_(scene, recover_second_until_counted_);
}

static void act_recover_(struct scene *scene)
{
    struct lq_recovered recovered;
    lq_space_recover(&scene->space, scene->second, scene->actor, KILLED, &recovered);
}

static const struct operation_ recovering_[] = {
    {"recover one who submitted", prepare_dead_in_submit_, nothing_, act_recover_, nothing_,
     others_recover_second_and_go_on_, false},
    {"recover one who owed a push", prepare_dead_before_the_push_, nothing_, act_recover_, nothing_,
     others_recover_second_and_go_on_, false},
    {"recover one with a task in hand", prepare_dead_with_a_task_, nothing_, act_recover_, nothing_,
     others_recover_second_and_go_on_, false},
    {"recover one in user code", prepare_dead_in_user_code_, nothing_, act_recover_, nothing_,
     others_recover_second_and_go_on_, true},
    {"recover one who had finished", prepare_dead_after_finishing_, nothing_, act_recover_, nothing_,
     others_recover_second_and_go_on_, false},
    {"recover one that a task cost, beside another", prepare_dead_with_a_task_that_costs_workers_, nothing_, act_recover_, nothing_,
     rival_goes_on_and_all_is_worked_off_, false},
    {"recover one with runs", prepare_dead_with_runs_, nothing_, act_recover_, nothing_, others_recover_second_and_go_on_, false},
};

static const struct operation_ recovering_blocks_[] = {
    {"recover one with blocks", prepare_dead_with_blocks_, nothing_, act_recover_, nothing_,
     others_recover_second_and_go_on_, false},
};

/* --------------------------------------------------------------------------------------------- operations: pinning */

static void act_pin_result_(struct scene *scene)
{
    uint32_t cursor = 0;
    hand_.status = flow_pin_result(&scene->space, scene->actor, scene->index, &cursor, &hand_.pin);
}

static void unpin_result_(struct scene *scene)
{
    if (hand_.status != LQ_OK)
        return; /* others have evicted it */
    flow_check_pin(&scene->space, &hand_.pin);
    lq_arena_unpin(arena_(scene), NULL, scene->actor, hand_.pin.entry);
}

static void ready_result_pinned_(struct scene *scene)
{
    act_pin_result_(scene);
    CHECK_EQ(hand_.status, LQ_OK);
}

static void act_unpin_result_(struct scene *scene)
{
    lq_arena_unpin(arena_(scene), NULL, scene->actor, hand_.pin.entry);
}

static uint32_t pin_block_(struct scene *scene, lq_label me, uint32_t block)
{
    uint32_t cursor = 0;
    uint32_t entry = LQ_NO_PIN;
    uint32_t generation = lq_word_generation(lq_load(lq_arena_word(arena_(scene), block)));
    CHECK_EQ(lq_arena_pin(arena_(scene), me, block, generation, 0, &cursor, &entry), LQ_OK);
    return entry;
}

static void act_put_(struct scene *scene)
{
    hand_.entry = pin_block_(scene, scene->actor, hand_.block);
    lq_arena_loosen(arena_(scene), scene->actor, hand_.block);
}

static void ready_put_(struct scene *scene)
{
    ready_block_(scene);
    act_put_(scene);
}

static void act_unpin_(struct scene *scene)
{
    lq_arena_unpin(arena_(scene), NULL, scene->actor, hand_.entry);
}

static void act_return_pinned_(struct scene *scene)
{
    lq_arena_return(arena_(scene), NULL, scene->actor, hand_.block);
}

static void ready_pinned_(struct scene *scene)
{
    ready_block_(scene);
    hand_.entry = pin_block_(scene, scene->actor, hand_.block);
}

/* The actor will let go of it; `second` looks at it. */
static void prepare_looked_at_(struct scene *scene)
{
    struct flow_pin pin;
    uint32_t cursor = 0;
    prepare_relieve_(scene);
    CHECK_EQ(flow_pin_result(&scene->space, scene->second, scene->index, &cursor, &pin), LQ_OK);
    CHECK_EQ(pin.entry, 0);
}

static void second_looks_away_(struct scene *scene)
{
    lq_arena_unpin(arena_(scene), NULL, scene->second, 0);
    others_go_on_inline_(scene);
}

/* Another looks instead of `second`: the one may not be seen any more, nor the other yet. */
static void another_looks_instead_(struct scene *scene)
{
    struct flow_pin pin;
    uint32_t cursor = 1;
    lq_label other = flow_join(&scene->space, LQ_ROLE_CLIENT);
    uint32_t block = lq_pin_block(lq_load(&lq_pins_at(&arena_(scene)->pins, lq_label_row(scene->second), 0)->what));
    uint32_t generation = lq_word_generation(lq_load(lq_arena_word(arena_(scene), block)));
    CHECK_EQ(lq_arena_pin(arena_(scene), other, block, generation, 0, &cursor, &pin.entry), LQ_OK);
    lq_arena_unpin(arena_(scene), NULL, scene->second, 0);
    others_go_on_(scene);
    CHECK_EQ(lq_word_generation(lq_load(lq_arena_word(arena_(scene), block))), generation);
    flow_bury(&scene->space, other, KILLED);
}

static void act_relieve_once_(struct scene *scene)
{
    lq_space_relieve(&scene->space, scene->actor);
}

/* `second` has let go of it, and has not decided. */
static void prepare_dying_(struct scene *scene)
{
    struct lq_arena_cache cache = {0};
    CHECK_EQ(lq_arena_take(arena_(scene), &cache, scene->second, SHORT, false, &scene->index), LQ_OK);
    lq_a64 *word = lq_arena_word(arena_(scene), scene->index);
    scene->task = lq_word_generation(lq_load(word));
    lq_store(word, lq_word(LQ_BLOCK_DYING, scene->second, scene->task, 1));
}

static void act_save_(struct scene *scene)
{
    uint32_t cursor = 0;
    hand_.status = lq_arena_pin(arena_(scene), scene->actor, scene->index, scene->task, 0, &cursor, &hand_.entry);
}

static void unpin_what_was_saved_(struct scene *scene)
{
    if (hand_.status == LQ_OK) { /* else recovery was quicker */
        CHECK_EQ(lq_word_generation(lq_load(lq_arena_word(arena_(scene), scene->index))), scene->task);
        act_unpin_(scene);
    }
}

/* `second` has not held it yet, so nobody else can pin it. */
static void prepare_not_held_yet_(struct scene *scene)
{
    struct lq_arena_cache cache = {0};
    CHECK_EQ(lq_arena_take(arena_(scene), &cache, scene->second, SHORT, false, &scene->index), LQ_OK);
    scene->task = lq_word_generation(lq_load(lq_arena_word(arena_(scene), scene->index)));
}

static void second_holds_and_drops_what_another_pins_(struct scene *scene)
{
    uint64_t backref = lq_backref(LQ_HOLDER_KEPT, 1, 0);
    lq_label other = flow_join(&scene->space, LQ_ROLE_CLIENT);
    lq_arena_hold(arena_(scene), scene->second, scene->index, backref);
    uint32_t entry = pin_block_(scene, other, scene->index);
    lq_arena_drop(arena_(scene), NULL, scene->second, scene->index, backref);
    lq_arena_unpin(arena_(scene), NULL, other, entry);
    flow_bury(&scene->space, other, 0);
}

static void prepare_idle_(struct scene *scene)
{
    struct lq_arena_cache cache = {0};
    uint32_t blocks[2];
    CHECK_EQ(lq_arena_take(arena_(scene), &cache, scene->second, HALF_SPAN, false, &blocks[0]), LQ_OK);
    CHECK_EQ(lq_arena_take(arena_(scene), &cache, scene->second, RUN_BYTES, false, &blocks[1]), LQ_OK);
    for (int i = 0; i < 2; i++) {
        uint64_t room;
        flow_fill(lq_arena_at(arena_(scene), blocks[i], &room), 3, 0, 64); /* so that it shows when it is emptied */
        lq_arena_return(arena_(scene), NULL, scene->second, blocks[i]);
    }
}

static void act_give_back_(struct scene *scene)
{
    lq_arena_give_back(arena_(scene), scene->actor, hand_.idle, NULL);
}

static void take_write_and_return_(struct scene *scene)
{
    act_take_block_(scene);
    write_and_return_(scene);
}

/* What has been had says so, until it is given back. */
static void check_stocks_(const struct scene *scene)
{
    for (uint32_t span = 1; span < arena_(scene)->count; span++) {
        off_t at = (off_t)span << LQ_SPAN_ORDER;
        if (lq_load32(&arena_(scene)->stocks[span]) % 2 != 0)
            CHECK(lseek(arena_(scene)->fd, at, SEEK_HOLE) >= at + (off_t)LQ_SPAN_BYTES);
    }
}

static void ready_untouched_(struct scene *scene)
{
    memset(arena_(scene)->touched, 0, arena_(scene)->count * sizeof *arena_(scene)->touched);
}

static void cut_by_second_(void *given)
{
    struct scene *scene = given;
    struct lq_arena_cache cache = {0};
    uint32_t block;
    alarm(0);
    ready_untouched_(scene);
    lq_fault_arm("arena_cut:counted", 0, LQ_FAULT_STOP);
    if (lq_arena_take(arena_(scene), &cache, scene->second, SHORT, false, &block) == LQ_OK)
        lq_arena_return(arena_(scene), NULL, scene->second, block);
    lq_fault_disarm();
}

/* Somebody has found a free span to cut, and is about to have memory for it; the actor will empty it. */
static void prepare_idle_and_about_to_be_cut_(struct scene *scene)
{
    prepare_idle_(scene);
    leave_rival_stopped_(scene, cut_by_second_);
}

static void write_return_and_check_(struct scene *scene)
{
    CHECK_EQ(hand_.status, LQ_OK);
    check_stocks_(scene);
    write_and_return_(scene);
}

static void others_give_memory_back_(struct scene *scene)
{
    uint64_t idle[16] = {0};
    lq_label other = flow_join(&scene->space, LQ_ROLE_SUPERVISOR);
    for (int i = 0; i < 2; i++)
        lq_arena_give_back(arena_(scene), other, idle, NULL);
    flow_bury(&scene->space, other, 0);
}

static const struct operation_ pinning_[] = {
    {"pin a result", prepare_relieve_, nothing_, act_pin_result_, unpin_result_, others_go_on_, false},
    {"put", nothing_, ready_block_, act_put_, act_unpin_, others_go_on_, false},
    {"save what is dying", prepare_dying_, nothing_, act_save_, unpin_what_was_saved_, others_go_on_, false},
    {"save what is dying beside its recovery", prepare_dying_, nothing_, act_save_, unpin_what_was_saved_,
     others_recover_second_, false},
    {"pin what is not held yet", prepare_not_held_yet_, nothing_, act_save_, unpin_what_was_saved_,
     second_holds_and_drops_what_another_pins_, false},
    {"take a block while memory is given back", prepare_idle_, ready_untouched_, act_take_block_, write_return_and_check_,
     others_give_memory_back_, false},
    {"give memory back that another is about to have", prepare_idle_and_about_to_be_cut_, act_give_back_, act_give_back_, nothing_,
     rival_goes_on_, false},
    {"give memory back", prepare_idle_, act_give_back_, act_give_back_, take_write_and_return_, others_take_runs_, false},
};

static const struct operation_ letting_go_[] = {
    {"unpin a result", prepare_relieve_, ready_result_pinned_, act_unpin_result_, nothing_, others_go_on_, false},
    {"unpin what nobody holds", nothing_, ready_put_, act_unpin_, nothing_, others_go_on_, false},
    {"return what is pinned", nothing_, ready_pinned_, act_return_pinned_, act_unpin_, others_go_on_, false},
    {"drop what another looks away from", prepare_looked_at_, nothing_, act_relieve_once_, nothing_, second_looks_away_, false},
    {"drop what another looks at instead", prepare_looked_at_, nothing_, act_relieve_once_, nothing_, another_looks_instead_, false},
};

/* Looked at by `second`: what a slot holds, what lives by its pin, what it had lifted its pin from, what it let go of. */
static void prepare_dead_with_pins_(struct scene *scene)
{
    uint32_t blocks[3];
    uint32_t entries[3];
    struct lq_arena_cache cache = {0};
    prepare_looked_at_(scene);
    lq_store32(&arena_(scene)->spans[1].freed, 1);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(lq_arena_take(arena_(scene), &cache, scene->second, SHORT, false, &blocks[i]), LQ_OK);
        entries[i] = pin_block_(scene, scene->second, blocks[i]);
        if (i < 2)
            lq_arena_loosen(arena_(scene), scene->second, blocks[i]);
    }
    lq_pins_lift(&arena_(scene)->pins, scene->second, entries[1]);
    lq_a64 *word = lq_arena_word(arena_(scene), blocks[2]);
    lq_store(word, lq_word_as(lq_load(word), LQ_BLOCK_DYING, scene->second));
    prepare_dead_(scene);
}

/* It was about to evict a result: the slot is its own, and still names the block. */
static void prepare_dead_in_evicting_(struct scene *scene)
{
    prepare_relieve_(scene);
    lq_a64 *word = &lq_space_slot(&scene->space, scene->index)->word;
    lq_store(word, lq_word_next(lq_load(word), LQ_SLOT_WRITING, scene->second, 0));
    prepare_dead_(scene);
}

/* Somebody who read the slot before that. */
static void others_look_and_look_away_(struct scene *scene)
{
    uint32_t cursor = 0;
    uint32_t entry;
    lq_label other = flow_join(&scene->space, LQ_ROLE_CLIENT);
    uint32_t block = lq_space_slot(&scene->space, scene->index)->result_block;
    uint32_t generation = lq_word_generation(lq_load(lq_arena_word(arena_(scene), block)));
    if (lq_arena_pin(arena_(scene), other, block, generation, 0, &cursor, &entry) == LQ_OK)
        lq_arena_unpin(arena_(scene), NULL, other, entry);
    flow_bury(&scene->space, other, 0);
}

static const struct operation_ recovering_pins_[] = {
    {"recover one who evicted what another looks at", prepare_dead_in_evicting_, nothing_, act_recover_, nothing_,
     others_look_and_look_away_, false},
    {"recover one who pinned", prepare_dead_with_pins_, nothing_, act_recover_, nothing_, others_recover_second_and_go_on_, false},
};

/* -------------------------------------------------------------------------------------------------- what is watched */

/* The parts of a Space that an operation may change, and what they were when last looked at. */
struct watch_ {
    struct part_ {
        const unsigned char *at;
        unsigned char *seen;
        size_t bytes;
    } parts[64];
    uint32_t count;
};

#define WATCHED_ARENA_BYTES 4096u /* at the start of each span: more than is written of it */

static void watch_part_(struct watch_ *watch, const void *at, size_t bytes)
{
    CHECK(watch->count < sizeof watch->parts / sizeof watch->parts[0]);
    struct part_ *part = &watch->parts[watch->count++];
    *part = (struct part_){at, malloc(bytes), bytes};
    CHECK(part->seen != NULL);
    memcpy(part->seen, at, bytes);
}

static void watch_(struct watch_ *watch, const struct scene *scene)
{
    const struct lq_space *space = &scene->space;
    watch->count = 0;
    watch_part_(watch, space->header, sizeof *space->header);
    watch_part_(watch, space->roster.rows, 16 * sizeof space->roster.rows[0]);
    watch_part_(watch, space->functions.rows, 16 * sizeof space->functions.rows[0]);
    for (uint32_t priority = 0; priority < LQ_PRIORITIES; priority++)
        watch_part_(watch, space->rings[0][priority].head, lq_ring_size(space->rings[0][priority].order));
    for (uint32_t row = 0; row < 12; row++)
        watch_part_(watch, space->completions[row].head, lq_ring_size(space->completions[row].order));
    watch_part_(watch, space->slots.slots, lq_slots_size(space->slots.count));
    watch_part_(watch, space->arena.spans, lq_arena_spans_size(space->arena.count));
    watch_part_(watch, space->arena.stocks, lq_arena_stocks_size(space->arena.count));
    for (uint32_t row = 1; row < 8; row++)
        watch_part_(watch, lq_pins_at(&space->arena.pins, row, 0), sizeof(struct lq_pin) * 8);
    for (uint32_t span = 1; span < space->arena.count; span++) {
        watch_part_(watch, &space->arena.blocks[(size_t)span << LQ_BLOCKS_ORDER], sizeof(struct lq_block) * 64);
        watch_part_(watch, space->arena.memory + ((size_t)span << LQ_SPAN_ORDER), WATCHED_ARENA_BYTES);
    }
}

static bool has_changed_(struct watch_ *watch)
{
    bool changed = false;
    for (uint32_t i = 0; i < watch->count; i++) {
        struct part_ *part = &watch->parts[i];
        if (memcmp(part->seen, part->at, part->bytes) == 0)
            continue;
        memcpy(part->seen, part->at, part->bytes);
        changed = true;
    }
    return changed;
}

static void unwatch_(struct watch_ *watch)
{
    for (uint32_t i = 0; i < watch->count; i++)
        free(watch->parts[i].seen);
}

/* ------------------------------------------------------------------------------------------------------- the tracer */

/* One instruction of an operation: where it is, and how to get there quickly. */
struct step_ {
    uint64_t at;
    uint32_t times;  /* how often the operation has been at this address, this time included */
    uint32_t anchor; /* the step that a breakpoint leads to; from there on it is stepped */
    uint32_t cost;   /* in traps */
    bool changes;    /* shared memory is another after it */
    bool elsewhere;  /* in the vDSO */
};

static struct step_ *steps_;
static uint32_t length_; /* of the operation in hand; steps_[length_] is its end */
static struct ledger *ledger_;

struct actor_ {
    struct scene *scene;
    const struct operation_ *operation;
};

/* A trap that the tracer sees: between two of these lies what is stepped. */
static inline void mark_(void)
{
    __asm__ volatile("int3" ::: "memory");
}

static void act_out_(void *given)
{
    struct actor_ *actor = given;
    alarm(0);
    CHECK(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
    memset(&hand_, 0, sizeof hand_);
    actor->operation->ready(actor->scene);
    mark_();
    actor->operation->act(actor->scene);
    mark_();
    actor->operation->after(actor->scene);
}

static void wait_for_trap_(pid_t pid)
{
    int status = wait_for(pid, true);
    if (WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP)
        return;
    fprintf(stderr, "the actor ended with status %#x\n", (unsigned)status);
    lq_fail(__FILE__, __LINE__, "the actor comes to the next trap");
}

static void go_(pid_t pid, enum __ptrace_request how)
{
    CHECK(ptrace(how, pid, NULL, NULL) == 0);
    wait_for_trap_(pid);
}

static uint64_t place_of_(pid_t pid)
{
    errno = 0;
    long at = ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user, regs.rip), NULL);
    CHECK(errno == 0);
    return (uint64_t)at;
}

static bool was_mark_(pid_t pid)
{
    siginfo_t facts;
    CHECK(ptrace(PTRACE_GETSIGINFO, pid, NULL, &facts) == 0);
    return facts.si_code == SI_KERNEL; /* int3; a step says TRAP_TRACE */
}

/* The scene as prepared, and the actor ready, before its first instruction. */
static pid_t begin_(struct scene *scene, const struct operation_ *operation)
{
    struct actor_ actor = {scene, operation};
    scene_open(scene, ledger_);
    own_tags_ = 0;
    operation->prepare(scene);
    pid_t pid = in_child(act_out_, &actor);
    wait_for_trap_(pid);
    CHECK(was_mark_(pid));
    CHECK(ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_EXITKILL) == 0);
    return pid;
}

/* The child goes on by itself, from wherever it is, to its end. */
static void let_finish_(pid_t pid, bool ended)
{
    if (!ended) {
        go_(pid, PTRACE_CONT);
        CHECK(was_mark_(pid));
    }
    CHECK(ptrace(PTRACE_DETACH, pid, NULL, NULL) == 0);
    CHECK_EQ(wait_for(pid, false), 0);
}

static void end_scene_(struct scene *scene, bool died)
{
    rival_goes_on_(scene);
    scene_settle(scene);
    check_stocks_(scene);
    scene_audit(scene, died);
    scene_close(scene);
}

static bool is_in_the_vdso_(uint64_t at)
{
    uint64_t vdso = getauxval(AT_SYSINFO_EHDR);
    return at >= vdso && at < vdso + 0x4000;
}

/* How often each address has been passed: a small table, open addressing. */
static uint32_t count_at_(uint64_t at)
{
    static struct {
        uint64_t at;
        uint32_t times, round;
    } seen[1u << 14];
    static uint32_t round = 1;
    if (at == 0)
        return round++; /* forget all */
    for (uint64_t i = at * 0x9e3779b97f4a7c15ull >> 50;; i = (i + 1) % (1u << 14)) {
        if (seen[i].round != round) {
            seen[i].at = at;
            seen[i].times = 0;
            seen[i].round = round;
        }
        if (seen[i].at == at)
            return ++seen[i].times;
    }
}

static void plan_(struct step_ *step, uint32_t n)
{
    step->elsewhere = is_in_the_vdso_(step->at);
    step->times = count_at_(step->at);
    step->anchor = n;
    step->cost = step->elsewhere ? UINT32_MAX / 2 : 2 * step->times;
    if (n != 0 && step[-1].cost + 1 < step->cost) {
        step->anchor = step[-1].anchor;
        step->cost = step[-1].cost + 1;
    }
}

/* The first run of an operation, every instruction of it. */
static void trace_(const struct operation_ *operation)
{
    struct scene scene;
    struct watch_ watch;
    pid_t pid = begin_(&scene, operation);
    watch_(&watch, &scene);
    count_at_(0);
    for (length_ = 0;; length_++) {
        CHECK(length_ < MOST_STEPS);
        struct step_ *step = &steps_[length_];
        *step = (struct step_){.at = place_of_(pid)};
        plan_(step, length_);
        go_(pid, PTRACE_SINGLESTEP);
        if (was_mark_(pid))
            break;
        step->changes = has_changed_(&watch);
    }
    unwatch_(&watch);
    let_finish_(pid, true);
    end_scene_(&scene, operation->crashes);
}

static void set_trap_(pid_t pid, uint64_t at, long *text)
{
    errno = 0;
    *text = ptrace(PTRACE_PEEKTEXT, pid, at, NULL);
    CHECK(errno == 0);
    CHECK(ptrace(PTRACE_POKETEXT, pid, at, (*text & ~0xffl) | 0xcc) == 0);
}

static void clear_trap_(pid_t pid, uint64_t at, long text)
{
    CHECK(ptrace(PTRACE_POKETEXT, pid, at, text) == 0);
    CHECK(ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, regs.rip), at) == 0);
}

/* A child that has done the first `n` instructions and is held there. */
static pid_t hold_at_(struct scene *scene, const struct operation_ *operation, uint32_t n)
{
    pid_t pid = begin_(scene, operation);
    const struct step_ *anchor = &steps_[steps_[n].anchor];
    for (uint32_t times = 0; times < anchor->times; times++) {
        long text;
        if (times != 0)
            go_(pid, PTRACE_SINGLESTEP); /* over it */
        else if (place_of_(pid) == anchor->at)
            continue; /* here already: the first instruction */
        if (place_of_(pid) == anchor->at)
            continue; /* a string instruction, once more */
        set_trap_(pid, anchor->at, &text);
        go_(pid, PTRACE_CONT);
        CHECK_EQ(place_of_(pid), anchor->at + 1);
        clear_trap_(pid, anchor->at, text);
    }
    for (uint32_t i = steps_[n].anchor; i < n; i++)
        go_(pid, PTRACE_SINGLESTEP);
    CHECK_EQ(place_of_(pid), steps_[n].at);
    return pid;
}

/* ------------------------------------------------------------------------------------------------------- the driver */

struct counts_ {
    uint32_t operations, instructions, states, kills, stops;
};

static void kill_at_(const struct operation_ *operation, uint32_t n, bool found_late)
{
    struct scene scene;
    AT("%s: killed after %u of %u instructions, %s", operation->name, n, length_, found_late ? "found late" : "found at once");
    pid_t pid = hold_at_(&scene, operation, n);
    CHECK(kill(pid, SIGKILL) == 0);
    CHECK(WIFSIGNALED(wait_for(pid, false)));
    if (found_late)
        operation->meanwhile(&scene);
    end_scene_(&scene, true);
}

static void stop_at_(const struct operation_ *operation, uint32_t n)
{
    struct scene scene;
    AT("%s: stopped after %u of %u instructions", operation->name, n, length_);
    pid_t pid = hold_at_(&scene, operation, n);
    operation->meanwhile(&scene);
    let_finish_(pid, false);
    rival_goes_on_(&scene);
    FLOW_CHECK(&scene.space); /* before anybody recovers: that would push and announce again what was lost */
    end_scene_(&scene, operation->crashes);
}

static bool is_before_a_change_(uint32_t n)
{
    for (uint32_t i = n; i < length_ && i < n + AROUND; i++)
        if (steps_[i].changes)
            return true;
    return false;
}

static void try_(const struct operation_ *operation, struct counts_ *counts)
{
    uint32_t stride = length_ > STOPS_LONG && getenv("LQ_STEP_ALL") == NULL ? length_ / STOPS_AIMED : 1;
    uint32_t offset = (uint32_t)lq_now_ns() / 1000 % stride;
    for (uint32_t n = 0; n <= length_; n++) {
        if (n == 0 || steps_[n - 1].changes) {
            kill_at_(operation, n, false);
            kill_at_(operation, n, true);
            counts->states++;
            counts->kills += 2;
        }
        if (n == length_ || steps_[n].elsewhere || (n % stride != offset && !is_before_a_change_(n)))
            continue;
        stop_at_(operation, n);
        counts->stops++;
    }
    counts->operations++;
    counts->instructions += length_;
}

static void trap_self_(void *unused)
{
    (void)unused;
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0)
        mark_();
}

/* Where tracing is forbidden (some containers do), the child ends without a trap. */
static bool may_trace_(void)
{
    pid_t pid = in_child(trap_self_, NULL);
    if (!WIFSTOPPED(wait_for(pid, true)))
        return false;
    CHECK(kill(pid, SIGKILL) == 0);
    wait_for(pid, false);
    return true;
}

static void step_through_(const char *name, const struct operation_ *operations, size_t count)
{
    struct counts_ counts = {0};
    if (LQ_ASAN) {
        printf("skipped %s: AddressSanitizer's own instructions would be stepped, ten for each of ours\n", name);
        return;
    }
    if (!may_trace_()) {
        printf("skipped %s: this system does not let a process trace its child\n", name);
        return;
    }
    alarm(getenv("LQ_STEP_ALL") == NULL ? CASE_SECONDS : CASE_SECONDS_ALL);
    ledger_ = shared_memory(sizeof *ledger_);
    steps_ = calloc(MOST_STEPS + 1, sizeof *steps_);
    CHECK(steps_ != NULL);
    for (size_t i = 0; i < count; i++) {
        AT("%s: traced", operations[i].name);
        trace_(&operations[i]);
        try_(&operations[i], &counts);
    }
    free(steps_);
    printf("        %u operations, %u instructions: %u stops; %u distinct states of shared memory: %u kills\n", counts.operations,
           counts.instructions, counts.stops, counts.states, counts.kills);
}

#define STEP_THROUGH(operations) step_through_(__func__, operations, sizeof operations / sizeof operations[0])

#else

#define STEP_THROUGH(operations) printf("skipped %s: single-stepping is written for x86-64\n", __func__)

#endif

static void step_in_submitting_may_be_the_last_or_a_long_one(void)
{
    STEP_THROUGH(submitting_);
}

static void step_in_reaping_may_be_the_last_or_a_long_one(void)
{
    STEP_THROUGH(reaping_);
}

static void step_in_working_may_be_the_last_or_a_long_one(void)
{
    STEP_THROUGH(working_);
}

static void step_in_the_arena_may_be_the_last_or_a_long_one(void)
{
    STEP_THROUGH(arena_operations_);
}

static void step_in_keeping_order_may_be_the_last_or_a_long_one(void)
{
    STEP_THROUGH(keeping_);
}

static void step_in_recovering_may_be_the_last_or_a_long_one_beside_another(void)
{
    STEP_THROUGH(recovering_);
}

static void step_in_recovering_blocks_may_be_the_last_or_a_long_one_beside_another(void)
{
    STEP_THROUGH(recovering_blocks_);
}

static void step_in_pinning_may_be_the_last_or_a_long_one(void)
{
    STEP_THROUGH(pinning_);
}

static void step_in_letting_go_may_be_the_last_or_a_long_one(void)
{
    STEP_THROUGH(letting_go_);
}

static void step_in_recovering_pins_may_be_the_last_or_a_long_one_beside_another(void)
{
    STEP_THROUGH(recovering_pins_);
}

const struct lq_case step_cases[] = {
    RUN_FORKING(step_in_submitting_may_be_the_last_or_a_long_one),
    RUN_FORKING(step_in_reaping_may_be_the_last_or_a_long_one),
    RUN_FORKING(step_in_working_may_be_the_last_or_a_long_one),
    RUN_FORKING(step_in_the_arena_may_be_the_last_or_a_long_one),
    RUN_FORKING(step_in_keeping_order_may_be_the_last_or_a_long_one),
    RUN_FORKING(step_in_recovering_may_be_the_last_or_a_long_one_beside_another),
    RUN_FORKING(step_in_recovering_blocks_may_be_the_last_or_a_long_one_beside_another),
    RUN_FORKING(step_in_pinning_may_be_the_last_or_a_long_one),
    RUN_FORKING(step_in_letting_go_may_be_the_last_or_a_long_one),
    RUN_FORKING(step_in_recovering_pins_may_be_the_last_or_a_long_one_beside_another),
    END_OF_CASES,
};

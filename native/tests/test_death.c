/* SPDX-License-Identifier: MIT */
/*
 * Death at every step. A scenario is what one process does; it is run again and again in a child that
 *
 *   dies at its 1st, 2nd, 3rd ... fault point, and is recovered
 *   is stopped there while the others go on, and continued
 *   dies there, and its recoverer dies at each of its own points, and a second one finishes
 *   dies there, and its recoverer is stopped at each of its points, while a second one finishes and everything is used again;
 *   then the first goes on, and must not scribble
 *
 * until the child comes through unharmed. After each of these everything must be accounted for (scene_audit). The last case
 * holds what was passed against the list of points in the sources.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scene.h"

/* Of the pairs of points, try each so-manyth, beginning elsewhere each time; of the single ones all, but where a fork costs
   twenty times as much. */
#define THIN (LQ_ASAN ? 25u : 4u)
#define THIN_STOPS (LQ_ASAN ? 5u : 1u)
#define LARGE ((2u << 20) + 8) /* a run of three spans */
#define LONGEST UINT64_MAX     /* of scene_use_again */

struct scenario {
    const char *name;
    void (*prepare)(struct scene *scene); /* in the parent, by `client` or by hand */
    void (*act)(struct scene *scene);     /* in the child, as `actor` */
};

/* ------------------------------------------------------------------------------------------------ small helpers */

static void init_worker_(struct lq_worker *worker, struct scene *scene)
{
    lq_worker_init(worker, &scene->space, scene->actor, 2);
}

static void init_client_(struct lq_client *client, struct scene *scene)
{
    flow_init_client(client, &scene->space, scene->actor);
    client->cache.kept_from = 0; /* in so small an arena there would be no three neighbours left, whenever others have been at work */
}

/* ---------------------------------------------------------------------------------------------------- scenarios */

static void nothing_(struct scene *scene)
{
    (void)scene;
}

static void act_submit_small_(struct scene *scene)
{
    struct lq_client client;
    uint32_t index;
    init_client_(&client, scene);
    CHECK_EQ(flow_submit(&client, (struct flow_task){.tag = ACTORS_TAGS, .args_bytes = 8, .result_bytes = 8}, &index), LQ_OK);
    CHECK_EQ(lq_client_reserve(&client, &index), LQ_OK);
    lq_client_discard(&client, index);
    CHECK_EQ(flow_submit(&client, (struct flow_task){.tag = ACTORS_TAGS + 1, .args_bytes = 8, .result_bytes = 8}, &index), LQ_OK);
    lq_client_end(&client);
}

static void act_submit_block_(struct scene *scene)
{
    struct lq_client client;
    uint32_t index;
    init_client_(&client, scene);
    CHECK_EQ(flow_submit(&client, (struct flow_task){.tag = ACTORS_TAGS, .args_bytes = 100000, .result_bytes = 8}, &index), LQ_OK);
    CHECK_EQ(flow_submit(&client, (struct flow_task){.tag = ACTORS_TAGS + 1, .args_bytes = LARGE, .result_bytes = 3000}, &index), LQ_OK);
    CHECK_EQ(lq_client_reserve(&client, &index), LQ_OK);
    unsigned char *bytes = calloc(1, LARGE);
    CHECK(bytes != NULL);
    CHECK_EQ(lq_client_store_args(&client, index, bytes, 200000), LQ_OK);
    lq_client_discard(&client, index);
    free(bytes);
    lq_client_end(&client);
}

static void act_submit_into_a_full_ring_(struct scene *scene)
{
    struct lq_client client;
    uint32_t index;
    init_client_(&client, scene);
    enum lq_status status = flow_submit(&client, (struct flow_task){.tag = ACTORS_TAGS, .args_bytes = 3000, .result_bytes = 8}, &index);
    CHECK(status == LQ_FULL || status == LQ_OK); /* or somebody has made room while it was stopped */
    lq_client_end(&client);
}

static void prepare_full_ring_(struct scene *scene)
{
    scene_send(scene, 8, 8, 0);
    flow_fill_with_stale_entries(&scene->space.rings[0][0]);
}

static void prepare_two_inline_(struct scene *scene)
{
    scene_send(scene, 8, 8, 0);
    scene_send(scene, 3000, LQ_INLINE_BYTES, 0);
}

static void prepare_two_blocks_(struct scene *scene)
{
    scene_send(scene, 8, 200000, 0);
    scene_send(scene, 8, LARGE, 0);
}

static void prepare_two_that_may_crash_once_(struct scene *scene)
{
    scene_send(scene, 3000, 200000, 1);
    scene_send(scene, 8, LARGE, 1);
}

static void prepare_unseen_completions_(struct scene *scene)
{
    prepare_two_inline_(scene);
    flow_fill_with_stale_entries(&scene->space.completions[lq_label_row(scene->client.me)]);
}

static void act_work_(struct scene *scene)
{
    struct lq_worker worker;
    init_worker_(&worker, scene);
    flow_drain(&worker, scene->ledger);
    lq_worker_end(&worker);
}

/* One within another: the younger is claimed where it stands. */
static void act_claim_that_one_(struct scene *scene)
{
    struct lq_worker worker;
    uint32_t outer;
    init_worker_(&worker, scene);
    CHECK_EQ(lq_worker_take_now(&worker, &outer), LQ_OK);
    lq_worker_start(&worker, outer, 0);
    if (lq_worker_claim(&worker, scene->index, scene->task) == LQ_OK)
        flow_run(&worker, scene->ledger, scene->index);
    lq_worker_finish(&worker, outer, LQ_OUTCOME_SUCCESS, 0, flow_call(&worker, scene->ledger, outer));
    lq_worker_end(&worker);
}

static void act_requeue_(struct scene *scene)
{
    struct lq_worker worker;
    uint32_t index;
    init_worker_(&worker, scene);
    CHECK_EQ(lq_worker_take_now(&worker, &index), LQ_OK);
    lq_worker_start(&worker, index, 0);
    CHECK_EQ(lq_worker_store_result(&worker, index, scene->space.payload.base, 70000), LQ_OK);
    lq_worker_requeue(&worker, index, 0);
    flow_drain(&worker, scene->ledger);
    lq_worker_end(&worker);
}

static void prepare_cancelled_(struct scene *scene)
{
    scene_send(scene, 3000, 8, 0);
    scene->cancelled = scene->tags;
    CHECK_EQ(lq_client_cancel(&scene->client, scene->index, scene->task), LQ_OK);
    scene_send(scene, 8, 8, 0);
}

/* Another client cancels what `client` sent: any client may, given the task's id. */
static void act_cancel_(struct scene *scene)
{
    struct lq_client client;
    init_client_(&client, scene);
    CHECK_EQ(lq_client_cancel(&client, scene->index, scene->task), LQ_OK);
    lq_client_end(&client);
}

static void prepare_to_be_cancelled_(struct scene *scene)
{
    scene_send(scene, 3000, 8, 0);
    scene->cancelled = scene->tags;
}

static void submit_later_(struct lq_client *client, uint32_t tag, uint32_t *index)
{
    CHECK_EQ(lq_client_reserve(client, index), LQ_OK);
    struct lq_slot *slot = lq_space_slot(client->space, *index);
    flow_describe(slot, (struct flow_task){.tag = tag, .args_bytes = 8, .result_bytes = 8});
    slot->due_ms = lq_space_at(client->space, lq_now_ns());
    CHECK_EQ(lq_client_submit(client, *index), LQ_OK);
    while ((int32_t)(slot->due_ms - lq_space_ms(client->space, lq_now_ns())) > 0) /* whoever looks now finds it due */
        ;
}

static void act_submit_later_(struct scene *scene)
{
    struct lq_client client;
    uint32_t index;
    init_client_(&client, scene);
    submit_later_(&client, ACTORS_TAGS, &index);
    lq_client_end(&client);
}

static void act_requeue_later_(struct scene *scene)
{
    struct lq_worker worker;
    uint32_t index;
    init_worker_(&worker, scene);
    CHECK_EQ(lq_worker_take_now(&worker, &index), LQ_OK);
    lq_worker_start(&worker, index, 0);
    CHECK_EQ(lq_worker_store_result(&worker, index, scene->space.payload.base, 70000), LQ_OK);
    lq_worker_requeue(&worker, index, 1);
    lq_worker_end(&worker);
}

static void prepare_delayed_(struct scene *scene)
{
    submit_later_(&scene->client, ++scene->tags, &scene->index);
    scene->task = lq_space_slot(&scene->space, scene->index)->task_generation;
}

static void prepare_delayed_and_full_ring_(struct scene *scene)
{
    prepare_delayed_(scene);
    flow_fill_with_stale_entries(&scene->space.rings[0][0]);
}

static void prepare_delayed_to_be_cancelled_(struct scene *scene)
{
    prepare_delayed_(scene);
    scene->cancelled = scene->tags;
}

static void act_look_(struct scene *scene)
{
    struct lq_asked asked[4];
    uint64_t next_ns;
    lq_space_look(&scene->space, scene->actor, asked, 4, &next_ns);
}

/* A task that `second` runs, and will never end. */
static void prepare_to_be_stopped_(struct scene *scene)
{
    struct lq_worker worker;
    uint32_t index;
    scene_send(scene, 3000, 8, 0);
    scene->cancelled = scene->tags;
    scene->begun = true;
    lq_worker_init(&worker, &scene->space, scene->second, 4);
    CHECK_EQ(lq_worker_take_now(&worker, &index), LQ_OK);
    lq_worker_start(&worker, index, 0);
    lq_add32_seq(&scene->ledger->runs[scene->tags], 1);
}

static void act_stop_(struct scene *scene)
{
    struct lq_client client;
    init_client_(&client, scene);
    lq_client_stop(&client, scene->index, scene->task);
    lq_client_end(&client);
}

/* Client and worker both: submit, run, reap, consume, evict, with every kind of payload. */
static void act_whole_life_(struct scene *scene)
{
    static const uint64_t sizes[] = {8, 100000, LARGE, 8};
    struct lq_client client;
    struct lq_worker worker;
    uint32_t index;
    init_client_(&client, scene);
    client.cache_limit = 1;
    lq_worker_init(&worker, &scene->space, scene->second, 3);
    for (uint32_t i = 0; i < 4; i++) {
        struct flow_task task = {.tag = ACTORS_TAGS + i, .args_bytes = sizes[i], .result_bytes = sizes[3 - i]};
        CHECK_EQ(flow_submit(&client, task, &index), LQ_OK);
        flow_drain(&worker, scene->ledger);
        CHECK_EQ(flow_reap(&client, scene->ledger), 1);
    }
    lq_client_shrink(&client);
    lq_client_end(&client);
    lq_worker_end(&worker);
}

static void act_claim_slots_(struct scene *scene)
{
    struct lq_client client;
    uint32_t index;
    for (int round = 0; round < 2; round++) { /* fresh ones first, then those that were given back */
        init_client_(&client, scene);
        uint32_t reserved[9];
        uint32_t count = 0;
        while (lq_client_reserve(&client, &index) == LQ_OK)
            reserved[count++] = index;
        CHECK_EQ(count, 9);
        while (count != 0)
            lq_client_discard(&client, reserved[--count]);
        lq_client_end(&client);
    }
}

static void act_publish_(struct scene *scene)
{
    static const uint32_t lengths[] = {8, 100000, LARGE};
    struct lq_client client;
    init_client_(&client, scene);
    unsigned char *code = calloc(1, lengths[2]);
    CHECK(code != NULL);
    uint32_t rows[3];
    uint32_t generation;
    for (int i = 0; i < 3; i++)
        CHECK_EQ(lq_client_publish(&client, 1, "some", code, lengths[i], LQ_NO_BLOCK, &rows[i], &generation), LQ_OK);
    for (int i = 0; i < 2; i++)
        lq_client_unpublish(&client, rows[i + 1]);
    free(code);
    lq_client_end(&client);
}

/* What is left of a dead client, and a result that has expired: all for the sweep. */
static void prepare_sweep_(struct scene *scene)
{
    static const uint32_t lengths[] = {8, 100000, LARGE};
    struct lq_client gone;
    uint32_t index;
    uint32_t row;
    uint32_t generation;
    unsigned char *code = calloc(1, lengths[2]);
    CHECK(code != NULL);
    scene_send(scene, 8, 100000, 0);
    scene_work_off(scene);
    CHECK_EQ(flow_reap(&scene->client, scene->ledger), 1);
    lq_space_slot(&scene->space, scene->index)->done_ns = 1;
    flow_init_client(&gone, &scene->space, flow_join(&scene->space, LQ_ROLE_CLIENT));
    for (int i = 0; i < 3; i++)
        CHECK_EQ(lq_client_publish(&gone, 1, "some", code, lengths[i], LQ_NO_BLOCK, &row, &generation), LQ_OK);
    CHECK_EQ(flow_submit(&gone, (struct flow_task){.tag = ACTORS_TAGS, .args_bytes = 3000, .result_bytes = 3000}, &index), LQ_OK);
    scene_work_off(scene);
    lq_space_bury(&scene->space, gone.me);
    flow_bury(&scene->space, gone.me, 9);
    free(code);
}

static void act_sweep_(struct scene *scene)
{
    lq_space_sweep(&scene->space, scene->actor);
}

/* Two results, a small and a large one, that anybody may read. */
static void prepare_cached_(struct scene *scene)
{
    scene_send(scene, 3000, 100000, 0);
    scene_send(scene, 8, LARGE, 0);
    scene_work_off(scene);
    CHECK_EQ(flow_reap(&scene->client, scene->ledger), 2);
}

static void act_relieve_(struct scene *scene)
{
    CHECK(lq_space_relieve(&scene->space, scene->actor));
    CHECK(lq_space_relieve(&scene->space, scene->actor));
    CHECK(!lq_space_relieve(&scene->space, scene->actor));
}

/* Spans cut, their blocks freed beyond what is kept warm, retired, made runs of, and a run that meets somebody midway. */
static void act_arena_(struct scene *scene)
{
    const struct lq_arena *arena = &scene->space.arena;
    struct lq_arena_cache cache = {0};
    uint32_t blocks[6];
    uint32_t run;
    for (int i = 0; i < 6; i++)
        CHECK_EQ(lq_arena_take(arena, &cache, scene->actor, 512 << 10, false, &blocks[i]), LQ_OK);
    for (int i = 0; i < 6; i++)
        lq_arena_return(arena, i % 2 ? &cache : NULL, scene->actor, blocks[i]);
    CHECK_EQ(lq_arena_take(arena, &cache, scene->actor, 12u << 20, false, &run), LQ_OK); /* retires all three */
    lq_arena_return(arena, &cache, scene->actor, run);
    CHECK_EQ(lq_arena_take(arena, &cache, scene->actor, 256 << 10, false, &blocks[0]), LQ_OK);
    CHECK_EQ(lq_arena_take(arena, &cache, scene->actor, 3u << 20, false, &run), LQ_OK);
    lq_arena_return(arena, NULL, scene->actor, run);
    lq_arena_return(arena, &cache, scene->actor, blocks[0]);
    lq_arena_cool(arena, &cache, scene->actor);
}

static void act_join_(struct scene *scene)
{
    lq_label label;
    CHECK_EQ(lq_space_join(&scene->space, LQ_ROLE_CLIENT, (uint32_t)getpid(), &label), LQ_OK);
    lq_space_bury(&scene->space, label);
    lq_space_release(&scene->space, label);
    CHECK_EQ(lq_space_join(&scene->space, LQ_ROLE_WORKER, 0, &label), LQ_OK);
    CHECK(lq_space_sign_in(&scene->space, label, (uint32_t)getpid(), 5));
    lq_space_bury(&scene->space, label);
    lq_space_release(&scene->space, label);
}

/* A client goes while its process lives on: what it submitted still runs, and nobody is told. */
static void act_leave_(struct scene *scene)
{
    struct lq_client client;
    uint32_t index;
    init_client_(&client, scene);
    CHECK_EQ(flow_submit(&client, (struct flow_task){.tag = ACTORS_TAGS, .args_bytes = 3000, .result_bytes = 8}, &index), LQ_OK);
    CHECK_EQ(lq_client_reserve(&client, &index), LQ_OK);
    lq_client_discard(&client, index);
    lq_client_leave(&client);
}

static void act_report_(struct scene *scene)
{
    struct lq_report facts = {.pid = 5, .text_bytes = 100};
    CHECK(lq_reports_write(&scene->space.reports, scene->actor, &facts) != 0);
}

/* Recovers `second`, which left something of every kind. The actor of this scenario is a recoverer. */
static void prepare_recover_(struct scene *scene)
{
    static const uint32_t lengths[] = {8, 100000, 5u << 18};
    struct lq_client gone;
    struct lq_worker worker;
    uint32_t index;
    uint32_t row;
    uint32_t generation;
    flow_init_client(&gone, &scene->space, scene->second);
    lq_worker_init(&worker, &scene->space, scene->second, 4);
    scene_send(scene, 8, 8, 0);                                  /* DONE */
    flow_drain(&worker, scene->ledger);
    lq_store(&scene->space.reports.reports[2].word, lq_word(LQ_REPORT_WRITING, scene->second, 1, 0));
    scene_send(scene, 3000, 8, 0);                               /* CLAIMED */
    CHECK_EQ(lq_worker_take_now(&worker, &index), LQ_OK);
    scene_send(scene, 8, 8, 1);                                  /* RUNNING, one chance left, half a result */
    CHECK_EQ(lq_worker_take_now(&worker, &index), LQ_OK);
    lq_worker_start(&worker, index, 0);
    CHECK_EQ(lq_worker_store_result(&worker, index, scene->ledger, 3000), LQ_OK);
    scene_send(scene, 8, 8, 0);                                  /* RUNNING, none left */
    CHECK_EQ(lq_worker_take_now(&worker, &index), LQ_OK);
    lq_worker_start(&worker, index, 0);
    CHECK_EQ(flow_submit(&gone, (struct flow_task){.tag = ACTORS_TAGS, .args_bytes = 100, .result_bytes = 8}, &index), LQ_OK);
    CHECK_EQ(lq_client_cancel(&gone, index, lq_space_slot(&scene->space, index)->task_generation), LQ_OK);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(lq_client_publish(&gone, 1, "some", scene->space.payload.base, lengths[i], LQ_NO_BLOCK, &row, &generation), LQ_OK);
    lq_space_bury(&scene->space, scene->second);
}

/* Pin each result that there is. Returns how many. */
static uint32_t pin_results_(struct scene *scene, lq_label me, struct flow_pin *pins)
{
    uint32_t count = 0;
    uint32_t cursor = 0;
    for (uint32_t index = 0; index < lq_slots_used(&scene->space.slots); index++)
        count += flow_pin_result(&scene->space, me, index, &cursor, &pins[count]) == LQ_OK;
    return count;
}

static void unpin_(struct scene *scene, lq_label me, struct lq_arena_cache *cache, const struct flow_pin *pin)
{
    flow_check_pin(&scene->space, pin);
    lq_arena_unpin(&scene->space.arena, cache, me, pin->entry);
}

static void act_pin_(struct scene *scene)
{
    struct flow_pin pins[9];
    uint32_t count = pin_results_(scene, scene->actor, pins);
    while (count != 0)
        unpin_(scene, scene->actor, NULL, &pins[--count]);
}

/* The actor drops what `second` and itself look at; the last one of them gives it back. */
static void act_drop_pinned_(struct scene *scene)
{
    struct flow_pin pins[9];
    struct flow_pin own[9];
    struct lq_arena_cache cache = {0};
    uint32_t count = pin_results_(scene, scene->second, pins);
    uint32_t own_count = pin_results_(scene, scene->actor, own);
    while (lq_space_relieve(&scene->space, scene->actor))
        ;
    while (count != 0)
        unpin_(scene, scene->second, &cache, &pins[--count]);
    while (own_count != 0)
        unpin_(scene, scene->actor, NULL, &own[--own_count]);
    lq_arena_cool(&scene->space.arena, &cache, scene->second);
}

static uint32_t generation_of_(const struct scene *scene, uint32_t block)
{
    return lq_word_generation(lq_load(lq_arena_word(&scene->space.arena, block)));
}

static uint32_t take_(struct scene *scene, lq_label me, uint64_t bytes)
{
    struct lq_arena_cache cache = {0};
    uint32_t block = LQ_NO_BLOCK;
    CHECK_EQ(lq_arena_take(&scene->space.arena, &cache, me, bytes, false, &block), LQ_OK);
    return block;
}

static uint32_t pin_(struct scene *scene, lq_label me, uint32_t block, uint64_t tie)
{
    uint32_t entry = LQ_NO_PIN;
    uint32_t cursor = 0;
    CHECK_EQ(lq_arena_pin(&scene->space.arena, me, block, generation_of_(scene, block), tie, &cursor, &entry), LQ_OK);
    return entry;
}

/* A block that lives by pins alone, one that is held after it was pinned, one that is pinned when it is returned. */
static void act_put_(struct scene *scene)
{
    static const uint64_t sizes[] = {3000, LARGE};
    const struct lq_arena *arena = &scene->space.arena;
    struct lq_arena_cache cache = {0};
    for (int i = 0; i < 3; i++) {
        uint32_t block = take_(scene, scene->actor, sizes[i % 2]);
        uint64_t room;
        uint32_t generation = generation_of_(scene, block);
        flow_fill(lq_arena_at(arena, block, &room), 77, 0, 2048);
        uint32_t entry = pin_(scene, scene->actor, block, 0);
        uint64_t backref = lq_backref(LQ_HOLDER_FUNCTION, 9, 0); /* of none: held no longer than the actor pins it */
        if (i == 0) {
            lq_arena_loosen(arena, scene->actor, block);
        } else if (i == 1) {
            lq_arena_return(arena, &cache, scene->actor, block);
        } else {
            struct lq_function *function = &scene->space.functions.rows[9];
            LQ_PUT(function->block, block);
            lq_store(&function->word, lq_word(LQ_FUNCTION_WRITING, scene->actor, 0, 0));
            lq_store(scene->space.functions.used, 10);
            LQ_FAULT("test:named");
            lq_arena_hold(arena, scene->actor, block, backref);
            lq_arena_drop(arena, &cache, scene->actor, block, backref);
            LQ_PUT(function->block, LQ_NO_BLOCK);
            lq_store(&function->word, 0);
        }
        CHECK_EQ(generation_of_(scene, block), generation);
        CHECK(flow_matches(lq_arena_at(arena, block, &room), 77, 0, 2048));
        lq_arena_unpin(arena, &cache, scene->actor, entry);
    }
    lq_arena_cool(arena, &cache, scene->actor);
}

/* `second` has let go of two blocks, and not decided yet. */
static void prepare_dying_(struct scene *scene)
{
    uint32_t blocks[] = {take_(scene, scene->second, 3000), take_(scene, scene->second, LARGE)};
    for (int i = 0; i < 2; i++) {
        lq_a64 *word = lq_arena_word(&scene->space.arena, blocks[i]);
        lq_store(word, lq_word(LQ_BLOCK_DYING, scene->second, lq_word_generation(lq_load(word)), 1));
    }
    scene->index = blocks[0];
    scene->task = blocks[1];
}

static void act_save_(struct scene *scene)
{
    uint32_t entries[] = {pin_(scene, scene->actor, scene->index, 0), pin_(scene, scene->actor, scene->task, 0)};
    for (int i = 0; i < 2; i++)
        lq_arena_unpin(&scene->space.arena, NULL, scene->actor, entries[i]);
}

static void prepare_idle_(struct scene *scene)
{
    uint32_t blocks[] = {take_(scene, scene->second, 512 << 10), take_(scene, scene->second, LARGE)}; /* few blocks to lock */
    for (int i = 0; i < 2; i++)
        lq_arena_return(&scene->space.arena, NULL, scene->second, blocks[i]);
}

static void act_give_back_(struct scene *scene)
{
    uint64_t idle[16] = {0};
    for (int i = 0; i < 2; i++)
        lq_arena_give_back(&scene->space.arena, scene->actor, idle, NULL);
    uint32_t block = take_(scene, scene->actor, 512 << 10);
    uint64_t room;
    flow_fill(lq_arena_at(&scene->space.arena, block, &room), 78, 0, 2048);
    for (int i = 0; i < 2; i++)
        lq_arena_give_back(&scene->space.arena, scene->actor, idle, NULL);
    CHECK(flow_matches(lq_arena_at(&scene->space.arena, block, &room), 78, 0, 2048));
    lq_arena_return(&scene->space.arena, NULL, scene->actor, block);
}

/* `second` looked at blocks in every state: held, living by its pin alone, tied to a task that waits, lifted, owned, dying. */
static void prepare_recover_pins_(struct scene *scene)
{
    const struct lq_arena *arena = &scene->space.arena;
    struct flow_pin pins[9];
    uint32_t blocks[6];
    uint32_t entries[6];
    prepare_cached_(scene);
    CHECK_EQ(pin_results_(scene, scene->second, pins), 2);
    scene_send(scene, 8, 8, 0);
    for (int i = 0; i < 6; i++) {
        blocks[i] = take_(scene, scene->second, i == 0 ? LARGE : 3000);
        entries[i] = pin_(scene, scene->second, blocks[i], i % 2 == 0 ? lq_pin_tie(scene->index, scene->task) : 0);
        if (i < 3)
            lq_arena_loosen(arena, scene->second, blocks[i]);
    }
    lq_pins_lift(&arena->pins, scene->second, entries[2]);
    lq_a64 *word = lq_arena_word(arena, blocks[5]);
    lq_store(word, lq_word_as(lq_load(word), LQ_BLOCK_DYING, scene->second));
    lq_space_bury(&scene->space, scene->second);
}

static void act_recover_(struct scene *scene)
{
    struct lq_recovered sum = {0};
    flow_recover(&scene->space, scene->second, scene->actor, KILLED, &sum);
}

/* Two tasks that somebody watches, while tasks are traced. */
static void prepare_watched_(struct scene *scene)
{
    lq_traces_until(&scene->space.traces, UINT64_MAX, lq_now_ns());
    for (int i = 0; i < 2; i++) {
        scene_send(scene, 8, 8, 0);
        CHECK_EQ(lq_space_watch(&scene->space, scene->index, scene->task), LQ_OK);
    }
}

/* Tells all that there is to tell, of two letters. */
static void act_tell_(struct scene *scene)
{
    struct lq_worker worker;
    uint32_t index;
    lq_worker_init(&worker, &scene->space, scene->actor, 2);
    while (lq_worker_take_now(&worker, &index) == LQ_OK) {
        uint32_t task = lq_space_slot(&scene->space, index)->task_generation;
        lq_worker_start(&worker, index, 0);
        for (uint64_t letter = 'a'; letter < 'c'; letter++) {
            char text[LQ_EVENT_TEXT + 1] = {0};
            memset(text, (int)letter, LQ_EVENT_TEXT);
            lq_meter_function(worker.meter, text, LQ_NAME_BYTES);
            lq_worker_tell(&worker, LQ_EVENT_LOG, index, task, text);
            CHECK(lq_space_note(&scene->space, worker.me, index, task, letter, text, LQ_MESSAGE_BYTES));
        }
        lq_worker_finish(&worker, index, LQ_OUTCOME_SUCCESS, 0, flow_call(&worker, scene->ledger, index));
    }
    lq_worker_end(&worker);
}

static const struct scenario scenarios[] = {
    {"submit, inline", nothing_, act_submit_small_},
    {"submit, with blocks", nothing_, act_submit_block_},
    {"submit into a full ring", prepare_full_ring_, act_submit_into_a_full_ring_},
    {"work, inline", prepare_two_inline_, act_work_},
    {"work, with blocks", prepare_two_blocks_, act_work_},
    {"work, with a second chance", prepare_two_that_may_crash_once_, act_work_},
    {"work, completion ring full", prepare_unseen_completions_, act_work_},
    {"claim that one", prepare_two_inline_, act_claim_that_one_},
    {"requeue", prepare_two_inline_, act_requeue_},
    {"requeue into a full ring", prepare_full_ring_, act_requeue_},
    {"settle a cancelled task", prepare_cancelled_, act_work_},
    {"cancel", prepare_to_be_cancelled_, act_cancel_},
    {"submit for later", nothing_, act_submit_later_},
    {"requeue for later", prepare_two_inline_, act_requeue_later_},
    {"look", prepare_delayed_, act_look_},
    {"look, ring full", prepare_delayed_and_full_ring_, act_look_},
    {"cancel a delayed task", prepare_delayed_to_be_cancelled_, act_cancel_},
    {"stop", prepare_to_be_stopped_, act_stop_},
    {"a whole life", nothing_, act_whole_life_},
    {"claim slots", nothing_, act_claim_slots_},
    {"publish and withdraw", nothing_, act_publish_},
    {"sweep", prepare_sweep_, act_sweep_},
    {"relieve", prepare_cached_, act_relieve_},
    {"arena", nothing_, act_arena_},
    {"join", nothing_, act_join_},
    {"leave", nothing_, act_leave_},
    {"report", nothing_, act_report_},
    {"recover", prepare_recover_, act_recover_},
    {"pin and unpin", prepare_cached_, act_pin_},
    {"drop what is pinned", prepare_cached_, act_drop_pinned_},
    {"put", nothing_, act_put_},
    {"save what is dying", prepare_dying_, act_save_},
    {"give memory back", prepare_idle_, act_give_back_},
    {"recover pins", prepare_recover_pins_, act_recover_},
    {"tell", prepare_watched_, act_tell_},
};

#define SCENARIOS (sizeof scenarios / sizeof scenarios[0])

/* -------------------------------------------------------------------------------------------------- the driver */

struct run_ {
    struct scene *scene;
    const struct scenario *scenario;
    uint32_t at;
    enum lq_fault_action action;
};

static void act_out_(void *given)
{
    struct run_ *run = given;
    alarm(0);
    lq_fault_arm(NULL, run->at, run->action);
    run->scenario->act(run->scene);
}

static void recover_out_(void *given)
{
    struct run_ *run = given;
    alarm(0);
    lq_fault_arm(NULL, run->at, run->action);
    run->scene->recoverer = run->scene->third;
    scene_recover(run->scene);
}

/* Returns whether the fault came; a child that ends by itself must end well. */
static bool ends_by_fault_(pid_t pid, enum lq_fault_action action)
{
    int status = wait_for(pid, action == LQ_FAULT_STOP);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return false;
    if (action == LQ_FAULT_KILL ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL : WIFSTOPPED(status))
        return true;
    fprintf(stderr, "the child ended with status %#x\n", (unsigned)status);
    lq_fail(__FILE__, __LINE__, "the child dies by the fault only");
}

static void go_on_(pid_t pid)
{
    CHECK(kill(pid, SIGCONT) == 0);
    CHECK_EQ(wait_for(pid, false), 0);
}

static struct ledger *ledger_;

/* Dies at its `at`th point. False when it came through. */
static bool dies_at_(struct scene *scene, const struct scenario *scenario, uint32_t at)
{
    struct run_ run = {scene, scenario, at, LQ_FAULT_KILL};
    scene_open(scene, ledger_);
    scenario->prepare(scene);
    return ends_by_fault_(in_child(act_out_, &run), LQ_FAULT_KILL);
}

static uint32_t try_deaths_(const struct scenario *scenario)
{
    struct scene scene;
    for (uint32_t at = 0;; at++) {
        AT("%s: dies at point %u", scenario->name, at);
        bool died = dies_at_(&scene, scenario, at);
        lq_fault_arm(NULL, 0, LQ_FAULT_COUNT); /* what recovery passes counts, too */
        scene_settle(&scene);
        scene_audit(&scene, died || scenario->prepare == prepare_recover_);
        lq_fault_disarm();
        scene_close(&scene);
        if (!died)
            return at;
    }
}

static uint32_t try_stops_(const struct scenario *scenario)
{
    struct scene scene;
    for (uint32_t at = 0, tried = 0;; at += THIN_STOPS, tried++) {
        struct run_ run = {&scene, scenario, at, LQ_FAULT_STOP};
        AT("%s: is stopped at point %u", scenario->name, at);
        scene_open(&scene, ledger_);
        scenario->prepare(&scene);
        pid_t pid = in_child(act_out_, &run);
        bool stopped = ends_by_fault_(pid, LQ_FAULT_STOP);
        if (stopped) {
            if (scenario->act != act_claim_slots_ && scenario->act != act_whole_life_ && scenario->act != act_arena_ &&
                scenario->act != act_submit_block_ && scenario->act != act_relieve_) /* those count on what they find */
                scene_use_again(&scene, 6, LONGEST);
            go_on_(pid);
        }
        scene_settle(&scene);
        scene_audit(&scene, scenario->prepare == prepare_recover_);
        scene_close(&scene);
        if (!stopped)
            return tried;
    }
}

static uint32_t try_two_recoverers_(const struct scenario *scenario, enum lq_fault_action action, uint32_t thin)
{
    struct scene scene;
    uint32_t tried = 0;
    bool died = true;
    for (uint32_t at = 0; died; at++) {
        bool fault = true;
        for (uint32_t step = at % thin; fault && died; step += thin) {
            struct run_ run = {&scene, scenario, step, action};
            AT("%s: dies at point %u, its recoverer %s at point %u", scenario->name, at,
               action == LQ_FAULT_KILL ? "dies" : "is stopped", step);
            died = dies_at_(&scene, scenario, at);
            lq_space_bury(&scene.space, scene.actor);
            lq_space_bury(&scene.space, scene.second);
            pid_t pid = in_child(recover_out_, &run);
            fault = ends_by_fault_(pid, action);
            scene.recoverer_died = fault && action == LQ_FAULT_KILL;
            scene_settle(&scene);
            if (fault && action == LQ_FAULT_STOP) {
                scene_use_again(&scene, 12, LONGEST);
                go_on_(pid);
            }
            scene_audit(&scene, true);
            scene_close(&scene);
            tried += fault;
        }
    }
    return tried;
}

/* ------------------------------------------------------------------------------------------------------- cases */

static void in_scenarios_(uint32_t (*try)(const struct scenario *scenario), const char *what)
{
    uint32_t total = 0;
    ledger_ = shared_memory(sizeof *ledger_);
    for (size_t i = 0; i < SCENARIOS; i++)
        total += try(&scenarios[i]);
    printf("        %zu scenarios, %u %s\n", SCENARIOS, total, what);
}

static uint32_t try_recoverer_dies_(const struct scenario *scenario)
{
    return try_two_recoverers_(scenario, LQ_FAULT_KILL, THIN);
}

static uint32_t try_recoverer_stops_(const struct scenario *scenario)
{
    return try_two_recoverers_(scenario, LQ_FAULT_STOP, THIN + 1);
}

static void death_at_every_point_loses_doubles_and_leaks_nothing(void)
{
    in_scenarios_(try_deaths_, "deaths");
}

static void death_stop_at_every_point_keeps_nobody_from_going_on(void)
{
    in_scenarios_(try_stops_, "stops");
}

static void death_of_the_recoverer_at_every_point_is_made_good_by_another(void)
{
    in_scenarios_(try_recoverer_dies_, "deaths of a recoverer");
}

static void death_stopped_recoverer_that_goes_on_late_changes_nothing(void)
{
    in_scenarios_(try_recoverer_stops_, "late recoverers");
}

static unsigned count_missing_(bool tell)
{
    unsigned missing = 0;
    for (size_t point = 0; point < lq_fault_points(); point++) {
        if (lq_fault_was_passed(point))
            continue;
        missing++;
        if (tell)
            fprintf(stderr, "no scenario passes %s\n", lq_fault_name(point));
    }
    return missing;
}

static void death_every_fault_point_of_the_sources_is_passed_by_a_scenario(void)
{
    if (count_missing_(false) != 0) /* the cases above did not run, or left some out */
        in_scenarios_(try_deaths_, "deaths");
    printf("        %zu points\n", lq_fault_points());
    CHECK_EQ(count_missing_(true), 0);
}

const struct lq_case death_cases[] = {
    RUN_FORKING(death_at_every_point_loses_doubles_and_leaks_nothing),
    RUN_FORKING(death_stop_at_every_point_keeps_nobody_from_going_on),
    RUN_FORKING(death_of_the_recoverer_at_every_point_is_made_good_by_another),
    RUN_FORKING(death_stopped_recoverer_that_goes_on_late_changes_nothing),
    RUN_FORKING(death_every_fault_point_of_the_sources_is_passed_by_a_scenario),
    END_OF_CASES,
};

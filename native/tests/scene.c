/* SPDX-License-Identifier: MIT */
#include "scene.h"

uint32_t scene_send(struct scene *scene, uint64_t args_bytes, uint64_t result_bytes, uint8_t max_crashes)
{
    uint32_t index;
    struct flow_task task = {.tag = ++scene->tags, .args_bytes = args_bytes, .result_bytes = result_bytes,
                             .max_crashes = max_crashes};
    CHECK_EQ(flow_submit(&scene->client, task, &index), LQ_OK);
    scene->index = index;
    scene->task = lq_space_slot(&scene->space, index)->task_generation;
    return index;
}

void scene_work_off(struct scene *scene)
{
    struct lq_worker worker;
    lq_worker_init(&worker, &scene->space, flow_join(&scene->space, LQ_ROLE_WORKER), 1);
    flow_drain(&worker, scene->ledger);
    lq_worker_end(&worker);
    flow_bury(&scene->space, worker.me, 0);
}

void scene_open(struct scene *scene, struct ledger *ledger)
{
    memset(ledger, 0, sizeof *ledger);
    *scene = (struct scene){.ledger = ledger};
    flow_make(&scene->space, 9, 0, 12);
    scene->actor = flow_join(&scene->space, LQ_ROLE_CLIENT);
    scene->second = flow_join(&scene->space, LQ_ROLE_CLIENT);
    flow_init_client(&scene->client, &scene->space, flow_join(&scene->space, LQ_ROLE_CLIENT));
    scene->third = flow_join(&scene->space, LQ_ROLE_SUPERVISOR);
    scene->recoverer = scene->client.me;
    scene->client.cache_limit = 3;
}

void scene_close(struct scene *scene)
{
    lq_client_end(&scene->client);
    lq_space_close(&scene->space);
}

/* No word may bear the label, and no pin. Looks at all that were ever in use, whatever the counters say that recovery goes by. */
static void check_forgotten_(const struct scene *scene, lq_label dead)
{
    const struct lq_arena *arena = &scene->space.arena;
    for (uint32_t entry = 0; entry < LQ_PINS; entry++) {
        uint64_t what = lq_load(&lq_pins_at(&arena->pins, lq_label_row(dead), entry)->what);
        CHECK(what == 0 || what >> 52 != lq_label_incarnation(dead));
    }
    for (uint32_t i = 0; i < scene->space.slots.count; i++)
        CHECK(lq_word_label(lq_load(&scene->space.slots.slots[i].word)) != dead);
    for (uint32_t span = 0; span < arena->count; span++) {
        CHECK(lq_word_label(lq_load(&arena->spans[span].word)) != dead);
        if (lq_load32(&arena->spans[span].cut) == 0)
            continue; /* reading what was never touched would fill it with zeros */
        for (uint32_t i = 0; i < LQ_BLOCKS_PER_SPAN; i++)
            CHECK(lq_word_label(lq_load(&arena->blocks[((size_t)span << LQ_BLOCKS_ORDER) + i].word)) != dead);
    }
    for (uint32_t number = 0; number < LQ_REPORTS; number++)
        CHECK(lq_word_label(lq_load(&scene->space.reports.reports[number].word)) != dead);
    for (uint32_t row = 0; row < 64; row++)
        CHECK(lq_word_label(lq_load(&scene->space.functions.rows[row].word)) != dead);
}

bool scene_recover(struct scene *scene)
{
    struct lq_recovered sum = {0};
    lq_space_bury(&scene->space, scene->actor);
    lq_space_bury(&scene->space, scene->second);
    bool done = flow_recover(&scene->space, scene->actor, scene->recoverer, KILLED, &sum);
    done = flow_recover(&scene->space, scene->second, scene->recoverer, KILLED, &sum) && done;
    if (!scene->recoverer_died)
        return done;
    lq_space_bury(&scene->space, scene->third);
    return flow_recover(&scene->space, scene->third, scene->recoverer, KILLED, &sum) && done;
}

/* Rows that were taken by one who died before it could say so: the supervisor knows the pid that it started. */
static void release_rows_(struct scene *scene)
{
    for (uint32_t row = 1; row < 16; row++) {
        uint64_t word = lq_load(&scene->space.roster.rows[row].word);
        lq_label label = lq_label_of(row, lq_word_generation(word));
        if (label != scene->client.me && label != scene->third && lq_word_state(word) != LQ_ROW_FREE) {
            lq_space_bury(&scene->space, label);
            lq_space_release(&scene->space, label);
        }
    }
}

static uint64_t at_most_(uint64_t bytes, uint64_t longest)
{
    return bytes < longest ? bytes : longest;
}

void scene_use_again(struct scene *scene, uint32_t rounds, uint64_t longest)
{
    struct lq_worker worker;
    uint32_t index;
    uint32_t row;
    uint32_t generation;
    lq_worker_init(&worker, &scene->space, flow_join(&scene->space, LQ_ROLE_WORKER), 7);
    for (uint32_t i = 0; i < rounds; i++) {
        static const uint64_t sizes[] = {8, 3000, 100000, 8, 600 << 10};
        struct flow_task task = {.tag = ++scene->tags, .args_bytes = at_most_(sizes[i % 5], longest),
                                 .result_bytes = at_most_(sizes[(i + 2) % 5], longest)};
        if (flow_submit(&scene->client, task, &index) != LQ_OK)
            scene->tags--; /* no room: what was stopped holds it */
        if (lq_client_publish(&scene->client, 1, "some", scene->ledger, 3000, LQ_NO_BLOCK, &row, &generation) == LQ_OK)
            lq_client_unpublish(&scene->client, row);
        if (i + 2 < rounds) {
            flow_drain(&worker, scene->ledger);
            flow_reap(&scene->client, scene->ledger);
        }
    }
    lq_worker_end(&worker);
    flow_bury(&scene->space, worker.me, 0);
}

static void check_block_is_held_(const struct scene *scene, uint32_t block, uint64_t backref)
{
    if (block == LQ_NO_BLOCK)
        return;
    CHECK(lq_arena_word(&scene->space.arena, block) != NULL);
    CHECK_EQ(lq_word_state(lq_load(lq_arena_word(&scene->space.arena, block))), LQ_BLOCK_HELD);
    CHECK_EQ(lq_load(lq_arena_backref(&scene->space.arena, block)), backref);
}

/* What readers trust: a word that names bytes stands no longer than the bytes do. */
static void check_readable_(const struct scene *scene)
{
    for (uint32_t index = 0; index < lq_slots_used(&scene->space.slots); index++) {
        const struct lq_slot *slot = lq_space_slot(&scene->space, index);
        uint32_t state = lq_slot_state_of(slot);
        uint32_t wait_status;
        if ((state == LQ_SLOT_DONE || state == LQ_SLOT_CACHED) && lq_slot_outcome(slot, &wait_status) == LQ_OUTCOME_SUCCESS)
            check_block_is_held_(scene, slot->result_block, lq_backref(LQ_HOLDER_RESULT, index, slot->task_generation));
    }
    for (uint32_t row = 0; row < lq_functions_end(&scene->space.functions); row++) {
        const struct lq_function *function = &scene->space.functions.rows[row];
        uint64_t word = lq_load(&function->word);
        if (lq_word_state(word) == LQ_FUNCTION_LIVE)
            check_block_is_held_(scene, function->block, lq_backref(LQ_HOLDER_FUNCTION, row, lq_word_generation(word)));
    }
}

/* Look, until nothing is delayed. False: nothing was. */
static bool queue_delayed_(const struct scene *scene, lq_label me)
{
    struct lq_space *space = (struct lq_space *)&scene->space;
    uint32_t counts[16];
    uint64_t next_ns;
    lq_space_count_slots(space, counts);
    bool any = counts[LQ_SLOT_DELAYED] != 0;
    while (counts[LQ_SLOT_DELAYED] != 0) {
        lq_space_look(space, me, NULL, 0, &next_ns);
        lq_space_count_slots(space, counts);
    }
    return any;
}

static void check_letters_(const unsigned char *text, uint32_t bytes)
{
    for (uint32_t i = 1; i < bytes; i++)
        CHECK(text[i] == text[0]);
}

/* Whatever was told by one who died while it did so: it is whole, or not believed. */
static void check_told_(const struct scene *scene)
{
    const struct lq_space *space = &scene->space;
    uint32_t row = lq_label_row(scene->actor);
    uint64_t end = lq_journals_end(&space->journals, row);
    struct lq_event event;
    struct lq_note note;
    uint32_t seq;
    uint64_t place = 0;
    uint64_t lost = 0;
    struct lq_record record;
    for (uint64_t i = end > LQ_EVENTS ? end - LQ_EVENTS : 0; i < end; i++)
        if (lq_journals_read(&space->journals, row, i, &event) == LQ_OK && event.kind == LQ_EVENT_LOG)
            check_letters_(event.text, event.text_bytes);
    for (uint32_t index = 0; index < lq_slots_used(&space->slots); index++)
        if (lq_space_read_note(space, index, lq_space_slot(space, index)->task_generation, &note, &seq) == LQ_OK) {
            check_letters_(note.message, note.message_bytes);
            CHECK_EQ(note.progress, note.message[0]);
        }
    while (lq_traces_next(&space->traces, row, &place, &record, &lost) == LQ_OK)
        CHECK(record.slot < space->slots.count && record.begun_ns <= record.sent_ns);
    for (uint32_t entry = 1; lq_space_is_metered(space, row) && entry < LQ_METER_FUNCTIONS; entry++) {
        uint64_t sums[LQ_CALLS_SUMS];
        uint64_t run[LQ_CALLS_BUCKETS];
        char name[LQ_NAME_BYTES + 1];
        if (!lq_meter_read_calls(&space->meters[row], entry, sums, run, name))
            break;
        CHECK(name[0] != 0);
        if (name[0] == 'a' || name[0] == 'b')
            check_letters_((unsigned char *)name, LQ_NAME_BYTES);
    }
}

void scene_audit(struct scene *scene, bool died)
{
    struct lq_worker worker;
    check_forgotten_(scene, scene->actor);
    check_forgotten_(scene, scene->second);
    release_rows_(scene);
    FLOW_CHECK(&scene->space);
    check_readable_(scene);
    check_told_(scene);
    lq_worker_init(&worker, &scene->space, flow_join(&scene->space, LQ_ROLE_WORKER), 8);
    do
        flow_drain(&worker, scene->ledger);
    while (queue_delayed_(scene, worker.me));
    flow_reap(&scene->client, scene->ledger);
    FLOW_CHECK(&scene->space);
    for (uint32_t tag = 1; tag < TAGS; tag++) {
        uint32_t runs = lq_load32(&scene->ledger->runs[tag]);
        uint32_t outcome = lq_load32(&scene->ledger->last[tag]);
        if (tag > scene->tags) { /* the actor's own */
            CHECK(runs <= 1 && lq_load32(&scene->ledger->outcomes[tag]) <= 1);
            continue;
        }
        CHECK_EQ(lq_load32(&scene->ledger->outcomes[tag]), 1);
        CHECK(outcome == LQ_OUTCOME_SUCCESS || (outcome == LQ_OUTCOME_CRASHED && (died || (scene->judged && runs == 0))) ||
              (outcome == LQ_OUTCOME_CANCELLED && tag == scene->cancelled));
        CHECK(outcome != LQ_OUTCOME_CANCELLED || runs == 0 || scene->begun);
        CHECK(runs <= 2 && (outcome != LQ_OUTCOME_SUCCESS || runs >= 1));
    }
    CHECK_EQ(scene->client.pending, 0);
    lq_client_end(&scene->client);
    lq_worker_end(&worker);
    flow_empty(&scene->space, worker.me);
    flow_check_empty(&scene->space);
}

void scene_settle(struct scene *scene)
{
    if (!scene_recover(scene)) { /* a ring is full: somebody must take before more can be pushed. Or a task needs a pin of the dead */
        scene_work_off(scene);
        flow_reap(&scene->client, scene->ledger);
        CHECK(scene_recover(scene));
    }
    lq_space_release(&scene->space, scene->actor);
    lq_space_release(&scene->space, scene->second);
}

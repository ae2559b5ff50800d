/* SPDX-License-Identifier: MIT */
/*
 * Pins, and the system's memory under the arena. What must hold: a block that a live process pins is not given back; one that
 * nobody holds and nobody pins is. Death and pauses are test_death.c's and test_step.c's.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "flow.h"

#define SMALL 600u
#define LARGE ((2u << 20) + 8)
#define SPAN LQ_SPAN_BYTES
#define FILLED 512u /* bytes of a block that are written and checked */

struct stage_ {
    struct lq_space space;
    struct lq_arena *arena;
    lq_label me, other, third;
};

static void set_(struct stage_ *stage)
{
    flow_make(&stage->space, 8, 0, 12);
    stage->arena = &stage->space.arena;
    stage->me = flow_join(&stage->space, LQ_ROLE_CLIENT);
    stage->other = flow_join(&stage->space, LQ_ROLE_CLIENT);
    stage->third = flow_join(&stage->space, LQ_ROLE_CLIENT);
}

static void strike_(struct stage_ *stage)
{
    FLOW_CHECK(&stage->space);
    flow_check_empty(&stage->space);
    lq_space_close(&stage->space);
}

static uint64_t word_of_(const struct stage_ *stage, uint32_t block)
{
    return lq_load(lq_arena_word(stage->arena, block));
}

static uint32_t generation_of_(const struct stage_ *stage, uint32_t block)
{
    return lq_word_generation(word_of_(stage, block));
}

static uint32_t state_of_(const struct stage_ *stage, uint32_t block)
{
    return lq_word_state(word_of_(stage, block));
}

static uint32_t take_(struct stage_ *stage, lq_label me, uint64_t bytes)
{
    struct lq_arena_cache cache = {0};
    uint32_t block = LQ_NO_BLOCK;
    CHECK_EQ(lq_arena_take(stage->arena, &cache, me, bytes, false, &block), LQ_OK);
    return block;
}

/* A backref that nobody looks up: these blocks are no task's. */
static uint64_t kept_by_(uint32_t number)
{
    return lq_backref(LQ_HOLDER_KEPT, number, 0);
}

static uint32_t hold_(struct stage_ *stage, lq_label me, uint64_t bytes)
{
    uint32_t block = take_(stage, me, bytes);
    lq_arena_hold(stage->arena, me, block, kept_by_(1));
    return block;
}

static enum lq_status try_pin_(const struct stage_ *stage, lq_label me, uint32_t block, uint32_t generation, uint64_t tie,
                               uint32_t *entry)
{
    uint32_t cursor = 0;
    return lq_arena_pin(stage->arena, me, block, generation, tie, &cursor, entry);
}

static uint32_t pin_(const struct stage_ *stage, lq_label me, uint32_t block)
{
    uint32_t entry = LQ_NO_PIN;
    CHECK_EQ(try_pin_(stage, me, block, generation_of_(stage, block), 0, &entry), LQ_OK);
    return entry;
}

static void unpin_(const struct stage_ *stage, lq_label me, uint32_t entry)
{
    lq_arena_unpin(stage->arena, NULL, me, entry);
}

static void drop_(const struct stage_ *stage, lq_label me, uint32_t block)
{
    lq_arena_drop(stage->arena, NULL, me, block, kept_by_(1));
}

/* ---- one after the other ---- */

static void pin_keeps_a_block_until_the_last_one_lets_go_whoever_that_is(void)
{
    static const uint64_t sizes[] = {SMALL, SPAN / 2, LARGE};
    struct stage_ stage;
    set_(&stage);
    for (unsigned order = 0; order < 6 * 3; order++) { /* of the holder and two who pin */
        static const unsigned orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
        uint32_t block = hold_(&stage, stage.me, sizes[order / 6]);
        uint32_t generation = generation_of_(&stage, block);
        uint32_t entries[2] = {pin_(&stage, stage.me, block), pin_(&stage, stage.other, block)};
        for (unsigned i = 0; i < 3; i++) {
            CHECK_EQ(generation_of_(&stage, block), generation);
            CHECK(state_of_(&stage, block) == LQ_BLOCK_HELD || state_of_(&stage, block) == LQ_BLOCK_PINNED);
            FLOW_CHECK(&stage.space);
            if (orders[order % 6][i] == 0)
                drop_(&stage, stage.third, block);
            else if (orders[order % 6][i] == 1)
                unpin_(&stage, stage.me, entries[0]);
            else
                unpin_(&stage, stage.other, entries[1]);
        }
        CHECK_EQ(state_of_(&stage, block), LQ_BLOCK_FREE);
        CHECK(generation_of_(&stage, block) != generation);
    }
    strike_(&stage);
}

static void pin_of_a_block_that_was_given_back_or_is_another_s_says_so(void)
{
    struct stage_ stage;
    uint32_t entry;
    set_(&stage);
    uint32_t block = hold_(&stage, stage.me, SMALL);
    uint32_t generation = generation_of_(&stage, block);
    drop_(&stage, stage.me, block);
    CHECK_EQ(try_pin_(&stage, stage.other, block, generation, 0, &entry), LQ_MISSING);
    CHECK_EQ(try_pin_(&stage, stage.other, block, generation_of_(&stage, block), 0, &entry), LQ_MISSING);
    CHECK_EQ(try_pin_(&stage, stage.other, 0, 0, 0, &entry), LQ_MISSING);
    CHECK_EQ(try_pin_(&stage, stage.other, 0xbfffffffu, 0, 0, &entry), LQ_MISSING);
    block = take_(&stage, stage.me, SMALL);
    CHECK_EQ(try_pin_(&stage, stage.other, block, generation_of_(&stage, block), 0, &entry), LQ_MISSING);
    lq_arena_return(stage.arena, NULL, stage.me, block);
    CHECK_EQ(lq_pins_end(&stage.arena->pins, lq_label_row(stage.other)), 0);
    strike_(&stage);
}

/* A pin that finds nothing is noted for a moment, and whoever lets go of the block just then counts on it. */
static void pin_that_comes_to_nothing_leaves_no_block_to_nobody(void)
{
    struct stage_ stage;
    uint32_t cursor = 0;
    uint32_t failing;
    set_(&stage);
    uint32_t block = take_(&stage, stage.me, SMALL);
    uint32_t generation = generation_of_(&stage, block);
    CHECK_EQ(lq_pins_note(&stage.arena->pins, stage.other, block, generation, 0, &cursor, &failing), LQ_OK);
    lq_arena_hold(stage.arena, stage.me, block, kept_by_(1)); /* after `other` has seen that it is not there yet */
    uint32_t entry = pin_(&stage, stage.me, block);
    drop_(&stage, stage.me, block);
    unpin_(&stage, stage.me, entry);
    CHECK_EQ(state_of_(&stage, block), LQ_BLOCK_PINNED); /* for the note of `other` */
    unpin_(&stage, stage.other, failing);                /* as lq_arena_pin does */
    strike_(&stage);
}

static void pin_of_what_one_owns_survives_holding_returning_and_loosening_it(void)
{
    static const uint64_t sizes[] = {SMALL, LARGE};
    struct stage_ stage;
    set_(&stage);
    for (unsigned i = 0; i < 6; i++) {
        uint32_t block = take_(&stage, stage.me, sizes[i % 2]);
        uint32_t generation = generation_of_(&stage, block);
        uint32_t entry = pin_(&stage, stage.me, block);
        if (i / 2 == 0) {
            lq_arena_hold(stage.arena, stage.me, block, kept_by_(1));
            drop_(&stage, stage.other, block);
        } else if (i / 2 == 1) {
            struct lq_arena_cache cache = {0};
            lq_arena_return(stage.arena, &cache, stage.me, block);
        } else {
            lq_arena_loosen(stage.arena, stage.me, block);
        }
        CHECK_EQ(state_of_(&stage, block), LQ_BLOCK_PINNED);
        CHECK_EQ(generation_of_(&stage, block), generation);
        FLOW_CHECK(&stage.space);
        unpin_(&stage, stage.me, entry);
        CHECK_EQ(state_of_(&stage, block), LQ_BLOCK_FREE);
    }
    strike_(&stage);
}

static void pin_counts_for_each_time_that_it_is_made(void)
{
    struct stage_ stage;
    uint32_t entries[LQ_PINS];
    uint32_t cursor = 0;
    set_(&stage);
    uint32_t block = hold_(&stage, stage.me, SMALL);
    uint32_t generation = generation_of_(&stage, block);
    for (uint32_t i = 0; i < LQ_PINS; i++)
        CHECK_EQ(lq_arena_pin(stage.arena, stage.me, block, generation, 0, &cursor, &entries[i]), LQ_OK);
    uint32_t none;
    CHECK_EQ(lq_arena_pin(stage.arena, stage.me, block, generation, 0, &cursor, &none), LQ_FULL);
    drop_(&stage, stage.me, block);
    for (uint32_t i = 0; i < LQ_PINS; i++) {
        CHECK_EQ(state_of_(&stage, block), LQ_BLOCK_PINNED);
        unpin_(&stage, stage.me, entries[(i * 5 + 7) % LQ_PINS]); /* in no order */
    }
    CHECK_EQ(state_of_(&stage, block), LQ_BLOCK_FREE);
    CHECK_EQ(lq_pins_end(&stage.arena->pins, lq_label_row(stage.me)), 0);
    unpin_(&stage, stage.me, entries[3]); /* once too often */
    strike_(&stage);
}

static void pin_that_is_lifted_counts_no_more_but_is_found_by_recovery(void)
{
    struct stage_ stage;
    set_(&stage);
    uint32_t block = hold_(&stage, stage.me, SMALL);
    uint32_t generation = generation_of_(&stage, block);
    uint32_t entry = pin_(&stage, stage.other, block);
    drop_(&stage, stage.me, block);
    CHECK(lq_pins_any(&stage.arena->pins, block, generation));
    CHECK(lq_pins_lift(&stage.arena->pins, stage.other, entry) != 0); /* and there it dies */
    CHECK(!lq_pins_any(&stage.arena->pins, block, generation));
    CHECK_EQ(state_of_(&stage, block), LQ_BLOCK_PINNED);
    flow_bury(&stage.space, stage.other, 9);
    CHECK_EQ(state_of_(&stage, block), LQ_BLOCK_FREE);
    strike_(&stage);
}

/* ---- the dead, and those that have left ---- */

/* A task that waits in the queue: the slot, and a tie to it. */
static uint64_t submit_(struct stage_ *stage, struct lq_client *client)
{
    uint32_t index;
    flow_init_client(client, &stage->space, stage->me);
    CHECK_EQ(flow_submit(client, (struct flow_task){.tag = 1, .args_bytes = 8, .result_bytes = 8}, &index), LQ_OK);
    return lq_pin_tie(index, lq_space_slot(&stage->space, index)->task_generation);
}

static void run_all_(struct stage_ *stage)
{
    static struct ledger ledger;
    struct lq_worker worker;
    lq_worker_init(&worker, &stage->space, flow_join(&stage->space, LQ_ROLE_WORKER), 5);
    CHECK(flow_drain(&worker, &ledger) != 0);
    lq_worker_end(&worker);
    flow_bury(&stage->space, worker.me, 0);
}

static void pin_of_the_dead_counts_as_long_as_its_task_is_on_its_way_and_keeps_its_row(void)
{
    static struct ledger ledger;
    struct stage_ stage;
    struct lq_client client;
    struct lq_recovered pass;
    uint32_t entry;
    set_(&stage);
    uint64_t tie = submit_(&stage, &client);
    uint32_t tied = hold_(&stage, stage.other, SMALL);
    uint32_t untied = hold_(&stage, stage.other, SMALL);
    CHECK_EQ(try_pin_(&stage, stage.other, tied, generation_of_(&stage, tied), tie, &entry), LQ_OK);
    pin_(&stage, stage.other, untied);
    drop_(&stage, stage.other, tied);
    drop_(&stage, stage.other, untied);

    lq_space_bury(&stage.space, stage.other);
    lq_space_recover(&stage.space, stage.other, stage.third, 9, &pass);
    CHECK_EQ(pass.labels, 2);
    lq_space_recover(&stage.space, stage.other, stage.third, 9, &pass);
    CHECK_EQ(pass.labels, 1); /* so it is not released */
    CHECK_EQ(pass.tied, 1);
    CHECK_EQ(state_of_(&stage, tied), LQ_BLOCK_PINNED);
    CHECK_EQ(state_of_(&stage, untied), LQ_BLOCK_FREE);
    FLOW_CHECK(&stage.space);

    run_all_(&stage); /* DONE, and not taken yet */
    lq_space_recover(&stage.space, stage.other, stage.third, 9, &pass);
    CHECK_EQ(pass.tied, 1);
    CHECK_EQ(state_of_(&stage, tied), LQ_BLOCK_PINNED);
    CHECK_EQ(flow_reap(&client, &ledger), 1);
    lq_space_recover(&stage.space, stage.other, stage.third, 9, &pass);
    CHECK_EQ(pass.tied, 0);
    CHECK_EQ(state_of_(&stage, tied), LQ_BLOCK_FREE);
    lq_space_recover(&stage.space, stage.other, stage.third, 9, &pass);
    CHECK_EQ(pass.labels, 0);
    flow_empty(&stage.space, stage.me);
    lq_client_end(&client);
    strike_(&stage);
}

static void pin_of_the_dead_does_not_keep_what_a_holder_lets_go_of_later(void)
{
    struct stage_ stage;
    struct lq_client client;
    uint32_t entry;
    set_(&stage);
    uint64_t tie = submit_(&stage, &client);
    uint32_t blocks[2] = {hold_(&stage, stage.me, SMALL), hold_(&stage, stage.me, LARGE)};
    CHECK_EQ(try_pin_(&stage, stage.other, blocks[0], generation_of_(&stage, blocks[0]), tie, &entry), LQ_OK);
    pin_(&stage, stage.other, blocks[1]);
    lq_space_bury(&stage.space, stage.other); /* and nobody has recovered it yet */
    drop_(&stage, stage.me, blocks[0]);
    drop_(&stage, stage.me, blocks[1]);
    CHECK_EQ(state_of_(&stage, blocks[0]), LQ_BLOCK_PINNED);
    CHECK_EQ(state_of_(&stage, blocks[1]), LQ_BLOCK_FREE);
    CHECK_EQ(lq_client_cancel(&client, (uint32_t)(tie >> 32) - 1, (uint32_t)tie), LQ_OK);
    lq_client_end(&client);
    flow_bury(&stage.space, stage.me, 9);
    struct lq_worker worker; /* who passes over the cancelled one */
    uint32_t index;
    lq_worker_init(&worker, &stage.space, stage.third, 5);
    CHECK(lq_worker_take_now(&worker, &index) != LQ_OK);
    lq_worker_end(&worker);
    flow_empty(&stage.space, stage.third);
    flow_bury(&stage.space, stage.other, 9);
    strike_(&stage);
}

static void pin_is_tied_to_its_task_and_to_no_later_one_of_the_slot(void)
{
    static struct ledger ledger;
    struct stage_ stage;
    struct lq_client client;
    uint32_t index = UINT32_MAX;
    set_(&stage);
    uint64_t tie = submit_(&stage, &client);
    CHECK(lq_pins_is_tied(&stage.arena->pins, tie));
    CHECK(!lq_pins_is_tied(&stage.arena->pins, 0));
    CHECK(!lq_pins_is_tied(&stage.arena->pins, lq_pin_tie(stage.space.slots.count, 1)));
    run_all_(&stage);
    CHECK_EQ(flow_reap(&client, &ledger), 1);
    CHECK(!lq_pins_is_tied(&stage.arena->pins, tie));
    flow_empty(&stage.space, stage.me);
    CHECK_EQ(flow_submit(&client, (struct flow_task){.tag = 2, .args_bytes = 8, .result_bytes = 8}, &index), LQ_OK);
    while (index != (uint32_t)(tie >> 32) - 1)
        CHECK_EQ(flow_submit(&client, (struct flow_task){.tag = 2, .args_bytes = 8, .result_bytes = 8}, &index), LQ_OK);
    CHECK(!lq_pins_is_tied(&stage.arena->pins, tie));
    CHECK(lq_pins_is_tied(&stage.arena->pins, lq_pin_tie(index, lq_space_slot(&stage.space, index)->task_generation)));
    run_all_(&stage);
    flow_reap(&client, &ledger);
    flow_empty(&stage.space, stage.me);
    lq_client_end(&client);
    strike_(&stage);
}

static void pin_with_a_tie_on_what_the_dead_owned_counts(void)
{
    static const uint64_t sizes[] = {SMALL, LARGE};
    static struct ledger ledger;
    for (unsigned i = 0; i < 2; i++) {
        struct stage_ stage;
        struct lq_client client;
        struct lq_recovered pass;
        uint32_t entry;
        set_(&stage);
        uint64_t tie = submit_(&stage, &client);
        uint32_t block = take_(&stage, stage.other, sizes[i]);
        uint32_t generation = generation_of_(&stage, block);
        CHECK_EQ(try_pin_(&stage, stage.other, block, generation, tie, &entry), LQ_OK);
        lq_space_bury(&stage.space, stage.other); /* before it has loosened it */
        for (int passes = 0; passes < 3; passes++)
            lq_space_recover(&stage.space, stage.other, stage.third, 9, &pass);
        CHECK_EQ(state_of_(&stage, block), LQ_BLOCK_PINNED);
        CHECK_EQ(generation_of_(&stage, block), generation);
        run_all_(&stage);
        CHECK_EQ(flow_reap(&client, &ledger), 1);
        flow_bury(&stage.space, stage.other, 9);
        flow_empty(&stage.space, stage.me);
        lq_client_end(&client);
        strike_(&stage);
    }
}

static void pin_of_the_row_s_next_process_is_not_cleared_by_who_recovers_late(void)
{
    struct stage_ stage;
    struct lq_recovered pass;
    set_(&stage);
    uint32_t block = hold_(&stage, stage.me, SMALL);
    lq_label dead = stage.other;
    pin_(&stage, dead, block);
    flow_bury(&stage.space, dead, 9);
    CHECK_EQ(lq_pins_any(&stage.arena->pins, block, generation_of_(&stage, block)), false);
    lq_label next = flow_join(&stage.space, LQ_ROLE_CLIENT);
    CHECK_EQ(lq_label_row(next), lq_label_row(dead));
    uint32_t entry = pin_(&stage, next, block);
    drop_(&stage, stage.me, block);
    lq_space_recover(&stage.space, dead, stage.third, 9, &pass);
    CHECK_EQ(pass.labels, 0);
    CHECK_EQ(lq_arena_recover(stage.arena, dead, stage.third, &pass.tied), 0);
    CHECK_EQ(state_of_(&stage, block), LQ_BLOCK_PINNED);
    unpin_(&stage, next, entry);
    strike_(&stage);
}

/* Its views may outlive it; their pins were recovered, and the row is another's. */
static void pin_of_one_who_has_left_is_neither_made_nor_taken_back(void)
{
    struct stage_ stage;
    struct lq_client client;
    uint32_t none;
    set_(&stage);
    flow_init_client(&client, &stage.space, stage.other);
    uint32_t block = hold_(&stage, stage.me, SMALL);
    uint32_t entry = pin_(&stage, stage.other, block);
    lq_client_leave(&client);
    lq_label next = flow_join(&stage.space, LQ_ROLE_CLIENT);
    CHECK_EQ(lq_label_row(next), lq_label_row(stage.other));
    CHECK_EQ(pin_(&stage, next, block), entry);
    drop_(&stage, stage.me, block);
    unpin_(&stage, stage.other, entry);
    CHECK_EQ(try_pin_(&stage, stage.other, block, generation_of_(&stage, block), 0, &none), LQ_MISSING);
    CHECK_EQ(state_of_(&stage, block), LQ_BLOCK_PINNED);
    unpin_(&stage, next, entry);
    strike_(&stage);
}

static void pin_keeps_what_is_dropped_for_the_dead(void)
{
    static const uint64_t sizes[] = {SMALL, LARGE};
    struct stage_ stage;
    lq_a64 guard;
    set_(&stage);
    uint64_t guard_word = lq_word(3, stage.other, 7, 0);
    lq_store(&guard, guard_word);
    for (unsigned i = 0; i < 2; i++) {
        uint32_t block = hold_(&stage, stage.me, sizes[i]);
        uint32_t entry = pin_(&stage, stage.me, block);
        lq_arena_drop_for(stage.arena, stage.third, block, kept_by_(1), &guard, guard_word);
        CHECK_EQ(state_of_(&stage, block), LQ_BLOCK_PINNED);
        unpin_(&stage, stage.me, entry);
        CHECK_EQ(state_of_(&stage, block), LQ_BLOCK_FREE);
    }
    strike_(&stage);
}

static void pin_is_missed_by_the_audit_where_there_should_be_one(void)
{
    struct stage_ stage;
    struct lq_problem problem;
    set_(&stage);
    uint32_t block = hold_(&stage, stage.me, SMALL);
    uint32_t entry = pin_(&stage, stage.me, block);
    uint64_t word = word_of_(&stage, block);
    CHECK_EQ(lq_space_audit(&stage.space, &problem, 1), 0);
    lq_store(lq_arena_word(stage.arena, block), lq_word_next(word, LQ_BLOCK_FREE, LQ_NOBODY, 0));
    CHECK_EQ(lq_space_audit(&stage.space, &problem, 1), 1);
    CHECK(strstr(problem.what, "a pin names a block that was given back") != NULL);
    lq_store(lq_arena_word(stage.arena, block), lq_word_as(word, LQ_BLOCK_PINNED, LQ_NOBODY));
    CHECK_EQ(lq_space_audit(&stage.space, &problem, 1), 0);
    lq_pins_erase(&stage.arena->pins, stage.me, entry);
    CHECK_EQ(lq_space_audit(&stage.space, &problem, 1), 1);
    CHECK(strstr(problem.what, "nobody pins block") != NULL);
    lq_arena_settle(stage.arena, NULL, stage.me, block, generation_of_(&stage, block));
    strike_(&stage);
}

/* ---- the system's memory ---- */

static uint64_t resident_(const struct stage_ *stage)
{
    struct stat facts;
    CHECK(fstat(stage->arena->fd, &facts) == 0);
    return (uint64_t)facts.st_blocks * 512;
}

static uint64_t give_back_(struct stage_ *stage, uint64_t *idle)
{
    return lq_arena_give_back(stage->arena, stage->other, idle, NULL);
}

static void pin_memory_is_had_when_a_span_is_taken_and_given_back_when_it_was_idle_twice(void)
{
    struct stage_ stage;
    uint64_t idle[13] = {0};
    set_(&stage);
    for (uint32_t class = 0; class < LQ_CLASSES + 3; class++) { /* the last ones are runs */
        bool is_run = class >= LQ_CLASSES;
        uint64_t bytes = (uint64_t)1 << (LQ_CLASS_ORDER + class);
        uint64_t spans = is_run ? bytes >> LQ_SPAN_ORDER : 1;
        AT("class %u", class);
        CHECK_EQ(resident_(&stage), 0);
        uint32_t block = take_(&stage, stage.me, bytes);
        CHECK_EQ(resident_(&stage), spans * SPAN); /* before a byte of it is written */
        for (int i = 0; i < 4; i++)
            CHECK_EQ(give_back_(&stage, idle), 0);
        uint64_t room;
        memset(lq_arena_at(stage.arena, block, &room), 0x5a, bytes);
        lq_arena_return(stage.arena, NULL, stage.me, block);
        CHECK_EQ(give_back_(&stage, idle), 0); /* may have been used a moment ago */
        CHECK_EQ(resident_(&stage), spans * SPAN);
        CHECK_EQ(give_back_(&stage, idle), spans * SPAN);
        CHECK_EQ(resident_(&stage), 0);
        CHECK_EQ(give_back_(&stage, idle), 0); /* and not again */
    }
    strike_(&stage);
}

static void pin_memory_of_a_large_block_may_be_left_to_come_when_it_is_written(void)
{
    struct stage_ stage;
    struct lq_arena_cache cache = {0};
    uint64_t idle[13] = {0};
    uint64_t room;
    uint32_t block;
    set_(&stage);
    CHECK_EQ(lq_arena_take(stage.arena, &cache, stage.me, LARGE, true, &block), LQ_OK);
    CHECK_EQ(resident_(&stage), 0);
    memset(lq_arena_at(stage.arena, block, &room), 1, 4096);
    CHECK_EQ(resident_(&stage), 4096);
    lq_arena_return(stage.arena, NULL, stage.me, block);
    give_back_(&stage, idle);
    CHECK_EQ(give_back_(&stage, idle), 3 * SPAN);
    CHECK_EQ(resident_(&stage), 0);
    block = take_(&stage, stage.me, LARGE); /* what was left to come once is had when it is asked for */
    CHECK_EQ(resident_(&stage), 3 * SPAN);
    lq_arena_return(stage.arena, NULL, stage.me, block);
    strike_(&stage);
}

static void pin_memory_that_the_system_has_not_is_an_answer_and_leaves_nothing_taken(void)
{
    struct stage_ stage;
    struct lq_arena_cache cache = {0};
    uint32_t block;
    set_(&stage);
    CHECK(munmap(stage.arena->memory + SPAN, 12 * SPAN) == 0); /* as good as none */
    CHECK_EQ(lq_arena_take(stage.arena, &cache, stage.me, SMALL, false, &block), LQ_SYSTEM);
    CHECK_EQ(lq_arena_take(stage.arena, &cache, stage.me, LARGE, false, &block), LQ_SYSTEM);
    CHECK_EQ(lq_arena_take(stage.arena, &cache, stage.me, LARGE, true, &block), LQ_OK);
    lq_arena_return(stage.arena, NULL, stage.me, block);
    CHECK(mmap(stage.arena->memory + SPAN, 12 * SPAN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, stage.arena->fd, SPAN) !=
          MAP_FAILED);
    block = take_(&stage, stage.me, SMALL);
    CHECK_EQ(resident_(&stage), SPAN); /* and the next time it is asked again */
    lq_arena_return(stage.arena, NULL, stage.me, block);
    strike_(&stage);
}

static void pin_memory_of_the_end_is_kept_where_somebody_looks(void)
{
    struct stage_ stage;
    set_(&stage);
    uint32_t blocks[] = {hold_(&stage, stage.me, SMALL), hold_(&stage, stage.me, SPAN / 2), hold_(&stage, stage.me, LARGE),
                         hold_(&stage, stage.me, LARGE)};
    uint32_t entries[] = {pin_(&stage, stage.me, blocks[1]), pin_(&stage, stage.other, blocks[3])};
    uint64_t room;
    for (unsigned i = 0; i < 4; i++)
        flow_fill(lq_arena_at(stage.arena, blocks[i], &room), i, 0, FILLED);
    CHECK_EQ(resident_(&stage), 8 * SPAN);
    lq_arena_strip(stage.arena);
    CHECK_EQ(resident_(&stage), 4 * SPAN);
    for (unsigned i = 0; i < 4; i++)
        CHECK_EQ(flow_matches(lq_arena_at(stage.arena, blocks[i], &room), i, 0, FILLED), i % 2);
    for (unsigned i = 0; i < 4; i++)
        drop_(&stage, stage.me, blocks[i]);
    unpin_(&stage, stage.me, entries[0]);
    unpin_(&stage, stage.other, entries[1]);
    strike_(&stage);
}

/* ---- threads: what is pinned keeps its bytes ---- */

#define CROWD 4u
#define BOARD 6u
#define ENOUGH 300u /* pins, and pins that came too late */

/* Blocks that were put up for others to pin, generation << 32 | block each; 0: none. What is written into a block is made from
   both, so who pins it finds these bytes, or that it is gone. */
struct crowd_ {
    struct stage_ stage;
    lq_a64 board[BOARD];
    atomic_uint pinned, missed, going;
    uint32_t rounds;
};

struct member_ {
    struct crowd_ *crowd;
    lq_label me;
    uint32_t seed, cursor;
    struct lq_arena_cache cache;
};

/* Plain accesses, so that ThreadSanitizer sees a use that is not ordered before the next one. */
static uint64_t *words_of_(const struct stage_ *stage, uint64_t what)
{
    uint64_t room = 0;
    uint64_t *at = (uint64_t *)(void *)lq_arena_at(stage->arena, (uint32_t)what, &room);
    CHECK(at != NULL && room >= FILLED);
    return at;
}

static void fill_(const struct stage_ *stage, uint64_t what)
{
    uint64_t *at = words_of_(stage, what);
    for (unsigned i = 0; i < FILLED / 8; i++)
        at[i] = what * 2654435761u + i;
}

static bool matches_(const struct stage_ *stage, uint64_t what)
{
    const uint64_t *at = words_of_(stage, what);
    for (unsigned i = 0; i < FILLED / 8; i++)
        if (at[i] != what * 2654435761u + i)
            return false;
    return true;
}

/* Lives by pins alone, or is held before or after it was pinned, or only held. Then all that goes again, in either order. */
static void put_up_(struct member_ *member, lq_a64 *place)
{
    static const uint64_t sizes[] = {SMALL, SMALL, 3000, SPAN / 2, LARGE};
    struct stage_ *stage = &member->crowd->stage;
    uint32_t chance = next_random(&member->seed);
    uint32_t way = chance / 8 % 4;
    bool dropped_first = chance / 128 % 2;
    uint32_t block;
    uint32_t entry = LQ_NO_PIN;
    if (lq_arena_take(stage->arena, &member->cache, member->me, sizes[chance % 5], false, &block) != LQ_OK)
        return;
    uint32_t generation = generation_of_(stage, block);
    uint64_t what = (uint64_t)generation << 32 | block;
    fill_(stage, what);
    if (chance / 256 % 2) /* too early: it is still its owner's, and nobody else can pin it */
        lq_store(place, what);
    if (way == 2)
        lq_arena_hold(stage->arena, member->me, block, kept_by_(block));
    if (way != 3)
        CHECK_EQ(lq_arena_pin(stage->arena, member->me, block, generation, 0, &member->cursor, &entry), LQ_OK);
    if (way == 0)
        lq_arena_loosen(stage->arena, member->me, block);
    else if (way != 2)
        lq_arena_hold(stage->arena, member->me, block, kept_by_(block));
    lq_store(place, what);
    if (chance / 64 % 2)
        sched_yield();
    if (way != 0 && dropped_first)
        lq_arena_drop(stage->arena, &member->cache, member->me, block, kept_by_(block));
    if (entry != LQ_NO_PIN) {
        CHECK(matches_(stage, what));
        lq_arena_unpin(stage->arena, &member->cache, member->me, entry);
    }
    if (way != 0 && !dropped_first)
        lq_arena_drop(stage->arena, &member->cache, member->me, block, kept_by_(block));
}

struct look_ {
    uint64_t what; /* 0: none */
    uint32_t entry;
};

static void look_up_(struct member_ *member, lq_a64 *place, struct look_ *look)
{
    struct stage_ *stage = &member->crowd->stage;
    uint64_t what = lq_load(place);
    if (what == 0)
        return;
    if (lq_arena_pin(stage->arena, member->me, (uint32_t)what, (uint32_t)(what >> 32), 0, &member->cursor, &look->entry) != LQ_OK) {
        atomic_fetch_add(&member->crowd->missed, 1);
        return;
    }
    atomic_fetch_add(&member->crowd->pinned, 1);
    look->what = what;
    CHECK(matches_(stage, what));
}

static void look_away_(struct member_ *member, struct look_ *look)
{
    if (look->what == 0)
        return;
    CHECK(matches_(&member->crowd->stage, look->what));
    bool warm = next_random(&member->seed) % 2;
    lq_arena_unpin(member->crowd->stage.arena, warm ? &member->cache : NULL, member->me, look->entry);
    look->what = 0;
}

static bool has_seen_enough_(struct crowd_ *crowd)
{
    return atomic_load(&crowd->pinned) > ENOUGH && atomic_load(&crowd->missed) > ENOUGH;
}

static void be_one_of_the_crowd_(void *given, unsigned number)
{
    struct crowd_ *crowd = given;
    struct member_ member = {.crowd = crowd, .seed = number + 1, .me = flow_join(&crowd->stage.space, LQ_ROLE_CLIENT)};
    struct look_ looks[3] = {{0, 0}};
    for (uint32_t i = 0; i < crowd->rounds / (LQ_TSAN || LQ_ASAN ? 10 : 1) || !has_seen_enough_(crowd); i++) {
        uint32_t chance = next_random(&member.seed);
        struct look_ *look = &looks[chance / 4 % 3];
        lq_a64 *place = &crowd->board[chance / 16 % BOARD];
        if (chance % 4 == 0)
            put_up_(&member, place);
        else if (look->what != 0)
            look_away_(&member, look);
        else
            look_up_(&member, place, look);
    }
    for (uint32_t at = 0; at < 3; at++)
        look_away_(&member, &looks[at]);
    lq_arena_cool(crowd->stage.arena, &member.cache, member.me);
    atomic_fetch_sub(&crowd->going, 1);
}

static void check_crowd_(struct crowd_ *crowd)
{
    printf("        %u pins, %u that came too late\n", atomic_load(&crowd->pinned), atomic_load(&crowd->missed));
    CHECK(has_seen_enough_(crowd));
    for (uint32_t row = 1; row < 16; row++)
        CHECK_EQ(lq_pins_end(&crowd->stage.arena->pins, row), 0);
    strike_(&crowd->stage);
}

static void pin_keeps_the_bytes_while_others_drop_and_take_and_look(void)
{
    static struct crowd_ crowd = {.going = CROWD, .rounds = 100000};
    set_(&crowd.stage);
    in_threads(CROWD, be_one_of_the_crowd_, &crowd);
    check_crowd_(&crowd);
}

static void give_back_or_be_one_of_the_crowd_(void *given, unsigned number)
{
    struct crowd_ *crowd = given;
    uint64_t idle[13] = {0};
    uint64_t bytes = 0;
    if (number != 0)
        be_one_of_the_crowd_(given, number);
    while (number == 0 && atomic_load(&crowd->going) != 0)
        bytes += lq_arena_give_back(crowd->stage.arena, crowd->stage.third, idle, NULL);
    CHECK(number != 0 || bytes != 0);
}

static void pin_keeps_the_bytes_while_idle_memory_is_given_back(void)
{
    static struct crowd_ crowd = {.going = CROWD - 1, .rounds = 30000};
    set_(&crowd.stage);
    in_threads(CROWD, give_back_or_be_one_of_the_crowd_, &crowd);
    check_crowd_(&crowd);
}

/* ---- a signal between any two instructions, whose handler is another process to the arena ---- */

static struct crowd_ interrupted_;
static struct member_ handlers_;
static struct look_ handlers_look_;
static atomic_uint interruptions_;

static void interrupt_(int number)
{
    (void)number;
    atomic_fetch_add(&interruptions_, 1);
    look_away_(&handlers_, &handlers_look_);
    if (next_random(&handlers_.seed) % 8 == 0)
        put_up_(&handlers_, &interrupted_.board[1]);
    else
        look_up_(&handlers_, &interrupted_.board[0], &handlers_look_);
}

static void pin_interrupted_between_any_two_instructions_keeps_the_bytes(void)
{
    long pause_ns = LQ_TSAN || LQ_ASAN ? 100000 : 10000;
    struct itimerspec often = {{0, pause_ns}, {0, pause_ns}};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct sigaction action = {.sa_handler = interrupt_};
    struct member_ member = {.crowd = &interrupted_, .seed = 7};
    struct look_ look = {0, 0};
    timer_t timer;
    set_(&interrupted_.stage);
    member.me = interrupted_.stage.me;
    handlers_ = (struct member_){.crowd = &interrupted_, .me = interrupted_.stage.other, .seed = 9};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0 && timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    CHECK(timer_settime(timer, 0, &often, NULL) == 0);

    while (atomic_load(&interruptions_) < (LQ_TSAN || LQ_ASAN ? 3000u : 40000u) || !has_seen_enough_(&interrupted_)) {
        put_up_(&member, &interrupted_.board[0]);
        look_up_(&member, &interrupted_.board[1], &look);
        look_away_(&member, &look);
    }

    CHECK(timer_delete(timer) == 0);
    look_away_(&handlers_, &handlers_look_);
    lq_arena_cool(interrupted_.stage.arena, &member.cache, member.me);
    lq_arena_cool(interrupted_.stage.arena, &handlers_.cache, handlers_.me);
    check_crowd_(&interrupted_);
}

const struct lq_case pin_cases[] = {
    RUN(pin_keeps_a_block_until_the_last_one_lets_go_whoever_that_is),
    RUN(pin_of_a_block_that_was_given_back_or_is_another_s_says_so),
    RUN(pin_that_comes_to_nothing_leaves_no_block_to_nobody),
    RUN(pin_of_what_one_owns_survives_holding_returning_and_loosening_it),
    RUN(pin_counts_for_each_time_that_it_is_made),
    RUN(pin_that_is_lifted_counts_no_more_but_is_found_by_recovery),
    RUN(pin_of_the_dead_counts_as_long_as_its_task_is_on_its_way_and_keeps_its_row),
    RUN(pin_of_the_dead_does_not_keep_what_a_holder_lets_go_of_later),
    RUN(pin_is_tied_to_its_task_and_to_no_later_one_of_the_slot),
    RUN(pin_with_a_tie_on_what_the_dead_owned_counts),
    RUN(pin_of_the_row_s_next_process_is_not_cleared_by_who_recovers_late),
    RUN(pin_of_one_who_has_left_is_neither_made_nor_taken_back),
    RUN(pin_keeps_what_is_dropped_for_the_dead),
    RUN(pin_is_missed_by_the_audit_where_there_should_be_one),
    RUN(pin_memory_is_had_when_a_span_is_taken_and_given_back_when_it_was_idle_twice),
    RUN(pin_memory_of_a_large_block_may_be_left_to_come_when_it_is_written),
    RUN(pin_memory_that_the_system_has_not_is_an_answer_and_leaves_nothing_taken),
    RUN(pin_memory_of_the_end_is_kept_where_somebody_looks),
    RUN(pin_keeps_the_bytes_while_others_drop_and_take_and_look),
    RUN(pin_keeps_the_bytes_while_idle_memory_is_given_back),
    RUN(pin_interrupted_between_any_two_instructions_keeps_the_bytes),
    END_OF_CASES,
};

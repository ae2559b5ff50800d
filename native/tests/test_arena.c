/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "../lq_arena.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "lq_test.h"

#define ME 0x1001u
#define OTHER 0x1002u
#define SPAN LQ_SPAN_BYTES

static lq_a64 used_;

/* `spans` that can be given out. */
static struct lq_arena make_arena_(uint32_t spans)
{
    uint32_t count = spans + 1;
    lq_store(&used_, 0);
    return (struct lq_arena){
        .spans = shared_memory(lq_arena_spans_size(count)),
        .blocks = shared_memory(lq_arena_blocks_size(count)),
        .used = &used_,
        .memory = shared_memory((size_t)count << LQ_SPAN_ORDER),
        .count = count,
        .pins = {shared_memory(lq_pins_size()), {shared_memory(lq_roster_size())}, {.count = 0}},
        .fd = -1,
    };
}

static void check_all_free_(const struct lq_arena *arena)
{
    uint64_t held;
    uint64_t owned;
    uint64_t spans;
    CHECK_EQ(lq_arena_check(arena), LQ_OK);
    lq_arena_reading(arena, &held, &owned, &spans);
    CHECK_EQ(held, 0);
    CHECK_EQ(owned, 0);
}

static void arena_gives_a_block_of_every_size_and_takes_it_back(void)
{
    struct lq_arena arena = make_arena_(12);
    struct lq_arena_cache cache = {0};
    for (uint64_t bytes = 1; bytes <= 5 * SPAN; bytes = bytes * 2 + (bytes & 1)) {
        for (uint64_t size = bytes - 1; size <= bytes + 1; size++) {
            uint32_t block = 0;
            uint64_t room = 0;
            CHECK_EQ(lq_arena_take(&arena, &cache, ME, size, false, &block), LQ_OK);
            CHECK(block != 0);
            unsigned char *at = lq_arena_at(&arena, block, &room);
            CHECK(at != NULL && room >= size && at >= arena.memory + SPAN && at + room <= arena.memory + arena.count * SPAN);
            CHECK(size <= 256 || room < 2 * size || room <= 2 * SPAN); /* and not much more */
            memset(at, 0x5a, size);
            uint64_t word = lq_load(lq_arena_word(&arena, block));
            CHECK_EQ(lq_word_state(word), LQ_BLOCK_OWNED);
            CHECK_EQ(lq_word_label(word), ME);
            CHECK_EQ(lq_arena_check(&arena), LQ_OK);

            lq_arena_hold(&arena, ME, block, lq_backref(LQ_HOLDER_ARGS, 3, 4));
            CHECK_EQ(lq_word_state(lq_load(lq_arena_word(&arena, block))), LQ_BLOCK_HELD);
            CHECK_EQ(lq_word_label(lq_load(lq_arena_word(&arena, block))), LQ_NOBODY);
            lq_arena_drop(&arena, &cache, ME, block, lq_backref(LQ_HOLDER_ARGS, 3, 5)); /* another's: nothing happens */
            CHECK_EQ(lq_word_state(lq_load(lq_arena_word(&arena, block))), LQ_BLOCK_HELD);
            lq_arena_drop(&arena, &cache, ME, block, lq_backref(LQ_HOLDER_ARGS, 3, 4));
            CHECK_EQ(lq_arena_check(&arena), LQ_OK);
        }
    }
    lq_arena_cool(&arena, &cache, ME);
    check_all_free_(&arena);
}

static void arena_refuses_what_can_never_fit(void)
{
    struct lq_arena arena = make_arena_(4);
    struct lq_arena_cache cache = {0};
    uint32_t block;
    CHECK_EQ(lq_arena_take(&arena, &cache, ME, 4 * SPAN + 1, false, &block), LQ_NEVER);
    CHECK_EQ(lq_arena_take(&arena, &cache, ME, UINT64_MAX, false, &block), LQ_NEVER);
    CHECK_EQ(lq_arena_take(&arena, &cache, ME, 4 * SPAN, false, &block), LQ_OK);
    CHECK_EQ(lq_arena_take(&arena, &cache, ME, 1, false, &block), LQ_FULL);
}

static void arena_blocks_do_not_overlap_until_it_is_full(void)
{
    struct lq_arena arena = make_arena_(2);
    for (uint32_t class = 0; class < LQ_CLASSES; class++) {
        struct lq_arena_cache cache = {0};
        uint64_t bytes = (uint64_t)1 << (LQ_CLASS_ORDER + class);
        uint32_t blocks = (uint32_t)(2 * SPAN / bytes);
        uint32_t *taken = calloc(blocks, sizeof *taken);
        uint64_t room;
        CHECK(taken != NULL);
        for (uint32_t i = 0; i < blocks; i++) {
            CHECK_EQ(lq_arena_take(&arena, &cache, ME, bytes, false, &taken[i]), LQ_OK);
            uint64_t *at = (uint64_t *)(void *)lq_arena_at(&arena, taken[i], &room);
            CHECK_EQ(room, bytes);
            at[0] = at[bytes / 8 - 1] = i + 1;
        }
        uint32_t none;
        CHECK_EQ(lq_arena_take(&arena, &cache, ME, bytes, false, &none), LQ_FULL);
        for (uint32_t i = 0; i < blocks; i++) {
            uint64_t *at = (uint64_t *)(void *)lq_arena_at(&arena, taken[i], &room);
            CHECK(at[0] == i + 1 && at[bytes / 8 - 1] == i + 1);
            lq_arena_return(&arena, i % 2 ? &cache : NULL, ME, taken[i]);
        }
        lq_arena_cool(&arena, &cache, ME);
        check_all_free_(&arena);
        free(taken);
    } /* and each class had to retire the spans of the one before */
}

static void arena_spans_change_their_class_and_become_runs_and_come_back(void)
{
    struct lq_arena arena = make_arena_(3);
    struct lq_arena_cache cache = {0};
    uint32_t block;
    for (int round = 0; round < 50; round++) {
        CHECK_EQ(lq_arena_take(&arena, &cache, ME, 600, false, &block), LQ_OK);
        lq_arena_return(&arena, &cache, ME, block); /* stays warm, and must give way */
        CHECK_EQ(lq_arena_take(&arena, &cache, ME, 3 * SPAN, false, &block), LQ_OK);
        CHECK_EQ(lq_arena_check(&arena), LQ_OK);
        lq_arena_return(&arena, &cache, ME, block);
        CHECK_EQ(lq_arena_take(&arena, &cache, ME, 512 << 10, false, &block), LQ_OK);
        lq_arena_return(&arena, &cache, ME, block);
        CHECK_EQ(lq_arena_take(&arena, &cache, ME, 2 * SPAN + 1, false, &block), LQ_OK);
        lq_arena_return(&arena, &cache, ME, block);
    }
    check_all_free_(&arena);
}

static void arena_warm_block_of_one_process_does_not_keep_a_span_from_another_for_ever(void)
{
    struct lq_arena arena = make_arena_(1);
    struct lq_arena_cache mine = {0};
    struct lq_arena_cache others = {0};
    uint32_t block;
    lq_arena_take(&arena, &mine, ME, 600, false, &block);
    lq_arena_return(&arena, &mine, ME, block);
    CHECK_EQ(lq_arena_take(&arena, &others, OTHER, SPAN, false, &block), LQ_FULL);

    lq_arena_ease(&arena, &mine, ME); /* as every process does now and then */

    CHECK_EQ(lq_arena_take(&arena, &others, OTHER, SPAN, false, &block), LQ_OK);
    lq_arena_ease(&arena, &mine, ME);
    lq_arena_return(&arena, &others, OTHER, block);
    check_all_free_(&arena);
}

static void arena_warm_block_is_the_next_one_taken(void)
{
    struct lq_arena arena = make_arena_(4);
    struct lq_arena_cache cache = {0};
    uint32_t first;
    uint32_t second;
    lq_arena_take(&arena, &cache, ME, 5000, false, &first);
    lq_arena_return(&arena, &cache, ME, first);
    lq_arena_take(&arena, &cache, ME, 4500, false, &second);
    CHECK_EQ(first, second);
}

static void arena_return_of_what_is_not_owned_changes_nothing(void)
{
    struct lq_arena arena = make_arena_(4);
    struct lq_arena_cache cache = {0};
    uint32_t block;
    lq_arena_take(&arena, &cache, ME, 5000, false, &block);
    uint64_t word = lq_load(lq_arena_word(&arena, block));

    lq_arena_return(&arena, &cache, OTHER, block);
    CHECK_EQ(lq_load(lq_arena_word(&arena, block)), word);
    lq_arena_hold(&arena, OTHER, block, 1);
    CHECK_EQ(lq_load(lq_arena_word(&arena, block)), word);
    lq_arena_drop(&arena, &cache, ME, block, 1); /* owned, not held */
    CHECK_EQ(lq_load(lq_arena_word(&arena, block)), word);
    lq_arena_drop(&arena, &cache, ME, 0, 1); /* no block */
    lq_arena_drop(&arena, &cache, ME, 0xffffffffu, 1);
    lq_arena_drop(&arena, &cache, ME, arena.count << LQ_BLOCKS_ORDER, 1);
    CHECK_EQ(lq_arena_check(&arena), LQ_OK);
}

static void arena_block_numbers_that_do_not_exist_lie_nowhere(void)
{
    struct lq_arena arena = make_arena_(4);
    uint32_t seed = 3;
    uint64_t room;
    CHECK(lq_arena_at(&arena, 0, &room) == NULL);
    for (int i = 0; i < 100000; i++) /* nothing was taken yet, so nothing exists */
        CHECK(lq_arena_at(&arena, next_random(&seed), &room) == NULL);
}

static void arena_recovery_frees_all_that_the_dead_owned_and_nothing_else(void)
{
    struct lq_arena arena = make_arena_(12);
    struct lq_arena_cache cache = {0};
    struct lq_arena_cache other = {0};
    uint32_t block;
    uint32_t kept;
    for (uint64_t bytes = 100; bytes < 3 * SPAN; bytes *= 3)
        CHECK_EQ(lq_arena_take(&arena, &cache, ME, bytes, false, &block), LQ_OK);
    CHECK_EQ(lq_arena_take(&arena, &other, OTHER, 100, false, &kept), LQ_OK);
    lq_store(&arena.spans[2].word, lq_load(&arena.spans[2].word));

    uint32_t tied;
    CHECK(lq_arena_recover(&arena, ME, OTHER, &tied) > 5);
    CHECK_EQ(lq_arena_recover(&arena, ME, OTHER, &tied), 0);

    CHECK_EQ(lq_word_label(lq_load(lq_arena_word(&arena, kept))), OTHER);
    lq_arena_return(&arena, NULL, OTHER, kept);
    check_all_free_(&arena);
}

static void arena_drop_for_the_dead_needs_the_word_that_named_the_block(void)
{
    static const uint64_t sizes[] = {1000, 2 * SPAN};
    for (size_t i = 0; i < 2; i++) {
        struct lq_arena arena = make_arena_(4);
        struct lq_arena_cache cache = {0};
        lq_a64 guard;
        uint64_t guard_word = lq_word(3, ME, 7, 0);
        uint32_t block;
        lq_arena_take(&arena, &cache, ME, sizes[i], false, &block);
        lq_arena_hold(&arena, ME, block, 99);

        lq_store(&guard, guard_word + 1);
        lq_arena_drop_for(&arena, OTHER, block, 99, &guard, guard_word);
        CHECK_EQ(lq_word_state(lq_load(lq_arena_word(&arena, block))), LQ_BLOCK_HELD);
        lq_store(&guard, guard_word);
        lq_arena_drop_for(&arena, OTHER, block, 98, &guard, guard_word);
        CHECK_EQ(lq_word_state(lq_load(lq_arena_word(&arena, block))), LQ_BLOCK_HELD);
        lq_arena_drop_for(&arena, OTHER, block, 99, &guard, guard_word);
        check_all_free_(&arena);
        lq_arena_drop_for(&arena, OTHER, block, 99, &guard, guard_word);
        check_all_free_(&arena);
    }
}

static void arena_check_finds_what_no_operation_writes(void)
{
    struct lq_arena arena = make_arena_(4);
    struct lq_arena_cache cache = {0};
    uint32_t block;
    lq_arena_take(&arena, &cache, ME, 1000, false, &block);
    lq_a64 *span = &arena.spans[block >> LQ_BLOCKS_ORDER].word;
    uint64_t sound = lq_load(span);
    static const uint64_t bad[] = {6, LQ_SPAN_TAIL, LQ_BLOCK_RETIRED, 0x100 | LQ_SPAN_CLASS, 11 << 4 | LQ_SPAN_CLASS};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        lq_store(span, bad[i]);
        CHECK_EQ(lq_arena_check(&arena), LQ_CORRUPT);
    }
    lq_store(span, sound);
    CHECK_EQ(lq_arena_check(&arena), LQ_OK);
    lq_store(lq_arena_word(&arena, block), LQ_BLOCK_OWNED); /* by nobody */
    CHECK_EQ(lq_arena_check(&arena), LQ_CORRUPT);
    lq_store(lq_arena_word(&arena, block), lq_word(LQ_BLOCK_HELD, ME, 0, 0));
    CHECK_EQ(lq_arena_check(&arena), LQ_CORRUPT);
}

static void arena_check_knows_a_run_in_the_making_from_one_in_ruins(void)
{
    struct lq_arena arena = make_arena_(8);
    struct lq_arena_cache cache = {0};
    uint32_t block;
    CHECK_EQ(lq_arena_take(&arena, &cache, ME, 3 * LQ_SPAN_BYTES, false, &block), LQ_OK);
    uint32_t head = block & ~LQ_BLOCK_RUN;
    uint64_t owned = lq_load(&arena.spans[head].word);
    CHECK_EQ(lq_arena_check(&arena), LQ_OK);

    lq_store(&arena.spans[head + 2].word, lq_word_as(owned, LQ_BLOCK_FREE, LQ_NOBODY)); /* not taken yet, or freed */
    lq_store(&arena.spans[head].run, 2);
    CHECK_EQ(lq_arena_check(&arena), LQ_OK);
    lq_store(&arena.spans[head].run, 1); /* shorter than the tail that is settled */
    CHECK_EQ(lq_arena_check(&arena), LQ_CORRUPT);
    lq_store(&arena.spans[head].run, 2);

    lq_store(&used_, head + 3);
    lq_store(&arena.spans[head + 3].run, 1000); /* a head whose length is still that of an earlier use */
    lq_store(&arena.spans[head + 3].word, lq_word_as(owned, LQ_BLOCK_OWNED, ME));
    CHECK_EQ(lq_arena_check(&arena), LQ_OK);
    lq_store(&arena.spans[head + 3].word, lq_word_as(owned, LQ_BLOCK_HELD, LQ_NOBODY));
    CHECK_EQ(lq_arena_check(&arena), LQ_CORRUPT);
    lq_store(&arena.spans[head + 3].word, lq_word_as(owned, LQ_BLOCK_FREE, LQ_NOBODY));

    lq_store(&arena.spans[head].word, lq_word_as(owned, LQ_BLOCK_FREE, LQ_NOBODY)); /* its tail is left */
    CHECK_EQ(lq_arena_check(&arena), LQ_CORRUPT);
}

/* ---- threads: every byte belongs to one at a time ---- */

struct crowd_ {
    struct lq_arena arena;
    atomic_uint *owner; /* one for every 512 bytes */
    atomic_uint given, refused;
};

static void own_(struct crowd_ *crowd, uint32_t block, unsigned from, unsigned to)
{
    uint64_t room = 0;
    unsigned char *at = lq_arena_at(&crowd->arena, block, &room);
    CHECK(at != NULL);
    size_t first = (size_t)(at - crowd->arena.memory) >> LQ_CLASS_ORDER;
    for (size_t i = 0; i < room >> LQ_CLASS_ORDER; i += (room > 65536 ? 64 : 1))
        if (atomic_exchange(&crowd->owner[first + i], to) != from)
            lq_fail(__FILE__, __LINE__, "two own one block");
}

static void use_arena_(void *given, unsigned number)
{
    struct crowd_ *crowd = given;
    struct lq_arena_cache cache = {0};
    lq_label me = lq_label_of(number + 1, 0);
    uint32_t seed = number + 1;
    uint32_t mine[4] = {0};
    bool held[4] = {false};
    for (uint32_t i = 0; i < (LQ_TSAN || LQ_ASAN ? 4000u : 40000u); i++) {
        uint32_t at = next_random(&seed) % 4;
        uint64_t backref = lq_backref(LQ_HOLDER_ARGS, at, number);
        if (mine[at] != 0) {
            own_(crowd, mine[at], number + 1, 0);
            if (held[at])
                lq_arena_drop(&crowd->arena, &cache, me, mine[at], backref);
            else
                lq_arena_return(&crowd->arena, next_random(&seed) % 4 ? &cache : NULL, me, mine[at]);
            mine[at] = 0;
            continue;
        }
        uint64_t bytes = (uint64_t)1 << (9 + next_random(&seed) % 13); /* 512 B to 2 MiB */
        if (lq_arena_take(&crowd->arena, &cache, me, bytes, false, &mine[at]) != LQ_OK) {
            atomic_fetch_add(&crowd->refused, 1);
            mine[at] = 0;
            continue;
        }
        atomic_fetch_add(&crowd->given, 1);
        own_(crowd, mine[at], 0, number + 1);
        held[at] = next_random(&seed) % 2;
        if (held[at])
            lq_arena_hold(&crowd->arena, me, mine[at], backref);
    }
    for (uint32_t at = 0; at < 4; at++) {
        if (mine[at] != 0)
            own_(crowd, mine[at], number + 1, 0);
        if (mine[at] != 0 && held[at])
            lq_arena_drop(&crowd->arena, &cache, me, mine[at], lq_backref(LQ_HOLDER_ARGS, at, number));
        else if (mine[at] != 0)
            lq_arena_return(&crowd->arena, &cache, me, mine[at]);
    }
    lq_arena_cool(&crowd->arena, &cache, me);
}

static void arena_every_byte_belongs_to_one_at_a_time_among_threads(void)
{
    struct crowd_ crowd = {.arena = make_arena_(6)};
    crowd.owner = calloc((size_t)crowd.arena.count << LQ_BLOCKS_ORDER, sizeof *crowd.owner);
    CHECK(crowd.owner != NULL);
    in_threads(3, use_arena_, &crowd);
    CHECK(atomic_load(&crowd.given) > 100);
    check_all_free_(&crowd.arena);
    struct lq_arena_cache cache = {0};
    uint32_t block;
    CHECK_EQ(lq_arena_take(&crowd.arena, &cache, ME, 6 * SPAN, false, &block), LQ_OK); /* nothing is left in anybody's way */
    free((void *)crowd.owner);
}

/* ---- a signal between any two instructions, whose handler is another process to the arena ---- */

static struct crowd_ interrupted_;
static struct lq_arena_cache handlers_;
static uint32_t handlers_block_;
static atomic_uint interruptions_;

static void interrupt_(int number)
{
    (void)number;
    atomic_fetch_add(&interruptions_, 1);
    if (handlers_block_ != 0) {
        own_(&interrupted_, handlers_block_, 2, 0);
        lq_arena_return(&interrupted_.arena, NULL, OTHER, handlers_block_);
        handlers_block_ = 0;
    } else if (lq_arena_take(&interrupted_.arena, &handlers_, OTHER, 512, false, &handlers_block_) == LQ_OK) {
        own_(&interrupted_, handlers_block_, 0, 2);
    } else {
        handlers_block_ = 0;
    }
}

/* One wants a single small block, the other all spans at once, for which the first one's span must be retired each time. */
static void arena_interrupted_between_any_two_instructions_gives_nothing_twice(void)
{
    long pause_ns = LQ_TSAN || LQ_ASAN ? 300000 : 30000; /* long enough for a run to be taken now and then */
    struct itimerspec often = {{0, pause_ns}, {0, pause_ns}};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct sigaction action = {.sa_handler = interrupt_};
    struct lq_arena_cache cache = {0};
    unsigned runs = 0;
    timer_t timer;
    interrupted_.arena = make_arena_(2);
    interrupted_.owner = calloc((size_t)interrupted_.arena.count << LQ_BLOCKS_ORDER, sizeof *interrupted_.owner);
    CHECK(interrupted_.owner != NULL && sigaction(SIGUSR1, &action, NULL) == 0);
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0 && timer_settime(timer, 0, &often, NULL) == 0);

    while (runs == 0 || atomic_load(&interruptions_) < (LQ_TSAN || LQ_ASAN ? 2000u : 10000u)) { /* on a busy machine no run may fit in for long */
        uint32_t block;
        if (lq_arena_take(&interrupted_.arena, &cache, ME, 2 * SPAN, false, &block) != LQ_OK)
            continue;
        own_(&interrupted_, block, 0, 1);
        own_(&interrupted_, block, 1, 0);
        lq_arena_return(&interrupted_.arena, &cache, ME, block);
        runs++;
    }

    CHECK(timer_delete(timer) == 0);
    if (handlers_block_ != 0)
        lq_arena_return(&interrupted_.arena, NULL, OTHER, handlers_block_);
    check_all_free_(&interrupted_.arena);
    free((void *)interrupted_.owner);
}

const struct lq_case arena_cases[] = {
    RUN(arena_gives_a_block_of_every_size_and_takes_it_back),
    RUN(arena_refuses_what_can_never_fit),
    RUN(arena_blocks_do_not_overlap_until_it_is_full),
    RUN(arena_spans_change_their_class_and_become_runs_and_come_back),
    RUN(arena_warm_block_of_one_process_does_not_keep_a_span_from_another_for_ever),
    RUN(arena_warm_block_is_the_next_one_taken),
    RUN(arena_return_of_what_is_not_owned_changes_nothing),
    RUN(arena_block_numbers_that_do_not_exist_lie_nowhere),
    RUN(arena_recovery_frees_all_that_the_dead_owned_and_nothing_else),
    RUN(arena_drop_for_the_dead_needs_the_word_that_named_the_block),
    RUN(arena_check_finds_what_no_operation_writes),
    RUN(arena_check_knows_a_run_in_the_making_from_one_in_ruins),
    RUN(arena_interrupted_between_any_two_instructions_gives_nothing_twice),
    RUN(arena_every_byte_belongs_to_one_at_a_time_among_threads),
    END_OF_CASES,
};

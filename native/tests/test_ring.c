/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "../lq_ring.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "lq_test.h"

#define ORDER 4u
#define CELLS (1u << ORDER)
#define QUEUED 2u
#define CLAIMED 3u
#define FREE 8u

static void make_ring_(struct lq_ring *ring, uint32_t order)
{
    lq_ring_view(ring, shared_memory(lq_ring_size(order)), order);
    lq_ring_init(ring);
}

/* Take the oldest entry as one who needs no word does. */
static enum lq_status pop_(const struct lq_ring *ring, struct lq_ring_entry *entry)
{
    enum lq_status status = lq_ring_peek(ring, entry);
    if (status == LQ_OK)
        lq_ring_advance(ring, entry);
    return status;
}

static void ring_that_is_new_is_empty_and_sound(void)
{
    struct lq_ring ring;
    struct lq_ring_entry entry;
    make_ring_(&ring, ORDER);

    CHECK_EQ(lq_ring_peek(&ring, &entry), LQ_EMPTY);
    CHECK_EQ(lq_ring_depth(&ring), 0);
    CHECK_EQ(lq_ring_check(&ring, 100), LQ_OK);
    CHECK(!lq_ring_holds(&ring, 0, 0));
}

static void ring_gives_back_in_order_over_many_laps(void)
{
    struct lq_ring ring;
    struct lq_ring_entry entry;
    uint32_t seed = 7;
    uint32_t pushed = 0;
    uint32_t popped = 0;
    make_ring_(&ring, ORDER);

    while (popped < 20000) {
        for (uint32_t i = next_random(&seed) % (CELLS + 3); i != 0; i--) {
            enum lq_status status = lq_ring_push(&ring, pushed & 1023u, pushed);
            CHECK_EQ(status, pushed - popped == CELLS ? LQ_FULL : LQ_OK);
            pushed += status == LQ_OK;
        }
        CHECK_EQ(lq_ring_depth(&ring), pushed - popped);
        CHECK_EQ(lq_ring_check(&ring, 1024), LQ_OK);
        for (uint32_t i = next_random(&seed) % (CELLS + 3); i != 0; i--) {
            enum lq_status status = pop_(&ring, &entry);
            CHECK_EQ(status, pushed == popped ? LQ_EMPTY : LQ_OK);
            if (status != LQ_OK)
                continue;
            CHECK_EQ(entry.index, popped & 1023u);
            CHECK_EQ(entry.generation, popped & LQ_INDEX_MASK);
            popped++;
        }
    }
}

static void ring_that_is_full_changes_nothing(void)
{
    struct lq_ring ring;
    struct lq_ring_entry entry;
    make_ring_(&ring, ORDER);
    for (uint32_t i = 0; i < CELLS; i++)
        CHECK_EQ(lq_ring_push(&ring, i, 1), LQ_OK);

    CHECK_EQ(lq_ring_push(&ring, 99, 1), LQ_FULL);

    CHECK(!lq_ring_holds(&ring, 99, 1));
    CHECK_EQ(lq_ring_check(&ring, CELLS), LQ_OK);
    for (uint32_t i = 0; i < CELLS; i++) {
        CHECK_EQ(pop_(&ring, &entry), LQ_OK);
        CHECK_EQ(entry.index, i);
    }
    CHECK_EQ(pop_(&ring, &entry), LQ_EMPTY);
}

static void ring_tail_left_behind_is_moved_by_the_next_producer(void)
{
    struct lq_ring ring;
    struct lq_ring_entry entry;
    make_ring_(&ring, ORDER);
    CHECK_EQ(lq_ring_push(&ring, 5, 1), LQ_OK);
    lq_store(ring.tail, lq_load(ring.tail) - 1); /* as one leaves it that dies between its two swaps */

    CHECK_EQ(lq_ring_check(&ring, 100), LQ_OK);
    CHECK(lq_ring_holds(&ring, 5, 1));
    CHECK_EQ(pop_(&ring, &entry), LQ_OK); /* the head is ahead of the tail now */
    CHECK_EQ(lq_ring_check(&ring, 100), LQ_OK);
    CHECK_EQ(lq_ring_depth(&ring), 0);
    CHECK_EQ(pop_(&ring, &entry), LQ_EMPTY);
    CHECK_EQ(lq_ring_push(&ring, 6, 1), LQ_OK);
    CHECK_EQ(pop_(&ring, &entry), LQ_OK);
    CHECK_EQ(entry.index, 6);
}

static void ring_advance_twice_moves_once(void)
{
    struct lq_ring ring;
    struct lq_ring_entry first;
    struct lq_ring_entry second;
    make_ring_(&ring, ORDER);
    lq_ring_push(&ring, 1, 1);
    lq_ring_push(&ring, 2, 1);
    CHECK_EQ(lq_ring_peek(&ring, &first), LQ_OK);

    lq_ring_advance(&ring, &first);
    lq_ring_advance(&ring, &first);

    CHECK_EQ(lq_ring_peek(&ring, &second), LQ_OK);
    CHECK_EQ(second.index, 2);
}

static void ring_goes_on_when_positions_and_cycles_wrap(void)
{
    static const uint64_t starts[] = {(1ull << 28) - CELLS, UINT64_MAX - 2 * CELLS + 1}; /* cycle 2^24, position 2^64 */
    for (size_t at = 0; at < 2; at++) {
        struct lq_ring ring;
        struct lq_ring_entry entry;
        make_ring_(&ring, ORDER);
        lq_store(ring.head, starts[at]);
        lq_store(ring.tail, starts[at]);
        for (uint32_t i = 0; i < CELLS; i++) /* as the lap before left them */
            lq_store(&ring.cells[i], ((lq_ring_cycle(&ring, starts[at]) - 1) & 0xffffffu) << 40);

        for (uint32_t i = 0; i < 5 * CELLS; i++) {
            CHECK_EQ(lq_ring_push(&ring, i, i), LQ_OK);
            CHECK_EQ(lq_ring_push(&ring, i + 1, i), LQ_OK);
            CHECK_EQ(pop_(&ring, &entry), LQ_OK);
            CHECK_EQ(entry.index, i);
            CHECK_EQ(pop_(&ring, &entry), LQ_OK);
        }
    }
}

static void ring_check_finds_what_no_operation_writes(void)
{
    struct lq_ring ring;
    make_ring_(&ring, ORDER);
    lq_ring_push(&ring, 50, 1);
    CHECK_EQ(lq_ring_check(&ring, 50), LQ_CORRUPT); /* index 50 of 50 */
    CHECK_EQ(lq_ring_check(&ring, 51), LQ_OK);

    lq_store(ring.tail, lq_load(ring.tail) + 1);
    CHECK_EQ(lq_ring_check(&ring, 51), LQ_CORRUPT); /* a cell that was never filled */
    lq_store(ring.tail, lq_load(ring.head) + CELLS + 1);
    CHECK_EQ(lq_ring_check(&ring, 51), LQ_CORRUPT);
    lq_store(ring.tail, lq_load(ring.head) - 2);
    CHECK_EQ(lq_ring_check(&ring, 51), LQ_CORRUPT);
    lq_store(ring.tail, 0);
    lq_store(ring.head, 0);
    CHECK_EQ(lq_ring_check(&ring, 51), LQ_CORRUPT);
}

static void ring_walk_that_is_overtaken_goes_on_where_the_rest_begins(void)
{
    struct lq_ring ring;
    struct lq_ring_entry entry;
    make_ring_(&ring, ORDER);
    for (uint32_t i = 0; i < CELLS; i++)
        lq_ring_push(&ring, i, 1);
    uint64_t position = lq_load(ring.head);
    CHECK(lq_ring_next(&ring, &position, &entry));
    CHECK_EQ(entry.index, 0);

    for (uint32_t i = 0; i < 3; i++) { /* the next two cells are filled anew */
        CHECK_EQ(pop_(&ring, &entry), LQ_OK);
        CHECK_EQ(lq_ring_push(&ring, CELLS + i, 2), LQ_OK);
    }

    for (uint32_t i = 3; i < CELLS + 3; i++) {
        CHECK(lq_ring_next(&ring, &position, &entry));
        CHECK_EQ(entry.index, i);
        CHECK_EQ(entry.generation, i < CELLS ? 1u : 2u);
        CHECK(lq_ring_holds(&ring, i, i < CELLS ? 1 : 2));
    }
    CHECK(!lq_ring_next(&ring, &position, &entry));
    CHECK(!lq_ring_holds(&ring, 2, 1));
}

static void ring_whose_making_was_cut_short_is_made_again(void)
{
    struct lq_ring ring;
    struct lq_ring_entry entry;
    lq_ring_view(&ring, shared_memory(lq_ring_size(ORDER)), ORDER);
    lq_store(ring.tail, CELLS); /* the first of lq_ring_init's two stores */
    CHECK_EQ(lq_load(ring.head), 0);

    lq_ring_init(&ring);

    CHECK_EQ(lq_ring_push(&ring, 3, 1), LQ_OK);
    CHECK_EQ(pop_(&ring, &entry), LQ_OK);
    CHECK_EQ(pop_(&ring, &entry), LQ_EMPTY);
}

/* ---- many producers, many consumers, every item marked ---- */

struct crowd_ {
    struct lq_ring ring;
    unsigned producers, consumers;
    uint32_t objects;     /* a producer's own */
    uint32_t items;       /* a producer sends */
    bool may_be_full;     /* more objects than cells */
    lq_a64 *words;        /* one an object, as a slot's */
    lq_a64 *numbers;      /* what it carries: the item's number */
    atomic_uchar *seen;   /* producers * items */
    atomic_uint left, full;
};

static void produce_(struct crowd_ *crowd, unsigned number)
{
    uint32_t sent = 0;
    for (uint32_t at = 0; sent < crowd->items; at = (at + 1) % crowd->objects) {
        uint32_t object = number * crowd->objects + at;
        uint64_t word = lq_load(&crowd->words[object]);
        if (lq_word_state(word) != FREE) {
            sched_yield();
            continue;
        }
        lq_store_relaxed(&crowd->numbers[object], sent);
        uint64_t queued = lq_word_next(word, QUEUED, number + 1, 0);
        lq_store(&crowd->words[object], queued);
        while (lq_ring_push(&crowd->ring, object, lq_word_generation(queued)) != LQ_OK) {
            CHECK(crowd->may_be_full); /* there are never more entries than cells */
            atomic_fetch_add(&crowd->full, 1);
            sched_yield();
        }
        if (crowd->may_be_full && sent % 7 == 0) /* twice, as recovery does */
            lq_ring_push(&crowd->ring, object, lq_word_generation(queued));
        sent++;
    }
}

static void consume_(struct crowd_ *crowd, unsigned number)
{
    int64_t last[8];
    for (unsigned i = 0; i < 8; i++)
        last[i] = -1;
    while (atomic_load(&crowd->left) != 0) {
        struct lq_ring_entry entry;
        if (lq_ring_peek(&crowd->ring, &entry) != LQ_OK) {
            sched_yield();
            continue;
        }
        uint64_t word = lq_load(&crowd->words[entry.index]);
        uint64_t mine = lq_word_as(word, CLAIMED, 100 + number);
        bool meant = lq_word_state(word) == QUEUED && (lq_word_generation(word) & LQ_INDEX_MASK) == entry.generation;
        if (!meant || !lq_cas(&crowd->words[entry.index], word, mine)) {
            lq_ring_advance(&crowd->ring, &entry); /* here nobody relabels, so a lost swap is a rival's */
            continue;
        }
        lq_ring_advance(&crowd->ring, &entry);
        unsigned producer = entry.index / crowd->objects;
        uint32_t item = (uint32_t)lq_load_relaxed(&crowd->numbers[entry.index]);
        if (atomic_exchange(&crowd->seen[producer * crowd->items + item], 1) != 0)
            lq_fail(__FILE__, __LINE__, "an item came twice");
        if ((int64_t)item <= last[producer])
            lq_fail(__FILE__, __LINE__, "an item came out of order");
        last[producer] = item;
        lq_store(&crowd->words[entry.index], lq_word_as(mine, FREE, LQ_NOBODY));
        atomic_fetch_sub(&crowd->left, 1);
    }
}

static void one_of_the_crowd_(void *given, unsigned number)
{
    struct crowd_ *crowd = given;
    if (number < crowd->producers)
        produce_(crowd, number);
    else
        consume_(crowd, number - crowd->producers);
}

static void run_crowd_(unsigned producers, unsigned consumers, uint32_t objects, uint32_t items)
{
    struct crowd_ crowd = {.producers = producers, .consumers = consumers, .objects = objects, .items = items};
    make_ring_(&crowd.ring, ORDER);
    crowd.may_be_full = producers * objects > CELLS;
    crowd.words = calloc(producers * objects, sizeof *crowd.words);
    crowd.numbers = calloc(producers * objects, sizeof *crowd.numbers);
    crowd.seen = calloc(producers * items, 1);
    CHECK(crowd.words != NULL && crowd.numbers != NULL && crowd.seen != NULL);
    atomic_init(&crowd.left, producers * items);
    for (uint32_t i = 0; i < producers * objects; i++)
        lq_store(&crowd.words[i], lq_word(FREE, LQ_NOBODY, 1, 0));

    in_threads(producers + consumers, one_of_the_crowd_, &crowd);

    for (uint32_t i = 0; i < producers * items; i++)
        if (atomic_load(&crowd.seen[i]) == 0)
            lq_fail(__FILE__, __LINE__, "an item was lost");
    CHECK(!crowd.may_be_full || atomic_load(&crowd.full) != 0); /* or the full ring was not tried */
    CHECK_EQ(lq_ring_check(&crowd.ring, producers * objects), LQ_OK);
    free(crowd.words);
    free(crowd.numbers);
    free((void *)crowd.seen);
}

/* ---- a signal between any two instructions, whose handler uses the ring as well ---- */

#define OWN 4u /* objects of the loop, and as many of the handler */

static struct lq_ring interrupted_;
static lq_a64 words_[2 * OWN];
static atomic_uint pushed_, taken_, full_, interruptions_;

static void push_one_(uint32_t first)
{
    for (uint32_t object = first; object < first + OWN; object++) {
        uint64_t word = lq_load(&words_[object]);
        if (lq_word_state(word) != FREE)
            continue;
        uint64_t queued = lq_word_next(word, QUEUED, 1, 0);
        lq_store(&words_[object], queued);
        if (lq_ring_push(&interrupted_, object, lq_word_generation(queued)) == LQ_OK) {
            atomic_fetch_add(&pushed_, 1);
        } else {
            atomic_fetch_add(&full_, 1);
            lq_store(&words_[object], lq_word_as(queued, FREE, LQ_NOBODY));
        }
        return;
    }
}

static void take_one_(void)
{
    struct lq_ring_entry entry;
    while (lq_ring_peek(&interrupted_, &entry) == LQ_OK) {
        uint64_t word = lq_load(&words_[entry.index]);
        bool meant = lq_word_state(word) == QUEUED && (lq_word_generation(word) & LQ_INDEX_MASK) == entry.generation;
        bool mine = meant && lq_cas(&words_[entry.index], word, lq_word_as(word, CLAIMED, 1));
        lq_ring_advance(&interrupted_, &entry);
        if (mine) {
            lq_store(&words_[entry.index], lq_word_as(word, FREE, LQ_NOBODY));
            atomic_fetch_add(&taken_, 1);
            return;
        }
    }
}

static void interrupt_(int number)
{
    (void)number;
    for (int i = 0; i < 2; i++) {
        push_one_(OWN);
        take_one_();
        take_one_();
    }
    atomic_fetch_add(&interruptions_, 1);
}

/* Two loads of one push with others' pushes and takes in between: what threads show once in an hour, and always elsewhere. */
static void ring_interrupted_between_any_two_instructions_is_never_full_nor_wrong(void)
{
    struct itimerspec often = {{0, 30000}, {0, 30000}};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct sigaction action = {.sa_handler = interrupt_};
    timer_t timer;
    make_ring_(&interrupted_, ORDER);
    for (uint32_t i = 0; i < 2 * OWN; i++)
        lq_store(&words_[i], lq_word(FREE, LQ_NOBODY, 1, 0));
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0 && timer_settime(timer, 0, &often, NULL) == 0);

    while (atomic_load(&interruptions_) < 10000) {
        push_one_(0);
        push_one_(0);
        take_one_();
        take_one_();
    }

    CHECK(timer_delete(timer) == 0);
    while (lq_ring_depth(&interrupted_) != 0)
        take_one_();
    CHECK_EQ(atomic_load(&full_), 0); /* eight objects in sixteen cells */
    CHECK_EQ(atomic_load(&pushed_), atomic_load(&taken_));
    CHECK_EQ(lq_ring_check(&interrupted_, 2 * OWN), LQ_OK);
}

#define MANY (LQ_TSAN || LQ_ASAN ? 20000u : 300000u)

static void ring_loses_doubles_and_reorders_nothing_with_1_producer_and_1_consumer(void)
{
    run_crowd_(1, 1, CELLS, MANY);
}

static void ring_loses_doubles_and_reorders_nothing_with_2_producers_and_2_consumers(void)
{
    run_crowd_(2, 2, CELLS / 2, MANY);
}

static void ring_loses_doubles_and_reorders_nothing_with_4_producers_and_3_consumers(void)
{
    run_crowd_(4, 3, CELLS / 4, MANY / 2);
}

static void ring_that_runs_full_loses_nothing_and_entries_pushed_twice_come_once(void)
{
    run_crowd_(3, 2, CELLS, MANY / 6);
}

const struct lq_case ring_cases[] = {
    RUN(ring_that_is_new_is_empty_and_sound),
    RUN(ring_gives_back_in_order_over_many_laps),
    RUN(ring_that_is_full_changes_nothing),
    RUN(ring_tail_left_behind_is_moved_by_the_next_producer),
    RUN(ring_advance_twice_moves_once),
    RUN(ring_goes_on_when_positions_and_cycles_wrap),
    RUN(ring_check_finds_what_no_operation_writes),
    RUN(ring_walk_that_is_overtaken_goes_on_where_the_rest_begins),
    RUN(ring_whose_making_was_cut_short_is_made_again),
    RUN(ring_interrupted_between_any_two_instructions_is_never_full_nor_wrong),
    RUN(ring_loses_doubles_and_reorders_nothing_with_1_producer_and_1_consumer),
    RUN(ring_loses_doubles_and_reorders_nothing_with_2_producers_and_2_consumers),
    RUN(ring_loses_doubles_and_reorders_nothing_with_4_producers_and_3_consumers),
    RUN(ring_that_runs_full_loses_nothing_and_entries_pushed_twice_come_once),
    END_OF_CASES,
};

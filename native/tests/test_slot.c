/* SPDX-License-Identifier: MIT */
#include "../lq_slot.h"

#include <stdatomic.h>

#include "lq_test.h"

#define ME 0x2003u
#define OTHER 0x2004u

static lq_a64 fresh_;

static struct lq_slots make_slots_(uint32_t count)
{
    lq_store(&fresh_, 0);
    return (struct lq_slots){shared_memory(lq_slots_size(count)), &fresh_, count};
}

static void slots_are_given_out_fresh_once_each(void)
{
    struct lq_slots slots = make_slots_(5);
    uint32_t index;
    for (uint32_t i = 0; i < 5; i++) {
        CHECK_EQ(lq_slots_take_fresh(&slots, ME, &index), LQ_OK);
        CHECK_EQ(index, i);
        CHECK_EQ(lq_load(&slots.slots[i].word), lq_word(LQ_SLOT_WRITING, ME, 1, 0));
        CHECK(lq_slots_used(&slots) > i);
        CHECK_EQ(lq_slots_check(&slots), LQ_OK);
    }
    CHECK_EQ(lq_slots_take_fresh(&slots, ME, &index), LQ_EMPTY);
    CHECK_EQ(lq_slots_used(&slots), 5);
}

static void slots_counter_left_behind_is_moved_by_the_next(void)
{
    struct lq_slots slots = make_slots_(5);
    uint32_t index;
    lq_store(&slots.slots[0].word, lq_word(LQ_SLOT_WRITING, OTHER, 1, 0)); /* claimed; then it died */
    CHECK_EQ(lq_slots_check(&slots), LQ_OK);
    CHECK_EQ(lq_slots_used(&slots), 1);

    CHECK_EQ(lq_slots_take_fresh(&slots, ME, &index), LQ_OK);

    CHECK_EQ(index, 1);
    CHECK_EQ(lq_word_label(lq_load(&slots.slots[0].word)), OTHER);
}

static void slots_free_one_is_found_wherever_the_cursor_is(void)
{
    for (uint32_t start = 0; start < 12; start++) {
        struct lq_slots slots = make_slots_(5);
        uint32_t index;
        uint32_t cursor = start;
        for (uint32_t i = 0; i < 5; i++)
            lq_slots_take_fresh(&slots, ME, &index);
        CHECK_EQ(lq_slots_take_free(&slots, ME, &cursor, &index), LQ_EMPTY);
        lq_store(&slots.slots[3].word, lq_word(LQ_SLOT_FREE, LQ_NOBODY, 9, 0));

        CHECK_EQ(lq_slots_take_free(&slots, OTHER, &cursor, &index), LQ_OK);

        CHECK_EQ(index, 3);
        CHECK_EQ(lq_load(&slots.slots[3].word), lq_word(LQ_SLOT_WRITING, OTHER, 9, 0));
        CHECK_EQ(lq_slots_take_free(&slots, OTHER, &cursor, &index), LQ_EMPTY);
    }
}

static void slots_check_finds_words_that_no_operation_writes(void)
{
    static const uint64_t bad[] = {
        10,                                    /* no such state */
        15,
        (uint64_t)ME << 8 | LQ_SLOT_CACHED,    /* settled words are nobody's */
        (uint64_t)ME << 8 | LQ_SLOT_FREE,
        (uint64_t)ME << 8 | LQ_SLOT_DELAYED,
        LQ_SLOT_WRITING,                       /* somebody must be able to finish it */
        LQ_SLOT_CLAIMED,
        LQ_SLOT_RUNNING,
        LQ_SLOT_FRESH,                         /* behind the counter */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct lq_slots slots = make_slots_(5);
        uint32_t index;
        lq_slots_take_fresh(&slots, ME, &index);
        CHECK_EQ(lq_slots_check(&slots), LQ_OK);
        lq_store(&slots.slots[0].word, bad[i]);
        CHECK_EQ(lq_slots_check(&slots), LQ_CORRUPT);
    }
    struct lq_slots slots = make_slots_(5);
    lq_store(&slots.slots[2].word, lq_word(LQ_SLOT_WRITING, ME, 1, 0));
    CHECK_EQ(lq_slots_check(&slots), LQ_CORRUPT); /* beyond the counter by more than one */
    lq_store(&slots.slots[2].word, 0);
    lq_store(&fresh_, 6);
    CHECK_EQ(lq_slots_check(&slots), LQ_CORRUPT);
}

static void slot_verdict_is_not_replaced_by_one_who_comes_late(void)
{
    struct lq_slots slots = make_slots_(1);
    struct lq_slot *slot = &slots.slots[0];
    uint64_t before = lq_word(LQ_SLOT_RUNNING, OTHER, 7, 0);
    uint64_t now = lq_word(LQ_SLOT_CANCELLED, LQ_NOBODY, 8, 0);
    lq_store(&slot->word, before);
    lq_slot_judge(slot, before, LQ_OUTCOME_CRASHED, 9);
    CHECK_EQ(lq_load(&slot->verdict), lq_verdict(7, LQ_OUTCOME_CRASHED, 9));

    lq_store(&slot->word, now);
    lq_slot_judge(slot, now, LQ_OUTCOME_CANCELLED, 0);
    lq_slot_judge(slot, before, LQ_OUTCOME_CRASHED, 9);

    CHECK_EQ(lq_load(&slot->verdict), lq_verdict(8, LQ_OUTCOME_CANCELLED, 0));
}

static void slot_verdict_is_found_again(void)
{
    uint64_t verdict = lq_verdict(0xfffffff0u, LQ_OUTCOME_CRASHED, 0x8b);
    CHECK_EQ(verdict >> 32, 0xfffffff0u);
    CHECK_EQ(lq_verdict_outcome(verdict), LQ_OUTCOME_CRASHED);
    CHECK_EQ(verdict & 0xffffu, 0x8b);
}

#define ROOM 20000u

static struct lq_slots crowded_;
static atomic_uchar taken_[ROOM];

static void take_fresh_ones_(void *unused, unsigned number)
{
    uint32_t index;
    (void)unused;
    while (lq_slots_take_fresh(&crowded_, lq_label_of(number + 1, 0), &index) == LQ_OK) {
        CHECK(atomic_exchange(&taken_[index], 1) == 0);
        CHECK_EQ(lq_word_label(lq_load(&crowded_.slots[index].word)), lq_label_of(number + 1, 0));
        CHECK(lq_slots_used(&crowded_) > index); /* or recovery would not look so far */
    }
}

static void slots_fresh_ones_go_to_one_each_among_threads(void)
{
    crowded_ = make_slots_(ROOM);
    in_threads(4, take_fresh_ones_, NULL);
    for (uint32_t i = 0; i < ROOM; i++)
        CHECK(atomic_load(&taken_[i]) == 1);
    CHECK_EQ(lq_slots_check(&crowded_), LQ_OK);
}

static void take_and_free_(void *unused, unsigned number)
{
    uint32_t cursor = number;
    lq_label me = lq_label_of(number + 1, 0);
    (void)unused;
    for (uint32_t i = 0; i < ROOM; i++) {
        uint32_t index;
        if (lq_slots_take_free(&crowded_, me, &cursor, &index) != LQ_OK)
            continue;
        CHECK(atomic_exchange(&taken_[index], 1) == 0);
        uint64_t word = lq_load(&crowded_.slots[index].word);
        CHECK_EQ(lq_word_label(word), me);
        atomic_store(&taken_[index], 0);
        lq_store(&crowded_.slots[index].word, lq_word_next(word, LQ_SLOT_FREE, LQ_NOBODY, 0));
    }
}

static void slots_free_ones_go_to_one_at_a_time_among_threads(void)
{
    uint32_t index;
    crowded_ = make_slots_(3);
    for (uint32_t i = 0; i < 3; i++) {
        lq_slots_take_fresh(&crowded_, ME, &index);
        lq_store(&crowded_.slots[i].word, lq_word(LQ_SLOT_FREE, LQ_NOBODY, 1, 0));
    }
    in_threads(4, take_and_free_, NULL);
    CHECK_EQ(lq_slots_check(&crowded_), LQ_OK);
}

const struct lq_case slot_cases[] = {
    RUN(slots_are_given_out_fresh_once_each),
    RUN(slots_counter_left_behind_is_moved_by_the_next),
    RUN(slots_free_one_is_found_wherever_the_cursor_is),
    RUN(slots_check_finds_words_that_no_operation_writes),
    RUN(slot_verdict_is_found_again),
    RUN(slot_verdict_is_not_replaced_by_one_who_comes_late),
    RUN(slots_fresh_ones_go_to_one_each_among_threads),
    RUN(slots_free_ones_go_to_one_at_a_time_among_threads),
    END_OF_CASES,
};

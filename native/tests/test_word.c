/* SPDX-License-Identifier: MIT */
#include "../lq_word.h"
#include "lq_test.h"

static void word_gives_back_what_was_put_in(void)
{
    uint32_t seed = 1;
    for (int i = 0; i < 10000; i++) {
        uint32_t state = next_random(&seed) & 15u;
        uint32_t aux = next_random(&seed) & 15u;
        uint32_t generation = next_random(&seed);
        lq_label label = next_random(&seed) & 0xffffffu;

        uint64_t word = lq_word(state, label, generation, aux);

        CHECK_EQ(lq_word_state(word), state);
        CHECK_EQ(lq_word_aux(word), aux);
        CHECK_EQ(lq_word_label(word), label);
        CHECK_EQ(lq_word_generation(word), generation);
    }
}

static void word_fields_that_are_too_wide_touch_no_other(void)
{
    uint64_t word = lq_word(0xffffffffu, 0xffffffffu, 0, 0xffffffffu);

    CHECK_EQ(lq_word_generation(word), 0);
    CHECK_EQ(lq_word_label(word), 0xffffffu);
    CHECK_EQ(lq_word_aux(word), 15);
    CHECK_EQ(lq_word_state(word), 15);
}

static void word_as_keeps_generation_and_aux(void)
{
    uint64_t word = lq_word_as(lq_word(3, 77, 0xfffffffeu, 9), 5, 78);

    CHECK_EQ(word, lq_word(5, 78, 0xfffffffeu, 9));
}

static void word_next_is_one_generation_later_and_wraps(void)
{
    CHECK_EQ(lq_word_next(lq_word(3, 77, 41, 9), 5, 78, 2), lq_word(5, 78, 42, 2));
    CHECK_EQ(lq_word_generation(lq_word_next(lq_word(3, 77, 0xffffffffu, 9), 5, 78, 2)), 0);
}

static void word_label_is_row_and_incarnation(void)
{
    lq_label label = lq_label_of(255, 0x1fff);

    CHECK_EQ(lq_label_row(label), 255);
    CHECK_EQ(lq_label_incarnation(label), 0xfff); /* twelve bits of it */
    CHECK(lq_label_of(1, 0) != LQ_NOBODY);
}

const struct lq_case word_cases[] = {
    RUN(word_gives_back_what_was_put_in),
    RUN(word_fields_that_are_too_wide_touch_no_other),
    RUN(word_as_keeps_generation_and_aux),
    RUN(word_next_is_one_generation_later_and_wraps),
    RUN(word_label_is_row_and_incarnation),
    END_OF_CASES,
};

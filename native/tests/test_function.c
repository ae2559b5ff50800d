/* SPDX-License-Identifier: MIT */
#include "../lq_function.h"

#include "lq_test.h"

#define ME 0x1005u
#define DEAD 0x1006u

static lq_a64 used_;

static struct lq_functions make_functions_(void)
{
    lq_store(&used_, 0);
    return (struct lq_functions){shared_memory(lq_functions_size()), &used_};
}

static void function_goes_from_free_over_writing_and_live_to_free(void)
{
    struct lq_functions functions = make_functions_();
    uint32_t cursor = 0;
    uint32_t row;
    CHECK_EQ(lq_functions_take(&functions, ME, &cursor, &row), LQ_OK);
    CHECK_EQ(lq_load(&functions.rows[row].word), lq_word(LQ_FUNCTION_WRITING, ME, 0, 0));

    CHECK_EQ(lq_functions_publish(&functions, ME, row), 0);
    CHECK_EQ(lq_load(&functions.rows[row].word), lq_word(LQ_FUNCTION_LIVE, ME, 0, 0));
    lq_functions_release(&functions, ME, row);

    CHECK_EQ(lq_load(&functions.rows[row].word), lq_word(LQ_FUNCTION_FREE, LQ_NOBODY, 1, 0));
    lq_functions_release(&functions, ME, row); /* again: nothing */
    CHECK_EQ(lq_word_generation(lq_load(&functions.rows[row].word)), 1);
    CHECK_EQ(lq_functions_check(&functions), LQ_OK);
}

static void function_of_another_is_not_released(void)
{
    struct lq_functions functions = make_functions_();
    uint32_t cursor = 0;
    uint32_t row;
    lq_functions_take(&functions, ME, &cursor, &row);
    lq_functions_publish(&functions, ME, row);

    lq_functions_release(&functions, DEAD, row);

    CHECK_EQ(lq_word_state(lq_load(&functions.rows[row].word)), LQ_FUNCTION_LIVE);
}

static void function_table_that_is_full_says_so_and_a_free_row_is_found_again(void)
{
    struct lq_functions functions = make_functions_();
    uint32_t cursor = 0;
    uint32_t row;
    for (uint32_t i = 0; i < LQ_FUNCTIONS; i++) {
        CHECK_EQ(lq_functions_take(&functions, ME, &cursor, &row), LQ_OK);
        CHECK_EQ(row, i);
        CHECK(lq_functions_end(&functions) > row);
    }
    CHECK_EQ(lq_functions_take(&functions, ME, &cursor, &row), LQ_FULL);
    lq_functions_release(&functions, ME, 17);

    CHECK_EQ(lq_functions_take(&functions, ME, &cursor, &row), LQ_OK);
    CHECK_EQ(row, 17);
}

static void function_recovery_frees_what_was_written_and_keeps_what_was_published(void)
{
    struct lq_functions functions = make_functions_();
    uint32_t cursor = 0;
    uint32_t live;
    uint32_t writing;
    uint32_t other;
    lq_functions_take(&functions, DEAD, &cursor, &live);
    lq_functions_publish(&functions, DEAD, live);
    lq_functions_take(&functions, DEAD, &cursor, &writing);
    lq_functions_take(&functions, ME, &cursor, &other);

    CHECK_EQ(lq_functions_recover(&functions, DEAD), 2);
    CHECK_EQ(lq_functions_recover(&functions, DEAD), 0);

    CHECK_EQ(lq_load(&functions.rows[live].word), lq_word(LQ_FUNCTION_LIVE, LQ_NOBODY, 0, 0));
    CHECK_EQ(lq_load(&functions.rows[writing].word), lq_word(LQ_FUNCTION_FREE, LQ_NOBODY, 1, 0));
    CHECK_EQ(lq_word_label(lq_load(&functions.rows[other].word)), ME);
    CHECK_EQ(lq_functions_check(&functions), LQ_OK);
}

static void function_check_finds_what_no_operation_writes(void)
{
    struct lq_functions functions = make_functions_();
    lq_store(&functions.rows[0].word, 3);
    CHECK_EQ(lq_functions_check(&functions), LQ_CORRUPT);
    lq_store(&functions.rows[0].word, LQ_FUNCTION_WRITING);
    CHECK_EQ(lq_functions_check(&functions), LQ_CORRUPT);
    lq_store(&functions.rows[0].word, lq_word(LQ_FUNCTION_FREE, ME, 0, 0));
    CHECK_EQ(lq_functions_check(&functions), LQ_CORRUPT);
    lq_store(&functions.rows[0].word, lq_word(LQ_FUNCTION_LIVE, ME, 0, 0));
    functions.rows[0].bytes = LQ_FUNCTION_INLINE + 1; /* without a block */
    CHECK_EQ(lq_functions_check(&functions), LQ_CORRUPT);
}

static lq_a32 owner_[LQ_FUNCTIONS];

static void publish_and_release_(void *given, unsigned number)
{
    struct lq_functions *functions = given;
    lq_label me = lq_label_of(number + 1, 0);
    uint32_t cursor = 0;
    for (int i = 0; i < 2000; i++) {
        uint32_t row;
        CHECK_EQ(lq_functions_take(functions, me, &cursor, &row), LQ_OK);
        CHECK(lq_functions_end(functions) > row);
        CHECK_EQ(lq_swap32_seq(&owner_[row], number + 1), 0);
        lq_functions_publish(functions, me, row);
        CHECK_EQ(lq_swap32_seq(&owner_[row], 0), number + 1);
        lq_functions_release(functions, me, row);
        cursor = 0; /* so that all want the same row */
    }
}

static void function_rows_belong_to_one_at_a_time_among_threads(void)
{
    struct lq_functions functions = make_functions_();
    in_threads(4, publish_and_release_, &functions);
    CHECK_EQ(lq_functions_check(&functions), LQ_OK);
}

const struct lq_case function_cases[] = {
    RUN(function_goes_from_free_over_writing_and_live_to_free),
    RUN(function_of_another_is_not_released),
    RUN(function_table_that_is_full_says_so_and_a_free_row_is_found_again),
    RUN(function_recovery_frees_what_was_written_and_keeps_what_was_published),
    RUN(function_check_finds_what_no_operation_writes),
    RUN(function_rows_belong_to_one_at_a_time_among_threads),
    END_OF_CASES,
};

/* SPDX-License-Identifier: MIT */
#include "../lq_roster.h"

#include "lq_test.h"

static struct lq_roster make_roster_(void)
{
    return (struct lq_roster){shared_memory(lq_roster_size())};
}

static void roster_rows_are_given_out_once_and_never_row_0(void)
{
    struct lq_roster roster = make_roster_();
    bool seen[LQ_ROWS] = {false};
    lq_label label;
    for (uint32_t i = 1; i < LQ_ROWS; i++) {
        CHECK_EQ(lq_roster_join(&roster, LQ_ROLE_WORKER, i, &label), LQ_OK);
        uint32_t row = lq_label_row(label);
        CHECK(row != 0 && row < LQ_ROWS && !seen[row]);
        seen[row] = true;
        CHECK(lq_roster_is_live(&roster, label));
        CHECK_EQ(lq_row_pid(lq_roster_row(&roster, label)), i);
        CHECK_EQ(lq_word_aux(lq_load(&lq_roster_row(&roster, label)->word)), LQ_ROLE_WORKER);
    }
    CHECK_EQ(lq_roster_join(&roster, LQ_ROLE_CLIENT, 1, &label), LQ_FULL);
    CHECK_EQ(lq_roster_check(&roster), LQ_OK);
}

static void roster_row_is_used_again_under_the_next_incarnation(void)
{
    struct lq_roster roster = make_roster_();
    lq_label first;
    lq_label second;
    lq_roster_join(&roster, LQ_ROLE_CLIENT, 1, &first);
    lq_roster_bury(&roster, first);
    CHECK_EQ(lq_roster_state(&roster, first), LQ_ROW_DEAD);
    lq_roster_release(&roster, first);
    CHECK_EQ(lq_roster_state(&roster, first), LQ_ROW_FREE);

    CHECK_EQ(lq_roster_join(&roster, LQ_ROLE_WORKER, 2, &second), LQ_OK);

    CHECK_EQ(lq_label_row(second), lq_label_row(first));
    CHECK(second != first);
    CHECK(!lq_roster_is_live(&roster, first));
    CHECK(lq_roster_is_live(&roster, second));
}

static void roster_burying_or_releasing_out_of_turn_changes_nothing(void)
{
    struct lq_roster roster = make_roster_();
    lq_label old;
    lq_label now;
    lq_roster_join(&roster, LQ_ROLE_CLIENT, 1, &old);
    lq_roster_release(&roster, old); /* alive */
    CHECK(lq_roster_is_live(&roster, old));
    lq_roster_bury(&roster, old);
    lq_roster_bury(&roster, old);
    CHECK_EQ(lq_roster_state(&roster, old), LQ_ROW_DEAD);
    lq_roster_release(&roster, old);
    lq_roster_join(&roster, LQ_ROLE_CLIENT, 1, &now);

    lq_roster_bury(&roster, old); /* long gone: the row is another's */
    lq_roster_release(&roster, old);
    lq_roster_bury(&roster, LQ_NOBODY);

    CHECK(lq_roster_is_live(&roster, now));
    CHECK_EQ(lq_roster_state(&roster, LQ_NOBODY), LQ_ROW_FREE);
    CHECK_EQ(lq_roster_check(&roster), LQ_OK);
}

static void roster_row_begins_clean_but_for_its_tracks(void)
{
    struct lq_roster roster = make_roster_();
    lq_label label;
    lq_roster_join(&roster, LQ_ROLE_WORKER, 1, &label);
    struct lq_row *row = lq_roster_row(&roster, label);
    lq_store_relaxed(&row->tracks.parked, 5);
    lq_store_relaxed(&row->tracks.journal_end, 7);
    lq_store32(&row->tracks.metered, 1);
    lq_store32(&row->missed, 1);
    lq_store32(&row->wanted, 9);
    lq_roster_bury(&roster, label);
    lq_roster_release(&roster, label);

    lq_roster_join(&roster, LQ_ROLE_CLIENT, 1, &label);

    row = lq_roster_row(&roster, label);
    CHECK_EQ(lq_load_relaxed(&row->tracks.parked), 0);
    CHECK_EQ(lq_load_relaxed(&row->tracks.task), UINT64_MAX);
    CHECK_EQ(lq_load_relaxed(&row->tracks.journal_end), 7); /* no number is given twice */
    CHECK_EQ(lq_load32(&row->tracks.metered), 1);
    CHECK_EQ(lq_load32(&row->missed), 0);
    CHECK_EQ(lq_load32(&row->wanted), 0);
    CHECK_EQ(row->ready, 0);
}

static void roster_pid_is_told_once_by_whoever_is_first_and_stays_until_release(void)
{
    struct lq_roster roster = make_roster_();
    lq_label label;
    lq_roster_join(&roster, LQ_ROLE_WORKER, 0, &label);
    struct lq_row *row = lq_roster_row(&roster, label);
    CHECK_EQ(lq_row_pid(row), 0);
    CHECK(lq_roster_sign_in(&roster, label, 77, 0)); /* the parent, after its fork */
    CHECK_EQ(lq_row_pid(row), 77);
    CHECK_EQ(lq_row_started(row), 0);
    CHECK(lq_roster_sign_in(&roster, label, 77, 123456)); /* the child itself, which knows when it began */
    CHECK_EQ(lq_row_started(row), 123456);
    CHECK(!lq_roster_sign_in(&roster, label, 78, 1)); /* somebody else */
    CHECK_EQ(lq_row_pid(row), 77);
    lq_roster_bury(&roster, label);
    CHECK_EQ(lq_row_pid(row), 77);
    lq_roster_release(&roster, label);
    CHECK_EQ(lq_row_pid(row), 0);
    CHECK_EQ(lq_roster_check(&roster), LQ_OK);
}

static void roster_child_that_wakes_up_after_its_row_was_given_away_signs_nothing(void)
{
    struct lq_roster roster = make_roster_();
    lq_label late;
    lq_label now;
    lq_roster_join(&roster, LQ_ROLE_WORKER, 0, &late);
    lq_roster_bury(&roster, late);
    CHECK(!lq_roster_sign_in(&roster, late, 77, 1));
    lq_roster_release(&roster, late);
    lq_roster_join(&roster, LQ_ROLE_WORKER, 0, &now);
    CHECK_EQ(lq_label_row(now), lq_label_row(late));
    CHECK(!lq_roster_sign_in(&roster, late, 77, 1));
    CHECK_EQ(lq_row_pid(lq_roster_row(&roster, now)), 0);
    lq_roster_sign_in(&roster, now, 78, 5);
    CHECK_EQ(lq_row_started(lq_roster_row(&roster, now)), 5);
    lq_roster_bury(&roster, now);
    lq_roster_release(&roster, now);
    lq_roster_join(&roster, LQ_ROLE_WORKER, 79, &now);
    CHECK_EQ(lq_row_started(lq_roster_row(&roster, now)), 0); /* what an earlier one told is not this one's */
}

static void roster_only_a_living_spare_is_promoted_and_only_once(void)
{
    struct lq_roster roster = make_roster_();
    lq_label spare;
    lq_label other;
    lq_label dead;
    lq_roster_join(&roster, LQ_ROLE_SPARE, 0, &spare);
    lq_roster_join(&roster, LQ_ROLE_CLIENT, 7, &other);
    lq_roster_join(&roster, LQ_ROLE_SPARE, 8, &dead);
    lq_roster_bury(&roster, dead);
    CHECK_EQ(lq_roster_check(&roster), LQ_OK);
    CHECK(!lq_roster_promote(&roster, spare)); /* whose death could be proven? */
    lq_roster_sign_in(&roster, spare, 77, 5);

    CHECK(lq_roster_promote(&roster, spare));

    uint64_t word = lq_load(&lq_roster_row(&roster, spare)->word);
    CHECK_EQ(lq_word_aux(word), LQ_ROLE_WORKER);
    CHECK(lq_roster_is_live(&roster, spare));
    CHECK_EQ(lq_row_pid(lq_roster_row(&roster, spare)), 77);
    CHECK_EQ(lq_row_started(lq_roster_row(&roster, spare)), 5);
    CHECK(!lq_roster_promote(&roster, spare));
    CHECK(!lq_roster_promote(&roster, other));
    CHECK(!lq_roster_promote(&roster, dead));
    CHECK(!lq_roster_promote(&roster, LQ_NOBODY));
    lq_roster_release(&roster, dead);
    lq_roster_join(&roster, LQ_ROLE_SPARE, 9, &other);
    CHECK_EQ(lq_label_row(other), lq_label_row(dead));
    CHECK(!lq_roster_promote(&roster, dead)); /* the row is another's */
}

static void roster_incarnation_wraps_after_4096_without_becoming_nobody(void)
{
    struct lq_roster roster = make_roster_();
    lq_label label = LQ_NOBODY;
    lq_label before;
    for (uint32_t i = 0; i < 5000; i++) {
        before = label;
        CHECK_EQ(lq_roster_join(&roster, LQ_ROLE_WORKER, 1, &label), LQ_OK);
        CHECK(label != LQ_NOBODY && label != before && lq_roster_is_live(&roster, label));
        CHECK(!lq_roster_is_live(&roster, before));
        lq_roster_bury(&roster, label);
        lq_roster_release(&roster, label);
    }
}

static void roster_check_finds_what_no_operation_writes(void)
{
    struct lq_roster roster = make_roster_();
    lq_store(&roster.rows[0].word, 1);
    CHECK_EQ(lq_roster_check(&roster), LQ_CORRUPT);
    lq_store(&roster.rows[0].word, 0);
    lq_store(&roster.rows[7].word, 3);
    CHECK_EQ(lq_roster_check(&roster), LQ_CORRUPT);
    lq_store(&roster.rows[7].word, lq_word(LQ_ROW_FREE, 5, 0, 0)); /* a pid where there is no process */
    CHECK_EQ(lq_roster_check(&roster), LQ_CORRUPT);
    lq_store(&roster.rows[7].word, lq_word(LQ_ROW_LIVE, 0, 0, 7));
    CHECK_EQ(lq_roster_check(&roster), LQ_CORRUPT);
}

static lq_a32 owner_[LQ_ROWS];

static void come_and_go_(void *given, unsigned number)
{
    struct lq_roster *roster = given;
    for (int i = 0; i < 2000; i++) {
        lq_label label;
        CHECK_EQ(lq_roster_join(roster, LQ_ROLE_WORKER, number, &label), LQ_OK);
        CHECK_EQ(lq_swap32_seq(&owner_[lq_label_row(label)], number + 1), 0);
        CHECK(lq_roster_is_live(roster, label));
        CHECK_EQ(lq_swap32_seq(&owner_[lq_label_row(label)], 0), number + 1);
        lq_roster_bury(roster, label);
        lq_roster_release(roster, label);
    }
}

static void roster_rows_belong_to_one_at_a_time_among_threads(void)
{
    struct lq_roster roster = make_roster_();
    in_threads(4, come_and_go_, &roster);
    CHECK_EQ(lq_roster_check(&roster), LQ_OK);
}

const struct lq_case roster_cases[] = {
    RUN(roster_rows_are_given_out_once_and_never_row_0),
    RUN(roster_row_is_used_again_under_the_next_incarnation),
    RUN(roster_burying_or_releasing_out_of_turn_changes_nothing),
    RUN(roster_row_begins_clean_but_for_its_tracks),
    RUN(roster_pid_is_told_once_by_whoever_is_first_and_stays_until_release),
    RUN(roster_child_that_wakes_up_after_its_row_was_given_away_signs_nothing),
    RUN(roster_only_a_living_spare_is_promoted_and_only_once),
    RUN(roster_incarnation_wraps_after_4096_without_becoming_nobody),
    RUN(roster_check_finds_what_no_operation_writes),
    RUN(roster_rows_belong_to_one_at_a_time_among_threads),
    END_OF_CASES,
};

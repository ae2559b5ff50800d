/* SPDX-License-Identifier: MIT */
#include "lq_roster.h"

size_t lq_roster_size(void)
{
    return sizeof(struct lq_row) * LQ_ROWS;
}

enum lq_status lq_roster_join(const struct lq_roster *roster, enum lq_role role, uint32_t pid, lq_label *label)
{
    for (uint32_t index = 1; index < LQ_ROWS; index++) {
        struct lq_row *row = &roster->rows[index];
        uint64_t word = lq_load(&row->word);
        if (lq_word_state(word) != LQ_ROW_FREE)
            continue;
        if (!lq_cas(&row->word, word, lq_word(LQ_ROW_LIVE, pid, lq_word_generation(word), (uint32_t)role)))
            continue; /* somebody else joined here */
        LQ_FAULT("roster_join:taken");
        LQ_PUT(row->ready, 0);
        LQ_PUT(row->joined_ns, (uint64_t)lq_now_ns());
        lq_store32(&row->wanted, 0);
        lq_store32(&row->missed, 0);
        lq_store_relaxed(&row->tracks.parked, 0);
        lq_store_relaxed(&row->tracks.task_since_ns, 0);
        lq_store_relaxed(&row->tracks.task, ~0ull);
        *label = lq_label_of(index, lq_word_generation(word));
        return LQ_OK;
    }
    return LQ_FULL;
}

bool lq_roster_sign_in(const struct lq_roster *roster, lq_label label, uint32_t pid, uint64_t started)
{
    struct lq_row *row = lq_roster_row(roster, label);
    uint64_t word = lq_load(&row->word);
    if (lq_word_label(word) == 0 && lq_row_is(word, label, LQ_ROW_LIVE)) {
        lq_cas(&row->word, word, lq_word_as(word, LQ_ROW_LIVE, pid)); /* fails: parent and child both tell it */
        LQ_FAULT("roster_sign_in:told");
        word = lq_load(&row->word);
    }
    if (!lq_row_is(word, label, LQ_ROW_LIVE) || lq_word_label(word) != pid)
        return false;
    if (started != 0)
        lq_store(&row->origin, (uint64_t)lq_label_incarnation(label) << 52 | (started & ((1ull << 52) - 1)));
    return true;
}

bool lq_roster_promote(const struct lq_roster *roster, lq_label label)
{
    struct lq_row *row = lq_roster_row(roster, label);
    uint64_t word = lq_load(&row->word);
    return lq_row_is(word, label, LQ_ROW_LIVE) && lq_word_aux(word) == LQ_ROLE_SPARE && lq_word_label(word) != 0 &&
           lq_cas(&row->word, word, lq_word(LQ_ROW_LIVE, lq_word_label(word), lq_word_generation(word), LQ_ROLE_WORKER));
}

void lq_roster_bury(const struct lq_roster *roster, lq_label label)
{
    struct lq_row *row = lq_roster_row(roster, label);
    uint64_t word = lq_load(&row->word);
    if (!lq_row_is(word, label, LQ_ROW_LIVE))
        return;
    if (!lq_cas(&row->word, word, lq_word_as(word, LQ_ROW_DEAD, lq_word_label(word))))
        lq_roster_bury(roster, label); /* it told its pid just before it died: once more */
}

bool lq_roster_bury_unsigned(const struct lq_roster *roster, lq_label label)
{
    struct lq_row *row = lq_roster_row(roster, label);
    uint64_t word = lq_load(&row->word);
    return lq_row_is(word, label, LQ_ROW_LIVE) && lq_word_label(word) == 0 &&
           lq_cas(&row->word, word, lq_word_as(word, LQ_ROW_DEAD, 0));
}

void lq_roster_release(const struct lq_roster *roster, lq_label label)
{
    struct lq_row *row = lq_roster_row(roster, label);
    uint64_t word = lq_load(&row->word);
    if (lq_row_is(word, label, LQ_ROW_DEAD))
        lq_cas(&row->word, word, lq_word_next(word, LQ_ROW_FREE, LQ_NOBODY, LQ_ROLE_NONE));
}

enum lq_status lq_roster_check(const struct lq_roster *roster)
{
    for (uint32_t index = 0; index < LQ_ROWS; index++) {
        uint64_t word = lq_load(&roster->rows[index].word);
        if (lq_word_state(word) > LQ_ROW_DEAD || lq_word_aux(word) > LQ_ROLE_SPARE ||
            (lq_word_state(word) == LQ_ROW_FREE && lq_word_label(word) != LQ_NOBODY))
            return LQ_CORRUPT;
        if (index == 0 && word != 0)
            return LQ_CORRUPT;
    }
    return LQ_OK;
}

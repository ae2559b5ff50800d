/* SPDX-License-Identifier: MIT */
#include "lq_report.h"

#include <string.h>

size_t lq_reports_size(void)
{
    return sizeof(struct lq_report) * LQ_REPORTS;
}

/* Never used before used, the oldest afterwards. Reads 64 words; only somebody's death is as rare. */
static uint32_t oldest_(const struct lq_reports *reports, uint64_t *seen)
{
    uint32_t oldest = 0;
    uint32_t least = UINT32_MAX;
    for (uint32_t number = 1; number < LQ_REPORTS; number++) {
        uint64_t word = lq_load(&reports->reports[number].word);
        if (lq_word_state(word) == LQ_REPORT_WRITING || lq_word_generation(word) >= least)
            continue;
        least = lq_word_generation(word);
        oldest = number;
        *seen = word;
    }
    return oldest;
}

/*
 * Callers:  any number of processes at once.
 * Progress: lock-free; rounds through all numbers, because each write raises a generation.
 * Death:    WRITING(me): the number is lost until lq_reports_recover.
 */
uint32_t lq_reports_write(const struct lq_reports *reports, lq_label me, const struct lq_report *facts)
{
    uint64_t word = 0;
    uint32_t number;
    do {
        number = oldest_(reports, &word);
        if (number == 0)
            return 0;
    } while (!lq_cas(&reports->reports[number].word, word, lq_word_next(word, LQ_REPORT_WRITING, me, 0)));
    LQ_FAULT("reports_write:claimed");
    struct lq_report *report = &reports->reports[number];
    lq_order_stores(); /* readers must see the claim before anything of the new text */
    LQ_PUT(report->pid, facts->pid);
    LQ_PUT(report->wait_status, facts->wait_status);
    LQ_PUT(report->peak_bytes, facts->peak_bytes);
    LQ_PUT(report->reason, facts->reason);
    LQ_PUT(report->text_bytes, facts->text_bytes < LQ_REPORT_TEXT ? facts->text_bytes : LQ_REPORT_TEXT);
    lq_copy_relaxed(report->text, facts->text, sizeof report->text);
    lq_store(&report->word, lq_word(LQ_REPORT_LIVE, LQ_NOBODY, lq_word_generation(word) + 1, 0));
    LQ_FAULT("reports_write:told");
    return number;
}

enum lq_status lq_reports_read(const struct lq_reports *reports, uint32_t number, uint32_t pid, struct lq_report *copy)
{
    if (number == 0 || number >= LQ_REPORTS)
        return LQ_MISSING;
    const struct lq_report *report = &reports->reports[number];
    uint64_t word = lq_load(&report->word);
    if (lq_word_state(word) != LQ_REPORT_LIVE)
        return LQ_MISSING;
    lq_copy_relaxed(copy, report, sizeof *copy);
    lq_order_loads();
    if (lq_load_seq(&report->word) != word || copy->pid != pid || copy->text_bytes > LQ_REPORT_TEXT)
        return LQ_MISSING;
    return LQ_OK;
}

uint32_t lq_reports_recover(const struct lq_reports *reports, lq_label dead)
{
    uint32_t found = 0;
    for (uint32_t number = 1; number < LQ_REPORTS; number++) {
        struct lq_report *report = &reports->reports[number];
        uint64_t word = lq_load(&report->word);
        if (lq_word_label(word) != dead)
            continue;
        found++;
        lq_cas(&report->word, word, lq_word_next(word, LQ_REPORT_FREE, LQ_NOBODY, 0));
        LQ_FAULT("reports_recover:freed");
    }
    return found;
}

enum lq_status lq_reports_check(const struct lq_reports *reports)
{
    for (uint32_t number = 0; number < LQ_REPORTS; number++) {
        uint64_t word = lq_load(&reports->reports[number].word);
        bool labelled = lq_word_label(word) != LQ_NOBODY;
        if (lq_word_state(word) > LQ_REPORT_LIVE || labelled != (lq_word_state(word) == LQ_REPORT_WRITING) || (number == 0 && word != 0))
            return LQ_CORRUPT;
    }
    return LQ_OK;
}

/* SPDX-License-Identifier: MIT */
#include "../lq_report.h"

#include "lq_test.h"

#define ME lq_label_of(3, 1)

static struct lq_reports make_reports_(void)
{
    return (struct lq_reports){shared_memory(lq_reports_size())};
}

static uint32_t write_(const struct lq_reports *reports, uint32_t pid)
{
    struct lq_report facts = {.pid = pid, .wait_status = 11, .peak_bytes = pid * 100ull, .reason = LQ_REASON_OUT_OF_MEMORY, .text_bytes = 5};
    memset(facts.text, (int)pid, sizeof facts.text);
    return lq_reports_write(reports, ME, &facts);
}

static void report_is_read_as_it_was_written_and_only_for_its_process(void)
{
    struct lq_reports reports = make_reports_();
    struct lq_report copy;
    uint32_t number = write_(&reports, 7);
    CHECK(number != 0 && number < LQ_REPORTS);
    CHECK_EQ(lq_reports_read(&reports, number, 7, &copy), LQ_OK);
    CHECK(copy.wait_status == 11 && copy.peak_bytes == 700 && copy.reason == LQ_REASON_OUT_OF_MEMORY && copy.text_bytes == 5 && copy.text[4] == 7);
    CHECK_EQ(lq_reports_read(&reports, number, 8, &copy), LQ_MISSING);
    CHECK_EQ(lq_reports_read(&reports, number + 1, 7, &copy), LQ_MISSING);
    CHECK_EQ(lq_reports_read(&reports, 0, 7, &copy), LQ_MISSING);
    CHECK_EQ(lq_reports_read(&reports, 9999, 7, &copy), LQ_MISSING);
    CHECK_EQ(lq_reports_check(&reports), LQ_OK);
}

static void report_that_is_oldest_gives_way(void)
{
    struct lq_reports reports = make_reports_();
    struct lq_report copy;
    uint32_t numbers[200];
    for (uint32_t i = 0; i < 200; i++)
        numbers[i] = write_(&reports, i + 1);
    for (uint32_t i = 0; i < 200; i++) /* one number is never used: 0 */
        CHECK_EQ(lq_reports_read(&reports, numbers[i], i + 1, &copy), i + LQ_REPORTS - 1 >= 200 ? LQ_OK : LQ_MISSING);
}

static void report_of_a_writer_that_died_is_given_back(void)
{
    struct lq_reports reports = make_reports_();
    struct lq_report copy;
    uint32_t number = write_(&reports, 7);
    uint64_t word = lq_load(&reports.reports[number].word);
    lq_store(&reports.reports[number].word, lq_word_next(word, LQ_REPORT_WRITING, ME, 0)); /* died right after the claim */
    CHECK_EQ(lq_reports_read(&reports, number, 7, &copy), LQ_MISSING);
    CHECK_EQ(lq_reports_recover(&reports, lq_label_of(4, 1)), 0);
    CHECK_EQ(lq_reports_recover(&reports, ME), 1);
    CHECK_EQ(lq_reports_recover(&reports, ME), 0);
    CHECK_EQ(lq_reports_read(&reports, number, 7, &copy), LQ_MISSING);
    CHECK_EQ(lq_reports_check(&reports), LQ_OK);
}

static void report_check_finds_what_no_operation_writes(void)
{
    struct lq_reports reports = make_reports_();
    lq_store(&reports.reports[5].word, 3);
    CHECK_EQ(lq_reports_check(&reports), LQ_CORRUPT);
    lq_store(&reports.reports[5].word, lq_word(LQ_REPORT_WRITING, LQ_NOBODY, 1, 0));
    CHECK_EQ(lq_reports_check(&reports), LQ_CORRUPT);
    lq_store(&reports.reports[5].word, lq_word(LQ_REPORT_LIVE, ME, 1, 0));
    CHECK_EQ(lq_reports_check(&reports), LQ_CORRUPT);
}

static void write_and_read_(void *given, unsigned number)
{
    const struct lq_reports *reports = given;
    struct lq_report copy;
    for (uint32_t i = 0; i < 3000; i++) {
        uint32_t pid = 1 + number + 4 * (i % 50);
        uint32_t at = write_(reports, pid);
        CHECK(at != 0);
        for (uint32_t other = 1; other < LQ_REPORTS; other += 9)
            if (lq_reports_read(reports, other, pid, &copy) == LQ_OK)
                CHECK(copy.peak_bytes == pid * 100ull && copy.text[0] == (unsigned char)pid && copy.text[LQ_REPORT_TEXT - 1] == (unsigned char)pid);
    }
}

static void report_is_never_a_mixture_of_two(void)
{
    struct lq_reports reports = make_reports_();
    in_threads(4, write_and_read_, &reports);
    CHECK_EQ(lq_reports_check(&reports), LQ_OK);
}

const struct lq_case report_cases[] = {
    RUN(report_is_read_as_it_was_written_and_only_for_its_process),
    RUN(report_that_is_oldest_gives_way),
    RUN(report_of_a_writer_that_died_is_given_back),
    RUN(report_check_finds_what_no_operation_writes),
    RUN(report_is_never_a_mixture_of_two),
    END_OF_CASES,
};

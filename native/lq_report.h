/* SPDX-License-Identifier: MIT */
#ifndef LQ_REPORT_H
#define LQ_REPORT_H
/*
 * Reports: what is known of processes that died in a task, for people. Written by whoever buries one, before it recovers;
 * the verdict of the task names the report's number. A ring of so many: the oldest gives way, and its readers see that by
 * the pid. Losing one costs a sentence in an error, never a task.
 *
 *   FREE or LIVE, settled --write--> WRITING(writer) --> LIVE, settled, generation + 1
 */
#include "lq_fault.h"
#include "lq_status.h"
#include "lq_word.h"

#define LQ_REPORTS 64u /* number 0 means none */
#define LQ_REPORT_TEXT 4056u

#define LQ_REASON_OUT_OF_MEMORY 1u /* the kernel killed it, because its control group had no memory left */

enum lq_report_state { LQ_REPORT_FREE = 0, LQ_REPORT_WRITING = 1, LQ_REPORT_LIVE = 2 };

struct lq_report {
    lq_a64 word;
    uint32_t pid;
    uint32_t wait_status;
    uint64_t peak_bytes;   /* most memory it ever had resident; 0: not known */
    uint64_t reason;       /* LQ_REASON_... bits */
    uint32_t text_bytes;
    uint32_t spare;
    unsigned char text[LQ_REPORT_TEXT]; /* its last Python stack, as faulthandler wrote it */
};

_Static_assert(sizeof(struct lq_report) == 4096, "a report is a page");

struct lq_reports {
    struct lq_report *reports; /* LQ_REPORTS of them */
};

size_t lq_reports_size(void);
/* Keep a report. Returns its number, 0 when all are being written. */
uint32_t lq_reports_write(const struct lq_reports *reports, lq_label me, const struct lq_report *facts);
/* A consistent copy of the report of process `pid`. LQ_OK or LQ_MISSING. */
enum lq_status lq_reports_read(const struct lq_reports *reports, uint32_t number, uint32_t pid, struct lq_report *copy);
/* Let go of what a dead writer left. Returns how many. */
uint32_t lq_reports_recover(const struct lq_reports *reports, lq_label dead);
enum lq_status lq_reports_check(const struct lq_reports *reports);

#endif

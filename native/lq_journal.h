/* SPDX-License-Identifier: MIT */
#ifndef LQ_JOURNAL_H
#define LQ_JOURNAL_H
/*
 * The journal: the last events of the process of each row, for people. A ring a row, written by the process of that row alone; of
 * what recovery finds out, by who recovers.
 *
 *   end = n + 1 (the row's)  ->  seq = 2n + 1  ->  the body  ->  seq = 2n + 2
 *
 * A reader takes event n only if seq is 2n + 2 before and after it has copied. The end is raised first, so that no number is
 * written twice, by whoever: one that was killed in between leaves an event that no reader believes, and the next one begins
 * after it.
 */
#include "lq_roster.h"

#define LQ_EVENTS 32u /* kept of each row */
#define LQ_EVENT_TEXT 200u

enum lq_event_kind {
    LQ_EVENT_FAILURE = 1,
    LQ_EVENT_RETRY = 2,
    LQ_EVENT_CRASH = 3,
    LQ_EVENT_TIMEOUT = 4,
    LQ_EVENT_CANCELLED = 5,
    LQ_EVENT_LOG = 6,
    LQ_EVENT_RESTART = 7,
    LQ_EVENT_KINDS = 8,
};

struct lq_event {
    lq_a64 seq;
    uint64_t at_ns;           /* CLOCK_MONOTONIC */
    uint32_t kind;
    uint32_t pid;             /* of whom it is told */
    uint32_t slot;
    uint32_t task_generation; /* 0: of no task */
    uint32_t text_bytes;
    uint32_t calls;           /* of the task's function, in the meter of this row: names there stay; 0: not known */
    unsigned char text[LQ_EVENT_TEXT]; /* UTF-8 */
    unsigned char end[16];
};

_Static_assert(sizeof(struct lq_event) == 256, "an event is four lines");

struct lq_journals {
    struct lq_event *events; /* LQ_EVENTS for each row */
    struct lq_row *rows;
};

size_t lq_journals_size(void);
/*
 * Append an event to the journal of `me`; the text is cut. The time is now.
 *
 * Callers:  the process of that row, one thread of it at a time.
 * Progress: wait-free.
 * Death:    see above.
 */
void lq_journals_tell(const struct lq_journals *journals, lq_label me, const struct lq_event *event, const char *text, uint64_t bytes);
/* Where the journal of a row ends: its latest events have the numbers before. Touches nothing but the row. */
uint64_t lq_journals_end(const struct lq_journals *journals, uint32_t row);
/* A copy of event number `number` of a row. LQ_OK; LQ_MISSING: it is being written, or was overwritten, or never finished. */
enum lq_status lq_journals_read(const struct lq_journals *journals, uint32_t row, uint64_t number, struct lq_event *copy);

#endif

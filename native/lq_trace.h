/* SPDX-License-Identifier: MIT */
#ifndef LQ_TRACE_H
#define LQ_TRACE_H
/*
 * The trace: when each task was submitted, taken, begun, ended, sent and received, while somebody wants to know.
 *
 *   header.trace  the time until which it is wanted (CLOCK_MONOTONIC ns), 0: not; and since when
 *   a ring a row  records of the process of that row, numbered; written as those of the journal are (lq_journal.h): `end` first,
 *                 so no number is written twice, then seq odd, the body, seq even
 *
 * A worker appends a record when it has sent a result, a client when it has taken one. Whoever looks keeps its own place in
 * every ring, and learns how many it came too late for. `first` in the row is the number at which this trace begins there.
 */
#include "lq_roster.h"

#define LQ_RECORDS 1024u /* of each row */

struct lq_trace {
    lq_a64 until_ns;
    lq_a64 since_ns; /* set before `until_ns` when a trace begins */
};

struct lq_record {
    lq_a64 seq;
    uint32_t slot, task_generation;
    uint32_t function, function_generation;
    uint32_t pid, attempt;
    uint32_t items, bytes_in, bytes_out;
    uint8_t kind, outcome;
    uint16_t spare;
    uint64_t submit_ns, taken_ns, begun_ns, ended_ns, sent_ns, received_ns; /* 0: not known */
};

_Static_assert(sizeof(struct lq_record) == 96, "pinned: a record");

struct lq_traces {
    struct lq_record *records; /* LQ_RECORDS for each row */
    struct lq_row *rows;
    struct lq_trace *trace;    /* in the header */
};

size_t lq_traces_size(void);
/* Trace until then; 0: end it now. An earlier time than that which stands changes nothing. Any number of callers; lock-free. */
void lq_traces_until(const struct lq_traces *traces, uint64_t until_ns, int64_t now_ns);
/* Wanted now? Costs a load of a line that is at hand when it is not; ends what has run out. */
static inline bool lq_traces_may_be_on(const struct lq_traces *traces)
{
    return lq_load_relaxed(&traces->trace->until_ns) != 0;
}

bool lq_traces_is_on(const struct lq_traces *traces, int64_t now_ns);
/*
 * Append a record to the ring of `me`.
 *
 * Callers:  the process of that row, one thread of it at a time.
 * Progress: wait-free.
 * Death:    see above.
 */
void lq_traces_record(const struct lq_traces *traces, lq_label me, const struct lq_record *record);
/*
 * The next record of a row after *place, which moves on. `lost` grows by those that were overwritten, or never finished.
 * Returns: LQ_OK and *copy; LQ_EMPTY.
 * Callers: anyone who maps the Space, also read-only. `place` 0: from the beginning of this trace. Bounded.
 */
enum lq_status lq_traces_next(const struct lq_traces *traces, uint32_t row, uint64_t *place, struct lq_record *copy, uint64_t *lost);

#endif

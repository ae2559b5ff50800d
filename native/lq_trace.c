/* SPDX-License-Identifier: MIT */
#include "lq_trace.h"

size_t lq_traces_size(void)
{
    return sizeof(struct lq_record) * LQ_RECORDS * LQ_ROWS;
}

/* Where it begins is told first: who sees that it is wanted knows since when. */
void lq_traces_until(const struct lq_traces *traces, uint64_t until_ns, int64_t now_ns)
{
    struct lq_trace *trace = traces->trace;
    for (;;) {
        uint64_t seen = lq_load_seq(&trace->until_ns);
        if (until_ns != 0 && until_ns <= seen)
            return;
        if (until_ns != 0 && seen <= (uint64_t)now_ns)
            lq_store_seq(&trace->since_ns, (uint64_t)now_ns); /* two who begin at once: the later time, for both */
        if (lq_cas(&trace->until_ns, seen, until_ns))
            return;
    }
}

bool lq_traces_is_on(const struct lq_traces *traces, int64_t now_ns)
{
    uint64_t until = lq_load(&traces->trace->until_ns);
    if (until > (uint64_t)now_ns)
        return true;
    if (until != 0)
        lq_cas(&traces->trace->until_ns, until, 0); /* from now on nobody needs to look at the clock */
    return false;
}

void lq_traces_record(const struct lq_traces *traces, lq_label me, const struct lq_record *record)
{
    uint32_t index = lq_label_row(me) % LQ_ROWS;
    struct lq_tracks *tracks = &traces->rows[index].tracks;
    uint64_t number = lq_load_relaxed(&tracks->trace_end);
    uint64_t since = lq_load_relaxed(&traces->trace->since_ns);
    struct lq_record *entry = &traces->records[index * LQ_RECORDS + number % LQ_RECORDS];
    if (lq_load_relaxed(&tracks->trace_since_ns) != since) {
        lq_store_relaxed(&tracks->trace_first, number);
        lq_store(&tracks->trace_since_ns, since);
    }
    lq_store(&tracks->trace_end, number + 1);
    LQ_FAULT("traces_record:claimed");
    lq_store_relaxed(&entry->seq, 2 * number + 1);
    lq_order_stores(); /* readers must see that it is being written before anything of it */
    LQ_FAULT("traces_record:begun");
    lq_copy_relaxed(&entry->slot, &record->slot, sizeof *entry - offsetof(struct lq_record, slot));
    lq_store(&entry->seq, 2 * number + 2);
    LQ_FAULT("traces_record:told");
}

enum lq_status lq_traces_next(const struct lq_traces *traces, uint32_t row, uint64_t *place, struct lq_record *copy, uint64_t *lost)
{
    const struct lq_tracks *tracks = &traces->rows[row % LQ_ROWS].tracks;
    uint64_t end = lq_load(&tracks->trace_end);
    bool is_of_this = lq_load(&tracks->trace_since_ns) == lq_load_relaxed(&traces->trace->since_ns);
    uint64_t first = is_of_this ? lq_load_relaxed(&tracks->trace_first) : end;
    if (*place < first || *place > end)
        *place = first < end ? first : end;
    if (end - *place > LQ_RECORDS) {
        *lost += end - LQ_RECORDS - *place;
        *place = end - LQ_RECORDS;
    }
    for (; *place < end; ++*lost) {
        uint64_t number = (*place)++;
        const struct lq_record *entry = &traces->records[row % LQ_ROWS * LQ_RECORDS + number % LQ_RECORDS];
        if (lq_load(&entry->seq) != 2 * number + 2)
            continue;
        lq_copy_relaxed(copy, entry, sizeof *copy);
        lq_order_loads();
        if (lq_load_seq(&entry->seq) == 2 * number + 2)
            return LQ_OK;
    }
    return LQ_EMPTY;
}

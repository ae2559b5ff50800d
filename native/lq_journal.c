/* SPDX-License-Identifier: MIT */
#include "lq_journal.h"

#include <string.h>

#include "lq_text.h"

size_t lq_journals_size(void)
{
    return sizeof(struct lq_event) * LQ_EVENTS * LQ_ROWS;
}

static struct lq_event *event_at_(const struct lq_journals *journals, uint32_t row, uint64_t number)
{
    return &journals->events[row % LQ_ROWS * LQ_EVENTS + number % LQ_EVENTS];
}

void lq_journals_tell(const struct lq_journals *journals, lq_label me, const struct lq_event *event, const char *text, uint64_t bytes)
{
    uint32_t index = lq_label_row(me);
    lq_a64 *end = &lq_roster_row(&(struct lq_roster){journals->rows}, me)->tracks.journal_end;
    uint64_t number = lq_load_relaxed(end);
    struct lq_event *entry = event_at_(journals, index, number);
    uint64_t copy[LQ_EVENT_TEXT / 8] = {0};
    uint32_t kept = lq_text_fit(text, bytes, LQ_EVENT_TEXT);
    memcpy(copy, text, kept);
    lq_store(end, number + 1);
    LQ_FAULT("journals_tell:claimed");
    lq_store_relaxed(&entry->seq, 2 * number + 1);
    lq_order_stores(); /* readers must see that it is being written before anything of it */
    LQ_FAULT("journals_tell:begun");
    LQ_PUT(entry->at_ns, (uint64_t)lq_now_ns());
    LQ_PUT(entry->kind, event->kind);
    LQ_PUT(entry->pid, event->pid);
    LQ_PUT(entry->slot, event->slot);
    LQ_PUT(entry->task_generation, event->task_generation);
    LQ_PUT(entry->text_bytes, kept);
    LQ_PUT(entry->calls, event->calls);
    lq_copy_relaxed(entry->text, copy, kept); /* rounded up: the rest is what was there before, and not of the text */
    LQ_FAULT("journals_tell:filled");
    lq_store(&entry->seq, 2 * number + 2);
    LQ_FAULT("journals_tell:told");
}

uint64_t lq_journals_end(const struct lq_journals *journals, uint32_t row)
{
    return lq_load(&journals->rows[row % LQ_ROWS].tracks.journal_end);
}

enum lq_status lq_journals_read(const struct lq_journals *journals, uint32_t row, uint64_t number, struct lq_event *copy)
{
    const struct lq_event *entry = event_at_(journals, row, number);
    if (lq_load(&entry->seq) != 2 * number + 2)
        return LQ_MISSING;
    lq_copy_relaxed(copy, entry, sizeof *copy);
    lq_order_loads();
    if (lq_load_seq(&entry->seq) != 2 * number + 2)
        return LQ_MISSING;
    return copy->kind != 0 && copy->kind < LQ_EVENT_KINDS && copy->text_bytes <= LQ_EVENT_TEXT ? LQ_OK : LQ_MISSING;
}

/* SPDX-License-Identifier: MIT */
#include "lq_note.h"

#include <limits.h>
#include <string.h>

#include "lq_bell.h"
#include "lq_text.h"

#define TRIES 16

size_t lq_notes_size(uint32_t slots)
{
    return sizeof(struct lq_note) * (size_t)slots;
}

void lq_note_write(struct lq_note *note, uint32_t task_generation, uint64_t progress, const char *message, uint64_t bytes)
{
    uint32_t seq = (lq_load32_relaxed(&note->seq) + 1) | 1u; /* also from an odd one, of a writer that died */
    uint64_t text[LQ_MESSAGE_BYTES / 8] = {0};
    uint32_t kept = LQ_NO_MESSAGE;
    if (message != NULL) {
        kept = lq_text_fit(message, bytes, LQ_MESSAGE_BYTES);
        memcpy(text, message, kept);
    }
    lq_store32_relaxed(&note->seq, seq);
    lq_order_stores(); /* readers must see that it is being written before anything of it */
    LQ_FAULT("note_write:begun");
    LQ_PUT(note->task_generation, task_generation);
    LQ_PUT(note->message_bytes, kept);
    LQ_PUT(note->progress, progress);
    lq_copy_relaxed(note->message, text, kept != LQ_NO_MESSAGE ? kept : 0);
    LQ_FAULT("note_write:filled");
    lq_store32(&note->seq, seq == UINT32_MAX ? 2u : seq + 1);
    LQ_FAULT("note_write:written");
}

enum lq_status lq_note_read(const struct lq_note *note, uint32_t task_generation, struct lq_note *copy, uint32_t *seq)
{
    for (int i = 0; i < TRIES; i++) {
        uint32_t seen = lq_load32(&note->seq);
        if (seen == 0)
            return LQ_MISSING;
        if ((seen & 1u) == 0) {
            lq_copy_relaxed(copy, note, sizeof *copy);
            lq_order_loads();
            if (lq_load32_seq(&note->seq) == seen) {
                if (copy->task_generation != task_generation || (copy->message_bytes > LQ_MESSAGE_BYTES && copy->message_bytes != LQ_NO_MESSAGE))
                    return LQ_MISSING;
                *seq = seen;
                return LQ_OK;
            }
        }
        lq_relax();
    }
    return LQ_MISSING;
}

uint32_t lq_note_seq(const struct lq_note *note, uint32_t task_generation)
{
    for (int i = 0; i < TRIES; i++) {
        uint32_t seen = lq_load32(&note->seq);
        uint32_t task = LQ_GET(note->task_generation);
        lq_order_loads();
        if ((seen & 1u) == 0 && lq_load32_seq(&note->seq) == seen)
            return task == task_generation ? seen : 0;
        lq_relax();
    }
    return 0;
}

void lq_note_call(struct lq_note *note)
{
    lq_futex_ring(&note->calls, INT_MAX);
}

enum lq_status lq_note_sleep(const struct lq_note *note, uint32_t calls, int64_t timeout_ns)
{
    return lq_futex_sleep(&note->calls, calls, timeout_ns);
}

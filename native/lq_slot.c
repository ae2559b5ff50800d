/* SPDX-License-Identifier: MIT */
#include "lq_slot.h"

#include <unistd.h>

void lq_slot_judge(struct lq_slot *slot, uint64_t word, enum lq_outcome outcome, uint32_t cause)
{
    uint32_t generation = lq_word_generation(word);
    for (;;) {
        uint64_t verdict = lq_load(&slot->verdict);
        /* The word is looked at after the verdict, or a caller who comes late replaces that of a later run or task. */
        if (verdict >> 32 == generation || lq_load(&slot->word) != word)
            return;
        if (lq_cas(&slot->verdict, verdict, lq_verdict(generation, outcome, cause)))
            return; /* else one who comes late has put an old one there, or counted a death: that is not ours */
    }
}

#define TASK_MASK 0x0fffffffu
#define TASK_SHIFT 4

static enum lq_stop stop_for_(uint32_t stop, uint32_t task_generation)
{
    return stop >> TASK_SHIFT == (task_generation & TASK_MASK) ? (enum lq_stop)(stop & 3u) : LQ_STOP_NONE;
}

enum lq_stop lq_slot_stop(const struct lq_slot *slot)
{
    enum lq_stop stop = stop_for_(lq_load32(&slot->stop), LQ_GET(slot->task_generation));
    return stop == LQ_STOP_LATE ? LQ_STOP_NONE : stop;
}

bool lq_slot_close(struct lq_slot *slot)
{
    for (;;) {
        uint32_t stop = lq_load32(&slot->stop);
        enum lq_stop why = stop_for_(stop, slot->task_generation);
        while (why != LQ_STOP_NONE && (stop & LQ_STOP_CONDEMNED) != 0)
            pause(); /* for the end */
        uint32_t closed = why == LQ_STOP_CANCEL ? LQ_STOP_CANCEL | LQ_STOP_CLOSED : LQ_STOP_LATE;
        if (lq_cas32(&slot->stop, stop, slot->task_generation << TASK_SHIFT | closed))
            return why != LQ_STOP_CANCEL;
    }
}

bool lq_slot_condemn(struct lq_slot *slot, uint32_t task_generation, lq_label worker)
{
    for (;;) {
        uint32_t stop = lq_load32(&slot->stop);
        enum lq_stop why = stop_for_(stop, task_generation);
        uint64_t word = lq_load(&slot->word);
        uint32_t state = lq_word_state(word);
        bool is_asked = why == LQ_STOP_CANCEL || (why == LQ_STOP_TIMEOUT && state == LQ_SLOT_RUNNING);
        if (!is_asked || (stop & LQ_STOP_CLOSED) != 0 || (state != LQ_SLOT_CLAIMED && state != LQ_SLOT_RUNNING) ||
            lq_word_label(word) != worker)
            return false;
        /* It lets go of the task by a swap of `stop`, so it has it still if this one succeeds. */
        if (lq_cas32(&slot->stop, stop, stop | LQ_STOP_CONDEMNED))
            return true;
    }
}

bool lq_slot_ask(struct lq_slot *slot, uint32_t task_generation, enum lq_stop why)
{
    for (;;) {
        uint32_t stop = lq_load32(&slot->stop);
        uint32_t state = lq_word_state(lq_load(&slot->word));
        if ((state != LQ_SLOT_CLAIMED && state != LQ_SLOT_RUNNING) || LQ_GET(slot->task_generation) != task_generation)
            return false;
        enum lq_stop asked = stop_for_(stop, task_generation);
        if (asked == LQ_STOP_LATE && state == LQ_SLOT_CLAIMED)
            asked = LQ_STOP_NONE; /* that was the run before */
        if (asked == LQ_STOP_LATE)
            return false;
        if (asked == LQ_STOP_CANCEL || asked == why)
            return true;
        /* If the slot serves another task by now, what is written here names none that is here. */
        if (lq_cas32(&slot->stop, stop, task_generation << TASK_SHIFT | (uint32_t)why))
            return true;
    }
}

bool lq_slot_is_closing(const struct lq_slot *slot, uint32_t task_generation)
{
    uint32_t stop = lq_load32_seq(&slot->stop);
    return stop_for_(stop, task_generation) == LQ_STOP_LATE ||
           (stop_for_(stop, task_generation) != LQ_STOP_NONE && (stop & LQ_STOP_CLOSED) != 0);
}

void lq_slot_forgive(struct lq_slot *slot)
{
    uint32_t stop = lq_load32(&slot->stop);
    if ((stop & 3u) == LQ_STOP_TIMEOUT || (stop & 3u) == LQ_STOP_LATE)
        lq_cas32(&slot->stop, stop, 0); /* else somebody has cancelled it meanwhile, and that stays */
}

size_t lq_slots_size(uint32_t count)
{
    return sizeof(struct lq_slot) * (size_t)count;
}

uint32_t lq_slots_used(const struct lq_slots *slots)
{
    uint64_t fresh = lq_load(slots->fresh);
    return fresh + 1 < slots->count ? (uint32_t)fresh + 1 : slots->count;
}

/*
 * Callers:  any number of processes at once.
 * Progress: lock-free.
 * Death:    from [S1] on the word names `me`. The counter is moved by the next caller: a word that is not FRESH proves
 *           that it may be.
 */
enum lq_status lq_slots_take_fresh(const struct lq_slots *slots, lq_label me, uint32_t *index)
{
    for (;;) {
        uint64_t fresh = lq_load(slots->fresh);
        if (fresh >= slots->count)
            return LQ_EMPTY;
        struct lq_slot *slot = &slots->slots[fresh];
        uint64_t word = lq_load(&slot->word);
        bool taken = lq_word_state(word) == LQ_SLOT_FRESH &&
                     lq_cas(&slot->word, word, lq_word(LQ_SLOT_WRITING, me, lq_word_generation(word) + 1, 0)); /* [S1] */
        if (taken)
            LQ_FAULT("slots_take_fresh:claimed");
        lq_cas(slots->fresh, fresh, fresh + 1);
        if (taken) {
            LQ_FAULT("slots_take_fresh:moved");
            *index = (uint32_t)fresh;
            return LQ_OK;
        }
    }
}

/*
 * Callers:  any number of processes at once.
 * Progress: wait-free (one pass).
 * Death:    the word that was swapped names `me`.
 */
enum lq_status lq_slots_take_free(const struct lq_slots *slots, lq_label me, uint32_t *cursor, uint32_t *index)
{
    uint32_t used = lq_slots_used(slots);
    for (uint32_t i = 0; i < used; i++) {
        uint32_t at = (*cursor + i) % used;
        struct lq_slot *slot = &slots->slots[at];
        uint64_t word = lq_load(&slot->word);
        if (lq_word_state(word) == LQ_SLOT_FREE && lq_cas(&slot->word, word, lq_word(LQ_SLOT_WRITING, me, lq_word_generation(word), 0))) {
            LQ_FAULT("slots_take_free:claimed");
            *cursor = at + 1;
            *index = at;
            return LQ_OK;
        }
    }
    return LQ_EMPTY;
}

enum lq_status lq_slots_check(const struct lq_slots *slots)
{
    uint64_t fresh = lq_load(slots->fresh);
    if (fresh > slots->count)
        return LQ_CORRUPT;
    for (uint32_t i = 0; i < slots->count; i++) {
        uint64_t word = lq_load(&slots->slots[i].word);
        uint32_t state = lq_word_state(word);
        if (state > LQ_SLOT_DELAYED)
            return LQ_CORRUPT;
        if (i > fresh && word != 0)
            fresh = lq_load(slots->fresh); /* it has moved meanwhile */
        if (i > fresh && word != 0)
            return LQ_CORRUPT; /* only the slot at `fresh` may be claimed before the counter moves */
        if (i < fresh && state == LQ_SLOT_FRESH)
            return LQ_CORRUPT;
        bool labelled = lq_word_label(word) != LQ_NOBODY;
        if ((state == LQ_SLOT_WRITING || state == LQ_SLOT_CLAIMED || state == LQ_SLOT_RUNNING) && !labelled)
            return LQ_CORRUPT; /* somebody must be able to finish it */
        if ((state == LQ_SLOT_CACHED || state == LQ_SLOT_FREE || state == LQ_SLOT_DELAYED) && labelled)
            return LQ_CORRUPT; /* settled words are nobody's */
        if (i > fresh + 64)
            break; /* untouched memory stays untouched */
    }
    return LQ_OK;
}

/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "lq_look.h"

#include <signal.h>
#include <unistd.h>

#define AGAIN_NS 5000000u /* until the next try where a ring was full */

static void sooner_(uint64_t *next_ns, uint64_t at_ns)
{
    if (at_ns < *next_ns)
        *next_ns = at_ns;
}

/* Lower look_ns. True if it was later. */
static bool lower_(struct lq_space *space, uint64_t at_ns)
{
    lq_a64 *look = &space->header->look_ns;
    uint64_t seen = lq_load_seq(look);
    while (at_ns < seen) {
        if (lq_cas(look, seen, at_ns))
            return true;
        seen = lq_load_seq(look);
    }
    return false;
}

/*
 * DELAYED -> QUEUED(me) -> in its ring -> QUEUED. False: the ring has no room now.
 *
 * Death: from the first swap on the label says that the push is owed.
 */
static bool queue_(struct lq_space *space, lq_label me, uint32_t index, uint64_t word)
{
    struct lq_slot *slot = lq_space_slot(space, index);
    const struct lq_ring *ring = lq_space_ring_of(space, slot);
    uint64_t queued = lq_word_as(word, LQ_SLOT_QUEUED, me);
    if (!lq_cas(&slot->word, word, queued))
        return true; /* cancelled meanwhile, or queued by another */
    LQ_FAULT("look:queued");
    bool is_pushed = lq_ring_push(ring, index, lq_word_generation(word)) == LQ_OK;
    if (is_pushed) {
        LQ_FAULT("look:pushed");
        lq_cas(&slot->word, queued, lq_word_as(queued, LQ_SLOT_QUEUED, LQ_NOBODY));
        lq_space_call_worker(space, ring, lq_now_ns());
    } else if (!lq_cas(&slot->word, queued, word)) {
        /* No cell names it, so only a canceller can have been here, and nobody else will ever settle it. */
        uint64_t now = lq_load(&slot->word);
        if (lq_word_state(now) == LQ_SLOT_CANCELLED && lq_word_label(now) == me)
            lq_space_settle_cancelled(space, me, index, now);
        return true;
    }
    return is_pushed;
}

static void look_at_delayed_(struct lq_space *space, lq_label me, uint32_t index, uint64_t word, int64_t now, uint64_t *next_ns)
{
    const struct lq_slot *slot = lq_space_slot(space, index);
    int32_t left_ms = (int32_t)(LQ_GET(slot->due_ms) - lq_space_ms(space, now));
    if (left_ms > 0)
        sooner_(next_ns, (uint64_t)now + (uint64_t)left_ms * 1000000u);
    else if (!queue_(space, me, index, word))
        sooner_(next_ns, (uint64_t)now + AGAIN_NS);
}

/* The reason why a task in a worker's hands shall stop, if it shall. */
static enum lq_stop look_at_running_(struct lq_space *space, uint32_t index, uint64_t word, int64_t now, uint64_t *next_ns)
{
    struct lq_slot *slot = lq_space_slot(space, index);
    enum lq_stop why = lq_slot_stop(slot);
    uint32_t limit_ms = LQ_GET(slot->limit_ms);
    uint32_t task = LQ_GET(slot->task_generation);
    uint64_t until_ns = LQ_GET(slot->start_ns) + limit_ms * 1000000ull;
    lq_order_loads();
    if (lq_load(&slot->word) != word)
        return LQ_STOP_NONE; /* what was read may be of two tasks; a change is none of ours to see */
    if (why == LQ_STOP_TIMEOUT && lq_word_state(word) == LQ_SLOT_CLAIMED)
        return LQ_STOP_NONE; /* the run before was too long, and ended with its worker */
    if (why != LQ_STOP_NONE || lq_word_state(word) != LQ_SLOT_RUNNING || limit_ms == 0)
        return why;
    if (until_ns > (uint64_t)now) {
        sooner_(next_ns, until_ns);
        return LQ_STOP_NONE;
    }
    lq_slot_ask(slot, task, LQ_STOP_TIMEOUT);
    return lq_slot_stop(slot);
}

uint32_t lq_space_look(struct lq_space *space, lq_label me, struct lq_asked *asked, uint32_t most, uint64_t *next_ns)
{
    uint32_t count = 0;
    uint64_t next = UINT64_MAX;
    lq_store_seq(&space->header->look_ns, UINT64_MAX); /* from here on, who needs an earlier look calls */
    int64_t now = lq_now_ns();
    uint32_t used = lq_slots_used(&space->slots);
    for (uint32_t index = 0; index < used; index++) {
        const struct lq_slot *slot = lq_space_slot(space, index);
        uint64_t word = lq_load(&slot->word);
        uint32_t state = lq_word_state(word);
        if (state == LQ_SLOT_DELAYED)
            look_at_delayed_(space, me, index, word, now, &next);
        if (state != LQ_SLOT_CLAIMED && state != LQ_SLOT_RUNNING)
            continue;
        enum lq_stop why = look_at_running_(space, index, word, now, &next);
        if (why != LQ_STOP_NONE && count++ < most)
            asked[count - 1] = (struct lq_asked){index, LQ_GET(slot->task_generation), lq_word_label(word), (uint32_t)why};
    }
    lower_(space, next);
    *next_ns = next;
    return count;
}

void lq_space_call_supervisor(const struct lq_space *space)
{
    for (uint32_t row = 1; row < LQ_ROWS; row++) {
        uint64_t word = lq_load(&space->roster.rows[row].word);
        if (lq_word_state(word) == LQ_ROW_LIVE && lq_word_aux(word) == LQ_ROLE_SUPERVISOR && lq_word_label(word) != 0)
            kill((pid_t)lq_word_label(word), SIGURG);
    }
}

void lq_space_expect(struct lq_space *space, uint64_t at_ns)
{
    if (lower_(space, at_ns))
        lq_space_call_supervisor(space);
}

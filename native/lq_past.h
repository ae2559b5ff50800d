/* SPDX-License-Identifier: MIT */
#ifndef LQ_PAST_H
#define LQ_PAST_H
/*
 * What is known of a slot beside its body: dense, so that it costs no line of its own to write it at each eviction.
 *
 *   gone      which result of the slot was let go of last, and why. Written by who evicts, while the slot is WRITING(me)
 *   ended_ns  when a task ended for which no worker lived to write `done_ns`. Written by who judges it or settles it: any number at
 *             once, and late; it counts only where it is later than the submission of the task that is there
 *   used_ns   when a cached result was last read by its id. Written by whoever reads, a hint for which to evict first
 *
 * Death: nothing is known, or an older time. Nothing depends on it but which answer people get.
 */
#include "lq_word.h"

enum lq_gone { LQ_GONE_NOT_KNOWN = 0, LQ_GONE_EVICTED = 1, LQ_GONE_EXPIRED = 2 };

struct lq_past {
    lq_a32 gone; /* task generation << 2 | enum lq_gone */
    uint32_t spare;
    lq_a64 ended_ns;
    lq_a64 used_ns;
};

_Static_assert(sizeof(struct lq_past) == 24, "pinned: a slot's past");

static inline void lq_past_let_go(struct lq_past *past, uint32_t task_generation, enum lq_gone why)
{
    lq_store32_relaxed(&past->gone, task_generation << 2 | (uint32_t)why);
}

static inline enum lq_gone lq_past_gone(const struct lq_past *past, uint32_t task_generation)
{
    uint32_t gone = lq_load32_relaxed(&past->gone);
    bool is_its = gone >> 2 == (task_generation & 0x3fffffffu) && (gone & 3u) <= LQ_GONE_EXPIRED;
    return is_its ? (enum lq_gone)(gone & 3u) : LQ_GONE_NOT_KNOWN;
}

#endif

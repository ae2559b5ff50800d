/* SPDX-License-Identifier: MIT */
#ifndef LQ_LOOK_H
#define LQ_LOOK_H
/*
 * What has to happen at a time, or because somebody asked for it: tasks that were told to stop, runs that are too long, tasks
 * whose time has come. All of it is said in the slots, and found by looking through them; the supervisor does so when it is
 * called, and at the time that the last look gave. So it may be lost and replaced: its successor looks, and knows all.
 *
 *   who needs a look at a time says so in header.look_ns (lq_space_expect), and calls only if the next one would be too late
 */
#include "lq_space.h"

/* A task in a worker's hands that was asked to stop. */
struct lq_asked {
    uint32_t index, task_generation;
    lq_label worker;
    uint32_t why; /* enum lq_stop */
};

/*
 * Look through all slots. Runs beyond their limit are asked to stop, delayed tasks whose time has come are queued. `asked`: the
 * first `most` tasks that shall stop; returns how many there are. *next_ns: when to look again, UINT64_MAX: when called.
 *
 * Callers:  the supervisor, or who stands in for it; several at once do no harm.
 * Progress: wait-free but for pushes, which are lock-free.
 * Death:    a task that was being queued is QUEUED(me), and recovered as any.
 */
uint32_t lq_space_look(struct lq_space *space, lq_label me, struct lq_asked *asked, uint32_t most, uint64_t *next_ns);

/*
 * Something has to be looked at by `at_ns`. Calls the supervisor (SIGURG, which a process that does not wait for it ignores) if
 * it would look later. For its children and for processes of the same user.
 *
 * Death:    who dies before the call leaves a time that nobody knows of; whoever buries it looks.
 */
void lq_space_expect(struct lq_space *space, uint64_t at_ns);
/* Call the supervisor now. */
void lq_space_call_supervisor(const struct lq_space *space);

#endif

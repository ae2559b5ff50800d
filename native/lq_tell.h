/* SPDX-License-Identifier: MIT */
#ifndef LQ_TELL_H
#define LQ_TELL_H
/*
 * What processes tell people beside doing their work: counts, events, notes, records; and who is woken for it. It is told
 * after what it is about was swapped or stored, by who did that: so nobody tells what did not happen, and who dies in between has
 * not told it.
 */
#include "lq_space.h"

/* ---- told by those at work ---- */

/* The meter of a process, to be written by it. */
struct lq_meter *lq_space_meter(const struct lq_space *space, lq_label me);
/* Its entry for a published function. */
struct lq_calls *lq_space_calls(const struct lq_space *space, lq_label me, uint32_t function, uint32_t function_generation);
/* An event of a task, or of none (task generation 0). See lq_journals_tell. */
void lq_space_tell(const struct lq_space *space, lq_label me, enum lq_event_kind kind, uint32_t pid, uint32_t index,
                   uint32_t task_generation, const char *text);

/* Which task it is, read while it is sure that the slot still serves it: before the swap that is told of. */
struct lq_told {
    uint32_t index, task_generation;
    uint32_t function, function_generation;
    uint32_t pid; /* of the worker that had it; 0: none */
};

static inline struct lq_told lq_told_of(const struct lq_space *space, uint32_t index, uint32_t pid)
{
    const struct lq_slot *slot = lq_space_slot(space, index);
    return (struct lq_told){index, LQ_GET(slot->task_generation), LQ_GET(slot->function), LQ_GET(slot->function_generation), pid};
}

/* A task has ended otherwise than in its worker: counted, told, and who watches is woken. */
void lq_space_tell_end(const struct lq_space *space, lq_label me, const struct lq_told *told, enum lq_outcome outcome, const char *text);
/* It runs again, because its worker died. */
void lq_space_tell_again(const struct lq_space *space, lq_label me, const struct lq_told *told, const char *text);
#define LQ_DEATH_TEXT 120u
/* How a process died, in words: what waitpid said; and `then`, at most 40 bytes, what follows from it. */
const char *lq_death_in_words(uint32_t wait_status, const char *then, char text[LQ_DEATH_TEXT]);

/* ---- notes, and who watches ---- */

/*
 * The task in hand says how far it is. False: it is not in this worker's hands (any more).
 *
 * Callers:  the worker that runs it, one thread of it at a time.
 * Progress: wait-free.
 * Death:    a note that is not believed. Who sleeps looks again by himself.
 */
bool lq_space_note(const struct lq_space *space, lq_label me, uint32_t index, uint32_t task_generation, uint64_t progress,
                   const char *message, uint64_t bytes);
/*
 * From now on, who sleeps in lq_space_wait_note for that task is woken. Before or while it runs; it stays until the slot serves
 * another. LQ_OK; LQ_MISSING: it has ended.
 *
 * Callers:  any number of processes at once, that may write.
 * Progress: lock-free.
 * Death:    it stands or it does not.
 */
enum lq_status lq_space_watch(const struct lq_space *space, uint32_t index, uint32_t task_generation);
/* Does anybody watch? Read after the run was closed and before the end is told: see lq_space_wait_note. */
static inline bool lq_slot_is_watched(const struct lq_slot *slot)
{
    return lq_load32_seq(&slot->watch) == LQ_GET(slot->task_generation);
}

/* Wake those who sleep for a task, and those who sleep for several. For tasks that are watched. */
void lq_space_call(const struct lq_space *space, uint32_t index);
/* A task has ended, begun, or is to run again: wake those who sleep for it, if it is watched. */
void lq_space_call_watchers(const struct lq_space *space, uint32_t index, uint32_t task_generation);
/* The note of a task: LQ_OK, *copy and *seq; LQ_MISSING. Anyone who maps the Space, also read-only. */
enum lq_status lq_space_read_note(const struct lq_space *space, uint32_t index, uint32_t task_generation, struct lq_note *copy, uint32_t *seq);
/*
 * Sleep until the note of that task has another seq, the task has ended, or time ran out. LQ_OK, LQ_TIMEOUT, LQ_INTERRUPTED.
 *
 * Callers:  anyone who maps the Space, also read-only. Who does not watch before sees changes a tenth of a second late.
 * Progress: each sleep has its own limit.
 *
 * Order: who ends a task closes the run (a swap), reads the mark of who watches, tells the end, calls. Who waits has marked (a
 * swap), and reads whether the run is closed: one of the two sees the other. A run that is closed ends in a moment, so then the
 * sleep is short.
 */
enum lq_status lq_space_wait_note(const struct lq_space *space, uint32_t index, uint32_t task_generation, uint32_t seq, int64_t timeout_ns);

/*
 * Sleep until something has become of any task that is watched (by anybody), `calls` being what lq_space_note_calls said before
 * its notes were read; or the phase has changed. LQ_OK, LQ_TIMEOUT, LQ_INTERRUPTED.
 *
 * Callers:  anyone who maps the Space, also read-only.
 * Progress: the sleep has its limit.
 */
enum lq_status lq_space_wait_note_calls(const struct lq_space *space, uint32_t calls, int64_t timeout_ns);
void lq_space_call_all(const struct lq_space *space); /* wake them */
uint32_t lq_space_note_calls(const struct lq_space *space);

/* ---- read by people ---- */

/* Has the process of that row ever counted anything? Of others the meter is not touched. */
bool lq_space_is_metered(const struct lq_space *space, uint32_t row);
/* Sums over all rows. */
struct lq_meter_reading {
    uint64_t sums[LQ_SUMS];
    uint64_t wait[LQ_BUCKETS];
    uint64_t run[LQ_BUCKETS];
};
void lq_space_meters(const struct lq_space *space, struct lq_meter_reading *reading);
/* The task in the hands of a worker, if that slot holds one. LQ_OK, a consistent copy and its worker's pid; LQ_MISSING. */
enum lq_status lq_space_in_hand(const struct lq_space *space, uint32_t index, struct lq_slot *copy, uint32_t *pid);
/* Why the result of that task is not there any more. */
enum lq_gone lq_space_gone(const struct lq_space *space, uint32_t index, uint32_t task_generation, int64_t now_ns);

#endif

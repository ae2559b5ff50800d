/* SPDX-License-Identifier: MIT */
#ifndef LQ_NOTE_H
#define LQ_NOTE_H
/*
 * Notes: what a task says of itself while it runs, one a slot; and how somebody waits for the next one.
 *
 * A seqlock: seq is odd while the note is being written. The writer is the worker that has the slot's task in hand, so there is one
 * at a time. One that was killed in the midst leaves seq odd: no reader believes what is there, and the next writer goes on from it.
 *
 * `calls` is what sleepers sleep on: it is raised, and they are woken, after a note was written and after the task has ended;
 * but only if somebody has said that he watches (lq_slot.watch), which costs the others one look at a line that is at hand.
 */
#include "lq_fault.h"
#include "lq_status.h"
#include "lq_word.h"

#define LQ_MESSAGE_BYTES 200u

struct lq_note {
    lq_a32 seq;
    lq_a32 calls;
    uint32_t task_generation; /* whose note it is */
    uint32_t message_bytes;   /* LQ_NO_MESSAGE: none */
    uint64_t progress;        /* the bits of a double; not a number: none */
    uint64_t taken_ns;        /* while tasks are traced: when that task was taken. Not of the note */
    uint32_t taken_generation;
    uint32_t spare;
    unsigned char message[LQ_MESSAGE_BYTES]; /* UTF-8 */
    unsigned char end[16];
};

#define LQ_NO_MESSAGE UINT32_MAX

_Static_assert(sizeof(struct lq_note) == 256, "a note is four lines");

struct lq_notes {
    struct lq_note *notes; /* one for each slot */
};

size_t lq_notes_size(uint32_t slots);
/*
 * Write a note; the message is cut, NULL: none.
 *
 * Callers:  the worker that runs the task, one thread of it at a time.
 * Progress: wait-free.
 * Death:    seq stays odd: the note is not believed.
 */
void lq_note_write(struct lq_note *note, uint32_t task_generation, uint64_t progress, const char *message, uint64_t bytes);
/* A consistent copy of the note of that task. LQ_OK and seq, never 0; LQ_MISSING. Bounded. */
enum lq_status lq_note_read(const struct lq_note *note, uint32_t task_generation, struct lq_note *copy, uint32_t *seq);
/* The seq of the note of that task, 0 if there is none, or none that could be read now. */
uint32_t lq_note_seq(const struct lq_note *note, uint32_t task_generation);
/* Wake all who sleep there. */
void lq_note_call(struct lq_note *note);
/* Sleep while `calls` is that. Also through a mapping that can only be read. LQ_OK, LQ_TIMEOUT or LQ_INTERRUPTED: look again. */
enum lq_status lq_note_sleep(const struct lq_note *note, uint32_t calls, int64_t timeout_ns);

#endif

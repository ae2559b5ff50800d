/* SPDX-License-Identifier: MIT */
#ifndef LQ_RING_H
#define LQ_RING_H
/*
 * The claim ring: a bounded queue of (index, generation) pairs for any number of producers and consumers.
 *
 *   offset 0    head   next position to take         128 bytes of its own
 *   offset 128  tail   next position to fill         128 bytes of its own
 *   offset 256  cells  2^order words:  cycle 24 | generation 20 | index 20
 *
 * A position p lives in cell p mod 2^order and is filled when the cell's cycle equals p >> order. Positions start at
 * 2^order, that is in cycle 1, so memory that was never touched (cycle 0) is an empty ring.
 *
 * Base: NCQ (Nikolaev, "A Scalable, Portable, and Memory-Efficient Lock-Free FIFO Queue", DISC 2019), with the dequeue
 * turned round: the consumer first signs the object's own word (lq_word.h), then moves the head. In between, and for
 * ever if it dies there, the entry is still in the ring, its word names who took it, and anybody may move the head over
 * it. So an entry is never reachable from nowhere, which no ticket-based queue can say.
 *
 * The same (index, generation) may be pushed twice: recovery does so when it can't know. The second one is passed over,
 * because the word is no longer in the state and generation that the cell names.
 */
#include "lq_atomic.h"
#include "lq_fault.h"
#include "lq_status.h"
#include "lq_word.h"

#define LQ_INDEX_BITS 20u
#define LQ_INDEX_MASK ((1u << LQ_INDEX_BITS) - 1)
#define LQ_RING_HEAD 0u
#define LQ_RING_TAIL LQ_PAIR
#define LQ_RING_CELLS (2u * LQ_PAIR)

/* This process's view of one ring. Made at attach; nothing here lies in shared memory. */
struct lq_ring {
    lq_a64 *head;  /* consumers write, producers read for the full check */
    lq_a64 *tail;  /* producers write */
    lq_a64 *cells;
    uint32_t order;
    lq_a64 passed; /* what the head was when this process looked last: it only grows, so there is at least that much room */
};

struct lq_ring_entry {
    uint64_t position;
    uint32_t index;
    uint32_t generation; /* its low 20 bits */
};

size_t lq_ring_size(uint32_t order);
void lq_ring_view(struct lq_ring *ring, unsigned char *memory, uint32_t order);
/* Give fresh zeroed memory its first positions. Only before anybody else knows of the ring. */
void lq_ring_init(const struct lq_ring *ring);
/* Sound? LQ_CORRUPT where head, tail or a cell between them can't have been written by the operations below. Also beside
   live users: what only looks wrong because it moved meanwhile is passed over. */
enum lq_status lq_ring_check(const struct lq_ring *ring, uint32_t indices);
/* Read the entry at *position, or the oldest after it if that one was taken, and step behind it. False at the end. */
bool lq_ring_next(const struct lq_ring *ring, uint64_t *position, struct lq_ring_entry *entry);
/* Is (index, generation) between head and tail? An entry that stays there all the time is found, whatever moves. */
bool lq_ring_holds(const struct lq_ring *ring, uint32_t index, uint32_t generation);

static inline uint64_t lq_ring_cycle(const struct lq_ring *ring, uint64_t position)
{
    return position >> ring->order & 0xffffffu;
}

static inline lq_a64 *lq_ring_cell(const struct lq_ring *ring, uint64_t position)
{
    return &ring->cells[position & ((1ull << ring->order) - 1)];
}

/* The entry at `position`, if what lies there is of that cycle: for audits, see lq_ring_next. */
static inline bool lq_ring_look(const struct lq_ring *ring, uint64_t position, struct lq_ring_entry *entry)
{
    uint64_t seen = lq_load(lq_ring_cell(ring, position));
    *entry = (struct lq_ring_entry){position, (uint32_t)(seen & LQ_INDEX_MASK), (uint32_t)(seen >> LQ_INDEX_BITS & LQ_INDEX_MASK)};
    return seen >> 40 == lq_ring_cycle(ring, position);
}

/* Entries between head and tail. A reading, not a truth: both move while it is taken. */
static inline uint64_t lq_ring_depth(const struct lq_ring *ring)
{
    uint64_t head = lq_load_relaxed(ring->head);
    uint64_t tail = lq_load_relaxed(ring->tail);
    return (int64_t)(tail - head) > 0 ? tail - head : 0;
}

/*
 * Append (index, generation).
 *
 * Callers:  any number of processes at once.
 * Progress: lock-free; a stopped caller delays nobody, whoever comes next moves the tail for it.
 * Returns:  LQ_OK; LQ_FULL or LQ_CORRUPT with nothing changed.
 * Death:    before [P1] nothing has happened and the label of the word still owes the push. From [P1] on the entry is in
 *           the ring; the tail is moved by the next producer.
 */
static inline enum lq_status lq_ring_push(const struct lq_ring *ring, uint32_t index, uint32_t generation)
{
    for (;;) {
        uint64_t tail = lq_load(ring->tail);
        lq_a64 *cell = lq_ring_cell(ring, tail);
        uint64_t seen = lq_load(cell);
        uint64_t cycle = lq_ring_cycle(ring, tail);
        uint64_t seen_cycle = seen >> 40;
        if (seen_cycle == cycle) { /* filled, but its producer has not moved the tail: help */
            lq_cas(ring->tail, tail, tail + 1);
            continue;
        }
        if (seen_cycle != ((cycle - 1) & 0xffffffu)) {
            if (lq_load(ring->tail) == tail)
                return LQ_CORRUPT; /* no push leaves such a cell at the tail: to look again would be for ever */
            continue; /* the tail in hand is old */
        }
        /* Signed: others may have pushed and taken past the tail in hand, so head can be ahead of it. */
        if ((int64_t)(tail - lq_load_relaxed(&ring->passed)) >= (int64_t)(1ull << ring->order)) {
            uint64_t head = lq_load(ring->head);
            if ((int64_t)(tail - head) >= (int64_t)(1ull << ring->order))
                return LQ_FULL;
            lq_store_relaxed(&((struct lq_ring *)(uintptr_t)ring)->passed, head); /* a view is const for what it says, which stays */
        }
        uint64_t entry = cycle << 40 | (uint64_t)(generation & LQ_INDEX_MASK) << LQ_INDEX_BITS | index;
        if (lq_cas(cell, seen, entry)) { /* [P1] pairs with the load in lq_ring_peek */
            LQ_FAULT("ring_push:written");
            lq_cas(ring->tail, tail, tail + 1);
            LQ_FAULT("ring_push:moved");
            return LQ_OK;
        }
    }
}

/*
 * Look at the oldest entry without taking it.
 *
 * Callers:  any number of processes at once.
 * Progress: lock-free.
 * Returns:  LQ_OK and *entry; LQ_EMPTY.
 * Death:    reads only.
 */
static inline enum lq_status lq_ring_peek(const struct lq_ring *ring, struct lq_ring_entry *entry)
{
    for (;;) {
        uint64_t head = lq_load_seq(ring->head); /* seq: after parking, this is the second half of the Dekker pair */
        uint64_t seen = lq_load_seq(lq_ring_cell(ring, head));
        if (seen >> 40 == lq_ring_cycle(ring, head)) {
            entry->position = head;
            entry->index = (uint32_t)(seen & LQ_INDEX_MASK);
            entry->generation = (uint32_t)(seen >> LQ_INDEX_BITS & LQ_INDEX_MASK);
            return LQ_OK;
        }
        if (lq_load_seq(ring->head) == head)
            return LQ_EMPTY;
    }
}

/*
 * Pass the entry that was peeked, after its word was signed or found settled.
 *
 * Callers:  any number of processes at once; harmless when somebody else has passed it already.
 * Progress: wait-free.
 * Death:    before it, the next consumer passes the entry instead.
 */
static inline void lq_ring_advance(const struct lq_ring *ring, const struct lq_ring_entry *entry)
{
    lq_cas(ring->head, entry->position, entry->position + 1);
    LQ_FAULT("ring_advance:moved");
}

#endif

/* SPDX-License-Identifier: MIT */
#include "lq_ring.h"

size_t lq_ring_size(uint32_t order)
{
    return LQ_RING_CELLS + (sizeof(lq_a64) << order);
}

void lq_ring_view(struct lq_ring *ring, unsigned char *memory, uint32_t order)
{
    ring->head = (lq_a64 *)(void *)(memory + LQ_RING_HEAD);
    ring->tail = (lq_a64 *)(void *)(memory + LQ_RING_TAIL);
    ring->cells = (lq_a64 *)(void *)(memory + LQ_RING_CELLS);
    ring->order = order;
    lq_store_relaxed(&ring->passed, 0);
}

void lq_ring_init(const struct lq_ring *ring)
{
    lq_store(ring->tail, 1ull << ring->order);
    lq_store(ring->head, 1ull << ring->order); /* last: a head of zero says "not yet", also after a death in between */
}

/* Head and tail of one moment; false where both move too fast for that. */
static bool ends_(const struct lq_ring *ring, uint64_t *head, uint64_t *tail)
{
    for (int attempt = 0; attempt < 64; attempt++) {
        *head = lq_load_seq(ring->head);
        *tail = lq_load_seq(ring->tail);
        if (lq_load_seq(ring->head) == *head)
            return true;
    }
    return false;
}

enum lq_status lq_ring_check(const struct lq_ring *ring, uint32_t indices)
{
    uint64_t head, tail;
    uint64_t cells = 1ull << ring->order;
    if (!ends_(ring, &head, &tail))
        return LQ_OK;
    /* The tail may lag one behind a cell that was filled, so the head can be one ahead of it. */
    bool ahead = head - tail == 1;
    if (head < cells || tail < cells || (tail - head > cells && !ahead))
        return LQ_CORRUPT;
    for (uint64_t position = head; !ahead && position != tail; position++) {
        struct lq_ring_entry entry;
        bool sound = lq_ring_look(ring, position, &entry) && entry.index < indices;
        if (!sound && (int64_t)(lq_load(ring->head) - position) <= 0) /* else it was taken, and its cell filled anew */
            return LQ_CORRUPT;
    }
    return LQ_OK;
}

bool lq_ring_next(const struct lq_ring *ring, uint64_t *position, struct lq_ring_entry *entry)
{
    for (int attempt = 0; attempt < 64; attempt++) {
        if (lq_ring_look(ring, *position, entry)) {
            ++*position;
            return true;
        }
        uint64_t head = lq_load(ring->head);
        if ((int64_t)(head - *position) <= 0)
            return false; /* not filled yet: the end */
        *position = head; /* overtaken: go on where the rest begins */
    }
    return false; /* it moves faster than we look */
}

bool lq_ring_holds(const struct lq_ring *ring, uint32_t index, uint32_t generation)
{
    struct lq_ring_entry entry;
    uint64_t position = lq_load(ring->head);
    for (uint64_t i = 0; i < 1ull << ring->order; i++) { /* once round, also while somebody writes */
        if (!lq_ring_next(ring, &position, &entry))
            return false;
        if (entry.index == index && entry.generation == (generation & LQ_INDEX_MASK))
            return true;
    }
    return false;
}

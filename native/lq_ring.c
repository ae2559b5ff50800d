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
}

void lq_ring_init(const struct lq_ring *ring)
{
    lq_store(ring->tail, 1ull << ring->order);
    lq_store(ring->head, 1ull << ring->order); /* last: a head of zero says "not yet", also after a death in between */
}

enum lq_status lq_ring_check(const struct lq_ring *ring, uint32_t indices)
{
    uint64_t head = lq_load(ring->head);
    uint64_t tail = lq_load(ring->tail);
    uint64_t cells = 1ull << ring->order;
    /* The tail may lag one behind a cell that was filled, so the head can be one ahead of it. */
    bool ahead = head - tail == 1;
    if (head < cells || tail < cells || (tail - head > cells && !ahead))
        return LQ_CORRUPT;
    for (uint64_t position = head; !ahead && position != tail; position++) {
        uint64_t seen = lq_load(lq_ring_cell(ring, position));
        if (seen >> 40 != lq_ring_cycle(ring, position) || (seen & LQ_INDEX_MASK) >= indices)
            return LQ_CORRUPT;
    }
    return LQ_OK;
}

bool lq_ring_holds(const struct lq_ring *ring, uint32_t index, uint32_t generation)
{
    struct lq_ring_entry entry;
    uint64_t head = lq_load(ring->head);
    for (uint64_t i = 0; i < 1ull << ring->order; i++) { /* once round, also while somebody writes */
        if (!lq_ring_look(ring, head + i, &entry))
            return false;
        if (entry.index == index && entry.generation == (generation & LQ_INDEX_MASK))
            return true;
    }
    return false;
}

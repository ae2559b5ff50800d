/* SPDX-License-Identifier: MIT */
#ifndef COUNTED_H
#define COUNTED_H
/*
 * Ahead of every file that is compiled here (-include): the code's own compare-and-swaps, counted by thread. A count costs a
 * fraction of a nanosecond beside the 5 to 10 of a swap.
 */
#include <sched.h>

#include "../lq_atomic.h"

extern _Thread_local uint64_t swaps_made, swaps_lost; /* by this thread; lost: somebody else's made it fail */

static inline bool counted_swap(lq_a64 *at, uint64_t expected, uint64_t wanted)
{
    bool done = lq_cas(at, expected, wanted);
    swaps_made++;
    swaps_lost += !done;
    return done;
}

static inline bool counted_swap32(lq_a32 *at, uint32_t expected, uint32_t wanted)
{
    bool done = lq_cas32(at, expected, wanted);
    swaps_made++;
    swaps_lost += !done;
    return done;
}

/* Not counted: the bench's own sums. */
static inline void add_to(lq_a64 *sum, uint64_t more)
{
    for (uint64_t seen = lq_load(sum); !lq_cas(sum, seen, seen + more);)
        seen = lq_load(sum);
}

/* Threads take turns on the usable processors: left to the kernel, two that talk to each other are often put on one, and the
   cost that is looked for is not there. */
static inline void pin_to(unsigned number)
{
    cpu_set_t usable, mine;
    if (sched_getaffinity(0, sizeof usable, &usable) != 0 || CPU_COUNT(&usable) == 0)
        return;
    int left = (int)(number % (unsigned)CPU_COUNT(&usable));
    size_t processor = 0;
    while (!CPU_ISSET(processor, &usable) || left-- > 0)
        processor++;
    CPU_ZERO(&mine);
    CPU_SET(processor, &mine);
    sched_setaffinity(0, sizeof mine, &mine); /* of this thread; refused: then it is as the kernel likes */
}

#define lq_cas(at, expected, wanted) counted_swap(at, expected, wanted)
#define lq_cas32(at, expected, wanted) counted_swap32(at, expected, wanted)

#endif

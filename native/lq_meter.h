/* SPDX-License-Identifier: MIT */
#ifndef LQ_METER_H
#define LQ_METER_H
/*
 * Meters: what the process of each row of the roster has counted. For people; they decide nothing.
 *
 * One meter a row, written by the process of that row alone: plain relaxed loads and stores, no read-modify-write. It is never
 * reset: whoever gets the row next counts on, so the sums over all rows hold for the whole life of the Space, and only grow. What
 * one process has counted is the difference to what its row had when it was taken (lq_row.base).
 *
 * Durations are counted in buckets whose width grows with them: four to the octave in a meter, two in that of a function.
 * Functions are told apart by their names: what is published anew under a name goes on where the old one ended. Functions beyond
 * the room of a table are counted in its first entry.
 *
 * Death: a count may be missing, or a sum stand without its bucket. A name that was being written is not counted yet, and the
 * row's next process writes its own there.
 */
#include "lq_fault.h"
#include "lq_status.h"
#include "lq_word.h"

enum lq_sum {
    LQ_SUM_SUCCEEDED = 0, /* tasks whose function returned */
    LQ_SUM_FAILED = 1,    /* that raised, ran for too long, were not started in time, or whose worker died; with no try left */
    LQ_SUM_RETRIED = 2,   /* runs that ended badly, of tasks that run again */
    LQ_SUM_CANCELLED = 3,
    LQ_SUM_ITEMS = 4,     /* of chunks */
    LQ_SUM_BYTES_IN = 5,  /* arguments of the tasks that were run, as they travelled */
    LQ_SUM_BYTES_OUT = 6, /* results */
    LQ_SUM_RUN_NS = 7,
    LQ_SUM_WAIT_NS = 8,   /* from submission, or the time that it was due, to the first start */
    LQ_SUMS = 9,
};

/* Of a function. The first four and the times mean the same as above. */
enum lq_function_sum {
    LQ_CALLS_SUCCEEDED = 0,
    LQ_CALLS_FAILED = 1,
    LQ_CALLS_RETRIED = 2,
    LQ_CALLS_ITEMS = 3,
    LQ_CALLS_RUN_NS = 4,
    LQ_CALLS_WAIT_NS = 5,
    LQ_CALLS_MOST_NS = 6, /* the longest run */
    LQ_CALLS_SUMS = 7,
};

#define LQ_OCTAVE_FIRST 9u   /* what is shorter than 2^9 ns is in the first bucket */
#define LQ_BUCKETS 142u      /* 35 octaves of four, one below, one above (2^44 ns: 4.9 hours) */
#define LQ_CALLS_BUCKETS 72u /* 35 octaves of two, likewise */
#define LQ_METER_FUNCTIONS 64u
#define LQ_NAME_BYTES 100u

struct lq_calls {
    lq_a64 sums[LQ_CALLS_SUMS];
    uint32_t name_bytes; /* with the name: written once, before `functions` counts it */
    uint32_t spare;
    lq_a64 run[LQ_CALLS_BUCKETS];
    unsigned char name[LQ_NAME_BYTES + 4];
};

struct lq_meter {
    lq_a64 sums[LQ_SUMS];
    lq_a32 functions; /* names in the table; entry 0 has none: it is that of all others */
    uint32_t spare;
    _Alignas(LQ_LINE) lq_a64 wait[LQ_BUCKETS];
    lq_a64 run[LQ_BUCKETS];
    _Alignas(LQ_LINE) struct lq_calls calls[LQ_METER_FUNCTIONS];
};

_Static_assert(sizeof(struct lq_calls) == 744 && sizeof(struct lq_meter) == 50048, "pinned: a row's meter");

size_t lq_meters_size(void);

/* The bucket of a duration, in `octave` buckets to the octave, of `buckets`. */
static inline uint32_t lq_bucket(uint64_t ns, uint32_t octave, uint32_t buckets)
{
    if (ns >> LQ_OCTAVE_FIRST == 0)
        return 0;
    uint32_t exponent = 63u - (uint32_t)__builtin_clzll(ns);
    uint32_t part = (uint32_t)(ns >> (exponent - (octave == 4 ? 2 : 1))) & (octave - 1);
    uint32_t bucket = 1 + (exponent - LQ_OCTAVE_FIRST) * octave + part;
    return bucket < buckets ? bucket : buckets - 1;
}

/* What is below this many ns is in that bucket or an earlier one; UINT64_MAX: the last one. */
uint64_t lq_bucket_bound(uint32_t bucket, uint32_t octave, uint32_t buckets);

/* By the meter's own process alone. */
static inline void lq_count(lq_a64 *sum, uint64_t more)
{
    lq_store_relaxed(sum, lq_load_relaxed(sum) + more);
}

static inline void lq_meter_add(struct lq_meter *meter, enum lq_sum sum, uint64_t more)
{
    lq_count(&meter->sums[sum], more);
}

static inline void lq_meter_waited(struct lq_meter *meter, struct lq_calls *calls, uint64_t ns)
{
    lq_count(&meter->sums[LQ_SUM_WAIT_NS], ns);
    lq_count(&meter->wait[lq_bucket(ns, 4, LQ_BUCKETS)], 1);
    lq_count(&calls->sums[LQ_CALLS_WAIT_NS], ns);
}

static inline void lq_meter_ran(struct lq_meter *meter, struct lq_calls *calls, uint64_t ns)
{
    lq_count(&meter->sums[LQ_SUM_RUN_NS], ns);
    lq_count(&meter->run[lq_bucket(ns, 4, LQ_BUCKETS)], 1);
    lq_count(&calls->sums[LQ_CALLS_RUN_NS], ns);
    lq_count(&calls->run[lq_bucket(ns, 2, LQ_CALLS_BUCKETS)], 1);
    if (ns > lq_load_relaxed(&calls->sums[LQ_CALLS_MOST_NS]))
        lq_store_relaxed(&calls->sums[LQ_CALLS_MOST_NS], ns);
}

/*
 * The entry of a name in a meter's table, made if there is none and there is room; else 0.
 *
 * Callers:  the meter's process, one thread of it at a time.
 * Progress: wait-free (one pass over the table).
 * Death:    see above.
 */
uint32_t lq_meter_function(struct lq_meter *meter, const char *name, uint32_t bytes);

/* A copy of one entry's figures and name. False: there is none of that number. Any number of callers. */
bool lq_meter_read_calls(const struct lq_meter *meter, uint32_t entry, uint64_t sums[LQ_CALLS_SUMS], uint64_t run[LQ_CALLS_BUCKETS],
                         char name[LQ_NAME_BYTES + 1]);

#endif

/* SPDX-License-Identifier: MIT */
#ifndef LQ_BELL_H
#define LQ_BELL_H
/*
 * Sleep and wake: an eventcount on one shared futex word.
 *
 *   offset 0    count     the futex; grows with every ring                                      one line
 *   offset 64   parked    a bit for each row that sleeps or is about to; a hint to skip the syscall
 *               spinning  a bit for each row that still looks for work; a hint to skip the wake
 *   offset 128  brisk     until this time a taker expects to be back; a hint to skip the wake   one line
 *
 * The sleepers are listed by the kernel's futex queue alone, which a killed or stopped process leaves by itself. The bits
 * decide nothing: a stale bit costs a needless syscall, a lost one is made good by the sleeper's own time-out.
 * One word for all sleepers of a kind, not one each: a wake aimed at a stopped process would be lost.
 */
#include "lq_atomic.h"
#include "lq_status.h"
#include "lq_word.h"

#define LQ_BELL_WORDS (LQ_ROWS / 64)

struct lq_bell {
    _Alignas(LQ_LINE) lq_a32 count;             /* ringers add, sleepers compare */
    _Alignas(LQ_LINE) lq_a64 parked[LQ_BELL_WORDS]; /* sleepers set and clear their bit, ringers read */
    lq_a64 spinning[LQ_BELL_WORDS];             /* searchers set and clear their bit, ringers read */
    _Alignas(LQ_LINE) lq_a64 brisk_until_ns;    /* takers of short tasks write, ringers read; CLOCK_MONOTONIC */
};

_Static_assert(sizeof(struct lq_bell) == 3 * LQ_LINE, "a bell is three lines");

/* The same for any such word: sleep while *word equals `key` (it may be mapped for reading only); raise it and wake. */
enum lq_status lq_futex_sleep(const lq_a32 *word, uint32_t key, int64_t timeout_ns);
void lq_futex_ring(lq_a32 *word, int sleepers);
/* Sleep while *count equals `key`, at most `timeout_ns`. LQ_OK, LQ_TIMEOUT or LQ_INTERRUPTED; all mean: look again. */
enum lq_status lq_bell_sleep(struct lq_bell *bell, uint32_t key, int64_t timeout_ns);
/* Wake up to `sleepers` of them. */
void lq_bell_ring(struct lq_bell *bell, int sleepers);
/* Take a dead row's bits out. */
void lq_bell_recover(struct lq_bell *bell, uint32_t row);

int64_t lq_now_ns(void);

static inline uint32_t lq_bell_key(const struct lq_bell *bell)
{
    return lq_load32_seq(&bell->count);
}

static inline void lq_bell_set(lq_a64 *bits, uint32_t row)
{
    lq_or_seq(&bits[row / 64], 1ull << (row % 64));
}

static inline void lq_bell_clear(lq_a64 *bits, uint32_t row)
{
    lq_and_seq(&bits[row / 64], ~(1ull << (row % 64)));
}

/* Bits set, read in the second half of the Dekker pair that began with a push. */
static inline uint32_t lq_bell_count(const lq_a64 *bits)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < LQ_BELL_WORDS; i++)
        found += (uint32_t)__builtin_popcountll(lq_load_seq(&bits[i]));
    return found;
}

static inline bool lq_bell_any(const lq_a64 *bits)
{
    uint64_t found = 0;
    for (uint32_t i = 0; i < LQ_BELL_WORDS; i++)
        found |= lq_load_seq(&bits[i]);
    return found != 0;
}

#endif

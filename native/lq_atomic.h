/* SPDX-License-Identifier: MIT */
#ifndef LQ_ATOMIC_H
#define LQ_ATOMIC_H
/*
 * The few memory accesses that localq uses, by name. The only file that spells memory orders.
 *
 *   lq_load          acquire: what was written before the matching lq_store or lq_cas is visible after it
 *   lq_store         release: everything written before it is visible to whoever loads it
 *   lq_cas           acquire and release in one step; the only way to change what others may change too
 *   ..._seq          sequentially consistent: for the Dekker pairs (push / parked, pin / dying), where two
 *                    processes each write one location and then read the other's. Both the store and the load
 *                    that follows must be _seq: an acquire load may overtake an earlier release store on aarch64
 *   ..._relaxed      no order: counters, hints, and bytes whose validity is proven by a later check of a word
 *
 * Fences are not used anywhere: ThreadSanitizer does not understand them.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LQ_LINE 64 /* one cache line */
#define LQ_PAIR 128 /* two: the adjacent-line prefetcher moves them together, so hot words lie this far apart */

typedef _Atomic uint64_t lq_a64;
typedef _Atomic uint32_t lq_a32;

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "64-bit atomics must be lock-free: a lock would be lost with its holder");
_Static_assert(sizeof(lq_a64) == 8 && sizeof(lq_a32) == 4, "atomics must have the size of what they hold");

static inline uint64_t lq_load(const lq_a64 *at)
{
    return atomic_load_explicit(at, memory_order_acquire);
}

static inline uint64_t lq_load_seq(const lq_a64 *at)
{
    return atomic_load_explicit(at, memory_order_seq_cst);
}

static inline uint64_t lq_load_relaxed(const lq_a64 *at)
{
    return atomic_load_explicit(at, memory_order_relaxed);
}

static inline void lq_store(lq_a64 *at, uint64_t value)
{
    atomic_store_explicit(at, value, memory_order_release);
}

static inline void lq_store_relaxed(lq_a64 *at, uint64_t value)
{
    atomic_store_explicit(at, value, memory_order_relaxed);
}

/* Sequentially consistent: it is also the first half of every Dekker pair that starts with a push. */
static inline bool lq_cas(lq_a64 *at, uint64_t expected, uint64_t wanted)
{
    return atomic_compare_exchange_strong_explicit(at, &expected, wanted, memory_order_seq_cst,
                                                   memory_order_acquire);
}

static inline bool lq_cas32(lq_a32 *at, uint32_t expected, uint32_t wanted)
{
    return atomic_compare_exchange_strong_explicit(at, &expected, wanted, memory_order_seq_cst, memory_order_acquire);
}

static inline void lq_or_seq(lq_a64 *at, uint64_t bits)
{
    atomic_fetch_or_explicit(at, bits, memory_order_seq_cst);
}

static inline void lq_and_seq(lq_a64 *at, uint64_t bits)
{
    atomic_fetch_and_explicit(at, bits, memory_order_seq_cst);
}

static inline uint32_t lq_load32(const lq_a32 *at)
{
    return atomic_load_explicit(at, memory_order_acquire);
}

static inline uint32_t lq_load32_seq(const lq_a32 *at)
{
    return atomic_load_explicit(at, memory_order_seq_cst);
}

static inline uint32_t lq_load32_relaxed(const lq_a32 *at)
{
    return atomic_load_explicit(at, memory_order_relaxed);
}

static inline void lq_store32(lq_a32 *at, uint32_t value)
{
    atomic_store_explicit(at, value, memory_order_release);
}

static inline void lq_store_seq(lq_a64 *at, uint64_t value)
{
    atomic_store_explicit(at, value, memory_order_seq_cst);
}

static inline void lq_store32_seq(lq_a32 *at, uint32_t value)
{
    atomic_store_explicit(at, value, memory_order_seq_cst);
}

static inline void lq_store32_relaxed(lq_a32 *at, uint32_t value)
{
    atomic_store_explicit(at, value, memory_order_relaxed);
}

static inline uint32_t lq_add32_seq(lq_a32 *at, uint32_t by)
{
    return atomic_fetch_add_explicit(at, by, memory_order_seq_cst);
}

static inline uint32_t lq_swap32_seq(lq_a32 *at, uint32_t value)
{
    return atomic_exchange_explicit(at, value, memory_order_seq_cst);
}

/*
 * Bodies (everything beside a word) are written by the label's owner only and read by others optimistically: copy, then
 * see whether the word is still the same. Both sides go through these, so that the race is a defined one.
 */
#define LQ_PUT(field, value) __atomic_store_n(&(field), (value), __ATOMIC_RELAXED)
#define LQ_GET(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)

/* Copy in steps of eight bytes, each relaxed. Both addresses are 8-aligned and `bytes` is rounded up to eight. */
static inline void lq_copy_relaxed(void *to, const void *from, size_t bytes)
{
    uint64_t *target = to;
    const uint64_t *source = from;
    for (size_t i = 0; i < (bytes + 7) / 8; i++)
        __atomic_store_n(&target[i], __atomic_load_n(&source[i], __ATOMIC_RELAXED), __ATOMIC_RELAXED);
}

/*
 * Between optimistic loads and the second look at the word: the loads are done before it. And between the swap that takes
 * an object from its readers and the first store into its body: the swap is seen first. x86 orders both by itself, so
 * there only the compiler must be told; aarch64 needs a barrier. Not C11 fences, which ThreadSanitizer refuses; the races
 * themselves are defined, by LQ_PUT, LQ_GET and lq_copy_relaxed.
 */
static inline void lq_order_loads(void)
{
#if defined(__aarch64__)
    __asm__ volatile("dmb ishld" ::: "memory");
#else
    __asm__ volatile("" ::: "memory");
#endif
}

static inline void lq_order_stores(void)
{
#if defined(__aarch64__)
    __asm__ volatile("dmb ishst" ::: "memory");
#else
    __asm__ volatile("" ::: "memory");
#endif
}

static inline void lq_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

#endif

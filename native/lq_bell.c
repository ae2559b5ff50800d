/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "lq_bell.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int64_t lq_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

enum lq_status lq_futex_sleep(const lq_a32 *word, uint32_t key, int64_t timeout_ns)
{
    struct timespec limit = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    if (timeout_ns <= 0)
        return LQ_TIMEOUT;
    /* Not FUTEX_PRIVATE: the word is shared by processes. */
    if (syscall(SYS_futex, word, FUTEX_WAIT, key, &limit, NULL, 0) == 0)
        return LQ_OK;
    if (errno == EINTR)
        return LQ_INTERRUPTED;
    return errno == ETIMEDOUT ? LQ_TIMEOUT : LQ_OK; /* EAGAIN: it rang before we slept */
}

void lq_futex_ring(lq_a32 *word, int sleepers)
{
    lq_add32_seq(word, 1);
    syscall(SYS_futex, word, FUTEX_WAKE, sleepers, NULL, NULL, 0);
}

enum lq_status lq_bell_sleep(struct lq_bell *bell, uint32_t key, int64_t timeout_ns)
{
    return lq_futex_sleep(&bell->count, key, timeout_ns);
}

void lq_bell_ring(struct lq_bell *bell, int sleepers)
{
    lq_futex_ring(&bell->count, sleepers);
}

void lq_bell_recover(struct lq_bell *bell, uint32_t row)
{
    lq_bell_clear(bell->parked, row);
    lq_bell_clear(bell->spinning, row);
    lq_bell_ring(bell, INT_MAX); /* the dead may have swallowed a wake, or stopped between push and ring */
}

/* SPDX-License-Identifier: MIT */
#ifndef LQ_STATUS_H
#define LQ_STATUS_H
/*
 * What an operation answers. Expected outcomes are positive, faults negative.
 * LQ_SYSTEM leaves the reason in errno.
 */
enum lq_status {
    LQ_OK = 0,
    LQ_EMPTY = 1,       /* nothing to take */
    LQ_FULL = 2,        /* no room now; room comes back when somebody finishes */
    LQ_MISSING = 3,     /* what was asked for is not there any more */
    LQ_TIMEOUT = 4,     /* the wait ended first */
    LQ_INTERRUPTED = 5, /* a signal arrived: let the caller's handlers run, then call again */
    LQ_STOPPED = 6,     /* the queue is closing: no more work will come */
    LQ_CORRUPT = -1,    /* shared memory holds a value that no version writes */
    LQ_VERSION = -2,    /* the Space was made by another layout version */
    LQ_SYSTEM = -3,     /* a system call failed */
    LQ_NEVER = -4       /* the request can't be met, however long one waits */
};

const char *lq_status_name(enum lq_status status);

#endif

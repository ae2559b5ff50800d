/* SPDX-License-Identifier: MIT */
#ifndef LQ_HOLDINGS_H
#define LQ_HOLDINGS_H
/*
 * Who holds how much of the arena. For people: read word by word beside live users, so the parts of one reading need not fit
 * together to the byte.
 */
#include "lq_space.h"

/* Bytes of blocks, which are as large as what they hold, rounded up to a power of two, or to spans. */
struct lq_holdings {
    uint64_t arguments; /* of tasks that are not done */
    uint64_t results;   /* not yet read, or cached */
    uint64_t functions; /* published */
    uint64_t kept;      /* shared values that stay until they are deleted */
    uint64_t pinned;    /* shared values, arrays, and views of what has no other holder any more */
    uint64_t owned;     /* being written, or kept warm by a process */
    uint64_t idle;      /* free, and the system's memory is still had for it */
};

void lq_space_holdings(const struct lq_space *space, struct lq_holdings *holdings);
/* What one row of the roster looks at: how many pins, how many bytes of blocks (each as often as it is pinned). */
void lq_space_pinned_by(const struct lq_space *space, uint32_t row, uint32_t *pins, uint64_t *bytes);

#endif

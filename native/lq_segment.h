/* SPDX-License-Identifier: MIT */
#ifndef LQ_SEGMENT_H
#define LQ_SEGMENT_H
/*
 * One piece of shared memory: an anonymous memfd, sparse, of fixed size. It has no name, so nothing is left when the last
 * process dies, and the size of /dev/shm does not matter. Sealed against shrinking, so no reader can meet SIGBUS by
 * truncation.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lq_status.h"

#define LQ_SEGMENT_MOST (1ull << 39) /* bytes: no segment of a Space is longer, and there may be no address space to map one that is */

struct lq_segment {
    unsigned char *base;
    size_t bytes;
    int fd;
    uint64_t device, inode; /* which file it is: a task may close descriptors that are not its own, and open others */
};

/* LQ_OK, or LQ_SYSTEM with errno. */
enum lq_status lq_segment_create(struct lq_segment *segment, const char *label, size_t bytes);
/* Map a segment that somebody else made. Takes the fd over, also on failure. */
enum lq_status lq_segment_open(struct lq_segment *segment, int fd, int writable);
/* Is the descriptor (still) that of this segment? */
bool lq_segment_has_fd(const struct lq_segment *segment);
/* Where the system hands out huge pages for shared memory to those who ask for them (shmem_enabled: advise), have them. */
void lq_segment_allow_huge(const struct lq_segment *segment);
/* Unmap and close. Safe on one that was never opened (base NULL, fd -1). */
void lq_segment_close(struct lq_segment *segment);

/*
 * A byte that is 1 in this process and 0 in any child forked from it: the kernel wipes its page there. Whoever acts under a
 * label looks at it, so that a child never acts under its parent's. NULL when the system refuses memory.
 */
unsigned char *lq_mark_create(void);
void lq_mark_destroy(unsigned char *mark);

#endif

/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "lq_segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Never 0, 1 or 2: in a program whose standard streams are closed, others would take ours for them. */
static int keep_clear_(int fd)
{
    if (fd < 0 || fd > 2)
        return fd;
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    int reason = errno;
    close(fd);
    errno = reason;
    return moved;
}

static enum lq_status map_(struct lq_segment *segment, int writable)
{
    struct stat facts;
    int protection = PROT_READ | (writable ? PROT_WRITE : 0);
    void *base = mmap(NULL, segment->bytes, protection, MAP_SHARED | MAP_NORESERVE, segment->fd, 0);
    if (base == MAP_FAILED) {
        int reason = errno;
        close(segment->fd);
        *segment = (struct lq_segment){.fd = -1};
        errno = reason;
        return LQ_SYSTEM;
    }
    segment->base = base;
    if (fstat(segment->fd, &facts) == 0) {
        segment->device = facts.st_dev;
        segment->inode = facts.st_ino;
    }
    return LQ_OK;
}

bool lq_segment_has_fd(const struct lq_segment *segment)
{
    struct stat facts;
    return segment->fd >= 0 && fstat(segment->fd, &facts) == 0 && facts.st_dev == segment->device && facts.st_ino == segment->inode;
}

enum lq_status lq_segment_create(struct lq_segment *segment, const char *label, size_t bytes)
{
    *segment = (struct lq_segment){.bytes = bytes};
    segment->fd = keep_clear_(memfd_create(label, MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (segment->fd < 0)
        return LQ_SYSTEM;
    if (ftruncate(segment->fd, (off_t)bytes) != 0 ||
        fcntl(segment->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        int reason = errno;
        close(segment->fd);
        *segment = (struct lq_segment){.fd = -1};
        errno = reason;
        return LQ_SYSTEM;
    }
    return map_(segment, 1);
}

enum lq_status lq_segment_open(struct lq_segment *segment, int fd, int writable)
{
    struct stat facts;
    *segment = (struct lq_segment){.fd = fd};
    /* Seals first: a size that is read before could be outdated by the time it can't shrink any more. */
    int seals = fcntl(fd, F_GET_SEALS);
    bool known = seals >= 0 || errno == EINVAL; /* EINVAL: a file that has none */
    bool sealed = seals >= 0 && (seals & F_SEAL_SHRINK) != 0;
    if (!sealed || fstat(fd, &facts) != 0 || facts.st_size <= 0 || (uint64_t)facts.st_size > LQ_SEGMENT_MOST) {
        int reason = errno;
        close(fd);
        *segment = (struct lq_segment){.fd = -1};
        errno = reason;
        return known ? LQ_CORRUPT : LQ_SYSTEM; /* not ours, nothing in it, or more than can be: no Space */
    }
    segment->bytes = (size_t)facts.st_size;
    return map_(segment, writable);
}

void lq_segment_allow_huge(const struct lq_segment *segment)
{
    madvise(segment->base, segment->bytes, MADV_HUGEPAGE); /* a hint: whatever it answers */
}

void lq_segment_close(struct lq_segment *segment)
{
    if (segment->base != NULL)
        munmap(segment->base, segment->bytes);
    if (segment->fd >= 0)
        close(segment->fd);
    *segment = (struct lq_segment){.fd = -1};
}

unsigned char *lq_mark_create(void)
{
    void *page = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return NULL;
    if (madvise(page, 1, MADV_WIPEONFORK) != 0) {
        munmap(page, 1);
        return NULL;
    }
    *(unsigned char *)page = 1;
    return page;
}

void lq_mark_destroy(unsigned char *mark)
{
    if (mark != NULL)
        munmap(mark, 1);
}

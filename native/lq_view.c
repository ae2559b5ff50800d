/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "lq_view.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

static int protection_of_(enum lq_view_mode mode)
{
    return mode == LQ_VIEW_READ_ONLY ? PROT_READ : PROT_READ | PROT_WRITE;
}

enum lq_status lq_view_open(struct lq_view *view, const struct lq_space *space, uint32_t block, uint64_t from, uint64_t length,
                            enum lq_view_mode mode)
{
    uint64_t room = 0;
    const unsigned char *at = lq_space_block(space, block, &room);
    *view = (struct lq_view){.mode = mode};
    if (at == NULL || from > room || length > room - from)
        return LQ_CORRUPT;
    if (!lq_segment_has_fd(&space->payload))
        return LQ_MISSING;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t begin = (uint64_t)(at - space->arena.memory) + from;
    uint64_t aligned = begin & ~(page - 1);
    uint64_t end = (begin + length + page - 1) & ~(page - 1);
    size_t mapped = end > aligned ? end - aligned : page; /* of nothing, too */
    void *base = mmap(NULL, mapped, protection_of_(mode), (mode == LQ_VIEW_COPY_ON_WRITE ? MAP_PRIVATE : MAP_SHARED) | MAP_NORESERVE,
                      space->payload.fd, (off_t)aligned);
    if (base == MAP_FAILED)
        return LQ_SYSTEM;
    view->base = base;
    view->mapped = mapped;
    view->offset = aligned;
    view->at = (unsigned char *)base + (begin - aligned);
    return LQ_OK;
}

/* Write each page with what it holds. One call where the system has it; its answer tells where memory runs out. */
static enum lq_status take_all_(void *base, size_t bytes)
{
    if (madvise(base, bytes, MADV_POPULATE_WRITE) == 0)
        return LQ_OK;
    if (errno != EINVAL)
        return LQ_SYSTEM;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < bytes; i += page) {
        volatile unsigned char *at = (unsigned char *)base + i;
        *at = *at;
    }
    return LQ_OK;
}

enum lq_status lq_view_keep(struct lq_view *view, const struct lq_space *space)
{
    if (view->base == NULL)
        return LQ_OK;
    if (view->mode != LQ_VIEW_COPY_ON_WRITE) { /* the same bytes, mapped over: from here on written pages are ours */
        if (!lq_segment_has_fd(&space->payload))
            return LQ_MISSING;
        void *base = mmap(view->base, view->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, space->payload.fd,
                          (off_t)view->offset);
        if (base == MAP_FAILED)
            return LQ_SYSTEM;
    }
    enum lq_status status = take_all_(view->base, view->mapped);
    if (status == LQ_OK && view->mode == LQ_VIEW_READ_ONLY && mprotect(view->base, view->mapped, PROT_READ) != 0)
        status = LQ_SYSTEM;
    if (status == LQ_OK && view->mode == LQ_VIEW_SHARED)
        view->mode = LQ_VIEW_COPY_ON_WRITE;
    return status;
}

enum lq_status lq_view_fill(const struct lq_view *view)
{
    return view->base == NULL ? LQ_OK : take_all_(view->base, view->mapped);
}

void lq_view_close(struct lq_view *view)
{
    if (view->base != NULL)
        munmap(view->base, view->mapped);
    view->base = NULL;
    view->at = NULL;
}

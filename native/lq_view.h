/* SPDX-License-Identifier: MIT */
#ifndef LQ_VIEW_H
#define LQ_VIEW_H
/*
 * Bytes of a block as a mapping of its own, which stays where it is until it is closed, whatever becomes of the Space. The caller
 * pins the block meanwhile: what is not written through a copy-on-write view shows what others write there.
 */
#include "lq_space.h"

enum lq_view_mode {
    LQ_VIEW_COPY_ON_WRITE = 0, /* writes go to private copies of the pages they touch */
    LQ_VIEW_READ_ONLY = 1,     /* writes are refused by the hardware */
    LQ_VIEW_SHARED = 2,        /* writes go to the block */
};

struct lq_view {
    unsigned char *at; /* the first of the bytes asked for */
    void *base;        /* of the mapping, NULL: none */
    size_t mapped;
    uint64_t offset;   /* of the mapping, in the arena's memory */
    enum lq_view_mode mode;
};

/*
 * `length` bytes of a block from byte `from` on. LQ_OK; LQ_CORRUPT: they do not lie in it; LQ_MISSING: the descriptor was closed by
 * somebody else in this process, so that nothing can be mapped any more; LQ_SYSTEM.
 * Callers: any.
 */
enum lq_status lq_view_open(struct lq_view *view, const struct lq_space *space, uint32_t block, uint64_t from, uint64_t length,
                            enum lq_view_mode mode);
/* From now on the bytes are this process's own, at the same address: the block may go. LQ_OK; LQ_MISSING: as above; LQ_SYSTEM: no memory. */
enum lq_status lq_view_keep(struct lq_view *view, const struct lq_space *space);
/* Have the system's memory for all of it, in this process's tables. LQ_OK or LQ_SYSTEM. Of shared views. */
enum lq_status lq_view_fill(const struct lq_view *view);
void lq_view_close(struct lq_view *view);

#endif

/* SPDX-License-Identifier: MIT */
#ifndef LQ_ARENA_H
#define LQ_ARENA_H
/*
 * The arena: memory for payloads that do not fit into a slot.
 *
 *   spans   1 MiB each. A span is FREE, or cut into blocks of one size class (512 B << class), or part of a run that
 *           serves one large block:
 *
 *             FREE --> CLASS (aux = class) --> RETIRED(by), when all its blocks are free --> FREE
 *             FREE --> OWNED(head of a run) --> HELD --> OWNED --> FREE          TAIL: the other spans of a run
 *
 *   blocks  FREE --> OWNED(process) --> HELD (by a slot or a function: `backref`) --> OWNED or FREE, generation + 1
 *           RETIRED(process): locked while its span is given back
 *
 *   pinned  HELD, SEEN --> DYING(process) --> OWNED, generation + 1         its holder let go, and nobody looks at it
 *                              |      ^
 *                              '----> PINNED, nobody's: lives as long as somebody pins it (lq_pin.h)
 *
 * There is no free list: the words themselves are searched, from where the last search ended. So freeing is one
 * compare-and-swap, nothing has to be pushed again after a death, and a block can't be lost between two lists. What makes
 * it fast are hints that decide nothing: each process keeps a few warm blocks (OWNED by it) and a current span a class;
 * a span has a flag "something was freed here".
 *
 * A block's number: span << 11 | index within the span; bit 31 marks a run, then the rest is its head span. 0 is no block
 * (span 0 is never given out).
 */
#include "lq_pin.h"

#define LQ_SPAN_ORDER 20u
#define LQ_SPAN_BYTES ((size_t)1 << LQ_SPAN_ORDER)
#define LQ_CLASS_ORDER 9u /* the smallest block: 512 bytes */
#define LQ_CLASSES 11u    /* the largest: 512 KiB, two to a span */
#define LQ_BLOCKS_ORDER (LQ_SPAN_ORDER - LQ_CLASS_ORDER)
#define LQ_BLOCKS_PER_SPAN (1u << LQ_BLOCKS_ORDER)
#define LQ_BLOCK_RUN 0x80000000u
#define LQ_MAX_SPANS (1u << 19)
#define LQ_WARM_BLOCKS 16u /* per class and process, and at most one span's worth */

enum lq_block_state {
    LQ_BLOCK_FREE = 0,
    LQ_BLOCK_OWNED = 1,
    LQ_BLOCK_HELD = 2,
    LQ_BLOCK_RETIRED = 3,
    LQ_SPAN_CLASS = 4,
    LQ_SPAN_TAIL = 5,
    LQ_BLOCK_PINNED = 6,
    LQ_BLOCK_DYING = 7,
};

#define LQ_BLOCK_SEEN 1u /* aux of HELD and OWNED: it has been pinned, so who lets go of it looks for pins first. In DYING and PINNED
                            aux counts the looks: two threads of one process, which bear one label, are told apart by it */

enum lq_holder { LQ_HOLDER_ARGS = 1, LQ_HOLDER_RESULT = 2, LQ_HOLDER_FUNCTION = 3, LQ_HOLDER_KEPT = 4 /* nobody: until it is told */ };

/* Who holds a block: role 4 | slot or function 28 | its generation 32. */
static inline uint64_t lq_backref(enum lq_holder holder, uint32_t index, uint32_t generation)
{
    return (uint64_t)holder << 60 | (uint64_t)(index & 0x0fffffffu) << 32 | generation;
}

struct lq_block {
    lq_a64 word;
    lq_a64 backref; /* the owner writes it before HELD; others believe it only while the word stays the same */
};

struct lq_span {
    lq_a64 word;    /* a span's state, or the block word of the run it heads */
    lq_a64 backref; /* of the run */
    lq_a64 run;     /* head: spans in the run; tail: the head's index. Written by the label's owner */
    lq_a32 freed;   /* hint: a block was freed here since somebody found none. Of span 0: changes when somebody finds no room */
    lq_a32 cut;     /* 1 once the span has been cut into blocks: only then are its block words worth reading */
};

_Static_assert(sizeof(struct lq_span) == 32 && sizeof(struct lq_block) == 16, "two spans or four blocks a line");

/* This process's view. */
struct lq_arena {
    struct lq_span *spans;
    struct lq_block *blocks; /* LQ_BLOCKS_PER_SPAN for each span, most of it never touched */
    lq_a64 *used;            /* the last span that may have been used; raised before a span's word is touched */
    unsigned char *memory;
    uint32_t count;          /* spans, the unused span 0 among them */
    struct lq_pins pins;
    lq_a32 *stocks;          /* a span each: odd when the system's memory was had for it. Grows with each change. May be NULL: not asked for */
    uint32_t *touched;       /* private: the stock for which this process has the span's pages in its tables */
    int fd;                  /* of the memory, or -1 */
};

/* What one process remembers to be quick. Private memory; losing it costs nothing but warm blocks. */
struct lq_arena_cache {
    struct {
        uint32_t warm[LQ_WARM_BLOCKS]; /* OWNED by this process, last freed on top */
        uint32_t warm_count;
        uint32_t span;                 /* where the last search of this class ended */
        uint32_t index;
    } classes[LQ_CLASSES];
    uint32_t pressure; /* of the arena, when this cache was last emptied for it */
    uint32_t kept_from; /* spans at the end of the arena that are not for this one: what goes in leaves room for what comes out */
};

size_t lq_arena_spans_size(uint32_t count);
size_t lq_arena_blocks_size(uint32_t count);
size_t lq_arena_stocks_size(uint32_t count);
/* LQ_OK and *block, OWNED by `me`; LQ_FULL when nothing is free now; LQ_NEVER when the arena is smaller than that; LQ_SYSTEM
   when the system has no memory for it (so that it is said here, and not by a signal when the bytes are written). `sparse`: of
   large blocks the memory is had when it is written. */
enum lq_status lq_arena_take(const struct lq_arena *arena, struct lq_arena_cache *cache, lq_label me, uint64_t bytes,
                             bool sparse, uint32_t *block);
/* OWNED(me) -> HELD by `backref`. */
void lq_arena_hold(const struct lq_arena *arena, lq_label me, uint32_t block, uint64_t backref);
/* HELD by `backref` -> free (warm for `me` if there is room), or PINNED. Nothing happens when it is held otherwise. */
void lq_arena_drop(const struct lq_arena *arena, struct lq_arena_cache *cache, lq_label me, uint32_t block, uint64_t backref);
/*
 * Look at a block for longer than its holder has it: until lq_arena_unpin it is not used again. `tie`: see lq_pin.h. Where the
 * block was found through a slot, look after this whether the slot is still current, or it is another's block.
 *
 * Callers:  any process, one thread of it at a time (as for everything below). `generation` is that of the block's word.
 * Progress: lock-free; again only when somebody else's swap came in between.
 * Returns:  LQ_OK and *entry; LQ_MISSING: the block was given back before, or is still owned by another, or this process has left;
 *           LQ_FULL: this process pins as much as it can.
 * Death:    the entry counts only while the process lives, or as long as its task is on its way.
 */
enum lq_status lq_arena_pin(const struct lq_arena *arena, lq_label me, uint32_t block, uint32_t generation, uint64_t tie,
                            uint32_t *cursor, uint32_t *entry);
/* The last one gives the block back, if nobody holds it. Death: what was lifted is settled by recovery. */
void lq_arena_unpin(const struct lq_arena *arena, struct lq_arena_cache *cache, lq_label me, uint32_t entry);
/* OWNED(me), and pinned by `me`: from now on it lives by its pins alone. */
void lq_arena_loosen(const struct lq_arena *arena, lq_label me, uint32_t block);
/*
 * Give a block back that has no holder, unless somebody pins it.
 *
 * Callers:  any number of processes at once; one thread of each. It is called again by each who takes a pin back.
 * Progress: lock-free.
 * Death:    DYING(me) until it is decided; recovery decides anew.
 */
void lq_arena_settle(const struct lq_arena *arena, struct lq_arena_cache *cache, lq_label me, uint32_t block, uint32_t generation);
/* Give an OWNED block back; if it is pinned, it lives by its pins. Where `cache` may be NULL, nothing is kept warm. */
void lq_arena_return(const struct lq_arena *arena, struct lq_arena_cache *cache, lq_label me, uint32_t block);
/* Give all warm blocks back. */
void lq_arena_cool(const struct lq_arena *arena, struct lq_arena_cache *cache, lq_label me);
/* The same if somebody has found no room since the last time. To be called now and then, or one warm block could keep a
   whole span from others for ever. */
void lq_arena_ease(const struct lq_arena *arena, struct lq_arena_cache *cache, lq_label me);
/*
 * Free a HELD block in the name of a dead process. `guard` must still hold `guard_word` after the block's word was read:
 * then the block is the one that the dead process's object named, and not a later one of the same number.
 */
void lq_arena_drop_for(const struct lq_arena *arena, lq_label me, uint32_t block, uint64_t backref, const lq_a64 *guard,
                       uint64_t guard_word);
/* Free what `dead` owned or pinned. Returns how many words and entries were found: zero proves that none is left. *tied: how many of
   them are pins that stay, because their task is on its way. */
uint32_t lq_arena_recover(const struct lq_arena *arena, lq_label dead, lq_label me, uint32_t *tied);
/*
 * Give the system back the memory of spans that have been free since the last call. `idle`: the caller's, a number a span, zero at
 * first. Returns the bytes, and in *left, unless that is NULL, how many spans hold memory still. Every process is asked for its warm blocks, too.
 *
 * Callers:  one at a time; others may use everything.
 * Death:    OWNED(me) while it is done.
 */
uint64_t lq_arena_give_back(const struct lq_arena *arena, lq_label me, uint64_t *idle, uint32_t *left);
/* The system's memory for a large block that was taken sparse has been had, by way of another mapping. Its owner calls. */
void lq_arena_note_filled(const struct lq_arena *arena, uint32_t block);
/* Have the pages of these bytes of a large block in this process's tables, all at once: a fault for each costs more than to write it.
   Not those of which the system's memory was not had yet. Callers: who may write them. */
void lq_arena_touch(const struct lq_arena *arena, uint32_t block, uint64_t from, uint64_t length);
/* Give the system back the memory of a run that the caller has in hand: it reads as zeros. False: it is no run. */
bool lq_arena_empty(const struct lq_arena *arena, uint32_t block);
/* The queue has ended, and nothing will be written any more: keep the memory of what is pinned, give back the rest. */
void lq_arena_strip(const struct lq_arena *arena);
enum lq_status lq_arena_check(const struct lq_arena *arena);
/* Bytes of the blocks that are neither free nor warm somewhere, and of all spans ever used. For people. */
void lq_arena_reading(const struct lq_arena *arena, uint64_t *held_bytes, uint64_t *owned_bytes, uint64_t *spans_in_use);

/* Where block number `block` lies and how many bytes it offers; NULL when no such block can exist. */
unsigned char *lq_arena_at(const struct lq_arena *arena, uint32_t block, uint64_t *bytes);
/* The block's word, or NULL. */
lq_a64 *lq_arena_word(const struct lq_arena *arena, uint32_t block);
lq_a64 *lq_arena_backref(const struct lq_arena *arena, uint32_t block);

#endif

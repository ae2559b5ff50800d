/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "lq_arena.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

static uint32_t class_blocks_(uint32_t class)
{
    return LQ_BLOCKS_PER_SPAN >> class;
}

static uint32_t class_of_(uint64_t bytes)
{
    uint32_t class = 0;
    while (((uint64_t)1 << (LQ_CLASS_ORDER + class)) < bytes)
        class++;
    return class;
}

/* Warm blocks that a process keeps of a class: at most one span's worth. */
static uint32_t warm_limit_(uint32_t class)
{
    uint32_t fit = class_blocks_(class);
    return fit < LQ_WARM_BLOCKS ? fit : LQ_WARM_BLOCKS;
}

size_t lq_arena_spans_size(uint32_t count)
{
    return sizeof(struct lq_span) * (size_t)count;
}

size_t lq_arena_blocks_size(uint32_t count)
{
    return sizeof(struct lq_block) * ((size_t)count << LQ_BLOCKS_ORDER);
}

size_t lq_arena_stocks_size(uint32_t count)
{
    return sizeof(lq_a32) * (size_t)count;
}

static struct lq_block *block_(const struct lq_arena *arena, uint32_t span, uint32_t index)
{
    return &arena->blocks[((size_t)span << LQ_BLOCKS_ORDER) + index];
}

lq_a64 *lq_arena_word(const struct lq_arena *arena, uint32_t block)
{
    uint32_t span = block & LQ_BLOCK_RUN ? block & ~LQ_BLOCK_RUN : block >> LQ_BLOCKS_ORDER;
    if (span == 0 || span >= arena->count)
        return NULL;
    if (block & LQ_BLOCK_RUN)
        return &arena->spans[span].word;
    return &block_(arena, span, block & (LQ_BLOCKS_PER_SPAN - 1))->word;
}

lq_a64 *lq_arena_backref(const struct lq_arena *arena, uint32_t block)
{
    if (block & LQ_BLOCK_RUN)
        return &arena->spans[block & ~LQ_BLOCK_RUN].backref;
    return &block_(arena, block >> LQ_BLOCKS_ORDER, block & (LQ_BLOCKS_PER_SPAN - 1))->backref;
}

unsigned char *lq_arena_at(const struct lq_arena *arena, uint32_t block, uint64_t *bytes)
{
    if (lq_arena_word(arena, block) == NULL)
        return NULL;
    if (block & LQ_BLOCK_RUN) {
        uint32_t head = block & ~LQ_BLOCK_RUN;
        uint64_t spans = lq_load(&arena->spans[head].run);
        if (spans == 0 || spans > arena->count - head)
            return NULL;
        *bytes = spans << LQ_SPAN_ORDER;
        return arena->memory + ((size_t)head << LQ_SPAN_ORDER);
    }
    uint32_t span = block >> LQ_BLOCKS_ORDER;
    uint32_t index = block & (LQ_BLOCKS_PER_SPAN - 1);
    uint64_t word = lq_load(&arena->spans[span].word);
    uint32_t class = lq_word_aux(word);
    if (lq_word_state(word) != LQ_SPAN_CLASS || class >= LQ_CLASSES || index >= class_blocks_(class))
        return NULL;
    *bytes = (uint64_t)1 << (LQ_CLASS_ORDER + class);
    return arena->memory + ((size_t)span << LQ_SPAN_ORDER) + ((size_t)index << (LQ_CLASS_ORDER + class));
}

/* ---------------------------------------------------------------------------------------------- the system's memory */

static unsigned char *span_at_(const struct lq_arena *arena, uint64_t span)
{
    return arena->memory + (span << LQ_SPAN_ORDER);
}

/* Pages of the system, and in this process's tables: one call for all is many times quicker than a fault each. */
static enum lq_status populate_(const struct lq_arena *arena, uint32_t first, uint64_t spans)
{
    if (madvise(span_at_(arena, first), spans << LQ_SPAN_ORDER, MADV_POPULATE_WRITE) == 0)
        return LQ_OK;
    if (errno != EINVAL)
        return LQ_SYSTEM;
    if (arena->fd >= 0 && fallocate(arena->fd, 0, (off_t)first << LQ_SPAN_ORDER, (off_t)(spans << LQ_SPAN_ORDER)) != 0 && errno != EOPNOTSUPP)
        return LQ_SYSTEM;
    return LQ_OK;
}

static bool is_stocked_(const struct lq_arena *arena, uint32_t span)
{
    uint32_t stock = lq_load32(&arena->stocks[span]);
    return (stock & 1u) != 0 && LQ_GET(arena->touched[span]) == stock;
}

/* Spans from `first` on that are to be had. What they will be, should nobody empty them meanwhile, is noted for the time being. */
static uint32_t unstocked_(const struct lq_arena *arena, uint32_t first, uint64_t end)
{
    uint32_t at = first;
    for (; at < end && !is_stocked_(arena, at); at++)
        LQ_PUT(arena->touched[at], lq_load32(&arena->stocks[at]) | 1u);
    return at - first;
}

/*
 * Have the system's memory for these spans, of which the first one's word is `word`.
 *
 * Callers:  whoever owns them, or is about to cut one that is free. Who empties it takes its word first, then tells, then empties:
 *           so if the word still stands when the memory is had, what was told before was before this.
 * Death:    memory that nobody knows of; it is found when the span is used, or given back.
 */
static enum lq_status stock_(const struct lq_arena *arena, uint32_t first, uint64_t spans, uint64_t word)
{
    uint64_t end = first + spans;
    for (uint32_t at = first; arena->stocks != NULL && at < end; at++) {
        uint32_t count = unstocked_(arena, at, end);
        bool had = count == 0 || populate_(arena, at, count) == LQ_OK;
        LQ_FAULT("arena_stock:had");
        bool stands = had && lq_load_seq(&arena->spans[first].word) == word;
        for (uint32_t last = at + count; at < last; at++) {
            uint32_t stock = LQ_GET(arena->touched[at]);
            if (stands)
                lq_cas32(&arena->stocks[at], stock - 1, stock);
            else
                LQ_PUT(arena->touched[at], 0u);
        }
        if (!had)
            return LQ_SYSTEM;
    }
    return LQ_OK;
}

/* ---------------------------------------------------------------------------------------------- blocks of a class */

/*
 * Claim a free block of `span`, looking from *index on.
 *
 * Callers:  any number of processes at once.
 * Progress: wait-free (one pass over the span's words).
 * Returns:  LQ_OK and *index; LQ_EMPTY.
 * Death:    from the swap on the word names `me`. The span can't change its class while a block of it is not free, so
 *           looking at the class after the swap settles whether the block is what was asked for.
 */
static enum lq_status take_in_span_(const struct lq_arena *arena, lq_label me, uint32_t span, uint32_t class, uint32_t *index)
{
    uint32_t blocks = class_blocks_(class);
    for (uint32_t i = 0; i < blocks; i++) {
        uint32_t at = (*index + i) & (blocks - 1);
        struct lq_block *block = block_(arena, span, at);
        uint64_t word = lq_load(&block->word);
        if (lq_word_state(word) != LQ_BLOCK_FREE || !lq_cas(&block->word, word, lq_word_as(word, LQ_BLOCK_OWNED, me)))
            continue;
        LQ_FAULT("arena_take:claimed");
        uint64_t span_word = lq_load_seq(&arena->spans[span].word);
        if (lq_word_state(span_word) == LQ_SPAN_CLASS && lq_word_aux(span_word) == class) {
            *index = at;
            return LQ_OK;
        }
        /* The span was given back and cut otherwise in between. */
        lq_cas(&block->word, lq_word_as(word, LQ_BLOCK_OWNED, me), lq_word_next(word, LQ_BLOCK_FREE, LQ_NOBODY, 0));
        return LQ_EMPTY;
    }
    return LQ_EMPTY;
}

static bool is_class_(uint64_t word, uint32_t class)
{
    return lq_word_state(word) == LQ_SPAN_CLASS && lq_word_aux(word) == class;
}

/* Spans that may hold anything: [1, end). */
static uint32_t spans_end_(const struct lq_arena *arena)
{
    uint64_t end = lq_load(arena->used) + 1;
    return end < arena->count ? (uint32_t)end : arena->count;
}

/* Before a span's word is touched, so that recovery, which looks no further, can't miss it. */
static void note_used_(const struct lq_arena *arena, uint32_t span)
{
    for (;;) {
        uint64_t used = lq_load(arena->used);
        if (used >= span || lq_cas(arena->used, used, span))
            return;
    }
}

static enum lq_status take_from_(const struct lq_arena *arena, lq_label me, uint32_t class, uint32_t span, uint32_t *found_span,
                                 uint32_t *found_index)
{
    uint32_t index = 0;
    if (take_in_span_(arena, me, span, class, &index) != LQ_OK)
        return LQ_EMPTY;
    *found_span = span;
    *found_index = index;
    return LQ_OK;
}

/* Any span of the class that may have a free block; `hinted`: only those where something was freed. */
static enum lq_status search_class_(const struct lq_arena *arena, lq_label me, uint32_t class, bool hinted, uint32_t *span,
                                    uint32_t *index)
{
    uint32_t used = spans_end_(arena);
    uint32_t from = *span;
    for (uint32_t i = 0; i + 1 < used; i++) {
        uint32_t at = 1 + (from + i) % (used - 1);
        struct lq_span *candidate = &arena->spans[at];
        if (!is_class_(lq_load(&candidate->word), class) || (hinted && lq_load32_relaxed(&candidate->freed) == 0))
            continue;
        if (take_from_(arena, me, class, at, span, index) == LQ_OK)
            return LQ_OK;
        lq_store32_relaxed(&candidate->freed, 0); /* may lose a free that came in between: the unhinted pass finds it */
    }
    return LQ_EMPTY;
}

/* Spans that a process may begin to use: [1, end). */
static uint32_t room_end_(const struct lq_arena *arena, const struct lq_arena_cache *cache)
{
    return arena->count - cache->kept_from;
}

/* Cut a free span into blocks of the class. It needs no label: a cut span whose blocks are all free is a sound state. */
static enum lq_status cut_span_(const struct lq_arena *arena, lq_label me, uint32_t end, uint32_t class, uint32_t *span, uint32_t *index)
{
    for (uint32_t at = 1; at < end; at++) {
        struct lq_span *candidate = &arena->spans[at];
        uint64_t word = lq_load(&candidate->word);
        if (lq_word_state(word) != LQ_BLOCK_FREE)
            continue;
        note_used_(arena, at);
        LQ_FAULT("arena_cut:counted");
        if (stock_(arena, at, 1, word) != LQ_OK)
            return LQ_SYSTEM;
        lq_store32(&candidate->cut, 1);
        if (!lq_cas(&candidate->word, word, lq_word(LQ_SPAN_CLASS, LQ_NOBODY, lq_word_generation(word), class)))
            continue;
        LQ_FAULT("arena_cut:swapped");
        if (take_from_(arena, me, class, at, span, index) == LQ_OK)
            return LQ_OK;
    }
    return LQ_EMPTY;
}

/*
 * Give back a span whose blocks are all free.
 *
 * Callers:  any number of processes at once, beside others that take blocks of the span.
 * Progress: wait-free.
 * Death:    the span's word is not touched before every block is RETIRED(me); recovery sets those FREE again. After the
 *           span's swap the same recovery ends the work.
 */
static bool retire_span_(const struct lq_arena *arena, lq_label me, uint32_t span)
{
    uint64_t word = lq_load(&arena->spans[span].word);
    if (lq_word_state(word) != LQ_SPAN_CLASS || lq_word_aux(word) >= LQ_CLASSES)
        return false;
    uint32_t blocks = class_blocks_(lq_word_aux(word));
    uint32_t locked = 0;
    for (; locked < blocks; locked++) {
        struct lq_block *block = block_(arena, span, locked);
        uint64_t seen = lq_load(&block->word);
        if (lq_word_state(seen) != LQ_BLOCK_FREE || !lq_cas(&block->word, seen, lq_word_as(seen, LQ_BLOCK_RETIRED, me)))
            break;
        LQ_FAULT("arena_retire:locked");
    }
    bool all = locked == blocks;
    if (all) {
        all = lq_cas(&arena->spans[span].word, word, lq_word_next(word, LQ_BLOCK_FREE, LQ_NOBODY, 0));
        LQ_FAULT("arena_retire:swapped");
    }
    for (uint32_t i = 0; i < locked; i++) {
        struct lq_block *block = block_(arena, span, i);
        uint64_t seen = lq_load(&block->word);
        if (lq_word_state(seen) == LQ_BLOCK_RETIRED && lq_word_label(seen) == me)
            lq_cas(&block->word, seen, lq_word_next(seen, LQ_BLOCK_FREE, LQ_NOBODY, 0));
        LQ_FAULT("arena_retire:unlocked");
    }
    return all;
}

static uint32_t retire_all_(const struct lq_arena *arena, lq_label me)
{
    uint32_t retired = 0;
    uint32_t used = spans_end_(arena);
    for (uint32_t span = 1; span < used; span++)
        retired += retire_span_(arena, me, span);
    return retired;
}

static enum lq_status take_block_(const struct lq_arena *arena, struct lq_arena_cache *cache, lq_label me, uint32_t class,
                                  uint32_t *block)
{
    uint32_t *span = &cache->classes[class].span;
    uint32_t *index = &cache->classes[class].index;
    uint32_t end = room_end_(arena, cache);
    bool found = *span != 0 && *span < arena->count && is_class_(lq_load(&arena->spans[*span].word), class) &&
                 take_in_span_(arena, me, *span, class, index) == LQ_OK;
    found = found || search_class_(arena, me, class, true, span, index) == LQ_OK;
    enum lq_status status = found ? LQ_OK : cut_span_(arena, me, end, class, span, index);
    if (status == LQ_EMPTY)
        status = search_class_(arena, me, class, false, span, index);
    if (status == LQ_EMPTY && retire_all_(arena, me) != 0)
        status = cut_span_(arena, me, end, class, span, index);
    if (status != LQ_OK)
        return status == LQ_SYSTEM ? LQ_SYSTEM : LQ_FULL;
    *block = *span << LQ_BLOCKS_ORDER | *index;
    *index = (*index + 1) & (class_blocks_(class) - 1);
    return LQ_OK;
}

/* ------------------------------------------------------------------------------------------------- runs of spans */

/* Give back the spans behind `head`, then the head itself, whose word is OWNED by `label`. Safe to begin again after a death. */
static void free_run_(const struct lq_arena *arena, uint32_t head, uint64_t head_word)
{
    uint64_t spans = lq_load(&arena->spans[head].run);
    for (uint64_t i = 1; i < spans && head + i < arena->count; i++) {
        struct lq_span *tail = &arena->spans[head + i];
        uint64_t word = lq_load(&tail->word);
        /* Settled ones only: before that, `run` may still name the head of an earlier use. */
        if (lq_word_state(word) != LQ_SPAN_TAIL || lq_word_label(word) != LQ_NOBODY || lq_load(&tail->run) != head)
            continue; /* freed before, and perhaps used again */
        if (lq_load(&arena->spans[head].word) != head_word)
            return; /* another recoverer was quicker; the run is no longer the one that was read */
        lq_cas(&tail->word, word, lq_word_next(word, LQ_BLOCK_FREE, LQ_NOBODY, 0));
        LQ_FAULT("arena_free_run:tail");
    }
    lq_cas(&arena->spans[head].word, head_word, lq_word_next(head_word, LQ_BLOCK_FREE, LQ_NOBODY, 0));
    LQ_FAULT("arena_free_run:head");
}

/*
 * Claim `spans` neighbours.
 *
 * Callers:  any number of processes at once.
 * Progress: lock-free; two that meet in the middle both give way and the scan goes on behind.
 * Death:    the head is OWNED(me), each tail TAIL(me) until it is settled; recovery frees tails by label, and the
 *           settled ones through the head.
 */
static enum lq_status take_run_at_(const struct lq_arena *arena, lq_label me, uint32_t head, uint64_t spans)
{
    uint64_t word = lq_load(&arena->spans[head].word);
    uint64_t mine = lq_word_as(word, LQ_BLOCK_OWNED, me);
    note_used_(arena, head + (uint32_t)spans - 1);
    if (lq_word_state(word) != LQ_BLOCK_FREE || !lq_cas(&arena->spans[head].word, word, mine))
        return LQ_EMPTY;
    LQ_FAULT("arena_take_run:head");
    lq_store(&arena->spans[head].run, 1);
    for (uint64_t i = 1; i < spans; i++) {
        struct lq_span *tail = &arena->spans[head + i];
        uint64_t seen = lq_load(&tail->word);
        if (lq_word_state(seen) != LQ_BLOCK_FREE || !lq_cas(&tail->word, seen, lq_word_as(seen, LQ_SPAN_TAIL, me))) {
            free_run_(arena, head, mine);
            return LQ_EMPTY;
        }
        LQ_FAULT("arena_take_run:tail");
        lq_store(&tail->run, head);
        lq_store(&arena->spans[head].run, i + 1);
        lq_store(&tail->word, lq_word_as(seen, LQ_SPAN_TAIL, LQ_NOBODY));
        LQ_FAULT("arena_take_run:settled");
    }
    return LQ_OK;
}

static enum lq_status take_run_(const struct lq_arena *arena, uint32_t end, lq_label me, uint64_t bytes, bool sparse, uint32_t *block)
{
    uint64_t spans = (bytes + LQ_SPAN_BYTES - 1) >> LQ_SPAN_ORDER;
    for (int pass = 0; pass < 2; pass++) {
        uint32_t free = 0;
        for (uint32_t at = 1; at < end; at++) {
            free = lq_word_state(lq_load(&arena->spans[at].word)) == LQ_BLOCK_FREE ? free + 1 : 0;
            if (free < spans)
                continue;
            uint32_t head = at + 1 - (uint32_t)spans;
            if (take_run_at_(arena, me, head, spans) == LQ_OK) {
                *block = LQ_BLOCK_RUN | head;
                uint64_t word = lq_load(&arena->spans[head].word);
                if (sparse || stock_(arena, head, spans, word) == LQ_OK)
                    return LQ_OK;
                free_run_(arena, head, word);
                return LQ_SYSTEM;
            }
            free = 0;
        }
        if (pass == 0 && retire_all_(arena, me) == 0)
            break;
    }
    return LQ_FULL;
}

/* -------------------------------------------------------------------------------------------------- take and free */

static enum lq_status take_any_(const struct lq_arena *arena, struct lq_arena_cache *cache, lq_label me, uint32_t class,
                                uint64_t bytes, bool sparse, uint32_t *block)
{
    return class < LQ_CLASSES ? take_block_(arena, cache, me, class, block)
                              : take_run_(arena, room_end_(arena, cache), me, bytes, sparse, block);
}

enum lq_status lq_arena_take(const struct lq_arena *arena, struct lq_arena_cache *cache, lq_label me, uint64_t bytes,
                             bool sparse, uint32_t *block)
{
    if (bytes > (uint64_t)(room_end_(arena, cache) - 1) << LQ_SPAN_ORDER)
        return LQ_NEVER;
    uint32_t class = class_of_(bytes);
    if (class < LQ_CLASSES && cache->classes[class].warm_count != 0) {
        *block = cache->classes[class].warm[--cache->classes[class].warm_count];
        return LQ_OK;
    }
    enum lq_status status = take_any_(arena, cache, me, class, bytes, sparse, block);
    if (status != LQ_FULL)
        return status;
    lq_arena_cool(arena, cache, me);
    lq_a32 *pressure = &arena->spans[0].freed;
    lq_store32_relaxed(pressure, lq_load32_relaxed(pressure) + 1); /* a hint: that it differs is all that matters */
    return take_any_(arena, cache, me, class, bytes, sparse, block);
}

void lq_arena_ease(const struct lq_arena *arena, struct lq_arena_cache *cache, lq_label me)
{
    uint32_t pressure = lq_load32_relaxed(&arena->spans[0].freed);
    if (cache->pressure == pressure)
        return;
    cache->pressure = pressure;
    lq_arena_cool(arena, cache, me);
}

void lq_arena_hold(const struct lq_arena *arena, lq_label me, uint32_t block, uint64_t backref)
{
    lq_a64 *word = lq_arena_word(arena, block);
    uint64_t seen = lq_load(word);
    lq_store(lq_arena_backref(arena, block), backref);
    LQ_FAULT("arena_hold:named");
    if (lq_word_state(seen) == LQ_BLOCK_OWNED && lq_word_label(seen) == me)
        lq_store(word, lq_word_as(seen, LQ_BLOCK_HELD, LQ_NOBODY)); /* a plain release: the label says it is ours */
    LQ_FAULT("arena_hold:held");
}

/* The block behind `word`, OWNED in `seen`, becomes free. */
static void free_owned_(const struct lq_arena *arena, uint32_t block, lq_a64 *word, uint64_t seen)
{
    if (block & LQ_BLOCK_RUN) {
        free_run_(arena, block & ~LQ_BLOCK_RUN, seen);
        return;
    }
    lq_cas(word, seen, lq_word_next(seen, LQ_BLOCK_FREE, LQ_NOBODY, 0));
    LQ_FAULT("arena_free:freed");
    lq_store32_relaxed(&arena->spans[block >> LQ_BLOCKS_ORDER].freed, 1);
}

/*
 * Nobody holds or owns any more the block whose word is `seen`, and it was pinned once: free, or PINNED. A pin that came before the
 * swap to DYING is found; one that comes later takes the word from us. False: the word is another by now.
 */
static bool let_go_(const struct lq_arena *arena, struct lq_arena_cache *cache, lq_label me, uint32_t block, uint64_t seen)
{
    lq_a64 *word = lq_arena_word(arena, block);
    uint64_t dying = lq_word(LQ_BLOCK_DYING, me, lq_word_generation(seen), lq_word_aux(seen) + 1); /* another look than the one before */
    if (!lq_cas(word, seen, dying))
        return false;
    LQ_FAULT("arena_let_go:dying");
    if (lq_pins_any(&arena->pins, block, lq_word_generation(dying))) {
        LQ_FAULT("arena_let_go:found");
        lq_cas(word, dying, lq_word_as(dying, LQ_BLOCK_PINNED, LQ_NOBODY));
        LQ_FAULT("arena_let_go:pinned");
    } else if (lq_cas(word, dying, lq_word_next(dying, LQ_BLOCK_OWNED, me, 0))) {
        LQ_FAULT("arena_let_go:owned");
        lq_arena_return(arena, cache, me, block);
    }
    return true;
}

void lq_arena_return(const struct lq_arena *arena, struct lq_arena_cache *cache, lq_label me, uint32_t block)
{
    lq_a64 *word = lq_arena_word(arena, block);
    uint64_t seen = lq_load(word);
    if (lq_word_state(seen) != LQ_BLOCK_OWNED || lq_word_label(seen) != me)
        return;
    if (lq_word_aux(seen) != 0) {
        let_go_(arena, cache, me, block, seen);
        return;
    }
    if (!(block & LQ_BLOCK_RUN)) {
        uint32_t class = lq_word_aux(lq_load(&arena->spans[block >> LQ_BLOCKS_ORDER].word));
        if (cache != NULL)
            lq_arena_ease(arena, cache, me);
        if (cache != NULL && class < LQ_CLASSES && cache->classes[class].warm_count < warm_limit_(class)) {
            cache->classes[class].warm[cache->classes[class].warm_count++] = block;
            return;
        }
    }
    free_owned_(arena, block, word, seen);
}

/* ----------------------------------------------------------------------------------------------------------- pins */

void lq_arena_settle(const struct lq_arena *arena, struct lq_arena_cache *cache, lq_label me, uint32_t block, uint32_t generation)
{
    lq_a64 *word = lq_arena_word(arena, block);
    for (;;) {
        uint64_t seen = word == NULL ? 0 : lq_load_seq(word);
        uint32_t state = lq_word_state(seen);
        if ((state != LQ_BLOCK_PINNED && state != LQ_BLOCK_DYING) || (lq_word_generation(seen) & 0xfffffu) != (generation & 0xfffffu))
            return;
        /* From another's hands, too: whoever looks now may have seen the pin that has just gone. */
        if (let_go_(arena, cache, me, block, seen))
            return;
    }
}

/* A pin has been noted: is the block still there, and will whoever lets go of it look for pins? */
static bool is_kept_(const struct lq_arena *arena, lq_label me, uint32_t block, uint32_t generation)
{
    lq_a64 *word = lq_arena_word(arena, block);
    for (;;) {
        uint64_t seen = word == NULL ? 0 : lq_load_seq(word);
        uint32_t state = lq_word_state(seen);
        if (lq_word_generation(seen) != generation)
            return false;
        bool is_there = state == LQ_BLOCK_HELD || (state == LQ_BLOCK_OWNED && lq_word_label(seen) == me);
        if (state == LQ_BLOCK_PINNED || (is_there && lq_word_aux(seen) == LQ_BLOCK_SEEN))
            return true;
        if (is_there) {
            if (lq_cas(word, seen, lq_word(state, lq_word_label(seen), generation, LQ_BLOCK_SEEN)))
                return true;
        } else if (state != LQ_BLOCK_DYING) {
            return false;
        } else if (lq_cas(word, seen, lq_word_as(seen, LQ_BLOCK_PINNED, LQ_NOBODY))) { /* before it is decided, by one who did not see this pin */
            LQ_FAULT("arena_pin:saved");
            return true;
        }
    }
}

enum lq_status lq_arena_pin(const struct lq_arena *arena, lq_label me, uint32_t block, uint32_t generation, uint64_t tie,
                            uint32_t *cursor, uint32_t *entry)
{
    enum lq_status status = lq_pins_note(&arena->pins, me, block, generation, tie, cursor, entry);
    if (status != LQ_OK)
        return status;
    if (is_kept_(arena, me, block, generation)) {
        LQ_FAULT("arena_pin:kept");
        return LQ_OK;
    }
    lq_arena_unpin(arena, NULL, me, *entry); /* somebody may have counted on it meanwhile */
    return LQ_MISSING;
}

void lq_arena_unpin(const struct lq_arena *arena, struct lq_arena_cache *cache, lq_label me, uint32_t entry)
{
    uint64_t what = lq_pins_lift(&arena->pins, me, entry);
    if (what == 0)
        return;
    lq_arena_settle(arena, cache, me, lq_pin_block(what), lq_pin_generation(what));
    LQ_FAULT("arena_unpin:settled");
    lq_pins_erase(&arena->pins, me, entry);
}

void lq_arena_loosen(const struct lq_arena *arena, lq_label me, uint32_t block)
{
    lq_a64 *word = lq_arena_word(arena, block);
    uint64_t seen = lq_load(word);
    if (lq_word_state(seen) == LQ_BLOCK_OWNED && lq_word_label(seen) == me)
        lq_store(word, lq_word_as(seen, LQ_BLOCK_PINNED, LQ_NOBODY));
    LQ_FAULT("arena_loosen:loose");
}

void lq_arena_drop(const struct lq_arena *arena, struct lq_arena_cache *cache, lq_label me, uint32_t block, uint64_t backref)
{
    lq_a64 *word = lq_arena_word(arena, block);
    for (;;) { /* again when a pin has come in between */
        uint64_t seen = word == NULL ? 0 : lq_load(word);
        if (lq_word_state(seen) != LQ_BLOCK_HELD || lq_load(lq_arena_backref(arena, block)) != backref)
            return;
        if (lq_word_aux(seen) != 0) {
            if (let_go_(arena, cache, me, block, seen))
                return;
        } else if (lq_cas(word, seen, lq_word_next(seen, LQ_BLOCK_OWNED, me, 0))) {
            LQ_FAULT("arena_drop:owned");
            lq_arena_return(arena, cache, me, block);
            return;
        }
    }
}

void lq_arena_cool(const struct lq_arena *arena, struct lq_arena_cache *cache, lq_label me)
{
    for (uint32_t class = 0; class < LQ_CLASSES; class++)
        while (cache->classes[class].warm_count != 0)
            lq_arena_return(arena, NULL, me, cache->classes[class].warm[--cache->classes[class].warm_count]);
}

/* ------------------------------------------------------------------------------------------------------- recovery */

/* Of a HELD block that nobody has pinned so far. False: the word is another by now. */
static bool free_for_(const struct lq_arena *arena, lq_label dead, uint32_t block, lq_a64 *word, uint64_t seen)
{
    if (!(block & LQ_BLOCK_RUN)) {
        bool freed = lq_cas(word, seen, lq_word_next(seen, LQ_BLOCK_FREE, LQ_NOBODY, 0));
        if (freed)
            lq_store32_relaxed(&arena->spans[block >> LQ_BLOCKS_ORDER].freed, 1);
        LQ_FAULT("arena_drop_for:freed");
        return freed;
    }
    /* A run is freed in steps, so its head must name the dead meanwhile: recovery by label then ends it. */
    uint64_t owned = lq_word_next(seen, LQ_BLOCK_OWNED, dead, 0);
    if (!lq_cas(word, seen, owned))
        return false;
    LQ_FAULT("arena_drop_for:owned");
    free_run_(arena, block & ~LQ_BLOCK_RUN, owned);
    return true;
}

void lq_arena_drop_for(const struct lq_arena *arena, lq_label me, uint32_t block, uint64_t backref, const lq_a64 *guard,
                       uint64_t guard_word)
{
    lq_a64 *word = lq_arena_word(arena, block);
    for (;;) { /* again when a pin has come in between */
        uint64_t seen = word == NULL ? 0 : lq_load(word);
        if (lq_word_state(seen) != LQ_BLOCK_HELD || lq_load(lq_arena_backref(arena, block)) != backref)
            return;
        if (lq_load_seq(guard) != guard_word)
            return; /* somebody has recovered it already; the block may have been used again since */
        bool done = lq_word_aux(seen) != 0 ? let_go_(arena, NULL, me, block, seen)
                                           : free_for_(arena, lq_word_label(guard_word), block, word, seen);
        if (done)
            return;
    }
}

/* What the dead one had in its hands, but must not simply be freed: it was about to look for pins, or there may be some. */
static bool may_be_pinned_(uint64_t seen)
{
    return lq_word_state(seen) == LQ_BLOCK_DYING || (lq_word_state(seen) == LQ_BLOCK_OWNED && lq_word_aux(seen) != 0);
}

static uint32_t recover_blocks_(const struct lq_arena *arena, lq_label dead, lq_label me, uint32_t span)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < LQ_BLOCKS_PER_SPAN; i++) {
        struct lq_block *block = block_(arena, span, i);
        uint64_t seen = lq_load(&block->word);
        if (lq_word_label(seen) != dead)
            continue;
        found++;
        if (may_be_pinned_(seen)) {
            let_go_(arena, NULL, me, span << LQ_BLOCKS_ORDER | i, seen);
            continue;
        }
        lq_cas(&block->word, seen, lq_word_next(seen, LQ_BLOCK_FREE, LQ_NOBODY, 0));
        lq_store32_relaxed(&arena->spans[span].freed, 1);
        LQ_FAULT("arena_recover:freed");
    }
    return found;
}

/* What the dead one looked at. First the block, which its pin keeps no more, then the entry: so whoever goes on after us finds both. */
static uint32_t recover_pins_(const struct lq_arena *arena, lq_label dead, lq_label me, uint32_t *tied)
{
    uint32_t found = 0;
    uint32_t row = lq_label_row(dead);
    uint32_t end = lq_pins_end(&arena->pins, row);
    for (uint32_t entry = 0; entry < end; entry++) {
        struct lq_pin *pin = lq_pins_at(&arena->pins, row, entry);
        uint64_t what = lq_load(&pin->what);
        if (what == 0 || what >> 52 != lq_label_incarnation(dead))
            continue;
        found++;
        if ((what & LQ_PIN_LIFTED) == 0 && lq_pins_is_tied(&arena->pins, lq_load(&pin->tie))) {
            ++*tied;
            continue;
        }
        lq_arena_settle(arena, NULL, me, lq_pin_block(what), lq_pin_generation(what));
        LQ_FAULT("arena_recover:settled");
        lq_cas(&pin->what, what, 0);
        LQ_FAULT("arena_recover:unpinned");
    }
    return found;
}

uint32_t lq_arena_recover(const struct lq_arena *arena, lq_label dead, lq_label me, uint32_t *tied)
{
    *tied = 0;
    uint32_t found = recover_pins_(arena, dead, me, tied);
    uint32_t used = spans_end_(arena);
    for (uint32_t at = 1; at < used; at++) {
        struct lq_span *span = &arena->spans[at];
        uint64_t word = lq_load(&span->word);
        if (lq_load32(&span->cut) != 0) /* whatever it is now: a retirement may have died after the span's swap */
            found += recover_blocks_(arena, dead, me, at);
        if (lq_word_label(word) != dead)
            continue;
        found++;
        if (lq_word_state(word) == LQ_SPAN_TAIL)
            lq_cas(&span->word, word, lq_word_next(word, LQ_BLOCK_FREE, LQ_NOBODY, 0));
        else if (may_be_pinned_(word))
            let_go_(arena, NULL, me, LQ_BLOCK_RUN | at, word);
        else
            free_run_(arena, at, word);
        LQ_FAULT("arena_recover:span");
    }
    return found;
}

/* Bytes of the run that the span heads. Never more than there are behind it. */
static uint64_t run_bytes_(const struct lq_arena *arena, uint32_t head)
{
    uint64_t spans = lq_load(&arena->spans[head].run);
    return (spans < arena->count - head ? spans : arena->count - head) << LQ_SPAN_ORDER;
}

/* ------------------------------------------------------------------------------------------------ back to the system */

static bool is_all_free_(const struct lq_arena *arena, uint32_t span, uint32_t class)
{
    for (uint32_t i = 0; class < LQ_CLASSES && i < class_blocks_(class); i++)
        if (lq_word_state(lq_load(&block_(arena, span, i)->word)) != LQ_BLOCK_FREE)
            return false;
    return true;
}

/* Told before it is done, or nobody would have it filled again: another number than before, and even. */
static bool empty_(const struct lq_arena *arena, uint32_t span)
{
    if (arena->stocks != NULL) {
        uint32_t stock = lq_load32(&arena->stocks[span]);
        lq_store32(&arena->stocks[span], stock + 1 + (~stock & 1u));
    }
    LQ_FAULT("arena_give_back:told");
    return madvise(span_at_(arena, span), LQ_SPAN_BYTES, MADV_REMOVE) == 0;
}

void lq_arena_note_filled(const struct lq_arena *arena, uint32_t block)
{
    uint64_t room = 0;
    if (arena->stocks == NULL || !(block & LQ_BLOCK_RUN) || lq_arena_at(arena, block, &room) == NULL)
        return;
    for (uint64_t i = 0; i < room >> LQ_SPAN_ORDER; i++) {
        lq_a32 *stock = &arena->stocks[(block & ~LQ_BLOCK_RUN) + i];
        lq_store32(stock, lq_load32(stock) | 1u);
    }
}

void lq_arena_touch(const struct lq_arena *arena, uint32_t block, uint64_t from, uint64_t length)
{
    uint64_t room = 0;
    if (arena->stocks == NULL || !(block & LQ_BLOCK_RUN) || lq_arena_at(arena, block, &room) == NULL || from >= room)
        return;
    uint32_t first = (block & ~LQ_BLOCK_RUN) + (uint32_t)(from >> LQ_SPAN_ORDER);
    uint64_t end = (block & ~LQ_BLOCK_RUN) + ((from + (length < room - from ? length : room - from) + LQ_SPAN_BYTES - 1) >> LQ_SPAN_ORDER);
    for (uint32_t at = first; at < end; at++) {
        uint32_t stock = lq_load32(&arena->stocks[at]);
        if ((stock & 1u) == 0 || LQ_GET(arena->touched[at]) == stock)
            continue; /* sparse, or touched before */
        if (populate_(arena, at, 1) == LQ_OK)
            LQ_PUT(arena->touched[at], stock);
    }
}

bool lq_arena_empty(const struct lq_arena *arena, uint32_t block)
{
    uint64_t room = 0;
    if (!(block & LQ_BLOCK_RUN) || lq_arena_at(arena, block, &room) == NULL)
        return false;
    bool emptied = true;
    for (uint64_t i = 0; i < room >> LQ_SPAN_ORDER; i++)
        emptied = empty_(arena, (block & ~LQ_BLOCK_RUN) + (uint32_t)i) && emptied;
    return emptied;
}

static bool empty_span_(const struct lq_arena *arena, lq_label me, uint32_t span, uint64_t word)
{
    uint64_t mine = lq_word_as(word, LQ_BLOCK_OWNED, me);
    if (!lq_cas(&arena->spans[span].word, word, mine))
        return false;
    LQ_FAULT("arena_give_back:owned");
    lq_store(&arena->spans[span].run, 1);
    bool emptied = empty_(arena, span);
    lq_cas(&arena->spans[span].word, mine, lq_word_next(mine, LQ_BLOCK_FREE, LQ_NOBODY, 0));
    LQ_FAULT("arena_give_back:freed");
    return emptied;
}

#define EMPTIED 16u /* in `idle`, with the word of a free span: nothing has been in there since */

uint64_t lq_arena_give_back(const struct lq_arena *arena, lq_label me, uint64_t *idle, uint32_t *left)
{
    uint64_t bytes = 0;
    uint32_t still = 0;
    uint32_t used = spans_end_(arena);
    for (uint32_t at = 1; at < used && arena->stocks != NULL; at++) {
        uint64_t word = lq_load(&arena->spans[at].word);
        uint32_t state = lq_word_state(word);
        bool is_free = state == LQ_BLOCK_FREE || (state == LQ_SPAN_CLASS && is_all_free_(arena, at, lq_word_aux(word)));
        if (state == LQ_BLOCK_FREE && (idle[at] == (word | EMPTIED) || word == 0))
            continue; /* or never used */
        still++;
        if (!is_free || idle[at] != word) {
            idle[at] = is_free ? word : 0;
            continue;
        }
        if (state == LQ_SPAN_CLASS) {
            if (!retire_span_(arena, me, at))
                continue;
            word = lq_load(&arena->spans[at].word);
        }
        if (lq_word_state(word) == LQ_BLOCK_FREE && empty_span_(arena, me, at, word)) {
            idle[at] = lq_word_next(word, LQ_BLOCK_FREE, LQ_NOBODY, 0) | EMPTIED;
            bytes += LQ_SPAN_BYTES;
            still--;
        }
    }
    lq_a32 *pressure = &arena->spans[0].freed;
    lq_store32_relaxed(pressure, lq_load32_relaxed(pressure) + 1);
    if (left != NULL)
        *left = still;
    return bytes;
}

/* Note the spans of what a row pins. */
static void spare_pinned_(const struct lq_arena *arena, uint32_t row, unsigned char *spared)
{
    uint32_t end = lq_pins_end(&arena->pins, row);
    for (uint32_t entry = 0; entry < end; entry++) {
        uint32_t block = lq_pin_block(lq_load(&lq_pins_at(&arena->pins, row, entry)->what));
        if (block == LQ_NO_BLOCK || lq_arena_word(arena, block) == NULL)
            continue;
        uint32_t head = block & LQ_BLOCK_RUN ? block & ~LQ_BLOCK_RUN : block >> LQ_BLOCKS_ORDER;
        uint64_t spans = block & LQ_BLOCK_RUN ? run_bytes_(arena, head) >> LQ_SPAN_ORDER : 1;
        memset(spared + head, 1, spans);
    }
}

void lq_arena_strip(const struct lq_arena *arena)
{
    uint32_t used = spans_end_(arena);
    unsigned char *spared = calloc(arena->count, 1);
    for (uint32_t row = 1; spared != NULL && row < LQ_ROWS; row++)
        if (lq_word_state(lq_load(&arena->pins.roster.rows[row].word)) == LQ_ROW_LIVE)
            spare_pinned_(arena, row, spared);
    for (uint32_t at = 1; spared != NULL && at < used; at++)
        if (!spared[at])
            madvise(span_at_(arena, at), LQ_SPAN_BYTES, MADV_REMOVE);
    free(spared);
}

/* ---------------------------------------------------------------------------------------------------------- checking */

/* Is a settled tail within the run of the head that it names? True as well when it is freed meanwhile: a tail goes first. */
static bool has_its_head_(const struct lq_arena *arena, uint32_t at, uint64_t word)
{
    uint64_t head = lq_load(&arena->spans[at].run);
    bool known = head > 0 && head < at;
    uint32_t state = known ? lq_word_state(lq_load(&arena->spans[head].word)) : LQ_BLOCK_FREE;
    uint64_t spans = known ? lq_load(&arena->spans[head].run) : 0;
    bool in_use = state == LQ_BLOCK_OWNED || state == LQ_BLOCK_HELD || state == LQ_BLOCK_PINNED || state == LQ_BLOCK_DYING;
    if (in_use && head + spans > at)
        return true;
    lq_order_loads();
    return lq_load_seq(&arena->spans[at].word) != word;
}

/* Does a held run end within the arena? One that is only owned may be in the making: its length is not told yet. */
static bool ends_inside_(const struct lq_arena *arena, uint32_t at, uint64_t word)
{
    uint64_t spans = lq_load(&arena->spans[at].run);
    lq_order_loads();
    return (spans > 0 && spans <= arena->count - at) || lq_load_seq(&arena->spans[at].word) != word;
}

enum lq_status lq_arena_check(const struct lq_arena *arena)
{
    uint32_t used = spans_end_(arena);
    for (uint32_t at = 1; at < used; at++) {
        struct lq_span *span = &arena->spans[at];
        uint64_t word = lq_load(&span->word);
        uint32_t state = lq_word_state(word);
        if (state > LQ_BLOCK_DYING || state == LQ_BLOCK_RETIRED)
            return LQ_CORRUPT;
        if (state == LQ_SPAN_TAIL && lq_word_label(word) == LQ_NOBODY && !has_its_head_(arena, at, word))
            return LQ_CORRUPT;
        if ((state == LQ_BLOCK_HELD || state == LQ_BLOCK_PINNED) && !ends_inside_(arena, at, word))
            return LQ_CORRUPT;
        if (state != LQ_SPAN_CLASS)
            continue;
        if (lq_word_aux(word) >= LQ_CLASSES || lq_word_label(word) != LQ_NOBODY)
            return LQ_CORRUPT;
        for (uint32_t i = 0; i < class_blocks_(lq_word_aux(word)); i++) {
            uint64_t seen = lq_load(&block_(arena, at, i)->word);
            bool labelled = lq_word_label(seen) != LQ_NOBODY;
            uint32_t its = lq_word_state(seen);
            bool owned = its == LQ_BLOCK_OWNED || its == LQ_BLOCK_RETIRED || its == LQ_BLOCK_DYING;
            if (its > LQ_BLOCK_DYING || its == LQ_SPAN_CLASS || its == LQ_SPAN_TAIL || labelled != owned)
                return LQ_CORRUPT;
        }
    }
    return LQ_OK;
}

void lq_arena_reading(const struct lq_arena *arena, uint64_t *held_bytes, uint64_t *owned_bytes, uint64_t *spans_in_use)
{
    *held_bytes = *owned_bytes = *spans_in_use = 0;
    uint32_t used = spans_end_(arena);
    for (uint32_t at = 1; at < used; at++) {
        uint64_t word = lq_load(&arena->spans[at].word);
        uint32_t state = lq_word_state(word);
        *spans_in_use += state != LQ_BLOCK_FREE;
        if (state == LQ_BLOCK_HELD || state == LQ_BLOCK_PINNED || state == LQ_BLOCK_DYING)
            *held_bytes += run_bytes_(arena, at);
        if (state == LQ_BLOCK_OWNED)
            *owned_bytes += run_bytes_(arena, at);
        if (state != LQ_SPAN_CLASS || lq_word_aux(word) >= LQ_CLASSES)
            continue;
        for (uint32_t i = 0; i < class_blocks_(lq_word_aux(word)); i++) {
            uint32_t block_state = lq_word_state(lq_load(&block_(arena, at, i)->word));
            uint64_t bytes = (uint64_t)1 << (LQ_CLASS_ORDER + lq_word_aux(word));
            bool held = block_state == LQ_BLOCK_HELD || block_state == LQ_BLOCK_PINNED || block_state == LQ_BLOCK_DYING;
            *held_bytes += held ? bytes : 0;
            *owned_bytes += block_state == LQ_BLOCK_OWNED ? bytes : 0;
        }
    }
}

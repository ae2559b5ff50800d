/* SPDX-License-Identifier: MIT */
#include "lq_holdings.h"

static void count_(const struct lq_space *space, uint32_t block, uint64_t word, uint64_t bytes, struct lq_holdings *holdings)
{
    uint64_t backref = lq_load(lq_arena_backref(&space->arena, block));
    switch (lq_word_state(word)) {
    case LQ_BLOCK_OWNED:
    case LQ_BLOCK_RETIRED:
        holdings->owned += bytes;
        break;
    case LQ_BLOCK_PINNED:
    case LQ_BLOCK_DYING:
        holdings->pinned += bytes;
        break;
    case LQ_BLOCK_HELD:
        *(backref >> 60 == LQ_HOLDER_ARGS     ? &holdings->arguments
          : backref >> 60 == LQ_HOLDER_RESULT ? &holdings->results
          : backref >> 60 == LQ_HOLDER_KEPT   ? &holdings->kept
                                              : &holdings->functions) += bytes;
        break;
    default:
        break;
    }
}

void lq_space_holdings(const struct lq_space *space, struct lq_holdings *holdings)
{
    *holdings = (struct lq_holdings){0};
    uint64_t used = lq_load(space->arena.used);
    for (uint32_t span = 1; span < space->arena.count && span <= used; span++) {
        uint64_t word = lq_load(&space->arena.spans[span].word);
        uint32_t class = lq_word_aux(word);
        uint64_t room = 0;
        if (lq_word_state(word) == LQ_BLOCK_FREE && (lq_load32(&space->arena.stocks[span]) & 1u) != 0)
            holdings->idle += LQ_SPAN_BYTES;
        if (lq_word_state(word) != LQ_SPAN_CLASS) {
            if (lq_word_state(word) != LQ_BLOCK_FREE && lq_word_state(word) != LQ_SPAN_TAIL &&
                lq_space_block(space, LQ_BLOCK_RUN | span, &room) != NULL)
                count_(space, LQ_BLOCK_RUN | span, word, room, holdings);
            continue;
        }
        for (uint32_t i = 0; class < LQ_CLASSES && i < LQ_BLOCKS_PER_SPAN >> class; i++) {
            uint32_t block = span << LQ_BLOCKS_ORDER | i;
            count_(space, block, lq_load(lq_arena_word(&space->arena, block)), (uint64_t)1 << (LQ_CLASS_ORDER + class), holdings);
        }
    }
}

void lq_space_pinned_by(const struct lq_space *space, uint32_t row, uint32_t *pins, uint64_t *bytes)
{
    *pins = 0;
    *bytes = 0;
    uint32_t end = lq_pins_end(&space->arena.pins, row);
    for (uint32_t entry = 0; entry < end; entry++) {
        uint64_t room = 0;
        uint32_t block = (uint32_t)lq_load(&lq_pins_at(&space->arena.pins, row, entry)->what);
        if (block == LQ_NO_BLOCK || lq_space_block(space, block, &room) == NULL)
            continue;
        ++*pins;
        *bytes += room;
    }
}

/* SPDX-License-Identifier: MIT */
#include "lq_pin.h"

#define NEAR 32u /* entries that are tried first: who pins little has a short table, in whatever order it unpins */

size_t lq_pins_size(void)
{
    return sizeof(struct lq_pin) * LQ_ROWS * LQ_PINS;
}

uint32_t lq_pins_end(const struct lq_pins *pins, uint32_t row)
{
    uint32_t end = lq_load32_seq(&pins->roster.rows[row % LQ_ROWS].pins_end);
    return end < LQ_PINS ? end : LQ_PINS;
}

enum lq_status lq_pins_note(const struct lq_pins *pins, lq_label me, uint32_t block, uint32_t generation, uint64_t tie,
                            uint32_t *cursor, uint32_t *entry)
{
    uint32_t row = lq_label_row(me) % LQ_ROWS;
    lq_a32 *end = &pins->roster.rows[row].pins_end;
    if (!lq_roster_is_live(&pins->roster, me))
        return LQ_MISSING;
    for (uint32_t i = 0; i < NEAR + LQ_PINS; i++) {
        uint32_t at = i < NEAR ? i : (*cursor + i) % LQ_PINS;
        struct lq_pin *pin = lq_pins_at(pins, row, at);
        if (lq_load(&pin->what) != 0)
            continue;
        if (lq_load32_relaxed(end) <= at)
            lq_store32_seq(end, at + 1); /* before the entry: who looks for pins looks no further */
        LQ_FAULT("pins_note:raised");
        lq_store(&pin->tie, tie);
        lq_store_seq(&pin->what, lq_pin_what(me, block, generation));
        LQ_FAULT("pins_note:noted");
        *entry = at;
        *cursor = at;
        return LQ_OK;
    }
    return LQ_FULL;
}

uint64_t lq_pins_lift(const struct lq_pins *pins, lq_label me, uint32_t entry)
{
    struct lq_pin *pin = lq_pins_at(pins, lq_label_row(me), entry % LQ_PINS);
    uint64_t what = lq_load(&pin->what);
    if (what == 0 || what >> 52 != lq_label_incarnation(me) || !lq_roster_is_live(&pins->roster, me))
        return 0;
    lq_store_seq(&pin->what, what | LQ_PIN_LIFTED);
    LQ_FAULT("pins_lift:lifted");
    return what;
}

void lq_pins_erase(const struct lq_pins *pins, lq_label me, uint32_t entry)
{
    uint32_t row = lq_label_row(me) % LQ_ROWS;
    lq_store(&lq_pins_at(pins, row, entry % LQ_PINS)->what, 0);
    LQ_FAULT("pins_erase:erased");
    uint32_t most = lq_pins_end(pins, row);
    while (most != 0 && lq_load_relaxed(&lq_pins_at(pins, row, most - 1)->what) == 0)
        most--;
    lq_store32_seq(&pins->roster.rows[row].pins_end, most);
}

bool lq_pins_is_tied(const struct lq_pins *pins, uint64_t tie)
{
    uint64_t index = (tie >> 32) - 1; /* of no tie: too large */
    if (index >= pins->slots.count)
        return false;
    const struct lq_slot *slot = &pins->slots.slots[index];
    uint32_t state = lq_word_state(lq_load_seq(&slot->word));
    bool on_its_way = state != LQ_SLOT_FRESH && state != LQ_SLOT_FREE && state != LQ_SLOT_CACHED;
    return on_its_way && LQ_GET(slot->task_generation) == (uint32_t)tie;
}

/* Does a row of that state keep the block by this entry? Not by one that was lifted: no block has such a number. */
static bool counts_(const struct lq_pins *pins, const struct lq_pin *pin, uint64_t row_word, uint64_t block_part)
{
    uint64_t what = lq_load_seq(&pin->what);
    if ((what & ((1ull << 52) - 1)) != block_part || what >> 52 != (lq_word_generation(row_word) & 0xfffu))
        return false;
    return lq_word_state(row_word) == LQ_ROW_LIVE || lq_pins_is_tied(pins, lq_load(&pin->tie));
}

bool lq_pins_any(const struct lq_pins *pins, uint32_t block, uint32_t generation)
{
    uint64_t block_part = (uint64_t)(generation & 0xfffffu) << 32 | block;
    for (uint32_t row = 1; row < LQ_ROWS; row++) {
        uint64_t row_word = lq_load_seq(&pins->roster.rows[row].word);
        uint32_t state = lq_word_state(row_word);
        if (state != LQ_ROW_LIVE && state != LQ_ROW_DEAD)
            continue;
        uint32_t end = lq_pins_end(pins, row);
        for (uint32_t entry = 0; entry < end; entry++)
            if (counts_(pins, lq_pins_at(pins, row, entry), row_word, block_part))
                return true;
    }
    return false;
}

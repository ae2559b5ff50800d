/* SPDX-License-Identifier: MIT */
#ifndef LQ_PIN_H
#define LQ_PIN_H
/*
 * Pins: who looks at a block. Each process has a table of its own in shared memory, so that what the dead pinned is known: a
 * count would not tell whose it was. A block is given back only when no table names it (lq_arena_settle).
 *
 *   what   incarnation 12 | generation of the block 20 | block 32; 0: a free entry. LQ_PIN_LIFTED in the block: it keeps nothing
 *          any more, but who lets go of it has not looked yet whether he was the last
 *   tie    0: the pin lives as long as its process. Otherwise slot + 1 32 | task generation 32: it also outlives its process, as
 *          long as that task is on its way. So what a task refers to stays until the task has been run, and its result taken.
 *
 * An entry is written by its process alone while that is in the roster, and cleared by it or, when it is dead, by recoverers. The incarnation is in there
 * so that one who comes late can't clear the entry of the row's next process. Twenty bits of the generation are enough: a pinned
 * block does not change its generation, and a stale entry can only keep a block, until it is recovered.
 */
#include "lq_roster.h"
#include "lq_slot.h"

#define LQ_PINS 2048u /* a process; who needs more copies instead */
#define LQ_NO_PIN UINT32_MAX
#define LQ_PIN_LIFTED 0x40000000u /* no number of a block has this bit */

struct lq_pin {
    lq_a64 what;
    lq_a64 tie;
};

/* This process's view. */
struct lq_pins {
    struct lq_pin *pins; /* LQ_ROWS tables; untouched memory costs nothing */
    struct lq_roster roster;
    struct lq_slots slots;
};

static inline uint64_t lq_pin_what(lq_label label, uint32_t block, uint32_t generation)
{
    return (uint64_t)lq_label_incarnation(label) << 52 | (uint64_t)(generation & 0xfffffu) << 32 | block;
}

static inline uint32_t lq_pin_block(uint64_t what)
{
    return (uint32_t)what & ~LQ_PIN_LIFTED;
}

/* Twenty bits of it. */
static inline uint32_t lq_pin_generation(uint64_t what)
{
    return (uint32_t)(what >> 32) & 0xfffffu;
}

static inline uint64_t lq_pin_tie(uint32_t slot, uint32_t task_generation)
{
    return (uint64_t)(slot + 1u) << 32 | task_generation;
}

size_t lq_pins_size(void);
/*
 * Note a pin. The block may be gone: whoever calls looks at its word afterwards (lq_arena_pin does).
 *
 * Callers:  the process itself, one thread at a time.
 * Progress: wait-free. `cursor`: private, where the last search ended.
 * Returns:  LQ_OK and *entry; LQ_FULL; LQ_MISSING: the process has left, its row may be another's.
 * Death:    the entry stands or it does not; recovery clears it.
 */
enum lq_status lq_pins_note(const struct lq_pins *pins, lq_label me, uint32_t block, uint32_t generation, uint64_t tie,
                            uint32_t *cursor, uint32_t *entry);
/*
 * Take a note back, in two steps: what the block's word says is looked at between them (lq_arena_unpin does). In one step, who dies
 * right after it would leave a block that nobody pins and nobody knows of.
 *
 * Callers:  as above.
 * Returns:  what it was, 0 when there is nothing to take back: of one who has left that is recovered, like the dead's.
 */
uint64_t lq_pins_lift(const struct lq_pins *pins, lq_label me, uint32_t entry);
void lq_pins_erase(const struct lq_pins *pins, lq_label me, uint32_t entry);
/*
 * Does anybody look at the block? What is said of pins that stood all the time is true; one that came or went meanwhile may be
 * missed or found.
 *
 * Callers:  anyone.
 */
bool lq_pins_any(const struct lq_pins *pins, uint32_t block, uint32_t generation);
/* Is the task that a pin is tied to still on its way? */
bool lq_pins_is_tied(const struct lq_pins *pins, uint64_t tie);
/* How many entries a process may be using: [0, end). */
uint32_t lq_pins_end(const struct lq_pins *pins, uint32_t row);

static inline struct lq_pin *lq_pins_at(const struct lq_pins *pins, uint32_t row, uint32_t entry)
{
    return &pins->pins[(size_t)(row % LQ_ROWS) * LQ_PINS + entry];
}

#endif

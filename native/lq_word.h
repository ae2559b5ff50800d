/* SPDX-License-Identifier: MIT */
#ifndef LQ_WORD_H
#define LQ_WORD_H
/*
 * The word: one 64-bit value per shared object that says everything recovery must know.
 *
 *   63            32 31        20 19         8 7    4 3     0
 *  +----------------+------------+------------+------+-------+
 *  |   generation   | incarnation|   owner    |  aux | state |
 *  +----------------+------------+------------+------+-------+
 *                    `------ label ---------'
 *
 * label        which process holds the object: its row in the roster and that row's incarnation. Zero: nobody, settled.
 * generation   grows whenever the meaning of the object changes hands (release, requeue), so that a compare-and-swap
 *              that was prepared before can't succeed after.
 * aux          four bits of the object's own: crashes survived (slot), size class (span).
 *
 * A label always names who must finish what it began. Whoever proves that process dead may finish it instead: by
 * compare-and-swap on the whole word, never by a plain store.
 */
#include "lq_atomic.h"

#define LQ_ROWS 256u /* rows of the roster; the owner field would hold 4096 */
#define LQ_NOBODY 0u

typedef uint32_t lq_label; /* incarnation << 12 | row; 0 is nobody */

static inline lq_label lq_label_of(uint32_t row, uint32_t incarnation)
{
    return (incarnation & 0xfffu) << 12 | (row & 0xfffu);
}

static inline uint32_t lq_label_row(lq_label label)
{
    return label & 0xfffu;
}

static inline uint32_t lq_label_incarnation(lq_label label)
{
    return label >> 12 & 0xfffu;
}

static inline uint64_t lq_word(uint32_t state, lq_label label, uint32_t generation, uint32_t aux)
{
    return (uint64_t)generation << 32 | (uint64_t)(label & 0xffffffu) << 8 | (uint64_t)(aux & 15u) << 4 | (state & 15u);
}

static inline uint32_t lq_word_state(uint64_t word)
{
    return (uint32_t)(word & 15u);
}

static inline uint32_t lq_word_aux(uint64_t word)
{
    return (uint32_t)(word >> 4 & 15u);
}

static inline lq_label lq_word_label(uint64_t word)
{
    return (lq_label)(word >> 8 & 0xffffffu);
}

static inline uint32_t lq_word_generation(uint64_t word)
{
    return (uint32_t)(word >> 32);
}

/* The same word in another state and with another label; generation and aux stay. */
static inline uint64_t lq_word_as(uint64_t word, uint32_t state, lq_label label)
{
    return lq_word(state, label, lq_word_generation(word), lq_word_aux(word));
}

/* The same, one generation later: whoever still holds the old word holds nothing. */
static inline uint64_t lq_word_next(uint64_t word, uint32_t state, lq_label label, uint32_t aux)
{
    return lq_word(state, label, lq_word_generation(word) + 1, aux);
}

#endif

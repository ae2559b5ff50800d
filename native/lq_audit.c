/* SPDX-License-Identifier: MIT */
/*
 * Is everything accounted for? Reads all words and writes nothing. On a quiet Space any answer is a defect; beside live users
 * an answer counts only if it stays: ask again a moment later, and believe what was said each time of the same word.
 *
 * Why what stays is true: a word that was read twice alike has not changed in between (generations only grow), so whatever
 * its state says of rings, bodies and blocks held all the time, and no look was merely too early. But it may be the turn of
 * a process that was stopped: `who` says whose, and whether that one is stopped is for the caller to find out.
 */
#include "lq_space.h"

#include <stdio.h>
#include <stdlib.h>

struct list_ {
    struct lq_problem *problems;
    uint32_t most, count;
    unsigned char *found; /* by slot: 1 if the walk through the rings met it; NULL: there was no memory for that */
};

static void complain_of_(struct list_ *list, const char *what, uint32_t index, uint64_t word, lq_label who)
{
    if (list->count < list->most)
        list->problems[list->count] = (struct lq_problem){what, index, word, who};
    list->count++;
}

static void complain_(struct list_ *list, const char *what, uint32_t index, uint64_t word)
{
    complain_of_(list, what, index, word, lq_word_label(word));
}

static bool is_dead_(const struct lq_space *space, uint64_t word)
{
    lq_label label = lq_word_label(word);
    return label != LQ_NOBODY && !lq_roster_is_live(&space->roster, label);
}

/* Note the slots that a ring names. Looking for each in turn would take the square of that time. */
static void walk_(const struct lq_space *space, const struct lq_ring *ring, struct list_ *list)
{
    struct lq_ring_entry entry;
    uint64_t position = lq_load(ring->head);
    for (uint64_t i = 0; i < 1ull << ring->order && lq_ring_next(ring, &position, &entry); i++) { /* once round */
        if (entry.index >= space->slots.count)
            continue;
        const struct lq_slot *slot = lq_space_slot(space, entry.index);
        uint64_t word = lq_load(&slot->word);
        uint32_t state = lq_word_state(word);
        const struct lq_ring *its = state == LQ_SLOT_DONE ? &space->completions[lq_label_row(LQ_GET(slot->client)) % LQ_ROWS]
                                                          : lq_space_ring_of(space, slot);
        if (ring == its && entry.generation == (lq_word_generation(word) & LQ_INDEX_MASK))
            list->found[entry.index] = 1;
    }
}

static void walk_all_(const struct lq_space *space, struct list_ *list)
{
    for (uint32_t i = 0; i < space->queues * LQ_PRIORITIES; i++)
        walk_(space, &space->rings[i / LQ_PRIORITIES][i % LQ_PRIORITIES], list);
    for (uint32_t row = 1; row < LQ_ROWS; row++) {
        uint64_t word = lq_load(&space->roster.rows[row].word);
        bool is_client = lq_word_state(word) == LQ_ROW_LIVE && lq_word_aux(word) == LQ_ROLE_CLIENT;
        if (is_client && lq_load(space->completions[row].head) != 0) /* the others' memory was never touched, and shall not be */
            walk_(space, &space->completions[row], list);
    }
}

/* What the walk missed may have come since: look again. */
static bool is_in_(const struct lq_ring *ring, uint32_t index, uint64_t word, const struct list_ *list)
{
    return (list->found != NULL && list->found[index]) || lq_ring_holds(ring, index, lq_word_generation(word));
}

/* The client may have reaped it and be about to consume it; the label in the word, if any, be about to announce it. */
static void audit_done_(const struct lq_space *space, const struct lq_slot *slot, uint32_t index, uint64_t word, struct list_ *list)
{
    lq_label client = LQ_GET(slot->client);
    if (lq_roster_is_live(&space->roster, client) && lq_load32(&lq_roster_row(&space->roster, client)->missed) == 0 &&
        !is_in_(&space->completions[lq_label_row(client) % LQ_ROWS], index, word, list))
        complain_of_(list, "a finished task was not announced, slot", index, word, client);
}

static bool has_its_arguments_(const struct lq_space *space, const struct lq_slot *slot, uint32_t index)
{
    uint32_t number = LQ_GET(slot->args_block);
    if (number == LQ_NO_BLOCK)
        return true;
    const lq_a64 *block = lq_arena_word(&space->arena, number);
    return block != NULL && lq_word_state(lq_load(block)) == LQ_BLOCK_HELD &&
           lq_load(lq_arena_backref(&space->arena, number)) == lq_backref(LQ_HOLDER_ARGS, index, LQ_GET(slot->task_generation));
}

static void audit_slot_(const struct lq_space *space, uint32_t index, struct list_ *list)
{
    const struct lq_slot *slot = lq_space_slot(space, index);
    uint64_t word = lq_load(&slot->word);
    uint32_t state = lq_word_state(word);
    if (is_dead_(space, word)) {
        complain_(list, "a dead process still owns slot", index, word);
        return;
    }
    bool in_a_ring = state == LQ_SLOT_QUEUED || state == LQ_SLOT_CANCELLED; /* or a live label is just about to push it */
    if (in_a_ring && !is_in_(lq_space_ring_of(space, slot), index, word, list))
        complain_(list, "a queued task is in no ring, slot", index, word);
    if ((state == LQ_SLOT_QUEUED || state == LQ_SLOT_DELAYED) && !has_its_arguments_(space, slot, index))
        complain_(list, "a queued task lost its arguments, slot", index, word);
    if (state == LQ_SLOT_DONE)
        audit_done_(space, slot, index, word, list);
}

/* Is the object that a HELD block names still the one that holds it? */
static bool is_held_(const struct lq_space *space, uint32_t block, uint64_t backref)
{
    uint32_t index = (uint32_t)(backref >> 32 & 0x0fffffffu);
    uint32_t generation = (uint32_t)backref;
    enum lq_holder holder = (enum lq_holder)(backref >> 60);
    if (holder == LQ_HOLDER_KEPT)
        return true;
    if (holder == LQ_HOLDER_FUNCTION) {
        if (index >= LQ_FUNCTIONS)
            return false;
        const struct lq_function *function = &space->functions.rows[index];
        return lq_word_generation(lq_load(&function->word)) == generation && LQ_GET(function->block) == block;
    }
    if (index >= space->slots.count)
        return false;
    const struct lq_slot *slot = lq_space_slot(space, index);
    uint32_t state = lq_word_state(lq_load(&slot->word));
    if (state == LQ_SLOT_FREE || state == LQ_SLOT_FRESH || LQ_GET(slot->task_generation) != generation)
        return false;
    return (holder == LQ_HOLDER_ARGS ? LQ_GET(slot->args_block) : LQ_GET(slot->result_block)) == block;
}

static void audit_block_(const struct lq_space *space, uint32_t block, struct list_ *list)
{
    uint64_t word = lq_load(lq_arena_word(&space->arena, block));
    if (is_dead_(space, word))
        complain_(list, "a dead process still owns block", block, word);
    else if (lq_word_state(word) == LQ_BLOCK_HELD && !is_held_(space, block, lq_load(lq_arena_backref(&space->arena, block))))
        complain_(list, "nobody holds block", block, word);
    else if (lq_word_state(word) == LQ_BLOCK_PINNED && !lq_pins_any(&space->arena.pins, block, lq_word_generation(word)))
        complain_(list, "nobody pins block", block, word);
}

/* A live process believes in its pins: what they name must be there. */
static void audit_pins_(const struct lq_space *space, uint32_t row, struct list_ *list)
{
    uint64_t row_word = lq_load(&space->roster.rows[row].word);
    lq_label label = lq_label_of(row, lq_word_generation(row_word));
    uint32_t end = lq_word_state(row_word) == LQ_ROW_LIVE ? lq_pins_end(&space->arena.pins, row) : 0;
    for (uint32_t entry = 0; entry < end; entry++) {
        uint64_t what = lq_load(&lq_pins_at(&space->arena.pins, row, entry)->what);
        if ((what & LQ_PIN_LIFTED) != 0)
            continue;
        const lq_a64 *block = what == 0 ? NULL : lq_arena_word(&space->arena, (uint32_t)what);
        uint64_t word = block == NULL ? 0 : lq_load(block);
        if (what != 0 && (what != lq_pin_what(label, (uint32_t)what, lq_word_generation(word)) || lq_word_state(word) == LQ_BLOCK_FREE))
            complain_of_(list, "a pin names a block that was given back", (uint32_t)what, word, label);
    }
}

static void audit_blocks_(const struct lq_space *space, struct list_ *list)
{
    for (uint32_t span = 1; span < space->arena.count && span <= lq_load(space->arena.used); span++) {
        uint64_t word = lq_load(&space->arena.spans[span].word);
        uint32_t state = lq_word_state(word);
        if (state == LQ_BLOCK_HELD || state == LQ_BLOCK_OWNED || state == LQ_BLOCK_PINNED || state == LQ_BLOCK_DYING)
            audit_block_(space, LQ_BLOCK_RUN | span, list);
        for (uint32_t i = 0; lq_word_state(word) == LQ_SPAN_CLASS && i < LQ_BLOCKS_PER_SPAN >> lq_word_aux(word); i++)
            audit_block_(space, span << LQ_BLOCKS_ORDER | i, list);
    }
}

static void audit_functions_(const struct lq_space *space, struct list_ *list)
{
    uint32_t end = lq_functions_end(&space->functions);
    for (uint32_t row = 0; row < end; row++) {
        uint64_t word = lq_load(&space->functions.rows[row].word);
        if (is_dead_(space, word))
            complain_(list, "a dead process still owns function", row, word);
    }
}

uint32_t lq_space_audit(const struct lq_space *space, struct lq_problem *problems, uint32_t most)
{
    struct list_ list = {problems, most, 0, NULL};
    struct lq_header header = {.version = 0};
    if (lq_space_verify(space, &header) != LQ_OK) {
        complain_(&list, "the header contradicts itself, version", header.version, 0);
        return list.count; /* nothing else can be trusted */
    }
    if (lq_roster_check(&space->roster) != LQ_OK)
        complain_(&list, "a state that no version writes: roster", 0, 0);
    if (lq_slots_check(&space->slots) != LQ_OK)
        complain_(&list, "a state that no version writes: slots", 0, 0);
    if (lq_functions_check(&space->functions) != LQ_OK)
        complain_(&list, "a state that no version writes: functions", 0, 0);
    if (lq_reports_check(&space->reports) != LQ_OK)
        complain_(&list, "a state that no version writes: reports", 0, 0);
    if (lq_arena_check(&space->arena) != LQ_OK)
        complain_(&list, "a state that no version writes: arena", 0, 0);
    for (uint32_t i = 0; i < space->queues * LQ_PRIORITIES; i++)
        if (lq_ring_check(&space->rings[i / LQ_PRIORITIES][i % LQ_PRIORITIES], space->slots.count) != LQ_OK)
            complain_(&list, "a cell that no version writes: ring", i, 0);
    uint32_t used = lq_slots_used(&space->slots);
    list.found = calloc(space->slots.count, 1);
    if (list.found != NULL)
        walk_all_(space, &list);
    for (uint32_t index = 0; index < used && list.count <= most; index++) /* each that is missed costs a walk of its own */
        audit_slot_(space, index, &list);
    free(list.found);
    audit_functions_(space, &list);
    audit_blocks_(space, &list);
    for (uint32_t row = 1; row < LQ_ROWS; row++)
        audit_pins_(space, row, &list);
    return list.count;
}

enum lq_status lq_space_check(const struct lq_space *space, char *problem, size_t problem_bytes)
{
    struct lq_problem first;
    problem[0] = 0;
    if (lq_space_audit(space, &first, 1) == 0)
        return LQ_OK;
    snprintf(problem, problem_bytes, "%s %u: word %016llx", first.what, first.index, (unsigned long long)first.word);
    return LQ_CORRUPT;
}

/* SPDX-License-Identifier: MIT */
/*
 * What becomes of that which a dead process held: lq_space_recover and its parts. MEMORY.md section 5 says why it is right.
 */
#include "lq_tell.h"

/* Drop the blocks named in the body, as long as the slot's word is still `word`. */
static void drop_blocks_for_(const struct lq_space *space, lq_label me, uint32_t index, uint64_t word, bool args)
{
    const struct lq_slot *slot = lq_space_slot(space, index);
    uint32_t task = LQ_GET(slot->task_generation);
    uint32_t args_block = LQ_GET(slot->args_block);
    uint32_t result_block = LQ_GET(slot->result_block);
    if (result_block != LQ_NO_BLOCK)
        lq_arena_drop_for(&space->arena, me, result_block, lq_backref(LQ_HOLDER_RESULT, index, task), &slot->word, word);
    if (args && args_block != LQ_NO_BLOCK)
        lq_arena_drop_for(&space->arena, me, args_block, lq_backref(LQ_HOLDER_ARGS, index, task), &slot->word, word);
}

/* QUEUED or CANCELLED. Push first, relabel afterwards: until then the dead label says that the push is owed. FULL: the next pass tries again. */
static void settle_queued_(const struct lq_space *space, uint32_t index, uint64_t word)
{
    struct lq_slot *slot = lq_space_slot(space, index);
    const struct lq_ring *ring = lq_space_ring_of(space, slot);
    if (lq_ring_push(ring, index, lq_word_generation(word)) != LQ_OK)
        return;
    LQ_FAULT("recover:pushed");
    lq_cas(&slot->word, word, lq_word_as(word, lq_word_state(word), LQ_NOBODY));
    LQ_FAULT("recover:relabelled");
}

static void settle_done_(const struct lq_space *space, uint32_t index, uint64_t word)
{
    struct lq_slot *slot = lq_space_slot(space, index);
    lq_label client = LQ_GET(slot->client);
    bool waited_for = lq_roster_is_live(&space->roster, client);
    if (waited_for)
        lq_space_announce(space, index, lq_word_generation(word), client);
    LQ_FAULT("recover:announced");
    lq_cas(&slot->word, word, lq_word_as(word, waited_for ? LQ_SLOT_DONE : LQ_SLOT_CACHED, LQ_NOBODY));
    LQ_FAULT("recover:settled");
}

/* The task that a dead worker had, as it is told. */
static struct lq_told told_(const struct lq_space *space, uint32_t index, uint64_t word)
{
    return lq_told_of(space, index, lq_row_pid(lq_roster_row(&space->roster, lq_word_label(word))));
}

/* It runs again: under the next generation, and the dead's label until it is in the ring. */
static void requeue_for_(const struct lq_space *space, lq_label me, uint32_t index, uint64_t word, uint32_t crashes, uint32_t cause,
                         struct lq_recovered *recovered)
{
    uint64_t again = lq_word_next(word, LQ_SLOT_QUEUED, lq_word_label(word), crashes);
    struct lq_told told = told_(space, index, word);
    if (lq_cas(&lq_space_slot(space, index)->word, word, again)) {
        LQ_FAULT("recover:requeued");
        recovered->requeued++;
        if (crashes != lq_word_aux(word)) {
            char text[LQ_DEATH_TEXT];
            lq_space_tell_again(space, me, &told, lq_death_in_words(cause & 0xffffu, "; it runs again", text));
        }
        settle_queued_(space, index, again);
    }
}

static void tell_judged_(const struct lq_space *space, lq_label me, const struct lq_told *told, enum lq_outcome outcome, uint32_t cause)
{
    char text[LQ_DEATH_TEXT];
    const char *why = outcome == LQ_OUTCOME_CANCELLED ? "it was cancelled, and did not stop"
                      : outcome == LQ_OUTCOME_TIMEOUT ? "it ran longer than it may, and did not stop"
                                                      : lq_death_in_words(cause & 0xffffu, "", text);
    lq_space_tell_end(space, me, told, outcome, why);
}

/* It ends here: the verdict says how, because nobody lived to write an outcome. */
static void judge_(const struct lq_space *space, lq_label me, uint32_t index, uint64_t word, enum lq_outcome outcome, uint32_t cause,
                   struct lq_recovered *recovered)
{
    struct lq_slot *slot = lq_space_slot(space, index);
    struct lq_told told = told_(space, index, word);
    lq_store_relaxed(&space->pasts[index].ended_ns, (uint64_t)lq_now_ns());
    lq_slot_judge(slot, word, outcome, cause);
    LQ_FAULT("recover:judged");
    uint64_t done = lq_word_as(word, LQ_SLOT_DONE, lq_word_label(word));
    if (lq_cas(&slot->word, word, done)) {
        LQ_FAULT("recover:done");
        recovered->crashed += outcome == LQ_OUTCOME_CRASHED;
        settle_done_(space, index, done);
        tell_judged_(space, me, &told, outcome, cause);
    }
}

static void recover_running_(const struct lq_space *space, lq_label me, uint32_t index, uint64_t word, uint32_t cause,
                             struct lq_recovered *recovered)
{
    struct lq_slot *slot = lq_space_slot(space, index);
    uint32_t crashes = lq_word_aux(word);
    enum lq_stop stop = lq_slot_stop(slot); /* it did not, in time, and was killed; or it died before it could */
    drop_blocks_for_(space, me, index, word, false);
    if (stop == LQ_STOP_CANCEL)
        judge_(space, me, index, word, LQ_OUTCOME_CANCELLED, cause, recovered);
    else if (crashes < LQ_GET(slot->max_crashes) && crashes < 15)
        requeue_for_(space, me, index, word, crashes + 1, cause, recovered);
    else
        judge_(space, me, index, word, stop == LQ_STOP_TIMEOUT ? LQ_OUTCOME_TIMEOUT : LQ_OUTCOME_CRASHED, cause, recovered);
}

/* User code had not begun: not counted as an attempt. But a task that does this to one worker after another is the reason:
   what rebuilds its arguments, say, ends the process. */
static void recover_claimed_(const struct lq_space *space, lq_label me, uint32_t index, uint64_t word, uint32_t cause,
                             struct lq_recovered *recovered)
{
    struct lq_slot *slot = lq_space_slot(space, index);
    uint64_t verdict = lq_load(&slot->verdict);
    if (lq_load(&slot->word) != word)
        return; /* others have recovered it: the verdict in hand may be that of a later run or task */
    uint32_t unbegun = lq_verdict_unbegun(verdict);
    bool is_judged = verdict >> 32 == lq_word_generation(word); /* by another recoverer, who is about to end it */
    if (is_judged || unbegun >= LQ_MOST_UNBEGUN || lq_slot_stop(slot) == LQ_STOP_CANCEL) {
        bool is_cancelled = lq_slot_stop(slot) == LQ_STOP_CANCEL;
        judge_(space, me, index, word, is_cancelled ? LQ_OUTCOME_CANCELLED : LQ_OUTCOME_CRASHED, cause, recovered);
        return;
    }
    lq_cas(&slot->verdict, verdict, unbegun + 1); /* two recoverers may count one death twice: the bound is no promise */
    LQ_FAULT("recover:counted");
    requeue_for_(space, me, index, word, lq_word_aux(word), cause, recovered);
}

static void recover_slot_(const struct lq_space *space, lq_label me, uint32_t index, uint64_t word, uint32_t cause,
                          struct lq_recovered *recovered)
{
    struct lq_slot *slot = lq_space_slot(space, index);
    switch (lq_word_state(word)) {
    case LQ_SLOT_WRITING:
        drop_blocks_for_(space, me, index, word, true);
        recovered->released += lq_cas(&slot->word, word, lq_word_next(word, LQ_SLOT_FREE, LQ_NOBODY, 0));
        LQ_FAULT("recover:freed");
        break;
    case LQ_SLOT_QUEUED:
    case LQ_SLOT_CANCELLED: /* whoever pops its cell goes on, so there must be one */
        settle_queued_(space, index, word);
        break;
    case LQ_SLOT_CLAIMED:
        recover_claimed_(space, me, index, word, cause, recovered);
        break;
    case LQ_SLOT_RUNNING:
        recover_running_(space, me, index, word, cause, recovered);
        break;
    case LQ_SLOT_DONE:
        settle_done_(space, index, word);
        break;
    default: /* the other states bear no label */
        lq_cas(&slot->word, word, lq_word_as(word, lq_word_state(word), LQ_NOBODY));
    }
}

/* The block of a function that was being published, or swept. The row itself is lq_functions_recover's. */
static void drop_unpublished_(const struct lq_space *space, lq_label dead, lq_label me)
{
    uint32_t end = lq_functions_end(&space->functions);
    for (uint32_t row = 0; row < end; row++) {
        const struct lq_function *function = &space->functions.rows[row];
        uint64_t word = lq_load(&function->word);
        uint32_t block = LQ_GET(function->block);
        if (lq_word_state(word) == LQ_FUNCTION_WRITING && lq_word_label(word) == dead && block != LQ_NO_BLOCK)
            lq_arena_drop_for(&space->arena, me, block, lq_backref(LQ_HOLDER_FUNCTION, row, lq_word_generation(word)),
                              &function->word, word);
    }
}

void lq_space_recover(struct lq_space *space, lq_label dead, lq_label me, uint32_t cause, struct lq_recovered *recovered)
{
    *recovered = (struct lq_recovered){0};
    if (dead == LQ_NOBODY || lq_roster_is_live(&space->roster, dead))
        return;
    uint32_t used = lq_slots_used(&space->slots);
    for (uint32_t index = 0; index < used; index++) {
        const struct lq_slot *slot = lq_space_slot(space, index);
        uint64_t word = lq_load(&slot->word);
        if (lq_word_label(word) != dead) {
            if (lq_word_state(word) == LQ_SLOT_DONE && LQ_GET(slot->client) == dead)
                settle_done_(space, index, word); /* a result that nobody waits for any more */
            continue;
        }
        recovered->labels++;
        recover_slot_(space, me, index, word, cause, recovered);
    }
    drop_unpublished_(space, dead, me);
    uint32_t blocks = lq_arena_recover(&space->arena, dead, me, &recovered->tied);
    uint32_t functions = lq_functions_recover(&space->functions, dead);
    uint32_t reports = lq_reports_recover(&space->reports, dead);
    recovered->labels += blocks + functions + reports;
    recovered->released += blocks - recovered->tied + functions + reports;
    lq_add32_seq(&space->header->tallies[LQ_TALLY_REQUEUED], recovered->requeued);
    lq_add32_seq(&space->header->tallies[LQ_TALLY_CRASHED], recovered->crashed);
    lq_bell_recover(&space->header->bell, lq_label_row(dead) % LQ_ROWS);
}

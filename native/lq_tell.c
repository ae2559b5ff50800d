/* SPDX-License-Identifier: MIT */
#include "lq_tell.h"

#include <limits.h>
#include <string.h>

#define SLICE_NS 100000000  /* a sleep for a note lasts at most this: who does not watch is not woken */
#define CLOSING_NS 1000000  /* ... while the end is about to be told */

/* ------------------------------------------------------------------------------------------------ told by those at work */

struct lq_meter *lq_space_meter(const struct lq_space *space, lq_label me)
{
    struct lq_row *row = lq_roster_row(&space->roster, me);
    if (lq_load32_relaxed(&row->tracks.metered) == 0)
        lq_store32(&row->tracks.metered, 1);
    return &space->meters[lq_label_row(me) % LQ_ROWS];
}

struct lq_calls *lq_space_calls(const struct lq_space *space, lq_label me, uint32_t function, uint32_t function_generation)
{
    char name[LQ_FUNCTION_NAME + 1];
    struct lq_meter *meter = lq_space_meter(space, me);
    uint32_t bytes = lq_functions_name_of(&space->functions, function, function_generation, name);
    return &meter->calls[lq_meter_function(meter, name, bytes)];
}

static struct lq_calls *calls_of_(const struct lq_space *space, lq_label me, const struct lq_told *told)
{
    return lq_space_calls(space, me, told->function, told->function_generation);
}

/*
 * As far as an event keeps of a text, and one more where there is more. Not strlen: its way through a text depends on where that
 * lies, and this runs in the midst of recoveries, which are tested instruction by instruction.
 */
static uint64_t length_of_(const char *text)
{
    uint64_t length = 0;
    while (length <= LQ_EVENT_TEXT && text[length] != 0)
        length++;
    return length;
}

static void tell_of_(const struct lq_space *space, lq_label me, enum lq_event_kind kind, const struct lq_told *told,
                     const struct lq_calls *calls, const char *text)
{
    struct lq_event event = {.kind = (uint32_t)kind, .pid = told->pid, .slot = told->index, .task_generation = told->task_generation};
    event.calls = calls == NULL ? 0 : (uint32_t)(calls - lq_space_meter(space, me)->calls);
    lq_journals_tell(&space->journals, me, &event, text, length_of_(text));
}

/* The function is looked up as long as the slot still serves that task: whoever published it may be gone soon after. */
void lq_space_tell(const struct lq_space *space, lq_label me, enum lq_event_kind kind, uint32_t pid, uint32_t index,
                   uint32_t task_generation, const char *text)
{
    struct lq_told told = {.index = index, .task_generation = task_generation, .pid = pid};
    bool is_known = false;
    if (task_generation != 0 && index < space->slots.count) {
        told = lq_told_of(space, index, pid);
        lq_order_loads();
        is_known = told.task_generation == task_generation && LQ_GET(lq_space_slot(space, index)->task_generation) == task_generation;
        told.task_generation = task_generation;
    }
    tell_of_(space, me, kind, &told, is_known ? calls_of_(space, me, &told) : NULL, text);
}

void lq_space_tell_end(const struct lq_space *space, lq_label me, const struct lq_told *told, enum lq_outcome outcome, const char *text)
{
    enum lq_event_kind kind = outcome == LQ_OUTCOME_CRASHED     ? LQ_EVENT_CRASH
                              : outcome == LQ_OUTCOME_TIMEOUT   ? LQ_EVENT_TIMEOUT
                              : outcome == LQ_OUTCOME_CANCELLED ? LQ_EVENT_CANCELLED
                                                                : LQ_EVENT_FAILURE;
    struct lq_meter *meter = lq_space_meter(space, me);
    struct lq_calls *calls = calls_of_(space, me, told);
    if (outcome == LQ_OUTCOME_CANCELLED) {
        lq_meter_add(meter, LQ_SUM_CANCELLED, 1);
    } else {
        lq_meter_add(meter, LQ_SUM_FAILED, 1);
        lq_count(&calls->sums[LQ_CALLS_FAILED], 1);
    }
    tell_of_(space, me, kind, told, calls, text);
    lq_space_call_watchers(space, told->index, told->task_generation);
}

void lq_space_tell_again(const struct lq_space *space, lq_label me, const struct lq_told *told, const char *text)
{
    struct lq_calls *calls = calls_of_(space, me, told);
    lq_meter_add(lq_space_meter(space, me), LQ_SUM_RETRIED, 1);
    lq_count(&calls->sums[LQ_CALLS_RETRIED], 1);
    tell_of_(space, me, LQ_EVENT_CRASH, told, calls, text);
}

/* Without the C library, as length_of_. */
static char *append_(char *at, const char *text)
{
    while (*text != 0)
        *at++ = *text++;
    *at = 0;
    return at;
}

static char *append_number_(char *at, uint32_t number)
{
    char digits[12];
    uint32_t count = 0;
    do
        digits[count++] = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    while (count != 0)
        *at++ = digits[--count];
    *at = 0;
    return at;
}

/* The statuses above those of waitpid: see localq.pool.recovery. */
const char *lq_death_in_words(uint32_t wait_status, const char *then, char text[LQ_DEATH_TEXT])
{
    static const char *const names[16] = {[2] = " (SIGINT)", [3] = " (SIGQUIT)", [4] = " (SIGILL)", [6] = " (SIGABRT)", [7] = " (SIGBUS)",
                                          [8] = " (SIGFPE)", [9] = " (SIGKILL)", [11] = " (SIGSEGV)", [15] = " (SIGTERM)"};
    uint32_t signal = wait_status & 0x7fu;
    char *at = text;
    if (wait_status == 0x7f) {
        at = append_(at, "its worker ended with the supervisor");
    } else if (wait_status == 0x7e) {
        at = append_(at, "its worker was killed for another task that did not stop");
    } else if (signal != 0) {
        at = append_number_(append_(at, "its worker was killed by signal "), signal);
        at = append_(at, signal < 16 && names[signal] != NULL ? names[signal] : "");
    } else {
        at = append_number_(append_(at, "its worker exited with status "), wait_status >> 8 & 0xffu);
    }
    append_(at, then);
    return text;
}

/* ------------------------------------------------------------------------------------------------ notes, and who watches */

bool lq_space_note(const struct lq_space *space, lq_label me, uint32_t index, uint32_t task_generation, uint64_t progress,
                   const char *message, uint64_t bytes)
{
    const struct lq_slot *slot = lq_space_slot(space, index);
    uint64_t word = lq_load(&slot->word);
    /* As long as it is RUNNING(me) nobody else writes a note there, and only we ourselves can change that. */
    if (lq_word_state(word) != LQ_SLOT_RUNNING || lq_word_label(word) != me || slot->task_generation != task_generation)
        return false;
    lq_note_write(&space->notes.notes[index], task_generation, progress, message, bytes);
    if (lq_slot_is_watched(slot))
        lq_space_call(space, index);
    return true;
}

/* On its way: queued, delayed or in a worker's hands. */
static bool is_on_its_way_(const struct lq_slot *slot, uint32_t task_generation)
{
    uint32_t state = lq_word_state(lq_load_seq(&slot->word));
    bool is = state == LQ_SLOT_QUEUED || state == LQ_SLOT_CLAIMED || state == LQ_SLOT_RUNNING || state == LQ_SLOT_DELAYED;
    return is && LQ_GET(slot->task_generation) == task_generation;
}

enum lq_status lq_space_watch(const struct lq_space *space, uint32_t index, uint32_t task_generation)
{
    if (index >= space->slots.count)
        return LQ_MISSING;
    struct lq_slot *slot = lq_space_slot(space, index);
    for (;;) {
        /* Read before the task is looked at: if the slot serves another by now that is watched too, the swap fails. */
        uint32_t seen = lq_load32_seq(&slot->watch);
        if (!is_on_its_way_(slot, task_generation))
            return LQ_MISSING;
        if (seen == task_generation || lq_cas32(&slot->watch, seen, task_generation))
            return LQ_OK;
    }
}

void lq_space_call(const struct lq_space *space, uint32_t index)
{
    lq_note_call(&space->notes.notes[index]);
    lq_space_call_all(space);
}

void lq_space_call_watchers(const struct lq_space *space, uint32_t index, uint32_t task_generation)
{
    if (lq_load32_seq(&lq_space_slot(space, index)->watch) == task_generation)
        lq_space_call(space, index);
}

enum lq_status lq_space_read_note(const struct lq_space *space, uint32_t index, uint32_t task_generation, struct lq_note *copy, uint32_t *seq)
{
    return index < space->slots.count ? lq_note_read(&space->notes.notes[index], task_generation, copy, seq) : LQ_MISSING;
}

enum lq_status lq_space_wait_note(const struct lq_space *space, uint32_t index, uint32_t task_generation, uint32_t seq, int64_t timeout_ns)
{
    if (index >= space->slots.count)
        return LQ_OK;
    const struct lq_slot *slot = lq_space_slot(space, index);
    const struct lq_note *note = &space->notes.notes[index];
    int64_t until = lq_now_ns() + timeout_ns;
    for (;;) {
        uint32_t calls = lq_load32_seq(&note->calls);
        if (!is_on_its_way_(slot, task_generation) || lq_note_seq(note, task_generation) != seq)
            return LQ_OK;
        int64_t left = until - lq_now_ns();
        if (left <= 0)
            return LQ_TIMEOUT;
        int64_t slice = lq_slot_is_closing(slot, task_generation) ? CLOSING_NS : SLICE_NS;
        if (lq_note_sleep(note, calls, left < slice ? left : slice) == LQ_INTERRUPTED)
            return LQ_INTERRUPTED;
    }
}

void lq_space_call_all(const struct lq_space *space)
{
    lq_futex_ring(&space->header->note_calls, INT_MAX);
}

uint32_t lq_space_note_calls(const struct lq_space *space)
{
    return lq_load32_seq(&space->header->note_calls);
}

enum lq_status lq_space_wait_note_calls(const struct lq_space *space, uint32_t calls, int64_t timeout_ns)
{
    return lq_futex_sleep(&space->header->note_calls, calls, timeout_ns);
}

/* ------------------------------------------------------------------------------------------------------- read by people */

bool lq_space_is_metered(const struct lq_space *space, uint32_t row)
{
    return lq_load32(&space->roster.rows[row % LQ_ROWS].tracks.metered) != 0;
}

void lq_space_meters(const struct lq_space *space, struct lq_meter_reading *reading)
{
    memset(reading, 0, sizeof *reading);
    for (uint32_t row = 1; row < LQ_ROWS; row++) {
        if (!lq_space_is_metered(space, row))
            continue;
        const struct lq_meter *meter = &space->meters[row];
        for (uint32_t i = 0; i < LQ_SUMS; i++)
            reading->sums[i] += lq_load_relaxed(&meter->sums[i]);
        for (uint32_t i = 0; i < LQ_BUCKETS; i++) {
            reading->wait[i] += lq_load_relaxed(&meter->wait[i]);
            reading->run[i] += lq_load_relaxed(&meter->run[i]);
        }
    }
}

enum lq_status lq_space_in_hand(const struct lq_space *space, uint32_t index, struct lq_slot *copy, uint32_t *pid)
{
    if (index >= space->slots.count)
        return LQ_MISSING;
    const struct lq_slot *slot = lq_space_slot(space, index);
    for (int i = 0; i < 4; i++) {
        uint64_t word = lq_load(&slot->word);
        if (lq_word_state(word) != LQ_SLOT_CLAIMED && lq_word_state(word) != LQ_SLOT_RUNNING)
            return LQ_MISSING;
        lq_copy_relaxed(copy, slot, sizeof *copy);
        lq_order_loads();
        if (lq_load_seq(&slot->word) != word)
            continue;
        lq_store_relaxed(&copy->word, word);
        *pid = lq_row_pid(lq_roster_row(&space->roster, lq_word_label(word)));
        return LQ_OK;
    }
    return LQ_MISSING;
}

enum lq_gone lq_space_gone(const struct lq_space *space, uint32_t index, uint32_t task_generation, int64_t now_ns)
{
    struct lq_slot copy;
    if (index >= space->slots.count || index >= lq_slots_used(&space->slots))
        return LQ_GONE_NOT_KNOWN;
    if (lq_space_read(space, index, task_generation, &copy) == LQ_OK)
        return lq_slot_state_of(&copy) == LQ_SLOT_CACHED && lq_space_is_expired(space, index, &copy, now_ns) ? LQ_GONE_EXPIRED
                                                                                                           : LQ_GONE_NOT_KNOWN;
    return lq_past_gone(&space->pasts[index], task_generation);
}

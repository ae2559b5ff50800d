/* SPDX-License-Identifier: MIT */
#include "lq_worker.h"

#include <sched.h>
#include <string.h>

#define FAIR_EVERY 64u
#define SPIN_MOST_NS 20000u /* ~2 futex round trips: a client that waits for one result submits the next within that */
#define SPIN_LEAST_NS 500u
#define BRISK_NS 20000u     /* tasks shorter than this end before a sleeper would have been awake */
#define BRISK_HOLD_NS 50000 /* for how long taking such a task promises to be back */
#define NAP_LEAST_NS 2000000 /* the first sleep after work; they double while nothing comes */
#define NAP_MOST_NS 100000000 /* a wake-up that was lost, or held back for a promise that was broken, costs at most this */

enum lq_status lq_worker_init(struct lq_worker *worker, struct lq_space *space, lq_label me, uint32_t pid)
{
    *worker = (struct lq_worker){.space = space, .me = me, .pid = pid, .spin_ns = SPIN_MOST_NS, .nap_ns = NAP_LEAST_NS};
    worker->meter = lq_space_meter(space, me);
    worker->ours = lq_mark_create();
    return worker->ours != NULL ? LQ_OK : LQ_SYSTEM;
}

bool lq_worker_is_ours(const struct lq_worker *worker)
{
    return worker->ours != NULL && *worker->ours != 0;
}

void lq_worker_end(struct lq_worker *worker)
{
    struct lq_bell *bell = &worker->space->header->bell;
    lq_bell_clear(bell->parked, lq_label_row(worker->me));
    lq_bell_clear(bell->spinning, lq_label_row(worker->me));
    lq_arena_cool(&worker->space->arena, &worker->cache, worker->me);
    lq_mark_destroy(worker->ours);
    worker->ours = NULL;
}

/* ---------------------------------------------------------------------------------------------- counting and tracing */

/* Where the function of a task is counted. A look-up by its name only when it is first met. */
static struct lq_calls *calls_of_(struct lq_worker *worker, const struct lq_slot *slot)
{
    if (slot->function >= LQ_FUNCTIONS)
        return &worker->meter->calls[0];
    struct lq_known *known = &worker->known[slot->function];
    if (known->entry == 0 || known->generation != slot->function_generation) {
        struct lq_calls *calls = lq_space_calls(worker->space, worker->me, slot->function, slot->function_generation);
        known->generation = slot->function_generation;
        known->entry = (uint32_t)(calls - worker->meter->calls) + 1;
    }
    return &worker->meter->calls[known->entry - 1];
}

/* While tasks are traced: when this one was taken. Noted beside its slot, for a worker may have several. */
static void note_taken_(struct lq_worker *worker, uint32_t index)
{
    struct lq_note *note = &worker->space->notes.notes[index];
    int64_t now = lq_now_ns();
    if (!lq_traces_is_on(&worker->space->traces, now))
        return;
    LQ_PUT(note->taken_ns, (uint64_t)now);
    LQ_PUT(note->taken_generation, lq_space_slot(worker->space, index)->task_generation);
}

/* Before the slot is given away. */
static void record_(struct lq_worker *worker, uint32_t index, uint64_t sent_ns)
{
    const struct lq_slot *slot = lq_space_slot(worker->space, index);
    const struct lq_note *note = &worker->space->notes.notes[index];
    uint64_t ended_ns = worker->ended_ns;
    worker->ended_ns = 0;
    if (!lq_traces_is_on(&worker->space->traces, (int64_t)sent_ns))
        return;
    struct lq_record record = {
        .slot = index,
        .task_generation = slot->task_generation,
        .function = slot->function,
        .function_generation = slot->function_generation,
        .pid = worker->pid,
        .attempt = slot->attempt,
        .items = lq_slot_items_begun(slot),
        .bytes_in = slot->args_bytes,
        .bytes_out = slot->result_bytes,
        .kind = slot->kind,
        .outcome = slot->outcome,
        .submit_ns = slot->submit_ns,
        .taken_ns = note->taken_generation == slot->task_generation ? note->taken_ns : 0,
        .begun_ns = slot->start_ns,
        .ended_ns = ended_ns >= slot->start_ns ? ended_ns : sent_ns,
        .sent_ns = sent_ns,
    };
    lq_traces_record(&worker->space->traces, worker->me, &record);
}

void lq_worker_tell(struct lq_worker *worker, enum lq_event_kind kind, uint32_t index, uint32_t task_generation, const char *text)
{
    lq_space_tell(worker->space, worker->me, kind, worker->pid, index, task_generation, text);
}

/* Since when a task waits: since its submission, or the time that it was due. */
static uint64_t waits_since_(const struct lq_worker *worker, const struct lq_slot *slot)
{
    uint64_t due_ns = slot->due_ms != 0 ? worker->space->header->epoch_ns + slot->due_ms * 1000000ull : 0;
    return due_ns > slot->submit_ns ? due_ns : slot->submit_ns;
}

/*
 * The claim: sign the word, then move the head.
 *
 * Callers:  any number of workers at once.
 * Progress: lock-free.
 * Returns:  LQ_OK and *index; LQ_EMPTY.
 * Death:    from [W1] on the word names `me`; the head is moved by the next worker.
 */
static enum lq_status claim_(struct lq_worker *worker, const struct lq_ring *ring, uint32_t *index)
{
    struct lq_ring_entry entry;
    while (lq_ring_peek(ring, &entry) == LQ_OK) {
        if (entry.index >= worker->space->slots.count) {
            lq_ring_advance(ring, &entry);
            continue;
        }
        struct lq_slot *slot = lq_space_slot(worker->space, entry.index);
        for (;;) {
            uint64_t word = lq_load(&slot->word);
            bool meant = (lq_word_generation(word) & LQ_INDEX_MASK) == entry.generation;
            if (meant && lq_word_state(word) == LQ_SLOT_QUEUED) {
                if (!lq_cas(&slot->word, word, lq_word_as(word, LQ_SLOT_CLAIMED, worker->me))) /* [W1] */
                    continue; /* may be a mere relabel by a recoverer, not a rival: look again */
                LQ_FAULT("claim:claimed");
                LQ_PUT(slot->worker_pid, worker->pid);
                lq_ring_advance(ring, &entry);
                if (lq_traces_may_be_on(&worker->space->traces))
                    note_taken_(worker, entry.index);
                *index = entry.index;
                return LQ_OK;
            }
            /* A cancelled task's cell has come up: the slot goes back to its client as any finished one does. */
            if (meant && lq_word_state(word) == LQ_SLOT_CANCELLED &&
                !lq_space_settle_cancelled(worker->space, worker->me, entry.index, word))
                continue;
            break; /* for good: this (slot, generation) is never QUEUED again */
        }
        lq_ring_advance(ring, &entry);
    }
    return LQ_EMPTY;
}

/* Death: as in claim_, but that the cell is left where it is: it names a (slot, generation) that is never QUEUED again. */
enum lq_status lq_worker_claim(struct lq_worker *worker, uint32_t index, uint32_t task_generation)
{
    if (index >= worker->space->slots.count)
        return LQ_MISSING;
    struct lq_slot *slot = lq_space_slot(worker->space, index);
    for (;;) {
        uint64_t word = lq_load(&slot->word);
        if (lq_word_state(word) != LQ_SLOT_QUEUED || LQ_GET(slot->task_generation) != task_generation)
            return LQ_MISSING;
        if (lq_cas(&slot->word, word, lq_word_as(word, LQ_SLOT_CLAIMED, worker->me)))
            break; /* else a relabel, or somebody was quicker: look again */
    }
    LQ_FAULT("worker_claim:claimed");
    LQ_PUT(slot->worker_pid, worker->pid);
    if (lq_traces_may_be_on(&worker->space->traces))
        note_taken_(worker, index);
    return LQ_OK;
}

static enum lq_status search_(struct lq_worker *worker, uint32_t *index)
{
    uint32_t turn = worker->takes;
    uint32_t first = turn % FAIR_EVERY == FAIR_EVERY - 1 ? 1 + turn / FAIR_EVERY % (LQ_PRIORITIES - 1) : 0;
    uint32_t queues = worker->space->queues;
    for (uint32_t i = 0; i < LQ_PRIORITIES; i++) {
        uint32_t priority = (first + i) % LQ_PRIORITIES;
        for (uint32_t j = 0; j < queues; j++) {
            const struct lq_ring *ring = &worker->space->rings[queues == 1 ? 0 : (turn + j) % queues][priority];
            if (claim_(worker, ring, index) == LQ_OK) {
                worker->takes++;
                /* The next task's lines, while this one runs. */
                uint64_t next = lq_load_relaxed(lq_ring_cell(ring, lq_load_relaxed(ring->head)));
                uint32_t number = (uint32_t)(next & LQ_INDEX_MASK);
                const char *ahead = (const char *)lq_space_slot(worker->space, number < worker->space->slots.count ? number : 0);
                __builtin_prefetch(ahead, 1);
                __builtin_prefetch(ahead + LQ_LINE, 1);
                __builtin_prefetch(ahead + 2 * LQ_LINE, 1);
                return LQ_OK;
            }
        }
    }
    return LQ_EMPTY;
}

/*
 * Into its ring, then nobody's: to a worker, QUEUED(me) says that the push is still owed. So does CANCELLED(me): its cell
 * must come up for the client to be told.
 */
static bool push_requeued_(struct lq_worker *worker, uint32_t index, uint64_t word)
{
    struct lq_space *space = worker->space;
    struct lq_slot *slot = lq_space_slot(space, index);
    const struct lq_ring *ring = lq_space_ring_of(space, slot);
    if (lq_ring_push(ring, index, lq_word_generation(word)) != LQ_OK)
        return false;
    LQ_FAULT("worker_requeue:pushed");
    lq_cas(&slot->word, word, lq_word_as(word, lq_word_state(word), LQ_NOBODY));
    lq_space_call_worker(space, ring, lq_now_ns());
    return true;
}

/* The rings had no room for some that were requeued; every take makes room. */
static void pay_owed_(struct lq_worker *worker)
{
    uint32_t used = lq_slots_used(&worker->space->slots);
    worker->owes = false;
    for (uint32_t index = 0; index < used; index++) {
        uint64_t word = lq_load(&lq_space_slot(worker->space, index)->word);
        bool owed = lq_word_state(word) == LQ_SLOT_QUEUED || lq_word_state(word) == LQ_SLOT_CANCELLED;
        if (owed && lq_word_label(word) == worker->me && !push_requeued_(worker, index, word))
            worker->owes = true;
    }
}

enum lq_status lq_worker_take_now(struct lq_worker *worker, uint32_t *index)
{
    if (worker->owes)
        pay_owed_(worker);
    enum lq_status status = search_(worker, index);
    if (status == LQ_OK || !worker->owes)
        return status;
    pay_owed_(worker); /* all cells have been passed over: now there is room */
    return search_(worker, index);
}

/* One searcher for every two processors: more would take time from those who have work. */
static bool may_spin_(const struct lq_worker *worker)
{
    const struct lq_header *header = worker->space->header;
    return header->sizes.cpus > 1 && lq_bell_count(header->bell.spinning) < (header->sizes.cpus + 1) / 2;
}

static enum lq_status spin_(struct lq_worker *worker, uint32_t *index)
{
    struct lq_bell *bell = &worker->space->header->bell;
    lq_bell_set(bell->spinning, lq_label_row(worker->me));
    int64_t until = lq_now_ns() + worker->spin_ns;
    enum lq_status status;
    for (uint32_t i = 1;; i++) {
        status = lq_worker_take_now(worker, index);
        if (status == LQ_OK || (i % 8 == 0 && lq_now_ns() >= until))
            break;
        if (i % 8 == 0)
            sched_yield(); /* to the client above all, which this may have displaced: it is who would bring something */
        else
            lq_relax();
    }
    lq_bell_clear(bell->spinning, lq_label_row(worker->me));
    if (status == LQ_OK)
        worker->spin_ns = worker->spin_ns * 2 < SPIN_MOST_NS ? worker->spin_ns * 2 : SPIN_MOST_NS;
    else
        worker->spin_ns = worker->spin_ns / 2 > SPIN_LEAST_NS ? worker->spin_ns / 2 : SPIN_LEAST_NS;
    return status;
}

enum lq_status lq_worker_take(struct lq_worker *worker, int64_t timeout_ns, uint32_t *index)
{
    struct lq_header *header = worker->space->header;
    struct lq_bell *bell = &header->bell;
    uint32_t row = lq_label_row(worker->me);
    worker->free_ns = 0;
    if (lq_load32(&header->phase) >= LQ_PHASE_STOPPED)
        return LQ_STOPPED;
    if (lq_worker_take_now(worker, index) == LQ_OK || (may_spin_(worker) && spin_(worker, index) == LQ_OK)) {
        worker->nap_ns = NAP_LEAST_NS;
        return LQ_OK;
    }
    uint32_t key = lq_bell_key(bell);
    /* First take the promise back, then show the bit, then look once more: whoever pushed and did not ring because of
       either is seen by that look. */
    lq_store_relaxed(&bell->brisk_until_ns, 0);
    lq_bell_set(bell->parked, row);
    enum lq_status status = lq_worker_take_now(worker, index);
    if (status != LQ_OK) {
        if (lq_load32_seq(&header->phase) != LQ_PHASE_OPEN)
            status = LQ_STOPPED;
        else {
            lq_count(&lq_roster_row(&worker->space->roster, worker->me)->tracks.parked, 1);
            lq_arena_ease(&worker->space->arena, &worker->cache, worker->me);
            status = lq_bell_sleep(bell, key, worker->nap_ns < timeout_ns ? worker->nap_ns : timeout_ns);
            worker->nap_ns = status == LQ_TIMEOUT && worker->nap_ns < NAP_MOST_NS ? worker->nap_ns * 2 : worker->nap_ns;
            status = status == LQ_INTERRUPTED ? LQ_INTERRUPTED : LQ_EMPTY;
        }
    }
    lq_bell_clear(bell->parked, row);
    return status;
}

static bool is_more_queued_(const struct lq_worker *worker, const struct lq_ring **ring)
{
    for (uint32_t i = 0; i < LQ_PRIORITIES * worker->space->queues; i++) {
        *ring = &worker->space->rings[i / LQ_PRIORITIES][i % LQ_PRIORITIES];
        if (lq_ring_depth(*ring) != 0)
            return true;
    }
    return false;
}

enum lq_status lq_worker_wait(struct lq_worker *worker, int64_t timeout_ns)
{
    struct lq_header *header = worker->space->header;
    struct lq_bell *bell = &header->bell;
    const struct lq_ring *ring;
    uint32_t key = lq_bell_key(bell);
    lq_store_relaxed(&bell->brisk_until_ns, 0); /* in this order: see lq_worker_take */
    lq_bell_set(bell->parked, lq_label_row(worker->me));
    enum lq_status status = LQ_OK;
    if (!is_more_queued_(worker, &ring) && lq_load32_seq(&header->phase) == LQ_PHASE_OPEN)
        status = lq_bell_sleep(bell, key, timeout_ns < NAP_MOST_NS ? timeout_ns : NAP_MOST_NS);
    lq_bell_clear(bell->parked, lq_label_row(worker->me));
    return status;
}

void lq_worker_start(struct lq_worker *worker, uint32_t index, uint64_t expected_ns)
{
    struct lq_space *space = worker->space;
    struct lq_slot *slot = lq_space_slot(space, index);
    struct lq_bell *bell = &space->header->bell;
    struct lq_tracks *tracks = &lq_roster_row(&space->roster, worker->me)->tracks;
    bool is_exact = worker->free_ns < (int64_t)slot->submit_ns || lq_traces_may_be_on(&space->traces);
    int64_t now = is_exact ? lq_now_ns() : worker->free_ns;
    const struct lq_ring *ring;
    LQ_PUT(slot->start_ns, (uint64_t)now);
    LQ_PUT(slot->attempt, slot->attempt + 1);
    lq_store32_relaxed(&slot->items_begun, 0);
    lq_slot_forgive(slot);
    /* A run that crashed may have named a block that recovery has freed since, but recovery writes no body. */
    LQ_PUT(slot->result_block, LQ_NO_BLOCK);
    lq_store_relaxed(&tracks->task_since_ns, (uint64_t)now);
    lq_store_relaxed(&tracks->task, (uint64_t)index << 32 | slot->task_generation);
    uint64_t word = lq_load_relaxed(&slot->word);
    lq_store(&slot->word, lq_word_as(word, LQ_SLOT_RUNNING, worker->me)); /* plain: the label says it is ours */
    LQ_FAULT("worker_start:running");
    if (slot->attempt == 1) {
        uint64_t since = waits_since_(worker, slot);
        lq_meter_waited(worker->meter, calls_of_(worker, slot), (uint64_t)now > since ? (uint64_t)now - since : 0);
    }
    if (slot->limit_ms != 0)
        lq_space_expect(space, (uint64_t)now + slot->limit_ms * 1000000ull);
    bool brisk = expected_ns != 0 && expected_ns < BRISK_NS;
    if (brisk) {
        if ((int64_t)lq_load_relaxed(&bell->brisk_until_ns) < now + BRISK_HOLD_NS / 2)
            lq_store_relaxed(&bell->brisk_until_ns, (uint64_t)(now + BRISK_HOLD_NS));
    } else if (lq_bell_any(bell->parked) && is_more_queued_(worker, &ring)) {
        lq_space_call_worker(space, ring, now); /* this may last: pass the word on */
    }
}

enum lq_status lq_worker_take_block(struct lq_worker *worker, uint64_t bytes, uint32_t *block)
{
    return lq_arena_take(&worker->space->arena, &worker->cache, worker->me, bytes, false, block);
}

void lq_worker_hold_result(struct lq_worker *worker, uint32_t index, uint32_t block)
{
    struct lq_slot *slot = lq_space_slot(worker->space, index);
    struct lq_arena *arena = &worker->space->arena;
    if (slot->result_block != LQ_NO_BLOCK) { /* a second result for the same run: its encoding failed half way, say */
        lq_arena_drop(arena, &worker->cache, worker->me, slot->result_block,
                      lq_backref(LQ_HOLDER_RESULT, index, slot->task_generation));
        LQ_PUT(slot->result_block, LQ_NO_BLOCK);
    }
    LQ_PUT(slot->result_block, block);
    LQ_FAULT("worker_store_result:named");
    lq_arena_hold(arena, worker->me, block, lq_backref(LQ_HOLDER_RESULT, index, slot->task_generation));
}

enum lq_status lq_worker_store_result(struct lq_worker *worker, uint32_t index, const void *bytes, uint64_t length)
{
    uint32_t block;
    uint64_t room;
    enum lq_status status = lq_worker_take_block(worker, length, &block);
    if (status != LQ_OK)
        return status;
    memcpy(lq_arena_at(&worker->space->arena, block, &room), bytes, length);
    lq_worker_hold_result(worker, index, block);
    return LQ_OK;
}

/* CLAIMED or RUNNING -> DONE; whoever waits is told. */
static void hand_over_(struct lq_worker *worker, uint32_t index)
{
    struct lq_slot *slot = lq_space_slot(worker->space, index);
    lq_label client = slot->client; /* read before the slot is given away */
    bool is_watched = lq_slot_is_watched(slot); /* and after the run was closed: see lq_space_wait_note */
    uint64_t word = lq_load_relaxed(&slot->word);
    uint64_t done = lq_word_as(word, LQ_SLOT_DONE, worker->me);
    lq_store(&slot->word, done); /* plain: the label says it is ours */
    LQ_FAULT("worker_finish:done");
    if (lq_roster_is_live(&worker->space->roster, client))
        lq_space_announce(worker->space, index, lq_word_generation(word), client);
    else /* nobody waits: it is for whoever asks by id. If that was seen too late, the sweep does it */
        lq_cas(&slot->word, done, lq_word_as(done, LQ_SLOT_CACHED, LQ_NOBODY));
    if (is_watched)
        lq_space_call(worker->space, index);
}

void lq_worker_drop(struct lq_worker *worker, uint32_t index, enum lq_outcome outcome)
{
    struct lq_slot *slot = lq_space_slot(worker->space, index);
    if (!lq_slot_close(slot))
        outcome = LQ_OUTCOME_CANCELLED;
    LQ_PUT(slot->result_block, LQ_NO_BLOCK); /* as in lq_worker_start */
    LQ_PUT(slot->result_bytes, 0u);
    LQ_PUT(slot->outcome, (uint8_t)outcome);
    LQ_PUT(slot->done_ns, (uint64_t)lq_now_ns());
    uint32_t task = slot->task_generation;
    struct lq_calls *calls = calls_of_(worker, slot);
    hand_over_(worker, index);
    if (outcome == LQ_OUTCOME_CANCELLED) {
        lq_meter_add(worker->meter, LQ_SUM_CANCELLED, 1);
        lq_worker_tell(worker, LQ_EVENT_CANCELLED, index, task, "cancelled before it began");
    } else {
        lq_meter_add(worker->meter, LQ_SUM_FAILED, 1);
        lq_count(&calls->sums[LQ_CALLS_FAILED], 1);
        lq_worker_tell(worker, LQ_EVENT_FAILURE, index, task, "it was not started in time");
    }
}

/*
 * Callers:  the worker that runs the task.
 * Progress: lock-free.
 * Death:    before [W2] the task is RUNNING(me): requeued or judged as crashed. From then on the result stands, and the
 *           label says that the client may not have been told.
 */
uint64_t lq_worker_finish(struct lq_worker *worker, uint32_t index, enum lq_outcome outcome, uint8_t format, uint32_t result_bytes)
{
    struct lq_slot *slot = lq_space_slot(worker->space, index);
    struct lq_meter *meter = worker->meter;
    struct lq_calls *calls = calls_of_(worker, slot);
    int64_t now = lq_now_ns();
    uint64_t ran = (uint64_t)now - slot->start_ns;
    uint32_t task = slot->task_generation;
    uint32_t args_bytes = slot->args_bytes;
    if (!lq_slot_close(slot)) {
        outcome = LQ_OUTCOME_CANCELLED;
        result_bytes = 0;
    }
    LQ_FAULT("worker_finish:closed");
    LQ_PUT(slot->done_ns, (uint64_t)now);
    LQ_PUT(slot->outcome, (uint8_t)outcome);
    LQ_PUT(slot->result_format, format);
    LQ_PUT(slot->result_bytes, result_bytes);
    if (lq_traces_may_be_on(&worker->space->traces))
        record_(worker, index, (uint64_t)now);
    hand_over_(worker, index); /* [W2] */
    if (outcome == LQ_OUTCOME_SUCCESS) {
        lq_meter_add(meter, LQ_SUM_SUCCEEDED, 1);
        lq_count(&calls->sums[LQ_CALLS_SUCCEEDED], 1);
    } else if (outcome == LQ_OUTCOME_CANCELLED) {
        lq_meter_add(meter, LQ_SUM_CANCELLED, 1);
        lq_worker_tell(worker, LQ_EVENT_CANCELLED, index, task, "stopped, because it was cancelled");
    } else {
        lq_meter_add(meter, LQ_SUM_FAILED, 1);
        lq_count(&calls->sums[LQ_CALLS_FAILED], 1);
    }
    lq_meter_add(meter, LQ_SUM_BYTES_IN, args_bytes);
    lq_meter_add(meter, LQ_SUM_BYTES_OUT, result_bytes);
    lq_meter_ran(meter, calls, ran);
    lq_store_relaxed(&lq_roster_row(&worker->space->roster, worker->me)->tracks.task, ~0ull);
    worker->free_ns = now;
    return ran;
}

void lq_worker_count_items(struct lq_worker *worker, uint32_t index, uint64_t items)
{
    lq_meter_add(worker->meter, LQ_SUM_ITEMS, items);
    lq_count(&calls_of_(worker, lq_space_slot(worker->space, index))->sums[LQ_CALLS_ITEMS], items);
}

void lq_worker_count_retry(struct lq_worker *worker, uint32_t index)
{
    lq_meter_add(worker->meter, LQ_SUM_RETRIED, 1);
    lq_count(&calls_of_(worker, lq_space_slot(worker->space, index))->sums[LQ_CALLS_RETRIED], 1);
}

/* RUNNING -> DELAYED: to run again, but later. Nobody owes anything for it. */
static void delay_(struct lq_worker *worker, uint32_t index, uint32_t delay_ms)
{
    struct lq_space *space = worker->space;
    struct lq_slot *slot = lq_space_slot(space, index);
    uint64_t word = lq_load_relaxed(&slot->word);
    int64_t now = lq_now_ns();
    LQ_PUT(slot->due_ms, lq_space_at(space, now + delay_ms * 1000000ll));
    lq_store(&slot->word, lq_word_next(word, LQ_SLOT_DELAYED, LQ_NOBODY, lq_word_aux(word)));
    LQ_FAULT("worker_requeue:delayed");
    lq_space_expect(space, (uint64_t)now + delay_ms * 1000000ull);
}

void lq_worker_requeue(struct lq_worker *worker, uint32_t index, uint32_t delay_ms)
{
    struct lq_space *space = worker->space;
    struct lq_slot *slot = lq_space_slot(space, index);
    uint64_t now = (uint64_t)lq_now_ns();
    lq_meter_ran(worker->meter, calls_of_(worker, slot), now > slot->start_ns ? now - slot->start_ns : 0);
    lq_slot_close(slot); /* whoever takes it next sees whether it was cancelled */
    if (slot->result_block != LQ_NO_BLOCK) {
        lq_arena_drop(&space->arena, &worker->cache, worker->me, slot->result_block,
                      lq_backref(LQ_HOLDER_RESULT, index, slot->task_generation));
        LQ_PUT(slot->result_block, LQ_NO_BLOCK);
    }
    if (delay_ms != 0) {
        delay_(worker, index, delay_ms);
    } else {
        uint64_t word = lq_load_relaxed(&slot->word);
        uint64_t again = lq_word_next(word, LQ_SLOT_QUEUED, worker->me, lq_word_aux(word));
        lq_store(&slot->word, again);
        LQ_FAULT("worker_requeue:queued");
        /* Full of duplicates that a recovery pushed: not waited for, because this may be the only worker to take them. */
        if (!push_requeued_(worker, index, again))
            worker->owes = true;
    }
    lq_store_relaxed(&lq_roster_row(&space->roster, worker->me)->tracks.task, ~0ull);
}

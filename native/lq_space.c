/* SPDX-License-Identifier: MIT */
#include "lq_space.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lq_tell.h"

#define HUGE_FROM (64u << 20) /* bytes of an arena that may have huge pages: small ones would be held by a few of them */
/* Tasks of this length or shorter count as brisk: whoever runs one is back sooner than a sleeper would be awake. */
#define BRISK_DEPTH 32u /* ... unless more than this wait: then the work is worth another worker */

/* ------------------------------------------------------------------------------------------------------- layout */

struct layout_ {
    uint64_t roster, reports, functions, rings, completions, slots, pins, spans, stocks, blocks, meters, journals, notes, pasts,
        traces, end;
};

static uint64_t place_(uint64_t *at, uint64_t bytes)
{
    uint64_t here = *at;
    *at = (here + bytes + 4095) & ~4095ull; /* each structure on its own pages: sparse until touched */
    return here;
}

static struct layout_ layout_of_(uint32_t slots, uint32_t queues, uint32_t ring_order, uint32_t spans)
{
    struct layout_ layout;
    uint64_t at = 0;
    place_(&at, sizeof(struct lq_header));
    layout.roster = place_(&at, lq_roster_size());
    layout.reports = place_(&at, lq_reports_size());
    layout.functions = place_(&at, lq_functions_size());
    layout.rings = at;
    for (uint32_t i = 0; i < queues * LQ_PRIORITIES; i++)
        place_(&at, lq_ring_size(ring_order));
    layout.completions = at;
    for (uint32_t i = 0; i < LQ_ROWS; i++)
        place_(&at, lq_ring_size(ring_order));
    layout.slots = place_(&at, lq_slots_size(slots));
    layout.pins = place_(&at, lq_pins_size());
    layout.spans = place_(&at, lq_arena_spans_size(spans));
    layout.stocks = place_(&at, lq_arena_stocks_size(spans));
    layout.blocks = place_(&at, lq_arena_blocks_size(spans));
    layout.meters = place_(&at, lq_meters_size());
    layout.journals = place_(&at, lq_journals_size());
    layout.notes = place_(&at, lq_notes_size(slots));
    layout.pasts = place_(&at, sizeof(struct lq_past) * (size_t)slots);
    layout.traces = place_(&at, lq_traces_size());
    layout.end = at;
    return layout;
}

/* Room for all slots, and for what recovery pushes twice. */
static uint32_t ring_order_of_(uint64_t slots)
{
    uint32_t order = 4;
    while ((1ull << order) < slots + slots / 2)
        order++;
    return order;
}

static uint64_t spans_of_(uint64_t memory)
{
    return memory / LQ_SPAN_BYTES + (memory % LQ_SPAN_BYTES != 0) + 1; /* span 0 is never given out */
}

/* Offsets to pointers, in one place. All later code is free of them. `header`: verified, and not in shared memory. */
static void view_(struct lq_space *space, const struct lq_header *header)
{
    struct layout_ layout = layout_of_(header->slots, header->sizes.queues, header->ring_order, header->spans);
    unsigned char *base = space->control.base;
    uint64_t ring_bytes = (lq_ring_size(header->ring_order) + 4095) & ~4095ull;
    space->queues = header->sizes.queues;
    space->roster.rows = (struct lq_row *)(void *)(base + layout.roster);
    space->reports.reports = (struct lq_report *)(void *)(base + layout.reports);
    space->functions.rows = (struct lq_function *)(void *)(base + layout.functions);
    space->functions.used = &space->header->functions_used;
    for (uint32_t queue = 0; queue < space->queues; queue++)
        for (uint32_t priority = 0; priority < LQ_PRIORITIES; priority++)
            lq_ring_view(&space->rings[queue][priority],
                         base + layout.rings + (queue * LQ_PRIORITIES + priority) * ring_bytes, header->ring_order);
    for (uint32_t row = 0; row < LQ_ROWS; row++)
        lq_ring_view(&space->completions[row], base + layout.completions + row * ring_bytes, header->ring_order);
    space->slots = (struct lq_slots){(struct lq_slot *)(void *)(base + layout.slots), &space->header->slots_fresh,
                                     header->slots};
    space->meters = (struct lq_meter *)(void *)(base + layout.meters);
    space->journals = (struct lq_journals){(struct lq_event *)(void *)(base + layout.journals), space->roster.rows};
    space->notes = (struct lq_notes){(struct lq_note *)(void *)(base + layout.notes)};
    space->pasts = (struct lq_past *)(void *)(base + layout.pasts);
    space->traces = (struct lq_traces){(struct lq_record *)(void *)(base + layout.traces), space->roster.rows, &space->header->trace};
    space->arena = (struct lq_arena){
        .spans = (struct lq_span *)(void *)(base + layout.spans),
        .blocks = (struct lq_block *)(void *)(base + layout.blocks),
        .used = &space->header->arena_used,
        .memory = space->payload.base,
        .count = header->spans,
        .pins = {(struct lq_pin *)(void *)(base + layout.pins), space->roster, space->slots},
        .stocks = (lq_a32 *)(void *)(base + layout.stocks),
        .touched = calloc(header->spans, sizeof *space->arena.touched),
        .fd = space->payload.fd,
    };
    if (space->payload.bytes >= HUGE_FROM)
        lq_segment_allow_huge(&space->payload);
    if (space->arena.touched == NULL)
        space->arena.stocks = NULL; /* then pages come when they are written */
}

enum lq_status lq_space_create(struct lq_space *space, const struct lq_sizes *sizes, uint64_t identity)
{
    uint64_t slots = (uint64_t)sizes->capacity + sizes->result_cache;
    uint32_t ring_order = ring_order_of_(slots <= LQ_INDEX_MASK ? slots : 0);
    uint64_t spans = spans_of_(sizes->memory);
    *space = (struct lq_space){.control.fd = -1, .payload.fd = -1};
    if (slots == 0 || slots > LQ_INDEX_MASK || sizes->queues == 0 || sizes->queues > LQ_MAX_QUEUES || spans < 2 || spans > LQ_MAX_SPANS)
        return LQ_NEVER;
    struct layout_ layout = layout_of_((uint32_t)slots, sizes->queues, ring_order, (uint32_t)spans);
    enum lq_status status = lq_segment_create(&space->control, "localq-space", layout.end);
    if (status == LQ_OK)
        status = lq_segment_create(&space->payload, "localq-arena", spans << LQ_SPAN_ORDER);
    if (status != LQ_OK) {
        int reason = errno;
        lq_space_close(space);
        errno = reason;
        return status;
    }
    space->header = (struct lq_header *)(void *)space->control.base;
    space->header->version = LQ_LAYOUT_VERSION;
    space->header->slots = (uint32_t)slots;
    space->header->ring_order = ring_order;
    space->header->spans = (uint32_t)spans;
    space->header->control_bytes = layout.end;
    space->header->identity = identity;
    space->header->epoch_ns = (uint64_t)lq_now_ns();
    space->header->sizes = *sizes;
    lq_store_relaxed(&space->header->look_ns, UINT64_MAX);
    view_(space, space->header); /* nobody else has it yet */
    for (uint32_t queue = 0; queue < space->queues; queue++)
        for (uint32_t priority = 0; priority < LQ_PRIORITIES; priority++)
            lq_ring_init(&space->rings[queue][priority]);
    space->header->magic = LQ_MAGIC; /* last: whoever opens it before is told that it is not a Space */
    return LQ_OK;
}

enum lq_status lq_space_verify(const struct lq_space *space, struct lq_header *header)
{
    if (space->control.bytes < sizeof *header)
        return LQ_CORRUPT;
    lq_copy_relaxed(header, space->control.base, sizeof *header);
    if (header->magic != LQ_MAGIC)
        return LQ_CORRUPT;
    if (header->version != LQ_LAYOUT_VERSION)
        return LQ_VERSION;
    if (header->slots == 0 || header->slots > LQ_INDEX_MASK || header->sizes.queues == 0 ||
        header->sizes.queues > LQ_MAX_QUEUES || header->ring_order != ring_order_of_(header->slots) || header->spans < 2 ||
        header->spans > LQ_MAX_SPANS || (uint64_t)header->sizes.capacity + header->sizes.result_cache != header->slots ||
        header->spans != spans_of_(header->sizes.memory))
        return LQ_CORRUPT;
    struct layout_ layout = layout_of_(header->slots, header->sizes.queues, header->ring_order, header->spans);
    if (layout.end != header->control_bytes || layout.end != space->control.bytes ||
        space->payload.bytes != (uint64_t)header->spans << LQ_SPAN_ORDER)
        return LQ_CORRUPT;
    return LQ_OK;
}

_Static_assert((uint64_t)LQ_MAX_SPANS << LQ_SPAN_ORDER <= LQ_SEGMENT_MOST, "the largest arena is a segment");

enum lq_status lq_space_open(struct lq_space *space, int control_fd, int payload_fd, int writable)
{
    struct lq_header header;
    *space = (struct lq_space){.control.fd = -1, .payload.fd = -1};
    enum lq_status status = lq_segment_open(&space->control, control_fd, writable);
    enum lq_status second = lq_segment_open(&space->payload, payload_fd, writable);
    status = status != LQ_OK ? status : second;
    status = status != LQ_OK ? status : lq_space_verify(space, &header);
    if (status != LQ_OK) {
        int reason = errno;
        lq_space_close(space);
        errno = reason;
        return status;
    }
    space->header = (struct lq_header *)(void *)space->control.base;
    view_(space, &header);
    return LQ_OK;
}

void lq_space_close(struct lq_space *space)
{
    lq_segment_close(&space->control);
    lq_segment_close(&space->payload);
    free(space->arena.touched);
    space->arena.touched = NULL;
    space->header = NULL;
}

/* ----------------------------------------------------------------------------------------------------- processes */

enum lq_status lq_space_join(struct lq_space *space, enum lq_role role, uint32_t pid, lq_label *label)
{
    enum lq_status status = lq_roster_join(&space->roster, role, pid, label);
    if (status != LQ_OK)
        return status;
    struct lq_row *row = lq_roster_row(&space->roster, *label);
    if (lq_load32(&row->tracks.metered) != 0) /* what others in this row have counted is not this one's */
        for (uint32_t i = 0; i < LQ_SUMS; i++)
            lq_store_relaxed(&row->base[i], lq_load_relaxed(&space->meters[lq_label_row(*label)].sums[i]));
    if (role != LQ_ROLE_CLIENT)
        return LQ_OK;
    const struct lq_ring *ring = &space->completions[lq_label_row(*label)];
    if (lq_load(ring->head) == 0)
        lq_ring_init(ring); /* the row's first client; what an earlier one left behind is passed over by lq_client_reap */
    return LQ_OK;
}

bool lq_space_sign_in(struct lq_space *space, lq_label me, uint32_t pid, uint64_t started)
{
    return lq_roster_sign_in(&space->roster, me, pid, started);
}

bool lq_space_promote(struct lq_space *space, lq_label spare)
{
    return lq_roster_promote(&space->roster, spare);
}

void lq_space_set_ready(struct lq_space *space, lq_label me)
{
    LQ_PUT(lq_roster_row(&space->roster, me)->ready, 1u);
}

void lq_space_bury(struct lq_space *space, lq_label label)
{
    lq_roster_bury(&space->roster, label);
}

bool lq_space_bury_unsigned(struct lq_space *space, lq_label label)
{
    return lq_roster_bury_unsigned(&space->roster, label);
}

void lq_space_release(struct lq_space *space, lq_label label)
{
    lq_roster_release(&space->roster, label);
}

uint32_t lq_space_phase(const struct lq_space *space)
{
    return lq_load32(&space->header->phase);
}

void lq_space_set_phase(struct lq_space *space, uint32_t phase)
{
    uint32_t seen = lq_load32(&space->header->phase);
    while (seen < phase && !lq_cas32(&space->header->phase, seen, phase))
        seen = lq_load32(&space->header->phase);
    lq_bell_ring(&space->header->bell, INT_MAX);
    lq_futex_ring(&space->header->note_calls, INT_MAX);
    for (uint32_t row = 1; row < LQ_ROWS; row++)
        if (lq_load_seq(&space->roster.rows[row].bell.parked[0]) != 0)
            lq_bell_ring(&space->roster.rows[row].bell, INT_MAX);
}

void lq_space_set_workers(struct lq_space *space, uint32_t workers)
{
    lq_store32(&space->header->workers, workers);
}

uint32_t lq_space_workers(const struct lq_space *space)
{
    return lq_load32(&space->header->workers);
}

void lq_space_tally(struct lq_space *space, enum lq_tally tally, uint32_t more)
{
    lq_add32_seq(&space->header->tallies[tally], more);
}

uint32_t lq_space_tally_of(const struct lq_space *space, enum lq_tally tally)
{
    return lq_load32_relaxed(&space->header->tallies[tally]);
}

/* ------------------------------------------------------------------------------------------------ telling others */

const struct lq_ring *lq_space_ring_of(const struct lq_space *space, const struct lq_slot *slot)
{
    uint32_t queue = LQ_GET(slot->queue);
    uint32_t priority = LQ_GET(slot->priority);
    return &space->rings[queue < space->queues ? queue : 0][priority < LQ_PRIORITIES ? priority : LQ_PRIORITIES - 1];
}

void lq_space_announce(const struct lq_space *space, uint32_t index, uint32_t generation, lq_label client)
{
    uint32_t row_index = lq_label_row(client) % LQ_ROWS;
    struct lq_row *row = &space->roster.rows[row_index];
    if (!lq_roster_is_live(&space->roster, client))
        return; /* nobody waits; the sweep settles it */
    if (lq_ring_push(&space->completions[row_index], index, generation) != LQ_OK)
        lq_store32_seq(&row->missed, 1); /* the client then looks through its slots instead */
    LQ_FAULT("announce:pushed");
    if (lq_load_seq(&row->bell.parked[0]) == 0)
        return;
    uint32_t wanted = lq_load32_seq(&row->wanted);
    if (wanted == 0 || wanted == index + 1)
        lq_bell_ring(&row->bell, INT_MAX);
}

bool lq_space_settle_cancelled(const struct lq_space *space, lq_label me, uint32_t index, uint64_t word)
{
    struct lq_slot *slot = lq_space_slot(space, index);
    uint64_t done = lq_word_as(word, LQ_SLOT_DONE, me);
    struct lq_told told = lq_told_of(space, index, 0);
    lq_slot_judge(slot, word, LQ_OUTCOME_CANCELLED, 0);
    LQ_FAULT("settle_cancelled:judged");
    lq_store_relaxed(&space->pasts[index].ended_ns, (uint64_t)lq_now_ns());
    if (!lq_cas(&slot->word, word, done))
        return false;
    LQ_FAULT("settle_cancelled:done");
    lq_space_tell_end(space, me, &told, LQ_OUTCOME_CANCELLED, "cancelled before it began");
    lq_label client = LQ_GET(slot->client);
    if (lq_roster_is_live(&space->roster, client))
        lq_space_announce(space, index, lq_word_generation(word), client);
    else /* nobody waits: it is for whoever asks by id. If that was seen too late, the sweep does it */
        lq_cas(&slot->word, done, lq_word_as(done, LQ_SLOT_CACHED, LQ_NOBODY));
    return true;
}

void lq_space_call_worker(const struct lq_space *space, const struct lq_ring *ring, int64_t now_ns)
{
    struct lq_bell *bell = &space->header->bell;
    if (!lq_bell_any(bell->parked))
        return;
    /* A searcher will find it, or, if it gives up first, look once more after it has parked. */
    if (lq_bell_any(bell->spinning))
        return;
    /* Somebody who runs very short tasks is about to look again. If that was a mistake, a sleeper's time-out mends it. */
    if ((int64_t)lq_load_relaxed(&bell->brisk_until_ns) > now_ns && lq_ring_depth(ring) <= BRISK_DEPTH)
        return;
    lq_bell_ring(bell, 1);
}

/* --------------------------------------------------------------------------------------------------- eviction */

/* When its task ended. Where no worker lived to say so (cancelled, or crashed), who settled it did. */
static uint64_t ended_ns_(const struct lq_space *space, uint32_t index, const struct lq_slot *slot)
{
    uint64_t done_ns = LQ_GET(slot->done_ns);
    if (done_ns != 0)
        return done_ns;
    uint64_t submit_ns = LQ_GET(slot->submit_ns);
    uint64_t ended_ns = lq_load_relaxed(&space->pasts[index].ended_ns);
    return ended_ns > submit_ns ? ended_ns : submit_ns; /* that of an earlier task says nothing */
}

bool lq_space_is_expired(const struct lq_space *space, uint32_t index, const struct lq_slot *slot, int64_t now_ns)
{
    uint64_t ttl_ms = space->header->sizes.ttl_ms;
    return ttl_ms != 0 && (uint64_t)now_ns > ended_ns_(space, index, slot) + ttl_ms * 1000000u;
}

/*
 * Callers:  any number of processes at once.
 * Progress: wait-free.
 * Death:    after the swap the word is WRITING(me) and recovery drops the blocks that the body names. The other order
 *           (blocks first) would let readers take another task's bytes for this one's.
 */
enum lq_status lq_space_evict(const struct lq_space *space, struct lq_arena_cache *cache, lq_label me, uint32_t index,
                              uint64_t word, enum lq_gone why)
{
    struct lq_slot *slot = lq_space_slot(space, index);
    if (lq_word_state(word) != LQ_SLOT_CACHED || !lq_cas(&slot->word, word, lq_word_next(word, LQ_SLOT_WRITING, me, 0)))
        return LQ_MISSING;
    lq_order_stores(); /* readers must see the swap before anything that the next task writes */
    LQ_FAULT("evict:claimed");
    lq_past_let_go(&space->pasts[index], slot->task_generation, why);
    if (slot->result_block != LQ_NO_BLOCK)
        lq_arena_drop(&space->arena, cache, me, slot->result_block, lq_backref(LQ_HOLDER_RESULT, index, slot->task_generation));
    if (slot->args_block != LQ_NO_BLOCK)
        lq_arena_drop(&space->arena, cache, me, slot->args_block, lq_backref(LQ_HOLDER_ARGS, index, slot->task_generation));
    LQ_FAULT("evict:dropped");
    return LQ_OK;
}

/* As above, of another's: its client may have counted on it. */
static enum lq_status evict_for_good_(const struct lq_space *space, lq_label me, uint32_t index, uint64_t word, enum lq_gone why)
{
    lq_label client = LQ_GET(lq_space_slot(space, index)->client);
    enum lq_status status = lq_space_evict(space, NULL, me, index, word, why);
    if (status == LQ_OK)
        lq_add32_seq(&lq_roster_row(&space->roster, client)->lost, 1);
    return status;
}

static void free_evicted_(const struct lq_space *space, uint32_t index)
{
    struct lq_slot *slot = lq_space_slot(space, index);
    lq_store(&slot->word, lq_word_as(lq_load_relaxed(&slot->word), LQ_SLOT_FREE, LQ_NOBODY)); /* plain: WRITING(me) is ours alone */
    LQ_FAULT("evict:freed");
}

/* The cached result that ended first; `with_block`: among those that hold a block. False when there is none. */
static bool evict_oldest_(const struct lq_space *space, lq_label me, bool with_block, uint32_t *index)
{
    for (;;) {
        uint64_t oldest_ns = UINT64_MAX;
        uint64_t oldest_word = 0;
        uint32_t used = lq_slots_used(&space->slots);
        for (uint32_t at = 0; at < used; at++) {
            const struct lq_slot *slot = lq_space_slot(space, at);
            uint64_t word = lq_load(&slot->word);
            if (lq_word_state(word) != LQ_SLOT_CACHED || (with_block && LQ_GET(slot->result_block) == LQ_NO_BLOCK) ||
                LQ_GET(slot->done_ns) >= oldest_ns)
                continue;
            oldest_ns = LQ_GET(slot->done_ns);
            oldest_word = word;
            *index = at;
        }
        if (oldest_ns == UINT64_MAX)
            return false;
        if (evict_for_good_(space, me, *index, oldest_word, LQ_GONE_EVICTED) == LQ_OK)
            return true;
    }
}

bool lq_space_relieve(struct lq_space *space, lq_label me)
{
    uint32_t index = 0;
    if (!evict_oldest_(space, me, true, &index))
        return false;
    free_evicted_(space, index);
    return true;
}

enum lq_status lq_space_take_over(struct lq_space *space, lq_label me, uint32_t *index)
{
    return evict_oldest_(space, me, false, index) ? LQ_OK : LQ_EMPTY;
}

/* The words of the functions that are nobody's, 0 for all others. True if there is one. */
static bool find_nobodys_(const struct lq_space *space, uint64_t nobodys[LQ_FUNCTIONS], uint32_t end)
{
    bool any = false;
    for (uint32_t row = 0; row < end; row++) {
        uint64_t word = lq_load(&space->functions.rows[row].word);
        bool is = lq_word_state(word) == LQ_FUNCTION_LIVE && lq_word_label(word) == LQ_NOBODY;
        nobodys[row] = is ? word : 0;
        any = any || is;
    }
    return any;
}

/* Take out those that a task still needs: one pass over the slots for all of them, or the supervisor is away for seconds.
   After they were found: from then on they get no new tasks. */
static void spare_needed_(const struct lq_space *space, uint64_t nobodys[LQ_FUNCTIONS], uint32_t end)
{
    uint32_t used = lq_slots_used(&space->slots);
    for (uint32_t index = 0; index < used; index++) {
        const struct lq_slot *slot = lq_space_slot(space, index);
        uint32_t state = lq_word_state(lq_load(&slot->word));
        uint32_t row = LQ_GET(slot->function);
        bool may_run = (state >= LQ_SLOT_QUEUED && state <= LQ_SLOT_RUNNING) || state == LQ_SLOT_DELAYED;
        if (may_run && row < end &&
            LQ_GET(slot->function_generation) == lq_word_generation(nobodys[row]))
            nobodys[row] = 0;
    }
}

/* Signed before its block is dropped: dropping a run takes steps, and somebody must be named as owing them. */
static uint32_t sweep_functions_(const struct lq_space *space, lq_label me)
{
    uint32_t swept = 0;
    uint64_t nobodys[LQ_FUNCTIONS];
    uint32_t end = lq_functions_end(&space->functions);
    if (!find_nobodys_(space, nobodys, end))
        return 0;
    spare_needed_(space, nobodys, end);
    for (uint32_t row = 0; row < end; row++) {
        struct lq_function *function = &space->functions.rows[row];
        uint64_t word = nobodys[row];
        uint32_t generation = lq_word_generation(word);
        if (word == 0 || !lq_cas(&function->word, word, lq_word_as(word, LQ_FUNCTION_WRITING, me)))
            continue; /* or another sweep was quicker */
        LQ_FAULT("sweep_functions:claimed");
        if (function->block != LQ_NO_BLOCK)
            lq_arena_drop(&space->arena, NULL, me, function->block, lq_backref(LQ_HOLDER_FUNCTION, row, generation));
        lq_functions_release(&space->functions, me, row);
        swept++;
    }
    return swept;
}

/* What to keep: the later it ended or was used, the rather. */
struct cached_ {
    uint64_t last_ns;
    uint64_t word;
    uint32_t index;
};

static int by_age_(const void *left, const void *right)
{
    uint64_t a = ((const struct cached_ *)left)->last_ns;
    uint64_t b = ((const struct cached_ *)right)->last_ns;
    return (a > b) - (a < b);
}

/* More are cached than may be: several clients have some, or some are nobody's. No memory to sort them: the next sweep does it. */
static uint32_t trim_(struct lq_space *space, lq_label me, uint32_t cached, uint32_t used)
{
    uint32_t most = space->header->sizes.result_cache;
    struct cached_ *found = cached > most ? malloc(sizeof *found * cached) : NULL;
    uint32_t count = 0;
    uint32_t swept = 0;
    for (uint32_t index = 0; found != NULL && index < used && count < cached; index++) {
        const struct lq_slot *slot = lq_space_slot(space, index);
        uint64_t word = lq_load(&slot->word);
        uint64_t ended_ns = ended_ns_(space, index, slot);
        uint64_t used_ns = lq_load_relaxed(&space->pasts[index].used_ns);
        if (lq_word_state(word) == LQ_SLOT_CACHED)
            found[count++] = (struct cached_){used_ns > ended_ns ? used_ns : ended_ns, word, index};
    }
    if (count > most) {
        qsort(found, count, sizeof *found, by_age_);
        for (uint32_t i = 0; i < count - most; i++) {
            if (evict_for_good_(space, me, found[i].index, found[i].word, LQ_GONE_EVICTED) != LQ_OK)
                continue;
            free_evicted_(space, found[i].index);
            swept++;
        }
    }
    free(found);
    return swept;
}

uint32_t lq_space_sweep(struct lq_space *space, lq_label me)
{
    uint32_t swept = 0;
    uint32_t cached = 0;
    int64_t now_ns = lq_now_ns();
    uint32_t used = lq_slots_used(&space->slots);
    for (uint32_t index = 0; index < used; index++) {
        struct lq_slot *slot = lq_space_slot(space, index);
        uint64_t word = lq_load(&slot->word);
        if (lq_word_state(word) == LQ_SLOT_DONE && !lq_roster_is_live(&space->roster, LQ_GET(slot->client))) {
            lq_cas(&slot->word, word, lq_word_as(word, LQ_SLOT_CACHED, LQ_NOBODY));
            word = lq_load(&slot->word);
        }
        if (lq_word_state(word) != LQ_SLOT_CACHED)
            continue;
        cached++;
        if (!lq_space_is_expired(space, index, slot, now_ns) || evict_for_good_(space, me, index, word, LQ_GONE_EXPIRED) != LQ_OK)
            continue;
        free_evicted_(space, index);
        cached--;
        swept++;
    }
    return swept + trim_(space, me, cached, used) + sweep_functions_(space, me);
}

/* ------------------------------------------------------------------------------------------------------- reading */

enum lq_status lq_space_read(const struct lq_space *space, uint32_t index, uint32_t task_generation, struct lq_slot *copy)
{
    if (index >= space->slots.count || index >= lq_slots_used(&space->slots))
        return LQ_MISSING;
    const struct lq_slot *slot = lq_space_slot(space, index);
    for (int attempt = 0; attempt < 16; attempt++) {
        uint64_t word = lq_load(&slot->word);
        uint32_t state = lq_word_state(word);
        if (state == LQ_SLOT_FRESH || state == LQ_SLOT_FREE || state == LQ_SLOT_WRITING)
            return LQ_MISSING;
        lq_copy_relaxed(copy, slot, sizeof *copy);
        lq_order_loads();
        if (lq_load_seq(&slot->word) != word)
            continue;
        lq_store_relaxed(&copy->word, word);
        return copy->task_generation == task_generation ? LQ_OK : LQ_MISSING;
    }
    return LQ_MISSING;
}

bool lq_space_is_current(const struct lq_space *space, uint32_t index, const struct lq_slot *copy)
{
    lq_order_loads();
    uint64_t word = lq_load_seq(&lq_space_slot(space, index)->word);
    uint64_t then = lq_load_relaxed(&copy->word);
    /* A relabel or DONE -> CACHED changes nothing about the bytes; any reuse changes the generation. */
    return lq_word_generation(word) == lq_word_generation(then) && lq_word_state(word) >= lq_word_state(then) &&
           lq_word_state(word) <= LQ_SLOT_CACHED;
}

uint64_t lq_space_depth(const struct lq_space *space, uint32_t queue, uint32_t priority)
{
    const struct lq_ring *ring = &space->rings[queue][priority];
    uint64_t depth = lq_ring_depth(ring);
    return depth < 1ull << ring->order ? depth : 1ull << ring->order; /* more there can't be, whatever head and tail say */
}

void lq_space_row(const struct lq_space *space, uint32_t index, struct lq_row_reading *reading)
{
    const struct lq_row *row = &space->roster.rows[index % LQ_ROWS];
    uint64_t word = lq_load(&row->word);
    *reading = (struct lq_row_reading){
        .state = lq_word_state(word),
        .role = lq_word_aux(word),
        .pid = lq_word_label(word),
        .label = lq_label_of(index % LQ_ROWS, lq_word_generation(word)),
        .started = lq_row_started(row),
        .ready = LQ_GET(row->ready),
        .joined_ns = LQ_GET(row->joined_ns),
        .task = lq_load_relaxed(&row->tracks.task),
        .task_since_ns = lq_load_relaxed(&row->tracks.task_since_ns),
    };
    for (uint32_t i = 0; i < LQ_SUMS && lq_load32(&row->tracks.metered) != 0; i++) {
        uint64_t sum = lq_load_relaxed(&space->meters[index % LQ_ROWS].sums[i]);
        uint64_t base = lq_load_relaxed(&row->base[i]);
        reading->sums[i] = sum > base ? sum - base : 0; /* base: it may be on its way */
    }
    if (reading->state == LQ_ROW_LIVE && reading->role == LQ_ROLE_CLIENT) /* of others no memory is touched */
        reading->unread = lq_ring_depth(&space->completions[index % LQ_ROWS]);
}

void lq_space_arena_reading(const struct lq_space *space, uint64_t *held, uint64_t *owned, uint64_t *spans)
{
    lq_arena_reading(&space->arena, held, owned, spans);
}

void lq_space_count_slots(const struct lq_space *space, uint32_t counts[16])
{
    memset(counts, 0, 16 * sizeof counts[0]);
    uint32_t used = lq_slots_used(&space->slots);
    for (uint32_t index = 0; index < used; index++)
        counts[lq_word_state(lq_load(&lq_space_slot(space, index)->word))]++;
}

unsigned char *lq_space_block(const struct lq_space *space, uint32_t block, uint64_t *room)
{
    return lq_arena_at(&space->arena, block, room);
}

bool lq_space_function_is_current(const struct lq_space *space, uint32_t row, uint32_t generation)
{
    if (row >= LQ_FUNCTIONS)
        return false;
    lq_order_loads();
    uint64_t word = lq_load_seq(&space->functions.rows[row].word);
    return lq_word_state(word) == LQ_FUNCTION_LIVE && lq_word_generation(word) == generation;
}

enum lq_status lq_space_function(const struct lq_space *space, uint32_t row, uint32_t generation, uint32_t *kind,
                                 const unsigned char **bytes, uint32_t *length)
{
    if (!lq_space_function_is_current(space, row, generation))
        return LQ_MISSING;
    const struct lq_function *function = &space->functions.rows[row];
    uint32_t block = LQ_GET(function->block);
    uint64_t room = LQ_FUNCTION_INLINE;
    *kind = LQ_GET(function->kind);
    *length = LQ_GET(function->bytes);
    *bytes = block == LQ_NO_BLOCK ? function->inline_bytes : lq_arena_at(&space->arena, block, &room);
    return *bytes != NULL && *length <= room ? LQ_OK : LQ_MISSING;
}

uint32_t lq_slot_state_of(const struct lq_slot *slot)
{
    return lq_word_state(lq_load(&slot->word));
}

uint32_t lq_slot_items_begun(const struct lq_slot *slot)
{
    return lq_load32_relaxed(&slot->items_begun);
}

uint32_t lq_slot_crashes(const struct lq_slot *slot)
{
    return lq_word_aux(lq_load(&slot->word));
}

enum lq_outcome lq_slot_outcome(const struct lq_slot *slot, uint32_t *cause)
{
    uint64_t verdict = lq_load(&slot->verdict);
    *cause = lq_verdict_cause(verdict);
    if (verdict >> 32 == lq_word_generation(lq_load(&slot->word)))
        return lq_verdict_outcome(verdict);
    return (enum lq_outcome)LQ_GET(slot->outcome);
}

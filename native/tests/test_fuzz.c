/* SPDX-License-Identifier: MIT */
/*
 * Shared memory that says anything at all. Whoever only looks (a monitor, a doctor) must come back from it with an answer:
 * no crash, no access outside, no hang. And whoever cleans up must not be caught in it.
 *
 * What makes a bad access visible: the mapping looked through lies between two pages that nobody may touch, and under
 * AddressSanitizer the gaps between the structures are poisoned. What makes a hang visible: a timer of processor time.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include "flow.h"

#if LQ_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(at, bytes) ASAN_POISON_MEMORY_REGION(at, bytes)
#else
#define POISON(at, bytes) ((void)(at), (void)(bytes))
#endif

#define PAGE 4096u
#define SLOWER (LQ_ASAN || LQ_TSAN ? 4u : 1u)
#define LIMIT_S (LQ_ASAN || LQ_TSAN ? 4 : 1) /* of processor time, for whatever is called between two limit_ */
#define SCRIBBLE_NS 1000000000

static struct ledger ledger_;

static uint64_t next_word_(uint32_t *seed)
{
    uint64_t high = next_random(seed);
    return high << 32 | next_random(seed);
}

static uint32_t seed_of_(uint32_t number)
{
    return (number + 1) * 2654435761u | 1u;
}

static void too_long_(int number)
{
    (void)number;
    lq_fail(__FILE__, __LINE__, "it comes back within its limit of processor time");
}

/* From now on, so much processor time and no more. */
static void limit_(void)
{
    struct itimerval timer = {.it_value.tv_sec = LIMIT_S};
    setitimer(ITIMER_VIRTUAL, &timer, NULL);
}

static void watch_(void)
{
    struct sigaction action = {.sa_handler = too_long_};
    CHECK(sigaction(SIGVTALRM, &action, NULL) == 0);
    limit_();
}

/* ------------------------------------------------------------------------------------- a Space with everything in it */

#define CAPACITY 33u
#define CACHE 12u /* 45 slots: the last page of the slots ends in a gap */
#define MEGABYTES 24u
#define QUEUES 2u

struct world_ {
    struct lq_space space; /* as it was made, writable: where it is scribbled on */
    struct lq_space seen;  /* the same, between guards: what is called looks here */
    struct lq_client client, filling, idle;
    struct lq_worker claims, runs, rests;
    lq_label supervisor;
    unsigned char *sound; /* the control segment, before any harm */
};

static int copy_of_(int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    CHECK(copy >= 0);
    return copy;
}

static void take_(struct lq_worker *worker, uint32_t *index)
{
    CHECK_EQ(lq_worker_take_now(worker, index), LQ_OK);
}

static uint32_t submit_(struct lq_client *client, uint32_t tag, uint64_t args_bytes, uint64_t result_bytes, uint8_t priority)
{
    uint32_t index;
    struct flow_task task = {.tag = tag, .args_bytes = args_bytes, .result_bytes = result_bytes, .max_crashes = tag % 2,
                             .priority = priority};
    CHECK_EQ(flow_submit(client, task, &index), LQ_OK);
    return index;
}

/* Results in blocks of every class and in a run, cached; three that nobody has reaped. */
static void finish_some_(struct world_ *world)
{
    for (uint32_t class = 0; class < LQ_CLASSES; class++)
        submit_(&world->client, class, 8, 512u << class, 0);
    submit_(&world->client, 11, 8, 2u << 20, 0);
    CHECK_EQ(flow_drain(&world->rests, &ledger_), 12);
    CHECK_EQ(flow_reap(&world->client, &ledger_), 12);
    submit_(&world->client, 12, 8, LQ_INLINE_BYTES, 1);
    submit_(&world->client, 13, 2000, 2000, 1);
    submit_(&world->client, 14, 8, 100000, 1);
    CHECK_EQ(flow_drain(&world->rests, &ledger_), 3);
}

/* One task in each of the other states, and some that wait. */
static void leave_some_(struct world_ *world, uint32_t function, uint32_t generation)
{
    uint32_t index;
    unsigned char bytes[3000] = {1};
    for (uint32_t tag = 20; tag < 23; tag++)
        submit_(&world->client, tag, tag == 21 ? 3000 : 8, 8, 0);
    take_(&world->runs, &index);
    lq_worker_start(&world->runs, index, 0);
    lq_worker_requeue(&world->runs, index, 0); /* to the end of its ring, a generation on */
    take_(&world->runs, &index);
    lq_worker_start(&world->runs, index, 0);
    CHECK_EQ(lq_worker_store_result(&world->runs, index, bytes, sizeof bytes), LQ_OK);
    take_(&world->claims, &index);
    for (uint32_t tag = 30; tag < 38; tag++)
        index = submit_(&world->client, tag, tag % 2 ? 8 : 500u << (tag - 30), 8, tag % LQ_PRIORITIES);
    struct lq_slot *slot = lq_space_slot(&world->space, index);
    LQ_PUT(slot->function, function);
    LQ_PUT(slot->function_generation, generation);
    index = submit_(&world->client, 40, 3u << 19, 8, 2);
    index = submit_(&world->client, 41, 8, 8, 2);
    CHECK_EQ(lq_client_cancel(&world->client, index, slot->task_generation), LQ_MISSING);
    CHECK_EQ(lq_client_cancel(&world->client, index, lq_space_slot(&world->space, index)->task_generation), LQ_OK);
    CHECK_EQ(lq_client_reserve(&world->filling, &index), LQ_OK);
    CHECK_EQ(lq_client_store_args(&world->filling, index, bytes, 1000), LQ_OK);
}

static void pin_(const struct lq_space *space, lq_label me, uint32_t block, uint64_t tie)
{
    uint32_t entry;
    uint32_t cursor = 0;
    uint32_t generation = lq_word_generation(lq_load(lq_arena_word(&space->arena, block)));
    CHECK_EQ(lq_arena_pin(&space->arena, me, block, generation, tie, &cursor, &entry), LQ_OK);
}

/* Cached results that the living look at, and what lives by pins alone, small and large; of one a task that waits says that it stays. */
static void look_at_some_(struct world_ *world, uint32_t waiting)
{
    const lq_label who[] = {world->client.me, world->claims.me, world->runs.me};
    struct lq_space *space = &world->space;
    uint64_t tie = lq_pin_tie(waiting, lq_space_slot(space, waiting)->task_generation);
    struct flow_pin pin;
    uint32_t cursor = 0;
    uint32_t found = 0;
    for (uint32_t index = 0; index < lq_slots_used(&space->slots); index++)
        found += flow_pin_result(space, who[index % 3], index, &cursor, &pin) == LQ_OK;
    CHECK(found > 5);
    for (uint32_t i = 0; i < 6; i++) {
        struct lq_arena_cache cache = {0};
        uint32_t block;
        CHECK_EQ(lq_arena_take(&space->arena, &cache, who[i % 3], i == 0 ? 2u << 20 : 700, false, &block), LQ_OK);
        pin_(space, who[i % 3], block, i % 2 ? tie : 0);
        lq_arena_loosen(&space->arena, who[i % 3], block);
    }
}

/* Of everything something. */
static void tell_some_(struct world_ *world)
{
    const struct lq_space *space = &world->space;
    for (uint32_t i = 0; i < 40; i++) {
        lq_worker_tell(&world->runs, LQ_EVENT_LOG, i, i + 1, "what it says");
        struct lq_record record = {.slot = i, .task_generation = 1, .sent_ns = i};
        lq_traces_record(&space->traces, world->runs.me, &record);
    }
    lq_meter_function(world->runs.meter, "a:name", 6);
    lq_note_write(&space->notes.notes[1], LQ_GET(lq_space_slot(space, 1)->task_generation), 1, "half", 4);
    lq_note_write(&space->notes.notes[2], 7, 1, NULL, 0);
}

static void fill_(struct world_ *world)
{
    static const uint32_t lengths[] = {10, 5000, (2u << 20) + 7};
    uint32_t row;
    uint32_t generation;
    uint32_t index[2];
    unsigned char *code = calloc(1, lengths[2]);
    CHECK(code != NULL);
    flow_init_client(&world->client, &world->space, flow_join(&world->space, LQ_ROLE_CLIENT));
    flow_init_client(&world->filling, &world->space, flow_join(&world->space, LQ_ROLE_CLIENT));
    flow_init_client(&world->idle, &world->space, flow_join(&world->space, LQ_ROLE_CLIENT));
    world->supervisor = flow_join(&world->space, LQ_ROLE_SUPERVISOR);
    lq_worker_init(&world->claims, &world->space, flow_join(&world->space, LQ_ROLE_WORKER), 11);
    lq_worker_init(&world->runs, &world->space, flow_join(&world->space, LQ_ROLE_WORKER), 12);
    lq_worker_init(&world->rests, &world->space, flow_join(&world->space, LQ_ROLE_WORKER), 13);
    struct lq_report report = {.pid = 14, .wait_status = 9, .text_bytes = 3, .text = "why"};
    CHECK_EQ(lq_reports_write(&world->space.reports, world->supervisor, &report), 1);
    lq_space_bury(&world->space, flow_join(&world->space, LQ_ROLE_WORKER)); /* dead, and not yet released */
    for (int i = 0; i < 3; i++)
        CHECK_EQ(lq_client_publish(&world->client, 1, "some", code, lengths[i], LQ_NO_BLOCK, &row, &generation), LQ_OK);
    free(code);
    finish_some_(world);
    leave_some_(world, row, generation);
    look_at_some_(world, 0);
    tell_some_(world);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(lq_client_reserve(&world->idle, &index[i]), LQ_OK);
    for (int i = 0; i < 2; i++)
        lq_client_discard(&world->idle, index[i]);
    lq_client_end(&world->idle); /* its two slots are FREE now */
    FLOW_CHECK(&world->space);
}

/* ---- between guards ---- */

static ptrdiff_t fence_(struct lq_segment *segment)
{
    unsigned char *room = mmap(NULL, segment->bytes + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(room != MAP_FAILED);
    void *moved = mremap(segment->base, segment->bytes, segment->bytes, MREMAP_MAYMOVE | MREMAP_FIXED, room + PAGE);
    CHECK(moved == room + PAGE);
    ptrdiff_t by = (unsigned char *)moved - segment->base;
    segment->base = moved;
    return by;
}

#define MOVE(pointer, by) ((pointer) = (void *)((unsigned char *)(void *)(pointer) + (by)))

static void move_ring_(struct lq_ring *ring, ptrdiff_t by)
{
    MOVE(ring->head, by);
    MOVE(ring->tail, by);
    MOVE(ring->cells, by);
}

static void poison_after_(const void *structure, size_t bytes)
{
    uintptr_t end = (uintptr_t)structure + bytes;
    POISON((void *)end, (PAGE - end % PAGE) % PAGE);
}

static void poison_gaps_(const struct lq_space *space)
{
    size_t ring_bytes = lq_ring_size(space->rings[0][0].order);
    poison_after_(space->header, sizeof *space->header);
    poison_after_(space->roster.rows, lq_roster_size());
    poison_after_(space->reports.reports, lq_reports_size());
    for (uint32_t i = 0; i < space->queues * LQ_PRIORITIES; i++)
        poison_after_(space->rings[i / LQ_PRIORITIES][i % LQ_PRIORITIES].head, ring_bytes);
    for (uint32_t row = 0; row < LQ_ROWS; row++)
        poison_after_(space->completions[row].head, ring_bytes);
    poison_after_(space->slots.slots, lq_slots_size(space->slots.count));
    poison_after_(space->meters, lq_meters_size());
    poison_after_(space->notes.notes, lq_notes_size(space->slots.count));
    poison_after_(space->pasts, sizeof(struct lq_past) * space->slots.count);
    poison_after_(space->arena.spans, lq_arena_spans_size(space->arena.count));
    poison_after_(space->arena.stocks, lq_arena_stocks_size(space->arena.count));
}

static void open_between_guards_(struct lq_space *seen, const struct lq_space *space, int writable)
{
    CHECK_EQ(lq_space_open(seen, copy_of_(space->control.fd), copy_of_(space->payload.fd), writable), LQ_OK);
    ptrdiff_t by = fence_(&seen->control);
    MOVE(seen->header, by);
    MOVE(seen->roster.rows, by);
    MOVE(seen->reports.reports, by);
    MOVE(seen->functions.rows, by);
    MOVE(seen->meters, by);
    MOVE(seen->journals.events, by);
    MOVE(seen->journals.rows, by);
    MOVE(seen->notes.notes, by);
    MOVE(seen->pasts, by);
    MOVE(seen->traces.records, by);
    MOVE(seen->traces.rows, by);
    MOVE(seen->traces.trace, by);
    MOVE(seen->functions.used, by);
    MOVE(seen->slots.slots, by);
    MOVE(seen->slots.fresh, by);
    MOVE(seen->arena.spans, by);
    MOVE(seen->arena.blocks, by);
    MOVE(seen->arena.used, by);
    MOVE(seen->arena.stocks, by);
    MOVE(seen->arena.pins.pins, by);
    MOVE(seen->arena.pins.roster.rows, by);
    MOVE(seen->arena.pins.slots.slots, by);
    MOVE(seen->arena.pins.slots.fresh, by);
    for (uint32_t i = 0; i < seen->queues * LQ_PRIORITIES; i++)
        move_ring_(&seen->rings[i / LQ_PRIORITIES][i % LQ_PRIORITIES], by);
    for (uint32_t row = 0; row < LQ_ROWS; row++)
        move_ring_(&seen->completions[row], by);
    MOVE(seen->arena.memory, fence_(&seen->payload));
    CHECK(seen->arena.memory == seen->payload.base);
    poison_gaps_(seen);
}

static struct world_ *make_world_(int writable)
{
    struct lq_sizes sizes = {.capacity = CAPACITY, .result_cache = CACHE, .queues = QUEUES, .cpus = 2,
                             .memory = (uint64_t)MEGABYTES << 20, .ttl_ms = 3600000};
    struct world_ *world = calloc(1, sizeof *world);
    CHECK(world != NULL);
    CHECK_EQ(lq_space_create(&world->space, &sizes, 42), LQ_OK);
    fill_(world);
    open_between_guards_(&world->seen, &world->space, writable);
    FLOW_CHECK(&world->seen);
    world->sound = malloc(world->space.control.bytes);
    CHECK(world->sound != NULL);
    memcpy(world->sound, world->space.control.base, world->space.control.bytes);
    return world;
}

/* ------------------------------------------------------------------------------------------------------- the harm */

enum part_ { HEADER, COUNTERS, ROSTER, REPORTS, FUNCTIONS, RINGS, COMPLETIONS, SLOT_WORDS, SLOT_BODIES, PINS, SPANS, METERS, JOURNALS, NOTES, TRACES, BLOCKS, PARTS };

static const char *const part_names_[PARTS] = {"header", "counters",    "roster",     "reports",     "functions", "rings",
                                               "completions", "slot words", "slot bodies", "pins",        "spans",     "meters",      "journals",
                                               "notes",       "traces",      "block words"};

/* A run of words of one structure, that may all be overwritten. */
struct place_ {
    uint64_t *at;
    uint32_t words;
};

/* Mostly where something is: what was never touched is looked at by few. */
static uint32_t one_of_(uint32_t *seed, uint32_t used, uint32_t all)
{
    return next_random(seed) % (next_random(seed) % 8 == 0 ? all : used);
}

static struct place_ within_(void *structure, size_t bytes, uint32_t first)
{
    return (struct place_){(uint64_t *)structure + first, (uint32_t)(bytes / 8) - first};
}

static struct place_ in_ring_(const struct lq_ring *ring, uint32_t *seed)
{
    uint64_t cells = 1ull << ring->order;
    switch (next_random(seed) % 4) {
    case 0:
        return (struct place_){(uint64_t *)(void *)ring->head, 1};
    case 1:
        return (struct place_){(uint64_t *)(void *)ring->tail, 1};
    default: { /* positions begin at `cells`, so the first cell is the first used */
        uint32_t cell = one_of_(seed, 16, (uint32_t)cells);
        return (struct place_){(uint64_t *)(void *)(ring->cells + cell), (uint32_t)cells - cell};
    }
    }
}

static struct place_ place_in_(const struct lq_space *space, enum part_ part, uint32_t *seed)
{
    lq_a64 *const counters[] = {space->slots.fresh, space->arena.used, space->functions.used};
    uint32_t word = next_random(seed);
    switch (part) {
    case HEADER:
        return within_(space->header, sizeof *space->header, word % (sizeof *space->header / 8));
    case COUNTERS:
        return (struct place_){(uint64_t *)(void *)counters[word % 3], 1};
    case ROSTER:
        return within_(&space->roster.rows[one_of_(seed, 9, LQ_ROWS)], sizeof(struct lq_row), word % 3 ? 0 : word % 48);
    case REPORTS:
        return within_(&space->reports.reports[one_of_(seed, 4, LQ_REPORTS)], sizeof(struct lq_report), word % 3 ? 0 : word % 6);
    case FUNCTIONS:
        return within_(&space->functions.rows[one_of_(seed, 4, LQ_FUNCTIONS)], sizeof(struct lq_function), word % 3);
    case RINGS:
        return in_ring_(&space->rings[word % QUEUES][word / QUEUES % LQ_PRIORITIES], seed);
    case COMPLETIONS:
        return in_ring_(&space->completions[one_of_(seed, 4, LQ_ROWS)], seed);
    case SLOT_WORDS:
        return (struct place_){(uint64_t *)(void *)lq_space_slot(space, word % space->slots.count), 1 + word / 64 % 2};
    case SLOT_BODIES:
        return within_(lq_space_slot(space, word % space->slots.count), sizeof(struct lq_slot), 2 + word / 64 % (word % 3 ? 8 : 30));
    case PINS: {
        uint32_t row = one_of_(seed, 9, LQ_ROWS);
        if (word % 8 == 0)
            return (struct place_){(uint64_t *)(void *)&space->arena.stocks[word / 8 % space->arena.count & ~1u], 1};
        return within_(lq_pins_at(&space->arena.pins, row, 0), sizeof(struct lq_pin) * LQ_PINS, one_of_(seed, 16, 2 * LQ_PINS));
    }
    case METERS: {
        struct lq_meter *meter = &space->meters[one_of_(seed, 9, LQ_ROWS)];
        if (word % 3 == 0)
            return within_(meter, sizeof *meter, word / 8 % 16);
        return within_(&meter->calls[one_of_(seed, 3, LQ_METER_FUNCTIONS)], sizeof(struct lq_calls), word % 2 ? 7 : word % 90);
    }
    case JOURNALS: {
        struct lq_row *row = &space->roster.rows[one_of_(seed, 9, LQ_ROWS)];
        if (word % 4 == 0)
            return (struct place_){(uint64_t *)(void *)&row->tracks.journal_end, 1};
        struct lq_event *event = &space->journals.events[(row - space->roster.rows) * LQ_EVENTS + one_of_(seed, 4, LQ_EVENTS)];
        return within_(event, sizeof *event, word % 6);
    }
    case NOTES: {
        uint32_t index = word % space->slots.count;
        if (word % 4 == 0)
            return within_(&space->pasts[index], sizeof(struct lq_past), word / 4 % 3);
        return within_(&space->notes.notes[index], sizeof(struct lq_note), word / 64 % 6);
    }
    case TRACES: {
        struct lq_row *row = &space->roster.rows[one_of_(seed, 9, LQ_ROWS)];
        if (word % 4 == 0)
            return (struct place_){(uint64_t *)(void *)&row->tracks.trace_end, 1 + word / 4 % 3};
        if (word % 4 == 1)
            return (struct place_){(uint64_t *)(void *)&space->header->trace, 2};
        struct lq_record *record = &space->traces.records[(row - space->roster.rows) * LQ_RECORDS + one_of_(seed, 4, LQ_RECORDS)];
        return within_(record, sizeof *record, word % 8);
    }
    case SPANS:
        return within_(&space->arena.spans[word % space->arena.count], sizeof(struct lq_span), word / 64 % 4);
    default: {
        uint32_t span = word % space->arena.count;
        uint32_t block = one_of_(seed, 4, LQ_BLOCKS_PER_SPAN);
        return (struct place_){(uint64_t *)(void *)&space->arena.blocks[span * LQ_BLOCKS_PER_SPAN + block], 2};
    }
    }
}

/* Another value: any, an extreme, or one that is nearly right, because that comes furthest. */
static uint64_t wild_(uint64_t was, uint32_t *seed)
{
    uint64_t random = next_word_(seed);
    uint32_t bit = next_random(seed) % 64;
    switch (next_random(seed) % 12) {
    case 0:
        return random;
    case 1:
        return 0;
    case 2:
        return UINT64_MAX - random % 3;
    case 3:
        return was + 1;
    case 4:
        return was - 1;
    case 5:
        return 1ull << bit;
    case 6:
        return (1ull << bit) - 1;
    case 7:
        return random >> bit;
    case 8: /* a word as they are: some state, one of those who live, the same generation */
        return lq_word((uint32_t)random % 10, lq_label_of((uint32_t)(random >> 8) % 12, 0), lq_word_generation(was), (uint32_t)(random >> 16) % 16);
    case 9: /* one byte */
        return (was & ~(0xffull << bit / 8 * 8)) | (random & 0xff) << bit / 8 * 8;
    case 10: /* one half */
        return random % 2 ? (was & 0xffffffffu) | random << 32 : (was & ~0xffffffffull) | random >> 32;
    default:
        return was ^ 1ull << bit;
    }
}

#define MOST_HARM 128u

struct harm_ {
    uint64_t *at[MOST_HARM];
    uint64_t was[MOST_HARM];
    uint32_t count;
};

static void overwrite_(struct harm_ *harm, uint64_t *at, uint64_t value)
{
    if (harm->count == MOST_HARM)
        return;
    harm->at[harm->count] = at;
    harm->was[harm->count++] = LQ_GET(*at);
    LQ_PUT(*at, value);
}

static void do_harm_(const struct lq_space *space, enum part_ part, struct harm_ *harm, uint32_t *seed)
{
    bool whole = next_random(seed) % 8 == 0; /* random bytes all over, not a word here and there */
    uint32_t times = whole ? 1 : 1 + next_random(seed) % 4;
    for (uint32_t i = 0; i < times; i++) {
        struct place_ place = place_in_(space, part, seed);
        uint32_t words = whole && place.words > 1 ? 1 + next_random(seed) % place.words : 1;
        for (uint32_t word = 0; word < words; word++)
            overwrite_(harm, place.at + word, whole ? next_word_(seed) : wild_(LQ_GET(place.at[word]), seed));
    }
}

static void undo_(struct harm_ *harm)
{
    while (harm->count != 0) {
        harm->count--;
        LQ_PUT(*harm->at[harm->count], harm->was[harm->count]);
    }
}

/* -------------------------------------------------------------------------------------------------- everything read */

static volatile unsigned char sink_;

static void touch_(const struct lq_segment *within, const unsigned char *at, uint64_t bytes)
{
    CHECK(at >= within->base && bytes <= within->bytes && (size_t)(at - within->base) <= within->bytes - bytes);
    if (bytes != 0)
        sink_ = (unsigned char)(at[0] ^ at[bytes / 2] ^ at[bytes - 1]);
}

static void read_block_(const struct lq_space *space, uint32_t block)
{
    uint64_t room = 0;
    const unsigned char *at = lq_space_block(space, block, &room);
    if (at != NULL)
        touch_(&space->payload, at, room);
}

static void read_slot_(const struct lq_space *space, uint32_t index, uint32_t generation)
{
    struct lq_slot copy;
    uint32_t cause;
    if (lq_space_read(space, index, generation, &copy) != LQ_OK)
        return;
    CHECK(index < space->slots.count);
    CHECK(lq_slot_state_of(&copy) < 16);
    lq_slot_outcome(&copy, &cause);
    lq_slot_items_begun(&copy);
    lq_space_is_expired(space, index, &copy, lq_now_ns());
    read_block_(space, copy.args_block);
    read_block_(space, copy.result_block);
    lq_space_is_current(space, index, &copy);
}

static void read_function_(const struct lq_space *space, uint32_t row, uint32_t generation)
{
    const unsigned char *bytes;
    uint32_t kind;
    uint32_t length;
    if (lq_space_function(space, row, generation, &kind, &bytes, &length) != LQ_OK)
        return;
    bool is_inline = bytes >= space->control.base && bytes < space->control.base + space->control.bytes;
    CHECK(!is_inline || length <= LQ_FUNCTION_INLINE);
    touch_(is_inline ? &space->control : &space->payload, bytes, length);
    lq_space_function_is_current(space, row, generation);
    char name[LQ_FUNCTION_NAME + 1];
    CHECK(lq_functions_name_of(&space->functions, row, generation, name) <= LQ_FUNCTION_NAME);
}

static void read_report_(const struct lq_space *space, uint32_t number)
{
    struct lq_report copy;
    const struct lq_report *report = &space->reports.reports[number % LQ_REPORTS];
    if (lq_reports_read(&space->reports, number, LQ_GET(report->pid), &copy) == LQ_OK)
        CHECK(number != 0 && number < LQ_REPORTS && copy.text_bytes <= LQ_REPORT_TEXT);
}

static void read_ring_(const struct lq_space *space, const struct lq_ring *ring, uint32_t index, uint32_t generation)
{
    struct lq_ring_entry entry;
    lq_ring_check(ring, space->slots.count);
    lq_ring_holds(ring, index, generation);
    if (lq_ring_peek(ring, &entry) == LQ_OK)
        CHECK(entry.index <= LQ_INDEX_MASK);
}

static void read_events_(const struct lq_space *space, uint32_t row)
{
    struct lq_event event;
    uint64_t end = lq_journals_end(&space->journals, row);
    for (uint64_t number = end - LQ_EVENTS; number != end + 2; number++)
        if (lq_journals_read(&space->journals, row, number, &event) == LQ_OK)
            CHECK(event.kind != 0 && event.kind < LQ_EVENT_KINDS && event.text_bytes <= LQ_EVENT_TEXT);
}

static void read_records_(const struct lq_space *space, uint32_t row, uint32_t *seed)
{
    struct lq_record record;
    uint64_t place = next_random(seed) % 3 == 0 ? next_word_(seed) : 0;
    uint64_t lost = 0;
    uint32_t found = 0;
    while (found <= LQ_RECORDS && lq_traces_next(&space->traces, row, &place, &record, &lost) == LQ_OK)
        found++;
    CHECK(found <= LQ_RECORDS);
}

static void read_told_(const struct lq_space *space, uint32_t *seed)
{
    struct lq_meter_reading *reading = malloc(sizeof *reading);
    uint64_t sums[LQ_CALLS_SUMS];
    uint64_t run[LQ_CALLS_BUCKETS];
    char name[LQ_NAME_BYTES + 1];
    CHECK(reading != NULL);
    lq_space_meters(space, reading);
    free(reading);
    for (uint32_t row = 0; row < LQ_ROWS; row += row < 12 ? 1 : 61) {
        uint32_t entries = 0;
        while (lq_meter_read_calls(&space->meters[row], entries, sums, run, name)) {
            CHECK(memchr(name, 0, sizeof name) != NULL);
            entries++;
        }
        CHECK(entries <= LQ_METER_FUNCTIONS);
        read_events_(space, row);
        read_records_(space, row, seed);
    }
}

static void read_notes_(const struct lq_space *space, uint32_t index)
{
    struct lq_slot copy;
    struct lq_note note;
    uint32_t seq;
    uint32_t pid;
    uint32_t task = index < space->slots.count ? LQ_GET(space->notes.notes[index].task_generation) : 1;
    if (lq_space_read_note(space, index, task, &note, &seq) == LQ_OK)
        CHECK(note.message_bytes <= LQ_MESSAGE_BYTES || note.message_bytes == LQ_NO_MESSAGE);
    CHECK(lq_space_gone(space, index, task, lq_now_ns()) <= LQ_GONE_EXPIRED);
    lq_space_wait_note(space, index, task, 0, 0);
    if (lq_space_in_hand(space, index, &copy, &pid) == LQ_OK)
        CHECK(lq_slot_state_of(&copy) == LQ_SLOT_CLAIMED || lq_slot_state_of(&copy) == LQ_SLOT_RUNNING);
}

static void read_for_people_(const struct lq_space *space)
{
    struct lq_row_reading row;
    uint32_t counts[16];
    uint32_t sum = 0;
    uint64_t held;
    uint64_t owned;
    uint64_t spans;
    for (uint32_t i = 0; i < LQ_ROWS + 1; i++)
        lq_space_row(space, i < LQ_ROWS ? i : UINT32_MAX, &row);
    for (uint32_t i = 0; i < QUEUES * LQ_PRIORITIES; i++)
        CHECK(lq_space_depth(space, i / LQ_PRIORITIES, i % LQ_PRIORITIES) <= 1ull << space->rings[0][0].order);
    lq_space_arena_reading(space, &held, &owned, &spans);
    CHECK(spans < space->arena.count);
    lq_space_count_slots(space, counts);
    for (uint32_t i = 0; i < 16; i++)
        sum += counts[i];
    CHECK(sum <= space->slots.count);
    lq_space_phase(space);
    lq_space_workers(space);
    for (uint32_t i = 0; i < LQ_TALLIES; i++)
        lq_space_tally_of(space, (enum lq_tally)i);
}

/* What lq_space_check says, and every other reader's answer thrown away. */
static enum lq_status read_everything_(const struct lq_space *space, uint32_t *seed)
{
    struct lq_problem problems[4];
    char problem[120];
    lq_space_audit(space, problems, next_random(seed) % 5);
    enum lq_status status = lq_space_check(space, problem, sizeof problem);
    CHECK(memchr(problem, 0, sizeof problem) != NULL && (status == LQ_OK || (status == LQ_CORRUPT && problem[0] != 0)));
    /* By themselves too: the check ends with the first complaint. */
    lq_roster_check(&space->roster);
    lq_slots_check(&space->slots);
    lq_reports_check(&space->reports);
    lq_functions_check(&space->functions);
    lq_arena_check(&space->arena);
    read_for_people_(space);
    read_told_(space, seed);
    for (uint32_t i = 0; i < space->slots.count + 4; i++) {
        uint32_t index = i < space->slots.count ? i : next_random(seed);
        const struct lq_slot *slot = lq_space_slot(space, index % space->slots.count);
        read_slot_(space, index, LQ_GET(slot->task_generation));
        read_notes_(space, index);
        read_block_(space, LQ_GET(slot->result_block));
    }
    for (uint32_t i = 0; i < 8; i++) {
        lq_pins_any(&space->arena.pins, next_random(seed), next_random(seed));
        lq_pins_is_tied(&space->arena.pins, next_word_(seed) >> next_random(seed) % 32);
    }
    for (uint32_t i = 0; i < 8; i++) {
        uint32_t row = i < 5 ? i : next_random(seed) >> next_random(seed) % 32;
        read_report_(space, row);
        read_function_(space, row, lq_word_generation(lq_load(&space->functions.rows[row % LQ_FUNCTIONS].word)));
        read_block_(space, next_random(seed) >> next_random(seed) % 32);
        read_block_(space, LQ_BLOCK_RUN | next_random(seed) % (space->arena.count + 2));
    }
    for (uint32_t i = 0; i < QUEUES * LQ_PRIORITIES + 6; i++) {
        uint32_t completion = next_random(seed) % (i % 2 ? LQ_ROWS : 8);
        read_ring_(space, i < QUEUES * LQ_PRIORITIES ? &space->rings[i / LQ_PRIORITIES][i % LQ_PRIORITIES] : &space->completions[completion],
                   next_random(seed), next_random(seed));
    }
    return status;
}

/* ------------------------------------------------------------------------------------------------- cases: the header */

/* All pointers of an open Space lie inside its mappings, with what they point to. */
static void check_view_(const struct lq_space *space)
{
    const struct lq_segment *control = &space->control;
    size_t ring_bytes = lq_ring_size(space->rings[0][0].order);
    touch_(control, (void *)space->header, sizeof *space->header);
    touch_(control, (void *)space->roster.rows, lq_roster_size());
    touch_(control, (void *)space->reports.reports, lq_reports_size());
    touch_(control, (void *)space->functions.rows, lq_functions_size());
    touch_(control, (void *)space->functions.used, 8);
    touch_(control, (void *)space->meters, lq_meters_size());
    touch_(control, (void *)space->journals.events, lq_journals_size());
    touch_(control, (void *)space->notes.notes, lq_notes_size(space->slots.count));
    touch_(control, (void *)space->pasts, sizeof(struct lq_past) * space->slots.count);
    touch_(control, (void *)space->traces.records, lq_traces_size());
    CHECK(space->journals.rows == space->roster.rows && space->traces.rows == space->roster.rows && space->traces.trace == &space->header->trace);
    CHECK(space->queues >= 1 && space->queues <= LQ_MAX_QUEUES);
    for (uint32_t i = 0; i < space->queues * LQ_PRIORITIES; i++)
        touch_(control, (void *)space->rings[i / LQ_PRIORITIES][i % LQ_PRIORITIES].head, ring_bytes);
    for (uint32_t row = 0; row < LQ_ROWS; row++)
        touch_(control, (void *)space->completions[row].head, ring_bytes);
    touch_(control, (void *)space->slots.slots, lq_slots_size(space->slots.count));
    touch_(control, (void *)space->slots.fresh, 8);
    touch_(control, (void *)space->arena.spans, lq_arena_spans_size(space->arena.count));
    touch_(control, (void *)space->arena.blocks, lq_arena_blocks_size(space->arena.count));
    touch_(control, (void *)space->arena.used, 8);
    touch_(control, (void *)space->arena.stocks, lq_arena_stocks_size(space->arena.count));
    touch_(control, (void *)space->arena.pins.pins, lq_pins_size());
    CHECK(space->arena.pins.roster.rows == space->roster.rows && space->arena.pins.slots.slots == space->slots.slots);
    CHECK_EQ(space->arena.pins.slots.count, space->slots.count);
    touch_(&space->payload, space->arena.memory, (uint64_t)space->arena.count << LQ_SPAN_ORDER);
}

static enum lq_status open_copy_(const struct lq_space *space, int writable)
{
    struct lq_space again;
    limit_();
    enum lq_status status = lq_space_open(&again, copy_of_(space->control.fd), copy_of_(space->payload.fd), writable);
    CHECK(status == LQ_OK || status == LQ_CORRUPT || status == LQ_VERSION);
    CHECK((status == LQ_OK) == (again.header != NULL));
    if (status == LQ_OK)
        check_view_(&again);
    lq_space_close(&again);
    return status;
}

static bool is_field_(size_t at, size_t field, size_t bytes)
{
    return at >= field && at < field + bytes;
}

#define IS_FIELD(at, name) is_field_(at, offsetof(struct lq_header, name), sizeof((struct lq_header *)0)->name)

/* Does a Space with this byte of its header changed contradict itself? `memory` may change within its last megabyte. */
static bool decides_(size_t at)
{
    return IS_FIELD(at, magic) || IS_FIELD(at, slots) || IS_FIELD(at, ring_order) || IS_FIELD(at, spans) ||
           IS_FIELD(at, control_bytes) || IS_FIELD(at, sizes.capacity) || IS_FIELD(at, sizes.result_cache) ||
           IS_FIELD(at, sizes.queues);
}

static void fuzz_header_with_any_one_bit_flipped_is_refused_or_harmless(void)
{
    struct world_ *world = make_world_(0);
    unsigned char *bytes = world->space.control.base;
    uint32_t seed = 1;
    watch_();
    for (size_t bit = 0; bit < sizeof(struct lq_header) * 8; bit++) {
        AT("bit %zu", bit);
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        unsigned char flipped = bytes[bit / 8];
        enum lq_status status = open_copy_(&world->space, bit % 2);
        CHECK(!IS_FIELD(bit / 8, version) || status == LQ_VERSION);
        CHECK(!decides_(bit / 8) || status == LQ_CORRUPT);
        CHECK(decides_(bit / 8) || IS_FIELD(bit / 8, version) || IS_FIELD(bit / 8, sizes.memory) || status == LQ_OK);
        limit_();
        if (bit % 4 == 0)
            read_everything_(&world->seen, &seed); /* one that had it open before */
        CHECK_EQ(bytes[bit / 8], flipped);
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    CHECK(memcmp(bytes, world->sound, world->space.control.bytes) == 0); /* nothing was written */
}

static void fuzz_header_with_extreme_fields_is_refused_or_harmless(void)
{
    static const struct {
        size_t at, bytes;
    } fields[] = {
#define FIELD(name) {offsetof(struct lq_header, name), sizeof((struct lq_header *)0)->name}
        FIELD(magic),          FIELD(version),        FIELD(slots),          FIELD(ring_order),   FIELD(spans),
        FIELD(control_bytes),  FIELD(identity),       FIELD(epoch_ns),       FIELD(sizes.capacity), FIELD(sizes.result_cache),
        FIELD(sizes.queues),   FIELD(sizes.cpus),     FIELD(sizes.memory),   FIELD(sizes.ttl_ms), FIELD(phase),
        FIELD(workers),        FIELD(slots_fresh),    FIELD(arena_used),     FIELD(functions_used),
#undef FIELD
    };
    struct world_ *world = make_world_(0);
    unsigned char *bytes = world->space.control.base;
    uint32_t seed = 1;
    watch_();
    for (size_t field = 0; field < sizeof fields / sizeof fields[0]; field++) {
        uint64_t sound = 0;
        memcpy(&sound, bytes + fields[field].at, fields[field].bytes);
        const uint64_t values[] = {0, 1, 2, 3, 63, 64, UINT64_MAX, UINT64_MAX - 1, INT64_MAX, 1ull << 63, INT32_MAX, 1ull << 31,
                                   sound - 1, sound + 1, sound * 2, sound / 2, LQ_INDEX_MASK, LQ_MAX_SPANS, sound << 32 | sound};
        for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
            AT("field at %zu: %llx instead of %llx", fields[field].at, (unsigned long long)values[i], (unsigned long long)sound);
            memcpy(bytes + fields[field].at, &values[i], fields[field].bytes);
            bool same = memcmp(bytes + fields[field].at, &sound, fields[field].bytes) == 0;
            enum lq_status status = open_copy_(&world->space, i % 2);
            CHECK(same || fields[field].at != offsetof(struct lq_header, version) || status == LQ_VERSION);
            CHECK(same || !decides_(fields[field].at) || status == LQ_CORRUPT);
            limit_();
            read_everything_(&world->seen, &seed);
            memcpy(bytes + fields[field].at, &sound, fields[field].bytes);
        }
    }
    CHECK(memcmp(bytes, world->sound, world->space.control.bytes) == 0);
}

static void fuzz_header_of_random_bytes_is_refused_or_harmless(void)
{
    struct world_ *world = make_world_(0);
    struct lq_header *header = world->space.header;
    uint32_t seeds = 20000 / SLOWER;
    uint32_t opened = 0;
    watch_();
    for (uint32_t number = 0; number < seeds; number++) {
        uint32_t seed = seed_of_(number);
        struct harm_ harm = {.count = 0};
        uint64_t *words = (uint64_t *)(void *)header;
        uint32_t from = number % 2 ? 0 : next_random(&seed) % 12;
        uint32_t to = number % 2 ? sizeof *header / 8 : from + 1;
        AT("seed %u, words %u to %u", number, from, to);
        for (uint32_t at = from; at < to; at++)
            overwrite_(&harm, words + at, number % 2 ? next_word_(&seed) : wild_(words[at], &seed));
        if (number % 4 == 1) { /* of our own, it says */
            words[0] = LQ_MAGIC;
            header->version = number % 8 == 1 ? LQ_LAYOUT_VERSION : header->version;
        }
        bool ours = header->magic == LQ_MAGIC;
        bool other = header->version != LQ_LAYOUT_VERSION;
        enum lq_status status = open_copy_(&world->space, number / 2 % 2);
        CHECK(status == (ours ? (other ? LQ_VERSION : status) : LQ_CORRUPT));
        opened += status == LQ_OK;
        undo_(&harm);
    }
    CHECK(opened > 0);
    CHECK(memcmp(header, world->sound, world->space.control.bytes) == 0);
}

/* ---- files ---- */

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static int file_of_(const void *bytes, size_t length, size_t size, int seals)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK(fd >= 0 && write(fd, bytes, length) == (ssize_t)length && ftruncate(fd, (off_t)size) == 0);
    CHECK(fcntl(fd, F_ADD_SEALS, seals) == 0);
    return fd;
}

static enum lq_status open_files_(int control, int payload)
{
    struct lq_space space;
    for (int writable = 0; writable < 2; writable++) {
        enum lq_status status = lq_space_open(&space, copy_of_(control), copy_of_(payload), writable);
        CHECK((status == LQ_OK) == (space.header != NULL));
        if (status == LQ_OK)
            check_view_(&space);
        lq_space_close(&space);
        if (writable)
            return status;
    }
    return LQ_OK;
}

static void fuzz_files_of_another_length_are_refused(void)
{
    struct world_ *world = make_world_(0);
    size_t control = world->space.control.bytes;
    size_t payload = world->space.payload.bytes;
    const size_t lengths[] = {0, 1, 8, 511, 512, 513, 4095, 4096, 4097, control / 2, control - 4096, control - 1, control,
                              control + 1, control + 4096, control * 2, payload - (1u << 20), payload - 4096, payload - 1,
                              payload, payload + 1, payload + 4096, payload + (1u << 20), (size_t)1 << 40};
    watch_();
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        AT("%zu bytes", lengths[i]);
        limit_();
        int fd = file_of_(world->sound, lengths[i] < control ? lengths[i] : control, lengths[i], SEALS);
        CHECK_EQ(open_files_(fd, world->space.payload.fd), lengths[i] == control ? LQ_OK : LQ_CORRUPT);
        CHECK_EQ(open_files_(world->space.control.fd, fd), lengths[i] == payload ? LQ_OK : LQ_CORRUPT);
        close(fd);
    }
    CHECK_EQ(open_files_(world->space.payload.fd, world->space.control.fd), LQ_CORRUPT); /* one for the other */
    CHECK_EQ(open_files_(world->space.control.fd, world->space.control.fd), LQ_CORRUPT);
    CHECK_EQ(open_files_(world->space.payload.fd, world->space.payload.fd), LQ_CORRUPT);
}

static void fuzz_files_that_can_shrink_are_refused(void)
{
    static const int seals[] = {0, F_SEAL_GROW, F_SEAL_GROW | F_SEAL_SEAL, F_SEAL_SHRINK, SEALS};
    struct world_ *world = make_world_(0);
    for (size_t i = 0; i < sizeof seals / sizeof seals[0]; i++) {
        AT("seals %x", (unsigned)seals[i]);
        int control = file_of_(world->sound, world->space.control.bytes, world->space.control.bytes, seals[i]);
        int payload = file_of_("", 0, world->space.payload.bytes, seals[i]);
        enum lq_status expected = seals[i] & F_SEAL_SHRINK ? LQ_OK : LQ_CORRUPT;
        CHECK_EQ(open_files_(control, world->space.payload.fd), expected);
        CHECK_EQ(open_files_(world->space.control.fd, payload), expected);
        close(control);
        close(payload);
    }
}

static void fuzz_files_that_are_no_memory_are_refused(void)
{
    struct world_ *world = make_world_(0);
    char name[] = "/tmp/lq_tests-XXXXXX";
    int ends[2];
    int disk = mkstemp(name);
    CHECK(disk >= 0 && unlink(name) == 0 && pipe(ends) == 0);
    CHECK(write(disk, world->sound, world->space.control.bytes) == (ssize_t)world->space.control.bytes);
    int others[] = {disk,   ends[0], ends[1], eventfd(0, 0), open("/", O_RDONLY), open("/dev/zero", O_RDWR),
                    open("/dev/null", O_RDWR), open("/proc/self/maps", O_RDONLY), open("/proc/self/exe", O_RDONLY)};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        AT("file %zu", i);
        CHECK(others[i] >= 0);
        CHECK_EQ(open_files_(others[i], world->space.payload.fd), LQ_CORRUPT);
        CHECK_EQ(open_files_(world->space.control.fd, others[i]), LQ_CORRUPT);
        close(others[i]);
    }
    struct lq_space space;
    errno = 0;
    CHECK(lq_space_open(&space, copy_of_(world->space.control.fd), -1, 0) == LQ_SYSTEM && errno == EBADF);
    errno = 0;
    CHECK(lq_space_open(&space, -1, copy_of_(world->space.payload.fd), 0) == LQ_SYSTEM && errno == EBADF);
}

/* --------------------------------------------------------------------------------------------- cases: what is inside */

/* Harm in this structure, and at times in another one too; everything read; mended; again. */
static void read_harmed_(enum part_ part, uint32_t seeds)
{
    struct world_ *world = make_world_(0);
    uint32_t noticed = 0;
    watch_();
    for (uint32_t number = 0; number < seeds / SLOWER; number++) {
        uint32_t seed = seed_of_(number);
        struct harm_ harm = {.count = 0};
        AT("%s, seed %u", part_names_[part], number);
        do_harm_(&world->space, part, &harm, &seed);
        if (number % 4 == 3)
            do_harm_(&world->space, (enum part_)(next_random(&seed) % PARTS), &harm, &seed);
        limit_();
        noticed += read_everything_(&world->seen, &seed) == LQ_CORRUPT;
        undo_(&harm);
    }
    AT("%s, %u of %u noticed by the check", part_names_[part], noticed, seeds / SLOWER);
    CHECK(noticed > 0);
    FLOW_CHECK(&world->seen);
    CHECK(memcmp(world->space.control.base, world->sound, world->space.control.bytes) == 0);
}

#define SEEDS 5000u

static void fuzz_readers_survive_a_harmed_header(void)
{
    read_harmed_(HEADER, SEEDS);
    read_harmed_(COUNTERS, SEEDS);
}

static void fuzz_readers_survive_a_harmed_roster(void)
{
    read_harmed_(ROSTER, SEEDS);
}

static void fuzz_readers_survive_harmed_reports(void)
{
    read_harmed_(REPORTS, SEEDS);
}

static void fuzz_readers_survive_harmed_functions(void)
{
    read_harmed_(FUNCTIONS, SEEDS);
}

static void fuzz_readers_survive_harmed_rings(void)
{
    read_harmed_(RINGS, SEEDS);
    read_harmed_(COMPLETIONS, SEEDS);
}

static void fuzz_readers_survive_harmed_slots(void)
{
    read_harmed_(SLOT_WORDS, SEEDS);
    read_harmed_(SLOT_BODIES, SEEDS);
}

static void fuzz_readers_survive_harmed_pins(void)
{
    read_harmed_(PINS, SEEDS);
}

static void fuzz_readers_survive_a_harmed_arena(void)
{
    read_harmed_(SPANS, SEEDS);
    read_harmed_(BLOCKS, SEEDS);
}

static void fuzz_readers_survive_harmed_meters_and_whatever_else_is_told(void)
{
    read_harmed_(METERS, SEEDS);
    read_harmed_(JOURNALS, SEEDS);
    read_harmed_(NOTES, SEEDS);
    read_harmed_(TRACES, SEEDS);
}

/* Random bytes in all of the control segment behind the header. */
static void fuzz_readers_survive_random_bytes_everywhere(void)
{
    struct world_ *world = make_world_(0);
    uint64_t *words = (uint64_t *)(void *)world->space.control.base;
    size_t count = world->space.control.bytes / 8;
    watch_();
    for (uint32_t number = 0; number < 24 / SLOWER; number++) {
        uint32_t seed = seed_of_(number);
        AT("seed %u", number);
        for (size_t i = number % 2 ? 0 : sizeof(struct lq_header) / 8; i < count; i++)
            if (number % 3 || next_random(&seed) % 64 == 0)
                words[i] = next_word_(&seed);
        limit_();
        for (uint32_t times = 0; times < 20; times++)
            read_everything_(&world->seen, &seed);
        memcpy(words, world->sound, world->space.control.bytes);
    }
}

/* ------------------------------------------------------------------------------------------- cases: while it happens */

struct scribbling_ {
    const struct lq_space *space;
    uint32_t seed;
    enum part_ first, end; /* which parts */
};

/* Between sound and wild, so quickly that a reader who looks twice sees both. Until the case ends. */
static void scribble_(void *given)
{
    struct scribbling_ *scribbling = given;
    uint32_t parts = scribbling->end - scribbling->first;
    struct harm_ harm = {.count = 0};
    for (uint32_t number = 0;; number++) {
        enum part_ part = (enum part_)(scribbling->first + next_random(&scribbling->seed) % parts);
        struct place_ place = place_in_(scribbling->space, part, &scribbling->seed);
        uint64_t was = LQ_GET(*place.at);
        uint64_t other = wild_(was, &scribbling->seed);
        for (uint32_t times = 0; times < 300; times++) {
            LQ_PUT(*place.at, other);
            lq_relax();
            LQ_PUT(*place.at, was);
            lq_relax();
        }
        if (parts > 1) /* and some that stays a while; not where the reader would then always end at the same */
            do_harm_(scribbling->space, part, &harm, &scribbling->seed);
        if (number % 16 == 15)
            undo_(&harm);
    }
}

static void read_while_scribbled_(struct world_ *world, enum part_ first, enum part_ end)
{
    struct scribbling_ scribbling = {&world->space, 77, first, end};
    uint32_t seed = 1;
    uint32_t reads = 0;
    pid_t scribbler = in_child(scribble_, &scribbling);
    int64_t until = lq_now_ns() + SCRIBBLE_NS / 2;
    for (; lq_now_ns() < until; reads++) {
        AT("%s to %s, read %u", part_names_[first], part_names_[end - 1], reads);
        limit_();
        read_everything_(&world->seen, &seed);
    }
    CHECK(reads > 10);
    kill(scribbler, SIGKILL);
    wait_for(scribbler, false);
    memcpy(world->space.control.base, world->sound, world->space.control.bytes);
}

static void fuzz_readers_survive_a_writer_that_scribbles_meanwhile(void)
{
    struct world_ *world = make_world_(0);
    watch_();
    read_while_scribbled_(world, HEADER, PARTS);
    read_while_scribbled_(world, SLOT_WORDS, PARTS);
    read_while_scribbled_(world, SLOT_BODIES, SPANS);
    read_while_scribbled_(world, RINGS, SLOT_WORDS);
}

/* One word of those that sizes follow from, between sound and wild. */
static void flicker_(void *given)
{
    struct scribbling_ *scribbling = given;
    uint32_t *const fields[] = {&scribbling->space->header->slots, &scribbling->space->header->ring_order,
                                &scribbling->space->header->spans, &scribbling->space->header->sizes.queues};
    for (;;) {
        uint32_t *field = fields[next_random(&scribbling->seed) % 4];
        uint32_t was = LQ_GET(*field);
        uint32_t other = (uint32_t)wild_(was, &scribbling->seed);
        for (uint32_t times = 0; times < 2000; times++) {
            LQ_PUT(*field, times % 2 ? was : other);
            lq_relax();
        }
        LQ_PUT(*field, was);
    }
}

static void fuzz_header_that_changes_while_it_is_verified_is_refused_or_harmless(void)
{
    struct world_ *world = make_world_(0);
    struct scribbling_ scribbling = {&world->space, 78, HEADER, PARTS};
    uint32_t opened = 0;
    uint32_t refused = 0;
    watch_();
    pid_t scribbler = in_child(flicker_, &scribbling);
    int64_t until = lq_now_ns() + SCRIBBLE_NS;
    while (lq_now_ns() < until) {
        enum lq_status status = open_copy_(&world->space, 0);
        opened += status == LQ_OK;
        refused += status != LQ_OK;
    }
    kill(scribbler, SIGKILL);
    wait_for(scribbler, false);
    AT("%u opened, %u refused", opened, refused);
    CHECK(opened > 0 && refused > 0);
}

/* -------------------------------------------------------------------------------------------------- cases: the cleaner */

static void mend_part_(struct world_ *world, const void *at, size_t bytes)
{
    size_t offset = (size_t)((const unsigned char *)at - world->space.control.base);
    memcpy(world->space.control.base + offset, world->sound + offset, bytes);
}

/* Everything as it was. Of what processes tell, most belongs to rows that nobody has: there only the harm is undone. */
static void mend_(struct world_ *world, struct harm_ *harm)
{
    const struct lq_space *space = &world->space;
    undo_(harm);
    mend_part_(world, space->control.base, (size_t)((unsigned char *)space->meters - space->control.base));
    mend_part_(world, space->meters, sizeof(struct lq_meter) * 12);
    mend_part_(world, space->journals.events, sizeof(struct lq_event) * LQ_EVENTS * 12);
    mend_part_(world, space->notes.notes, lq_notes_size(space->slots.count));
    mend_part_(world, space->pasts, sizeof(struct lq_past) * space->slots.count);
    mend_part_(world, space->traces.records, sizeof(struct lq_record) * LQ_RECORDS * 12);
}

/* It need not get it right. It must come back, and touch nothing outside. */
static void clean_harmed_(uint32_t number, struct world_ *world, enum part_ part)
{
    const lq_label dead[] = {world->runs.me, world->claims.me, world->filling.me, world->client.me};
    uint32_t seed = seed_of_(number);
    struct harm_ harm = {.count = 0};
    struct lq_recovered recovered;
    struct lq_report report = {.pid = 15};
    uint32_t index;
    for (uint32_t i = 0; i < 4; i++)
        if (number / 8 % 16 & 1u << i)
            lq_space_bury(&world->space, dead[i]);
    do_harm_(&world->space, part, &harm, &seed);
    if (number % 4 == 3)
        do_harm_(&world->space, (enum part_)(next_random(&seed) % PARTS), &harm, &seed);
    limit_();
    for (uint32_t pass = 0; pass < 2; pass++)
        for (uint32_t i = 0; i < 4; i++)
            lq_space_recover(&world->seen, dead[i], world->supervisor, 9, &recovered);
    lq_space_sweep(&world->seen, world->supervisor);
    lq_reports_write(&world->seen.reports, world->supervisor, &report);
    if (number % 2)
        lq_space_take_over(&world->seen, world->supervisor, &index);
    for (uint32_t i = 0; i < world->seen.slots.count && lq_space_relieve(&world->seen, world->supervisor); i++)
        ;
    read_everything_(&world->seen, &seed);
    mend_(world, &harm);
}

static void fuzz_recovery_and_sweep_come_back_from_anything(void)
{
    struct world_ *world = make_world_(1);
    watch_();
    for (uint32_t number = 0; number < (LQ_TSAN ? 500u : 2500u); number++) {
        enum part_ part = (enum part_)(number % PARTS);
        AT("%s, seed %u", part_names_[part], number);
        clean_harmed_(number, world, part);
    }
}

/* Look at what the slots and the table of pins say, take back what it does, give memory back. None of it writes a payload. */
static void look_at_harmed_(struct lq_space *space, lq_label me)
{
    uint64_t idle[MEGABYTES + 1] = {0};
    uint32_t cursor = 0;
    for (uint32_t index = 0; index < space->slots.count; index++) {
        uint32_t entry;
        uint32_t block = LQ_GET(lq_space_slot(space, index)->result_block);
        const lq_a64 *word = lq_arena_word(&space->arena, block);
        uint32_t generation = word == NULL ? 0 : lq_word_generation(lq_load(word));
        if (lq_arena_pin(&space->arena, me, block, generation, 0, &cursor, &entry) == LQ_OK)
            CHECK(entry < LQ_PINS);
    }
    for (uint32_t entry = 0; entry < 64; entry++)
        lq_arena_unpin(&space->arena, NULL, me, entry);
    for (int i = 0; i < 2; i++)
        lq_arena_give_back(&space->arena, me, idle, NULL);
}

/* Whoever is at work: tasks without blocks, because what lies in the arena is written where the words say. */
static void work_harmed_(uint32_t number, struct world_ *world, enum part_ part)
{
    uint32_t seed = seed_of_(number);
    struct harm_ harm = {.count = 0};
    struct lq_client client;
    struct lq_worker worker;
    uint32_t index;
    flow_init_client(&client, &world->seen, world->client.me);
    lq_worker_init(&worker, &world->seen, world->runs.me, 12);
    client.pending = CACHE; /* so many at least will be reaped */
    do_harm_(&world->space, part, &harm, &seed);
    if (number % 4 == 3)
        do_harm_(&world->space, (enum part_)(next_random(&seed) % PARTS), &harm, &seed);
    limit_();
    for (uint32_t at = 0; at < world->seen.slots.count; at++) {
        uint32_t state = lq_slot_state_of(lq_space_slot(&world->seen, at));
        if (at % 8 == number % 8)
            lq_client_cancel(&client, at, LQ_GET(lq_space_slot(&world->seen, at)->task_generation));
        if (state == LQ_SLOT_RUNNING || state == LQ_SLOT_CLAIMED)
            lq_worker_requeue(&worker, at, 0);
    }
    for (uint32_t i = 0; i < 16; i++) {
        if (lq_client_reserve(&client, &index) == LQ_OK) {
            LQ_PUT(lq_space_slot(&world->seen, index)->queue, (uint8_t)(i % QUEUES)); /* as every submitter does */
            LQ_PUT(lq_space_slot(&world->seen, index)->priority, (uint8_t)(i / QUEUES % LQ_PRIORITIES));
            if (lq_client_submit(&client, index) != LQ_OK)
                lq_client_discard(&client, index);
        }
        if (lq_worker_take_now(&worker, &index) == LQ_OK) {
            CHECK(index < world->seen.slots.count);
            lq_worker_start(&worker, index, 0);
            lq_worker_finish(&worker, index, LQ_OUTCOME_SUCCESS, 0, 8);
        }
        if (lq_client_reap(&client, &index) == LQ_OK) {
            CHECK(index < world->seen.slots.count);
            lq_client_consume(&client, index);
        }
    }
    lq_worker_end(&worker);
    lq_client_end(&client);
    look_at_harmed_(&world->seen, number % 2 ? world->client.me : world->supervisor);
    mend_(world, &harm);
}

static void fuzz_work_comes_back_from_anything(void)
{
    struct world_ *world = make_world_(1);
    watch_();
    for (uint32_t number = 0; number < (LQ_TSAN ? 500u : 2500u); number++) {
        enum part_ part = number % 2 ? SLOT_BODIES : (enum part_)(number / 2 % PARTS); /* slots are what work goes by */
        AT("%s, seed %u", part_names_[part], number);
        work_harmed_(number, world, part);
    }
}

const struct lq_case fuzz_cases[] = {
    RUN(fuzz_header_with_any_one_bit_flipped_is_refused_or_harmless),
    RUN(fuzz_header_with_extreme_fields_is_refused_or_harmless),
    RUN(fuzz_header_of_random_bytes_is_refused_or_harmless),
    RUN(fuzz_files_of_another_length_are_refused),
    RUN(fuzz_files_that_can_shrink_are_refused),
    RUN(fuzz_files_that_are_no_memory_are_refused),
    RUN(fuzz_readers_survive_a_harmed_header),
    RUN(fuzz_readers_survive_a_harmed_roster),
    RUN(fuzz_readers_survive_harmed_reports),
    RUN(fuzz_readers_survive_harmed_functions),
    RUN(fuzz_readers_survive_harmed_rings),
    RUN(fuzz_readers_survive_harmed_slots),
    RUN(fuzz_readers_survive_harmed_pins),
    RUN(fuzz_readers_survive_a_harmed_arena),
    RUN(fuzz_readers_survive_harmed_meters_and_whatever_else_is_told),
    RUN(fuzz_readers_survive_random_bytes_everywhere),
    RUN_FORKING(fuzz_readers_survive_a_writer_that_scribbles_meanwhile),
    RUN_FORKING(fuzz_header_that_changes_while_it_is_verified_is_refused_or_harmless),
    RUN(fuzz_recovery_and_sweep_come_back_from_anything),
    RUN(fuzz_work_comes_back_from_anything),
    END_OF_CASES,
};

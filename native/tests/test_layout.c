/* SPDX-License-Identifier: MIT */
/*
 * What lies where in a Space. Two processes may have been built apart: who changes a number here raises LQ_LAYOUT_VERSION.
 */
#include "../lq_space.h"
#include "lq_test.h"

#define PIN(type, field, at) CHECK_EQ(offsetof(struct type, field), at)

static void layout_version_5_is_what_it_was(void)
{
    CHECK_EQ(LQ_LAYOUT_VERSION, 5);
    CHECK_EQ(LQ_MAGIC, 0x31716c61636f6cull);
    CHECK_EQ(LQ_ROWS, 256);
    CHECK_EQ(LQ_FUNCTIONS, 4096);
    CHECK_EQ(LQ_PRIORITIES, 4);
    CHECK_EQ(LQ_MAX_QUEUES, 16);
    CHECK_EQ(LQ_SPAN_ORDER, 20);
    CHECK_EQ(LQ_CLASS_ORDER, 9);
    CHECK_EQ(LQ_CLASSES, 11);
    CHECK_EQ(LQ_INDEX_BITS, 20);
    CHECK_EQ(LQ_PINS, 2048);
}

static void layout_of_the_header_is_pinned(void)
{
    CHECK_EQ(sizeof(struct lq_sizes), 32);
    PIN(lq_sizes, capacity, 0);
    PIN(lq_sizes, result_cache, 4);
    PIN(lq_sizes, queues, 8);
    PIN(lq_sizes, cpus, 12);
    PIN(lq_sizes, memory, 16);
    PIN(lq_sizes, ttl_ms, 24);
    CHECK_EQ(sizeof(struct lq_header), 512);
    PIN(lq_header, magic, 0);
    PIN(lq_header, version, 8);
    PIN(lq_header, slots, 12);
    PIN(lq_header, ring_order, 16);
    PIN(lq_header, spans, 20);
    PIN(lq_header, control_bytes, 24);
    PIN(lq_header, identity, 32);
    PIN(lq_header, epoch_ns, 40);
    PIN(lq_header, sizes, 48);
    PIN(lq_header, phase, 128);
    PIN(lq_header, workers, 132);
    PIN(lq_header, tallies, 136);
    PIN(lq_header, look_ns, 160);
    CHECK_EQ(sizeof(struct lq_trace), 16);
    PIN(lq_header, trace.until_ns, 168);
    PIN(lq_header, trace.since_ns, 176);
    PIN(lq_header, slots_fresh, 192);
    PIN(lq_header, arena_used, 256);
    PIN(lq_header, functions_used, 264);
    PIN(lq_header, note_calls, 272);
    PIN(lq_header, bell, 320);
}

static void layout_of_bell_and_roster_is_pinned(void)
{
    CHECK_EQ(sizeof(struct lq_bell), 192);
    PIN(lq_bell, count, 0);
    PIN(lq_bell, parked, 64);
    PIN(lq_bell, spinning, 96);
    PIN(lq_bell, brisk_until_ns, 128);
    CHECK_EQ(sizeof(struct lq_tracks), 64);
    PIN(lq_tracks, task, 8);
    PIN(lq_tracks, task_since_ns, 16);
    PIN(lq_tracks, journal_end, 24);
    PIN(lq_tracks, trace_end, 32);
    PIN(lq_tracks, trace_first, 40);
    PIN(lq_tracks, trace_since_ns, 48);
    PIN(lq_tracks, metered, 56);
    CHECK_EQ(sizeof(struct lq_row), 512);
    PIN(lq_row, word, 0);
    PIN(lq_row, ready, 8);
    PIN(lq_row, pins_end, 12);
    PIN(lq_row, joined_ns, 16);
    PIN(lq_row, origin, 24);
    PIN(lq_row, bell, 64);
    PIN(lq_row, wanted, 256);
    PIN(lq_row, missed, 260);
    PIN(lq_row, lost, 264);
    PIN(lq_row, tracks, 320);
    PIN(lq_row, base, 384);
    CHECK_EQ(LQ_ROW_SUMS, LQ_SUMS);
}

static void layout_of_the_report_is_pinned(void)
{
    CHECK_EQ(LQ_REPORTS, 64);
    CHECK_EQ(sizeof(struct lq_report), 4096);
    PIN(lq_report, word, 0);
    PIN(lq_report, pid, 8);
    PIN(lq_report, wait_status, 12);
    PIN(lq_report, peak_bytes, 16);
    PIN(lq_report, reason, 24);
    PIN(lq_report, text_bytes, 32);
    PIN(lq_report, text, 40);
    CHECK_EQ(lq_verdict(1, LQ_OUTCOME_CRASHED, lq_cause(9, 5)), 1ull << 32 | 5u << 24 | 4u << 16 | 9u);
}

static void layout_of_the_slot_is_pinned(void)
{
    CHECK_EQ(sizeof(struct lq_slot), 256);
    PIN(lq_slot, word, 0);
    PIN(lq_slot, verdict, 8);
    PIN(lq_slot, task_generation, 16);
    PIN(lq_slot, function, 20);
    PIN(lq_slot, function_generation, 24);
    PIN(lq_slot, args_block, 28);
    PIN(lq_slot, args_bytes, 32);
    PIN(lq_slot, result_block, 36);
    PIN(lq_slot, result_bytes, 40);
    PIN(lq_slot, client, 44);
    PIN(lq_slot, kind, 48);
    PIN(lq_slot, args_format, 49);
    PIN(lq_slot, queue, 50);
    PIN(lq_slot, priority, 51);
    PIN(lq_slot, outcome, 52);
    PIN(lq_slot, result_format, 53);
    PIN(lq_slot, max_retries, 54);
    PIN(lq_slot, max_crashes, 55);
    PIN(lq_slot, attempt, 56);
    PIN(lq_slot, items_begun, 60);
    PIN(lq_slot, submit_ns, 64);
    PIN(lq_slot, start_ns, 72);
    PIN(lq_slot, done_ns, 80);
    PIN(lq_slot, worker_pid, 88);
    PIN(lq_slot, stop, 92);
    PIN(lq_slot, limit_ms, 96);
    PIN(lq_slot, expires_ms, 100);
    PIN(lq_slot, due_ms, 104);
    PIN(lq_slot, watch, 108);
    PIN(lq_slot, args, 112);
    PIN(lq_slot, result, 184);
}

static void layout_of_arena_and_functions_is_pinned(void)
{
    CHECK_EQ(sizeof(struct lq_block), 16);
    PIN(lq_block, word, 0);
    PIN(lq_block, backref, 8);
    CHECK_EQ(sizeof(struct lq_span), 32);
    PIN(lq_span, word, 0);
    PIN(lq_span, backref, 8);
    PIN(lq_span, run, 16);
    PIN(lq_span, freed, 24);
    PIN(lq_span, cut, 28);
    CHECK_EQ(sizeof(struct lq_function), 256);
    PIN(lq_function, word, 0);
    PIN(lq_function, kind, 8);
    PIN(lq_function, bytes, 12);
    PIN(lq_function, block, 16);
    PIN(lq_function, name_bytes, 20);
    PIN(lq_function, inline_bytes, 24);
    PIN(lq_function, name, 128);
    CHECK_EQ(LQ_FUNCTION_NAME, LQ_NAME_BYTES);
}

static void layout_of_what_is_told_is_pinned(void)
{
    CHECK_EQ(sizeof(struct lq_meter), 50048);
    PIN(lq_meter, sums, 0);
    PIN(lq_meter, functions, 72);
    PIN(lq_meter, wait, 128);
    PIN(lq_meter, run, 128 + 8 * 142);
    PIN(lq_meter, calls, 2432);
    CHECK_EQ(sizeof(struct lq_calls), 744);
    PIN(lq_calls, sums, 0);
    PIN(lq_calls, name_bytes, 56);
    PIN(lq_calls, run, 64);
    PIN(lq_calls, name, 640);
    CHECK_EQ(LQ_METER_FUNCTIONS, 64);
    CHECK_EQ(LQ_SUM_WAIT_NS, 8);
    CHECK_EQ(LQ_CALLS_MOST_NS, 6);
    CHECK_EQ(sizeof(struct lq_event), 256);
    CHECK_EQ(LQ_EVENTS, 32);
    CHECK_EQ(LQ_EVENT_RESTART, 7);
    PIN(lq_event, seq, 0);
    PIN(lq_event, at_ns, 8);
    PIN(lq_event, kind, 16);
    PIN(lq_event, pid, 20);
    PIN(lq_event, slot, 24);
    PIN(lq_event, task_generation, 28);
    PIN(lq_event, text_bytes, 32);
    PIN(lq_event, text, 40);
    CHECK_EQ(sizeof(struct lq_note), 256);
    PIN(lq_note, seq, 0);
    PIN(lq_note, calls, 4);
    PIN(lq_note, task_generation, 8);
    PIN(lq_note, message_bytes, 12);
    PIN(lq_note, progress, 16);
    PIN(lq_note, taken_ns, 24);
    PIN(lq_note, taken_generation, 32);
    PIN(lq_note, message, 40);
    CHECK_EQ(sizeof(struct lq_past), 24);
    PIN(lq_past, gone, 0);
    PIN(lq_past, ended_ns, 8);
    PIN(lq_past, used_ns, 16);
    CHECK_EQ(sizeof(struct lq_record), 96);
    CHECK_EQ(LQ_RECORDS, 1024);
    PIN(lq_record, slot, 8);
    PIN(lq_record, function, 16);
    PIN(lq_record, pid, 24);
    PIN(lq_record, items, 32);
    PIN(lq_record, kind, 44);
    PIN(lq_record, submit_ns, 48);
    PIN(lq_record, received_ns, 88);
}

static void layout_of_the_pin_is_pinned(void)
{
    CHECK_EQ(sizeof(struct lq_pin), 16);
    PIN(lq_pin, what, 0);
    PIN(lq_pin, tie, 8);
    CHECK_EQ(lq_pin_what(lq_label_of(7, 0xabc), 0x80012345u, 0x3fffff), 0xabcfffff80012345ull);
    CHECK_EQ(lq_pin_tie(4, 9), 5ull << 32 | 9);
    CHECK_EQ(LQ_PIN_LIFTED, 1u << 30);
    CHECK((LQ_MAX_SPANS << LQ_BLOCKS_ORDER) <= LQ_PIN_LIFTED); /* no block has a number that large */
}

static void layout_of_the_ring_and_its_cell_is_pinned(void)
{
    unsigned char *memory = shared_memory(lq_ring_size(5));
    struct lq_ring ring;
    lq_ring_view(&ring, memory, 5);
    lq_ring_init(&ring);
    CHECK_EQ((unsigned char *)ring.head - memory, 0);
    CHECK_EQ((unsigned char *)ring.tail - memory, 128);
    CHECK_EQ((unsigned char *)ring.cells - memory, 256);
    CHECK_EQ(lq_ring_size(5), 256 + 8 * 32);
    CHECK_EQ(lq_load(ring.head), 32);
    lq_ring_push(&ring, 0xabcde, 0x112345);
    CHECK_EQ(lq_load(&ring.cells[0]), 0x112345abcdeull); /* cycle 24, generation 20, index 20 */
}

static void layout_of_word_states_is_pinned(void)
{
    CHECK_EQ(lq_word(1, 2, 3, 4), 3ull << 32 | 2 << 8 | 4 << 4 | 1);
    CHECK_EQ(LQ_SLOT_FREE, 8);
    CHECK_EQ(LQ_SLOT_CANCELLED, 7);
    CHECK_EQ(LQ_SLOT_CACHED, 6);
    CHECK_EQ(LQ_SLOT_DONE, 5);
    CHECK_EQ(LQ_SLOT_QUEUED, 2);
    CHECK_EQ(LQ_SPAN_TAIL, 5);
    CHECK_EQ(LQ_BLOCK_HELD, 2);
    CHECK_EQ(LQ_BLOCK_PINNED, 6);
    CHECK_EQ(LQ_BLOCK_DYING, 7);
    CHECK_EQ(LQ_HOLDER_KEPT, 4);
    CHECK_EQ(LQ_FUNCTION_LIVE, 2);
    CHECK_EQ(LQ_ROW_DEAD, 2);
    CHECK_EQ(LQ_OUTCOME_CRASHED, 4);
    CHECK_EQ(LQ_PHASE_BROKEN, 3);
    CHECK_EQ(LQ_ROLE_WORKER, 3);
}

static void layout_sizes_of_a_small_space_are_pinned(void)
{
    struct lq_space space;
    struct lq_sizes sizes = {.capacity = 100, .result_cache = 28, .queues = 2, .cpus = 2, .memory = 5u << 20};
    CHECK_EQ(lq_space_create(&space, &sizes, 1), LQ_OK);
    CHECK_EQ(space.header->slots, 128);
    CHECK_EQ(space.header->ring_order, 8);
    CHECK_EQ(space.header->spans, 6);
    CHECK_EQ((unsigned char *)space.roster.rows - space.control.base, 4096);
    CHECK_EQ((unsigned char *)space.functions.rows - space.control.base, 4096 + 131072 + 262144);
    CHECK_EQ((unsigned char *)space.rings[0][0].head - space.control.base, 1445888);
    CHECK_EQ((unsigned char *)space.completions[0].head - space.control.base, 1445888 + 8 * 4096);
    CHECK_EQ((unsigned char *)space.slots.slots - space.control.base, 1445888 + 264 * 4096);
    size_t at = 1445888 + 264 * 4096 + 32768;
    CHECK_EQ((unsigned char *)space.arena.pins.pins - space.control.base, at);
    at += 8u << 20;
    CHECK_EQ((unsigned char *)space.arena.spans - space.control.base, at);
    CHECK_EQ((unsigned char *)space.arena.stocks - space.control.base, at + 4096);
    CHECK_EQ((unsigned char *)space.arena.blocks - space.control.base, at + 2 * 4096);
    at += 2 * 4096 + 6 * 32768;
    CHECK_EQ((unsigned char *)space.meters - space.control.base, at);
    at += 256 * 50048;
    CHECK_EQ((unsigned char *)space.journals.events - space.control.base, at);
    at += 256 * 32 * 256;
    CHECK_EQ((unsigned char *)space.notes.notes - space.control.base, at);
    at += 128 * 256;
    CHECK_EQ((unsigned char *)space.pasts - space.control.base, at);
    at += 4096;
    CHECK_EQ((unsigned char *)space.traces.records - space.control.base, at);
    CHECK_EQ(space.control.bytes, at + 256 * 1024 * 96);
    CHECK_EQ(space.payload.bytes, 6u << 20);
}

const struct lq_case layout_cases[] = {
    RUN(layout_version_5_is_what_it_was),
    RUN(layout_of_the_header_is_pinned),
    RUN(layout_of_bell_and_roster_is_pinned),
    RUN(layout_of_the_report_is_pinned),
    RUN(layout_of_the_slot_is_pinned),
    RUN(layout_of_arena_and_functions_is_pinned),
    RUN(layout_of_what_is_told_is_pinned),
    RUN(layout_of_the_pin_is_pinned),
    RUN(layout_of_the_ring_and_its_cell_is_pinned),
    RUN(layout_of_word_states_is_pinned),
    RUN(layout_sizes_of_a_small_space_are_pinned),
    END_OF_CASES,
};

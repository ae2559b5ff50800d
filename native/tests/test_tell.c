/* SPDX-License-Identifier: MIT */
/* What processes tell: meters, events, notes, records; who is woken for it; and what is torn is not believed. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "../lq_text.h"
#include "flow.h"

static struct ledger ledger_;

struct stage_ {
    struct lq_space space;
    struct lq_client client;
    struct lq_worker worker;
    lq_label supervisor;
};

static void set_(struct stage_ *stage, uint32_t cache)
{
    memset(&ledger_, 0, sizeof ledger_);
    flow_make(&stage->space, 12, cache, 8);
    flow_init_client(&stage->client, &stage->space, flow_join(&stage->space, LQ_ROLE_CLIENT));
    lq_worker_init(&stage->worker, &stage->space, flow_join(&stage->space, LQ_ROLE_WORKER), 55);
    stage->supervisor = flow_join(&stage->space, LQ_ROLE_SUPERVISOR);
}

static uint32_t send_(struct stage_ *stage, uint32_t tag, uint8_t max_crashes)
{
    uint32_t index;
    struct flow_task task = {.tag = tag, .args_bytes = 8, .result_bytes = 8, .max_crashes = max_crashes};
    CHECK_EQ(flow_submit(&stage->client, task, &index), LQ_OK);
    return index;
}

static uint32_t task_of_(const struct stage_ *stage, uint32_t index)
{
    return lq_space_slot(&stage->space, index)->task_generation;
}

static uint32_t start_(struct stage_ *stage, uint32_t tag, uint8_t max_crashes)
{
    uint32_t index;
    send_(stage, tag, max_crashes);
    CHECK_EQ(lq_worker_take_now(&stage->worker, &index), LQ_OK);
    lq_worker_start(&stage->worker, index, 0);
    return index;
}

static void end_(struct stage_ *stage, uint32_t index, enum lq_outcome outcome)
{
    lq_worker_finish(&stage->worker, index, outcome, 0, flow_call(&stage->worker, &ledger_, index));
}

static uint64_t sum_of_(const struct stage_ *stage, enum lq_sum sum)
{
    struct lq_meter_reading reading;
    lq_space_meters(&stage->space, &reading);
    return reading.sums[sum];
}

/* ------------------------------------------------------------------------------------------------------------- texts */

static void tell_text_is_cut_where_a_character_ends(void)
{
    const char *text = "a\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80"; /* of 1, 2, 3 and 4 bytes */
    static const uint32_t kept[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10};
    for (uint32_t most = 0; most <= 10; most++)
        CHECK_EQ(lq_text_fit(text, 10, most), kept[most]);
    CHECK_EQ(lq_text_fit(text, 10, 200), 10);
    CHECK_EQ(lq_text_fit("\x80\x80\x80", 3, 2), 0); /* no character at all */
}

/* ------------------------------------------------------------------------------------------------------------ meters */

static void check_buckets_(uint32_t octave, uint32_t buckets)
{
    CHECK_EQ(lq_bucket(0, octave, buckets), 0);
    CHECK_EQ(lq_bucket(UINT64_MAX, octave, buckets), buckets - 1);
    CHECK_EQ(lq_bucket_bound(buckets - 1, octave, buckets), UINT64_MAX);
    for (uint32_t bucket = 0; bucket + 1 < buckets; bucket++) {
        uint64_t bound = lq_bucket_bound(bucket, octave, buckets);
        CHECK_EQ(lq_bucket(bound - 1, octave, buckets), bucket);
        CHECK_EQ(lq_bucket(bound, octave, buckets), bucket + 1);
        CHECK(bucket == 0 || bound - lq_bucket_bound(bucket - 1, octave, buckets) <= bound / octave);
    }
    CHECK(lq_bucket_bound(buckets - 2, octave, buckets) > 4ull * 3600 * 1000000000);
}

static void tell_bucket_of_a_duration_is_the_one_whose_bounds_enclose_it(void)
{
    check_buckets_(4, LQ_BUCKETS);
    check_buckets_(2, LQ_CALLS_BUCKETS);
}

static void tell_meter_tells_functions_apart_by_name_until_its_table_is_full(void)
{
    struct lq_meter *meter = shared_memory(sizeof *meter);
    uint64_t sums[LQ_CALLS_SUMS];
    uint64_t run[LQ_CALLS_BUCKETS];
    char name[LQ_NAME_BYTES + 1];
    char longest[130];
    memset(longest, 'x', sizeof longest);
    uint32_t first = lq_meter_function(meter, "a:f", 3);
    CHECK_EQ(first, 1);
    CHECK_EQ(lq_meter_function(meter, "a:f2", 4), 2);
    CHECK_EQ(lq_meter_function(meter, "a:f", 3), first);
    CHECK_EQ(lq_meter_function(meter, "", 0), 0);
    CHECK_EQ(lq_meter_function(meter, longest, sizeof longest), 3);
    CHECK_EQ(lq_meter_function(meter, longest, 100), 3);
    for (uint32_t i = 4; i < LQ_METER_FUNCTIONS; i++) {
        int length = snprintf(name, sizeof name, "g%u", i);
        CHECK_EQ(lq_meter_function(meter, name, (uint32_t)length), i);
    }
    CHECK_EQ(lq_meter_function(meter, "one more", 8), 0);
    CHECK_EQ(lq_meter_function(meter, "a:f2", 4), 2);

    lq_meter_ran(meter, &meter->calls[2], 5000);
    lq_meter_ran(meter, &meter->calls[2], 3000);
    CHECK(lq_meter_read_calls(meter, 2, sums, run, name));
    CHECK(strcmp(name, "a:f2") == 0);
    CHECK(sums[LQ_CALLS_RUN_NS] == 8000 && sums[LQ_CALLS_MOST_NS] == 5000);
    CHECK_EQ(run[lq_bucket(5000, 2, LQ_CALLS_BUCKETS)], 1);
    CHECK(lq_meter_read_calls(meter, 0, sums, run, name) && name[0] == 0);
    CHECK(!lq_meter_read_calls(meter, LQ_METER_FUNCTIONS, sums, run, name));
}

static void tell_name_that_was_never_counted_is_written_anew(void)
{
    struct lq_meter *meter = shared_memory(sizeof *meter);
    uint64_t sums[LQ_CALLS_SUMS];
    uint64_t run[LQ_CALLS_BUCKETS];
    char name[LQ_NAME_BYTES + 1];
    memset(meter->calls[1].name, 'z', 60); /* whose writer died there */
    meter->calls[1].name_bytes = 60;
    CHECK(!lq_meter_read_calls(meter, 1, sums, run, name));
    CHECK_EQ(lq_meter_function(meter, "next", 4), 1);
    CHECK(lq_meter_read_calls(meter, 1, sums, run, name) && strcmp(name, "next") == 0);
}

static void tell_meters_count_how_every_task_ended(void)
{
    struct stage_ stage;
    struct lq_row_reading row;
    uint32_t index;
    struct lq_meter_reading reading;
    set_(&stage, 4);
    end_(&stage, start_(&stage, 1, 0), LQ_OUTCOME_SUCCESS);
    end_(&stage, start_(&stage, 2, 0), LQ_OUTCOME_FAILURE);
    index = start_(&stage, 3, 0);
    lq_worker_count_retry(&stage.worker, index);
    lq_worker_requeue(&stage.worker, index, 0);
    CHECK_EQ(lq_worker_take_now(&stage.worker, &index), LQ_OK);
    lq_worker_start(&stage.worker, index, 0);
    end_(&stage, index, LQ_OUTCOME_SUCCESS);
    index = send_(&stage, 4, 0);
    CHECK_EQ(lq_client_cancel(&stage.client, index, task_of_(&stage, index)), LQ_OK);
    flow_drain(&stage.worker, &ledger_);
    index = start_(&stage, 5, 0);
    lq_worker_count_items(&stage.worker, index, 9);
    CHECK_EQ(lq_client_stop(&stage.client, index, task_of_(&stage, index)), LQ_OK);
    end_(&stage, index, LQ_OUTCOME_SUCCESS); /* it is told that it was cancelled */

    lq_space_meters(&stage.space, &reading);
    CHECK_EQ(reading.sums[LQ_SUM_SUCCEEDED], 2);
    CHECK_EQ(reading.sums[LQ_SUM_FAILED], 1);
    CHECK_EQ(reading.sums[LQ_SUM_RETRIED], 1);
    CHECK_EQ(reading.sums[LQ_SUM_CANCELLED], 2);
    CHECK_EQ(reading.sums[LQ_SUM_ITEMS], 9);
    CHECK_EQ(reading.sums[LQ_SUM_BYTES_IN], 4 * lq_space_slot(&stage.space, index)->args_bytes);
    uint64_t waits = 0;
    uint64_t runs = 0;
    for (uint32_t i = 0; i < LQ_BUCKETS; i++) {
        waits += reading.wait[i];
        runs += reading.run[i];
    }
    CHECK_EQ(waits, 4); /* once a task that began */
    CHECK_EQ(runs, 5);  /* once a run */
    lq_space_row(&stage.space, lq_label_row(stage.worker.me), &row);
    CHECK(row.sums[LQ_SUM_SUCCEEDED] == 2 && row.sums[LQ_SUM_CANCELLED] == 2 && row.sums[LQ_SUM_RUN_NS] == reading.sums[LQ_SUM_RUN_NS]);
}

static void tell_sums_stay_when_a_row_is_taken_anew_and_its_process_begins_with_nothing(void)
{
    struct stage_ stage;
    struct lq_row_reading row;
    set_(&stage, 4);
    for (uint32_t round = 1; round <= 3; round++) {
        for (uint32_t i = 0; i < round; i++) {
            end_(&stage, start_(&stage, 10 * round + i, 0), LQ_OUTCOME_SUCCESS);
            flow_reap(&stage.client, &ledger_);
        }
        lq_space_row(&stage.space, lq_label_row(stage.worker.me), &row);
        CHECK_EQ(row.sums[LQ_SUM_SUCCEEDED], round);
        uint32_t index = lq_label_row(stage.worker.me);
        lq_worker_end(&stage.worker);
        flow_bury(&stage.space, stage.worker.me, 0);
        lq_worker_init(&stage.worker, &stage.space, flow_join(&stage.space, LQ_ROLE_WORKER), 55 + round);
        CHECK_EQ(lq_label_row(stage.worker.me), index);
        lq_space_row(&stage.space, index, &row);
        CHECK_EQ(row.sums[LQ_SUM_SUCCEEDED], 0);
        CHECK_EQ(sum_of_(&stage, LQ_SUM_SUCCEEDED), round * (round + 1) / 2);
    }
}

static void tell_who_recovers_counts_and_tells_what_the_dead_could_not(void)
{
    struct stage_ stage;
    struct lq_event event;
    struct lq_recovered recovered;
    set_(&stage, 4);
    uint32_t ended = start_(&stage, 1, 0);
    uint32_t again = start_(&stage, 2, 1);
    uint32_t tasks[] = {task_of_(&stage, ended), task_of_(&stage, again)};
    CHECK_EQ(lq_space_watch(&stage.space, ended, tasks[0]), LQ_OK);
    lq_space_bury(&stage.space, stage.worker.me);
    lq_space_recover(&stage.space, stage.worker.me, stage.supervisor, lq_cause(11, 0), &recovered);

    CHECK_EQ(sum_of_(&stage, LQ_SUM_FAILED), 1);
    CHECK_EQ(sum_of_(&stage, LQ_SUM_RETRIED), 1);
    uint32_t row = lq_label_row(stage.supervisor);
    CHECK_EQ(lq_journals_end(&stage.space.journals, row), 2);
    for (uint32_t i = 0; i < 2; i++) {
        CHECK_EQ(lq_journals_read(&stage.space.journals, row, i, &event), LQ_OK);
        CHECK_EQ(event.kind, LQ_EVENT_CRASH);
        CHECK_EQ(event.pid, lq_row_pid(lq_roster_row(&stage.space.roster, stage.worker.me)));
        bool is_first = event.slot == ended;
        CHECK_EQ(event.task_generation, tasks[is_first ? 0 : 1]);
        CHECK(memmem(event.text, event.text_bytes, "signal 11 (SIGSEGV)", 19) != NULL);
        CHECK((memmem(event.text, event.text_bytes, "runs again", 10) == NULL) == is_first);
    }
    CHECK_EQ(lq_load32(&stage.space.notes.notes[ended].calls), 1); /* who watched it was woken */
    CHECK_EQ(lq_load32(&stage.space.notes.notes[again].calls), 0);
}

/* ----------------------------------------------------------------------------------------------------------- journal */

static void tell_journal_keeps_the_last_events_of_each_row(void)
{
    struct stage_ stage;
    struct lq_event event;
    char text[16];
    set_(&stage, 4);
    uint32_t row = lq_label_row(stage.worker.me);
    for (uint32_t i = 0; i < 100; i++) {
        snprintf(text, sizeof text, "line %u", i);
        lq_worker_tell(&stage.worker, LQ_EVENT_LOG, 7, i + 1, text);
    }
    CHECK_EQ(lq_journals_end(&stage.space.journals, row), 100);
    CHECK_EQ(lq_journals_end(&stage.space.journals, row + 1), 0);
    for (uint64_t i = 0; i < 102; i++) {
        bool is_kept = i >= 100 - LQ_EVENTS && i < 100;
        CHECK_EQ(lq_journals_read(&stage.space.journals, row, i, &event), is_kept ? LQ_OK : LQ_MISSING);
        snprintf(text, sizeof text, "line %u", (unsigned)i);
        CHECK(!is_kept || (event.task_generation == i + 1 && event.text_bytes == strlen(text) && memcmp(event.text, text, strlen(text)) == 0));
    }
}

static void tell_event_of_one_who_died_in_the_midst_is_not_believed_and_its_number_not_given_again(void)
{
    struct stage_ stage;
    struct lq_event event;
    set_(&stage, 4);
    uint32_t row = lq_label_row(stage.worker.me);
    lq_a64 *end = &stage.space.roster.rows[row].tracks.journal_end;
    lq_worker_tell(&stage.worker, LQ_EVENT_LOG, 1, 1, "before");
    lq_store(end, 2); /* claimed, and no more */
    lq_worker_tell(&stage.worker, LQ_EVENT_LOG, 1, 1, "between");
    lq_store(end, 4);
    lq_store(&stage.space.journals.events[row * LQ_EVENTS + 3].seq, 7); /* begun */
    lq_worker_tell(&stage.worker, LQ_EVENT_LOG, 1, 1, "after");
    static const enum lq_status expected[] = {LQ_OK, LQ_MISSING, LQ_OK, LQ_MISSING, LQ_OK, LQ_MISSING};
    for (uint64_t i = 0; i < 6; i++)
        CHECK_EQ(lq_journals_read(&stage.space.journals, row, i, &event), expected[i]);
}

static void die_while_telling_(void *given)
{
    struct stage_ *stage = given;
    lq_fault_arm("journals_tell:begun", 0, LQ_FAULT_KILL);
    lq_worker_tell(&stage->worker, LQ_EVENT_LOG, 1, 1, "never");
}

static void tell_number_of_an_event_is_given_once_whoever_died_with_it(void)
{
    struct stage_ stage;
    struct lq_event event;
    set_(&stage, 4);
    uint32_t row = lq_label_row(stage.worker.me);
    CHECK_EQ(wait_for(in_child(die_while_telling_, &stage), false), 9);
    lq_worker_tell(&stage.worker, LQ_EVENT_LOG, 1, 1, "now");
    CHECK_EQ(lq_journals_end(&stage.space.journals, row), 2);
    CHECK_EQ(lq_journals_read(&stage.space.journals, row, 0, &event), LQ_MISSING);
    CHECK_EQ(lq_journals_read(&stage.space.journals, row, 1, &event), LQ_OK);
}

static void die_over_an_event_(void *given)
{
    struct stage_ *stage = given;
    lq_fault_arm("journals_tell:filled", 0, LQ_FAULT_KILL);
    lq_worker_tell(&stage->worker, LQ_EVENT_LOG, 1, 1, "never");
}

static void tell_event_that_the_dead_had_begun_to_replace_is_not_believed(void)
{
    struct stage_ stage;
    struct lq_event event;
    set_(&stage, 4);
    uint32_t row = lq_label_row(stage.worker.me);
    for (uint32_t i = 0; i < LQ_EVENTS; i++)
        lq_worker_tell(&stage.worker, LQ_EVENT_LOG, 1, 1, "before");
    CHECK_EQ(lq_journals_read(&stage.space.journals, row, 0, &event), LQ_OK);
    CHECK_EQ(wait_for(in_child(die_over_an_event_, &stage), false), 9);
    CHECK_EQ(lq_journals_read(&stage.space.journals, row, 0, &event), LQ_MISSING); /* half of it is the other one's */
    CHECK_EQ(lq_journals_read(&stage.space.journals, row, 1, &event), LQ_OK);
}

static void die_while_recording_(void *given)
{
    struct stage_ *stage = given;
    struct lq_record record = {.slot = 1};
    lq_fault_arm("traces_record:begun", 0, LQ_FAULT_KILL);
    lq_traces_record(&stage->space.traces, stage->worker.me, &record);
}

static void tell_number_of_a_record_is_given_once_whoever_died_with_it(void)
{
    struct stage_ stage;
    struct lq_record record = {.slot = 2};
    uint64_t place = 0;
    uint64_t lost = 0;
    set_(&stage, 4);
    uint32_t row = lq_label_row(stage.worker.me);
    lq_traces_until(&stage.space.traces, UINT64_MAX, lq_now_ns());
    CHECK_EQ(wait_for(in_child(die_while_recording_, &stage), false), 9);
    lq_traces_record(&stage.space.traces, stage.worker.me, &record);
    record.slot = 0;
    CHECK_EQ(lq_traces_next(&stage.space.traces, row, &place, &record, &lost), LQ_OK);
    CHECK(record.slot == 2 && lost == 1 && place == 2);
}

/* What one process writes and another reads: of one letter each, from beginning to end. */
#define SLOWER (LQ_ASAN || LQ_TSAN ? 8u : 1u)
#define ROUNDS (4000000u / SLOWER)
#define EVENT_ROUNDS (400000u / SLOWER) /* each looks at the clock */

static uint32_t written_; /* by this process, of what it writes */

static void write_event_(struct stage_ *stage)
{
    char text[LQ_EVENT_TEXT + 1] = {0};
    uint32_t i = written_++;
    memset(text, 'a' + (int)(i % 26), LQ_EVENT_TEXT);
    lq_worker_tell(&stage->worker, LQ_EVENT_LOG, i, i + 1, text);
}

static void write_note_(struct stage_ *stage)
{
    char text[LQ_MESSAGE_BYTES];
    uint32_t i = written_++;
    memset(text, 'a' + (int)(i % 26), sizeof text);
    lq_note_write(&stage->space.notes.notes[3], 9, 'a' + i % 26, text, sizeof text);
}

static void write_record_(struct stage_ *stage)
{
    uint32_t i = ++written_;
    struct lq_record record = {.slot = i, .task_generation = i, .submit_ns = i, .sent_ns = i, .received_ns = i};
    lq_traces_record(&stage->space.traces, stage->worker.me, &record);
}

static void write_events_(struct stage_ *stage)
{
    for (uint32_t i = 0; i < EVENT_ROUNDS; i++)
        write_event_(stage);
}

static void write_notes_(struct stage_ *stage)
{
    for (uint32_t i = 0; i < ROUNDS; i++)
        write_note_(stage);
}

static void write_records_(struct stage_ *stage)
{
    for (uint32_t i = 0; i < ROUNDS; i++)
        write_record_(stage);
}

static bool is_of_one_letter_(const unsigned char *text, uint32_t bytes)
{
    for (uint32_t i = 1; i < bytes; i++)
        if (text[i] != text[0])
            return false;
    return true;
}

static uint64_t read_events_(struct stage_ *stage)
{
    struct lq_event event;
    uint64_t found = 0;
    uint32_t row = lq_label_row(stage->worker.me);
    uint64_t end = lq_journals_end(&stage->space.journals, row);
    for (uint64_t i = end > LQ_EVENTS ? end - LQ_EVENTS : 0; i < end; i++) {
        if (lq_journals_read(&stage->space.journals, row, i, &event) != LQ_OK)
            continue;
        CHECK(event.slot == i && event.task_generation == i + 1 && event.text_bytes == LQ_EVENT_TEXT);
        CHECK(event.text[0] == 'a' + i % 26 && is_of_one_letter_(event.text, LQ_EVENT_TEXT));
        found++;
    }
    return found;
}

static uint64_t read_notes_(struct stage_ *stage)
{
    struct lq_note note;
    uint32_t seq;
    if (lq_note_read(&stage->space.notes.notes[3], 9, &note, &seq) != LQ_OK)
        return 0;
    CHECK(seq % 2 == 0 && note.message_bytes == LQ_MESSAGE_BYTES && note.progress == note.message[0]);
    CHECK(is_of_one_letter_(note.message, LQ_MESSAGE_BYTES));
    return 1;
}

static uint64_t places_[LQ_ROWS];
static uint64_t lost_;

static uint64_t read_records_(struct stage_ *stage)
{
    struct lq_record record;
    uint64_t found = 0;
    uint32_t row = lq_label_row(stage->worker.me);
    while (found < LQ_RECORDS && lq_traces_next(&stage->space.traces, row, &places_[row], &record, &lost_) == LQ_OK) {
        CHECK(record.slot == places_[row] && record.task_generation == record.slot);
        CHECK(record.submit_ns == record.slot && record.sent_ns == record.slot && record.received_ns == record.slot);
        found++;
    }
    return found;
}

struct writing_ {
    struct stage_ stage;
    void (*write)(struct stage_ *stage);
    lq_a32 *done;
};

static void write_out_(void *given)
{
    struct writing_ *writing = given;
    writing->write(&writing->stage);
    lq_store32(writing->done, 1);
}

static uint64_t read_beside_(void (*write)(struct stage_ *stage), uint64_t (*read)(struct stage_ *stage))
{
    static struct writing_ writing;
    uint64_t found = 0;
    set_(&writing.stage, 4);
    lq_traces_until(&writing.stage.space.traces, UINT64_MAX, lq_now_ns());
    writing.write = write;
    writing.done = shared_memory(sizeof *writing.done);
    pid_t pid = in_child(write_out_, &writing);
    while (lq_load32(writing.done) == 0)
        found += read(&writing.stage);
    CHECK_EQ(wait_for(pid, false), 0);
    found += read(&writing.stage);
    CHECK(found != 0);
    return found;
}

static void tell_events_read_beside_their_writer_are_whole(void)
{
    printf("        %llu events read\n", (unsigned long long)read_beside_(write_events_, read_events_));
}

static void tell_notes_read_beside_their_writer_are_whole(void)
{
    printf("        %llu notes read\n", (unsigned long long)read_beside_(write_notes_, read_notes_));
}

static void tell_records_read_beside_their_writer_are_whole_and_none_is_missed_unsaid(void)
{
    memset(places_, 0, sizeof places_);
    lost_ = 0;
    uint64_t found = read_beside_(write_records_, read_records_);
    CHECK_EQ(found + lost_, ROUNDS);
    printf("        %llu records read, %llu too late\n", (unsigned long long)found, (unsigned long long)lost_);
}

/* The same where the writer's turn comes between two instructions of the reader: by chance on a busy machine, here always. */
static struct {
    struct stage_ stage;
    void (*write)(struct stage_ *stage);
    uint32_t times; /* so often that whatever is being read is written over */
    timer_t timer;
    atomic_uint count;
} interruption_;

/* Once, so that the reader has its turn however long the writer's took. */
static void set_timer_(void)
{
    struct itimerspec soon = {.it_value = {0, LQ_TSAN || LQ_ASAN ? 200000 : 50000}};
    CHECK(timer_settime(interruption_.timer, 0, &soon, NULL) == 0);
}

static void interrupt_(int number)
{
    for (uint32_t i = 0; i < interruption_.times; i++)
        interruption_.write(&interruption_.stage);
    atomic_fetch_add(&interruption_.count, 1);
    if (number != 0)
        set_timer_();
}

static void read_interrupted_(void (*write)(struct stage_ *stage), uint32_t times, uint64_t (*read)(struct stage_ *stage))
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct sigaction action = {.sa_handler = interrupt_};
    uint64_t found = 0;
    set_(&interruption_.stage, 4);
    lq_traces_until(&interruption_.stage.space.traces, UINT64_MAX, lq_now_ns());
    interruption_.write = write;
    interruption_.times = times;
    interrupt_(0); /* so that there is something */
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &interruption_.timer) == 0);
    set_timer_();
    while (atomic_load(&interruption_.count) < (LQ_TSAN || LQ_ASAN ? 1000u : 5000u) || found < 1000)
        found += read(&interruption_.stage);
    CHECK(timer_delete(interruption_.timer) == 0);
}

static void tell_events_read_between_any_two_instructions_are_whole(void)
{
    read_interrupted_(write_event_, LQ_EVENTS, read_events_);
}

static void tell_notes_read_between_any_two_instructions_are_whole(void)
{
    read_interrupted_(write_note_, 1, read_notes_);
}

static void tell_records_read_between_any_two_instructions_are_whole(void)
{
    read_interrupted_(write_record_, LQ_RECORDS, read_records_);
}

/* ------------------------------------------------------------------------------------------------------------- notes */

static void tell_note_is_that_of_its_task_alone(void)
{
    struct stage_ stage;
    struct lq_note note;
    uint32_t seq;
    set_(&stage, 0);
    uint32_t index = start_(&stage, 1, 0);
    uint32_t task = task_of_(&stage, index);
    CHECK_EQ(lq_space_read_note(&stage.space, index, task, &note, &seq), LQ_MISSING);
    CHECK(lq_space_note(&stage.space, stage.worker.me, index, task, 5, "five", 4));
    CHECK_EQ(lq_space_read_note(&stage.space, index, task, &note, &seq), LQ_OK);
    CHECK(note.progress == 5 && note.message_bytes == 4 && memcmp(note.message, "five", 4) == 0);
    CHECK_EQ(lq_space_read_note(&stage.space, index, task + 1, &note, &seq), LQ_MISSING);
    CHECK_EQ(lq_note_seq(&stage.space.notes.notes[index], task), seq);
    CHECK_EQ(lq_note_seq(&stage.space.notes.notes[index], task + 1), 0);
    CHECK(!lq_space_note(&stage.space, stage.supervisor, index, task, 6, NULL, 0)); /* not who runs it */
    CHECK(!lq_space_note(&stage.space, stage.worker.me, index, task + 1, 6, NULL, 0));
    end_(&stage, index, LQ_OUTCOME_SUCCESS);
    CHECK(!lq_space_note(&stage.space, stage.worker.me, index, task, 6, NULL, 0)); /* a thread that the task has left behind */
    flow_reap(&stage.client, &ledger_);
    uint32_t next = start_(&stage, 2, 0);
    CHECK_EQ(next, index);
    CHECK_EQ(lq_space_read_note(&stage.space, index, task_of_(&stage, index), &note, &seq), LQ_MISSING);
}

static void tell_note_of_one_who_died_in_the_midst_is_not_believed_and_the_next_one_is(void)
{
    struct lq_note *note = shared_memory(sizeof *note);
    struct lq_note copy;
    uint32_t seq;
    lq_note_write(note, 7, 1, "one", 3);
    lq_store32(&note->seq, 3); /* it began a second one */
    memset(note->message, 'x', 2);
    CHECK_EQ(lq_note_read(note, 7, &copy, &seq), LQ_MISSING);
    CHECK_EQ(lq_note_seq(note, 7), 0);
    lq_note_write(note, 7, 2, "three", 5);
    CHECK_EQ(lq_note_read(note, 7, &copy, &seq), LQ_OK);
    CHECK(seq == 6 && copy.progress == 2 && memcmp(copy.message, "three", 5) == 0);
}

static void die_over_a_note_(void *given)
{
    lq_fault_arm("note_write:filled", 0, LQ_FAULT_KILL);
    lq_note_write(given, 7, 2, "never", 5);
}

static void tell_note_that_the_dead_had_begun_to_replace_is_not_believed(void)
{
    struct lq_note *note = shared_memory(sizeof *note);
    struct lq_note copy;
    uint32_t seq;
    lq_note_write(note, 7, 1, "one", 3);
    CHECK_EQ(wait_for(in_child(die_over_a_note_, note), false), 9);
    CHECK_EQ(lq_note_read(note, 7, &copy, &seq), LQ_MISSING); /* half of it is the other one's */
}

/* How often who sleeps for a task was called, as that happened. */
static uint32_t calls_(const struct stage_ *stage, uint32_t index)
{
    return lq_load32(&stage->space.notes.notes[index].calls);
}

static void tell_who_watches_is_called_for_each_note_and_for_the_end_and_nobody_else_is(void)
{
    struct stage_ stage;
    set_(&stage, 4);
    for (int watched = 0; watched < 2; watched++) {
        uint32_t index = start_(&stage, 1 + (uint32_t)watched, 0);
        uint32_t task = task_of_(&stage, index);
        uint32_t before = calls_(&stage, index);
        uint32_t all = lq_space_note_calls(&stage.space);
        if (watched)
            CHECK_EQ(lq_space_watch(&stage.space, index, task), LQ_OK);
        lq_space_note(&stage.space, stage.worker.me, index, task, 0, NULL, 0);
        CHECK_EQ(calls_(&stage, index), before + (watched ? 1 : 0));
        CHECK_EQ(lq_space_note_calls(&stage.space), all + (watched ? 1 : 0));
        end_(&stage, index, LQ_OUTCOME_SUCCESS);
        CHECK_EQ(calls_(&stage, index), before + (watched ? 2 : 0));
        CHECK_EQ(lq_space_note_calls(&stage.space), all + (watched ? 2 : 0));
        CHECK_EQ(lq_space_watch(&stage.space, index, task), LQ_MISSING); /* too late */
        CHECK_EQ(lq_space_wait_note(&stage.space, index, task, 0, 0), LQ_OK);
    }
}

static void tell_who_sleeps_for_several_is_woken_by_any_and_by_the_phase(void)
{
    struct stage_ stage;
    set_(&stage, 4);
    uint32_t calls = lq_space_note_calls(&stage.space);
    CHECK_EQ(lq_space_wait_note_calls(&stage.space, calls, 1000000), LQ_TIMEOUT);
    lq_space_call_all(&stage.space);
    CHECK_EQ(lq_space_wait_note_calls(&stage.space, calls, 10000000000), LQ_OK);
    calls = lq_space_note_calls(&stage.space);
    lq_space_set_phase(&stage.space, LQ_PHASE_STOPPED);
    CHECK_EQ(lq_space_wait_note_calls(&stage.space, calls, 10000000000), LQ_OK);
}

static void tell_who_watches_is_called_whoever_ends_the_task(void)
{
    struct stage_ stage;
    uint32_t index;
    set_(&stage, 4);

    index = send_(&stage, 1, 0); /* cancelled before it began, and settled by a worker */
    CHECK_EQ(lq_space_watch(&stage.space, index, task_of_(&stage, index)), LQ_OK);
    CHECK_EQ(lq_space_wait_note(&stage.space, index, task_of_(&stage, index), 0, 1000), LQ_TIMEOUT);
    lq_client_cancel(&stage.client, index, task_of_(&stage, index));
    CHECK_EQ(calls_(&stage, index), 1);
    CHECK_EQ(lq_space_wait_note(&stage.space, index, task_of_(&stage, index), 0, 0), LQ_OK);
    flow_drain(&stage.worker, &ledger_);

    CHECK_EQ(lq_client_reserve(&stage.client, &index), LQ_OK); /* cancelled while it is delayed */
    struct lq_slot *slot = lq_space_slot(&stage.space, index);
    flow_describe(slot, (struct flow_task){.tag = 2, .args_bytes = 8, .result_bytes = 8});
    slot->due_ms = lq_space_at(&stage.space, lq_now_ns() + 60000000000);
    lq_client_submit(&stage.client, index);
    CHECK_EQ(lq_space_watch(&stage.space, index, task_of_(&stage, index)), LQ_OK);
    lq_client_cancel(&stage.client, index, task_of_(&stage, index));
    CHECK_EQ(calls_(&stage, index), 1);

    send_(&stage, 3, 0); /* dropped by its worker */
    CHECK_EQ(lq_worker_take_now(&stage.worker, &index), LQ_OK);
    CHECK_EQ(lq_space_watch(&stage.space, index, task_of_(&stage, index)), LQ_OK);
    lq_worker_drop(&stage.worker, index, LQ_OUTCOME_EXPIRED);
    CHECK_EQ(calls_(&stage, index), 1);

    index = start_(&stage, 4, 0); /* runs again: no end */
    CHECK_EQ(lq_space_watch(&stage.space, index, task_of_(&stage, index)), LQ_OK);
    lq_worker_requeue(&stage.worker, index, 0);
    CHECK_EQ(calls_(&stage, index), 0);
    CHECK_EQ(lq_space_wait_note(&stage.space, index, task_of_(&stage, index), 0, 1000), LQ_TIMEOUT);
    flow_drain(&stage.worker, &ledger_);
    CHECK_EQ(calls_(&stage, index), 1);
}

static void sleep_for_its_end_(void *given)
{
    struct stage_ *stage = given;
    struct lq_space seen; /* as a monitor: it can only read */
    CHECK_EQ(lq_space_open(&seen, dup(stage->space.control.fd), dup(stage->space.payload.fd), 0), LQ_OK);
    CHECK_EQ(lq_space_wait_note(&seen, 0, 1, 0, 60000000000), LQ_OK);
    CHECK_EQ(lq_space_wait_note(&seen, 0, 1, lq_note_seq(&seen.notes.notes[0], 1), 60000000000), LQ_OK);
    CHECK_EQ(lq_slot_state_of(lq_space_slot(&seen, 0)), LQ_SLOT_DONE);
}

static void tell_one_who_can_only_read_sleeps_until_a_note_and_until_the_end(void)
{
    struct stage_ stage;
    set_(&stage, 4);
    uint32_t index = start_(&stage, 1, 0);
    CHECK(index == 0 && task_of_(&stage, 0) == 1);
    CHECK_EQ(lq_space_watch(&stage.space, 0, 1), LQ_OK);
    pid_t pid = in_child(sleep_for_its_end_, &stage);
    usleep(20000); /* whether it sleeps already or not, it must come through */
    lq_space_note(&stage.space, stage.worker.me, 0, 1, 1, "on", 2);
    usleep(20000);
    end_(&stage, index, LQ_OUTCOME_SUCCESS);
    CHECK_EQ(wait_for(pid, false), 0);
}

static void tell_mark_of_one_who_watches_an_earlier_task_does_not_replace_that_of_this_one(void)
{
    struct stage_ stage;
    set_(&stage, 0);
    uint32_t index = start_(&stage, 1, 0);
    uint32_t old = task_of_(&stage, index);
    end_(&stage, index, LQ_OUTCOME_SUCCESS);
    flow_reap(&stage.client, &ledger_);
    CHECK_EQ(start_(&stage, 2, 0), index);
    CHECK_EQ(lq_space_watch(&stage.space, index, task_of_(&stage, index)), LQ_OK);
    CHECK_EQ(lq_space_watch(&stage.space, index, old), LQ_MISSING);
    CHECK(lq_slot_is_watched(lq_space_slot(&stage.space, index)));
}

/* ------------------------------------------------------------------------------------------------------------- trace */

static uint32_t trace_(struct stage_ *stage, uint32_t row, uint64_t *place, struct lq_record *records, uint32_t most, uint64_t *lost)
{
    uint32_t count = 0;
    while (count < most && lq_traces_next(&stage->space.traces, row, place, &records[count], lost) == LQ_OK)
        count++;
    return count;
}

static void tell_trace_has_a_record_of_each_task_as_long_as_it_is_wanted(void)
{
    struct stage_ stage;
    struct lq_record records[8];
    uint64_t place = 0;
    uint64_t clients_place = 0;
    uint64_t lost = 0;
    set_(&stage, 4);
    uint32_t row = lq_label_row(stage.worker.me);
    send_(&stage, 1, 0);
    flow_drain(&stage.worker, &ledger_); /* not wanted yet */
    CHECK_EQ(trace_(&stage, row, &place, records, 8, &lost), 0);
    lq_traces_until(&stage.space.traces, UINT64_MAX, lq_now_ns());
    uint32_t index = send_(&stage, 2, 0);
    flow_drain(&stage.worker, &ledger_);
    flow_reap(&stage.client, &ledger_);
    CHECK_EQ(trace_(&stage, row, &place, records, 8, &lost), 1);
    const struct lq_record *it = records;
    CHECK(it->slot == index && it->pid == 55 && it->attempt == 1 && it->outcome == LQ_OUTCOME_SUCCESS);
    CHECK(it->submit_ns != 0 && it->submit_ns <= it->taken_ns && it->taken_ns <= it->begun_ns && it->begun_ns <= it->ended_ns &&
          it->ended_ns <= it->sent_ns && it->received_ns == 0);
    CHECK_EQ(trace_(&stage, lq_label_row(stage.client.me), &clients_place, records, 8, &lost), 2);
    CHECK(records[1].slot == index && records[1].received_ns != 0 && records[1].sent_ns == 0);

    lq_traces_until(&stage.space.traces, 0, lq_now_ns());
    CHECK(!lq_traces_may_be_on(&stage.space.traces));
    send_(&stage, 3, 0);
    flow_drain(&stage.worker, &ledger_);
    CHECK_EQ(trace_(&stage, row, &place, records, 8, &lost), 0);

    lq_traces_until(&stage.space.traces, (uint64_t)lq_now_ns() + 1, lq_now_ns()); /* runs out at once, and is taken out by who sees it */
    send_(&stage, 4, 0);
    flow_drain(&stage.worker, &ledger_);
    CHECK(!lq_traces_may_be_on(&stage.space.traces));

    lq_traces_until(&stage.space.traces, UINT64_MAX, lq_now_ns()); /* whoever begins now is not told what was before */
    place = 0;
    CHECK_EQ(trace_(&stage, row, &place, records, 8, &lost), 0);
    send_(&stage, 5, 0);
    flow_drain(&stage.worker, &ledger_);
    CHECK_EQ(trace_(&stage, row, &place, records, 8, &lost), 1);
    CHECK_EQ(lost, 0);
}

static void tell_trace_says_how_many_records_came_and_went(void)
{
    struct stage_ stage;
    struct lq_record record = {.slot = 1};
    uint64_t place = 0;
    uint64_t lost = 0;
    uint32_t found = 0;
    set_(&stage, 4);
    uint32_t row = lq_label_row(stage.worker.me);
    lq_traces_until(&stage.space.traces, UINT64_MAX, lq_now_ns());
    for (uint32_t i = 0; i < LQ_RECORDS + 50; i++)
        lq_traces_record(&stage.space.traces, stage.worker.me, &record);
    lq_store(&stage.space.traces.records[row * LQ_RECORDS + 70].seq, 2 * 70 + 1); /* one whose writer died */
    while (lq_traces_next(&stage.space.traces, row, &place, &record, &lost) == LQ_OK)
        found++;
    CHECK_EQ(found, LQ_RECORDS - 1);
    CHECK_EQ(lost, 51);
    place = UINT64_MAX; /* nonsense */
    CHECK_EQ(lq_traces_next(&stage.space.traces, row, &place, &record, &lost), LQ_OK);
    CHECK_EQ(lost, 51 + 50);
}

/* -------------------------------------------------------------------------------------------- what is kept, how long */

static void age_(struct stage_ *stage, uint32_t index, uint64_t by_ns)
{
    struct lq_slot *slot = lq_space_slot(&stage->space, index);
    if (slot->done_ns != 0)
        LQ_PUT(slot->done_ns, slot->done_ns - by_ns);
    LQ_PUT(slot->submit_ns, slot->submit_ns - by_ns);
    lq_a64 *ended = &stage->space.pasts[index].ended_ns;
    if (lq_load(ended) != 0)
        lq_store(ended, lq_load(ended) - by_ns);
}

static void run_one_(struct stage_ *stage, uint32_t tag, uint32_t *index, uint32_t *task)
{
    *index = start_(stage, tag, 0);
    *task = task_of_(stage, *index);
    end_(stage, *index, LQ_OUTCOME_SUCCESS);
    flow_reap(&stage->client, &ledger_);
}

static void tell_a_result_that_is_gone_is_known_to_be_evicted_or_expired(void)
{
    struct stage_ stage;
    uint32_t index[4];
    uint32_t task[4];
    set_(&stage, 2);
    stage.space.header->sizes.ttl_ms = 1000;
    for (uint32_t i = 0; i < 3; i++)
        run_one_(&stage, 1 + i, &index[i], &task[i]);
    int64_t now = lq_now_ns();
    CHECK_EQ(lq_space_gone(&stage.space, index[0], task[0], now), LQ_GONE_EVICTED);
    CHECK_EQ(lq_space_gone(&stage.space, index[1], task[1], now), LQ_GONE_NOT_KNOWN); /* it is there */
    CHECK_EQ(lq_space_gone(&stage.space, index[1], task[1], now + 2000000000), LQ_GONE_EXPIRED); /* not swept yet */
    age_(&stage, index[1], 2000000000);
    CHECK_EQ(lq_space_sweep(&stage.space, stage.supervisor), 1);
    CHECK_EQ(lq_space_gone(&stage.space, index[1], task[1], now), LQ_GONE_EXPIRED);
    CHECK_EQ(lq_space_gone(&stage.space, index[1], task[1] + 1, now), LQ_GONE_NOT_KNOWN);
    CHECK_EQ(lq_space_gone(&stage.space, 1u << 20, 1, now), LQ_GONE_NOT_KNOWN);
    run_one_(&stage, 4, &index[3], &task[3]); /* the slot serves another meanwhile: still known */
    for (uint32_t i = 0; i < 2; i++)
        CHECK(lq_space_gone(&stage.space, index[i], task[i], now) == (i == 0 ? LQ_GONE_EVICTED : LQ_GONE_EXPIRED));
}

static void tell_a_result_without_an_end_lives_from_when_it_was_settled(void)
{
    struct stage_ stage;
    struct lq_recovered recovered;
    set_(&stage, 4);
    stage.space.header->sizes.ttl_ms = 1000;
    uint32_t cancelled = send_(&stage, 1, 0);
    age_(&stage, cancelled, 5000000000);
    lq_client_cancel(&stage.client, cancelled, task_of_(&stage, cancelled));
    flow_drain(&stage.worker, &ledger_);
    uint32_t crashed = start_(&stage, 2, 0);
    age_(&stage, crashed, 5000000000);
    lq_space_bury(&stage.space, stage.worker.me);
    lq_space_recover(&stage.space, stage.worker.me, stage.supervisor, lq_cause(9, 0), &recovered);
    flow_reap(&stage.client, &ledger_);
    CHECK_EQ(lq_space_sweep(&stage.space, stage.supervisor), 0);
    CHECK(!lq_space_is_expired(&stage.space, cancelled, lq_space_slot(&stage.space, cancelled), lq_now_ns()));
    CHECK(!lq_space_is_expired(&stage.space, crashed, lq_space_slot(&stage.space, crashed), lq_now_ns()));
    age_(&stage, crashed, 5000000000);
    CHECK_EQ(lq_space_sweep(&stage.space, stage.supervisor), 1);
}

/* What must be readable, oldest use first. */
struct kept_ {
    uint32_t index, task;
    uint64_t aged_ns;
};

struct model_ {
    struct kept_ kept[256];
    uint32_t count;
};

static void forget_(struct model_ *model, uint32_t at)
{
    memmove(&model->kept[at], &model->kept[at + 1], (model->count - at - 1) * sizeof model->kept[0]);
    model->count--;
}

static bool is_readable_(const struct stage_ *stage, const struct kept_ *kept)
{
    struct lq_slot copy;
    return lq_space_read(&stage->space, kept->index, kept->task, &copy) == LQ_OK &&
           !lq_space_is_expired(&stage->space, kept->index, &copy, lq_now_ns());
}

static uint32_t count_cached_(const struct stage_ *stage)
{
    uint32_t counts[16];
    lq_space_count_slots(&stage->space, counts);
    return counts[LQ_SLOT_CACHED];
}

#define TTL_NS 100000000000ull

/* One client, results that end, are touched, grow old and are swept: those readable are just those that must be. */
static void tell_cache_of_one_client_holds_exactly_what_it_should_after_any_sequence(void)
{
    static struct model_ model;
    for (uint32_t round = 0; round < 300; round++) {
        struct stage_ stage;
        uint32_t seed = round * 2654435761u + 1;
        uint32_t most = next_random(&seed) % 6;
        AT("round %u, %u are kept", round, most);
        set_(&stage, most);
        stage.space.header->sizes.ttl_ms = TTL_NS / 1000000;
        model.count = 0;
        for (uint32_t step = 0; step < 60; step++) {
            uint32_t what = next_random(&seed) % 10;
            uint32_t at = model.count != 0 ? next_random(&seed) % model.count : 0;
            if (what < 5) {
                struct kept_ kept = {0};
                run_one_(&stage, 1 + step, &kept.index, &kept.task);
                model.kept[model.count++] = kept;
                /* Expired ones that were not swept yet count: they give way in their turn. */
                while (model.count > most)
                    forget_(&model, 0);
            } else if (model.count != 0 && what < 7) {
                struct kept_ kept = model.kept[at];
                lq_client_touch(&stage.client, kept.index, kept.task);
                forget_(&model, at);
                model.kept[model.count++] = kept;
            } else if (model.count != 0 && what < 9) {
                age_(&stage, model.kept[at].index, 60000000000);
                model.kept[at].aged_ns += 60000000000;
            } else {
                lq_space_sweep(&stage.space, stage.supervisor);
                for (uint32_t i = model.count; i-- != 0;)
                    if (model.kept[i].aged_ns > TTL_NS)
                        forget_(&model, i);
            }
            CHECK(count_cached_(&stage) <= most);
            uint32_t readable = 0;
            for (uint32_t i = 0; i < model.count; i++) {
                bool is = is_readable_(&stage, &model.kept[i]);
                CHECK_EQ(is, model.kept[i].aged_ns <= TTL_NS);
                readable += is;
            }
            CHECK_EQ(count_cached_(&stage), model.count);
            CHECK(readable <= most);
        }
        lq_client_end(&stage.client);
        lq_worker_end(&stage.worker);
        lq_space_close(&stage.space);
    }
}

/* Of several clients, some of which are gone: after a sweep no more are kept than may be, and those that ended or were used last. */
static void tell_cache_of_all_clients_is_cut_to_its_size_by_a_sweep(void)
{
    struct stage_ stage;
    struct lq_client other;
    uint32_t index[8];
    uint32_t task[8];
    set_(&stage, 3);
    flow_init_client(&other, &stage.space, flow_join(&stage.space, LQ_ROLE_CLIENT));
    struct lq_client *clients[] = {&stage.client, &other};
    for (uint32_t i = 0; i < 6; i++) {
        CHECK_EQ(flow_submit(clients[i % 2], (struct flow_task){.tag = 1 + i, .args_bytes = 8, .result_bytes = 8}, &index[i]), LQ_OK);
        task[i] = task_of_(&stage, index[i]);
        flow_drain(&stage.worker, &ledger_);
        flow_reap(clients[i % 2], &ledger_);
    }
    CHECK_EQ(count_cached_(&stage), 6);
    lq_client_touch(&stage.client, index[0], task[0]);
    lq_client_leave(&other);
    CHECK_EQ(lq_space_sweep(&stage.space, stage.supervisor), 3);
    for (uint32_t i = 0; i < 6; i++) {
        struct kept_ kept = {index[i], task[i], 0};
        CHECK_EQ(is_readable_(&stage, &kept), i == 0 || i > 3);
    }
    /* What its client had counted on is not there any more: it counts anew, and lets go of none too many. */
    for (uint32_t i = 6; i < 8; i++)
        run_one_(&stage, 1 + i, &index[i], &task[i]);
    struct kept_ kept[] = {{index[0], task[0], 0}, {index[6], task[6], 0}, {index[7], task[7], 0}};
    for (uint32_t i = 0; i < 3; i++)
        CHECK(is_readable_(&stage, &kept[i]));
}

static void tell_cached_result_of_another_client_in_the_same_slot_is_not_evicted_for_one_s_own(void)
{
    struct stage_ stage;
    struct lq_client other;
    uint32_t index;
    uint32_t task;
    set_(&stage, 1);
    stage.space.header->sizes.ttl_ms = 1000;
    run_one_(&stage, 1, &index, &task);
    age_(&stage, index, 5000000000);
    CHECK_EQ(lq_space_sweep(&stage.space, stage.supervisor), 1);
    flow_init_client(&other, &stage.space, flow_join(&stage.space, LQ_ROLE_CLIENT));
    other.free_cursor = index;
    uint32_t fresh[64];
    uint32_t count = 0;
    while (lq_slots_take_fresh(&stage.space.slots, other.me, &fresh[count]) == LQ_OK) /* so that it takes that slot */
        count++;
    struct kept_ kept = {0};
    CHECK_EQ(flow_submit(&other, (struct flow_task){.tag = 2, .args_bytes = 8, .result_bytes = 8}, &kept.index), LQ_OK);
    CHECK_EQ(kept.index, index);
    kept.task = task_of_(&stage, index);
    flow_drain(&stage.worker, &ledger_);
    flow_reap(&other, &ledger_);
    stage.client.lost = lq_load32(&lq_roster_row(&stage.space.roster, stage.client.me)->lost); /* as if it had seen nothing of it */
    CHECK(lq_client_shrink(&stage.client) != LQ_OK);
    CHECK(is_readable_(&stage, &kept));
}

const struct lq_case tell_cases[] = {
    RUN(tell_text_is_cut_where_a_character_ends),
    RUN(tell_bucket_of_a_duration_is_the_one_whose_bounds_enclose_it),
    RUN(tell_meter_tells_functions_apart_by_name_until_its_table_is_full),
    RUN(tell_name_that_was_never_counted_is_written_anew),
    RUN(tell_meters_count_how_every_task_ended),
    RUN(tell_sums_stay_when_a_row_is_taken_anew_and_its_process_begins_with_nothing),
    RUN(tell_who_recovers_counts_and_tells_what_the_dead_could_not),
    RUN(tell_journal_keeps_the_last_events_of_each_row),
    RUN(tell_event_of_one_who_died_in_the_midst_is_not_believed_and_its_number_not_given_again),
    RUN_FORKING(tell_number_of_an_event_is_given_once_whoever_died_with_it),
    RUN_FORKING(tell_number_of_a_record_is_given_once_whoever_died_with_it),
    RUN_FORKING(tell_event_that_the_dead_had_begun_to_replace_is_not_believed),
    RUN_FORKING(tell_events_read_beside_their_writer_are_whole),
    RUN(tell_events_read_between_any_two_instructions_are_whole),
    RUN(tell_notes_read_between_any_two_instructions_are_whole),
    RUN(tell_records_read_between_any_two_instructions_are_whole),
    RUN_FORKING(tell_notes_read_beside_their_writer_are_whole),
    RUN_FORKING(tell_records_read_beside_their_writer_are_whole_and_none_is_missed_unsaid),
    RUN(tell_note_is_that_of_its_task_alone),
    RUN(tell_note_of_one_who_died_in_the_midst_is_not_believed_and_the_next_one_is),
    RUN_FORKING(tell_note_that_the_dead_had_begun_to_replace_is_not_believed),
    RUN(tell_who_watches_is_called_for_each_note_and_for_the_end_and_nobody_else_is),
    RUN(tell_who_sleeps_for_several_is_woken_by_any_and_by_the_phase),
    RUN(tell_who_watches_is_called_whoever_ends_the_task),
    RUN_FORKING(tell_one_who_can_only_read_sleeps_until_a_note_and_until_the_end),
    RUN(tell_mark_of_one_who_watches_an_earlier_task_does_not_replace_that_of_this_one),
    RUN(tell_trace_has_a_record_of_each_task_as_long_as_it_is_wanted),
    RUN(tell_trace_says_how_many_records_came_and_went),
    RUN(tell_a_result_that_is_gone_is_known_to_be_evicted_or_expired),
    RUN(tell_a_result_without_an_end_lives_from_when_it_was_settled),
    RUN(tell_cache_of_one_client_holds_exactly_what_it_should_after_any_sequence),
    RUN(tell_cache_of_all_clients_is_cut_to_its_size_by_a_sweep),
    RUN(tell_cached_result_of_another_client_in_the_same_slot_is_not_evicted_for_one_s_own),
    END_OF_CASES,
};

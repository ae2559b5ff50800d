/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "flow.h"

static struct ledger ledger_;

static int copy_of_(int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    CHECK(copy >= 0);
    return copy;
}

static void open_again_(struct lq_space *again, const struct lq_space *space)
{
    CHECK_EQ(lq_space_open(again, copy_of_(space->control.fd), copy_of_(space->payload.fd), 1), LQ_OK);
}

static void space_that_is_new_is_sound_and_empty(void)
{
    struct lq_space space;
    flow_make(&space, 10, 5, 3);
    FLOW_CHECK(&space);
    flow_check_empty(&space);
    CHECK_EQ(lq_space_phase(&space), LQ_PHASE_OPEN);
    lq_space_close(&space);
    lq_space_close(&space); /* again: nothing */
}

static void space_of_impossible_sizes_is_never_made(void)
{
    static const struct lq_sizes bad[] = {
        {.capacity = 0, .result_cache = 0, .queues = 1, .memory = 1 << 20},
        {.capacity = 0xfffff, .result_cache = 1, .queues = 1, .memory = 1 << 20},
        {.capacity = 0xffffffff, .result_cache = 0xffffffff, .queues = 1, .memory = 1 << 20},
        {.capacity = 10, .queues = 0, .memory = 1 << 20},
        {.capacity = 10, .queues = 17, .memory = 1 << 20},
        {.capacity = 10, .queues = 1, .memory = 0},
        {.capacity = 10, .queues = 1, .memory = UINT64_MAX},
        {.capacity = 10, .queues = 1, .memory = (uint64_t)LQ_MAX_SPANS << 20},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct lq_space space;
        CHECK_EQ(lq_space_create(&space, &bad[i], 1), LQ_NEVER);
        lq_space_close(&space);
    }
}

static void space_of_the_largest_sizes_can_be_made_and_opened(void)
{
    struct lq_space space;
    struct lq_space again;
    struct lq_sizes sizes = {.capacity = 0xffffe, .result_cache = 1, .queues = 16, .cpus = 64,
                             .memory = (uint64_t)64 << 30, .ttl_ms = 1};
    CHECK_EQ(lq_space_create(&space, &sizes, 1), LQ_OK);
    open_again_(&again, &space);
    FLOW_CHECK(&again);
}

/* What lq_space_open says to a control segment of that length, with this header; the rest of it is nothing. */
static enum lq_status open_bytes_(const struct lq_header *header, size_t length, const struct lq_space *model)
{
    struct lq_space space;
    size_t told = length < sizeof *header ? length : sizeof *header;
    int control = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK(control >= 0);
    CHECK(write(control, header, told) == (ssize_t)told && ftruncate(control, (off_t)length) == 0);
    CHECK(fcntl(control, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
    enum lq_status status = lq_space_open(&space, control, copy_of_(model->payload.fd), 0);
    CHECK((status == LQ_OK) == (space.header != NULL));
    lq_space_close(&space);
    return status;
}

static void space_with_another_magic_version_or_length_is_refused(void)
{
    struct lq_space space;
    flow_make(&space, 10, 5, 3);
    size_t bytes = space.control.bytes;
    struct lq_header header = *space.header;
    CHECK_EQ(open_bytes_(&header, bytes, &space), LQ_OK);

    header.magic ^= 1;
    CHECK_EQ(open_bytes_(&header, bytes, &space), LQ_CORRUPT);
    header.magic = 0; /* one that is still being made */
    CHECK_EQ(open_bytes_(&header, bytes, &space), LQ_CORRUPT);
    header.magic = LQ_MAGIC;
    header.version++;
    CHECK_EQ(open_bytes_(&header, bytes, &space), LQ_VERSION);
    header.version = LQ_LAYOUT_VERSION;

    for (size_t length = 0; length < bytes; length += length < 1024 ? 8 : length < 1 << 20 ? 4096 : 256 * 1024)
        CHECK_EQ(open_bytes_(&header, length, &space), LQ_CORRUPT);
    CHECK_EQ(open_bytes_(&header, bytes - 1, &space), LQ_CORRUPT);
}

static void space_whose_sizes_contradict_each_other_is_refused(void)
{
    struct lq_space space;
    struct lq_space other;
    flow_make(&space, 10, 5, 3);
    flow_make(&other, 10, 5, 4);
    struct lq_header sound = *space.header;
    static const struct {
        size_t at;
        uint32_t value;
    } changes[] = {
        {offsetof(struct lq_header, slots), 0},          {offsetof(struct lq_header, slots), 0xffffffff},
        {offsetof(struct lq_header, slots), 200},        {offsetof(struct lq_header, ring_order), 0},
        {offsetof(struct lq_header, ring_order), 63},    {offsetof(struct lq_header, ring_order), 0xffffffff},
        {offsetof(struct lq_header, ring_order), 22},    {offsetof(struct lq_header, spans), 0},
        {offsetof(struct lq_header, spans), 1},          {offsetof(struct lq_header, spans), 5},
        {offsetof(struct lq_header, spans), 0xffffffff}, {offsetof(struct lq_header, control_bytes), 4096},
        {offsetof(struct lq_header, sizes.queues), 0},   {offsetof(struct lq_header, sizes.queues), 2},
        {offsetof(struct lq_header, sizes.queues), 0xffffffff},
    };
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        unsigned char bytes[sizeof sound];
        memcpy(bytes, &sound, sizeof sound);
        memcpy(bytes + changes[i].at, &changes[i].value, sizeof changes[i].value);
        memcpy(space.control.base, bytes, sizeof sound);
        struct lq_space again;
        CHECK_EQ(lq_space_open(&again, copy_of_(space.control.fd), copy_of_(space.payload.fd), 1), LQ_CORRUPT);
    }
    memcpy(space.control.base, &sound, sizeof sound);
    struct lq_space mixed;
    CHECK_EQ(lq_space_open(&mixed, copy_of_(space.control.fd), copy_of_(other.payload.fd), 1), LQ_CORRUPT);
}

static void space_header_of_random_bytes_is_refused_and_never_followed(void)
{
    struct lq_space space;
    uint32_t seed = 99;
    flow_make(&space, 10, 5, 3);
    struct lq_header sound = *space.header;
    for (int i = 0; i < 6000; i++) {
        uint32_t words[sizeof sound / 4];
        memcpy(words, &sound, sizeof sound);
        uint32_t from = i % 2 ? 0 : next_random(&seed) % 24; /* everything, or one field of those that are verified */
        uint32_t to = i % 2 ? sizeof sound / 4 : from + 1;
        for (uint32_t at = from; at < to; at++)
            words[at] = next_random(&seed) >> (next_random(&seed) % 32);
        if (i % 4 == 1)
            memcpy(words, &sound, 12); /* magic and version of our own */
        memcpy(space.control.base, words, sizeof sound);
        struct lq_space again;
        enum lq_status status = lq_space_open(&again, copy_of_(space.control.fd), copy_of_(space.payload.fd), 1);
        bool same = memcmp(words, &sound, 32) == 0 && memcmp(words + 12, &sound.sizes, 12) == 0; /* what decides on offsets */
        CHECK(status == LQ_CORRUPT || status == LQ_VERSION || (status == LQ_OK && same));
        lq_space_close(&again);
    }
}

static void space_fds_that_are_no_files_are_refused(void)
{
    struct lq_space space;
    int ends[2];
    CHECK(pipe(ends) == 0);
    CHECK(lq_space_open(&space, ends[0], ends[1], 1) != LQ_OK); /* takes both over */
    errno = 0;
    CHECK_EQ(lq_space_open(&space, -1, -1, 1), LQ_SYSTEM);
    CHECK_EQ(errno, EBADF);
}

static void space_opened_to_read_shows_the_same(void)
{
    struct lq_space space;
    struct lq_space reader;
    struct lq_client client;
    struct lq_slot copy;
    uint32_t index;
    flow_make(&space, 10, 5, 3);
    flow_init_client(&client, &space, flow_join(&space, LQ_ROLE_CLIENT));
    CHECK_EQ(lq_space_open(&reader, copy_of_(space.control.fd), copy_of_(space.payload.fd), 0), LQ_OK);

    flow_submit(&client, (struct flow_task){.tag = 1, .args_bytes = 8, .result_bytes = 8}, &index);

    CHECK_EQ(lq_space_depth(&reader, 0, 0), 1);
    CHECK_EQ(lq_space_read(&reader, index, 1, &copy), LQ_OK);
    CHECK_EQ(lq_slot_state_of(&copy), LQ_SLOT_QUEUED);
    CHECK(lq_space_is_current(&reader, index, &copy));
    FLOW_CHECK(&reader);
}

static void space_mapped_twice_at_different_addresses_is_one_space(void)
{
    struct lq_space space;
    struct lq_space again;
    struct lq_client client;
    struct lq_worker worker;
    uint32_t index;
    flow_make(&space, 10, 5, 8);
    open_again_(&again, &space);
    CHECK(again.control.base != space.control.base && again.payload.base != space.payload.base);
    flow_init_client(&client, &space, flow_join(&space, LQ_ROLE_CLIENT));
    lq_worker_init(&worker, &again, flow_join(&again, LQ_ROLE_WORKER), 1);

    for (uint32_t tag = 1; tag < 200; tag++) {
        struct flow_task task = {.tag = tag, .args_bytes = tag % 3 ? 8 : 4000, .result_bytes = tag % 5 ? 8 : 2u << 20};
        CHECK_EQ(flow_submit(&client, task, &index), LQ_OK);
        CHECK_EQ(flow_drain(&worker, &ledger_), 1);
        CHECK_EQ(flow_reap(&client, &ledger_), 1);
        CHECK_EQ(lq_load32(&ledger_.outcomes[tag]), 1);
        FLOW_CHECK(&space);
        FLOW_CHECK(&again);
    }
    lq_label dead = worker.me; /* and what one recovers was done through the other */
    flow_submit(&client, (struct flow_task){.tag = 200, .args_bytes = 8, .result_bytes = 8}, &index);
    CHECK_EQ(lq_worker_take_now(&worker, &index), LQ_OK);
    CHECK_EQ(flow_bury(&space, dead, 9).requeued, 1);
    FLOW_CHECK(&again);
}

static void space_phase_goes_forward_only(void)
{
    struct lq_space space;
    flow_make(&space, 10, 5, 3);
    lq_space_set_phase(&space, LQ_PHASE_STOPPED);
    lq_space_set_phase(&space, LQ_PHASE_DRAINING);
    CHECK_EQ(lq_space_phase(&space), LQ_PHASE_STOPPED);
}

static void space_readings_count_what_is_there(void)
{
    struct lq_space space;
    struct lq_client client;
    struct lq_worker worker;
    struct lq_row_reading row;
    uint32_t counts[16];
    uint32_t index;
    uint64_t held;
    uint64_t owned;
    uint64_t spans;
    flow_make(&space, 10, 5, 3);
    flow_init_client(&client, &space, flow_join(&space, LQ_ROLE_CLIENT));
    lq_label label;
    CHECK_EQ(lq_space_join(&space, LQ_ROLE_WORKER, 0, &label), LQ_OK);
    lq_worker_init(&worker, &space, label, 77);
    CHECK(lq_space_sign_in(&space, worker.me, 77, 4321));
    lq_space_set_ready(&space, worker.me);
    lq_space_set_workers(&space, 3);
    flow_submit(&client, (struct flow_task){.tag = 1, .args_bytes = 1000, .result_bytes = 8, .priority = 2}, &index);
    CHECK_EQ(lq_space_depth(&space, 0, 2), 1);
    lq_space_arena_reading(&space, &held, &owned, &spans);
    CHECK(held == 1024 && spans == 1);
    flow_drain(&worker, &ledger_);
    lq_worker_count_items(&worker, index, 5);

    lq_space_row(&space, lq_label_row(worker.me), &row);
    lq_space_count_slots(&space, counts);

    CHECK(row.state == LQ_ROW_LIVE && row.role == LQ_ROLE_WORKER && row.pid == 77 && row.ready == 1);
    CHECK(row.label == label && row.started == 4321);
    CHECK(row.sums[LQ_SUM_SUCCEEDED] == 1 && row.sums[LQ_SUM_FAILED] == 0 && row.sums[LQ_SUM_ITEMS] == 5 && row.task == UINT64_MAX);
    CHECK_EQ(lq_space_workers(&space), 3);
    CHECK_EQ(lq_space_tally_of(&space, LQ_TALLY_WORKERS), 0);
    lq_space_tally(&space, LQ_TALLY_WORKERS, 2);
    CHECK_EQ(lq_space_tally_of(&space, LQ_TALLY_WORKERS), 2);
    CHECK_EQ(counts[LQ_SLOT_DONE], 1);
    CHECK_EQ(lq_space_depth(&space, 0, 2), 0);
}

static void space_check_names_what_contradicts(void)
{
    struct lq_space space;
    struct lq_client client;
    char problem[200];
    uint32_t index;
    flow_make(&space, 10, 5, 3);
    flow_init_client(&client, &space, flow_join(&space, LQ_ROLE_CLIENT));
    flow_submit(&client, (struct flow_task){.tag = 1, .args_bytes = 1000, .result_bytes = 8}, &index);
    FLOW_CHECK(&space);
    lq_a64 *head = space.rings[0][0].head;
    struct lq_slot *slot = lq_space_slot(&space, index);

    lq_store(head, lq_load(head) + 1);
    CHECK_EQ(lq_space_check(&space, problem, sizeof problem), LQ_CORRUPT);
    CHECK(strstr(problem, "in no ring") != NULL);
    lq_store(head, lq_load(head) - 1);

    uint32_t block = slot->args_block;
    slot->args_block = LQ_NO_BLOCK;
    CHECK_EQ(lq_space_check(&space, problem, sizeof problem), LQ_CORRUPT);
    CHECK(strstr(problem, "nobody holds block") != NULL);
    slot->args_block = block;

    uint64_t word = lq_load(lq_arena_word(&space.arena, block));
    lq_store(lq_arena_word(&space.arena, block), lq_word_next(word, LQ_BLOCK_FREE, LQ_NOBODY, 0));
    CHECK_EQ(lq_space_check(&space, problem, sizeof problem), LQ_CORRUPT);
    CHECK(strstr(problem, "lost its arguments") != NULL);
    lq_store(lq_arena_word(&space.arena, block), word);
    FLOW_CHECK(&space);

    lq_space_bury(&space, client.me);
    CHECK_EQ(lq_space_check(&space, problem, sizeof problem), LQ_CORRUPT);
    CHECK(strstr(problem, "a dead process") != NULL);
}

static void space_sweep_lets_go_of_expired_results_and_of_no_other(void)
{
    struct lq_space space;
    struct lq_client client;
    struct lq_worker worker;
    uint32_t first;
    uint32_t second;
    flow_make(&space, 10, 5, 8);
    flow_init_client(&client, &space, flow_join(&space, LQ_ROLE_CLIENT));
    lq_worker_init(&worker, &space, flow_join(&space, LQ_ROLE_WORKER), 1);
    flow_submit(&client, (struct flow_task){.tag = 1, .args_bytes = 8, .result_bytes = 3000}, &first);
    flow_submit(&client, (struct flow_task){.tag = 2, .args_bytes = 8, .result_bytes = 3000}, &second);
    flow_drain(&worker, &ledger_);
    flow_reap(&client, &ledger_);
    CHECK_EQ(lq_space_sweep(&space, worker.me), 0);
    lq_space_slot(&space, first)->done_ns = 1; /* before anything began */

    CHECK_EQ(lq_space_sweep(&space, worker.me), 1);

    CHECK_EQ(lq_slot_state_of(lq_space_slot(&space, first)), LQ_SLOT_FREE);
    CHECK_EQ(lq_slot_state_of(lq_space_slot(&space, second)), LQ_SLOT_CACHED);
    FLOW_CHECK(&space);
}

static void space_sweep_settles_what_a_dead_client_waited_for(void)
{
    struct lq_space space;
    struct lq_client client;
    struct lq_worker worker;
    uint32_t index;
    flow_make(&space, 10, 5, 8);
    flow_init_client(&client, &space, flow_join(&space, LQ_ROLE_CLIENT));
    lq_worker_init(&worker, &space, flow_join(&space, LQ_ROLE_WORKER), 1);
    flow_submit(&client, (struct flow_task){.tag = 1, .args_bytes = 2000, .result_bytes = 3000}, &index);
    CHECK_EQ(flow_drain(&worker, &ledger_), 1);
    lq_space_bury(&space, client.me); /* and nobody recovers yet */
    CHECK_EQ(lq_slot_state_of(lq_space_slot(&space, index)), LQ_SLOT_DONE);

    lq_space_sweep(&space, worker.me);

    CHECK_EQ(lq_slot_state_of(lq_space_slot(&space, index)), LQ_SLOT_CACHED);
    flow_bury(&space, client.me, 9);
    lq_worker_end(&worker);
    flow_empty(&space, worker.me);
    flow_check_empty(&space);
}

static void space_results_of_a_dead_client_are_settled_by_recovery_and_by_the_worker_that_is_late(void)
{
    struct lq_space space;
    struct lq_client client;
    struct lq_worker worker;
    uint32_t before;
    uint32_t after;
    flow_make(&space, 10, 5, 8);
    flow_init_client(&client, &space, flow_join(&space, LQ_ROLE_CLIENT));
    lq_worker_init(&worker, &space, flow_join(&space, LQ_ROLE_WORKER), 1);
    flow_submit(&client, (struct flow_task){.tag = 1, .args_bytes = 2000, .result_bytes = 3000}, &before);
    CHECK_EQ(flow_drain(&worker, &ledger_), 1);
    flow_submit(&client, (struct flow_task){.tag = 2, .args_bytes = 2000, .result_bytes = 3000}, &after);

    flow_bury(&space, client.me, 9);

    CHECK_EQ(lq_slot_state_of(lq_space_slot(&space, before)), LQ_SLOT_CACHED);
    CHECK_EQ(flow_drain(&worker, &ledger_), 1); /* it runs nevertheless */
    CHECK_EQ(lq_slot_state_of(lq_space_slot(&space, after)), LQ_SLOT_CACHED);
    FLOW_CHECK(&space);
    lq_worker_end(&worker);
    flow_empty(&space, worker.me);
    flow_check_empty(&space);
}

static void space_functions_of_a_dead_client_stay_while_a_task_needs_them(void)
{
    static const uint32_t lengths[] = {10, 5000, (2u << 20) + 7};
    struct lq_space space;
    struct lq_client client;
    struct lq_worker worker;
    uint32_t rows[3];
    uint32_t generations[3];
    uint32_t index;
    unsigned char *code = calloc(1, lengths[2]);
    CHECK(code != NULL);
    flow_make(&space, 10, 5, 8);
    flow_init_client(&client, &space, flow_join(&space, LQ_ROLE_CLIENT));
    lq_worker_init(&worker, &space, flow_join(&space, LQ_ROLE_WORKER), 1);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(lq_client_publish(&client, 1, "some", code, lengths[i], LQ_NO_BLOCK, &rows[i], &generations[i]), LQ_OK);
    flow_submit(&client, (struct flow_task){.tag = 1, .args_bytes = 8, .result_bytes = 8}, &index);
    lq_space_slot(&space, index)->function = rows[1];
    lq_space_slot(&space, index)->function_generation = generations[1];
    flow_bury(&space, client.me, 9);

    CHECK_EQ(lq_space_sweep(&space, worker.me), 2);
    CHECK(lq_space_function_is_current(&space, rows[1], generations[1]));
    CHECK(!lq_space_function_is_current(&space, rows[0], generations[0]));
    FLOW_CHECK(&space);
    flow_drain(&worker, &ledger_);
    CHECK_EQ(lq_space_sweep(&space, worker.me), 1);

    lq_worker_end(&worker);
    flow_empty(&space, worker.me);
    flow_check_empty(&space);
    free(code);
}

static void space_relieve_evicts_the_oldest_result_that_holds_a_block(void)
{
    struct lq_space space;
    struct lq_client client;
    struct lq_worker worker;
    uint32_t index[3];
    flow_make(&space, 10, 5, 8);
    flow_init_client(&client, &space, flow_join(&space, LQ_ROLE_CLIENT));
    lq_worker_init(&worker, &space, flow_join(&space, LQ_ROLE_WORKER), 1);
    for (uint32_t i = 0; i < 3; i++) {
        flow_submit(&client, (struct flow_task){.tag = i, .args_bytes = 8, .result_bytes = i ? 2000 : 8}, &index[i]);
        flow_drain(&worker, &ledger_);
        flow_reap(&client, &ledger_);
    }
    CHECK(lq_space_relieve(&space, worker.me));
    CHECK_EQ(lq_slot_state_of(lq_space_slot(&space, index[0])), LQ_SLOT_CACHED); /* inline */
    CHECK_EQ(lq_slot_state_of(lq_space_slot(&space, index[1])), LQ_SLOT_FREE);
    CHECK(lq_space_relieve(&space, worker.me));
    CHECK(!lq_space_relieve(&space, worker.me));
    FLOW_CHECK(&space);
}

static void space_read_finds_a_task_until_its_slot_serves_another(void)
{
    struct lq_space space;
    struct lq_client client;
    struct lq_worker worker;
    struct lq_slot copy;
    struct lq_slot later;
    uint32_t index;
    uint32_t wait_status;
    flow_make(&space, 1, 0, 8);
    flow_init_client(&client, &space, flow_join(&space, LQ_ROLE_CLIENT));
    lq_worker_init(&worker, &space, flow_join(&space, LQ_ROLE_WORKER), 1);
    CHECK_EQ(lq_space_read(&space, 0, 1, &copy), LQ_MISSING);
    CHECK_EQ(lq_space_read(&space, 0xffffffff, 1, &copy), LQ_MISSING);
    flow_submit(&client, (struct flow_task){.tag = 1, .args_bytes = 8, .result_bytes = 3000}, &index);
    uint32_t task = lq_space_slot(&space, index)->task_generation;
    CHECK_EQ(lq_space_read(&space, index, task + 1, &copy), LQ_MISSING);
    CHECK_EQ(lq_space_read(&space, index, task, &copy), LQ_OK);
    flow_drain(&worker, &ledger_);
    CHECK(lq_space_is_current(&space, index, &copy)); /* QUEUED -> DONE changed nothing of what was there */
    CHECK_EQ(lq_space_read(&space, index, task, &copy), LQ_OK);
    CHECK_EQ(lq_slot_outcome(&copy, &wait_status), LQ_OUTCOME_SUCCESS);
    CHECK_EQ(lq_space_read(&space, index, task, &later), LQ_OK);

    flow_reap(&client, &ledger_); /* no cache: evicted at once */

    CHECK(!lq_space_is_current(&space, index, &copy));
    CHECK_EQ(lq_space_read(&space, index, task, &later), LQ_MISSING);
    flow_submit(&client, (struct flow_task){.tag = 2, .args_bytes = 8, .result_bytes = 3000}, &index);
    CHECK_EQ(lq_space_read(&space, index, task, &later), LQ_MISSING);
    CHECK(!lq_space_is_current(&space, index, &copy));
}

/* ---- one slot, used again and again, and others who read it ---- */

#define USES (LQ_TSAN || LQ_ASAN ? 5000u : 60000u)

struct readers_ {
    struct lq_space space;
    atomic_bool over;
    atomic_uint whole, stale; /* copies that were good, and blocks that were another's by the time they had been copied */
};

static void use_one_slot_(struct readers_ *all)
{
    struct lq_client client;
    struct lq_worker worker;
    uint32_t index;
    flow_init_client(&client, &all->space, flow_join(&all->space, LQ_ROLE_CLIENT));
    lq_worker_init(&worker, &all->space, flow_join(&all->space, LQ_ROLE_WORKER), 1);
    for (uint32_t i = 0; i < USES; i++) {
        struct flow_task task = {.tag = i % TAGS, .args_bytes = 8, .result_bytes = LQ_TSAN || i % 4 ? LQ_INLINE_BYTES : 2000};
        CHECK_EQ(flow_submit(&client, task, &index), LQ_OK);
        CHECK_EQ(flow_drain(&worker, &ledger_), 1);
        CHECK_EQ(flow_reap(&client, &ledger_), 1);
    }
    atomic_store(&all->over, true);
}

static void read_slots_(void *given, unsigned number)
{
    struct readers_ *all = given;
    struct lq_slot copy;
    uint64_t bytes[2000 / 8];
    if (number == 0) {
        use_one_slot_(all);
        return;
    }
    for (uint32_t index = 0; !atomic_load(&all->over); index = 1 - index) {
        uint64_t word = lq_load(&lq_space_slot(&all->space, index)->word);
        if (lq_space_read(&all->space, index, lq_word_generation(word), &copy) != LQ_OK || lq_slot_state_of(&copy) < LQ_SLOT_DONE)
            continue;
        uint64_t head[3];
        memcpy(head, copy.args, sizeof head);
        CHECK(head[0] < TAGS && head[1] == 8 && head[2] == copy.result_bytes);
        if (copy.result_block == LQ_NO_BLOCK) {
            CHECK(flow_matches(copy.result, (uint32_t)head[0], 1, head[2]));
            atomic_fetch_add(&all->whole, 1);
            continue;
        }
        uint64_t room = 0;
        const unsigned char *at = lq_space_block(&all->space, copy.result_block, &room);
        if (at == NULL || room < head[2])
            continue;
        lq_copy_relaxed(bytes, at, head[2]);
        if (!lq_space_is_current(&all->space, index, &copy)) {
            atomic_fetch_add(&all->stale, 1);
            continue;
        }
        CHECK(flow_matches(bytes, (uint32_t)head[0], 1, head[2]));
        atomic_fetch_add(&all->whole, 1);
    }
}

static void space_read_gives_no_mixture_of_two_tasks_among_threads(void)
{
    struct readers_ *all = calloc(1, sizeof *all);
    CHECK(all != NULL);
    flow_make(&all->space, 1, 1, 8);
    in_threads(3, read_slots_, all);
    CHECK(atomic_load(&all->whole) > 0);
}

static void space_recovery_of_the_living_and_of_nobody_does_nothing(void)
{
    struct lq_space space;
    struct lq_client client;
    struct lq_recovered recovered;
    uint32_t index;
    flow_make(&space, 10, 5, 3);
    flow_init_client(&client, &space, flow_join(&space, LQ_ROLE_CLIENT));
    CHECK_EQ(lq_client_reserve(&client, &index), LQ_OK);

    lq_space_recover(&space, client.me, client.me, 9, &recovered);
    CHECK_EQ(recovered.labels, 0);
    lq_space_recover(&space, LQ_NOBODY, client.me, 9, &recovered);
    CHECK_EQ(recovered.labels, 0);

    CHECK_EQ(lq_word_label(lq_load(&lq_space_slot(&space, index)->word)), client.me);
}

const struct lq_case space_cases[] = {
    RUN(space_that_is_new_is_sound_and_empty),
    RUN(space_of_impossible_sizes_is_never_made),
    RUN(space_of_the_largest_sizes_can_be_made_and_opened),
    RUN(space_with_another_magic_version_or_length_is_refused),
    RUN(space_whose_sizes_contradict_each_other_is_refused),
    RUN(space_header_of_random_bytes_is_refused_and_never_followed),
    RUN(space_fds_that_are_no_files_are_refused),
    RUN(space_opened_to_read_shows_the_same),
    RUN(space_mapped_twice_at_different_addresses_is_one_space),
    RUN(space_phase_goes_forward_only),
    RUN(space_readings_count_what_is_there),
    RUN(space_check_names_what_contradicts),
    RUN(space_sweep_lets_go_of_expired_results_and_of_no_other),
    RUN(space_sweep_settles_what_a_dead_client_waited_for),
    RUN(space_results_of_a_dead_client_are_settled_by_recovery_and_by_the_worker_that_is_late),
    RUN(space_functions_of_a_dead_client_stay_while_a_task_needs_them),
    RUN(space_relieve_evicts_the_oldest_result_that_holds_a_block),
    RUN(space_read_finds_a_task_until_its_slot_serves_another),
    RUN(space_read_gives_no_mixture_of_two_tasks_among_threads),
    RUN(space_recovery_of_the_living_and_of_nobody_does_nothing),
    END_OF_CASES,
};

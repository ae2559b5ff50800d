/* SPDX-License-Identifier: MIT */
/*
 * Whole tasks without Python: clients submit, reap and consume, workers take, start and finish, each a thread, all in one Space.
 * What Python adds to a task is the same in each process; what is shared, and so may stop more of them from being of use, is
 * all in here.
 *
 *   N to M      N clients that keep up to WINDOW tasks on their way, M workers; nanoseconds a task, of all together
 *   swaps       compare-and-swaps a task; lost: those of them that another thread's made fail, for 1000 tasks
 *   sleeps      of workers and clients, for 1000 tasks: where they are many, the ring is not what is measured
 *
 * Each row is the median of several runs; see ring.c, also for more threads than processors.
 *
 *   space alone N     only N tasks, one at a time, in one thread: for `valgrind --tool=callgrind`
 *   space N M         only that row: for `perf record`
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../lq_client.h"
#include "../lq_worker.h"

#define MOST 8u /* clients, workers */
#define RUNS 5
#define TASKS 100000u
#define WINDOW 1000u
#define CACHE 1000u
#define SLEEP_NS 20000000
#define EXPECTED_NS 1000u /* what a task is said to last: the workers are brisk */

_Thread_local uint64_t swaps_made, swaps_lost;

struct bench {
    struct lq_space space;
    unsigned clients, workers, tasks; /* of each client */
    _Alignas(LQ_PAIR) lq_a64 swaps; /* added by each thread when it ends */
    lq_a64 lost;
    lq_a64 sleeps;
    lq_a64 left; /* clients that are not done */
    pthread_barrier_t start;
};

struct part {
    struct bench *bench;
    unsigned number;
    int64_t began_ns, ended_ns; /* by itself: whoever started it may be displaced just then */
};

static void must_(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "space: %s\n", what);
        exit(1);
    }
}

static lq_label join_(struct bench *bench, enum lq_role role)
{
    lq_label me = LQ_NOBODY;
    must_(lq_space_join(&bench->space, role, (uint32_t)getpid(), &me) == LQ_OK, "no row for a thread");
    return me;
}

static bool submit_(struct lq_client *client)
{
    uint32_t index;
    if (lq_client_reserve(client, &index) != LQ_OK)
        return false;
    struct lq_slot *slot = lq_space_slot(client->space, index);
    LQ_PUT(slot->queue, 0);
    LQ_PUT(slot->priority, 2);
    LQ_PUT(slot->kind, 0);
    LQ_PUT(slot->function, LQ_FUNCTION_IN_BAND);
    LQ_PUT(slot->args_bytes, 8u);
    LQ_PUT(slot->args[0], 1);
    if (lq_client_submit(client, index) == LQ_OK)
        return true;
    lq_client_discard(client, index);
    return false;
}

static bool run_(struct lq_worker *worker, uint32_t index)
{
    struct lq_slot *slot = lq_space_slot(worker->space, index);
    lq_worker_start(worker, index, EXPECTED_NS);
    LQ_PUT(slot->result[0], slot->args[0]);
    lq_worker_finish(worker, index, LQ_OUTCOME_SUCCESS, 0, 8);
    return true;
}

static uint64_t serve_(struct part *part)
{
    struct bench *bench = part->bench;
    struct lq_worker *worker = malloc(sizeof *worker); /* large */
    must_(worker != NULL && lq_worker_init(worker, &bench->space, join_(bench, LQ_ROLE_WORKER), (uint32_t)getpid()) == LQ_OK,
          "no worker");
    pthread_barrier_wait(&bench->start);
    part->began_ns = lq_now_ns();
    for (uint32_t index; lq_load(&bench->left) != 0;)
        if (lq_worker_take(worker, SLEEP_NS, &index) == LQ_OK)
            run_(worker, index);
    uint64_t sleeps = lq_load(&lq_roster_row(&bench->space.roster, worker->me)->tracks.parked);
    lq_worker_end(worker);
    free(worker);
    return sleeps;
}

static uint64_t ask_(struct part *part)
{
    struct bench *bench = part->bench;
    struct lq_client client;
    uint64_t sleeps = 0;
    must_(lq_client_init(&client, &bench->space, join_(bench, LQ_ROLE_CLIENT), (uint32_t)getpid()) == LQ_OK, "no client");
    pthread_barrier_wait(&bench->start);
    part->began_ns = lq_now_ns();
    for (unsigned sent = 0, got = 0; got < bench->tasks;) {
        uint32_t index;
        while (sent < bench->tasks && sent - got < WINDOW && submit_(&client))
            sent++;
        if (lq_client_reap(&client, &index) != LQ_OK) {
            lq_client_sleep(&client, 0, SLEEP_NS);
            sleeps++;
            continue;
        }
        do {
            lq_client_consume(&client, index);
            got++;
        } while (lq_client_reap(&client, &index) == LQ_OK);
    }
    part->ended_ns = lq_now_ns();
    add_to(&bench->left, ~0ull);
    lq_client_end(&client);
    return sleeps;
}

static void *ask_or_serve_(void *given)
{
    struct part *part = given;
    struct bench *bench = part->bench;
    pin_to(part->number);
    add_to(&bench->sleeps, part->number < bench->clients ? ask_(part) : serve_(part));
    add_to(&bench->swaps, swaps_made);
    add_to(&bench->lost, swaps_lost);
    return NULL;
}

static struct bench *make_(unsigned clients, unsigned workers, unsigned tasks)
{
    struct bench *bench = aligned_alloc(LQ_PAIR, (sizeof *bench + LQ_PAIR - 1) / LQ_PAIR * LQ_PAIR);
    must_(bench != NULL, "no memory");
    memset(bench, 0, sizeof *bench);
    bench->clients = clients;
    bench->workers = workers;
    bench->tasks = tasks / clients;
    lq_store(&bench->left, clients);
    struct lq_sizes sizes = {.capacity = 65536, .result_cache = CACHE, .queues = 1, .cpus = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN),
                             .memory = 4u << 20, .ttl_ms = 0};
    must_(lq_space_create(&bench->space, &sizes, 1) == LQ_OK, "no Space");
    lq_space_set_workers(&bench->space, workers);
    return bench;
}

static void drop_(struct bench *bench)
{
    lq_space_close(&bench->space);
    free(bench);
}

struct result {
    double seconds, swaps, lost, sleeps;
};

static int by_seconds_(const void *left, const void *right)
{
    double a = ((const struct result *)left)->seconds;
    double b = ((const struct result *)right)->seconds;
    return (a > b) - (a < b);
}

static struct result measure_(unsigned clients, unsigned workers)
{
    struct bench *bench = make_(clients, workers, TASKS);
    struct part parts[2 * MOST];
    pthread_t handles[2 * MOST];
    pthread_barrier_init(&bench->start, NULL, clients + workers);
    for (unsigned i = 0; i < clients + workers; i++) {
        parts[i] = (struct part){.bench = bench, .number = i};
        must_(pthread_create(&handles[i], NULL, ask_or_serve_, &parts[i]) == 0, "no thread");
    }
    int64_t began = INT64_MAX, ended = 0; /* until the last client has its last result */
    for (unsigned i = 0; i < clients + workers; i++) {
        pthread_join(handles[i], NULL);
        began = parts[i].began_ns < began ? parts[i].began_ns : began;
        ended = parts[i].ended_ns > ended ? parts[i].ended_ns : ended;
    }
    struct result result = {(double)(ended - began) * 1e-9, (double)lq_load(&bench->swaps), (double)lq_load(&bench->lost),
                            (double)lq_load(&bench->sleeps)};
    pthread_barrier_destroy(&bench->start);
    drop_(bench);
    return result;
}

static void crowd_(unsigned clients, unsigned workers)
{
    char name[32];
    struct result results[RUNS];
    for (int run = 0; run < RUNS; run++)
        results[run] = measure_(clients, workers);
    qsort(results, RUNS, sizeof results[0], by_seconds_);
    struct result middle = results[RUNS / 2];
    snprintf(name, sizeof name, "%u to %u", clients, workers);
    printf("%-28s %8.1f %12.2f %8.2f %8.2f %8.2f\n", name, middle.seconds / TASKS * 1e9, TASKS / middle.seconds * 1e-6,
           middle.swaps / TASKS, middle.lost / TASKS * 1e3, middle.sleeps / TASKS * 1e3);
}

static void alone_(unsigned tasks)
{
    struct bench *bench = make_(1, 1, tasks);
    struct lq_worker *worker = malloc(sizeof *worker);
    struct lq_client client;
    must_(worker != NULL && lq_worker_init(worker, &bench->space, join_(bench, LQ_ROLE_WORKER), (uint32_t)getpid()) == LQ_OK &&
              lq_client_init(&client, &bench->space, join_(bench, LQ_ROLE_CLIENT), (uint32_t)getpid()) == LQ_OK,
          "no worker or no client");
    for (unsigned done = 0; done < tasks; done++) {
        uint32_t index;
        must_(submit_(&client) && lq_worker_take_now(worker, &index) == LQ_OK && run_(worker, index) &&
                  lq_client_reap(&client, &index) == LQ_OK,
              "a task got lost");
        lq_client_consume(&client, index);
    }
    lq_client_end(&client);
    lq_worker_end(worker);
    free(worker);
    drop_(bench);
}

int main(int count, char **given)
{
    static const unsigned crowds[] = {1, 2, 4, 8};
    if (count == 3 && strcmp(given[1], "alone") == 0) {
        alone_((unsigned)atoi(given[2]));
        return 0;
    }
    if (count == 3) {
        unsigned clients = (unsigned)atoi(given[1]), workers = (unsigned)atoi(given[2]);
        must_(clients >= 1 && clients <= MOST && workers >= 1 && workers <= MOST, "from 1 to 8 clients and workers");
        crowd_(clients, workers);
        return 0;
    }
    printf("%-28s %8s %12s %8s %8s %8s\n", "whole tasks, without Python", "ns", "M tasks/s", "swaps", "lost", "sleeps");
    for (size_t i = 0; i < sizeof crowds / sizeof crowds[0]; i++)
        for (size_t j = 0; j < sizeof crowds / sizeof crowds[0]; j++)
            crowd_(crowds[i], crowds[j]);
    return 0;
}

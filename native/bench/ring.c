/* SPDX-License-Identifier: MIT */
/*
 * The bare ring and the bare bell: what the rest is measured against. No slots, no payloads, no processes; threads stand in
 * for them, the memory does not know the difference.
 *
 *   push + take, alone      one thread, one entry at a time: the cost of the instructions
 *   a line, there and back  two threads write one word in turns: what moving a cache line between processors costs here
 *   N to M                  N threads push, M claim by the word and advance, as workers do; entries through the ring a second.
 *                           swaps: compare-and-swaps an entry, four at the least (two of a push, word and head of a take).
 *                           lost: those of them that another thread's made fail, for 1000 entries
 *   ... over R rings        the same dealt out: a producer has one ring, a consumer looks at its own first, then at the others
 *   futex ping-pong         two threads wake each other: the floor of a round trip whose two ends sleep
 *   ring + bell             the same with a push, the look at the parked bits, a peek and a claim on each side
 *
 * Each row is the median of several runs. (Not the best: a thread that is displaced leaves the others alone with the ring, and
 * then they are quicker.) More threads than processors meet each other only where one is displaced in the midst: those rows say
 * that nobody waits for a displaced one, not what more processors do.
 *
 *   ring alone N            only N entries through a ring, in one thread: for `valgrind --tool=callgrind`; the difference
 *                           between two N is the instructions of an entry
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lq_bell.h"
#include "../lq_ring.h"

#define ORDER 12u
#define OBJECTS 256u /* a producer's own */
#define RUNS 9
#define ENTRIES 300000u
#define ROUNDS 20000u
#define MOST 8u /* producers, consumers, rings */
#define QUEUED 2u
#define CLAIMED 3u
#define FREE 8u

_Thread_local uint64_t swaps_made, swaps_lost;

struct bench {
    struct lq_ring rings[MOST], back;
    struct lq_bell bells[2];
    unsigned producers, consumers, shards, entries;
    lq_a64 words[MOST * OBJECTS];
    _Alignas(LQ_PAIR) lq_a64 taken; /* by all; each consumer adds its own now and then */
    _Alignas(LQ_PAIR) lq_a64 swaps; /* by all threads, added when they end */
    lq_a64 lost;
    pthread_barrier_t start;
};

struct part {
    struct bench *bench;
    unsigned number;
    void *(*body)(void *);
    int64_t began_ns, ended_ns; /* by itself: whoever started it may be displaced just then */
};

static void make_ring_(struct lq_ring *ring)
{
    size_t bytes = (lq_ring_size(ORDER) + LQ_PAIR - 1) / LQ_PAIR * LQ_PAIR;
    unsigned char *memory = aligned_alloc(LQ_PAIR, bytes);
    if (memory == NULL)
        abort();
    memset(memory, 0, bytes);
    lq_ring_view(ring, memory, ORDER);
    lq_ring_init(ring);
}

static struct bench *make_(unsigned producers, unsigned consumers, unsigned shards, unsigned entries)
{
    struct bench *bench = aligned_alloc(LQ_PAIR, sizeof *bench);
    if (bench == NULL)
        abort();
    *bench = (struct bench){.producers = producers, .consumers = consumers, .shards = shards, .entries = entries};
    for (unsigned i = 0; i < shards; i++)
        make_ring_(&bench->rings[i]);
    make_ring_(&bench->back);
    for (unsigned i = 0; i < MOST * OBJECTS; i++)
        lq_store(&bench->words[i], lq_word(FREE, LQ_NOBODY, 1, 0));
    return bench;
}

static void drop_(struct bench *bench)
{
    for (unsigned i = 0; i < bench->shards; i++)
        free((void *)bench->rings[i].head);
    free((void *)bench->back.head);
    free(bench);
}

static bool push_(struct bench *bench, const struct lq_ring *ring, unsigned object)
{
    uint64_t word = lq_load(&bench->words[object]);
    if (lq_word_state(word) != FREE)
        return false;
    uint64_t queued = lq_word_next(word, QUEUED, 1, 0);
    lq_store(&bench->words[object], queued);
    while (lq_ring_push(ring, object, lq_word_generation(queued)) != LQ_OK)
        sched_yield();
    return true;
}

static bool take_(struct bench *bench, const struct lq_ring *ring)
{
    struct lq_ring_entry entry;
    if (lq_ring_peek(ring, &entry) != LQ_OK)
        return false;
    uint64_t word = lq_load(&bench->words[entry.index]);
    bool mine = lq_word_state(word) == QUEUED && (lq_word_generation(word) & LQ_INDEX_MASK) == entry.generation &&
                lq_cas(&bench->words[entry.index], word, lq_word_as(word, CLAIMED, 2));
    lq_ring_advance(ring, &entry);
    if (mine)
        lq_store(&bench->words[entry.index], lq_word_as(word, FREE, LQ_NOBODY));
    return mine;
}

/* From its own ring first; the others are looked at only while that one has nothing. */
static bool take_any_(struct bench *bench, unsigned consumer)
{
    for (unsigned i = 0; i < bench->shards; i++)
        if (take_(bench, &bench->rings[(consumer + i) % bench->shards]))
            return true;
    return false;
}

static void produce_(struct bench *bench, unsigned producer)
{
    const struct lq_ring *ring = &bench->rings[producer % bench->shards];
    for (unsigned sent = 0; sent < bench->entries / bench->producers; sent++)
        while (!push_(bench, ring, producer * OBJECTS + sent % OBJECTS))
            sched_yield(); /* all of its objects are on their way */
}

static void consume_(struct bench *bench, unsigned consumer)
{
    unsigned all = bench->entries / bench->producers * bench->producers;
    for (unsigned mine = 0; lq_load_relaxed(&bench->taken) < all;) {
        if (take_any_(bench, consumer) && ++mine % 64 != 0)
            continue;
        add_to(&bench->taken, mine);
        if (mine == 0)
            sched_yield();
        mine = 0;
    }
}

static void *produce_or_consume_(void *given)
{
    struct part *part = given;
    struct bench *bench = part->bench;
    if (part->number < bench->producers)
        produce_(bench, part->number);
    else
        consume_(bench, part->number - bench->producers);
    add_to(&bench->swaps, swaps_made);
    add_to(&bench->lost, swaps_lost);
    return NULL;
}

static void *write_in_turns_(void *given)
{
    struct part *part = given;
    lq_a64 *word = &part->bench->taken;
    for (uint64_t turn = part->number; turn < 2 * ROUNDS; turn += 2) {
        for (unsigned looks = 1; lq_load(word) != turn; looks++)
            if (looks % 4096 == 0)
                sched_yield(); /* the other one may need this processor */
        lq_store(word, turn + 1);
    }
    return NULL;
}

/* One of two who wake each other; `with_ring`: with an entry each time. */
static void pass_(struct bench *bench, unsigned number, bool with_ring)
{
    struct lq_bell *mine = &bench->bells[number];
    struct lq_bell *others = &bench->bells[1 - number];
    const struct lq_ring *from = number ? &bench->rings[0] : &bench->back;
    const struct lq_ring *to = number ? &bench->back : &bench->rings[0];
    uint32_t key = 0; /* nobody has rung yet, when the bench is made */
    for (unsigned round = 0; round < ROUNDS; round++) {
        if (number == 0 || round != 0) {
            if (with_ring) {
                while (!push_(bench, to, number * OBJECTS + round % OBJECTS))
                    ;
            }
            if (!with_ring || lq_bell_any(others->parked))
                lq_bell_ring(others, 1);
        }
        if (with_ring) {
            while (!take_(bench, from)) {
                key = lq_bell_key(mine);
                lq_bell_set(mine->parked, number);
                struct lq_ring_entry entry;
                if (lq_ring_peek(from, &entry) != LQ_OK)
                    lq_bell_sleep(mine, key, 100000000);
                lq_bell_clear(mine->parked, number);
            }
        } else {
            while (lq_bell_key(mine) == key)
                lq_bell_sleep(mine, key, 100000000);
            key++;
        }
    }
    lq_bell_ring(others, 1); /* the last answer */
}

static void *pass_bare_(void *given)
{
    struct part *part = given;
    pass_(part->bench, part->number, false);
    return NULL;
}

static void *pass_entries_(void *given)
{
    struct part *part = given;
    struct bench *bench = part->bench;
    pass_(bench, part->number, true);
    if (part->number != 0)
        push_(bench, &bench->back, OBJECTS + ROUNDS % OBJECTS); /* the other's last round waits for one more */
    lq_bell_ring(&bench->bells[1 - part->number], 1);
    return NULL;
}

static void *timed_(void *given)
{
    struct part *part = given;
    pin_to(part->number);
    pthread_barrier_wait(&part->bench->start);
    part->began_ns = lq_now_ns();
    part->body(part);
    part->ended_ns = lq_now_ns();
    return NULL;
}

/* From the begin of the first to the end of the last. */
static double seconds_(struct bench *bench, unsigned threads, void *(*body)(void *))
{
    pthread_t handles[2 * MOST];
    struct part parts[2 * MOST];
    pthread_barrier_init(&bench->start, NULL, threads);
    for (unsigned i = 0; i < threads; i++) {
        parts[i] = (struct part){.bench = bench, .number = i, .body = body};
        if (pthread_create(&handles[i], NULL, timed_, &parts[i]) != 0)
            abort();
    }
    int64_t began = INT64_MAX, ended = 0;
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(handles[i], NULL);
        began = parts[i].began_ns < began ? parts[i].began_ns : began;
        ended = parts[i].ended_ns > ended ? parts[i].ended_ns : ended;
    }
    pthread_barrier_destroy(&bench->start);
    return (double)(ended - began) * 1e-9;
}

static void *alone_(void *given)
{
    struct part *part = given;
    for (unsigned i = 0; i < part->bench->entries; i++) {
        push_(part->bench, &part->bench->rings[0], i % OBJECTS);
        take_(part->bench, &part->bench->rings[0]);
    }
    return NULL;
}

struct result {
    double seconds, swaps, lost;
};

static int by_seconds_(const void *left, const void *right)
{
    double a = ((const struct result *)left)->seconds;
    double b = ((const struct result *)right)->seconds;
    return (a > b) - (a < b);
}

static struct result median_(unsigned producers, unsigned consumers, unsigned shards, unsigned threads, void *(*body)(void *))
{
    struct result results[RUNS];
    for (int run = 0; run < RUNS; run++) {
        struct bench *bench = make_(producers, consumers, shards, ENTRIES);
        results[run].seconds = seconds_(bench, threads, body);
        results[run].swaps = (double)lq_load(&bench->swaps);
        results[run].lost = (double)lq_load(&bench->lost);
        drop_(bench);
    }
    qsort(results, RUNS, sizeof results[0], by_seconds_);
    return results[RUNS / 2];
}

static void crowd_(unsigned producers, unsigned consumers, unsigned shards)
{
    char name[32];
    snprintf(name, sizeof name, shards == 1 ? "%u to %u" : "%u to %u over %u rings", producers, consumers, shards);
    struct result middle = median_(producers, consumers, shards, producers + consumers, produce_or_consume_);
    printf("%-28s %8.1f %12.2f %8.2f %8.2f\n", name, middle.seconds / ENTRIES * 1e9, ENTRIES / middle.seconds * 1e-6,
           middle.swaps / ENTRIES, middle.lost / ENTRIES * 1e3);
}

int main(int count, char **given)
{
    static const unsigned crowds[] = {1, 2, 4, 8};
    if (count == 3 && strcmp(given[1], "alone") == 0) {
        struct bench *bench = make_(1, 1, 1, (unsigned)atoi(given[2]));
        seconds_(bench, 1, alone_);
        drop_(bench);
        return 0;
    }
    double took = median_(1, 1, 1, 1, alone_).seconds;
    printf("%-28s %8s %12s %8s %8s\n", "", "ns", "M entries/s", "swaps", "lost");
    printf("%-28s %8.1f %12.2f\n", "push + take, alone", took / ENTRIES * 1e9, ENTRIES / took * 1e-6);
    printf("%-28s %8.1f\n", "a line, there and back", median_(1, 1, 1, 2, write_in_turns_).seconds / ROUNDS * 1e9);
    for (size_t i = 0; i < sizeof crowds / sizeof crowds[0]; i++)
        for (size_t j = 0; j < sizeof crowds / sizeof crowds[0]; j++)
            crowd_(crowds[i], crowds[j], 1);
    for (unsigned shards = 2; shards <= MOST; shards *= 2)
        crowd_(MOST, MOST, shards);
    printf("%-28s %8s\n", "", "us");
    printf("%-28s %8.2f  a round trip\n", "futex ping-pong", median_(1, 1, 1, 2, pass_bare_).seconds / ROUNDS * 1e6);
    printf("%-28s %8.2f  a round trip\n", "ring + bell, both asleep", median_(1, 1, 1, 2, pass_entries_).seconds / ROUNDS * 1e6);
    return 0;
}

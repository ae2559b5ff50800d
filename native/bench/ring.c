/* SPDX-License-Identifier: MIT */
/*
 * The bare ring and the bare bell: what the rest is measured against. No slots, no payloads, no processes; threads stand in
 * for them, the memory does not know the difference.
 *
 *   push + take, alone      one thread, one entry at a time: the cost of the instructions
 *   N to M                  N threads push, M claim by the word and advance, as workers do; entries through the ring a second
 *   futex ping-pong         two threads wake each other: the floor of a round trip whose two ends sleep
 *   ring + bell             the same with a push, the look at the parked bits, a peek and a claim on each side
 *
 * Each row is the best of several runs: what disturbs can only make it slower.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "../lq_bell.h"
#include "../lq_ring.h"

#define ORDER 12u
#define OBJECTS 256u /* a producer's own */
#define RUNS 5
#define ENTRIES 1000000u
#define ROUNDS 50000u
#define QUEUED 2u
#define CLAIMED 3u
#define FREE 8u

struct bench {
    struct lq_ring ring, back;
    struct lq_bell bells[2];
    unsigned producers, consumers, entries;
    lq_a64 words[4 * OBJECTS];
    _Alignas(LQ_PAIR) lq_a64 taken; /* by all; each consumer adds its own now and then */
    pthread_barrier_t start;
};

struct part {
    struct bench *bench;
    unsigned number;
};

static struct bench *make_(unsigned producers, unsigned consumers, unsigned entries)
{
    struct bench *bench = aligned_alloc(LQ_PAIR, sizeof *bench);
    if (bench == NULL)
        abort();
    *bench = (struct bench){.producers = producers, .consumers = consumers, .entries = entries};
    struct lq_ring *rings[] = {&bench->ring, &bench->back};
    for (int i = 0; i < 2; i++) {
        size_t bytes = (lq_ring_size(ORDER) + LQ_PAIR - 1) / LQ_PAIR * LQ_PAIR;
        unsigned char *memory = aligned_alloc(LQ_PAIR, bytes);
        if (memory == NULL)
            abort();
        for (size_t at = 0; at < bytes; at++)
            memory[at] = 0;
        lq_ring_view(rings[i], memory, ORDER);
        lq_ring_init(rings[i]);
    }
    for (unsigned i = 0; i < 4 * OBJECTS; i++)
        lq_store(&bench->words[i], lq_word(FREE, LQ_NOBODY, 1, 0));
    return bench;
}

static void drop_(struct bench *bench)
{
    free((void *)bench->ring.head);
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

static void *produce_or_consume_(void *given)
{
    struct part *part = given;
    struct bench *bench = part->bench;
    pthread_barrier_wait(&bench->start);
    if (part->number < bench->producers) {
        unsigned object = part->number * OBJECTS;
        for (unsigned sent = 0; sent < bench->entries / bench->producers; sent++)
            while (!push_(bench, &bench->ring, object + sent % OBJECTS))
                sched_yield(); /* all of its objects are on their way */
        return NULL;
    }
    unsigned all = bench->entries / bench->producers * bench->producers;
    for (unsigned mine = 0; lq_load_relaxed(&bench->taken) < all;) {
        if (take_(bench, &bench->ring) && ++mine % 64 != 0)
            continue;
        for (uint64_t seen = lq_load(&bench->taken); mine != 0 && !lq_cas(&bench->taken, seen, seen + mine);)
            seen = lq_load(&bench->taken);
        if (mine == 0)
            sched_yield();
        mine = 0;
    }
    return NULL;
}

/* One of two who wake each other; `with_ring`: with an entry each time. */
static void pass_(struct bench *bench, unsigned number, bool with_ring)
{
    struct lq_bell *mine = &bench->bells[number];
    struct lq_bell *others = &bench->bells[1 - number];
    const struct lq_ring *from = number ? &bench->ring : &bench->back;
    const struct lq_ring *to = number ? &bench->back : &bench->ring;
    uint32_t key = lq_bell_key(mine);
    pthread_barrier_wait(&bench->start);
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

static double seconds_(struct bench *bench, unsigned threads, void *(*body)(void *))
{
    pthread_t handles[8];
    struct part parts[8];
    pthread_barrier_init(&bench->start, NULL, threads + 1);
    for (unsigned i = 0; i < threads; i++) {
        parts[i] = (struct part){bench, i};
        if (pthread_create(&handles[i], NULL, body, &parts[i]) != 0)
            abort();
    }
    pthread_barrier_wait(&bench->start);
    int64_t begin = lq_now_ns();
    for (unsigned i = 0; i < threads; i++)
        pthread_join(handles[i], NULL);
    int64_t end = lq_now_ns();
    pthread_barrier_destroy(&bench->start);
    return (double)(end - begin) * 1e-9;
}

static void *alone_(void *given)
{
    struct part *part = given;
    pthread_barrier_wait(&part->bench->start);
    for (unsigned i = 0; i < part->bench->entries; i++) {
        push_(part->bench, &part->bench->ring, i % OBJECTS);
        take_(part->bench, &part->bench->ring);
    }
    return NULL;
}

static double best_(unsigned producers, unsigned consumers, unsigned threads, void *(*body)(void *))
{
    double best = 1e9;
    for (int run = 0; run < RUNS; run++) {
        struct bench *bench = make_(producers, consumers, ENTRIES);
        double took = seconds_(bench, threads, body);
        best = took < best ? took : best;
        drop_(bench);
    }
    return best;
}

int main(void)
{
    static const unsigned crowds[][2] = {{1, 1}, {1, 2}, {2, 1}, {2, 2}, {1, 4}, {4, 4}};
    double took = best_(1, 1, 1, alone_);
    printf("%-28s %10s %12s\n", "", "ns", "M entries/s");
    printf("%-28s %10.1f %12.2f\n", "push + take, alone", took / ENTRIES * 1e9, ENTRIES / took * 1e-6);
    for (size_t i = 0; i < sizeof crowds / sizeof crowds[0]; i++) {
        char name[32];
        snprintf(name, sizeof name, "%u to %u", crowds[i][0], crowds[i][1]);
        took = best_(crowds[i][0], crowds[i][1], crowds[i][0] + crowds[i][1], produce_or_consume_);
        printf("%-28s %10.1f %12.2f\n", name, took / ENTRIES * 1e9, ENTRIES / took * 1e-6);
    }
    printf("%-28s %10s\n", "", "us");
    printf("%-28s %10.2f  a round trip\n", "futex ping-pong", best_(1, 1, 2, pass_bare_) / ROUNDS * 1e6);
    printf("%-28s %10.2f  a round trip\n", "ring + bell, both asleep", best_(1, 1, 2, pass_entries_) / ROUNDS * 1e6);
    return 0;
}

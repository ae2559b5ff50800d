/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "../lq_bell.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lq_ring.h"
#include "lq_test.h"

#define LONG_NS 30000000000 /* longer than anything here may last: who sleeps so long was forgotten */

static struct lq_bell *make_bell_(void)
{
    return shared_memory(sizeof(struct lq_bell));
}

static void bell_sleep_ends_when_time_is_over(void)
{
    struct lq_bell *bell = make_bell_();
    int64_t before = lq_now_ns();

    CHECK_EQ(lq_bell_sleep(bell, lq_bell_key(bell), 3000000), LQ_TIMEOUT);

    CHECK(lq_now_ns() - before >= 3000000);
    CHECK_EQ(lq_bell_sleep(bell, lq_bell_key(bell), 0), LQ_TIMEOUT);
    CHECK_EQ(lq_bell_sleep(bell, lq_bell_key(bell), -5), LQ_TIMEOUT);
}

static void bell_that_rang_before_the_sleep_lets_nobody_sleep(void)
{
    struct lq_bell *bell = make_bell_();
    uint32_t key = lq_bell_key(bell);

    lq_bell_ring(bell, 1);

    CHECK_EQ(lq_bell_sleep(bell, key, LONG_NS), LQ_OK);
}

static void sleep_in_child_(void *given)
{
    struct lq_bell *bell = given;
    uint32_t key = lq_bell_key(bell);
    lq_bell_set(bell->parked, 1);
    CHECK_EQ(lq_bell_sleep(bell, key, LONG_NS), LQ_OK);
}

static void bell_wakes_a_sleeper_in_another_process(void)
{
    struct lq_bell *bell = make_bell_();
    pid_t child = in_child(sleep_in_child_, bell);
    while (!lq_bell_any(bell->parked))
        usleep(100);

    lq_bell_ring(bell, INT_MAX); /* it may not sleep yet: then the count tells it */

    CHECK_EQ(wait_for(child, false), 0);
}

static void ignore_(int number)
{
    (void)number;
}

static void sleep_until_signal_(void *given)
{
    struct lq_bell *bell = given;
    struct sigaction action = {.sa_handler = ignore_};
    sigaction(SIGUSR1, &action, NULL);
    lq_bell_set(bell->parked, 1);
    CHECK_EQ(lq_bell_sleep(bell, lq_bell_key(bell), LONG_NS), LQ_INTERRUPTED);
}

static void bell_sleep_is_interrupted_by_a_signal(void)
{
    struct lq_bell *bell = make_bell_();
    pid_t child = in_child(sleep_until_signal_, bell);
    int status = 0;
    while (!lq_bell_any(bell->parked))
        usleep(100);

    while (waitpid(child, &status, WNOHANG) == 0) { /* one that comes before the sleep is lost */
        kill(child, SIGUSR1);
        usleep(1000);
    }

    CHECK_EQ(status, 0);
}

static void bell_sleeper_that_was_killed_swallows_no_wake(void)
{
    struct lq_bell *bell = make_bell_();
    pid_t dead = in_child(sleep_in_child_, bell);
    while (!lq_bell_any(bell->parked))
        usleep(100);
    kill(dead, SIGKILL);
    wait_for(dead, false);
    lq_bell_clear(bell->parked, 1);
    pid_t child = in_child(sleep_in_child_, bell);
    while (!lq_bell_any(bell->parked))
        usleep(100);

    lq_bell_ring(bell, 1);

    CHECK_EQ(wait_for(child, false), 0);
}

static void bell_bits_are_each_row_s_own_and_recovery_clears_them(void)
{
    struct lq_bell *bell = make_bell_();
    for (uint32_t row = 0; row < LQ_ROWS; row++) {
        lq_bell_set(bell->parked, row);
        lq_bell_set(bell->spinning, row);
        CHECK_EQ(lq_bell_count(bell->parked), row + 1);
    }
    uint32_t key = lq_bell_key(bell);

    lq_bell_recover(bell, 77);

    CHECK_EQ(lq_bell_count(bell->parked), LQ_ROWS - 1);
    CHECK_EQ(lq_bell_count(bell->spinning), LQ_ROWS - 1);
    CHECK(lq_bell_key(bell) != key); /* and it rang: the dead may have swallowed a wake */
    for (uint32_t row = 0; row < LQ_ROWS; row++) {
        lq_bell_clear(bell->parked, row);
        lq_bell_clear(bell->spinning, row);
    }
    CHECK(!lq_bell_any(bell->parked) && !lq_bell_any(bell->spinning));
}

/* ---- the Dekker pair: push, then look whether somebody is parked; park, then look whether something was pushed ---- */

#define ROUNDS (LQ_TSAN || LQ_ASAN ? 4000u : 20000u)

struct pair_ {
    struct lq_ring rings[2];
    struct lq_bell *bells[2];
};

static void answer_(void *given, unsigned number)
{
    struct pair_ *pair = given;
    struct lq_ring *mine = &pair->rings[number % 2];
    struct lq_bell *bell = pair->bells[number % 2];
    struct lq_ring_entry entry;
    if (number == 0)
        lq_ring_push(mine, 0, 0);
    for (uint32_t round = 0; round < ROUNDS;) {
        if (lq_ring_peek(mine, &entry) != LQ_OK) {
            uint32_t key = lq_bell_key(bell);
            lq_bell_set(bell->parked, number);
            if (lq_ring_peek(mine, &entry) != LQ_OK && lq_bell_sleep(bell, key, LONG_NS) == LQ_TIMEOUT)
                lq_fail(__FILE__, __LINE__, "a wake-up was lost");
            lq_bell_clear(bell->parked, number);
            continue;
        }
        lq_ring_advance(mine, &entry);
        lq_ring_push(&pair->rings[1 - number % 2], 0, round);
        if (lq_bell_any(pair->bells[1 - number % 2]->parked))
            lq_bell_ring(pair->bells[1 - number % 2], 1);
        round++;
    }
}

static void bell_loses_no_wake_up_in_a_ping_pong(void)
{
    struct pair_ pair;
    for (int i = 0; i < 2; i++) {
        lq_ring_view(&pair.rings[i], shared_memory(lq_ring_size(4)), 4);
        lq_ring_init(&pair.rings[i]);
        pair.bells[i] = make_bell_();
    }
    in_threads(2, answer_, &pair);
}

const struct lq_case bell_cases[] = {
    RUN(bell_sleep_ends_when_time_is_over),
    RUN(bell_that_rang_before_the_sleep_lets_nobody_sleep),
    RUN_FORKING(bell_wakes_a_sleeper_in_another_process),
    RUN_FORKING(bell_sleep_is_interrupted_by_a_signal),
    RUN_FORKING(bell_sleeper_that_was_killed_swallows_no_wake),
    RUN(bell_bits_are_each_row_s_own_and_recovery_clears_them),
    RUN(bell_loses_no_wake_up_in_a_ping_pong),
    END_OF_CASES,
};

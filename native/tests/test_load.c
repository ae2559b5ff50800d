/* SPDX-License-Identifier: MIT */
/*
 * Death under load: clients and workers, each a process, work as fast as they can, and each dies at some fault point or is
 * stopped there for a while; all the time somebody is dying, being recovered and replaced. In the end the books must balance.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "flow.h"

#define CLIENTS 2u
#define WORKERS 3u
#define ACTORS (CLIENTS + WORKERS)
#define LAST_TAG (LQ_ASAN ? 1500u : TAGS - 1)
#define RETRIES 15u /* a task may meet so many dying workers; more would be a hang in disguise */
#define KILLED 9u

struct load_ {
    struct lq_space space;
    lq_label supervisor;     /* who recovers */
    struct ledger *ledger;
    struct shared_ {
        lq_a32 next_tag;
        lq_a32 clients_end, workers_end;
        lq_a32 looks; /* results that were pinned */
        lq_a32 client_of[TAGS];  /* which incarnation of which client submitted it, 0: nobody */
        lq_a32 cancelled[TAGS];
    } * shared;
};

struct actor_ {
    struct load_ *load;
    bool is_client;
    lq_label label;
    uint32_t seed;
    uint32_t armed;
    pid_t pid;
};

static void arm_(struct actor_ *actor)
{
    uint32_t chance = next_random(&actor->seed);
    actor->armed = 5 + chance % 200;
    lq_fault_arm(NULL, actor->armed, chance % 4 == 0 ? LQ_FAULT_STOP : LQ_FAULT_KILL);
}

/* Whoever was stopped and goes on shall die another time. */
static void arm_again_(struct actor_ *actor)
{
    if (lq_fault_passed() > actor->armed)
        arm_(actor);
}

/* `tag`: the next one, 0 for one that is still to be had; it stays when there was no room. */
static void submit_one_(struct actor_ *actor, struct lq_client *client, uint32_t *tag)
{
    static const uint64_t sizes[] = {8, 8, 8, 64, 600, 3000, 70000, 8, (1u << 20) + 64};
    struct shared_ *shared = actor->load->shared;
    uint32_t chance = next_random(&actor->seed);
    uint32_t index;
    if (*tag == 0)
        *tag = lq_add32_seq(&shared->next_tag, 1);
    if (*tag > LAST_TAG) {
        lq_store32(&shared->clients_end, 1);
        return;
    }
    struct flow_task task = {.tag = *tag, .args_bytes = sizes[chance % 9], .result_bytes = sizes[chance / 16 % 9], .max_crashes = RETRIES,
                             .priority = (uint8_t)(chance / 256 % 4)};
    if (flow_submit(client, task, &index) != LQ_OK)
        return;
    lq_store32(&shared->client_of[*tag], client->me);
    if (chance / 1024 % 8 == 0 && lq_client_cancel(client, index, lq_space_slot(client->space, index)->task_generation) == LQ_OK)
        lq_store32(&shared->cancelled[*tag], 1);
    *tag = 0;
}

#define LOOKS 4u

/* Results that an actor looks at for a while, whosever they are and whatever becomes of them. */
struct looks_ {
    struct flow_pin pins[LOOKS];
    bool has[LOOKS];
    uint32_t cursor;
};

static void look_at_(struct actor_ *actor, struct looks_ *looks, uint32_t at)
{
    struct lq_space *space = &actor->load->space;
    if (looks->has[at]) {
        flow_check_pin(space, &looks->pins[at]);
        lq_arena_unpin(&space->arena, NULL, actor->label, looks->pins[at].entry);
        looks->has[at] = false;
    } else {
        uint32_t index = next_random(&actor->seed) % lq_slots_used(&space->slots);
        looks->has[at] = flow_pin_result(space, actor->label, index, &looks->cursor, &looks->pins[at]) == LQ_OK;
        lq_add32_seq(&actor->load->shared->looks, looks->has[at]);
    }
}

static void look_away_(struct actor_ *actor, struct looks_ *looks)
{
    for (uint32_t at = 0; at < LOOKS; at++)
        if (looks->has[at])
            look_at_(actor, looks, at);
}

static void be_client_(struct actor_ *actor)
{
    struct looks_ looks = {.cursor = 0};
    struct lq_client client;
    uint32_t tag = 0;
    flow_init_client(&client, &actor->load->space, actor->label);
    client.cache_limit = 10;
    while (lq_load32(&actor->load->shared->clients_end) == 0 || client.pending != 0) {
        arm_again_(actor);
        if (lq_load32(&actor->load->shared->clients_end) == 0)
            submit_one_(actor, &client, &tag);
        if (flow_reap(&client, actor->load->ledger) == 0)
            sched_yield();
        look_at_(actor, &looks, next_random(&actor->seed) % LOOKS);
    }
    lq_fault_disarm();
    look_away_(actor, &looks);
    lq_client_leave(&client);
}

static void be_worker_(struct actor_ *actor)
{
    struct lq_worker worker;
    struct looks_ looks = {.cursor = 0};
    lq_worker_init(&worker, &actor->load->space, actor->label, (uint32_t)getpid());
    while (lq_load32(&actor->load->shared->workers_end) == 0) {
        arm_again_(actor);
        if (flow_drain(&worker, actor->load->ledger) == 0)
            sched_yield();
        look_at_(actor, &looks, next_random(&actor->seed) % LOOKS);
    }
    lq_fault_disarm();
    look_away_(actor, &looks);
    lq_worker_end(&worker);
}

static void act_(void *given)
{
    struct actor_ *actor = given;
    alarm(0);
    arm_(actor);
    actor->is_client ? be_client_(actor) : be_worker_(actor);
}

static void start_(struct actor_ *actor)
{
    actor->label = flow_join(&actor->load->space, actor->is_client ? LQ_ROLE_CLIENT : LQ_ROLE_WORKER);
    actor->seed = actor->seed * 2654435761u + 12345u;
    actor->pid = in_child(act_, actor);
}

/* Labels of the dead that a full ring has kept: again and again, until workers have made room. */
struct owed_ {
    lq_label labels[64];
    uint32_t count;
};

static void recover_owed_(struct load_ *load, struct owed_ *owed)
{
    for (uint32_t i = 0; i < owed->count;) {
        struct lq_recovered sum = {0};
        if (!flow_recover(&load->space, owed->labels[i], load->supervisor, KILLED, &sum)) {
            i++;
            continue;
        }
        lq_space_release(&load->space, owed->labels[i]);
        owed->labels[i] = owed->labels[--owed->count];
    }
}

/* Returns whether it ended because it had nothing left to do. */
static bool attend_(struct actor_ *actor, int status, struct owed_ *owed)
{
    if (WIFSTOPPED(status)) {
        CHECK(kill(actor->pid, SIGCONT) == 0); /* the others have gone on meanwhile */
        return false;
    }
    actor->pid = 0;
    if (WIFEXITED(status)) {
        CHECK_EQ(WEXITSTATUS(status), 0);
        if (!actor->is_client) { /* a client has left by itself */
            lq_space_bury(&actor->load->space, actor->label);
            owed->labels[owed->count++] = actor->label;
        }
        return true;
    }
    CHECK_EQ(WTERMSIG(status), SIGKILL);
    lq_space_bury(&actor->load->space, actor->label);
    CHECK(owed->count < 64);
    owed->labels[owed->count++] = actor->label;
    return false;
}

static struct actor_ *find_(struct actor_ *actors, pid_t pid)
{
    for (uint32_t i = 0; i < ACTORS; i++)
        if (actors[i].pid == pid)
            return &actors[i];
    lq_fail(__FILE__, __LINE__, "the process that ended is one of ours");
}

/* Every task of a client that lived to the end has one outcome; of one that died, one at the most. */
static void balance_(const struct load_ *load, const struct actor_ *actors)
{
    uint32_t submitted = 0;
    for (uint32_t tag = 1; tag <= LAST_TAG; tag++) {
        lq_label client = lq_load32(&load->shared->client_of[tag]);
        uint32_t outcomes = lq_load32(&load->ledger->outcomes[tag]);
        uint32_t runs = lq_load32(&load->ledger->runs[tag]);
        bool survived = false;
        for (uint32_t i = 0; i < CLIENTS; i++)
            survived = survived || (client != LQ_NOBODY && actors[i].label == client);
        submitted += client != LQ_NOBODY;
        CHECK(outcomes <= 1 && runs <= RETRIES + 1);
        CHECK(!survived || outcomes == 1);
        if (lq_load32(&load->shared->cancelled[tag]) != 0)
            CHECK_EQ(runs, 0);
        if (outcomes == 1 && lq_load32(&load->ledger->last[tag]) == LQ_OUTCOME_SUCCESS)
            CHECK(runs >= 1);
    }
    CHECK(submitted > LAST_TAG / 2);
}

static void load_death_and_stops_at_any_point_under_load_lose_and_double_nothing(void)
{
    struct load_ load = {.ledger = shared_memory(sizeof *load.ledger), .shared = shared_memory(sizeof *load.shared)};
    struct actor_ actors[ACTORS];
    struct owed_ owed = {.count = 0};
    uint32_t deaths = 0;
    uint32_t stops = 0;
    uint32_t living = ACTORS;
    flow_make(&load.space, 60, 30, 256); /* room for all at once: flow_call does not wait for it */
    load.supervisor = flow_join(&load.space, LQ_ROLE_SUPERVISOR);
    lq_store32(&load.shared->next_tag, 1);
    for (uint32_t i = 0; i < ACTORS; i++) {
        actors[i] = (struct actor_){.load = &load, .is_client = i < CLIENTS, .seed = i + 1};
        start_(&actors[i]);
    }
    while (living != 0) {
        int status = 0;
        pid_t pid = waitpid(-1, &status, WUNTRACED | (owed.count != 0 ? WNOHANG : 0));
        if (pid > 0) {
            struct actor_ *actor = find_(actors, pid);
            bool is_done = attend_(actor, status, &owed);
            stops += WIFSTOPPED(status);
            deaths += WIFSIGNALED(status);
            living -= is_done;
            if (WIFSIGNALED(status)) {
                recover_owed_(&load, &owed);
                start_(actor);
            }
        } else {
            CHECK(pid == 0 || errno == EINTR);
            sched_yield();
        }
        recover_owed_(&load, &owed);
        if (actors[0].pid == 0 && actors[1].pid == 0)
            lq_store32(&load.shared->workers_end, 1);
    }
    /* What dead clients left in the rings, and what they were told of. */
    struct lq_worker worker;
    lq_worker_init(&worker, &load.space, flow_join(&load.space, LQ_ROLE_WORKER), 1);
    while (flow_drain(&worker, load.ledger) != 0 || owed.count != 0)
        recover_owed_(&load, &owed);
    lq_space_sweep(&load.space, worker.me);
    FLOW_CHECK(&load.space);
    balance_(&load, actors);
    lq_worker_end(&worker);
    flow_empty(&load.space, worker.me);
    flow_check_empty(&load.space);
    printf("        %u deaths and %u stops among %u tasks, %u looks\n", deaths, stops, LAST_TAG, lq_load32(&load.shared->looks));
    CHECK(deaths > 50 && lq_load32(&load.shared->looks) > 100);
}

const struct lq_case load_cases[] = {
    RUN_FORKING(load_death_and_stops_at_any_point_under_load_lose_and_double_nothing),
    END_OF_CASES,
};

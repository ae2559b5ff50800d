/* SPDX-License-Identifier: MIT */
#ifndef LQ_SCENE_H
#define LQ_SCENE_H
/*
 * A small Space in which one process, the actor, dies or is stopped in the midst of something, and what must be true
 * afterwards. test_death.c ends the actor at fault points, test_step.c at instructions.
 *
 *   scene_open .. prepare .. (the actor, in a child) .. scene_settle .. scene_audit .. scene_close
 */
#include "flow.h"

#define KILLED 9u         /* the wait status that recovery is told */
#define ACTORS_TAGS 3000u /* the first of the tags that the actor uses for tasks of its own */

struct scene {
    struct lq_space space;
    struct ledger *ledger;   /* shared */
    struct lq_client client; /* lives through it all */
    lq_label actor;          /* dies: the client, supervisor or worker of the scenario */
    lq_label second;         /* dies with it: a process can't be two, but a test can be short so */
    lq_label third;          /* a recoverer in a process of its own */
    lq_label recoverer;      /* who recovers in scene_recover: `client`, or `third` */
    bool recoverer_died;     /* `third` has */
    uint32_t tags;           /* used so far by `client`; the actor's own begin at ACTORS_TAGS */
    uint32_t cancelled;      /* a tag that may end so, 0 for none */
    bool begun;              /* that task had begun, and its worker is `second` */
    bool judged;             /* a task may end as crashed although its user code never began */
    uint32_t index, task;    /* what prepare leaves for act */
    pid_t rival;             /* a process that prepare has left stopped at a fault point, 0 for none */
};

void scene_open(struct scene *scene, struct ledger *ledger);
void scene_close(struct scene *scene);
/* `client` submits one; `index` and `task` tell which. */
uint32_t scene_send(struct scene *scene, uint64_t args_bytes, uint64_t result_bytes, uint8_t max_crashes);
/* Some worker runs all that is queued, and leaves. */
void scene_work_off(struct scene *scene);
/*
 * Everybody is used to work again: slots, blocks, spans, functions, rows. Some of it stays on its way. No payload is longer
 * than `longest`.
 */
void scene_use_again(struct scene *scene, uint32_t rounds, uint64_t longest);
/* Bury the actor and `second`, and recover them. False: labels stay, because a ring is full, or a task needs what they pinned. */
bool scene_recover(struct scene *scene);
/* The same, to the end: whoever must take before more can be pushed does so. The labels are released. */
void scene_settle(struct scene *scene);
/*
 * Everything must be accounted for: every task has one outcome, and when all is read, nothing is left. `died`: a task that
 * was begun may have ended as crashed.
 */
void scene_audit(struct scene *scene, bool died);

#endif

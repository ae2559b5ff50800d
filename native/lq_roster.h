/* SPDX-License-Identifier: MIT */
#ifndef LQ_ROSTER_H
#define LQ_ROSTER_H
/*
 * The roster: one row a process. A row's index and incarnation are the label that its process writes into words.
 *
 *   FREE --join--> LIVE --bury, once the kernel proved the death--> DEAD --release, once no word bears the label--> FREE+1
 *
 * Row 0 is never given out: label zero means nobody. The word of a row has the pid where other words have a label, so that
 * from the swap that takes it on there is somebody whose death can be proven.
 */
#include "lq_bell.h"
#include "lq_fault.h"

enum lq_row_state { LQ_ROW_FREE = 0, LQ_ROW_LIVE = 1, LQ_ROW_DEAD = 2 };
/* A spare is set up as a worker is, takes no tasks, and becomes a worker when one is needed. */
enum lq_role { LQ_ROLE_NONE = 0, LQ_ROLE_CLIENT = 1, LQ_ROLE_SUPERVISOR = 2, LQ_ROLE_WORKER = 3, LQ_ROLE_SPARE = 4 };

/* What a process is at, and where what it tells ends. One writer, relaxed stores; for people, decides nothing. What it counts: lq_meter.h */
struct lq_tracks {
    lq_a64 parked;        /* times it went to sleep */
    lq_a64 task;          /* slot << 32 | task generation of the task in hand, ~0 when idle */
    lq_a64 task_since_ns; /* CLOCK_MONOTONIC */
    /* Not reset when the row is taken anew: numbers of events and records are given once, whoever has the row. */
    lq_a64 journal_end;   /* see lq_journal.h */
    lq_a64 trace_end;     /* see lq_trace.h */
    lq_a64 trace_first;
    lq_a64 trace_since_ns;
    lq_a32 metered;       /* 1 once its meter was written: the memory of others is not touched by readers */
    uint32_t spare;
};

#define LQ_ROW_SUMS 9u /* LQ_SUMS of lq_meter.h */

struct lq_row {
    lq_a64 word;        /* state, aux = role, generation = incarnation; in place of the label the pid, 0: not forked yet */
    uint32_t ready;     /* a worker: 1 once its initializer has run */
    lq_a32 pins_end;    /* entries of its table of pins that may be in use: [0, end). Its process writes it */
    uint64_t joined_ns; /* CLOCK_MONOTONIC */
    lq_a64 origin;      /* incarnation 12 | when that process started, in the kernel's ticks, 52: tells a pid used again */
    _Alignas(LQ_LINE) struct lq_bell bell; /* a client's: rung when a task of its own is done */
    _Alignas(LQ_LINE) lq_a32 wanted; /* a client: slot + 1 that it sleeps for, 0 for any; workers read it before they ring */
    lq_a32 missed;      /* workers set it when the completion ring was full: look through the slots */
    lq_a32 lost;        /* a client: grows when another evicts a cached result of its; a hint to count them anew */
    _Alignas(LQ_LINE) struct lq_tracks tracks;
    lq_a64 base[LQ_ROW_SUMS]; /* what its meter had when the row was taken */
    _Alignas(LQ_PAIR) unsigned char end[0];
};

_Static_assert(sizeof(struct lq_row) == 512, "a row is eight lines");

struct lq_roster {
    struct lq_row *rows; /* LQ_ROWS of them */
};

size_t lq_roster_size(void);
/* Take a free row for a process that is about to act. LQ_OK and *label; LQ_FULL. */
enum lq_status lq_roster_join(const struct lq_roster *roster, enum lq_role role, uint32_t pid, lq_label *label);
/* Tell the pid of a row that was taken with 0 (may be told twice), and when that process started. False: the row is another's. */
bool lq_roster_sign_in(const struct lq_roster *roster, lq_label label, uint32_t pid, uint64_t started);
/* A spare is a worker from now on. False: it is none, its process has not signed in, or the row is another's. */
bool lq_roster_promote(const struct lq_roster *roster, lq_label label);
/* The process behind `label` is proven dead: from now on its words may be recovered. Any number of callers. */
void lq_roster_bury(const struct lq_roster *roster, lq_label label);
/* Bury a row that no process has signed in to, so that none can any more. False: one has, or the row is another's. */
bool lq_roster_bury_unsigned(const struct lq_roster *roster, lq_label label);
/* No word bears the label any more: the row may be used again under the next incarnation. */
void lq_roster_release(const struct lq_roster *roster, lq_label label);
enum lq_status lq_roster_check(const struct lq_roster *roster);

static inline struct lq_row *lq_roster_row(const struct lq_roster *roster, lq_label label)
{
    return &roster->rows[lq_label_row(label) % LQ_ROWS];
}

/* Is that the word of this incarnation, in this state? */
static inline bool lq_row_is(uint64_t word, lq_label label, enum lq_row_state state)
{
    return label != LQ_NOBODY && lq_word_state(word) == (uint32_t)state && (lq_word_generation(word) & 0xfffu) == lq_label_incarnation(label);
}

static inline enum lq_row_state lq_roster_state(const struct lq_roster *roster, lq_label label)
{
    uint64_t word = lq_load(&lq_roster_row(roster, label)->word);
    if (label == LQ_NOBODY || (lq_word_generation(word) & 0xfffu) != lq_label_incarnation(label))
        return LQ_ROW_FREE; /* that incarnation is over */
    return (enum lq_row_state)lq_word_state(word);
}

static inline uint32_t lq_row_pid(const struct lq_row *row)
{
    return lq_word_label(lq_load(&row->word));
}

/* 0: not told. */
static inline uint64_t lq_row_started(const struct lq_row *row)
{
    uint64_t origin = lq_load(&row->origin);
    return origin >> 52 == (lq_word_generation(lq_load(&row->word)) & 0xfffu) ? origin & ((1ull << 52) - 1) : 0;
}

static inline bool lq_roster_is_live(const struct lq_roster *roster, lq_label label)
{
    return lq_roster_state(roster, label) == LQ_ROW_LIVE;
}

#endif

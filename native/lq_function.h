/* SPDX-License-Identifier: MIT */
#ifndef LQ_FUNCTION_H
#define LQ_FUNCTION_H
/*
 * The function table: what a task's function number stands for. A client publishes a function once; tasks name its row and
 * generation; workers decode it when they first meet that pair, and keep it.
 *
 *   FREE --> WRITING(client) --> LIVE(client) --> FREE, generation + 1
 *                                  `-- client died --> LIVE(nobody) -- no task needs it --> WRITING(sweeper) --> FREE, generation + 1
 *
 * Only the client that published a function submits tasks with it, so it alone knows when no task needs it any more; the
 * functions of a dead client stay until no queued task names them.
 */
#include "lq_fault.h"
#include "lq_status.h"
#include "lq_word.h"

#define LQ_FUNCTIONS 4096u
#define LQ_FUNCTION_INLINE 104u
#define LQ_FUNCTION_NAME 100u
#define LQ_FUNCTION_IN_BAND 0xffffffffu /* in a slot: the function travels with the arguments */

enum lq_function_state { LQ_FUNCTION_FREE = 0, LQ_FUNCTION_WRITING = 1, LQ_FUNCTION_LIVE = 2 };

struct lq_function {
    lq_a64 word;
    uint32_t kind;   /* of localq.functions; opaque here */
    uint32_t bytes;
    uint32_t block;  /* 0: inline */
    uint32_t name_bytes;
    unsigned char inline_bytes[LQ_FUNCTION_INLINE];
    unsigned char name[LQ_FUNCTION_NAME + 4]; /* for people: UTF-8 */
    unsigned char end[24];
};

_Static_assert(sizeof(struct lq_function) == 256, "a function is four lines");

struct lq_functions {
    struct lq_function *rows;
    lq_a64 *used; /* the last row that may have been used; raised before a row's word is touched */
};

size_t lq_functions_size(void);
/* WRITING(me): fill the body, then publish. LQ_OK or LQ_FULL. Any number of callers. */
enum lq_status lq_functions_take(const struct lq_functions *functions, lq_label me, uint32_t *cursor, uint32_t *row);
/* WRITING(me) -> LIVE(me). Returns the generation that tasks must name. */
uint32_t lq_functions_publish(const struct lq_functions *functions, lq_label me, uint32_t row);
/* LIVE(me) or WRITING(me) -> FREE. The block, if any, is dropped by the caller before, while the row is WRITING. */
void lq_functions_release(const struct lq_functions *functions, lq_label me, uint32_t row);
/* Free what `dead` was writing (its block, if any, must have been dropped); what it had published is nobody's then, and freed when no task needs it. Returns labels found. */
uint32_t lq_functions_recover(const struct lq_functions *functions, lq_label dead);
/* Name a row in WRITING(me); the name is cut. */
void lq_functions_name(const struct lq_functions *functions, uint32_t row, const char *name, uint64_t bytes);
/* The name of a published function. Returns its length; 0: it has none, or is not (or no longer) there. Any number of callers. */
uint32_t lq_functions_name_of(const struct lq_functions *functions, uint32_t row, uint32_t generation, char name[LQ_FUNCTION_NAME + 1]);
uint32_t lq_functions_end(const struct lq_functions *functions);
enum lq_status lq_functions_check(const struct lq_functions *functions);

#endif

/* SPDX-License-Identifier: MIT */
#ifndef LQ_TEST_H
#define LQ_TEST_H
/*
 * The test program's own tools. A case is a function; main.c runs each in a process of its own, under an alarm, so that a
 * crash or a hang is that case's failure and no other's.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#if defined(__SANITIZE_THREAD__)
#define LQ_TSAN 1
#else
#define LQ_TSAN 0
#endif
#if defined(__SANITIZE_ADDRESS__)
#define LQ_ASAN 1
#else
#define LQ_ASAN 0
#endif

struct lq_case {
    const char *name; /* the sentence that would be false */
    void (*run)(void);
    bool forks; /* processes, not threads, are the point: ThreadSanitizer sees nothing of it */
};

#define RUN(function) {#function, function, false}
#define RUN_FORKING(function) {#function, function, true}
#define END_OF_CASES {NULL, NULL, false}

extern const struct lq_case word_cases[], ring_cases[], slot_cases[], arena_cases[], roster_cases[], report_cases[], bell_cases[],
    function_cases[], space_cases[], client_worker_cases[], layout_cases[], death_cases[], load_cases[], fuzz_cases[],
    step_cases[], look_cases[], pin_cases[], tell_cases[];

/* Ends the case: what it was about is false. */
_Noreturn void lq_fail(const char *file, int line, const char *what);
_Noreturn void lq_fail_values(const char *file, int line, const char *what, uint64_t left, uint64_t right);

/* Where a long case is just now; told when it fails. */
extern char lq_where[160];
#define AT(...) snprintf(lq_where, sizeof lq_where, __VA_ARGS__)

#define CHECK(condition) ((condition) ? (void)0 : lq_fail(__FILE__, __LINE__, #condition))
#define CHECK_EQ(left, right)                                                                       \
    do {                                                                                            \
        uint64_t left_ = (uint64_t)(left), right_ = (uint64_t)(right);                              \
        if (left_ != right_)                                                                        \
            lq_fail_values(__FILE__, __LINE__, #left " == " #right, left_, right_);                 \
    } while (0)

/* Run `body(argument)` in a forked process, which ends with 0 if it returns. */
pid_t in_child(void (*body)(void *), void *argument);
/* Wait until the process has ended (or, `or_stopped`, was stopped). Returns its wait status. */
int wait_for(pid_t pid, bool or_stopped);
/* Run `body(argument, number)` in `count` threads at once, and wait for all. */
void in_threads(unsigned count, void (*body)(void *, unsigned), void *argument);
/* Zeroed memory that forked processes share. */
void *shared_memory(size_t bytes);
/* A small generator of numbers (xorshift): the same every time, so that a failure comes again. */
uint32_t next_random(uint32_t *state);

/* ---- fault.c: places to die at ---- */

enum lq_fault_action { LQ_FAULT_COUNT, LQ_FAULT_KILL, LQ_FAULT_STOP };

/* This process: at the `at`th point that it passes (from 0), of any name or of this one, do that. Counts from now on. */
void lq_fault_arm(const char *name, uint32_t at, enum lq_fault_action action);
void lq_fault_disarm(void);
/* Points passed since lq_fault_arm. */
uint32_t lq_fault_passed(void);
/* The list made from the sources, and what any process of this run has passed while armed. Before any fork. */
void lq_fault_share(void);
size_t lq_fault_points(void);
const char *lq_fault_name(size_t point);
bool lq_fault_was_passed(size_t point);

#endif

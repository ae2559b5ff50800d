/* SPDX-License-Identifier: MIT */
/*
 * What LQ_FAULT does in the test program. points.inc is made from the sources (see the Makefile), so a fault point that no
 * scenario passes can't hide.
 */
#include "lq_test.h"

#include <signal.h>
#include <stdatomic.h>

#include "../lq_fault.h"

static const char *const points_[] = {
#include "points.inc"
};

#define POINTS (sizeof points_ / sizeof points_[0])

static atomic_uchar *passed_by_anyone_; /* shared by all processes of a run */
static struct {
    bool on;
    const char *name; /* NULL: of any name */
    uint32_t at, passed;
    enum lq_fault_action action;
} armed_;

void lq_fault_share(void)
{
    passed_by_anyone_ = shared_memory(POINTS);
}

void lq_fault_arm(const char *name, uint32_t at, enum lq_fault_action action)
{
    armed_.name = name;
    armed_.at = at;
    armed_.passed = 0;
    armed_.action = action;
    armed_.on = true;
}

void lq_fault_disarm(void)
{
    armed_.on = false;
}

uint32_t lq_fault_passed(void)
{
    return armed_.passed;
}

static void note_(const char *name)
{
    for (size_t point = 0; point < POINTS; point++) {
        if (strcmp(points_[point], name) == 0) {
            atomic_store(&passed_by_anyone_[point], 1);
            return;
        }
    }
    CHECK(strncmp(name, "test:", 5) == 0); /* not in the list, which was made from the sources? */
}

void lq_fault_point(const char *name)
{
    if (!armed_.on)
        return;
    note_(name);
    if (armed_.name != NULL && strcmp(armed_.name, name) != 0)
        return;
    if (armed_.passed++ != armed_.at || armed_.action == LQ_FAULT_COUNT)
        return;
    raise(armed_.action == LQ_FAULT_KILL ? SIGKILL : SIGSTOP);
}

size_t lq_fault_points(void)
{
    return POINTS;
}

const char *lq_fault_name(size_t point)
{
    return points_[point];
}

bool lq_fault_was_passed(size_t point)
{
    return atomic_load(&passed_by_anyone_[point]) != 0;
}

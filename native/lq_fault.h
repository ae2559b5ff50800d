/* SPDX-License-Identifier: MIT */
#ifndef LQ_FAULT_H
#define LQ_FAULT_H
/*
 * LQ_FAULT("ring_push:written") marks a place to die at: after each store that others can see. Nothing in a release; in
 * the test program a call that kills or stops the process when that point is armed. The list of points that a run has
 * passed is the list of crash cases that it must test.
 */
#ifdef LQ_TESTING
void lq_fault_point(const char *name);
#define LQ_FAULT(name) lq_fault_point(name)
#else
#define LQ_FAULT(name) ((void)0)
#endif

#endif

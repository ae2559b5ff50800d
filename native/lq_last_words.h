/* SPDX-License-Identifier: MIT */
#ifndef LQ_LAST_WORDS_H
#define LQ_LAST_WORDS_H
/*
 * A worker writes its last Python stack into a descriptor when a fatal signal comes (faulthandler does). A task may have
 * closed that descriptor and opened a file of its own under the same number: then nothing must be written.
 */

/* Put a look at `fd` before the handlers of fatal signals that are installed now: they run only while it is the same file.
   Returns 0, or -1 with errno. Once a process. */
int lq_last_words_guard(int fd);

#endif

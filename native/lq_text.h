/* SPDX-License-Identifier: MIT */
#ifndef LQ_TEXT_H
#define LQ_TEXT_H
/*
 * Short texts in shared memory: UTF-8 that is cut where a character ends.
 */
#include <stdint.h>

/* How many of the `bytes` bytes of a text to keep, so that there are at most `most` and no character is cut in two. */
static inline uint32_t lq_text_fit(const char *text, uint64_t bytes, uint32_t most)
{
    if (bytes <= most)
        return (uint32_t)bytes;
    uint32_t end = most;
    while (end != 0 && ((unsigned char)text[end] & 0xc0u) == 0x80u)
        end--; /* in the midst of one */
    return end;
}

#endif

/* SPDX-License-Identifier: MIT */
#include "lq_function.h"

#include <string.h>

#include "lq_text.h"

size_t lq_functions_size(void)
{
    return sizeof(struct lq_function) * LQ_FUNCTIONS;
}

uint32_t lq_functions_end(const struct lq_functions *functions)
{
    uint64_t end = lq_load(functions->used) + 1;
    return end < LQ_FUNCTIONS ? (uint32_t)end : LQ_FUNCTIONS;
}

static void note_used_(const struct lq_functions *functions, uint32_t row)
{
    for (;;) {
        uint64_t used = lq_load(functions->used);
        if (used >= row || lq_cas(functions->used, used, row))
            return;
    }
}

/*
 * Callers:  any number of processes at once.
 * Progress: wait-free (one pass).
 * Death:    from the swap on the word names `me`.
 */
enum lq_status lq_functions_take(const struct lq_functions *functions, lq_label me, uint32_t *cursor, uint32_t *row)
{
    for (uint32_t i = 0; i < LQ_FUNCTIONS; i++) {
        uint32_t at = (*cursor + i) % LQ_FUNCTIONS;
        uint64_t word = lq_load(&functions->rows[at].word);
        if (lq_word_state(word) != LQ_FUNCTION_FREE)
            continue;
        note_used_(functions, at);
        if (!lq_cas(&functions->rows[at].word, word, lq_word_as(word, LQ_FUNCTION_WRITING, me)))
            continue;
        LQ_FAULT("functions_take:claimed");
        *cursor = at + 1;
        *row = at;
        return LQ_OK;
    }
    return LQ_FULL;
}

uint32_t lq_functions_publish(const struct lq_functions *functions, lq_label me, uint32_t row)
{
    uint64_t word = lq_load(&functions->rows[row].word);
    lq_store(&functions->rows[row].word, lq_word_as(word, LQ_FUNCTION_LIVE, me));
    LQ_FAULT("functions_publish:live");
    return lq_word_generation(word);
}

void lq_functions_name(const struct lq_functions *functions, uint32_t row, const char *name, uint64_t bytes)
{
    struct lq_function *function = &functions->rows[row];
    uint64_t text[(LQ_FUNCTION_NAME + 4) / 8] = {0};
    uint32_t kept = lq_text_fit(name, bytes, LQ_FUNCTION_NAME);
    memcpy(text, name, kept);
    lq_order_stores(); /* readers must see that the row is WRITING before anything of the new name */
    LQ_PUT(function->name_bytes, kept);
    lq_copy_relaxed(function->name, text, kept);
}

uint32_t lq_functions_name_of(const struct lq_functions *functions, uint32_t row, uint32_t generation, char name[LQ_FUNCTION_NAME + 1])
{
    name[0] = 0;
    if (row >= LQ_FUNCTIONS)
        return 0;
    const struct lq_function *function = &functions->rows[row];
    uint64_t word = lq_load(&function->word);
    if (lq_word_state(word) != LQ_FUNCTION_LIVE || lq_word_generation(word) != generation)
        return 0;
    uint64_t text[(LQ_FUNCTION_NAME + 4) / 8];
    uint32_t bytes = LQ_GET(function->name_bytes);
    lq_copy_relaxed(text, function->name, sizeof text);
    lq_order_loads();
    uint64_t now = lq_load_seq(&function->word);
    if (lq_word_state(now) != LQ_FUNCTION_LIVE || lq_word_generation(now) != generation || bytes > LQ_FUNCTION_NAME)
        return 0;
    memcpy(name, text, bytes);
    name[bytes] = 0;
    return bytes;
}

void lq_functions_release(const struct lq_functions *functions, lq_label me, uint32_t row)
{
    uint64_t word = lq_load(&functions->rows[row].word);
    if (lq_word_label(word) == me && lq_word_state(word) != LQ_FUNCTION_FREE)
        lq_cas(&functions->rows[row].word, word, lq_word_next(word, LQ_FUNCTION_FREE, LQ_NOBODY, 0));
    LQ_FAULT("functions_release:free");
}

uint32_t lq_functions_recover(const struct lq_functions *functions, lq_label dead)
{
    uint32_t found = 0;
    uint32_t end = lq_functions_end(functions);
    for (uint32_t row = 0; row < end; row++) {
        uint64_t word = lq_load(&functions->rows[row].word);
        if (lq_word_label(word) != dead)
            continue;
        found++;
        if (lq_word_state(word) == LQ_FUNCTION_LIVE)
            lq_cas(&functions->rows[row].word, word, lq_word_as(word, LQ_FUNCTION_LIVE, LQ_NOBODY));
        else
            lq_cas(&functions->rows[row].word, word, lq_word_next(word, LQ_FUNCTION_FREE, LQ_NOBODY, 0));
        LQ_FAULT("functions_recover:freed");
    }
    return found;
}

enum lq_status lq_functions_check(const struct lq_functions *functions)
{
    uint32_t end = lq_functions_end(functions);
    for (uint32_t row = 0; row < end; row++) {
        const struct lq_function *function = &functions->rows[row];
        uint64_t word = lq_load(&function->word);
        bool labelled = lq_word_label(word) != LQ_NOBODY;
        if (lq_word_state(word) > LQ_FUNCTION_LIVE || (lq_word_state(word) == LQ_FUNCTION_FREE && labelled))
            return LQ_CORRUPT;
        if (lq_word_state(word) == LQ_FUNCTION_WRITING && !labelled)
            return LQ_CORRUPT;
        bool homeless = LQ_GET(function->block) == 0 && LQ_GET(function->bytes) > LQ_FUNCTION_INLINE;
        lq_order_loads();
        if (homeless && lq_word_state(word) == LQ_FUNCTION_LIVE && lq_load_seq(&function->word) == word)
            return LQ_CORRUPT;
    }
    return LQ_OK;
}

/* SPDX-License-Identifier: MIT */
#include "lq_meter.h"

#include <string.h>

#include "lq_text.h"

size_t lq_meters_size(void)
{
    return sizeof(struct lq_meter) * LQ_ROWS;
}

uint64_t lq_bucket_bound(uint32_t bucket, uint32_t octave, uint32_t buckets)
{
    if (bucket + 1 >= buckets)
        return UINT64_MAX;
    uint64_t octaves = bucket / octave;
    return (uint64_t)(octave + bucket % octave) << (LQ_OCTAVE_FIRST + octaves - (octave == 4 ? 2 : 1));
}

static uint32_t names_of_(const struct lq_meter *meter)
{
    uint32_t names = lq_load32(&meter->functions);
    return names < LQ_METER_FUNCTIONS ? names : LQ_METER_FUNCTIONS - 1;
}

uint32_t lq_meter_function(struct lq_meter *meter, const char *name, uint32_t bytes)
{
    uint32_t names = names_of_(meter);
    bytes = lq_text_fit(name, bytes, LQ_NAME_BYTES);
    if (bytes == 0)
        return 0;
    for (uint32_t entry = 1; entry <= names; entry++)
        if (meter->calls[entry].name_bytes == bytes && memcmp(meter->calls[entry].name, name, bytes) == 0)
            return entry;
    if (names + 1 >= LQ_METER_FUNCTIONS)
        return 0;
    struct lq_calls *calls = &meter->calls[names + 1];
    uint64_t text[(LQ_NAME_BYTES + 4) / 8] = {0};
    memcpy(text, name, bytes);
    LQ_PUT(calls->name_bytes, bytes);
    lq_copy_relaxed(calls->name, text, bytes);
    LQ_FAULT("meter_function:named");
    lq_store32(&meter->functions, names + 1);
    LQ_FAULT("meter_function:counted");
    return names + 1;
}

bool lq_meter_read_calls(const struct lq_meter *meter, uint32_t entry, uint64_t sums[LQ_CALLS_SUMS], uint64_t run[LQ_CALLS_BUCKETS],
                         char name[LQ_NAME_BYTES + 1])
{
    if (entry > names_of_(meter))
        return false;
    const struct lq_calls *calls = &meter->calls[entry];
    uint64_t text[(LQ_NAME_BYTES + 4) / 8];
    uint32_t bytes = entry == 0 ? 0 : LQ_GET(calls->name_bytes);
    bytes = bytes <= LQ_NAME_BYTES ? bytes : 0;
    lq_copy_relaxed(text, calls->name, sizeof text);
    memcpy(name, text, bytes);
    name[bytes] = 0;
    for (uint32_t i = 0; i < LQ_CALLS_SUMS; i++)
        sums[i] = lq_load_relaxed(&calls->sums[i]);
    for (uint32_t i = 0; i < LQ_CALLS_BUCKETS; i++)
        run[i] = lq_load_relaxed(&calls->run[i]);
    return true;
}

# SPDX-License-Identifier: MIT
# What processes tell people, as Python sees it: meters, events, notes, records. Used by space.pxi. Included by _native.pyx.

cdef tuple bounds(uint32_t octave, uint32_t buckets):
    """The upper ends of a histogram's buckets, in seconds."""
    return tuple([lq_bucket_bound(i, octave, buckets) / 1e9 for i in range(buckets - 1)] + [float("inf")])

METER_BOUNDS = bounds(4, LQ_BUCKETS)
FUNCTION_BOUNDS = bounds(2, LQ_CALLS_BUCKETS)
OTHERS = "(others)"     # the name of functions that found no room of their own

cdef tuple EVENT_KINDS = (None, "failure", "retry", "crash", "timeout", "cancelled", "log", "restart")
cdef tuple OUTCOMES = (None, "success", "failure", "cancelled", "crashed", "timeout", "expired")
cdef tuple SUMS = ("succeeded", "failed", "retried", "cancelled", "items", "bytes_in", "bytes_out", "run_ns", "wait_ns")
cdef tuple CALLS = ("succeeded", "failed", "retried", "items", "run_ns", "wait_ns", "most_ns")


cdef str text_of(const unsigned char *at, uint32_t length):
    return (<const char *>at)[:length].decode("utf-8", "replace")


cdef uint64_t bits_of(object progress) except? 0:
    """Of a double; None: not a number."""
    cdef double value = float("nan") if progress is None else <double>progress
    cdef uint64_t bits
    memcpy(&bits, &value, 8)
    return bits


cdef object progress_of(uint64_t bits):
    cdef double value
    memcpy(&value, &bits, 8)
    return None if value != value else value


cdef bytes as_text(object text):
    """UTF-8 without zeros, for those that read until one."""
    return str(text).encode("utf-8", "replace").replace(b"\0", b" ")


cdef dict summed(const uint64_t *sums, tuple names):
    return {name: sums[i] for i, name in enumerate(names)}


cdef int add_calls(dict found, const lq_meter *meter) except -1:
    """The functions of one meter, to those of others by name. The longest run is no sum."""
    cdef uint64_t sums[16]
    cdef uint64_t run[128]
    cdef char name[128]
    cdef uint32_t entry = 0
    cdef int i
    while lq_meter_read_calls(meter, entry, sums, run, name):
        shown = OTHERS if name[0] == 0 else name.decode("utf-8", "replace")
        entry += 1
        known = found.get(shown)
        if known is None:
            if entry == 1 and sums[LQ_CALLS_RUN_NS] == 0 and sums[LQ_CALLS_FAILED] == 0:
                continue        # nobody was counted there
            found[shown] = {"name": shown, **summed(sums, CALLS), "run": [run[i] for i in range(<int>LQ_CALLS_BUCKETS)]}
            continue
        for i, key in enumerate(CALLS):
            known[key] = max(known[key], sums[i]) if key == "most_ns" else known[key] + sums[i]
        counts = known["run"]
        for i in range(<int>LQ_CALLS_BUCKETS):
            counts[i] += run[i]
    return 0

/* SPDX-License-Identifier: MIT */
/* Python values to MessagePack: the writing half of lq_value.h. */
#include "lq_value.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* ---- writing ----------------------------------------------------------------------------- */

/*
 * Where a value stands, which decides what sharing means. Pickle keeps two references to one
 * list as one list; MessagePack would make two lists of it, and a change to one would no longer
 * show in the other. So a list or dict is written only where it has one path to it. Its
 * reference count shows that from below (one reference: its parent's), without a table of what
 * was seen. It says "shared" too often, never too seldom, and then pickle does the work.
 */
enum place {
    PLACE_ROOT,   /* an argument, or the value itself: the references of the caller do not count */
    PLACE_ITEM,   /* one of lq_value_encode_items: a root, of which there may be very many */
    PLACE_NESTED, /* in a container with one path to it */
    PLACE_FROZEN, /* in a tuple with more than one path to it: nothing in there may be changeable */
};

enum {
    /* Bytes. Below it writing a shared str, bytes or tuple once more is cheaper than pickle, which writes
       it once. It has to end: of thirty tuples, each holding the one before twice, come gigabytes. */
    REPEAT_LIMIT = 1 << 20,
    /* Bytes. What is shorter is not worth a look at its reference count. */
    REPEAT_SMALL = 255,
    /* Bytes. Longer `bytes` go beside a pickle, as they are: one copy less. */
    BYTES_LIMIT = 1 << 18,
};

struct writer {
    unsigned char *at;  /* the next byte goes here */
    unsigned char *end; /* and none from here on */
    struct lq_out *out;
    size_t repeated; /* bytes written of things with more than one reference */
};

static inline struct writer writer_open(struct lq_out *out)
{
    unsigned char *base = out->base;

    return (struct writer){.at = base + out->len, .end = base + out->cap, .out = out, .repeated = 0};
}

static inline int writer_close(struct writer *to, int status)
{
    to->out->len = (size_t)(to->at - to->out->base);
    return status;
}

/* Go on in the scratch memory, with room for `bytes` more. Returns 0, or -1 with MemoryError. */
__attribute__((cold, noinline)) static int spill(struct writer *to, size_t bytes)
{
    struct lq_out *out = to->out;
    size_t len = (size_t)(to->at - out->base);
    int in_scratch = out->base == out->scratch;

    if (bytes > (size_t)PY_SSIZE_T_MAX / 2 - len) {
        PyErr_NoMemory();
        return -1;
    }
    if (out->scratch_cap < len + bytes) {
        size_t cap = out->scratch_cap < 4096 ? 4096 : out->scratch_cap;
        while (cap < len + bytes)
            cap *= 2;
        unsigned char *grown = realloc(out->scratch, cap);
        if (grown == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        out->scratch = grown;
        out->scratch_cap = cap;
    }
    if (!in_scratch && len > 0)
        memcpy(out->scratch, out->base, len);
    out->base = out->scratch;
    out->cap = out->scratch_cap;
    to->at = out->base + len;
    to->end = out->base + out->cap;
    return 0;
}

/* Claim exactly `bytes`, so that what fits the caller's memory stays there. NULL with MemoryError. */
static inline unsigned char *claim(struct writer *to, size_t bytes)
{
    if ((size_t)(to->end - to->at) < bytes && spill(to, bytes) < 0)
        return NULL;
    unsigned char *at = to->at;
    to->at = at + bytes;
    return at;
}

static inline int put_byte(struct writer *to, unsigned byte)
{
    unsigned char *at = claim(to, 1);

    if (at == NULL)
        return LQ_VALUE_ERROR;
    *at = (unsigned char)byte;
    return LQ_VALUE_OK;
}

static inline void store16(unsigned char *at, uint16_t n)
{
    at[0] = (unsigned char)(n >> 8);
    at[1] = (unsigned char)n;
}

static inline void store32(unsigned char *at, uint32_t n)
{
    store16(at, (uint16_t)(n >> 16));
    store16(at + 2, (uint16_t)n);
}

static inline void store64(unsigned char *at, uint64_t n)
{
    store32(at, (uint32_t)(n >> 32));
    store32(at + 4, (uint32_t)n);
}

/* A tag and a number of 1, 2, 4 or 8 bytes. */
static int put_number(struct writer *to, unsigned tag, size_t width, uint64_t n)
{
    unsigned char *at = claim(to, 1 + width);

    if (at == NULL)
        return LQ_VALUE_ERROR;
    *at++ = (unsigned char)tag;
    switch (width) {
    case 1: *at = (unsigned char)n; break;
    case 2: store16(at, (uint16_t)n); break;
    case 4: store32(at, (uint32_t)n); break;
    default: store64(at, n);
    }
    return LQ_VALUE_OK;
}

/* The head of an array (0x90, 0xdc) or map (0x80, 0xde) of n members. */
static inline int put_head(struct writer *to, unsigned tag_fix, unsigned tag16, size_t n)
{
    if (n < 16)
        return put_byte(to, tag_fix | (unsigned)n);
    if (n <= UINT16_MAX)
        return put_number(to, tag16, 2, n);
    if (n <= UINT32_MAX)
        return put_number(to, tag16 + 1, 4, n);
    return LQ_VALUE_FOREIGN;
}

/* The head of bytes (0xc4), or of a str (0xd9) over 31 bytes, with room for these: NULL with MemoryError. */
static unsigned char *put_long_head(struct writer *to, unsigned tag8, size_t bytes)
{
    size_t width = bytes <= UINT8_MAX ? 1 : bytes <= UINT16_MAX ? 2 : 4;
    unsigned char *at = claim(to, 1 + width + bytes);

    if (at == NULL)
        return NULL;
    to->at = at;
    if (put_number(to, tag8 + (unsigned)width / 2, width, bytes) < 0)
        return NULL;
    to->at += bytes;
    return at + 1 + width;
}

/* Whether what was just met, `bytes` long, has been written again and again for too long. */
static inline int repeats_too_much(struct writer *to, PyObject *value, size_t bytes, enum place place)
{
    if (bytes <= REPEAT_SMALL || place == PLACE_ROOT || Py_REFCNT(value) == 1)
        return 0;
    to->repeated += bytes;
    return to->repeated > REPEAT_LIMIT;
}

/* ---- encoding scalars -------------------------------------------------------------------- */

static int encode_wide_int(struct writer *to, long long n)
{
    if (n >= 0) {
        if (n <= UINT8_MAX)
            return put_number(to, 0xcc, 1, (uint64_t)n);
        if (n <= UINT16_MAX)
            return put_number(to, 0xcd, 2, (uint64_t)n);
        if (n <= UINT32_MAX)
            return put_number(to, 0xce, 4, (uint64_t)n);
        return put_number(to, 0xcf, 8, (uint64_t)n);
    }
    if (n >= INT8_MIN)
        return put_number(to, 0xd0, 1, (uint64_t)n);
    if (n >= INT16_MIN)
        return put_number(to, 0xd1, 2, (uint64_t)n);
    if (n >= INT32_MIN)
        return put_number(to, 0xd2, 4, (uint64_t)n);
    return put_number(to, 0xd3, 8, (uint64_t)n);
}

/* An int outside int64: in uint64, or foreign. */
static int encode_big_int(struct writer *to, PyObject *value, int sign)
{
    if (sign < 0)
        return LQ_VALUE_FOREIGN;
    unsigned long long n = PyLong_AsUnsignedLongLong(value);
    if (n == (unsigned long long)-1 && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError))
            return LQ_VALUE_ERROR;
        PyErr_Clear();
        return LQ_VALUE_FOREIGN;
    }
    return put_number(to, 0xcf, 8, n);
}

/* The usual int, of one digit at most, whose value can be had without a call. */
static inline bool is_compact(PyObject *value, long long *n)
{
#if PY_VERSION_HEX >= 0x030c0000
    if (!PyUnstable_Long_IsCompact((PyLongObject *)value))
        return false;
    *n = PyUnstable_Long_CompactValue((PyLongObject *)value);
#else
    Py_ssize_t size = Py_SIZE(value); /* digits, and below zero for a negative number */
    if (size < -1 || size > 1)
        return false;
    *n = size * (long long)((PyLongObject *)value)->ob_digit[0];
#endif
    return true;
}

static inline int encode_int(struct writer *to, PyObject *value)
{
    int overflow = 0;
    long long n;

    if (!is_compact(value, &n))
        n = PyLong_AsLongLongAndOverflow(value, &overflow);

    if (overflow != 0)
        return encode_big_int(to, value, overflow);
    if (n >= -32 && n < 128)
        return put_byte(to, (unsigned)n);
    return encode_wide_int(to, n);
}

static int encode_float(struct writer *to, PyObject *value)
{
    double n = PyFloat_AS_DOUBLE(value);
    uint64_t bits;

    memcpy(&bits, &n, sizeof bits);
    return put_number(to, 0xcb, 8, bits);
}

static int encode_bytes(struct writer *to, PyObject *value, enum place place)
{
    size_t bytes = (size_t)PyBytes_GET_SIZE(value);

    if (bytes > BYTES_LIMIT || repeats_too_much(to, value, bytes, place))
        return LQ_VALUE_FOREIGN;
    unsigned char *at = put_long_head(to, 0xc4, bytes);
    if (at == NULL)
        return LQ_VALUE_ERROR;
    memcpy(at, PyBytes_AS_STRING(value), bytes);
    return LQ_VALUE_OK;
}

/* The head of a str of so many UTF-8 bytes, with room for these: NULL with MemoryError. */
static inline unsigned char *put_str_head(struct writer *to, size_t bytes)
{
    if (bytes > 31)
        return put_long_head(to, 0xd9, bytes);
    unsigned char *at = claim(to, 1 + bytes);
    if (at == NULL)
        return NULL;
    *at = (unsigned char)(0xa0 | bytes);
    return at + 1;
}

/* UTF-8 bytes of n characters; SIZE_MAX when one is a surrogate. Inlined with a constant kind. */
static inline size_t utf8_size(int kind, const void *data, Py_ssize_t n)
{
    size_t bytes = (size_t)n;
    int surrogates = 0;

    for (Py_ssize_t i = 0; i < n; i++) {
        Py_UCS4 c = PyUnicode_READ(kind, data, i);
        bytes += (size_t)(c > 0x7f) + (c > 0x7ff) + (c > 0xffff);
        surrogates |= c >= 0xd800 && c <= 0xdfff;
    }
    return surrogates ? SIZE_MAX : bytes;
}

static inline void utf8_write(unsigned char *at, int kind, const void *data, Py_ssize_t n)
{
    for (Py_ssize_t i = 0; i < n; i++) {
        Py_UCS4 c = PyUnicode_READ(kind, data, i);
        if (c < 0x80) {
            *at++ = (unsigned char)c;
            continue;
        }
        if (c < 0x800) {
            *at++ = (unsigned char)(0xc0 | c >> 6);
        } else {
            if (c < 0x10000) {
                *at++ = (unsigned char)(0xe0 | c >> 12);
            } else {
                *at++ = (unsigned char)(0xf0 | c >> 18);
                *at++ = (unsigned char)(0x80 | (c >> 12 & 0x3f));
            }
            *at++ = (unsigned char)(0x80 | (c >> 6 & 0x3f));
        }
        *at++ = (unsigned char)(0x80 | (c & 0x3f));
    }
}

/* A str that is not ASCII. By hand, since PyUnicode_AsUTF8AndSize leaves a second copy in the str
   for as long as that lives, and makes an exception of a surrogate. */
static int encode_wide_str(struct writer *to, PyObject *value, enum place place)
{
    Py_ssize_t n = PyUnicode_GetLength(value);
    if (n < 0)
        return LQ_VALUE_ERROR;
    int kind = (int)PyUnicode_KIND(value);
    const void *data = PyUnicode_DATA(value);
    size_t bytes;

    switch (kind) {
    case PyUnicode_1BYTE_KIND: bytes = utf8_size(PyUnicode_1BYTE_KIND, data, n); break;
    case PyUnicode_2BYTE_KIND: bytes = utf8_size(PyUnicode_2BYTE_KIND, data, n); break;
    default: bytes = utf8_size(PyUnicode_4BYTE_KIND, data, n);
    }
    if (bytes > UINT32_MAX || repeats_too_much(to, value, bytes, place))
        return LQ_VALUE_FOREIGN;
    unsigned char *at = put_str_head(to, bytes);
    if (at == NULL)
        return LQ_VALUE_ERROR;
    switch (kind) {
    case PyUnicode_1BYTE_KIND: utf8_write(at, PyUnicode_1BYTE_KIND, data, n); break;
    case PyUnicode_2BYTE_KIND: utf8_write(at, PyUnicode_2BYTE_KIND, data, n); break;
    default: utf8_write(at, PyUnicode_4BYTE_KIND, data, n);
    }
    return LQ_VALUE_OK;
}

static inline int encode_str(struct writer *to, PyObject *value, enum place place)
{
    if (!PyUnicode_IS_COMPACT_ASCII(value))
        return encode_wide_str(to, value, place);
    size_t bytes = (size_t)PyUnicode_GET_LENGTH(value);
    if (bytes > UINT32_MAX || repeats_too_much(to, value, bytes, place))
        return LQ_VALUE_FOREIGN;
    unsigned char *at = put_str_head(to, bytes);
    if (at == NULL)
        return LQ_VALUE_ERROR;
    memcpy(at, PyUnicode_DATA(value), bytes);
    return LQ_VALUE_OK;
}

/* ---- encoding containers ----------------------------------------------------------------- */

static int encode_rare(struct writer *to, PyObject *value, int depth, enum place place);

/* `depth` counts the containers around the value. The most frequent types are asked for first. */
static inline int encode_one(struct writer *to, PyObject *value, int depth, enum place place)
{
    PyTypeObject *type = Py_TYPE(value);

    if (type == &PyLong_Type)
        return encode_int(to, value);
    if (type == &PyUnicode_Type)
        return encode_str(to, value, place);
    if (type == &PyFloat_Type)
        return encode_float(to, value);
    return encode_rare(to, value, depth, place);
}

static int encode_members(struct writer *to, PyObject *const *members, size_t n, int depth, enum place place)
{
    int status = put_head(to, 0x90, 0xdc, n);

    for (size_t i = 0; status == LQ_VALUE_OK && i < n; i++)
        status = encode_one(to, members[i], depth, place);
    return status;
}

static inline int is_shared(PyObject *value, enum place place)
{
    return place == PLACE_FROZEN || (place == PLACE_NESTED && Py_REFCNT(value) > 1);
}

static int encode_list(struct writer *to, PyObject *value, int depth, enum place place)
{
    if (depth >= LQ_VALUE_DEPTH || is_shared(value, place))
        return LQ_VALUE_FOREIGN;
    return encode_members(to, PySequence_Fast_ITEMS(value), (size_t)PyList_GET_SIZE(value), depth + 1, PLACE_NESTED);
}

static int encode_dict(struct writer *to, PyObject *value, int depth, enum place place)
{
    if (depth >= LQ_VALUE_DEPTH || is_shared(value, place))
        return LQ_VALUE_FOREIGN;
    PyObject *key, *member;
    Py_ssize_t position = 0;
    int status = put_head(to, 0x80, 0xde, (size_t)PyDict_Size(value));

    while (status == LQ_VALUE_OK && PyDict_Next(value, &position, &key, &member)) {
        status = encode_one(to, key, depth + 1, PLACE_NESTED);
        if (status == LQ_VALUE_OK)
            status = encode_one(to, member, depth + 1, PLACE_NESTED);
    }
    return status;
}

/* A tuple cannot be changed, so it may be shared, but then nothing in it may be changeable. The ext's
   head is always ext32: its length is known only afterwards, and a shorter head would move the data. */
static int encode_tuple(struct writer *to, PyObject *value, int depth, enum place place)
{
    if (depth >= LQ_VALUE_DEPTH)
        return LQ_VALUE_FOREIGN;
    if (put_number(to, 0xc9, 4, 0) < 0 || put_byte(to, LQ_VALUE_TUPLE) < 0)
        return LQ_VALUE_ERROR;
    size_t start = (size_t)(to->at - to->out->base); /* an offset: the bytes may move to the scratch memory */
    enum place inside = is_shared(value, place) ? PLACE_FROZEN : PLACE_NESTED;
    int status =
        encode_members(to, PySequence_Fast_ITEMS(value), (size_t)PyTuple_GET_SIZE(value), depth + 1, inside);
    if (status != LQ_VALUE_OK)
        return status;
    unsigned char *data = to->out->base + start;
    size_t bytes = (size_t)(to->at - data);

    if (bytes > UINT32_MAX || (inside == PLACE_FROZEN && repeats_too_much(to, value, bytes, place)))
        return LQ_VALUE_FOREIGN;
    store32(data - 5, (uint32_t)bytes);
    return LQ_VALUE_OK;
}

static int encode_rare(struct writer *to, PyObject *value, int depth, enum place place)
{
    PyTypeObject *type = Py_TYPE(value);

    if (value == Py_None)
        return put_byte(to, 0xc0);
    if (type == &PyBool_Type)
        return put_byte(to, value == Py_True ? 0xc3 : 0xc2);
    if (type == &PyDict_Type)
        return encode_dict(to, value, depth, place);
    if (type == &PyList_Type)
        return encode_list(to, value, depth, place);
    if (type == &PyTuple_Type)
        return encode_tuple(to, value, depth, place);
    if (type == &PyBytes_Type)
        return encode_bytes(to, value, place);
    return LQ_VALUE_FOREIGN;
}

/* ---- encoding calls ---------------------------------------------------------------------- */

/* The containers among the arguments that something else refers to as well. More of them than this
   are foreign: the search is linear, and so many are no longer a small call. */
enum { ROOTS_MAX = 16 };

struct roots {
    int count;
    PyObject *seen[ROOTS_MAX];
};

static inline int is_container(PyTypeObject *type)
{
    return type == &PyList_Type || type == &PyDict_Type || type == &PyTuple_Type;
}

/* Whether one of the arguments before was this very object, which is noted. -1: too many to tell. */
static int is_again(struct roots *roots, PyObject *value)
{
    for (int i = 0; i < roots->count; i++)
        if (roots->seen[i] == value)
            return 1;
    if (roots->count == ROOTS_MAX)
        return -1;
    roots->seen[roots->count++] = value;
    return 0;
}

/* An argument: shared with the caller as a rule, so that only a second argument is in the way. */
static inline int encode_root(struct writer *to, struct roots *roots, PyObject *value)
{
    enum place place = PLACE_ROOT;

    if (is_container(Py_TYPE(value)) && Py_REFCNT(value) > 1) {
        int again = is_again(roots, value);
        if (again < 0)
            return LQ_VALUE_FOREIGN;
        if (again)
            place = PLACE_FROZEN;
    }
    return encode_one(to, value, 0, place);
}

static int encode_kwargs(struct writer *to, struct roots *roots, PyObject *kwargs)
{
    PyObject *key, *value;
    Py_ssize_t position = 0;
    int status = put_head(to, 0x80, 0xde, (size_t)PyDict_Size(kwargs));

    while (status == LQ_VALUE_OK && PyDict_Next(kwargs, &position, &key, &value)) {
        if (Py_TYPE(key) != &PyUnicode_Type)
            return LQ_VALUE_FOREIGN;
        status = encode_str(to, key, PLACE_ROOT);
        if (status == LQ_VALUE_OK)
            status = encode_root(to, roots, value);
    }
    return status;
}

int lq_value_encode_args(struct lq_out *out, PyObject *args, Py_ssize_t first, PyObject *kwargs)
{
    struct writer to = writer_open(out);
    struct roots roots; /* `seen` is written before it is read */
    Py_ssize_t n = PyTuple_GET_SIZE(args);

    roots.count = 0;
    int status = put_head(&to, 0x90, 0xdc, first < n ? (size_t)(n - first) : 0);
    for (Py_ssize_t i = first; status == LQ_VALUE_OK && i < n; i++)
        status = encode_root(&to, &roots, PyTuple_GET_ITEM(args, i));
    if (status == LQ_VALUE_OK && kwargs != NULL && PyDict_Size(kwargs) > 0)
        status = encode_kwargs(&to, &roots, kwargs);
    return writer_close(&to, status);
}

int lq_value_encode_call(struct lq_out *out, PyObject *const *args, Py_ssize_t n, PyObject *kwnames)
{
    struct writer to = writer_open(out);
    struct roots roots;
    Py_ssize_t named = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);

    roots.count = 0;
    int status = put_head(&to, 0x90, 0xdc, (size_t)n);
    for (Py_ssize_t i = 0; status == LQ_VALUE_OK && i < n; i++)
        status = encode_root(&to, &roots, args[i]);
    if (status == LQ_VALUE_OK && named > 0)
        status = put_head(&to, 0x80, 0xde, (size_t)named);
    for (Py_ssize_t i = 0; status == LQ_VALUE_OK && i < named; i++) {
        status = encode_root(&to, &roots, PyTuple_GET_ITEM(kwnames, i));
        if (status == LQ_VALUE_OK)
            status = encode_root(&to, &roots, args[n + i]);
    }
    return writer_close(&to, status);
}

int lq_value_encode_items(struct lq_out *out, PyObject *items)
{
    struct writer to = writer_open(out);
    size_t n = (size_t)PySequence_Fast_GET_SIZE(items);

    return writer_close(&to, encode_members(&to, PySequence_Fast_ITEMS(items), n, 1, PLACE_ITEM));
}

int lq_value_encode(struct lq_out *out, PyObject *value)
{
    struct writer to = writer_open(out);

    return writer_close(&to, encode_one(&to, value, 0, PLACE_ROOT));
}

void lq_out_free(struct lq_out *out)
{
    if (out->base == out->scratch) {
        out->base = NULL;
        out->len = out->cap = 0;
    }
    free(out->scratch);
    out->scratch = NULL;
    out->scratch_cap = 0;
}

/* SPDX-License-Identifier: MIT */
#include "lq_value.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* ---- bytes ------------------------------------------------------------------------------- */

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

/* Read a big-endian number of 1, 2, 4 or 8 bytes. */
static inline uint64_t load(const unsigned char *at, size_t width)
{
    uint64_t n = 0;

    for (size_t i = 0; i < width; i++)
        n = n << 8 | at[i];
    return n;
}

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

static inline int encode_int(struct writer *to, PyObject *value)
{
    int overflow;
    long long n = PyLong_AsLongLongAndOverflow(value, &overflow);

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

    if (bytes > UINT32_MAX || repeats_too_much(to, value, bytes, place))
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

/* ---- reading ----------------------------------------------------------------------------- */

struct reader {
    const unsigned char *at;
    const unsigned char *end;
    size_t owed; /* members that the containers around promised and that are still to come */
};

__attribute__((cold, noinline)) static void *refuse(const char *what)
{
    PyErr_Format(PyExc_ValueError, "not a MessagePack value: %s", what);
    return NULL;
}

/* Take `bytes` bytes: NULL with ValueError when there are fewer. */
static inline const unsigned char *take(struct reader *from, size_t bytes)
{
    const unsigned char *at = from->at;

    if ((size_t)(from->end - at) < bytes)
        return refuse("the bytes end too early");
    from->at = at + bytes;
    return at;
}

/* Take a number of 1, 2, 4 or 8 bytes: 0, or -1 with ValueError. */
static inline int take_number(struct reader *from, size_t width, uint64_t *n)
{
    const unsigned char *at = take(from, width);

    if (at == NULL)
        return -1;
    *n = load(at, width);
    return 0;
}

/* Enter a container of n members of at least one byte each: 0, or -1 with ValueError. What the
   containers around still owe is not there for this one, so that all that is allocated for
   members, whatever lengths the bytes claim, is at most a pointer for each byte. */
static inline int enter(struct reader *from, uint64_t n, int depth)
{
    size_t left = (size_t)(from->end - from->at);

    if (depth >= LQ_VALUE_DEPTH) {
        refuse("too many containers inside each other");
        return -1;
    }
    if (left < from->owed || left - from->owed < n) {
        refuse("a length is over the bytes left");
        return -1;
    }
    from->owed += (size_t)n;
    return 0;
}

/* ---- decoding ---------------------------------------------------------------------------- */

static PyObject *decode_rare(struct reader *from, unsigned tag, int depth);

static inline int is_ascii(const unsigned char *at, size_t bytes)
{
    uint64_t word, bits = 0;

    for (; bytes >= sizeof word; at += sizeof word, bytes -= sizeof word) {
        memcpy(&word, at, sizeof word);
        if (word & UINT64_C(0x8080808080808080))
            return 0;
    }
    while (bytes > 0)
        bits |= at[--bytes];
    return bits < 0x80;
}

static PyObject *decode_str(struct reader *from, uint64_t bytes)
{
    if (bytes > SIZE_MAX)
        return refuse("a length is over the bytes left");
    const unsigned char *at = take(from, (size_t)bytes);

    if (at == NULL)
        return NULL;
    /* One character and none are objects that exist already, which DecodeUTF8 finds. */
    if (bytes < 2 || !is_ascii(at, (size_t)bytes))
        return PyUnicode_DecodeUTF8((const char *)at, (Py_ssize_t)bytes, NULL);
    PyObject *value = PyUnicode_New((Py_ssize_t)bytes, 127);
    if (value != NULL)
        memcpy(PyUnicode_DATA(value), at, (size_t)bytes);
    return value;
}

static inline PyObject *decode_one(struct reader *from, int depth)
{
    if (from->at == from->end)
        return refuse("the bytes end too early");
    unsigned tag = *from->at++;

    if (tag < 0x80)
        return PyLong_FromLong((long)tag);
    if (tag >= 0xe0)
        return PyLong_FromLong((long)tag - 256);
    if ((tag & 0xe0) == 0xa0)
        return decode_str(from, tag & 0x1f);
    return decode_rare(from, tag, depth);
}

static PyObject *decode_list(struct reader *from, uint64_t n, int depth)
{
    if (enter(from, n, depth) < 0)
        return NULL;
    PyObject *list = PyList_New((Py_ssize_t)n);

    if (list == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < (Py_ssize_t)n; i++) {
        from->owed--;
        PyObject *member = decode_one(from, depth + 1);
        if (member == NULL) {
            Py_DECREF(list);
            return NULL;
        }
        PyList_SET_ITEM(list, i, member);
    }
    return list;
}

/* The head of the array that a tuple or the arguments are: 0, or -1 with ValueError. */
static int take_array_head(struct reader *from, uint64_t *n)
{
    const unsigned char *tag = take(from, 1);

    if (tag == NULL)
        return -1;
    if ((*tag & 0xf0) == 0x90) {
        *n = *tag & 0x0f;
        return 0;
    }
    if (*tag == 0xdc || *tag == 0xdd)
        return take_number(from, *tag == 0xdc ? 2 : 4, n);
    refuse("there is no array where one has to be");
    return -1;
}

/* An array as a tuple. */
static PyObject *decode_tuple(struct reader *from, int depth)
{
    uint64_t n;

    if (take_array_head(from, &n) < 0 || enter(from, n, depth) < 0)
        return NULL;
    PyObject *tuple = PyTuple_New((Py_ssize_t)n);
    if (tuple == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < (Py_ssize_t)n; i++) {
        from->owed--;
        PyObject *member = decode_one(from, depth + 1);
        if (member == NULL) {
            Py_DECREF(tuple);
            return NULL;
        }
        PyTuple_SET_ITEM(tuple, i, member);
    }
    return tuple;
}

/* An ext value with `bytes` bytes of data, from its type on. */
static PyObject *decode_ext(struct reader *from, uint64_t bytes, int depth)
{
    const unsigned char *type = take(from, 1);

    if (type == NULL)
        return NULL;
    if (*type != LQ_VALUE_TUPLE)
        return refuse("an ext type that is not the tuple's");
    if (bytes > (size_t)(from->end - from->at))
        return refuse("a length is over the bytes left");
    const unsigned char *end = from->at + bytes;
    PyObject *tuple = decode_tuple(from, depth);
    if (tuple != NULL && from->at != end) {
        Py_DECREF(tuple);
        return refuse("a tuple is not as long as it says");
    }
    return tuple;
}

/* Read one pair into `dict`: 0, or -1 with an exception. */
static inline int decode_pair(struct reader *from, PyObject *dict, int depth)
{
    from->owed--;
    PyObject *key = decode_one(from, depth);
    if (key == NULL)
        return -1;
    from->owed--;
    PyObject *value = decode_one(from, depth);
    if (value == NULL) {
        Py_DECREF(key);
        return -1;
    }
    int status = PyDict_SetItem(dict, key, value);
    Py_DECREF(key);
    Py_DECREF(value);
    if (status < 0 && PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Clear();
        refuse("a key is or holds a list or a map");
    }
    return status;
}

static PyObject *decode_dict(struct reader *from, uint64_t n, int depth)
{
    if (enter(from, 2 * n, depth) < 0)
        return NULL;
    PyObject *dict = PyDict_New();

    if (dict == NULL)
        return NULL;
    for (uint64_t i = 0; i < n; i++) {
        if (decode_pair(from, dict, depth + 1) < 0) {
            Py_DECREF(dict);
            return NULL;
        }
    }
    return dict;
}

static PyObject *decode_bytes(struct reader *from, uint64_t bytes)
{
    if (bytes > SIZE_MAX)
        return refuse("a length is over the bytes left");
    const unsigned char *at = take(from, (size_t)bytes);

    return at == NULL ? NULL : PyBytes_FromStringAndSize((const char *)at, (Py_ssize_t)bytes);
}

static PyObject *decode_float(struct reader *from, size_t width)
{
    uint64_t bits;

    if (take_number(from, width, &bits) < 0)
        return NULL;
    if (width == 8) {
        double wide;
        memcpy(&wide, &bits, sizeof wide);
        return PyFloat_FromDouble(wide);
    }
    uint32_t bits32 = (uint32_t)bits;
    float narrow;
    memcpy(&narrow, &bits32, sizeof narrow);
    return PyFloat_FromDouble((double)narrow);
}

static PyObject *decode_int(struct reader *from, unsigned tag)
{
    size_t width = (size_t)1 << (tag & 3);
    uint64_t n;

    if (take_number(from, width, &n) < 0)
        return NULL;
    switch (tag) {
    case 0xd0: return PyLong_FromLong((int8_t)n);
    case 0xd1: return PyLong_FromLong((int16_t)n);
    case 0xd2: return PyLong_FromLong((int32_t)n);
    case 0xd3: return PyLong_FromLongLong((int64_t)n);
    default: return PyLong_FromUnsignedLongLong(n);
    }
}

/* The types with a length after the tag. */
static PyObject *decode_sized(struct reader *from, unsigned tag, size_t width, int depth)
{
    uint64_t n;

    if (take_number(from, width, &n) < 0)
        return NULL;
    switch (tag) {
    case 0xc4: case 0xc5: case 0xc6: return decode_bytes(from, n);
    case 0xc7: case 0xc8: case 0xc9: return decode_ext(from, n, depth);
    case 0xd9: case 0xda: case 0xdb: return decode_str(from, n);
    case 0xdc: case 0xdd: return decode_list(from, n, depth);
    default: return decode_dict(from, n, depth);
    }
}

static PyObject *decode_rare(struct reader *from, unsigned tag, int depth)
{
    if (tag < 0x90)
        return decode_dict(from, tag & 0x0f, depth);
    if (tag < 0xa0)
        return decode_list(from, tag & 0x0f, depth);
    switch (tag) {
    case 0xc0: Py_RETURN_NONE;
    case 0xc2: Py_RETURN_FALSE;
    case 0xc3: Py_RETURN_TRUE;
    case 0xca: return decode_float(from, 4);
    case 0xcb: return decode_float(from, 8);
    case 0xcc: case 0xcd: case 0xce: case 0xcf:
    case 0xd0: case 0xd1: case 0xd2: case 0xd3: return decode_int(from, tag);
    case 0xc4: case 0xc7: case 0xd9: return decode_sized(from, tag, 1, depth);
    case 0xc5: case 0xc8: case 0xda: case 0xdc: case 0xde: return decode_sized(from, tag, 2, depth);
    case 0xc6: case 0xc9: case 0xdb: case 0xdd: case 0xdf: return decode_sized(from, tag, 4, depth);
    case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8:
        return decode_ext(from, UINT64_C(1) << (tag - 0xd4), depth);
    default: return refuse("a byte that is no tag"); /* 0xc1 */
    }
}

PyObject *lq_value_decode(const unsigned char *buf, size_t len)
{
    struct reader from = {.at = buf, .end = buf + len, .owed = 0};
    PyObject *value = decode_one(&from, 0);

    if (value != NULL && from.at != from.end) {
        Py_DECREF(value);
        return refuse("more bytes follow it");
    }
    return value;
}

/* The map after the arguments: a dict with str keys only. Like their array it does not count as depth. */
static PyObject *decode_kwargs(struct reader *from)
{
    PyObject *kwargs = decode_one(from, -1);
    PyObject *key;
    Py_ssize_t position = 0;
    int is_valid = kwargs != NULL && PyDict_CheckExact(kwargs);

    if (kwargs == NULL)
        return NULL;
    while (is_valid && PyDict_Next(kwargs, &position, &key, NULL))
        is_valid = PyUnicode_CheckExact(key);
    if (is_valid)
        return kwargs;
    Py_DECREF(kwargs);
    return refuse("keyword arguments are a map with str keys");
}

int lq_value_decode_args(const unsigned char *buf, size_t len, PyObject **args, PyObject **kwargs)
{
    struct reader from = {.at = buf, .end = buf + len, .owed = 0};

    *kwargs = NULL;
    /* -1: the array of the arguments is around them, not one of the containers a value is made of. */
    *args = decode_tuple(&from, -1);
    if (*args == NULL)
        return -1;
    if (from.at != from.end) {
        *kwargs = decode_kwargs(&from);
        if (*kwargs == NULL)
            goto refused;
    }
    if (from.at == from.end)
        return 0;
    refuse("more bytes follow the arguments");
refused:
    Py_CLEAR(*args);
    Py_CLEAR(*kwargs);
    return -1;
}

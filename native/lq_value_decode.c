/* SPDX-License-Identifier: MIT */
/* MessagePack to Python values: the reading half of lq_value.h. */
#include "lq_value.h"

#include <stdint.h>
#include <string.h>

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

/* Read a big-endian number of 1, 2, 4 or 8 bytes. */
static inline uint64_t load(const unsigned char *at, size_t width)
{
    uint64_t n = 0;

    for (size_t i = 0; i < width; i++)
        n = n << 8 | at[i];
    return n;
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

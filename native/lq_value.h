/* SPDX-License-Identifier: MIT */
/*
 * Python values <-> MessagePack.
 *
 * Part of the extension module only: these are the files of native/ that know Python. They
 * hold no structure of the Space. Every function needs the GIL and keeps it; nothing is kept
 * between calls. lq_value_encode.c writes, lq_value_decode.c reads.
 *
 * What travels is what comes back equal and of the same type: None, bool, int in
 * [-2**63, 2**64), float (bit for bit), str, bytes, list, dict and tuple, of exactly these
 * types. Keys of a dict are scalars, or tuples of scalars. All else is "foreign" and left
 * to pickle: subclasses, longer ints, lone surrogates, more than LQ_VALUE_DEPTH containers
 * inside each other, and everything that two paths lead to and that could be changed (see
 * `enum place` in lq_value_encode.c), because MessagePack would make two objects of it.
 *
 * A tuple is ext type LQ_VALUE_TUPLE whose data is one MessagePack array; the other types
 * are MessagePack's own.
 */
#ifndef LQ_VALUE_H
#define LQ_VALUE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stddef.h>

#define LQ_VALUE_DEPTH 64 /* containers inside each other; bounds the C stack, and ends cycles */
#define LQ_VALUE_TUPLE 1  /* MessagePack ext type of a tuple */

enum lq_value_status {
    LQ_VALUE_ERROR = -1,  /* a Python exception is set: out of memory */
    LQ_VALUE_OK = 0,
    LQ_VALUE_FOREIGN = 1, /* not exactly representable, no exception is set; `out` holds no value */
};

/*
 * Where an encoder writes. The caller points `base` and `cap` at memory of its own and sets
 * `len` to 0 (or to what it already wrote there) before each encode. A value that does not fit
 * goes on in `scratch`, which takes over what was written so far: afterwards base == scratch
 * tells so. `scratch` starts as NULL, grows by doubling and is kept for the next value, until
 * lq_out_free.
 */
struct lq_out {
    unsigned char *base;    /* the caller's memory, or scratch */
    size_t len;             /* bytes written, from base */
    size_t cap;             /* bytes that base has room for */
    unsigned char *scratch; /* malloc'ed by the encoder, or NULL */
    size_t scratch_cap;     /* bytes that scratch has room for */
};

/* Give the scratch memory back. `base` may have pointed there: it is empty afterwards. */
void lq_out_free(struct lq_out *out);

/*
 * Append one value. Its own reference count does not matter, those of the parts do.
 *
 * Returns: enum lq_value_status.
 */
int lq_value_encode(struct lq_out *out, PyObject *value);

/*
 * Append the arguments of a call: the tuple's values from `first` on as one array, then, if
 * `kwargs` is neither NULL nor empty, a map with str keys. An argument may be referred to from
 * outside, yet a list or dict given twice is foreign.
 *
 * Returns: enum lq_value_status.
 */
int lq_value_encode_args(struct lq_out *out, PyObject *args, Py_ssize_t first, PyObject *kwargs);

/*
 * The same from a vectorcall: `n` positional values in `args`, and after them one value for each
 * name in `kwnames` (a tuple, or NULL).
 *
 * Returns: enum lq_value_status.
 */
int lq_value_encode_call(struct lq_out *out, PyObject *const *args, Py_ssize_t n, PyObject *kwnames);

/*
 * Append the items of a list or tuple as one array. Each item is a value of its own, as if it
 * were sent alone: an item that is there twice arrives as two objects.
 *
 * Returns: enum lq_value_status.
 */
int lq_value_encode_items(struct lq_out *out, PyObject *items);

/*
 * Read the one value that `len` bytes hold. The bytes may be anything.
 *
 * Returns: a new reference; NULL with ValueError (not one whole value of the types above, or
 *          nested too deeply) or MemoryError.
 */
PyObject *lq_value_decode(const unsigned char *buf, size_t len);

/*
 * Read what lq_value_encode_args wrote.
 *
 * Returns: 0 and new references, *args a tuple and *kwargs a dict or NULL; -1 with an
 *          exception as above, and both NULL.
 */
int lq_value_decode_args(const unsigned char *buf, size_t len, PyObject **args, PyObject **kwargs);

#endif

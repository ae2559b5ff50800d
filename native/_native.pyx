# SPDX-License-Identifier: MIT
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, auto_pickle=False, autotestdict=False
"""The native core, for Python: convert, call, raise.

`Space` is the shared memory (space.pxi), `Client` and `Future` are the submitting side (client.pxi, outbox.pxi), `Worker` the whole
take-run-report loop (worker.pxi). What needs Python's own machinery (pickle, imports, event loops) is asked of the objects handed in.
"""
cimport cython
from cpython.buffer cimport PyBUF_FULL_RO, PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_IsContiguous, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetFromErrno
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy, memset

from lq cimport *

cdef extern from "Python.h":
    PyObject *PyDict_GetItemWithError(object mapping, object key) except? NULL
    bint PyDict_Next(object mapping, Py_ssize_t *at, PyObject **key, PyObject **value)
    Py_ssize_t Py_REFCNT(PyObject *value)
    void *Py_TYPE(PyObject *value)
    PyObject *PyCell_GET(PyObject *cell)
    bint PyCell_Check(object value)
    bint PyCoro_CheckExact(object value)
    unsigned long PyThread_get_thread_ident() nogil
    bint PyFunction_Check(object value)
    bint PyCFunction_Check(object value)
    object PyObject_Call(object function, object args, PyObject *kwargs)
    PyObject **PySequence_Fast_ITEMS(object sequence)
    ctypedef struct PyTypeObject:
        PyObject *(*tp_new)(PyTypeObject *type, PyObject *args, PyObject *kwargs) except NULL
        PyObject *(*tp_iternext)(PyObject *iterator) except NULL
    ctypedef object (*PyCFunction)(object, object)
    ctypedef struct PyMethodDef:
        const char *ml_name
        PyCFunction ml_meth
        int ml_flags
        const char *ml_doc
    enum:
        METH_FASTCALL
        METH_KEYWORDS
    int PyObject_GenericSetAttr(object owner, object name, object value) except -1
    PyObject *PyList_GET_ITEM(list items, Py_ssize_t at)
    void PyList_SET_ITEM(list items, Py_ssize_t at, PyObject *value)
    bint PyObject_GC_IsTracked(object value)
    void PyObject_GC_Track(object value)
    void PyObject_GC_UnTrack(void *value)
    bint PyObject_IS_GC(PyObject *value)
    object PyCFunction_NewEx(PyMethodDef *definition, object self, object module)
    object PyObject_CallOneArg(object function, object argument)
    ctypedef object (*vectorcallfunc)(object function, PyObject *const *args, size_t count, PyObject *names)
    vectorcallfunc PyVectorcall_Function(object function) noexcept
    size_t PY_VECTORCALL_ARGUMENTS_OFFSET

FORMAT_MSGPACK = 0
cdef tuple NO_ARGS = ()
cdef extern from "<stdlib.h>" nogil:
    void *aligned_alloc(size_t alignment, size_t size)
cdef extern from "<sys/prctl.h>" nogil:
    enum:
        PR_SET_NAME
        PR_SET_PDEATHSIG
    int prctl(int option, unsigned long, unsigned long, unsigned long, unsigned long)

cdef enum:
    MSGPACK = 0
    NS = 1000000000
    MIXED = 16            # or-ed to the format of a chunk in which an item failed: (ok, value or error bytes) pairs
    PRINTED = 32          # or-ed to it as well: the task has written something, which is on its way or here
    SENT_NEXT = 64        # or-ed to it as well: the worker has seen to the task that shall run next
    MOST_NAP_NS = 1000000000

ROLE_CLIENT = LQ_ROLE_CLIENT
ROLE_SUPERVISOR = LQ_ROLE_SUPERVISOR
ROLE_WORKER = LQ_ROLE_WORKER
ROLE_SPARE = LQ_ROLE_SPARE
(TALLY_SUPERVISORS, TALLY_WORKERS, TALLY_WORKERS_CRASHED) = (LQ_TALLY_SUPERVISORS, LQ_TALLY_WORKERS, LQ_TALLY_WORKERS_CRASHED)
TALLY_LINES_LOST = LQ_TALLY_LINES_LOST
PHASE_OPEN = LQ_PHASE_OPEN
PHASE_DRAINING = LQ_PHASE_DRAINING
PHASE_STOPPED = LQ_PHASE_STOPPED
PHASE_BROKEN = LQ_PHASE_BROKEN
IN_BAND = <uint32_t>LQ_FUNCTION_IN_BAND
PENDING, RUNNING, SUCCEEDED, FAILED, CANCELLED = range(5)


cdef enum State:
    IS_PENDING = 0
    IS_VALUE = 1          # `value` is the result
    IS_ENCODED = 2        # `value` is (format, bytes): decoded when somebody asks
    IS_ERROR = 3          # `value` is the exception
    IS_ENCODED_ERROR = 4  # `value` is bytes
    IS_CANCELLED = 5


cdef int fail(lq_status status, str what) except -1:
    """The one place where a status becomes an exception."""
    from localq.errors import LayoutMismatch, SpaceCorrupt
    if status == LQ_VERSION:
        raise LayoutMismatch(found="of another version", expected=LQ_LAYOUT_VERSION)
    if status == LQ_CORRUPT:
        raise SpaceCorrupt(structure=what.removeprefix("the "), detail="it holds a value that no version writes")
    if status == LQ_NEVER:
        raise MemoryError(f"{what}: larger than the Space can ever be")
    raise RuntimeError(f"{what}: unexpected status {<int>status}")


# --------------------------------------------------------------------------------------------------------------- values

cdef bytes out_bytes(lq_out *out):
    return (<char *>out.base)[:out.len]


def encode_value(value):
    """`value` as MessagePack, or None when MessagePack can't carry it exactly."""
    cdef lq_out out
    memset(&out, 0, sizeof(out))
    try:
        return out_bytes(&out) if lq_value_encode(&out, <PyObject *>value) == LQ_VALUE_OK else None
    finally:
        lq_out_free(&out)


def encode_args(tuple args, Py_ssize_t first, kwargs):
    cdef lq_out out
    memset(&out, 0, sizeof(out))
    cdef PyObject *named = <PyObject *>kwargs if kwargs is not None else NULL
    try:
        return out_bytes(&out) if lq_value_encode_args(&out, <PyObject *>args, first, named) == LQ_VALUE_OK else None
    finally:
        lq_out_free(&out)


def encode_items(items):
    cdef lq_out out
    memset(&out, 0, sizeof(out))
    try:
        return out_bytes(&out) if lq_value_encode_items(&out, <PyObject *>items) == LQ_VALUE_OK else None
    finally:
        lq_out_free(&out)


cdef int raise_if_failed(int status) except? -1:
    """Raise what a function has left that returned -1."""
    return status


cdef extern from *:
    """
    /* The item itself, with the reference that the list had; None in its place. */
    static inline PyObject *lq_taken(PyObject *items, Py_ssize_t at)
    {
        PyObject *item = PyList_GET_ITEM(items, at);
        PyList_SET_ITEM(items, at, Py_NewRef(Py_None));
        return item;
    }
    """
    object taken "lq_taken"(list items, Py_ssize_t at)


cdef inline void replace(list items, Py_ssize_t at, object value) noexcept:
    """`items[at] = value`, where `at` is known to be within."""
    cdef PyObject *old = PyList_GET_ITEM(items, at)
    Py_INCREF(value)
    PyList_SET_ITEM(items, at, <PyObject *>value)
    Py_XDECREF(old)


cdef object take_ref(PyObject *new):
    """The object behind a new reference that C returned."""
    cdef object value = <object>new
    Py_DECREF(value)
    return value


def decode_value(data not None):
    """The value in a bytes-like object. Raises ValueError when it is not exactly one MessagePack value."""
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        return take_ref(lq_value_decode(<const unsigned char *>view.buf, <size_t>view.len))
    finally:
        PyBuffer_Release(&view)


def decode_args(data not None):
    """(args, kwargs or None) from a bytes-like object. Raises ValueError like decode_value."""
    cdef Py_buffer view
    cdef PyObject *args = NULL
    cdef PyObject *kwargs = NULL
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        lq_value_decode_args(<const unsigned char *>view.buf, <size_t>view.len, &args, &kwargs)
        return take_ref(args), (take_ref(kwargs) if kwargs != NULL else None)
    finally:
        PyBuffer_Release(&view)


def name_process(str name not None):
    """What ps and top show for this process; the kernel keeps 15 bytes."""
    cdef bytes shown = name.encode()[:15]
    cdef char *at = shown
    prctl(PR_SET_NAME, <unsigned long>at, 0, 0, 0)


def die_with_parent(int parent):
    """The kernel kills this process when its parent ends. `parent` is who that should be: it may be gone already."""
    from os import _exit, getppid
    prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0)
    if getppid() != parent:
        _exit(1)


def guard_last_words(int fd):
    """The handlers of fatal signals, as they are now, run only while `fd` is the file that it is now."""
    if lq_last_words_guard(fd) != 0:
        raise_errno("the handlers of fatal signals")


def now_ns():
    """CLOCK_MONOTONIC, as the times in slots are."""
    return lq_now_ns()


include "readings.pxi"
include "space.pxi"
include "payload.pxi"
include "outbox.pxi"
include "client.pxi"
include "worker.pxi"

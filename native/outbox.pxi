# SPDX-License-Identifier: MIT
# Submissions that are not in a slot yet: they wait for room, or for the results of other tasks. Included by _native.pyx.

@cython.final
cdef class Parcel:
    """One such submission. Its future, which is parked until then, holds it as its `value`."""
    cdef Options options
    cdef int kind, format
    cdef object payload               # the arguments, encoded: bytes or a Payload; None while inputs are missing
    cdef object frozen                # until then: the arguments as they were at the call; see localq.client.inputs
    cdef Py_ssize_t missing           # inputs that are not done
    cdef bint is_in_line              # it waits for room, and is counted as that


@cython.final
cdef class Outbox:
    """The parked futures of one client. Those in `lines` want to be sent, oldest first within each priority; they stay there when
    they are cancelled, and are passed over. Those in `blocked` lack an input."""
    cdef tuple lines
    cdef set blocked
    cdef object arrivals              # (future, input of it that is done), not looked at yet
    cdef bint is_sorting, is_sending
    cdef int64_t stuck_ns             # since when nothing is on its way, and the first in line still finds no room

    def __cinit__(self):
        from collections import deque
        self.lines = tuple([deque() for _ in range(LQ_PRIORITIES)])
        self.blocked = set()
        self.arrivals = deque()

    cdef list futures(self):
        cdef Future future
        found = list(self.blocked)
        for line in self.lines:
            found += [future for future in list(line) if future.state == IS_PENDING]
        return found

    cdef void clear(self):
        for line in self.lines:
            line.clear()
        self.blocked.clear()
        self.arrivals.clear()


cdef list find_inputs(object kind, object root):
    """The objects of exactly that type in a list or tuple, and in the lists, tuples and dicts in it, each once. None: there are
    none. Borrowed references: nothing in here runs anybody's code."""
    cdef list stack = [root]
    cdef list found = None
    cdef set seen = set()
    cdef PyObject **items
    cdef PyObject *part
    cdef PyObject *key
    cdef Py_ssize_t i, at
    while stack:
        value = stack.pop()
        if type(value) is dict:
            at = 0
            while PyDict_Next(value, &at, &key, &part):
                found = look_at(kind, part, stack, found, seen)
        else:
            items = PySequence_Fast_ITEMS(value)
            for i in range(len(value)):
                found = look_at(kind, items[i], stack, found, seen)
    return found


cdef inline list look_at(object kind, PyObject *part, list stack, list found, set seen):
    cdef void *its = Py_TYPE(part)
    if its == <void *>kind:
        if found is None:
            found = []
    elif its != <void *>list and its != <void *>tuple and its != <void *>dict:
        return found
    elif Py_REFCNT(part) == 1:      # no other way leads to it
        stack.append(<object>part)
        return found
    place = <size_t>part
    if place not in seen:
        seen.add(place)
        (found if its == <void *>kind else stack).append(<object>part)
    return found

# SPDX-License-Identifier: MIT
# Payloads with buffers: how they lie in a block of the arena, and who looks at them. Included by _native.pyx.
#
#   table | parts | pickle, in pieces | buffer | buffer ...        each buffer at a multiple of 64 bytes
#
# A part is a buffer in this very block, or a place in another one that the sender's array lives in, or the name of a shared
# value that the pickle refers to. The last two are pinned for the task, by whoever sends them.

cdef enum:
    BUFFERS = 8                 # or-ed to a format: the payload is laid out like this
    READ_ONLY = 16              # or-ed to the format of arguments: how the worker shall see them
    SHARED = 32
    FORMATS = 7
    PART_READ_ONLY = 1
    PART_NAME = 2               # of a shared value: nothing to map
    PART_COPY = 4               # a place in a shared value, which nobody writes: it only holds the same bytes
    ALIGNMENT = 64
    COPIED_BELOW = 65536        # smaller payloads are copied: that is quicker than to map them, and needs no pin
    LONG_COPY = 262144          # from here on copied without the GIL
    MOST_VIEWS = LQ_PINS - LQ_PINS // 4     # a process; the other pins are for what can't be copied

FORMAT_BUFFERS = BUFFERS
ARGUMENTS_READ_ONLY, ARGUMENTS_SHARED = READ_ONLY, SHARED
VIEW_COPY_ON_WRITE, VIEW_READ_ONLY, VIEW_SHARED = LQ_VIEW_COPY_ON_WRITE, LQ_VIEW_READ_ONLY, LQ_VIEW_SHARED


cdef struct Table:
    uint64_t total, head_bytes, parts, spare


cdef struct Part:
    uint64_t at, length         # in its block
    uint32_t block, generation  # 0: this very block
    uint32_t flags, spare


cdef struct Area:
    # Memory of this process whose bytes are in the arena: an array that lives there, or what a stored value was copied from.
    size_t begin, end
    uint64_t at                 # in the block
    uint32_t block, generation
    bint is_copy                # the two are equal only if they still are


cdef void copy_long(void *to, const void *source, size_t length) noexcept:
    if length < LONG_COPY:
        memcpy(to, source, length)
    else:
        with nogil:
            memcpy(to, source, length)


@cython.final
@cython.no_gc
cdef class Pinner:
    """What one process looks at, under one label: its pins, and the views that need them."""
    cdef Space space
    cdef lq_label me
    cdef uint32_t cursor
    cdef unsigned char *ours          # 1 here; the kernel wipes it in a forked child, which must not use the label
    cdef bint left                    # the label is given back
    cdef void *first                  # a list of Blocks, which take themselves out
    cdef uint32_t views               # of them that could have been copies
    cdef uint64_t seen                # bytes of the arena that these keep and that are nobody else's
    cdef bint runs                    # tasks; others submit them
    cdef uint32_t forks               # since then: what was looked at before one is looked at by the child as well
    cdef list borrowers               # (fork, callable: does the child still live?)
    cdef list held_back               # (fork, pin): of views that are gone here, and may be in use there
    cdef bint is_collecting           # a thread is in `collect` ...
    cdef bint is_due                  # ... and something has been let go of since it looked

    def __cinit__(self, Space space not None, uint32_t me, bint runs=False):
        self.space = space
        self.me = me
        self.runs = runs
        self.ours = lq_mark_create()
        if self.ours == NULL:
            raise_errno("this process's own memory")

    def __dealloc__(self):
        lq_mark_destroy(self.ours)

    cdef bint is_ours(self) noexcept:
        return self.ours[0] != 0 and not self.left

    cdef lq_status pin(self, uint32_t block, uint32_t generation, uint64_t tie, uint32_t *entry) noexcept:
        if not self.is_ours():
            return LQ_MISSING
        return lq_arena_pin(&self.space.space.arena, self.me, block, generation, tie, &self.cursor, entry)

    cdef void unpin(self, uint32_t entry) noexcept:
        if entry != LQ_NO_PIN and self.is_ours():
            lq_arena_unpin(&self.space.space.arena, NULL, self.me, entry)

    cdef void let_go(self, uint32_t entry, uint32_t born) noexcept:
        """Of a view that has ended here. A child forked while it lived may go on to use it."""
        if entry == LQ_NO_PIN or not self.is_ours():
            return
        if self.borrowers is None:
            self.unpin(entry)
            return
        try:
            self.held_back.append((born, entry))
            self.collect()
        except Exception:       # memory; it is tried again with the next one
            pass

    cdef int collect(self) except -1:
        """Unpin what no child can be using any more. While a borrower is asked other threads go on, and what is allocated
        here may set free more views: whoever comes meanwhile leaves it to the one who is at it."""
        self.is_due = True
        if self.is_collecting:
            return 0
        self.is_collecting = True
        try:
            while self.is_due:
                self.is_due = False
                over = [borrower for borrower in list(self.borrowers or ()) if not borrower[1]()]
                self.borrowers = [borrower for borrower in self.borrowers or () if borrower not in over] or None
                self.sift(0 if self.borrowers is None else self.borrowers[len(self.borrowers) - 1][0])
        finally:
            self.is_collecting = False
        return 0

    cdef int sift(self, uint32_t newest) except -1:
        """Unpin what was let go of and is as young as the newest fork whose child still lives, or younger."""
        cdef Py_ssize_t i = 0
        while i < len(self.held_back):
            born, entry = self.held_back[i]
            if newest > born:
                i += 1
            else:
                del self.held_back[i]
                self.unpin(entry)
        return 0

    cdef int lend(self, object is_alive) except -1:
        """This process has forked one that sees all that is looked at here, as long as `is_alive()`."""
        self.forks += 1
        if self.borrowers is None:
            self.borrowers, self.held_back = [], self.held_back or []
        self.borrowers.append((self.forks, is_alive))
        return 0

    cdef bint is_crowded(self, uint64_t room) noexcept:
        """Would one more view of what else would be free leave too little for what is on its way? An eighth of the arena is for the
        results that a client keeps, half of what arguments leave to results; another for all arguments that workers keep from earlier
        tasks, or of outer ones."""
        cdef uint64_t most = self.space.space.header.sizes.memory // 8
        if not self.runs:
            return self.seen + room > most
        return self.seen != 0 and self.seen + room > most // max(lq_space_workers(&self.space.space), 1)

    cdef Block look(self, uint32_t block, uint32_t generation, uint64_t at, uint64_t length, lq_view_mode mode, bint is_copied):
        """Bytes of a block that somebody keeps for the time of this call, or for good: as a view, or as a copy where that is
        asked for, or is quicker, or where no pin is left."""
        cdef Block found = Block.__new__(Block)
        cdef lq_status status
        found.pinner = self
        found.length = length
        found.writable, found.is_shared = mode != LQ_VIEW_READ_ONLY, mode == LQ_VIEW_SHARED
        found.number, found.generation, found.begin = block, generation, at
        if mode == LQ_VIEW_SHARED or not (is_copied or length < COPIED_BELOW or self.views >= MOST_VIEWS):
            status = self.pin(block, generation, 0, &found.entry)
            if status == LQ_MISSING:
                raise gone(block)
            if status == LQ_OK and mode == LQ_VIEW_SHARED and self.runs:
                found.look_directly()
                return found
            if status == LQ_OK:
                status = lq_view_open(&found.view, &self.space.space, block, at, length, mode)
                if status == LQ_OK:
                    found.at = found.view.at
                    found.enlist()
                    return found
                if status == LQ_SYSTEM:
                    raise_errno("a view of the arena")
                if status != LQ_MISSING:
                    fail(status, "a block of the arena")
                self.unpin(found.entry)
                found.entry = LQ_NO_PIN
                if mode == LQ_VIEW_SHARED:
                    raise OSError("something in this process has closed the descriptor of the queue's memory: no array of it can be shared here"
                                  " any more")
            elif mode == LQ_VIEW_SHARED:
                raise MemoryError(f"this process looks at {LQ_PINS} blocks of the queue's arena already: let go of some arrays or shared values")
        found.copy()
        return found

    cdef int keep_all(self) except -1:
        """Make what is looked at this process's own: the label goes, and with it the pins."""
        cdef Block block
        cdef lq_status status = LQ_OK
        cdef void *at = self.first
        while at != NULL:
            block = <Block>at
            with nogil:
                status = lq_view_keep(&block.view, &self.space.space)
            if status != LQ_OK:
                raise_errno("a private copy of an array that lives in the arena")
            at = block.next
        return 0


cdef object gone(uint32_t block):
    from localq.errors import SharedRefLost
    return SharedRefLost(f"block {block} of the arena was given back: nobody held the shared value any more")


@cython.final
@cython.no_gc
cdef class Block:
    """Bytes in the arena that stay as they are as long as this object lives: a bytes-like object."""
    cdef Pinner pinner
    cdef lq_view view
    cdef unsigned char *at
    cdef unsigned char *own           # a copy instead of a view
    cdef readonly uint64_t length
    cdef uint32_t entry, number, generation
    cdef uint32_t born                # forks of this process by then
    cdef uint64_t begin               # where in its block it begins
    cdef bint writable, is_area, is_view
    cdef bint is_shared               # what is written here, others see
    cdef uint64_t alone               # bytes of the arena that only this keeps from being used
    cdef void *next
    cdef void *previous

    def __cinit__(self):
        self.entry = LQ_NO_PIN

    cdef void enlist(self) noexcept:
        self.born = self.pinner.forks
        self.next = self.pinner.first
        if self.next != NULL:
            (<Block>self.next).previous = <void *>self
        self.pinner.first = <void *>self
        self.is_view = True
        if not self.is_shared:
            self.pinner.views += 1
        else:
            self.is_area = self.pinner.space.add_area(<size_t>self.at, self.length, self.begin, self.number, self.generation, False)

    cdef int look_directly(self) except -1:
        """Through the mapping of the whole arena, which a worker keeps to its end: the pages that it has seen once cost nothing any
        more."""
        cdef uint64_t room = 0
        cdef unsigned char *at = lq_space_block(&self.pinner.space.space, self.number, &room)
        if at == NULL or self.begin > room or self.length > room - self.begin:
            fail(LQ_CORRUPT, "a block of the arena")
        with nogil:
            lq_arena_touch(&self.pinner.space.space.arena, self.number, self.begin, self.length)
        self.at = at + self.begin
        self.enlist()
        return 0

    cdef int fill(self) except -1:
        """Have the system's memory for it. Returns whether there is any."""
        cdef lq_status status
        with nogil:
            status = lq_view_fill(&self.view)
        if status == LQ_OK:
            lq_arena_note_filled(&self.pinner.space.space.arena, self.number)
        return status == LQ_OK

    cdef void disown(self) noexcept:
        """Nothing looks at the block through this any more."""
        if self.is_view:
            self.is_view = False
            self.pinner.views -= 0 if self.is_shared else 1
            self.pinner.seen -= self.alone
            self.alone = 0
        self.pinner.let_go(self.entry, self.born)
        self.entry = LQ_NO_PIN

    cdef int copy(self) except -1:
        cdef uint64_t room = 0
        cdef uint64_t bytes = (self.length + ALIGNMENT) & ~<uint64_t>(ALIGNMENT - 1)
        cdef const unsigned char *source = lq_space_block(&self.pinner.space.space, self.number, &room)
        if source == NULL or self.begin > room or self.length > room - self.begin:
            fail(LQ_CORRUPT, "a block of the arena")
        self.own = <unsigned char *>aligned_alloc(ALIGNMENT, bytes)
        if self.own == NULL:
            raise MemoryError(f"{self.length} bytes for a private copy of a payload")
        copy_long(self.own, source + self.begin, self.length)
        self.at = self.own
        return 0

    def __dealloc__(self):
        if self.pinner is None:
            return
        if self.is_area:
            self.pinner.space.remove_areas(self.number, self.generation, <size_t>self.at)
        if self.previous != NULL:
            (<Block>self.previous).next = self.next
        elif self.pinner.first == <void *>self:
            self.pinner.first = self.next
        if self.next != NULL:
            (<Block>self.next).previous = self.previous
        lq_view_close(&self.view)       # before the block may be used again
        free(self.own)
        self.disown()

    def clear(self, bint sparse=False):
        """All zeros. `sparse`: of large blocks the memory is given back, and had again page by page when it is written."""
        if not (sparse and self.pinner.is_ours() and lq_arena_empty(&self.pinner.space.space.arena, self.number)):
            memset(self.at, 0, self.length)

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.at, <Py_ssize_t>self.length, not self.writable, flags)

    def __len__(self):
        return self.length

    @property
    def in_arena(self):
        """Whether what is written here is seen by others: for the picklers, which leave such memory where it is."""
        return self.is_area


@cython.final
@cython.no_gc
cdef class Hold:
    """A pin without a view: as long as it lives, so does the shared value in the block."""
    cdef Pinner pinner
    cdef uint32_t entry
    cdef readonly uint32_t block, generation
    cdef readonly uint64_t size       # of the value, in bytes

    def __cinit__(self):
        self.entry = LQ_NO_PIN

    def __dealloc__(self):
        if self.pinner is not None:
            self.pinner.space.remove_areas(self.block, self.generation, 0)
            self.pinner.unpin(self.entry)

    def read(self, lq_view_mode mode=LQ_VIEW_COPY_ON_WRITE, bint is_copied=False):
        """The value's payload. Raises ValueError when the queue is closed here, or was opened by the process that forked this one."""
        if self.pinner.left or self.pinner.space.space.payload.fd < 0:
            raise ValueError("the queue that it was stored in is closed")
        if not self.pinner.is_ours():       # and nothing keeps the block for this process
            raise ValueError("this process was forked from the one that holds it: call get() before the fork, or attach to the queue here")
        return receive(self.pinner, self.block, self.generation, mode, is_copied, False)

    def release(self):
        """Kept for good so far: from now on it lives as long as somebody holds it. Returns whether that is news."""
        cdef uint64_t backref = lq_backref(LQ_HOLDER_KEPT, 0, self.generation)
        cdef lq_a64 *at = lq_arena_backref(&self.pinner.space.space.arena, self.block)
        if not self.pinner.is_ours() or lq_load(at) != backref:
            return False
        lq_arena_drop(&self.pinner.space.space.arena, NULL, self.pinner.me, self.block, backref)
        return True


cdef Hold hold_of(Pinner pinner, uint32_t block, uint32_t generation):
    cdef Hold hold = Hold.__new__(Hold)
    cdef uint64_t room = 0
    cdef const Table *table
    cdef lq_status status
    hold.pinner = pinner
    hold.block, hold.generation = block, generation
    status = pinner.pin(block, generation, 0, &hold.entry)
    if status == LQ_FULL:
        raise MemoryError(f"this process holds {LQ_PINS} blocks of the queue's arena already: let go of some arrays or shared values")
    if status != LQ_OK:
        raise gone(block)
    table = <const Table *>lq_space_block(&pinner.space.space, block, &room)
    if table == NULL or room < sizeof(Table):
        fail(LQ_CORRUPT, "a shared value")
    hold.size = table.total
    return hold


@cython.final
cdef class Incoming:
    """A payload that has arrived: the pickle, and its buffers, in order. What it looks at stays while any of these is used."""
    cdef readonly object head
    cdef readonly list buffers
    cdef list holds
    cdef Block whole                  # where it lies, if it was not copied


cdef Incoming receive(Pinner pinner, uint32_t block, uint32_t generation, lq_view_mode mode, bint is_copied, bint alone):
    """`alone`: nobody else will want it, so a view keeps it from being used again; then a copy is made where room is scarce.
    `mode` SHARED: what lies in this very block is copy-on-write all the same; only arrays that live elsewhere are shared."""
    cdef uint64_t room = 0
    cdef const unsigned char *at = lq_space_block(&pinner.space.space, block, &room)
    cdef Table table
    cdef const Part *parts
    cdef Part part
    cdef uint64_t i
    cdef Incoming incoming = Incoming.__new__(Incoming)
    cdef Block whole, other
    if at == NULL or room < sizeof(Table):
        fail(LQ_CORRUPT, "a payload")
    memcpy(&table, at, sizeof(Table))
    if not fits(&table, room):
        fail(LQ_CORRUPT, "a payload")
    whole = pinner.look(block, generation, 0, table.total, LQ_VIEW_COPY_ON_WRITE if mode == LQ_VIEW_SHARED else mode,
                        is_copied or (alone and pinner.is_crowded(room)))
    if alone and whole.is_view:
        whole.alone = room
        pinner.seen += room
    incoming.whole = whole if whole.entry != LQ_NO_PIN else None
    parts = <const Part *>(whole.at + sizeof(Table))
    incoming.buffers = []
    view = memoryview(whole)
    for i in range(table.parts):
        part = parts[i]
        if part.flags & PART_NAME:
            if incoming.holds is None:
                incoming.holds = []
            incoming.holds.append(hold_of(pinner, part.block, part.generation))
            continue
        if part.block == 0:
            if part.at > table.total or part.length > table.total - part.at:
                fail(LQ_CORRUPT, "a payload")
            buffer = view[part.at:part.at + part.length]
        else:
            other = pinner.look(part.block, part.generation, part.at, part.length,
                                LQ_VIEW_COPY_ON_WRITE if mode == LQ_VIEW_SHARED and part.flags & PART_COPY else mode, is_copied)
            buffer = memoryview(other)
        incoming.buffers.append(buffer.toreadonly() if part.flags & PART_READ_ONLY else buffer)
    i = sizeof(Table) + table.parts * sizeof(Part)
    incoming.head = view[i:i + table.head_bytes]
    return incoming


cdef const unsigned char *pickle_in(const unsigned char *at, uint64_t room, uint64_t *length) noexcept:
    """The pickle of a payload that lies there, for who only looks: whatever may be there by now. NULL: none."""
    cdef Table table
    if room < sizeof(Table):
        return NULL
    memcpy(&table, at, sizeof(Table))
    if not fits(&table, room):
        return NULL
    length[0] = table.head_bytes
    return at + sizeof(Table) + table.parts * sizeof(Part)


cdef bint fits(const Table *table, uint64_t room) noexcept:
    return not (table.total > room or table.parts > (room - sizeof(Table)) // sizeof(Part)
                or table.head_bytes > table.total or sizeof(Table) + table.parts * sizeof(Part) > table.total - table.head_bytes)


cdef uint64_t aligned(uint64_t at) noexcept:
    return (at + ALIGNMENT - 1) & ~<uint64_t>(ALIGNMENT - 1)


cdef object foreign(holder):
    from localq.errors import SerializationError
    return SerializationError("value", "", type(holder).__qualname__,
                              "it lives in another queue: pass its value, which get() returns, or put it into this one")


@cython.final
cdef class Outgoing:
    """A payload that is about to be written: its size is known, and its buffers stay where they are."""
    cdef object payload
    cdef Py_buffer *views
    cdef Part *parts
    cdef Py_ssize_t count, names
    cdef uint64_t head_bytes
    cdef readonly uint64_t total

    def __init__(self, Space space not None, payload, bint by_name=True):
        cdef Py_ssize_t i
        cdef uint64_t at
        cdef Area *area
        cdef list buffers = payload.buffers
        cdef list refs = payload.refs
        cdef Py_ssize_t most = len(buffers) + len(refs)
        for holder in payload.holders:
            if holder._name[0] != space.space.header.identity:
                raise foreign(holder)
        self.payload = payload
        self.names = len(refs)
        self.views = <Py_buffer *>PyMem_Calloc(max(len(buffers), 1), sizeof(Py_buffer))
        self.parts = <Part *>PyMem_Calloc(max(most, 1), sizeof(Part))
        if self.views == NULL or self.parts == NULL:
            raise MemoryError
        for piece in payload.head:
            self.head_bytes += len(piece)
        at = aligned(sizeof(Table) + most * sizeof(Part) + self.head_bytes)
        for i in range(len(buffers)):
            PyObject_GetBuffer(buffers[i], &self.views[i], PyBUF_FULL_RO)
            self.count = i + 1
            if not PyBuffer_IsContiguous(&self.views[i], b"A"):
                raise BufferError("a buffer of a payload is not contiguous")
            self.parts[i].length = <uint64_t>self.views[i].len
            self.parts[i].flags = PART_READ_ONLY if self.views[i].readonly else 0
            area = space.area_of(<size_t>self.views[i].buf, <size_t>self.views[i].len) if by_name else NULL
            if area != NULL:
                self.parts[i].block, self.parts[i].generation = area.block, area.generation
                self.parts[i].at = area.at + (<size_t>self.views[i].buf - area.begin)
                if area.is_copy:
                    self.parts[i].flags |= PART_COPY
            else:
                self.parts[i].at = at
                at = aligned(at + <uint64_t>self.views[i].len)
        for i in range(self.names):
            self.parts[len(buffers) + i].block, self.parts[len(buffers) + i].generation = refs[i]
            self.parts[len(buffers) + i].flags = PART_NAME
        self.total = at

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.count):
            PyBuffer_Release(&self.views[i])
        PyMem_Free(self.views)
        PyMem_Free(self.parts)

    cdef uint32_t shown(self) noexcept:
        """The size as slots and functions tell it to people. What counts is the table."""
        return 0xffffffffu if self.total > 0xffffffffu else <uint32_t>self.total

    cdef int write(self, unsigned char *at) except -1:
        """Into a block of at least `total` bytes."""
        cdef Table table
        cdef Py_ssize_t i
        cdef Py_buffer view
        cdef unsigned char *to = at + sizeof(Table)
        cdef Py_ssize_t parts = self.count + self.names
        cdef uint64_t left = self.head_bytes
        table.total, table.head_bytes, table.parts, table.spare = self.total, self.head_bytes, <uint64_t>parts, 0
        memcpy(at, &table, sizeof(Table))
        memcpy(to, self.parts, parts * sizeof(Part))
        to += parts * sizeof(Part)
        for piece in self.payload.head:
            PyObject_GetBuffer(piece, &view, PyBUF_SIMPLE)
            if <uint64_t>view.len <= left:
                copy_long(to, view.buf, view.len)
            left -= <uint64_t>view.len
            to += view.len
            PyBuffer_Release(&view)
            if left > self.head_bytes:
                break
        if left != 0:       # another thread did that while this one waited for room, or copied
            raise BufferError("a bytearray changed its size while it was being sent")
        for i in range(self.count):
            if self.parts[i].block == 0:
                copy_long(at + self.parts[i].at, self.views[i].buf, self.views[i].len)
        return 0

    cdef bint matches(self, const unsigned char *at, uint64_t length) except -1:
        """Is that what `write` would write, into a block of that length?"""
        cdef Py_ssize_t i
        cdef Py_buffer view
        cdef bint same
        cdef const Table *table = <const Table *>at
        cdef const unsigned char *now
        cdef Py_ssize_t parts = self.count + self.names
        cdef uint64_t left = self.head_bytes
        if (length < sizeof(Table) or table.total != self.total or table.total > length or table.parts != <uint64_t>parts
                or table.head_bytes != self.head_bytes):
            return False
        now = at + sizeof(Table)
        if memcmp(now, self.parts, parts * sizeof(Part)) != 0:
            return False
        now += parts * sizeof(Part)
        for piece in self.payload.head:
            PyObject_GetBuffer(piece, &view, PyBUF_SIMPLE)
            same = <uint64_t>view.len <= left and memcmp(now, view.buf, view.len) == 0
            now += view.len
            left -= <uint64_t>view.len
            PyBuffer_Release(&view)
            if not same:
                return False
        for i in range(self.count):
            if self.parts[i].block == 0 and memcmp(at + self.parts[i].at, self.views[i].buf, self.views[i].len) != 0:
                return False
        return True

    cdef void remember(self, Space space, uint32_t block, uint32_t generation) noexcept:
        """The buffers have been written there: as long as they stay as they are, they need not be copied again."""
        cdef Py_ssize_t i
        for i in range(self.count):
            if self.parts[i].length >= COPIED_BELOW:
                space.add_area(<size_t>self.views[i].buf, self.parts[i].length, self.parts[i].at, block, generation, True)

    cdef list tie(self, Pinner pinner, uint32_t slot, uint32_t task_generation):
        """Pin what lies elsewhere, for as long as that task is on its way. Returns the entries, or None."""
        cdef Py_ssize_t i
        cdef uint32_t entry = 0
        cdef lq_status status
        cdef list entries = None
        for i in range(self.count + self.names):
            if self.parts[i].block == 0:
                continue
            status = pinner.pin(self.parts[i].block, self.parts[i].generation, lq_pin_tie(slot, task_generation), &entry)
            if status == LQ_OK:
                entries = [] if entries is None else entries
                entries.append(entry)
                continue
            if entries is not None:
                untie(pinner, entries)
            if status == LQ_FULL:
                raise MemoryError(f"this process's tasks refer to {LQ_PINS} arrays and shared values already: wait for some of them")
            raise gone(self.parts[i].block)
        return entries


cdef int untie(Pinner pinner, list entries) except -1:
    for entry in entries:
        pinner.unpin(entry)
    return 0

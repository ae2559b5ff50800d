/* SPDX-License-Identifier: MIT */
/*
 * What this machine can do at best, measured in the same run as the queues: two processes that wake each other by
 * futex or by spinning, memcpy, and reading the clock.
 *
 *   limits pingpong SECONDS GAP_US   round trips for that long; the asking side sleeps GAP_US before each (0: not at all)
 *   limits spin SECONDS              the same with both sides spinning; null on one CPU, where it measures the scheduler
 *   limits memcpy BYTES              into memory never touched (cold) and into memory just written (warm)
 *   limits clock                     one clock_gettime(CLOCK_MONOTONIC)
 *
 * Prints one JSON object. Exit status 1 and a line on stderr when the machine refuses something.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    CACHE_LINE = 64,
    WARM_UP_TRIPS = 100,
    MAX_TRIPS = 1000000, /* 8 MB of samples: over a second of spinning on any machine we know, then it stops early */
    CLOCK_READS = 1000000,
    FEWEST_COPIES = 5,
    MOST_COPIES = 201,
    COPIED_BYTES = 10000000, /* small copies are repeated until they come to that much: their times are close to the clock's */
};

#define SAY_STOP UINT32_MAX

/* One word a direction, each alone on its cache line: only the asker writes `ask`, only the answerer `answer`. */
struct table {
    _Alignas(CACHE_LINE) _Atomic uint32_t ask;
    _Alignas(CACHE_LINE) _Atomic uint32_t answer;
};

static void fail(const char *what) {
    fprintf(stderr, "limits: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void pause_cpu(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Not FUTEX_PRIVATE: the two sides are processes, as a client and its worker are. */
static void wake(_Atomic uint32_t *word) {
    syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void sleep_while(_Atomic uint32_t *word, uint32_t value) {
    /* EAGAIN (it changed before we slept) and EINTR are answers too: the caller looks at the word again. */
    syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
}

/* Wait until `word` is no longer `value`; returns what it became. The acquire pairs with the release in `tell`. */
static uint32_t await(_Atomic uint32_t *word, uint32_t value, bool spinning) {
    uint32_t seen;
    while ((seen = atomic_load_explicit(word, memory_order_acquire)) == value) {
        if (spinning) {
            pause_cpu();
        } else {
            sleep_while(word, value);
        }
    }
    return seen;
}

static void tell(_Atomic uint32_t *word, uint32_t value, bool spinning) {
    atomic_store_explicit(word, value, memory_order_release);
    if (!spinning) {
        wake(word);
    }
}

/*
 * Bind this process to the `nth` CPU that it may use; where that is refused it stays as it was. Only those who spin
 * are bound: put on one CPU they would measure its time slices. The sleepers are placed by the kernel, as a client and
 * its worker are.
 */
static void bind_to_cpu(int nth) {
    cpu_set_t usable;
    if (sched_getaffinity(0, sizeof usable, &usable) != 0) {
        fail("sched_getaffinity");
    }
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &usable) && nth-- == 0) {
            cpu_set_t only;
            CPU_ZERO(&only);
            CPU_SET(cpu, &only);
            sched_setaffinity(0, sizeof only, &only);
            return;
        }
    }
}

static void answer_until_stopped(struct table *table, pid_t asker, bool spinning) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != asker) { /* it died before the line above */
        _exit(1);
    }
    for (uint32_t seen = 0; (seen = await(&table->ask, seen, spinning)) != SAY_STOP;) {
        tell(&table->answer, seen, spinning);
    }
    _exit(0);
}

static int compare_ns(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* Prints the percentiles of as many round trips as `seconds` allow. */
static void ping_pong(double seconds, unsigned gap_us, bool spinning) {
    struct table *table = mmap(NULL, sizeof *table, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint64_t *trips_ns = malloc(MAX_TRIPS * sizeof *trips_ns);
    if (table == MAP_FAILED || trips_ns == NULL) {
        fail("memory for the ping-pong");
    }
    pid_t asker = getpid();
    pid_t answerer = fork();
    if (answerer < 0) {
        fail("fork");
    }
    if (answerer == 0) {
        if (spinning) {
            bind_to_cpu(1);
        }
        answer_until_stopped(table, asker, spinning);
    }
    if (spinning) {
        bind_to_cpu(0);
    }

    const struct timespec gap = {.tv_sec = gap_us / 1000000, .tv_nsec = (long)(gap_us % 1000000) * 1000};
    const uint64_t limit_ns = (uint64_t)(seconds * 1e9);
    uint64_t begin_ns = now_ns();
    size_t count = 0;
    for (uint32_t trip = 1; count < MAX_TRIPS; trip++) {
        if (gap_us > 0) {
            nanosleep(&gap, NULL);
        }
        uint64_t asked_ns = now_ns();
        tell(&table->ask, trip, spinning);
        await(&table->answer, trip - 1, spinning);
        uint64_t answered_ns = now_ns();
        if (trip == WARM_UP_TRIPS && gap_us == 0) {
            begin_ns = answered_ns;
            count = 0;
            continue;
        }
        trips_ns[count++] = answered_ns - asked_ns;
        if (answered_ns - begin_ns >= limit_ns) {
            break;
        }
    }
    tell(&table->ask, SAY_STOP, false);
    waitpid(answerer, NULL, 0);

    qsort(trips_ns, count, sizeof *trips_ns, compare_ns);
    printf("{\"trips\": %zu, \"p50_ns\": %llu, \"p99_ns\": %llu}\n", count, (unsigned long long)trips_ns[count / 2],
           (unsigned long long)trips_ns[count * 99 / 100]);
}

static double copy_seconds(char *to, const char *from, size_t bytes) {
    uint64_t begin_ns = now_ns();
    memcpy(to, from, bytes);
    uint64_t end_ns = now_ns();
    __asm__ volatile("" : : "r"(to) : "memory"); /* the copy is never read: without this it may be left out */
    return (double)(end_ns - begin_ns) / 1e9;
}

static char *map_bytes(size_t bytes) {
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        fail("memory to copy");
    }
    return memory;
}

static int compare_seconds(const void *left, const void *right) {
    double a = *(const double *)left;
    double b = *(const double *)right;
    return (a > b) - (a < b);
}

/* Prints the fastest of some copies, and the median, which is what a median of a queue's transfers stands beside. */
static void copy_memory(size_t bytes) {
    size_t copies = bytes > 0 ? COPIED_BYTES / bytes : MOST_COPIES;
    copies = copies < FEWEST_COPIES ? FEWEST_COPIES : copies > MOST_COPIES ? MOST_COPIES : copies;
    char *from = map_bytes(bytes);
    memset(from, 1, bytes);
    double cold[MOST_COPIES];
    double warm[MOST_COPIES];
    for (size_t i = 0; i < copies; i++) {
        char *to = map_bytes(bytes);
        cold[i] = copy_seconds(to, from, bytes);
        warm[i] = copy_seconds(to, from, bytes);
        munmap(to, bytes);
    }
    qsort(cold, copies, sizeof *cold, compare_seconds);
    qsort(warm, copies, sizeof *warm, compare_seconds);
    printf("{\"bytes\": %zu, \"cold_seconds\": %.9f, \"cold_p50_seconds\": %.9f, "
           "\"warm_seconds\": %.9f, \"warm_p50_seconds\": %.9f}\n",
           bytes, cold[0], cold[copies / 2], warm[0], warm[copies / 2]);
}

static void read_clock(void) {
    uint64_t begin_ns = now_ns();
    uint64_t last_ns = begin_ns;
    for (int i = 0; i < CLOCK_READS; i++) {
        last_ns = now_ns();
    }
    printf("{\"ns\": %.1f}\n", (double)(last_ns - begin_ns) / CLOCK_READS);
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "pingpong") == 0) {
        ping_pong(strtod(argv[2], NULL), (unsigned)strtoul(argv[3], NULL, 10), false);
    } else if (argc == 3 && strcmp(argv[1], "spin") == 0) {
        cpu_set_t usable;
        if (sched_getaffinity(0, sizeof usable, &usable) == 0 && CPU_COUNT(&usable) >= 2) {
            ping_pong(strtod(argv[2], NULL), 0, true);
        } else {
            puts("null");
        }
    } else if (argc == 3 && strcmp(argv[1], "memcpy") == 0) {
        copy_memory((size_t)strtoull(argv[2], NULL, 10));
    } else if (argc == 2 && strcmp(argv[1], "clock") == 0) {
        read_clock();
    } else {
        fprintf(stderr, "usage: limits pingpong SECONDS GAP_US | spin SECONDS | memcpy BYTES | clock\n");
        return 2;
    }
    return 0;
}

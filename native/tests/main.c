/* SPDX-License-Identifier: MIT */
/*
 * lq_tests            runs every case
 * lq_tests NAME...    runs the cases whose names begin so
 * lq_tests --list     prints the names, one a line
 */
#define _GNU_SOURCE
#include "lq_test.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define ALARM_SECONDS (LQ_ASAN || LQ_TSAN ? 900u : 300u) /* a hang, not a slow machine: the longest takes ten seconds alone */
#define MOST_THREADS 16u

static const struct lq_case *const all_cases[] = {
    word_cases,     ring_cases,  slot_cases,          arena_cases,  roster_cases, bell_cases,
    function_cases, space_cases, client_worker_cases, layout_cases, report_cases, death_cases, load_cases, fuzz_cases,
    step_cases,     look_cases,  pin_cases,           tell_cases,
};

char lq_where[160];

_Noreturn void lq_fail(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: false: %s\n", file, line, what);
    if (lq_where[0] != 0)
        fprintf(stderr, "    in: %s\n", lq_where);
    fflush(NULL);
    _exit(1);
}

_Noreturn void lq_fail_values(const char *file, int line, const char *what, uint64_t left, uint64_t right)
{
    char text[256];
    snprintf(text, sizeof text, "%s (%#llx and %#llx)", what, (unsigned long long)left, (unsigned long long)right);
    lq_fail(file, line, text);
}

pid_t in_child(void (*body)(void *), void *argument)
{
    fflush(NULL);
    pid_t parent = getpid();
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* also one that is stopped: nothing outlives the case */
    if (getppid() != parent)
        _exit(1); /* it was gone before it could be said */
    body(argument);
    fflush(NULL);
    _exit(0);
}

int wait_for(pid_t pid, bool or_stopped)
{
    int status = 0;
    while (waitpid(pid, &status, or_stopped ? WUNTRACED : 0) != pid)
        CHECK(errno == EINTR);
    return status;
}

struct thread_ {
    pthread_t handle;
    void (*body)(void *, unsigned);
    void *argument;
    unsigned number;
};

static void *begin_thread_(void *given)
{
    struct thread_ *thread = given;
    thread->body(thread->argument, thread->number);
    return NULL;
}

void in_threads(unsigned count, void (*body)(void *, unsigned), void *argument)
{
    struct thread_ threads[MOST_THREADS];
    CHECK(count <= MOST_THREADS);
    for (unsigned i = 0; i < count; i++) {
        threads[i] = (struct thread_){.body = body, .argument = argument, .number = i};
        CHECK(pthread_create(&threads[i].handle, NULL, begin_thread_, &threads[i]) == 0);
    }
    for (unsigned i = 0; i < count; i++)
        CHECK(pthread_join(threads[i].handle, NULL) == 0);
}

void *shared_memory(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    return memory;
}

uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static void run_case_(void *given)
{
    const struct lq_case *one = given;
    alarm(ALARM_SECONDS);
    one->run();
}

static bool passes_(const struct lq_case *one)
{
    struct lq_case copy = *one;
    int status = wait_for(in_child(run_case_, &copy), false);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    if (WIFSIGNALED(status))
        fprintf(stderr, "%s: ended by %s\n", one->name, strsignal(WTERMSIG(status)));
    return false;
}

static bool is_wanted_(const struct lq_case *one, int count, char **names)
{
    for (int i = 1; i < count; i++)
        if (strncmp(one->name, names[i], strlen(names[i])) == 0)
            return true;
    return count < 2;
}

int main(int count, char **names)
{
    unsigned passed = 0;
    unsigned failed = 0;
    bool list = count == 2 && strcmp(names[1], "--list") == 0;
    lq_fault_share();
    for (size_t table = 0; table < sizeof all_cases / sizeof all_cases[0]; table++) {
        for (const struct lq_case *one = all_cases[table]; one->name != NULL; one++) {
            if (list) {
                puts(one->name);
            } else if (is_wanted_(one, count, names)) {
                if (LQ_TSAN && one->forks) {
                    printf("skipped %s: it is about processes, and ThreadSanitizer sees threads only\n", one->name);
                    continue;
                }
                bool good = passes_(one);
                printf("%s %s\n", good ? "ok     " : "FAILED ", one->name);
                passed += good;
                failed += !good;
            }
        }
    }
    if (!list)
        printf("%u passed, %u failed\n", passed, failed);
    return failed != 0 || (!list && passed == 0 && !LQ_TSAN);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "world.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/loop.h"
#include "chardev/chardev.h"

unsigned checks, failures;
struct memory_map *memory, *ports;
int64_t now_ns, stopped_ns, wall_ns = 1700000000 * NS_PER_SECOND;
uint8_t sent[4096];
size_t sent_bytes;

/* ---- clock and timers ---- */

struct timer { struct timer *next; enum timer_clock clock; loop_call_fn *fn; void *opaque; int64_t deadline_ns; bool is_armed; };
static struct timer *timers;
unsigned timers_fired;

int64_t clock_virtual_ns(void) { return now_ns - stopped_ns; }
int64_t clock_host_ns(void) { return now_ns; }
int64_t clock_wall_ns(void) { return wall_ns + now_ns; }

struct timer *timer_new(enum timer_clock clock, loop_call_fn *fn, void *opaque)
{
    struct timer *t = calloc(1, sizeof *t);

    if (!t) abort();
    *t = (struct timer){ timers, clock, fn, opaque, 0, false };
    return timers = t;
}

void timer_arm_ns(struct timer *t, int64_t deadline_ns)
{
    t->deadline_ns = deadline_ns;
    t->is_armed = true;
}

void timer_disarm(struct timer *t) { if (t) t->is_armed = false; }
bool timer_is_armed(const struct timer *t) { return t->is_armed; }

void timer_free(struct timer *t)
{
    struct timer **at = &timers;

    if (!t) return;
    while (*at != t) at = &(*at)->next;
    *at = t->next;
    free(t);
}

static int64_t due_ns(const struct timer *t) { return t->deadline_ns + (t->clock == TIMER_VIRTUAL ? stopped_ns : 0); }

void time_step(int64_t ns)
{
    int64_t end = now_ns + ns;

    for (;;) {
        struct timer *first = NULL;
        for (struct timer *t = timers; t; t = t->next)
            if (t->is_armed && due_ns(t) <= end && (!first || due_ns(t) < due_ns(first))) first = t;
        if (!first) break;
        if (due_ns(first) > now_ns) now_ns = due_ns(first);
        first->is_armed = false;
        timers_fired++;
        first->fn(first->opaque);
    }
    now_ns = end;
}

/* ---- serial backend ---- */

static struct chardev_frontend front;

void chardev_attach(struct chardev *c, const struct chardev_frontend *f) { front = *f; }
void chardev_accept_input(struct chardev *c) { }

size_t chardev_write(struct chardev *c, const void *data, size_t size)
{
    if (sent_bytes + size > sizeof sent) sent_bytes = 0;
    memcpy(sent + sent_bytes, data, size);
    sent_bytes += size;
    return size;
}

bool serial_input(uint8_t byte)
{
    if (!front.can_receive(front.opaque)) return false;
    front.receive(front.opaque, &byte, 1);
    return true;
}

/* ---- random numbers: xorshift64* ---- */

static uint64_t random_state;

void random_seed(uint64_t seed) { random_state = seed; }

uint64_t random_next(void)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 0x2545f4914f6cdd1dull >> 11;
}

void world_new(void)
{
    memory = memory_map_new("memory", 1ull << 52);
    ports = memory_map_new("ports", 65536);
}

/* ---- QEMU ---- */

static FILE *to_qemu, *from_qemu;
static pid_t qemu;
static int monitor;
static char firmware[] = "/tmp/ospite-chips-XXXXXX";

/* The guest: CLI and HLT for ever, so that nobody but the test touches the chips. */
static bool firmware_make(void)
{
    static uint8_t rom[65536];
    int fd = mkstemp(firmware);

    memset(rom, 0xf4, sizeof rom);
    memcpy(rom + 0xfff0, "\xfa\xf4\xeb\xfd", 4);
    if (fd < 0) return false;
    if (write(fd, rom, sizeof rom) != sizeof rom) return false;
    return close(fd) == 0;
}

/* Reads up to the monitor's next prompt. */
static void monitor_wait(void)
{
    char text[8], c;

    memset(text, 0, sizeof text);
    while (memcmp(text, "(qemu) ", 7)) {
        if (read(monitor, &c, 1) != 1) exit(1);
        memmove(text, text + 1, 6);
        text[6] = c;
    }
}

static void monitor_say(const char *command)
{
    if (write(monitor, command, strlen(command)) < 0) exit(1);
    monitor_wait();
}

int64_t qemu_run(unsigned us)
{
    monitor_say("cont\n");
    usleep(us);
    monitor_say("stop\n");
    return (int64_t)qemu_ask("readq 0x%llx\n", 0xfed000f0, 0) * 10;
}

bool qemu_start(const char *rtc)
{
    int in[2], out[2], sockets[2];
    char chardev[48];

    if (access("/usr/bin/qemu-system-x86_64", X_OK) || pipe(in) || pipe(out)) return false;
    memcpy(firmware + sizeof firmware - 7, "XXXXXX", 6);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) || !firmware_make()) return false;
    snprintf(chardev, sizeof chardev, "socket,id=m,fd=%d", sockets[1]);
    signal(SIGPIPE, SIG_IGN);
    qemu = fork();
    if (qemu == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[1]);
        close(out[0]);
        fcntl(sockets[1], F_SETFD, 0);
        execl("/usr/bin/qemu-system-x86_64", "qemu", "-machine", "pc,accel=tcg", "-S", "-qtest", "stdio", "-display", "none",
              "-nodefaults", "-bios", firmware, "-rtc", rtc, "-serial", "null", "-qtest-log", "/dev/null", "-chardev", chardev, "-mon",
              "chardev=m", NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    to_qemu = fdopen(in[1], "w");
    from_qemu = fdopen(out[0], "r");
    close(sockets[1]);
    monitor = sockets[0];
    monitor_wait();
    qemu_ask("writel 0x%llx 0x%llx\n", 0xfed00010, 1);  /* its HPET tells its virtual time */
    unlink(firmware);
    return true;
}

uint64_t qemu_ask(const char *format, uint64_t a, uint64_t b)
{
    char line[128] = "";

    fprintf(to_qemu, format, (unsigned long long)a, (unsigned long long)b);
    fflush(to_qemu);
    while (fgets(line, sizeof line, from_qemu)) {
        if (!strncmp(line, "OK", 2)) return strtoull(line + 2, NULL, 0);
        if (!strncmp(line, "FAIL", 4) || !strncmp(line, "ERR", 3)) break;
    }
    printf("qtest: no answer to '%s': %s\n", format, line);
    exit(1);
}

void qemu_stop(void)
{
    fclose(to_qemu);
    fclose(from_qemu);
    close(monitor);
    kill(qemu, SIGTERM);
    waitpid(qemu, NULL, 0);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzing of QMP: sessions of commands that make sense, changed at random, sent to a machine whose guest stands still. What comes back must be JSON,
 * line by line, whatever was sent; the last command of a session is a good one and must be answered.
 *
 * 'fuzz-qmp COUNT SEED'; with 0 and file names it sends those.
 */
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "base/loop.h"
#include "fuzz.h"
#include "machine/machine.h"
#include "monitor/monitor.h"

enum { SESSION_MAX = 8192, ALARM_S = 500, ROUNDS_MAX = 200000 };
#define LAST "\"]}\n \n}\n]\n{\"execute\":\"query-target\",\"id\":\"the last\"}\n"

static const char *const commands[] = {
    "{\"execute\":\"query-status\",\"id\":1}", "{\"execute\":\"query-block\"}", "{\"execute\":\"query-named-block-nodes\",\"arguments\":{\"flat\":true}}",
    "{\"execute\":\"query-blockstats\",\"arguments\":{\"query-nodes\":true}}", "{\"execute\":\"query-pci\"}", "{\"execute\":\"query-commands\"}",
    "{\"execute\":\"query-cpus-fast\"}", "{\"execute\":\"query-hotpluggable-cpus\"}", "{\"execute\":\"query-mice\"}", "{\"execute\":\"query-chardev\"}",
    "{\"execute\":\"send-key\",\"arguments\":{\"keys\":[{\"type\":\"qcode\",\"data\":\"a\"},{\"type\":\"number\",\"data\":42}],\"hold-time\":7}}",
    ("{\"execute\":\"input-send-event\",\"arguments\":{\"events\":[{\"type\":\"rel\",\"data\":{\"axis\":\"x\",\"value\":5}},{\"type\":\"btn\",\"data\":{\"button\":"
     "\"left\",\"down\":true}},{\"type\":\"key\",\"data\":{\"down\":true,\"key\":{\"type\":\"qcode\",\"data\":\"b\"}}}]}}"),
    "{\"execute\":\"qom-list\",\"arguments\":{\"path\":\"/machine/unattached/device[0]\"}}",
    "{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/machine/peripheral/b\",\"property\":\"guest-stats\"}}",
    "{\"execute\":\"set-action\",\"arguments\":{\"reboot\":\"reset\",\"shutdown\":\"pause\"}}", "{\"execute\":\"system_reset\"}",
    "{\"execute\":\"system_powerdown\"}", "{\"execute\":\"balloon\",\"arguments\":{\"value\":1048576}}",
    "{\"execute\":\"eject\",\"arguments\":{\"device\":\"cd\",\"force\":true}}", "{\"execute\":\"set_link\",\"arguments\":{\"name\":\"n\",\"up\":false}}",
    "{\"execute\":\"blockdev-change-medium\",\"arguments\":{\"device\":\"cd\",\"filename\":\"image\",\"format\":\"raw\"}}",
    "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"info registers\",\"cpu-index\":0}}",
    "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"x /20i 0xffff0\"}}",
    "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"b\"}}", "{\"execute\":\"netdev_del\",\"arguments\":{\"id\":\"n\"}}",
    "{\"execute\":\"announce-self\",\"arguments\":{\"initial\":1,\"max\":2,\"rounds\":3,\"step\":1,\"interfaces\":[],\"id\":\"x\"}}",
    "{\"execute\":\"ringbuf-read\",\"arguments\":{\"device\":\"c\",\"size\":9,\"format\":\"base64\"}}",
    "{\"execute\":\"ringbuf-write\",\"arguments\":{\"device\":\"c\",\"data\":\"YQ==\",\"format\":\"base64\"}}",
    "{\"execute\":\"chardev-send-break\",\"arguments\":{\"id\":\"c\"}}", "{\"execute\":\"query-display-options\"}",
    ("{\"execute\":\"display-update\",\"arguments\":{\"type\":\"vnc\",\"addresses\":[{\"type\":\"inet\",\"host\":\"127.0.0.1\",\"port\":\"0\"},{\"type\":\"unix\",\"path\":\"v\"},"
     "{\"type\":\"fd\",\"str\":\"l\"}]}}"),
    "{\"execute\":\"display-reload\",\"arguments\":{\"type\":\"vnc\",\"tls-certs\":true}}", "{\"execute\":\"watchdog-set-action\",\"arguments\":{\"action\":\"none\"}}",
    "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"info ramblock\"}}",
    "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"sum 0xfffffff0 0x2000\"}}",
    "{\"execute\":\"qom-list-types\",\"arguments\":{\"implements\":\"device\"}}", "{\"execute\":\"stop\"}", "{\"execute\":\"query-machines\"}",
    "{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":[{\"capability\":\"events\",\"state\":true}]}}",
    "{\"execute\":\"blockdev-open-tray\",\"arguments\":{\"device\":\"cd\",\"force\":true}}", "{\"execute\":\"blockdev-close-tray\",\"arguments\":{\"device\":\"cd\"}}",
    "{\"execute\":\"blockdev-remove-medium\",\"arguments\":{\"id\":\"cd\"}}", "{\"execute\":\"blockdev-insert-medium\",\"arguments\":{\"id\":\"cd\",\"node-name\":\"n\"}}",
    "{\"execute\":\"block_resize\",\"arguments\":{\"node-name\":\"#block0\",\"size\":1048576}}", "{\"execute\":\"blockdev-del\",\"arguments\":{\"node-name\":\"n\"}}",
    "{\"execute\":\"chardev-remove\",\"arguments\":{\"id\":\"c\"}}", "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"drive_del cd\"}}",
    "{\"execute\":\"query-command-line-options\",\"arguments\":{\"option\":\"m\"}}", "{'execute':'query-target','id':'\\u00e9\\\\'}",
};
static const char *const pieces[] = { "{", "}", "[", "]", "\"", "'", ":", ",", "null", "true", "-1", "1e999", "99999999999999999999", "9223372036854775807", "\\u0000",
                                      "\\ud800", "\xff", "\n", "\"id\":{}", "\"arguments\":{}", "[[[[[[[[", "\"x\":", "0.5", "\\" };

struct bench {
    struct machine *m;
    struct monitors *monitors;
    char path[64];
    uint64_t answers;
};

static void bench_make(struct bench *b)
{
    struct machine_config c;
    struct error err;

    loop_init();
    snprintf(b->path, sizeof(b->path), "unix:qmp,server=on,wait=off");
    machine_config_defaults(&c);
    c.accel = ACCEL_BT;
    c.ram_bytes = 4 << 20;
    c.start_paused = true;
    c.serial_count = 0;
    c.drive[0] = (struct drive_config){ .id = "cd", .index = 2, .media = MEDIA_CDROM, .open = { .filename = "image", .format = "raw", .readonly = true } };
    c.drive_count = 1;
    c.monitor[0] = (struct monitor_config){ b->path, "-qmp", true, false };
    c.monitor_count = 1;
    b->m = machine_new(&c, &err);
    machine_lock();
    b->monitors = b->m ? monitors_new(b->m, NULL, &err) : NULL;
    machine_unlock();
    if (b->monitors) return;
    printf("fuzz-qmp: %s\n", err.text);
    exit(1);
}

static int client(void)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "qmp" };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
        perror("connect");
        exit(1);
    }
    return fd;
}

/* A line that came. Is it the answer to the last command? */
static bool line_check(struct bench *b, const char *line)
{
    json_error_t why;
    json_t *v = json_loads(line, 0, &why);
    const char *id = json_string_value(json_object_get(v, "id"));
    bool last = id && !strcmp(id, "the last") && json_object_get(v, "return");

    if (!v) {
        printf("fuzz-qmp: no JSON: %s: %.300s\n", why.text, line);
        exit(1);
    }
    b->answers++;
    json_decref(v);
    return last;
}

static void session_run(struct bench *b, const char *text, size_t size)
{
    static const char first[] = "{\"execute\":\"qmp_capabilities\"}";
    size_t whole = sizeof(first) - 1 + size + sizeof(LAST) - 1, sent = 0, have = 0, room = 1 << 16;
    char *out = malloc(whole), *in = malloc(room);
    bool last = false;
    int fd = client();

    memcpy(out, first, sizeof(first) - 1);
    memcpy(out + sizeof(first) - 1, text, size);
    memcpy(out + whole - (sizeof(LAST) - 1), LAST, sizeof(LAST) - 1);
    for (unsigned round = 0; !last; round++) {
        ssize_t n = sent < whole ? send(fd, out + sent, whole - sent, MSG_NOSIGNAL) : 0;
        char *line = in, *end;

        if (n > 0) sent += (size_t)n;
        loop_step(0);
        if (have + 1 == room) in = realloc(in, room *= 2);
        n = recv(fd, in + have, room - have - 1, 0);
        if (n > 0) have += (size_t)n;
        in[have] = 0;
        for (line = in; (end = strchr(line, '\n')); line = end + 1) {
            *end = 0;
            last |= line_check(b, line);
        }
        have -= (size_t)(line - in);
        memmove(in, line, have + 1);
        if (round == ROUNDS_MAX) {
            printf("fuzz-qmp: the last command is not answered\n");
            exit(1);
        }
    }
    close(fd);
    loop_step(0);
    free(out);
    free(in);
}

static size_t session_make(uint64_t *rng, char *text)
{
    size_t size = 0;

    for (unsigned n = 1 + fuzz_dice(rng) % 12; n-- > 0 && size + 1024 < SESSION_MAX;)
        size += (size_t)sprintf(text + size, "%s\n", commands[fuzz_dice(rng) % (sizeof(commands) / sizeof(commands[0]))]);
    for (unsigned n = fuzz_dice(rng) % 6; n-- > 0 && size + 64 < SESSION_MAX;) {
        const char *p = pieces[fuzz_dice(rng) % (sizeof(pieces) / sizeof(pieces[0]))];
        size_t at = fuzz_dice(rng) % size, length = strlen(p), gone = fuzz_dice(rng) % 3 ? 0 : fuzz_dice(rng) % 9;

        if (gone > size - at) gone = size - at;
        memmove(text + at + length, text + at + gone, size - at - gone);
        memcpy(text + at, p, length);
        size += length - gone;
        if (!(fuzz_dice(rng) % 3)) text[fuzz_dice(rng) % size] = (char)fuzz_dice(rng);
    }
    return size;
}

static void files_send(struct bench *b, int count, char *const *names)
{
    static char text[SESSION_MAX];

    for (int i = 0; i < count; i++) {
        FILE *f = fopen(names[i], "rb");

        if (!f) continue;
        session_run(b, text, fread(text, 1, sizeof(text), f));
        fclose(f);
    }
}

int main(int argc, char **argv)
{
    unsigned long count = argc > 1 ? strtoul(argv[1], NULL, 0) : 10000;
    uint64_t seed = argc > 2 && count ? strtoull(argv[2], NULL, 0) : 1, rng = seed;
    char dir[] = "/tmp/ospite-fuzz-qmp-XXXXXX", text[SESSION_MAX + 64];
    struct bench b = { 0 };

    alarm(count <= 10000 ? ALARM_S : 0);
    printf("fuzz-qmp: seed %llu\n", (unsigned long long)seed);
    if (!mkdtemp(dir) || (!count && argc > 2 && argv[2][0] != '/')) return 1;
    if (chdir(dir) < 0 || close(open("image", O_CREAT | O_WRONLY, 0600)) < 0 || truncate("image", 1 << 20) < 0) return 1;
    bench_make(&b);
    if (!count) files_send(&b, argc - 2, argv + 2);
    for (unsigned long i = 0; i < count; i++) session_run(&b, text, session_make(&rng, text));
    machine_lock();
    monitors_free(b.monitors);
    machine_unlock();
    machine_free(b.m);
    if (chdir("/") == 0) {
        char command[128];

        snprintf(command, sizeof(command), "rm -r %s", dir);
        if (system(command)) return 1;
    }
    printf("fuzz-qmp: %lu sessions, %llu answers and events\n", count, (unsigned long long)b.answers);
    return 0;
}

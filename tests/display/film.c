/* SPDX-License-Identifier: GPL-2.0-or-later */
/* film WIDTH HEIGHT: a player in the guest. Four pictures, none of whose pixels is like the next picture's, are written to /dev/fb0 in turn, thirty times a
 * second by the clock: who comes late leaves pictures out, as players do. Linked statically. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { PICTURES = 4, PERIOD_NS = 33333333, SECOND_NS = 1000000000 };

static void picture_paint(uint32_t *pixel, unsigned width, unsigned height, unsigned n)
{
    for (unsigned y = 0; y < height; y++)
        for (unsigned x = 0; x < width; x++) pixel[y * width + x] = ((x + y) * 2654435761u >> 8 & 0xfcfcfc) | n << 16 | n << 8 | n;
}

static void put(int fd, const char *data, size_t size)
{
    for (size_t at = 0; at < size;) {
        ssize_t n = pwrite(fd, data + at, size - at, (off_t)at);

        if (n <= 0) exit(1);
        at += (size_t)n;
    }
}

static uint64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

static void sleep_until(uint64_t ns)
{
    struct timespec t = { (time_t)(ns / SECOND_NS), (long)(ns % SECOND_NS) };

    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

int main(int argc, char **argv)
{
    unsigned width = argc == 3 ? (unsigned)atoi(argv[1]) : 0, height = argc == 3 ? (unsigned)atoi(argv[2]) : 0;
    size_t pixels = (size_t)width * height;
    uint32_t *picture = calloc(PICTURES * pixels, sizeof(*picture));
    int fd = open("/dev/fb0", O_WRONLY);
    uint64_t due = now();

    if (!pixels || !picture || fd < 0) return 1;
    for (unsigned n = 0; n < PICTURES; n++) picture_paint(picture + n * pixels, width, height, n);
    for (unsigned n = 0;; n++) {
        put(fd, (const char *)(picture + n % PICTURES * pixels), pixels * sizeof(*picture));
        do due += PERIOD_NS;
        while (due < now());
        sleep_until(due);
    }
}

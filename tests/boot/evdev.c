/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * evdev: in the guest, prints what all input devices say, a line a report: "<NAME: TYPE/CODE=VALUE ...>". Positions of absolute axes are pixels of /dev/fb0, by
 * libinput's rule. EVDEV-READY when all devices are open; ends with the device that is removed, or a report with key 16 (q).
 */
#include <fcntl.h>
#include <linux/fb.h>
#include <linux/input.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { DEVICES = 16 };

struct device { char name[64]; struct input_absinfo axis[2]; char line[512]; int pixel[2]; };

static int pixel(const struct device *d, unsigned axis, const struct fb_var_screeninfo *s, int value)
{
    const struct input_absinfo *a = &d->axis[axis];
    long long size = axis ? s->yres : s->xres;

    return size && a->maximum > a->minimum ? (int)((value - a->minimum) * size / (a->maximum - a->minimum + 1)) : value;
}

static int event(struct device *d, const struct input_event *e, const struct fb_var_screeninfo *s)
{
    size_t n = strlen(d->line);

    if (e->type == EV_SYN) {
        if (n) printf("<%s:%s>\n", d->name, d->line);
        fflush(stdout);
        n = strstr(d->line, " 1/16=1") != NULL;
        d->line[0] = 0;
        return (int)n;
    }
    if (e->type == EV_MSC) return 0;
    snprintf(d->line + n, sizeof(d->line) - n, " %d/%d=%d", e->type, e->code, e->type == EV_ABS && e->code < 2 ? pixel(d, e->code, s, e->value) : e->value);
    return 0;
}

int main(void)
{
    static struct device device[DEVICES];
    struct pollfd fd[DEVICES];
    struct fb_var_screeninfo screen = { 0 };
    int fb = open("/dev/fb0", O_RDWR), count = 0;

    if (fb >= 0) ioctl(fb, FBIOGET_VSCREENINFO, &screen);
    for (int i = 0; i < DEVICES; i++) {
        char path[32];

        snprintf(path, sizeof(path), "/dev/input/event%d", i);
        fd[count].fd = open(path, O_RDONLY);
        if (fd[count].fd < 0) continue;
        fd[count].events = POLLIN;
        ioctl(fd[count].fd, EVIOCGNAME(sizeof(device[0].name)), device[count].name);
        for (int a = 0; a < 2; a++) ioctl(fd[count].fd, EVIOCGABS(a), &device[count].axis[a]);
        printf("device %s\n", device[count].name);
        count++;
    }
    printf("screen %u %u\nEVDEV-READY\n", screen.xres, screen.yres);
    fflush(stdout);
    while (poll(fd, (nfds_t)count, -1) > 0)
        for (int i = 0; i < count; i++) {
            struct input_event e[64];
            ssize_t n = fd[i].revents ? read(fd[i].fd, e, sizeof(e)) : 0;

            if (n < 0) {
                printf("gone %s\n", device[i].name);
                return 0;
            }
            for (ssize_t k = 0; k * (ssize_t)sizeof(e[0]) < n; k++)
                if (event(&device[i], &e[k], &screen)) return 0;
        }
    return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The terminal ospite was started in. Input is raw; with signal=on (the default of plain stdio) Ctrl-C still
 * interrupts. What was set before comes back at exit and, as far as nobody else handles them, at fatal signals.
 *
 * What is kept of it stands at file scope: what runs at a signal, a crash or the exit has no argument, and a process has one terminal.
 *
 * O_NONBLOCK would hit everybody who shares the open file (the shell, our own stderr), so output goes through a
 * second open of the same terminal or pipe. Where that is not allowed, the flag is set and taken back at exit.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/error.h"
#include "chardev/chardev_private.h"

static struct termios before, raw;
static volatile sig_atomic_t is_raw;
static int saved_flags = -1;

void chardev_terminal_restore(void)
{
    if (is_raw) {
        is_raw = 0;
        tcsetattr(STDIN_FILENO, TCSANOW, &before);
    }
    if (saved_flags != -1) fcntl(STDOUT_FILENO, F_SETFL, saved_flags);
}

/* The shell has put its own modes while we were stopped. */
static void continued(int sig)
{
    if (is_raw) tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

static void handlers_install(void)
{
    struct sigaction act = { .sa_handler = continued, .sa_flags = SA_RESTART };

    sigaction(SIGCONT, &act, NULL);
    crash_call_add(chardev_terminal_restore);
}

static void terminal_raw(bool signals)
{
    if (tcgetattr(STDIN_FILENO, &before) < 0) return;
    raw = before;
    raw.c_iflag &= ~(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    raw.c_oflag |= OPOST;
    raw.c_lflag &= ~(ECHO | ECHONL | ICANON | IEXTEN);
    if (!signals) raw.c_lflag &= ~ISIG;
    raw.c_cflag = (raw.c_cflag & ~(CSIZE | PARENB)) | CS8;
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    handlers_install();
    is_raw = 1;
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

static void output_open(struct stream *s)
{
    struct stat st;
    int fd;

    s->out_fd = STDOUT_FILENO;
    if (fstat(STDOUT_FILENO, &st) < 0 || S_ISREG(st.st_mode)) return;
    if (S_ISSOCK(st.st_mode)) {
        s->out_is_socket = true;
        return;
    }
    fd = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0) {
        s->out_fd = fd;
        s->own_out = true;
        return;
    }
    saved_flags = fcntl(STDOUT_FILENO, F_GETFL);
    fcntl(STDOUT_FILENO, F_SETFL, saved_flags | O_NONBLOCK);
    crash_call_add(chardev_terminal_restore);
}

static void stdio_closing(struct stream *s)
{
    chardev_terminal_restore();
}

struct chardev *stdio_open(const char *path, const char *options, struct error *err)
{
    static const char *const names[] = { "signal", NULL };
    bool signals = true;
    struct stream *s;

    if (chardev_options_check("stdio", options, names, err) < 0 ||
        chardev_option_bool(options, "signal", &signals, err) < 0) return NULL;
    if (!(s = calloc(1, sizeof(*s)))) {
        error_set(err, "out of memory");
        return NULL;
    }
    stream_init(s, STDIN_FILENO, STDOUT_FILENO);
    output_open(s);
    s->closing = stdio_closing;
    if (isatty(STDIN_FILENO)) terminal_raw(signals);
    snprintf(s->base.description, sizeof(s->base.description), "stdio");
    return &s->base;
}

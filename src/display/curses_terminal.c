/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Raw modes are ours, not ncurses': it writes into memory (curses_screen.c), so that a terminal at the end of a slow line, or one that is
 * stopped, holds up nobody. Output goes through a second open of the terminal, since O_NONBLOCK would hit the shell, too.
 *
 * Messages of this program (stderr) would end up in the picture. Where that is the same kind of terminal they go into a pipe until the
 * terminal is given back; what does not fit is lost.
 */
#include "display/curses_terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/error.h"
#include "base/loop.h"
#include "display/bytes.h"

enum { FAREWELL_BYTES = 256, LAST_WAIT_MS = 1000, PIPE_BYTES = 4096 };

struct curses_terminal {
    struct curses_terminal_user user;
    struct termios before, raw;
    int out, messages, stderr_before;  /* -1: messages go where they went */
    struct bytes queue;
    bool in_watched, out_watched, is_dead;
    char farewell[FAREWELL_BYTES];
};

/* For handlers of signals and of exit, which get no argument. */
static struct curses_terminal *volatile taken;

/* ---- how it ends ---- */

/* Only calls that are allowed in a signal's handler. */
static void messages_show(struct curses_terminal *t)
{
    char text[PIPE_BYTES];
    ssize_t n;

    if (t->messages < 0) return;
    dup2(t->stderr_before, STDERR_FILENO);
    while ((n = read(t->messages, text, sizeof(text))) > 0)
        if (write(STDERR_FILENO, text, (size_t)n) < 0) break;
}

static void give_back(void)
{
    struct curses_terminal *t = taken;

    if (!t) return;
    taken = NULL;
    tcsetattr(STDIN_FILENO, TCSANOW, &t->before);
    if (write(t->out, t->farewell, strlen(t->farewell)) < 0) t->is_dead = true;
    messages_show(t);
}

/* The shell has put its own modes while we were stopped. */
static void continued(int sig)
{
    if (taken) tcsetattr(STDIN_FILENO, TCSANOW, &taken->raw);
}

static void handlers_install(void)
{
    struct sigaction act = { .sa_handler = continued, .sa_flags = SA_RESTART };

    sigaction(SIGCONT, &act, NULL);
    crash_call_add(give_back);
}

/* ---- output ---- */

static void on_ready(void *opaque, int fd, unsigned events);

static void out_watch(struct curses_terminal *t)
{
    bool on = bytes_size(&t->queue) > 0 && !t->is_dead;

    if (on == t->out_watched) return;
    loop_fd_watch(t->out, on ? LOOP_WRITE : 0, on_ready, t);
    t->out_watched = on;
}

static void flush(struct curses_terminal *t)
{
    while (bytes_size(&t->queue)) {
        ssize_t n = write(t->out, t->queue.data + t->queue.at, bytes_size(&t->queue));

        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno != EAGAIN) {                /* it is gone: SIGHUP will tell */
            t->is_dead = true;
            bytes_clear(&t->queue);
        }
        if (n <= 0) break;
        bytes_drop(&t->queue, (size_t)n);
    }
    out_watch(t);
}

void curses_terminal_write(struct curses_terminal *t, const void *data, size_t size)
{
    if (t->is_dead || !size) return;
    bytes_add(&t->queue, data, size);
    flush(t);
}

bool curses_terminal_is_idle(const struct curses_terminal *t) { return !bytes_size(&t->queue); }

static void on_ready(void *opaque, int fd, unsigned events)
{
    struct curses_terminal *t = opaque;

    if (fd != STDIN_FILENO) {
        flush(t);
        if (curses_terminal_is_idle(t)) t->user.idle(t->user.opaque);
    } else if (events & LOOP_HANGUP && !(events & LOOP_READ)) curses_terminal_input_watch(t, false);
    else t->user.input(t->user.opaque);
}

void curses_terminal_input_watch(struct curses_terminal *t, bool on)
{
    if (on == t->in_watched) return;
    loop_fd_watch(STDIN_FILENO, on ? LOOP_READ : 0, on_ready, t);
    t->in_watched = on;
}

void curses_terminal_size(const struct curses_terminal *t, unsigned *rows, unsigned *columns)
{
    struct winsize size;

    *rows = 25;
    *columns = 80;
    if (ioctl(t->out, TIOCGWINSZ, &size) < 0 || !size.ws_row || !size.ws_col) return;
    *rows = size.ws_row;
    *columns = size.ws_col;
}

/* ---- life ---- */

static void messages_keep(struct curses_terminal *t)
{
    int end[2];

    t->messages = t->stderr_before = -1;
    if (!isatty(STDERR_FILENO) || pipe2(end, O_CLOEXEC | O_NONBLOCK) < 0) return;
    fflush(NULL);
    t->stderr_before = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    if (t->stderr_before >= 0) {
        t->messages = end[0];
        dup2(end[1], STDERR_FILENO);
    } else close(end[0]);
    close(end[1]);
}

static void raw_set(struct curses_terminal *t)
{
    t->raw = t->before;
    t->raw.c_iflag &= ~(unsigned)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    t->raw.c_oflag &= ~(unsigned)OPOST;
    t->raw.c_lflag &= ~(unsigned)(ECHO | ECHONL | ICANON | IEXTEN | ISIG);
    t->raw.c_cflag = (t->raw.c_cflag & ~(unsigned)(CSIZE | PARENB)) | CS8;
    t->raw.c_cc[VMIN] = 1;
    t->raw.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &t->raw);
}

struct curses_terminal *curses_terminal_open(const struct curses_terminal_user *user, struct error *err)
{
    struct curses_terminal *t;

    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
        error_set(err, "standard input and output must be a terminal; without one use -display web, -vnc 127.0.0.1:0 or -nographic");
        return NULL;
    }
    t = calloc(1, sizeof(*t));
    if (!t || tcgetattr(STDIN_FILENO, &t->before) < 0 || (t->out = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)) < 0) {
        error_set(err, "the terminal cannot be opened: %s", strerror(errno));
        free(t);
        return NULL;
    }
    t->user = *user;
    messages_keep(t);
    handlers_install();
    taken = t;
    raw_set(t);
    curses_terminal_input_watch(t, true);
    return t;
}

void curses_terminal_farewell_set(struct curses_terminal *t, const char *text)
{
    if (strlen(text) < sizeof(t->farewell)) strcpy(t->farewell, text);
}

void curses_terminal_close(struct curses_terminal *t)
{
    struct pollfd p = { .fd = t->out, .events = POLLOUT };

    while (bytes_size(&t->queue) && !t->is_dead && poll(&p, 1, LAST_WAIT_MS) > 0) flush(t);
    curses_terminal_input_watch(t, false);
    bytes_clear(&t->queue);
    out_watch(t);
    t->farewell[0] = 0;
    give_back();
    close(t->out);
    if (t->messages >= 0) {
        close(t->messages);
        close(t->stderr_before);
    }
    bytes_free(&t->queue);
    free(t);
}

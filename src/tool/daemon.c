/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SIGPIPE, -name process=, -daemonize and -pidfile. */
#include "tool/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"

void process_prepare(const char *name)
{
    signal(SIGPIPE, SIG_IGN);
    if (name) prctl(PR_SET_NAME, name);
}

/* Errors of the set-up have gone to stderr by then; only the status is left to pass on. */
static _Noreturn void parent_wait(int fd, pid_t child)
{
    char byte;
    int status;

    if (read(fd, &byte, 1) == 1) _exit(0);
    if (waitpid(child, &status, 0) == child && WIFEXITED(status)) _exit(WEXITSTATUS(status));
    _exit(1);
}

int daemon_begin(struct error *err)
{
    pid_t child;
    int fd[2];

    if (pipe2(fd, O_CLOEXEC) < 0 || (child = fork()) < 0)
        return error_set(err, "-daemonize: cannot start the background process: %s", strerror(errno));
    if (child) {
        close(fd[1]);
        parent_wait(fd[0], child);
    }
    close(fd[0]);
    setsid();
    return fd[1];
}

int daemon_ready(int fd, struct error *err)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null < 0 || chdir("/") < 0) return error_set(err, "-daemonize: %s", strerror(errno));
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    close(null);
    if (write(fd, "", 1) != 1) return error_set(err, "-daemonize: the starter is gone");
    close(fd);
    return 0;
}

int pidfile_write(const char *path, struct error *err)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

    if (fd < 0) return error_set(err, "-pidfile: cannot write '%s': %s", path, strerror(errno));
    if (fcntl(fd, F_SETLK, &lock) < 0) {
        close(fd);
        return error_set(err, "-pidfile: '%s' is locked; another machine uses it", path);
    }
    if (ftruncate(fd, 0) < 0 || dprintf(fd, "%ld\n", (long)getpid()) < 0)
        return error_set(err, "-pidfile: cannot write '%s': %s", path, strerror(errno));
    return 0;                                    /* fd stays open: the lock lives as long as the process */
}

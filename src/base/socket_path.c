/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/socket_path.h"

#include <sys/stat.h>
#include <unistd.h>

void socket_path_clear(const char *path)
{
    struct stat st;

    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode)) unlink(path);
}

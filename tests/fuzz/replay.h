/* SPDX-License-Identifier: GPL-2.0-or-later */
/* NAME --replay DIR, for targets that make their own steps: runs the inputs in a directory. What stands before the last '-' of a file's name is the
 * device, where the target has several. */
#ifndef TESTS_FUZZ_REPLAY_H
#define TESTS_FUZZ_REPLAY_H

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

enum { REPLAY_INPUT_MAX = 64 << 10 };

static inline int fuzz_replay(const char *program, const char *directory)
{
    static uint8_t input[REPLAY_INPUT_MAX];
    DIR *d = opendir(directory);
    unsigned count = 0;

    if (!d) perror(directory);
    for (struct dirent *e; d && (e = readdir(d));) {
        char name[PATH_MAX], *dash;
        FILE *f;

        if (*e->d_name == '.') continue;
        snprintf(name, sizeof(name), "%s/%s", directory, e->d_name);
        if (!(f = fopen(name, "r"))) {
            perror(name);
            return 1;
        }
        snprintf(name, sizeof(name), "%s", e->d_name);
        if ((dash = strrchr(name, '-'))) *dash = 0;
        setenv("OSPITE_FUZZ_DEVICE", name, 1);
        LLVMFuzzerTestOneInput(input, fread(input, 1, sizeof(input), f));
        fclose(f);
        count++;
    }
    if (d) closedir(d);
    printf("%s: %u inputs of the corpus replayed\n", program, count);
    return !count;
}

#endif

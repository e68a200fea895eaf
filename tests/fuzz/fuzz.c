/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The plain program around a fuzz target: inputs changed at random with a fixed seed, or read from files. */
#include "fuzz.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int file_replay(const struct fuzz_target *t, const char *name)
{
    uint8_t *input = malloc(t->input_max);
    FILE *f = fopen(name, "r");
    if (!f || !input) {
        perror(name);
        return 1;
    }
    size_t n = fread(input, 1, t->input_max, f);
    fclose(f);
    LLVMFuzzerTestOneInput(input, n);
    free(input);
    return 0;
}

static int directory_replay(const struct fuzz_target *t, const char *directory)
{
    char *path = realpath(directory, NULL);     /* an input may change the directory */
    DIR *d = path ? opendir(path) : NULL;
    unsigned count = 0;
    if (!d) {
        perror(directory);
        return 1;
    }
    for (struct dirent *e; (e = readdir(d));) {
        char name[PATH_MAX];
        snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
        if (*e->d_name != '.' && file_replay(t, name))
            return 1;
        count += *e->d_name != '.';
    }
    closedir(d);
    free(path);
    printf("fuzz/%s: %u inputs of the corpus replayed\n", t->name, count);
    return !count;
}

static int files_replay(const struct fuzz_target *t, int count, char **files)
{
    for (int i = 0; i < count; i++)
        files[i] = realpath(files[i], NULL);
    for (int i = 0; i < count; i++)
        if (!files[i] || file_replay(t, files[i]))
            return 1;
    printf("fuzz/%s: %d inputs replayed\n", t->name, count);
    return 0;
}

static int seeds_write(const struct fuzz_target *t, const char *directory)
{
    for (unsigned i = 0; i < t->seeds; i++) {
        char name[PATH_MAX];
        size_t length;
        uint8_t *s = t->seed_make(i, &length);
        snprintf(name, sizeof(name), "%s/seed%u", directory, i);
        FILE *f = s ? fopen(name, "w") : NULL;
        if (!f || fwrite(s, length, 1, f) != 1 || fclose(f))
            return 1;
        free(s);
    }
    return 0;
}

static int changed_run(const struct fuzz_target *t, unsigned count, uint64_t *rng)
{
    uint8_t *input = malloc(t->input_max);
    for (unsigned i = 0; i < t->seeds; i++) {
        size_t length;
        uint8_t *s = t->seed_make(i, &length);
        if (!s || !input || length > t->input_max) {
            printf("FAILED: seed %u\n", i);
            return 1;
        }
        for (unsigned k = 0; k < count / t->seeds; k++) {
            memcpy(input, s, length);
            LLVMFuzzerTestOneInput(input, t->change(rng, input, length));
        }
        free(s);
    }
    free(input);
    return 0;
}

int fuzz_main(const struct fuzz_target *t, int argc, char **argv)
{
    unsigned count = argc > 1 ? (unsigned)atoi(argv[1]) : t->count;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 7, rng = seed;
    if (argc > 2 && !strcmp(argv[1], "--seeds"))
        return seeds_write(t, argv[2]);
    if (argc > 2 && !strcmp(argv[1], "--replay"))
        return directory_replay(t, argv[2]);
    if (argc > 1 && !count)
        return files_replay(t, argc - 2, argv + 2);
    stderr = fopen("/dev/null", "w");   /* the sanitizers' words still come through */
    alarm(t->alarm_s);                  /* what hangs is a finding */
    int r = changed_run(t, count, &rng);
    printf("fuzz/%s: %u inputs, seed %llu\n", t->name, count / t->seeds * t->seeds, (unsigned long long)seed);
    return r;
}

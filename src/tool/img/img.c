/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 'ospite img VERB': the list of verbs, and what happens around each: arguments parsed and checked, run, one line for a
 * failure, exit status. Called as qemu-img the same verbs keep scripts of that tool working where the two differ.
 */
#include "tool/img/img.h"

#include <signal.h>
#include <string.h>

#include "base/nearest.h"
#include "tool/daemon.h"
#include "tool/img/img_private.h"
#include "tool/version.h"

static const struct img_verb *const verbs[] = {
    &img_verb_amend, &img_verb_bench, &img_verb_bitmap, &img_verb_check, &img_verb_commit, &img_verb_compare,
    &img_verb_convert, &img_verb_create, &img_verb_dd, &img_verb_info, &img_verb_map, &img_verb_measure,
    &img_verb_rebase, &img_verb_resize, &img_verb_snapshot,
};

static void help_print(void)
{
    printf("usage: ospite img VERB [OPTION]... FILE...\n"
           "Makes, describes, checks, copies and changes disk images.\n\n");
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
        printf("  %-10s %s\n", verbs[i]->name, verbs[i]->summary);
    printf("\nBefore the verb: -V, --version: show the version; -T, --trace=LIST[,file=FILE]: trace these categories ('-T help').\n"
           "'ospite img VERB -h' shows the options of a verb with an example.\n\nSupported formats:");
    for (unsigned i = 0; block_format_nth(i); i++)
        printf(" %s", block_format_nth(i));
    printf("\nexample: ospite img create -f qcow2 disk.qcow2 20G\n");
}

static const struct img_verb *verb_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
        if (!strcmp(verbs[i]->name, name))
            return verbs[i];
    return NULL;
}

static int verb_unknown(const char *name, struct error *err)
{
    struct nearest near;
    nearest_begin(&near, name);
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
        nearest_offer(&near, verbs[i]->name);
    if (nearest_result(&near))
        return error_set(err, "'%s' is not a verb; did you mean '%s'?", name, near.best);
    return error_set(err, "'%s' is not a verb; 'ospite img -h' lists them", name);
}

static int verb_run(const struct img_verb *v, bool old_name, int argc, char **argv, struct error *err)
{
    struct img_common *c = calloc(1, v->args_bytes);
    if (!c)
        return error_set(err, "out of memory");
    c->arena = arena_new();
    c->old_name = old_name;
    if (v->defaults)
        v->defaults(c);
    int r = img_options_parse(v, c, argc, argv, err);
    if (!r && c->help)
        img_verb_help(v);
    else if (!r && !(r = img_objects_make(c, err)))
        r = v->run(c, err);
    img_objects_free(c);
    arena_free(c->arena);
    free(c);
    return r;
}

static int trace_option(const char *text, struct error *err)
{
    const char *file = strstr(text, ",file=");
    char list[256];
    if (!strncmp(text, "enable=", 7))
        text += 7;
    snprintf(list, sizeof(list), "%.*s", file ? (int)(file - text) : (int)strlen(text), text);
    if (file && log_trace_file(file + 6, err))
        return -1;
    return *list ? log_trace_enable(list, err) : 0;
}

/* What stands before the verb. Returns where the verb is, 0: nothing is left to do, -1: *err. */
static int front_options(int argc, char **argv, struct error *err)
{
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (!strcmp(argv[i], "-h") || !strcmp(argv[i], "--help")) {
            help_print();
            return 0;
        }
        if (!strcmp(argv[i], "-V") || !strcmp(argv[i], "--version")) {
            version_print("ospite-img");
            return 0;
        }
        const char *text = !strncmp(argv[i], "--trace=", 8) ? argv[i] + 8 : !strncmp(argv[i], "-T", 2) && argv[i][2] ?
                           argv[i] + 2 : NULL;
        if (!text && (!strcmp(argv[i], "-T") || !strcmp(argv[i], "--trace")) && i + 1 < argc)
            text = argv[++i];
        if (!text)
            return error_set(err, "'%s': unknown option; see 'ospite img -h'", argv[i]);
        if (!strcmp(text, "help")) {
            log_trace_help(stdout);
            return 0;
        }
        if (trace_option(text, err))
            return -1;
    }
    return i < argc ? i : error_set(err, "what is to be done? Write 'ospite img VERB ...'; 'ospite img -h' lists the verbs");
}

int img_tool_run(int argc, char **argv)
{
    struct error err = { "unknown error" };
    const char *slash = strrchr(argv[0], '/'), *called = slash ? slash + 1 : argv[0];
    bool old_name = !strcmp(called, "qemu-img");
    process_prepare(NULL);
    int at = front_options(argc, argv, &err), r = at;
    const struct img_verb *v = at > 0 ? verb_find(argv[at]) : NULL;
    if (at > 0)
        r = v ? verb_run(v, old_name, argc - at, argv + at, &err) : verb_unknown(argv[at], &err);
    if (r < 0)
        log_message("img%s%s: %s", v ? " " : "", v ? v->name : "", err.text);
    if (fflush(stdout) && r >= 0) {
        log_message("img: the output could not be written");
        r = -1;
    }
    return r < 0 ? 1 : r;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 'ospite ksm': shows the kernel's page sharing and what it saves, switches it on and off, sets how hard it works. Settings are those
 * of /sys/kernel/mm/ksm, a row each; the kernel judges their values.
 */
#include "tool/ksm.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"
#include "base/nearest.h"
#include "tool/ksm_private.h"

struct request {
    const char *command, *root;
    bool help, json, watch, unmerge;
    double interval_s;
    uint64_t count;
    char **settings;                    /* of tune */
    unsigned setting_count;
};

static const struct { const char *name, *arg, *help; } words[] = {
    { "show", "", "state and savings (also without a command)" },
    { "on", "", "merge equal pages of guests from now on" },
    { "off", "", "merge no more; with --unmerge give every guest its own pages again" },
    { "tune", "[KEY=VALUE]...", "set how hard it works; without values show the settings" },
    { "--watch", "[SECONDS]", "show again every second, with a chart" },
    { "--count", "N", "with --watch: end after N times" },
    { "--json", "", "print JSON; with --watch an object a line" },
    { "--unmerge", "", "with off" },
    { "--root", "DIR", "look at DIR/proc and DIR/sys (for tests)" },
    { "--help", "", "show this help; also -h" },
};
static const struct setting { const char *key, *file, *help; bool is_switch; } settings[] = {
    { "pages", "pages_to_scan", "pages looked at before each pause", false },
    { "sleep", "sleep_millisecs", "the pause, in milliseconds", false },
    { "max-sharing", "max_page_sharing", "places that may share one page", false },
    { "zero", "use_zero_pages", "on: pages of zeros need no page at all", true },
    { "smart", "smart_scan", "on: look less often at what never had an equal", true },
    { "numa", "merge_across_nodes", "on: also between NUMA nodes (while nothing is shared)", true },
    { "advisor", "advisor_mode", "scan-time: the kernel finds pages= itself; none", false },
};

/* ---- command line ---- */

static int seconds_take(struct request *r, int argc, char **argv, int *i, struct error *err)
{
    char *end;

    r->watch = true;
    if (*i + 1 == argc || !(isdigit((unsigned char)*argv[*i + 1]) || *argv[*i + 1] == '.')) return 0;
    r->interval_s = strtod(argv[++*i], &end);
    return *end || r->interval_s < 0.1 || r->interval_s > 3600 ? error_set(err, "--watch wants 0.1 to 3600 seconds, not '%s'", argv[*i]) : 0;
}

static int word_unknown(const char *word, struct error *err)
{
    struct nearest near;

    nearest_begin(&near, word);
    for (unsigned k = 0; k < ARRAY_SIZE(words); k++) nearest_offer(&near, words[k].name);
    if (nearest_result(&near)) return error_set(err, "unknown word '%s'; did you mean '%s'?", word, near.best);
    return error_set(err, "unknown word '%s'; 'ospite ksm -h' shows them", word);
}

static bool is_command(const char *word)
{
    return !strcmp(word, "show") || !strcmp(word, "on") || !strcmp(word, "off") || !strcmp(word, "tune");
}

static int word_take(struct request *r, int argc, char **argv, int *i, struct error *err)
{
    const char *w = argv[*i];

    if (!strcmp(w, "--json")) r->json = true;
    else if (!strcmp(w, "--unmerge")) r->unmerge = true;
    else if (!strcmp(w, "--help") || !strcmp(w, "-h")) r->help = true;
    else if (!strcmp(w, "--watch")) return seconds_take(r, argc, argv, i, err);
    else if (!strcmp(w, "--root") || !strcmp(w, "--count")) {
        if (*i + 1 == argc) return error_set(err, "%s wants a value", w);
        if (!strcmp(w, "--root")) r->root = argv[++*i];
        else return value_unsigned(w, argv[++*i], UINT32_MAX, &r->count, err);
    } else if (!r->command && is_command(w)) r->command = w;
    else if (r->command && !strcmp(r->command, "tune") && *w != '-') {
        r->settings[r->setting_count++] = argv[*i];
    } else return word_unknown(w, err);
    return 0;
}

static int request_check(const struct request *r, struct error *err)
{
    bool changes = r->command && (!strcmp(r->command, "on") || !strcmp(r->command, "off") || r->setting_count);

    if (r->unmerge && (!r->command || strcmp(r->command, "off"))) return error_set(err, "--unmerge belongs to 'off'");
    if (r->count && !r->watch) return error_set(err, "--count belongs to --watch");
    if (r->watch && r->command && strcmp(r->command, "show")) return error_set(err, "--watch belongs to 'show'");
    if (r->json && changes) return error_set(err, "--json belongs to 'show' and to 'tune' without values");
    return 0;
}

/* ---- changing ---- */

static int file_write(struct doctor *d, const char *file, const char *value, struct error *err)
{
    const char *path = host_path(d, arena_format(d->arena, KSM_DIRECTORY "/%s", file));
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC), why = 0;

    if (fd < 0 || write(fd, value, strlen(value)) < 0) why = errno;
    if (fd >= 0) close(fd);
    if (!why) return 0;
    if (why == EACCES || why == EPERM || why == EROFS)
        return error_set(err, "cannot change %s: %s; run it as root%s", path, strerror(why), host_is_container(d) ? ", outside of the container" : "");
    if (why == ENOENT) return error_set(err, "this kernel has no %s", path);
    if (why == EBUSY) return error_set(err, "%s cannot change while pages are shared; run 'ospite ksm off --unmerge' first", path);
    return error_set(err, "the kernel does not take '%s' for %s: %s", value, path, strerror(why));
}

static int setting_split(const char *text, const struct setting **s, const char **value, struct error *err)
{
    const char *equals = strchr(text, '=');
    size_t length = equals ? (size_t)(equals - text) : strlen(text);
    struct nearest near;
    char key[32];

    snprintf(key, sizeof(key), "%.*s", (int)length, text);
    nearest_begin(&near, key);
    for (unsigned i = 0; i < ARRAY_SIZE(settings); i++) {
        nearest_offer(&near, settings[i].key);
        if (strcmp(settings[i].key, key)) continue;
        *s = &settings[i];
        *value = equals ? equals + 1 : "";
        return *value[0] ? 0 : error_set(err, "tune: write %s=VALUE", key);
    }
    if (nearest_result(&near)) return error_set(err, "tune: unknown setting '%s'; did you mean '%s'?", key, near.best);
    return error_set(err, "tune: unknown setting '%s'; 'ospite ksm -h' lists them", key);
}

/* Values are checked before the first is written. */
static int tune(struct doctor *d, const struct request *r, struct error *err)
{
    const struct setting *s = NULL;
    const char *value = NULL;
    uint64_t number;
    bool on;

    for (int pass = 0; pass < 2; pass++)
        for (unsigned i = 0; i < r->setting_count; i++) {
            if (setting_split(r->settings[i], &s, &value, err) < 0) return -1;
            if (s->is_switch && value_bool(s->key, value, &on, err) < 0) return -1;
            if (!s->is_switch && strcmp(s->key, "advisor") && value_unsigned(s->key, value, UINT32_MAX, &number, err) < 0) return -1;
            if (pass && file_write(d, s->file, s->is_switch ? on ? "1" : "0" : value, err) < 0) return -1;
        }
    return 0;
}

static void settings_show(struct doctor *d, bool json)
{
    const char *comma = "";

    if (json) printf("{");
    for (unsigned i = 0; i < ARRAY_SIZE(settings); i++) {
        const char *value = host_read(d, KSM_DIRECTORY "/%s", settings[i].file), *open = value ? strchr(value, '[') : NULL;

        if (!value) continue;
        if (open) value = arena_copy(d->arena, open + 1, strcspn(open + 1, "]"));
        if (settings[i].is_switch) value = strcmp(value, "0") ? "on" : "off";
        if (json) printf("%s \"%s\": \"%s\"", comma, settings[i].key, value);
        else printf("%-12s %-10s %s\n", settings[i].key, value, settings[i].help);
        comma = ",";
    }
    if (json) printf(" }\n");
}

/* ---- the commands ---- */

static void show(struct doctor *d, bool json)
{
    struct ksm_state s;

    ksm_state_read(d, &s);
    if (json) ksm_state_json(&s);
    else ksm_state_print(d, &s);
    if (!json && s.run != 1) printf("'ospite ksm on' switches it on\n");
}

static int request_run(struct doctor *d, const struct request *r, struct error *err)
{
    if (!host_exists(d, KSM_DIRECTORY "/run"))
        return error_set(err, "this kernel has no KSM (CONFIG_KSM), or /sys is not mounted; equal pages of guests are kept once each");
    if (r->watch) return ksm_watch(d->root, r->json, r->interval_s, (unsigned)r->count);
    if (!r->command || !strcmp(r->command, "show")) show(d, r->json);
    else if (!strcmp(r->command, "on")) return file_write(d, "run", "1", err);
    else if (!strcmp(r->command, "off")) return file_write(d, "run", r->unmerge ? "2" : "0", err);
    else if (r->setting_count) return tune(d, r, err);
    else settings_show(d, r->json);
    return 0;
}

static void help_print(void)
{
    printf("ospite ksm [command] [options]   sharing of equal memory pages between guests\n\n");
    for (unsigned i = 0; i < ARRAY_SIZE(words); i++) printf("%-10s %-15s %s\n", words[i].name, words[i].arg, words[i].help);
    printf("\nSettings of tune:\n");
    for (unsigned i = 0; i < ARRAY_SIZE(settings); i++) printf("%-12s %s\n", settings[i].key, settings[i].help);
}

int ksm_tool_run(int argc, char **argv)
{
    struct request r = { .root = "", .interval_s = 1, .settings = calloc((size_t)argc + 1, sizeof(char *)) };
    struct error err = { "unknown error" };
    struct doctor *d = calloc(1, sizeof(*d));
    int result = r.settings && d ? 0 : -1;

    for (int i = 1; i < argc && !result; i++) result = word_take(&r, argc, argv, &i, &err);
    if (!result) result = request_check(&r, &err);
    if (!result && r.help) help_print();
    else if (!result) {
        d->root = r.root;
        d->arena = arena_new();
        result = request_run(d, &r, &err);
        arena_free(d->arena);
    }
    if (result) log_message("ksm: %s", err.text);
    free(r.settings);
    free(d);
    return result ? 1 : 0;
}

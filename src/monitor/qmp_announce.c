/* SPDX-License-Identifier: GPL-2.0-or-later */
/* announce-self of both monitors. Numbers are limited as QEMU limits those of migration, which announces the same way. */
#include <string.h>

#include "base/bits.h"
#include "monitor/monitor_private.h"
#include "monitor/qmp_private.h"

enum { WAIT_MAX_MS = 100000, STEP_MAX_MS = 10000, ROUNDS_MAX = 1000, CARDS_MAX = 64 };

static int number(json_t *args, const char *name, int64_t most, int64_t *to, struct qmp_error *err)
{
    *to = qmp_int(args, name, 0);
    if (*to >= 0 && *to <= most) return 0;
    return error_set(&err->error, "Parameter '%s' expects a number from 0 to %lld", name, (long long)most);
}

json_t *qmp_announce_self(struct qmp *q, json_t *args, struct qmp_error *err)
{
    json_t *names = json_object_get(args, "interfaces"), *name;
    struct machine_announce how = { .id = qmp_string(args, "id") };
    const char *card[CARDS_MAX];
    int64_t rounds;
    size_t i;

    if (number(args, "initial", WAIT_MAX_MS, &how.initial_ms, err) < 0 || number(args, "max", WAIT_MAX_MS, &how.max_ms, err) < 0 ||
        number(args, "step", STEP_MAX_MS, &how.step_ms, err) < 0 || number(args, "rounds", ROUNDS_MAX, &rounds, err) < 0) return NULL;
    if (json_array_size(names) > CARDS_MAX) return qmp_fail(err, QMP_GENERIC, "more than %d cards", CARDS_MAX);
    json_array_foreach(names, i, name) card[i] = json_string_value(name);
    how.rounds = (unsigned)rounds;
    how.names = names ? card : NULL;
    how.name_count = (unsigned)json_array_size(names);
    return qmp_result(machine_announce(qmp_machine(q), &how, &err->error));
}

/* CARD,CARD and an id, with QEMU's five rounds. */
static int cmd_announce(struct monitor *mon, const struct command_line *c, struct error *err)
{
    struct machine_announce how = { .initial_ms = 50, .max_ms = 550, .step_ms = 100, .rounds = 5 };
    const char *card[CARDS_MAX];
    char words[256], *rest = words, *word;

    if (c->argc > 3) return error_set(err, "[CARD,...] [ID] is wanted");
    if (c->argc > 1 && strlen(c->argv[1]) >= sizeof(words)) return error_set(err, "names of more than %zu characters", sizeof(words) - 1);
    if (c->argc > 1) {
        strcpy(words, c->argv[1]);
        how.names = card;
    }
    while (c->argc > 1 && how.name_count < CARDS_MAX && (word = strsep(&rest, ","))) card[how.name_count++] = word;
    if (c->argc > 2) how.id = c->argv[2];
    return machine_announce(mon->m, &how, err);
}

const struct command announce_commands[] = {
    { "announce_self", "[CARD,...] [ID]", "have network cards announce their addresses to switches, five times", cmd_announce, NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

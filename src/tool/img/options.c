/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The grammar that all verbs share: options and operands in any order, "--" ends options, long names may be cut short as
 * long as they are unique, unknown ones are named with the nearest known one. What a verb knows is its table.
 */
#include "tool/img/img_private.h"

#include <ctype.h>
#include <string.h>

#include "base/nearest.h"

struct parser {
    const struct img_verb *verb;
    struct img_common *c;
    int argc, at;
    char **argv;
    bool operands_only;
};

static bool is_end(const struct img_option *o)
{
    return !o->letter && !o->name;
}

static int unknown_option(const struct parser *p, const char *text, struct error *err)
{
    struct nearest near;
    char bare[64];
    snprintf(bare, sizeof(bare), "%.*s", (int)strcspn(text + 2, "="), text + 2);
    nearest_begin(&near, bare);
    for (const struct img_option *o = p->verb->options; !is_end(o); o++)
        if (o->name)
            nearest_offer(&near, o->name);
    if (nearest_result(&near))
        return error_set(err, "'%s': unknown option; did you mean '--%s'?", text, near.best);
    return error_set(err, "'%s': unknown option; see 'ospite img %s -h'", text, p->verb->name);
}

static const struct img_option *long_find(const struct parser *p, const char *name, size_t length, struct error *err)
{
    const struct img_option *found = NULL;
    for (const struct img_option *o = p->verb->options; !is_end(o); o++) {
        if (!o->name || strncmp(o->name, name, length))
            continue;
        if (!o->name[length])
            return o;
        if (found) {
            error_set(err, "'--%.*s' could be '--%s' or '--%s'", (int)length, name, found->name, o->name);
            return NULL;
        }
        found = o;
    }
    if (!found)
        unknown_option(p, name - 2, err);
    return found;
}

static int option_set(struct parser *p, const struct img_option *o, const char *value, const char *shown,
                      struct error *err)
{
    void *at = (char *)p->c + o->offset;
    struct img_texts *texts = at;
    switch (o->kind) {
    case IMG_FLAG:
        *(bool *)at = true;
        return 0;
    case IMG_TEXT:
        *(const char **)at = value;
        return 0;
    case IMG_OPTIONS:
    case IMG_OBJECT:
        if (texts->count == IMG_OPTION_TEXTS)
            return error_set(err, "%s: more than %d of them", shown, IMG_OPTION_TEXTS);
        texts->text[texts->count++] = value;
        return 0;
    case IMG_CACHE:
        return img_cache_parse(shown, value, at, err);
    default:
        return error_set(err, "%s is not supported: %s", shown, o->help);
    }
}

static int long_parse(struct parser *p, const char *text, struct error *err)
{
    size_t length = strcspn(text + 2, "=");
    const struct img_option *o = long_find(p, text + 2, length, err);
    const char *value = text[2 + length] ? text + 3 + length : NULL;
    char shown[64];
    if (!o)
        return -1;
    snprintf(shown, sizeof(shown), "--%s", o->name);
    if (value && !o->arg)
        return error_set(err, "%s takes no value", shown);
    if (!value && o->arg && p->at < p->argc)
        value = p->argv[p->at++];
    if (!value && o->arg)
        return error_set(err, "%s wants a value (%s); see 'ospite img %s -h'", shown, o->arg, p->verb->name);
    return option_set(p, o, value, shown, err);
}

static int letters_parse(struct parser *p, const char *text, struct error *err)
{
    for (const char *l = text + 1; *l; l++) {
        const struct img_option *o = p->verb->options;
        const char shown[] = { '-', *l, 0 };
        while (!is_end(o) && o->letter != *l)
            o++;
        if (is_end(o))
            return error_set(err, "'%s': unknown option; see 'ospite img %s -h'", shown, p->verb->name);
        if (!o->arg) {
            if (option_set(p, o, NULL, shown, err))
                return -1;
            continue;
        }
        const char *value = l[1] ? l + 1 : p->at < p->argc ? p->argv[p->at++] : NULL;
        if (!value)
            return error_set(err, "%s wants a value (%s); see 'ospite img %s -h'", shown, o->arg, p->verb->name);
        return option_set(p, o, value, shown, err);
    }
    return 0;
}

static int operand_add(struct parser *p, const char *text, struct error *err)
{
    if (p->c->files == IMG_FILES)
        return error_set(err, "more than %d files", IMG_FILES);
    p->c->file[p->c->files++] = text;
    return 0;
}

/* "resize FILE -1G": the last word, and a number. */
static bool is_negative_size(const struct parser *p, const char *text)
{
    return p->verb->size_operand && p->at == p->argc && isdigit((unsigned char)text[1]);
}

static int word_parse(struct parser *p, const char *text, struct error *err)
{
    if (p->operands_only || text[0] != '-' || !text[1])
        return operand_add(p, text, err);
    if (!strcmp(text, "--")) {
        p->operands_only = true;
        return 0;
    }
    if (is_negative_size(p, text)) {
        if (p->c->old_name)
            return operand_add(p, text, err);
        return error_set(err, "'%s' looks like an option; to make the image smaller write: ospite img %s --shrink FILE -- %s",
                         text, p->verb->name, text);
    }
    return text[1] == '-' ? long_parse(p, text, err) : letters_parse(p, text, err);
}

int img_options_parse(const struct img_verb *v, void *args, int argc, char **argv, struct error *err)
{
    struct parser p = { .verb = v, .c = args, .argc = argc, .at = 1, .argv = argv };
    while (p.at < argc) {
        const char *text = argv[p.at++];
        if (word_parse(&p, text, err))
            return -1;
        if (p.c->help)
            return 0;
    }
    return 0;
}

void img_verb_help(const struct img_verb *v)
{
    printf("usage: ospite img %s [OPTION]... %s\n%s.\n\n", v->name, v->operands, v->summary);
    for (const struct img_option *o = v->options; !is_end(o); o++) {
        char left[64], letter[8] = "    ";
        if (o->kind == IMG_REFUSED)
            continue;
        if (o->letter)
            snprintf(letter, sizeof(letter), "-%c%s", o->letter, o->name ? ", " : "");
        snprintf(left, sizeof(left), "%s%s%s%s%s", letter, o->name ? "--" : "", o->name ? o->name : "",
                 o->arg ? o->name ? "=" : " " : "", o->arg ? o->arg : "");
        printf("  %-30s %s\n", left, o->help);
    }
    printf("\nexample: %s\n", v->example);
}

static bool is_help(const char *text)
{
    return !strcmp(text, "help") || !strcmp(text, "?");
}

int img_options_set(struct img_common *c, const struct img_texts *texts, struct block_option_set *set, bool *help,
                    struct error *err)
{
    struct block_option_value *item = arena_room(c->arena, IMG_OPTION_ITEMS * sizeof(*item));
    *set = (struct block_option_set){ .item = item };
    *help = false;
    for (unsigned i = 0; i < texts->count; i++) {
        struct option_list l;
        if (option_list_parse(&l, c->arena, texts->text[i], NULL, err))
            return error_prefix(err, "-o");
        for (unsigned k = 0; k < l.count; k++) {
            *help |= l.pair[k].bare && is_help(l.pair[k].key);
            if (set->count == IMG_OPTION_ITEMS)
                return error_set(err, "-o: more than %d items", IMG_OPTION_ITEMS);
            item[set->count++] = (struct block_option_value){ l.pair[k].key, l.pair[k].value };
        }
    }
    return 0;
}

const char *img_options_take(struct block_option_set *set, const char *key)
{
    struct block_option_value *item = (struct block_option_value *)(uintptr_t)set->item;
    const char *value = NULL;
    unsigned kept = 0;
    for (unsigned i = 0; i < set->count; i++) {
        if (!strcmp(item[i].key, key))
            value = item[i].value;
        else
            item[kept++] = item[i];
    }
    set->count = kept;
    return value;
}

void img_options_list(const struct block_option *table, bool amend)
{
    static const char *const types[] = { "<str>", "<bool (on/off)>", "<num>", "<size>" };
    for (; table && table->name; table++) {
        char left[80];
        if (amend && !table->amends)
            continue;
        snprintf(left, sizeof(left), "%s=%s", table->name, types[table->type]);
        printf("  %-22s - %s", left, table->help);
        printf(table->standard ? " (default: %s)\n" : "\n", table->standard);
    }
}

int img_size_parse(const char *what, const char *text, uint64_t *bytes, struct error *err)
{
    return block_size_parse(text, bytes, err) ? error_prefix(err, "%s", what) : 0;
}

int img_json_wanted(const struct img_common *c, bool *json, struct error *err)
{
    static const char *const names[] = { "human", "json", NULL };
    unsigned i = 0;
    if (c->output && value_choice("--output", c->output, names, &i, err))
        return -1;
    *json = i == 1;
    return 0;
}

int img_files_check(const struct img_common *c, const struct img_verb *v, unsigned min, unsigned max, struct error *err)
{
    if (c->files >= min && c->files <= max)
        return 0;
    return error_set(err, "%s; write: ospite img %s [OPTION]... %s", c->files < min ? "something is missing" :
                     "more operands than expected", v->name, v->operands);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Image names that are more than paths: json:{...} becomes the dotted key=value items that --image-opts takes, so that
 * both are read by the same code in open.c. Such names also come from the headers of images, so their size and depth are
 * limited. Source: QEMU's docs, "Device URL syntax" and qapi/block-core.json.
 */
#include "block/block_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"

enum { OPTIONS_MAX = 128, DEPTH_MAX = 16, KEY_MAX_BYTES = 512 };

int block_options_add(struct block_options_arena *a, const char *key, const char *value)
{
    if (a->set.count == a->room) {
        unsigned room = a->room ? 2 * a->room : 16;
        struct block_option_value *more = room <= 2 * OPTIONS_MAX ? realloc(a->item, room * sizeof(*more)) : NULL;
        if (!more)
            return -1;
        a->item = more;
        a->room = room;
    }
    char *k = strdup(key), *v = strdup(value);
    if (!k || !v) {
        free(k);
        free(v);
        return -1;
    }
    a->item[a->set.count++] = (struct block_option_value){ k, v };
    a->set.item = a->item;
    return 0;
}

void block_options_free(struct block_options_arena *a)
{
    for (unsigned i = 0; i < a->set.count; i++) {
        free((char *)(uintptr_t)a->item[i].key);
        free((char *)(uintptr_t)a->item[i].value);
    }
    free(a->item);
    *a = (struct block_options_arena){ 0 };
}

int block_options_split(const struct block_option_set *from, const char *prefix, struct block_options_arena *a)
{
    size_t length = prefix ? strlen(prefix) : 0;
    for (unsigned i = 0; from && i < from->count; i++) {
        const char *key = from->item[i].key;
        if (strncmp(key, prefix ? prefix : "", length))
            continue;
        if (block_options_add(a, key + length, from->item[i].value))
            return -1;
    }
    return 0;
}

static int flatten(const json_t *value, const char *key, unsigned depth, struct block_options_arena *a, struct error *err);

static int child_flatten(const json_t *value, const char *key, const char *name, unsigned depth,
                         struct block_options_arena *a, struct error *err)
{
    char path[KEY_MAX_BYTES];
    if (snprintf(path, sizeof(path), "%s%s%s", key, *key ? "." : "", name) >= (int)sizeof(path))
        return error_set(err, "a json: name has a key of more than %d bytes", KEY_MAX_BYTES - 1);
    return flatten(value, path, depth + 1, a, err);
}

static int flatten(const json_t *value, const char *key, unsigned depth, struct block_options_arena *a, struct error *err)
{
    char number[64];
    const char *name, *text = NULL;
    json_t *child;
    size_t i;
    if (depth > DEPTH_MAX || a->set.count >= OPTIONS_MAX)
        return error_set(err, "a json: name has more than %d items or %d levels", OPTIONS_MAX, DEPTH_MAX);
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        json_object_foreach((json_t *)(uintptr_t)value, name, child)
            if (child_flatten(child, key, name, depth, a, err))
                return -1;
        return 0;
    case JSON_ARRAY:
        json_array_foreach(value, i, child) {
            snprintf(number, sizeof(number), "%zu", i);
            if (child_flatten(child, key, number, depth, a, err))
                return -1;
        }
        return 0;
    case JSON_STRING:
        text = json_string_value(value);
        break;
    case JSON_INTEGER:
        snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(value));
        text = number;
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        text = json_is_true(value) ? "on" : "off";
        break;
    default:
        return error_set(err, "'%s' in a json: name is neither text nor a number, true or false", key);
    }
    return block_options_add(a, key, text) ? error_set(err, "out of memory") : 0;
}

int block_options_from_json(const char *text, struct block_options_arena *a, struct error *err)
{
    json_error_t why;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &why);
    if (!root)
        return error_set(err, "its json: name cannot be parsed: %s, at byte %d", why.text, why.position);
    int r = json_is_object(root) ? flatten(root, "", 0, a, err) : error_set(err, "a json: name is json:{...}");
    json_decref(root);
    return r;
}

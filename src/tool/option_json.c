/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The JSON form of options, as management software writes it: {"driver":"virtio-blk-pci","drive":"d"} is driver=virtio-blk-pci,drive=d.
 * Members of objects become dotted keys. A list of texts, or of {"str":TEXT}, is the key several times; other lists have dotted numbers.
 */
#include "tool/option_list.h"

#include <string.h>

#include <jansson.h>

#include "base/error.h"

static int value_add(struct option_list *l, struct arena *a, const char *key, const json_t *value, struct error *err);

static int pair_add(struct option_list *l, const char *key, const char *value, struct error *err)
{
    if (l->count == OPTION_PAIRS) return error_set(err, "more than %d items in the JSON text", OPTION_PAIRS);
    l->pair[l->count].key = key;
    l->pair[l->count].value = value;
    l->pair[l->count++].bare = false;
    return 0;
}

/* The text of an item of a list of texts; NULL: it is something else. */
static const json_t *text_of(const json_t *item)
{
    const json_t *text = json_is_object(item) && json_object_size(item) == 1 ? json_object_get(item, "str") : item;

    return json_is_string(text) ? text : NULL;
}

static int list_add(struct option_list *l, struct arena *a, const char *key, const json_t *list, struct error *err)
{
    json_t *item;
    size_t i;

    json_array_foreach(list, i, item) {
        const json_t *text = text_of(item);

        if (value_add(l, a, text ? key : arena_format(a, "%s.%zu", key, i), text ? text : item, err) < 0) return -1;
    }
    return 0;
}

static int object_add(struct option_list *l, struct arena *a, const char *prefix, const json_t *object, struct error *err)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)object, key, value)
        if (value_add(l, a, arena_format(a, "%s%s%s", prefix, *prefix ? "." : "", key), value, err) < 0) return -1;
    return 0;
}

static int value_add(struct option_list *l, struct arena *a, const char *key, const json_t *value, struct error *err)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: return object_add(l, a, key, value, err);
    case JSON_ARRAY: return list_add(l, a, key, value, err);
    case JSON_STRING: return pair_add(l, key, arena_format(a, "%s", json_string_value(value)), err);
    case JSON_INTEGER: return pair_add(l, key, arena_format(a, "%lld", (long long)json_integer_value(value)), err);
    case JSON_REAL: return pair_add(l, key, arena_format(a, "%.17g", json_real_value(value)), err);
    case JSON_TRUE: return pair_add(l, key, "on", err);
    case JSON_FALSE: return pair_add(l, key, "off", err);
    case JSON_NULL:                      /* null is empty text where it means something: an image without a backing file */
        if (!strcmp(key, "backing")) return pair_add(l, key, "", err);
        break;
    }
    return error_set(err, "'%s': null is no value of this option", key);
}

/* Where the option has an implied key, that one comes first. */
static void key_to_front(struct option_list *l, const char *key)
{
    for (unsigned i = 1; i < l->count; i++) {
        struct option_list first = { .pair[0] = l->pair[i] };

        if (strcmp(l->pair[i].key, key)) continue;
        memmove(l->pair + 1, l->pair, i * sizeof(l->pair[0]));
        l->pair[0] = first.pair[0];
        return;
    }
}

int option_list_parse_json(struct option_list *l, struct arena *a, const char *text, const char *implied_key, struct error *err)
{
    json_error_t why;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &why);
    int result;

    l->count = 0;
    if (!root) return error_set(err, "'%.60s': the JSON is wrong at character %d: %s", text, why.position, why.text);
    result = object_add(l, a, "", root, err);
    json_decref(root);
    if (result == 0 && implied_key) key_to_front(l, implied_key);
    return result;
}

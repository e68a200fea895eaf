/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Results for programs, as indented JSON, and the format-specific part of them for people. */
#include "tool/img/img_private.h"

#include <string.h>

void img_json_print(json_t *value)
{
    char *text = json_dumps(value, JSON_INDENT(4) | JSON_ENCODE_ANY);
    if (text)
        printf("%s\n", text);
    free(text);
}

/* Texts come from images: nothing in them may move the cursor. */
static void text_print(const char *text)
{
    for (; *text; text++)
        putchar((unsigned char)*text < ' ' || *text == 127 ? '?' : *text);
}

static void value_print(const json_t *value, unsigned indent)
{
    switch (json_typeof(value)) {
    case JSON_STRING:
        putchar(' ');
        text_print(json_string_value(value));
        break;
    case JSON_INTEGER:
        printf(" %llu", (unsigned long long)json_integer_value(value));
        break;
    case JSON_REAL:
        printf(" %g", json_real_value(value));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        printf(" %s", json_is_true(value) ? "true" : "false");
        break;
    default:
        printf("\n");
        img_json_print_human(value, indent + 4);
        return;
    }
    printf("\n");
}

void img_json_print_human(const json_t *object, unsigned indent)
{
    const char *key;
    json_t *child;
    size_t i;
    if (json_is_array(object)) {
        json_array_foreach(object, i, child) {
            printf("%*s[%zu]:", (int)indent, "", i);
            value_print(child, indent);
        }
        return;
    }
    json_object_foreach((json_t *)(uintptr_t)object, key, child) {
        printf("%*s", (int)indent, "");
        for (const char *k = key; *k; k++)
            putchar(*k == '-' ? ' ' : *k);
        putchar(':');
        value_print(child, indent);
    }
}

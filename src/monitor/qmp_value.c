/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Small helpers for commands: errors, texts, members of arguments. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/qmp_private.h"

json_t *qmp_fail(struct qmp_error *err, const char *class, const char *fmt, ...)
{
    va_list ap;

    err->class = class;
    va_start(ap, fmt);
    vsnprintf(err->error.text, sizeof(err->error.text), fmt, ap);
    va_end(ap);
    return NULL;
}

json_t *qmp_no_device(struct qmp_error *err, const char *name)
{
    return qmp_fail(err, QMP_NO_DEVICE, "Device '%.200s' not found", name);
}

json_t *qmp_result(int result)
{
    return result < 0 ? NULL : json_object();
}

/* Length of the UTF-8 sequence at s, 0: there is none. */
static size_t sequence(const unsigned char *s, size_t left)
{
    static const struct { unsigned char mask, lead; unsigned low; } forms[] = {
        { 0x80, 0, 0 }, { 0xe0, 0xc0, 0x80 }, { 0xf0, 0xe0, 0x800 }, { 0xf8, 0xf0, 0x10000 },
    };

    for (size_t n = 0; n < 4; n++) {
        unsigned code = s[0] & ~forms[n].mask;

        if ((s[0] & forms[n].mask) != forms[n].lead) continue;
        if (left <= n) return 0;
        for (size_t i = 1; i <= n; i++) {
            if ((s[i] & 0xc0) != 0x80) return 0;
            code = code << 6 | (s[i] & 0x3f);
        }
        return code < forms[n].low || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : n + 1;
    }
    return 0;
}

static json_t *text_with(const char *text, size_t size, const char *bad)
{
    size_t bad_bytes = strlen(bad), used = 0;
    char *copy = malloc(size * bad_bytes + 1);
    json_t *v;

    if (!copy) return NULL;
    for (size_t at = 0, n; at < size; at += n) {
        n = text[at] ? sequence((const unsigned char *)text + at, size - at) : 0;
        memcpy(copy + used, n ? text + at : bad, n ? n : bad_bytes);
        used += n ? n : bad_bytes;
        if (!n) n = 1;
    }
    v = json_stringn(copy, used);
    free(copy);
    return v;
}

json_t *qmp_text(const char *text, size_t size) { return text_with(text, size, "?"); }
json_t *qmp_bytes(const uint8_t *data, size_t size) { return text_with((const char *)data, size, "\xef\xbf\xbd"); }

const char *qmp_string(json_t *args, const char *name)
{
    return json_string_value(json_object_get(args, name));
}

int64_t qmp_int(json_t *args, const char *name, int64_t absent)
{
    json_t *v = json_object_get(args, name);

    return v ? json_integer_value(v) : absent;
}

bool qmp_bool(json_t *args, const char *name, bool absent)
{
    json_t *v = json_object_get(args, name);

    return v ? json_is_true(v) : absent;
}

void qmp_set(json_t *object, const char *name, json_t *value)
{
    if (value) json_object_set_new(object, name, value);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Nothing is read or written beyond what is there: the first step too far marks the message. */
#include "p9/wire.h"

#include <string.h>

const uint8_t *p9_get_bytes(struct p9_in *m, size_t size)
{
    const uint8_t *p = m->data + m->at;

    if (m->bad || size > m->size - m->at) {
        m->bad = true;
        return NULL;
    }
    m->at += size;
    return p;
}

uint64_t p9_get(struct p9_in *m, unsigned bytes)
{
    const uint8_t *p = p9_get_bytes(m, bytes);
    uint64_t value = 0;

    for (unsigned i = 0; p && i < bytes; i++) value |= (uint64_t)p[i] << 8 * i;
    return value;
}

bool p9_get_string(struct p9_in *m, char *to, size_t room)
{
    size_t length = p9_get(m, 2);
    const uint8_t *p = p9_get_bytes(m, length);

    *to = 0;
    if (!p || length >= room || memchr(p, 0, length)) {
        m->bad = true;
        return false;
    }
    memcpy(to, p, length);
    to[length] = 0;
    return true;
}

void p9_put(struct p9_out *m, uint64_t value, unsigned bytes)
{
    if (m->bad || bytes > m->size - m->at) {
        m->bad = true;
        return;
    }
    for (unsigned i = 0; i < bytes; i++) m->data[m->at++] = (uint8_t)(value >> 8 * i);
}

void p9_put_string(struct p9_out *m, const char *text)
{
    size_t length = strlen(text);

    if (m->bad || length > UINT16_MAX || length + 2 > m->size - m->at) {
        m->bad = true;
        return;
    }
    p9_put(m, length, 2);
    memcpy(m->data + m->at, text, length);
    m->at += length;
}

void p9_put_qid(struct p9_out *m, const struct p9_qid *q)
{
    p9_put(m, q->type, 1);
    p9_put(m, q->version, 4);
    p9_put(m, q->path, 8);
}

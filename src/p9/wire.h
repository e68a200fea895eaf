/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fields of 9P messages, little endian. A message that is too short, or a reply that would be too long, is marked bad and yields zeros. */
#ifndef P9_WIRE_H
#define P9_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { P9_HEADER_BYTES = 7, P9_QID_BYTES = 13 };
struct p9_qid { uint8_t type; uint32_t version; uint64_t path; };

struct p9_in { const uint8_t *data; size_t size, at; bool bad; };
struct p9_out { uint8_t *data; size_t size, at; bool bad; };

uint64_t p9_get(struct p9_in *m, unsigned bytes);
/* A string into to (room bytes, with a 0 at the end); false and bad if it is longer, or holds a 0. */
bool p9_get_string(struct p9_in *m, char *to, size_t room);
const uint8_t *p9_get_bytes(struct p9_in *m, size_t size);
void p9_put(struct p9_out *m, uint64_t value, unsigned bytes);
void p9_put_string(struct p9_out *m, const char *text);
void p9_put_qid(struct p9_out *m, const struct p9_qid *q);

#endif

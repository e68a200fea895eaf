/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Strings of other processes (names, command lines) hold any bytes: only well-formed UTF-8 goes through. RFC 8259, RFC 3629. */
#include "tool/json_text.h"

#include <stdint.h>
#include <string.h>

/* Bytes of the character at p, 0 if it is none. */
static unsigned utf8_length(const uint8_t *p)
{
    unsigned n = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;

    for (unsigned i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    if (n == 3 && ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f))) return 0;
    if (n == 4 && ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))) return 0;
    return n;
}

void json_text_print(FILE *f, const char *text)
{
    if (!text) {
        fputs("null", f);
        return;
    }
    fputc('"', f);
    for (const uint8_t *p = (const uint8_t *)text; *p;) {
        unsigned n = utf8_length(p);

        if (*p == '"' || *p == '\\') fprintf(f, "\\%c", *p);
        else if (*p < 0x20 || *p == 0x7f) fprintf(f, "\\u%04x", *p);
        else if (!n) fputc('?', f);
        else fwrite(p, 1, n, f);
        p += n ? n : 1;
    }
    fputc('"', f);
}

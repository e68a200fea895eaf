/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Objects of the type secret: passphrases, from the command line or a file, for who opens images. */
#ifndef TOOL_SECRETS_H
#define TOOL_SECRETS_H

#include "block/block.h"
#include "tool/option_list.h"

struct error;

enum { SECRETS_MAX = 32 };
struct secrets {
    struct block_objects interface;     /* tls is its owner's to set */
    struct {
        const char *id, *data, *file, *format;
        uint8_t *bytes;                 /* crypt_memory, NULL: nobody has asked yet */
        size_t length;
    } item[SECRETS_MAX];
    unsigned count;
};

/* Its keys, for option_list_apply; a NULL name ends. */
extern const struct option_key secret_keys[];
/* Notes what l says ("qom-type=secret,id=...", texts that live as long as s); reads nothing. s begins zeroed. */
int secrets_add(struct secrets *s, const struct option_list *l, struct error *err);
bool secrets_has(const struct secrets *s, const char *id);
/* One that is there goes. */
void secrets_remove(struct secrets *s, const char *id);
/* NULL with *err. The bytes live as long as s; a zero byte follows. */
const uint8_t *secrets_get(struct secrets *s, const char *id, size_t *length, struct error *err);
/* NULL without any: what to open images with. */
const struct block_objects *secrets_objects(struct secrets *s);
void secrets_free(struct secrets *s);

#endif

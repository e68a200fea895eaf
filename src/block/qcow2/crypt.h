/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Encryption of a qcow2 image's data. */
#ifndef BLOCK_QCOW2_CRYPT_H
#define BLOCK_QCOW2_CRYPT_H

#include "block/qcow2/qcow2_private.h"

extern const struct block_option qcow2_open_options[];
/* Checks and unlocks what the header says; nothing to do for images that are not encrypted. */
int qcow2_crypt_open(struct qcow2 *q, struct error *err);
/* A temporary image over an encrypted one: its data are encrypted with a random key that nobody keeps. 0 or -errno. */
int qcow2_crypt_temporary(struct qcow2 *q);
void qcow2_crypt_close(struct qcow2 *q);
/* "encrypt" of 'info --output=json'. */
json_t *qcow2_crypt_info(const struct qcow2 *q);
/* The keys encrypt.* of a new image. */
int qcow2_crypt_create_read(const struct block_create_options *o, struct qcow2_create_options *q, struct error *err);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Answers of a HTTP server without libcurl, for libFuzzer. */
#ifndef TESTS_HTTP_ANSWERS_H
#define TESTS_HTTP_ANSWERS_H

#include <stddef.h>
#include <stdint.h>

/* What the next requests get. Stays the caller's. */
void http_answers_set(const uint8_t *data, size_t size);

#endif

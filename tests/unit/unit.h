/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests of single rooms share: counted checks. */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <stdbool.h>

/* Counts a check; says what failed. Returns ok. */
bool check(bool ok, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Prints the counts; the exit status of the test. */
int report(const char *name);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Counted checks; of many that fail the first are shown. */
#include <stdarg.h>
#include <stdio.h>

#include "unit.h"

enum { SHOWN = 20 };

static unsigned checks, failures;

bool check(bool ok, const char *fmt, ...)
{
    va_list args;

    checks++;
    if (ok || failures++ >= SHOWN) return ok;
    va_start(args, fmt);
    printf("FAIL: ");
    vprintf(fmt, args);
    printf("\n");
    va_end(args);
    return ok;
}

int report(const char *name)
{
    printf("%s: %u checks, %u failures\n", name, checks, failures);
    return failures != 0;
}

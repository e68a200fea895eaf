/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What has to be put back however the program ends: modes of a terminal. */
#ifndef BASE_CRASH_H
#define BASE_CRASH_H

/* Has fn called at exit, and at signals that end the program. It does only what a signal's handler may, and nothing the second time. A few can be had. */
void crash_call_add(void (*fn)(void));
/* For handlers of signals of others, before the program ends by one. */
void crash_calls_run(void);

#endif

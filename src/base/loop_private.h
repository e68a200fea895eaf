/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What clock.c tells loop.c. */
#ifndef BASE_LOOP_PRIVATE_H
#define BASE_LOOP_PRIVATE_H

/* Virtual time started or stopped: deadlines on it mean other host times now. Any thread. */
void loop_clock_changed(void);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "monitor/peek.h"

#include "machine/machine.h"

static unsigned depth;                 /* main thread only */

bool peek_begin(struct machine *m)
{
    bool running = machine_state(m) == RUN_RUNNING;

    depth++;
    if (running) machine_pause(m);
    return running;
}

void peek_end(struct machine *m, bool was_running)
{
    if (was_running) machine_unpause(m);
    depth--;
}

bool peek_is_on(void)
{
    return depth > 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is copied in the guest and by viewers: between the agents' devices (qemu-vdagent) and the VNC server. There is one clipboard. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/loop.h"
#include "chardev/vdagent.h"
#include "display/clipboard.h"
#include "machine/pc_private.h"

struct pc_clipboard {
    struct clipboard *shared;
    struct clipboard_user user;
    struct chardev *agent;             /* NULL: it was removed */
    char *copied;                      /* in the guest; the main loop will tell */
    size_t copied_bytes;
};

_Static_assert((int)VDAGENT_TEXT_MAX == (int)CLIPBOARD_MAX, "sizes");

static void copied_tell(void *opaque)
{
    struct pc_clipboard *p = opaque;
    char *text = p->copied;

    p->copied = NULL;
    if (text) clipboard_set(p->shared, p, text, p->copied_bytes);
    free(text);
}

/* On a vCPU's thread; sockets are the main thread's. Of several that come at once the last counts. */
static void guest_copied(void *opaque, const char *text, size_t size)
{
    struct pc_clipboard *p = opaque;
    char *copy = malloc(size + 1);

    if (!copy) return;
    memcpy(copy, text, size);
    if (!p->copied) loop_post(copied_tell, p);
    free(p->copied);
    p->copied = copy;
    p->copied_bytes = size;
}

static const char *host_text(void *opaque, size_t *size) { return clipboard_text(((struct pc_clipboard *)opaque)->shared, size); }

static void changed(void *opaque, const void *by)
{
    struct pc_clipboard *p = opaque;

    if (by != p && p->agent) vdagent_offer(p->agent);
}

int pc_clipboard_connect(struct machine *m, struct chardev *c, struct error *err)
{
    struct pc_clipboard *p;

    if (!vdagent_has_clipboard(c)) return 0;
    if (m->clipboard) return error_set(err, "there is a qemu-vdagent with clipboard=on already; one is enough");
    p = m->clipboard = calloc(1, sizeof(*p));
    if (p) p->shared = clipboard_new();
    if (!p || !p->shared) return error_set(err, "no memory");
    p->agent = c;
    p->user = (struct clipboard_user){ .changed = changed, .opaque = p };
    clipboard_user_add(p->shared, &p->user);
    vdagent_use(c, &(struct vdagent_user){ guest_copied, host_text, p });
    return 0;
}

void pc_clipboard_disconnect(struct machine *m, const struct chardev *c)
{
    if (m->clipboard && m->clipboard->agent == c) m->clipboard->agent = NULL;
}

struct clipboard *pc_clipboard(const struct machine *m) { return m->clipboard ? m->clipboard->shared : NULL; }

void pc_clipboard_destroy(struct machine *m)
{
    if (!m->clipboard) return;
    loop_post_cancel(m->clipboard);
    clipboard_free(m->clipboard->shared);
    free(m->clipboard->copied);
    free(m->clipboard);
    m->clipboard = NULL;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -audiodev: there is no sound in this version, but managers name a backend without sound and refer to it. */
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "tool/vm_options_private.h"

struct audio_request { const char *id, *driver; };

static int set_id(void *t, const char *v, struct error *err) { ((struct audio_request *)t)->id = v; return 0; }

static int set_driver(void *t, const char *v, struct error *err)
{
    ((struct audio_request *)t)->driver = v;
    return strcmp(v, "none") ? error_set(err, "driver=%s: there is no sound in this version; use driver=none", v) : 0;
}

static const struct option_key audio_keys[] = { { "driver", set_driver, NULL }, { "id", set_id, NULL }, { NULL, NULL, NULL } };

int option_audiodev(struct vm_options *o, const char *arg, struct error *err)
{
    struct audio_request r = { .id = NULL };
    struct option_list l;

    if (option_list_parse(&l, o->arena, arg, "driver", err) < 0 || option_list_apply(&l, "-audiodev", audio_keys, &r, err) < 0) return -1;
    if (!r.id || !r.driver) return error_set(err, "-audiodev wants none,id=ID");
    if (o->audio_count == ARRAY_SIZE(o->audio_id)) return error_set(err, "-audiodev: more than %zu", ARRAY_SIZE(o->audio_id));
    o->audio_id[o->audio_count++] = r.id;
    return 0;
}

int audio_finish(struct vm_options *o, struct error *err)
{
    if (!o->vnc_audio) return 0;
    for (unsigned i = 0; i < o->audio_count; i++)
        if (!strcmp(o->audio_id[i], o->vnc_audio)) return 0;
    return error_set(err, "-vnc: audiodev=%s: no -audiodev has this id", o->vnc_audio);
}

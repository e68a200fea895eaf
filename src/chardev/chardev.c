/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opening backends by their text, and the calls that frontends make. The kinds are one table; the words are those of
 * qemu's legacy -serial syntax.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/fdset.h"
#include "base/nearest.h"
#include "chardev/chardev_private.h"

enum { MUXES = 4 };

/* Muxes by what they were opened with: the serial port and the monitor both say "mon:stdio". */
struct mux_entry { char spec[200]; struct chardev *mux; };

struct chardevs {
    struct chardev *backends;
    struct mux_entry mux[MUXES];
    void (*quit)(void *opaque);
    void *quit_opaque;
    void (*save)(void *opaque, char *says, size_t size);
    void *save_opaque;
};

struct chardevs *chardevs_new(void)
{
    return calloc(1, sizeof(struct chardevs));
}

void chardevs_free(struct chardevs *all)
{
    free(all);
}

void chardev_on_quit(struct chardevs *all, void (*fn)(void *opaque), void *opaque)
{
    all->quit = fn;
    all->quit_opaque = opaque;
}

void chardev_quit(struct chardevs *all)
{
    if (all->quit) all->quit(all->quit_opaque);
}

void chardev_on_save(struct chardevs *all, void (*fn)(void *opaque, char *says, size_t size), void *opaque)
{
    all->save = fn;
    all->save_opaque = opaque;
}

void chardev_save(struct chardevs *all, char *says, size_t size)
{
    if (all->save) all->save(all->save_opaque, says, size);
}

static struct chardev *null_open(const char *path, const char *options, struct error *err)
{
    struct stream *s = calloc(1, sizeof(*s));

    if (!s) {
        error_set(err, "out of memory");
        return NULL;
    }
    stream_init(s, -1, -1);
    return &s->base;
}

static struct chardev *file_open(const char *path, const char *options, struct error *err)
{
    static const char *const names[] = { "append", NULL };
    struct stream *s;
    bool append = false;
    int fd;

    if (!path || !*path) {
        error_set(err, "'file:' needs a path, as in 'file:serial.log'");
        return NULL;
    }
    if (chardev_options_check("file", options, names, err) < 0 ||
        chardev_option_bool(options, "append", &append, err) < 0) return NULL;
    fd = fdset_open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | (append ? O_APPEND : O_TRUNC), 0666);
    if (fd < 0) {
        error_set(err, "cannot write '%s': %s", path, strerror(errno));
        return NULL;
    }
    s = (struct stream *)null_open(NULL, NULL, err);
    if (!s) return NULL;
    s->out_fd = fd;
    s->own_out = true;
    return &s->base;
}

struct kind {
    const char *name;
    bool takes_path;
    struct chardev *(*open)(const char *path, const char *options, struct error *err);
    bool once;                         /* there is only one of it */
};
static const struct kind kinds[] = {
    { "stdio", false, stdio_open, true },
    { "pty", false, pty_open },
    { "null", false, null_open },
    { "vc", false, null_open },
    { "qemu-vdagent", false, vdagent_open },
    { "file", true, file_open },
    { "unix", true, unix_open },
    { "tcp", true, tcp_open },
    { "fd", true, fd_open },
};

static const struct kind *kind_find(const char *spec, struct error *err)
{
    size_t len = strcspn(spec, ":,");
    struct nearest near;
    char word[64];

    snprintf(word, sizeof(word), "%.*s", (int)len, spec);
    nearest_begin(&near, word);
    for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (!strcmp(kinds[i].name, word)) {
            if (kinds[i].takes_path == (spec[len] == ':')) return &kinds[i];
            error_set(err, kinds[i].takes_path ? "'%s' needs an address, as in '%s:...'" : "'%s' takes no address: '%s'",
                      word, kinds[i].takes_path ? word : spec);
            return NULL;
        }
        nearest_offer(&near, kinds[i].name);
    }
    if (nearest_result(&near)) error_set(err, "unknown character device '%s'; did you mean '%s'?", word, near.best);
    else error_set(err, "unknown character device '%s'; known are stdio, mon:stdio, file:PATH, pty, unix:PATH, "
                   "tcp:HOST:PORT, null, none", word);
    return NULL;
}

/* Takes ",id=NAME" out of the text: any kind may have it. */
static int label_take(const char *spec, char *text, size_t text_size, char *label, size_t label_size, struct error *err)
{
    const char *id = strstr(spec, ",id="), *name = id ? id + 4 : "", *end = name + strcspn(name, ",");

    if (strlen(spec) >= text_size) return error_set(err, "'%.60s...' is too long", spec);
    snprintf(text, text_size, "%.*s%s", id ? (int)(id - spec) : (int)text_size, spec, id ? end : "");
    snprintf(label, label_size, "%.*s", (int)(end - name), name);
    return 0;
}

static bool is_open(const struct chardevs *all, const struct kind *kind)
{
    const struct chardev *c = all->backends;

    while (c && c->kind != kind) c = c->next_open;
    return c;
}

static struct chardev *backend_open(struct chardevs *all, const char *whole, struct error *err)
{
    const char *rest, *options;
    const struct kind *kind;
    struct chardev *c;
    char spec[1024], label[sizeof(c->label)], path[512];
    size_t len;

    if (label_take(whole, spec, sizeof(spec), label, sizeof(label), err) < 0) return NULL;
    kind = kind_find(spec, err);
    if (!kind) return NULL;
    if (kind->once && is_open(all, kind)) {
        error_set(err, "%s is taken already; to share it between a serial port and the monitor use 'mon:%s'", kind->name, kind->name);
        return NULL;
    }
    rest = spec + strlen(kind->name);
    if (*rest == ':') rest++;
    len = strcspn(rest, ",");
    options = rest[len] ? rest + len + 1 : NULL;
    if (len >= sizeof(path)) {
        error_set(err, "the path in '%.60s...' is too long", spec);
        return NULL;
    }
    memcpy(path, rest, len);
    path[len] = 0;
    c = kind->open(path, options, err);
    if (!c) return NULL;
    if (!c->description[0]) snprintf(c->description, sizeof(c->description), "%.159s", spec);
    snprintf(c->label, sizeof(c->label), "%s", label);
    c->all = all;
    c->kind = kind;
    c->next_open = all->backends;
    all->backends = c;
    return c;
}

static struct chardev *muxed_open(struct chardevs *all, const char *spec, struct error *err)
{
    struct mux_entry *muxes = all->mux;
    struct chardev *backend;
    char stdio[200];

    snprintf(stdio, sizeof(stdio), "%s,signal=off", spec);
    for (unsigned i = 0; i < MUXES; i++)
        if (muxes[i].mux && !strcmp(muxes[i].spec, spec)) return chardev_mux_second(muxes[i].mux);
    backend = backend_open(all, !strncmp(spec, "stdio", 5) && !strstr(spec, ",signal=") ? stdio : spec, err);
    if (!backend) return NULL;
    for (unsigned i = 0; i < MUXES; i++) {
        if (muxes[i].mux || strlen(spec) >= sizeof(muxes[i].spec)) continue;
        strcpy(muxes[i].spec, spec);
        return muxes[i].mux = mux_open(backend);
    }
    chardev_close(backend);
    error_set(err, "too many muxed character devices");
    return NULL;
}

struct chardev *chardev_open(struct chardevs *all, const char *spec, struct error *err)
{
    if (!strcmp(spec, "none")) return NULL;
    if (!strncmp(spec, "mon:", 4)) return muxed_open(all, spec + 4, err);
    return backend_open(all, spec, err);
}

void chardev_close(struct chardev *c)
{
    if (!c) return;
    for (struct chardev **p = &c->all->backends; *p; p = &(*p)->next_open) {
        if (*p != c) continue;
        *p = c->next_open;
        break;
    }
    for (unsigned i = 0; i < MUXES; i++)
        if (c->all->mux[i].mux == c) c->all->mux[i].mux = NULL;
    c->ops->close(c);
}

void chardev_attach(struct chardev *c, const struct chardev_frontend *f)
{
    if (!c) return;
    c->frontend = f ? *f : (struct chardev_frontend){ 0 };
    c->ops->accept_input(c);
}

size_t chardev_write(struct chardev *c, const void *data, size_t size)
{
    if (!c) return size;
    if (c->tap.output) c->tap.output(c->tap.opaque, data, size);
    return c->ops->write(c, data, size);
}

void chardev_accept_input(struct chardev *c)
{
    if (!c) return;
    c->ops->accept_input(c);
    if (c->tap.room) c->tap.room(c->tap.opaque);
}

void chardev_guest_opened(struct chardev *c, bool open)
{
    if (c && c->ops->guest_opened) c->ops->guest_opened(c, open);
}

void chardev_tap(struct chardev *c, const struct chardev_tap *tap)
{
    c->tap = tap ? *tap : (struct chardev_tap){ 0 };
}

size_t chardev_inject(struct chardev *c, const uint8_t *data, size_t size)
{
    const struct chardev_frontend *f = &c->frontend;
    size_t n = f->receive ? MIN(size, f->can_receive(f->opaque)) : 0;

    if (n) f->receive(f->opaque, data, n);
    return n;
}

void chardev_descriptors_accept(struct chardev *c)
{
    if (c && c->ops == &stream_ops) stream_descriptors_accept((struct stream *)c);
}

int chardev_descriptor_take(struct chardev *c)
{
    return c && c->ops == &stream_ops ? stream_descriptor_take((struct stream *)c) : -1;
}

int chardev_client_add(struct chardev *c, int fd, struct error *err)
{
    if (socket_client_add(c, fd)) return 0;
    return error_set(err, "the character device '%s' takes no client: it is %s", c->label,
                     chardev_is_connected(c) ? "connected, or no socket" : "a socket that does not listen");
}

bool chardev_is_connected(const struct chardev *c)
{
    return c && strncmp(c->description, "disconnected:", 13) != 0;
}

const char *chardev_description(const struct chardev *c)
{
    return c ? c->description : "none";
}

struct chardev *chardev_next(const struct chardevs *all, const struct chardev *c)
{
    return c ? c->next_open : all->backends;
}

void chardev_label_set(struct chardev *c, const char *label)
{
    if (c && !c->label[0]) snprintf(c->label, sizeof(c->label), "%s", label);
}

const char *chardev_label(const struct chardev *c)
{
    return c->label;
}

bool chardev_has_frontend(const struct chardev *c)
{
    return c->frontend.receive != NULL;
}

void chardev_list(const struct chardevs *all, void (*print)(void *opaque, const char *line), void *opaque)
{
    for (const struct chardev *c = all->backends; c; c = c->next_open) print(opaque, c->description);
}

/* ---- options behind the commas ---- */

int chardev_options_check(const char *kind, const char *options, const char *const *names, struct error *err)
{
    for (const char *o = options; o && *o; o += strcspn(o, ","), o += *o == ',') {
        size_t len = strcspn(o, ",=");
        struct nearest near;
        char word[40];
        bool found = false;

        snprintf(word, sizeof(word), "%.*s", (int)len, o);
        nearest_begin(&near, word);
        for (unsigned i = 0; names[i] && !found; i++) {
            found = !strcmp(names[i], word) || (!strncmp(word, "no", 2) && !strcmp(names[i], word + 2));
            nearest_offer(&near, names[i]);
        }
        if (found) continue;
        if (nearest_result(&near))
            return error_set(err, "'%s' has no option '%s'; did you mean '%s'?", kind, word, near.best);
        return error_set(err, "'%s' has no option '%s'", kind, word);
    }
    return 0;
}

/* name, name=on|off|yes|no|true|false, noname */
int chardev_option_bool(const char *options, const char *name, bool *value, struct error *err)
{
    size_t n = strlen(name);

    for (const char *o = options; o && *o; o += strcspn(o, ","), o += *o == ',') {
        size_t len = strcspn(o, ",");

        if (len == n && !strncmp(o, name, n)) *value = true;
        else if (len == n + 2 && !strncmp(o, "no", 2) && !strncmp(o + 2, name, n)) *value = false;
        else if (len > n && !strncmp(o, name, n) && o[n] == '=') {
            const char *v = o + n + 1;
            size_t vl = len - n - 1;

            if ((vl == 2 && !strncmp(v, "on", 2)) || (vl == 3 && !strncmp(v, "yes", 3)) ||
                (vl == 4 && !strncmp(v, "true", 4))) *value = true;
            else if ((vl == 3 && !strncmp(v, "off", 3)) || (vl == 2 && !strncmp(v, "no", 2)) ||
                     (vl == 5 && !strncmp(v, "false", 5))) *value = false;
            else return error_set(err, "'%s' wants on or off, not '%.*s'", name, (int)vl, v);
        }
    }
    return 0;
}

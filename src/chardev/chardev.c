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
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/fdset.h"
#include "base/log.h"
#include "base/nearest.h"
#include "chardev/chardev_private.h"

enum { MUXES = 4, SPEC_BYTES = 1536 };

/* Muxes by what they were opened with: the serial port and the monitor both say "mon:stdio". */
struct mux_entry { char spec[SPEC_BYTES]; struct chardev *mux; };

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
    if (!s) {
        close(fd);
        return NULL;
    }
    s->out_fd = fd;
    s->own_out = true;
    return &s->base;
}

/* "80Cx24C" in characters, "640x384" in pixels, of which a character has 8x16; each side as it likes. */
static const char *vc_side_read(const char *text, unsigned cell, unsigned *side)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || end - text > 5) return NULL;
    *side = (unsigned)(*end == 'C' ? n : n / cell);
    return end + (*end == 'C');
}

static int vc_size_read(const char *text, unsigned *columns, unsigned *rows, struct error *err)
{
    const char *at = vc_side_read(text, 8, columns);

    at = at && *at == 'x' ? vc_side_read(at + 1, 16, rows) : NULL;
    return at && !*at ? 0 : error_set(err, "'vc:%s' is no size: 80Cx24C is one in characters, 640x384 in pixels", text);
}

static int vc_options_read(const char *options, unsigned *columns, unsigned *rows, struct error *err)
{
    static const char *const names[] = { "cols", "rows", "width", "height", NULL };
    unsigned width = 0, height = 0;

    if (chardev_options_check("vc", options, names, err) < 0) return -1;
    if (chardev_option_number(options, "width", 16000, &width, err) < 0 || chardev_option_number(options, "height", 16000, &height, err) < 0) return -1;
    if (width) *columns = width / 8;
    if (height) *rows = height / 16;
    return chardev_option_number(options, "cols", 1000, columns, err) < 0 ? -1 : chardev_option_number(options, "rows", 1000, rows, err);
}

static struct chardev *vc_open(const char *path, const char *options, struct error *err)
{
    enum { SIDE_MAX = 1000 };
    unsigned columns = 0, rows = 0;
    struct chardev *c;

    if (*path && vc_size_read(path, &columns, &rows, err) < 0) return NULL;
    if (vc_options_read(options, &columns, &rows, err) < 0) return NULL;
    if (columns > SIDE_MAX || rows > SIDE_MAX) {
        error_set(err, "vc: %ux%u characters: at most %d are wanted on each side", columns, rows, SIDE_MAX);
        return NULL;
    }
    if (!(c = null_open(NULL, NULL, err))) return NULL;
    c->columns = columns;
    c->rows = rows;
    snprintf(c->description, sizeof(c->description), "vc");
    return c;
}

struct kind {
    const char *name;
    enum { PATH_NONE, PATH_NEEDED, PATH_ALLOWED } path;
    struct chardev *(*open)(const char *path, const char *options, struct error *err);
    bool once;                         /* there is only one of it */
};
static const struct kind kinds[] = {
    { "stdio", PATH_NONE, stdio_open, true },
    { "pty", PATH_NONE, pty_open },
    { "null", PATH_NONE, null_open },
    { "vc", PATH_ALLOWED, vc_open },
    { "ringbuf", PATH_NONE, ringbuf_open },
    { "memory", PATH_NONE, ringbuf_open },
    { "qemu-vdagent", PATH_NONE, vdagent_open },
    { "file", PATH_NEEDED, file_open },
    { "unix", PATH_NEEDED, unix_open },
    { "tcp", PATH_NEEDED, tcp_open },
    { "telnet", PATH_NEEDED, telnet_open },
    { "udp", PATH_NEEDED, udp_open },
    { "fd", PATH_NEEDED, fd_open },
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
            if (kinds[i].path == PATH_ALLOWED || (kinds[i].path == PATH_NEEDED) == (spec[len] == ':')) return &kinds[i];
            error_set(err, kinds[i].path ? "'%s' needs an address, as in '%s:...'" : "'%s' takes no address: '%s'", word, kinds[i].path ? word : spec);
            return NULL;
        }
        nearest_offer(&near, kinds[i].name);
    }
    if (nearest_result(&near)) error_set(err, "unknown character device '%s'; did you mean '%s'?", word, near.best);
    else error_set(err, "unknown character device '%s'; known are stdio, mon:stdio, file:PATH, pty, unix:PATH, "
                   "tcp:HOST:PORT, telnet:HOST:PORT, udp:HOST:PORT, null, none", word);
    return NULL;
}

/* The length of what stands before the next comma; two of them are one that belongs to it. */
static size_t word_length(const char *text)
{
    size_t n = strcspn(text, ",");

    while (text[n] == ',' && text[n + 1] == ',') n += 2 + strcspn(text + n + 2, ",");
    return n;
}

/* With single commas; false: there is no room for it. */
static bool word_copy(char *to, size_t size, const char *text, size_t length)
{
    size_t at = 0;

    for (size_t i = 0; i < length && at < size; i++) {
        to[at++] = text[i];
        i += text[i] == ',';
    }
    if (at >= size) return false;
    to[at] = 0;
    return true;
}

/* What any kind may have. */
struct common { char label[64], log[512]; bool log_append; };

/* Takes ",NAME=VALUE" out of the text. */
static int option_take(char *text, const char *name, char *value, size_t size, struct error *err)
{
    char key[32];
    char *at, *end;
    size_t length;

    *value = 0;
    snprintf(key, sizeof(key), ",%s=", name);
    for (at = text + word_length(text); *at && strncmp(at, key, strlen(key)); at += 1 + word_length(at + 1)) {}
    if (!*at) return 0;
    end = at + strlen(key);
    length = word_length(end);
    if (!word_copy(value, size, end, length)) return error_set(err, "%s=%.60s... is too long", name, end);
    memmove(at, end + length, strlen(end + length) + 1);
    return 0;
}

static int common_take(const char *spec, char *text, size_t text_size, struct common *c, struct error *err)
{
    char append[16], option[32];

    if (strlen(spec) >= text_size) return error_set(err, "'%.60s...' is too long", spec);
    strcpy(text, spec);
    c->log_append = false;
    if (option_take(text, "id", c->label, sizeof(c->label), err) < 0 || option_take(text, "logfile", c->log, sizeof(c->log), err) < 0 ||
        option_take(text, "logappend", append, sizeof(append), err) < 0) return -1;
    snprintf(option, sizeof(option), "logappend=%s", append);
    if (*append && !*c->log) return error_set(err, "logappend= is about logfile=");
    return *append ? chardev_option_bool(option, "logappend", &c->log_append, err) : 0;
}

/* -1 with *err; or *fd -1: there is none. */
static int log_open(const struct common *c, int *fd, struct error *err)
{
    *fd = *c->log ? fdset_open(c->log, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (c->log_append ? O_APPEND : O_TRUNC), 0666) : -1;
    return *c->log && *fd < 0 ? error_set(err, "cannot write the log '%s': %s", c->log, strerror(errno)) : 0;
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
    char spec[SPEC_BYTES], path[512];
    struct common common;
    size_t len;
    int log;

    if (common_take(whole, spec, sizeof(spec), &common, err) < 0) return NULL;
    kind = kind_find(spec, err);
    if (!kind) return NULL;
    if (kind->once && is_open(all, kind)) {
        error_set(err, "%s is taken already; to share it between a serial port and the monitor use 'mon:%s'", kind->name, kind->name);
        return NULL;
    }
    rest = spec + strlen(kind->name);
    if (*rest == ':') rest++;
    len = word_length(rest);
    options = rest[len] ? rest + len + 1 : NULL;
    if (!word_copy(path, sizeof(path), rest, len)) {
        error_set(err, "the path in '%.60s...' is too long", spec);
        return NULL;
    }
    if (log_open(&common, &log, err) < 0) return NULL;
    c = kind->open(path, options, err);
    if (!c) {
        if (log >= 0) close(log);
        return NULL;
    }
    c->log_fd = log;
    if (chardev_is_ring(c)) snprintf(c->description, sizeof(c->description), "%s", kind->name);
    if (!c->description[0]) snprintf(c->description, sizeof(c->description), "%.159s", spec);
    snprintf(c->label, sizeof(c->label), "%s", common.label);
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
    char stdio[SPEC_BYTES + sizeof(",signal=off")];

    if (strlen(spec) >= SPEC_BYTES) {
        error_set(err, "'mon:%.60s...' is too long", spec);
        return NULL;
    }
    snprintf(stdio, sizeof(stdio), "%s,signal=off", spec);
    for (unsigned i = 0; i < MUXES; i++)
        if (muxes[i].mux && !strcmp(muxes[i].spec, spec)) return chardev_mux_second(muxes[i].mux);
    backend = backend_open(all, !strncmp(spec, "stdio", 5) && !strstr(spec, ",signal=") ? stdio : spec, err);
    if (!backend) return NULL;
    for (unsigned i = 0; i < MUXES; i++) {
        if (muxes[i].mux) continue;
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
    int log = c && c->kind ? c->log_fd : -1;

    if (!c) return;
    for (struct chardev **p = &c->all->backends; *p; p = &(*p)->next_open) {
        if (*p != c) continue;
        *p = c->next_open;
        break;
    }
    for (unsigned i = 0; i < MUXES; i++)
        if (c->all->mux[i].mux == c) c->all->mux[i].mux = NULL;
    c->ops->close(c);
    if (log >= 0) close(log);
}

void chardev_attach(struct chardev *c, const struct chardev_frontend *f)
{
    if (!c) return;
    c->frontend = f ? *f : (struct chardev_frontend){ 0 };
    c->ops->accept_input(c);
}

/* What the log cannot take is missing there, which is said once; the guest does not wait for it. */
static void log_write(struct chardev *c, const uint8_t *data, size_t size)
{
    for (ssize_t n; size; data += n, size -= (size_t)n)
        if ((n = write(c->log_fd, data, size)) <= 0) {
            if (n < 0 && errno == EINTR) n = 0;
            else {
                if (!c->log_lacks) log_message("warning: output of '%s' is missing in its log: %s; make room there", *c->label ? c->label : c->description, strerror(errno));
                c->log_lacks = true;
                return;
            }
        }
}

size_t chardev_write(struct chardev *c, const void *data, size_t size)
{
    size_t done;

    if (!c) return size;
    if (c->tap.output) c->tap.output(c->tap.opaque, data, size);
    done = c->ops->write(c, data, size);
    if (c->kind && c->log_fd >= 0) log_write(c, data, done);
    return done;
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

void chardev_text_size(const struct chardev *c, unsigned *columns, unsigned *rows)
{
    *columns = c->columns;
    *rows = c->rows;
}

void chardev_send_break(struct chardev *c)
{
    if (c->frontend.send_break) c->frontend.send_break(c->frontend.opaque);
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

bool chardev_option_text(const char *options, const char *name, char *value, size_t size)
{
    size_t n = strlen(name);

    for (const char *o = options; o && *o; o += strcspn(o, ","), o += *o == ',')
        if (!strncmp(o, name, n) && o[n] == '=') {
            snprintf(value, size, "%.*s", (int)strcspn(o + n + 1, ","), o + n + 1);
            return true;
        }
    return false;
}

int chardev_option_number(const char *options, const char *name, unsigned most, unsigned *value, struct error *err)
{
    char text[32], *end;
    unsigned long n;

    if (!chardev_option_text(options, name, text, sizeof(text))) return 0;
    errno = 0;
    n = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || n > most) return error_set(err, "%s=%s: a number up to %u is wanted", name, text, most);
    *value = (unsigned)n;
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

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Carries 9P messages between one queue and the server of src/p9. Files may take their time, so a thread of the device's own asks the
 * server, one message after the other, in the order they came; the guest's memory is touched only by the main thread, before and
 * after. At most 8 messages are taken at a time (each costs up to 2 MiB), the others wait in the ring.
 *
 * Stopping the queue waits for the message at work. Source: VIRTIO 1.2 has no section for it (device 9); Linux net/9p/trans_virtio.c tells
 * the layout: tag_len, tag in configuration space, one queue.
 */
#include "device/virtio/virtio_9p.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/loop.h"

enum { F_MOUNT_TAG = 0, QUEUE_SIZE = 128, AT_WORK_MAX = 8 };

struct message {
    struct message *next;
    struct virtqueue_chain *chain;
    uint8_t *in, *out;
    size_t in_bytes, out_room, out_bytes;
};

struct share {
    struct virtio v;
    struct p9_server *server;
    char *path;
    pthread_t thread;
    bool has_thread;
    unsigned at_work;                    /* messages taken and not given back */
    pthread_mutex_t mutex;               /* of what follows */
    pthread_cond_t changed;
    struct message *todo, **todo_last, *done, **done_last;
    bool busy, quit;
};

static struct share *of(struct virtio *v) { return container_of(v, struct share, v); }

static void message_free(struct message *m)
{
    free(m->in);
    free(m->out);
    free(m);
}

static void append(struct message ***last, struct message *m)
{
    m->next = NULL;
    **last = m;
    *last = &m->next;
}

static struct message *first_take(struct message **first, struct message ***last)
{
    struct message *m = *first;

    if (m && !(*first = m->next)) *last = first;
    return m;
}

/* ---- the thread ---- */

static void done_give(void *opaque);

static void *work(void *opaque)
{
    struct share *s = opaque;

    pthread_mutex_lock(&s->mutex);
    while (!s->quit) {
        struct message *m = first_take(&s->todo, &s->todo_last);

        if (!m) {
            pthread_cond_wait(&s->changed, &s->mutex);
            continue;
        }
        s->busy = true;
        pthread_mutex_unlock(&s->mutex);
        m->out_bytes = p9_server_handle(s->server, m->in, m->in_bytes, m->out, m->out_room);
        pthread_mutex_lock(&s->mutex);
        s->busy = false;
        append(&s->done_last, m);
        loop_post(done_give, &s->v);
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

static int thread_start(struct share *s)
{
    sigset_t all, before;
    int why;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    why = pthread_create(&s->thread, NULL, work, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    s->has_thread = !why;
    if (!why) pthread_setname_np(s->thread, "9p");
    return why;
}

/* ---- messages ---- */

static struct message *message_make(struct virtqueue_chain *c)
{
    struct message *m = calloc(1, sizeof(*m));

    if (!m) return NULL;
    m->chain = c;
    m->in_bytes = MIN(c->out_bytes, (uint64_t)P9_MSIZE_MAX);
    m->out_room = MIN(c->in_bytes, (uint64_t)P9_MSIZE_MAX);
    m->in = malloc(m->in_bytes + 1);
    m->out = malloc(m->out_room + 1);
    if (m->in && m->out) {
        m->in_bytes = virtqueue_read(c, 0, m->in, m->in_bytes);
        return m;
    }
    message_free(m);
    return NULL;
}

static bool take(struct virtio *v, struct virtqueue *q, struct virtqueue_chain *c)
{
    struct share *s = of(v);
    struct message *m;

    if (s->at_work == AT_WORK_MAX) {
        virtqueue_unpop(q, c);
        return false;
    }
    if (!(m = message_make(c))) {
        virtqueue_push(q, c, 0);
        return true;
    }
    s->at_work++;
    pthread_mutex_lock(&s->mutex);
    append(&s->todo_last, m);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    return true;
}

static void notify(struct virtio *v, unsigned n)
{
    virtio_serve(v, n, take);
    virtio_interrupt(v, &v->queue[n]);
}

static struct message *done_take(struct share *s)
{
    struct message *m;

    pthread_mutex_lock(&s->mutex);
    m = first_take(&s->done, &s->done_last);
    pthread_mutex_unlock(&s->mutex);
    return m;
}

static void done_give(void *opaque)
{
    struct virtio *v = opaque;
    struct share *s = of(v);
    struct virtqueue *q = &v->queue[0];
    struct message *m;
    bool any = false;

    while ((m = done_take(s))) {
        virtqueue_push(q, m->chain, virtqueue_write(q, m->chain, 0, m->out, m->out_bytes));
        message_free(m);
        s->at_work--;
        any = true;
    }
    if (!any) return;
    virtio_interrupt(v, q);
    virtio_queue_notify(v, 0);
}

/* ---- life ---- */

static void queue_stop(struct virtio *v, unsigned n)
{
    struct share *s = of(v);
    struct message *m;

    pthread_mutex_lock(&s->mutex);
    while ((m = first_take(&s->todo, &s->todo_last))) append(&s->done_last, m);
    while (s->busy) pthread_cond_wait(&s->changed, &s->mutex);
    pthread_mutex_unlock(&s->mutex);
    while ((m = done_take(s))) {
        virtqueue_drop(&v->queue[n], m->chain);
        message_free(m);
        s->at_work--;
    }
}

static void reset(struct virtio *v) { p9_server_reset(of(v)->server); }

static void destroy(struct virtio *v)
{
    struct share *s = of(v);

    if (s->has_thread) {
        pthread_mutex_lock(&s->mutex);
        s->quit = true;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->mutex);
        pthread_join(s->thread, NULL);
    }
    p9_server_free(s->server);
    pthread_mutex_destroy(&s->mutex);
    pthread_cond_destroy(&s->changed);
    virtio_fini(v);
    free(s->path);
    free(s);
}

static void info(struct virtio *v, void (*print)(void *opaque, const char *line), void *opaque)
{
    char line[256];

    snprintf(line, sizeof(line), "tag %s, folder %.200s", (const char *)v->config + 2, of(v)->path);
    print(opaque, line);
}

static const struct virtio_ops ops = {
    .name = "virtio-9p-pci", .description = "shared folder", .type = VIRTIO_9P, .pci_class = 0x000200, .notify = notify, .queue_stop = queue_stop,
    .reset = reset, .destroy = destroy, .info = info,
};

struct virtio *virtio_9p_new(const struct virtio_9p_config *config, struct error *err)
{
    struct share *s = calloc(1, sizeof(*s));
    size_t length = strlen(config->tag);
    uint16_t size = QUEUE_SIZE;

    if (!s) {
        error_set(err, "no memory for virtio-9p");
        return NULL;
    }
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->changed, NULL);
    s->todo_last = &s->todo;
    s->done_last = &s->done;
    s->v.id = config->id;
    s->path = strdup(config->share.path);
    s->server = p9_server_new(&config->share, err);
    s->v.config[0] = (uint8_t)length;
    memcpy(s->v.config + 2, config->tag, length);
    s->v.config_bytes = 2 + (unsigned)length;
    if (s->server && virtio_init(&s->v, &ops, config->memory, BIT(F_MOUNT_TAG), &config->options, 1, &size, err) == 0) {
        if (thread_start(s) == 0) return &s->v;
        error_set(err, "virtio-9p: cannot start a thread");
    }
    destroy(&s->v);
    return NULL;
}

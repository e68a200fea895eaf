/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keyboard, mouse and tablet: one queue with buffers for events, one with what the guest says to the device (LEDs). What the device is stands
 * in the configuration space: the driver writes which piece it wants to know and reads it.
 *
 * What happens while the guest has no buffers waits: keys and buttons in order, movement gathered. When too much waits, keys and buttons are
 * only remembered, and told when there is room again as far as they differ from what the guest was told last; so none stays stuck.
 * The device gets what people type and point from when its driver is ready until it is reset, as QEMU's does: the firmware has PS/2 devices only.
 *
 * Names, numbers and the order of bits are those of QEMU's devices. LEDs are only shown in 'info qtree -v'.
 * Source: VIRTIO 1.2, section 5.8; linux/input-event-codes.h.
 */
#include "device/virtio/virtio_input.h"

#include <linux/input-event-codes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "device/virtio/virtio_input_keys.h"
#include "display/display.h"
#include "display/input.h"

enum { QUEUE_EVENTS, QUEUE_STATUS, QUEUES, QUEUE_SIZE = 64, EVENTS_MAX = 256, FRAME_MAX = 12, MOVE_MAX = 10000 };
enum { CFG_ID_NAME = 1, CFG_ID_SERIAL = 2, CFG_ID_DEVIDS = 3, CFG_PROP_BITS = 0x10, CFG_EV_BITS = 0x11, CFG_ABS_INFO = 0x12 };
enum { BUS_VIRTUAL = 6, VENDOR = 0x627, LEDS = 1 << LED_NUML | 1 << LED_CAPSL | 1 << LED_SCROLLL, KEYS = 1024 };

struct layout { uint8_t select, subsel, size, reserved[5], data[VIRTIO_INPUT_SERIAL_MAX]; } __attribute__((packed));
struct devids { le16 bustype, vendor, product, version; } __attribute__((packed));
struct absinfo { le32 min, max, fuzz, flat, res; } __attribute__((packed));
struct event { le16 type, code; le32 value; } __attribute__((packed));

struct vinput {
    struct virtio v;
    struct virtio_input_config config;
    struct input_device input;
    struct event event[EVENTS_MAX];      /* for the guest, until it has buffers */
    unsigned first, count;
    uint8_t held[KEYS / 8], told[KEYS / 8];          /* keys and buttons that are down, and that the guest was (or will be) told of */
    bool differs;                        /* held may differ from told */
    int x, y, dx, dy, wheel;             /* where it points; what is not told yet */
    bool moved;
    uint8_t leds, select, subsel;
};

static const struct { const char *name; uint16_t product, version; enum input_kind kind; } kinds[] = {
    [VIRTIO_INPUT_KEYBOARD] = { "QEMU Virtio Keyboard", 1, 1, INPUT_KEYBOARD }, [VIRTIO_INPUT_MOUSE] = { "QEMU Virtio Mouse", 2, 2, INPUT_RELATIVE },
    [VIRTIO_INPUT_TABLET] = { "QEMU Virtio Tablet", 3, 2, INPUT_ABSOLUTE },
};
/* BTN_GEAR_*: the wheel of those who have none. */
static const struct { unsigned bit; uint16_t code; } buttons[] = {
    { POINTER_LEFT, BTN_LEFT }, { POINTER_RIGHT, BTN_RIGHT }, { POINTER_MIDDLE, BTN_MIDDLE }, { POINTER_SIDE, BTN_SIDE }, { POINTER_EXTRA, BTN_EXTRA },
    { 0, BTN_GEAR_UP }, { 0, BTN_GEAR_DOWN },
};

static struct vinput *of(struct virtio *v) { return container_of(v, struct vinput, v); }

static bool bit_get(const uint8_t *bits, unsigned n) { return bits[n / 8] >> n % 8 & 1; }

static void bit_set(uint8_t *bits, unsigned n, bool on)
{
    bits[n / 8] = (uint8_t)((bits[n / 8] & ~(1u << n % 8)) | (unsigned)on << n % 8);
}

/* ---- configuration space ---- */

/* A bitmap ends with its last byte that is not zero. */
static unsigned keys_fill(const struct vinput *d, uint8_t *data)
{
    unsigned size = VIRTIO_INPUT_SERIAL_MAX;

    if (d->config.kind == VIRTIO_INPUT_KEYBOARD)
        for (unsigned i = 0; i < QKEY_COUNT; i++) bit_set(data, virtio_input_keys[i], true);
    else for (unsigned i = 0; i < ARRAY_SIZE(buttons); i++) bit_set(data, buttons[i].code, true);
    bit_set(data, 0, false);                           /* keys that the table has not */
    while (size && !data[size - 1]) size--;
    return size;
}

static unsigned axes_fill(const struct vinput *d, unsigned type, uint8_t *data)
{
    bool is_tablet = d->config.kind == VIRTIO_INPUT_TABLET;
    unsigned bits = 0;

    if ((type == EV_ABS) == is_tablet) bits = 1u << REL_X | 1u << REL_Y;       /* ABS_X and ABS_Y are the same */
    if (type == EV_REL && !d->config.no_wheel) bits |= 1u << REL_WHEEL;
    data[0] = (uint8_t)bits;
    data[1] = (uint8_t)(bits >> 8);
    return bits ? bits >> 8 ? 2 : 1 : 0;
}

static unsigned bits_fill(const struct vinput *d, unsigned type, uint8_t *data)
{
    bool is_keyboard = d->config.kind == VIRTIO_INPUT_KEYBOARD;

    if (type == EV_KEY) return keys_fill(d, data);
    if (!is_keyboard) return type == EV_REL || type == EV_ABS ? axes_fill(d, type, data) : 0;
    data[0] = type == EV_LED ? LEDS : 0;
    return type == EV_LED || type == EV_REP;           /* the guest repeats held keys itself */
}

static unsigned text_fill(const char *text, uint8_t *data)
{
    unsigned size = text ? (unsigned)strlen(text) : 0;

    if (size) memcpy(data, text, size);
    return size;
}

/* Returns the bytes of a piece; 0: there is none. */
static unsigned piece_fill(const struct vinput *d, unsigned select, unsigned subsel, uint8_t *data)
{
    const struct devids ids = { le16_make(BUS_VIRTUAL), le16_make(VENDOR), le16_make(kinds[d->config.kind].product),
                                le16_make(d->config.no_wheel ? 1 : kinds[d->config.kind].version) };
    const struct absinfo axis = { .max = le32_make(INPUT_MAX) };

    if (select == CFG_EV_BITS) return bits_fill(d, subsel, data);
    if (select == CFG_ABS_INFO && d->config.kind == VIRTIO_INPUT_TABLET && (subsel == ABS_X || subsel == ABS_Y)) {
        memcpy(data, &axis, sizeof(axis));
        return sizeof(axis);
    }
    if (subsel) return 0;
    if (select == CFG_ID_NAME) return text_fill(kinds[d->config.kind].name, data) + 1;       /* QEMU counts its end */
    if (select == CFG_ID_SERIAL) return text_fill(d->config.serial, data);
    if (select != CFG_ID_DEVIDS) return 0;
    memcpy(data, &ids, sizeof(ids));
    return sizeof(ids);
}

/* What is not there has no select and subsel either, but the driver may write one byte after the other. */
static void config_written(struct virtio *v, unsigned offset, unsigned size)
{
    struct layout *l = (struct layout *)v->config;
    struct vinput *d = of(v);

    if (offset == 0) d->select = l->select;
    if (offset <= 1 && offset + size > 1) d->subsel = l->subsel;
    memset(l, 0, sizeof(*l));
    l->size = (uint8_t)piece_fill(d, d->select, d->subsel, l->data);
    if (!l->size) return;
    l->select = d->select;
    l->subsel = d->subsel;
}

/* The space is as large as the largest piece. */
static unsigned config_size(struct vinput *d)
{
    static const uint8_t selects[] = { CFG_ID_NAME, CFG_ID_SERIAL, CFG_ID_DEVIDS, CFG_EV_BITS, CFG_ABS_INFO };
    unsigned most = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(selects); i++)
        for (unsigned subsel = 0; subsel < 256; subsel++) {
            uint8_t data[VIRTIO_INPUT_SERIAL_MAX] = { 0 };

            most = MAX(most, piece_fill(d, selects[i], subsel, data));
        }
    return (unsigned)offsetof(struct layout, data) + most;
}

/* ---- events ---- */

static void put(struct vinput *d, unsigned type, unsigned code, int value)
{
    d->event[(d->first + d->count++) % EVENTS_MAX] = (struct event){ le16_make((uint16_t)type), le16_make((uint16_t)code), le32_make((uint32_t)value) };
}

static bool has_room(const struct vinput *d) { return EVENTS_MAX - d->count >= FRAME_MAX; }

static void key_put(struct vinput *d, unsigned code, bool down)
{
    if (bit_get(d->told, code) == down) return;
    put(d, EV_KEY, code, down);
    bit_set(d->told, code, down);
}

static void movement_put(struct vinput *d)
{
    if (d->config.kind == VIRTIO_INPUT_TABLET && d->moved) {
        put(d, EV_ABS, ABS_X, d->x);
        put(d, EV_ABS, ABS_Y, d->y);
    }
    if (d->dx) put(d, EV_REL, REL_X, d->dx);
    if (d->dy) put(d, EV_REL, REL_Y, d->dy);
    if (d->wheel && !d->config.no_wheel) put(d, EV_REL, REL_WHEEL, -d->wheel);   /* events count away from the user */
    d->dx = d->dy = 0;
    d->moved = false;
}

/* Old devices' wheels are buttons that are pressed and released once a notch. */
static void notch_put(struct vinput *d)
{
    unsigned code = d->wheel < 0 ? BTN_GEAR_UP : BTN_GEAR_DOWN;

    put(d, EV_KEY, code, 1);
    put(d, EV_SYN, SYN_REPORT, 0);
    put(d, EV_KEY, code, 0);
    d->wheel += d->wheel < 0 ? 1 : -1;
}

/* One update of a pointer: all that is not told yet. */
static void pointer_frame(struct vinput *d)
{
    unsigned before = d->count;

    movement_put(d);
    if (!d->config.no_wheel) d->wheel = 0;
    else if (d->wheel) notch_put(d);
    for (unsigned i = 0; i < ARRAY_SIZE(buttons); i++) key_put(d, buttons[i].code, bit_get(d->held, buttons[i].code));
    if (d->count != before) put(d, EV_SYN, SYN_REPORT, 0);
}

/* The first key of which the guest knows something else. */
static void key_frame(struct vinput *d)
{
    for (unsigned code = 0; code < KEYS; code++) {
        bool down = bit_get(d->held, code);

        if (down == bit_get(d->told, code)) continue;
        key_put(d, code, down);
        put(d, EV_SYN, SYN_REPORT, 0);
        return;
    }
    d->differs = false;
}

static bool deliver(struct virtio *v, struct virtqueue *q, struct virtqueue_chain *c)
{
    struct vinput *d = of(v);

    if (!d->count && d->config.kind != VIRTIO_INPUT_KEYBOARD) pointer_frame(d);
    if (!d->count && d->differs) key_frame(d);
    if (!d->count) {
        virtqueue_unpop(q, c);
        return false;
    }
    if (c->in_bytes < sizeof(struct event)) {          /* of no use for an event */
        virtqueue_push(q, c, 0);
        return true;
    }
    virtqueue_push(q, c, virtqueue_write(q, c, 0, &d->event[d->first], sizeof(struct event)));
    d->first = (d->first + 1) % EVENTS_MAX;
    d->count--;
    return true;
}

static void events_deliver(struct vinput *d) { virtio_queue_notify(&d->v, QUEUE_EVENTS); }

/* ---- from those who type and point ---- */

static bool has_driver(const struct vinput *d) { return d->v.status & VIRTIO_STATUS_DRIVER_OK; }

static void on_key(void *opaque, unsigned qkeycode, bool down)
{
    struct vinput *d = opaque;
    unsigned code = qkeycode < QKEY_COUNT ? virtio_input_keys[qkeycode] : 0;

    if (!code || !has_driver(d)) return;
    bit_set(d->held, code, down);
    if (!has_room(d)) d->differs = true;
    else if (bit_get(d->told, code) != down) {
        key_put(d, code, down);
        put(d, EV_SYN, SYN_REPORT, 0);
    }
    events_deliver(d);
}

static int clamp(int value, int low, int high) { return value < low ? low : value > high ? high : value; }

/* What moves is told when the guest has taken all before; a button comes in its turn, with the movement before it. */
static void pointer_told(struct vinput *d, int wheel, unsigned down)
{
    bool clicks = false;

    d->wheel = clamp(d->wheel + clamp(wheel, -MOVE_MAX, MOVE_MAX), -MOVE_MAX, MOVE_MAX);
    for (unsigned i = 0; i < ARRAY_SIZE(buttons); i++) {
        if (!buttons[i].bit) continue;
        bit_set(d->held, buttons[i].code, down & buttons[i].bit);
        clicks |= bit_get(d->held, buttons[i].code) != bit_get(d->told, buttons[i].code);
    }
    if (clicks && has_room(d)) pointer_frame(d);
    events_deliver(d);
}

static void on_relative(void *opaque, int dx, int dy, int wheel, unsigned down)
{
    struct vinput *d = opaque;

    if (!has_driver(d)) return;
    d->dx = clamp(d->dx + clamp(dx, -MOVE_MAX, MOVE_MAX), -MOVE_MAX, MOVE_MAX);
    d->dy = clamp(d->dy + clamp(dy, -MOVE_MAX, MOVE_MAX), -MOVE_MAX, MOVE_MAX);
    pointer_told(d, wheel, down);
}

static void on_absolute(void *opaque, unsigned x, unsigned y, int wheel, unsigned down)
{
    struct vinput *d = opaque;
    int new_x = (int)MIN(x, (unsigned)INPUT_MAX), new_y = (int)MIN(y, (unsigned)INPUT_MAX);

    if (!has_driver(d)) return;
    d->moved |= new_x != d->x || new_y != d->y;
    d->x = new_x;
    d->y = new_y;
    pointer_told(d, wheel, down);
}

/* ---- from the guest ---- */

static bool status_take(struct virtio *v, struct virtqueue *q, struct virtqueue_chain *c)
{
    struct vinput *d = of(v);
    struct event e;
    unsigned bit;

    if (virtqueue_read(c, 0, &e, sizeof(e)) == sizeof(e) && le16_get(e.type) == EV_LED) {
        bit = le16_get(e.code) < 8 ? 1u << le16_get(e.code) & LEDS : 0;
        d->leds = (uint8_t)(le32_get(e.value) ? d->leds | bit : d->leds & ~bit);
    }
    virtqueue_push(q, c, 0);
    return true;
}

static void notify(struct virtio *v, unsigned n)
{
    virtio_serve(v, n, n == QUEUE_EVENTS ? deliver : status_take);
    virtio_interrupt(v, &v->queue[n]);
}

static void driver_ok(struct virtio *v) { input_activate(of(v)->config.input, &of(v)->input); }

static void queue_stop(struct virtio *v, unsigned n) { }

static void reset(struct virtio *v)
{
    struct vinput *d = of(v);

    input_deactivate(d->config.input, &d->input);
    d->first = d->count = 0;
    d->differs = d->moved = false;
    memset(d->held, 0, sizeof(d->held));
    memset(d->told, 0, sizeof(d->told));
    d->x = d->y = d->dx = d->dy = d->wheel = 0;
    d->leds = d->select = d->subsel = 0;
    memset(v->config, 0, sizeof(struct layout));
}

/* ---- life ---- */

static void destroy(struct virtio *v)
{
    struct vinput *d = of(v);

    input_remove(d->config.input, &d->input);
    virtio_fini(v);
    free(d);
}

static void info(struct virtio *v, void (*print)(void *opaque, const char *line), void *opaque)
{
    static const char *const names[] = { [LED_NUML] = " num lock", [LED_CAPSL] = " caps lock", [LED_SCROLLL] = " scroll lock" };
    const struct vinput *d = of(v);
    char line[96];

    if (d->config.kind != VIRTIO_INPUT_KEYBOARD) return;
    snprintf(line, sizeof(line), "LEDs:%s%s%s%s", d->leds ? "" : " none", d->leds & 1 << LED_NUML ? names[LED_NUML] : "",
             d->leds & 1 << LED_CAPSL ? names[LED_CAPSL] : "", d->leds & 1 << LED_SCROLLL ? names[LED_SCROLLL] : "");
    print(opaque, line);
}

#define OPS(name_, text_, class_) { .name = name_, .description = text_, .type = VIRTIO_INPUT, .pci_class = class_, .notify = notify, \
    .config_written = config_written, .driver_ok = driver_ok, .queue_stop = queue_stop, .reset = reset, .destroy = destroy, .info = info }
static const struct virtio_ops ops[] = {
    [VIRTIO_INPUT_KEYBOARD] = OPS("virtio-keyboard-pci", "virtio keyboard", 0x090000),
    [VIRTIO_INPUT_MOUSE] = OPS("virtio-mouse-pci", "virtio mouse", 0x090200),
    [VIRTIO_INPUT_TABLET] = OPS("virtio-tablet-pci", "virtio tablet: a pointer with positions", 0x098000),
};

_Static_assert(1 << LED_NUML == INPUT_LED_NUM && 1 << LED_CAPSL == INPUT_LED_CAPS && 1 << LED_SCROLLL == INPUT_LED_SCROLL, "LEDs");
static unsigned on_leds(void *opaque) { return ((const struct vinput *)opaque)->leds; }

struct virtio *virtio_input_new(const struct virtio_input_config *config, struct error *err)
{
    struct vinput *d = calloc(1, sizeof(*d));
    uint16_t sizes[QUEUES] = { QUEUE_SIZE, QUEUE_SIZE };

    if (!d) {
        error_set(err, "no memory for %s", ops[config->kind].name);
        return NULL;
    }
    d->config = *config;
    d->v.id = config->id;
    d->input = (struct input_device){ .name = kinds[config->kind].name, .kind = kinds[config->kind].kind, .key = on_key, .relative = on_relative,
                                      .absolute = on_absolute, .leds = on_leds, .opaque = d };
    d->v.config_bytes = config_size(d);
    if (virtio_init(&d->v, &ops[config->kind], config->memory, 0, &config->options, QUEUES, sizes, err) < 0) {
        destroy(&d->v);
        return NULL;
    }
    input_add(config->input, &d->input);
    return &d->v;
}

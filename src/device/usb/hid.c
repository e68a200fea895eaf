/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * HID over USB: what a keyboard, mouse or tablet is (descriptors), requests of the class, and one interrupt endpoint, which has a report when
 * something happened or when the idle time that the host set is over.
 *
 * Descriptors are those of QEMU's devices, so that a guest which comes from there keeps its settings; but the tablet has five buttons.
 * Source: Device Class Definition for HID 1.11, 6.2 (descriptors), 7.2 (requests), appendix B (boot protocol).
 */
#include "device/usb/hid.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "device/usb/hid_private.h"
#include "display/input.h"

enum { GET_REPORT = 1, GET_IDLE, GET_PROTOCOL, SET_REPORT = 9, SET_IDLE, SET_PROTOCOL, GET_DESCRIPTOR = 6, FROM_CLASS = 0xa1, TO_CLASS = 0x21, FROM_INTERFACE = 0x81 };
enum { D_HID = 0x21, D_REPORT = 0x22, ENDPOINT = 0x81, LED_MASK = 31, NS_PER_IDLE_UNIT = 4000000 };

struct hid {
    struct usb_device usb;
    struct hid_config config;
    struct hid_events events;
    struct input_device input;
    struct timer *timer;                 /* the idle time is over */
    uint8_t idle, leds, protocol;        /* idle in 4 ms, 0: for ever; protocol 0: boot */
    bool repeats;                        /* the next report is due without an event */
    bool greeted;                        /* the guest's driver is there: a pointer is the one in use since then */
};

/* ---- descriptors ---- */

static const uint8_t tablet_report[] = {
    0x05, 0x01, 0x09, 0x02, 0xa1, 0x01, 0x09, 0x01, 0xa1, 0x00,                          /* generic desktop, mouse: application; pointer: physical */
    0x05, 0x09, 0x19, 0x01, 0x29, 0x05, 0x15, 0x00, 0x25, 0x01, 0x95, 0x05, 0x75, 0x01, 0x81, 0x02,      /* five buttons */
    0x95, 0x01, 0x75, 0x03, 0x81, 0x01,                                                  /* three bits of nothing */
    0x05, 0x01, 0x09, 0x30, 0x09, 0x31, 0x15, 0x00, 0x26, 0xff, 0x7f, 0x35, 0x00, 0x46, 0xff, 0x7f, 0x75, 0x10, 0x95, 0x02, 0x81, 0x02,  /* X, Y: 0..32767 */
    0x05, 0x01, 0x09, 0x38, 0x15, 0x81, 0x25, 0x7f, 0x35, 0x00, 0x45, 0x00, 0x75, 0x08, 0x95, 0x01, 0x81, 0x06,  /* wheel: -127..127, relative */
    0xc0, 0xc0,
};
static const uint8_t mouse_report[] = {
    0x05, 0x01, 0x09, 0x02, 0xa1, 0x01, 0x09, 0x01, 0xa1, 0x00,
    0x05, 0x09, 0x19, 0x01, 0x29, 0x05, 0x15, 0x00, 0x25, 0x01, 0x95, 0x05, 0x75, 0x01, 0x81, 0x02, 0x95, 0x01, 0x75, 0x03, 0x81, 0x01,
    0x05, 0x01, 0x09, 0x30, 0x09, 0x31, 0x09, 0x38, 0x15, 0x81, 0x25, 0x7f, 0x75, 0x08, 0x95, 0x03, 0x81, 0x06,  /* X, Y, wheel: relative */
    0xc0, 0xc0,
};
static const uint8_t keyboard_report[] = {
    0x05, 0x01, 0x09, 0x06, 0xa1, 0x01,                                                  /* generic desktop, keyboard: application */
    0x75, 0x01, 0x95, 0x08, 0x05, 0x07, 0x19, 0xe0, 0x29, 0xe7, 0x15, 0x00, 0x25, 0x01, 0x81, 0x02,      /* eight modifiers */
    0x95, 0x01, 0x75, 0x08, 0x81, 0x01,
    0x95, 0x05, 0x75, 0x01, 0x05, 0x08, 0x19, 0x01, 0x29, 0x05, 0x91, 0x02, 0x95, 0x01, 0x75, 0x03, 0x91, 0x01,  /* five LEDs */
    0x95, 0x06, 0x75, 0x08, 0x15, 0x00, 0x25, 0xff, 0x05, 0x07, 0x19, 0x00, 0x29, 0xff, 0x81, 0x00,      /* six keys */
    0xc0,
};
/* Class descriptors: HID 0.01 or 1.11, no country, one report descriptor of so many bytes. */
static const uint8_t tablet_hid[] = { 9, D_HID, 0x01, 0x00, 0, 1, D_REPORT, sizeof(tablet_report), 0 };
static const uint8_t mouse_hid[] = { 9, D_HID, 0x01, 0x00, 0, 1, D_REPORT, sizeof(mouse_report), 0 };
static const uint8_t keyboard_hid[] = { 9, D_HID, 0x11, 0x01, 0, 1, D_REPORT, sizeof(keyboard_report), 0 };

enum { S_MANUFACTURER = 1, S_MOUSE, S_TABLET, S_KEYBOARD, S_SERIAL_NONE, S_HID_MOUSE, S_HID_TABLET, S_HID_KEYBOARD, S_SERIAL_MOUSE, S_SERIAL_TABLET, S_SERIAL_KEYBOARD };
static const char *const strings[] = { "", "QEMU", "QEMU USB Mouse", "QEMU USB Tablet", "QEMU USB Keyboard", "", "HID Mouse", "HID Tablet", "HID Keyboard", NULL };

/* An interval is 10 ms at full speed; at high speed 2^(n - 1) of 125 us. */
#define FORM(name_, speed_, packet0_, string_, subclass_, protocol_, extra_, packet_, interval_) \
    static const struct usb_form name_##_##speed_ = { .version = 0x200, .packet0 = packet0_, .name = string_, .attributes = 0xa0, .power = 50, .interface_class = 3, \
        .interface_subclass = subclass_, .interface_protocol = protocol_, .extra = extra_, .extra_bytes = sizeof(extra_), \
        .endpoint = { { ENDPOINT, 3, interval_, packet_ } }, .endpoints = 1 }
FORM(tablet, full, 8, S_HID_TABLET, 0, 0, tablet_hid, 8, 10);
FORM(tablet, high, 64, S_HID_TABLET, 0, 0, tablet_hid, 8, 4);
FORM(mouse, full, 8, S_HID_MOUSE, 1, 2, mouse_hid, 4, 10);
FORM(mouse, high, 64, S_HID_MOUSE, 1, 2, mouse_hid, 4, 7);
FORM(keyboard, full, 8, S_HID_KEYBOARD, 1, 1, keyboard_hid, 8, 10);
FORM(keyboard, high, 64, S_HID_KEYBOARD, 1, 1, keyboard_hid, 8, 7);
#define DESCRIPTION(name_, product_, serial_) \
    static const struct usb_description name_##_description = { 0x627, 1, 0, 0, S_MANUFACTURER, product_, serial_, strings, \
        { [USB_FULL] = &name_##_full, [USB_HIGH] = &name_##_high } }
DESCRIPTION(tablet, S_TABLET, S_SERIAL_TABLET);
DESCRIPTION(mouse, S_MOUSE, S_SERIAL_MOUSE);
DESCRIPTION(keyboard, S_KEYBOARD, S_SERIAL_KEYBOARD);

static const struct { const uint8_t *hid, *report; size_t bytes; } class_descriptors[] = {
    [HID_KEYBOARD] = { keyboard_hid, keyboard_report, sizeof(keyboard_report) }, [HID_MOUSE] = { mouse_hid, mouse_report, sizeof(mouse_report) },
    [HID_TABLET] = { tablet_hid, tablet_report, sizeof(tablet_report) },
};

/* ---- reports ---- */

static struct hid *of(struct usb_device *d) { return container_of(d, struct hid, usb); }

static void idle_begin(struct hid *h)
{
    h->repeats = false;
    if (h->idle) timer_arm_ns(h->timer, clock_virtual_ns() + h->idle * (int64_t)NS_PER_IDLE_UNIT);
    else timer_disarm(h->timer);
}

static void idle_over(void *opaque)
{
    struct hid *h = opaque;

    h->repeats = true;
    usb_ready(&h->usb, ENDPOINT);
}

static void driver_came(struct hid *h)
{
    if (h->greeted || h->config.kind == HID_KEYBOARD) return;
    h->greeted = true;
    input_activate(h->config.input, &h->input);
}

static int transfer(struct usb_device *d, unsigned endpoint, uint8_t *data, size_t size)
{
    struct hid *h = of(d);
    uint8_t report[HID_REPORT_BYTES];
    size_t n;

    driver_came(h);
    if (!h->events.count && !h->repeats) return USB_NAK;
    n = hid_report(&h->events, !h->protocol, report);
    idle_begin(h);
    n = MIN(n, size);
    memcpy(data, report, n);
    return (int)n;
}

/* A question about how things are takes no event. */
static int report_get(struct hid *h, uint8_t *data)
{
    struct hid_events now = h->events;

    now.count = 0;
    return (int)hid_report(&now, !h->protocol, data);
}

static int control(struct usb_device *d, const struct usb_request *r, uint8_t *data)
{
    struct hid *h = of(d);

    if (r->type == FROM_INTERFACE && r->request == GET_DESCRIPTOR && r->value >> 8 == D_REPORT) {
        memcpy(data, class_descriptors[h->config.kind].report, class_descriptors[h->config.kind].bytes);
        return (int)class_descriptors[h->config.kind].bytes;
    }
    if (r->type == FROM_INTERFACE && r->request == GET_DESCRIPTOR && r->value >> 8 == D_HID) {
        memcpy(data, class_descriptors[h->config.kind].hid, 9);
        return 9;
    }
    if (r->type == FROM_CLASS) {
        data[0] = r->request == GET_IDLE ? h->idle : h->protocol;
        return r->request == GET_REPORT ? report_get(h, data) : r->request == GET_IDLE || r->request == GET_PROTOCOL ? 1 : USB_STALL;
    }
    if (r->type != TO_CLASS) return USB_STALL;
    switch (r->request) {
    case SET_REPORT:
        if (h->config.kind != HID_KEYBOARD || !r->length) return USB_STALL;
        h->leds = data[0] & LED_MASK;
        return 0;
    case SET_IDLE:
        h->idle = (uint8_t)(r->value >> 8);
        idle_begin(h);
        driver_came(h);
        return 0;
    case SET_PROTOCOL:
        if (h->config.kind == HID_TABLET) return USB_STALL;
        h->protocol = r->value & 1;
        return 0;
    default: return USB_STALL;
    }
}

static void configured(struct usb_device *d)
{
    struct hid *h = of(d);

    if (d->configuration) return;
    hid_events_reset(&h->events);
    h->idle = h->leds = 0;
    h->greeted = false;
    h->protocol = 1;
    idle_begin(h);
}

/* ---- from those who type and point ---- */

static void on_key(void *opaque, unsigned qkeycode, bool down)
{
    struct hid *h = opaque;

    if (hid_key(&h->events, qkeycode, down)) usb_ready(&h->usb, ENDPOINT);
}

static void on_pointer(void *opaque, int x, int y, int wheel, unsigned buttons)
{
    struct hid *h = opaque;

    if (hid_pointer(&h->events, x, y, wheel, buttons)) usb_ready(&h->usb, ENDPOINT);
}

static void on_position(void *opaque, unsigned x, unsigned y, int wheel, unsigned buttons) { on_pointer(opaque, (int)x, (int)y, wheel, buttons); }

/* Nobody types on a keyboard that is not plugged in. */
static void attached(struct usb_device *d, bool is)
{
    struct hid *h = of(d);

    if (!is) input_remove(h->config.input, &h->input);
    else {
        input_add(h->config.input, &h->input);
        if (h->config.kind == HID_KEYBOARD) input_activate(h->config.input, &h->input);
    }
}

/* ---- life ---- */

static void destroy(struct device *d)
{
    struct hid *h = container_of(d, struct hid, usb.device);

    usb_detach(&h->usb);
    timer_free(h->timer);
    free(h);
}

static const struct state_field state[] = {
    STATE_FIELD(struct hid, idle), STATE_FIELD(struct hid, leds), STATE_FIELD(struct hid, protocol), STATE_FIELD(struct hid, usb.address),
    STATE_FIELD(struct hid, usb.configuration), STATE_END,
};
#define OPS(name_, text_, description_) { { name_, text_, NULL, destroy, state, NULL, NULL }, description_, control, transfer, configured, NULL, attached }
static const struct usb_device_ops ops[] = {
    [HID_KEYBOARD] = OPS("usb-kbd", "USB keyboard", &keyboard_description),
    [HID_MOUSE] = OPS("usb-mouse", "USB mouse", &mouse_description),
    [HID_TABLET] = OPS("usb-tablet", "USB tablet: a pointer with positions", &tablet_description),
};

/* The report's bits are in the order of INPUT_LED_*. */
static unsigned on_leds(void *opaque) { return ((const struct hid *)opaque)->leds & 7; }

struct usb_device *hid_new(const struct hid_config *config, struct error *err)
{
    static const struct { const char *serial, *input; enum input_kind kind; } names[] = {
        [HID_KEYBOARD] = { "68284", "QEMU HID Keyboard", INPUT_KEYBOARD }, [HID_MOUSE] = { "89126", "QEMU HID Mouse", INPUT_RELATIVE },
        [HID_TABLET] = { "28754", "QEMU HID Tablet", INPUT_ABSOLUTE },
    };
    struct hid *h = calloc(1, sizeof(*h));

    if (!h || !(h->timer = timer_new(TIMER_VIRTUAL, idle_over, h))) {
        free(h);
        error_set(err, "%s: no memory", ops[config->kind].device.name);
        return NULL;
    }
    h->config = *config;
    h->events.kind = config->kind;
    h->input = (struct input_device){ .name = names[config->kind].input, .kind = names[config->kind].kind, .key = on_key, .relative = on_pointer,
                                      .absolute = on_position, .leds = on_leds, .opaque = h };
    usb_device_init(&h->usb, &ops[config->kind], config->id, config->serial, names[config->kind].serial);
    if (config->full_speed_only) h->usb.speeds = 1 << USB_FULL;
    configured(&h->usb);
    return &h->usb;
}

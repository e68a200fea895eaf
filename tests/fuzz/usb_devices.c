/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A tablet, a mouse and a keyboard in turn on whatever ports there are. */
#include "usb_devices.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/qkeycode.h"
#include "device/usb/hid.h"
#include "display/input.h"

enum { DEVICES = 3 };

static uint64_t state, configured;
static struct usb_device *device[DEVICES];
static struct input *input;

void below_seed(uint64_t seed) { state = seed; }

uint32_t below(uint32_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state * 0x2545f4914f6cdd1d >> 32) % n;
}

int usb_devices_make(struct usb_bus *bus, struct error *err)
{
    input = input_new();
    for (unsigned n = 0; n < DEVICES; n++) {
        struct hid_config c = { .kind = (enum hid_kind)n, .full_speed_only = n == 1, .input = input };

        device[n] = hid_new(&c, err);
        if (!device[n]) return -1;
    }
    for (unsigned n = 0; n < DEVICES; n++) usb_attach(bus, NULL, device[n], NULL);
    return device[0]->port ? 0 : -1;
}

void usb_devices_free(void)
{
    for (unsigned n = 0; n < DEVICES; n++) device_destroy(&device[n]->device);
    input_free(input);
}

void usb_devices_poke(void)
{
    for (unsigned n = 0; n < DEVICES; n++) configured += device[n]->configuration != 0;
    switch (below(4)) {
    case 0: input_key(input, below(QKEY_COUNT + 4), below(2)); break;
    case 1: input_relative(input, (int)below(400) - 200, (int)below(400) - 200, (int)below(5) - 2, below(32)); break;
    case 2: input_absolute(input, below(32768), below(32768), (int)below(3) - 1, below(32)); break;
    default: input_mouse_choose(input, below(10), NULL);
    }
}

void usb_devices_replug(struct usb_bus *bus)
{
    struct usb_device *d = device[below(DEVICES)];

    if (d->port) usb_detach(d);
    else usb_attach(bus, NULL, d, NULL);
}

void usb_request_make(uint8_t request[8])
{
    /* type, request, value, index, length */
    static const uint16_t known[][5] = {
        { 0x80, 6, 0x100, 0, 18 }, { 0x80, 6, 0x200, 0, 255 }, { 0x80, 6, 0x302, 0x409, 255 }, { 0x80, 6, 0x600, 0, 10 }, { 0x00, 5, 1, 0, 0 }, { 0x00, 9, 1, 0, 0 },
        { 0x80, 0, 0, 0, 2 }, { 0x02, 1, 0, 0x81, 0 }, { 0x02, 3, 0, 0x81, 0 }, { 0x81, 6, 0x2200, 0, 128 }, { 0xa1, 1, 0x100, 0, 8 }, { 0x21, 9, 0x200, 0, 1 },
        { 0x21, 10, 0, 0, 0 }, { 0x21, 10, 0x400, 0, 0 }, { 0x21, 11, 0, 0, 0 }, { 0xa1, 2, 0, 0, 1 }, { 0x80, 8, 0, 0, 1 }, { 0x01, 11, 0, 0, 0 }, { 0x00, 3, 1, 0, 0 },
        { 0x80, 6, 0xf00, 0, 64 }, { 0xa0, 6, 0x2900, 0, 64 }, { 0xa3, 0, 0, 1, 4 }, { 0x23, 3, 4, 1, 0 }, { 0x23, 3, 8, 2, 0 }, { 0x23, 1, 16, 1, 0 }, { 0x21, 0xff, 0, 0, 0 },
        { 0xa1, 0xfe, 0, 0, 1 },
    };
    const uint16_t *r = known[below(ARRAY_SIZE(known))];
    uint16_t value = r[2], length = r[4];

    if (r[1] == 5 && !r[0]) value = (uint16_t)below(6);
    if (!below(10)) length = (uint16_t)below(0x10000);
    request[0] = (uint8_t)r[0], request[1] = (uint8_t)r[1];
    memcpy(request + 2, &value, 2);
    memcpy(request + 4, &r[3], 2);
    memcpy(request + 6, &length, 2);
    if (!below(20)) request[below(8)] = (uint8_t)below(256);
}

uint64_t usb_devices_configured(void) { return configured; }

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A hub, a stick, a tablet, a mouse and a keyboard in turn on whatever ports there are; the stick's host fails now and then. */
#include "usb_devices.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/qkeycode.h"
#include "block/fault.h"
#include "device/usb/hid.h"
#include "device/usb/hub.h"
#include "device/usb/storage.h"
#include "display/input.h"

enum { HUB, STICK, FIRST_HID, DEVICES = 5, DISK_BYTES = 1 << 20 };

static uint64_t state, configured;
static struct usb_device *device[DEVICES];
static struct input *input;
static struct block_protocol *protocol;
static struct block_node *node;

void below_seed(uint64_t seed) { state = seed; }

uint32_t below(uint32_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state * 0x2545f4914f6cdd1d >> 32) % n;
}

static void on_stop(void *opaque, bool is_read, int error) { }

int usb_devices_make(struct usb_bus *bus, struct error *err)
{
    static uint8_t empty[DISK_BYTES];
    struct usb_storage_config s = { .unit = { .write_cache = true, .on_error = { BLOCK_ERROR_STOP, BLOCK_ERROR_ENOSPC, NULL, on_stop } } };

    input = input_new();
    protocol = block_fault_open(empty, DISK_BYTES, DISK_BYTES);
    s.unit.node = node = block_node_open_over(protocol, &(struct block_open_options){ .filename = "fault", .format = "raw", .discard = true }, NULL, err);
    if (!node) return -1;
    for (unsigned n = 0; n < DEVICES; n++) {
        struct hid_config c = { .kind = (enum hid_kind)(n - FIRST_HID), .full_speed_only = n == FIRST_HID + 1, .input = input };

        device[n] = n == HUB ? usb_hub_new(NULL, NULL, err) : n == STICK ? usb_storage_new(&s, err) : hid_new(&c, err);
        if (!device[n]) return -1;
    }
    for (unsigned n = 0; n < DEVICES; n++) usb_attach(bus, NULL, device[n], NULL);
    return device[0]->port ? 0 : -1;
}

void usb_devices_free(void)
{
    for (unsigned n = 0; n < DEVICES; n++) device_destroy(&device[n]->device);
    input_free(input);
    block_close(node);
}

static void request(struct usb_device *d, uint8_t type, uint8_t what, uint16_t value, uint16_t index)
{
    uint8_t setup[8] = { type, what, (uint8_t)value, (uint8_t)(value >> 8), (uint8_t)index, (uint8_t)(index >> 8) };

    usb_packet(d, USB_SETUP, 0, setup, sizeof(setup));
    usb_packet(d, USB_IN, 0, setup, 0);
}

/* What a good driver does first: random requests seldom come so far. */
static void bring_up(struct usb_device *d, unsigned address)
{
    if (!d->port) return;
    request(d, 0, 5, (uint16_t)address, 0);
    request(d, 0, 9, 1, 0);
    if (d == device[STICK]) request(d, 0x21, 0xff, 0, 0);
    for (uint16_t port = 1; d == device[HUB] && port <= 8; port++) request(d, 0x23, 3, 4, port);
}

void usb_devices_poke(void)
{
    if (!below(10))
        for (unsigned n = 0; n < DEVICES; n++) bring_up(device[n], n + 1);
    for (unsigned n = 0; n < DEVICES; n++) configured += device[n]->configuration != 0;
    switch (below(4)) {
    case 0: input_key(input, below(QKEY_COUNT + 4), below(2)); break;
    case 1: input_relative(input, (int)below(400) - 200, (int)below(400) - 200, (int)below(5) - 2, below(32)); break;
    case 2:
        if (!below(20)) usb_storage_retry(device[STICK]);
        if (!below(20)) below(2) ? block_fault_fail_read(protocol, EIO) : block_fault_fail_at(protocol, block_fault_writes(protocol), ENOSPC);
        input_absolute(input, below(32768), below(32768), (int)below(3) - 1, below(32)); break;
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

void usb_command_make(uint8_t command[31])
{
    static const uint8_t ops[] = { 0x28, 0x28, 0x2a, 0x2a, 0xa8, 0x25, 0x12, 0x1a, 0x5a, 0x03, 0x00, 0x35, 0x42, 0x41, 0x93, 0x9e };
    uint32_t length = below(4) ? 512 * below(8) : below(20) ? below(100) : below(~0u);

    memset(command, 0, 31);
    memcpy(command, below(40) ? "USBC" : "USBX", 4);
    memcpy(command + 8, &length, 4);
    command[12] = below(2) ? 0x80 : 0;
    command[13] = below(60) ? 0 : (uint8_t)below(256);
    command[14] = below(30) ? 10 : (uint8_t)below(256);
    command[15] = below(20) ? ops[below(sizeof(ops))] : (uint8_t)below(256);
    for (unsigned i = 16; i < 31; i++) command[i] = (uint8_t)(below(3) ? 0 : below(8) ? below(8) : below(256));
    if (below(4)) command[23] = (uint8_t)(length / 512);
}

uint64_t usb_disk_requests(void) { return block_stats_get(node).reads + block_stats_get(node).writes; }
uint64_t usb_devices_configured(void) { return configured; }

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The mouse: three bytes a packet; after the sample rates 200, 100, 80 a wheel (id 3), after 200, 200, 80 two more
 * buttons (id 4). What moved while the queue was full is added up and sent later.
 * Sources: IBM PS/2 Technical Reference (mouse); Microsoft "IntelliMouse" protocol notes.
 */
#include "device/input/ps2.h"

#include <string.h>

#include "base/bits.h"

enum { ACK = 0xfa, RESEND = 0xfe, PACKETS_QUEUED = 16 };

static void put(struct ps2 *p, uint8_t byte)
{
    if (p->count == PS2_QUEUE) return;
    p->queue[(p->first + p->count++) % PS2_QUEUE] = byte;
}

static void defaults(struct ps2 *p)
{
    p->rate = 100;
    p->resolution = 2;
    p->scale2 = p->remote = false;
    p->enabled = false;
    p->dx = p->dy = p->wheel = 0;
}

void ps2_mouse_reset(struct ps2 *p)
{
    p->count = p->first = 0;
    p->awaiting = 0;
    p->id = 0;
    p->wrap = false;
    memset(p->rates, 0, sizeof p->rates);
    defaults(p);
}

static int clamp(int value, int low, int high) { return value < low ? low : value > high ? high : value; }

static void packet(struct ps2 *p)
{
    int dx = clamp(p->dx, -255, 255), dy = clamp(-p->dy, -255, 255), wheel = clamp(p->wheel, -7, 7);

    put(p, (p->buttons & 7) | 8 | (dx < 0 ? 0x10 : 0) | (dy < 0 ? 0x20 : 0));
    put(p, dx);
    put(p, dy);
    if (p->id == 3) put(p, wheel);
    if (p->id == 4) put(p, (wheel & 15) | (p->buttons & 0x18) << 1);
    p->dx -= dx;
    p->dy += dy;
    p->wheel = p->id ? p->wheel - wheel : 0;
}

static void stream(struct ps2 *p)
{
    if (!p->enabled || p->remote || p->wrap) return;
    do packet(p);
    while ((p->dx || p->dy || p->wheel) && p->count < 4 * PACKETS_QUEUED);
}

void ps2_mouse_move(struct ps2 *p, int dx, int dy, int wheel)
{
    p->dx = clamp(p->dx + clamp(dx, -10000, 10000), -10000, 10000);
    p->dy = clamp(p->dy + clamp(dy, -10000, 10000), -10000, 10000);
    p->wheel = clamp(p->wheel + clamp(wheel, -100, 100), -100, 100);
    if (p->count < 4 * PACKETS_QUEUED) stream(p);
}

void ps2_mouse_buttons(struct ps2 *p, unsigned buttons)
{
    if (p->buttons == buttons) return;
    p->buttons = buttons;
    if (p->count < PS2_QUEUE - 8) stream(p);
}

static void data_byte(struct ps2 *p, uint8_t byte)
{
    if (p->awaiting == 0xe8) p->resolution = byte & 3;
    if (p->awaiting == 0xf3) {
        p->rate = byte;
        p->rates[0] = p->rates[1];
        p->rates[1] = p->rates[2];
        p->rates[2] = byte;
        if (p->rates[0] == 200 && p->rates[1] == 100 && byte == 80) p->id = 3;
        if (p->rates[0] == 200 && p->rates[1] == 200 && byte == 80 && p->id == 3) p->id = 4;
    }
    p->awaiting = 0;
    put(p, ACK);
}

static void status(struct ps2 *p)
{
    put(p, ACK);
    put(p, (p->remote ? 0x40 : 0) | (p->enabled ? 0x20 : 0) | (p->scale2 ? 0x10 : 0) | (p->buttons & 1) << 2 | (p->buttons & 4) >> 1 |
               (p->buttons & 2) >> 1);
    put(p, p->resolution);
    put(p, p->rate);
}

void ps2_mouse_write(struct ps2 *p, uint8_t byte)
{
    if (p->awaiting) {
        data_byte(p, byte);
        return;
    }
    if (p->wrap && byte != 0xec && byte != 0xff) {
        put(p, byte);
        return;
    }
    if (byte != 0xeb && byte != 0xfe) p->count = 0;
    switch (byte) {
    case 0xe6: case 0xe7: p->scale2 = byte == 0xe7; put(p, ACK); break;
    case 0xe8: case 0xf3: p->awaiting = byte; put(p, ACK); break;
    case 0xe9: status(p); break;
    case 0xea: p->remote = false; put(p, ACK); break;
    case 0xeb: put(p, ACK); packet(p); break;
    case 0xec: p->wrap = false; put(p, ACK); break;
    case 0xee: p->wrap = true; put(p, ACK); break;
    case 0xf0: p->remote = true; put(p, ACK); break;
    case 0xf2: put(p, ACK); put(p, p->id); break;
    case 0xf4: p->enabled = true; put(p, ACK); break;
    case 0xf5: p->enabled = false; put(p, ACK); break;
    case 0xf6: defaults(p); put(p, ACK); break;
    case 0xfe: put(p, p->last); break;
    case 0xff:
        ps2_mouse_reset(p);
        put(p, ACK);
        put(p, 0xaa);
        put(p, 0);
        break;
    default: put(p, RESEND); break;
    }
}

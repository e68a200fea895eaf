/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * EDID of a monitor of 100 dots an inch with one detailed timing, the preferred mode at 60 Hz with the blanking of
 * CVT reduced blanking, and the usual standard modes. Source: VESA Enhanced EDID Standard, release A, revision 2 (1.4).
 */
#include "device/display/edid.h"

#include <string.h>

#include "base/bits.h"

enum { DPI = 100, REFRESH_HZ = 60, HBLANK = 160, HFRONT = 48, HSYNC = 32, VFRONT = 3, VSYNC = 6, VBLANK_MIN = 23 };

static unsigned millimetres(unsigned pixels) { return pixels * 254 / (DPI * 10); }

/* Detailed timing descriptor: 18 bytes, each number cut into low byte and high bits. */
static void timing_put(uint8_t *d, unsigned width, unsigned height)
{
    unsigned vblank = MAX((unsigned)VBLANK_MIN, height / 26), wide = millimetres(width), high = millimetres(height);
    unsigned clock = (unsigned)((uint64_t)(width + HBLANK) * (height + vblank) * REFRESH_HZ / 10000);

    clock = MIN(clock, 0xffffu);
    d[0] = (uint8_t)clock;
    d[1] = (uint8_t)(clock >> 8);
    d[2] = (uint8_t)width;
    d[3] = HBLANK;
    d[4] = (uint8_t)(width >> 8 << 4);
    d[5] = (uint8_t)height;
    d[6] = (uint8_t)vblank;
    d[7] = (uint8_t)(height >> 8 << 4 | vblank >> 8);
    d[8] = HFRONT;
    d[9] = HSYNC;
    d[10] = VFRONT << 4 | VSYNC;
    d[12] = (uint8_t)wide;
    d[13] = (uint8_t)high;
    d[14] = (uint8_t)(wide >> 8 << 4 | high >> 8);
    d[17] = 0x18;                      /* digital, separate syncs */
}

static void text_put(uint8_t *d, uint8_t kind, const char *text)
{
    size_t n = strlen(text);

    d[3] = kind;
    memset(d + 5, ' ', 13);
    memcpy(d + 5, text, n);
    if (n < 13) d[5 + n] = '\n';
}

/* What it can follow: 50-125 Hz, 30-160 kHz, up to 2550 MHz. */
static void range_put(uint8_t *d)
{
    static const uint8_t range[18] = { 0, 0, 0, 0xfd, 0, 50, 125, 30, 160, 255, 1, '\n', ' ', ' ', ' ', ' ', ' ', ' ' };

    memcpy(d, range, sizeof(range));
}

/* Standard timings: width / 8 - 31, aspect 0 16:10, 1 4:3, 2 5:4, 3 16:9, all at 60 Hz. */
static void standard_put(uint8_t *to)
{
    static const struct { uint16_t width; uint8_t aspect; } mode[8] = {
        { 2048, 0 }, { 1920, 3 }, { 1920, 0 }, { 1600, 1 }, { 1680, 0 }, { 1440, 0 }, { 1280, 2 }, { 1280, 3 },
    };

    for (unsigned i = 0; i < 8; i++) {
        to[2 * i] = (uint8_t)(mode[i].width / 8 - 31);
        to[2 * i + 1] = (uint8_t)(mode[i].aspect << 6);
    }
}

void edid_make(uint8_t edid[EDID_BYTES], const struct edid_config *config)
{
    static const uint8_t head[20] = { 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0x3e, 0x70, 1, 0, 1, 0, 0, 0, 1, 36, 1, 4 };
    /* Red, green, blue and white of sRGB, in 1024ths: low bits first. */
    static const uint8_t chromaticity[10] = { 0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54 };
    uint8_t sum = 0;

    memset(edid, 0, EDID_BYTES);
    memcpy(edid, head, sizeof(head));  /* header, maker "OSP", product 1, serial 1, made 2026, version 1.4 */
    edid[20] = 0xa5;                   /* digital, 8 bits a colour, DisplayPort */
    edid[21] = (uint8_t)MIN(millimetres(config->width) / 10, 255u);
    edid[22] = (uint8_t)MIN(millimetres(config->height) / 10, 255u);
    edid[23] = 120;                    /* gamma 2.2 */
    edid[24] = 6;                      /* sRGB; the first timing is the preferred mode */
    memcpy(edid + 25, chromaticity, sizeof(chromaticity));
    edid[35] = 0x21;                   /* 640x480, 800x600 */
    edid[36] = 8;                      /* 1024x768 */
    standard_put(edid + 38);
    timing_put(edid + 54, config->width, config->height);
    range_put(edid + 72);
    text_put(edid + 90, 0xfc, "ospite");
    text_put(edid + 108, 0xff, "1");
    for (unsigned i = 0; i < EDID_BYTES - 1; i++) sum += edid[i];
    edid[EDID_BYTES - 1] = (uint8_t)-sum;
}

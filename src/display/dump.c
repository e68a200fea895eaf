/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Screen dumps: binary PPM (P6), and PNG by libpng. What was begun and cannot be finished is an error, not a picture. */
#include <errno.h>
#include <fcntl.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fdset.h"
#include "display/display.h"

struct dump_file {
    FILE *f;
    char why[128];
};

static void row_rgb(const struct surface *s, unsigned y, uint8_t *to)
{
    const uint32_t *from = s->pixel + (size_t)y * s->width;

    for (unsigned x = 0; x < s->width; x++) {
        *to++ = (uint8_t)(from[x] >> 16);
        *to++ = (uint8_t)(from[x] >> 8);
        *to++ = (uint8_t)from[x];
    }
}

static int ppm_write(struct dump_file *p, const struct surface *s, uint8_t *row)
{
    FILE *f = p->f;

    fprintf(f, "P6\n%u %u\n255\n", s->width, s->height);
    for (unsigned y = 0; y < s->height; y++) {
        row_rgb(s, y, row);
        fwrite(row, 3, s->width, f);
    }
    if (!ferror(f)) return 0;
    snprintf(p->why, sizeof(p->why), "%s", strerror(errno));
    return -1;
}

static void png_bytes(png_structp png, png_bytep data, size_t size)
{
    struct dump_file *p = png_get_io_ptr(png);

    if (fwrite(data, 1, size, p->f) != size) png_error(png, strerror(errno));
}

static void png_flush_nothing(png_structp png) { }
static void png_warned(png_structp png, png_const_charp text) { }

static void png_failed(png_structp png, png_const_charp text)
{
    struct dump_file *p = png_get_error_ptr(png);

    snprintf(p->why, sizeof(p->why), "%s", text);
    png_longjmp(png, 1);
}

static int png_write(struct dump_file *p, const struct surface *s, uint8_t *row)
{
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, p, png_failed, png_warned);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    volatile int result = -1;

    if (info && !setjmp(png_jmpbuf(png))) {
        png_set_write_fn(png, p, png_bytes, png_flush_nothing);
        png_set_user_limits(png, DISPLAY_MAX_SIDE, DISPLAY_MAX_SIDE);
        png_set_compression_level(png, 3);
        png_set_IHDR(png, info, s->width, s->height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                     PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
        png_write_info(png, info);
        for (unsigned y = 0; y < s->height; y++) {
            row_rgb(s, y, row);
            png_write_row(png, row);
        }
        png_write_end(png, NULL);
        result = 0;
    }
    png_destroy_write_struct(&png, &info);
    return result;
}

int display_dump(struct display *d, const char *path, enum dump_format format, struct error *err)
{
    struct dump_file file = { NULL, "no memory" };
    const struct surface *s;
    uint8_t *row;
    int result, fd;

    display_refresh(d);
    s = display_surface(d);
    fd = fdset_open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    file.f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!file.f && fd >= 0) close(fd);
    if (!file.f) return error_set(err, "cannot write '%s': %s; name another file", path, strerror(errno));
    row = malloc((size_t)s->width * 3);
    result = !row ? -1 : format == DUMP_PNG ? png_write(&file, s, row) : ppm_write(&file, s, row);
    free(row);
    if (fclose(file.f) != 0 && result == 0) {
        snprintf(file.why, sizeof(file.why), "%s", strerror(errno));
        result = -1;
    }
    if (result == 0) return 0;
    return error_set(err, "cannot write '%s': %s; name a file where there is room", path, file.why);
}

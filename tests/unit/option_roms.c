/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Option ROMs of cards that come and go: an image stays in its place after its card, as long as nobody wants one of its size. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "machine/pc_private.h"
#include "unit.h"

static char folder[] = "/tmp/ospite-roms-XXXXXX";

static const char *rom_make(const char *name, size_t bytes, int fill)
{
    static char path[2][64];
    static unsigned turn;
    char *p = path[turn++ & 1], data[9000];
    int fd;

    snprintf(p, sizeof(path[0]), "%s/%s", folder, name);
    memset(data, fill, sizeof(data));
    fd = open(p, O_WRONLY | O_CREAT, 0600);
    check(fd >= 0 && write(fd, data, bytes) == (ssize_t)bytes, "a file for %s", name);
    close(fd);
    return p;
}

static bool is_filled(const uint8_t *rom, size_t bytes, size_t room, int fill)
{
    for (size_t i = 0; i < room; i++)
        if (rom[i] != (i < bytes ? fill : 0)) return false;
    return true;
}

int main(void)
{
    struct machine *m = calloc(1, sizeof(*m));
    void *a = NULL, *b = NULL, *c = NULL, *d = NULL;
    struct error err = { "" };
    const char *small, *large;
    uint32_t bytes;

    if (!mkdtemp(folder) || !m) return 1;
    small = rom_make("small", 5000, 'a');
    check(pc_rom_read(m, &a, small, &bytes, &err) == 0 && bytes == 8192 && is_filled(a, 5000, 8192, 'a'), "an image: %s", err.text);
    check(pc_rom_read(m, &b, small, &bytes, &err) == 0 && b != a, "another card has its own");
    pc_rom_leave(m, a);
    pc_rom_leave(m, NULL);
    check(is_filled(a, 5000, 8192, 'a'), "the image is there when its card is not");
    large = rom_make("large", 9000, 'b');
    check(pc_rom_read(m, &c, large, &bytes, &err) == 0 && bytes == 16384 && c != a, "one of another size has a place of its own");
    check(is_filled(a, 5000, 8192, 'a') && is_filled(c, 9000, 16384, 'b'), "and changes no other");
    unlink(small);
    small = rom_make("small", 4100, 'c');
    check(pc_rom_read(m, &d, small, &bytes, &err) == 0 && d == a && is_filled(d, 4100, 8192, 'c'), "one of its size takes its place, whole");
    check(pc_rom_read(m, &d, "/nowhere/at-all", &bytes, &err) < 0 && strstr(err.text, "/nowhere/at-all"), "a file that is not there: %s", err.text);
    pc_roms_free(m);
    free(m);
    unlink(small);
    unlink(large);
    rmdir(folder);
    return report("option-roms");
}

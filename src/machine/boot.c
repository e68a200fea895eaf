/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Direct boot, the part all protocols share: reading files, pieces of memory, entry registers.
 *
 * Everything is laid out when the machine is made: a piece is a block of bytes and where it goes. Each reset
 * copies the pieces again, so that the guest starts from what it started from before.
 */
#include "machine/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "machine/boot_private.h"
#include "x86/state.h"

static struct boot_file *file_new(struct boot_image *b, size_t size, struct error *err)
{
    struct boot_file *f;

    if (b->file_count == BOOT_FILES) {
        error_set(err, "too many boot modules; at most %d can be given", BOOT_FILES - 2);
        return NULL;
    }
    f = &b->file[b->file_count];
    f->data = calloc(1, size ? size : 1);
    f->size = size;
    if (!f->data) {
        error_set(err, "no memory for %zu bytes of boot data", size);
        return NULL;
    }
    b->file_count++;
    return f;
}

uint8_t *boot_block_new(struct boot_image *b, size_t size, struct error *err)
{
    struct boot_file *f = file_new(b, size, err);

    return f ? f->data : NULL;
}

static bool read_whole(int fd, uint8_t *data, size_t size)
{
    while (size) {
        ssize_t n = read(fd, data, MIN(size, (size_t)1 << 30));

        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            if (n == 0) errno = ENODATA;
            return false;
        }
        data += n;
        size -= (size_t)n;
    }
    return true;
}

struct boot_file *boot_file_read(struct boot_image *b, const char *what, const char *path, size_t length,
                                 struct error *err)
{
    char *name = strndup(path, length);
    struct boot_file *f = NULL;
    struct stat st;
    int fd;

    if (!name) {
        error_set(err, "no memory");
        return NULL;
    }
    fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) error_set(err, "%s: cannot open '%s': %s", what, name, strerror(errno));
    else if (!S_ISREG(st.st_mode)) error_set(err, "%s: '%s' is not a regular file", what, name);
    else if (st.st_size > UINT32_MAX)
        error_set(err, "%s: '%s' is larger than 4 GiB and cannot be loaded", what, name);
    else if ((f = file_new(b, (size_t)st.st_size, err)) && !read_whole(fd, f->data, f->size)) {
        error_set(err, "%s: cannot read '%s': %s", what, name, strerror(errno));
        f = NULL;
    }
    if (fd >= 0) close(fd);
    free(name);
    return f;
}

int boot_piece_add(struct boot_image *b, gpa_t address, const uint8_t *data, uint64_t size, uint64_t memory_bytes,
                   struct error *err)
{
    gpa_t top = b->config.ram_top;

    memory_bytes = MAX(memory_bytes, size);
    if (address > top || memory_bytes > top - address)
        return error_set(
            err, "%s: %llu KiB at address %#llx do not fit into the guest's memory; give it more with -m",
            b->config.kernel, (unsigned long long)memory_bytes >> 10, (unsigned long long)address);
    if (b->piece_count == BOOT_PIECES) return error_set(err, "%s: it has too many segments", b->config.kernel);
    b->piece[b->piece_count++] = (struct boot_piece){ address, data, size, memory_bytes };
    if (address >= 0x100000) b->kernel_end = MAX(b->kernel_end, address + memory_bytes);
    return 0;
}

static int load(struct boot_image *b, struct error *err)
{
    static int (*const loaders[])(struct boot_image *, const struct boot_file *, struct error *) = {
        boot_linux_load, boot_multiboot_load, boot_pvh_load,
    };
    const struct boot_file *kernel = boot_file_read(b, "-kernel", b->config.kernel, strlen(b->config.kernel), err);

    if (!kernel) return -1;
    if (b->config.by_firmware) return boot_linux_setup_load(b, kernel, err);
    for (unsigned i = 0; i < ARRAY_SIZE(loaders); i++) {
        int result = loaders[i](b, kernel, err);

        if (result) return result;
    }
    if (kernel->size > 2 && kernel->data[0] == 0x1f && kernel->data[1] == 0x8b)
        return error_set(err, "-kernel: '%s' is compressed by gzip as a whole; unpack it with gunzip first", b->config.kernel);
    return error_set(
        err,
        "-kernel: '%s' is no kernel that can be started: neither a bzImage nor an ELF file with a PVH "
        "note nor a multiboot image",
        b->config.kernel);
}

struct boot_image *boot_load(const struct boot_config *config, struct error *err)
{
    struct boot_image *b = calloc(1, sizeof(*b));

    if (!b) {
        error_set(err, "no memory for the kernel");
        return NULL;
    }
    b->config = *config;
    b->config.e820_count = MIN(config->e820_count, (unsigned)ARRAY_SIZE(b->e820));
    memcpy(b->e820, config->e820, b->config.e820_count * sizeof(b->e820[0]));
    b->config.e820 = b->e820;
    if (load(b, err) >= 0) return b;
    boot_free(b);
    return NULL;
}

void boot_free(struct boot_image *b)
{
    if (!b) return;
    for (unsigned i = 0; i < b->file_count; i++) free(b->file[i].data);
    free(b);
}

static void zeros_write(struct memory_map *memory, gpa_t address, uint64_t size)
{
    static const uint8_t zeros[0x10000];

    while (size) {
        uint64_t part = MIN(size, (uint64_t)sizeof(zeros));

        memory_write(memory, address, zeros, part);
        address += part;
        size -= part;
    }
}

void boot_place(const struct boot_image *b, struct memory_map *memory)
{
    for (unsigned i = 0; i < b->piece_count; i++) {
        const struct boot_piece *p = &b->piece[i];

        memory_write(memory, p->address, p->data, p->size);
        zeros_write(memory, p->address + p->size, p->memory_bytes - p->size);
    }
}

const char *boot_protocol(const struct boot_image *b)
{
    return b->protocol;
}

static struct segment flat(uint16_t selector, uint32_t type, uint32_t size_bit)
{
    return (struct segment){ .limit = 0xffffffff, .selector = selector,
                             .attr = type | SEG_ATTR_S | SEG_ATTR_P | size_bit | SEG_ATTR_G };
}

/* 64-bit boot protocol: CS 10h, data 18h, flat; PVH and multiboot ask for the same in 32 bits, selectors
 * undefined. */
void boot_registers(const struct boot_image *b, struct x86_state *s)
{
    struct segment data = flat(0x18, 3, SEG_ATTR_DB);

    s->seg[SEG_CS] = flat(0x10, 0xb, b->is_long ? SEG_ATTR_L : SEG_ATTR_DB);
    s->seg[SEG_DS] = s->seg[SEG_ES] = s->seg[SEG_SS] = s->seg[SEG_FS] = s->seg[SEG_GS] = data;
    s->tr = (struct segment){ .limit = 0x67, .attr = 0xb | SEG_ATTR_P, .selector = 0 };
    s->gdtr.base = b->gdt;
    s->gdtr.limit = 0x1f;
    s->idtr.base = 0;
    s->idtr.limit = 0;
    s->rflags = RFLAGS_FIXED;
    s->cr0 = CR0_PE | CR0_ET;
    if (b->is_long) {
        s->cr0 |= CR0_PG;
        s->cr3 = b->page_table;
        s->cr4 = CR4_PAE;
        s->efer = EFER_LME | EFER_LMA;
    }
    s->mtrr_def_type = 0x806;          /* enabled, write-back: nobody else sets it up */
    memset(s->gpr, 0, sizeof(s->gpr));
    s->gpr[REG_RAX] = b->eax;
    s->gpr[REG_RBX] = b->ebx;
    s->gpr[REG_RSI] = b->rsi;
    s->gpr[REG_RSP] = 0x7000;
    s->rip = b->entry;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Kernels that the firmware starts: bzImages whose real-mode setup code calls the BIOS, such as iPXE's ipxe.lkrn and MEMDISK.
 *
 * Boot protocol 2.10 is the first whose header says all that starting at the 32-bit entry takes; images with an older one
 * are entered through their setup code, and so is every bzImage if the user chose a firmware. The pieces of the image become
 * items of fw_cfg. An option ROM, which SeaBIOS finds there as a file, is the first boot device: it has fw_cfg's DMA
 * put each item to its place and jumps to the setup code.
 * UEFI starts the kernel as a program: it takes the files as they are from fw_cfg's own items for them.
 * Sources: Linux Documentation/arch/x86/boot.rst; Plug and Play BIOS Specification 1.0a section 3.2 (expansion header); QEMU
 * docs/specs/fw_cfg; SeaBIOS docs/Runtime_config.md (genroms, bootorder).
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "device/firmware/fw_cfg.h"
#include "machine/boot_private.h"

enum { PROTOCOL_32BIT = 0x20a };
enum { ROM_BYTES = 512, ROM_INIT = 3, ROM_PNP_AT = 0x1a, ROM_PNP = 0x20, ROM_NAME = 0x40, ROM_CODE = 0x60, ROM_REQUESTS = 0x100 };
enum { DMA_READ = 2, DMA_SELECT = 8 };
struct dma_request { be32 control, length; be64 address; };

/* A request is copied to 7C00h, since the device writes into it. The list ends with a zero. */
static const uint8_t code[] = {
    0xfa, 0xfc,                                     /* cli; cld */
    0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0,             /* xor ax, ax; mov ds, ax; mov es, ax */
    0xbe, ROM_REQUESTS & 0xff, ROM_REQUESTS >> 8,   /* mov si, ROM_REQUESTS */
    0xbf, 0x00, 0x7c,                               /* next: mov di, 7C00h */
    0xb9, 0x08, 0x00, 0xf3, 0x2e, 0xa5,             /* mov cx, 8; rep movsw es:[di], cs:[si] */
    0x66, 0xa1, 0x00, 0x7c, 0x66, 0x85, 0xc0,       /* mov eax, [7C00h]; test eax, eax */
    0x74, 0x1d,                                     /* jz done */
    0x66, 0x31, 0xc0, 0xba, 0x14, 0x05, 0x66, 0xef, /* xor eax, eax; mov dx, 514h; out dx, eax */
    0x66, 0xb8, 0x00, 0x00, 0x7c, 0x00,             /* mov eax, 7C00h in big-endian */
    0xb2, 0x18, 0x66, 0xef,                         /* mov dl, 18h; out dx, eax */
    0x66, 0xa1, 0x00, 0x7c, 0x66, 0x85, 0xc0,       /* wait: mov eax, [7C00h]; test eax, eax */
    0x75, 0xf7, 0xeb, 0xd1,                         /* jnz wait; jmp next */
    0xb8, 0x00, BOOT_SETUP >> 12, 0x8e, 0xd8,       /* done: mov ax, BOOT_SETUP >> 4; mov ds, ax */
    0x8e, 0xc0, 0x8e, 0xe0, 0x8e, 0xe8, 0x8e, 0xd0, /* mov es, ax; mov fs, ax; mov gs, ax; mov ss, ax */
    0x66, 0xbc, 0xf0, 0xff, 0x00, 0x00,             /* mov esp, FFF0h */
    0xea, 0x00, 0x00, 0x20, BOOT_SETUP >> 12,       /* jmp (BOOT_SETUP >> 4) + 20h:0 */
};
_Static_assert(ROM_CODE + sizeof(code) <= ROM_REQUESTS, "the code lies before the requests");

bool boot_bios_is_wanted(const char *kernel, bool has_bios)
{
    uint8_t head[0x210];
    int fd = open(kernel, O_RDONLY | O_CLOEXEC);
    bool is_bzimage;

    if (fd < 0) return false;
    is_bzimage = pread(fd, head, sizeof(head), 0) == sizeof(head) && head[0x1fe] == 0x55 && head[0x1ff] == 0xaa &&
                 !memcmp(head + 0x202, "HdrS", 4);
    close(fd);
    return is_bzimage && (has_bios || (head[0x206] | head[0x207] << 8) < PROTOCOL_32BIT);
}

static void le16_put(uint8_t *p, uint16_t value)
{
    le16 v = le16_make(value);

    memcpy(p, &v, 2);
}

static void rom_fill(const struct boot_image *b, uint8_t *rom)
{
    enum { SIGNATURE = 0, REVISION = 4, LENGTH = 5, NAME = 14, ENTRY = 26 };   /* in the expansion header */
    uint8_t *pnp = rom + ROM_PNP, sum = 0;

    memset(rom, 0, ROM_BYTES);
    memcpy(rom, (const uint8_t[]){ 0x55, 0xaa, ROM_BYTES / 512, 0xcb }, 4);    /* its initialization: retf */
    le16_put(rom + ROM_PNP_AT, ROM_PNP);
    memcpy(pnp + SIGNATURE, "$PnP", 4);
    pnp[REVISION] = 1;
    pnp[LENGTH] = 2;
    le16_put(pnp + NAME, ROM_NAME);
    le16_put(pnp + ENTRY, ROM_CODE);
    strcpy((char *)rom + ROM_NAME, "-kernel");
    memcpy(rom + ROM_CODE, code, sizeof(code));
    for (unsigned i = 0; i < b->piece_count; i++) {
        struct dma_request r = { be32_make((uint32_t)(FW_CFG_BOOT_PIECE + i) << 16 | DMA_SELECT | DMA_READ),
                                 be32_make((uint32_t)b->piece[i].size), be64_make(b->piece[i].address) };

        memcpy(rom + ROM_REQUESTS + i * sizeof(r), &r, sizeof(r));
    }
    for (unsigned i = 0; i < ROM_BYTES; i++) sum += rom[i];
    rom[ROM_BYTES - 1] = (uint8_t)-sum;
}

/* An item, its size and where a firmware without ideas of its own would put it. */
static int file_publish(struct device *fw_cfg, const uint16_t key[3], uint32_t address, const void *data, size_t size, struct error *err)
{
    return fw_cfg_set(fw_cfg, key[0], data, size, err) < 0 || fw_cfg_set_u32(fw_cfg, key[1], (uint32_t)size, err) < 0 ||
           fw_cfg_set_u32(fw_cfg, key[2], address, err) < 0 ? -1 : 0;
}

int boot_uefi_publish(const struct boot_image *b, struct device *fw_cfg, struct error *err)
{
    static const uint16_t setup[] = { FW_CFG_SETUP_DATA, FW_CFG_SETUP_SIZE, FW_CFG_SETUP_ADDRESS };
    static const uint16_t kernel[] = { FW_CFG_KERNEL_DATA, FW_CFG_KERNEL_SIZE, FW_CFG_KERNEL_ADDRESS };
    static const uint16_t initrd[] = { FW_CFG_INITRD_DATA, FW_CFG_INITRD_SIZE, FW_CFG_INITRD_ADDRESS };
    static const uint16_t line[] = { FW_CFG_COMMAND_LINE_DATA, FW_CFG_COMMAND_LINE_SIZE, FW_CFG_COMMAND_LINE_ADDRESS };
    const char *text = b->config.append ? b->config.append : "";
    const struct boot_file *f = &b->file[0];
    const struct boot_piece *p = b->piece;                         /* setup code, kernel, initrd if there is one, command line */

    if (file_publish(fw_cfg, setup, BOOT_SETUP, f->data, p[0].size, err) < 0) return -1;
    if (file_publish(fw_cfg, kernel, (uint32_t)p[1].address, f->data + p[0].size, f->size - p[0].size, err) < 0) return -1;
    if (b->config.initrd && file_publish(fw_cfg, initrd, (uint32_t)p[2].address, p[2].data, p[2].size, err) < 0) return -1;
    return file_publish(fw_cfg, line, (uint32_t)p[b->config.initrd ? 3 : 2].address, text, strlen(text) + 1, err);
}

int boot_bios_publish(const struct boot_image *b, struct device *fw_cfg, struct error *err)
{
    uint8_t rom[ROM_BYTES];

    for (unsigned i = 0; i < b->piece_count; i++)
        if (fw_cfg_set(fw_cfg, (uint16_t)(FW_CFG_BOOT_PIECE + i), b->piece[i].data, b->piece[i].size, err) < 0) return -1;
    rom_fill(b, rom);
    return fw_cfg_set_file(fw_cfg, BOOT_BIOS_ROM, rom, sizeof(rom), err);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A virtio graphic card, with a VGA in the same function and without, driven through its registers and rings: what is seen against
 * a model that copies bytes one by one, in all formats, scattered pages, parts of pictures; the monitor's size and its EDID; the cursor; commands
 * that make no sense or are too short, and the bounds on memory. VIRTIO 1.2: 5.7.
 *
 *   test-virtio-gpu [ROUNDS [SEED]]
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "device/display/virtio_vga.h"
#include "device/virtio/virtio_gpu_private.h"
#include "display/display.h"
#include "driver.h"

enum { RAM_BYTES = 32 << 20, RINGS = 0x10000, QUEUE_STRIDE = 0x80000, REQUEST = 0x200000, RESPONSE = 0x300000, PAGES = 0x400000, PAGE = 4096,
       BAR = 0x20000000, QUEUES = 2, CONTROL = 0, CURSOR = 1, HOSTMEM = 8 << 20, VGA_PIXEL = 0x123456 };
enum { BAR_COMMON, BAR_CONFIG, BAR_NOTIFY };

static uint8_t *ram;
static struct memory_map *memory, *ports;
static struct pci_bus *bus;
static struct device *device;
static struct display *display;
static struct virtio *v;
static struct driver driver[QUEUES];
static bool has_vga;
static int intx_level;
static uint64_t checks, failures, state;

static void check(bool ok, const char *fmt, ...)
{
    va_list ap;

    checks++;
    if (ok || failures++ > 20) return;
    va_start(ap, fmt);
    printf("failed: ");
    vprintf(fmt, ap);
    printf("\n");
    va_end(ap);
}

static uint32_t below(uint32_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state * 0x2545f4914f6cdd1d >> 32) % n;
}

/* ---- one device ---- */

static void intx(void *opaque, int n, int level) { intx_level = level; }
static uint64_t at(unsigned region) { return BAR + (has_vga ? 0x1000u : 0u) * (region == BAR_COMMON) + (uint64_t[]){ 0, 0x2000, 0x3000 }[region]; }
static void out(uint64_t where, uint64_t value, unsigned size) { memory_io_write(memory, where, value, size); }
static uint64_t in(uint64_t where, unsigned size) { return memory_io_read(memory, where, size); }

static void queue_setup(unsigned n, unsigned size)
{
    struct driver *d = &driver[n];

    out(at(BAR_COMMON) + 22, n, 2);
    check(in(at(BAR_COMMON) + 24, 2) == size, "queue %u has its size", n);
    driver_init(d, ram, v->features & VIRTIO_F_RING_PACKED, v->features & VIRTIO_F_EVENT_IDX, size, RINGS + n * QUEUE_STRIDE);
    out(at(BAR_COMMON) + 32, d->descriptors, 4);
    out(at(BAR_COMMON) + 40, d->avail, 4);
    out(at(BAR_COMMON) + 48, d->used, 4);
    out(at(BAR_COMMON) + 28, 1, 2);
}

static void start(void)
{
    uint64_t features = virtio_features_modern(v);

    out(at(BAR_COMMON) + 20, 0, 1);
    out(at(BAR_COMMON) + 20, 3, 1);
    for (unsigned half = 0; half < 2; half++) {
        out(at(BAR_COMMON) + 8, half, 4);
        out(at(BAR_COMMON) + 12, (uint32_t)(features >> 32 * half), 4);
    }
    out(at(BAR_COMMON) + 20, 11, 1);
    check(in(at(BAR_COMMON) + 20, 1) == 11, "features are accepted");
    queue_setup(CONTROL, 64);
    queue_setup(CURSOR, 16);
    out(at(BAR_COMMON) + 20, 15, 1);
}

static void create(bool vga, bool packed, bool no_edid)
{
    struct virtio_vga_config c = { .pci = { .bus = bus, .devfn = 16 },
                                   .gpu = { .memory = memory, .options.packed = packed, .display = display, .is_vga = vga, .no_edid = no_edid, .max_hostmem = HOSTMEM },
                                   .vga = { .legacy = true, .vram_bytes = 8 << 20, .display = display, .memory = memory, .ports = ports } };
    struct error err = { "" };
    struct vga *part;

    has_vga = vga;
    if (vga) device = virtio_vga_new(&c, &part, &err);
    else if ((v = virtio_gpu_new(&c.gpu, &err))) device = virtio_pci_new(&c.pci, v, &err);
    if (!device) {
        printf("test-virtio-gpu: %s\n", err.text);
        exit(1);
    }
    v = virtio_pci_device(device);
    if (vga) pci_config_write(bus, 16 << 8 | 0x10, 0x30000000, 4);
    pci_config_write(bus, 16 << 8 | (vga ? 0x18 : 0x20), BAR, 4);
    pci_config_write(bus, 16 << 8 | 4, 6, 2);
    check(pci_config_read(bus, 16 << 8, 4) == 0x10501af4, "it is a virtio-gpu");
    check(pci_config_read(bus, 16 << 8 | 8, 4) == (vga ? 0x03000001 : 0x03800001), "of this class");
    start();
}

/* ---- commands ---- */

static union gpu_response answer;

/* Request and response in one piece or several. */
static uint32_t command_sized(unsigned n, const void *request, uint32_t size, uint32_t room)
{
    struct driver_piece p[8] = { { 0 } };
    uint32_t cut = size > 1 ? 1 + below(size - 1) : size, written = 0;
    unsigned count = 0;

    memcpy(ram + REQUEST, request, size);
    memset(ram + RESPONSE, 0xee, sizeof(answer));
    if (size) p[count++] = (struct driver_piece){ REQUEST, below(2) ? size : cut, false };
    if (size && p[0].length < size) p[count++] = (struct driver_piece){ REQUEST + p[0].length, size - p[0].length, false };
    if (room) p[count++] = (struct driver_piece){ RESPONSE, room, true };
    check(driver_add(&driver[n], p, count, v->features & VIRTIO_F_INDIRECT_DESC && below(2)) >= 0, "there is room in the ring");
    out(at(BAR_NOTIFY) + 4 * n, n, 2);
    check(driver_take(&driver[n], &written) >= 0, "the chain comes back at once");
    check(written <= room, "not more than there was room for");
    for (uint32_t i = written; i < sizeof(answer); i++)
        if (ram[RESPONSE + i] != 0xee) check(false, "byte %u was written, of %u", i, written);
    memcpy(&answer, ram + RESPONSE, sizeof(answer));
    return written < sizeof(struct gpu_header) ? 0 : le32_get(answer.h.type);
}

static uint32_t command(const void *request, uint32_t size) { return command_sized(CONTROL, request, size, sizeof(answer)); }

static struct gpu_header header(uint32_t type) { return (struct gpu_header){ .type = le32_make(type) }; }
static struct gpu_rect rect(uint32_t x, uint32_t y, uint32_t w, uint32_t h) { return (struct gpu_rect){ le32_make(x), le32_make(y), le32_make(w), le32_make(h) }; }

static uint32_t make(uint32_t id, uint32_t format, uint32_t width, uint32_t height)
{
    struct gpu_resource_create r = { header(GPU_RESOURCE_CREATE_2D), le32_make(id), le32_make(format), le32_make(width), le32_make(height) };

    return command(&r, sizeof(r));
}

static uint32_t on_id(uint32_t type, uint32_t id) { return command(&(struct gpu_resource_id){ header(type), le32_make(id), le32_make(0) }, sizeof(struct gpu_resource_id)); }

static uint32_t scanout(uint32_t screen, uint32_t id, struct gpu_rect r)
{
    return command(&(struct gpu_set_scanout){ header(GPU_SET_SCANOUT), r, le32_make(screen), le32_make(id) }, sizeof(struct gpu_set_scanout));
}

static uint32_t flush(uint32_t id, struct gpu_rect r)
{
    return command(&(struct gpu_flush){ header(GPU_RESOURCE_FLUSH), r, le32_make(id), le32_make(0) }, sizeof(struct gpu_flush));
}

static uint32_t transfer(uint32_t id, struct gpu_rect r, uint64_t offset)
{
    return command(&(struct gpu_transfer){ header(GPU_TRANSFER_TO_HOST_2D), r, le64_make(offset), le32_make(id), le32_make(0) }, sizeof(struct gpu_transfer));
}

struct attach { struct gpu_attach head; struct gpu_mem_entry entry[256]; };

static uint32_t attach(uint32_t id, const struct gpu_piece *pieces, unsigned count, unsigned said)
{
    static struct attach a;

    a.head = (struct gpu_attach){ header(GPU_RESOURCE_ATTACH_BACKING), le32_make(id), le32_make(said) };
    for (unsigned i = 0; i < count; i++) a.entry[i] = (struct gpu_mem_entry){ le64_make(pieces[i].gpa), le32_make(pieces[i].length), le32_make(0) };
    return command(&a, sizeof(a.head) + count * sizeof(a.entry[0]));
}

static uint32_t cursor(uint32_t type, uint32_t screen, uint32_t id, uint32_t hot)
{
    struct gpu_cursor c = { header(type), le32_make(screen), le32_make(5), le32_make(6), le32_make(0), le32_make(id), le32_make(hot), le32_make(hot), le32_make(0) };

    return command_sized(CURSOR, &c, sizeof(c), sizeof(struct gpu_header));
}

/* ---- pictures ---- */

enum { SIDE_MAX = 200, PIECES_MAX = 250 };
static struct model {
    uint32_t width, height, format;
    struct gpu_piece piece[PIECES_MAX];
    unsigned pieces;
    uint8_t pixel[SIDE_MAX * SIDE_MAX * 4];
} model;

static void pages_scatter(void)
{
    uint64_t left = (uint64_t)model.width * model.height * 4, next = PAGES;

    model.pieces = 0;
    if (below(4) == 0) left = left * 3 / 4;                    /* not enough of them */
    while (left && model.pieces < PIECES_MAX) {
        uint32_t length = below(3) ? PAGE : 1 + below(3 * PAGE);

        if (below(3) == 0) next += below(2 * PAGE);
        model.piece[model.pieces++] = (struct gpu_piece){ next, length };
        next += length;
        left -= MIN((uint64_t)length, left);
    }
    for (uint64_t i = PAGES; i < next; i += 4) memcpy(ram + i, &(uint32_t){ below(UINT32_MAX) }, 4);
}

static void model_transfer(const uint32_t r[4], uint64_t offset)
{
    for (uint32_t y = 0; y < r[3]; y++)
        for (uint32_t x = 0; x < r[2] * 4; x++) {
            uint64_t from = offset + (uint64_t)y * model.width * 4 + x;

            for (unsigned i = 0; i < model.pieces; i++) {
                if (from < model.piece[i].length) {
                    model.pixel[((r[1] + y) * model.width + r[0]) * 4 + x] = ram[model.piece[i].gpa + from];
                    break;
                }
                from -= model.piece[i].length;
            }
        }
}

static uint32_t model_pixel(uint32_t x, uint32_t y)
{
    static const struct { uint8_t format, r, g, b; } order[] = { { 1, 2, 1, 0 }, { 2, 2, 1, 0 }, { 3, 1, 2, 3 }, { 4, 1, 2, 3 }, { 67, 0, 1, 2 }, { 68, 3, 2, 1 },
                                                                 { 121, 3, 2, 1 }, { 134, 0, 1, 2 } };
    const uint8_t *p = model.pixel + (y * model.width + x) * 4;
    unsigned i = 0;

    while (order[i].format != model.format) i++;
    return (uint32_t)p[order[i].r] << 16 | (uint32_t)p[order[i].g] << 8 | p[order[i].b];
}

static void seen_check(const uint32_t part[4])
{
    const struct surface *s = display_surface(display);
    unsigned differ = 0;

    display_refresh(display);
    check(s->width == part[2] && s->height == part[3], "the screen is %ux%u, not %ux%u", s->width, s->height, part[2], part[3]);
    if (s->width != part[2] || s->height != part[3]) return;
    for (uint32_t y = 0; y < part[3]; y++)
        for (uint32_t x = 0; x < part[2]; x++) differ += s->pixel[y * part[2] + x] != model_pixel(part[0] + x, part[1] + y);
    check(!differ, "%u pixels differ in format %u", differ, model.format);
}

static void part_random(uint32_t r[4], uint32_t least)
{
    r[2] = least + below(model.width - least + 1);
    r[3] = least + below(model.height - least + 1);
    r[0] = below(model.width - r[2] + 1);
    r[1] = below(model.height - r[3] + 1);
    if (below(3) == 0) r[0] = 0, r[2] = model.width;
}

static struct gpu_rect rect_of(const uint32_t r[4]) { return rect(r[0], r[1], r[2], r[3]); }

static void picture_round(void)
{
    static const uint8_t numbers[] = { 1, 2, 3, 4, 67, 68, 121, 134 };
    uint32_t id = 1 + below(1000000), part[4], r[4];

    memset(&model, 0, sizeof(model));
    model.width = 16 + below(SIDE_MAX - 15);
    model.height = 16 + below(SIDE_MAX - 15);
    model.format = numbers[below(8)];
    pages_scatter();
    check(make(id, model.format, model.width, model.height) == GPU_OK_NODATA, "a resource of format %u", model.format);
    check(attach(id, model.piece, model.pieces, model.pieces) == GPU_OK_NODATA, "%u pieces", model.pieces);
    part_random(part, 16);
    check(scanout(0, id, rect_of(part)) == GPU_OK_NODATA, "it is shown");
    seen_check(part);
    for (unsigned i = 0; i < 4; i++) {
        uint64_t offset;

        part_random(r, 1);
        offset = below(3) ? ((uint64_t)r[1] * model.width + r[0]) * 4 : below(model.width * model.height * 4);
        check(transfer(id, rect_of(r), offset) == GPU_OK_NODATA, "a transfer");
        model_transfer(r, offset);
        check(flush(id, rect_of(r)) == GPU_OK_NODATA, "a flush");
        seen_check(part);
    }
    if (below(2)) check(on_id(GPU_RESOURCE_DETACH_BACKING, id) == GPU_OK_NODATA, "detached");
    check(on_id(GPU_RESOURCE_UNREF, id) == GPU_OK_NODATA, "freed");
    check(transfer(id, rect(0, 0, 1, 1), 0) == GPU_ERR_INVALID_RESOURCE_ID, "gone");
}

/* ---- what makes no sense ---- */

static void nonsense(void)
{
    const struct gpu_piece fine = { PAGES, 64 * 64 * 4 }, outside = { RAM_BYTES - 4, 8 }, wraps = { UINT64_MAX - 4, 16 }, registers = { BAR, 64 };
    static const struct { uint32_t id, format, width, height, result; } makes[] = {
        { 0, 1, 64, 64, GPU_ERR_INVALID_RESOURCE_ID }, { 7, 1, 64, 64, GPU_ERR_INVALID_RESOURCE_ID }, { 8, 0, 64, 64, GPU_ERR_INVALID_PARAMETER },
        { 8, 5, 64, 64, GPU_ERR_INVALID_PARAMETER }, { 8, 1, 0, 64, GPU_ERR_INVALID_PARAMETER }, { 8, 1, 64, 0, GPU_ERR_INVALID_PARAMETER },
        { 8, 1, 0x40000000, 4, GPU_ERR_INVALID_PARAMETER }, { 8, 1, UINT32_MAX, UINT32_MAX, GPU_ERR_INVALID_PARAMETER },
        { 8, 1, 16384, 16384, GPU_ERR_OUT_OF_MEMORY }, { 8, 1, 4096, 1024, GPU_ERR_OUT_OF_MEMORY },
    };
    static const uint32_t rects[][4] = { { 0, 0, 0, 64 }, { 0, 0, 64, 0 }, { 0, 0, 65, 64 }, { 0, 0, 64, 65 }, { 1, 0, 64, 64 }, { 0, 64, 16, 16 }, { 64, 0, 16, 16 },
                                         { UINT32_MAX, 0, 16, 16 }, { 0, UINT32_MAX - 15, 16, 16 }, { 16, 16, UINT32_MAX - 15, UINT32_MAX - 15 } };

    check(make(7, 1, 64, 64) == GPU_OK_NODATA, "a good one");
    check(transfer(7, rect(0, 0, 64, 64), 0) == GPU_ERR_UNSPEC, "no pages yet");
    check(on_id(GPU_RESOURCE_DETACH_BACKING, 7) == GPU_ERR_UNSPEC, "no pages to detach");
    for (unsigned i = 0; i < ARRAY_SIZE(makes); i++)
        check(make(makes[i].id, makes[i].format, makes[i].width, makes[i].height) == makes[i].result, "resource %u", i);
    check(attach(9, &fine, 1, 1) == GPU_ERR_INVALID_RESOURCE_ID, "pages of none");
    check(attach(7, &fine, 1, 2) == GPU_ERR_UNSPEC, "a list that is too short");
    check(attach(7, &fine, 1, UINT32_MAX) == GPU_ERR_UNSPEC, "a list too long");
    check(attach(7, &outside, 1, 1) == GPU_ERR_UNSPEC && attach(7, &wraps, 1, 1) == GPU_ERR_UNSPEC && attach(7, &registers, 1, 1) == GPU_ERR_UNSPEC, "pages outside of RAM");
    check(attach(7, &fine, 1, 1) == GPU_OK_NODATA && attach(7, &fine, 1, 1) == GPU_ERR_UNSPEC, "pages once");
    check(transfer(7, rect(0, 0, 64, 64), UINT64_MAX) == GPU_ERR_INVALID_PARAMETER, "offset");
    check(transfer(7, rect(0, 0, 64, 64), 1ull << 40) == GPU_OK_NODATA, "nothing there to copy");
    for (unsigned i = 0; i < ARRAY_SIZE(rects); i++) {
        check(transfer(7, rect_of(rects[i]), 0) == GPU_ERR_INVALID_PARAMETER, "transfer %u", i);
        check(flush(7, rect_of(rects[i])) == GPU_ERR_INVALID_PARAMETER, "flush %u", i);
        check(scanout(0, 7, rect_of(rects[i])) == GPU_ERR_INVALID_PARAMETER, "scanout %u", i);
    }
    check(scanout(0, 7, rect(0, 0, 15, 64)) == GPU_ERR_INVALID_PARAMETER, "too small a screen");
    check(scanout(1, 7, rect(0, 0, 64, 64)) == GPU_ERR_INVALID_SCANOUT_ID && scanout(16, 0, rect(0, 0, 0, 0)) == GPU_ERR_INVALID_SCANOUT_ID, "one screen");
    check(scanout(0, 9, rect(0, 0, 64, 64)) == GPU_ERR_INVALID_RESOURCE_ID && flush(9, rect(0, 0, 1, 1)) == GPU_ERR_INVALID_RESOURCE_ID, "not there");
    check(on_id(GPU_RESOURCE_UNREF, 9) == GPU_ERR_INVALID_RESOURCE_ID && on_id(GPU_RESOURCE_DETACH_BACKING, 9) == GPU_ERR_INVALID_RESOURCE_ID, "not there");
    check(cursor(GPU_UPDATE_CURSOR, 0, 9, 0) == GPU_ERR_INVALID_RESOURCE_ID && cursor(GPU_UPDATE_CURSOR, 1, 7, 0) == GPU_ERR_INVALID_SCANOUT_ID, "no cursor");
    check(on_id(GPU_RESOURCE_UNREF, 7) == GPU_OK_NODATA, "freed");
}

/* Every command, shorter than it is; types around those that are; answers that find no room. */
static void cut_short(void)
{
    static const struct { uint16_t type, bytes; } all[] = {
        { GPU_GET_DISPLAY_INFO, 24 }, { GPU_RESOURCE_CREATE_2D, 40 }, { GPU_RESOURCE_UNREF, 32 }, { GPU_SET_SCANOUT, 48 }, { GPU_RESOURCE_FLUSH, 48 },
        { GPU_TRANSFER_TO_HOST_2D, 56 }, { GPU_RESOURCE_ATTACH_BACKING, 32 }, { GPU_RESOURCE_DETACH_BACKING, 32 }, { GPU_GET_EDID, 32 },
    };
    uint8_t zeros[64] = { 0 };

    for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
        struct gpu_header h = { .type = le32_make(all[i].type), .flags = le32_make(GPU_FLAG_FENCE), .fence_id = le64_make(77 + i), .ctx_id = le32_make(3) };

        memcpy(zeros, &h, sizeof(h));
        for (uint32_t bytes = 1; bytes < all[i].bytes; bytes++) check(command(zeros, bytes) == GPU_ERR_UNSPEC, "command %#x of %u bytes", all[i].type, bytes);
        check(command_sized(CURSOR, zeros, sizeof(zeros), 24) == GPU_ERR_UNSPEC, "command %#x in the cursor queue", all[i].type);
        command(zeros, all[i].bytes);
        check(le32_get(answer.h.flags) == GPU_FLAG_FENCE && le64_get(answer.h.fence_id) == 77 + i && le32_get(answer.h.ctx_id) == 3, "the fence comes back");
        command_sized(CONTROL, zeros, all[i].bytes, below(24));
        command_sized(CONTROL, zeros, all[i].bytes, 0);
    }
    for (uint32_t type = 0; type < 0x400; type++) {
        bool known = type >= 0x100 && (type <= 0x107 || type == 0x10a);
        struct gpu_header h = header(type);

        memcpy(zeros, &h, sizeof(h));
        if (!known) check(command(zeros, sizeof(zeros)) == GPU_ERR_UNSPEC, "type %#x", type);
    }
    check(!(in(at(BAR_COMMON) + 20, 1) & 0x40), "it never asked for a reset");
}

static void bounds(void)
{
    const struct gpu_piece tiny[2] = { { PAGES, 1 }, { PAGES + 8, 1 } };
    unsigned made = 0;

    for (uint32_t id = 1; make(id, 1, 512, 512) == GPU_OK_NODATA; id++) made++;
    check(made == HOSTMEM / (512 * 512 * 4) - 1, "%u pictures of 1 MiB and their names", made);
    check(attach(1, tiny, 2, 2) == GPU_OK_NODATA, "pages count a little");
    for (uint32_t id = 1; id <= made; id++) check(on_id(GPU_RESOURCE_UNREF, id) == GPU_OK_NODATA, "freed");
    for (made = 0; make(1000 + made * GPU_BUCKETS, 1, 1, 1) == GPU_OK_NODATA; made++) {}
    check(made == GPU_RESOURCES_MAX, "%u small ones", made);
    start();
    check(make(1000, 1, 1, 1) == GPU_OK_NODATA && on_id(GPU_RESOURCE_UNREF, 1000) == GPU_OK_NODATA, "a reset frees all");
}

/* ---- the monitor and the cursor ---- */

static void monitor(uint32_t width, uint32_t height, bool no_edid)
{
    struct gpu_get_edid e = { header(GPU_GET_EDID), le32_make(0), le32_make(0) };
    uint8_t sum = 0;

    check(command(&e.h, sizeof(e.h)) == GPU_ERR_UNSPEC, "too short");
    e.h = header(GPU_GET_DISPLAY_INFO);
    check(command(&e.h, sizeof(e.h)) == GPU_OK_DISPLAY_INFO, "display info");
    check(le32_get(answer.display.mode[0].r.width) == width && le32_get(answer.display.mode[0].r.height) == height && le32_get(answer.display.mode[0].enabled) == 1,
          "the screen wants %ux%u", width, height);
    for (unsigned i = 1; i < GPU_SCANOUTS_MAX; i++) check(!le32_get(answer.display.mode[i].enabled), "screen %u is not there", i);
    e.h = header(GPU_GET_EDID);
    check(command(&e, sizeof(e)) == (no_edid ? GPU_ERR_UNSPEC : GPU_OK_EDID), "EDID");
    if (no_edid) return;
    for (unsigned i = 0; i < 128; i++) sum += answer.edid.edid[i];
    check(le32_get(answer.edid.size) == 128 && !sum, "its checksum");
    check((answer.edid.edid[56] | (answer.edid.edid[58] & 0xf0u) << 4) == width && (answer.edid.edid[59] | (answer.edid.edid[61] & 0xf0u) << 4) == height, "its mode");
    e.scanout = le32_make(1);
    check(command(&e, sizeof(e)) == GPU_ERR_INVALID_SCANOUT_ID, "EDID of another");
}

static void resizes(bool no_edid)
{
    uint64_t config = at(BAR_CONFIG), isr = BAR + (has_vga ? 0x1800 : 0x1000);

    in(isr, 1);
    check(in(config, 4) == 0 && in(config + 8, 4) == 1 && in(config + 12, 4) == 0, "no event, one screen, no capability sets");
    virtio_gpu_size_wish(v, 1920, 1081);
    check(intx_level && (in(isr, 1) & 2) && in(config, 4) == 1, "the driver is told");
    monitor(1920, 1081, no_edid);
    out(config, 0, 4);
    out(config + 8, 5, 4);
    check(in(config, 4) == 1 && in(config + 8, 4) == 1, "these cannot be written");
    out(config + 4, 2, 4);
    check(in(config, 4) == 1, "another event");
    out(config + 4, 1, 1);
    check(in(config, 4) == 0 && in(config + 4, 4) == 0, "cleared");
    virtio_gpu_size_wish(v, 1920, 1081);
    check(in(config, 4) == 0, "nothing new");
    virtio_gpu_size_wish(v, 0, UINT32_MAX);
    monitor(VIRTIO_GPU_SIDE_MIN, VIRTIO_GPU_SIDE_MAX, no_edid);
    virtio_gpu_size_wish(v, 1280, 800);
}

/* Linux makes cursors of pictures without alpha (format 2), and means it all the same. */
static void cursors(uint32_t format)
{
    const struct gpu_piece pages = { PAGES, 64 * 64 * 4 };
    const struct cursor_image *i;

    check(make(3, format, 64, 64) == GPU_OK_NODATA && attach(3, &pages, 1, 1) == GPU_OK_NODATA, "a cursor's picture");
    check(scanout(0, 3, rect(0, 0, 64, 64)) == GPU_OK_NODATA, "a screen");
    memset(ram + PAGES, 0, pages.length);
    memcpy(ram + PAGES + 4 * 65, &(uint32_t){ 0xff102030 }, 4);
    memcpy(ram + PAGES + 4 * 66, &(uint32_t){ 0x80402010 }, 4);        /* half of 80 40 20, nearly */
    check(transfer(3, rect(0, 0, 64, 64), 0) == GPU_OK_NODATA, "copied");
    check(cursor(GPU_UPDATE_CURSOR, 0, 3, 500) == GPU_OK_NODATA, "set");
    display_refresh(display);
    i = display_cursor(display);
    check(i && i->width == 64 && i->height == 64 && i->hot_x == 63 && i->hot_y == 63, "its size, and its hot spot within");
    check(i && i->pixel[65] == 0xff102030 && i->pixel[66] == 0x807f3f1f && i->pixel[0] == 0, "its pixels");
    check(cursor(GPU_MOVE_CURSOR, 0, 0, 0) == GPU_OK_NODATA, "moved away");
    display_refresh(display);
    i = display_cursor(display);
    check(i && i->width == 1 && i->pixel[0] == 0, "hidden");
    check(cursor(GPU_MOVE_CURSOR, 0, 3, 0) == GPU_OK_NODATA, "moved");
    display_refresh(display);
    i = display_cursor(display);
    check(i && i->width == 64, "back again");
    check(on_id(GPU_RESOURCE_UNREF, 3) == GPU_OK_NODATA, "freed");
    display_refresh(display);
    check(display_surface(display)->pixel[0] == 0 && display_cursor(display), "a black screen, with a cursor");
    start();
    display_refresh(display);
    check(!display_cursor(display), "no cursor without a driver");
}

/* The VGA's picture is seen until the driver has one, and after a reset. */
static void takeover(void)
{
    static const uint16_t mode[][2] = { { 4, 0 }, { 1, 64 }, { 2, 64 }, { 3, 32 }, { 4, 0x41 } };
    const struct surface *s = display_surface(display);

    for (unsigned i = 0; i < ARRAY_SIZE(mode); i++) out(BAR + 0x500 + 2 * mode[i][0], mode[i][1], 2);
    memory_io_write(memory, 0x30000000, VGA_PIXEL, 4);
    out(BAR + 0x400, 0x20, 1);                                 /* the attribute controller shows the picture */
    display_refresh(display);
    check(s->width == 64 && s->pixel[0] == VGA_PIXEL, "the VGA's picture");
    check(make(3, 2, 32, 32) == GPU_OK_NODATA, "a picture of the driver's");
    check(scanout(0, 3, rect(0, 0, 32, 32)) == GPU_OK_NODATA, "is shown");
    display_refresh(display);
    check(s->width == 32 && s->pixel[0] == 0, "instead");
    memory_io_write(memory, 0x30000000, VGA_PIXEL + 1, 4);
    display_refresh(display);
    check(s->width == 32 && s->pixel[0] == 0, "whatever the VGA has");
    start();
    display_refresh(display);
    check(s->width == 64 && s->pixel[0] == VGA_PIXEL + 1, "the VGA's again");
    device_reset(device);
    display_refresh(display);
    pci_config_write(bus, 16 << 8 | 4, 6, 2);
    start();
}

static void all(bool vga, bool packed, bool no_edid, uint64_t rounds)
{
    create(vga, packed, no_edid);
    monitor(1280, 800, no_edid);
    if (vga) takeover();
    for (uint64_t i = 0; i < rounds; i++) picture_round();
    nonsense();
    cut_short();
    bounds();
    resizes(no_edid);
    cursors(1);
    cursors(2);
    device_destroy(device);
    device = NULL;
    display_refresh(display);
}

int main(int argc, char **argv)
{
    uint64_t rounds = argc > 1 ? strtoull(argv[1], NULL, 0) : 60, seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 0x6b0;
    struct pci_bus_config c = { 0 };

    state = seed;
    loop_init();
    clock_virtual_start();
    ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    c.memory = memory = memory_map_new("memory", 1ull << 52);
    c.ports = ports = memory_map_new("ports", 65536);
    memory_map_add_ram(memory, "ram", 0, RAM_BYTES, ram, false, 0);
    for (int n = 0; n < 4; n++) c.intx[n] = (struct irq_line){ intx, NULL, n };
    bus = pci_bus_new(&c);
    machine_lock();
    display = display_new();
    all(false, false, false, rounds);
    all(true, true, false, rounds);
    all(true, false, true, rounds);
    display_free(display);
    pci_bus_free(bus);
    machine_unlock();
    memory_map_free(memory);
    memory_map_free(ports);
    printf("virtio-gpu: %llu checks, seed %#llx, %llu failed\n", (unsigned long long)checks, (unsigned long long)seed, (unsigned long long)failures);
    return failures ? 1 : 0;
}

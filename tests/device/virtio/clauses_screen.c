/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Graphic card and input devices. VIRTIO 1.2: 5.7, 5.8. */
#include "clauses.h"

#include <linux/input-event-codes.h>
#include <string.h>

#include "device/virtio/virtio_gpu_private.h"
#include "display/display.h"
#include "display/input.h"

static void start(enum kind kind)
{
    guest_plug(kind, 0);
    guest_start(ALL);
}

/* ---- graphic card ---- */

enum { CONTROL, CURSOR, PIXELS = DATA + 0x10000, SIDE = 64, EVENTS_READ = 0, EVENTS_CLEAR = 4, SCANOUTS = 8 };

static union gpu_response answer;

static uint32_t command_flagged(unsigned q, uint32_t type, const void *rest, uint32_t bytes, uint32_t flags, uint64_t fence)
{
    struct gpu_header h = { .type = le32_make(type), .flags = le32_make(flags), .fence_id = le64_make(fence) };
    struct driver_piece p[2] = { { DATA, sizeof(h) + bytes, false }, { DATA + 0x1000, sizeof(answer), true } };

    memcpy(guest.ram + DATA, &h, sizeof(h));
    if (bytes) memcpy(guest.ram + DATA + sizeof(h), rest, bytes);
    memset(&answer, 0, sizeof(answer));
    if (guest_ask(q, p, 2) < (int64_t)sizeof(h)) return 0;
    memcpy(&answer, guest.ram + DATA + 0x1000, sizeof(answer));
    return le32_get(answer.h.type);
}

static uint32_t command(uint32_t type, const uint32_t *words, uint32_t count) { return command_flagged(CONTROL, type, words, 4 * count, 0, 0); }

/* A picture of one colour, with pages, that is shown. */
static void show(uint32_t id, uint32_t colour)
{
    for (unsigned i = 0; i < SIDE * SIDE; i++) memcpy(guest.ram + PIXELS + 4 * i, &colour, 4);
    check(command(GPU_RESOURCE_CREATE_2D, (const uint32_t[]){ id, 2, SIDE, SIDE }, 4) == GPU_OK_NODATA);
    check(command(GPU_RESOURCE_ATTACH_BACKING, (const uint32_t[]){ id, 1, PIXELS, 0, SIDE * SIDE * 4, 0 }, 6) == GPU_OK_NODATA);
    check(command(GPU_TRANSFER_TO_HOST_2D, (const uint32_t[]){ 0, 0, SIDE, SIDE, 0, 0, id, 0 }, 8) == GPU_OK_NODATA);
    check(command(GPU_SET_SCANOUT, (const uint32_t[]){ 0, 0, SIDE, SIDE, 0, id }, 6) == GPU_OK_NODATA);
    check(command(GPU_RESOURCE_FLUSH, (const uint32_t[]){ 0, 0, SIDE, SIDE, id, 0 }, 6) == GPU_OK_NODATA);
}

static bool seen(uint32_t colour)
{
    const struct surface *s = display_surface(guest.display);

    display_refresh(guest.display);
    return s->width == SIDE && s->height == SIDE && s->pixel[0] == colour && s->pixel[SIDE * SIDE - 1] == colour;
}

static void screens(void)
{
    start(GPU);
    check(config(SCANOUTS, 4) >= 1 && config(SCANOUTS, 4) <= 16);
    reg_set(CONFIG_AT + SCANOUTS, 5, 4);
    check(config(SCANOUTS, 4) == 1);
    guest_unplug();
}

static void events(void)
{
    start(GPU);
    check(config(EVENTS_READ, 4) == 0);
    virtio_gpu_size_wish(guest.v, 800, 600);
    check(config(EVENTS_READ, 4) == 1 && reg(ISR_AT, 1) & 2);
    reg_set(CONFIG_AT + EVENTS_READ, 0, 4);              /* not the driver's to write */
    check(config(EVENTS_READ, 4) == 1);
    check(command(GPU_GET_DISPLAY_INFO, NULL, 0) == GPU_OK_DISPLAY_INFO && le32_get(answer.display.mode[0].r.width) == 800 && le32_get(answer.display.mode[0].r.height) == 600);
    reg_set(CONFIG_AT + EVENTS_CLEAR, 1, 4);
    check(config(EVENTS_READ, 4) == 0 && config(EVENTS_CLEAR, 4) == 0);
    guest_unplug();
}

static void display_info(void)
{
    start(GPU);
    check(command(GPU_GET_DISPLAY_INFO, NULL, 0) == GPU_OK_DISPLAY_INFO && le32_get(answer.display.mode[0].enabled) && le32_get(answer.display.mode[0].r.width) == 1280);
    for (unsigned i = 1; i < GPU_SCANOUTS_MAX; i++) check(!le32_get(answer.display.mode[i].enabled));
    guest_unplug();
}

static void fence(void)
{
    start(GPU);
    show(1, 0x112233);
    for (unsigned i = 0; i < SIDE * SIDE; i++) put(PIXELS + 4 * i, 0x445566, 4);
    check(command_flagged(CONTROL, GPU_TRANSFER_TO_HOST_2D, (const uint32_t[]){ 0, 0, SIDE, SIDE, 0, 0, 1, 0 }, 32, GPU_FLAG_FENCE, 0x123456789abc) == GPU_OK_NODATA);
    check(le32_get(answer.h.flags) & GPU_FLAG_FENCE && le64_get(answer.h.fence_id) == 0x123456789abc);
    for (unsigned i = 0; i < SIDE * SIDE; i++) put(PIXELS + 4 * i, 0, 4);          /* it is done: what comes now is not seen */
    check(command(GPU_RESOURCE_FLUSH, (const uint32_t[]){ 0, 0, SIDE, SIDE, 1, 0 }, 6) == GPU_OK_NODATA && seen(0x445566));
    check(!(le32_get(answer.h.flags) & GPU_FLAG_FENCE));
    check(command_flagged(CONTROL, 0x7777, NULL, 0, GPU_FLAG_FENCE, 7) >= GPU_ERR_UNSPEC && le64_get(answer.h.fence_id) == 7);
    guest_unplug();
}

static void unknown_command(void)
{
    start(GPU);
    check(command(0, NULL, 0) >= GPU_ERR_UNSPEC && command(0x0107, NULL, 0) >= GPU_ERR_UNSPEC && command(GPU_OK_NODATA, NULL, 0) >= GPU_ERR_UNSPEC);
    check(command(GPU_RESOURCE_CREATE_2D, (const uint32_t[]){ 1 }, 1) >= GPU_ERR_UNSPEC && !guest_needs_reset());
    guest_unplug();
}

static void shown(void)
{
    start(GPU);
    show(1, 0x00ff00);
    check(seen(0x00ff00));
    check(command(GPU_SET_SCANOUT, (const uint32_t[]){ 0, 0, 0, 0, 0, 0 }, 6) == GPU_OK_NODATA && !seen(0x00ff00));       /* resource 0: nothing is shown */
    guest_unplug();
}

static void outside(void)
{
    start(GPU);
    show(1, 0x00ff00);
    check(command(GPU_SET_SCANOUT, (const uint32_t[]){ 1, 0, SIDE, SIDE, 0, 1 }, 6) >= GPU_ERR_UNSPEC && seen(0x00ff00));
    check(command(GPU_SET_SCANOUT, (const uint32_t[]){ 0, 0, SIDE, SIDE, 1, 1 }, 6) == GPU_ERR_INVALID_SCANOUT_ID);
    check(command(GPU_RESOURCE_FLUSH, (const uint32_t[]){ 0, 0, SIDE, SIDE, 2, 0 }, 6) == GPU_ERR_INVALID_RESOURCE_ID && !guest_needs_reset());
    guest_unplug();
}

static void detached(void)
{
    start(GPU);
    show(1, 0x00ff00);
    check(command(GPU_RESOURCE_DETACH_BACKING, (const uint32_t[]){ 1, 0 }, 2) == GPU_OK_NODATA);
    check(command(GPU_TRANSFER_TO_HOST_2D, (const uint32_t[]){ 0, 0, SIDE, SIDE, 0, 0, 1, 0 }, 8) >= GPU_ERR_UNSPEC && seen(0x00ff00));
    check(command(GPU_RESOURCE_UNREF, (const uint32_t[]){ 1, 0 }, 2) == GPU_OK_NODATA);
    check(command(GPU_RESOURCE_UNREF, (const uint32_t[]){ 1, 0 }, 2) == GPU_ERR_INVALID_RESOURCE_ID);
    guest_unplug();
}

static void edid(void)
{
    uint8_t sum = 0;

    start(GPU);
    check(command(GPU_GET_EDID, (const uint32_t[]){ 0, 0 }, 2) == GPU_OK_EDID && le32_get(answer.edid.size) >= 128 && !memcmp(answer.edid.edid, "\0\xff\xff\xff\xff\xff\xff\0", 8));
    for (unsigned i = 0; i < 128; i++) sum = (uint8_t)(sum + answer.edid.edid[i]);
    check(sum == 0);
    check(command(GPU_GET_EDID, (const uint32_t[]){ 1, 0 }, 2) >= GPU_ERR_UNSPEC);
    guest_unplug();
}

static void pointer(void)
{
    start(GPU);
    show(1, 0xff0000);
    check(command_flagged(CURSOR, GPU_UPDATE_CURSOR, (const uint32_t[]){ 0, 5, 6, 0, 1, 0, 0, 0 }, 32, 0, 0) == GPU_OK_NODATA);
    check(command_flagged(CURSOR, GPU_MOVE_CURSOR, (const uint32_t[]){ 0, 7, 8, 0, 0, 0, 0, 0 }, 32, 0, 0) == GPU_OK_NODATA && !guest_needs_reset());
    guest_unplug();
}

const struct clause clauses_gpu[] = {
    { "5.7.3-1", "3D (VIRGL), RESOURCE_UUID, RESOURCE_BLOB, CONTEXT_INIT", NULL, "not offered" },
    { "5.7.4.1-1", "num_scanouts is 1 to 16, and not the driver's", screens, NULL },
    { "5.7.4.1-2", "events_read is not the driver's to write; ones in events_clear clear it; a new size is told", events, NULL },
    { "5.7.5-1", "the driver learns from GET_DISPLAY_INFO what is there", display_info, NULL },
    { "5.7.6.5-1", "a command with FENCE is finished when it comes back", fence, NULL },
    { "5.7.6.7-1", "the answer has the flag FENCE and the request's fence_id, errors too", fence, NULL },
    { "5.7.6.7-2", "commands that are unknown or too short are answered by an error", unknown_command, NULL },
    { "5.7.6.8-1", "GET_EDID has the screen's EDID; of a screen that is not there it has none", edid, NULL },
    { "5.7.6.8-2", "what was transferred and flushed is shown; resource 0 shows nothing", shown, NULL },
    { "5.7.6.8-3", "what is shown must lie within its resource; screens and resources that are not there", outside, NULL },
    { "5.7.6.8-4", "pages that were detached are not read any more; a resource is destroyed once", detached, NULL },
    { "5.7.6.10-1", "the cursor's two commands have a queue of their own", pointer, NULL },
    { NULL, NULL, NULL, NULL },
};

/* ---- input ---- */

enum { EVENTS, STATUS_QUEUE, SELECT = 0, SUBSEL = 1, BYTES = 2, VALUES = 8, ID_NAME = 1, ID_DEVIDS = 3, EV_BITS = 0x11, ABS_INFO = 0x12 };
struct event { uint16_t type, code; uint32_t value; };

static unsigned piece_bytes(unsigned select, unsigned subsel)
{
    reg_set(CONFIG_AT + SELECT, select, 1);
    reg_set(CONFIG_AT + SUBSEL, subsel, 1);
    return (unsigned)config(BYTES, 1);
}

static void pieces(void)
{
    unsigned known = 0;

    guest_plug(INPUT, 0);
    for (unsigned select = 0; select < 256; select++)
        for (unsigned subsel = 0; subsel < 256; subsel += select == EV_BITS || select == ABS_INFO ? 1 : 85) known += piece_bytes(select, subsel) != 0;
    check(piece_bytes(ID_NAME, 0) > 0 && piece_bytes(ID_DEVIDS, 0) == 8 && piece_bytes(ABS_INFO, ABS_X) == 20 && piece_bytes(ABS_INFO, ABS_Y) == 20);
    check(piece_bytes(0, 0) == 0 && piece_bytes(ABS_INFO, 9) == 0 && piece_bytes(EV_BITS, 0x1f) == 0 && piece_bytes(0x77, 0) == 0 && known == 7);
    guest_unplug();
}

static void any_order(void)
{
    guest_plug(INPUT, 0);
    reg_set(CONFIG_AT + SUBSEL, ABS_Y, 1);
    reg_set(CONFIG_AT + SELECT, ABS_INFO, 1);
    check(config(BYTES, 1) == 20 && config(VALUES + 4, 4) == INPUT_MAX);
    reg_set(CONFIG_AT + BYTES, 0x55, 1);                 /* not the driver's to write */
    reg_set(CONFIG_AT + VALUES, 0x55555555, 4);
    check(config(BYTES, 1) == 20 && config(VALUES, 4) == 0);
    guest_unplug();
}

static bool take(struct event *e)
{
    struct driver_piece p = { DATA, sizeof(*e), true };
    bool taken = guest_ask(EVENTS, &p, 1) == sizeof(*e);

    memcpy(e, guest.ram + DATA, sizeof(*e));
    return taken;
}

static void small_buffers(void)
{
    struct driver_piece small = { DATA, 7, true }, wrong_way = { DATA, 8, false }, said = { DATA + 64, 7, false };
    struct event e;

    start(INPUT);
    input_absolute(guest.input, 100, 200, 0, 0);
    check(guest_ask(EVENTS, &small, 1) == 0 && guest_ask(EVENTS, &wrong_way, 1) == 0 && guest_ask(STATUS_QUEUE, &said, 1) == 0 && !guest_needs_reset());
    check(take(&e) && e.type == EV_ABS && e.value == 100);                         /* and nothing is lost */
    guest_unplug();
}

/* Far more than it keeps, while no buffer is there: reports arrive whole, and the last position is right. */
static void whole_reports(void)
{
    struct event e = { 0 };
    unsigned reports = 0, x = 0, y = 0, in_report = 0, buttons = 0;
    bool whole = true;

    start(INPUT);
    for (unsigned i = 1; i <= 2000; i++) input_absolute(guest.input, i, 3 * i, 0, i & 1 ? POINTER_LEFT : 0);
    while ((x != 2000 || y != 6000 || e.type != EV_SYN) && reports < 4000 && take(&e)) {
        if (e.type == EV_ABS) *(e.code == ABS_X ? &x : &y) = e.value;
        if (e.type == EV_KEY) buttons = e.value;
        in_report++;
        if (e.type != EV_SYN) continue;
        whole &= y == 3 * x && in_report > 1;
        reports++;
        in_report = 0;
    }
    check(whole && x == 2000 && y == 6000 && reports > 0 && !buttons);
    guest_unplug();
}

const struct clause clauses_input[] = {
    { "5.8.5.1-1", "select and subsel come in any order; nothing else of the configuration is the driver's", any_order, NULL },
    { "5.8.5.2-1", "size is 0 for each select and subsel that are not supported", pieces, NULL },
    { "5.8.6.1-1", "buffers smaller than an event, or of the wrong direction: they come back, and no event is lost", small_buffers, NULL },
    { "5.8.6.2-1", "if there are no buffers, reports are kept or dropped whole", whole_reports, NULL },
    { NULL, NULL, NULL, NULL },
};

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The keyboard controller: one output buffer that is filled, in this order, from its own answers, the keyboard and the
 * mouse, as far as their clocks are enabled. A byte in the buffer holds its interrupt line up until it is read, so the next
 * one makes a new edge. With translation on, scan set 2 becomes set 1 on the way.
 * A20 and reset are port 92h's business.
 * Sources: IBM PS/2 Technical Reference (keyboard and auxiliary device controller), Intel 8042 data sheet.
 */
#include "device/input/i8042.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "device/input/port92.h"
#include "device/input/ps2.h"

enum { ST_OUTPUT = 1, ST_SYSTEM = 4, ST_COMMAND = 8, ST_UNLOCKED = 0x10, ST_AUX = 0x20 };
enum { CMD_KEYBOARD_IRQ = 1, CMD_MOUSE_IRQ = 2, CMD_SYSTEM = 4, CMD_KEYBOARD_OFF = 0x10, CMD_MOUSE_OFF = 0x20, CMD_TRANSLATE = 0x40 };
enum source { FROM_NOBODY, FROM_CONTROLLER, FROM_KEYBOARD, FROM_MOUSE };
enum { INPUT_PORT = 0x80, POLL_LOW = 0xc1, POLL_HIGH = 0xc2 };  /* keyboard not locked */
enum { ANSWERS = 8, LATE_NS = 20000000, GRACE_NS = 60000000 };

struct i8042 {
    struct device device;
    struct i8042_config config;
    struct memory_range *range[2];
    struct ps2 keyboard, mouse;
    struct timer *typematic;
    int64_t repeat_due_ns;
    uint8_t status, command_byte, output, source;
    uint8_t awaiting;                /* command whose data byte comes through port 60h; 0: none */
    uint8_t polled;                  /* C1, C2: the half of the input port that the status shows above its own half; 0: none */
    uint8_t ram[32];
    uint8_t break_prefix;            /* translation saw F0 */
    uint8_t answer[ANSWERS], answer_source[ANSWERS], answers;
};

/* Scan code set 2 to set 1. */
static const uint8_t translation[128] = {
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59, 0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10,
    0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b, 0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21,
    0x14, 0x13, 0x06, 0x5d, 0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f, 0x6b, 0x33,
    0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61, 0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e,
    0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76, 0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e,
    0x7f, 0x6f, 0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
};

static void irq_update(struct i8042 *s)
{
    bool full = s->status & ST_OUTPUT, aux = s->status & ST_AUX;

    irq_set(&s->config.keyboard_irq, full && !aux && s->command_byte & CMD_KEYBOARD_IRQ && s->source != FROM_NOBODY);
    irq_set(&s->config.mouse_irq, full && aux && s->command_byte & CMD_MOUSE_IRQ);
}

static void output_put(struct i8042 *s, uint8_t byte, enum source source)
{
    s->output = byte;
    s->source = source;
    s->status |= ST_OUTPUT;
    s->status = source == FROM_MOUSE ? s->status | ST_AUX : s->status & ~ST_AUX;
}

/* The next byte of the keyboard, translated; false: it was a prefix that translation swallows. */
static bool keyboard_byte(struct i8042 *s, uint8_t *byte)
{
    *byte = ps2_take(&s->keyboard);
    if (!(s->command_byte & CMD_TRANSLATE)) return true;
    if (*byte == 0xf0) {
        s->break_prefix = 0x80;
        return false;
    }
    if (*byte < 0x80) *byte = translation[*byte] | s->break_prefix;
    else if (*byte == 0x83 || *byte == 0x84) *byte = (*byte == 0x83 ? 0x41 : 0x54) | s->break_prefix;
    if (*byte != 0xe0 && *byte != 0xe1) s->break_prefix = 0;
    return true;
}

static void fill(struct i8042 *s)
{
    uint8_t byte;

    if (!(s->status & ST_OUTPUT) && s->answers) {
        output_put(s, s->answer[0], s->answer_source[0]);
        s->answers--;
        for (unsigned n = 0; n < s->answers; n++) {
            s->answer[n] = s->answer[n + 1];
            s->answer_source[n] = s->answer_source[n + 1];
        }
    }
    while (!(s->status & ST_OUTPUT) && !(s->command_byte & CMD_KEYBOARD_OFF) && s->keyboard.count)
        if (keyboard_byte(s, &byte)) output_put(s, byte, FROM_KEYBOARD);
    if (!(s->status & ST_OUTPUT) && !(s->command_byte & CMD_MOUSE_OFF) && s->mouse.count) output_put(s, ps2_take(&s->mouse), FROM_MOUSE);
    irq_update(s);
}

static void answer(struct i8042 *s, uint8_t byte, enum source source)
{
    if (s->answers == ANSWERS) return;
    s->answer[s->answers] = byte;
    s->answer_source[s->answers++] = source;
    fill(s);
}

/* ---- port 64h ---- */

static uint8_t output_port(const struct i8042 *s)
{
    return 1 | (port92_a20(s->config.port92) ? 2 : 0) | (s->status & ST_OUTPUT ? (s->status & ST_AUX ? 0x20 : 0x10) : 0) | 0xc0;
}

/* The clocks of keyboard and mouse, which are held low while they are off. */
static uint8_t test_inputs(const struct i8042 *s)
{
    return (s->command_byte & CMD_KEYBOARD_OFF ? 0 : 1) | (s->command_byte & CMD_MOUSE_OFF ? 0 : 2);
}

static void command(struct i8042 *s, uint8_t value)
{
    s->polled = 0;
    switch (value) {
    case 0x20: answer(s, s->command_byte, FROM_CONTROLLER); break;
    case 0x21 ... 0x3f: answer(s, s->ram[value & 31], FROM_CONTROLLER); break;
    case 0x60 ... 0x7f: case 0xd1: case 0xd2: case 0xd3: case 0xd4: s->awaiting = value; break;
    case 0xa7: s->command_byte |= CMD_MOUSE_OFF; break;
    case 0xa8: s->command_byte &= ~CMD_MOUSE_OFF; break;
    case 0xa4: answer(s, 0xf1, FROM_CONTROLLER); break;                /* no password */
    case 0xa9: case 0xab: answer(s, 0, FROM_CONTROLLER); break;        /* interface tests: good */
    case 0xaa:
        s->status |= ST_SYSTEM;
        s->command_byte |= CMD_SYSTEM;
        answer(s, 0x55, FROM_CONTROLLER);
        break;
    case 0xad: s->command_byte |= CMD_KEYBOARD_OFF; break;
    case 0xae: s->command_byte &= ~CMD_KEYBOARD_OFF; break;
    case 0xc0: answer(s, INPUT_PORT, FROM_CONTROLLER); break;
    case POLL_LOW: case POLL_HIGH: s->polled = value; break;
    case 0xd0: answer(s, output_port(s), FROM_CONTROLLER); break;
    case 0xdd: port92_a20_set(s->config.port92, false); break;
    case 0xdf: port92_a20_set(s->config.port92, true); break;
    case 0xe0: answer(s, test_inputs(s), FROM_CONTROLLER); break;
    case 0xf0 ... 0xff: if (!(value & 1)) port92_reset_request(s->config.port92); break;
    default: break;
    }
    fill(s);
}

/* ---- port 60h ---- */

static void data_for_command(struct i8042 *s, uint8_t value)
{
    uint8_t to = s->awaiting;

    s->awaiting = 0;
    switch (to) {
    case 0x60:
        s->command_byte = value;
        s->status = value & CMD_SYSTEM ? s->status | ST_SYSTEM : s->status & ~ST_SYSTEM;
        break;
    case 0x61 ... 0x7f: s->ram[to & 31] = value; break;
    case 0xd1:
        port92_a20_set(s->config.port92, value & 2);
        if (!(value & 1)) port92_reset_request(s->config.port92);
        break;
    case 0xd2: answer(s, value, FROM_KEYBOARD); break;
    case 0xd3: answer(s, value, FROM_MOUSE); break;
    default: ps2_mouse_write(&s->mouse, value); break;
    }
}

static void data_write(struct i8042 *s, uint8_t value)
{
    if (s->awaiting) {
        data_for_command(s, value);
    } else {
        s->command_byte &= ~CMD_KEYBOARD_OFF;          /* writing to the keyboard enables it */
        ps2_keyboard_write(&s->keyboard, value);
    }
    fill(s);
}

static uint8_t data_read(struct i8042 *s)
{
    uint8_t value = s->output;

    if (!(s->status & ST_OUTPUT)) return value;
    s->status &= ~(ST_OUTPUT | ST_AUX);
    irq_update(s);                                     /* down, so that the next byte makes an edge */
    fill(s);
    return value;
}

static uint64_t port_read_60(void *opaque, uint64_t offset, unsigned size) { return data_read(opaque); }
static uint64_t port_read_64(void *opaque, uint64_t offset, unsigned size)
{
    const struct i8042 *s = opaque;

    if (!s->polled) return s->status | ST_UNLOCKED;
    return (s->status & 0x0f) | (s->polled == POLL_LOW ? INPUT_PORT << 4 & 0xf0 : INPUT_PORT & 0xf0);
}

static void port_write_60(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct i8042 *s = opaque;

    s->status &= ~ST_COMMAND;
    s->polled = 0;
    data_write(s, value);
}

static void port_write_64(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct i8042 *s = opaque;

    s->status |= ST_COMMAND;
    command(s, value);
}

static const struct io_ops io_60 = { port_read_60, port_write_60, 1, 1 };
static const struct io_ops io_64 = { port_read_64, port_write_64, 1, 1 };

/* ---- for the machine ---- */

static void repeat_arm(struct i8042 *s, int64_t after_ns)
{
    s->repeat_due_ns = clock_virtual_ns() + after_ns;
    timer_arm_ns(s->typematic, s->repeat_due_ns);
}

/* While a byte of the keyboard's waits to be read it repeats nothing, so that a guest which looks late finds no more than was typed. And if
 * this is late itself, word that the key is up may wait somewhere: there is some time for it to come. */
static void key_repeat(void *opaque)
{
    struct i8042 *s = opaque;
    bool waits = s->status & ST_OUTPUT && s->source == FROM_KEYBOARD, late = clock_virtual_ns() - s->repeat_due_ns > LATE_NS;

    if (late) repeat_arm(s, GRACE_NS);
    else if (waits ? s->keyboard.repeats != 0 : ps2_repeat(&s->keyboard)) repeat_arm(s, ps2_repeat_period_ns(&s->keyboard));
    fill(s);
}

void keyboard_send_key(struct device *d, unsigned qkeycode, bool down)
{
    struct i8042 *s = (struct i8042 *)d;

    if (ps2_key(&s->keyboard, qkeycode, down)) {
        if (s->keyboard.repeats) repeat_arm(s, ps2_repeat_delay_ns(&s->keyboard));
        else timer_disarm(s->typematic);
    }
    fill(s);
}

void mouse_move(struct device *d, int dx, int dy, int wheel)
{
    struct i8042 *s = (struct i8042 *)d;

    ps2_mouse_move(&s->mouse, dx, dy, wheel);
    fill(s);
}

void mouse_buttons(struct device *d, unsigned buttons)
{
    struct i8042 *s = (struct i8042 *)d;

    ps2_mouse_buttons(&s->mouse, buttons);
    fill(s);
}

unsigned keyboard_leds(const struct device *d) { return ((const struct i8042 *)d)->keyboard.leds; }

/* ---- device ---- */

static void i8042_reset(struct device *d)
{
    struct i8042 *s = (struct i8042 *)d;

    s->status = ST_COMMAND;                            /* as after a command */
    s->output = s->awaiting = s->polled = s->answers = s->break_prefix = 0;
    s->source = FROM_NOBODY;
    s->command_byte = CMD_KEYBOARD_IRQ | CMD_MOUSE_IRQ | CMD_TRANSLATE;
    ps2_keyboard_reset(&s->keyboard);
    timer_disarm(s->typematic);
    ps2_mouse_reset(&s->mouse);
    irq_update(s);
}

static void i8042_destroy(struct device *d)
{
    struct i8042 *s = (struct i8042 *)d;

    memory_range_remove(s->range[0]);
    memory_range_remove(s->range[1]);
    timer_free(s->typematic);
    free(s);
}

static const struct state_field i8042_state[] = {
    STATE_FIELD(struct i8042, status), STATE_FIELD(struct i8042, command_byte), STATE_FIELD(struct i8042, output),
    STATE_FIELD(struct i8042, source), STATE_FIELD(struct i8042, awaiting), STATE_FIELD(struct i8042, polled), STATE_ARRAY(struct i8042, ram), STATE_END,
};
static const struct device_ops i8042_ops = { "i8042", "keyboard controller, keyboard and mouse", i8042_reset, i8042_destroy, i8042_state,
                                             NULL, NULL };

struct device *i8042_new(const struct i8042_config *config, struct error *err)
{
    struct i8042 *s = calloc(1, sizeof *s);

    if (!s) {
        error_set(err, "i8042: out of memory");
        return NULL;
    }
    s->device.ops = &i8042_ops;
    s->config = *config;
    s->typematic = timer_new(TIMER_VIRTUAL, key_repeat, s);
    s->range[0] = memory_map_add_io(config->ports, "i8042-data", 0x60, 1, &io_60, s, 2);
    s->range[1] = memory_map_add_io(config->ports, "i8042-command", 0x64, 1, &io_64, s, 2);
    i8042_reset(&s->device);
    return &s->device;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keys on their way to the guest. A keyboard keeps sixteen that nobody has read yet, so viewers that type faster than a guest reads would lose
 * some: after each, the next ones wait for a moment (key-delay-ms).
 *
 * Viewers that send scan codes say which key it is and what it means to them. If that differs because Caps Lock or Num Lock is on at one side only
 * (it was pressed in another window), the guest's is pressed first (lock-key-sync). Whether the guest's is on is what its keyboard's
 * LEDs say when they change, and otherwise counted: not every guest lights them.
 */
#include <stdlib.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/loop.h"
#include "base/qkeycode.h"
#include "display/input.h"
#include "display/vnc_private.h"

enum { NS_PER_MS = 1000000, KEYSYM_KP_0 = 0xffb0, KEYSYM_KP_9 = 0xffb9, KEYSYM_KP_DECIMAL = 0xffae, KEYSYM_KP_SEPARATOR = 0xffac, KEYSYM_KP_HOME = 0xff95, KEYSYM_KP_DELETE = 0xff9f };

static void key_put(struct vnc_server *s, unsigned key, bool down)
{
    const struct display_input *input = display_input(s->display);

    if (input->key) input->key(input->opaque, key, down);
}

static void first_put(struct vnc_server *s)
{
    unsigned at = s->key_first;

    s->key_first = (s->key_first + 1) % VNC_KEYS_QUEUED;
    s->keys--;
    key_put(s, s->key_queue[at].key, s->key_queue[at].down);
}

static void delay_begin(struct vnc_server *s) { timer_arm_ns(s->key_timer, clock_host_ns() + s->config.key_delay_ms * (int64_t)NS_PER_MS); }

static void delay_over(void *opaque)
{
    struct vnc_server *s = opaque;

    if (!s->keys) return;
    first_put(s);
    delay_begin(s);
}

void vnc_key_send(struct vnc_server *s, unsigned key, bool down)
{
    unsigned at;

    if (!s->config.key_delay_ms || (!s->keys && !timer_is_armed(s->key_timer))) {
        key_put(s, key, down);
        if (s->config.key_delay_ms) delay_begin(s);
        return;
    }
    if (s->keys == VNC_KEYS_QUEUED) first_put(s);                  /* none is lost here */
    at = (s->key_first + s->keys++) % VNC_KEYS_QUEUED;
    s->key_queue[at].key = (uint8_t)key;
    s->key_queue[at].down = down;
}

int vnc_keys_begin(struct vnc_server *s)
{
    s->key_timer = timer_new(TIMER_HOST, delay_over, s);
    return s->key_timer ? 0 : -1;
}

void vnc_keys_end(struct vnc_server *s)
{
    while (s->keys) first_put(s);
    if (s->key_timer) timer_free(s->key_timer);
    s->key_timer = NULL;
}

/* ---- locks ---- */

static unsigned locks_now(struct vnc_server *s)
{
    const struct display_input *input = display_input(s->display);
    unsigned leds = input->leds ? input->leds(input->opaque) : s->leds;

    if (leds != s->leds) s->leds = s->locks = leds;
    return s->locks;
}

static void lock_press(struct vnc_server *s, unsigned key, unsigned lock)
{
    vnc_key_send(s, key, true);
    vnc_key_send(s, key, false);
    s->locks ^= lock;
}

static bool is_down(const struct vnc_client *c, unsigned key) { return c->key_down[key / 8] >> (key % 8) & 1; }

void vnc_locks_match(struct vnc_client *c, uint32_t keysym, unsigned key)
{
    struct vnc_server *s = c->server;
    bool upper = keysym >= 'A' && keysym <= 'Z', lower = keysym >= 'a' && keysym <= 'z';
    bool shift = is_down(c, QKEY_SHIFT) || is_down(c, QKEY_SHIFT_R), control = is_down(c, QKEY_CTRL) || is_down(c, QKEY_CTRL_R);
    bool digit = (keysym >= KEYSYM_KP_0 && keysym <= KEYSYM_KP_9) || keysym == KEYSYM_KP_DECIMAL || keysym == KEYSYM_KP_SEPARATOR;
    bool arrow = keysym >= KEYSYM_KP_HOME && keysym <= KEYSYM_KP_DELETE;
    unsigned locks;

    if (!s->config.lock_key_sync) return;
    locks = locks_now(s);
    if (key == QKEY_CAPS_LOCK) s->locks ^= INPUT_LED_CAPS;
    if (key == QKEY_NUM_LOCK) s->locks ^= INPUT_LED_NUM;
    if ((upper || lower) && !control && (shift != upper) != !!(locks & INPUT_LED_CAPS)) lock_press(s, QKEY_CAPS_LOCK, INPUT_LED_CAPS);
    if ((digit || arrow) && !shift && digit != !!(locks & INPUT_LED_NUM)) lock_press(s, QKEY_NUM_LOCK, INPUT_LED_NUM);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Telnet, as far as a terminal at the other end wants it: we offer to echo and to suppress go-ahead, so that it sends each key, and ask for 8
 * bits both ways. What the peer offers or asks beyond that is refused, once for each option, so that nobody can have us talk without end.
 * Subnegotiations are skipped, however long. Until the peer sends binary, its end of line is CR NUL.
 *
 * Sources: RFC 854, 855 (commands), 856 (binary), 857 (echo), 858 (suppress go-ahead).
 */
#include "chardev/telnet.h"

#include <string.h>

enum { SE = 240, BREAK = 243, SB = 250, WILL = 251, WONT = 252, DO = 253, DONT = 254, IAC = 255 };
enum { BINARY = 0, ECHO = 1, SUPPRESS_GO_AHEAD = 3 };
enum state { DATA, COMMAND, OPTION, INSIDE, INSIDE_COMMAND };

void telnet_begin(struct telnet *t, uint8_t greeting[TELNET_GREETING_BYTES])
{
    static const uint8_t words[TELNET_GREETING_BYTES] = {
        IAC, WILL, ECHO, IAC, WILL, SUPPRESS_GO_AHEAD, IAC, WILL, BINARY, IAC, DO, BINARY,
    };

    *t = (struct telnet){ .state = DATA };
    memcpy(greeting, words, sizeof(words));
}

/* What we offered or asked for ourselves needs no answer. */
static size_t option_answer(struct telnet *t, uint8_t option, uint8_t answer[TELNET_ANSWER_BYTES])
{
    bool asks = t->verb == DO, offers = t->verb == WILL;
    uint8_t *refused = &t->refused[asks][option / 8], bit = (uint8_t)(1 << option % 8);

    if (option == BINARY && (offers || t->verb == WONT)) t->is_binary = offers;
    if ((!asks && !offers) || (asks && (option == BINARY || option == ECHO || option == SUPPRESS_GO_AHEAD)) || (offers && option == BINARY)) return 0;
    if (*refused & bit) return 0;
    *refused |= bit;
    answer[0] = IAC;
    answer[1] = asks ? WONT : DONT;
    answer[2] = option;
    return TELNET_ANSWER_BYTES;
}

static bool data_take(struct telnet *t, uint8_t in, uint8_t *out)
{
    bool is_filler = t->was_cr && !in && !t->is_binary;

    t->was_cr = in == '\r';
    *out = in;
    return !is_filler;
}

static bool command_take(struct telnet *t, uint8_t in, uint8_t *out, bool *has_break)
{
    t->state = in == SB ? INSIDE : in >= WILL && in <= DONT ? OPTION : DATA;
    t->verb = in;
    *has_break = in == BREAK;
    return in == IAC && data_take(t, in, out);
}

bool telnet_take(struct telnet *t, uint8_t in, uint8_t *out, bool *has_break, uint8_t answer[TELNET_ANSWER_BYTES], size_t *answer_bytes)
{
    *has_break = false;
    *answer_bytes = 0;
    switch (t->state) {
    case COMMAND: return command_take(t, in, out, has_break);
    case OPTION:
        *answer_bytes = option_answer(t, in, answer);
        t->state = DATA;
        return false;
    case INSIDE:
        if (in == IAC) t->state = INSIDE_COMMAND;
        return false;
    case INSIDE_COMMAND:
        t->state = in == SE ? DATA : INSIDE;
        return false;
    default:
        if (in != IAC) return data_take(t, in, out);
        t->state = COMMAND;
        return false;
    }
}

size_t telnet_encode(const uint8_t *data, size_t size, uint8_t *out)
{
    size_t n = 0;

    for (size_t i = 0; i < size; i++) {
        out[n++] = data[i];
        if (data[i] == IAC) out[n++] = IAC;
    }
    return n;
}

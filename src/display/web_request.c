/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is answered. Without a session everything is 403, whether it exists or not. Files of the page are part of the program, compressed;
 * /screen becomes a VNC client, /console/N a console, /figures says how the guest is, POST /do/NAME does something to it.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "display/vnc.h"
#include "display/web_private.h"

/* The page's own code only, in no frame; xterm.js makes styles. */
#define POLICY "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

struct answer {
    int status;
    const char *type, *more_headers;       /* each line with its end */
    const void *data;
    size_t size;
};

static void answer_put(struct web_connection *c, const struct answer *a, bool keeps_alive)
{
    char head[1024];
    int n = snprintf(head, sizeof(head), "HTTP/1.1 %d %s\r\nContent-Length: %zu\r\nConnection: %s\r\nCache-Control: no-store\r\n"
                     "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nCross-Origin-Resource-Policy: same-origin\r\n"
                     "Content-Security-Policy: " POLICY "\r\n%s%s%s%s\r\n", a->status, http_status_text(a->status), a->size,
                     keeps_alive ? "keep-alive" : "close", a->type ? "Content-Type: " : "", a->type ? a->type : "", a->type ? "\r\n" : "",
                     a->more_headers ? a->more_headers : "");

    bytes_add(&c->out, head, (size_t)n);
    bytes_add(&c->out, a->data, a->size);
    if (!keeps_alive) c->closing = true;
}

void web_refuse(struct web_connection *c, int status, const char *why)
{
    char text[512];
    struct answer a = { status, "text/plain; charset=utf-8", status == 426 ? "Upgrade: websocket\r\n" : NULL, text, 0 };

    a.size = (size_t)snprintf(text, sizeof(text), "%s\n", why);
    answer_put(c, &a, false);
}

/* ---- files ---- */

static const struct web_asset *asset_find(const char *path)
{
    if (!strcmp(path, "/")) path = "/index.html";
    for (const struct web_asset *a = web_assets; a->path; a++)
        if (!strcmp(a->path, path)) return a;
    return NULL;
}

static uint8_t *asset_unpack(const struct web_asset *a)
{
    uint8_t *plain = malloc(a->plain_size + 1);
    z_stream z = { .next_in = (uint8_t *)(uintptr_t)a->data, .avail_in = (unsigned)a->size, .next_out = plain, .avail_out = (unsigned)a->plain_size };

    if (!plain || inflateInit2(&z, 16 + MAX_WBITS) != Z_OK) {
        free(plain);
        return NULL;
    }
    inflate(&z, Z_FINISH);
    inflateEnd(&z);
    return plain;
}

static void asset_send(struct web_connection *c, const struct http_request *r, const struct web_asset *asset, const struct web_secret *session)
{
    bool packed = http_header_has(r, "Accept-Encoding", "gzip");
    uint8_t *plain = packed ? NULL : asset_unpack(asset);
    char headers[256], name[32];
    int n = snprintf(headers, sizeof(headers), "%s", packed ? "Content-Encoding: gzip\r\n" : "");
    struct answer a = { 200, asset->type, headers, packed ? asset->data : plain, packed ? asset->size : asset->plain_size };

    if (!packed && !plain) {
        web_refuse(c, 503, "no memory");
        return;
    }
    web_cookie_name(c->server, name, sizeof(name));
    if (session) snprintf(headers + n, sizeof(headers) - (size_t)n, "Set-Cookie: %s=%s; Path=/; HttpOnly; SameSite=Strict\r\n", name, session->text);
    answer_put(c, &a, r->keeps_alive);
    free(plain);
}

/* ---- figures ---- */

static json_t *consoles_json(const struct web_server *s)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < s->host.consoles; i++) json_array_append_new(list, json_string(s->host.console_name(s->host.opaque, i)));
    return list;
}

static json_t *sizes_json(const struct web_server *s)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < s->host.consoles; i++) {
        unsigned columns, rows;

        s->host.console_size(s->host.opaque, i, &columns, &rows);
        json_array_append_new(list, json_pack("[i, i]", (int)columns, (int)rows));
    }
    return list;
}

static void figures_send(struct web_connection *c, const struct http_request *r)
{
    const struct web_server *s = c->server;
    struct web_figures f = { 0 };
    struct answer a = { 200, "application/json", NULL, NULL, 0 };
    json_t *j;
    char *text;

    s->host.figures(s->host.opaque, &f);
    j = json_pack("{s:s, s:s, s:b, s:s, s:i, s:b, s:o, s:o}", "name", s->name, "state", f.state, "runs", f.runs, "engine", f.engine, "cpus", (int)f.cpus,
                  "screen", s->vnc != NULL, "consoles", consoles_json(s), "console_sizes", sizes_json(s));
    if (j)
        json_object_update_new(j, json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "now_ns", (json_int_t)clock_host_ns(), "exits", (json_int_t)f.exits, "cpu_ns",
                                            (json_int_t)f.cpu_ns, "guest_cpu_ns", (json_int_t)f.guest_cpu_ns, "ram_bytes", (json_int_t)f.ram_bytes,
                                            "resident_bytes", (json_int_t)f.resident_bytes));
    if (j && f.has_disk)
        json_object_update_new(j, json_pack("{s:I, s:I}", "disk_read_bytes", (json_int_t)f.disk_read_bytes, "disk_written_bytes",
                                            (json_int_t)f.disk_written_bytes));
    if (j && f.has_net)
        json_object_update_new(j, json_pack("{s:I, s:I}", "net_received_bytes", (json_int_t)f.net_received_bytes, "net_sent_bytes",
                                            (json_int_t)f.net_sent_bytes));
    text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    if (!text) {
        web_refuse(c, 503, "no memory");
        return;
    }
    a.data = text;
    a.size = strlen(text);
    answer_put(c, &a, r->keeps_alive);
    free(text);
}

static void command_do(struct web_connection *c, const struct http_request *r, const char *name)
{
    const struct web_host *h = &c->server->host;
    struct answer done = { 204, NULL, NULL, NULL, 0 };
    struct error err;

    if (strcmp(r->method, "POST")) web_refuse(c, 405, "POST is wanted here");
    else if (h->command(h->opaque, name, &err) < 0) web_refuse(c, 409, err.text);
    else answer_put(c, &done, r->keeps_alive);
}

/* ---- websockets ---- */

static void screen_open(struct web_connection *c, const struct http_request *r, size_t head_bytes)
{
    struct bytes reply = { 0 }, rest = { 0 };
    int status = websocket_accept(r, &reply);

    bytes_add(&rest, c->in.data + c->in.at + head_bytes, bytes_size(&c->in) - head_bytes);
    if (status != 101) web_refuse(c, status, "a websocket is wanted here");
    else if (reply.broken || rest.broken) c->gone = true;
    else vnc_server_adopt(c->server->vnc, web_connection_release(c), reply.data, bytes_size(&reply), rest.data, bytes_size(&rest));
    bytes_free(&reply);
    bytes_free(&rest);
}

static void console_open(struct web_connection *c, const struct http_request *r, unsigned console, size_t head_bytes)
{
    struct bytes rest = { 0 };
    int status = websocket_accept(r, &c->out);

    if (status != 101) {
        web_refuse(c, status, "a websocket is wanted here");
        return;
    }
    /* What came after the head becomes payload; the head itself goes, too. */
    bytes_add(&rest, c->in.data + c->in.at + head_bytes, bytes_size(&c->in) - head_bytes);
    bytes_clear(&c->in);
    web_console_open(c, console);
    web_console_receive(c, rest.data, bytes_size(&rest));
    bytes_free(&rest);
}

/* ---- who asks for what ---- */

static bool is_socket_path(const char *path) { return !strcmp(path, "/screen") || !strncmp(path, "/console/", 9); }

static void console_find(struct web_connection *c, const struct http_request *r, size_t head_bytes)
{
    unsigned n = (unsigned)(r->path[9] - '0');

    if (n < c->server->host.consoles && n < WEB_CONSOLES_MAX && !r->path[10]) console_open(c, r, n, head_bytes);
    else web_refuse(c, 404, "there is no such console");
}

void web_request_answer(struct web_connection *c, const struct http_request *r, size_t head_bytes)
{
    const struct web_secret *new_session;
    const struct web_asset *asset = asset_find(r->path);
    bool changes = strcmp(r->method, "GET") != 0 || is_socket_path(r->path);

    if (!web_host_is_ours(c->server, r)) web_refuse(c, 421, "this server is asked for by its address, or as localhost");
    else if (!web_session_check(c, r, &new_session)) web_refuse(c, 403, "open the URL that ospite printed when it started ('info web' in the monitor shows it)");
    else if (changes && !web_origin_is_ours(r)) web_refuse(c, 403, "this comes from another page");
    else {
        c->authenticated = true;
        if (!strncmp(r->path, "/do/", 4)) command_do(c, r, r->path + 4);
        else if (strcmp(r->method, "GET")) web_refuse(c, 405, "GET is wanted here");
        else if (!strcmp(r->path, "/screen") && c->server->vnc) screen_open(c, r, head_bytes);
        else if (!strncmp(r->path, "/console/", 9)) console_find(c, r, head_bytes);
        else if (!strcmp(r->path, "/figures")) figures_send(c, r);
        else if (asset) asset_send(c, r, asset, new_session);
        else web_refuse(c, 404, "there is no such file");
    }
}

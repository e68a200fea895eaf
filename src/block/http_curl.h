/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libcurl, loaded when the first image behind http is opened: it brings some twenty libraries, whose loading would cost every other
 * command and machine a third of its start.
 */
#ifndef BLOCK_HTTP_CURL_H
#define BLOCK_HTTP_CURL_H

#include <curl/curl.h>

struct error;
struct http_curl {
    typeof(&curl_global_init) global_init;
    typeof(&curl_global_cleanup) global_cleanup;
    typeof(&curl_easy_init) easy_init;
    typeof(&curl_easy_cleanup) easy_cleanup;
    typeof(&curl_easy_setopt) easy_setopt;
    typeof(&curl_easy_getinfo) easy_getinfo;
    typeof(&curl_easy_perform) easy_perform;
    typeof(&curl_easy_strerror) easy_strerror;
};

/* Once loaded it stays. 0, or -1 with *err. */
int http_curl_load(struct http_curl *c, struct error *err);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See http_curl.h. */
#include "block/http_curl.h"

#include "base/bits.h"
#include "base/error.h"

#include <dlfcn.h>
#include <string.h>

#define LIBRARY "libcurl-gnutls.so.4"

int http_curl_load(struct http_curl *c, struct error *err)
{
    const struct { const char *name; void *call; } calls[] = {
        { "curl_global_init", &c->global_init }, { "curl_global_cleanup", &c->global_cleanup }, { "curl_easy_init", &c->easy_init },
        { "curl_easy_cleanup", &c->easy_cleanup }, { "curl_easy_setopt", &c->easy_setopt }, { "curl_easy_getinfo", &c->easy_getinfo },
        { "curl_easy_perform", &c->easy_perform }, { "curl_easy_strerror", &c->easy_strerror },
    };
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_NODELETE);
    if (!library)
        return error_set(err, LIBRARY " cannot be loaded: %s; install Debian's package libcurl3-gnutls", dlerror());
    for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
        void *call = dlsym(library, calls[i].name);
        if (!call)
            return error_set(err, LIBRARY " has no %s", calls[i].name);
        memcpy(calls[i].call, &call, sizeof(call));
    }
    return 0;
}

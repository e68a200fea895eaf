/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A tap interface in a bridge, made by a helper that may do so. */
#ifndef NET_BRIDGE_H
#define NET_BRIDGE_H

struct error;

#define NET_BRIDGE_DEFAULT "br0"
/* helper NULL: the one that is installed. An open tap interface with headers, or -1 with *err. */
int net_bridge_open(const char *bridge, const char *helper, struct error *err);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hubs: several cards and networks on one wire, as -net has them. */
#ifndef NET_HUB_H
#define NET_HUB_H

#include "net/backend.h"

struct net_hub;

/* NULL with *err. */
struct net_hub *net_hub_new(unsigned number, struct error *err);
/* Lets go of its networks; ports go on to be there and carry nothing. */
void net_hub_free(struct net_hub *h);
unsigned net_hub_number(const struct net_hub *h);
/* A place for a card: what the card has for its network. */
struct net_backend *net_hub_port_new(struct net_hub *h, const char *id, struct error *err);
/* A network comes onto the hub, instead of a card, and stays as long as the hub. 0, or -1 with *err. */
int net_hub_join(struct net_hub *h, struct net_backend *network, struct error *err);
bool net_hub_has(const struct net_hub *h, const struct net_backend *b);

#endif

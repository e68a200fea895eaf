/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The addresses of a user network: defaults, and what fits together. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "net/user_private.h"

enum { HOST = 0x0202, DHCP_START = 0x020f, DNS = 0x0203, MTU = 65520, NAME_MAX_BYTES = 32, SERVER_MAX_BYTES = 64, BOOTFILE_MAX_BYTES = 127 };

static int address(const char *key, const char *text, struct in_addr *a, struct error *err)
{
    if (inet_pton(AF_INET, text, a) == 1) return 0;
    return error_set(err, "%s=%s: that is no IPv4 address", key, text);
}

static int address6(const char *key, const char *text, const char *standard, struct in6_addr *a, struct error *err)
{
    if (inet_pton(AF_INET6, text ? text : standard, a) == 1) return 0;
    return error_set(err, "%s=%s: that is no IPv6 address", key, text);
}

/* "10.0.2.0/24", "10.0.2.0/255.255.255.0", or an address whose class says how wide the network is. */
static int network(const char *text, struct in_addr *net, struct in_addr *mask, struct error *err)
{
    char first[32], *end;
    const char *slash = strchr(text, '/');
    uint32_t n;
    unsigned long bits;

    snprintf(first, sizeof(first), "%.*s", (int)(slash ? slash - text : (long)strlen(text)), text);
    if (address("net", first, net, err) < 0) return -1;
    n = ntohl(net->s_addr);
    if (!slash) mask->s_addr = htonl(!(n & 0x80000000) ? 0xff000000 : (n & 0xfff00000) == 0xac100000 ? 0xfff00000 :
                                     (n & 0xffff0000) == 0xc0a80000 ? 0xffff0000 : (n & 0xc0000000) == 0x80000000 ? 0xffff0000 : 0xffffff00);
    else if (inet_pton(AF_INET, slash + 1, mask) != 1) {
        bits = strtoul(slash + 1, &end, 10);
        if (end == slash + 1 || *end || bits < 4 || bits > 32) return error_set(err, "net=%s: write it as 10.0.2.0/24 (4 to 32 bits)", text);
        mask->s_addr = htonl(0xffffffffu << (32 - bits));
    }
    net->s_addr &= mask->s_addr;
    return 0;
}

static int inside(const char *key, const char *text, uint32_t standard, const SlirpConfig *s, struct in_addr *a, struct error *err)
{
    a->s_addr = s->vnetwork.s_addr | (htonl(standard) & ~s->vnetmask.s_addr);
    if (text && address(key, text, a, err) < 0) return -1;
    if ((a->s_addr & s->vnetmask.s_addr) != s->vnetwork.s_addr) return error_set(err, "%s=%s: that is outside of the network", key, text);
    return 0;
}

/* It may be one outside, which the guest then asks by itself. */
static int dns_read(SlirpConfig *s, const struct net_user_config *c, struct error *err)
{
    if (!c->dns || c->restricted) return inside("dns", c->dns, DNS, s, &s->vnameserver, err);
    return address("dns", c->dns, &s->vnameserver, err);
}

static int ipv4_read(SlirpConfig *s, const struct net_user_config *c, struct error *err)
{
    s->in_enabled = !c->no_ipv4;
    if (network(c->net ? c->net : "10.0.2.0/24", &s->vnetwork, &s->vnetmask, err) < 0) return -1;
    if (inside("host", c->host, HOST, s, &s->vhost, err) < 0 || inside("dhcpstart", c->dhcp_start, DHCP_START, s, &s->vdhcp_start, err) < 0 ||
        dns_read(s, c, err) < 0) return -1;
    if (s->vhost.s_addr == s->vnameserver.s_addr) return error_set(err, "host= and dns= are the same address");
    if (s->vdhcp_start.s_addr == s->vhost.s_addr || s->vdhcp_start.s_addr == s->vnameserver.s_addr)
        return error_set(err, "dhcpstart= is the address of the host or of the DNS server; choose another");
    return 0;
}

/* ADDRESS[/BITS] of ipv6-net, or ADDRESS alone of ipv6-prefix. */
static int prefix_read(SlirpConfig *s, const struct net_user_config *c, struct error *err)
{
    const char *slash = c->ipv6_prefix ? strchr(c->ipv6_prefix, '/') : NULL, *text = slash ? slash + 1 : c->ipv6_prefix_bits;
    char *end = NULL, prefix[INET6_ADDRSTRLEN];
    unsigned long bits = text ? strtoul(text, &end, 10) : 64;

    if (text && (!*text || *end || bits > 126)) return error_set(err, "%s=%s: the length is a number up to 126", slash ? "ipv6-net" : "ipv6-prefixlen", text);
    s->vprefix_len = (uint8_t)bits;
    if (!slash) return address6("ipv6-prefix", c->ipv6_prefix, "fec0::", &s->vprefix_addr6, err);
    snprintf(prefix, sizeof(prefix), "%.*s", (int)(slash - c->ipv6_prefix), c->ipv6_prefix);
    return address6("ipv6-net", prefix, NULL, &s->vprefix_addr6, err);
}

static bool is_inside6(const SlirpConfig *s, const struct in6_addr *a)
{
    for (unsigned bit = 0; bit < s->vprefix_len; bit++)
        if ((a->s6_addr[bit / 8] ^ s->vprefix_addr6.s6_addr[bit / 8]) >> (7 - bit % 8) & 1) return false;
    return true;
}

static int ipv6_read(SlirpConfig *s, const struct net_user_config *c, struct error *err)
{
    char host[INET6_ADDRSTRLEN], dns[INET6_ADDRSTRLEN];
    struct in6_addr a;

    s->in6_enabled = !c->no_ipv6;
    if (prefix_read(s, c, err) < 0) return -1;
    a = s->vprefix_addr6;
    a.s6_addr[15] = 2;
    inet_ntop(AF_INET6, &a, host, sizeof(host));
    a.s6_addr[15] = 3;
    inet_ntop(AF_INET6, &a, dns, sizeof(dns));
    if (address6("ipv6-host", c->ipv6_host, host, &s->vhost6, err) < 0) return -1;
    if (!is_inside6(s, &s->vhost6)) return error_set(err, "ipv6-host=%s: that is outside of the network", c->ipv6_host);
    if (address6("ipv6-dns", c->ipv6_dns, dns, &s->vnameserver6, err) < 0) return -1;
    if (c->restricted && !is_inside6(s, &s->vnameserver6)) return error_set(err, "ipv6-dns=%s: that is outside of the network", c->ipv6_dns);
    return memcmp(&s->vhost6, &s->vnameserver6, sizeof(a)) ? 0 : error_set(err, "ipv6-host= and ipv6-dns= are the same address");
}

static int text_read(const char *key, const char *text, size_t most, const char **to, struct error *err)
{
    *to = text;
    return !text || strlen(text) <= most ? 0 : error_set(err, "%s: at most %zu characters", key, most);
}

/* Labels of 1 to 63 bytes; a dot at the end says no more. */
static int domain_check(const char *key, const char *name, struct error *err)
{
    size_t label = 0, length = strlen(name);

    for (size_t i = 0; i <= length; i++) {
        if (name[i] && name[i] != '.') label++;
        else if ((!label && (name[i] || !i)) || label > 63) return error_set(err, "%s=%s: that is no domain name", key, name);
        else label = 0;
    }
    return length > 253 ? error_set(err, "%s=%s: a domain name has at most 253 characters", key, name) : 0;
}

static int names_check(const struct net_user_config *c, struct error *err)
{
    if (c->domain && !*c->domain) return error_set(err, "domainname= wants a name; without it none is given");
    for (unsigned i = 0; i < c->search_count; i++)
        if (domain_check("dnssearch", c->search[i], err) < 0) return -1;
    return 0;
}

int user_config_read(SlirpConfig *s, const struct net_user_config *c, struct error *err)
{
    struct stat st;

    *s = (SlirpConfig){ .version = 4, .restricted = c->restricted, .disable_host_loopback = c->no_host_loopback, .if_mtu = MTU, .if_mru = MTU };
    if (c->no_ipv4 && c->no_ipv6) return error_set(err, "ipv4=off and ipv6=off: nothing is left");
    if (c->no_ipv4 && (c->net || c->host || c->dns)) return error_set(err, "ipv4=off: leave out net, host and dns");
    if (c->no_ipv6 && (c->ipv6_prefix || c->ipv6_host || c->ipv6_dns)) return error_set(err, "ipv6=off: leave out ipv6-net, ipv6-host and ipv6-dns");
    if (ipv4_read(s, c, err) < 0 || ipv6_read(s, c, err) < 0 || names_check(c, err) < 0) return -1;
    if (text_read("hostname", c->hostname, NAME_MAX_BYTES, &s->vhostname, err) < 0) return -1;
    if (text_read("domainname", c->domain, 255, &s->vdomainname, err) < 0) return -1;
    if (text_read("bootfile", c->bootfile, BOOTFILE_MAX_BYTES, &s->bootfile, err) < 0) return -1;
    if (text_read("tftp-server-name", c->tftp_server, SERVER_MAX_BYTES, &s->tftp_server_name, err) < 0) return -1;
    if (c->tftp && (stat(c->tftp, &st) < 0 || !S_ISDIR(st.st_mode))) return error_set(err, "tftp=%s: that is no folder", c->tftp);
    s->tftp_path = c->tftp;
    if (c->search_count) s->vdnssearch = (const char **)(uintptr_t)c->search;
    return 0;
}

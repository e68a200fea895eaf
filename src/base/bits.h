/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Small things every room needs: bit fields, alignment, endian types for guest- and disk-visible layouts. */
#ifndef BASE_BITS_H
#define BASE_BITS_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define ALIGN_UP(x, a) (((x) + (a) - 1) & ~((__typeof__(x))(a) - 1))
#define ALIGN_DOWN(x, a) ((x) & ~((__typeof__(x))(a) - 1))
#define BIT(n) (1ull << (n))
#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))
#define MIN(a, b) ({ __typeof__(a) _a = (a); __typeof__(b) _b = (b); _a < _b ? _a : _b; })
#define MAX(a, b) ({ __typeof__(a) _a = (a); __typeof__(b) _b = (b); _a > _b ? _a : _b; })

/* Bits hi..lo of v, shifted down. */
static inline uint64_t bits_get(uint64_t v, unsigned hi, unsigned lo)
{
    return (v >> lo) & (~0ull >> (63 - (hi - lo)));
}

typedef struct { uint16_t raw; } __attribute__((packed)) le16;
typedef struct { uint32_t raw; } __attribute__((packed)) le32;
typedef struct { uint64_t raw; } __attribute__((packed)) le64;
typedef struct { uint16_t raw; } __attribute__((packed)) be16;
typedef struct { uint32_t raw; } __attribute__((packed)) be32;
typedef struct { uint64_t raw; } __attribute__((packed)) be64;
static inline uint16_t le16_get(le16 v) { return le16toh(v.raw); }
static inline uint32_t le32_get(le32 v) { return le32toh(v.raw); }
static inline uint64_t le64_get(le64 v) { return le64toh(v.raw); }
static inline uint16_t be16_get(be16 v) { return be16toh(v.raw); }
static inline uint32_t be32_get(be32 v) { return be32toh(v.raw); }
static inline uint64_t be64_get(be64 v) { return be64toh(v.raw); }
static inline le16 le16_make(uint16_t v) { return (le16){ htole16(v) }; }
static inline le32 le32_make(uint32_t v) { return (le32){ htole32(v) }; }
static inline le64 le64_make(uint64_t v) { return (le64){ htole64(v) }; }
static inline be16 be16_make(uint16_t v) { return (be16){ htobe16(v) }; }
static inline be32 be32_make(uint32_t v) { return (be32){ htobe32(v) }; }
static inline be64 be64_make(uint64_t v) { return (be64){ htobe64(v) }; }

#endif

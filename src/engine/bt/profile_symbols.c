/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names of host functions for the profile: this program's from the symbol table of its file, those of libraries from the dynamic
 * linker. A stripped program still has addresses. Source: System V ABI, chapter 4 (symbol table).
 */
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "engine/bt/profile.h"

struct bt_symbols {
    const uint8_t *file;
    size_t size;
    uint64_t base;                     /* where the program was loaded */
    const Elf64_Sym *symbol;
    size_t count;
    const char *names;
    size_t names_size;
};

static bool is_inside(const struct bt_symbols *s, uint64_t at, uint64_t size) { return at <= s->size && size <= s->size - at; }

static void tables_find(struct bt_symbols *s)
{
    const Elf64_Ehdr *h = (const Elf64_Ehdr *)s->file;
    if (!is_inside(s, 0, sizeof(*h)) || !is_inside(s, h->e_shoff, (uint64_t)h->e_shnum * sizeof(Elf64_Shdr))) return;
    const Elf64_Shdr *section = (const Elf64_Shdr *)(s->file + h->e_shoff);
    for (unsigned i = 0; i < h->e_shnum; i++) {
        const Elf64_Shdr *t = &section[i], *text = &section[t->sh_link];
        if (t->sh_type != SHT_SYMTAB || t->sh_link >= h->e_shnum || !is_inside(s, t->sh_offset, t->sh_size)) continue;
        if (!is_inside(s, text->sh_offset, text->sh_size) || !text->sh_size || s->file[text->sh_offset + text->sh_size - 1]) continue;
        s->symbol = (const Elf64_Sym *)(s->file + t->sh_offset);
        s->count = t->sh_size / sizeof(Elf64_Sym);
        s->names = (const char *)s->file + text->sh_offset;
        s->names_size = text->sh_size;
    }
}

static int first_object(struct dl_phdr_info *info, size_t size, void *base)
{
    *(uint64_t *)base = info->dlpi_addr;
    return 1;                          /* the program comes first */
}

struct bt_symbols *bt_symbols_load(void)
{
    struct bt_symbols *s = calloc(1, sizeof(*s));
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (s && fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0) {
        void *p = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        s->file = p == MAP_FAILED ? NULL : p;
        s->size = s->file ? st.st_size : 0;
    }
    if (fd >= 0) close(fd);
    if (!s) return NULL;
    dl_iterate_phdr(first_object, &s->base);
    if (s->file) tables_find(s);
    return s;
}

void bt_symbols_free(struct bt_symbols *s)
{
    if (s && s->file) munmap((void *)s->file, s->size);
    free(s);
}

static const char *own_name(const struct bt_symbols *s, uint64_t pc)
{
    for (size_t i = 0; s && i < s->count; i++) {
        const Elf64_Sym *y = &s->symbol[i];
        if (ELF64_ST_TYPE(y->st_info) != STT_FUNC || pc - s->base - y->st_value >= y->st_size) continue;
        if (y->st_name < s->names_size) return s->names + y->st_name;
    }
    return NULL;
}

void bt_symbol_name(const struct bt_symbols *s, uint64_t pc, char *name, size_t size)
{
    const char *own = own_name(s, pc), *slash;
    Dl_info info;
    if (own) {
        snprintf(name, size, "%s", own);
        return;
    }
    if (!dladdr((void *)pc, &info) || !info.dli_fname) {
        snprintf(name, size, "%#lx", (unsigned long)pc);
        return;
    }
    slash = strrchr(info.dli_fname, '/');
    snprintf(name, size, "%s (%s)", info.dli_sname ? info.dli_sname : "?", slash ? slash + 1 : info.dli_fname);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ELF kernels: header checks, segments, the PVH note. Sources: ELF specification 1.2 and the x86-64 psABI; Xen's
 * public/elfnote.h for the note. Nothing in the file is trusted: every offset and size is checked against it.
 */
#include <elf.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "machine/boot_private.h"

enum { NOTE_PHYS32_ENTRY = 18 };

struct program_header { uint32_t type; uint64_t offset, address, file_bytes, memory_bytes, align; };

bool boot_elf_is(const struct boot_file *f)
{
    return f->size >= sizeof(Elf32_Ehdr) && !memcmp(f->data, ELFMAG, SELFMAG) && f->data[EI_DATA] == ELFDATA2LSB &&
           (f->data[EI_CLASS] == ELFCLASS32 || (f->data[EI_CLASS] == ELFCLASS64 && f->size >= sizeof(Elf64_Ehdr)));
}

static bool is_64(const struct boot_file *f)
{
    return f->data[EI_CLASS] == ELFCLASS64;
}

/* Header number n; false: there is none, or it does not lie in the file. */
static bool program_header_get(const struct boot_file *f, unsigned n, struct program_header *p)
{
    Elf64_Ehdr e64;
    Elf32_Ehdr e32;

    memcpy(&e32, f->data, sizeof(e32));
    if (is_64(f)) {
        Elf64_Phdr h;

        memcpy(&e64, f->data, sizeof(e64));
        if (n >= e64.e_phnum || e64.e_phentsize != sizeof(h) || e64.e_phoff > f->size) return false;
        if ((n + 1) * sizeof(h) > f->size - e64.e_phoff) return false;
        memcpy(&h, f->data + e64.e_phoff + n * sizeof(h), sizeof(h));
        *p = (struct program_header){ h.p_type, h.p_offset, h.p_paddr, h.p_filesz, h.p_memsz, h.p_align };
    } else {
        Elf32_Phdr h;

        if (n >= e32.e_phnum || e32.e_phentsize != sizeof(h) || e32.e_phoff > f->size) return false;
        if ((n + 1) * sizeof(h) > f->size - e32.e_phoff) return false;
        memcpy(&h, f->data + e32.e_phoff + n * sizeof(h), sizeof(h));
        *p = (struct program_header){ h.p_type, h.p_offset, h.p_paddr, h.p_filesz, h.p_memsz, h.p_align };
    }
    return p->offset <= f->size && p->file_bytes <= f->size - p->offset;
}

static unsigned program_header_count(const struct boot_file *f)
{
    uint16_t count;

    memcpy(&count, f->data + (is_64(f) ? offsetof(Elf64_Ehdr, e_phnum) : offsetof(Elf32_Ehdr, e_phnum)), 2);
    return count;
}

/* Notes are padded to 4 bytes whatever the segment's alignment says, but for those of 8. */
static void notes_scan(const uint8_t *p, uint64_t size, uint64_t align, struct boot_elf *elf)
{
    align = align == 8 ? 8 : 4;
    while (size >= sizeof(Elf64_Nhdr)) {
        Elf64_Nhdr n;
        uint64_t name, desc;

        memcpy(&n, p, sizeof(n));
        name = sizeof(n);
        desc = ALIGN_UP(name + n.n_namesz, align);
        if (desc + n.n_descsz > size) return;
        if (n.n_type == NOTE_PHYS32_ENTRY && n.n_namesz == 4 && !memcmp(p + name, "Xen", 4) &&
            (n.n_descsz == 4 || n.n_descsz == 8)) {
            elf->phys32_entry = 0;
            memcpy(&elf->phys32_entry, p + desc, n.n_descsz);
            elf->has_phys32_entry = true;
        }
        desc = ALIGN_UP(desc + n.n_descsz, align);
        if (desc > size) return;
        p += desc;
        size -= desc;
    }
}

int boot_elf_inspect(const struct boot_file *f, struct boot_elf *elf, struct error *err)
{
    uint16_t machine;
    struct program_header p;

    memset(elf, 0, sizeof(*elf));
    memcpy(&machine, f->data + offsetof(Elf32_Ehdr, e_machine), 2);
    if (machine != EM_386 && machine != EM_X86_64)
        return error_set(err, "it is an ELF file for another processor");
    elf->is_64 = is_64(f);
    memcpy(&elf->entry, f->data + 24, elf->is_64 ? 8 : 4);
    for (unsigned i = 0; i < program_header_count(f); i++) {
        if (!program_header_get(f, i, &p))
            return error_set(err, "it is a damaged or truncated ELF file (program header %u)", i);
        if (p.type == PT_NOTE) notes_scan(f->data + p.offset, p.file_bytes, p.align, elf);
    }
    return 0;
}

int boot_elf_load(struct boot_image *b, const struct boot_file *f, struct error *err)
{
    unsigned loaded = 0;
    struct program_header p;

    for (unsigned i = 0; program_header_get(f, i, &p); i++) {
        if (p.type != PT_LOAD || !p.memory_bytes) continue;
        if (boot_piece_add(b, p.address, f->data + p.offset, MIN(p.file_bytes, p.memory_bytes), p.memory_bytes,
                           err) < 0)
            return -1;
        loaded++;
    }
    return loaded ? 0 : error_set(err, "-kernel: '%s' is an ELF file with nothing to load", b->config.kernel);
}

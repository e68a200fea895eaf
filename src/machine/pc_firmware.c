/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the board tells its firmware (fw_cfg, CMOS), and what takes the firmware's place when a kernel is started
 * directly: tables in memory, PCI set up.
 *
 * CMOS bytes are those SeaBIOS and old software read: 10h/14h floppies and equipment, 15h-18h, 30h, 31h, 34h, 35h,
 * 5Bh-5Dh memory sizes, 38h/3Dh boot order, 39h disk translation, 5Fh CPUs (SeaBIOS, src/hw/rtc.h).
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"
#include "bus/pci.h"
#include "device/display/vga.h"
#include "device/firmware/fw_cfg.h"
#include "device/timer/mc146818.h"
#include "machine/pc_private.h"
#include "machine/version.h"

#define GIB (1ull << 30)
enum { CMOS_EQUIPMENT = 0x14, EQUIPMENT_FLOPPY = 1, EQUIPMENT_FPU = 2, EQUIPMENT_MOUSE = 4, EQUIPMENT_TWO_FLOPPIES = 0x40 };
enum { TRANSLATION_NONE = 0, TRANSLATION_LBA = 1, TRANSLATION_LARGE = 2 };

/* Where the firmware put the power management's ports: SeaBIOS at 600h, OVMF at B000h. */
static uint16_t pm_base(struct machine *m)
{
    enum { PMBASE = 0x40 };
    const struct pci_device *pm = m->pm ? (const struct pci_device *)m->pm : NULL;
    unsigned base = pm ? (pm->config[PMBASE] | pm->config[PMBASE + 1] << 8) & 0xffc0 : 0;

    return base ? (uint16_t)base : 0x600;
}

/* The stretch above 4 GiB in which the firmware placed BARs, in whole GiB. */
static void hole64_find(struct machine *m, uint64_t *start, uint64_t *end)
{
    enum { BAR0 = 0x10 };

    for (unsigned i = 0; m->pci && i < 6 * 256; i++) {
        const struct pci_device *d = pci_bus_device(m->pci, i / 6);
        uint64_t at;

        if (!d || !d->bar[i % 6].size || !(d->bar[i % 6].flags & PCI_BAR_64)) continue;
        memcpy(&at, d->config + BAR0 + 4 * (i % 6), 8);
        at = le64toh(at) & ~(uint64_t)15;
        if (at >> 32 == 0 || at >> 46 || d->bar[i % 6].size >> 46) continue;
        *start = *end ? MIN(*start, ALIGN_DOWN(at, GIB)) : ALIGN_DOWN(at, GIB);
        *end = MAX(*end, ALIGN_UP(at + d->bar[i % 6].size, GIB));
    }
}

/* The firmware comes for the tables when it has set up PCI: they tell of what it chose. Their size stays the same. */
static void acpi_renew(void *opaque)
{
    struct machine *m = opaque;
    struct error err = { "" };

    acpi_free(&m->acpi);
    if (pc_acpi_create(m, &err) < 0) log_message("%s", err.text);
}

int pc_acpi_create(struct machine *m, struct error *err)
{
    struct acpi_config c = { .cpus = cpuid_topology_size(&m->config.topology),
                             .cpus_present = m->config.cpus,
                             .has_hpet = m->config.has_hpet,
                             .has_floppy = m->fdc != NULL,
                             .pci_hole_start = (uint32_t)MAX(m->ram_below_4g, (gpa_t)0x80000000),
                             .pci_hole_end = 0xfec00000,
                             .pm_base = pm_base(m),
                             .gpe_base = 0xafe0,
                             .hotplug_slots = pc_slots_removable(m) };

    if (!m->config.has_acpi) return 0;
    hole64_find(m, &c.pci_hole64_start, &c.pci_hole64_end);
    for (unsigned i = 0; i < c.cpus; i++) c.apic_id[i] = (uint8_t)cpuid_apic_id(&m->config.topology, i);
    for (unsigned i = 0; i < m->config.serial_count; i++)
        if (m->config.serial[i] && strcmp(m->config.serial[i], "none")) c.serial_mask |= (uint8_t)(1u << i);
    if (acpi_build(&m->acpi, &c, err) < 0 || acpi_publish(&m->acpi, m->fw_cfg, err) < 0) return -1;
    fw_cfg_on_select(m->fw_cfg, "etc/acpi/tables", acpi_renew, m);
    return 0;
}

static int smbios_create(struct machine *m, struct error *err)
{
    struct smbios_config c = { .version = MACHINE_VERSION, .name = m->config.name, .sockets = m->config.topology.sockets,
                               .cores = m->config.topology.dies * m->config.topology.cores,
                               .threads = m->config.topology.threads,
                               .uuid = m->config.has_uuid ? m->config.uuid : NULL,
                               .ram_below_4g = m->ram_below_4g, .ram_above_4g = m->ram_above_4g };

    return smbios_build(&m->smbios, &c, err);
}

static int numbers_set(struct machine *m, struct error *err)
{
    struct device *d = m->fw_cfg;
    uint64_t numa[1 + 256] = { 0 };

    if (fw_cfg_set(d, FW_CFG_UUID, m->config.uuid, 16, err) < 0) return -1;
    if (fw_cfg_set_u64(d, FW_CFG_RAM_SIZE, m->ram.size_bytes, err) < 0) return -1;
    if (fw_cfg_set_u16(d, FW_CFG_NOGRAPHIC, !m->config.has_vga, err) < 0) return -1;
    if (fw_cfg_set_u16(d, FW_CFG_NB_CPUS, (uint16_t)m->config.cpus, err) < 0) return -1;
    if (fw_cfg_set_u16(d, FW_CFG_MAX_CPUS, (uint16_t)(1 + cpuid_apic_id(&m->config.topology, cpuid_topology_size(&m->config.topology) - 1)), err) < 0) return -1;
    if (fw_cfg_set_u16(d, FW_CFG_BOOT_MENU, m->config.boot_menu, err) < 0) return -1;
    if (fw_cfg_set(d, FW_CFG_NUMA, numa, (1 + m->config.cpus) * 8, err) < 0) return -1;
    return fw_cfg_set_u32(d, FW_CFG_IRQ0_OVERRIDE, 1, err);
}

static int e820_set(struct machine *m, struct error *err)
{
    struct { le64 start, size; le32 type; } __attribute__((packed)) table[ARRAY_SIZE(m->e820)];

    for (unsigned i = 0; i < m->e820_count; i++) {
        table[i].start = le64_make(m->e820[i].start);
        table[i].size = le64_make(m->e820[i].size);
        table[i].type = le32_make(m->e820[i].type);
    }
    return fw_cfg_set_file(m->fw_cfg, "etc/e820", table, m->e820_count * sizeof(table[0]), err);
}

static bool is_jpeg(const uint8_t *data, size_t size) { return size > 2 && data[0] == 0xff && data[1] == 0xd8; }

static bool is_bmp24(const uint8_t *data, size_t size)
{
    enum { BITS_AT = 28 };

    return size > BITS_AT + 2 && data[0] == 'B' && data[1] == 'M' && data[BITS_AT] == 24 && data[BITS_AT + 1] == 0;
}

/* SeaBIOS shows it while it waits for the key of its boot menu. */
static int splash_set(struct machine *m, struct error *err)
{
    enum { FILE_MAX = 16 << 20 };
    const char *path = m->config.boot_splash;
    uint8_t *data;
    size_t size;
    int result;

    if (!path) return 0;
    if (!m->config.boot_menu) log_message("warning: -boot splash=%s is shown with the boot menu only: add menu=on", path);
    if (!(data = pc_file_read("-boot splash", path, FILE_MAX, &size, err))) return -1;
    if (is_jpeg(data, size)) result = fw_cfg_set_file(m->fw_cfg, "bootsplash.jpg", data, size, err);
    else if (is_bmp24(data, size)) result = fw_cfg_set_file(m->fw_cfg, "bootsplash.bmp", data, size, err);
    else result = error_set(err, "-boot splash: '%s' is no picture that the firmware knows; JPEG or BMP of 24 bits is wanted", path);
    free(data);
    return result;
}

static int boot_files_set(struct machine *m, struct error *err)
{
    /* One byte a sleep state: 80h it is there; low bits its SLP_TYP. S3 and S4 are not. */
    static const uint8_t states[6] = { 0x80, 0, 0, 1, 2, 0x80 };
    uint8_t show = m->config.boot_menu;
    le32 retry = le32_make((uint32_t)m->config.boot_retry_ms);

    if (fw_cfg_set_file(m->fw_cfg, "etc/system-states", states, sizeof(states), err) < 0) return -1;
    if (fw_cfg_set_file(m->fw_cfg, "etc/boot-fail-wait", &retry, sizeof(retry), err) < 0) return -1;
    if (fw_cfg_set_file(m->fw_cfg, "etc/show-boot-menu", &show, 1, err) < 0) return -1;
    if (splash_set(m, err) < 0) return -1;
    if (m->config.boot_menu_timeout_ms >= 0 && m->config.boot_menu) {
        le16 wait = le16_make((uint16_t)MIN(m->config.boot_menu_timeout_ms, 0xffff));

        if (fw_cfg_set_file(m->fw_cfg, "etc/boot-menu-wait", &wait, sizeof(wait), err) < 0) return -1;
    }
    return 0;
}

/* Files of the user's own. Those of the board are never replaced. */
static int user_files_set(struct machine *m, struct error *err)
{
    enum { FILE_MAX = 16 << 20 };

    for (unsigned i = 0; i < m->config.fw_cfg_count; i++) {
        const char *name = m->config.fw_cfg[i].name, *text = m->config.fw_cfg[i].text;
        uint8_t *data = NULL;
        size_t size = text ? strlen(text) : 0;
        int result;

        if (fw_cfg_has_file(m->fw_cfg, name)) return error_set(err, "-fw_cfg: the file '%s' is there already", name);
        if (!text && !(data = pc_file_read("-fw_cfg", m->config.fw_cfg[i].file, FILE_MAX, &size, err))) return -1;
        result = fw_cfg_set_file(m->fw_cfg, name, text ? (const uint8_t *)text : data, size, err);
        free(data);
        if (result < 0) return -1;
    }
    return 0;
}

/* A UEFI image begins with a firmware volume (Platform Initialization Specification, volume 3, section 3.2.1). What cannot be read is none. */
static bool is_uefi(const struct machine *m)
{
    enum { SIGNATURE_AT = 0x28 };
    char signature[4] = "";
    int fd = m->config.bios ? open(m->config.bios, O_RDONLY | O_CLOEXEC) : -1;
    bool is = fd >= 0 && pread(fd, signature, sizeof(signature), SIGNATURE_AT) == sizeof(signature) && !memcmp(signature, "_FVH", 4);

    if (fd >= 0) close(fd);
    return is || pc_flash_is_there(m);
}

/* SeaBIOS runs what it finds in this folder (docs/Runtime_config.md). */
static int option_roms_set(struct machine *m, struct error *err)
{
    enum { ROM_MAX = 16 << 20 };

    for (unsigned n = 0; n < m->config.option_rom_count; n++) {
        const char *file = m->config.option_rom[n].file;
        char name[256];
        uint8_t *data;
        size_t size;
        int result;

        if (m->is_direct) return error_set(err, "-option-rom %s: -kernel is started without the firmware that would run it", file);
        if (is_uefi(m)) log_message("warning: -option-rom %s: UEFI does not run it", file);
        snprintf(name, sizeof(name), CONFIG_OPTION_ROM_FOLDER "%s", config_option_rom_name(&m->config, n));
        if (fw_cfg_has_file(m->fw_cfg, name)) return error_set(err, "-option-rom %s: there is one of this name already", file);
        if (!(data = pc_file_read("-option-rom", file, ROM_MAX, &size, err))) return -1;
        if (size < 3 || data[0] != 0x55 || data[1] != 0xaa) result = error_set(err, "-option-rom: '%s' is no option ROM: it does not begin with 55h AAh", file);
        else result = fw_cfg_set_file(m->fw_cfg, name, data, size, err);
        free(data);
        if (result < 0) return -1;
        m->config.option_rom[n].size = size;
    }
    return 0;
}

/* A kernel that firmware starts. It has copies of its own of what it was given. */
static int kernel_publish(struct machine *m, struct error *err)
{
    struct boot_config c = { .kernel = m->config.kernel, .initrd = m->config.initrd, .append = m->config.append,
                             .by_firmware = true };
    struct boot_image *b;
    int result;

    if (m->is_direct || !m->config.kernel) return 0;
    c.ram_top = m->ram_below_4g - MIN(m->ram_below_4g, (gpa_t)PC_BIOS_HIGH_BYTES);
    b = boot_load(&c, err);
    if (!b) return -1;
    result = boot_bios_publish(b, m->fw_cfg, err) < 0 || boot_uefi_publish(b, m->fw_cfg, err) < 0 ? -1 : 0;
    boot_free(b);
    return result;
}

int pc_fw_cfg_create(struct machine *m, struct error *err)
{
    struct fw_cfg_config c = { .ports = m->ports, .memory = m->memory };

    if (smbios_create(m, err) < 0) return -1;
    m->fw_cfg = fw_cfg_new(&c, err);
    if (!m->fw_cfg) return -1;
    pc_device_add(m, m->fw_cfg);
    if (kernel_publish(m, err) < 0 || option_roms_set(m, err) < 0) return -1;
    if (numbers_set(m, err) < 0 || e820_set(m, err) < 0 || boot_files_set(m, err) < 0) return -1;
    return smbios_publish(&m->smbios, m->fw_cfg, err) < 0 ? -1 : user_files_set(m, err);
}

/* ---- CMOS ---- */

static void cmos16(struct machine *m, uint8_t index, uint64_t value, uint64_t most)
{
    value = MIN(value, most);
    mc146818_cmos_set(m->rtc, index, (uint8_t)value);
    mc146818_cmos_set(m->rtc, index + 1, (uint8_t)(value >> 8));
}

static uint8_t boot_code(char letter)
{
    switch (letter) {
    case 'a': case 'b': return 1;
    case 'c': return 2;
    case 'd': return 3;
    case 'n': return 4;
    }
    return 0;
}

/* 'once' holds until the first reset. */
static void boot_order_set(struct machine *m)
{
    const char *order = m->config.boot_order[0] ? m->config.boot_order : "cad";
    uint8_t code[3] = { 0 };

    if (m->config.boot_once[0] && !m->boot_once_used) order = m->config.boot_once;
    for (unsigned i = 0; i < 3 && order[i]; i++) code[i] = boot_code(order[i]);
    mc146818_cmos_set(m->rtc, 0x3d, (uint8_t)(code[1] << 4 | code[0]));
    mc146818_cmos_set(m->rtc, 0x38, (uint8_t)(code[2] << 4 | m->config.boot_unsigned_floppies));
}

int machine_boot_order_set(struct machine *m, const char *letters, struct error *err)
{
    if (m->config.is_empty) return error_set(err, "this machine has no board");
    if (config_boot_letters("boot_set", letters, m->config.boot_order, err) < 0) return -1;
    m->config.boot_once[0] = 0;
    boot_order_set(m);
    return 0;
}

/* Heads of the geometry that the partition table was made with: those of an end CHS address; 0: it does not
 * say. */
static unsigned partition_heads(struct block_node *n)
{
    uint8_t sector[512];

    if (block_size_bytes(n) < sizeof(sector) || block_pread(n, 0, sector, sizeof(sector)) < 0) return 0;
    if (sector[510] != 0x55 || sector[511] != 0xaa) return 0;
    for (const uint8_t *entry = sector + 0x1be; entry < sector + 0x1fe; entry += 16) {
        uint32_t count;
        unsigned heads = entry[5] + 1u, sectors = entry[6] & 63;
        uint64_t cylinders;

        memcpy(&count, entry + 12, 4);
        if (!le32toh(count) || entry[5] == 0 || !sectors) continue;
        cylinders = block_size_bytes(n) / 512 / (heads * sectors);
        if (cylinders >= 1 && cylinders <= 16383) return heads;
    }
    return 0;
}

/* What the BIOS must do so that CHS addresses mean what they meant when the disk was partitioned, by QEMU's
 * rules: the drive has 16 heads and 63 sectors; more heads in the partition table mean that a BIOS translated
 * already. */
static uint8_t translation(struct block_node *n)
{
    uint64_t cylinders = block_size_bytes(n) / 512 / (16 * 63);
    unsigned heads = partition_heads(n);

    cylinders = MIN(cylinders, (uint64_t)16383);
    if (heads > 16) return cylinders * 16 <= 131072 ? TRANSLATION_LARGE : TRANSLATION_LBA;
    return heads || cylinders <= 1024 ? TRANSLATION_NONE : TRANSLATION_LBA;
}

/* CMOS 39h: two bits a disk. Looked up once: the guest may write another table, but its BIOS has chosen. */
void pc_disks_inspect(struct machine *m)
{
    m->disk_translation = 0;
    for (unsigned i = 0; i < m->config.drive_count; i++) {
        const struct drive_config *d = &m->config.drive[i];

        if (d->interface != DRIVE_IF_IDE || d->media != MEDIA_DISK || d->index < 0 || d->index > 3 ||
            !m->drive[i])
            continue;
        m->disk_translation |= (uint8_t)(translation(m->drive[i]) << (2 * d->index));
    }
}

void pc_cmos_fill(struct machine *m)
{
    uint64_t low = m->ram_below_4g;

    uint8_t floppies = pc_floppy_types(m);
    uint8_t equipment = EQUIPMENT_FPU | EQUIPMENT_MOUSE | (floppies ? EQUIPMENT_FLOPPY : 0) | (floppies & 0x0f ? EQUIPMENT_TWO_FLOPPIES : 0);

    mc146818_cmos_set(m->rtc, 0x10, floppies);
    mc146818_cmos_set(m->rtc, CMOS_EQUIPMENT, equipment);
    cmos16(m, 0x15, MIN(low >> 10, (uint64_t)640), 640);
    cmos16(m, 0x17, low > 0x100000 ? (low - 0x100000) >> 10 : 0, 65535);
    cmos16(m, 0x30, low > 0x100000 ? (low - 0x100000) >> 10 : 0, 65535);
    cmos16(m, 0x34, low > 0x1000000 ? (low - 0x1000000) >> 16 : 0, 65535);
    cmos16(m, 0x5b, m->ram_above_4g >> 16 & 0xffff, 65535);
    mc146818_cmos_set(m->rtc, 0x5d, (uint8_t)(m->ram_above_4g >> 32));
    mc146818_cmos_set(m->rtc, 0x39, m->disk_translation);
    mc146818_cmos_set(m->rtc, 0x5f, (uint8_t)(m->config.cpus - 1));
    boot_order_set(m);
}

/* ---- direct boot ---- */

static gpa_t acpi_tables_at(const struct machine *m)
{
    return m->ram_below_4g - PC_TABLES_BYTES;
}

int pc_direct_boot_load(struct machine *m, struct error *err)
{
    struct boot_config c = {
        .kernel = m->config.kernel,
        .initrd = m->config.initrd,
        .append = m->config.append,
        .ram_below_4g = m->ram_below_4g,
        .e820 = m->e820,
        .e820_count = m->e820_count,
        .rsdp = m->config.has_acpi ? PC_RSDP : 0,
        .ram_top = acpi_tables_at(m),
        .has_text_screen = pc_vga_has_text(m),
    };

    m->boot = boot_load(&c, err);
    return m->boot ? 0 : -1;
}

/* The BIOS data area: kernels find the end of low memory, serial ports and the text screen there. */
static void bios_data_place(struct machine *m)
{
    static const uint16_t com[CONFIG_SERIALS] = { 0x3f8, 0x2f8, 0x3e8, 0x2e8 };
    uint8_t bda[256] = { 0 }, ebda_kib = 1;

    for (unsigned i = 0; i < CONFIG_SERIALS; i++)
        if (m->config.serial[i]) memcpy(bda + 2 * i, &com[i], 2);
    memcpy(bda + 0x0e, &(uint16_t){ 0x9fc0 }, 2);
    bda[0x10] = EQUIPMENT_FPU | EQUIPMENT_MOUSE | 0x20;                 /* 80x25 colour */
    memcpy(bda + 0x13, &(uint16_t){ 639 }, 2);
    bda[0x49] = 3;
    bda[0x4a] = 80;
    memcpy(bda + 0x63, &(uint16_t){ 0x3d4 }, 2);
    bda[0x84] = 24;
    memory_write(m->memory, 0x400, bda, sizeof(bda));
    memory_write(m->memory, 0x9fc00, &ebda_kib, 1);
}

/* Kernels that call the BIOS from real mode (Xen does) find every interrupt answered with "not supported":
 * carry set in the flags on the stack, AH = 86h. The reset vector at F000:FFF0 resets through the keyboard
 * controller. */
static void bios_stub_place(struct machine *m)
{
    enum { STUB = 0xff00 };
    static const uint8_t stub[] = {
        0x55,                          /* push bp */
        0x89, 0xe5,                    /* mov bp, sp */
        0x80, 0x4e, 0x06, 0x01,        /* or byte [bp + 6], 1 */
        0x5d,                          /* pop bp */
        0xb4, 0x86,                    /* mov ah, 86h */
        0xcf,                          /* iret */
    };
    static const uint8_t reset[] = {
        0xb0, 0xfe, 0xe6, 0x64, 0xeb, 0xfe
    }; /* mov al, FEh; out 64h, al; jmp here */
    uint8_t vectors[1024];

    for (unsigned i = 0; i < sizeof(vectors); i += 4) memcpy(vectors + i, (const uint16_t[]){ STUB, 0xf000 }, 4);
    memory_write(m->memory, 0, vectors, sizeof(vectors));
    memory_write(m->memory, 0xf0000 + STUB, stub, sizeof(stub));
    memory_write(m->memory, 0xffff0, reset, sizeof(reset));
}

void pc_direct_boot_place(struct machine *m)
{
    static const uint8_t zeros[0x10000];

    pc_pci_setup(m);
    if (m->vga) vga_text_mode_set(m->vga);
    bios_data_place(m);
    memory_write(m->memory, 0xf0000, zeros, sizeof(zeros));
    bios_stub_place(m);
    if (m->config.has_acpi) acpi_place(&m->acpi, m->memory, acpi_tables_at(m), PC_RSDP);
    smbios_place(&m->smbios, m->memory, PC_SMBIOS_ANCHOR, PC_SMBIOS_TABLES);
    boot_place(m->boot, m->memory);
}

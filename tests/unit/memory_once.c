/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a device writes is stored once. The processor stops after each instruction of the write (the trap flag), and a driver that is as quick as that
 * looks whether a word has come, and answers by another value in its place: that must be there in the end.
 */
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "memory/map.h"
#include "unit.h"

enum { RAM_BYTES = 8192, AT = 1024, MOST = 64 };

static uint8_t *ram;
static volatile unsigned at, answers, steps;

static void driver(int signal)
{
    steps++;
    if (ram[AT + at] != 0x11) return;
    ram[AT + at] = 0x77;
    answers++;
}

static void trap_flag(bool on)
{
    if (on) __asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq" ::: "cc", "memory");
    else __asm__ volatile("pushfq; andq $~0x100, (%%rsp); popfq" ::: "cc", "memory");
}

int main(void)
{
    struct memory_map *m = memory_map_new("memory", 1ull << 52);
    uint8_t data[MOST];

    ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memory_map_add_ram(m, "ram", 0, RAM_BYTES, ram, false, 0);
    memset(data, 0x11, sizeof(data));
    signal(SIGTRAP, driver);
    for (unsigned size = 1; size <= MOST; size += size < 24 ? 1 : 8) {
        for (unsigned offset = 0; offset < size; offset++) {
            memset(ram, 0, RAM_BYTES);
            at = offset;
            answers = steps = 0;
            trap_flag(true);
            memory_dma_write(m, AT, data, size);
            trap_flag(false);
            check(answers == 1 && ram[AT + offset] == 0x77, "byte %u of %u: %u answers, %#x in the end", offset, size, answers, ram[AT + offset]);
            check(steps > 20, "%u steps", steps);
        }
    }
    memory_map_free(m);
    return report("memory-once");
}

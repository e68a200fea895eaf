/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A list whose nodes lie by turns in two pieces of 512 GiB, walked by a loop of one block. 128 GiB below each node of the second piece lies another
 * with a wrong value: that is where a translator comes to which takes the first piece's window for the second's (window.c in src/engine/bt).
 *
 * Words of the third piece are read off an address in the second, by an index of 32 bits, as far as it reaches. Where narrower
 * borders of the windows would lead to lie wrong values again.
 *
 * Then reads below the first address that is no user's, off a register that holds it: there the host keeps the stack of the process that runs the
 * guest (the test switches off the randomisation of addresses), and the guest has nothing.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>

struct node { struct node *next; unsigned long value; };
enum { NODES = 256, ROUNDS = 20000 };
#define FIRST 0x8000000000ul
#define BORDER (128ul << 30)
#define SECOND (0x10000000000ul + BORDER)

static struct node *page(unsigned long at)
{
    return mmap((void *)at, 2 * NODES * sizeof(struct node), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

__attribute__((noinline)) static unsigned long walk(const struct node *n)
{
    unsigned long sum = 0;

    do {
        sum += n->value;
        n = n->next;
    } while (n);
    return sum;
}

static bool an_index_reaches_the_next_piece(void)
{
    enum { WORDS = 512 };
    unsigned long base = 2 * 0x8000000000ul - 4096, away = (1ul << 35) - 4096, *words = (unsigned long *)page(base + away), sum = 0, want = 0, value;

    for (unsigned long border = 8ul << 30; border < away; border *= 2) *(unsigned long *)page(base + away - border) = 1000000;
    for (unsigned long n = 0; n < WORDS; n++) words[n] = 7 * n;
    for (unsigned round = 0; round < 40; round++)
        for (unsigned long n = 0; n < WORDS; n++) {
            unsigned index = away / 8 + n;
            __asm__ volatile("mov %k2, %k2\n\tmov (%1, %q2, 8), %0" : "=r"(value), "+r"(base), "+r"(index));
            sum += value;
            want += 7 * n;
        }
    if (sum != want) printf("WRONG %lu for %lu by index\n", sum, want);
    return sum == want;
}

static sigjmp_buf refused;
static void on_fault(int sig) { siglongjmp(refused, 1); }

/* The distance is a displacement of the instruction. */
#define READ_BELOW(distance)                                                                                  \
    do {                                                                                                      \
        unsigned long value;                                                                                  \
        if (sigsetjmp(refused, 1)) break;                                                                     \
        __asm__ volatile("movq -" #distance "(%1), %0" : "=r"(value) : "r"(1ul << 47));                       \
        printf("WRONG: 0x%lx read at " #distance " below the end\n", value);                                  \
        return false;                                                                                         \
    } while (0)
#define READ_AT(register_with_distance)                                                                       \
    do {                                                                                                      \
        unsigned long value;                                                                                  \
        if (sigsetjmp(refused, 1)) break;                                                                     \
        __asm__ volatile("movslq %k2, %%rcx\n\tmovq (%1,%%rcx), %0" : "=r"(value)                             \
                         : "r"(1ul << 47), "r"(register_with_distance) : "rcx");                              \
        printf("WRONG: 0x%lx read by an index\n", value);                                                     \
        return false;                                                                                         \
    } while (0)

static bool reads_are_refused(void)
{
    enum { TIMES = 20000 };
    struct sigaction fault = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };

    sigaction(SIGSEGV, &fault, NULL);
    for (volatile unsigned n = 0; n < TIMES; n++) {
        READ_BELOW(0x1010);
        READ_BELOW(0x2000);
        READ_BELOW(0x4000);
        READ_AT(-0x1010);
        READ_AT(-0x2000);
    }
    return true;
}

int main(void)
{
    struct node *first = page(FIRST), *second = page(SECOND), *wrong = page(SECOND - BORDER);
    unsigned long want = 0;

    for (unsigned i = 0; i < NODES; i++) {
        first[i] = (struct node){ &second[i], i };
        second[i] = (struct node){ i + 1 < NODES ? &first[i + 1] : NULL, 3 * i };
        wrong[i] = (struct node){ second[i].next, 1000000 };
        want += 4 * i;
    }
    for (unsigned n = 0; n < ROUNDS; n++) {
        unsigned long sum = walk(first);

        if (sum == want) continue;
        printf("WRONG %lu for %lu in round %u\n", sum, want, n);
        return 1;
    }
    if (!an_index_reaches_the_next_piece() || !reads_are_refused()) return 1;
    puts("RIGHT");
    return 0;
}

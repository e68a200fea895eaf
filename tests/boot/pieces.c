/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A list whose nodes lie by turns in two pieces of 512 GiB, walked by a loop of one block. Eight GiB below each node of the second piece lies another
 * with a wrong value: that is where a translator comes to which takes the first piece's window for the second's (window.c in src/engine/bt).
 */
#include <stdio.h>
#include <sys/mman.h>

struct node { struct node *next; unsigned long value; };
enum { NODES = 256, ROUNDS = 20000 };
#define FIRST 0x8000000000ul
#define BORDER (8ul << 30)
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
    puts("RIGHT");
    return 0;
}

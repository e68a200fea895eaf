/* SPDX-License-Identifier: GPL-2.0-or-later */
/* port ADDRESS VALUE...   in a guest: writes 32-bit values to an I/O port, and prints what it then reads there. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/io.h>

int main(int argc, char **argv)
{
    unsigned short port;

    if (argc < 2 || iopl(3) < 0) {
        printf("WRONG port: needs an address, and root\n");
        return 1;
    }
    port = (unsigned short)strtoul(argv[1], NULL, 0);
    for (int i = 2; i < argc; i++) outl((unsigned)strtoul(argv[i], NULL, 0), port);
    printf("port %x %x\n", port, inl(port));
    return 0;
}

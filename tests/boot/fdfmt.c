/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fdfmt DEVICE   formats the floppy disk, all tracks, and says its geometry; for floppy.py. Built statically. */
#include <fcntl.h>
#include <linux/fd.h>
#include <stdio.h>
#include <sys/ioctl.h>

int main(int argc, char **argv)
{
    int fd = open(argc > 1 ? argv[1] : "/dev/fd0", O_WRONLY);
    struct format_descr track;
    struct floppy_struct g;

    if (fd < 0 || ioctl(fd, FDGETPRM, &g) < 0 || ioctl(fd, FDFMTBEG, NULL) < 0) {
        perror("fdfmt");
        return 1;
    }
    printf("geometry %u %u %u\n", g.track, g.head, g.sect);
    for (track.track = 0; track.track < g.track; track.track++)
        for (track.head = 0; track.head < g.head; track.head++)
            if (ioctl(fd, FDFMTTRK, &track) < 0) {
                perror("fdfmt: track");
                return 1;
            }
    return ioctl(fd, FDFMTEND, NULL) < 0;
}

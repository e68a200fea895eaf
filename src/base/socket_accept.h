/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BASE_SOCKET_ACCEPT_H
#define BASE_SOCKET_ACCEPT_H

/*
 * Whoever waits at a socket that listens and is watched by the loop: non-blocking, closed on exec. -1: nobody, or the process has no descriptor
 * left. Then who waits there would make the socket ready without end, so the loop looks at it again a while later.
 */
int socket_accept(int listener);

#endif

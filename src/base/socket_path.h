/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BASE_SOCKET_PATH_H
#define BASE_SOCKET_PATH_H

/* Makes room for a unix socket at path: a socket that is left there goes. All else stays, and bind() fails with EADDRINUSE then. */
void socket_path_clear(const char *path);

#endif

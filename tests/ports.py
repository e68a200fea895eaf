# SPDX-License-Identifier: GPL-2.0-or-later
"""free_port(): a port of the loopback for a server that is started later, or that comes and goes.
listens(path): whether somebody listens at a Unix socket.

The port is not one of those that the kernel gives to connections and to who binds port 0, so none of these has it meanwhile; and no other test takes it as long as
this program runs: a name in the network namespace says so."""
import errno
import random
import socket
import subprocess
import time

kept = []                                      # the names, until the program ends
FIRST, LAST = 10240, 32767
GIVEN = '/proc/sys/net/ipv4/ip_local_port_range'


def range_of_others():
    try:
        with open(GIVEN) as f:
            return tuple(map(int, f.read().split()))
    except OSError:
        return 32768, 60999


def is_free(port):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        for family, address in ((socket.AF_INET, '0.0.0.0'), (socket.AF_INET6, '::')):
            try:
                with socket.socket(family, kind) as s:
                    if family == socket.AF_INET6:
                        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    s.bind((address, port))
            except OSError as why:
                if why.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):       # no IPv6 here
                    return False
    return True


def free_port():
    first, last = range_of_others()
    draw = random.SystemRandom()                           # tests have fixed seeds, and start at the same time
    for _ in range(2000):
        port = draw.randrange(FIRST, LAST + 1)
        if first <= port <= last:
            continue
        name = socket.socket(socket.AF_UNIX)
        try:
            name.bind(f'\0ospite-test-port-{port}')
        except OSError:
            name.close()
            continue
        if is_free(port):
            kept.append(name)
            return port
        name.close()
    raise OSError('no free port')


def listens(path, *inside):
    """Without a connection, which may be the only one that is served. A socket has its name a moment before it listens. inside: a command that runs others
    in another network namespace."""
    if inside:
        text = subprocess.run([*inside, 'cat', '/proc/net/unix'], capture_output=True, text=True).stdout
    else:
        with open('/proc/net/unix') as f:
            text = f.read()
    return any(row.endswith(' ' + path) and row.split()[3] == '00010000' for row in text.splitlines())


def listens_wait(path, process, *inside, seconds=60):
    """Until somebody listens there, the process has ended, or time is over; whether somebody does."""
    end = time.time() + seconds
    while not (there := listens(path, *inside)) and process.poll() is None and time.time() < end:
        time.sleep(0.02)
    return there

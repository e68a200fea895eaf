# SPDX-License-Identifier: GPL-2.0-or-later
"""import leash: machines and servers end with the script that started them, however it ends.

An exception, sys.exit, Ctrl-C and SIGTERM (a test that takes too long) all come to atexit, which kills what is left: children, and daemons, which are
known by a word in their environment."""
import atexit
import os
import signal
import sys

NAME = 'OSPITE_TEST'
owner = os.getpid()
word = f'{owner}-{os.urandom(6).hex()}'
os.environ[NAME] = f'{os.environ.get(NAME, "")} {word}'.strip()          # a script that another one started is on both leashes


def stat(pid):
    """(state, parent) of a process; None for one that is gone."""
    try:
        fields = open(f'/proc/{pid}/stat').read().rsplit(')', 1)[1].split()
        return fields[0], int(fields[1])
    except OSError:
        return None


def marked(pid):
    try:
        return word.encode() in open(f'/proc/{pid}/environ', 'rb').read()
    except OSError:
        return False


def left():
    """What this script started and still runs."""
    stats = {int(p): s for p in os.listdir('/proc') if p.isdigit() and (s := stat(p))}
    found = {owner}
    while more := {p for p, (_, parent) in stats.items() if parent in found} - found:
        found |= more
    return [p for p, (state, _) in stats.items() if p != owner and state != 'Z' and (p in found or marked(p))]


def end():
    if os.getpid() != owner:
        return
    for _ in range(20):                        # what is being started meanwhile comes up in the next round
        pids = left()
        if not pids:
            return
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass


def terminated(number, frame):
    if os.getpid() == owner:
        sys.exit(128 + number)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


atexit.register(end)
signal.signal(signal.SIGTERM, terminated)

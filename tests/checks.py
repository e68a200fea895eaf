# SPDX-License-Identifier: GPL-2.0-or-later
"""What a test of many small checks has found, counted."""
total = failed = 0


def check(ok, what, more=''):
    """Counts; says what is wrong. Gives back ok."""
    global total, failed
    total += 1
    if not ok:
        failed += 1
        print('FAIL:', what, more)
    return ok


def counts():
    return f'{total} checks, {failed} failed'

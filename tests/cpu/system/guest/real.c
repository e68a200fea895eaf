/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "legacy.h"
void test_real(void) {}

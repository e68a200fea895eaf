/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the command line knows, for clients of QMP. */
#ifndef TOOL_VM_CATALOG_H
#define TOOL_VM_CATALOG_H

#include "monitor/monitor.h"

extern const struct monitor_catalog vm_catalog;

#endif

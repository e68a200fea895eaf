/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads what is added to a running machine (machine/hotplug.h) in the command line's grammar. */
#ifndef TOOL_VM_HOTPLUG_H
#define TOOL_VM_HOTPLUG_H

#include "machine/hotplug.h"
#include "tool/vm_options.h"

/* o is what the machine was started with, and lives as long. */
struct error;
void vm_hotplug_parser_set(struct machine *m, struct vm_options *o);

/* vm_object.c: what machine_object_add and machine_object_del come to; options is a struct vm_options. */
int vm_object_add(void *options, struct machine *m, const char *text, struct error *err);
int vm_object_del(void *options, struct machine *m, const char *id, struct error *err);

#endif

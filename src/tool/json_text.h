/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JSON strings for the tools that print JSON. */
#ifndef TOOL_JSON_TEXT_H
#define TOOL_JSON_TEXT_H

#include <stdio.h>

/* text in quotes; what JSON does not take is escaped, bytes that are no UTF-8 become '?'. NULL prints null. */
void json_text_print(FILE *f, const char *text);

#endif

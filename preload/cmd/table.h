/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * table.h - a table for people: columns as wide as what is in them; on a terminal that is too narrow, long ones go below their row, columns that can be
 * spared are left out and long cells are cut (`~` is their last letter then). Piped, a row is one line, and nothing is left out or cut. Cells are
 * printable ASCII: the caller sees to it.
 */
#ifndef SHUNT_TABLE_H
#define SHUNT_TABLE_H

#include <stddef.h>

#define TABLE_BELOW 0x100u /* not left out, but on lines of its own; the first to go */

struct table_col {
	const char *head;
	int right;     /* figures */
	unsigned min;  /* may be cut to so many letters; 0: never cut */
	unsigned drop; /* left out in this order, from 1, when the terminal is too narrow; 0: never; or TABLE_BELOW */
};

struct table {
	const struct table_col *cols;
	size_t n_cols, n_cells;
	char **cells; /* row by row */
	int err;      /* -ENOMEM: some are missing */
};

/* `cols` stay the caller's. table_fini in any case. */
void table_init(struct table *t, const struct table_col *cols, size_t n_cols);
/* The next cell; a row has one for each column. */
void table_cell(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* In `width` letters (0: no limit). 0 or -ENOMEM; errors of stdout are left to the caller's fflush. */
int table_print(const struct table *t, unsigned width);
/* How wide it is without a limit. */
unsigned table_width(const struct table *t);
void table_fini(struct table *t);

/* Letters in a line of the terminal that stdout is; 0: it is none. */
unsigned term_width(void);
/* Print `text` in lines of `width` letters (0: 100), each after `indent` blanks, and `hang` more from the second on. */
void print_wrapped(const char *text, unsigned indent, unsigned hang, unsigned width);
/* The same on a terminal, as wide as that is; one line elsewhere. */
void print_line(const char *text, unsigned hang);

#endif
